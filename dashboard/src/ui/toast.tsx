// Short messages that come and go.
import { useSyncExternalStore } from "react";
import { problemOf } from "@/api/client";
import { IconButton } from "./button";
import { Icon } from "./icons";

interface Toast {
  id: number;
  tone: "info" | "good" | "bad";
  text: string;
  about?: string | undefined;
}

let all: readonly Toast[] = [];
let next = 1;
const listeners = new Set<() => void>();

function set(change: readonly Toast[]): void {
  all = change;
  for (const then of listeners) then();
}

const dismiss = (id: number): void => set(all.filter((one) => one.id !== id));

export function toast(message: Omit<Toast, "id">): void {
  const one = { ...message, id: next++ };
  set([...all.slice(-3), one]);
  setTimeout(() => dismiss(one.id), message.tone === "bad" ? 12_000 : 3500);
}

/** Says what went wrong, in the coordinator's words. */
export function complain(error: unknown, what?: string): void {
  const problem = problemOf(error);
  const text = what === undefined ? problem.message : `${what}: ${problem.message}`;
  toast({ tone: "bad", text, about: problem.hint });
}

const subscribe = (then: () => void): (() => void) => {
  listeners.add(then);
  return () => listeners.delete(then);
};

export function Toasts() {
  const shown = useSyncExternalStore(subscribe, () => all);
  return (
    <div
      className="pointer-events-none fixed right-3 bottom-16 z-50 flex w-[min(24rem,calc(100vw-24px))] flex-col gap-2 sm:bottom-3"
      aria-live="polite"
      role="status"
    >
      {shown.map((one) => (
        <div
          key={one.id}
          className={`pointer-events-auto flex animate-rise items-start gap-2.5 rounded-lg border bg-raised px-3 py-2 shadow-xl ${one.tone === "bad" ? "border-red/50" : "border-line-strong"}`}
        >
          <Icon
            name={one.tone === "bad" ? "warning" : "check"}
            className={`mt-0.5 ${one.tone === "bad" ? "text-red" : "text-accent"}`}
          />
          <div className="min-w-0 flex-1 break-words">
            {one.text}
            {one.about !== undefined ? <div className="text-dim text-xs">{one.about}</div> : null}
          </div>
          <IconButton icon="close" label="Dismiss" onClick={() => dismiss(one.id)} />
        </div>
      ))}
    </div>
  );
}
