// The folded state of one session, as its log says it is. The names are those of the
// coordinator's own fold, so that the two can be read side by side.
import type {
  AgentPolicy,
  Limits,
  LogEvent,
  Policy,
  Receipt,
  RunStatus,
  SessionPolicy,
  Status,
  Usage,
} from "@/api/types";

export interface AgentPin {
  name: string;
  version: number;
  source: string;
  digest: string;
}

export interface Traits {
  persistent: boolean;
  keeps_leftovers: boolean;
  cancels?: boolean;
  steers?: boolean;
}

export interface PendingRun {
  id: string;
  callback?: boolean;
  created_at: string;
}

export type HeadState = "dispatched" | "running" | "waiting";

export interface Head {
  run: PendingRun;
  state: HeadState;
  cancel: number | null;
  /** Runs of the queue that are to become part of it, in order. */
  steers: readonly string[];
}

type AskState = "open" | "answered" | "delivered";

export interface Asked {
  id: string;
  run: string;
  seq: number;
  state: AskState;
}

export interface Stopping {
  id: string;
  reason: StopReason;
  cancel_grace_ms: number;
  grace_ms: number;
  requested_by: readonly string[];
  attempt: number;
  requested_at: string;
  ends_run: boolean;
}

export type StopReason = "user" | "idle" | "limit" | "shutdown" | "parent" | "deleted";

export interface Compute {
  epoch: number;
  runner: string;
  ready: boolean;
  head: Head | null;
  began: boolean;
  /** The stop under way; `null` while it should live. */
  stopping: Stopping | null;
  closing: boolean;
  silent: boolean;
  unconfirmed: boolean;
  /** Its agent works though it was given no run. */
  busy: boolean;
  asked: readonly Asked[];
}

export interface HowEnded {
  as: "stopped" | "finished" | "failed" | "interrupted";
  reason?: string;
}

export interface SessionState {
  uid: string;
  id: string;
  owner: string;
  shared: boolean;
  title: string | null;
  labels: Readonly<Record<string, string>>;
  agent: AgentPin;
  agent_policy: AgentPolicy;
  approvals: SessionPolicy;
  /** Policies of the sessions above. */
  within: readonly Policy[];
  traits: Traits;
  limits: Limits;
  parent_id: string | null;
  children: number;
  created_at: string;
  updated_at: string;
  last_active_at: string;
  life: "kept" | "expired" | "deleting" | "removed";
  compute: Compute | null;
  ended: { how: HowEnded; receipt: Receipt } | null;
  last_epoch: number;
  home: string | null;
  hold: "stop" | "failure" | null;
  wants_compute: boolean;
  blocked: string | null;
  queue: readonly PendingRun[];
  tree_stopped: boolean;
  usage: { input_tokens: number; output_tokens: number; cost_micro_usd: number };
  conversation: string | null;
  last_seq: number;
  version: number;
}

/** A run as the log tells it. */
export interface RunState {
  id: string;
  status: RunStatus;
  prompt: string | null;
  input: unknown;
  by: string | null;
  queued_at: string;
  started_at: string | null;
  ended_at: string | null;
  /** The run that it became part of. */
  into: string | null;
  result: unknown;
  error: { code: string; message: string } | null;
  seq: number;
  usage: Usage;
}

export interface ChildState {
  uid: string;
  id: string;
  agent: string;
  removed: boolean;
  completed: number;
  last_status: RunStatus | null;
}

export interface AskDetail {
  id: string;
  run: string;
  seq: number;
  at: string;
  data: LogEvent["data"];
  state: AskState | "withdrawn";
  answer: { decision: string; by: string; reason: string | null } | null;
}

interface Closed {
  /** It came after a person had closed the compute. */
  late: boolean;
  seq: number;
  at: string;
  how: HowEnded;
  receipt: Receipt;
}

/** Everything the page of a session shows, but for its transcript. */
export interface PageState {
  session: SessionState;
  runs: ReadonlyMap<string, RunState>;
  children: ReadonlyMap<string, ChildState>;
  asks: ReadonlyMap<string, AskDetail>;
  receipts: readonly Closed[];
}

export interface Standing {
  status: Status;
  reason: string | null;
}
