// Writing to a session, and what waits before it.
import { useRef, useState } from "react";
import { type Action, patchRun, perform, sendPrompt, stopRun, withdrawRun } from "@/api/actions";
import { queries, runsQuery } from "@/api/queries";
import type { CreateRun, Session } from "@/api/types";
import { isAtRest } from "@/fold/status";
import { refresh } from "@/live/cache";
import { AsCommand, ErrorNote } from "@/ui/bits";
import { Button, IconButton, Kbd } from "@/ui/button";
import { plural } from "@/ui/format";
import { Icon } from "@/ui/icons";
import { useKeys } from "@/ui/keys";
import { Menu } from "@/ui/overlay";
import { complain, toast } from "@/ui/toast";
import { useMe } from "../rights";
import type { WaitingRun } from "./view";

const drafts = new Map<string, string>();

/** What a prompt means now. */
function meaning(session: Session): string {
  const { status, hold, pending } = session;
  if (status === "stopping") return "It is being stopped: a prompt waits, unless it resumes.";
  if (hold)
    return pending.runs > 0
      ? `The queue is held; a prompt lifts that and goes behind ${plural(pending.runs, "other")}.`
      : "It is held; a prompt lifts that.";
  if (status === "new") return "The first prompt starts it.";
  if (isAtRest(status)) return "A prompt brings it up again, with its files and its conversation.";
  if (status === "idle") return "Its compute is warm.";
  if (status === "running" && session.run_id == null)
    return "Its agent works for requests; a prompt is a run beside them.";
  if (status === "queued" || status === "starting" || status === "running" || status === "waiting")
    return "A prompt waits for its turn.";
  return "";
}

export function Composer({ session, queue }: { session: Session; queue: WaitingRun[] }) {
  const me = useMe();
  const [text, setText] = useState(drafts.get(session.id) ?? "");
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<unknown>(null);
  const area = useRef<HTMLTextAreaElement>(null);
  useKeys({ p: () => area.current?.focus() });
  const { status } = session;
  const live = status === "running" || status === "waiting" || status === "starting";
  const write = (next: string) => {
    setText(next);
    if (next === "") drafts.delete(session.id);
    else drafts.set(session.id, next);
  };
  const give = async (how: Omit<CreateRun, "prompt"> = {}) => {
    const prompt = text.trim();
    if (prompt === "" || busy) return;
    setBusy(true);
    setError(null);
    try {
      const run = await perform(sendPrompt(session.id, { prompt, ...how }));
      write("");
      if (run.held) toast({ tone: "info", text: "It waits: the queue is held until you resume" });
      else if (how.mode !== "steer" && run.ahead > 0)
        toast({ tone: "info", text: `It waits behind ${plural(run.ahead, "other run")}` });
      void queries.invalidateQueries({ queryKey: runsQuery(session.id).queryKey });
    } catch (problem) {
      setError(problem);
    }
    setBusy(false);
    area.current?.focus();
    void refresh(session.id);
  };
  if (status === "deleting" || !me.uses) return null;
  return (
    <div className="border-t bg-panel px-3 pt-2 pb-3 sm:px-4">
      {queue.length > 0 ? <QueueStrip session={session} queue={queue} keep={write} /> : null}
      {error !== null ? (
        <div className="mb-2">
          <ErrorNote error={error} compact />
        </div>
      ) : null}
      <div className="flex items-end gap-2 rounded-xl border border-line-strong bg-panel p-1.5 focus-within:border-accent">
        <textarea
          ref={area}
          aria-label="Prompt"
          rows={Math.min(10, Math.max(1, text.split("\n").length))}
          value={text}
          placeholder="Ask it something"
          onChange={(event) => write(event.target.value)}
          onKeyDown={(event) => {
            if (event.key === "Enter" && (event.metaKey || event.ctrlKey)) {
              event.preventDefault();
              void give(status === "stopping" ? { resume: true } : {});
            }
            if (event.key === "Escape") event.currentTarget.blur();
          }}
          className="min-h-8 flex-1 resize-none bg-transparent px-2 py-1.5 leading-5 outline-none"
        />
        {session.run_id != null && (live || status === "queued") ? (
          <RunStop session={session} />
        ) : null}
        <AsCommand
          small
          action={sendPrompt(session.id, { prompt: text.trim() === "" ? "PROMPT" : text.trim() })}
        />
        <Menu
          trigger={<IconButton icon="down" label="Ways to send" disabled={text.trim() === ""} />}
          items={[
            {
              label: "Send",
              about: "it waits for its turn",
              icon: "send",
              onSelect: () => void give(),
            },
            {
              label: "Send and interrupt",
              about: "the run in progress is stopped for it",
              icon: "stop",
              disabled: !live,
              onSelect: () => void give({ mode: "interrupt" }),
            },
            {
              label: "Send into the run in progress",
              about: "it becomes part of what the agent does now",
              icon: "right",
              disabled: !live || session.run_id == null,
              onSelect: () => void give({ mode: "steer" }),
            },
            {
              label: "Send to the head of the queue",
              icon: "up",
              disabled: queue.length === 0,
              onSelect: () => void give({ first: true }),
            },
            {
              label: "Send and resume",
              about: "lifts the hold, also while a stop is under way",
              icon: "play",
              disabled: !session.hold && status !== "stopping",
              onSelect: () => void give({ resume: true }),
            },
            {
              label: "Only if it is free",
              about: "refused while a run is in progress",
              icon: "check",
              onSelect: () => void give({ mode: "reject" }),
            },
          ]}
        />
        <Button
          look="primary"
          icon="send"
          busy={busy}
          disabled={text.trim() === ""}
          aria-label={status === "stopping" ? "Queue" : "Send"}
          onClick={() => void give()}
        >
          <span className="max-sm:hidden">{status === "stopping" ? "Queue" : "Send"}</span>
        </Button>
      </div>
      <p className="mt-1 flex items-center gap-2 px-1 text-2xs text-faint">
        <span className="min-w-0 truncate">{meaning(session)}</span>
        <span className="ml-auto hidden items-center gap-1 sm:flex">
          <Kbd>p</Kbd> write <Kbd>⌘↵</Kbd> send
        </span>
      </p>
    </div>
  );
}

