// The words of the API, named once. The shapes come from the coordinator's own description.
import type { components } from "./schema";

type Schemas = components["schemas"];

export type Session = Schemas["Session"];
export type Status = Schemas["Status"];
export type Run = Schemas["Run"];
export type RunStatus = Schemas["RunStatus"];
export type AcceptedRun = Schemas["AcceptedRun"];
export type Receipt = Schemas["Receipt"];
export type Step = Schemas["Step"];
export type Approval = Schemas["Approval"];
export type AskOption = Schemas["AskOption"];
export type Agent = Schemas["Agent"];
export type AgentRef = Schemas["AgentRef"];
export type Runner = Schemas["Runner"];
export type Token = Schemas["Token"];
export type NewToken = Schemas["NewToken"];
export type Role = Schemas["Role"];
export type FileInfo = Schemas["FileInfo"];
export type Limits = Schemas["Limits"];
export type Usage = Schemas["Usage"];
export type StopReply = Schemas["StopReply"];
export type StopRequest = Schemas["StopRequest"];
export type CreateSession = Schemas["CreateSession"];
/** Body of a prompt: one of `prompt` and `input`. */
export interface CreateRun {
  prompt?: string;
  input?: unknown;
  mode?: "enqueue" | "interrupt" | "reject" | "steer";
  callback?: boolean;
  resume?: boolean;
  first?: boolean;
}
export type PatchSession = Schemas["PatchSession"];
export type AnswerRequest = Schemas["AnswerRequest"];
export type Policy = Schemas["Policy"];
export type SessionPolicy = Schemas["SessionPolicy"];
export type AgentVersion = Schemas["AgentVersion"];
export type ReceiptAt = Schemas["ReceiptAt"];
export type ReviseRun = Schemas["ReviseRun"];
export type Seen = Schemas["Seen"];
/** Who is signed in. */
export type SignedIn = Schemas["Login"];
export type AgentPolicy = Schemas["AgentPolicy"];
export type Health = Schemas["Health"];
export type ProblemBody = Schemas["Problem"];

export interface List<T> {
  items: T[];
  next_cursor?: string | null;
}

/** One entry of a session's log. */
export interface LogEvent {
  seq: number;
  at: string;
  run: string | null;
  type: string;
  // What an entry says depends on its type, and newer coordinators say more.
  data: Record<string, unknown>;
}

export const STATUSES: readonly Status[] = [
  "new",
  "queued",
  "starting",
  "running",
  "waiting",
  "idle",
  "stopping",
  "stopped",
  "finished",
  "failed",
  "interrupted",
  "unreachable",
  "stop_unconfirmed",
  "deleting",
];
