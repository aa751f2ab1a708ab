import { useQuery } from "@tanstack/react-query";
import { useRouter } from "@tanstack/react-router";
import { useVirtualizer } from "@tanstack/react-virtual";
import { memo, type RefObject, useEffect, useLayoutEffect, useRef, useState } from "react";
import { runnersQuery } from "@/api/queries";
import type { Session } from "@/api/types";
import type { SessionsSearch } from "@/router";
import { Ago, Label } from "@/ui/bits";
import { Spinner } from "@/ui/button";
import { cost, count, plural } from "@/ui/format";
import { Icon } from "@/ui/icons";
import { Menu } from "@/ui/overlay";
import { StatusBadge, StatusMark, statusLabel } from "@/ui/status";
import { nameOf, standingLine } from "../words";
import { useActivity } from "./activity";
import { sessionMenu } from "./menu";
import type { Row } from "./tree";

interface Props {
  rows: readonly Row[];
  chosen: ReadonlySet<string>;
  cursor: number;
  tree: boolean;
  unfolded: ReadonlySet<string>;
  toggle: (id: string) => void;
  fold: (id: string) => void;
  setCursor: (index: number) => void;
  chooseAll: (on: boolean) => void;
  filterBy: (change: Partial<SessionsSearch>) => void;
  more: (() => void) | undefined;
  reading: boolean;
}

const COLUMNS =
  "sm:grid sm:grid-cols-[20px_minmax(7rem,8.5rem)_minmax(9rem,1.3fr)_minmax(6rem,1.4fr)_2.75rem_28px] md:grid-cols-[20px_8.5rem_minmax(10rem,1.2fr)_6rem_minmax(8rem,1.5fr)_2.75rem_28px] xl:grid-cols-[20px_8.5rem_minmax(12rem,1.4fr)_7.5rem_minmax(11rem,1.3fr)_minmax(4rem,8rem)_2.5rem_6rem_2rem_2.75rem_28px] 2xl:grid-cols-[20px_8.5rem_minmax(12rem,1.4fr)_9rem_minmax(11rem,1.3fr)_minmax(8rem,14rem)_2.5rem_6rem_2.5rem_2.75rem_28px]";

const narrow = () => window.matchMedia("(max-width: 639px)").matches;

