// The state of a session's page: a fold of its events, used live and by the time slider.
import type { LogEvent, Receipt, RunStatus, Usage } from "@/api/types";
import { apply, begin, text, whole } from "./apply";
import type { AskDetail, ChildState, HowEnded, PageState, PendingRun, RunState } from "./types";

const NOTHING: Usage = { input_tokens: 0, output_tokens: 0, cost_usd: 0 };

function withRun(
  runs: PageState["runs"],
  id: unknown,
  change: (run: RunState) => Partial<RunState>,
): PageState["runs"] {
  const run = typeof id === "string" ? runs.get(id) : undefined;
  if (run === undefined) return runs;
  return new Map(runs).set(run.id, { ...run, ...change(run) });
}

const FINAL: Readonly<Record<string, RunStatus>> = {
  "run.steered": "completed",
  "run.completed": "completed",
  "run.failed": "failed",
  "run.stopped": "stopped",
  "run.withdrawn": "withdrawn",
};

function foldRuns(runs: PageState["runs"], event: LogEvent): PageState["runs"] {
  const d = event.data;
  const ended = FINAL[event.type];
  if (ended !== undefined) {
    return withRun(runs, d.run, () => ({
      status: ended,
      ended_at: event.at,
      into: text(d.into),
      result: d.result ?? null,
      error: (d.error as RunState["error"]) ?? null,
    }));
  }
  switch (event.type) {
    case "run.queued": {
      const run = d.run as PendingRun;
      return new Map(runs).set(run.id, {
        id: run.id,
        status: "queued",
        prompt: text(d.prompt),
        input: d.input ?? null,
        by: text(d.by),
        queued_at: event.at,
        started_at: null,
        ended_at: null,
        into: null,
        result: null,
        error: null,
        seq: event.seq,
        usage: NOTHING,
      });
    }
    case "run.edited":
      return withRun(runs, d.run, () => ({ prompt: text(d.prompt), input: d.input ?? null }));
    case "run.dispatched":
      return withRun(runs, d.run, () => ({ status: "dispatched" }));
    case "run.requeued":
      return withRun(runs, d.run, () => ({ status: "queued" }));
    case "run.started":
      return withRun(runs, d.run, (run) => ({
        status: "running",
        started_at: run.started_at ?? event.at,
      }));
    case "run.waiting":
      return withRun(runs, d.run, () => ({ status: "waiting" }));
    case "run.resumed":
      return withRun(runs, d.run, () => ({ status: "running" }));
    case "usage":
      return withRun(runs, event.run, ({ usage }) => ({
        usage: {
          input_tokens: usage.input_tokens + whole(d.input_tokens),
          output_tokens: usage.output_tokens + whole(d.output_tokens),
          cost_usd: usage.cost_usd + (typeof d.cost_usd === "number" ? Math.max(0, d.cost_usd) : 0),
        },
      }));
    default:
      return runs;
  }
}

function foldChildren(children: PageState["children"], event: LogEvent): PageState["children"] {
  const d = event.data;
  if (!event.type.startsWith("child.")) return children;
  const uid = String(d.child);
  const known: ChildState = children.get(uid) ?? {
    uid,
    id: text(d.id) ?? uid,
    agent: "",
    removed: false,
    completed: 0,
    last_status: null,
  };
  const change: Partial<ChildState> =
    event.type === "child.created"
      ? { agent: text(d.agent) ?? "" }
      : event.type === "child.removed"
        ? { removed: true }
        : { completed: known.completed + 1, last_status: d.status as RunStatus };
  return new Map(children).set(uid, { ...known, ...change });
}

function foldAsks(asks: PageState["asks"], event: LogEvent): PageState["asks"] {
  const d = event.data;
  if (event.type === "approval.requested") {
    const ask: AskDetail = {
      id: String(d.id),
      run: String(d.run),
      seq: event.seq,
      at: event.at,
      data: d,
      state: "open",
      answer: null,
    };
    return new Map(asks).set(ask.id, ask);
  }
  const known = asks.get(String(d.id));
  if (known === undefined) return asks;
  const change = answerOf(event);
  return change === null ? asks : new Map(asks).set(known.id, { ...known, ...change });
}

/** What an event says of a question. */
export function answerOf({ type, data: d }: LogEvent): Partial<AskDetail> | null {
  switch (type) {
    case "approval.answered":
      return {
        state: "answered",
        answer: { decision: String(d.decision), by: String(d.by), reason: text(d.reason) },
      };
    case "approval.delivered":
      return { state: "delivered" };
    case "approval.withdrawn":
      return { state: "withdrawn" };
    default:
      return null;
  }
}

const CLOSES = new Set([
  "session.stopped",
  "session.finished",
  "session.failed",
  "session.interrupted",
]);

function foldReceipts(receipts: PageState["receipts"], event: LogEvent): PageState["receipts"] {
  if (event.type === "session.late_receipt") {
    const receipt = event.data.receipt as Receipt;
    const how: HowEnded = { as: "stopped", reason: receipt.reason };
    return [...receipts, { seq: event.seq, at: event.at, how, receipt, late: true }];
  }
  if (!CLOSES.has(event.type)) return receipts;
  const { how, receipt } = event.data as { how: HowEnded; receipt: Receipt };
  return [...receipts, { seq: event.seq, at: event.at, how, receipt, late: false }];
}

/** Folds one event. The first of a log needs no state before it. */
export function step(state: PageState | null, event: LogEvent): PageState {
  if (state === null) {
    return {
      session: begin(event),
      runs: new Map(),
      children: new Map(),
      asks: new Map(),
      receipts: [],
    };
  }
  return {
    session: apply(state.session, event),
    runs: foldRuns(state.runs, event),
    children: foldChildren(state.children, event),
    asks: event.type.startsWith("approval.") ? foldAsks(state.asks, event) : state.asks,
    receipts: foldReceipts(state.receipts, event),
  };
}

/** The state after these events, of which the first is entry 1 of the log. */
export function fold(events: Iterable<LogEvent>): PageState | null {
  let state: PageState | null = null;
  for (const event of events) state = step(state, event);
  return state;
}
