import { useInfiniteQuery } from "@tanstack/react-query";
import { useNavigate, useSearch } from "@tanstack/react-router";
import { useCallback, useDeferredValue, useEffect, useMemo, useRef, useState } from "react";
import { type Filters, flat, sessionsQuery } from "@/api/queries";
import type { Session } from "@/api/types";
import type { SessionsSearch } from "@/router";
import { Empty, ErrorNote, Rows } from "@/ui/bits";
import { Button } from "@/ui/button";
import { grouped } from "@/ui/format";
import { useKeys } from "@/ui/keys";
import { ask } from "../dialogs";
import { useTitle } from "../notify";
import { canStop } from "../rights";
import { PageHead } from "../Shell";
import { Bulk } from "./Bulk";
import { FilterBar } from "./FilterBar";
import { SessionList } from "./SessionList";
import { treeOf } from "./tree";

export function SessionsPage() {
  useTitle("");
  // What is most likely to be opened next is there when it is.
  useEffect(() => {
    const timer = setTimeout(() => void import("../session/SessionPage"), 200);
    return () => clearTimeout(timer);
  }, []);
  const search = useSearch({ from: "/signed-in/" });
  const navigate = useNavigate({ from: "/" });
  const { view, ...filters } = search;
  const q = useDeferredValue(filters.q);
  const key = JSON.stringify({ ...filters, q });
  const wanted = useMemo(() => JSON.parse(key) as Filters, [key]);
  const list = useInfiniteQuery(sessionsQuery(wanted));
  const sessions = useMemo(() => flat(list.data), [list.data]);
  const [chosen, setChosen] = useState<ReadonlySet<string>>(new Set());
  const [unfolded, setUnfolded] = useState<ReadonlySet<string>>(new Set());
  const [cursor, setCursor] = useState(0);
  const searchBox = useRef<HTMLInputElement>(null);

  const tree = view === "tree";
  const narrowed = Object.keys(filters).some((key) => key !== "sort");
  const [beneath, setBeneath] = useState<ReadonlyMap<string, Session[]>>(new Map());
  const bring = useCallback(
    (parent: string, children: Session[]) =>
      setBeneath((all) => new Map(all).set(parent, children)),
    [],
  );
  // Parents are older than their children, so in a list of everything they are still to come.
  const parentsToCome = !narrowed && list.hasNextPage;
  const all = useMemo(
    () => (tree ? joined(sessions, beneath) : sessions),
    [tree, sessions, beneath],
  );
  const rows = useMemo(
    () =>
      tree
        ? treeOf(all, unfolded, parentsToCome)
        : all.map((session) => ({ session, depth: 0, below: 0, rolled: session.status })),
    [all, tree, unfolded, parentsToCome],
  );
  const { fetchNextPage, hasNextPage, isFetchingNextPage } = list;
  useEffect(() => {
    if (rows.length === 0 && hasNextPage && !isFetchingNextPage) void fetchNextPage();
  }, [rows.length, hasNextPage, isFetchingNextPage, fetchNextPage]);
  useEffect(() => setCursor((at) => Math.min(at, Math.max(0, rows.length - 1))), [rows.length]);

  const change = (next: Partial<SessionsSearch>) =>
    void navigate({ search: { ...search, ...next }, replace: true });
  const toggle = (id: string) => {
    const next = new Set(chosen);
    if (!next.delete(id)) next.add(id);
    setChosen(next);
  };
  const fold = (id: string, open?: boolean) => {
    const next = new Set(unfolded);
    if (open ?? !next.has(id)) next.add(id);
    else next.delete(id);
    setUnfolded(next);
  };
  const open = (session: Session) =>
    void navigate({ to: "/sessions/$id", params: { id: session.id } });
  const at = rows[cursor]?.session;
  const picked = all.filter((one) => chosen.has(one.id));
  const acted = picked.length > 0 ? picked : at === undefined ? [] : [at];

  useKeys({
    j: () => setCursor((i) => Math.min(rows.length - 1, i + 1)),
    k: () => setCursor((i) => Math.max(0, i - 1)),
    ArrowDown: () => setCursor((i) => Math.min(rows.length - 1, i + 1)),
    ArrowUp: () => setCursor((i) => Math.max(0, i - 1)),
    "g g": () => setCursor(0),
    G: () => setCursor(rows.length - 1),
    Enter: () => at !== undefined && open(at),
    o: () => at !== undefined && open(at),
    x: () => at !== undefined && toggle(at.id),
    l: () => at !== undefined && fold(at.id, true),
    h: () => at !== undefined && fold(at.id, false),
    t: () => change({ view: tree ? undefined : "tree" } as Partial<SessionsSearch>),
    s: () => {
      const some = acted.filter((one) => canStop(one.status));
      if (some.length > 0) ask({ kind: "stop", sessions: some });
    },
    Delete: () => acted.length > 0 && ask({ kind: "delete", sessions: acted }),
    "/": () => searchBox.current?.focus(),
    Escape: () =>
      chosen.size > 0
        ? setChosen(new Set())
        : (document.activeElement as HTMLElement | null)?.blur(),
  });

  const known = `${grouped(sessions.length)}${hasNextPage ? "+" : ""}`;
  return (
    <>
      <PageHead title="Sessions" {...(list.isSuccess ? { about: known } : {})}>
        <Button look="primary" icon="plus" keys="c" onClick={() => ask({ kind: "new" })}>
          New session
        </Button>
      </PageHead>
      <FilterBar search={search} change={change} box={searchBox} />
      {tree
        ? [...new Set([...unfolded, ...beneath.keys()])].map((id) => (
            <Beneath key={id} parent={id} bring={bring} />
          ))
        : null}
      {picked.length > 0 ? <Bulk sessions={picked} clear={() => setChosen(new Set())} /> : null}
      {list.isError ? (
        <div className="p-4">
          <ErrorNote error={list.error} onRetry={() => void list.refetch()} />
        </div>
      ) : list.isPending ? (
        <Rows n={12} height={38} />
      ) : rows.length === 0 ? (
        hasNextPage ? (
          <Rows n={12} height={38} />
        ) : narrowed ? (
          <Empty
            icon="filter"
            title="No session fits"
            action={
              <Button onClick={() => void navigate({ search: {}, replace: true })}>Show all</Button>
            }
          >
            Nothing has this text, status, agent, label and runner at once.
          </Empty>
        ) : (
          <Empty
            icon="sessions"
            title="No sessions yet"
            action={
              <Button look="primary" icon="plus" onClick={() => ask({ kind: "new" })}>
                Start the first one
              </Button>
            }
          >
            A session is one piece of work by one agent: its log, its workspace and, while it works,
            its processes. On the command line:{" "}
            <code className="font-mono text-xs">greenroom run AGENT PROMPT</code>
          </Empty>
        )
      ) : (
        <SessionList
          rows={rows}
          chosen={chosen}
          cursor={cursor}
          tree={tree}
          unfolded={unfolded}
          toggle={toggle}
          fold={fold}
          setCursor={setCursor}
          chooseAll={(on) => setChosen(on ? new Set(rows.map((row) => row.session.id)) : new Set())}
          filterBy={change}
          more={hasNextPage && !isFetchingNextPage ? () => void fetchNextPage() : undefined}
          reading={isFetchingNextPage}
        />
      )}
    </>
  );
}

/** Reads all that is beneath a session, whatever the list is narrowed to. */
function Beneath({
  parent,
  bring,
}: {
  parent: string;
  bring: (parent: string, children: Session[]) => void;
}) {
  const { data, hasNextPage, isFetchingNextPage, fetchNextPage } = useInfiniteQuery(
    sessionsQuery({ parent }),
  );
  useEffect(() => {
    if (data !== undefined) bring(parent, flat(data));
  }, [data, parent, bring]);
  useEffect(() => {
    if (hasNextPage && !isFetchingNextPage) void fetchNextPage();
  }, [hasNextPage, isFetchingNextPage, fetchNextPage]);
  return null;
}

/** A list with what was read beneath some of its sessions, each once. */
function joined(sessions: Session[], beneath: ReadonlyMap<string, Session[]>): Session[] {
  const seen = new Set(sessions.map((one) => one.id));
  const more: Session[] = [];
  for (const child of [...beneath.values()].flat()) {
    if (seen.has(child.id)) continue;
    seen.add(child.id);
    more.push(child);
  }
  return more.length === 0 ? sessions : [...sessions, ...more];
}
