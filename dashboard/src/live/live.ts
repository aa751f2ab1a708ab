// One stream per browser, shared by its tabs: the tab that holds the lock leads and hands on
// what it hears. When it goes away another takes its place and goes on by position.

import { randomId } from "@/ui/random";
import type { Change, LinkStatus, LiveFrame, TabMessage, Watch, WatchedFrame } from "./messages";
import { LiveStream } from "./stream";

type WatchListener = (frame: WatchedFrame) => void;

interface Watching {
  seq: () => number;
  listener: WatchListener;
  gone: () => void;
  /** For a line in a list; a transcript comes before it. */
  glance?: boolean;
}

class Live {
  private readonly tab = randomId();
  private readonly channel = new BroadcastChannel("greenroom-live");
  private readonly watching = new Map<string, Set<Watching>>();
  private readonly others = new Map<string, Watch[]>();
  private readonly changes = new Set<(changes: Change[]) => void>();
  private readonly resyncs = new Set<() => void>();
  private readonly statuses = new Set<() => void>();
  private stream: LiveStream | null = null;
  private started = false;
  private opened = 0;
  private status: LinkStatus = { state: "connecting", since: Date.now(), opened: 0, detail: null };

  /** Begins, once somebody is signed in. */
  start(): void {
    if (this.started) return;
    this.started = true;
    this.channel.onmessage = ({ data }: MessageEvent<TabMessage>) => this.hear(data);
    this.say({ t: "hello", tab: this.tab });
    for (const event of ["online", "focus"]) window.addEventListener(event, () => this.retry());
    if (navigator.locks === undefined) {
      // Without a secure context there are no locks: each tab has a stream of its own.
      this.channel.close();
      void this.lead();
      return;
    }
    // Whoever holds this lock is alive: the leader forgets the others when they let go.
    void navigator.locks.request(`greenroom-tab-${this.tab}`, () => new Promise(() => {}));
    void navigator.locks.request("greenroom-live", () => this.lead());
  }

  /** Hears of a session's log from a position on, until the function it gives is called. */
  watch(id: string, watching: Watching): () => void {
    const all = this.watching.get(id) ?? new Set();
    all.add(watching);
    this.watching.set(id, all);
    this.announce();
    return () => {
      all.delete(watching);
      if (all.size === 0) this.watching.delete(id);
      this.announce();
    };
  }

  onChanges(then: (changes: Change[]) => void): () => void {
    this.changes.add(then);
    return () => this.changes.delete(then);
  }

  /** Something may have been missed: list again. */
  onResync(then: () => void): () => void {
    this.resyncs.add(then);
    return () => this.resyncs.delete(then);
  }

  readonly subscribe = (then: () => void): (() => void) => {
    this.statuses.add(then);
    return () => this.statuses.delete(then);
  };

  readonly snapshot = (): LinkStatus => this.status;

  /** Tries at once to connect, in whichever tab that is done. */
  retry(): void {
    this.stream?.retry();
    this.say({ t: "retry" });
  }

  private lead(): Promise<never> {
    const stream = new LiveStream({
      frames: (frames) => {
        this.say({ t: "frames", frames });
        this.deliver(frames);
      },
      status: (status) => {
        this.say({ t: "status", status });
        this.setStatus(status);
      },
      gone: (id) => {
        this.say({ t: "gone", id });
        this.tellGone(id);
      },
    });
    this.stream = stream;
    this.say({ t: "leader" });
    this.gather();
    stream.start();
    return new Promise(() => {});
  }

  private say(message: TabMessage): void {
    if (navigator.locks !== undefined) this.channel.postMessage(message);
  }

  private mine(): Watch[] {
    return [...this.watching].map(([id, all]) => ({
      id,
      seq: Math.min(...[...all].map((one) => one.seq())),
      glance: [...all].every((one) => one.glance === true),
    }));
  }

  private announce(): void {
    if (this.stream === null) this.say({ t: "watching", tab: this.tab, watches: this.mine() });
    else this.gather();
  }

  private gather(): void {
    const all = new Map<string, Watch>();
    for (const watch of [...this.mine(), ...[...this.others.values()].flat()]) {
      const known = all.get(watch.id);
      all.set(
        watch.id,
        known === undefined
          ? watch
          : {
              id: watch.id,
              seq: Math.min(watch.seq, known.seq),
              glance: watch.glance && known.glance,
            },
      );
    }
    this.stream?.watch([...all.values()].sort((a, b) => Number(a.glance) - Number(b.glance)));
  }

  private hear(message: TabMessage): void {
    switch (message.t) {
      case "hello":
        if (this.stream !== null) this.say({ t: "status", status: this.stream.now() });
        break;
      case "leader":
        this.announce();
        break;
      case "watching":
        if (this.stream === null) break;
        if (!this.others.has(message.tab)) this.follow(message.tab);
        this.others.set(message.tab, message.watches);
        this.gather();
        break;
      case "frames":
        this.deliver(message.frames);
        break;
      case "status":
        this.setStatus(message.status);
        break;
      case "gone":
        this.tellGone(message.id);
        break;
      case "retry":
        this.stream?.retry();
        break;
    }
  }

  private follow(tab: string): void {
    void navigator.locks.request(`greenroom-tab-${tab}`, () => {
      this.others.delete(tab);
      this.gather();
    });
  }

  private deliver(frames: LiveFrame[]): void {
    const changes: Change[] = [];
    for (const frame of frames) {
      if (frame.kind === "change") changes.push(frame.change);
      else if (frame.kind === "behind") for (const then of this.resyncs) then();
      else for (const one of this.watching.get(frame.session) ?? []) one.listener(frame);
    }
    if (changes.length > 0) for (const then of this.changes) then(changes);
  }

  private tellGone(id: string): void {
    for (const one of this.watching.get(id) ?? []) one.gone();
  }

  private setStatus(status: LinkStatus): void {
    this.status = status;
    for (const then of this.statuses) then();
    if (status.state !== "live" || status.opened === this.opened) return;
    // The very first connection comes with first lists of its own.
    this.opened = status.opened;
    for (const then of this.resyncs) then();
  }
}

export const live = new Live();
