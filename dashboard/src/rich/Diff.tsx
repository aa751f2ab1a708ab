import { memo, useState } from "react";
import { Icon } from "@/ui/icons";
import { type DiffLine, diffTexts, type FileDiff, parsePatch, sideBySide } from "./diff";

const MARK = { same: " ", added: "+", removed: "−" } as const;
const MOST_LINES = 600;

function Side({ line, side }: { line: DiffLine | null; side: "old" | "new" }) {
  if (line === null) return <td colSpan={2} className="bg-sunken" />;
  const tone = line.kind === "added" ? "bg-green/12" : line.kind === "removed" ? "bg-red/11" : "";
  const sign = line.kind === "same" ? "" : line.kind === "added" ? "text-green" : "text-red";
  return (
    <>
      <td
        className={`w-10 select-none border-r pr-1.5 text-right align-top text-faint tabular ${tone}`}
      >
        {line[side]}
      </td>
      <td className={`whitespace-pre-wrap break-words px-2 align-top ${tone}`}>
        <span className={`mr-1 select-none ${sign}`}>{MARK[line.kind]}</span>
        {line.text}
      </td>
    </>
  );
}

const Lines = memo(function Lines({ lines }: { lines: readonly DiffLine[] }) {
  const [all, setAll] = useState(false);
  const narrow = window.matchMedia("(max-width: 767px)").matches;
  const shown = all ? lines : lines.slice(0, MOST_LINES);
  return (
    <div className="overflow-x-auto">
      <table className="w-full table-fixed border-collapse font-mono text-2xs leading-[1.35rem]">
        <colgroup>
          <col className="w-10" />
          <col />
          {narrow ? null : (
            <>
              <col className="w-10" />
              <col />
            </>
          )}
        </colgroup>
        <tbody>
          {narrow
            ? shown.map((line, index) => (
                <tr key={index}>
                  <Side line={line} side={line.kind === "removed" ? "old" : "new"} />
                </tr>
              ))
            : sideBySide(shown).map((pair, index) => (
                <tr key={index}>
                  <Side line={pair.left} side="old" />
                  <Side line={pair.right} side="new" />
                </tr>
              ))}
        </tbody>
      </table>
      {lines.length > shown.length ? (
        <button
          type="button"
          className="w-full border-t py-1.5 text-accent text-xs hover:underline"
          onClick={() => setAll(true)}
        >
          Show all {lines.length} lines
        </button>
      ) : null}
    </div>
  );
});

/** Two texts, side by side. */
export function TextDiff({ before, after }: { before: string; after: string }) {
  return <Lines lines={diffTexts(before, after)} />;
}

const WORDS = { added: "added", removed: "removed", renamed: "renamed", changed: "" } as const;

function File({ file, open: first }: { file: FileDiff; open: boolean }) {
  const [open, setOpen] = useState(first);
  return (
    <section className="card overflow-hidden" data-file={file.path}>
      <h3>
        <button
          type="button"
          aria-expanded={open}
          onClick={() => setOpen(!open)}
          className="flex w-full items-center gap-2 bg-sunken px-3 py-1.5 text-left"
        >
          <Icon name={open ? "down" : "right"} size={12} className="text-faint" />
          <span className="min-w-0 flex-1 truncate font-mono text-xs">
            {file.from !== null ? <span className="text-faint">{file.from} → </span> : null}
            {file.path}
          </span>
          {WORDS[file.kind] !== "" ? (
            <span className="text-dim text-xs">{WORDS[file.kind]}</span>
          ) : null}
          {file.added > 0 ? (
            <span className="text-green text-xs tabular">+{file.added}</span>
          ) : null}
          {file.removed > 0 ? (
            <span className="text-red text-xs tabular">−{file.removed}</span>
          ) : null}
        </button>
      </h3>
      {open ? (
        file.binary ? (
          <p className="px-3 py-2 text-dim">not text</p>
        ) : (
          file.hunks.map((hunk, index) => (
            <div key={index}>
              <div className="border-y bg-accent-soft/50 px-3 font-mono text-2xs text-dim leading-5">
                {hunk.head}
              </div>
              <Lines lines={hunk.lines} />
            </div>
          ))
        )
      ) : null}
    </section>
  );
}

/** A patch, file by file. */
export default function Patch({ patch }: { patch: string }) {
  const files = parsePatch(patch);
  return (
    <div className="flex flex-col gap-3">
      {files.map((file, index) => (
        <File key={file.path} file={file} open={index < 20} />
      ))}
    </div>
  );
}
