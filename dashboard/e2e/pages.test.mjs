// What people do on the pages, with a mouse and with keys alone.
import assert from "node:assert/strict";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { badge, browser, pause, person, Server, until } from "./harness.mjs";

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

test("a question is answered from the inbox, and the title counts what waits", async () => {
  const page = await person(chrome, server);
  await server.create("asker", { id: "inbox", prompt: "a note", title: "Inbox" });
  await server.status("inbox", "waiting");
  await page.at("/attention");
  const row = page.locator("[data-group=waiting] [data-session=inbox]");
  await row.waitFor();
  await until("the title counts", async () => (await page.title()).startsWith("(1)"));
  assert.match(await page.locator("#favicon").getAttribute("href"), /^data:image\/svg/);
  await row.getByRole("button", { name: /Allow once/ }).click();
  await page.locator("[data-group=waiting]").waitFor({ state: "detached" });
  await server.status("inbox", "idle");
  await until("the title is quiet", async () => !(await page.title()).startsWith("("));
  await page.locator("[data-group=done] [data-session=inbox]").waitFor();
  const answered = (await server.events("inbox")).filter(
    (event) => event.type === "approval.answered",
  );
  assert.equal(answered.length, 1);
  assert.equal(answered[0].data.decision, "allow");
  // Looked at, it is seen.
  await page.locator("[data-session=inbox] a").click();
  await badge(page, "idle").waitFor();
  await pause(500);
  await page.goBack();
  await page.getByRole("heading", { name: "Attention" }).waitFor();
  await pause(300);
  assert.equal(await page.locator("[data-group=done] [data-session=inbox]").count(), 0);
  assert.deepEqual(page.faults, []);
  await page.context().close();
});

test("the time slider shows the state of the log at three moments, and a link leads there", async () => {
  const page = await person(chrome, server);
  await server.create("keeper", { id: "slider", prompt: "slow first", title: "Slider" });
  const states = [];
  const keep = async () => {
    const state = await server.session("slider");
    if (!states.some((one) => one.last_seq === state.last_seq)) states.push(state);
  };
  await server.status("slider", "running");
  await keep();
  await server.api("POST", "/sessions/slider/runs", { prompt: "second" });
  await keep();
  await server.status("slider", "idle");
  await keep();
  await server.api("POST", "/sessions/slider/stop?wait=20s", {});
  await keep();
  const folds = await server.has("get", "/v1/sessions/{id}/state");
  const moments = states.slice(0, 3);
  assert.ok(moments.length >= 3);
  for (const state of moments) {
    const told = folds
      ? await server.api("GET", `/sessions/slider/state?seq=${state.last_seq}`)
      : state;
    await page.at(`/sessions/slider?seq=${state.last_seq}`);
    await page.locator(`[data-part=timeline][data-seq='${state.last_seq}']`).waitFor();
    await badge(page, told.status).waitFor();
    const last = await page
      .locator("[data-part=transcript] [data-to]")
      .evaluateAll((all) => Math.max(...all.map((one) => Number(one.dataset.to))));
    assert.ok(last <= state.last_seq, "nothing later is shown");
    assert.equal(
      await page.getByLabel("Prompt", { exact: true }).count(),
      0,
      "the past takes no prompts",
    );
    const said = await page.locator("header").first().innerText();
    await pause(1300);
    assert.equal(await page.locator("header").first().innerText(), said, "its clocks stand still");
  }
  // The slider itself, and back to now.
  await page.getByRole("slider", { name: "Moment of the log" }).focus();
  await page.keyboard.press("Home");
  await page.waitForURL(/seq=1$/);
  await badge(page, "new").waitFor();
  await page.getByRole("button", { name: /Now/ }).click();
  await badge(page, "stopped").waitFor();
  assert.deepEqual(page.faults, []);
  await page.context().close();
});

