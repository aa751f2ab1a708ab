// Text on its way to the log: it is shown as it comes and gives way to the log's own text.
import type { LogEvent } from "@/api/types";
import type { Delta } from "@/live/messages";

const bytes = new TextEncoder();
const chars = new TextDecoder();

export interface Partial {
  run: string | null;
  part: number;
  /** Byte offset of `text` in its part. */
  from: number;
  text: string;
}

/** The text after so many of its bytes. */
function after(text: string, count: number): string {
  if (count <= 0) return text;
  const all = bytes.encode(text);
  return count >= all.length ? "" : chars.decode(all.subarray(count));
}

export function withDelta(before: Partial | null, delta: Delta): Partial {
  const end = before === null ? -1 : before.from + bytes.encode(before.text).length;
  if (
    before === null ||
    before.run !== delta.run ||
    before.part !== delta.part ||
    delta.offset > end
  ) {
    return { run: delta.run, part: delta.part, from: delta.offset, text: delta.text };
  }
  // What comes twice is there already.
  return { ...before, text: before.text + after(delta.text, end - delta.offset) };
}

/** What is left of it once the log has this. */
export function withoutLogged(before: Partial | null, event: LogEvent): Partial | null {
  if (before === null || event.run !== before.run) return before;
  if (event.type.startsWith("run.")) return null;
  if (event.type !== "message" || event.data.part !== before.part) return before;
  const to = typeof event.data.to === "number" ? event.data.to : Number.POSITIVE_INFINITY;
  const text = after(before.text, to - before.from);
  return text === "" ? null : { ...before, from: to, text };
}
