import { type ReactNode, useState } from "react";
import type { Action } from "@/api/actions";
import { AsCommand, ErrorNote } from "./bits";
import { Button, type ButtonLook } from "./button";
import type { IconName } from "./icons";
import { Dialog } from "./overlay";

interface ActDialogProps {
  title: ReactNode;
  about?: ReactNode;
  /** The same on the command line and as a request, where it is one thing that is done. */
  command: Action<unknown> | undefined;
  verb: string;
  look: ButtonLook;
  icon?: IconName;
  disabled?: boolean;
  /** Does it, and closes. What it throws is shown, and the dialog stays. */
  act: () => Promise<unknown>;
  onClose: () => void;
  /** The button is what is reached first, so that Enter is enough. */
  ready?: boolean;
  name?: string;
  children: ReactNode;
}

/** Asks before something is done, and says what went wrong with it. */
export function ActDialog({
  title,
  about,
  command,
  verb,
  look,
  icon,
  disabled = false,
  act,
  onClose,
  ready = false,
  name,
  children,
}: ActDialogProps) {
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<unknown>(null);
  const go = async () => {
    if (busy || disabled) return;
    setBusy(true);
    setError(null);
    try {
      await act();
    } catch (problem) {
      setError(problem);
    }
    setBusy(false);
  };
  return (
    <Dialog
      open
      onClose={onClose}
      title={title}
      about={about}
      footer={
        <>
          <Button look="ghost" onClick={onClose}>
            Cancel
          </Button>
          <Button
            look={look}
            {...(icon === undefined ? {} : { icon })}
            busy={busy}
            disabled={disabled}
            autoFocus={ready}
            data-act={name}
            onClick={() => void go()}
          >
            {verb}
          </Button>
          {/* Shown first, and reached last: where nothing is to be filled in, Cancel has the focus. */}
          {command !== undefined ? (
            <span className="order-first mr-auto">
              <AsCommand action={command} />
            </span>
          ) : null}
        </>
      }
    >
      <form
        className="flex flex-col gap-3"
        onSubmit={(event) => {
          event.preventDefault();
          void go();
        }}
      >
        {children}
        {error !== null ? <ErrorNote error={error} compact /> : null}
        <button type="submit" className="hidden" aria-hidden="true" tabIndex={-1} />
      </form>
    </Dialog>
  );
}
