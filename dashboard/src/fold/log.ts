// The log of one session as this page knows it: a window of events that ends at the tail,
// follows it live without gaps or doubles, and grows backwards on demand. Once it begins
// with entry 1, every past state is a fold of what is here.
import { get, type Problem, problemOf, url } from "@/api/client";
import { queries, rowOf, sessionQuery } from "@/api/queries";
import type { List, LogEvent, Session } from "@/api/types";
import { live } from "@/live/live";
import type { WatchedFrame } from "@/live/messages";
import { step } from "./page";
import { NO_PARTIAL, type Partial, partialText, withDelta, withoutLogged } from "./partial";
import { type Block, Transcript, transcriptOf } from "./transcript";
import type { PageState } from "./types";

const TAIL = 200;
const EARLIER = 400;
const PAGE = 1000;
/** Logs up to this length are read whole by themselves: their page is a fold from the start. */
const SMALL = 2000;
const CHECKPOINT = 200;

export interface LogView {
  phase: "loading" | "ready" | "failed" | "gone";
  problem: Problem | null;
  events: readonly LogEvent[];
  blocks: readonly Block[];
  /** First and last position that is here; 0 while nothing is. */
  from: number;
  to: number;
  /** The fold of the whole log, where all of it is here. */
  page: PageState | null;
  /** Text that is still on its way to the log. */
  partial: string;
  loadingEarlier: boolean;
  /** How far back it has been read, while it is. */
  reached: number;
}

const EMPTY: LogView = {
  phase: "loading",
  problem: null,
  events: [],
  blocks: [],
  from: 0,
  to: 0,
  page: null,
  partial: "",
  loadingEarlier: false,
  reached: 0,
};

export class SessionLog {
  private events: LogEvent[] = [];
  private transcript = new Transcript();
  private checkpoints: PageState[] = [];
  private page: PageState | null = null;
  private partial: Partial = NO_PARTIAL;
  private view: LogView = EMPTY;
  private listeners = new Set<() => void>();
  private unwatch: (() => void) | null = null;
  private scheduled = false;
  private filling = false;
  private earlier: Promise<void> | null = null;
  private generation = 0;

  constructor(readonly id: string) {}

  readonly subscribe = (then: () => void): (() => void) => {
    this.listeners.add(then);
    if (this.unwatch === null) this.begin();
    return () => {
      this.listeners.delete(then);
      // A page that is left and comes back at once keeps what it has.
      setTimeout(() => this.listeners.size === 0 && this.end(), 2000);
    };
  };

  readonly snapshot = (): LogView => this.view;

  private begin(): void {
    this.unwatch = () => {};
    if (this.events.length === 0) void this.open();
    else {
      this.follow();
      void this.fill(Number.POSITIVE_INFINITY);
    }
  }

  /** Follows the stream from the last entry that is here. */
  private follow(): void {
    if (this.unwatch === null) return;
    this.unwatch();
    this.unwatch = live.watch(this.id, {
      seq: () => this.last(),
      listener: (frame) => this.hear(frame),
      gone: () => this.set({ phase: "gone" }),
    });
  }

  private end(): void {
    this.unwatch?.();
    this.unwatch = null;
    logs.delete(this.id);
  }

  private last(): number {
    return this.events[this.events.length - 1]?.seq ?? 0;
  }

  private first(): number {
    return this.events[0]?.seq ?? 0;
  }

  private async read(from: number, limit: number): Promise<LogEvent[]> {
    const path = url(["v1", "sessions", this.id, "events"], { from, limit });
    return (await get<List<LogEvent>>(path)).items;
  }

  /** Reads the tail: state and the last events first, what is before them on demand. */
  async open(): Promise<void> {
    const mine = ++this.generation;
    try {
      // A list may know its length already; what has come since then is in the same page.
      const known =
        queries.getQueryData<Session>(["session", this.id])?.last_seq ?? rowOf(this.id)?.last_seq;
      const last =
        known ?? (await queries.fetchQuery({ ...sessionQuery(this.id), staleTime: 1000 })).last_seq;
      const from = Math.max(1, last - TAIL + 1);
      const tail = await this.read(from, PAGE);
      if (mine !== this.generation) return;
      this.reset(tail);
      this.set({ phase: "ready", problem: null });
      this.flush();
      this.follow();
      if (tail.length === PAGE) await this.fill(Number.POSITIVE_INFINITY);
      if (from > 1 && this.last() <= SMALL) await this.loadAll();
    } catch (error) {
      if (mine !== this.generation) return;
      const problem = problemOf(error);
      this.set({ phase: problem.status === 404 ? "gone" : "failed", problem });
    }
  }