test("a file is uploaded, and what has changed is shown side by side", async () => {
  const page = await person(chrome, server);
  await server.create("gitter", { id: "files", prompt: "go" });
  await server.status("files", "finished");
  await page.at("/sessions/files?tab=files");
  await page
    .getByRole("button", { name: /notes\.md/ })
    .first()
    .waitFor();
  const local = join(server.folder, "uploaded.py");
  await writeFile(local, "print('from the browser')\n");
  await page.getByLabel("Files to upload").setInputFiles(local);
  await page.getByRole("button", { name: /^uploaded\.py/ }).click();
  await page.locator("[data-part=file]").getByText("from the browser").waitFor();
  assert.equal(
    await server.api("GET", "/sessions/files/files/content/uploaded.py"),
    "print('from the browser')\n",
  );
  await page.getByRole("tab", { name: "Changes" }).click();
  await page.locator("[data-file='notes.md']").waitFor();
  assert.deepEqual(
    await page
      .locator("[data-file]")
      .evaluateAll((all) => all.map((one) => one.dataset.file).sort()),
    ["added.txt", "notes.md", "uploaded.py"],
  );
  assert.match(await page.locator("[data-file='notes.md']").innerText(), /changed/);
  assert.deepEqual(page.faults, []);
  await page.context().close();
});

test("a past moment shows the files and changes that it had", async () => {
  const page = await person(chrome, server);
  await server.create("gitter", { id: "moments", prompt: "go" });
  await server.status("moments", "finished");
  const again = await server.api("POST", "/sessions/moments/runs", { prompt: "again" });
  await until("both runs have ended", async () => {
    const run = await server.api("GET", `/runs/${again.id}`);
    return run.status === "completed" && run.files?.commit !== undefined;
  });
  const { items } = await server.api("GET", "/sessions/moments/events?limit=1000");
  const first = items.find((event) => event.type === "run.completed").seq;
  const lines = async () => {
    await page.getByRole("button", { name: /^notes\.md/ }).click();
    const text = await page.locator("[data-part=file]").innerText();
    return text.match(/changed/g)?.length ?? 0;
  };
  await page.at("/sessions/moments?tab=files");
  assert.equal(await lines(), 2);
  await page.at(`/sessions/moments?tab=files&seq=${first}`);
  await page.locator("[data-part=moment]").waitFor();
  assert.equal(await lines(), 1);
  assert.equal(await page.getByLabel("Files to upload").count(), 0, "the past is not changed");
  await page.getByRole("tab", { name: "Changes" }).click();
  await page.locator("[data-file='notes.md']").waitFor();
  assert.equal(await page.locator("[data-file='notes.md']").getByText("- changed").count(), 1);
  // Before a run had ended there are none, and the page says so.
  await page.at("/sessions/moments?tab=files&seq=2");
  await page.getByText("The files of this moment are not kept").waitFor();
  assert.deepEqual(
    page.faults.filter((fault) => !fault.includes("404")),
    [],
  );
  await page.context().close();
});

