// The nine points of the stop checklist, each under its own name.
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
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

const stopButton = (page) => page.locator("header").getByRole("button", { name: /^Stop/ });
const confirm = (page) => page.getByRole("dialog").locator("[data-act=stop]");

async function running(id, more = {}) {
  await server.create("sleeper", { id, prompt: "work", ...more });
  return server.status(id, "running");
}

async function ask(page, id) {
  await page.at(`/sessions/${id}`);
  await badge(page, "running").waitFor();
  await stopButton(page).click();
  await page.getByRole("dialog").waitFor();
}

test("the stop button shows only where it applies", async () => {
  const page = await person(chrome, server);
  await running("where-running");
  await page.at("/sessions/where-running");
  await badge(page, "running").waitFor();
  assert.equal(await stopButton(page).count(), 1, "running has it");
  await server.create("keeper", { id: "where-idle", prompt: "hi" });
  await server.status("where-idle", "idle");
  await page.at("/sessions/where-idle");
  await badge(page, "idle").waitFor();
  assert.equal(await stopButton(page).count(), 1, "idle has it");
  await server.create("asker", { id: "where-waiting", prompt: "a note" });
  await server.status("where-waiting", "waiting");
  await page.at("/sessions/where-waiting");
  await badge(page, "waiting").waitFor();
  assert.equal(await stopButton(page).count(), 1, "waiting has it");
  await server.create("talker", { id: "where-new" });
  await page.at("/sessions/where-new");
  await badge(page, "new").waitFor();
  assert.equal(await stopButton(page).count(), 0, "new has none");
  await server.create("failer", { id: "where-failed", prompt: "x" });
  await server.status("where-failed", "failed");
  await page.at("/sessions/where-failed");
  await badge(page, "failed").waitFor();
  assert.equal(await stopButton(page).count(), 0, "failed has none");
  await page.at("/sessions/where-running");
  await stopButton(page).click();
  await confirm(page).click();
  await badge(page, "stopping").waitFor();
  assert.equal(await stopButton(page).count(), 0, "stopping has none");
  await badge(page, "stopped").waitFor();
  assert.equal(await stopButton(page).count(), 0, "stopped has none");
  assert.deepEqual(page.faults, []);
  await page.context().close();
});

