import { describe, expect, it } from "vitest";
import type { LogEvent } from "@/api/types";
import type { Delta } from "@/live/messages";
import { NO_PARTIAL, type Partial, partialText, withDelta, withoutLogged } from "./partial";

const size = (text: string): number => new TextEncoder().encode(text).length;

const delta = (offset: number, text: string, part = 0, run = "r1"): Delta => ({
  run,
  part,
  offset,
  text,
});

let seq = 0;
const event = (type: string, data: LogEvent["data"] = {}, run: string | null = "r1"): LogEvent => ({
  seq: ++seq,
  at: "2026-01-01T00:00:00Z",
  run,
  type,
  data,
});

const message = (from: number, text: string, part = 0, run = "r1"): LogEvent =>
  event("message", { part, from, to: from + size(text), text }, run);

/** What stands below the log after all of these. */
function left(...heard: (Delta | LogEvent)[]): string {
  let partial: Partial = NO_PARTIAL;
  for (const one of heard)
    partial = "seq" in one ? withoutLogged(partial, one) : withDelta(partial, one);
  return partialText(partial);
}

describe("text on its way", () => {
  it("grows, drops what comes twice, and counts bytes", () => {
    expect(left(delta(0, "grüß "), delta(7, "dich"))).toBe("grüß dich");
    expect(left(delta(0, "grüß "), delta(7, "dich"), delta(7, "dich!"))).toBe("grüß dich!");
    expect(left(delta(0, "ab"), delta(4, "ef"), delta(0, "abcdefgh"))).toBe("abcdefgh");
  });

  it("gives way to the log's own", () => {
    const on = [delta(0, "line 1\nline"), message(0, "line 1\n")];
    expect(left(...on)).toBe("line");
    expect(left(...on, message(7, "line 2\n"))).toBe("");
    expect(left(...on, event("run.completed"))).toBe("");
  });

  it("is not shown again when it comes after the log's own", () => {
    expect(left(message(0, "tick 1\n"), delta(0, "tick 1\n"))).toBe("");
    expect(left(message(0, "tick 1\n"), delta(0, "tick 1\ntick"))).toBe("tick");
    expect(left(message(0, "a\n", 1), delta(0, "of part 0", 0))).toBe("");
    expect(left(event("run.completed"), delta(0, "late"))).toBe("");
    const next = [event("run.started", {}, "r2"), delta(0, "new", 0, "r2")];
    expect(left(event("run.completed"), ...next, delta(9, "late"))).toBe("new");
  });

  it("keeps a part until the log has it, also when the next has begun", () => {
    const both = [delta(0, "one\n", 0), delta(0, "two", 1)];
    expect(left(...both)).toBe("one\ntwo");
    expect(left(...both, message(0, "one\n", 0))).toBe("two");
  });

  it("says where something was not heard, until the log has it", () => {
    const hole = [delta(0, "ab"), delta(4, "ef\n")];
    expect(left(...hole)).toBe("ab…ef\n");
    expect(left(...hole, delta(2, "cd"))).toBe("abcdef\n");
    expect(left(...hole, message(0, "abcdef\n"))).toBe("");
    expect(left(message(0, "line 1\n"), delta(9, "ne 2"))).toBe("…ne 2");
  });

  it("begins anew with a run that was given back to the queue", () => {
    const again = [event("run.requeued"), event("run.started"), delta(0, "again")];
    expect(left(delta(0, "first"), ...again)).toBe("again");
  });

  it("shows every byte once, whatever comes first", () => {
    const lines = ["tick 1\n", "grüß\n", "tick 3\n", "→ four\n"];
    const whole = lines.join("");
    let at = 0;
    const logged = lines.map((line) => {
      const made = message(at, line);
      at += size(line);
      return made;
    });
    const chars = [...whole];
    for (let lag = 0; lag < chars.length; lag += 1) {
      let partial: Partial = NO_PARTIAL;
      let log = "";
      let offset = 0;
      let said = 0;
      chars.forEach((char, index) => {
        partial = withDelta(partial, delta(offset, char));
        offset += size(char);
        const next = logged[said];
        if (next === undefined || index < lag || offset < Number(next.data.to)) return;
        partial = withoutLogged(partial, next);
        log += String(next.data.text);
        said += 1;
        expect(log + partialText(partial)).toBe(chars.slice(0, index + 1).join(""));
      });
      expect(log + partialText(partial)).toBe(whole);
    }
  });
});
