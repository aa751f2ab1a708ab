// What administrators and others do now and then: each by clicks, and checked with the coordinator.
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { promisify } from "node:util";
import { badge, browser, person, Server, until } from "./harness.mjs";

let server;
let chrome;

before(async () => {
  chrome = await browser();
  server = await Server.start();
});
after(async () => {
  await chrome?.close();
  await server?.end();
});

const dialog = (page) => page.getByRole("dialog").last();

test("a notification comes when a session waits, to those who want one and look elsewhere", async () => {
  const page = await person(chrome, server);
  // A browser that lets none through says so, and nothing is promised.
  await page.at("/settings");
  await page.getByLabel(/Notify me/).click();
  await page.getByText("lets no notification of this page through").waitFor();
  assert.equal(await page.getByLabel(/Notify me/).isChecked(), false);
  await page.context().grantPermissions(["notifications"], { origin: server.base });
  await page.addInitScript(() => {
    window.notes = [];
    window.Notification = class extends window.Notification {
      constructor(title, options) {
        super(title, options);
        window.notes.push({ title, body: this.body, tag: this.tag });
      }
    };
    Object.defineProperty(document, "hidden", { get: () => sessionStorage.away === "yes" });
  });
  const away = (on) => page.evaluate((word) => sessionStorage.setItem("away", word), on);
  const notes = () => page.evaluate(() => window.notes);
  const waits = async (id) => {
    await server.create("asker", { id, prompt: "a note", title: `Title of ${id}` });
    await server.status(id, "waiting");
    await page
      .locator("nav")
      .getByText(`${(await waiting()).length} waiting`)
      .waitFor();
  };
  const waiting = async () => (await server.api("GET", "/sessions?status=waiting")).items;
  await page.at("/settings");
  await page.getByLabel(/Notify me/).waitFor();
  await away("yes");
  await waits("not-asked-for");
  assert.deepEqual(await notes(), [], "nobody has asked for them");
  await page.getByLabel(/Notify me/).check();
  await away("no");
  await waits("looked-at");
  assert.deepEqual(await notes(), [], "the page is being looked at");
  await away("yes");
  await waits("elsewhere");
  await until("there is one", async () => (await notes()).length > 0);
  assert.deepEqual(await notes(), [
    { title: "Title of elsewhere waits for you", body: "asker", tag: "elsewhere" },
  ]);
  // Kept for the next time, until it is taken back.
  await page.reload();
  assert.equal(await page.getByLabel(/Notify me/).isChecked(), true);
  await page.getByLabel(/Notify me/).uncheck();
  await waits("not-any-more");
  assert.deepEqual(await notes(), []);
  assert.deepEqual(page.faults, []);
  await page.context().close();
});

test("a runner is drained, and says how far it is", async () => {
  const apart = await Server.start();
  const page = await person(chrome, apart);
  try {
    await apart.create("sleeper", { id: "drained", prompt: "work" });
    await apart.status("drained", "running");
    await page.at("/runners");
    const card = page.locator("[data-runner]");
    await card.locator("a", { hasText: "drained" }).waitFor();
    await card.getByRole("button", { name: "Drain" }).click();
    await dialog(page).getByRole("button", { name: "Drain" }).click();
    await dialog(page).waitFor({ state: "detached" });
    await card.getByText("draining", { exact: true }).waitFor();
    await card.getByText("1 session still live; nothing new comes").waitFor();
    const [runner] = (await apart.api("GET", "/runners")).items;
    assert.equal(runner.draining, true);
    await apart.create("keeper", { id: "turned-away", prompt: "hello" });
    await apart.api("POST", "/sessions/drained/stop?wait=20s", {});
    await card.getByText("nothing is live here any more").waitFor();
    assert.equal((await apart.session("turned-away")).status, "queued");
    // Taking that back is asked for, and said.
    const [lifted] = await Promise.all([
      page.waitForResponse((one) => one.url().endsWith("/drain?lift=true")),
      card.getByRole("button", { name: "Take sessions again" }).click(),
    ]);
    assert.equal(lifted.status(), 200);
    assert.equal((await lifted.json()).draining, false);
    await page.getByText(`${runner.name} takes sessions again`).waitFor();
    await card.getByText("draining", { exact: true }).waitFor({ state: "detached" });
    await apart.status("turned-away", "idle");
    assert.deepEqual(page.faults, []);
  } finally {
    await page.context().close();
    await apart.end();
  }
});

