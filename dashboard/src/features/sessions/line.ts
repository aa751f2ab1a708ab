// What an entry of a log means to somebody who glances at a list.
import type { LogEvent } from "@/api/types";

const lastLine = (text: string): string =>
  text
    .trimEnd()
    .split("\n")
    .pop()
    // biome-ignore lint/suspicious/noControlCharactersInRegex: colours of a terminal are not wanted here
    ?.replace(/\u001b\[[0-9;]*m/g, "")
    .slice(0, 200) ?? "";

/** What a call is about, in a word or two. */
export function brief(input: unknown): string {
  if (typeof input === "string") return input;
  if (typeof input !== "object" || input === null) return "";
  const fields = input as Record<string, unknown>;
  const first =
    fields.command ??
    fields.pattern ??
    fields.query ??
    fields.file_path ??
    fields.path ??
    fields.url;
  return typeof first === "string" ? (first.split("\n")[0] ?? "").slice(0, 160) : "";
}

function callOf({ title, tool, input }: Record<string, unknown>): string {
  const about = brief(input);
  if (typeof title === "string") return title;
  if (about === "") return String(tool ?? "tool");
  const runs = typeof input === "object" && input !== null && "command" in input;
  return runs ? `$ ${about}` : `${String(tool ?? "tool")}: ${about}`;
}

/** A line that says what an event means for somebody who glances. */
export function lineOf(event: LogEvent): string | null {
  const d = event.data;
  switch (event.type) {
    case "message":
    case "thought":
      return typeof d.text === "string" && d.text.trim() !== "" ? lastLine(d.text) : null;
    case "tool_call":
      return callOf(d);
    case "run.started":
      return "has begun";
    case "approval.requested":
      return `asks: ${String(d.title)}`;
    case "http_request":
      return `${String(d.method)} ${String(d.path)}: ${String(d.status ?? d.error)}`;
    case "plan": {
      const entries = Array.isArray(d.entries)
        ? (d.entries as { content?: unknown; status?: unknown }[])
        : [];
      const now = entries.find((entry) => entry.status === "in_progress");
      return typeof now?.content === "string" ? now.content : null;
    }
    default:
      return null;
  }
}
