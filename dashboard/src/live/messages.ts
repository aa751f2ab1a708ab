// What is said between the one stream of a browser and the pages that live on it.
import type { LogEvent, Status } from "@/api/types";

/** Something of a session's log, or text on its way there. */
export type WatchedFrame =
  | { kind: "event"; session: string; event: LogEvent }
  | { kind: "delta"; session: string; delta: Delta }
  | { kind: "resync"; session: string };

export interface Delta {
  run: string | null;
  part: number;
  offset: number;
  text: string;
}

/** What to list again. */
export type Change =
  | { of: "session"; id: string; uid: string; version: number; status: Status; last_seq: number }
  | { of: "runner"; id: string }
  | { of: "agents" };

export type LiveFrame = WatchedFrame | { kind: "change"; change: Change } | { kind: "behind" };

type LinkState = "connecting" | "live" | "lost";

export interface LinkStatus {
  state: LinkState;
  /** Since when, as milliseconds of the wall clock. */
  since: number;
  /** Counts connections: whoever sees a new one lists again. */
  opened: number;
  /** What the coordinator said, where it refused. */
  detail: string | null;
}

export interface Watch {
  id: string;
  /** Everything up to here is known. */
  seq: number;
  /** Only for a line in a list: gives way where there are too many. */
  glance: boolean;
}

/** Between the tabs of a browser. */
export type TabMessage =
  | { t: "hello"; tab: string }
  | { t: "leader" }
  | { t: "watching"; tab: string; watches: Watch[] }
  | { t: "frames"; frames: LiveFrame[] }
  | { t: "status"; status: LinkStatus }
  | { t: "gone"; id: string }
  | { t: "retry" };
