// From changes that the stream tells to what the pages show: rows are patched at once with
// what the frame says, then read again one by one, and lists stay as they are otherwise.
import { get, problemOf, url } from "@/api/client";
import { approvalsQuery, type Filters, queries, type SessionPages } from "@/api/queries";
import type { Session } from "@/api/types";
import { live } from "./live";
import type { Change } from "./messages";

type SessionChange = Extract<Change, { of: "session" }>;

const AT_ONCE = 4;
const MANY = 60;

function matches(session: Session, filters: Filters): boolean {
  const { status, agent, runner, parent, label, q } = filters;
  if (status !== undefined && !status.includes(session.status)) return false;
  if (agent !== undefined && session.agent.name !== agent) return false;
  if (runner !== undefined && session.runner_id !== runner) return false;
  if (parent !== undefined && session.parent_id !== parent) return false;
  const has = (pair: string) => {
    const [key = "", ...rest] = pair.split("=");
    return session.labels[key] === rest.join("=");
  };
  if (label !== undefined && !label.every(has)) return false;
  if (q === undefined || q === "") return true;
  const where = `${session.id}\n${session.title ?? ""}\n${session.agent.name}`.toLowerCase();
  return where.includes(q.toLowerCase());
}

type Lists = [readonly unknown[], SessionPages | undefined][];

const lists = (): Lists => queries.getQueriesData<SessionPages>({ queryKey: ["sessions"] });

function eachList(change: (filters: Filters, pages: SessionPages) => SessionPages): void {
  for (const [key, pages] of lists()) {
    if (pages === undefined) continue;
    const next = change(key[1] as Filters, pages);
    if (next !== pages) queries.setQueryData(key, next);
  }
}

const without = (pages: SessionPages, id: string): SessionPages => ({
  ...pages,
  pages: pages.pages.map((page) =>
    page.items.some((one) => one.id === id)
      ? { ...page, items: page.items.filter((one) => one.id !== id) }
      : page,
  ),
});

/** Puts a session, as it is now, wherever it is shown or now belongs. */
export function put(session: Session): void {
  const known = queries.getQueryData<Session>(["session", session.id]);
  if (known === undefined || known.version <= session.version || known.uid !== session.uid) {
    queries.setQueryData(["session", session.id], session);
  }
  eachList((filters, pages) => {
    const fits = matches(session, filters);
    let found = false;
    const next = pages.pages.map((page) => {
      const index = page.items.findIndex((one) => one.id === session.id);
      if (index < 0) return page;
      found = true;
      const items = page.items.slice();
      if (fits) items[index] = session;
      else items.splice(index, 1);
      return { ...page, items };
    });
    if (found) return { ...pages, pages: next };
    const [first, ...rest] = pages.pages;
    if (!fits || first === undefined || filters.sort === "id") return pages;
    // A session that was not there before is the newest; one from further down is not.
    const newest = first.items[0];
    const belongs =
      newest === undefined ||
      filters.status !== undefined ||
      session.created_at >= newest.created_at;
    return belongs
      ? { ...pages, pages: [{ ...first, items: [session, ...first.items] }, ...rest] }
      : pages;
  });
}

export function drop(id: string): void {
  queries.removeQueries({ queryKey: ["session", id] });
  eachList((_, pages) => without(pages, id));
}

/** What a frame says is true already, before the rest is read. */
function patch(change: SessionChange): void {
  const newer = (session: Session): Session =>
    session.uid === change.uid && session.version < change.version
      ? {
          ...session,
          status: change.status,
          status_reason: null,
          last_seq: change.last_seq,
          version: change.version - 0.5,
        }
      : session;
  queries.setQueryData<Session>(["session", change.id], (known) => known && newer(known));
  eachList((_, pages) => {
    const touched = pages.pages.some((page) =>
      page.items.some((one) => one.id === change.id && newer(one) !== one),
    );
    if (!touched) return pages;
    const replace = (one: Session) => (one.id === change.id ? newer(one) : one);
    return {
      ...pages,
      pages: pages.pages.map((page) => ({ ...page, items: page.items.map(replace) })),
    };
  });
}

const queue = new Set<string>();
let busy = 0;
let timer: ReturnType<typeof setTimeout> | undefined;

function later(): void {
  if (timer !== undefined) return;
  timer = setTimeout(() => {
    timer = undefined;
    if (queue.size > MANY) {
      queue.clear();
      void queries.invalidateQueries({ queryKey: ["sessions"] });
      return;
    }
    pump();
  }, 80);
}

function pump(): void {
  while (busy < AT_ONCE && queue.size > 0) {
    const [id] = queue;
    if (id === undefined) return;
    queue.delete(id);
    busy += 1;
    void refresh(id).finally(() => {
      busy -= 1;
      pump();
    });
  }
}

/** Reads a session again. */
export async function refresh(id: string): Promise<void> {
  try {
    put(await get<Session>(url(["v1", "sessions", id])));
  } catch (error) {
    if (problemOf(error).status === 404) drop(id);
  }
}

/** Follows the stream with everything that is shown. */
export function keepFresh(): () => void {
  const quiet = live.onChanges((changes) => {
    let approvals = false;
    for (const change of changes) {
      if (change.of === "agents") void queries.invalidateQueries({ queryKey: ["agents"] });
      else if (change.of === "runner") void queries.invalidateQueries({ queryKey: ["runners"] });
      else {
        patch(change);
        queue.add(change.id);
        approvals = true;
        if (queries.getQueryState(["runs", change.id]) !== undefined) {
          void queries.invalidateQueries({ queryKey: ["runs", change.id] });
        }
      }
    }
    if (queue.size > 0) later();
    if (approvals) staleApprovals();
  });
  const resync = live.onResync(() => {
    for (const key of ["sessions", "session", "runs", "approvals", "runners", "agents"]) {
      void queries.invalidateQueries({ queryKey: [key] });
    }
  });
  return () => {
    quiet();
    resync();
  };
}

let approvalsTimer: ReturnType<typeof setTimeout> | undefined;

function staleApprovals(): void {
  if (approvalsTimer !== undefined) return;
  approvalsTimer = setTimeout(() => {
    approvalsTimer = undefined;
    void queries.invalidateQueries({ queryKey: approvalsQuery.queryKey });
  }, 150);
}
