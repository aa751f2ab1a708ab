import { Link } from "@tanstack/react-router";
import type { ReactNode } from "react";
import type { Block } from "@/fold/transcript";
import { bytes, clock, cost, grouped, span } from "@/ui/format";
import { Icon, type IconName } from "@/ui/icons";
import { Json } from "./texts";

type LineOf = Extract<Block, { kind: "line" | "usage" }>;
type Data = Record<string, unknown>;

interface Said {
  icon: IconName;
  text: ReactNode;
  tone?: "bad" | "warn" | "good";
}

const s = (value: unknown): string => (value == null ? "" : String(value));
const n = (value: unknown): number => (typeof value === "number" ? value : 0);
const by = (data: Data): string => (data.by == null ? "" : ` by ${s(data.by)}`);

const errorOf = (data: Data): string => {
  const error = data.error as { code?: string; message?: string } | undefined;
  return error === undefined ? "" : `: ${error.message ?? error.code ?? ""}`;
};

const child = (data: Data): ReactNode => (
  <Link
    to="/sessions/$id"
    params={{ id: s(data.id) }}
    className="text-accent underline decoration-current/40 underline-offset-2 hover:decoration-current"
  >
    {s(data.id)}
  </Link>
);

const LINES: Readonly<Record<string, (data: Data) => Said>> = {
  "session.created": (d) => {
    const from = (d.forked_from as { id?: unknown } | undefined)?.id;
    const made = `Created by ${s(d.owner)}`;
    return { icon: "plus", text: from === undefined ? made : `${made}, forked from ${s(from)}` };
  },
  "session.updated": (d) => ({
    icon: "edit",
    text: `Changed: ${Object.keys(d).join(", ").replaceAll("_", " ")}`,
  }),
  "session.agent_changed": (d) => ({
    icon: "agents",
    text: `Goes on with ${s((d.to as Data)?.name)} v${s((d.to as Data)?.version)} instead of v${s((d.from as Data)?.version)}${d.class === "mechanical" ? ", which says the same" : ""}`,
    tone: "warn",
  }),
  "session.blocked": (d) => ({
    icon: "clock",
    text:
      d.reason == null
        ? "Waits for a place no more"
        : `Waits for a place: ${s(d.reason).replaceAll("_", " ")}`,
  }),
  "session.placed": (d) => ({
    icon: "runners",
    text: `Compute ${s(d.epoch)} was given to a runner`,
  }),
  "session.conversation": () => ({ icon: "pin", text: "The agent named its conversation" }),
  "session.context_fresh": (d) => ({
    icon: "warning",
    text: `The agent began another conversation: ${s(d.reason)}`,
    tone: "warn",
  }),
  "session.agent_info": (d) =>
    d.about === "recovered"
      ? {
          icon: "refresh",
          text: "The agent had answered already: what it kept of its answer was taken up",
          tone: "warn",
        }
      : { icon: "agents", text: `The agent says: ${s(d.about)}` },
  "session.busy": (d) =>
    d.busy === true
      ? { icon: "play", text: "The agent works, without a run" }
      : { icon: "check", text: "The agent has no more to do" },
  http_request: (d) => {
    const asked = (
      <>
        <b className="font-medium">{s(d.method)}</b> <span className="font-mono">{s(d.path)}</span>
      </>
    );
    const time = d.duration_ms == null ? "" : `, ${span(n(d.duration_ms))}`;
    const failed = d.error != null || n(d.status) >= 500;
    return {
      icon: failed ? "warning" : "code",
      text: (
        <>
          {asked}: {d.error == null ? s(d.status) : s(d.error)}
          {time}
        </>
      ),
      ...(failed ? { tone: "bad" } : n(d.status) >= 400 ? { tone: "warn" } : {}),
    };
  },
  "session.stopping": (d) => ({
    icon: "stop",
    text: `Stop asked${((d.stop as Data)?.requested_by as string[] | undefined)?.length ? ` by ${((d.stop as Data).requested_by as string[]).join(", ")}` : ""}${d.reason == null ? "" : `: ${s(d.reason)}`} (grace ${span(n((d.stop as Data)?.grace_ms))})`,
    tone: "warn",
  }),
  "session.stop_joined": (d) => ({
    icon: "stop",
    text:
      d.again === true
        ? `Stop tried again${by(d)}`
        : `Another stop joined${by(d)} (grace ${span(n(d.grace_ms))})`,
    tone: "warn",
  }),
  "session.stop_unconfirmed": (d) => ({
    icon: "warning",
    text: `The end could not be proven: ${s(d.evidence)}`,
    tone: "bad",
  }),
  "session.held": (d) => ({
    icon: "clock",
    text:
      d.why === "failure"
        ? "The queue is held: the next prompt would fail in the same way"
        : "The queue is held",
  }),
  "session.resumed": (d) => ({ icon: "play", text: `Resumed${by(d)}` }),
  "session.compute_wanted": (d) => ({ icon: "play", text: `A compute was asked for${by(d)}` }),
  "session.unreachable": () => ({ icon: "warning", text: "Its runner is silent", tone: "bad" }),
  "session.reachable": () => ({ icon: "check", text: "Its runner has spoken again", tone: "good" }),
  "session.epoch_adopted": (d) => ({
    icon: "runners",
    text: `A live compute ${s(d.epoch)} was found and adopted`,
    tone: "warn",
  }),
  "session.epochs_known": (d) => ({
    icon: "runners",
    text: `Computes up to ${s(d.epoch)} are used up`,
  }),
  "session.tree_stopped": (d) => ({
    icon: "tree",
    text: `Its children are stopped with it${by(d)}`,
    tone: "warn",
  }),
  "session.workspace_lost": () => ({
    icon: "warning",
    text: "Its runner was removed by force, and its files with it",
    tone: "bad",
  }),
  "session.expired": () => ({ icon: "clock", text: "Its time to live has passed" }),
  "session.restored": (d) => ({ icon: "play", text: `Brought back${by(d)}` }),
  "session.deleting": (d) => ({ icon: "trash", text: `Is being removed${by(d)}` }),
  "session.removed": () => ({ icon: "trash", text: "Removed" }),
  "session.unmatched": (d) => ({
    icon: "warning",
    text: `A report of compute ${s(d.epoch)} fits nothing the log knows; it is kept, and without effect`,
  }),
  "run.queued": (d) => ({
    icon: "clock",
    text: `Prompt accepted${by(d)}${d.into != null ? ", for the run in progress" : d.first === true ? ", at the head of the queue" : ""}`,
  }),
  "run.requeued": () => ({
    icon: "refresh",
    text: "Its compute ended before the run had begun: it waits again",
    tone: "warn",
  }),
  "run.waiting": () => ({ icon: "question", text: "The run waits for a person" }),
  "run.resumed": () => ({ icon: "play", text: "The run goes on" }),
  "run.stopping": (d) => ({ icon: "stop", text: `The run is to end${by(d)}`, tone: "warn" }),
  "run.completed": (d) => ({
    icon: "check",
    text: d.result == null ? "Run completed" : "Run completed, with a result",
    tone: "good",
  }),
  "run.failed": (d) => ({ icon: "close", text: `Run failed${errorOf(d)}`, tone: "bad" }),
  "run.stopped": (d) => ({ icon: "stop", text: `Run stopped${errorOf(d)}` }),
  "run.withdrawn": (d) => ({ icon: "close", text: `Prompt withdrawn${by(d)}` }),
  "run.edited": (d) => ({ icon: "edit", text: `A waiting prompt was changed${by(d)}` }),
  "run.moved": (d) => ({
    icon: "up",
    text: `A waiting prompt was moved to place ${n(d.position) + 1}${by(d)}`,
  }),
  "approval.decided": (d) => ({
    icon: d.decision === "allow" ? "check" : "close",
    text: `${d.decision === "allow" ? "Allowed" : "Denied"} ${s(d.tool)} by policy: ${s(d.by)}`,
  }),
  "child.created": (d) => ({
    icon: "tree",
    text: (
      <>
        Created session {child(d)} of agent {s(d.agent)}
      </>
    ),
  }),
  "child.removed": () => ({ icon: "tree", text: "A child session is removed" }),
  "child.completed": (d) => ({
    icon: "tree",
    text: (
      <>
        A run of {child(d)} has {s(d.status)}
      </>
    ),
  }),
  output_gap: (d) => ({
    icon: "warning",
    text: `${bytes(n(d.bytes))} of output over the limit were counted and dropped`,
    tone: "warn",
  }),
  log_gap: (d) => ({
    icon: "warning",
    text: `Journal entries ${s(d.from)} to ${s(d.to)} of compute ${s(d.epoch)} are lost for good`,
    tone: "bad",
  }),
};

