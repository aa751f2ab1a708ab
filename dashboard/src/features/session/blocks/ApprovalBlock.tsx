import { useState } from "react";
import { answerApproval } from "@/api/actions";
import type { AnswerRequest, AskOption } from "@/api/types";
import type { AskDetail } from "@/fold/types";
import { AsCommand } from "@/ui/bits";
import { Button } from "@/ui/button";
import { Icon } from "@/ui/icons";
import { useMe } from "../../rights";
import { SchemaForm } from "../../sessions/SchemaForm";
import { type Document, faults, initial, type Schema } from "../../sessions/schema";
import { answer } from "../approve";
import { Json } from "./texts";

interface Props {
  session: string;
  ask: AskDetail;
  past: boolean;
}

/** What an agent asks, answered where it stands. */
export function ApprovalBlock({ session, ask, past }: Props) {
  const open = ask.state === "open";
  return (
    <div
      className={`my-1 rounded-xl border px-3.5 py-3 ${open ? "border-violet/50 bg-violet/7" : "bg-panel"}`}
      data-approval={ask.id}
      data-state={ask.state}
    >
      <div className="flex items-start gap-2.5">
        <Icon name="question" className={`mt-0.5 ${open ? "text-violet" : "text-faint"}`} />
        <div className="min-w-0 flex-1">
          <p className="font-medium">{String(ask.data.title)}</p>
          {typeof ask.data.tool === "string" ? (
            <p className="text-dim text-xs">wants to use {ask.data.tool}</p>
          ) : null}
          {ask.data.input != null ? (
            <div className="mt-1.5">
              <Json value={ask.data.input} />
            </div>
          ) : null}
          <div className="mt-2.5">
            {open ? (
              past ? (
                <p className="text-dim text-xs">It was open at this moment.</p>
              ) : (
                <Answers session={session} id={ask.id} data={ask.data} />
              )
            ) : (
              <Outcome ask={ask} />
            )}
          </div>
        </div>
      </div>
    </div>
  );
}

function Outcome({ ask }: { ask: AskDetail }) {
  if (ask.state === "withdrawn" && ask.answer === null)
    return <p className="text-dim text-xs">No answer is needed any more.</p>;
  const allowed = ask.answer?.decision === "allow";
  return (
    <p className={`flex items-center gap-1.5 text-xs ${allowed ? "text-green" : "text-red"}`}>
      <Icon name={allowed ? "check" : "close"} size={13} />
      {allowed ? "Allowed" : "Denied"} by {ask.answer?.by}
      {ask.answer?.reason != null ? <span className="text-dim">: {ask.answer.reason}</span> : null}
      {ask.state === "answered" ? (
        <span className="text-dim">; on its way to the agent</span>
      ) : null}
    </p>
  );
}

interface AnswersProps {
  session: string;
  id: string;
  data: Record<string, unknown>;
  small?: boolean;
  /** Whether the keys act on these. */
  keys?: boolean;
}

const KEYS: Readonly<Record<string, string>> = { allow_once: "a", reject_once: "d" };

/** The ways to answer: the agent's own options where it offers some. */
export function Answers({ session, id, data, small, keys = true }: AnswersProps) {
  const me = useMe();
  const [busy, setBusy] = useState(false);
  const [why, setWhy] = useState<string | null>(null);
  const schema = data.kind === "form" ? ((data.schema ?? {}) as Schema) : null;
  const [document, setDocument] = useState<Document>(() =>
    schema === null ? {} : ((initial(schema) ?? {}) as Document),
  );
  const [tried, setTried] = useState(false);
  const options = Array.isArray(data.options) ? (data.options as AskOption[]) : [];
  const found = schema === null ? {} : faults(schema, document);
  const url = typeof data.url === "string" && /^https?:/.test(data.url) ? data.url : null;

  const give = async (body: AnswerRequest) => {
    setTried(true);
    if (body.decision === "allow" && Object.keys(found).length > 0) return;
    setBusy(true);
    await answer(session, id, {
      ...body,
      ...(schema !== null && body.decision === "allow" ? { content: document } : {}),
      ...(why !== null && why.trim() !== "" ? { reason: why.trim() } : {}),
    });
    setBusy(false);
  };
  if (!me.operates) return <p className="text-dim text-xs">Your role may look, and not answer.</p>;
  return (
    <div className="flex flex-col gap-2.5">
      {schema !== null ? (
        <SchemaForm
          schema={schema}
          value={document}
          change={setDocument}
          faults={tried ? found : {}}
        />
      ) : null}
      {url !== null ? (
        <a
          href={url}
          target="_blank"
          rel="noreferrer noopener"
          className="flex items-center gap-1.5 self-start text-accent underline"
        >
          <Icon name="out" size={14} /> {new URL(url).host}
        </a>
      ) : null}
      <div className="flex flex-wrap items-center gap-2">
        {options.length === 0 ? (
          <>
            <Button
              small={small === true}
              look="primary"
              icon="check"
              {...(keys ? { keys: "a" } : {})}
              busy={busy}
              onClick={() => void give({ decision: "allow" })}
            >
              {schema !== null ? "Send" : url !== null ? "Done" : "Allow"}
            </Button>
            <Button
              small={small === true}
              look="danger"
              icon="close"
              {...(keys ? { keys: "d" } : {})}
              busy={busy}
              onClick={() => void give({ decision: "deny" })}
            >
              Deny
            </Button>
          </>
        ) : (
          options.map((option) => {
            const allows = option.kind.startsWith("allow");
            return (
              <Button
                key={option.id}
                small={small === true}
                look={allows ? (option.kind === "allow_once" ? "primary" : "plain") : "danger"}
                busy={busy}
                {...(keys && option.kind in KEYS ? { keys: KEYS[option.kind] ?? "" } : {})}
                onClick={() =>
                  void give({ decision: allows ? "allow" : "deny", option: option.id })
                }
              >
                {option.name}
              </Button>
            );
          })
        )}
        {why === null ? (
          <Button small look="ghost" onClick={() => setWhy("")}>
            With a reason
          </Button>
        ) : (
          <input
            // biome-ignore lint/a11y/noAutofocus: it was asked for with a click
            autoFocus
            aria-label="Reason; the agent is told"
            placeholder="Reason; the agent is told"
            className="field max-w-72"
            value={why}
            onChange={(event) => setWhy(event.target.value)}
          />
        )}
        <span className="ml-auto">
          <AsCommand small action={answerApproval(session, id, { decision: "allow" })} />
        </span>
      </div>
    </div>
  );
}
