import { useQuery } from "@tanstack/react-query";
import { Link, useNavigate } from "@tanstack/react-router";
import { useState } from "react";
import { addSource, perform } from "@/api/actions";
import { agentsQuery, queries } from "@/api/queries";
import type { Agent } from "@/api/types";
import { ActDialog } from "@/ui/ActDialog";
import { Ago, Empty, ErrorNote, Rows, SourceName } from "@/ui/bits";
import { Button } from "@/ui/button";
import { plural } from "@/ui/format";
import { Icon } from "@/ui/icons";
import { useKeys } from "@/ui/keys";
import { toast } from "@/ui/toast";
import { ask } from "../dialogs";
import { useTitle } from "../notify";
import { useMe } from "../rights";
import { PageHead } from "../Shell";

const HEALTH: Readonly<
  Record<string, { tone: string; sign: "check" | "warning" | "close"; about: string }>
> = {
  ok: { tone: "text-faint", sign: "check", about: "its source is read and good" },
  stale: {
    tone: "text-amber",
    sign: "warning",
    about: "its source is broken; the last good version serves",
  },
  missing: { tone: "text-orange", sign: "warning", about: "its source is gone" },
  broken: { tone: "text-red", sign: "close", about: "its source never had a good description" },
};

export function Health({ agent }: { agent: Agent }) {
  const look = HEALTH[agent.health] ?? {
    tone: "text-dim",
    sign: "warning" as const,
    about: agent.health,
  };
  return (
    <span className={`inline-flex items-center gap-1 text-xs ${look.tone}`} title={look.about}>
      <Icon name={look.sign} size={12} />
      {agent.health}
    </span>
  );
}

export function AgentsPage() {
  useTitle("Agents");
  const me = useMe();
  const agents = useQuery(agentsQuery);
  const navigate = useNavigate();
  const [adding, setAdding] = useState(false);
  const [text, setText] = useState("");
  const [cursor, setCursor] = useState(0);
  const all = agents.data?.items ?? [];
  const sought = text.toLowerCase();
  const items = all.filter((one) =>
    `${one.name}\n${one.description ?? ""}\n${one.source}`.toLowerCase().includes(sought),
  );
  const at = items[cursor];
  useKeys({
    j: () => setCursor((i) => Math.min(items.length - 1, i + 1)),
    k: () => setCursor((i) => Math.max(0, i - 1)),
    Enter: () =>
      at !== undefined && void navigate({ to: "/agents/$name", params: { name: at.name } }),
    "/": () => document.getElementById("find-agent")?.focus(),
  });
  return (
    <>
      <PageHead title="Agents" {...(agents.isSuccess ? { about: String(all.length) } : {})}>
        <label className="relative max-sm:hidden">
          <span className="sr-only">Search agents</span>
          <Icon name="search" size={13} className="absolute top-2 left-2 text-faint" />
          <input
            id="find-agent"
            type="search"
            className="field h-7.5! w-48! pl-7!"
            placeholder="Find"
            value={text}
            onChange={(event) => setText(event.target.value)}
            onKeyDown={(event) => event.key === "Escape" && event.currentTarget.blur()}
          />
        </label>
        {me.administers ? (
          <Button icon="plus" onClick={() => setAdding(true)}>
            Add a source
          </Button>
        ) : null}
      </PageHead>
      <div className="min-h-0 flex-1 overflow-y-auto">
        {agents.isError ? (
          <div className="p-4">
            <ErrorNote error={agents.error} onRetry={() => void agents.refetch()} />
          </div>
        ) : null}
        {agents.isPending ? <Rows n={8} height={52} /> : null}
        {agents.isSuccess && items.length === 0 ? (
          <Empty
            icon="agents"
            title={all.length === 0 ? "No agents yet" : "No agent has this name"}
          >
            {all.length === 0
              ? "An agent is a named description of something that can be run: a file, a folder of files, a URL or an image."
              : null}
          </Empty>
        ) : null}
        <ul>
          {items.map((agent, index) => (
            <li
              key={agent.name}
              className={`relative flex items-center gap-3 border-b px-4 py-1.5 hover:bg-hover ${index === cursor ? "bg-hover" : ""}`}
            >
              {index === cursor ? (
                <span className="absolute inset-y-0 left-0 w-0.5 bg-accent" aria-hidden="true" />
              ) : null}
              <span className="grid size-7.5 shrink-0 place-items-center rounded-lg border bg-sunken text-dim">
                <Icon
                  name={agent.driver === "acp" || agent.driver === "loop" ? "agents" : "terminal"}
                />
              </span>
              <div className="min-w-0 flex-1">
                <div className="flex items-center gap-2.5">
                  <Link
                    to="/agents/$name"
                    params={{ name: agent.name }}
                    className="truncate font-medium hover:underline"
                  >
                    {agent.name}
                  </Link>
                  <Health agent={agent} />
                </div>
                <p className="truncate text-dim text-xs">
                  {agent.error ?? agent.description ?? ""}
                  {agent.needs ? <span className="text-amber"> needs {agent.needs}</span> : null}
                </p>
              </div>
              <span className="hidden w-28 text-dim text-xs md:block">
                {agent.driver}, {agent.lifecycle === "persistent" ? "stays up" : "per run"}
              </span>
              <span className="hidden w-56 truncate text-faint lg:block">
                <SourceName source={agent.source} />
              </span>
              <span className="hidden w-20 text-right text-faint text-xs tabular sm:block">
                v{agent.version} · <Ago at={agent.updated_at} />
              </span>
              <Button
                small
                icon="play"
                disabled={agent.health === "broken" || !me.uses}
                aria-label={`Run ${agent.name}`}
                onClick={() => ask({ kind: "new", prefill: { agent: agent.name } })}
              >
                Run
              </Button>
            </li>
          ))}
        </ul>
      </div>
      {adding ? <AddSource onClose={() => setAdding(false)} /> : null}
    </>
  );
}

function AddSource({ onClose }: { onClose: () => void }) {
  const [source, setSource] = useState("");
  const named = source.trim();
  const add = async () => {
    const { items } = await perform(addSource(named));
    toast({ tone: "good", text: `${plural(items.length, "agent")} from ${named}` });
    void queries.invalidateQueries({ queryKey: agentsQuery.queryKey });
    onClose();
  };
  return (
    <ActDialog
      title="Add a source of agents"
      command={addSource(named === "" ? "SOURCE" : named)}
      verb="Add"
      look="primary"
      disabled={named === ""}
      act={add}
      onClose={onClose}
    >
      <label className="flex flex-col gap-1">
        <span className="text-dim text-xs">
          A file or folder on the coordinator's machine, a URL, or an image
        </span>
        <input
          className="field font-mono"
          value={source}
          placeholder="https://example.com/agents/fixer.yaml"
          onChange={(event) => setSource(event.target.value)}
        />
      </label>
      <p className="text-faint text-xs">
        What changes there is served within seconds. A broken source keeps its last good version and
        says what is wrong.
      </p>
    </ActDialog>
  );
}