test("a session is started from a form that its agent's schema makes", async () => {
  const page = await person(chrome, server);
  await page.at("/");
  await page.getByRole("button", { name: /New session/ }).click();
  const dialog = page.getByRole("dialog");
  await dialog.getByLabel("Agent", { exact: true }).selectOption("former");
  await dialog.getByRole("button", { name: /Start/ }).click();
  await dialog.getByText("Ticket is needed").waitFor();
  await dialog.getByLabel(/^Ticket/).fill("GR-12");
  await dialog.getByLabel("Title").fill("From a form");
  await dialog.getByLabel("Attempts").fill("2");
  await dialog.getByRole("button", { name: "As a command" }).click();
  await page.getByText(/greenroom sessions create former --input/).waitFor();
  await page.keyboard.press("Escape");
  await dialog.getByRole("button", { name: /Start/ }).click();
  await page.waitForURL(/\/sessions\//);
  await badge(page, "finished").waitFor();
  const id = decodeURIComponent(new URL(page.url()).pathname.split("/").pop());
  const { items } = await server.api("GET", `/sessions/${id}/runs`);
  assert.deepEqual(items[0].input, { priority: "normal", attempts: 2, ticket: "GR-12" });
  assert.deepEqual(page.faults, []);
  await page.context().close();
});

test("waiting prompts can be withdrawn, and one sent as an interruption", async () => {
  const page = await person(chrome, server);
  await server.create("keeper", { id: "queue", prompt: "slow one" });
  await server.status("queue", "running");
  for (const prompt of ["slow two", "slow three"])
    await server.api("POST", "/sessions/queue/runs", { prompt });
  await page.at("/sessions/queue");
  const queue = page.locator("[data-part=queue]");
  await queue.getByText("slow three").waitFor();
  await queue.getByRole("button", { name: "Waiting prompt 1" }).click();
  await page.getByRole("menuitem", { name: "Withdraw", exact: true }).click();
  await queue.getByText("slow two").waitFor({ state: "detached" });
  await page.getByLabel("Prompt", { exact: true }).fill("at once");
  await page.getByRole("button", { name: "Ways to send" }).click();
  await page.getByRole("menuitem", { name: /Send and interrupt/ }).click();
  await page.getByText("You said: at once").waitFor({ timeout: 20_000 });
  const runs = (await server.api("GET", "/sessions/queue/runs")).items;
  assert.equal(runs.find((run) => run.prompt === "slow two").status, "withdrawn");
  assert.equal(runs.find((run) => run.prompt === "at once").mode, "interrupt");
  await page.context().close();
});

test("a token is given once, becomes a cookie that no script reads, and signing out ends it", async () => {
  const page = await person(chrome, server, { signedIn: false });
  await page.at("/attention");
  await page.waitForURL(/\/login/);
  await page.getByLabel(/^Token/).fill("not-a-token");
  await page.getByRole("button", { name: "Sign in" }).click();
  await page
    .getByRole("alert")
    .getByText(/not known/)
    .waitFor();
  await page.getByLabel(/^Token/).fill(server.token);
  await page.getByRole("button", { name: "Sign in" }).click();
  await page.waitForURL(/\/attention$/);
  await page.getByRole("heading", { name: "Attention" }).waitFor();
  const [cookie] = await page.context().cookies(server.base);
  assert.equal(cookie.httpOnly, true);
  assert.equal(cookie.sameSite, "Strict");
  assert.notEqual(cookie.value, server.token);
  const kept = await page.evaluate(() => JSON.stringify([document.cookie, { ...localStorage }]));
  assert.ok(!kept.includes(server.token) && !kept.includes(cookie.value));
  const reads = () =>
    fetch(`${server.url}/v1/login`, { headers: { authorization: `Bearer ${cookie.value}` } });
  assert.deepEqual(await (await reads()).json(), { principal: "admin", role: "admin" });
  await page.at("/settings");
  await page.getByRole("button", { name: "Sign out" }).click();
  await page.waitForURL(/\/login/);
  assert.equal((await reads()).status, 401);
  assert.deepEqual(await page.context().cookies(server.base), []);
  await page.at("/");
  await page.waitForURL(/\/login/);
  assert.deepEqual(page.faults, []);
  await page.context().close();
});

test("waiting prompts are changed and put into another order", async () => {
  const page = await person(chrome, server);
  await server.create("sleeper", { id: "order", prompt: "work" });
  await server.status("order", "running");
  for (const prompt of ["first", "second", "third"])
    await server.api("POST", "/sessions/order/runs", { prompt });
  await page.at("/sessions/order");
  const rows = page.locator("[data-part=queue] [data-run]");
  const order = (...wanted) =>
    until(`the queue is ${wanted}`, async () => {
      const texts = await rows.locator("span[title]").allInnerTexts();
      return JSON.stringify(texts) === JSON.stringify(wanted);
    });
  const choose = async (place, name) => {
    await page.getByRole("button", { name: `Waiting prompt ${place}` }).click();
    await page.getByRole("menuitem", { name, exact: true }).click();
  };
  await order("first", "second", "third");
  await choose(3, "Move up");
  await order("first", "third", "second");
  await choose(1, "Move down");
  await order("third", "first", "second");
  await choose(2, "Change");
  const edited = rows.nth(1).getByLabel("Prompt", { exact: true });
  await until("what is changed has the focus", () =>
    edited.evaluate((element) => element === document.activeElement),
  );
  await page.keyboard.press("End");
  await page.keyboard.type(", and better");
  await page.keyboard.press("Enter");
  await order("third", "first, and better", "second");
  const said = (await server.events("order")).filter((event) =>
    /run\.(moved|edited)/.test(event.type),
  );
  assert.deepEqual(
    said.map(({ type, data }) => [type, data.position ?? data.prompt]),
    [
      ["run.moved", 1],
      ["run.moved", 1],
      ["run.edited", "first, and better"],
    ],
  );
  await page.getByText("A waiting prompt was changed by admin").waitFor();
  // Its agent takes nothing while it works, and says so.
  await page.getByLabel("Prompt", { exact: true }).fill("and this now");
  await page.getByRole("button", { name: "Ways to send" }).click();
  await page.getByRole("menuitem", { name: /Send into the run in progress/ }).click();
  await page.getByRole("alert").waitFor();
  const refused = await server
    .api("POST", "/sessions/order/runs", { prompt: "and this now", mode: "steer" })
    .catch((error) => error);
  assert.equal(refused.status, 409);
  const { detail } = JSON.parse(refused.message.slice(refused.message.indexOf("{")));
  await page.getByRole("alert").getByText(detail).waitFor();
  await server.api("POST", "/sessions/order/stop?wait=20s", { discard_queue: true });
  assert.deepEqual(page.faults, []);
  await page.context().close();
});

test("what was seen in one browser is seen in the other", async () => {
  const [one, two] = [await person(chrome, server), await person(chrome, server)];
  await server.create("former", { id: "glance", input: { ticket: "GR-1", priority: "low" } });
  await server.status("glance", "finished");
  await Promise.all([one.at("/attention"), two.at("/attention")]);
  const row = (page) => page.locator("[data-group=done] [data-session=glance]");
  await Promise.all([row(one).waitFor(), row(two).waitFor()]);
  await row(one).getByRole("button", { name: "Seen" }).click();
  await row(one).waitFor({ state: "detached" });
  const { last_seq } = await server.session("glance");
  await until("the coordinator knows", async () => {
    const { items } = await server.api("GET", "/seen");
    return items.glance === last_seq;
  });
  await two.evaluate(() => window.dispatchEvent(new Event("visibilitychange")));
  await row(two).waitFor({ state: "detached" });
  // Not for good: what comes after it is unseen again, for both.
  await server.api("POST", "/sessions/glance/runs", { input: { ticket: "GR-2", priority: "low" } });
  await Promise.all([row(one).waitFor(), row(two).waitFor()]);
  for (const page of [one, two]) {
    assert.deepEqual(page.faults, []);
    await page.context().close();
  }
});

test("the versions of an agent, and what each has changed", async () => {
  const page = await person(chrome, server);
  const file = join(server.agents, "versioned.yaml");
  const write = (about) =>
    writeFile(file, `name: versioned\ndescription: ${about}\ndriver: command\ncommand: [cat]\n`);
  const versions = (count) =>
    until(`${count} versions`, async () => {
      const answer = await server.api("GET", "/agents/versioned/versions").catch(() => null);
      return answer?.items.length === count && answer.items;
    });
  await write("Says it back");
  await versions(1);
  await write("Repeats what was said");
  const [latest, first] = await versions(2);
  assert.deepEqual([latest.version, latest.current], [2, true]);
  assert.deepEqual([first.version, first.current], [1, false]);
  await page.at("/agents/versioned");
  await page.locator("[data-version='2']").getByText("in service").waitFor();
  await page.locator("[data-version='2'] button").first().click();
  const diff = page.locator("[data-version='2']");
  await diff.getByText("Repeats what was said").waitFor();
  await diff.getByText("Says it back").waitFor();
  assert.deepEqual(page.faults, []);
  await page.context().close();
});

test("many at once: chosen, stopped and deleted together", async () => {
  const page = await person(chrome, server);
  for (const id of ["bulk-1", "bulk-2", "bulk-3"])
    await server.create("sleeper", { id, prompt: "work", labels: { set: "bulk" } });
  await server.status("bulk-3", "running");
  await page.at("/?label=set=bulk");
  await page.locator("[data-session=bulk-1] [data-status=running]").waitFor();
  await page.getByLabel("Choose all").check();
  await page.getByRole("button", { name: "Stop 3" }).click();
  await page.getByRole("dialog").locator("[data-act=stop]").click();
  for (const id of ["bulk-1", "bulk-2", "bulk-3"])
    await page.locator(`[data-session=${id}] [data-status=stopped]`).waitFor();
  await page.getByRole("button", { name: "Delete 3" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "Delete 3" }).click();
  await page.getByText("No session fits").waitFor();
  assert.deepEqual(page.faults, []);
  await page.context().close();
});

test("keys alone: start, read, answer, stop, find, and go everywhere", async () => {
  const page = await person(chrome, server);
  await page.at("/");
  await page.getByRole("heading", { name: "Sessions" }).waitFor();
  await pause(500);
  const press = async (...keys) => {
    for (const key of keys) await page.keyboard.press(key);
  };
  // A new session, without a mouse.
  await press("c");
  const dialog = page.getByRole("dialog");
  await dialog.waitFor();
  await dialog.getByLabel("Agent", { exact: true }).focus();
  await page.keyboard.type("asker");
  await dialog.getByLabel("Prompt").focus();
  await page.keyboard.type("with keys");
  await press("Control+Enter");
  await page.waitForURL(/\/sessions\//);
  await badge(page, "waiting").waitFor();
  // Approve, prompt again, deny.
  await page.locator("main").focus();
  await press("a");
  await badge(page, "idle").waitFor();
  await press("p");
  await page.keyboard.type("again");
  await press("Control+Enter");
  await badge(page, "waiting").waitFor();
  await press("Escape", "d");
  await page.getByText("Then I leave it").waitFor();
  // Through the transcript and back in time.
  await press("k", "k", "e");
  await press("[");
  await page.waitForURL(/seq=\d+/);
  await press("Escape");
  await page.waitForURL((url) => !url.search.includes("seq"));
  for (const [key, tab] of [
    ["2", "Files"],
    ["5", "Receipts"],
    ["1", "Transcript"],
  ]) {
    await press(key);
    await page.locator(`[role=tab][aria-selected=true]`, { hasText: tab }).waitFor();
  }
  // Stop.
  await press("s");
  await dialog.waitFor();
  await press("Enter");
  await badge(page, "stopped").waitFor();
  // Everywhere, and the palette.
  for (const [keys, title] of [
    [["g", "a"], "Attention"],
    [["g", "r"], "Runners"],
    [["g", "e"], "Agents"],
    [["g", ","], "Settings"],
    [["g", "s"], "Sessions"],
  ]) {
    await press(...keys);
    await page.getByRole("heading", { level: 1, name: title }).waitFor();
  }
  await press("?");
  await page.getByRole("heading", { name: "Keys" }).waitFor();
  await press("Escape");
  await press("/");
  await page.keyboard.type("Inbox");
  await page.waitForURL(/q=Inbox/);
  await press("Escape");
  await press("Control+k");
  await page.keyboard.type("runners");
  await press("Enter");
  await page.getByRole("heading", { level: 1, name: "Runners" }).waitFor();
  assert.deepEqual(page.faults, []);
  await page.context().close();
});

test("on a narrow screen the details of a session are a dialog", async () => {
  const page = await person(chrome, server, { viewport: { width: 390, height: 844 } });
  await server.create("keeper", {
    id: "narrow",
    prompt: "hello",
    title: "With a title that is longer than a telephone is wide",
    labels: { team: "core" },
  });
  await server.create("talker", { id: "narrow-child", parent: "narrow" });
  await page.at("/sessions/narrow");
  await badge(page, "idle").waitFor();
  assert.equal(await page.locator("aside").isVisible(), false);
  await page.getByRole("button", { name: "Details", exact: true }).click();
  const dialog = page.getByRole("dialog");
  await dialog.getByText("512 MiB").waitFor();
  await dialog.getByText("team=core").waitFor();
  await dialog.getByRole("meter", { name: "idle" }).waitFor();
  await dialog.getByRole("link", { name: "narrow-child" }).click();
  await page.waitForURL(/\/sessions\/narrow-child$/);
  assert.deepEqual(page.faults, []);
  await page.context().close();
});