const TONES = { bad: "text-red", warn: "text-amber", good: "text-green" } as const;

function saidOf(block: LineOf): Said {
  if (block.kind === "usage") {
    const d = block.data;
    const tokens = `${grouped(n(d.input_tokens))} tokens read, ${grouped(n(d.output_tokens))} written`;
    return {
      icon: "receipt",
      text: `${tokens}${n(d.cost_usd) > 0 ? `, ${cost(n(d.cost_usd))}` : ""}${d.model == null ? "" : ` · ${s(d.model)}`}`,
    };
  }
  return LINES[block.type]?.(block.data) ?? { icon: "receipt", text: block.type };
}

export function LineBlock({
  block,
  open,
  flip,
}: {
  block: LineOf;
  open: boolean;
  flip: () => void;
}) {
  const said = saidOf(block);
  const data = block.kind === "usage" ? block.data : block.data;
  return (
    <div className="text-xs" data-type={block.kind === "line" ? block.type : "usage"}>
      <div
        className={`flex items-center gap-2 ${said.tone === undefined ? "text-dim" : TONES[said.tone]}`}
      >
        <Icon name={said.icon} size={13} className="opacity-80" />
        <span className="min-w-0 break-words">{said.text}</span>
        <button
          type="button"
          aria-expanded={open}
          onClick={flip}
          className="shrink-0 rounded text-2xs text-faint tabular hover:text-ink"
          title="What the log says"
        >
          {clock(block.at)}
        </button>
      </div>
      {open ? (
        <div className="mt-1 ml-5.5">
          <Json value={data} />
        </div>
      ) : null}
    </div>
  );
}