test("a runner that has files is removed only by force, and a log says what is lost", async () => {
  const apart = await Server.start({ up: false });
  const page = await person(chrome, apart);
  try {
    const { secret } = await apart.api("POST", "/tokens", { role: "runner" });
    const runner = await apart.spawn(
      ["runner", "--coordinator", apart.url, "--token", secret, "--name", "gone"].concat([
        "--data",
        join(apart.folder, "runner"),
      ]),
      /(.+)/,
    );
    await until("it is there", async () => (await apart.api("GET", "/runners")).items.length > 0);
    await apart.create("talker", { id: "left", prompt: "look" });
    await apart.status("left", "finished");
    runner.kill("SIGKILL");
    await page.at("/runners");
    const card = page.locator("[data-runner]");
    const ask = async () => {
      await card.getByRole("button", { name: "Actions for gone" }).click();
      await page.getByRole("menuitem", { name: "Remove…" }).click();
    };
    await ask();
    await dialog(page).getByText("It has the files of 1 session").waitFor();
    await dialog(page).getByRole("button", { name: "Remove" }).click();
    const refused = await apart
      .api("DELETE", `/runners/${await card.getAttribute("data-runner")}`)
      .catch((error) => error);
    assert.equal(refused.status, 409);
    const { detail } = JSON.parse(refused.message.slice(refused.message.indexOf("{")));
    await dialog(page).getByRole("alert").getByText(detail).waitFor();
    await dialog(page)
      .getByLabel(/Force it/)
      .check();
    await dialog(page).getByRole("button", { name: "Remove" }).click();
    await card.waitFor({ state: "detached" });
    await page.getByText("No runner yet").waitFor();
    assert.deepEqual((await apart.api("GET", "/runners")).items, []);
    assert.equal((await apart.session("left")).runner_id ?? null, null);
    assert.deepEqual(page.faults, []);
  } finally {
    await page.context().close();
    await apart.end();
  }
});

test("a source of agents is added, refused where it is none, and taken out of service", async () => {
  const page = await person(chrome, server);
  const folder = join(server.folder, "more");
  await mkdir(folder);
  await writeFile(
    join(folder, "echo.yaml"),
    "name: echo\ndescription: Says it back\ndriver: command\ncommand: [cat]\n",
  );
  await page.at("/agents");
  await page.getByRole("button", { name: "Add a source" }).click();
  const field = dialog(page).getByRole("textbox");
  assert.equal(await field.evaluate((one) => one === document.activeElement), true);
  await field.fill(join(folder, "nothing-here.yaml"));
  await page.keyboard.press("Enter");
  const refused = await server
    .api("POST", "/agents", { source: join(folder, "nothing-here.yaml") })
    .catch((error) => error);
  const { detail } = JSON.parse(refused.message.slice(refused.message.indexOf("{")));
  await dialog(page).getByRole("alert").getByText(detail).waitFor();
  await field.fill(join(folder, "echo.yaml"));
  await dialog(page).getByRole("button", { name: "Add" }).click();
  await page.getByText(/1 agent from/).waitFor();
  await page.getByRole("link", { name: "echo", exact: true }).click();
  await page.getByRole("heading", { level: 1, name: "echo" }).waitFor();
  assert.equal((await server.api("GET", "/agents/echo")).health, "ok");
  // It can be run from there.
  await page.getByRole("button", { name: "Run it" }).click();
  await dialog(page).getByLabel("Prompt").fill("to and fro");
  await dialog(page).getByRole("button", { name: /Start/ }).click();
  await badge(page, "finished").waitFor();
  await page.getByText("to and fro").nth(1).waitFor();
  await page.at("/agents/echo");
  await page.getByRole("button", { name: "More", exact: true }).click();
  await page.getByRole("menuitem", { name: /Take out of service/ }).click();
  await dialog(page).getByRole("button", { name: "Take out of service" }).click();
  await page.waitForURL(/\/agents$/);
  await page.getByRole("link", { name: "echo", exact: true }).waitFor({ state: "detached" });
  const gone = await server.create("echo", { prompt: "x" }).catch((error) => error);
  assert.equal(gone.status, 404);
  assert.deepEqual(page.faults, []);
  await page.context().close();
});

