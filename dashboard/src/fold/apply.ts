// Folding events into a session: total, pure, and the same as the coordinator's `apply`.
// Whatever the log says is so.
import type { Limits, LogEvent, Policy, Receipt, SessionPolicy } from "@/api/types";
import type {
  AgentPin,
  Asked,
  Compute,
  HeadState,
  HowEnded,
  PendingRun,
  SessionState,
  StopReason,
  Traits,
} from "./types";

const OUTPUT = new Set([
  "message",
  "thought",
  "tool_call",
  "tool_result",
  "plan",
  "usage",
  "log",
  "output_gap",
  "http_request",
  "session.context_fresh",
  "session.agent_info",
  "approval.decided",
]);

/** Whether it is something the agent said or did: it advances the log but not the state. */
const isOutput = (type: string): boolean => OUTPUT.has(type);

type Data = Record<string, unknown>;
type Change = (s: SessionState, data: Data, event: LogEvent) => Partial<SessionState>;

const later = (a: string, b: string): string => (Date.parse(b) > Date.parse(a) ? b : a);

export const text = (value: unknown): string | null => (typeof value === "string" ? value : null);
export const whole = (value: unknown): number =>
  typeof value === "number" && Number.isInteger(value) && value >= 0 ? value : 0;

/** The session that its first event describes. */
export function begin(event: LogEvent): SessionState {
  const d = event.data;
  return {
    uid: String(d.uid),
    id: String(d.id),
    owner: String(d.owner),
    shared: d.shared === true,
    title: text(d.title),
    labels: (d.labels ?? {}) as Record<string, string>,
    agent: d.agent as AgentPin,
    agent_policy: (d.agent_policy as SessionState["agent_policy"]) ?? "follow",
    approvals: (d.approvals ?? {}) as SessionPolicy,
    within: (d.within ?? []) as Policy[],
    traits: d.traits as Traits,
    limits: (d.limits ?? {}) as Limits,
    parent_id: text(d.parent_id),
    children: 0,
    created_at: event.at,
    updated_at: event.at,
    last_active_at: event.at,
    life: "kept",
    compute: null,
    ended: null,
    last_epoch: 0,
    home: null,
    hold: null,
    wants_compute: false,
    blocked: null,
    queue: [],
    tree_stopped: false,
    usage: { input_tokens: 0, output_tokens: 0, cost_micro_usd: 0 },
    conversation: null,
    last_seq: 1,
    version: 1,
  };
}

const compute = (s: SessionState, change: Partial<Compute>): Partial<SessionState> =>
  s.compute === null ? {} : { compute: { ...s.compute, ...change } };

function setHead(state: HeadState): Change {
  return (s, d) => {
    const head = s.compute?.head;
    if (!head || head.run.id !== d.run) return {};
    return compute(s, { head: { ...head, state }, began: true });
  };
}

function setAsk(state: Asked["state"]): Change {
  return (s, d) =>
    compute(s, {
      asked: (s.compute?.asked ?? []).map((one) => (one.id === d.id ? { ...one, state } : one)),
    });
}

const endRun: Change = (s, d) => {
  const queue = s.queue.filter((run) => run.id !== d.run);
  const change: Partial<SessionState> = { queue };
  const head = s.compute?.head;
  if (s.compute && head && head.run.id === d.run) {
    // A process a run: with its run over, this compute takes no other, unless what it left
    // behind is to be kept.
    const closing = s.compute.closing || (!s.traits.persistent && !s.traits.keeps_leftovers);
    change.compute = { ...s.compute, head: null, closing };
  } else if (s.compute && head) {
    const steers = head.steers.filter((run) => run !== d.run);
    if (steers.length < head.steers.length)
      change.compute = { ...s.compute, head: { ...head, steers } };
  }
  if (queue.length === 0) change.blocked = null;
  return change;
};

/** What is for the run in progress goes before what waits for its own turn. */
function queueSteer(s: SessionState, run: PendingRun, into: string): Partial<SessionState> {
  const head = s.compute?.head;
  if (!s.compute || !head || head.run.id !== into) return { queue: [...s.queue, run] };
  const last = s.queue.findLastIndex((waiting) => head.steers.includes(waiting.id));
  return {
    queue: s.queue.toSpliced(last + 1, 0, run),
    compute: { ...s.compute, head: { ...head, steers: [...head.steers, run.id] } },
  };
}

