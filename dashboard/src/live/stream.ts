// The stream itself: one per browser, held by the tab that leads. It opens again by itself,
// goes on from the position it knows of each session, and says honestly how it stands.
import { type Problem, problemOf, send, url } from "@/api/client";
import type { LogEvent } from "@/api/types";
import type { Change, Delta, LinkStatus, LiveFrame, Watch } from "./messages";
import { type SseFrame, SseParser } from "./sse";

/** The coordinator says something every 15 seconds. */
const SILENCE_MS = 40_000;
/** Sessions one stream may watch. */
const MOST_WATCHED = 50;
const LONGEST_PAUSE_MS = 8_000;
/** What was said to a stream before the next one began has come by then. */
const LINGERS_MS = 1_000;

interface StreamEvents {
  frames(frames: LiveFrame[]): void;
  status(status: LinkStatus): void;
  gone(id: string): void;
}

/** What of a frame is no session's own: logs go on in the stream that has come after. */
function changeIn(frame: SseFrame): LiveFrame[] {
  try {
    const data = JSON.parse(frame.data) as Record<string, unknown>;
    if (typeof data.session_id === "string") return [];
    if (frame.event === "resync") return [{ kind: "behind" }];
    return typeof data.of === "string" ? [{ kind: "change", change: data as Change }] : [];
  } catch {
    return [];
  }
}

export class LiveStream {
  private wanted = new Map<string, number>();
  private position = new Map<string, number>();
  private carried = new Set<string>();
  private era = 0;
  private current: AbortController | null = null;
  private timer: ReturnType<typeof setTimeout> | null = null;
  private failures = 0;
  private opened = 0;
  private closed = false;
  private status: LinkStatus = { state: "connecting", since: Date.now(), opened: 0, detail: null };

  constructor(private readonly events: StreamEvents) {}

  /** What the tabs watch now. Opens anew only when something is missing. */
  watch(watches: readonly Watch[]): void {
    this.wanted = new Map(watches.slice(0, MOST_WATCHED).map(({ id, seq }) => [id, seq]));
    const missing = [...this.wanted.keys()].some((id) => !this.carried.has(id));
    const idle = [...this.carried].filter((id) => !this.wanted.has(id)).length;
    if (missing || idle > 20) this.schedule(60);
  }

  /** Tries at once. */
  retry(): void {
    this.failures = 0;
    if (this.status.state !== "live") this.schedule(0);
  }

  start(): void {
    this.schedule(20);
  }

  close(): void {
    this.closed = true;
    if (this.timer !== null) clearTimeout(this.timer);
    this.current?.abort();
  }

  now(): LinkStatus {
    return this.status;
  }

  private say(state: LinkStatus["state"], detail: string | null = null): void {
    const changed = state !== this.status.state;
    const since = changed ? Date.now() : this.status.since;
    this.status = { state, since, opened: this.opened, detail };
    this.events.status(this.status);
  }

  private schedule(after: number): void {
    if (this.closed) return;
    if (this.timer !== null) clearTimeout(this.timer);
    this.timer = setTimeout(() => {
      this.timer = null;
      void this.open();
    }, after);
  }

  private address(): string {
    const watch = [...this.wanted].map(([id, seq]) => {
      const at = Math.max(seq, this.position.get(id) ?? 0);
      return `${id}@${this.era === 0 ? at : `${this.era}.${at}`}`;
    });
    return url(["v1", "events"], watch.length === 0 ? {} : { watch: watch.join(",") });
  }

  /**
   * Opens a stream beside the one there is, which ends a moment after the new one has begun:
   * changes that are still on their way to it are told to no other.
   */
  private async open(): Promise<void> {
    const before = this.current;
    const mine = new AbortController();
    this.current = mine;
    const carried = new Set(this.wanted.keys());
    try {
      const headers = { accept: "text/event-stream" };
      const response = await send(this.address(), { headers, signal: mine.signal, quiet: false });
      setTimeout(() => before?.abort(), LINGERS_MS);
      if (mine.signal.aborted || this.current !== mine) return;
      this.carried = carried;
      this.failures = 0;
      if (this.status.state !== "live") this.opened += 1;
      this.say("live");
      await this.read(response, mine);
      if (this.current === mine) this.lost(null);
    } catch (error) {
      if (this.current !== mine || this.closed) return;
      before?.abort();
      const problem = problemOf(error);
      if (problem.status === 404 && this.wanted.size > 0) await this.dropGone();
      this.lost(problem);
    }
  }

  private lost(problem: Problem | null): void {
    this.current = null;
    this.carried = new Set();
    this.say("lost", problem !== null && problem.code !== "page_error" ? problem.message : null);
    if (problem?.status === 401) return;
    const pause = Math.min(LONGEST_PAUSE_MS, 250 * 2 ** this.failures);
    this.failures += 1;
    this.schedule(pause * (0.8 + Math.random() * 0.4));
  }

  /** A session among the watched is no more: find out which. */
  private async dropGone(): Promise<void> {
    for (const id of [...this.wanted.keys()]) {
      try {
        await send(url(["v1", "sessions", id]));
      } catch (error) {
        if (problemOf(error).status !== 404) continue;
        this.wanted.delete(id);
        this.position.delete(id);
        this.events.gone(id);
      }
    }
  }

  private async read(response: Response, mine: AbortController): Promise<void> {
    const reader = response.body?.getReader();
    if (reader === undefined) return;
    const decoder = new TextDecoder();
    const parser = new SseParser();
    let watchdog: ReturnType<typeof setTimeout> | undefined;
    const heard = () => {
      clearTimeout(watchdog);
      watchdog = setTimeout(() => void reader.cancel(), SILENCE_MS);
    };
    heard();
    try {
      for (;;) {
        const { done, value } = await reader.read();
        if (done || mine.signal.aborted) return;
        heard();
        const frames = parser.push(decoder.decode(value, { stream: true }));
        const isLast = this.current === mine;
        const live = frames.flatMap((frame) => (isLast ? this.understand(frame) : changeIn(frame)));
        if (live.length > 0) this.events.frames(live);
      }
    } finally {
      clearTimeout(watchdog);
    }
  }

  private understand(frame: SseFrame): LiveFrame[] {
    let data: Record<string, unknown>;
    try {
      data = JSON.parse(frame.data) as Record<string, unknown>;
    } catch {
      return [];
    }
    const session = typeof data.session_id === "string" ? data.session_id : null;
    if (frame.event === "resync") {
      if (typeof data.era === "number") this.era = data.era;
      if (session === null) return [{ kind: "behind" }];
      this.position.delete(session);
      return [{ kind: "resync", session }];
    }
    if (session === null) {
      return typeof data.of === "string" ? [{ kind: "change", change: data as Change }] : [];
    }
    if (frame.event === "delta")
      return [{ kind: "delta", session, delta: data as unknown as Delta }];
    const event = data as unknown as LogEvent;
    this.position.set(session, Math.max(event.seq, this.position.get(session) ?? 0));
    return [{ kind: "event", session, event }];
  }
}
