import { useQuery } from "@tanstack/react-query";
import { Link, useSearch } from "@tanstack/react-router";
import { lazy, Suspense, useState } from "react";
import { send } from "@/api/client";
import { apiQuery, healthQuery, meQuery, queries, runnersQuery } from "@/api/queries";
import { ErrorNote, Option, Rows } from "@/ui/bits";
import { Button } from "@/ui/button";
import { complain } from "@/ui/toast";
import { setNotifications, useTitle, wantsNotifications } from "../notify";
import { PageHead } from "../Shell";
import { Row } from "../session/Details";
import { Tokens } from "./Tokens";
import { chooseTheme, chosenTheme, type Theme } from "./theme";

const ApiReference = lazy(() => import("./ApiReference"));

const VIEWS = [
  { view: undefined, label: "General" },
  { view: "tokens", label: "Tokens" },
  { view: "api", label: "API" },
] as const;

export function SettingsPage() {
  useTitle("Settings");
  const { view } = useSearch({ from: "/signed-in/settings" });
  return (
    <>
      <PageHead title="Settings" />
      <nav aria-label="Settings" className="flex gap-1 border-b px-3">
        {VIEWS.map((one) => (
          <Link
            key={one.label}
            to="/settings"
            search={one.view === undefined ? {} : { view: one.view }}
            aria-current={view === one.view ? "page" : undefined}
            className={`-mb-px flex h-9 items-center border-b-2 px-2 ${view === one.view ? "border-accent font-medium" : "border-transparent text-dim hover:text-ink"}`}
          >
            {one.label}
          </Link>
        ))}
      </nav>
      <div className="min-h-0 flex-1 overflow-y-auto">
        {view === "tokens" ? (
          <Tokens />
        ) : view === "api" ? (
          <Suspense fallback={<Rows n={8} height={44} />}>
            <ApiReference />
          </Suspense>
        ) : (
          <General />
        )}
      </div>
    </>
  );
}

const THEMES: readonly { value: Theme; label: string }[] = [
  { value: "system", label: "As the system" },
  { value: "light", label: "Light" },
  { value: "dark", label: "Dark" },
];

function General() {
  const [theme, setTheme] = useState(chosenTheme);
  const [notify, setNotify] = useState(wantsNotifications);
  const [refused, setRefused] = useState(false);
  const choose = async (on: boolean) => {
    setNotify(on);
    const so = await setNotifications(on);
    setNotify(so);
    setRefused(on && !so);
  };
  const me = useQuery(meQuery).data;
  const health = useQuery(healthQuery);
  const api = useQuery(apiQuery).data;
  const runners = useQuery(runnersQuery).data?.items ?? [];
  const isolations = [...new Set(runners.map((one) => one.isolation))];
  const signOut = async () => {
    try {
      await send("/v1/login", { method: "DELETE" });
      queries.clear();
      location.assign("/login");
    } catch (error) {
      complain(error);
    }
  };
  return (
    <div className="mx-auto flex max-w-2xl flex-col gap-6 p-4">
      <section>
        <h2 className="mb-2 font-medium">Appearance</h2>
        <div className="card flex flex-col gap-3 p-4">
          <fieldset className="flex flex-wrap gap-2">
            <legend className="mb-1 text-dim text-xs">Theme</legend>
            {THEMES.map((one) => (
              <label
                key={one.value}
                className={`flex h-8 cursor-pointer items-center gap-2 rounded-[7px] border px-3 ${theme === one.value ? "border-accent bg-accent-soft" : "border-line-strong"}`}
              >
                <input
                  type="radio"
                  name="theme"
                  className="accent-accent-strong"
                  checked={theme === one.value}
                  onChange={() => {
                    chooseTheme(one.value);
                    setTheme(one.value);
                  }}
                />
                {one.label}
              </label>
            ))}
          </fieldset>
          {"Notification" in window ? (
            <div>
              <Option
                on={notify}
                set={(on) => void choose(on)}
                label="Notify me when a session waits for a person"
                about="while this page is in the background"
              />
              {refused ? (
                <p className="ml-6.5 text-amber text-xs" role="status">
                  This browser lets no notification of this page through. Its settings of this site
                  can change that.
                </p>
              ) : null}
            </div>
          ) : (
            <p className="text-faint text-xs">Notifications need a secure address.</p>
          )}
        </div>
      </section>
      <section>
        <h2 className="mb-2 font-medium">Signed in</h2>
        <div className="card flex items-center gap-3 p-4 text-xs">
          <div className="flex flex-1 flex-col gap-1.5">
            <Row name="as">{me?.principal}</Row>
            <Row name="role">{me?.role}</Row>
          </div>
          <Button onClick={() => void signOut()}>Sign out</Button>
        </div>
      </section>
      <section>
        <h2 className="mb-2 font-medium">Limits</h2>
        <div className="card flex flex-col gap-1.5 p-4 text-xs">
          <p className="mb-1 text-dim text-sm">
            Each agent's description sets its limits, and a new session may set its own over them.
            Where nothing is said:
          </p>
          <Row name="start">60 s for a compute to come up; then it fails with start timeout</Row>
          <Row name="output">64 MiB kept of a run; what is over is counted and dropped</Row>
          <Row name="the rest">
            none: no limit of idle time, of a run, of life, memory or processes
          </Row>
          <Row name="stop grace">
            10 s from the first SIGTERM to the kill, and 2 s for a driver's own cancel
          </Row>
        </div>
      </section>
      <section>
        <h2 className="mb-2 font-medium">About</h2>
        <div className="card flex flex-col gap-1.5 p-4 text-xs">
          {health.isError ? (
            <ErrorNote error={health.error} compact onRetry={() => void health.refetch()} />
          ) : null}
          <Row name="coordinator">
            {health.data === undefined ? "" : `${health.data.version}, ${health.data.status}`}
          </Row>
          <Row name="API">
            {api === undefined
              ? ""
              : `${api.info.title} ${api.info.version}, ${Object.keys(api.paths).length} paths`}
          </Row>
          <Row name="isolation">
            {isolations.length === 0 ? "no runner yet" : isolations.join(", ")}
          </Row>
          <Row name="runners">
            {runners.length === 0
              ? "none"
              : runners.map((one) => `${one.name} (${one.version})`).join(", ")}
          </Row>
          <Row name="reference">
            <Link to="/settings" search={{ view: "api" }} className="text-accent hover:underline">
              every call, rendered from /openapi.json
            </Link>
          </Row>
        </div>
      </section>
    </div>
  );
}
