import { describe, expect, it } from "vitest";
import type { LogEvent } from "@/api/types";
import { fold } from "./page";
import { shown } from "./status";
import { transcriptOf } from "./transcript";

const at = "2026-01-01T00:00:00Z";

function log(...said: [type: string, run: string | null, data: LogEvent["data"]][]): LogEvent[] {
  return said.map(([type, run, data], index) => ({ seq: index + 1, at, run, type, data }));
}

const queued = (id: string, more: LogEvent["data"] = {}): [string, string, LogEvent["data"]] => [
  "run.queued",
  id,
  { run: { id, created_at: at }, prompt: `prompt ${id}`, by: "anna", ...more },
];

const BEGIN: Parameters<typeof log> = [
  [
    "session.created",
    null,
    {
      uid: "u",
      id: "s",
      owner: "anna",
      agent: { name: "a", version: 1, source: "file:a.yaml", digest: "d" },
      traits: { persistent: true, keeps_leftovers: false, steers: true },
    },
  ],
  queued("r1"),
  ["session.placed", null, { epoch: 1, runner: "m" }],
  ["session.ready", null, { epoch: 1 }],
  ["run.dispatched", "r1", { run: "r1", epoch: 1 }],
  ["run.started", "r1", { run: "r1" }],
  queued("r2"),
  queued("r3", { into: "r1" }),
  queued("r4", { into: "r1" }),
];

describe("text for the run in progress", () => {
  it("goes before what waits for its own turn, in order", () => {
    const session = fold(log(...BEGIN))?.session;
    expect(session?.queue.map((run) => run.id)).toEqual(["r3", "r4", "r2"]);
    expect(session?.compute?.head?.steers).toEqual(["r3", "r4"]);
  });

  it("ends with becoming part of it", () => {
    const events = log(...BEGIN, ["run.steered", "r3", { run: "r3", into: "r1" }]);
    const page = fold(events);
    expect(page?.session.queue.map((run) => run.id)).toEqual(["r4", "r2"]);
    expect(page?.session.compute?.head).toMatchObject({ run: { id: "r1" }, steers: ["r4"] });
    expect(page?.runs.get("r3")).toMatchObject({ status: "completed", into: "r1" });
    const block = transcriptOf(events).list().at(-1);
    expect(block).toMatchObject({ kind: "prompt", text: "prompt r3", by: "anna", steered: true });
  });

  it("waits like any other where that run has ended, or is another", () => {
    const over = log(
      ...BEGIN,
      ["run.completed", "r1", { run: "r1" }],
      queued("r5", { into: "r1" }),
    );
    const session = fold(over)?.session;
    expect(session?.compute?.head).toBeNull();
    expect(session?.queue.map((run) => run.id)).toEqual(["r3", "r4", "r2", "r5"]);
  });

  it("can be withdrawn", () => {
    const session = fold(
      log(...BEGIN, ["run.withdrawn", "r3", { run: "r3", by: "anna" }]),
    )?.session;
    expect(session?.compute?.head?.steers).toEqual(["r4"]);
    expect(session?.queue.map((run) => run.id)).toEqual(["r4", "r2"]);
  });
});

describe("an agent that works without a run", () => {
  it("is running, because it serves, unless a run says otherwise", () => {
    const idle: Parameters<typeof log> = [
      ...BEGIN.slice(0, 4),
      ["run.withdrawn", "r1", { run: "r1", by: "anna" }],
    ];
    const busy: Parameters<typeof log> = [
      ...idle,
      ["session.busy", null, { epoch: 1, busy: true }],
    ];
    const status = (...events: Parameters<typeof log>) => {
      const page = fold(log(...events));
      if (page === null) throw new Error("no state");
      const { status, status_reason } = shown(page.session);
      return [status, status_reason];
    };
    expect(status(...idle)).toEqual(["idle", null]);
    expect(status(...busy)).toEqual(["running", "serving"]);
    expect(status(...busy, ["session.busy", null, { epoch: 1, busy: false }])).toEqual([
      "idle",
      null,
    ]);
  });
});

describe("a prompt that was changed while it waited", () => {
  it("is shown as it is asked in the end", () => {
    const events = log(
      ...BEGIN.slice(0, 2),
      ["run.edited", "r1", { run: "r1", prompt: "better", by: "bob" }],
      ["run.started", "r1", { run: "r1" }],
    );
    expect(transcriptOf(events).list().at(-1)).toMatchObject({ text: "better", by: "anna" });
    expect(fold(events)?.runs.get("r1")?.prompt).toBe("better");
  });
});
