// The frame of every page: where one can go, how the connection stands, and what can be
// asked for from anywhere.
import { useInfiniteQuery, useQuery } from "@tanstack/react-query";
import { Link, Outlet, useNavigate } from "@tanstack/react-router";
import { lazy, Suspense, useEffect, useSyncExternalStore } from "react";
import { apiQuery, flat, sessionsQuery } from "@/api/queries";
import { keepFresh } from "@/live/cache";
import { live } from "@/live/live";
import { useNow } from "@/ui/bits";
import { ErrorBoundary } from "@/ui/boundary";
import { Button, IconButton, Kbd, Tip } from "@/ui/button";
import { ago } from "@/ui/format";
import { Icon, type IconName } from "@/ui/icons";
import { useKeys } from "@/ui/keys";
import { ask, useAsked } from "./dialogs";
import { useBell } from "./notify";

const Dialogs = lazy(() => import("./AllDialogs"));

const PLACES: readonly {
  to: "/" | "/attention" | "/runners" | "/agents" | "/settings";
  label: string;
  icon: IconName;
  keys: string;
}[] = [
  { to: "/", label: "Sessions", icon: "sessions", keys: "g s" },
  { to: "/attention", label: "Attention", icon: "attention", keys: "g a" },
  { to: "/runners", label: "Runners", icon: "runners", keys: "g r" },
  { to: "/agents", label: "Agents", icon: "agents", keys: "g e" },
  { to: "/settings", label: "Settings", icon: "settings", keys: "g ," },
];

/** Sessions that wait for a person, once they are known. */
function useWaiting() {
  return useInfiniteQuery({ ...sessionsQuery({ status: ["waiting"] }), select: flat }).data;
}

export function Shell() {
  const navigate = useNavigate();
  const waiting = useWaiting();
  const asked = useAsked();
  useEffect(() => {
    live.start();
    return keepFresh();
  }, []);
  useQuery(apiQuery);
  useBell(waiting);
  useKeys({
    "g s": () => void navigate({ to: "/" }),
    "g a": () => void navigate({ to: "/attention" }),
    "g r": () => void navigate({ to: "/runners" }),
    "g e": () => void navigate({ to: "/agents" }),
    "g ,": () => void navigate({ to: "/settings" }),
    "mod+k": () => ask({ kind: "palette" }),
    "?": () => ask({ kind: "keys" }),
    c: () => ask({ kind: "new" }),
  });
  return (
    <div className="flex h-full flex-col sm:flex-row">
      <a
        href="#main"
        className="sr-only focus:not-sr-only focus:absolute focus:z-50 focus:bg-raised focus:p-2"
      >
        Skip to the content
      </a>
      <nav
        aria-label="Pages"
        className="order-last flex shrink-0 border-t bg-canvas pb-[env(safe-area-inset-bottom)] sm:order-first sm:w-13 sm:flex-col sm:border-t-0 sm:border-r lg:w-48"
      >
        <div className="hidden h-13 items-center gap-2.5 px-3.5 font-semibold sm:flex">
          <img src="/assets/favicon.svg" alt="" width="22" height="22" />
          <span className="hidden lg:inline">Greenroom</span>
        </div>
        <ul className="flex flex-1 sm:flex-col sm:gap-0.5 sm:px-2">
          {PLACES.map((place) => (
            <li key={place.to} className="flex-1 sm:flex-none">
              <Place {...place} count={place.to === "/attention" ? (waiting?.length ?? 0) : 0} />
            </li>
          ))}
        </ul>
        <div className="hidden flex-col gap-1 p-2 sm:flex">
          <Tip text="Search and act" keys="⌘K">
            <button
              type="button"
              onClick={() => ask({ kind: "palette" })}
              className="flex h-8 items-center gap-2.5 rounded-[7px] px-2.5 text-dim hover:bg-hover hover:text-ink"
            >
              <Icon name="search" />
              <span className="sr-only flex-1 text-left lg:not-sr-only">Search</span>
              <span className="hidden lg:inline">
                <Kbd>⌘K</Kbd>
              </span>
            </button>
          </Tip>
          <Tip text="Keys" keys="?">
            <button
              type="button"
              onClick={() => ask({ kind: "keys" })}
              className="flex h-8 items-center gap-2.5 rounded-[7px] px-2.5 text-dim hover:bg-hover hover:text-ink"
            >
              <Icon name="keyboard" />
              <span className="sr-only flex-1 text-left lg:not-sr-only">Keys</span>
              <span className="hidden lg:inline">
                <Kbd>?</Kbd>
              </span>
            </button>
          </Tip>
          <LinkDot />
        </div>
      </nav>
      <div className="flex min-h-0 min-w-0 flex-1 flex-col">
        <LostBanner />
        <main
          id="main"
          tabIndex={-1}
          className="flex min-h-0 flex-1 flex-col bg-panel outline-none"
        >
          <ErrorBoundary>
            <Outlet />
          </ErrorBoundary>
        </main>
      </div>
      {asked !== null ? (
        <Suspense>
          <Dialogs asked={asked} />
        </Suspense>
      ) : null}
    </div>
  );
}

