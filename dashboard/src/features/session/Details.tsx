import { useInfiniteQuery } from "@tanstack/react-query";
import { Link } from "@tanstack/react-router";
import type { ReactNode } from "react";
import { flat, sessionsQuery } from "@/api/queries";
import type { Runner, Session } from "@/api/types";
import type { PageState } from "@/fold/types";
import { Ago, Id, Label, Meter, SourceName, useNow } from "@/ui/bits";
import { bytes, cost, exact, grouped, plural, span } from "@/ui/format";
import { StatusMark, statusLabel } from "@/ui/status";
import { nameOf } from "../words";

interface Props {
  session: Session;
  page: PageState | null;
  runner: Runner | undefined;
}

/** What it lays over its agent's policy, in a line. */
function approvalsOf({ approvals }: Session): string {
  if (approvals == null) return "";
  const { mode, headless, allow, ask, deny } = approvals;
  const rules = (word: string, all: readonly unknown[] | undefined) =>
    all === undefined || all.length === 0 ? "" : `${word} ${plural(all.length, "rule")}`;
  return [
    mode ?? "",
    headless === true ? "nobody is there" : "",
    rules("deny", deny),
    rules("ask", ask),
    rules("allow", allow),
  ]
    .filter((one) => one !== "")
    .join(", ");
}

const POLICY = {
  follow: "takes what its source says",
  pin: "keeps this description",
  ask: "waits for a person",
} as const;

export function Details({ session, page, runner }: Props) {
  const labels = Object.entries(session.labels);
  const { input_tokens, output_tokens, cost_usd } = session.usage;
  return (
    <div className="flex flex-col divide-y text-xs">
      <Part title="Agent">
        <Row name="name">
          <Link
            to="/agents/$name"
            params={{ name: session.agent.name }}
            className="hover:underline"
          >
            {session.agent.name}
          </Link>
        </Row>
        <Row name="version">v{session.agent.version}</Row>
        <Row name="source">
          <SourceName source={session.agent.source} />
        </Row>
        <Row name="digest">
          <Id id={session.agent.digest} short />
        </Row>
        <Row name="next run">{POLICY[session.agent_policy ?? "follow"]}</Row>
        {approvalsOf(session) !== "" ? <Row name="approvals">{approvalsOf(session)}</Row> : null}
      </Part>
      <Part title="Limits">
        <LimitMeters session={session} page={page} />
      </Part>
      <Part title="Used">
        {input_tokens + output_tokens > 0 ? (
          <>
            <Row name="tokens in">{grouped(input_tokens)}</Row>
            <Row name="tokens out">{grouped(output_tokens)}</Row>
          </>
        ) : (
          <Row name="tokens">none that its agent told of</Row>
        )}
        {cost_usd > 0 ? <Row name="cost">{cost(cost_usd)}</Row> : null}
        <Row name="events">{grouped(session.last_seq)}</Row>
      </Part>
      <Part title="Place">
        <Row name="runner">{runner === undefined ? "none yet" : runner.name}</Row>
        {runner !== undefined ? <Row name="isolation">{runner.isolation}</Row> : null}
        <Row name="compute">
          {session.epoch === 0
            ? "none yet"
            : `${session.epoch}${session.wanted != null ? `, wanted ${session.wanted}` : ", closed"}`}
        </Row>
        <Row name="owner">
          {session.owner}
          {session.shared ? ", shared" : ""}
        </Row>
      </Part>
      {labels.length > 0 ? (
        <Part title="Labels">
          <div className="flex flex-wrap gap-1">
            {labels.map(([name, value]) => (
              <Link key={name} to="/" search={{ label: [`${name}=${value}`] }}>
                <Label name={name} value={value} />
              </Link>
            ))}
          </div>
        </Part>
      ) : null}
      <Family session={session} />
      <Part title="Times">
        <Row name="created">
          <span title={exact(session.created_at)}>
            <Ago at={session.created_at} />
          </span>
        </Row>
        <Row name="last active">
          <Ago at={session.last_active_at} />
        </Row>
        {session.expires_at != null ? <Row name="expires">{exact(session.expires_at)}</Row> : null}
      </Part>
    </div>
  );
}

