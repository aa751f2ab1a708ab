// Everything that changes something, each said three ways at once: the request this page
// sends, the same as a curl line, and the same on the command line. What is shown to be
// copied is built from what is sent, so the two cannot differ.
import { randomId } from "@/ui/random";
import { send, url } from "./client";
import type {
  AcceptedRun,
  Agent,
  AnswerRequest,
  Approval,
  CreateRun,
  CreateSession,
  Limits,
  List,
  NewToken,
  PatchSession,
  ReviseRun,
  Role,
  Run,
  Runner,
  Session,
  StopReply,
  StopRequest,
} from "./types";

export interface Action<T> {
  /** In words, for menus and messages. */
  name: string;
  method: "POST" | "PUT" | "PATCH" | "DELETE";
  path: string;
  body?: unknown;
  /** The line for a shell; absent where the command line has no such verb. */
  cli?: string;
  /** Makes a repetition answer the same. */
  once?: boolean;
  /** Only for the type. */
  readonly answer?: T;
}

/** A word of a shell line. */
export function quoted(word: string): string {
  if (/^[A-Za-z0-9_@%+=:,./-]+$/.test(word)) return word;
  return `'${word.replaceAll("'", `'\\''`)}'`;
}

const line = (...words: (string | false | undefined)[]): string =>
  words.filter((word): word is string => typeof word === "string" && word !== "").join(" ");

export function curl(action: Action<unknown>, origin: string): string {
  const parts = ["curl"];
  if (action.method !== "POST" || action.body === undefined) parts.push(`-X ${action.method}`);
  parts.push(`-H "Authorization: Bearer $GREENROOM_TOKEN"`);
  if (action.body !== undefined) {
    parts.push("-H 'content-type: application/json'", `-d ${quoted(JSON.stringify(action.body))}`);
  }
  parts.push(quoted(`${origin}${action.path}`));
  return parts.join(" ");
}

export async function perform<T>(action: Action<T>): Promise<T> {
  const headers: Record<string, string> = {};
  if (action.once === true) headers["idempotency-key"] = randomId();
  const response = await send(action.path, {
    method: action.method,
    headers,
    ...(action.body === undefined ? {} : { body: action.body }),
  });
  const kind = response.headers.get("content-type") ?? "";
  return (kind.includes("json") ? await response.json() : undefined) as T;
}

/** A span of time as the command line takes it. */
function span(ms: number): string {
  for (const [unit, length] of [
    ["d", 86_400_000],
    ["h", 3_600_000],
    ["m", 60_000],
    ["s", 1000],
  ] as const) {
    if (ms >= length && ms % length === 0) return `${ms / length}${unit}`;
  }
  return `${ms}ms`;
}

function limitFlags(limits: Limits | null | undefined): string[] {
  return Object.entries(limits ?? {}).flatMap(([name, value]) => {
    if (typeof value !== "number") return [];
    const what = name.replace(/_(ms|bytes)$/, "");
    return [`--limit ${what}=${name.endsWith("_ms") ? span(value) : value}`];
  });
}

export function createSession(body: CreateSession): Action<Session & { run_id?: string }> {
  const labels = Object.entries(body.labels ?? {});
  return {
    name: "New session",
    method: "POST",
    path: "/v1/sessions",
    body,
    once: true,
    cli: line(
      "greenroom sessions create",
      quoted(body.agent),
      body.prompt ? quoted(body.prompt) : undefined,
      body.input !== undefined &&
        body.input !== null &&
        `--input ${quoted(JSON.stringify(body.input))}`,
      body.id ? `--id ${quoted(body.id)}` : undefined,
      body.title ? `--title ${quoted(body.title)}` : undefined,
      ...labels.map(([key, value]) => `--label ${quoted(`${key}=${value}`)}`),
      ...limitFlags(body.limits),
      body.shared === true && "--shared",
      body.agent_policy ? `--agent-policy ${body.agent_policy}` : undefined,
      body.parent ? `--parent ${quoted(body.parent)}` : undefined,
    ),
  };
}

export function stopSession(id: string, body: StopRequest = {}): Action<StopReply> {
  return {
    name: "Stop",
    method: "POST",
    path: url(["v1", "sessions", id, "stop"]),
    body,
    cli: line(
      "greenroom sessions stop",
      quoted(id),
      typeof body.grace_ms === "number" && `--grace ${span(body.grace_ms)}`,
      body.reason ? `--reason ${quoted(body.reason)}` : undefined,
      body.discard_queue === true && "--discard-queue",
      body.tree === true && "--tree",
    ),
  };
}

export function resumeSession(id: string): Action<Session> {
  return {
    name: "Resume",
    method: "POST",
    path: url(["v1", "sessions", id, "resume"]),
    cli: line("greenroom sessions resume", quoted(id)),
  };
}

export function abandonSession(id: string, reason: string): Action<Session> {
  return {
    name: "Abandon",
    method: "POST",
    path: url(["v1", "sessions", id, "abandon"]),
    body: { reason },
    cli: line("greenroom sessions abandon", quoted(id), `--reason ${quoted(reason)}`),
  };
}

export function deleteSession(id: string): Action<undefined> {
  return {
    name: "Delete",
    method: "DELETE",
    path: url(["v1", "sessions", id], { wait: "0s" }),
    cli: line("greenroom sessions delete", quoted(id)),
  };
}

export function patchSession(id: string, body: PatchSession): Action<Session> {
  return { name: "Change", method: "PATCH", path: url(["v1", "sessions", id]), body };
}

export function sendPrompt(id: string, body: CreateRun): Action<AcceptedRun> {
  return {
    name: "Send",
    method: "POST",
    path: url(["v1", "sessions", id, "runs"]),
    body,
    once: true,
    cli: line(
      "greenroom sessions send",
      quoted(id),
      body.prompt ? quoted(body.prompt) : undefined,
      body.input !== undefined &&
        body.input !== null &&
        `--input ${quoted(JSON.stringify(body.input))}`,
      body.mode && body.mode !== "enqueue" && `--mode ${body.mode}`,
      body.resume === true && "--resume",
      body.first === true && "--first",
    ),
  };
}

export function stopRun(run: string): Action<Run> {
  return {
    name: "Stop this run",
    method: "POST",
    path: url(["v1", "runs", run, "stop"]),
    cli: line("greenroom runs stop", run),
  };
}

export function withdrawRun(run: string): Action<Run> {
  return {
    name: "Withdraw",
    method: "POST",
    path: url(["v1", "runs", run, "withdraw"]),
    cli: line("greenroom runs withdraw", run),
  };
}

export function patchRun(run: string, body: ReviseRun): Action<Run> {
  return { name: "Change", method: "PATCH", path: url(["v1", "runs", run]), body };
}

export function answerApproval(
  session: string,
  approval: string,
  body: AnswerRequest,
): Action<Approval> {
  const verb = body.decision === "allow" ? "allow" : "deny";
  return {
    name: body.decision === "allow" ? "Allow" : "Deny",
    method: "POST",
    path: url(["v1", "sessions", session, "approvals", approval]),
    body,
    cli: line(
      `greenroom approvals ${verb}`,
      approval,
      body.option ? `--option ${quoted(body.option)}` : undefined,
      body.reason ? `--reason ${quoted(body.reason)}` : undefined,
      body.always === true && "--always",
      body.content !== undefined &&
        body.content !== null &&
        `--content ${quoted(JSON.stringify(body.content))}`,
    ),
  };
}

export function drainRunner(runner: Runner, lift: boolean): Action<Runner> {
  return {
    name: lift ? "Lift drain" : "Drain",
    method: "POST",
    path: url(["v1", "runners", runner.id, "drain"], lift ? { lift: true } : {}),
    ...(lift ? {} : { cli: line("greenroom runners drain", quoted(runner.name)) }),
  };
}

export function removeRunner(runner: Runner, force: boolean): Action<undefined> {
  return {
    name: "Remove runner",
    method: "DELETE",
    path: url(["v1", "runners", runner.id], force ? { force: true } : {}),
    cli: line("greenroom runners rm", quoted(runner.name), force && "--force"),
  };
}

export function addSource(source: string): Action<List<Agent>> {
  return {
    name: "Add source",
    method: "POST",
    path: "/v1/agents",
    body: { source },
    cli: line("greenroom agents add", quoted(source)),
  };
}

export function removeAgent(name: string): Action<undefined> {
  return {
    name: "Take out of service",
    method: "DELETE",
    path: url(["v1", "agents", name]),
    cli: line("greenroom agents rm", quoted(name)),
  };
}

export function createToken(role: Role, principal: string | undefined): Action<NewToken> {
  return {
    name: "New token",
    method: "POST",
    path: "/v1/tokens",
    body: principal ? { role, principal } : { role },
    cli: line(
      "greenroom token create",
      `--role ${role}`,
      principal && `--principal ${quoted(principal)}`,
    ),
  };
}

export function revokeToken(id: string): Action<undefined> {
  return {
    name: "Revoke",
    method: "DELETE",
    path: url(["v1", "tokens", id]),
    cli: line("greenroom token revoke", id),
  };
}

export function makeFolder(id: string, path: string): Action<unknown> {
  return {
    name: "New folder",
    method: "POST",
    path: url(["v1", "sessions", id, "files", "mkdir"]),
    body: { path },
    cli: line("greenroom sessions files mkdir", quoted(id), quoted(path)),
  };
}

export function deleteFile(id: string, path: string, recursive: boolean): Action<undefined> {
  return {
    name: "Delete file",
    method: "DELETE",
    path: url(
      ["v1", "sessions", id, "files", "content", ...path.split("/")],
      recursive ? { recursive: true } : {},
    ),
    cli: line("greenroom sessions files rm", quoted(id), quoted(path), recursive && "--recursive"),
  };
}
