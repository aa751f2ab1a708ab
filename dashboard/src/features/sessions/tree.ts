// Sessions beneath the session that created them, with one status for all of them.
import type { Session, Status } from "@/api/types";

export interface Row {
  session: Session;
  depth: number;
  /** Sessions beneath it. */
  below: number;
  /** Its status together with those beneath it: what needs a person most. */
  rolled: Status;
}

/** What a person should see first. */
const URGENCY: readonly Status[] = [
  "waiting",
  "stop_unconfirmed",
  "unreachable",
  "failed",
  "interrupted",
  "stopping",
  "running",
  "starting",
  "queued",
  "deleting",
  "idle",
  "stopped",
  "new",
  "finished",
];

const more = (a: Status, b: Status): Status => (URGENCY.indexOf(b) < URGENCY.indexOf(a) ? b : a);

/**
 * The rows of a tree. What is beneath a session is folded until somebody unfolds it. Where not
 * all sessions are here yet, those whose parent is still to come wait for it.
 */
export function treeOf(
  sessions: readonly Session[],
  unfolded: ReadonlySet<string>,
  parentsToCome = false,
): Row[] {
  const here = new Set(sessions.map((one) => one.id));
  const children = new Map<string, Session[]>();
  const roots: Session[] = [];
  for (const session of sessions) {
    const parent = session.parent_id;
    if (parent == null || (!here.has(parent) && !parentsToCome)) {
      roots.push(session);
      continue;
    }
    const siblings = children.get(parent);
    if (siblings === undefined) children.set(parent, [session]);
    else siblings.push(session);
  }
  const sums = new Map<string, { below: number; rolled: Status }>();
  const sum = (session: Session): { below: number; rolled: Status } => {
    const all = { below: 0, rolled: session.status };
    for (const child of children.get(session.id) ?? []) {
      const under = sum(child);
      all.below += 1 + under.below;
      all.rolled = more(all.rolled, under.rolled);
    }
    sums.set(session.id, all);
    return all;
  };
  const rows: Row[] = [];
  const walk = (session: Session, depth: number) => {
    const { below = 0, rolled = session.status } = sums.get(session.id) ?? {};
    rows.push({ session, depth, below, rolled });
    if (!unfolded.has(session.id)) return;
    for (const child of children.get(session.id) ?? []) walk(child, depth + 1);
  };
  for (const root of roots) {
    sum(root);
    walk(root, 0);
  }
  return rows;
}
