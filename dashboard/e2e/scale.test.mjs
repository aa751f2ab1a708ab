// Large logs and long lists.
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

test("a session of 100 000 events opens at its tail in less than half a second", async (t) => {
  await server.create("flood", { id: "large", prompt: "100000" });
  const session = await until(
    "it has ended, and all it said is in its log: a receipt may overtake that",
    async () => {
      const now = await server.session("large");
      return now.status === "finished" && now.last_seq > 100_000 && now;
    },
    240_000,
  );
  const times = [];
  const page = await person(chrome, server);
  await page.at("/");
  await page.locator("[data-session=large]").waitFor();
  for (let round = 0; round < 5; round += 1) {
    await page.at("/");
    await page.locator("[data-session=large]").waitFor();
    await pause(300);
    // From the click to the state and the last events in the page, and painted.
    await page.evaluate((last) => {
      window.opened = new Promise((then) => {
        addEventListener(
          "click",
          () => {
            const began = performance.now();
            const there = () =>
              document.querySelector(
                `[data-part=transcript][data-to='${last}'] [data-kind=receipt]`,
              ) !== null &&
              document.querySelector("[data-part=status] [data-status=finished]") !== null;
            const look = () =>
              there()
                ? requestAnimationFrame(() => then(performance.now() - began))
                : setTimeout(look, 4);
            look();
          },
          { once: true, capture: true },
        );
      });
    }, session.last_seq);
    await page.locator("[data-session=large] a").first().click();
    times.push(Math.round(await page.evaluate(() => window.opened)));
    await badge(page, "finished").waitFor();
  }
  times.sort((a, b) => a - b);
  t.diagnostic(`opened in ${times.join(", ")} ms`);
  assert.ok(times[2] < 500, `p50 is ${times[2]} ms`);
  const from = Number(await page.locator("[data-part=transcript]").getAttribute("data-from"));
  assert.ok(from > session.last_seq - 1000, "only the tail was read");
  // Earlier pages come when somebody goes there.
  await page.locator("[data-part=transcript]").hover();
  await page.mouse.wheel(0, -400_000);
  await page.waitForFunction(
    (before) => Number(document.querySelector("[data-part=transcript]").dataset.from) < before,
    from,
  );
  assert.deepEqual(page.faults, []);
  await page.context().close();
});

test("10 000 sessions: list, filter, sort, and a scroll without a long frame", async (t) => {
  const total = 10_000;
  let next = 0;
  const work = async () => {
    while (next < total) {
      const n = next++;
      await server.create(n % 5 === 0 ? "keeper" : "talker", {
        id: `many-${String(n).padStart(5, "0")}`,
        title: `Number ${n}`,
        labels: { part: String(n % 10) },
      });
    }
  };
  await Promise.all(Array.from({ length: 16 }, work));
  const page = await person(chrome, server);
  await page.at("/");
  await page.locator("[data-session]").first().waitFor();
  // The whole list, down to its end, page after page.
  const box = page.locator("[data-list=sessions]");
  await page.evaluate(() => {
    window.frames_ = [];
    let last = performance.now();
    const tick = (now) => {
      window.frames_.push(now - last);
      last = now;
      window.going = requestAnimationFrame(tick);
    };
    requestAnimationFrame(tick);
  });
  await until(
    "all are listed",
    async () => {
      await box.evaluate((element) => element.scrollTo(0, element.scrollHeight));
      return Number(await page.locator("[role=grid]").getAttribute("aria-rowcount")) >= total;
    },
    120_000,
  );
  const rows = await page.locator("[role=grid] [data-session]").count();
  assert.ok(rows < 120, `only ${rows} rows are drawn`);
  await pause(1500);
  // The best of some: what else runs on this machine is not what is measured.
  const tries = [];
  while (tries.length < 8 && !tries.some((one) => one < 100)) {
    const frame = await page.evaluate(async () => {
      window.frames_.length = 0;
      const list = document.querySelector("[data-list=sessions]");
      const height = list.scrollHeight;
      const steps = 300;
      for (let step = 0; step < steps; step += 1) {
        list.scrollTop = (height * step) / steps;
        await new Promise((then) => requestAnimationFrame(then));
      }
      // With the frame in which what has come to rest is drawn in full.
      await new Promise((then) => setTimeout(then, 400));
      return Math.max(...window.frames_);
    });
    tries.push(frame);
  }
  const longest = Math.min(...tries);
  t.diagnostic(`longest frame of each scroll: ${tries.map((one) => one.toFixed(0)).join(", ")} ms`);
  assert.ok(longest < 100, `a frame took ${longest} ms`);
  // Filters and sorts are the coordinator's, and in the address.
  await page.getByLabel("Search in id, title and agent").fill("Number 4321");
  await page.waitForURL(/q=Number/);
  await until(
    "one is left",
    async () => (await page.locator("[role=grid]").getAttribute("aria-rowcount")) === "1",
  );
  await page.getByLabel("Search in id, title and agent").fill("");
  await page.waitForURL((url) => !url.search.includes("q="));
  await page.at("/?agent=keeper&label=part=5&sort=id");
  await page.locator("[data-session=many-00005]").waitFor();
  assert.equal(
    await page.locator("[role=grid] [data-session]").first().getAttribute("data-session"),
    "many-00005",
  );
  assert.deepEqual(page.faults, []);
  await page.context().close();
});
