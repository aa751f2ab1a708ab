import { useState } from "react";
import type { RunStatus, Status } from "@/api/types";
import type { PageState } from "@/fold/types";
import { Ago, Empty, Id } from "@/ui/bits";
import { Button } from "@/ui/button";
import { cost, count, exact, span } from "@/ui/format";
import { Icon } from "@/ui/icons";
import { StatusMark } from "@/ui/status";
import { Json } from "./blocks/texts";
import type { ShownRun } from "./view";

const MARKS: Readonly<Record<RunStatus, Status>> = {
  queued: "queued",
  dispatched: "starting",
  running: "running",
  waiting: "waiting",
  completed: "finished",
  failed: "failed",
  stopped: "stopped",
  withdrawn: "deleting",
};

export default function Runs({
  runs,
  page,
  show,
}: {
  runs: ShownRun[];
  page: PageState | null;
  show: (seq: number) => void;
}) {
  if (runs.length === 0) {
    return (
      <Empty icon="play" title="No run yet">
        A run is one prompt and all that happens until its answer.
      </Empty>
    );
  }
  return (
    <div className="min-h-0 flex-1 overflow-y-auto">
      <ol className="divide-y">
        {runs.map((run) => (
          <RunRow key={run.id} run={run} seq={page?.runs.get(run.id)?.seq} show={show} />
        ))}
      </ol>
    </div>
  );
}

function RunRow({
  run,
  seq,
  show,
}: {
  run: ShownRun;
  seq: number | undefined;
  show: (seq: number) => void;
}) {
  const [open, setOpen] = useState(false);
  const began = run.started_at ?? run.created_at;
  const spent =
    run.ended_at == null || run.started_at == null
      ? null
      : Date.parse(run.ended_at) - Date.parse(began);
  const tokens = run.usage.input_tokens + run.usage.output_tokens;
  return (
    <li className="px-4 py-2" data-run={run.id}>
      <button
        type="button"
        aria-expanded={open}
        onClick={() => setOpen(!open)}
        className="flex w-full items-center gap-2.5 text-left"
      >
        <Icon name={open ? "down" : "right"} size={12} className="text-faint" />
        <StatusMark status={MARKS[run.status]} />
        <span className="w-20 shrink-0 text-dim">{run.status}</span>
        <span className="min-w-0 flex-1 truncate">
          {run.prompt ?? (run.input == null ? "" : JSON.stringify(run.input))}
        </span>
        <span className="shrink-0 text-faint text-xs tabular">
          {tokens > 0
            ? `${count(tokens)} tokens${run.usage.cost_usd > 0 ? `, ${cost(run.usage.cost_usd)}` : ""} · `
            : ""}
          {spent === null ? "" : `${span(spent)} · `}
          <Ago at={run.ended_at ?? began} />
        </span>
      </button>
      {open ? (
        <div className="mt-2 ml-6 flex flex-col gap-2 text-xs">
          <div className="flex flex-wrap gap-x-5 gap-y-1 text-dim">
            <Id id={run.id} />
            <span>accepted {exact(run.created_at)}</span>
            {run.started_at != null ? <span>began {exact(run.started_at)}</span> : null}
            {run.ended_at != null ? <span>ended {exact(run.ended_at)}</span> : null}
          </div>
          {run.error != null ? (
            <p className="rounded-md border border-red/30 bg-red/5 px-2.5 py-1.5">
              <b className="font-medium">{run.error.code}</b> {run.error.message}
            </p>
          ) : null}
          {run.prompt != null ? (
            <p className="whitespace-pre-wrap break-words text-sm">{run.prompt}</p>
          ) : run.input != null ? (
            <Json value={run.input} />
          ) : null}
          {run.result != null ? (
            <div>
              <div className="mb-1 text-dim">Result</div>
              <Json value={run.result} />
            </div>
          ) : null}
          {seq !== undefined ? (
            <Button
              small
              look="ghost"
              icon="clock"
              className="self-start"
              onClick={() => show(seq)}
            >
              Show the session as it was then
            </Button>
          ) : null}
        </div>
      ) : null}
    </li>
  );
}
