// Small pieces that every page uses.
import {
  createContext,
  type ReactNode,
  use,
  useEffect,
  useState,
  useSyncExternalStore,
} from "react";
import { type Action, curl } from "@/api/actions";
import { problemOf } from "@/api/client";
import { Button, IconButton } from "./button";
import { ago, exact, sourceName } from "./format";
import { Icon, type IconName } from "./icons";
import { Popover } from "./overlay";
import { toast } from "./toast";

let now = Date.now();
const waiting = new Set<() => void>();
let timer: ReturnType<typeof setInterval> | undefined;

function tick(then: () => void): () => void {
  waiting.add(then);
  timer ??= setInterval(() => {
    now = Date.now();
    for (const one of waiting) one();
  }, 1000);
  return () => {
    waiting.delete(then);
    if (waiting.size > 0) return;
    clearInterval(timer);
    timer = undefined;
  };
}

const still = () => () => {};

/** The moment that a part of a page shows, where that is not now. */
export const Moment = createContext<number | null>(null);

/** The wall clock, by the second; at a past moment it stands still there. */
export function useNow(): number {
  const moment = use(Moment);
  return useSyncExternalStore(moment === null ? tick : still, () => moment ?? now);
}

export function Ago({ at, prefix = "" }: { at: string; prefix?: string }) {
  const passed = useNow() - Date.parse(at);
  return (
    <time dateTime={at} title={exact(at)} className="tabular whitespace-nowrap">
      {prefix}
      {ago(passed)}
    </time>
  );
}

export async function copy(text: string, what = "Copied"): Promise<void> {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    // Without a secure context there is no clipboard; an old way still works.
    const area = document.createElement("textarea");
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  toast({ tone: "info", text: what });
}

export function CopyButton({ text, label = "Copy" }: { text: string; label?: string }) {
  const [done, setDone] = useState(false);
  useEffect(() => {
    if (!done) return;
    const timer = setTimeout(() => setDone(false), 1200);
    return () => clearTimeout(timer);
  }, [done]);
  return (
    <IconButton
      icon={done ? "check" : "copy"}
      label={done ? "Copied" : label}
      onClick={() => {
        void copy(text);
        setDone(true);
      }}
    />
  );
}

/** An id that can be copied with a click. */
export function Id({ id, short }: { id: string; short?: boolean }) {
  return (
    <button
      type="button"
      title={`Copy ${id}`}
      onClick={(event) => {
        event.stopPropagation();
        void copy(id, `${id} is copied`);
      }}
      className="max-w-full truncate rounded font-mono text-dim text-xs hover:text-ink"
    >
      {short === true ? `${id.slice(0, 8)}…` : id}
    </button>
  );
}

export function SourceName({ source }: { source: string }) {
  return (
    <span className="break-words font-mono text-2xs" title={source}>
      {sourceName(source)}
    </span>
  );
}

export function CodeLine({ text, label }: { text: string; label: string }) {
  return (
    <div>
      <div className="mb-1 font-medium text-dim text-xs">{label}</div>
      <div className="flex items-start gap-1 rounded-lg border bg-sunken py-1 pr-1 pl-2.5">
        <code className="min-w-0 flex-1 overflow-x-auto whitespace-pre-wrap break-all py-1 font-mono text-xs leading-5">
          {text}
        </code>
        <CopyButton text={text} label={`Copy the ${label}`} />
      </div>
    </div>
  );
}

/** The same action on the command line and as a request. */
function ActionLines({ action }: { action: Action<unknown> }) {
  return (
    <div className="flex flex-col gap-2.5">
      {action.cli !== undefined ? <CodeLine label="command line" text={action.cli} /> : null}
      <CodeLine label="API call" text={curl(action, location.origin)} />
    </div>
  );
}

export function AsCommand({ action, small }: { action: Action<unknown>; small?: boolean }) {
  return (
    <Popover
      label="As a command"
      trigger={
        small === true ? (
          <IconButton icon="code" label="As a command" />
        ) : (
          <Button look="ghost" icon="code">
            As a command
          </Button>
        )
      }
    >
      <ActionLines action={action} />
    </Popover>
  );
}