export function SessionList(props: Props) {
  const { rows, more, cursor, chosen, tree } = props;
  const box = useRef<HTMLDivElement>(null);
  const [small, setSmall] = useState(narrow);
  useEffect(() => {
    const resized = () => setSmall(narrow());
    window.addEventListener("resize", resized);
    return () => window.removeEventListener("resize", resized);
  }, []);
  const height = small ? 62 : 38;
  const list = useVirtualizer({
    count: rows.length,
    getScrollElement: () => box.current,
    estimateSize: () => height,
    overscan: 3,
  });
  // biome-ignore lint/correctness/useExhaustiveDependencies: heights are counted anew
  useEffect(() => list.measure(), [height]);
  const items = list.getVirtualItems();
  const last = items[items.length - 1]?.index ?? 0;
  // Elements are used again for other rows: scrolling changes texts, and builds nothing.
  const pool = useRef(0);
  pool.current = Math.max(pool.current, Math.ceil(items.length / 8) * 8);
  useEffect(() => {
    if (last >= rows.length - 40) more?.();
  }, [last, rows.length, more]);
  // Past more rows than can be read, only their names are drawn.
  const first = items[0]?.index ?? 0;
  const before = useRef(first);
  const rushing = useRef(false);
  if (!list.isScrolling) rushing.current = false;
  else if (Math.abs(first - before.current) > 12) rushing.current = true;
  before.current = first;
  const moved = useRef(cursor);
  useEffect(() => {
    if (moved.current === cursor) return;
    moved.current = cursor;
    list.scrollToIndex(cursor);
  }, [cursor, list]);
  const runners = useQuery(runnersQuery).data?.items;
  const names = new Map(runners?.map((one) => [one.id, one.name]));
  return (
    <div ref={box} className="min-h-0 flex-1 overflow-auto" data-list="sessions">
      <div role="grid" aria-label="Sessions" aria-rowcount={rows.length} className="min-w-0">
        <div
          role="row"
          className={`sticky top-0 z-10 hidden h-8 items-center gap-x-3 border-b bg-panel px-3 text-faint text-xs ${COLUMNS}`}
        >
          <span role="columnheader">
            <Tick
              label="Choose all"
              on={chosen.size > 0 && chosen.size >= rows.length}
              change={(on) => props.chooseAll(on)}
            />
          </span>
          <Head>Status</Head>
          <Head>Session</Head>
          <Head at="md">Agent, runner</Head>
          <Head>Now</Head>
          <Head at="xl">Labels</Head>
          <Head at="xl" right>
            Queue
          </Head>
          <Head at="xl" right>
            Usage
          </Head>
          <Head at="xl" right>
            Age
          </Head>
          <Head right>Active</Head>
          <span role="columnheader">
            <span className="sr-only">Actions</span>
          </span>
        </div>
        <div className="relative" role="presentation" style={{ height: list.getTotalSize() }}>
          {items.map((item) => {
            const row = rows[item.index];
            if (row === undefined) return null;
            return (
              <div
                key={item.index % pool.current}
                role="presentation"
                className="absolute inset-x-0 top-0 overflow-hidden [contain:strict]"
                style={{ transform: `translateY(${item.start}px)`, height }}
              >
                <SessionRow
                  light={rushing.current}
                  row={row}
                  index={item.index}
                  here={item.index === cursor}
                  chosen={chosen.has(row.session.id)}
                  open={props.unfolded.has(row.session.id)}
                  tree={tree}
                  small={small}
                  runner={row.session.runner_id ? (names.get(row.session.runner_id) ?? "") : ""}
                  toggle={props.toggle}
                  fold={props.fold}
                  setCursor={props.setCursor}
                  filterBy={props.filterBy}
                />
              </div>
            );
          })}
        </div>
        {props.reading ? (
          <div
            className="flex items-center justify-center gap-2 py-3 text-faint text-xs"
            role="status"
          >
            <Spinner /> reading more
          </div>
        ) : null}
      </div>
    </div>
  );
}

function Head({ children, at, right }: { children: string; at?: "md" | "xl"; right?: boolean }) {
  const when = at === "md" ? "hidden md:block" : at === "xl" ? "hidden xl:block" : "";
  return (
    <span role="columnheader" className={`${when} ${right === true ? "text-right" : ""} truncate`}>
      {children}
    </span>
  );
}

function Tick({
  label,
  on,
  change,
}: {
  label: string;
  on: boolean;
  change: (on: boolean) => void;
}) {
  return (
    <label className="-m-1.5 flex size-7 cursor-pointer items-center justify-center">
      <input
        type="checkbox"
        aria-label={label}
        checked={on}
        onChange={(event) => change(event.target.checked)}
        className="size-3.5 shrink-0 accent-accent-strong"
      />
    </label>
  );
}

interface RowProps {
  row: Row;
  /** Its name and how it stands are enough for now. */
  light: boolean;
  index: number;
  here: boolean;
  chosen: boolean;
  open: boolean;
  tree: boolean;
  small: boolean;
  runner: string;
  toggle: (id: string) => void;
  fold: (id: string) => void;
  setCursor: (index: number) => void;
  filterBy: (change: Partial<SessionsSearch>) => void;
}

const SessionRow = memo(
  function SessionRow(props: RowProps) {
    return props.light ? <LightRow {...props} /> : <FullRow {...props} />;
  },
  (a, b) =>
    a.light === b.light &&
    a.row.session === b.row.session &&
    a.row.rolled === b.row.rolled &&
    a.row.below === b.row.below &&
    a.row.depth === b.row.depth &&
    a.index === b.index &&
    a.here === b.here &&
    a.chosen === b.chosen &&
    a.open === b.open &&
    a.tree === b.tree &&
    a.small === b.small &&
    a.runner === b.runner &&
    a.toggle === b.toggle &&
    a.fold === b.fold &&
    a.filterBy === b.filterBy,
);

function LightRow({ row, chosen, small }: RowProps) {
  const { session } = row;
  return (
    <div
      role="row"
      aria-selected={chosen}
      data-session={session.id}
      className={`flex h-full items-center gap-x-3 border-b px-3 ${chosen ? "bg-chosen" : ""}`}
    >
      <span role="gridcell" className={`shrink-0 pl-10 text-dim ${small ? "w-28" : "w-46"}`}>
        {statusLabel(session.status)}
      </span>
      <span role="gridcell" className="min-w-0 flex-1 truncate font-medium">
        {nameOf(session)}
      </span>
    </div>
  );
}

