import { useVirtualizer } from "@tanstack/react-virtual";
import { useCallback, useEffect, useLayoutEffect, useMemo, useRef, useState } from "react";
import type { Block } from "@/fold/transcript";
import { copy, Empty, ErrorNote } from "@/ui/bits";
import { Button, IconButton, Kbd, Spinner } from "@/ui/button";
import { grouped } from "@/ui/format";
import { Icon } from "@/ui/icons";
import { useKeys } from "@/ui/keys";
import { answerFirst } from "./approve";
import { BlockView } from "./blocks/BlockView";
import { PartialView } from "./blocks/texts";
import {
  hiddenKinds,
  KIND_LABELS,
  KINDS,
  type Kind,
  keepHidden,
  kindOfBlock,
  textOf,
} from "./kinds";
import { type SessionView, useShown } from "./view";

const NEAR = 48;

export function TranscriptTab({
  view,
  goTo,
}: {
  view: SessionView;
  goTo: (seq: number | null) => void;
}) {
  const shown = useShown(view);
  const { live, seq, log } = view;
  const [hidden, setHidden] = useState(hiddenKinds);
  const [needle, setNeedle] = useState("");
  const [hit, setHit] = useState(0);
  const [cursor, setCursor] = useState<string | null>(null);
  const [open, setOpen] = useState<ReadonlyMap<string, boolean>>(new Map());
  const searchBox = useRef<HTMLInputElement>(null);
  const box = useRef<HTMLDivElement>(null);
  const pinned = useRef(true);
  const [away, setAway] = useState(false);
  const touched = useRef(0);

  const blocks = useMemo(
    () =>
      hidden.size === 0
        ? shown.blocks
        : shown.blocks.filter((block) => !hidden.has(kindOfBlock(block))),
    [shown.blocks, hidden],
  );
  const partial = seq === null ? live.partial : "";
  const total = blocks.length + (partial === "" ? 0 : 1);
  const list = useVirtualizer({
    count: total,
    getScrollElement: () => box.current,
    estimateSize: (index) => guess(blocks[index]),
    overscan: 8,
    paddingStart: 12,
    paddingEnd: 20,
    getItemKey: (index) => blocks[index]?.key ?? "partial",
  });
  const items = list.getVirtualItems();
  const size = list.getTotalSize();

  // At the end it stays at the end; elsewhere it stays where it is.
  // biome-ignore lint/correctness/useExhaustiveDependencies: each of these makes it longer
  useLayoutEffect(() => {
    const element = box.current;
    if (element !== null && pinned.current) element.scrollTop = element.scrollHeight;
  }, [size, total, partial.length]);
  // A past moment ends with its entry.
  // biome-ignore lint/correctness/useExhaustiveDependencies: only another moment moves it
  useLayoutEffect(() => {
    pinned.current = true;
    setAway(false);
  }, [seq]);

  const onScroll = () => {
    const element = box.current;
    if (element === null) return;
    const rest = element.scrollHeight - element.scrollTop - element.clientHeight;
    if (rest < NEAR) pinned.current = true;
    else if (Date.now() - touched.current < 400) pinned.current = false;
    setAway(!pinned.current && rest > 300);
  };
  const touch = () => {
    touched.current = Date.now();
  };

  // Earlier entries come in above, and what is read stays under the eye.
  const anchor = useRef<{ key: string; offset: number } | null>(null);
  const busy = useRef(false);
  const earlier = useCallback(async () => {
    const element = box.current;
    if (busy.current || element === null) return;
    busy.current = true;
    const visible = list
      .getVirtualItems()
      .find((item) => item.index > 0 && item.end > element.scrollTop);
    anchor.current =
      visible === undefined
        ? null
        : { key: String(visible.key), offset: element.scrollTop - visible.start };
    try {
      await shown.earlier();
    } finally {
      busy.current = false;
    }
  }, [shown.earlier, list]);
  // biome-ignore lint/correctness/useExhaustiveDependencies: only when there are more above
  useLayoutEffect(() => {
    const held = anchor.current;
    anchor.current = null;
    if (held === null || pinned.current) return;
    const index = blocks.findIndex((block) => block.key === held.key);
    const at = index < 0 ? undefined : list.getOffsetForIndex(index, "start")?.[0];
    if (at !== undefined) list.scrollToOffset(at + held.offset);
  }, [shown.from]);
  const first = items[0]?.index ?? 0;
  useEffect(() => {
    if (shown.from > 1 && first < 3 && !shown.loading && !pinned.current && total > 0)
      void earlier();
  }, [first, shown.from, shown.loading, earlier, total]);

  const matches = useMemo(() => {
    const sought = needle.trim().toLowerCase();
    if (sought === "") return [];
    return blocks.flatMap((block, index) =>
      textOf(block).toLowerCase().includes(sought) ? [index] : [],
    );
  }, [blocks, needle]);
  const jump = (index: number) => {
    const block = blocks[index];
    if (block === undefined) return;
    pinned.current = index === blocks.length - 1;
    setCursor(block.key);
    list.scrollToIndex(index, { align: "center" });
  };
  const nextMatch = (by: number) => {
    if (matches.length === 0) return;
    const next = (hit + by + matches.length) % matches.length;
    setHit(next);
    jump(matches[next] ?? 0);
  };
  const lastPlan = useMemo(
    () => shown.blocks.findLast((block) => block.kind === "plan")?.key,
    [shown.blocks],
  );
  const isOpen = (block: Block) =>
    open.get(block.key) ?? (block.key === lastPlan || opensByItself(block));
  const at = cursor === null ? -1 : blocks.findIndex((block) => block.key === cursor);
  const chosen = blocks[at];
  const flip = (block: Block | undefined) => {
    if (block !== undefined) setOpen(new Map(open).set(block.key, !isOpen(block)));
  };
  useKeys({
    j: () => jump(at < 0 ? (items[0]?.index ?? 0) : Math.min(blocks.length - 1, at + 1)),
    k: () => jump(at < 0 ? blocks.length - 1 : Math.max(0, at - 1)),
    G: () => {
      pinned.current = true;
      list.scrollToIndex(total - 1, { align: "end" });
    },
    e: () => flip(chosen),
    y: () =>
      chosen !== undefined &&
      void copy(linkTo(log.id, chosen.to), "A link to this entry is copied"),
    "/": () => searchBox.current?.focus(),
    n: () => nextMatch(1),
    N: () => nextMatch(-1),
    a: () => seq === null && void answerFirst(log.id, "allow"),
    d: () => seq === null && void answerFirst(log.id, "deny"),
  });

  const toggle = (kind: Kind) => {
    const next = new Set(hidden);
    if (!next.delete(kind)) next.add(kind);
    keepHidden(next);
    setHidden(next);
  };
  const present = useMemo(() => {
    const counts = new Map<Kind, number>();
    for (const block of shown.blocks) {
      const kind = kindOfBlock(block);
      counts.set(kind, (counts.get(kind) ?? 0) + 1);
    }
    return counts;
  }, [shown.blocks]);

  return (
    <>
      <div
        className="flex items-center gap-2 border-b px-4 py-1.5 sm:flex-wrap"
        role="toolbar"
        aria-label="What is shown"
      >
        <div className="flex min-w-0 items-center gap-1.5 max-sm:overflow-x-auto sm:flex-wrap">
          {KINDS.filter((kind) => present.has(kind)).map((kind) => (
            <button
              key={kind}
              type="button"
              aria-pressed={!hidden.has(kind)}
              onClick={() => toggle(kind)}
              className={`h-6 whitespace-nowrap rounded-md border px-1.5 text-xs ${hidden.has(kind) ? "border-line-strong border-dashed text-faint" : "border-line-strong bg-hover text-ink"}`}
            >
              {KIND_LABELS[kind]} <span className="text-faint tabular">{present.get(kind)}</span>
            </button>
          ))}
        </div>
        <div className="relative ml-auto flex shrink-0 items-center gap-1">
          <label className="relative">
            <span className="sr-only">Search the transcript</span>
            <Icon name="search" size={13} className="absolute top-1.5 left-2 text-faint" />
            <input
              ref={searchBox}
              type="search"
              placeholder="Find"
              value={needle}
              className="field h-6.5! w-24! pl-7! text-xs sm:w-44!"
              onChange={(event) => {
                setNeedle(event.target.value);
                setHit(0);
              }}
              onKeyDown={(event) => {
                if (event.key === "Enter") nextMatch(event.shiftKey ? -1 : 1);
                if (event.key === "Escape") {
                  setNeedle("");
                  event.currentTarget.blur();
                }
              }}
            />
            {needle === "" ? (
              <span className="absolute top-1 right-1.5 text-faint">
                <Kbd>/</Kbd>
              </span>
            ) : null}
          </label>
          {needle !== "" ? (
            <>
              <span className="min-w-14 text-center text-dim text-xs tabular" aria-live="polite">
                {matches.length === 0
                  ? "none"
                  : `${Math.min(hit + 1, matches.length)} of ${matches.length}`}
              </span>
              <IconButton icon="up" label="Previous match" onClick={() => nextMatch(-1)} />
              <IconButton icon="down" label="Next match" onClick={() => nextMatch(1)} />
              {shown.from > 1 && seq === null ? (
                <Button
                  small
                  look="ghost"
                  busy={live.loadingEarlier}
                  onClick={() => void log.loadAll()}
                >
                  Search earlier too
                </Button>
              ) : null}
            </>
          ) : null}
        </div>
      </div>
      <div className="relative min-h-0 flex-1">
        <div
          ref={box}
          data-part="transcript"
          data-from={shown.from}
          data-to={seq ?? live.to}
          onScroll={onScroll}
          onWheel={touch}
          onTouchMove={touch}
          onPointerDown={touch}
          onKeyDown={touch}
          tabIndex={0}
          role="log"
          aria-label="Transcript"
          aria-live="off"
          className="h-full overflow-y-auto overflow-x-hidden [overflow-anchor:none] focus-visible:outline-offset-[-2px]"
        >
          {shown.problem !== null ? (
            <div className="p-4">
              <ErrorNote error={shown.problem} />
            </div>
          ) : null}
          {shown.from > 1 ? (
            <div className="flex items-center justify-center gap-2 pt-3 text-faint text-xs">
              {shown.loading ? (
                <>
                  <Spinner /> reading earlier entries
                </>
              ) : (
                <button
                  type="button"
                  className="hover:text-ink hover:underline"
                  onClick={() => void earlier()}
                >
                  {grouped(shown.from - 1)} earlier entries
                </button>
              )}
            </div>
          ) : null}
          {total === 0 && !shown.loading && live.phase === "ready" ? (
            <Empty
              icon="sessions"
              title={shown.blocks.length > 0 ? "All of it is hidden" : "Nothing was said yet"}
            >
              {shown.blocks.length > 0 ? "Choose above what to show." : "Write a prompt below."}
            </Empty>
          ) : null}
          <div className="relative" style={{ height: size }}>
            {items.map((item) => {
              const block = blocks[item.index];
              return (
                <div
                  key={item.key}
                  data-index={item.index}
                  ref={list.measureElement}
                  className="absolute inset-x-0 top-0"
                  style={{ transform: `translateY(${item.start}px)` }}
                >
                  <div className="mx-auto max-w-[58rem] px-3 sm:px-5">
                    {block === undefined ? (
                      <PartialView text={partial} />
                    ) : (
                      <BlockView
                        block={block}
                        session={log.id}
                        here={block.key === cursor}
                        found={needle !== "" && matches.includes(item.index)}
                        moment={seq !== null && block.seq <= seq && seq <= block.to}
                        past={seq !== null}
                        open={isOpen(block)}
                        flip={() => flip(block)}
                        goTo={goTo}
                      />
                    )}
                  </div>
                </div>
              );
            })}
          </div>
        </div>
        {away ? (
          <div className="pointer-events-none absolute inset-x-0 bottom-3 flex justify-center">
            <Button
              small
              icon="down"
              className="pointer-events-auto shadow-lg"
              onClick={() => {
                pinned.current = true;
                setAway(false);
                list.scrollToIndex(total - 1, { align: "end" });
              }}
            >
              To the end
            </Button>
          </div>
        ) : null}
      </div>
    </>
  );
}

export const linkTo = (id: string, seq: number): string =>
  `${location.origin}/sessions/${encodeURIComponent(id)}?seq=${seq}`;

/** What is shown unfolded until somebody folds it. */
function opensByItself(block: Block): boolean {
  return block.kind === "approval" || (block.kind === "tool" && block.use.failed);
}

/** About how high a block will be, before it is drawn. */
function guess(block: Block | undefined): number {
  if (block === undefined) return 40;
  switch (block.kind) {
    case "message":
    case "prompt":
      return (
        30 +
        Math.min(
          2400,
          ((block.text ?? "").split("\n").length + (block.text ?? "").length / 110) * 21,
        )
      );
    case "log":
      return 24 + Math.min(340, block.text.split("\n").length * 18);
    case "plan":
      return 28;
    case "approval":
      return 190;
    case "tool":
      return 42;
    default:
      return 32;
  }
}
