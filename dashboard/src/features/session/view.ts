// What the page of a session shows at a moment: live, or at a past entry of its log. Both
// are the same fold; only a log that is not here from its beginning needs the coordinator.
import { useQuery } from "@tanstack/react-query";
import { useEffect, useMemo, useState, useSyncExternalStore } from "react";
import { get, type Problem, problemOf, url } from "@/api/client";
import { rowOf, runsQuery, sessionQuery, stateQuery } from "@/api/queries";
import type { List, LogEvent, Run, Session } from "@/api/types";
import { type LogView, logOf, type SessionLog } from "@/fold/log";
import { shown } from "@/fold/status";
import { type Block, transcriptOf } from "@/fold/transcript";
import type { PageState } from "@/fold/types";

export interface SessionView {
  log: SessionLog;
  live: LogView;
  /** The moment that is shown; `null` is now. */
  seq: number | null;
  session: Session | undefined;
  /** As the coordinator says it now, whatever moment is shown. */
  now: Session | undefined;
  page: PageState | null;
  problem: Problem | null;
  gone: boolean;
}

export function useSessionView(id: string, wanted: number | undefined): SessionView {
  const log = useMemo(() => logOf(id), [id]);
  const live = useSyncExternalStore(log.subscribe, log.snapshot);
  const known = useQuery(sessionQuery(id));
  const current = known.data ?? rowOf(id);
  const last = Math.max(live.to, 0);
  const seq = wanted !== undefined && (last === 0 || wanted < last) ? wanted : null;
  const whole = live.page !== null;
  const past = seq !== null && whole ? log.stateAt(seq) : null;
  const asked = useQuery({
    ...stateQuery(id, seq ?? 0),
    enabled: seq !== null && !whole,
    placeholderData: (before) => before,
  });
  const page = seq === null ? live.page : past;
  const session = useMemo(() => {
    if (page !== null) return shown(page.session, current);
    return seq === null ? current : asked.data;
  }, [page, current, seq, asked.data]);
  const missing = live.phase === "gone" || (known.isError && problemOf(known.error).status === 404);
  return {
    log,
    live,
    seq,
    session,
    now: live.page !== null ? shown(live.page.session, current) : current,
    page,
    problem: live.problem ?? (known.isError ? problemOf(known.error) : null),
    gone: missing,
  };
}

const BEFORE = 250;
/** Entries of a past moment that are drawn at once, and how many more at a time. */
const DRAWN = 3000;

export interface Shown {
  blocks: readonly Block[];
  /** First position that is here. */
  from: number;
  loading: boolean;
  problem: Problem | null;
  earlier: () => Promise<void>;
}

interface Window {
  seq: number;
  events: LogEvent[];
  problem: Problem | null;
}

/** The transcript at a moment. A past one ends there, and grows backwards like the live one. */
export function useShown({ log, live, seq }: SessionView): Shown {
  const [window, setWindow] = useState<Window | null>(null);
  const [reach, setReach] = useState(DRAWN);
  const here = seq !== null && live.from > 0 && (seq - BEFORE >= live.from || live.from === 1);
  const start = seq === null ? live.from : Math.max(live.from, seq - reach + 1);
  const reaching = seq !== null && !here && live.phase === "ready";
  useEffect(() => {
    if (!reaching || seq === null) return;
    const from = Math.max(1, seq - BEFORE + 1);
    let current = true;
    const timer = setTimeout(() => {
      read(log.id, from, seq)
        .then((events) => current && setWindow({ seq, events, problem: null }))
        .catch((error) => current && setWindow({ seq, events: [], problem: problemOf(error) }));
    }, 60);
    return () => {
      current = false;
      clearTimeout(timer);
    };
  }, [reaching, seq, log.id]);
  // biome-ignore lint/correctness/useExhaustiveDependencies: what is past does not change
  const blocks = useMemo(() => {
    if (seq === null) return live.blocks;
    if (here) return transcriptOf(live.events.slice(start - live.from, seq - live.from + 1)).list();
    return window === null ? [] : transcriptOf(window.events).list();
  }, [seq, here, seq === null ? live.blocks : null, window, start]);
  if (seq !== null && here && start > live.from) {
    return {
      blocks,
      from: start,
      loading: false,
      problem: null,
      earlier: async () => setReach((now) => now + DRAWN),
    };
  }
  if (seq === null || here) {
    return {
      blocks,
      from: live.from,
      loading: live.loadingEarlier,
      problem: null,
      earlier: () => log.loadEarlier(),
    };
  }
  const first = window?.events[0]?.seq ?? 0;
  return {
    blocks,
    from: first,
    loading: window?.seq !== seq,
    problem: window?.problem ?? null,
    earlier: async () => {
      if (window === null || first <= 1) return;
      const events = await read(log.id, Math.max(1, first - 400), first - 1);
      setWindow({ ...window, events: [...events, ...window.events] });
    },
  };
}

async function read(id: string, from: number, to: number): Promise<LogEvent[]> {
  const path = url(["v1", "sessions", id, "events"], { from, limit: to - from + 1 });
  return (await get<List<LogEvent>>(path)).items;
}

/** A run as it is shown, from the fold where there is one, else from the coordinator. */
export type ShownRun = Pick<
  Run,
  | "id"
  | "status"
  | "prompt"
  | "input"
  | "error"
  | "usage"
  | "result"
  | "created_at"
  | "started_at"
  | "ended_at"
>;

export interface WaitingRun extends ShownRun {
  /** It is to become part of the run in progress. */
  steers: boolean;
}

/** The runs at this moment, newest first, and those that wait, in their order. */
export function useRuns(view: SessionView): { runs: ShownRun[]; queue: WaitingRun[] } {
  const { page, seq } = view;
  const list = useQuery({ ...runsQuery(view.log.id), enabled: page === null && seq === null });
  return useMemo(() => {
    if (page !== null) {
      const runs = [...page.runs.values()].map((run) => ({
        ...run,
        created_at: run.queued_at,
      })) as ShownRun[];
      const byId = new Map(runs.map((run) => [run.id, run]));
      const steers = page.session.compute?.head?.steers ?? [];
      const queue = page.session.queue.flatMap(({ id }) => {
        const run = byId.get(id);
        return run === undefined ? [] : [{ ...run, steers: steers.includes(id) }];
      });
      return { runs: runs.toReversed(), queue };
    }
    const runs = list.data?.items ?? [];
    const waiting = runs.filter((run) => run.status === "queued");
    return { runs, queue: waiting.toReversed().map((run) => ({ ...run, steers: false })) };
  }, [page, list.data]);
}
