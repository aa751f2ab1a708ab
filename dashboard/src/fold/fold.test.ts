import { readdirSync, readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import type { LogEvent, Session } from "@/api/types";
import { step } from "./page";
import { shown } from "./status";
import type { PageState } from "./types";

interface Fixture {
  name: string;
  events: LogEvent[];
  /** What the coordinator said of the session after some of its events. */
  states: (Partial<Session> & { seq: number })[];
}

/** What no log says. */
const NOT_FOLDED = new Set(["seq", "expires_at"]);

const folder = new URL("./fixtures/", import.meta.url);
const fixtures = readdirSync(folder)
  .filter((file) => file.endsWith(".json"))
  .flatMap((file) => JSON.parse(readFileSync(new URL(file, folder), "utf8")) as Fixture | Fixture[])
  .flat();

/** In the form of the API, with times compared as times. */
function comparable(key: string, value: unknown): unknown {
  if (key.endsWith("_at") && typeof value === "string") return Date.parse(value);
  if (key === "agent" && typeof value === "object" && value !== null) {
    const { name, version, digest, source } = value as Session["agent"];
    return { name, version, digest, source };
  }
  return value ?? null;
}

describe("the fold is that of the coordinator", () => {
  it("has fixtures", () => expect(fixtures.length).toBeGreaterThan(0));

  for (const fixture of fixtures) {
    it(fixture.name, () => {
      const at = new Map<number, PageState>();
      let state: PageState | null = null;
      for (const event of fixture.events) {
        state = step(state, event);
        at.set(event.seq, state);
      }
      for (const expected of fixture.states) {
        const page = at.get(expected.seq);
        expect(page, `state after ${expected.seq}`).toBeDefined();
        const made = shown((page as PageState).session) as unknown as Record<string, unknown>;
        for (const [key, value] of Object.entries(expected)) {
          if (NOT_FOLDED.has(key)) continue;
          expect(comparable(key, made[key]), `${key} after ${expected.seq}`).toEqual(
            comparable(key, value),
          );
        }
      }
    });
  }

  it("says the same as the log says of every change of status", () => {
    for (const fixture of fixtures) {
      let state: PageState | null = null;
      let before: string | null = null;
      for (const event of fixture.events) {
        state = step(state, event);
        const status = shown(state.session).status;
        if (event.type === "session.status") {
          expect(event.data.from, `${fixture.name} ${event.seq}`).toBe(before);
          before = String(event.data.status);
        }
        before ??= status;
      }
    }
  });
});
