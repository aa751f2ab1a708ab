// What is read from the coordinator, and how long it is good for. What changes is told by
// the stream, so nothing is asked for again by the clock alone.
import {
  type InfiniteData,
  infiniteQueryOptions,
  QueryClient,
  queryOptions,
} from "@tanstack/react-query";
import { get, problemOf, send, url } from "./client";
import type {
  Agent,
  AgentVersion,
  Approval,
  FileInfo,
  Health,
  List,
  ReceiptAt,
  Run,
  Runner,
  Session,
  SignedIn,
  Status,
  Token,
} from "./types";

export const queries = new QueryClient({
  defaultOptions: {
    queries: {
      staleTime: Number.POSITIVE_INFINITY,
      refetchOnWindowFocus: false,
      refetchOnReconnect: false,
      retry: (failures, error) => failures < 2 && problemOf(error).code === "no_connection",
    },
  },
});

export type Sort = "created" | "active" | "id";

export interface Filters {
  status?: Status[];
  agent?: string;
  runner?: string;
  parent?: string;
  label?: string[];
  q?: string;
  sort?: Sort;
}

export type SessionPages = InfiniteData<List<Session>, unknown>;

/** The first page is small and fast; the others are as large as they come. */
const FIRST = 100;
const NEXT = 1000;

export const sessionsQuery = (filters: Filters) =>
  infiniteQueryOptions({
    queryKey: ["sessions", filters],
    queryFn: ({ pageParam, signal }) => {
      const { status, label, ...rest } = filters;
      const query = {
        ...rest,
        status: status?.join(","),
        label,
        limit: pageParam === null ? FIRST : NEXT,
        cursor: pageParam ?? undefined,
      };
      return get<List<Session>>(url(["v1", "sessions"], query), { signal });
    },
    initialPageParam: null as string | null,
    getNextPageParam: (last) => last.next_cursor ?? undefined,
  });

/** The sessions of all pages, each once. */
export function flat(pages: SessionPages | undefined): Session[] {
  const seen = new Set<string>();
  const all: Session[] = [];
  for (const page of pages?.pages ?? []) {
    for (const session of page.items) {
      if (seen.has(session.id)) continue;
      seen.add(session.id);
      all.push(session);
    }
  }
  return all;
}

export const sessionQuery = (id: string) =>
  queryOptions({
    queryKey: ["session", id],
    queryFn: ({ signal }) => get<Session>(url(["v1", "sessions", id]), { signal }),
    staleTime: 0,
  });

/** What a list that was read says of a session: as good until it is read by itself. */
export function rowOf(id: string): Session | undefined {
  for (const [, pages] of queries.getQueriesData<SessionPages>({ queryKey: ["sessions"] })) {
    for (const page of pages?.pages ?? []) {
      const found = page.items.find((one) => one.id === id);
      if (found !== undefined) return found;
    }
  }
  return undefined;
}

export const runsQuery = (id: string) =>
  queryOptions({
    queryKey: ["runs", id],
    queryFn: ({ signal }) =>
      get<List<Run>>(url(["v1", "sessions", id, "runs"], { limit: 1000 }), { signal }),
    staleTime: 0,
  });

export const approvalsQuery = queryOptions({
  queryKey: ["approvals"],
  queryFn: ({ signal }) =>
    get<List<Approval>>(url(["v1", "approvals"], { limit: 1000 }), { signal }),
});

export const agentsQuery = queryOptions({
  queryKey: ["agents"],
  queryFn: ({ signal }) => get<List<Agent>>("/v1/agents", { signal }),
});

export const versionsQuery = (name: string) =>
  queryOptions({
    queryKey: ["agents", name, "versions"],
    queryFn: ({ signal }) =>
      get<List<AgentVersion>>(url(["v1", "agents", name, "versions"]), { signal }),
  });

export const runnersQuery = queryOptions({
  queryKey: ["runners"],
  queryFn: ({ signal }) => get<List<Runner>>("/v1/runners", { signal }),
});

export const tokensQuery = queryOptions({
  queryKey: ["tokens"],
  queryFn: ({ signal }) => get<List<Token>>("/v1/tokens", { signal }),
  retry: false,
});

export const healthQuery = queryOptions({
  queryKey: ["health"],
  queryFn: ({ signal }) => get<Health>("/healthz", { signal }),
});

/** The files of a session: as they are, or as the last run that had ended by `seq` left them. */
export const filesQuery = (id: string, path: string, seq: number | null) =>
  queryOptions({
    queryKey: ["files", id, path, seq ?? "now"],
    queryFn: ({ signal }) =>
      get<List<FileInfo>>(
        url(["v1", "sessions", id, "files"], { path: path || undefined, seq: seq ?? undefined }),
        { signal },
      ),
    staleTime: seq === null ? 0 : Number.POSITIVE_INFINITY,
    retry: false,
  });

/** The most of a file that is shown; the rest can be downloaded. */
export const MOST_SHOWN = 512 * 1024;

export const contentUrl = (id: string, path: string, seq: number | null = null): string =>
  url(["v1", "sessions", id, "files", "content", ...path.split("/")], { seq: seq ?? undefined });

export const diffQuery = (id: string, seq?: number) =>
  queryOptions({
    queryKey: ["diff", id, seq ?? "now"],
    queryFn: async ({ signal }) => {
      const headers = { accept: "text/x-diff" };
      const path = url(["v1", "sessions", id, "diff"], { seq });
      return await (await send(path, { signal, headers })).text();
    },
    staleTime: 0,
    retry: false,
  });

/** All pages of a list, one after another. */
async function whole<T>(page: (cursor: string | undefined) => Promise<List<T>>): Promise<T[]> {
  const items: T[] = [];
  for (let cursor: string | undefined; ; ) {
    const next = await page(cursor);
    items.push(...next.items);
    if (next.next_cursor == null) return items;
    cursor = next.next_cursor;
  }
}

/** The receipts up to that of the last compute that has ended. */
export const receiptsQuery = (id: string, last: number) =>
  queryOptions({
    queryKey: ["receipts", id, last],
    queryFn: ({ signal }) =>
      whole<ReceiptAt>((cursor) =>
        get(url(["v1", "sessions", id, "receipts"], { limit: NEXT, cursor }), { signal }),
      ),
    placeholderData: (before) => before,
  });

export const stateQuery = (id: string, seq: number) =>
  queryOptions({
    queryKey: ["state", id, seq],
    queryFn: ({ signal }) =>
      get<Session>(url(["v1", "sessions", id, "state"], { seq }), { signal }),
  });

/** Who is signed in. */
export const meQuery = queryOptions({
  queryKey: ["me"],
  queryFn: ({ signal }) => get<SignedIn>("/v1/login", { signal, quiet: true }),
  retry: (failures, error) => failures < 3 && problemOf(error).code === "no_connection",
});

interface Described {
  openapi: string;
  info: { title: string; version: string };
  paths: Record<string, Record<string, unknown>>;
  components: { schemas: Record<string, unknown> };
}

/** The coordinator's own description of its API: what it can do is read from there. */
export const apiQuery = queryOptions({
  queryKey: ["openapi"],
  queryFn: ({ signal }) => get<Described>("/openapi.json", { signal }),
  staleTime: Number.POSITIVE_INFINITY,
});
