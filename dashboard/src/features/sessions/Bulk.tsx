import { useState } from "react";
import { perform, resumeSession } from "@/api/actions";
import { problemOf } from "@/api/client";
import type { Session } from "@/api/types";
import { refresh } from "@/live/cache";
import { Button } from "@/ui/button";
import { plural } from "@/ui/format";
import { toast } from "@/ui/toast";
import { ask } from "../dialogs";
import { canResume, canStop } from "../rights";

/** What can be done with all that are chosen. */
export function Bulk({ sessions, clear }: { sessions: Session[]; clear: () => void }) {
  const [busy, setBusy] = useState(false);
  const stoppable = sessions.filter((one) => canStop(one.status));
  const resumable = sessions.filter(canResume);
  const resumeAll = async () => {
    setBusy(true);
    const results = await Promise.allSettled(
      resumable.map((one) => perform(resumeSession(one.id))),
    );
    const failed = results.filter((one) => one.status === "rejected");
    const first = failed[0];
    if (first !== undefined) {
      const why = problemOf(first.reason);
      toast({
        tone: "bad",
        text: `${failed.length} of ${results.length} could not be resumed: ${why.message}`,
        about: why.hint,
      });
    } else toast({ tone: "good", text: `${plural(results.length, "session")} resumed` });
    await Promise.all(resumable.map((one) => refresh(one.id)));
    setBusy(false);
  };
  return (
    <div
      className="flex flex-wrap items-center gap-2 border-b bg-chosen px-4 py-1.5"
      role="toolbar"
      aria-label="With the chosen sessions"
    >
      <span className="mr-2 font-medium tabular">{plural(sessions.length, "session")} chosen</span>
      <Button
        small
        look="stop"
        icon="stop"
        disabled={stoppable.length === 0}
        onClick={() => ask({ kind: "stop", sessions: stoppable })}
      >
        Stop {stoppable.length > 0 ? stoppable.length : ""}
      </Button>
      <Button
        small
        icon="play"
        busy={busy}
        disabled={resumable.length === 0}
        onClick={() => void resumeAll()}
      >
        Resume {resumable.length > 0 ? resumable.length : ""}
      </Button>
      <Button
        small
        look="danger"
        icon="trash"
        onClick={() => ask({ kind: "delete", sessions, done: clear })}
      >
        Delete {sessions.length}
      </Button>
      <Button small look="ghost" keys="Esc" className="ml-auto" onClick={clear}>
        Clear
      </Button>
    </div>
  );
}
