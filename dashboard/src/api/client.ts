// One place for every request: where it goes, who asks, and what an error says.
import type { ProblemBody } from "./types";

/** What went wrong, in the coordinator's words where it had any. */
export class Problem extends Error {
  readonly status: number;
  readonly code: string;
  readonly hint: string | undefined;
  readonly path: string | undefined;
  readonly candidates: ProblemBody["candidates"];

  constructor(body: Partial<ProblemBody> & { detail: string }) {
    super(body.detail);
    this.name = "Problem";
    this.status = body.status ?? 0;
    this.code = body.code ?? "unknown";
    this.hint = body.hint ?? undefined;
    this.path = body.path ?? undefined;
    this.candidates = body.candidates ?? [];
  }
}

export function problemOf(error: unknown): Problem {
  if (error instanceof Problem) return error;
  const detail = error instanceof Error ? error.message : String(error);
  return new Problem({ code: "page_error", detail });
}

type SignedOut = () => void;
let onSignedOut: SignedOut = () => {};

export function whenSignedOut(then: SignedOut): void {
  onSignedOut = then;
}

interface Request {
  method?: string;
  body?: unknown;
  raw?: BodyInit;
  headers?: Record<string, string>;
  signal?: AbortSignal | undefined;
  /** A 401 is an answer here, and no reason to sign in. */
  quiet?: boolean;
}

/** Sends a request and gives back the response, or throws what the coordinator says. */
export async function send(path: string, request: Request = {}): Promise<Response> {
  const method = request.method ?? "GET";
  const headers: Record<string, string> = { accept: "application/json", ...request.headers };
  let body = request.raw;
  if (request.body !== undefined) {
    headers["content-type"] = "application/json";
    body = JSON.stringify(request.body);
  }
  let response: Response;
  try {
    response = await fetch(path, {
      method,
      headers,
      credentials: "same-origin",
      ...(body === undefined ? {} : { body }),
      ...(request.signal === undefined ? {} : { signal: request.signal }),
    });
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    throw new Problem({
      code: "no_connection",
      detail: "the coordinator does not answer",
      hint: "is it running? This page tries again by itself",
    });
  }
  if (response.ok) return response;
  const problem = await readProblem(response);
  if (response.status === 401 && request.quiet !== true) onSignedOut();
  throw problem;
}

async function readProblem(response: Response): Promise<Problem> {
  const kind = response.headers.get("content-type") ?? "";
  if (kind.includes("json")) {
    try {
      const body = (await response.json()) as ProblemBody;
      if (typeof body.detail === "string") return new Problem(body);
    } catch {
      // Not what it says it is; the status has to do.
    }
  }
  const { status } = response;
  if (status === 502 || status === 504) {
    return new Problem({
      status,
      code: "no_connection",
      detail: "the coordinator does not answer",
    });
  }
  const detail = `the coordinator answered ${status} ${response.statusText}`.trim();
  return new Problem({ status, code: "unknown", detail });
}

export async function get<T>(path: string, request: Request = {}): Promise<T> {
  return (await (await send(path, request)).json()) as T;
}

/** A path of the API with its parts encoded. */
export function url(parts: readonly string[], query: Record<string, QueryValue> = {}): string {
  const path = `/${parts.map(encodeURIComponent).join("/")}`;
  const search = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    if (value === undefined || value === "") continue;
    for (const one of Array.isArray(value) ? value : [value]) search.append(name, String(one));
  }
  const text = search.toString();
  return text === "" ? path : `${path}?${text}`;
}

type QueryValue = string | number | boolean | readonly string[] | undefined;
