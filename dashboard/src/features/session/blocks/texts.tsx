import { lazy, memo, Suspense, useState } from "react";
import type { Block, PlanEntry } from "@/fold/transcript";
import { hasAnsi } from "@/rich/ansi";
import { Icon } from "@/ui/icons";

const Markdown = lazy(() => import("@/rich/Markdown"));
const Ansi = lazy(() => import("@/rich/Ansi"));

/** Whether a text means to be more than its lines. */
const MARKED =
  /(^|\n) {0,3}(#{1,6} |[-*+] |\d+[.)] |> |```|~~~|\|.*\|)|\*\*[^*\n]+\*\*|`[^`\n]+`|\[[^\]\n]+\]\([^)\s]+\)/;

export const Text = memo(function Text({ text }: { text: string }) {
  const plain = (
    <div className="whitespace-pre-wrap break-words leading-[1.45rem]">{text.trimEnd()}</div>
  );
  if (hasAnsi(text)) {
    return (
      <div className="whitespace-pre-wrap break-words font-mono text-xs leading-5">
        <Suspense fallback={text}>
          <Ansi text={text.trimEnd()} />
        </Suspense>
      </div>
    );
  }
  if (!MARKED.test(text)) return plain;
  return (
    <Suspense fallback={plain}>
      <Markdown text={text} />
    </Suspense>
  );
});

type Of<K extends Block["kind"]> = Extract<Block, { kind: K }>;

export function PromptBlock({ block }: { block: Of<"prompt"> }) {
  return (
    <div className="my-1.5 flex flex-wrap gap-x-3 rounded-lg border border-accent/20 bg-accent-soft px-3 py-2">
      <Icon name="person" className="mt-0.5 text-accent" />
      <div className="min-w-48 flex-1">
        {block.text !== null ? (
          <Text text={block.text} />
        ) : block.input !== null ? (
          <Json value={block.input} />
        ) : (
          <span className="text-dim">a prompt whose text is further up in the log</span>
        )}
      </div>
      {block.by !== null || block.steered ? (
        <div className="mt-0.5 text-2xs text-dim max-sm:pl-7">
          {block.by}
          {block.steered ? " · became part of the run in progress" : ""}
        </div>
      ) : null}
    </div>
  );
}

export function MessageBlock({ block }: { block: Of<"message"> }) {
  if (block.content !== null) return <Json value={block.content} />;
  return <Text text={block.text} />;
}

/** Text that is still being written. */
export function PartialView({ text }: { text: string }) {
  return (
    <div className="px-3 pb-1" data-kind="partial">
      <div className="whitespace-pre-wrap break-words leading-[1.45rem]">
        {text}
        <span
          className="ml-0.5 inline-block h-3.5 w-1.5 animate-breathe bg-accent align-[-2px]"
          aria-hidden="true"
        />
      </div>
    </div>
  );
}

export function ThoughtBlock({
  text,
  open,
  flip,
}: {
  text: string;
  open: boolean;
  flip: () => void;
}) {
  const first = text.trim().split("\n")[0] ?? "";
  return (
    <div className="text-dim">
      <button
        type="button"
        aria-expanded={open}
        onClick={flip}
        className="flex w-full items-start gap-2 text-left hover:text-ink"
      >
        <Icon name="thought" size={14} className="mt-0.5 text-faint" />
        {open ? (
          <span className="text-faint text-xs">Thought</span>
        ) : (
          <span className="min-w-0 truncate italic">{first}</span>
        )}
      </button>
      {open ? (
        <div className="mt-1 ml-5.5 border-l-2 pl-3 italic">
          <Text text={text} />
        </div>
      ) : null}
    </div>
  );
}

const STEPS: Readonly<Record<string, { sign: string; tone: string; word: string }>> = {
  completed: { sign: "✓", tone: "text-green", word: "done" },
  in_progress: { sign: "▸", tone: "text-blue", word: "in progress" },
  pending: { sign: "○", tone: "text-faint", word: "to do" },
};

/** The plan as it is; one that another has taken the place of is a line. */
export function PlanBlock({
  entries,
  open,
  flip,
}: {
  entries: readonly PlanEntry[];
  open: boolean;
  flip: () => void;
}) {
  const done = entries.filter((entry) => entry.status === "completed").length;
  const now = entries.find((entry) => entry.status === "in_progress");
  const head = (
    <button
      type="button"
      aria-expanded={open}
      onClick={flip}
      className="flex w-full items-center gap-2 text-left text-dim text-xs hover:text-ink"
    >
      <Icon name="plan" size={14} />
      Plan
      <span className="tabular">
        {done} of {entries.length}
      </span>
      {!open && now !== undefined ? <span className="min-w-0 truncate">{now.content}</span> : null}
    </button>
  );
  if (!open) return head;
  return (
    <div className="card my-0.5 px-3 py-2">
      {head}
      <ol className="mt-1.5 flex flex-col gap-0.5">
        {entries.map((entry, index) => {
          const look = STEPS[entry.status] ?? { sign: "○", tone: "text-faint", word: "to do" };
          return (
            <li key={index} className="flex gap-2">
              <span className={`w-3.5 shrink-0 text-center ${look.tone}`} aria-hidden="true">
                {look.sign}
              </span>
              <span
                className={
                  entry.status === "completed"
                    ? "text-dim"
                    : entry.status === "in_progress"
                      ? "font-medium"
                      : ""
                }
              >
                <span className="sr-only">{look.word}: </span>
                {entry.content}
              </span>
            </li>
          );
        })}
      </ol>
    </div>
  );
}

/** Lines of a terminal, folded where they are many. */
export function Terminal({ text, most = 16 }: { text: string; most?: number }) {
  const [all, setAll] = useState(false);
  const lines = text.replace(/\n$/, "").split("\n");
  const cut = !all && lines.length > most + 4;
  const shown = cut ? lines.slice(-most).join("\n") : lines.join("\n");
  return (
    <div>
      {cut ? (
        <button
          type="button"
          onClick={() => setAll(true)}
          className="mb-1 text-accent text-xs hover:underline"
        >
          {lines.length - most} lines before
        </button>
      ) : null}
      <pre
        tabIndex={0}
        className="max-h-[32rem] overflow-auto whitespace-pre-wrap break-words font-mono text-xs leading-5"
      >
        <Suspense fallback={shown}>{hasAnsi(shown) ? <Ansi text={shown} /> : shown}</Suspense>
      </pre>
    </div>
  );
}

export function LogBlock({ stream, text }: { stream: string; text: string }) {
  return (
    <div className="flex gap-2.5 border-line-strong border-l-2 pl-2.5">
      <span className="w-11 shrink-0 pt-0.5 text-2xs text-faint">{stream}</span>
      <div className="min-w-0 flex-1 text-dim">
        <Terminal text={text} most={10} />
      </div>
    </div>
  );
}

export function Json({ value }: { value: unknown }) {
  const text = typeof value === "string" ? value : JSON.stringify(value, null, 2);
  return (
    <pre
      tabIndex={0}
      className="max-h-96 overflow-auto whitespace-pre-wrap break-words rounded-md border bg-sunken px-2.5 py-1.5 font-mono text-2xs leading-[1.15rem]"
    >
      {text}
    </pre>
  );
}
