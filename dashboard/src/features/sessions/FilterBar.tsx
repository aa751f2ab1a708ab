import { useQuery } from "@tanstack/react-query";
import { type RefObject, useEffect, useState } from "react";
import { agentsQuery, runnersQuery } from "@/api/queries";
import { STATUSES, type Status } from "@/api/types";
import type { SessionsSearch } from "@/router";
import { Button, Kbd } from "@/ui/button";
import { Icon } from "@/ui/icons";
import { Menu, Popover } from "@/ui/overlay";
import { StatusMark, statusLabel } from "@/ui/status";

interface Props {
  search: SessionsSearch;
  change: (next: Partial<SessionsSearch>) => void;
  box: RefObject<HTMLInputElement | null>;
}

const SORTS = { created: "Newest first", active: "Last active first", id: "By id" } as const;

/** Some statuses at once, as people ask for them. */
const GROUPS: readonly { label: string; statuses: Status[] }[] = [
  { label: "Live", statuses: ["queued", "starting", "running", "waiting", "idle", "stopping"] },
  { label: "Trouble", statuses: ["failed", "interrupted", "unreachable", "stop_unconfirmed"] },
];

export function FilterBar({ search, change, box }: Props) {
  const agents = useQuery(agentsQuery).data?.items ?? [];
  const runners = useQuery(runnersQuery).data?.items ?? [];
  const [text, setText] = useState(search.q ?? "");
  useEffect(() => setText(search.q ?? ""), [search.q]);
  // biome-ignore lint/correctness/useExhaustiveDependencies: only what is typed moves the address
  useEffect(() => {
    if (text === (search.q ?? "")) return;
    const timer = setTimeout(
      () => change({ q: text === "" ? undefined : text } as Partial<SessionsSearch>),
      180,
    );
    return () => clearTimeout(timer);
  }, [text]);
  const statuses = search.status ?? [];
  const setStatuses = (next: Status[]) =>
    change({ status: next.length > 0 ? next : undefined } as Partial<SessionsSearch>);
  const flip = (status: Status) =>
    setStatuses(
      statuses.includes(status) ? statuses.filter((one) => one !== status) : [...statuses, status],
    );
  const runner = runners.find((one) => one.id === search.runner);
  return (
    <search
      className="flex flex-wrap items-center gap-1.5 border-b px-4 py-2"
      aria-label="Filter sessions"
    >
      <label className="relative min-w-40 flex-1 sm:max-w-72">
        <span className="sr-only">Search in id, title and agent</span>
        <Icon name="search" size={14} className="absolute top-2 left-2.5 text-faint" />
        <input
          ref={box}
          type="search"
          value={text}
          onChange={(event) => setText(event.target.value)}
          onKeyDown={(event) => event.key === "Escape" && event.currentTarget.blur()}
          placeholder="Search id, title, agent"
          className="field h-7.5! pl-8!"
        />
        {text === "" ? (
          <span className="absolute top-1.5 right-2 text-faint">
            <Kbd>/</Kbd>
          </span>
        ) : null}
      </label>
      <Menu
        align="start"
        trigger={
          <Chip
            name="Status"
            value={
              statuses.length === 0
                ? undefined
                : statuses.length === 1
                  ? statusLabel(statuses[0] as Status)
                  : `${statuses.length} of them`
            }
          />
        }
        items={[
          ...GROUPS.map((group) => ({
            label: group.label,
            checked: same(group.statuses, statuses),
            onSelect: () => setStatuses(group.statuses),
          })),
          null,
          ...STATUSES.map((status) => ({
            label: statusLabel(status),
            checked: statuses.includes(status),
            onSelect: () => flip(status),
          })),
        ]}
      />
      <Menu
        align="start"
        trigger={<Chip name="Agent" value={search.agent} />}
        items={[
          {
            label: "Any agent",
            checked: search.agent === undefined,
            onSelect: () => change({ agent: undefined } as unknown as SessionsSearch),
          },
          null,
          ...agents.map((agent) => ({
            label: agent.name,
            checked: search.agent === agent.name,
            onSelect: () => change({ agent: agent.name }),
          })),
        ]}
      />
      <Menu
        align="start"
        trigger={
          <Chip
            name="Runner"
            value={search.runner === undefined ? undefined : (runner?.name ?? "unknown")}
          />
        }
        items={[
          {
            label: "Any runner",
            checked: search.runner === undefined,
            onSelect: () => change({ runner: undefined } as unknown as SessionsSearch),
          },
          null,
          ...runners.map((one) => ({
            label: one.name,
            checked: search.runner === one.id,
            onSelect: () => change({ runner: one.id }),
          })),
        ]}
      />
      <LabelFilter
        labels={search.label ?? []}
        set={(label) => change({ label: label.length > 0 ? label : undefined } as SessionsSearch)}
      />
      {statuses.map((status) => (
        <button
          key={status}
          type="button"
          aria-label={`Without ${statusLabel(status)}`}
          onClick={() => flip(status)}
          className="hidden h-7 items-center gap-1 rounded-[7px] bg-hover px-1.5 text-xs hover:line-through lg:inline-flex"
        >
          <StatusMark status={status} size={10} />
          {statusLabel(status)}
        </button>
      ))}
      <span className="ml-auto flex items-center gap-1">
        <Menu
          trigger={
            <Button small look="ghost">
              {SORTS[search.sort ?? "created"]}
              <Icon name="down" size={12} />
            </Button>
          }
          items={(Object.keys(SORTS) as (keyof typeof SORTS)[]).map((sort) => ({
            label: SORTS[sort],
            checked: (search.sort ?? "created") === sort,
            onSelect: () =>
              change({ sort: sort === "created" ? undefined : sort } as SessionsSearch),
          }))}
        />
        <Button
          small
          look={search.view === "tree" ? "plain" : "ghost"}
          icon="tree"
          aria-pressed={search.view === "tree"}
          onClick={() =>
            change({ view: search.view === "tree" ? undefined : "tree" } as SessionsSearch)
          }
        >
          Tree
        </Button>
      </span>
    </search>
  );
}

