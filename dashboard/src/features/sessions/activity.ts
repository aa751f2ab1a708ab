// What a session is doing now, in a line: the last thing it said, for rows that are seen.
import { useEffect, useSyncExternalStore } from "react";
import { get, url } from "@/api/client";
import type { List, LogEvent, Session, Status } from "@/api/types";
import { live } from "@/live/live";
import { lineOf } from "./line";

const LIVE = new Set<Status>(["starting", "running", "waiting", "stopping"]);
const AT_ONCE = 3;
const LATEST = 24;

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

let busy = 0;
const queue: (() => Promise<void>)[] = [];

function pump(): void {
  while (busy < AT_ONCE) {
    const next = queue.shift();
    if (next === undefined) return;
    busy += 1;
    void next()
      .catch(() => {})
      .finally(() => {
        busy -= 1;
        pump();
      });
  }
}

function look({ id, uid, last_seq }: Session): void {
  queue.push(async () => {
    const from = Math.max(1, last_seq - LATEST + 1);
    const { items } = await get<List<LogEvent>>(
      url(["v1", "sessions", id, "events"], { from, limit: LATEST }),
    );
    take(uid, items);
  });
  pump();
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
      look(session);
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
  return useSyncExternalStore(subscribe, () => (on ? (lines.get(uid)?.text ?? null) : null));
}
