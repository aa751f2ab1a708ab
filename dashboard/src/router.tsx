import {
  createRootRoute,
  createRoute,
  createRouter,
  lazyRouteComponent,
  Outlet,
  redirect,
} from "@tanstack/react-router";
import { problemOf } from "./api/client";
import { meQuery, queries, type Sort } from "./api/queries";
import { STATUSES, type Status } from "./api/types";
import { Broken, NotFound } from "./features/Broken";
import { Shell } from "./features/Shell";

export interface SessionsSearch {
  status?: Status[];
  agent?: string;
  runner?: string;
  label?: string[];
  q?: string;
  sort?: Sort;
  view?: "tree";
}

interface SessionSearch {
  seq?: number;
  tab?: "files" | "changes" | "runs" | "receipts";
}

type Raw = Record<string, unknown>;

const word = (value: unknown): string | undefined => {
  if (typeof value === "number") return String(value);
  return typeof value === "string" && value !== "" ? value : undefined;
};

const words = (value: unknown): string[] | undefined => {
  const all = (Array.isArray(value) ? value.map(word) : word(value)?.split(",")) ?? [];
  const some = all.filter((one): one is string => one !== undefined && one !== "");
  return some.length > 0 ? some : undefined;
};

/** Only what is there: an address has no empty parameters. */
function tidy<T extends object>(search: T): T {
  return Object.fromEntries(Object.entries(search).filter(([, value]) => value !== undefined)) as T;
}

const root = createRootRoute({
  component: Outlet,
  notFoundComponent: NotFound,
  errorComponent: Broken,
});

const signedIn = createRoute({
  getParentRoute: () => root,
  id: "signed-in",
  component: Shell,
  beforeLoad: async ({ location }) => {
    try {
      await queries.ensureQueryData(meQuery);
    } catch (error) {
      const { status } = problemOf(error);
      if (status === 401) throw redirect({ to: "/login", search: { to: location.href } });
      // Without a connection the page still opens, and says so.
    }
  },
});

const sessions = createRoute({
  getParentRoute: () => signedIn,
  path: "/",
  component: lazyRouteComponent(() => import("./features/sessions/SessionsPage"), "SessionsPage"),
  validateSearch: (raw: Raw): SessionsSearch => {
    const status = words(raw.status)?.filter((one): one is Status =>
      STATUSES.includes(one as Status),
    );
    const sort = word(raw.sort);
    return tidy({
      status: status !== undefined && status.length > 0 ? status : undefined,
      agent: word(raw.agent),
      runner: word(raw.runner),
      label: words(raw.label),
      q: word(raw.q),
      sort: sort === "active" || sort === "id" ? sort : undefined,
      view: raw.view === "tree" ? ("tree" as const) : undefined,
    }) as SessionsSearch;
  },
});

const TABS = new Set(["files", "changes", "runs", "receipts"]);

const session = createRoute({
  getParentRoute: () => signedIn,
  path: "/sessions/$id",
  component: lazyRouteComponent(() => import("./features/session/SessionPage"), "SessionPage"),
  validateSearch: (raw: Raw): SessionSearch => {
    const seq = Number(raw.seq);
    return tidy({
      seq: Number.isInteger(seq) && seq > 0 ? seq : undefined,
      tab: TABS.has(String(raw.tab)) ? (raw.tab as SessionSearch["tab"]) : undefined,
    }) as SessionSearch;
  },
});

const attention = createRoute({
  getParentRoute: () => signedIn,
  path: "/attention",
  component: lazyRouteComponent(
    () => import("./features/attention/AttentionPage"),
    "AttentionPage",
  ),
});

const runners = createRoute({
  getParentRoute: () => signedIn,
  path: "/runners",
  component: lazyRouteComponent(() => import("./features/runners/RunnersPage"), "RunnersPage"),
});

const agents = createRoute({
  getParentRoute: () => signedIn,
  path: "/agents",
  component: lazyRouteComponent(() => import("./features/agents/AgentsPage"), "AgentsPage"),
});

const agent = createRoute({
  getParentRoute: () => signedIn,
  path: "/agents/$name",
  component: lazyRouteComponent(() => import("./features/agents/AgentPage"), "AgentPage"),
});

const settings = createRoute({
  getParentRoute: () => signedIn,
  path: "/settings",
  component: lazyRouteComponent(() => import("./features/settings/SettingsPage"), "SettingsPage"),
  validateSearch: (raw: Raw): { view?: "tokens" | "api" } =>
    raw.view === "tokens" || raw.view === "api" ? { view: raw.view } : {},
});

const login = createRoute({
  getParentRoute: () => root,
  path: "/login",
  component: lazyRouteComponent(() => import("./features/settings/LoginPage"), "LoginPage"),
  validateSearch: (raw: Raw): { to?: string } => tidy({ to: word(raw.to) }) as { to?: string },
});

/** Addresses people can read: `status=running,waiting` instead of JSON. */
function parseSearch(text: string): Raw {
  const all: Raw = {};
  for (const [key, value] of new URLSearchParams(text)) {
    const before = all[key];
    all[key] =
      before === undefined ? value : Array.isArray(before) ? [...before, value] : [before, value];
  }
  return all;
}

function stringifySearch(search: Raw): string {
  const parts = new URLSearchParams();
  for (const [key, value] of Object.entries(search)) {
    if (value === undefined || value === null || value === "") continue;
    if (key === "label" && Array.isArray(value))
      for (const one of value) parts.append(key, String(one));
    else parts.append(key, Array.isArray(value) ? value.join(",") : String(value));
  }
  const text = parts
    .toString()
    .replaceAll("%2C", ",")
    .replaceAll("%2F", "/")
    .replaceAll("%3D", "=");
  return text === "" ? "" : `?${text}`;
}

export const router = createRouter({
  routeTree: root.addChildren([
    signedIn.addChildren([sessions, session, attention, runners, agents, agent, settings]),
    login,
  ]),
  parseSearch,
  stringifySearch,
  defaultPreload: "intent",
  defaultErrorComponent: Broken,
  scrollRestoration: false,
});

declare module "@tanstack/react-router" {
  interface Register {
    router: typeof router;
  }
}
