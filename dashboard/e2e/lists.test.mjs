// What the list of sessions says of each, and the tree of them.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { browser, person, Server, until } from "./harness.mjs";

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

const row = (page, id) => page.locator(`[role=grid] [data-session='${id}']`);
const doing = (page, id) => row(page, id).locator("[data-part=doing]");

test("a row says what its session does now, and follows it", async () => {
  const page = await person(chrome, server);
  const streams = [];
  page.on(
    "request",
    (one) => one.url().includes("/v1/events") && streams.push(decodeURIComponent(one.url())),
  );
  await server.create("coder", { id: "calls", prompt: "stay on it" });
  await server.create("sleeper", { id: "ticks", prompt: "work" });
  await server.create("asker", { id: "asks", prompt: "a note" });
  await server.create("trainer", { id: "queues", prompt: "train" });
  await server.create("failer", { id: "fails", prompt: "x" });
  await server.status("asks", "waiting");
  await page.at("/");
  await doing(page, "calls").getByText("$ pytest -q tests --count 500 -x").waitFor();
  await doing(page, "asks").getByText("asks: Write notes.md").waitFor();
  await doing(page, "queues").getByText("no runner has the labels its agent asks for").waitFor();
  await doing(page, "fails").getByText("exited with code 3").waitFor();
  // It goes on without being asked for: by the stream, and only by that.
  const said = async () => Number(/tick (\d+)/.exec(await doing(page, "ticks").innerText())?.[1]);
  const first = await until("it says something", said);
  const reads = [];
  page.on("request", (one) => /sessions\/ticks\/events/.test(one.url()) && reads.push(one.url()));
  await until("it says more", async () => (await said()) > first + 2);
  assert.deepEqual(reads, [], "nothing is read again");
  assert.ok(streams.at(-1).includes("ticks@"), "its log is watched by the one stream");
  await server.api("POST", "/sessions/ticks/stop?wait=20s", {});
  await doing(page, "ticks")
    .getByText(/processes, 0 survivors/)
    .waitFor();
  assert.deepEqual(page.faults, []);
  await page.context().close();
});

test("the tree shows roots alone, with the sum of what is beneath, and unfolds", async () => {
  const page = await person(chrome, server);
  await server.create("keeper", { id: "root", prompt: "hello", labels: { part: "tree" } });
  await server.create("keeper", { id: "child", prompt: "hello", parent: "root" });
  await server.create("sleeper", { id: "grandchild", prompt: "work", parent: "child" });
  await server.status("root", "idle");
  await server.status("child", "idle");
  await server.status("grandchild", "running");
  await page.at("/?view=tree");
  await row(page, "root").waitFor();
  assert.equal(await row(page, "child").count(), 0, "what is beneath is folded");
  const arm = row(page, "root").getByRole("button", { name: /beneath, together/ });
  assert.equal(await arm.getAttribute("aria-label"), "2 sessions beneath, together Running");
  await arm.click();
  await row(page, "child").waitFor();
  assert.equal(await row(page, "grandchild").count(), 0);
  // One that waits for a person is seen through all that is folded above it.
  await server.create("asker", { id: "deep", prompt: "a note", parent: "child" });
  await server.status("deep", "waiting");
  await row(page, "root")
    .getByRole("button", { name: "3 sessions beneath, together Waiting" })
    .waitFor();
  await row(page, "child")
    .getByRole("button", { name: "2 sessions beneath, together Waiting" })
    .click();
  await row(page, "deep").waitFor();
  await row(page, "grandchild").waitFor();
  await row(page, "root")
    .getByRole("button", { name: /beneath/ })
    .click();
  for (const id of ["child", "deep", "grandchild"])
    await row(page, id).waitFor({ state: "detached" });
  // Narrowed to what has a label, the root alone fits; what is beneath it is read when it is unfolded.
  await page.at("/?view=tree&label=part=tree");
  await row(page, "root").waitFor();
  assert.equal(await page.locator("[role=grid] [data-session]").count(), 1);
  await page.keyboard.press("l");
  await row(page, "child").waitFor();
  assert.equal(await row(page, "grandchild").count(), 0);
  assert.deepEqual(page.faults, []);
  await page.context().close();
});
