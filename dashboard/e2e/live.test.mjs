// Several people, and a coordinator that comes and goes.
import assert from "node:assert/strict";
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

/** Every line that the transcript shows, by going through all of it. */
async function lines(page) {
  const seen = new Set();
  const order = [];
  const box = page.locator("[data-part=transcript]");
  await box.evaluate((element) => element.scrollTo(0, 0));
  for (let still = 0; still < 3; ) {
    await pause(60);
    const found = await box.evaluate((element) =>
      [...element.querySelectorAll("[data-kind=message]")].map((one) => [
        one.dataset.seq,
        one.innerText,
      ]),
    );
    for (const [seq, text] of found) {
      if (seen.has(seq)) continue;
      seen.add(seq);
      order.push([Number(seq), text]);
    }
    const moved = await box.evaluate((element) => {
      const before = element.scrollTop;
      element.scrollTop += element.clientHeight * 0.6;
      return element.scrollTop > before + 1;
    });
    still = moved ? 0 : still + 1;
  }
  return order.sort((a, b) => a[0] - b[0]).flatMap(([, text]) => text.match(/line \d+/g) ?? []);
}

test("text that streams in is shown once, at every moment", async () => {
  const page = await person(chrome, server);
  await server.create("streamer", { id: "once", prompt: "120 25" });
  await page.at("/sessions/once");
  await badge(page, "running").waitFor();
  const found = await page.evaluate(async () => {
    const twice = [];
    let most = 0;
    let partial = 0;
    const end = performance.now() + 4000;
    while (performance.now() < end) {
      await new Promise((then) => requestAnimationFrame(then));
      const box = document.querySelector("[data-part=transcript]");
      const text = [...box.querySelectorAll("[data-kind=message], [data-kind=partial]")]
        .map((one) => one.innerText)
        .join("\n");
      if (box.querySelector("[data-kind=partial]") !== null) partial += 1;
      const lines = text.match(/line \d+|…/g) ?? [];
      most = Math.max(most, lines.length);
      // What was on its way before the page listened is not told again: it shows "…" until the log
      // has it. Nothing is missing without that, and nothing comes twice.
      let last = 0;
      let unheard = true;
      for (const line of lines) {
        if (line === "…") {
          unheard = true;
          continue;
        }
        const n = Number(line.slice(5));
        if (unheard ? n <= last : n !== last + 1) {
          twice.push(lines.slice(-6));
          break;
        }
        last = n;
        unheard = false;
      }
    }
    return { twice, most, partial };
  });
  assert.deepEqual(found.twice, []);
  assert.ok(found.most > 20, `${found.most} lines were seen`);
  assert.ok(found.partial > 0, "some of it was shown before it was in the log");
  await badge(page, "finished").waitFor();
  assert.equal(await page.locator("[data-kind=partial]").count(), 0);
  assert.deepEqual(
    await lines(page),
    Array.from({ length: 120 }, (_, index) => `line ${index + 1}`),
  );
  assert.deepEqual(page.faults, []);
  await page.context().close();
});

test("two browsers on one session see the same, and each what the other does", async () => {
  const [one, two] = [await person(chrome, server), await person(chrome, server)];
  await server.create("keeper", { id: "shared", prompt: "hello there" });
  await Promise.all([one.at("/sessions/shared"), two.at("/sessions/shared")]);
  await Promise.all([badge(one, "idle").waitFor(), badge(two, "idle").waitFor()]);
  await one.getByLabel("Prompt", { exact: true }).fill("slow question");
  await one.keyboard.press("Control+Enter");
  await two.getByText("slow question").first().waitFor();
  await badge(two, "running").waitFor();
  await two.getByLabel("Prompt", { exact: true }).fill("and another");
  await two.keyboard.press("Control+Enter");
  await one.locator("[data-part=queue]").getByText("and another").waitFor();
  await one.getByText("You said: and another").waitFor({ timeout: 20_000 });
  await two.getByText("You said: and another").waitFor();
  const text = async (page) =>
    (await page.locator("[data-part=transcript]").innerText()).replaceAll(/\d+ (ms|s)\b/g, "");
  await until("both show the same", async () => (await text(one)) === (await text(two)));
  assert.deepEqual([...one.faults, ...two.faults], []);
  await one.context().close();
  await two.context().close();
});

test("tabs of a browser share one stream, and one takes over from another", async () => {
  const first = await person(chrome, server);
  const streams = [];
  first
    .context()
    .on("request", (request) => request.url().includes("/v1/events") && streams.push(request));
  await server.create("keeper", { id: "tabs", prompt: "hello" });
  await server.status("tabs", "idle");
  await first.at("/");
  await first.locator("[data-link=live]").waitFor();
  const second = await first.context().newPage();
  await second.goto(`${server.base}/sessions/tabs`);
  await badge(second, "idle").waitFor();
  const third = await first.context().newPage();
  await third.goto(`${server.base}/sessions/tabs`);
  await badge(third, "idle").waitFor();
  await pause(500);
  assert.equal(
    streams.every((request) => request.frame().page() === first),
    true,
    "only the first tab streams",
  );
  await first.close();
  await server.api("POST", "/sessions/tabs/runs", { prompt: "after the first tab has gone" });
  await second.getByText("You said: after the first tab has gone").waitFor();
  await third.getByText("You said: after the first tab has gone").waitFor();
  await second.context().close();
});

test("the coordinator is killed and restarted while a page streams: no gap, no double, no reload", async () => {
  const page = await person(chrome, server);
  const count = 400;
  await server.create("streamer", { id: "restart", prompt: `${count} 40` });
  await page.at("/sessions/restart");
  await badge(page, "running").waitFor();
  await page.evaluate(() => {
    window.notReloaded = true;
  });
  for (let round = 0; round < 3; round += 1) {
    await pause(1200);
    await server.kill();
    await page.locator("[data-banner=lost]").waitFor();
    assert.match(await page.locator("[data-banner=lost]").innerText(), /Connection lost/);
    await server.begin();
    await page.locator("[data-banner=lost]").waitFor({ state: "detached", timeout: 20_000 });
  }
  await badge(page, "finished").waitFor({ timeout: 40_000 });
  assert.equal(await page.evaluate(() => window.notReloaded), true, "the page is the same");
  const wanted = Array.from({ length: count }, (_, index) => `line ${index + 1}`);
  assert.deepEqual(await lines(page), wanted);
  assert.equal(
    Number(await page.locator("[data-part=transcript]").getAttribute("data-to")),
    (await server.session("restart")).last_seq,
  );
  assert.deepEqual(page.faults, []);
  await page.context().close();
});

test("text that is still being written is shown as it comes, once", async () => {
  const page = await person(chrome, server);
  await server.create("shell", {
    id: "partial",
    prompt: "for i in $(seq 40); do printf 'word %s ' $i; sleep 0.3; done; echo end",
  });
  await page.at("/sessions/partial");
  await page.locator("[data-kind=partial]").getByText("word 2").waitFor();
  await badge(page, "finished").waitFor();
  assert.equal(await page.locator("[data-kind=partial]").count(), 0);
  const text = await page.locator("[data-kind=message]").allInnerTexts();
  assert.equal(text.join("").match(/word 5/g)?.length, 1);
  await page.context().close();
});