  private reset(events: LogEvent[]): void {
    this.events = events;
    this.transcript = transcriptOf(events);
    this.partial = NO_PARTIAL;
    for (const event of events) this.partial = withoutLogged(this.partial, event);
    this.refold();
  }

  private refold(): void {
    this.checkpoints = [];
    this.page = null;
    if (this.first() !== 1) return;
    for (const event of this.events) this.fold(event);
  }

  private fold(event: LogEvent): void {
    if (event.seq !== 1 && this.page === null) return;
    this.page = step(this.page, event);
    if (event.seq % CHECKPOINT === 1) this.checkpoints.push(this.page);
  }

  private hear(frame: WatchedFrame): void {
    if (frame.kind === "resync") {
      void this.open();
    } else if (frame.kind === "delta") {
      this.partial = withDelta(this.partial, frame.delta);
      this.schedule();
    } else if (this.view.phase === "ready") {
      this.take(frame.event);
    }
  }

  private take(event: LogEvent): void {
    const last = this.last();
    if (event.seq <= last) return;
    if (event.seq > last + 1) {
      void this.fill(event.seq);
      return;
    }
    this.events.push(event);
    this.transcript.push(event);
    this.fold(event);
    this.partial = withoutLogged(this.partial, event);
    this.schedule();
  }

  /** Something between was not heard: the log has it. */
  private async fill(until: number): Promise<void> {
    if (this.filling || this.view.phase !== "ready") return;
    this.filling = true;
    const mine = this.generation;
    try {
      for (;;) {
        const items = await this.read(this.last() + 1, PAGE);
        if (mine !== this.generation) return;
        for (const event of items) this.take(event);
        if (items.length < PAGE || this.last() >= until) return;
      }
    } catch {
      // The stream is down too; when it is back it goes on from what is here.
    } finally {
      this.filling = false;
    }
  }

  /** Reads events before the first that is here, at least back to `to` where that is given. */
  loadEarlier(to?: number): Promise<void> {
    this.earlier ??= this.readEarlier(to).finally(() => {
      this.earlier = null;
      this.set({ loadingEarlier: false });
    });
    return this.earlier;
  }

  private async readEarlier(to?: number): Promise<void> {
    const mine = this.generation;
    this.set({ loadingEarlier: true });
    do {
      const first = this.first();
      if (first <= 1 || mine !== this.generation) return;
      const size = to === undefined ? EARLIER : PAGE;
      const from = Math.max(1, first - size);
      const items = await this.read(from, first - from);
      if (mine !== this.generation || items.length === 0) return;
      this.events = [...items, ...this.events];
      this.set({ reached: from });
    } while (to !== undefined && this.first() > to);
    this.rebuild();
  }

  private rebuild(): void {
    this.transcript = transcriptOf(this.events);
    this.refold();
    this.flush();
  }

  /** Reads the whole log. */
  loadAll(): Promise<void> {
    return this.loadEarlier(1);
  }

  /** The state after an entry, where the log is here from its beginning. */
  stateAt(seq: number): PageState | null {
    if (this.page === null || this.first() !== 1 || seq < 1) return null;
    if (seq >= this.last()) return this.page;
    const index = Math.min(Math.floor((seq - 1) / CHECKPOINT), this.checkpoints.length - 1);
    let state = this.checkpoints[index] ?? null;
    for (let at = index * CHECKPOINT + 2; at <= seq; at += 1) {
      const event = this.events[at - 1];
      if (event !== undefined) state = step(state, event);
    }
    return state;
  }

  private set(change: globalThis.Partial<LogView>): void {
    this.view = { ...this.view, ...change };
    for (const then of this.listeners) then();
  }

  private schedule(): void {
    if (this.scheduled) return;
    this.scheduled = true;
    const flush = () => {
      this.scheduled = false;
      this.flush();
    };
    // A hidden page is given no frames, and still wants its title right.
    if (document.hidden) setTimeout(flush, 250);
    else requestAnimationFrame(flush);
  }

  private flush(): void {
    this.set({
      events: this.events,
      blocks: this.transcript.list(),
      from: this.first(),
      to: this.last(),
      page: this.page,
      partial: partialText(this.partial),
    });
  }
}

const logs = new Map<string, SessionLog>();

/** The log of a session, shared by whatever on this page shows it. */
export function logOf(id: string): SessionLog {
  const known = logs.get(id);
  if (known !== undefined) return known;
  const made = new SessionLog(id);
  logs.set(id, made);
  return made;
}
