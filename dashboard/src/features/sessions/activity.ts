// What a session is doing now, in a line: as its list says, and then as rows that are seen
// hear it.
import { useEffect, useSyncExternalStore } from "react";
import type { LogEvent, Session, Status } from "@/api/types";
import { live } from "@/live/live";
import { lineOf } from "./line";

const LIVE = new Set<Status>(["starting", "running", "waiting", "stopping"]);

/** What is kept of sessions that are not on the screen any more. */
const MOST_KEPT = 400;

interface Line {
  seq: number;
  text: string;
}

/** By the session's inner identity: its name may be used again. */
const lines = new Map<string, Line>();
const listeners = new Set<() => void>();
let told = false;

function tell(): void {
  if (told) return;
  told = true;
  setTimeout(() => {
    told = false;
    for (const then of listeners) then();
  }, 120);
}

function take(uid: string, events: readonly LogEvent[]): void {
  for (const event of events.toReversed()) {
    const text = lineOf(event);
    if (text === null) continue;
    if ((lines.get(uid)?.seq ?? 0) >= event.seq) return;
    lines.delete(uid);
    lines.set(uid, { seq: event.seq, text });
    const [oldest] = lines.keys();
    if (lines.size > MOST_KEPT && oldest !== undefined) lines.delete(oldest);
    tell();
    return;
  }
}

const subscribe = (then: () => void): (() => void) => {
  listeners.add(then);
  return () => listeners.delete(then);
};

export function useActivity(session: Session): string | null {
  const { id, uid, status } = session;
  const on = LIVE.has(status);
  // biome-ignore lint/correctness/useExhaustiveDependencies: where it begins is asked once
  useEffect(() => {
    if (!on) return;
    const seq = session.last_seq;
    let unwatch = () => {};
    // A row that only passes by while somebody scrolls asks for nothing.
    const timer = setTimeout(() => {
      const listener = (frame: { kind: string; event?: LogEvent }) => {
        if (frame.kind === "event" && frame.event !== undefined) take(uid, [frame.event]);
      };
      unwatch = live.watch(id, { seq: () => seq, listener, gone: () => {}, glance: true });
    }, 400);
    return () => {
      clearTimeout(timer);
      unwatch();
    };
  }, [uid, on]);
  const since = useSyncExternalStore(subscribe, () => lines.get(uid));
  if (!on) return null;
  // What was heard since the list was read is newer than what the list says.
  const heard = since !== undefined && since.seq > session.last_seq;
  return heard ? since.text : (session.activity ?? since?.text ?? null);
}
