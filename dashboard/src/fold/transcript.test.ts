import { describe, expect, it } from "vitest";
import type { LogEvent } from "@/api/types";
import { transcriptOf } from "./transcript";

let seq = 0;
const event = (type: string, data: LogEvent["data"], run: string | null = "r1"): LogEvent => ({
  seq: ++seq,
  at: new Date(1_700_000_000_000 + seq * 1000).toISOString(),
  run,
  type,
  data,
});

describe("a transcript", () => {
  it("joins text of one speaker, and only that", () => {
    const blocks = transcriptOf([
      event("message", { role: "agent", text: "a\n" }),
      event("message", { role: "agent", text: "b\n" }),
      event("message", { role: "agent", text: "c\n" }, "r2"),
    ]).list();
    expect(blocks.map((block) => block.kind === "message" && block.text)).toEqual([
      "a\nb\n",
      "c\n",
    ]);
  });

  it("does not cut a fence in two", () => {
    const long = "x".repeat(7000);
    const blocks = transcriptOf([
      event("message", { role: "agent", text: `\`\`\`\n${long}\n` }),
      event("message", { role: "agent", text: "```\n" }),
      event("message", { role: "agent", text: "after\n" }),
    ]).list();
    expect(blocks.length).toBe(2);
  });

  it("puts a result to its call, also when its call was not loaded", () => {
    const blocks = transcriptOf([
      event("tool_call", { id: "1", tool: "shell", input: { command: "ls" } }),
      event("tool_call", { id: "2", tool: "read" }),
      event("tool_call", { id: "1", update: true, title: "List" }),
      event("tool_result", { id: "1", output: "ok", is_error: false }),
      event("tool_result", { id: "9", output: "lost", is_error: true }),
    ]).list();
    const uses = blocks.flatMap((block) => (block.kind === "tool" ? [block.use] : []));
    expect(uses.map((use) => [use.id, use.title, use.done, use.failed])).toEqual([
      ["1", "List", true, false],
      ["2", null, false, false],
      ["9", null, true, true],
    ]);
  });

  it("shows what a fork has inherited as what it is", () => {
    const said = [
      event("run.queued", { run: { id: "r1" }, prompt: "go", by: "ann" }),
      event("run.started", { run: "r1" }),
      event("tool_call", { id: "1", tool: "shell" }),
      event("tool_result", { id: "1", output: "ok" }),
      event("message", { role: "agent", text: "done\n" }),
    ];
    const plain = transcriptOf(said).list();
    const inherited = transcriptOf(
      said.map((one) => ({
        ...event("session.inherited", { ...one }, null),
        seq: one.seq,
        at: one.at,
      })),
    ).list();
    expect(inherited).toEqual(plain);
    expect(inherited.map((block) => block.kind)).toEqual(["line", "prompt", "tool", "message"]);
  });

  it("keeps what it has given out as it was", () => {
    const transcript = transcriptOf([event("message", { role: "agent", text: "a\n" })]);
    const before = transcript.list();
    transcript.push(event("message", { role: "agent", text: "b\n" }));
    expect(before.map((block) => block.kind === "message" && block.text)).toEqual(["a\n"]);
    expect(transcript.list()).not.toBe(before);
  });

  it("shows a question with its answer", () => {
    const blocks = transcriptOf([
      event("approval.requested", { id: "q", run: "r1", title: "May I?" }),
      event("approval.answered", { id: "q", decision: "deny", by: "anna", reason: "no" }),
    ]).list();
    const [block] = blocks;
    expect(blocks.length).toBe(1);
    expect(block?.kind === "approval" && block.ask.answer).toEqual({
      decision: "deny",
      by: "anna",
      reason: "no",
    });
  });
});