test("a token is made, works with its role, and is revoked", async () => {
  const page = await person(chrome, server);
  await page.at("/settings?view=tokens");
  await page.getByRole("button", { name: "New token" }).click();
  await dialog(page).getByLabel("viewer", { exact: false }).check();
  await dialog(page)
    .getByLabel(/^Principal/)
    .fill("visitor");
  await dialog(page).getByRole("button", { name: "Make it" }).click();
  await dialog(page).getByText("It is not shown again").waitFor();
  const secret = await dialog(page).locator("code").innerText();
  const reads = () =>
    fetch(`${server.url}/v1/login`, { headers: { authorization: `Bearer ${secret}` } });
  assert.deepEqual(await (await reads()).json(), { principal: "visitor", role: "viewer" });
  await dialog(page).getByRole("button", { name: "Done" }).click();
  assert.ok(!(await page.content()).includes(secret), "it is gone from the page");
  // Who has it looks, and is offered nothing else.
  const visitor = await person(chrome, { ...server, token: secret, base: server.base });
  await visitor.at("/agents");
  await visitor.getByRole("link", { name: "talker", exact: true }).waitFor();
  assert.equal(await visitor.getByRole("button", { name: "Add a source" }).count(), 0);
  assert.equal(await visitor.getByRole("button", { name: "Run talker" }).isDisabled(), true);
  await visitor.context().close();
  // What the visitor's login has made is a token, too: both are revoked.
  await page.reload();
  const left = page.locator("[aria-label='Revoke the token of visitor']");
  for (const rest of [1, 0]) {
    await left.first().click();
    await dialog(page).getByRole("button", { name: "Revoke" }).click();
    await until("one less is listed", async () => (await left.count()) === rest);
  }
  assert.equal((await reads()).status, 401);
  assert.deepEqual(page.faults, []);
  await page.context().close();
});

test("the link that is printed at the start signs a browser in, once", async () => {
  const apart = await Server.start({ terminal: true });
  const page = await person(chrome, apart, { signedIn: false });
  const other = await person(chrome, apart, { signedIn: false });
  try {
    const code = await until(
      "the link is printed",
      () => /\/login\?code=([\w-]+)/.exec(apart.process.text)?.[1],
    );
    await page.at(`/login?code=${code}`);
    await page.getByRole("heading", { level: 1, name: "Sessions" }).waitFor();
    assert.ok(!page.url().includes(code), "the code has left the address");
    const [cookie] = await page.context().cookies(apart.base);
    assert.equal(cookie.httpOnly, true);
    assert.notEqual(cookie.value, code);
    const again = await other.at(`/login?code=${code}`);
    assert.equal(again.status(), 401, "it is good once");
    assert.deepEqual(await other.context().cookies(apart.base), []);
    assert.deepEqual(page.faults, []);
  } finally {
    await page.context().close();
    await other.context().close();
    await apart.end();
  }
});

test("a stopped session is resumed from its header, and its queue goes on", async () => {
  const page = await person(chrome, server);
  await server.create("keeper", { id: "resumed", prompt: "slow one" });
  await server.status("resumed", "running");
  await server.api("POST", "/sessions/resumed/runs", { prompt: "and two" });
  await server.api("POST", "/sessions/resumed/stop?wait=20s", {});
  await page.at("/sessions/resumed");
  await badge(page, "stopped").waitFor();
  await page.getByText("held, 1 prompt waiting").waitFor();
  await page
    .locator("header")
    .getByRole("button", { name: /Resume/ })
    .click();
  await page.getByText("You said: and two").waitFor();
  await badge(page, "idle").waitFor();
  assert.equal(
    await page
      .locator("header")
      .getByRole("button", { name: /Resume/ })
      .count(),
    0,
  );
  assert.equal((await server.session("resumed")).hold, false);
  assert.deepEqual(page.faults, []);
  await page.context().close();
});

test("several stopped sessions are resumed together", async () => {
  const page = await person(chrome, server);
  const ids = ["again-1", "again-2", "again-3"];
  for (const id of ids) {
    await server.create("keeper", { id, prompt: "slow one", labels: { set: "again" } });
    await server.api("POST", `/sessions/${id}/runs`, { prompt: "and two" });
    await server.status(id, "running");
    if (id !== "again-3") await server.api("POST", `/sessions/${id}/stop?wait=20s`, {});
  }
  await page.at("/?label=set=again");
  await page.locator("[data-session=again-1] [data-status=stopped]").waitFor();
  await page.getByLabel("Choose all").check();
  const bar = page.getByRole("toolbar", { name: "With the chosen sessions" });
  await bar.getByText("3 sessions chosen").waitFor();
  await bar.getByRole("button", { name: "Resume 2" }).click();
  await page.getByText("2 sessions resumed").waitFor();
  for (const id of ids) await page.locator(`[data-session=${id}] [data-status=idle]`).waitFor();
  for (const id of ids) {
    const { items } = await server.api("GET", `/sessions/${id}/runs`);
    assert.equal(items.find((run) => run.prompt === "and two").status, "completed");
  }
  assert.deepEqual(page.faults, []);
  await page.context().close();
});

