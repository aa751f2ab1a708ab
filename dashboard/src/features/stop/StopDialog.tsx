// Stopping asks first, says what is kept, and then shows what the coordinator says: the
// badge changes with its event, not with the click.
import { useQuery } from "@tanstack/react-query";
import { type ReactNode, useState } from "react";
import { perform, stopSession } from "@/api/actions";
import { sessionQuery } from "@/api/queries";
import type { Session, StopRequest } from "@/api/types";
import { refresh } from "@/live/cache";
import { ActDialog } from "@/ui/ActDialog";
import { ErrorNote, Option } from "@/ui/bits";
import { plural } from "@/ui/format";
import { Icon, type IconName } from "@/ui/icons";
import { StatusBadge } from "@/ui/status";
import { toast } from "@/ui/toast";
import { canStop, canStopAgain } from "../rights";
import { nameOf, receiptLine } from "../words";

interface Failure {
  id: string;
  error: unknown;
}

export function StopDialog({ sessions, onClose }: { sessions: Session[]; onClose: () => void }) {
  const [grace, setGrace] = useState("");
  const [reason, setReason] = useState("");
  const [discard, setDiscard] = useState(false);
  const [tree, setTree] = useState(false);
  const [failures, setFailures] = useState<Failure[]>([]);
  const only = sessions.length === 1 ? sessions[0] : undefined;
  // What stands in the dialog follows the session: somebody else may be faster.
  const followed = useQuery({
    ...sessionQuery(only?.id ?? ""),
    enabled: only !== undefined,
    staleTime: Number.POSITIVE_INFINITY,
  });
  const one = followed.data ?? only;
  const queued = sessions.reduce((sum, session) => sum + Math.max(0, session.pending.runs), 0);
  const seconds = Number(grace);
  const wrong = grace !== "" && !(Number.isFinite(seconds) && seconds >= 0 && seconds <= 3600);
  const body: StopRequest = {
    ...(grace === "" || wrong ? {} : { grace_ms: Math.round(seconds * 1000) }),
    ...(reason === "" ? {} : { reason }),
    ...(discard ? { discard_queue: true } : {}),
    ...(tree ? { tree: true } : {}),
  };
  const over = one !== undefined && !canStop(one.status) && !canStopAgain(one.status);

  const stop = async () => {
    const results = await Promise.all(
      sessions.map(async (session) => {
        try {
          return { session, reply: await perform(stopSession(session.id, body)) };
        } catch (error) {
          return { session, error };
        }
      }),
    );
    const failed = results.flatMap((result) =>
      "error" in result ? [{ id: result.session.id, error: result.error }] : [],
    );
    setFailures(failed);
    for (const { id } of failed) void refresh(id);
    if (failed.length > 0) return;
    onClose();
    for (const result of results) {
      if (!("reply" in result) || result.reply === undefined || sessions.length > 3) continue;
      const { reply, session } = result;
      if (!reply.already_stopped) continue;
      const evidence = reply.receipt ? ` (${receiptLine(reply.receipt)})` : "";
      toast({ tone: "info", text: `${nameOf(session)} is already stopped${evidence}` });
    }
  };

  return (
    <ActDialog
      title={
        one !== undefined ? `Stop “${nameOf(one)}”?` : `Stop ${plural(sessions.length, "session")}?`
      }
      about={
        one !== undefined ? (
          <span className="flex flex-wrap items-center gap-2">
            <StatusBadge status={one.status} reason={one.status_reason} />
            <span>
              of agent <b className="font-medium">{one.agent.name}</b>
            </span>
          </span>
        ) : (
          "Each of them ends with a receipt of its own."
        )
      }
      command={one === undefined ? undefined : stopSession(one.id, body)}
      verb={sessions.length > 1 ? `Stop ${sessions.length}` : "Stop"}
      look="stop"
      icon="stop"
      disabled={wrong || over}
      act={stop}
      onClose={onClose}
      ready
      name="stop"
    >
      {over && one !== undefined ? (
        <p className="rounded-lg border bg-sunken px-3 py-2 text-dim">
          {one.status === "stopping"
            ? "It is being stopped already; one stop is enough."
            : `It is ${one.status.replaceAll("_", " ")} by now: there is nothing to stop.`}
        </p>
      ) : null}
      <ul className="flex flex-col gap-1.5">
        <Fact icon="stop">
          <b className="font-medium">Ends</b> every process it has started, and the run in progress.
          It counts as stopped only with proof that none is left.
        </Fact>
        <Fact icon="check">
          <b className="font-medium">Keeps</b> the workspace and its home folder, the log, the
          prompts that wait, and the agent's own conversation. The next prompt goes on from there.
        </Fact>
        {queued > 0 && !discard ? (
          <Fact icon="clock">
            {plural(queued, "waiting prompt")} will be held until you resume, or prompt again.
          </Fact>
        ) : null}
      </ul>
      <div className="grid gap-3 sm:grid-cols-[9rem_1fr]">
        <label className="flex flex-col gap-1">
          <span className="text-dim text-xs">Grace, in seconds</span>
          <input
            className="field tabular"
            inputMode="decimal"
            placeholder="the agent's own"
            value={grace}
            aria-invalid={wrong}
            onChange={(event) => setGrace(event.target.value.trim())}
          />
        </label>
        <label className="flex flex-col gap-1">
          <span className="text-dim text-xs">Reason, for the log</span>
          <input
            className="field"
            value={reason}
            maxLength={2000}
            onChange={(event) => setReason(event.target.value)}
          />
        </label>
      </div>
      {wrong ? (
        <p className="-mt-2 text-red text-xs">
          A number of seconds from 0 to 3600. 0 kills at once.
        </p>
      ) : null}
      <div className="flex flex-col gap-1.5">
        <Option
          on={discard}
          set={setDiscard}
          label="Withdraw the prompts that wait"
          about={queued > 0 ? plural(queued, "prompt") : "none wait now"}
        />
        <Option
          on={tree}
          set={setTree}
          label="Stop the sessions it has created too"
          about="top down; it creates no new ones until it is resumed"
        />
      </div>
      {failures.map(({ id, error }) => (
        <div key={id}>
          {sessions.length > 1 ? <div className="mb-1 font-mono text-xs">{id}</div> : null}
          <ErrorNote error={error} compact />
        </div>
      ))}
    </ActDialog>
  );
}

function Fact({ icon, children }: { icon: IconName; children: ReactNode }) {
  return (
    <li className="flex gap-2.5">
      <Icon name={icon} size={14} className="mt-0.5 text-faint" />
      <span>{children}</span>
    </li>
  );
}
