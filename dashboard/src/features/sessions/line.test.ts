import { describe, expect, it } from "vitest";
import type { LogEvent } from "@/api/types";
import { brief, lineOf } from "./line";

const line = (type: string, data: Record<string, unknown>) =>
  lineOf({ seq: 1, at: "2026-01-01T00:00:00Z", type, data } as LogEvent);

describe("what a session does now", () => {
  it("is the last line it has said, without the colours of a terminal", () => {
    expect(line("message", { text: "first\n\u001b[32mlast\u001b[0m line\n\n" })).toBe("last line");
    expect(line("message", { text: " \n" })).toBeNull();
  });

  it("is what it calls: a command as in a shell, another tool with what it is about", () => {
    expect(line("tool_call", { tool: "Bash", input: { command: "make\nmake test" } })).toBe(
      "$ make",
    );
    expect(line("tool_call", { tool: "Read", input: { file_path: "a.py" } })).toBe("Read: a.py");
    expect(line("tool_call", { tool: "edit", title: "Write a.py", input: {} })).toBe("Write a.py");
    expect(line("tool_call", { tool: "think" })).toBe("think");
  });

  it("is what it asks, what it plans, and that it has begun", () => {
    expect(line("approval.requested", { title: "Write a.py" })).toBe("asks: Write a.py");
    const entries = [
      { content: "look", status: "completed" },
      { content: "change", status: "in_progress" },
    ];
    expect(line("plan", { entries })).toBe("change");
    expect(line("run.started", {})).toBe("has begun");
  });

  it("is not changed by what says nothing to a person", () => {
    for (const type of ["usage", "tool_result", "session.status", "log"])
      expect(line(type, { text: "x" })).toBeNull();
  });

  it("names of a search what is searched, before where", () => {
    expect(brief({ pattern: "reap", path: "." })).toBe("reap");
    expect(brief([1])).toBe("");
  });
});