/** What went wrong, in the coordinator's words, and what can be done. */
export function ErrorNote({
  error,
  onRetry,
  compact,
}: {
  error: unknown;
  onRetry?: () => void;
  compact?: boolean;
}) {
  const problem = problemOf(error);
  return (
    <div
      role="alert"
      className={`flex items-start gap-2.5 rounded-lg border border-red/40 bg-red/7 text-sm ${compact === true ? "px-3 py-2" : "px-4 py-3"}`}
    >
      <Icon name="warning" className="mt-0.5 text-red" />
      <div className="min-w-0 flex-1">
        <p className="break-words font-medium">{problem.message}</p>
        {problem.hint !== undefined ? (
          <p className="mt-0.5 break-words text-dim">{problem.hint}</p>
        ) : null}
        {problem.candidates !== undefined && problem.candidates.length > 0 ? (
          <ul className="mt-1 font-mono text-dim text-xs">
            {problem.candidates.map((one) => (
              <li key={one.source}>{one.source}</li>
            ))}
          </ul>
        ) : null}
      </div>
      {onRetry !== undefined ? (
        <Button small look="plain" icon="refresh" onClick={onRetry}>
          Try again
        </Button>
      ) : null}
    </div>
  );
}

export function Empty({
  icon,
  title,
  children,
  action,
}: {
  icon: IconName;
  title: string;
  children?: ReactNode;
  action?: ReactNode;
}) {
  return (
    <div className="flex flex-col items-center justify-center gap-2 px-6 py-16 text-center">
      <span className="mb-1 grid size-11 place-items-center rounded-xl border bg-sunken text-faint">
        <Icon name={icon} size={20} />
      </span>
      <p className="font-medium">{title}</p>
      {children !== undefined ? <div className="max-w-md text-dim">{children}</div> : null}
      {action !== undefined ? <div className="mt-2">{action}</div> : null}
    </div>
  );
}

export function Rows({ n = 8, height = 40 }: { n?: number; height?: number }) {
  return (
    <div aria-hidden="true">
      {Array.from({ length: n }, (_, index) => (
        <div
          key={index}
          className="flex animate-breathe items-center gap-3 border-b px-4"
          style={{ height }}
        >
          <div className="h-3 w-20 rounded bg-hover" />
          <div className="h-3 rounded bg-hover" style={{ width: `${34 - ((index * 7) % 19)}%` }} />
          <div className="ml-auto h-3 w-12 rounded bg-hover" />
        </div>
      ))}
    </div>
  );
}

export function Label({ name, value }: { name: string; value: string }) {
  return (
    <span
      className="inline-flex h-5 max-w-44 items-center truncate rounded border bg-sunken px-1.5 text-2xs text-dim"
      title={`${name}=${value}`}
    >
      <span className="truncate">
        {name}
        {value === "" ? "" : <span className="text-faint">={value}</span>}
      </span>
    </span>
  );
}

export function Meter({
  label,
  used,
  of,
  text,
}: {
  label: string;
  used: number;
  of: number;
  text: string;
}) {
  const share = Math.min(1, used / of);
  const tone = share > 0.9 ? "bg-red" : share > 0.7 ? "bg-amber" : "bg-accent";
  return (
    <div>
      <div className="flex justify-between gap-2 text-xs">
        <span className="text-dim">{label}</span>
        <span className="tabular">{text}</span>
      </div>
      <div
        className="mt-1 h-1 overflow-hidden rounded-full bg-line"
        role="meter"
        aria-label={label}
        aria-valuenow={Math.round(share * 100)}
        aria-valuemin={0}
        aria-valuemax={100}
      >
        <div
          className={`h-full rounded-full ${tone}`}
          style={{ width: `${Math.max(2, share * 100)}%` }}
        />
      </div>
    </div>
  );
}

/** A choice to tick, with what it means. */
export function Option({
  on,
  set,
  label,
  about,
}: {
  on: boolean;
  set: (on: boolean) => void;
  label: string;
  about?: string;
}) {
  return (
    <label className="flex cursor-pointer items-start gap-2.5 py-0.5">
      <input
        type="checkbox"
        checked={on}
        onChange={(event) => set(event.target.checked)}
        className="mt-0.5 size-4 shrink-0 accent-accent-strong"
      />
      <span>
        {label}
        {about !== undefined ? <span className="text-faint"> · {about}</span> : null}
      </span>
    </label>
  );
}