function FullRow(props: RowProps) {
  const { row, here, chosen, small } = props;
  const { session } = row;
  const activity = useActivity(session);
  const element = useRef<HTMLDivElement>(null);
  // Its element is that of another session now: what was in focus there is gone.
  // biome-ignore lint/correctness/useExhaustiveDependencies: only another session matters
  useLayoutEffect(() => {
    const focus = document.activeElement;
    if (focus instanceof HTMLElement && element.current?.contains(focus)) focus.blur();
  }, [session.uid]);
  const doing = activity ?? standingLine(session);
  const look = chosen ? "bg-chosen" : here ? "bg-hover" : "hover:bg-hover";
  if (small) return <SmallRow {...props} element={element} doing={doing} look={look} />;
  const labels = Object.entries(session.labels);
  const [first] = labels;
  const { input_tokens, output_tokens, cost_usd } = session.usage;
  const tokens = input_tokens + output_tokens;
  return (
    <div
      ref={element}
      role="row"
      aria-selected={chosen}
      data-session={session.id}
      data-here={here}
      className={`relative h-full items-center gap-x-3 border-b px-3 ${COLUMNS} ${look}`}
      onMouseDown={() => props.setCursor(props.index)}
    >
      {here ? (
        <span className="absolute inset-y-0 left-0 w-0.5 bg-accent" aria-hidden="true" />
      ) : null}
      <span role="gridcell">
        <Tick
          label={`Choose ${nameOf(session)}`}
          on={chosen}
          change={() => props.toggle(session.id)}
        />
      </span>
      <span role="gridcell" className="min-w-0">
        <StatusBadge status={session.status} reason={short(session)} />
      </span>
      <span role="gridcell" className="flex min-w-0 items-center gap-1.5">
        {props.tree ? <TreeArm row={row} open={props.open} fold={props.fold} /> : null}
        <Name session={session} className="truncate hover:underline" />
        {session.title != null ? (
          <span className="hidden truncate font-mono text-2xs text-faint 2xl:inline">
            {session.id}
          </span>
        ) : null}
      </span>
      <span role="gridcell" className="hidden min-w-0 items-baseline gap-1.5 md:flex">
        <button
          type="button"
          className="min-w-0 truncate text-dim hover:text-ink hover:underline"
          title={`Only ${session.agent.name}`}
          onClick={() => props.filterBy({ agent: session.agent.name })}
        >
          {session.agent.name}
        </button>
        {props.runner !== "" ? (
          <span className="hidden min-w-0 truncate text-faint text-xs xl:inline">
            on {props.runner}
          </span>
        ) : null}
      </span>
      <span
        role="gridcell"
        data-part="doing"
        className={`min-w-0 truncate ${activity === null ? "text-faint" : "text-dim"}`}
        title={doing}
      >
        {doing}
      </span>
      <span role="gridcell" className="hidden min-w-0 gap-1 overflow-hidden xl:flex">
        {first !== undefined ? (
          <button
            type="button"
            className="min-w-0"
            onClick={() => props.filterBy({ label: [first.join("=")] })}
            title={`Only ${first.join("=")}`}
          >
            <Label name={first[0]} value={first[1]} />
          </button>
        ) : null}
        {labels.length > 1 ? (
          <span
            className="self-center text-2xs text-faint"
            title={labels.map((one) => one.join("=")).join("\n")}
          >
            +{labels.length - 1}
          </span>
        ) : null}
      </span>
      <span role="gridcell" className="hidden text-right tabular text-dim xl:block">
        {session.pending.runs > 0 ? (
          <span
            title={`${plural(session.pending.runs, "prompt")} waiting${session.hold ? ", held" : ""}`}
          >
            {session.hold ? "‖ " : ""}
            {session.pending.runs}
          </span>
        ) : null}
      </span>
      <span role="gridcell" className="hidden truncate text-right tabular text-dim xl:block">
        {tokens > 0 ? `${count(tokens)}` : ""}
        {cost_usd > 0 ? <span className="text-faint"> · {cost(cost_usd)}</span> : null}
      </span>
      <span role="gridcell" className="hidden text-right text-faint xl:block">
        <Ago at={session.created_at} />
      </span>
      <span role="gridcell" className="text-right text-dim">
        <Ago at={session.last_active_at} />
      </span>
      <span role="gridcell">
        <RowMenu session={session} />
      </span>
    </div>
  );
}

