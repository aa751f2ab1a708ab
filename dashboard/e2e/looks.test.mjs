// Accessibility, the policy of the page, and how every page looks.
import assert from "node:assert/strict";
import { mkdir, readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { ARTEFACTS, browser, pause, person, Server } from "./harness.mjs";
import { scene } from "./scene.mjs";

const axe = await readFile(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

let server;
let chrome;

before(async () => {
  chrome = await browser();
  server = await Server.start();
  await mkdir(ARTEFACTS, { recursive: true });
  await scene(server);
});
after(async () => {
  await chrome?.close();
  await server?.end();
});

const PAGES = {
  sessions: "/",
  filtered: "/?status=waiting,running&label=team=core",
  tree: "/?view=tree",
  attention: "/attention",
  session: "/sessions/pool-leak",
  working: "/sessions/flaky-tests",
  waiting: "/sessions/release-notes",
  queue: "/sessions/migration",
  queued: "/sessions/fine-tune",
  failed: "/sessions/model-comparison",
  new: "/sessions/someday",
  past: "/sessions/pool-leak?seq=20",
  files: "/sessions/greeting?tab=files",
  changes: "/sessions/greeting?tab=changes",
  runs: "/sessions/migration?tab=runs",
  receipts: "/sessions/nightly-import?tab=receipts",
  missing: "/sessions/nobody",
  runners: "/runners",
  agents: "/agents",
  agent: "/agents/coder",
  settings: "/settings",
  tokens: "/settings?view=tokens",
  api: "/settings?view=api",
};

const DIALOGS = {
  stop: ["/sessions/migration", "s"],
  delete: ["/sessions/migration", "Delete"],
  new: ["/", "c"],
  keys: ["/", "?"],
  palette: ["/sessions/migration", "Control+k"],
};

const SIZES = { desk: { width: 1440, height: 900 }, phone: { width: 390, height: 844 } };

async function serious(page) {
  // From outside of the page: its policy lets no other script in.
  const session = await page.context().newCDPSession(page);
  await session.send("Runtime.evaluate", { expression: axe });
  const { result } = await session.send("Runtime.evaluate", {
    expression: `axe.run(document, { runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"] }).then((r) => JSON.stringify(r.violations.filter((v) => v.impact === "serious" || v.impact === "critical").map((v) => ({ id: v.id, nodes: v.nodes.slice(0, 4).map((n) => n.html.slice(0, 160) + " :: " + (n.any[0]?.message ?? "")) }))))`,
    awaitPromise: true,
    returnByValue: true,
  });
  return JSON.parse(result.value);
}

for (const colorScheme of ["light", "dark"]) {
  for (const [size, viewport] of Object.entries(SIZES)) {
    test(`every page, ${colorScheme}, ${size}: nothing serious for axe, nothing from outside, nothing refused by the policy`, async () => {
      const page = await person(chrome, server, { colorScheme, viewport, reducedMotion: "reduce" });
      const found = {};
      for (const [name, path] of Object.entries(PAGES)) {
        await page.at(path);
        await page.locator("main").waitFor();
        await pause(900);
        await page.screenshot({ path: join(ARTEFACTS, `${name}-${colorScheme}-${size}.png`) });
        const violations = await serious(page);
        if (violations.length > 0) found[name] = violations;
        const wide = await page.evaluate(
          () => document.documentElement.scrollWidth - window.innerWidth,
        );
        assert.ok(wide <= 0, `${name} is ${wide} pixels too wide`);
      }
      for (const [name, [path, key]] of Object.entries(DIALOGS)) {
        await page.at(path);
        await pause(900);
        await page.keyboard.press(key);
        await page.getByRole("dialog").waitFor();
        await pause(400);
        await page.screenshot({
          path: join(ARTEFACTS, `dialog-${name}-${colorScheme}-${size}.png`),
        });
        const violations = await serious(page);
        if (violations.length > 0) found[`dialog ${name}`] = violations;
      }
      const told = Object.entries(found).flatMap(([name, all]) =>
        all.flatMap((one) => one.nodes.map((node) => `${one.id} | ${node} | ${name}`)),
      );
      const once = [...new Map(told.map((line) => [line.replace(/\| [^|]*$/, ""), line])).values()];
      assert.equal(once.join("\n"), "");
      assert.deepEqual(page.outside, [], "no request leaves the origin");
      assert.deepEqual(page.faults, []);
      await page.context().close();
    });
  }
}
