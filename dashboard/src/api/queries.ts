// What is read from the coordinator, and how long it is good for. What changes is told by
// the stream, so nothing is asked for again by the clock alone.
import {
  type InfiniteData,
  infiniteQueryOptions,
  QueryClient,
  queryOptions,
  useQuery,
} from "@tanstack/react-query";
import { get, problemOf, send, url } from "./client";
import type {
  Agent,
  Approval,
  FileInfo,
  Health,
  List,
  Receipt,
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

export interface AgentVersion {
  version: number;
  digest: string;
  source: string;
  seen_at: string;
  spec?: unknown;
}

export const versionsQuery = (name: string) =>
  queryOptions({
    queryKey: ["agents", name, "versions"],
    queryFn: ({ signal }) =>
      get<List<AgentVersion>>(url(["v1", "agents", name, "versions"]), { signal }),
    retry: false,
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

export const filesQuery = (id: string, path: string) =>
  queryOptions({
    queryKey: ["files", id, path],
    queryFn: ({ signal }) =>
      get<List<FileInfo>>(url(["v1", "sessions", id, "files"], { path: path || undefined }), {
        signal,
      }),
    staleTime: 0,
  });

/** The most of a file that is shown; the rest can be downloaded. */
export const MOST_SHOWN = 512 * 1024;

export const contentUrl = (id: string, path: string): string =>
  url(["v1", "sessions", id, "files", "content", ...path.split("/")]);

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

export const receiptsQuery = (id: string) =>
  queryOptions({
    queryKey: ["receipts", id],
    queryFn: ({ signal }) =>
      get<List<Receipt & { seq?: number; at?: string }>>(url(["v1", "sessions", id, "receipts"]), {
        signal,
      }),
    staleTime: 0,
    retry: false,
  });

export const stateQuery = (id: string, seq: number) =>
  queryOptions({
    queryKey: ["state", id, seq],
    queryFn: ({ signal }) =>
      get<Session>(url(["v1", "sessions", id, "state"], { seq }), { signal }),
    retry: false,
  });

/** Who is signed in; `null` where the coordinator does not say. */
export const meQuery = queryOptions({
  queryKey: ["me"],
  queryFn: async ({ signal }): Promise<SignedIn | null> => {
    try {
      return await get<SignedIn>("/v1/login", { signal, quiet: true });
    } catch (error) {
      if (!problemOf(error).isUnsupported) throw error;
      // An older coordinator: a list says whether one is signed in.
      await get(url(["v1", "sessions"], { limit: 1 }), { signal, quiet: true });
      return null;
    }
  },
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

/** Whether this coordinator has a call; `undefined` until that is known. */
export function useCan(method: string, path: string): boolean | undefined {
  const { data } = useQuery(apiQuery);
  if (data === undefined) return undefined;
  const shape = path.replaceAll(/\{[^}]*\}/g, "{}");
  const found = Object.entries(data.paths).find(
    ([known]) => known.replaceAll(/\{[^}]*\}/g, "{}") === shape,
  );
  return found !== undefined && method.toLowerCase() in found[1];
}
