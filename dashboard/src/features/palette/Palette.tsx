// Everything by name: pages, sessions, agents, and what can be done here.
import { useInfiniteQuery, useQuery } from "@tanstack/react-query";
import { useNavigate, useParams } from "@tanstack/react-router";
import { Command } from "cmdk";
import { type ReactNode, useEffect, useState } from "react";
import { stopSession } from "@/api/actions";
import { agentsQuery, flat, queries, sessionQuery, sessionsQuery } from "@/api/queries";
import type { Session } from "@/api/types";
import { copy } from "@/ui/bits";
import { Kbd } from "@/ui/button";
import { Icon, type IconName } from "@/ui/icons";
import { StatusMark } from "@/ui/status";
import { ask } from "../dialogs";
import { canAbandon, canResume, canStop, canStopAgain } from "../rights";
import { resume } from "../sessions/menu";
import { chooseTheme } from "../settings/theme";
import { nameOf } from "../words";

interface ActProps {
  icon: IconName;
  children: ReactNode;
  value: string;
  keys?: string;
  run: () => void;
}

const ITEM =
  "flex min-h-9 cursor-default items-center gap-2.5 rounded-md px-2.5 aria-selected:bg-hover";

export function Palette({ onClose }: { onClose: () => void }) {
  const navigate = useNavigate();
  const { id } = useParams({ strict: false });
  const [text, setText] = useState("");
  const [q, setQ] = useState("");
  useEffect(() => {
    const timer = setTimeout(() => setQ(text.trim()), 120);
    return () => clearTimeout(timer);
  }, [text]);
  const found = useInfiniteQuery({
    ...sessionsQuery(q === "" ? { sort: "active" } : { q, sort: "active" }),
    staleTime: 5000,
  });
  const sessions = flat(found.data).slice(0, 12);
  const agents = useQuery(agentsQuery).data?.items ?? [];
  const here =
    id === undefined ? undefined : queries.getQueryData<Session>(sessionQuery(id).queryKey);

  const go = (then: () => void) => () => {
    onClose();
    then();
  };
  const Act = ({ icon, children, value, keys, run }: ActProps) => (
    <Command.Item value={value} onSelect={go(run)} className={ITEM}>
      <Icon name={icon} className="text-faint" />
      <span className="min-w-0 flex-1 truncate">{children}</span>
      {keys !== undefined ? <Kbd>{keys}</Kbd> : null}
    </Command.Item>
  );

  return (
    <Command.Dialog
      open
      onOpenChange={(open) => !open && onClose()}
      label="Search and act"
      loop
      overlayClassName="fixed inset-0 z-40 bg-black/45"
      contentClassName="fixed top-[9vh] left-1/2 z-50 w-[min(40rem,calc(100vw-24px))] -translate-x-1/2 overflow-hidden rounded-xl border border-line-strong bg-raised shadow-2xl"
    >
      <div className="flex items-center gap-2.5 border-b px-4">
        <Icon name="search" className="text-faint" />
        <Command.Input
          value={text}
          onValueChange={setText}
          placeholder="A session, an agent, or what to do"
          className="h-12 flex-1 bg-transparent text-[0.9375rem] outline-none"
        />
      </div>
      <Command.List className="max-h-[56vh] overflow-y-auto p-1.5 [&_[cmdk-group-heading]]:px-2.5 [&_[cmdk-group-heading]]:py-1.5 [&_[cmdk-group-heading]]:text-faint [&_[cmdk-group-heading]]:text-xs">
        <Command.Empty className="px-3 py-8 text-center text-dim">
          {found.isFetching ? "Searching" : "Nothing has this name"}
        </Command.Empty>
        {here !== undefined ? (
          <Command.Group heading={nameOf(here)}>
            {canStop(here.status) || canStopAgain(here.status) ? (
              <Act
                icon="stop"
                value="stop this session"
                keys="s"
                run={() => ask({ kind: "stop", sessions: [here] })}
              >
                Stop this session
              </Act>
            ) : null}
            {canResume(here) ? (
              <Act icon="play" value="resume this session" keys="r" run={() => void resume(here)}>
                Resume this session
              </Act>
            ) : null}
            {canAbandon(here.status) ? (
              <Act
                icon="warning"
                value="abandon this session"
                run={() => ask({ kind: "abandon", session: here })}
              >
                Abandon its compute
              </Act>
            ) : null}
            <Act
              icon="terminal"
              value="copy watch command line"
              run={() => void copy(`greenroom sessions watch ${here.id}`)}
            >
              Copy: watch it in a terminal
            </Act>
            <Act
              icon="code"
              value="copy stop command line"
              run={() => void copy(stopSession(here.id).cli ?? "")}
            >
              Copy: stop it from a terminal
            </Act>
            <Act
              icon="trash"
              value="delete this session"
              run={() => ask({ kind: "delete", sessions: [here] })}
            >
              Delete this session
            </Act>
          </Command.Group>
        ) : null}
        {sessions.length > 0 ? (
          <Command.Group heading="Sessions">
            {sessions.map((session) => (
              <Command.Item
                key={session.id}
                value={`session ${session.title ?? ""} ${session.id} ${session.agent.name}`}
                onSelect={go(
                  () => void navigate({ to: "/sessions/$id", params: { id: session.id } }),
                )}
                className={ITEM}
              >
                <StatusMark status={session.status} />
                <span className="min-w-0 truncate">{nameOf(session)}</span>
                <span className="ml-auto shrink-0 text-faint text-xs">{session.agent.name}</span>
              </Command.Item>
            ))}
          </Command.Group>
        ) : null}
        <Command.Group heading="Go to">
          <Act
            icon="sessions"
            value="go sessions"
            keys="g s"
            run={() => void navigate({ to: "/" })}
          >
            Sessions
          </Act>
          <Act
            icon="tree"
            value="go sessions as a tree"
            run={() => void navigate({ to: "/", search: { view: "tree" } })}
          >
            Sessions as a tree
          </Act>
          <Act
            icon="warning"
            value="go sessions in trouble failed"
            run={() =>
              void navigate({
                to: "/",
                search: { status: ["failed", "interrupted", "unreachable", "stop_unconfirmed"] },
              })
            }
          >
            Sessions in trouble
          </Act>
          <Act
            icon="attention"
            value="go attention inbox"
            keys="g a"
            run={() => void navigate({ to: "/attention" })}
          >
            Attention
          </Act>
          <Act
            icon="runners"
            value="go runners"
            keys="g r"
            run={() => void navigate({ to: "/runners" })}
          >
            Runners
          </Act>
          <Act
            icon="agents"
            value="go agents"
            keys="g e"
            run={() => void navigate({ to: "/agents" })}
          >
            Agents
          </Act>
          <Act
            icon="settings"
            value="go settings"
            keys="g ,"
            run={() => void navigate({ to: "/settings" })}
          >
            Settings
          </Act>
          <Act
            icon="code"
            value="go api reference"
            run={() => void navigate({ to: "/settings", search: { view: "api" } })}
          >
            API reference
          </Act>
        </Command.Group>
        <Command.Group heading="Do">
          <Act
            icon="plus"
            value="new session create start"
            keys="c"
            run={() => ask({ kind: "new" })}
          >
            New session
          </Act>
          {agents.map((agent) => (
            <Act
              key={agent.name}
              icon="agents"
              value={`run agent ${agent.name}`}
              run={() => ask({ kind: "new", prefill: { agent: agent.name } })}
            >
              Run {agent.name}
            </Act>
          ))}
          <Act icon="settings" value="theme light" run={() => chooseTheme("light")}>
            Light theme
          </Act>
          <Act icon="settings" value="theme dark" run={() => chooseTheme("dark")}>
            Dark theme
          </Act>
          <Act icon="settings" value="theme of the system" run={() => chooseTheme("system")}>
            Theme of the system
          </Act>
          <Act
            icon="keyboard"
            value="keys shortcuts help"
            keys="?"
            run={() => ask({ kind: "keys" })}
          >
            Keys
          </Act>
        </Command.Group>
      </Command.List>
    </Command.Dialog>
  );
}
