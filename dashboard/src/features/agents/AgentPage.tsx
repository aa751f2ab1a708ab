import { useInfiniteQuery, useQuery } from "@tanstack/react-query";
import { Link, useNavigate, useParams } from "@tanstack/react-router";
import { lazy, Suspense, useState } from "react";
import { perform, removeAgent } from "@/api/actions";
import { problemOf } from "@/api/client";
import { agentsQuery, flat, queries, sessionsQuery, versionsQuery } from "@/api/queries";
import type { AgentVersion } from "@/api/types";
import { ActDialog } from "@/ui/ActDialog";
import { Ago, Empty, ErrorNote, Id, Rows, SourceName } from "@/ui/bits";
import { Button, IconButton } from "@/ui/button";
import { exact } from "@/ui/format";
import { Icon } from "@/ui/icons";
import { Menu } from "@/ui/overlay";
import { StatusBadge } from "@/ui/status";
import { ask } from "../dialogs";
import { useTitle } from "../notify";
import { useMe } from "../rights";
import { Json } from "../session/blocks/texts";
import { Row } from "../session/Details";
import { nameOf } from "../words";
import { Health } from "./AgentsPage";

const TextDiff = lazy(() => import("@/rich/Diff").then((module) => ({ default: module.TextDiff })));

export function AgentPage() {
  const { name } = useParams({ from: "/signed-in/agents/$name" });
  useTitle(name);
  const me = useMe();
  const agents = useQuery(agentsQuery);
  const agent = agents.data?.items.find((one) => one.name === name);
  const sessions = useInfiniteQuery({
    ...sessionsQuery({ agent: name, sort: "active" }),
    select: flat,
  });
  const [removing, setRemoving] = useState(false);
  if (agents.isPending) return <Rows n={6} height={60} />;
  if (agents.isError) {
    return (
      <div className="p-4">
        <ErrorNote error={agents.error} onRetry={() => void agents.refetch()} />
      </div>
    );
  }
  if (agent === undefined) {
    return (
      <Empty icon="agents" title={`There is no agent “${name}”`}>
        <Link to="/agents" className="text-accent underline">
          All agents
        </Link>
      </Empty>
    );
  }
  const using = sessions.data ?? [];
  const behind = using.filter((one) => one.agent.digest !== agent.digest).length;
  return (
    <>
      <header className="flex min-h-13 flex-wrap items-center gap-x-3 gap-y-1.5 border-b px-4 py-2">
        <Link to="/agents" className="text-faint hover:text-ink" aria-label="All agents">
          <Icon name="right" className="rotate-180" />
        </Link>
        <h1 className="font-semibold text-[0.9375rem]">{agent.name}</h1>
        <Health agent={agent} />
        <span className="text-faint tabular">v{agent.version}</span>
        <div className="ml-auto flex items-center gap-1.5">
          <Button
            look="primary"
            icon="play"
            disabled={agent.health === "broken" || !me.uses}
            onClick={() => ask({ kind: "new", prefill: { agent: agent.name } })}
          >
            Run it
          </Button>
          {me.administers ? (
            <Menu
              trigger={<IconButton icon="more" label="More" />}
              items={[
                {
                  label: "Take out of service…",
                  icon: "trash",
                  danger: true,
                  onSelect: () => setRemoving(true),
                },
              ]}
            />
          ) : null}
        </div>
      </header>
      <div className="min-h-0 flex-1 overflow-y-auto">
        <div className="mx-auto grid max-w-5xl gap-6 p-4 lg:grid-cols-[22rem_1fr]">
          <section className="flex flex-col gap-4">
            {agent.error != null ? <ErrorNote error={new Error(agent.error)} compact /> : null}
            {agent.needs != null ? (
              <p className="rounded-lg border border-amber/40 bg-amber/8 px-3 py-2">
                It lacks something to work: {agent.needs}
              </p>
            ) : null}
            {agent.description != null ? <p>{agent.description}</p> : null}
            <div className="card flex flex-col gap-2 p-4 text-xs">
              <Row name="driver">{agent.driver}</Row>
              <Row name="lifecycle">
                {agent.lifecycle === "persistent"
                  ? "one process, up between runs"
                  : "one process a run"}
              </Row>
              <Row name="source">
                <SourceName source={agent.source} />
              </Row>
              <Row name="key">
                <span className="break-all font-mono text-2xs">{agent.source_key}</span>
              </Row>
              {agent.stable_key != null ? (
                <Row name="stable key">
                  <span className="break-all font-mono text-2xs">{agent.stable_key}</span>
                </Row>
              ) : null}
              <Row name="digest">
                <Id id={agent.digest} short />
              </Row>
              <Row name="this version">
                <span title={exact(agent.updated_at)}>
                  seen <Ago at={agent.updated_at} /> ago
                </span>
              </Row>
              {agent.fetched_at != null ? (
                <Row name="fetched">{exact(agent.fetched_at)}</Row>
              ) : null}
              {agent.program_version != null ? (
                <Row name="program">{agent.program_version}</Row>
              ) : null}
            </div>
            {agent.input_schema != null ? (
              <div>
                <h2 className="mb-1.5 font-medium text-dim text-xs">Input</h2>
                <Json value={agent.input_schema} />
              </div>
            ) : null}
          </section>
          <div className="flex min-w-0 flex-col gap-6">
            <section>
              <h2 className="mb-2 flex items-center gap-2 font-medium">
                Sessions
                {behind > 0 ? (
                  <span className="font-normal text-amber text-xs">
                    {behind} of them began with another version
                  </span>
                ) : null}
              </h2>
              {sessions.isPending ? <Rows n={3} height={36} /> : null}
              {sessions.isSuccess && using.length === 0 ? (
                <p className="text-dim">No session uses it.</p>
              ) : null}
              <ul className="card divide-y overflow-hidden empty:hidden">
                {using.slice(0, 20).map((session) => (
                  <li key={session.id} className="flex h-9 items-center gap-3 px-3 hover:bg-hover">
                    <span className="w-28 shrink-0 sm:w-36">
                      <StatusBadge status={session.status} />
                    </span>
                    <Link
                      to="/sessions/$id"
                      params={{ id: session.id }}
                      className="min-w-0 flex-1 truncate hover:underline"
                    >
                      {nameOf(session)}
                    </Link>
                    <span
                      className={`text-xs tabular ${session.agent.digest === agent.digest ? "text-faint" : "text-amber"}`}
                    >
                      v{session.agent.version}
                    </span>
                    <span className="w-10 text-right text-faint text-xs">
                      <Ago at={session.last_active_at} />
                    </span>
                  </li>
                ))}
              </ul>
              {using.length > 20 ? (
                <Link
                  to="/"
                  search={{ agent: name }}
                  className="mt-2 inline-block text-accent text-xs hover:underline"
                >
                  all of them
                </Link>
              ) : null}
            </section>
            <Versions name={name} />
          </div>
        </div>
      </div>
      {removing ? <Remove name={name} onClose={() => setRemoving(false)} /> : null}
    </>
  );
}

