import { useInfiniteQuery, useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { type ReactNode, useEffect, useState } from "react";
import { drainRunner, perform, removeRunner } from "@/api/actions";
import { flat, queries, runnersQuery, sessionsQuery } from "@/api/queries";
import type { Runner, Status } from "@/api/types";
import { ActDialog } from "@/ui/ActDialog";
import { Ago, Empty, ErrorNote, Label, Meter, Option, Rows, useNow } from "@/ui/bits";
import { Button, IconButton } from "@/ui/button";
import { plural } from "@/ui/format";
import { Icon } from "@/ui/icons";
import { Menu } from "@/ui/overlay";
import { StatusBadge } from "@/ui/status";
import { complain, toast } from "@/ui/toast";
import { useTitle } from "../notify";
import { useMe } from "../rights";
import { PageHead } from "../Shell";
import { nameOf } from "../words";

const again = () => void queries.invalidateQueries({ queryKey: runnersQuery.queryKey });

export function RunnersPage() {
  useTitle("Runners");
  const runners = useQuery(runnersQuery);
  const [asked, setAsked] = useState<{ runner: Runner; what: "drain" | "remove" } | null>(null);
  // Heartbeats are no news of the stream; they are looked at while this page is.
  useEffect(() => {
    const timer = setInterval(() => !document.hidden && again(), 5000);
    return () => clearInterval(timer);
  }, []);
  const items = runners.data?.items ?? [];
  return (
    <>
      <PageHead title="Runners" {...(runners.isSuccess ? { about: String(items.length) } : {})} />
      <div className="min-h-0 flex-1 overflow-y-auto bg-canvas p-3 sm:p-4">
        {runners.isError ? (
          <ErrorNote error={runners.error} onRetry={() => void runners.refetch()} />
        ) : null}
        {runners.isPending ? <Rows n={4} height={120} /> : null}
        {runners.isSuccess && items.length === 0 ? (
          <Empty icon="runners" title="No runner yet">
            A runner is the daemon on a machine that hosts sessions. Make it a token of role{" "}
            <i>runner</i> under{" "}
            <Link to="/settings" search={{ view: "tokens" }} className="text-accent underline">
              Settings
            </Link>
            , then on that machine:{" "}
            <code className="font-mono text-xs">
              greenroom runner --coordinator {location.origin}
            </code>
          </Empty>
        ) : null}
        <ul className="mx-auto flex max-w-5xl flex-col gap-3">
          {items.map((runner) => (
            <RunnerCard
              key={runner.id}
              runner={runner}
              act={(what) => setAsked({ runner, what })}
            />
          ))}
        </ul>
      </div>
      {asked !== null ? <Confirm {...asked} onClose={() => setAsked(null)} /> : null}
    </>
  );
}

const LIVE: Status[] = [
  "starting",
  "running",
  "waiting",
  "idle",
  "stopping",
  "unreachable",
  "stop_unconfirmed",
];

function RunnerCard({ runner, act }: { runner: Runner; act: (what: "drain" | "remove") => void }) {
  const me = useMe();
  const [open, setOpen] = useState(true);
  const now = useNow();
  const silent = runner.last_seen_at == null ? null : now - Date.parse(runner.last_seen_at);
  const reachable = runner.status === "connected";
  const labels = Object.entries(runner.labels);
  const lift = async () => {
    try {
      const { draining } = await perform(drainRunner(runner, true));
      toast(
        draining
          ? { tone: "info", text: `${runner.name} itself says that it drains` }
          : { tone: "good", text: `${runner.name} takes sessions again` },
      );
    } catch (error) {
      complain(error);
    }
    again();
  };
  return (
    <li className="card overflow-hidden" data-runner={runner.id}>
      <div className="flex flex-wrap items-center gap-x-3 gap-y-1.5 px-4 py-3">
        <span
          className={`grid size-8 place-items-center rounded-lg border ${reachable ? "text-green" : "hatched text-orange"}`}
        >
          <Icon name="runners" />
        </span>
        <div className="min-w-0">
          <h2 className="flex items-center gap-2 font-medium">
            {runner.name}
            <span
              className={`rounded border border-current/30 px-1.5 text-2xs ${reachable ? "text-green" : "hatched text-orange"}`}
            >
              {runner.status}
            </span>
            {runner.draining ? (
              <span className="rounded border border-amber/50 px-1.5 text-2xs text-amber">
                draining
              </span>
            ) : null}
          </h2>
          <p className="text-faint text-xs">
            {runner.host} · {runner.platform} · {runner.version}
          </p>
        </div>
        <div className="ml-auto flex items-center gap-2">
          <span className={`text-xs tabular ${!reachable ? "text-orange" : "text-faint"}`}>
            {reachable && (silent === null || silent > 60_000) ? (
              "heard of now"
            ) : runner.last_seen_at == null ? (
              "never heard of"
            ) : (
              <>
                heard of <Ago at={runner.last_seen_at} />
              </>
            )}
          </span>
          {me.administers ? (
            <>
              {runner.draining ? (
                <Button small icon="play" onClick={() => void lift()}>
                  Take sessions again
                </Button>
              ) : (
                <Button small onClick={() => act("drain")}>
                  Drain
                </Button>
              )}
              <Menu
                trigger={<IconButton icon="more" label={`Actions for ${runner.name}`} />}
                items={[
                  { label: "Remove…", icon: "trash", danger: true, onSelect: () => act("remove") },
                ]}
              />
            </>
          ) : null}
        </div>
      </div>
      <div className="grid gap-x-8 gap-y-2 border-t px-4 py-3 text-xs sm:grid-cols-3">
        {runner.slots == null ? (
          <Figure name="slots">{runner.slots_used} used, no limit</Figure>
        ) : (
          <Meter
            label="slots"
            used={runner.slots_used}
            of={runner.slots}
            text={`${runner.slots_used} of ${runner.slots} used`}
          />
        )}
        <Figure name="live">
          {runner.live} of {plural(runner.sessions, "session")} with files here
        </Figure>
        <Figure name="isolation">
          {runner.isolation === "none" ? "none: one trust domain" : runner.isolation}
        </Figure>
        {runner.draining ? (
          <div className="sm:col-span-3" role="status">
            <Meter
              label="drain"
              used={runner.sessions === 0 ? 1 : runner.sessions - runner.live}
              of={Math.max(1, runner.sessions)}
              text={
                runner.live === 0
                  ? "nothing is live here any more"
                  : `${plural(runner.live, "session")} still live; nothing new comes`
              }
            />
          </div>
        ) : null}
      </div>
      <div className="flex flex-wrap items-center gap-1.5 border-t px-4 py-2 text-xs">
        {labels.length === 0 ? (
          <span className="text-faint">no labels</span>
        ) : (
          labels.map(([name, value]) => <Label key={name} name={name} value={value} />)
        )}
        <span className="ml-auto flex flex-wrap gap-x-3 text-faint">
          <span>kill by {runner.probe.cgroup_kill ? "control group" : "walk"}</span>
          <span>memory by {runner.probe.memory}</span>
          <span>{runner.probe.outlives_runner ? "agents outlive it" : "agents end with it"}</span>
        </span>
      </div>
      {(runner.probe.notes ?? []).length > 0 ? (
        <ul className="border-t bg-amber/7 px-4 py-2 text-dim text-xs">
          {(runner.probe.notes ?? []).map((note) => (
            <li key={note} className="flex gap-2">
              <Icon name="warning" size={13} className="mt-0.5 text-amber" />
              {note}
            </li>
          ))}
        </ul>
      ) : null}
      {runner.unclaimed.length > 0 ? (
        <p className="border-t bg-amber/7 px-4 py-2 text-xs">
          {plural(runner.unclaimed.length, "live compute")} this coordinator does not know. They are
          kept: <span className="break-all font-mono text-2xs">{runner.unclaimed.join(", ")}</span>
        </p>
      ) : null}
      <div className="border-t">
        <button
          type="button"
          aria-expanded={open}
          className="flex w-full items-center gap-2 px-4 py-2 text-dim text-xs hover:bg-hover"
          onClick={() => setOpen(!open)}
        >
          <Icon name={open ? "down" : "right"} size={12} /> What runs here
        </button>
        {open ? <Hosted runner={runner} /> : null}
      </div>
    </li>
  );
}

function Figure({ name, children }: { name: string; children: ReactNode }) {
  return (
    <div className="flex gap-2.5 tabular">
      <span className="text-dim">{name}</span>
      <span className="min-w-0">{children}</span>
    </div>
  );
}

function Hosted({ runner }: { runner: Runner }) {
  const list = useInfiniteQuery({
    ...sessionsQuery({ runner: runner.id, status: LIVE }),
    select: flat,
  });
  const sessions = list.data ?? [];
  if (list.isPending) return <Rows n={2} height={30} />;
  return (
    <div className="pb-2">
      {sessions.length === 0 ? <p className="px-4 pb-1 text-faint text-xs">nothing live</p> : null}
      <ul>
        {sessions.slice(0, 50).map((session) => (
          <li key={session.id} className="flex h-8 items-center gap-3 px-4 hover:bg-hover">
            <span className="w-28 shrink-0 sm:w-36">
              <StatusBadge status={session.status} />
            </span>
            <Link
              to="/sessions/$id"
              params={{ id: session.id }}
              className="min-w-0 truncate hover:underline"
            >
              {nameOf(session)}
            </Link>
            <span className="ml-auto text-faint text-xs">{session.agent.name}</span>
          </li>
        ))}
      </ul>
      <Link
        to="/"
        search={{ runner: runner.id }}
        className="mt-1 inline-block px-4 text-accent text-xs hover:underline"
      >
        all of its sessions
      </Link>
    </div>
  );
}

function Confirm({
  runner,
  what,
  onClose,
}: {
  runner: Runner;
  what: "drain" | "remove";
  onClose: () => void;
}) {
  const [force, setForce] = useState(false);
  const drains = what === "drain";
  const action = drains ? drainRunner(runner, false) : removeRunner(runner, force);
  const go = async () => {
    try {
      await perform<unknown>(action);
      onClose();
    } finally {
      again();
    }
  };
  return (
    <ActDialog
      title={drains ? `Drain ${runner.name}?` : `Remove ${runner.name}?`}
      command={action}
      verb={drains ? "Drain" : "Remove"}
      look={drains ? "primary" : "danger"}
      act={go}
      onClose={onClose}
    >
      {drains ? (
        <p>
          It is given nothing new. What runs goes on; warm computes without a run are ended, and
          sessions that live here wait until you lift it.
        </p>
      ) : (
        <>
          <p>
            The coordinator forgets this runner.
            {runner.sessions > 0
              ? ` It has the files of ${plural(runner.sessions, "session")}, so this is refused unless you force it.`
              : ""}
          </p>
          {runner.sessions > 0 ? (
            <Option
              on={force}
              set={setForce}
              label="Force it"
              about="those workspaces are lost, and their logs say so"
            />
          ) : null}
        </>
      )}
    </ActDialog>
  );
}
