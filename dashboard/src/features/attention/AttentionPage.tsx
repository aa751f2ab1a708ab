// One inbox, always in the same order: what waits for me, what has failed, what is not
// proven, what is done and unseen, what works.
import { useInfiniteQuery, useQuery } from "@tanstack/react-query";
import { Link, useNavigate } from "@tanstack/react-router";
import { useMemo, useState } from "react";
import { approvalsQuery, flat, sessionsQuery } from "@/api/queries";
import type { Approval, Session, Status } from "@/api/types";
import { Ago, Empty, ErrorNote, Rows } from "@/ui/bits";
import { Button, IconButton } from "@/ui/button";
import { plural } from "@/ui/format";
import { useKeys } from "@/ui/keys";
import { Menu } from "@/ui/overlay";
import { StatusBadge } from "@/ui/status";
import { ask } from "../dialogs";
import { useTitle } from "../notify";
import { canAbandon } from "../rights";
import { PageHead } from "../Shell";
import { answerFirst } from "../session/approve";
import { Answers } from "../session/blocks/ApprovalBlock";
import { Json } from "../session/blocks/texts";
import { useActivity } from "../sessions/activity";
import { brief } from "../sessions/line";
import { sessionMenu } from "../sessions/menu";
import { nameOf, standingLine } from "../words";
import { see, useSeen } from "./seen";

interface Group {
  id: string;
  title: string;
  about: string;
  statuses: Status[];
  /** Only what was not seen since it happened. */
  unseen: boolean;
}

const GROUPS: readonly Group[] = [
  {
    id: "waiting",
    title: "Waiting for you",
    about: "nothing goes on until somebody answers",
    statuses: ["waiting"],
    unseen: false,
  },
  {
    id: "failed",
    title: "Failed",
    about: "until you have looked",
    statuses: ["failed", "interrupted"],
    unseen: true,
  },
  {
    id: "unproven",
    title: "Not proven",
    about: "an end that nothing proves, or a runner that is silent",
    statuses: ["stop_unconfirmed", "unreachable"],
    unseen: false,
  },
  {
    id: "done",
    title: "Done and unseen",
    about: "since you last looked",
    statuses: ["finished", "idle"],
    unseen: true,
  },
  {
    id: "working",
    title: "Working",
    about: "",
    statuses: ["queued", "starting", "running", "stopping"],
    unseen: false,
  },
];

/** How many of a group are shown at once. */
const MOST = 100;

function useGroup(group: Group) {
  return useInfiniteQuery({
    ...sessionsQuery({ status: group.statuses, sort: "active" }),
    select: flat,
  });
}

export function AttentionPage() {
  useTitle("Attention");
  const navigate = useNavigate();
  const seen = useSeen();
  const approvals = useQuery(approvalsQuery);
  const lists = [
    useGroup(GROUPS[0] as Group),
    useGroup(GROUPS[1] as Group),
    useGroup(GROUPS[2] as Group),
    useGroup(GROUPS[3] as Group),
    useGroup(GROUPS[4] as Group),
  ];
  const [cursor, setCursor] = useState(0);
  const bySession = useMemo(() => {
    const all = new Map<string, Approval[]>();
    for (const one of approvals.data?.items ?? []) {
      if (one.status !== "open") continue;
      all.set(one.session_id, [...(all.get(one.session_id) ?? []), one]);
    }
    return all;
  }, [approvals.data]);
  const groups = GROUPS.map((group, index) => {
    const all = lists[index]?.data ?? [];
    const items = group.unseen ? all.filter((one) => (seen[one.id] ?? 0) < one.last_seq) : all;
    return { ...group, items };
  });
  const rows = groups.flatMap((group) => group.items.slice(0, MOST));
  const at = rows[Math.min(cursor, rows.length - 1)];
  const broken = lists.find((list) => list.isError);
  const pending = lists.some((list) => list.isPending);
  const markSeen = (sessions: readonly Session[]) => {
    for (const one of sessions) see(one.id, one.last_seq);
  };
  useKeys({
    j: () => setCursor((i) => Math.min(rows.length - 1, i + 1)),
    k: () => setCursor((i) => Math.max(0, i - 1)),
    Enter: () => at !== undefined && void navigate({ to: "/sessions/$id", params: { id: at.id } }),
    a: () => at?.status === "waiting" && void answerFirst(at.id, "allow"),
    d: () => at?.status === "waiting" && void answerFirst(at.id, "deny"),
    e: () => at !== undefined && markSeen([at]),
    s: () => at !== undefined && ask({ kind: "stop", sessions: [at] }),
  });
  const count = groups.slice(0, 4).reduce((sum, group) => sum + group.items.length, 0);
  return (
    <>
      <PageHead
        title="Attention"
        about={pending ? "" : count === 0 ? "nothing needs you" : plural(count, "thing")}
      />
      <div className="min-h-0 flex-1 overflow-y-auto">
        {broken !== undefined ? (
          <div className="p-4">
            <ErrorNote error={broken.error} onRetry={() => void broken.refetch()} />
          </div>
        ) : null}
        {pending ? <Rows n={8} height={56} /> : null}
        {!pending && rows.length === 0 ? (
          <Empty icon="check" title="All quiet">
            Nothing waits for you, nothing has failed unseen, and nothing is working.
          </Empty>
        ) : null}
        {groups.map((group) =>
          group.items.length === 0 ? null : (
            <section key={group.id} aria-labelledby={`group-${group.id}`} data-group={group.id}>
              <header className="sticky top-0 z-10 flex h-9 items-center gap-2 border-b bg-canvas px-4">
                <h2 id={`group-${group.id}`} className="font-medium">
                  {group.title} <span className="text-faint tabular">{group.items.length}</span>
                </h2>
                <span className="min-w-0 truncate text-faint text-xs">{group.about}</span>
                {group.unseen ? (
                  <Button
                    small
                    look="ghost"
                    className="ml-auto"
                    onClick={() => markSeen(group.items)}
                  >
                    All seen
                  </Button>
                ) : null}
              </header>
              <ul>
                {group.items.slice(0, MOST).map((session) => {
                  return (
                    <Item
                      key={session.uid}
                      session={session}
                      asked={bySession.get(session.id) ?? []}
                      here={session === at}
                      unseen={group.unseen}
                      see={() => markSeen([session])}
                    />
                  );
                })}
              </ul>
              {group.items.length > MOST ? (
                <Link
                  to="/"
                  search={{ status: group.statuses }}
                  className="block border-b px-4 py-2 text-accent text-xs hover:underline"
                >
                  and {group.items.length - MOST} more
                </Link>
              ) : null}
            </section>
          ),
        )}
      </div>
    </>
  );
}

