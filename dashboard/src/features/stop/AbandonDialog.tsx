import { useState } from "react";
import { abandonSession, perform } from "@/api/actions";
import type { Session } from "@/api/types";
import { put } from "@/live/cache";
import { ActDialog } from "@/ui/ActDialog";
import { nameOf } from "../words";

export function AbandonDialog({ session, onClose }: { session: Session; onClose: () => void }) {
  const [reason, setReason] = useState("");
  const abandon = async () => {
    put(await perform(abandonSession(session.id, reason)));
    onClose();
  };
  return (
    <ActDialog
      title={`Abandon the compute of “${nameOf(session)}”?`}
      command={abandonSession(session.id, reason === "" ? "REASON" : reason)}
      verb="Abandon"
      look="danger"
      disabled={reason.trim() === ""}
      act={abandon}
      onClose={onClose}
    >
      <p>
        This closes compute {session.epoch} <b className="font-medium">by your word</b>, without
        proof that its processes are gone. Do it when you know that they are: the machine is off, or
        was wiped.
      </p>
      <ul className="list-disc pl-5 text-dim">
        <li>
          The session becomes interrupted, never stopped. Its receipt says that nothing proves the
          end, and names you.
        </li>
        <li>
          Its queue is held until somebody resumes it. Then it gets a new compute, beside the old
          one if that is still alive.
        </li>
        <li>
          Should the old compute turn up again it is told to end, and its receipt is added to the
          log.
        </li>
      </ul>
      <label className="flex flex-col gap-1">
        <span className="text-dim text-xs">How do you know that it is gone?</span>
        <input
          className="field"
          value={reason}
          maxLength={2000}
          onChange={(event) => setReason(event.target.value)}
          placeholder="the machine was switched off"
        />
      </label>
    </ActDialog>
  );
}