test("it asks for confirmation, and says what is kept", async () => {
  const page = await person(chrome, server);
  await running("confirm");
  await ask(page, "confirm");
  const dialog = page.getByRole("dialog");
  const text = await dialog.innerText();
  assert.match(text, /Keeps the workspace/);
  assert.match(text, /the log, the prompts that wait, and the agent's own conversation/);
  for (const option of [
    "Grace, in seconds",
    "Reason, for the log",
    /Withdraw the prompts/,
    /sessions it has created/,
  ]) {
    assert.equal(await dialog.getByLabel(option).count(), 1, String(option));
  }
  await dialog.getByRole("button", { name: "Cancel" }).click();
  await dialog.waitFor({ state: "detached" });
  assert.equal((await server.session("confirm")).status, "running", "nothing was asked of it");
  await page.context().close();
});

test("the call succeeds, with the options that were chosen", async () => {
  const page = await person(chrome, server);
  await running("call");
  await server.api("POST", "/sessions/call/runs", { prompt: "later" });
  await ask(page, "call");
  await page.getByLabel("Grace, in seconds").fill("0.5");
  await page.getByLabel("Reason, for the log").fill("enough of it");
  await page.getByLabel(/Withdraw the prompts/).check();
  const [response] = await Promise.all([
    page.waitForResponse((one) => one.url().endsWith("/stop")),
    confirm(page).click(),
  ]);
  assert.equal(response.status(), 202);
  assert.deepEqual(response.request().postDataJSON(), {
    grace_ms: 500,
    reason: "enough of it",
    discard_queue: true,
  });
  await badge(page, "stopped").waitFor();
  const events = await server.events("call");
  const stop = events.find((one) => one.type === "session.stopping");
  assert.equal(stop.data.reason, "enough of it");
  assert.equal(stop.data.stop.grace_ms, 500);
  assert.equal(events.filter((one) => one.type === "run.withdrawn").length, 1);
  await page.context().close();
});

test("the badge goes to stopping at once, from the coordinator's event", async () => {
  const page = await person(chrome, server);
  await running("at-once");
  await ask(page, "at-once");
  const began = Date.now();
  await confirm(page).click();
  await badge(page, "stopping").waitFor({ timeout: 1000 });
  assert.ok(Date.now() - began < 1000);
  assert.equal((await server.session("at-once")).status, "stopping");
  // A stop that nobody here has asked for shows in the same way.
  await running("not-here");
  await page.at("/sessions/not-here");
  await badge(page, "running").waitFor();
  await server.api("POST", "/sessions/not-here/stop", {});
  await badge(page, "stopping").waitFor({ timeout: 1000 });
  await page.context().close();
});

test("stopping is amber and pulses, and is still where motion is unwelcome", async () => {
  for (const reducedMotion of ["no-preference", "reduce"]) {
    const page = await person(chrome, server, { reducedMotion });
    const id = `pulse-${reducedMotion}`;
    await running(id);
    await ask(page, id);
    await confirm(page).click();
    const stopping = badge(page, "stopping");
    await stopping.waitFor();
    const look = await stopping.evaluate((element) => {
      const amber = document.createElement("i");
      amber.style.color = "var(--color-amber)";
      document.body.append(amber);
      const pulse = element.querySelector("[data-pulse=true]");
      return {
        colour: getComputedStyle(element).color === getComputedStyle(amber).color,
        animation: getComputedStyle(pulse).animationName,
        word: element.textContent,
      };
    });
    assert.equal(look.colour, true, "amber");
    assert.equal(look.animation, reducedMotion === "reduce" ? "none" : "breathe");
    assert.match(look.word, /Stopping/, "by word as well as by colour");
    await page.context().close();
  }
});

test("it is stopped after the process has ended, with the receipt's line", async () => {
  const page = await person(chrome, server);
  await running("after");
  await ask(page, "after");
  await confirm(page).click();
  await badge(page, "stopped").waitFor();
  const session = await server.session("after");
  assert.equal(session.status, "stopped");
  assert.equal(session.receipt.survivors, 0);
  const line = await page.locator("[data-part=receipt-line]").innerText();
  assert.match(line, new RegExp(`^\\s*${session.receipt.processes_seen} processes, 0 survivors, `));
  await page.getByRole("tab", { name: "Receipts" }).click();
  await page.locator("#tab-panel [data-receipt='1']").waitFor();
  const steps = await page.locator("#tab-panel [data-receipt='1'] ol li").count();
  assert.equal(steps, session.receipt.steps.length, "each step is shown");
  await page.context().close();
});

test("everybody sees it live", async () => {
  const [one, two] = [await person(chrome, server), await person(chrome, server)];
  await running("live");
  const tab = await one.context().newPage();
  await tab.goto(`${server.base}/`);
  await two.at("/");
  const row = (page, status) => page.locator(`[data-session=live] [data-status=${status}]`);
  await row(two, "running").waitFor();
  await row(tab, "running").waitFor();
  await ask(one, "live");
  await confirm(one).click();
  await Promise.all([
    row(two, "stopping").waitFor(),
    row(tab, "stopping").waitFor(),
    badge(one, "stopping").waitFor(),
  ]);
  await Promise.all([
    row(two, "stopped").waitFor(),
    row(tab, "stopped").waitFor(),
    badge(one, "stopped").waitFor(),
  ]);
  await one.context().close();
  await two.context().close();
});

test("errors say what the coordinator says: missing, not running, unreachable", async () => {
  const page = await person(chrome, server);
  // Missing: removed while the dialog is open, on a page that hears nothing of it.
  await running("missing");
  await page.route("**/v1/events*", (route) => route.abort());
  await page.at("/");
  await page.locator("[data-session=missing] [data-status=running]").waitFor();
  await page
    .locator("[data-session=missing]")
    .getByLabel(/^Choose/)
    .check();
  await page.keyboard.press("s");
  await confirm(page).waitFor();
  await page.waitForTimeout(500);
  await server.api("DELETE", "/sessions/missing?wait=20s");
  await confirm(page).click();
  const alert = page.getByRole("dialog").getByRole("alert");
  await alert.waitFor();
  assert.match(await alert.innerText(), /session "missing" not found or has been deleted/);
  assert.match(await alert.innerText(), /greenroom sessions ls/);
  await page.unroute("**/v1/events*");
  await page.at("/sessions/missing");
  await page.getByText("is not there, or has been deleted").waitFor();
  // Not running: somebody was faster.
  await running("faster");
  await ask(page, "faster");
  await server.api("POST", "/sessions/faster/stop?wait=20s", {});
  await page.getByRole("dialog").getByText("there is nothing to stop").waitFor();
  assert.equal(await confirm(page).isEnabled(), false);
  await page.context().close();
});

test("two stops at the same time give one receipt", async () => {
  const [one, two] = [await person(chrome, server), await person(chrome, server)];
  await running("twice");
  await Promise.all([ask(one, "twice"), ask(two, "twice")]);
  await Promise.all([
    confirm(one).evaluate((button) => {
      button.click();
      button.click();
    }),
    // Whoever is slower finds the button off, which is as good: so a third asks by the API.
    confirm(two).evaluate((button) => button.click()),
    server.api("POST", "/sessions/twice/stop?wait=20s", {}),
  ]);
  await Promise.all([badge(one, "stopped").waitFor(), badge(two, "stopped").waitFor()]);
  const events = await server.events("twice");
  assert.equal(events.filter((event) => event.data.receipt !== undefined).length, 1);
  assert.equal(events.filter((event) => event.type === "session.stopping").length, 1);
  // Whose stop came too late is still being told so.
  await one.keyboard.press("Escape");
  await one.getByRole("tab", { name: "Receipts" }).click();
  await one.locator("#tab-panel [data-receipt]").first().waitFor();
  assert.equal(await one.locator("#tab-panel [data-receipt]").count(), 1);
  assert.deepEqual([...one.faults, ...two.faults], []);
  await one.context().close();
  await two.context().close();
});

test("an unreachable runner: the session is hatched, and may be stopped or abandoned", async () => {
  const apart = await Server.start({ up: false, more: ["--runner-ttl", "4s"] });
  const page = await person(chrome, apart);
  try {
    const join = await apart.api("POST", "/tokens", { role: "runner" });
    const runner = await apart.spawn(
      [
        "runner",
        "--coordinator",
        apart.url,
        "--token",
        join.secret,
        "--data",
        `${apart.folder}/runner`,
        "--name",
        "far",
      ],
      /(.+)/,
    );
    await until(
      "the runner is there",
      async () => (await apart.api("GET", "/runners")).items.length > 0,
    );
    await apart.create("sleeper", { id: "far", prompt: "work" });
    await apart.status("far", "running");
    await page.at("/sessions/far");
    await badge(page, "running").waitFor();
    runner.kill("SIGSTOP");
    try {
      await badge(page, "unreachable").waitFor({ timeout: 90_000 });
      assert.equal(
        await badge(page, "unreachable").evaluate((one) =>
          getComputedStyle(one).backgroundImage.includes("repeating-linear-gradient"),
        ),
        true,
        "hatched",
      );
      assert.equal(await stopButton(page).count(), 1);
      const abandon = page.getByRole("button", { name: "Abandon" });
      assert.equal(await abandon.count(), 1);
      await abandon.click();
      const dialog = page.getByRole("dialog");
      assert.match(await dialog.innerText(), /by your word/);
      await dialog.getByLabel("How do you know that it is gone?").fill("the machine is off");
      await dialog.getByRole("button", { name: "Abandon" }).click();
      await badge(page, "interrupted").waitFor();
    } finally {
      runner.kill("SIGCONT");
    }
  } finally {
    await page.context().close();
    await apart.end();
  }
});