function Versions({ name }: { name: string }) {
  const versions = useQuery(versionsQuery(name));
  const [chosen, setChosen] = useState<number | null>(null);
  const items = [...(versions.data?.items ?? [])].sort((a, b) => b.version - a.version);
  const index = items.findIndex((one) => one.version === chosen);
  const text = (one: AgentVersion | undefined) =>
    one === undefined ? "" : `${JSON.stringify(one.description, null, 2)}\n`;
  return (
    <section>
      <h2 className="mb-2 font-medium">Versions</h2>
      {versions.isError ? (
        <ErrorNote
          error={problemOf(versions.error)}
          compact
          onRetry={() => void versions.refetch()}
        />
      ) : null}
      <ol className="card divide-y overflow-hidden empty:hidden">
        {items.map((one) => (
          <li key={one.version} data-version={one.version}>
            <button
              type="button"
              aria-expanded={chosen === one.version}
              onClick={() => setChosen(chosen === one.version ? null : one.version)}
              className="flex h-9 w-full items-center gap-3 px-3 text-left hover:bg-hover"
            >
              <Icon
                name={chosen === one.version ? "down" : "right"}
                size={12}
                className="text-faint"
              />
              <span className="w-10 font-medium tabular">v{one.version}</span>
              <span className="min-w-0 flex-1 truncate font-mono text-2xs text-faint">
                {one.digest.slice(0, 12)} <SourceName source={one.source} />
              </span>
              {one.current ? <span className="text-green text-xs">in service</span> : null}
              <span className="shrink-0 text-dim text-xs">{exact(one.at)}</span>
            </button>
            {chosen === one.version ? (
              <div className="border-t">
                <Suspense>
                  <TextDiff before={text(items[index + 1])} after={text(one)} />
                </Suspense>
              </div>
            ) : null}
          </li>
        ))}
      </ol>
    </section>
  );
}

function Remove({ name, onClose }: { name: string; onClose: () => void }) {
  const navigate = useNavigate();
  const remove = async () => {
    await perform(removeAgent(name));
    void queries.invalidateQueries({ queryKey: agentsQuery.queryKey });
    void navigate({ to: "/agents" });
  };
  return (
    <ActDialog
      title={`Take ${name} out of service?`}
      command={removeAgent(name)}
      verb="Take out of service"
      look="danger"
      act={remove}
      onClose={onClose}
    >
      <p>
        No new session can use it. Sessions that have it keep the description they were created
        with.
      </p>
    </ActDialog>
  );
}
