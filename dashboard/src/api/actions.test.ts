import { describe, expect, it } from "vitest";
import { createSession, curl, quoted, sendPrompt, stopSession } from "./actions";
import type { Limits } from "./types";

describe("an action says the same in every way", () => {
  it("as a command line", () => {
    expect(
      stopSession("fix-1", { grace_ms: 1500, reason: "it's late", discard_queue: true, tree: true })
        .cli,
    ).toBe(
      `greenroom sessions stop fix-1 --grace 1500ms --reason 'it'\\''s late' --discard-queue --tree`,
    );
    expect(
      createSession({
        agent: "fixer",
        prompt: "go on",
        labels: { team: "a" },
        limits: { run_ms: 900_000 } as Limits,
      }).cli,
    ).toBe("greenroom sessions create fixer 'go on' --label team=a --limit run=15m");
    expect(sendPrompt("fix-1", { prompt: "stop that", mode: "interrupt", first: true }).cli).toBe(
      "greenroom sessions send fix-1 'stop that' --mode interrupt --first",
    );
  });

  it("as a request", () => {
    const action = stopSession("a/b", { reason: "x" });
    expect(action.path).toBe("/v1/sessions/a%2Fb/stop");
    expect(curl(action, "http://localhost:7070")).toBe(
      `curl -H "Authorization: Bearer $GREENROOM_TOKEN" -H 'content-type: application/json' -d '{"reason":"x"}' http://localhost:7070/v1/sessions/a%2Fb/stop`,
    );
  });

  it("quotes what a shell would take apart", () => {
    expect([quoted("plain-1.x"), quoted("a b"), quoted("$(x)"), quoted("")]).toEqual([
      "plain-1.x",
      "'a b'",
      "'$(x)'",
      "''",
    ]);
  });
});
