import { lazy, Suspense } from "react";
import type { Block } from "@/fold/transcript";
import { useNow } from "@/ui/bits";
import { Spinner } from "@/ui/button";
import { span } from "@/ui/format";
import { Icon, type IconName } from "@/ui/icons";
import { Json, Terminal, Text } from "./texts";

const TextDiff = lazy(() => import("@/rich/Diff").then((module) => ({ default: module.TextDiff })));

type ToolBlockOf = Extract<Block, { kind: "tool" }>;
type Fields = Record<string, unknown>;

const fieldsOf = (value: unknown): Fields =>
  typeof value === "object" && value !== null && !Array.isArray(value) ? (value as Fields) : {};
const word = (fields: Fields, ...names: string[]): string | undefined => {
  for (const name of names) if (typeof fields[name] === "string") return fields[name] as string;
  return undefined;
};

/** What a call is about, in a line. */
function aim(input: unknown): string {
  if (typeof input === "string") return input;
  const fields = fieldsOf(input);
  return (
    word(
      fields,
      "command",
      "cmd",
      "pattern",
      "query",
      "file_path",
      "path",
      "filename",
      "url",
      "prompt",
      "description",
    ) ?? ""
  );
}

function iconOf(tool: string, input: unknown): IconName {
  const name = tool.toLowerCase();
  const fields = fieldsOf(input);
  if (fields.command !== undefined || /shell|bash|exec|terminal/.test(name)) return "terminal";
  if (/edit|write|patch|create/.test(name)) return "edit";
  if (/read|view|open|file|list|ls/.test(name)) return "file";
  if (/search|grep|find|glob/.test(name)) return "search";
  return "tool";
}

interface Edit {
  path: string | undefined;
  before: string;
  after: string;
}

/** The changes of files that a call makes, where it says them. */
function editsOf(use: ToolBlockOf["use"]): Edit[] {
  const fields = fieldsOf(use.input);
  const path = word(fields, "file_path", "path", "filename");
  const [before, after] = [
    word(fields, "old_string", "old_text", "oldText"),
    word(fields, "new_string", "new_text", "newText"),
  ];
  if (before !== undefined && after !== undefined) return [{ path, before, after }];
  const pieces = Array.isArray(use.content) ? (use.content as Fields[]) : [];
  const told = pieces.filter((piece) => piece.type === "diff" && typeof piece.newText === "string");
  if (told.length > 0) {
    return told.map((piece) => ({
      path: word(piece, "path"),
      before: word(piece, "oldText") ?? "",
      after: String(piece.newText),
    }));
  }
  const many = Array.isArray(fields.edits) ? (fields.edits as Fields[]) : [];
  const edits = many.flatMap((one) => {
    const [old, next] = [
      word(one, "old_string", "oldText", "old_text"),
      word(one, "new_string", "newText", "new_text"),
    ];
    return old !== undefined && next !== undefined ? [{ path, before: old, after: next }] : [];
  });
  if (edits.length > 0) return edits;
  const content = word(fields, "content", "file_text");
  const writes = /write|create/i.test(use.tool);
  return writes && content !== undefined ? [{ path, before: "", after: content }] : [];
}

export function ToolBlock({
  block,
  open,
  flip,
}: {
  block: ToolBlockOf;
  open: boolean;
  flip: () => void;
}) {
  const { use } = block;
  const about = use.title ?? aim(use.input);
  const spent = Date.parse(block.until) - Date.parse(block.at);
  return (
    <div
      className={`card my-0.5 overflow-hidden ${use.failed ? "border-red/40" : ""}`}
      data-tool={use.tool}
      data-done={use.done}
    >
      <button
        type="button"
        aria-expanded={open}
        onClick={flip}
        className="flex w-full items-center gap-2 px-2.5 py-1.5 text-left hover:bg-hover"
      >
        <Icon name={open ? "down" : "right"} size={12} className="text-faint" />
        <Icon
          name={iconOf(use.tool, use.input)}
          size={14}
          className={use.failed ? "text-red" : "text-dim"}
        />
        <span className="shrink-0 font-medium">{use.tool}</span>
        <span className="min-w-0 flex-1 truncate font-mono text-dim text-xs">
          {about.split("\n")[0]}
        </span>
        {use.done ? (
          <span
            className={`flex shrink-0 items-center gap-1.5 text-xs tabular ${use.failed ? "text-red" : "text-faint"}`}
          >
            {span(Math.max(0, spent))}
            <Icon name={use.failed ? "close" : "check"} size={13} />
            <span className="sr-only">{use.failed ? "failed" : "done"}</span>
          </span>
        ) : (
          <Going since={block.at} />
        )}
      </button>
      {open ? <Inside use={use} /> : null}
    </div>
  );
}

function Going({ since }: { since: string }) {
  const now = useNow();
  return (
    <span className="flex shrink-0 items-center gap-1.5 text-blue text-xs tabular">
      {span(Math.max(0, now - Date.parse(since)))}
      <Spinner size={11} />
      <span className="sr-only">in progress</span>
    </span>
  );
}

function Inside({ use }: { use: ToolBlockOf["use"] }) {
  const edits = editsOf(use);
  const fields = fieldsOf(use.input);
  const command = word(fields, "command", "cmd");
  const rest = Object.entries(fields).filter(([name]) => name !== "command" && name !== "cmd");
  return (
    <div className="flex flex-col gap-2 border-t px-3 py-2">
      {edits.map((edit, index) => (
        <div key={index} className="overflow-hidden rounded-md border">
          {edit.path !== undefined ? (
            <div className="border-b bg-sunken px-2.5 py-1 font-mono text-2xs text-dim">
              {edit.path}
            </div>
          ) : null}
          <Suspense fallback={<Json value={edit.after} />}>
            <TextDiff before={edit.before} after={edit.after} />
          </Suspense>
        </div>
      ))}
      {edits.length > 0 ? null : command !== undefined ? (
        <>
          <pre
            tabIndex={0}
            className="overflow-x-auto whitespace-pre-wrap break-words rounded-md border bg-sunken px-2.5 py-1.5 font-mono text-xs leading-5"
          >
            <span className="select-none text-faint">$ </span>
            {command}
          </pre>
          {rest.length > 0 ? <Json value={Object.fromEntries(rest)} /> : null}
        </>
      ) : use.input != null ? (
        <Json value={use.input} />
      ) : null}
      <Output use={use} />
    </div>
  );
}

function Output({ use }: { use: ToolBlockOf["use"] }) {
  if (!use.done && use.output === null) return <p className="text-faint text-xs">no answer yet</p>;
  if (typeof use.output === "string") {
    return use.output === "" ? (
      <p className="text-faint text-xs">an empty answer</p>
    ) : (
      <div className={use.failed ? "rounded-md border border-red/30 bg-red/5 px-2.5 py-1.5" : ""}>
        <Terminal text={use.output} />
      </div>
    );
  }
  const pieces = Array.isArray(use.output) ? (use.output as Fields[]) : [];
  if (
    pieces.length > 0 &&
    pieces.every((piece) => piece.type === "text" && typeof piece.text === "string")
  ) {
    return <Text text={pieces.map((piece) => String(piece.text)).join("\n")} />;
  }
  return use.output === null ? null : <Json value={use.output} />;
}
