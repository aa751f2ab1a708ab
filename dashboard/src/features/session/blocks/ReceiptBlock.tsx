import type { Receipt } from "@/api/types";
import type { HowEnded } from "@/fold/types";
import { exact, plural, span } from "@/ui/format";
import { Icon } from "@/ui/icons";
import { StatusMark } from "@/ui/status";
import { exitWords, isProven, receiptLine } from "../../words";

const STEPS: Readonly<Record<string, string>> = {
  seen: "seen",
  cancel: "the driver's own cancel",
  term_leader: "SIGTERM to the agent",
  leader_exited: "the agent ended",
  term_rest: "SIGTERM to the rest",
  freeze: "everything is frozen",
  kill: "SIGKILL to everything",
  proven: "proven",
  nothing: "nothing to act on",
};

const MEANS: Readonly<Record<string, string>> = {
  no_child_left: "no child left",
  cgroup_empty: "control group empty",
  never_placed: "never placed",
  never_started: "never started",
  rebooted: "the machine was started anew",
  runner_record: "the runner's record",
  runner_word: "the word of a runner of another system",
  none: "nothing: a person's word",
};

const HOW: Readonly<Record<HowEnded["as"], string>> = {
  stopped: "Stopped",
  finished: "Finished",
  failed: "Failed",
  interrupted: "Interrupted",
};

interface Props {
  how: HowEnded;
  receipt: Receipt;
  open: boolean;
  flip: () => void;
}

export function ReceiptBlock({ how, receipt, open, flip }: Props) {
  return (
    <div className="card my-0.5 overflow-hidden" data-receipt={receipt.epoch}>
      <button
        type="button"
        aria-expanded={open}
        onClick={flip}
        className="flex w-full items-center gap-2 px-2.5 py-1.5 text-left hover:bg-hover"
      >
        <Icon name={open ? "down" : "right"} size={12} className="text-faint" />
        <StatusMark status={how.as} />
        <span className="font-medium">
          {HOW[how.as]}
          {how.reason !== undefined ? (
            <span className="font-normal text-dim"> · {how.reason.replaceAll("_", " ")}</span>
          ) : null}
        </span>
        <span className="min-w-0 flex-1 truncate text-dim">{receiptLine(receipt)}</span>
        <span className="shrink-0 text-faint text-xs">compute {receipt.epoch}</span>
      </button>
      {open ? (
        <div className="border-t px-3 py-3">
          <ReceiptSteps receipt={receipt} />
        </div>
      ) : null}
    </div>
  );
}

/** A receipt as a timeline: what was done, when, and by what the end is known. */
export function ReceiptSteps({ receipt }: { receipt: Receipt }) {
  const whole = Math.max(receipt.duration_ms, ...receipt.steps.map((step) => step.after_ms), 1);
  const proven = isProven(receipt);
  const exit = exitWords(receipt);
  return (
    <div className="flex flex-col gap-3 text-xs">
      <div className="flex flex-wrap gap-x-6 gap-y-1 text-dim">
        <Fact name="asked">{exact(receipt.requested_at)}</Fact>
        {receipt.requested_by !== undefined && receipt.requested_by.length > 0 ? (
          <Fact name="by">{receipt.requested_by.join(", ")}</Fact>
        ) : null}
        <Fact name="reason">{receipt.reason.replaceAll("_", " ")}</Fact>
        <Fact name="took">{span(receipt.duration_ms)}</Fact>
        <Fact name="seen">{plural(receipt.processes_seen, "process", "processes")}</Fact>
        <Fact name="survivors">{String(receipt.survivors)}</Fact>
        {receipt.leftovers > 0 ? <Fact name="leftovers">{String(receipt.leftovers)}</Fact> : null}
        {exit !== null ? <Fact name="agent">{exit}</Fact> : null}
        <Fact name="isolation">{receipt.isolation}</Fact>
      </div>
      {receipt.steps.length > 0 ? (
        <ol className="relative flex flex-col gap-1.5" aria-label="Steps">
          {receipt.steps.map((step, index) => (
            <li
              key={index}
              className="grid grid-cols-[4.5rem_1fr] items-start gap-3 sm:grid-cols-[4.5rem_7rem_1fr]"
            >
              <span className="text-right text-dim tabular">+{span(step.after_ms)}</span>
              <span
                className="relative mt-1.5 hidden h-1 rounded bg-hover sm:block"
                aria-hidden="true"
              >
                <span
                  className={`-top-1 absolute size-3 rounded-full border-2 border-panel ${step.action === "proven" ? "bg-green" : step.action === "kill" ? "bg-red" : "bg-amber"}`}
                  style={{ left: `calc(${(step.after_ms / whole) * 100}% - 6px)` }}
                />
              </span>
              <span>
                {STEPS[step.action] ?? step.action}
                {step.detail !== undefined && step.detail !== "" ? (
                  <span className="text-dim"> · {step.detail}</span>
                ) : null}
              </span>
            </li>
          ))}
        </ol>
      ) : null}
      <div>
        <div
          className={`mb-1 flex items-center gap-1.5 font-medium ${proven ? "text-green" : "text-orange"}`}
        >
          <Icon name={proven ? "check" : "warning"} size={13} />
          {proven ? "Proven" : "Not proven"}
          {receipt.asserted_by != null ? (
            <span className="font-normal text-dim">, by the word of {receipt.asserted_by}</span>
          ) : null}
        </div>
        <ul className="flex flex-col gap-0.5 text-dim">
          {receipt.proof.map((one, index) => (
            <li key={index} className="break-words">
              <span className="text-ink">{MEANS[one.means] ?? one.means}</span>: {one.result}
            </li>
          ))}
        </ul>
      </div>
      {receipt.detail != null ? (
        <p className="break-words rounded-md border border-red/30 bg-red/5 px-2.5 py-1.5 font-mono text-2xs">
          {receipt.detail}
        </p>
      ) : null}
      <p className="text-faint">Scope: {receipt.scope}</p>
    </div>
  );
}

function Fact({ name, children }: { name: string; children: string }) {
  return (
    <span>
      {name} <span className="text-ink tabular">{children}</span>
    </span>
  );
}