function RunStop({ session }: { session: Session }) {
  const [busy, setBusy] = useState(false);
  const run = session.run_id ?? "";
  const stop = async () => {
    setBusy(true);
    try {
      await perform(stopRun(run));
    } catch (error) {
      complain(error);
    }
    setBusy(false);
  };
  return (
    <IconButton
      icon="stop"
      label="Stop this run only; what waits goes on"
      look="ghost"
      disabled={busy}
      onClick={() => void stop()}
    />
  );
}

/** Prompts that wait, to change, reorder, withdraw, or send at once. */
function QueueStrip({
  session,
  queue,
  keep,
}: {
  session: Session;
  queue: WaitingRun[];
  /** Takes a prompt that is in no queue any more and was not sent. */
  keep: (prompt: string) => void;
}) {
  const [editing, setEditing] = useState<string | null>(null);
  const act = async (action: Action<unknown>): Promise<boolean> => {
    try {
      await perform(action);
      return true;
    } catch (error) {
      complain(error);
      return false;
    } finally {
      void refresh(session.id);
      void queries.invalidateQueries({ queryKey: runsQuery(session.id).queryKey });
    }
  };
  const interrupt = async (run: string, prompt: string) => {
    if (!(await act(withdrawRun(run)))) return;
    if (!(await act(sendPrompt(session.id, { prompt, mode: "interrupt" })))) keep(prompt);
  };
  return (
    <section
      aria-label="Prompts that wait"
      className="mb-2 max-h-44 overflow-y-auto rounded-lg border bg-sunken"
      data-part="queue"
    >
      <div className="flex items-center gap-2 px-2.5 py-1 text-dim text-xs">
        <Icon name="clock" size={13} />
        {plural(queue.length, "prompt")} waiting{session.hold ? ", held until you resume" : ""}
      </div>
      <ol>
        {queue.map((run, index) => (
          <li
            key={run.id}
            className="group flex items-center gap-2 border-t px-2.5 py-1"
            data-run={run.id}
          >
            <span className="w-4 text-right text-faint text-xs tabular">{index + 1}</span>
            {editing === run.id ? (
              <EditPrompt
                text={run.prompt ?? ""}
                save={async (prompt) => {
                  if (
                    prompt !== null &&
                    prompt !== run.prompt &&
                    !(await act(patchRun(run.id, { prompt })))
                  )
                    return;
                  setEditing(null);
                }}
              />
            ) : (
              <span className="min-w-0 flex-1 truncate" title={run.prompt ?? undefined}>
                {run.prompt ?? JSON.stringify(run.input)}
              </span>
            )}
            {run.steers ? (
              <span className="shrink-0 text-faint text-xs">for the run in progress</span>
            ) : null}
            <Menu
              trigger={<IconButton icon="more" label={`Waiting prompt ${index + 1}`} />}
              items={[
                {
                  label: "Change",
                  icon: "edit",
                  disabled: run.prompt == null,
                  takesFocus: true,
                  onSelect: () => setEditing(run.id),
                },
                {
                  label: "Move up",
                  icon: "up",
                  disabled: index === 0,
                  onSelect: () => void act(patchRun(run.id, { position: index - 1 })),
                },
                {
                  label: "Move down",
                  icon: "down",
                  disabled: index === queue.length - 1,
                  onSelect: () => void act(patchRun(run.id, { position: index + 1 })),
                },
                {
                  label: "Interrupt with this one",
                  about: "withdraws it, and sends it again as an interruption",
                  icon: "stop",
                  disabled: run.prompt == null,
                  onSelect: () => {
                    const prompt = run.prompt;
                    if (prompt == null) return;
                    void interrupt(run.id, prompt);
                  },
                },
                null,
                {
                  label: "Withdraw",
                  icon: "close",
                  danger: true,
                  onSelect: () => void act(withdrawRun(run.id)),
                },
              ]}
            />
          </li>
        ))}
      </ol>
    </section>
  );
}

function EditPrompt({ text, save }: { text: string; save: (text: string | null) => void }) {
  const [next, setNext] = useState(text);
  return (
    <textarea
      // biome-ignore lint/a11y/noAutofocus: it was asked for
      autoFocus
      aria-label="Prompt"
      rows={Math.min(6, next.split("\n").length)}
      className="field h-auto! flex-1 py-1"
      value={next}
      onChange={(event) => setNext(event.target.value)}
      onBlur={() => save(next)}
      onKeyDown={(event) => {
        if (event.key === "Escape") save(null);
        if (event.key === "Enter" && !event.shiftKey) {
          event.preventDefault();
          save(next);
        }
      }}
    />
  );
}