function Place({ to, label, icon, keys, count }: (typeof PLACES)[number] & { count: number }) {
  return (
    <Tip text={label} keys={keys}>
      <Link
        to={to}
        activeOptions={{ exact: to === "/", includeSearch: false }}
        className="relative flex h-12 flex-col items-center justify-center gap-0.5 text-[0.625rem] text-dim hover:text-ink data-[status=active]:font-medium data-[status=active]:text-ink sm:h-8 sm:flex-row sm:justify-start sm:gap-2.5 sm:rounded-[7px] sm:px-2.5 sm:text-sm sm:data-[status=active]:bg-hover sm:hover:bg-hover"
      >
        <Icon name={icon} />
        <span className="sm:sr-only lg:not-sr-only">{label}</span>
        {count > 0 ? (
          <span className="absolute top-1 left-[calc(50%+5px)] min-w-4 rounded-full bg-violet px-1 text-center font-semibold text-[0.625rem] text-panel leading-4 sm:top-0 sm:left-6 lg:static lg:ml-auto">
            {count}
            <span className="sr-only"> waiting</span>
          </span>
        ) : null}
      </Link>
    </Tip>
  );
}

const useLink = () => useSyncExternalStore(live.subscribe, live.snapshot);

const SAYS = { live: "Live", connecting: "Connecting", lost: "Connection lost" } as const;

function LinkDot() {
  const { state } = useLink();
  const colour = state === "live" ? "text-green" : state === "lost" ? "text-red" : "text-amber";
  return (
    <Tip text={state === "live" ? "Everything here is followed live" : SAYS[state]}>
      <div
        data-link={state}
        className="flex h-7 items-center gap-2.5 px-2.5 text-faint text-xs"
        role="status"
      >
        <span className={`grid w-4 place-items-center ${colour}`} aria-hidden="true">
          <svg width="8" height="8" aria-hidden="true">
            {state === "lost" ? (
              <path d="M1 1l6 6M7 1L1 7" stroke="currentColor" strokeWidth="1.6" />
            ) : (
              <circle cx="4" cy="4" r="3" fill="currentColor" />
            )}
          </svg>
        </span>
        <span className="sr-only lg:not-sr-only">{SAYS[state]}</span>
      </div>
    </Tip>
  );
}

/** Says plainly that what is shown may be old. */
function LostBanner() {
  const link = useLink();
  const now = useNow();
  if (link.state !== "lost") return null;
  const passed = now - link.since;
  if (passed < 700) return null;
  return (
    <div
      role="alert"
      data-banner="lost"
      className="flex items-center gap-3 border-amber/40 border-b bg-amber/12 px-4 py-1.5 text-sm"
    >
      <Icon name="warning" className="text-amber" />
      <p className="min-w-0 flex-1">
        <strong className="font-semibold">Connection lost {ago(passed)} ago.</strong>{" "}
        <span className="text-dim">
          {link.detail !== null ? `${link.detail}. ` : ""}What you see may be old; it is brought up
          to date when the connection is back.
        </span>
      </p>
      <Button small onClick={() => live.retry()}>
        Try now
      </Button>
    </div>
  );
}

/** The line at the top of a page. */
export function PageHead({
  title,
  about,
  children,
}: {
  title: string;
  about?: string;
  children?: React.ReactNode;
}) {
  return (
    <header className="flex min-h-13 flex-wrap items-center gap-x-3 gap-y-1.5 border-b px-4 py-2">
      <h1 className="font-semibold text-[0.9375rem]">{title}</h1>
      {about !== undefined ? <span className="tabular text-faint">{about}</span> : null}
      <div className="ml-auto flex items-center gap-2">{children}</div>
      <span className="sm:hidden">
        <IconButton icon="search" label="Search and act" onClick={() => ask({ kind: "palette" })} />
      </span>
    </header>
  );
}