export function Part({ title, children }: { title: string; children: ReactNode }) {
  return (
    <section className="px-4 py-3">
      <h2 className="mb-1.5 font-medium text-faint text-xs">{title}</h2>
      <div className="flex flex-col gap-1.5">{children}</div>
    </section>
  );
}

export function Row({ name, children }: { name: string; children: ReactNode }) {
  return (
    <div className="flex gap-3">
      <span className="w-20 shrink-0 text-dim">{name}</span>
      <span className="min-w-0 flex-1 break-words tabular">{children}</span>
    </div>
  );
}

function LimitMeters({ session, page }: { session: Session; page: PageState | null }) {
  const now = useNow();
  const { limits } = session;
  const running = page === null || session.run_id == null ? null : page.runs.get(session.run_id);
  const began = running?.started_at;
  const counts = session.status === "running" && began != null;
  const spent = counts ? now - Date.parse(began) : null;
  const idle = session.status === "idle" ? now - Date.parse(session.last_active_at) : null;
  const rest: [string, string][] = [];
  if (limits.memory_bytes != null) rest.push(["memory", bytes(limits.memory_bytes)]);
  if (limits.pids != null) rest.push(["processes", grouped(limits.pids)]);
  if (limits.unused_ms != null) rest.push(["unused", span(limits.unused_ms)]);
  rest.push(["start", span(limits.start_ms ?? 60_000)]);
  rest.push(["output a run", bytes(limits.output_bytes ?? 64 * 1024 * 1024)]);
  // With both limits, it says when the earlier of the two ends.
  const expires = limits.unused_ms == null ? session.expires_at : null;
  return (
    <>
      {limits.run_ms != null ? (
        <Limit name="a run" used={spent} of={limits.run_ms} />
      ) : (
        <Row name="a run">no limit</Row>
      )}
      {limits.idle_ms != null ? (
        <Limit name="idle" used={idle} of={limits.idle_ms} />
      ) : (
        <Row name="idle">no limit</Row>
      )}
      {limits.ttl_ms != null ? (
        <Limit
          name="lives for"
          used={expires == null ? null : Math.max(0, limits.ttl_ms - (Date.parse(expires) - now))}
          of={limits.ttl_ms}
        />
      ) : null}
      {rest.map(([name, value]) => (
        <Row key={name} name={name}>
          {value}
        </Row>
      ))}
    </>
  );
}

/** A limit of time: how much of it is gone, while it counts. */
function Limit({ name, used, of }: { name: string; used: number | null; of: number }) {
  if (used === null) return <Row name={name}>{span(of)}</Row>;
  return <Meter label={name} used={used} of={of} text={`${span(used)} of ${span(of)}`} />;
}

function Family({ session }: { session: Session }) {
  const children = useInfiniteQuery(sessionsQuery({ parent: session.id }));
  const all = flat(children.data);
  if (session.parent_id == null && all.length === 0) return null;
  return (
    <Part title="Family">
      {session.parent_id != null ? (
        <Row name="parent">
          <Link to="/sessions/$id" params={{ id: session.parent_id }} className="hover:underline">
            {session.parent_id}
          </Link>
        </Row>
      ) : null}
      {all.slice(0, 30).map((child) => (
        <Link
          key={child.id}
          to="/sessions/$id"
          params={{ id: child.id }}
          className="flex items-center gap-2 hover:underline"
        >
          <StatusMark status={child.status} size={10} />
          <span className="sr-only">{statusLabel(child.status)}</span>
          <span className="min-w-0 truncate">{nameOf(child)}</span>
          <span className="ml-auto text-faint">{child.agent.name}</span>
        </Link>
      ))}
      {all.length > 30 ? <span className="text-faint">and {all.length - 30} more</span> : null}
    </Part>
  );
}