const close: Change = (s, d) => {
  const receipt = d.receipt as Receipt;
  return {
    last_epoch: Math.max(s.last_epoch, receipt.epoch),
    compute: null,
    blocked: null,
    ended: { how: d.how as HowEnded, receipt },
  };
};

function place(ready: boolean): Change {
  return (_, d) => ({
    last_epoch: whole(d.epoch),
    home: String(d.runner),
    blocked: null,
    wants_compute: false,
    compute: {
      epoch: whole(d.epoch),
      runner: String(d.runner),
      ready,
      head: null,
      began: false,
      stopping: null,
      closing: false,
      silent: false,
      unconfirmed: false,
      busy: false,
      asked: [],
    },
  });
}

const HOLDS = new Set<StopReason>(["user", "limit", "parent", "deleted"]);

const joinStop: Change = (s, d, event) => {
  const stop = s.compute?.stopping;
  if (!s.compute || !stop) return {};
  const by = String(d.by);
  const reason = d.reason as StopReason;
  const takes = HOLDS.has(reason) && (!HOLDS.has(stop.reason) || reason === "deleted");
  const again = d.again === true;
  return compute(s, {
    unconfirmed: again ? false : s.compute.unconfirmed,
    stopping: {
      ...stop,
      requested_by: stop.requested_by.includes(by) ? stop.requested_by : [...stop.requested_by, by],
      grace_ms: Math.min(stop.grace_ms, whole(d.grace_ms)),
      ends_run: stop.ends_run || d.ends_run === true,
      reason: takes ? reason : stop.reason,
      attempt: again ? stop.attempt + 1 : stop.attempt,
      requested_at: again ? event.at : stop.requested_at,
    },
  });
};

const update: Change = (s, d) => {
  const change: Partial<SessionState> = {};
  if (typeof d.title === "string") change.title = d.title === "" ? null : d.title;
  if (d.labels) change.labels = d.labels as Record<string, string>;
  if (d.limits) {
    const over = Object.entries(d.limits as Limits).filter(([, value]) => value != null);
    change.limits = { ...s.limits, ...Object.fromEntries(over) };
  }
  if (typeof d.shared === "boolean") change.shared = d.shared;
  if (d.agent_policy) change.agent_policy = d.agent_policy as SessionState["agent_policy"];
  if (d.approvals) change.approvals = d.approvals as SessionPolicy;
  return change;
};

const count: Change = (s, d) => {
  const cost = typeof d.cost_usd === "number" ? Math.max(0, d.cost_usd) : 0;
  return {
    usage: {
      input_tokens: s.usage.input_tokens + whole(d.input_tokens),
      output_tokens: s.usage.output_tokens + whole(d.output_tokens),
      cost_micro_usd: s.usage.cost_micro_usd + Math.round(cost * 1e6),
    },
  };
};

const active: Change = (s, _, event) => ({ last_active_at: later(s.last_active_at, event.at) });