test("a prompt that waits is sent as an interruption", async () => {
  const page = await person(chrome, server);
  await server.create("sleeper", { id: "cut-in", prompt: "work" });
  await server.status("cut-in", "running");
  for (const prompt of ["first", "second"])
    await server.api("POST", "/sessions/cut-in/runs", { prompt });
  await page.at("/sessions/cut-in");
  const queue = page.locator("[data-part=queue]");
  await queue.getByText("second").waitFor();
  await queue.getByRole("button", { name: "Waiting prompt 2" }).click();
  await page.getByRole("menuitem", { name: /Interrupt with this one/ }).click();
  await until("the run before it is stopped for it", async () => {
    const { items } = await server.api("GET", "/sessions/cut-in/runs");
    return (
      items.find((run) => run.prompt === "work").status === "stopped" &&
      items.some((run) => run.prompt === "second" && run.status === "running")
    );
  });
  await queue.getByText("second").waitFor({ state: "detached" });
  await queue.getByText("first").waitFor();
  assert.equal((await server.session("cut-in")).pending.runs, 1);
  await server.api("POST", "/sessions/cut-in/stop?wait=20s", { discard_queue: true });
  assert.deepEqual(page.faults, []);
  await page.context().close();
});

test("the palette finds and does: a session, a stop, an agent, a theme", async () => {
  const page = await person(chrome, server);
  await page.context().grantPermissions(["clipboard-read", "clipboard-write"]);
  await server.create("sleeper", { id: "by-name", prompt: "work", title: "Found by its name" });
  await server.status("by-name", "running");
  await page.at("/");
  await page.getByRole("heading", { name: "Sessions" }).waitFor();
  const choose = async (words, item) => {
    await page.keyboard.press("Control+k");
    await page.getByPlaceholder("A session, an agent, or what to do").fill(words);
    await page.getByRole("option", { name: item }).first().waitFor();
    await page.getByRole("option", { name: item }).first().click();
  };
  await choose("its name", /Found by its name/);
  await badge(page, "running").waitFor();
  await choose("copy watch", /watch it in a terminal/);
  assert.equal(
    await page.evaluate(() => navigator.clipboard.readText()),
    "greenroom sessions watch by-name",
  );
  await choose("stop this", /Stop this session/);
  await dialog(page).locator("[data-act=stop]").click();
  await badge(page, "stopped").waitFor();
  await choose("dark", /Dark theme/);
  assert.equal(
    await page.evaluate(() => getComputedStyle(document.documentElement).colorScheme),
    "dark",
  );
  await choose("run talker", /Run talker/);
  assert.equal(await dialog(page).getByLabel("Agent", { exact: true }).inputValue(), "talker");
  await page.keyboard.press("Escape");
  await choose("delete this", /Delete this session/);
  await dialog(page).getByRole("button", { name: "Delete" }).click();
  await page.waitForURL((url) => url.pathname === "/");
  await until("it is gone", async () => {
    const found = await server.session("by-name").catch((error) => error);
    return found.status === 404;
  });
  assert.deepEqual(page.faults, []);
  await page.context().close();
});

test("what is copied does what it says: the command line, and the API call", async () => {
  const page = await person(chrome, server);
  await page.context().grantPermissions(["clipboard-read", "clipboard-write"]);
  const env = {
    ...process.env,
    PATH: `${process.env.GREENROOM_BIN.replace(/\/[^/]+$/, "")}:${process.env.PATH}`,
    GREENROOM_URL: server.url,
    GREENROOM_TOKEN: server.token,
  };
  for (const [what, id] of [
    ["command line", "by-cli"],
    ["API call", "by-api"],
  ]) {
    await server.create("sleeper", { id, prompt: "work" });
    await server.status(id, "running");
    await page.at(`/sessions/${id}`);
    await badge(page, "running").waitFor();
    await page.locator("header").getByRole("button", { name: /^Stop/ }).click();
    await page.getByLabel("Reason, for the log").fill("it's enough");
    await page.getByRole("dialog").getByRole("button", { name: "As a command" }).click();
    await page.getByRole("button", { name: `Copy the ${what}` }).click();
    const line = await page.evaluate(() => navigator.clipboard.readText());
    assert.ok(!line.includes(server.token), "no token is in it");
    // Not in this process's way: what stands in for the page's server is in it, too.
    await promisify(execFile)("sh", ["-c", line], { env, timeout: 30_000 });
    await server.status(id, "stopped");
    const stopping = (await server.events(id)).find((one) => one.type === "session.stopping");
    assert.equal(stopping.data.reason, "it's enough");
  }
  assert.deepEqual(page.faults, []);
  await page.context().close();
});