/** A link, and no more than that: a list scrolls past many of them. */
function Name({ session, className }: { session: Session; className: string }) {
  const router = useRouter();
  return (
    <a
      href={`/sessions/${encodeURIComponent(session.id)}`}
      className={`min-w-0 font-medium ${className}`}
      onClick={(event) => {
        if (event.metaKey || event.ctrlKey || event.shiftKey || event.altKey || event.button !== 0)
          return;
        event.preventDefault();
        void router.navigate({ to: "/sessions/$id", params: { id: session.id } });
      }}
    >
      {nameOf(session)}
    </a>
  );
}

/** A reason as it fits into a row. */
function short(session: Session): string | null {
  const reason = session.status_reason ?? null;
  return session.status === "stopped" ||
    session.status === "failed" ||
    session.status === "interrupted"
    ? reason
    : null;
}

function TreeArm({ row, open, fold }: { row: Row; open: boolean; fold: (id: string) => void }) {
  return (
    <span className="flex shrink-0 items-center" style={{ paddingLeft: row.depth * 18 }}>
      {row.below > 0 ? (
        <button
          type="button"
          aria-expanded={open}
          aria-label={`${plural(row.below, "session")} beneath, together ${statusLabel(row.rolled)}`}
          onClick={() => fold(row.session.id)}
          className="flex h-6 items-center gap-1 rounded px-1 text-faint text-xs hover:bg-line"
        >
          <Icon name={open ? "down" : "right"} size={12} />
          <StatusMark status={row.rolled} size={10} />
          <span className="tabular">{row.below}</span>
        </button>
      ) : (
        <span className="w-5" />
      )}
    </span>
  );
}

function SmallRow({
  row,
  chosen,
  doing,
  look,
  toggle,
  tree,
  open,
  fold,
  element,
}: RowProps & { doing: string; look: string; element: RefObject<HTMLDivElement | null> }) {
  const { session } = row;
  return (
    <div
      ref={element}
      role="row"
      aria-selected={chosen}
      data-session={session.id}
      className={`flex h-full items-center gap-2 border-b px-3 ${look}`}
    >
      <span role="gridcell">
        <Tick label={`Choose ${nameOf(session)}`} on={chosen} change={() => toggle(session.id)} />
      </span>
      <span role="gridcell" className="flex min-w-0 flex-1 flex-col gap-0.5">
        <span className="flex min-w-0 items-center gap-2">
          {tree ? <TreeArm row={row} open={open} fold={fold} /> : null}
          <Name session={session} className="flex-1 truncate py-0.5" />
          <span className="shrink-0 text-faint text-xs">
            <Ago at={session.last_active_at} />
          </span>
        </span>
        <span className="flex min-w-0 items-center gap-2 text-dim text-xs">
          <StatusBadge status={session.status} />
          <span className="min-w-0 truncate" data-part="doing">
            {doing === "" ? session.agent.name : doing}
          </span>
        </span>
      </span>
      <span role="gridcell">
        <RowMenu session={session} />
      </span>
    </div>
  );
}

/** A plain button until it is pressed: a list scrolls past many of them. */
function RowMenu({ session }: { session: Session }) {
  const [openOf, setOpenOf] = useState<string | null>(null);
  const button = (
    <button
      type="button"
      aria-label={`Actions for ${nameOf(session)}`}
      aria-haspopup="menu"
      onClick={() => setOpenOf(session.uid)}
      className="inline-flex size-7 items-center justify-center rounded-[7px] text-dim hover:bg-line hover:text-ink"
    >
      <Icon name="more" size={15} />
    </button>
  );
  if (openOf !== session.uid) return button;
  return (
    <Menu
      startOpen
      trigger={button}
      items={sessionMenu(session)}
      onClosed={() => setOpenOf(null)}
    />
  );
}
