// Makes fixtures for the fold from a real coordinator that serves e2e/agents: what the log
// says, and what the coordinator says of the session at many moments in between.
//
//   GREENROOM_URL=… GREENROOM_TOKEN=… node scripts/fixtures.mjs
import { writeFile } from "node:fs/promises";

const base = process.env.GREENROOM_URL;
const token = process.env.GREENROOM_TOKEN;
const stamp = Date.now().toString(36);

async function api(method, path, body) {
  const response = await fetch(`${base}/v1${path}`, {
    method,
    headers: { authorization: `Bearer ${token}`, "content-type": "application/json" },
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  const text = await response.text();
  if (!response.ok) throw new Error(`${method} ${path}: ${text}`);
  return /^[[{]/.test(text) ? JSON.parse(text) : text;
}

const pause = (ms) => new Promise((then) => setTimeout(then, ms));

async function scenario(name, play) {
  const id = `fixture-${name}-${stamp}`;
  const states = new Map();
  let over = false;
  const look = async () => {
    const session = await api("GET", `/sessions/${id}`);
    states.set(session.last_seq, { seq: session.last_seq, ...session });
    return session;
  };
  const until = async (...wanted) => {
    for (;;) {
      const session = await look();
      if (wanted.includes(session.status)) return session;
      await pause(15);
    }
  };
  const watch = (async () => {
    while (!over) {
      await look().catch(() => {});
      await pause(10);
    }
  })();
  const create = (body) => api("POST", "/sessions", { id, ...body });
  await play({ id, create, until, look });
  over = true;
  await watch;
  await look();
  const events = [];
  for (let from = 1; ; ) {
    const page = await api("GET", `/sessions/${id}/events?from=${from}&limit=1000`);
    events.push(...page.items);
    if (page.next_cursor === null) break;
    from = Number(page.next_cursor);
  }
  const fixture = { name, events, states: [...states.values()] };
  const file = new URL(`../src/fold/fixtures/${name}.json`, import.meta.url);
  // No name of this machine goes into a fixture.
  const text = JSON.stringify(fixture)
    .replaceAll(/"(dir|file):[^"]*\/([^"/]+)"/g, '"$1:/agents/$2"')
    .replaceAll(/\/sys\/fs\/cgroup[^":]*/g, "/sys/fs/cgroup/greenroom");
  await writeFile(file, `${text}\n`);
  console.log(`${name}: ${events.length} events, ${states.size} states`);
}

await scenario("answers-twice", async ({ id, create, until }) => {
  await create({ agent: "talker", prompt: "say hello", title: "Hello", labels: { team: "a" } });
  await until("finished");
  await api("PATCH", `/sessions/${id}`, {
    title: "",
    labels: { team: "b" },
    limits: { idle_ms: 60000 },
  });
  await api("POST", `/sessions/${id}/runs`, { prompt: "once more" });
  await until("finished");
});

await scenario("stopped-with-a-queue", async ({ id, create, until }) => {
  await create({ agent: "sleeper", prompt: "work" });
  await until("running");
  for (const prompt of ["second", "third"]) await api("POST", `/sessions/${id}/runs`, { prompt });
  const last = await api("POST", `/sessions/${id}/runs`, { prompt: "first of all", first: true });
  await api("POST", `/runs/${last.id}/withdraw`);
  await pause(300);
  await Promise.all([
    api("POST", `/sessions/${id}/stop?wait=30s`, { reason: "enough", grace_ms: 1500 }),
    pause(100).then(() => api("POST", `/sessions/${id}/stop?wait=30s`, { grace_ms: 300 })),
  ]);
  await until("stopped");
  await api("POST", `/sessions/${id}/resume`);
  await until("running");
  await api("POST", `/sessions/${id}/stop?wait=30s`, { discard_queue: true, grace_ms: 0 });
  await until("stopped");
});

await scenario("stays-up", async ({ id, create, until }) => {
  await create({ agent: "keeper", prompt: "one" });
  await until("idle");
  await api("POST", `/sessions/${id}/runs`, { prompt: "slow two" });
  await until("running");
  const run = await api("POST", `/sessions/${id}/runs`, { prompt: "three", mode: "interrupt" });
  await pause(1500);
  await until("idle");
  if (run.id === undefined) throw new Error("no run");
  await api("POST", `/sessions/${id}/stop?wait=30s`, {});
  await until("stopped");
});

await scenario("fails", async ({ id, create, until }) => {
  await create({ agent: "failer", prompt: "try" });
  await until("failed");
  await api("POST", `/sessions/${id}/runs`, { prompt: "again" });
  await pause(300);
  await until("failed");
});

await scenario("asks", async ({ id, create, until }) => {
  await create({ agent: "asker", prompt: "a note" });
  await until("waiting");
  const { items } = await api("GET", `/sessions/${id}/approvals`);
  await api("POST", `/sessions/${id}/approvals/${items[0].id}`, { decision: "allow" });
  await until("idle");
  await api("POST", `/sessions/${id}/runs`, { prompt: "another" });
  await until("waiting");
  await api("POST", `/sessions/${id}/stop?wait=30s`, {});
  await until("stopped");
});

await scenario("never-asked", async ({ id, create, until }) => {
  await create({ agent: "talker" });
  await until("new");
  await api("POST", `/sessions/${id}/stop?wait=5s`, {});
  await until("stopped");
});

await scenario("edited-and-moved", async ({ id, create, until, look }) => {
  await create({ agent: "keeper", prompt: "slow one" });
  await until("running");
  const runs = [];
  for (const prompt of ["second", "third", "fourth"])
    runs.push(await api("POST", `/sessions/${id}/runs`, { prompt }));
  const [second, third, fourth] = runs.map((run) => run.id);
  await api("PATCH", `/runs/${fourth}`, { position: 0 });
  await look();
  await api("PATCH", `/runs/${second}`, { prompt: "second, and better", position: 99 });
  await look();
  await api("PATCH", `/runs/${third}`, { input: { ask: "a document" } });
  await look();
  await until("idle");
  await api("POST", `/sessions/${id}/stop?wait=30s`, {});
  await until("stopped");
});

await scenario("serves", async ({ id, create, until }) => {
  await create({ agent: "server", approvals: { deny: ["shell"] } });
  await until("new");
  const ask = (path) => api("POST", `/sessions/${id}/http${path}`, "hello").catch(() => null);
  await ask("/echo");
  await until("idle");
  const answer = ask("/echo");
  await until("running");
  await answer;
  await ask("/broken");
  await api("POST", `/sessions/${id}/runs`, { prompt: "a run" });
  await until("idle");
  await api("POST", `/sessions/${id}/stop?wait=30s`, {});
  await until("stopped");
});
