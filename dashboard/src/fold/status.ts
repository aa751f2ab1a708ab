// How a session stands: a pure function of what is wanted and what is known, and the same
// as the coordinator's `status`.
import type { RunStatus, Session, Status } from "@/api/types";
import type { Compute, SessionState, Standing } from "./types";

const AT_REST = new Set<Status>(["new", "stopped", "finished", "failed", "interrupted"]);

/** Nothing is live, and nothing will be until somebody asks. */
export const isAtRest = (status: Status): boolean => AT_REST.has(status);

const standing = (status: Status, reason: string | null = null): Standing => ({ status, reason });

/** Whether it needs something of a runner now. */
function needs(s: SessionState): boolean {
  if (s.life !== "kept" || s.hold !== null) return false;
  const waiting = s.queue.length > 0;
  if (s.compute === null) return waiting || s.wants_compute;
  return waiting && takesRun(s.compute);
}

function takesRun(c: Compute): boolean {
  return c.ready && c.head === null && !c.stopping && !c.closing && !c.silent && !c.unconfirmed;
}

export function stand(s: SessionState): Standing {
  if (s.life === "deleting" || s.life === "removed") return standing("deleting");
  if (s.compute) return standWith(s, s.compute);
  if (needs(s)) return standing("queued", s.blocked);
  const expired = s.life === "expired" ? "expired" : null;
  const how = s.ended?.how;
  switch (how?.as) {
    case undefined:
      return expired === null ? standing("new") : standing("stopped", expired);
    case "stopped":
      return standing("stopped", expired ?? how?.reason ?? null);
    case "finished":
      return standing("finished", expired);
    default:
      return standing(how?.as as Status, how?.reason ?? null);
  }
}

function standWith(s: SessionState, c: Compute): Standing {
  if (c.unconfirmed) return standing("stop_unconfirmed");
  if (c.stopping) return standing("stopping", c.stopping.reason);
  if (c.silent) return standing("unreachable");
  if (!c.ready) return standing("starting");
  if (c.head) return standing(c.head.state === "waiting" ? "waiting" : "running");
  if (c.closing) return standing("stopping", "done");
  if (needs(s)) return standing("queued", s.blocked);
  return c.busy ? standing("running", "serving") : standing("idle");
}

/** The run to show: the one its compute has, else the first that waits. */
function currentRun(s: SessionState): { id: string; status: RunStatus } | null {
  const head = s.compute?.head;
  if (head) return { id: head.run.id, status: head.state };
  const first = s.queue[0];
  return first ? { id: first.id, status: "queued" } : null;
}

/** The folded state in the form of the API. What no log says is taken from `known`. */
export function shown(s: SessionState, known?: Session): Session {
  const { status, reason } = stand(s);
  const run = currentRun(s);
  const asked = s.compute?.asked ?? [];
  const key = (source: string): string => source.slice(source.indexOf(":") + 1);
  return {
    id: s.id,
    uid: s.uid,
    owner: s.owner,
    shared: s.shared,
    agent: {
      ...s.agent,
      source_key:
        known && known.agent.source === s.agent.source
          ? (known.agent.source_key ?? "")
          : key(s.agent.source),
      stable_key:
        known && known.agent.source === s.agent.source ? (known.agent.stable_key ?? null) : null,
    },
    agent_policy: s.agent_policy,
    approvals: s.approvals,
    title: s.title,
    labels: { ...s.labels },
    status,
    status_reason: reason,
    wanted: s.compute ? (s.compute.stopping ? "down" : "up") : null,
    hold: s.hold !== null,
    epoch: s.last_epoch,
    runner_id: s.home,
    parent_id: s.parent_id,
    run_id: run?.id ?? null,
    run_status: run?.status ?? null,
    last_seq: s.last_seq,
    version: s.version,
    pending: {
      runs: s.queue.length,
      approvals: asked.filter((one) => one.state === "open").length,
    },
    usage: {
      input_tokens: s.usage.input_tokens,
      output_tokens: s.usage.output_tokens,
      cost_usd: s.usage.cost_micro_usd / 1e6,
    },
    limits: s.limits,
    created_at: s.created_at,
    updated_at: s.updated_at,
    last_active_at: s.last_active_at,
    expires_at: known?.expires_at ?? null,
    receipt: s.ended?.receipt ?? null,
  };
}