const same = (a: readonly Status[], b: readonly Status[]): boolean =>
  a.length === b.length && a.every((one) => b.includes(one));

function Chip({
  name,
  value,
  ...rest
}: { name: string; value: string | undefined } & React.ButtonHTMLAttributes<HTMLButtonElement> & {
    ref?: React.Ref<HTMLButtonElement>;
  }) {
  return (
    <button
      type="button"
      {...rest}
      className={`inline-flex h-7.5 items-center gap-1.5 rounded-[7px] border px-2 text-xs ${value === undefined ? "border-line-strong border-dashed text-dim hover:text-ink" : "border-accent/50 bg-accent-soft text-ink"}`}
    >
      {name}
      {value !== undefined ? <span className="max-w-32 truncate font-medium">{value}</span> : null}
      <Icon name="down" size={11} />
    </button>
  );
}

function LabelFilter({ labels, set }: { labels: string[]; set: (labels: string[]) => void }) {
  const [text, setText] = useState("");
  return (
    <Popover
      label="Filter by label"
      trigger={<Chip name="Label" value={labels.length === 0 ? undefined : labels.join(", ")} />}
    >
      <form
        className="flex gap-2"
        onSubmit={(event) => {
          event.preventDefault();
          if (!text.includes("=")) return;
          set([...labels.filter((one) => one !== text.trim()), text.trim()]);
          setText("");
        }}
      >
        <input
          className="field"
          aria-label="Label"
          placeholder="key=value"
          value={text}
          onChange={(event) => setText(event.target.value)}
        />
        <Button type="submit" disabled={!text.includes("=")}>
          Add
        </Button>
      </form>
      {labels.length > 0 ? (
        <ul className="mt-2 flex flex-wrap gap-1.5">
          {labels.map((one) => (
            <li key={one}>
              <button
                type="button"
                className="flex items-center gap-1 rounded border px-1.5 text-xs hover:line-through"
                onClick={() => set(labels.filter((other) => other !== one))}
              >
                {one}
                <Icon name="close" size={10} />
              </button>
            </li>
          ))}
        </ul>
      ) : null}
    </Popover>
  );
}