const CHANGES: Readonly<Record<string, Change>> = {
  usage: count,
  "session.updated": update,
  "session.agent_changed": (_, d) => ({ agent: d.to as AgentPin, traits: d.traits as Traits }),
  "session.blocked": (_, d) => ({ blocked: text(d.reason) }),
  "session.placed": place(false),
  "session.epoch_adopted": place(true),
  "session.epochs_known": (s, d) => ({
    last_epoch: Math.max(s.last_epoch, whole(d.epoch)),
    home: s.home ?? text(d.runner),
  }),
  "session.ready": (s) => compute(s, { ready: true }),
  "session.busy": (s, d, event) => ({
    ...compute(s, { busy: d.busy === true }),
    last_active_at: later(s.last_active_at, event.at),
  }),
  "session.closing": (s) => compute(s, { closing: true }),
  "session.stopping": (s, d, event) => {
    const stop = d.stop as Omit<NonNullable<Compute["stopping"]>, "requested_at" | "ends_run">;
    const stopping = { ...stop, requested_at: event.at, ends_run: d.ends_run === true };
    return compute(s, { unconfirmed: false, stopping });
  },
  "session.stop_joined": joinStop,
  "session.stop_unconfirmed": (s) => compute(s, { unconfirmed: true }),
  "session.stopped": close,
  "session.finished": close,
  "session.failed": close,
  "session.interrupted": close,
  "session.held": (_, d) => ({ hold: d.why as SessionState["hold"], wants_compute: false }),
  "session.resumed": () => ({ hold: null, tree_stopped: false }),
  "session.compute_wanted": () => ({ wants_compute: true }),
  "session.unreachable": (s) => compute(s, { silent: true }),
  "session.reachable": (s) => compute(s, { silent: false }),
  "session.tree_stopped": () => ({ tree_stopped: true }),
  "session.workspace_lost": () => ({ home: null }),
  "session.expired": () => ({ life: "expired" }),
  "session.restored": () => ({ life: "kept" }),
  "session.deleting": () => ({ life: "deleting" }),
  "session.removed": () => ({ life: "removed" }),
  "session.conversation": (_, d) => ({ conversation: text(d.id) }),
  "run.queued": (s, d, event) => {
    const run = d.run as PendingRun;
    const into = text(d.into);
    const change =
      into !== null
        ? queueSteer(s, run, into)
        : { queue: d.first === true ? [run, ...s.queue] : [...s.queue, run] };
    return { ...change, last_active_at: later(s.last_active_at, event.at) };
  },
  "run.dispatched": (s, d) => {
    const run = s.queue.find((waiting) => waiting.id === d.run);
    if (!run || !s.compute) return {};
    const head = { run, state: "dispatched" as const, cancel: null, steers: [] };
    const queue = s.queue.filter((waiting) => waiting.id !== d.run);
    return { queue, blocked: null, compute: { ...s.compute, head } };
  },
  "run.requeued": (s, d) => {
    const head = s.compute?.head;
    if (!s.compute || !head || head.run.id !== d.run) return {};
    return { queue: [head.run, ...s.queue], compute: { ...s.compute, head: null } };
  },
  "run.started": setHead("running"),
  "run.waiting": setHead("waiting"),
  "run.resumed": setHead("running"),
  "run.stopping": (s, d) => {
    const head = s.compute?.head;
    if (!head || head.run.id !== d.run) return {};
    return compute(s, { head: { ...head, cancel: whole(d.grace_ms) } });
  },
  "run.steered": endRun,
  "run.completed": endRun,
  "run.failed": endRun,
  "run.stopped": endRun,
  "run.withdrawn": endRun,
  "run.edited": () => ({}),
  "run.moved": (s, d) => {
    const run = s.queue.find((waiting) => waiting.id === d.run);
    if (!run) return {};
    const rest = s.queue.filter((waiting) => waiting.id !== d.run);
    return { queue: rest.toSpliced(whole(d.position), 0, run) };
  },
  "approval.requested": (s, d, event) => {
    const asked = { id: String(d.id), run: String(d.run), seq: event.seq, state: "open" as const };
    return compute(s, { asked: [...(s.compute?.asked ?? []), asked] });
  },
  "approval.answered": setAsk("answered"),
  "approval.delivered": setAsk("delivered"),
  "approval.withdrawn": (s, d) =>
    compute(s, { asked: (s.compute?.asked ?? []).filter((one) => one.id !== d.id) }),
  "child.created": (s) => ({ children: s.children + 1 }),
  "child.removed": (s) => ({ children: Math.max(0, s.children - 1) }),
  "child.completed": active,
};

/** Folds one event into the session, as the next entry of its log. */
export function apply(s: SessionState, event: LogEvent): SessionState {
  const output = isOutput(event.type);
  const next: SessionState = output
    ? { ...s, last_seq: event.seq, last_active_at: later(s.last_active_at, event.at) }
    : {
        ...s,
        last_seq: event.seq,
        version: s.version + 1,
        updated_at: later(s.updated_at, event.at),
      };
  const change = CHANGES[event.type];
  return change === undefined ? next : { ...next, ...change(next, event.data, event) };
}