interface ItemProps {
  session: Session;
  asked: readonly Approval[];
  here: boolean;
  unseen: boolean;
  see: () => void;
}

function Item({ session, asked, here, unseen, see }: ItemProps) {
  const doing = useActivity(session) ?? standingLine(session);
  return (
    <li
      className={`relative border-b px-4 ${asked.length > 0 ? "py-2.5" : "py-1.5"} ${here ? "bg-hover" : ""}`}
      data-session={session.id}
    >
      {here ? (
        <span className="absolute inset-y-0 left-0 w-0.5 bg-accent" aria-hidden="true" />
      ) : null}
      <div className="flex flex-wrap items-center gap-x-3 gap-y-1">
        <span className="sm:w-36 sm:shrink-0">
          <StatusBadge status={session.status} reason={session.status_reason} />
        </span>
        <Link
          to="/sessions/$id"
          params={{ id: session.id }}
          className="min-w-0 truncate font-medium hover:underline max-sm:flex-1 sm:max-w-[45%]"
        >
          {nameOf(session)}
        </Link>
        <span className="text-faint text-xs max-sm:hidden">{session.agent.name}</span>
        <span className="min-w-0 flex-1 truncate text-dim max-sm:order-last max-sm:basis-full">
          {asked.length > 0 ? "" : doing}
        </span>
        <span className="text-faint text-xs">
          <Ago at={session.last_active_at} />
        </span>
        {canAbandon(session.status) ? (
          <Button small look="danger" onClick={() => ask({ kind: "abandon", session })}>
            Abandon
          </Button>
        ) : null}
        {unseen ? <IconButton icon="check" label="Seen" keys="e" onClick={see} /> : null}
        <Menu
          trigger={<IconButton icon="more" label={`Actions for ${nameOf(session)}`} />}
          items={sessionMenu(session)}
        />
      </div>
      {asked.map((one, index) => (
        <div
          key={one.id}
          className="mt-2 rounded-lg border border-violet/40 bg-panel px-3 py-2.5 sm:ml-39"
          data-approval={one.id}
        >
          <p className="font-medium">
            {one.title}
            {one.tool != null ? <span className="font-normal text-dim"> · {one.tool}</span> : null}
            {!one.title.includes(brief(one.input)) ? (
              <code className="ml-2 break-all font-mono font-normal text-dim text-xs">
                {brief(one.input)}
              </code>
            ) : null}
            <span className="font-normal text-faint">
              {" "}
              · asked <Ago at={one.requested_at} /> ago
            </span>
          </p>
          {one.input != null ? (
            <details className="mt-1">
              <summary className="text-dim text-xs">What it would be given</summary>
              <div className="mt-1">
                <Json value={one.input} />
              </div>
            </details>
          ) : null}
          <div className="mt-2">
            <Answers
              small
              keys={here && index === 0}
              session={session.id}
              id={one.id}
              data={one as unknown as Record<string, unknown>}
            />
          </div>
        </div>
      ))}
    </li>
  );
}
