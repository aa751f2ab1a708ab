import { useRouter } from "@tanstack/react-router";
import { useState } from "react";
import { deleteSession, perform } from "@/api/actions";
import { problemOf } from "@/api/client";
import type { Session } from "@/api/types";
import { isAtRest } from "@/fold/status";
import { drop, refresh } from "@/live/cache";
import { ActDialog } from "@/ui/ActDialog";
import { ErrorNote } from "@/ui/bits";
import { plural } from "@/ui/format";
import { nameOf } from "../words";

interface Props {
  sessions: Session[];
  done: (() => void) | undefined;
  onClose: () => void;
}

export function DeleteDialog({ sessions, done, onClose }: Props) {
  const [failures, setFailures] = useState<{ id: string; error: unknown }[]>([]);
  const router = useRouter();
  const only = sessions.length === 1 ? sessions[0] : undefined;
  const live = sessions.filter((one) => !isAtRest(one.status)).length;
  const remove = async () => {
    const failed: typeof failures = [];
    await Promise.all(
      sessions.map(async ({ id }) => {
        try {
          await perform(deleteSession(id));
        } catch (error) {
          // Somebody was faster: it is gone, as wanted.
          if (problemOf(error).status !== 404) failed.push({ id, error });
        }
      }),
    );
    setFailures(failed);
    for (const { id } of sessions) void refresh(id);
    if (failed.length > 0) return;
    onClose();
    done?.();
    if (only !== undefined && router.state.location.pathname === `/sessions/${only.id}`) {
      drop(only.id);
      void router.navigate({ to: "/" });
    }
  };
  return (
    <ActDialog
      title={
        only !== undefined
          ? `Delete “${nameOf(only)}”?`
          : `Delete ${plural(sessions.length, "session")}?`
      }
      command={only === undefined ? undefined : deleteSession(only.id)}
      verb={only !== undefined ? "Delete" : `Delete ${sessions.length}`}
      look="danger"
      icon="trash"
      act={remove}
      onClose={onClose}
    >
      <p>
        The log, the workspace and the home folder are removed for good.{" "}
        {live > 0
          ? only !== undefined
            ? "It is live: it is stopped first, and removed only with proof that it has ended."
            : `${live} of them are live: those are stopped first, and removed only with proof.`
          : ""}
      </p>
      {failures.map(({ id, error }) => (
        <div key={id}>
          <div className="mb-1 font-mono text-xs">{id}</div>
          <ErrorNote error={error} compact />
        </div>
      ))}
    </ActDialog>
  );
}
