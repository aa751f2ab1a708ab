// Text on its way to the log: it is shown as it comes and gives way to the log's own text.
// The two come by different ways, so that either may be first: how far the log has got of
// each part decides what of a delta is still to be shown.
import type { LogEvent } from "@/api/types";
import type { Delta } from "@/live/messages";

const encoder = new TextEncoder();
const decoder = new TextDecoder();

interface Piece {
  /** Byte offset in its part. */
  from: number;
  bytes: Uint8Array;
}

interface Part {
  number: number;
  /** So many bytes of it are in the log. */
  logged: number;
  /** What is not, in order, and none over another. */
  pieces: readonly Piece[];
}

export interface Partial {
  run: string | null;
  parts: readonly Part[];
  /** The last runs that have ended: nothing of them is on its way any more. */
  ended: readonly string[];
}

export const NO_PARTIAL: Partial = { run: null, parts: [], ended: [] };

const of = (before: Partial, run: string | null): Partial =>
  before.run === run ? before : { ...before, run, parts: [] };
const end = (piece: Piece): number => piece.from + piece.bytes.length;

function partOf(before: Partial, number: number): Part {
  return before.parts.find((part) => part.number === number) ?? { number, logged: 0, pieces: [] };
}

function withPart(before: Partial, part: Part): Partial {
  const rest = before.parts.filter((one) => one.number !== part.number);
  return { ...before, parts: [...rest, part].sort((a, b) => a.number - b.number) };
}

/** What of the pieces is after so many bytes. */
function after(pieces: readonly Piece[], count: number): Piece[] {
  return pieces.flatMap((piece) => {
    if (piece.from >= count) return [piece];
    const bytes = piece.bytes.subarray(count - piece.from);
    return bytes.length === 0 ? [] : [{ from: count, bytes }];
  });
}

/** The pieces with one more; what comes twice is there already. */
function withPiece(pieces: readonly Piece[], more: Piece): Piece[] {
  const before = pieces.filter((piece) => piece.from <= more.from);
  const [rest] = after([more], Math.max(0, ...before.map(end)));
  if (rest === undefined) return [...pieces];
  const behind = pieces.filter((piece) => piece.from > more.from);
  const room = (behind[0]?.from ?? Number.POSITIVE_INFINITY) - rest.from;
  const fits = { ...rest, bytes: rest.bytes.subarray(0, Math.max(0, room)) };
  const placed = fits.bytes.length === 0 ? before : [...before, fits];
  // What reaches beyond the piece behind it may have more to say.
  const [tail] = behind.length === 0 ? [] : after([rest], end(behind[0] as Piece));
  return tail === undefined ? [...placed, ...behind] : withPiece([...placed, ...behind], tail);
}

export function withDelta(before: Partial, delta: Delta): Partial {
  if (delta.run !== null && before.ended.includes(delta.run)) return before;
  const known = of(before, delta.run);
  // Where the log has gone on to a later part, all of this one is there.
  if (known.parts.some((one) => one.number > delta.part && one.logged > 0)) return known;
  const part = partOf(known, delta.part);
  const more = after([{ from: delta.offset, bytes: encoder.encode(delta.text) }], part.logged);
  const pieces = more.reduce<readonly Piece[]>(withPiece, part.pieces);
  return withPart(known, { ...part, pieces });
}

const ENDS = new Set([
  "run.completed",
  "run.failed",
  "run.stopped",
  "run.requeued",
  "session.stopped",
  "session.finished",
  "session.failed",
  "session.interrupted",
]);
const REMEMBERED = 8;

/** What is left of it once the log has this. */
export function withoutLogged(before: Partial, event: LogEvent): Partial {
  if (ENDS.has(event.type)) {
    const run = event.run ?? before.run;
    const ended = run === null ? before.ended : [...before.ended, run].slice(-REMEMBERED);
    return { ...before, ended, parts: run === before.run ? [] : before.parts };
  }
  if (event.type === "run.started") {
    // What was given back to the queue begins anew.
    return { run: event.run, parts: [], ended: before.ended.filter((run) => run !== event.run) };
  }
  const { part: number, to } = event.data;
  if (event.type !== "message" || typeof number !== "number" || typeof to !== "number")
    return before;
  const known = of(before, event.run);
  const part = partOf(known, number);
  const logged = Math.max(part.logged, to);
  const parts = known.parts.filter((one) => one.number > number);
  return withPart({ ...known, parts }, { ...part, logged, pieces: after(part.pieces, logged) });
}

/** The text to show below the log; where something between was not heard, it says so. */
export function partialText(partial: Partial): string {
  let text = "";
  for (const { logged, pieces } of partial.parts) {
    let at = logged;
    for (const piece of pieces) {
      if (piece.from > at) text += "…";
      text += decoder.decode(piece.bytes);
      at = end(piece);
    }
  }
  return text;
}
