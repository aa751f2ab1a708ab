import { useQuery } from "@tanstack/react-query";
import { Link, useNavigate, useParams, useSearch } from "@tanstack/react-router";
import { lazy, Suspense, useEffect, useState } from "react";
import { runnersQuery } from "@/api/queries";
import { Empty, ErrorNote, Moment, Rows } from "@/ui/bits";
import { Icon, type IconName } from "@/ui/icons";
import { useKeys } from "@/ui/keys";
import { Dialog } from "@/ui/overlay";
import { see } from "../attention/seen";
import { ask } from "../dialogs";
import { useTitle } from "../notify";
import { canResume, canStop, canStopAgain } from "../rights";
import { resume } from "../sessions/menu";
import { nameOf } from "../words";
import { Composer } from "./Composer";
import { Details } from "./Details";
import { Header } from "./Header";
import { Timeline } from "./Timeline";
import { TranscriptTab } from "./TranscriptTab";
import { type SessionView, useRuns, useSessionView } from "./view";

const Files = lazy(() => import("./files/Files"));
const Changes = lazy(() => import("./Changes"));
const Runs = lazy(() => import("./Runs"));
const Receipts = lazy(() => import("./Receipts"));

type Tab = "transcript" | "files" | "changes" | "runs" | "receipts";

const TABS: readonly { id: Tab; label: string; icon: IconName }[] = [
  { id: "transcript", label: "Transcript", icon: "sessions" },
  { id: "files", label: "Files", icon: "folder" },
  { id: "changes", label: "Changes", icon: "diff" },
  { id: "runs", label: "Runs", icon: "play" },
  { id: "receipts", label: "Receipts", icon: "receipt" },
];

/** When the entry was written that a past page ends with: its clocks stand still there. */
function momentOf({ live, seq, session }: SessionView): number | null {
  if (seq === null) return null;
  const at = live.events[seq - live.from]?.at ?? session?.last_active_at;
  return at === undefined ? null : Date.parse(at);
}

export function SessionPage() {
  const { id } = useParams({ from: "/signed-in/sessions/$id" });
  return <OneSession key={id} id={id} />;
}

function OneSession({ id }: { id: string }) {
  const search = useSearch({ from: "/signed-in/sessions/$id" });
  const navigate = useNavigate({ from: "/sessions/$id" });
  const view = useSessionView(id, search.seq);
  const runs = useRuns(view);
  const [details, setDetails] = useState(() => localStorage.getItem("greenroom.details") !== "no");
  const [sheet, setSheet] = useState(false);
  const tab: Tab = search.tab ?? "transcript";
  const { session, now, seq, gone, problem } = view;
  const runner = useQuery(runnersQuery).data?.items.find((one) => one.id === session?.runner_id);
  useTitle(session === undefined ? id : nameOf(session));
  const last = now?.last_seq ?? 0;
  useEffect(() => {
    if (last > 0 && !document.hidden && seq === null) see(id, last);
  }, [id, last, seq]);

  const show = (next: Tab) => {
    const { tab: _, ...rest } = search;
    void navigate({ search: next === "transcript" ? rest : { ...rest, tab: next }, replace: true });
  };
  const goTo = (next: number | null) => {
    const { seq: _, ...rest } = search;
    void navigate({ search: next === null ? rest : { ...rest, seq: next }, replace: true });
  };
  const toggleDetails = () => {
    localStorage.setItem("greenroom.details", details ? "no" : "yes");
    setDetails(!details);
  };

  useKeys({
    s: () =>
      now !== undefined &&
      (canStop(now.status) || canStopAgain(now.status)) &&
      ask({ kind: "stop", sessions: [now] }),
    r: () => now !== undefined && canResume(now) && void resume(now),
    i: toggleDetails,
    Delete: () => now !== undefined && ask({ kind: "delete", sessions: [now] }),
    ...Object.fromEntries(TABS.map((one, index) => [String(index + 1), () => show(one.id)])),
  });

  if (gone) {
    return (
      <Empty icon="question" title={`Session “${id}” is not there, or has been deleted`}>
        <p>
          {problem?.hint !== undefined
            ? `On the command line: ${problem.hint}`
            : "It may also be somebody else's."}
        </p>
        <Link to="/" className="text-accent underline">
          All sessions
        </Link>
      </Empty>
    );
  }
  if (session === undefined) {
    return problem !== null ? (
      <div className="p-4">
        <ErrorNote error={problem} onRetry={() => void view.log.open()} />
      </div>
    ) : (
      <Rows n={10} height={48} />
    );
  }
  return (
    <Moment value={momentOf(view)}>
      <Header
        view={view}
        session={session}
        details={details}
        toggleDetails={toggleDetails}
        openDetails={() => setSheet(true)}
        runner={runner}
      />
      <div
        className="flex shrink-0 items-center overflow-x-auto border-b px-2 sm:gap-1 sm:px-3"
        role="tablist"
        aria-label="Parts of the session"
      >
        {TABS.map((one, index) => (
          <button
            key={one.id}
            type="button"
            role="tab"
            id={`tab-${one.id}`}
            aria-selected={tab === one.id}
            aria-controls="tab-panel"
            title={`${one.label} (${index + 1})`}
            onClick={() => show(one.id)}
            className={`-mb-px flex h-9 items-center gap-1.5 whitespace-nowrap border-b-2 px-2 ${tab === one.id ? "border-accent font-medium text-ink" : "border-transparent text-dim hover:text-ink"}`}
          >
            <Icon name={one.icon} size={14} className="max-sm:hidden" />
            {one.label}
          </button>
        ))}
      </div>
      <div className="flex min-h-0 flex-1">
        <div
          id="tab-panel"
          role="tabpanel"
          aria-labelledby={`tab-${tab}`}
          className="flex min-h-0 min-w-0 flex-1 flex-col"
        >
          <Suspense fallback={<Rows n={6} height={40} />}>
            {tab === "transcript" ? <TranscriptTab view={view} goTo={goTo} /> : null}
            {tab === "files" ? <Files id={id} session={session} seq={seq} /> : null}
            {tab === "changes" ? <Changes id={id} seq={seq} version={session.version} /> : null}
            {tab === "runs" ? (
              <Runs
                runs={runs.runs}
                show={(at) => {
                  void navigate({ search: { seq: at } });
                }}
                page={view.page}
              />
            ) : null}
            {tab === "receipts" ? <Receipts view={view} /> : null}
          </Suspense>
          <Timeline view={view} goTo={goTo} />
          {seq === null ? <Composer session={session} queue={runs.queue} /> : null}
        </div>
        {details ? (
          <aside
            aria-label="Details"
            className="hidden w-72 shrink-0 overflow-y-auto border-l bg-canvas xl:block"
          >
            <Details session={session} page={view.page} runner={runner} />
          </aside>
        ) : null}
      </div>
      {sheet ? (
        <Dialog open onClose={() => setSheet(false)} title="Details">
          <div className="-mx-5">
            <Details session={session} page={view.page} runner={runner} />
          </div>
        </Dialog>
      ) : null}
    </Moment>
  );
}
