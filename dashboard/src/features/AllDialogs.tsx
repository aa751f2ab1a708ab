import { lazy, Suspense } from "react";
import { type Asked, ask } from "./dialogs";
import { KeysDialog } from "./palette/KeysDialog";
import { Palette } from "./palette/Palette";
import { AbandonDialog } from "./stop/AbandonDialog";
import { DeleteDialog } from "./stop/DeleteDialog";
import { StopDialog } from "./stop/StopDialog";

const NewSession = lazy(() => import("./sessions/NewSession"));

const close = () => ask(null);

export default function Dialogs({ asked }: { asked: Asked }) {
  switch (asked.kind) {
    case "stop":
      return <StopDialog sessions={asked.sessions} onClose={close} />;
    case "abandon":
      return <AbandonDialog session={asked.session} onClose={close} />;
    case "delete":
      return <DeleteDialog sessions={asked.sessions} done={asked.done} onClose={close} />;
    case "keys":
      return <KeysDialog onClose={close} />;
    case "palette":
      return <Palette onClose={close} />;
    case "new":
      return (
        <Suspense>
          <NewSession prefill={asked.prefill ?? {}} onClose={close} />
        </Suspense>
      );
  }
}
