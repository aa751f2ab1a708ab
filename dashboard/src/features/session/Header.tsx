import { useQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import { useState } from "react";
import { patchSession, perform } from "@/api/actions";
import { agentsQuery } from "@/api/queries";
import type { Runner, Session } from "@/api/types";
import { put } from "@/live/cache";
import { Ago, Id } from "@/ui/bits";
import { Button, IconButton, Tip } from "@/ui/button";
import { cost, count, plural } from "@/ui/format";
import { Icon } from "@/ui/icons";
import { Menu } from "@/ui/overlay";
import { StatusBadge } from "@/ui/status";
import { complain } from "@/ui/toast";
import { ask } from "../dialogs";
import { canAbandon, canResume, canStop, canStopAgain, useMe } from "../rights";
import { resume, sessionMenu } from "../sessions/menu";
import { receiptLine, standingLine } from "../words";
import type { SessionView } from "./view";

interface Props {
  view: SessionView;
  session: Session;
  details: boolean;
  toggleDetails: () => void;
  /** Where there is no room for them beside the session. */
  openDetails: () => void;
  runner: Runner | undefined;
}

export function Header({ view, session, details, toggleDetails, openDetails, runner }: Props) {
  const me = useMe();
  const agent = useQuery(agentsQuery).data?.items.find((one) => one.name === session.agent.name);
  const drift = agent !== undefined && agent.digest !== session.agent.digest;
  const past = view.seq !== null;
  const { status, receipt } = session;
  const evidence =
    receipt != null &&
    (status === "stopped" ||
      status === "finished" ||
      status === "failed" ||
      status === "interrupted");
  const { input_tokens, output_tokens, cost_usd } = session.usage;
  const may = !past && me.uses;
  return (
    <header className="flex flex-col gap-1.5 border-b px-4 py-2.5">
      <div className="flex flex-wrap items-center gap-x-3 gap-y-1.5">
        <Link to="/" className="text-faint hover:text-ink" aria-label="All sessions">
          <Icon name="right" className="rotate-180" />
        </Link>
        <Title session={session} editable={may} />
        <span
          data-part="status"
          aria-live="polite"
          className="max-sm:order-last max-sm:basis-full max-sm:pl-7"
        >
          <StatusBadge status={status} reason={session.status_reason} large />
        </span>
        <div className="ml-auto flex items-center gap-1.5">
          {may && canStop(status) ? (
            <Button
              look="stop"
              icon="stop"
              keys="s"
              onClick={() => ask({ kind: "stop", sessions: [session] })}
            >
              Stop
            </Button>
          ) : null}
          {may && canStopAgain(status) ? (
            <Button
              look="stop"
              icon="refresh"
              onClick={() => ask({ kind: "stop", sessions: [session] })}
            >
              Try again
            </Button>
          ) : null}
          {may && canResume(session) ? (
            <Button icon="play" keys="r" onClick={() => void resume(session)}>
              Resume
            </Button>
          ) : null}
          {!past && me.operates && canAbandon(status) ? (
            <Tip text="Closes its compute by your word, without proof">
              <Button
                look="danger"
                icon="warning"
                onClick={() => ask({ kind: "abandon", session })}
              >
                Abandon
              </Button>
            </Tip>
          ) : null}
          {past ? null : (
            <Menu trigger={<IconButton icon="more" label="More" />} items={sessionMenu(session)} />
          )}
          <span className="xl:hidden">
            <IconButton icon="sessions" label="Details" onClick={openDetails} />
          </span>
          <span className="hidden xl:inline">
            <IconButton
              icon="sessions"
              label={details ? "Hide details" : "Show details"}
              keys="i"
              aria-pressed={details}
              onClick={toggleDetails}
            />
          </span>
        </div>
      </div>
      <div className="flex flex-wrap items-center gap-x-3.5 gap-y-1 pl-7 text-dim text-xs">
        <Id id={session.id} />
        <span className="flex items-center gap-1">
          <Icon name="agents" size={13} className="text-faint" />
          <Link
            to="/agents/$name"
            params={{ name: session.agent.name }}
            className="hover:text-ink hover:underline"
          >
            {session.agent.name} v{session.agent.version}
          </Link>
          {drift && agent !== undefined ? (
            <Tip
              text={`Its source says version ${agent.version} by now. ${session.agent_policy === "pin" ? "This session keeps what it has." : session.agent_policy === "ask" ? "Its next run waits for you to choose." : "Its next run takes that."}`}
            >
              <span
                tabIndex={0}
                className="rounded border border-amber/50 px-1 text-2xs text-amber"
              >
                v{agent.version} is out
              </span>
            </Tip>
          ) : null}
        </span>
        {session.runner_id != null ? (
          <span className="flex items-center gap-1">
            <Icon name="runners" size={13} className="text-faint" />
            {runner?.name ?? session.runner_id.slice(0, 8)}
          </span>
        ) : null}
        {session.epoch > 0 ? (
          <span className="max-sm:hidden" title="Computes are numbered">
            compute {session.epoch}
          </span>
        ) : null}
        {session.run_id != null ? (
          <span className="flex items-center gap-1 max-sm:hidden">
            run <Id id={session.run_id} short /> {session.run_status}
          </span>
        ) : null}
        {input_tokens + output_tokens > 0 ? (
          <span className="tabular" title={`${input_tokens} tokens read, ${output_tokens} written`}>
            {count(input_tokens + output_tokens)} tokens{cost_usd > 0 ? `, ${cost(cost_usd)}` : ""}
          </span>
        ) : null}
        {session.hold ? (
          <span
            className="rounded border border-line-strong px-1"
            title="Nothing starts until you resume, or prompt again"
          >
            held
            {session.pending.runs > 0 ? `, ${plural(session.pending.runs, "prompt")} waiting` : ""}
          </span>
        ) : null}
        {session.parent_id != null ? (
          <Link
            to="/sessions/$id"
            params={{ id: session.parent_id }}
            className="flex items-center gap-1 hover:underline"
          >
            <Icon name="tree" size={13} className="text-faint" /> of {session.parent_id}
          </Link>
        ) : null}
        <span>
          active <Ago at={session.last_active_at} />
        </span>
        {evidence && receipt != null ? (
          <span data-part="receipt-line" className="flex items-center gap-1 text-ink">
            <Icon name="receipt" size={13} className="text-faint" />
            {receiptLine(receipt)}
          </span>
        ) : (
          <span>{standingLine(session)}</span>
        )}
      </div>
    </header>
  );
}

function Title({ session, editable }: { session: Session; editable: boolean }) {
  const [text, setText] = useState<string | null>(null);
  const save = async () => {
    const title = text?.trim() ?? "";
    setText(null);
    if (title === (session.title ?? "")) return;
    try {
      put(await perform(patchSession(session.id, { title })));
    } catch (error) {
      complain(error, "The title stays as it was");
    }
  };
  if (text !== null) {
    return (
      <input
        // biome-ignore lint/a11y/noAutofocus: it was asked for with a click
        autoFocus
        aria-label="Title"
        className="field max-w-96 font-semibold"
        value={text}
        maxLength={500}
        onChange={(event) => setText(event.target.value)}
        onBlur={() => void save()}
        onKeyDown={(event) => {
          if (event.key === "Enter") void save();
          if (event.key === "Escape") setText(null);
        }}
      />
    );
  }
  return (
    <h1 className="min-w-0 truncate font-semibold text-base max-sm:flex-1">
      {editable ? (
        <button
          type="button"
          title="Change the title"
          className="max-w-full truncate rounded hover:bg-hover"
          onClick={() => setText(session.title ?? "")}
        >
          {session.title ?? session.id}
        </button>
      ) : (
        (session.title ?? session.id)
      )}
    </h1>
  );
}
