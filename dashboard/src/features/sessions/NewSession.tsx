import { useQuery } from "@tanstack/react-query";
import { useNavigate } from "@tanstack/react-router";
import { useState } from "react";
import { createSession, perform } from "@/api/actions";
import { problemOf } from "@/api/client";
import { agentsQuery } from "@/api/queries";
import type { AgentPolicy, CreateSession, Limits } from "@/api/types";
import { put } from "@/live/cache";
import { AsCommand, ErrorNote, Option } from "@/ui/bits";
import { Button } from "@/ui/button";
import { Icon } from "@/ui/icons";
import { Dialog } from "@/ui/overlay";
import { SchemaForm } from "./SchemaForm";
import { type Document, duration, type Faults, faults, initial, type Schema, size } from "./schema";

const LIMITS = [
  { key: "run_ms", label: "A run", about: "15m", read: duration },
  { key: "idle_ms", label: "Idle", about: "30m", read: duration },
  { key: "ttl_ms", label: "Lives for", about: "30d", read: duration },
  { key: "unused_ms", label: "Unused for", about: "30d", read: duration },
  { key: "memory_bytes", label: "Memory", about: "2GiB", read: size },
  {
    key: "pids",
    label: "Processes",
    about: "500",
    read: (text: string) => (/^[1-9]\d*$/.test(text) ? Number(text) : null),
  },
] as const;

const POLICIES: readonly { value: AgentPolicy; label: string }[] = [
  { value: "follow", label: "takes what the source says then" },
  { value: "pin", label: "keeps the description it has" },
  { value: "ask", label: "waits for a person to choose" },
];

/** `team=a, urgent` as labels. */
function labelsOf(text: string): Record<string, string> {
  const pairs = text
    .split(",")
    .map((one) => one.trim())
    .filter((one) => one !== "");
  return Object.fromEntries(
    pairs.map((pair) => [pair.split("=")[0] ?? pair, pair.split("=").slice(1).join("=")]),
  );
}

export default function NewSession({
  prefill,
  onClose,
}: {
  prefill: Partial<CreateSession>;
  onClose: () => void;
}) {
  const agents = useQuery(agentsQuery);
  const navigate = useNavigate();
  const [name, setName] = useState(prefill.agent ?? "");
  const [prompt, setPrompt] = useState(prefill.prompt ?? "");
  const [title, setTitle] = useState(prefill.title ?? "");
  const [id, setId] = useState("");
  const [labels, setLabels] = useState(
    Object.entries(prefill.labels ?? {})
      .map(([key, value]) => `${key}=${value}`)
      .join(", "),
  );
  const [limits, setLimits] = useState<Record<string, string>>({});
  const [shared, setShared] = useState(false);
  const [policy, setPolicy] = useState<AgentPolicy>("follow");
  const [more, setMore] = useState(false);
  const [free, setFree] = useState(false);
  const [documents, setDocuments] = useState<Record<string, Document>>({});
  const [tried, setTried] = useState(false);
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<unknown>(null);

  const items = agents.data?.items ?? [];
  const agent =
    items.find((one) => one.name === name) ??
    (name === "" ? items.find((one) => one.health === "ok" || one.health === "stale") : undefined);
  const chosen = agent?.name ?? name;
  const schema = agent?.input_schema as Schema | null | undefined;
  const formed = schema?.properties !== undefined && !free;
  const document = documents[chosen] ?? ((schema ? initial(schema) : {}) as Document);
  const found: Faults = formed && schema ? faults(schema, document) : {};
  const badLimits = LIMITS.filter(
    ({ key, read }) =>
      (limits[key] ?? "").trim() !== "" && read((limits[key] ?? "").trim()) === null,
  );
  const set = LIMITS.flatMap(({ key, read }) => {
    const value = read((limits[key] ?? "").trim());
    return value === null || (limits[key] ?? "").trim() === "" ? [] : [[key, value] as const];
  });
  const named = labelsOf(labels);
  const body: CreateSession = {
    agent: chosen,
    ...(formed ? { input: document } : prompt.trim() === "" ? {} : { prompt }),
    ...(title.trim() === "" ? {} : { title: title.trim() }),
    ...(id.trim() === "" ? {} : { id: id.trim() }),
    ...(Object.keys(named).length === 0 ? {} : { labels: named }),
    ...(set.length === 0 ? {} : { limits: Object.fromEntries(set) as Limits }),
    ...(shared ? { shared } : {}),
    ...(policy === "follow" ? {} : { agent_policy: policy }),
    ...(prefill.parent ? { parent: prefill.parent } : {}),
  } as CreateSession;
  const action = createSession(body);

  const create = async () => {
    setTried(true);
    if (Object.keys(found).length > 0 || badLimits.length > 0 || busy) return;
    setBusy(true);
    setError(null);
    try {
      const session = await perform(action);
      put(session);
      onClose();
      void navigate({ to: "/sessions/$id", params: { id: session.id } });
    } catch (problem) {
      setError(problem);
      if (problemOf(problem).path?.startsWith("/id") === true) setMore(true);
      setBusy(false);
    }
  };

  return (
    <Dialog
      open
      onClose={onClose}
      wide
      title="New session"
      footer={
        <>
          <span className="mr-auto">
            <AsCommand action={action} />
          </span>
          <Button look="ghost" onClick={onClose}>
            Cancel
          </Button>
          <Button
            look="primary"
            busy={busy}
            disabled={chosen === ""}
            keys="⌘↵"
            onClick={() => void create()}
          >
            {formed || prompt.trim() !== "" ? "Start" : "Create"}
          </Button>
        </>
      }
    >
      <form
        className="flex flex-col gap-4 pb-2"
        onSubmit={(event) => {
          event.preventDefault();
          void create();
        }}
        onKeyDown={(event) => {
          if (event.key === "Enter" && (event.metaKey || event.ctrlKey)) void create();
        }}
      >
        {agents.isError ? (
          <ErrorNote error={agents.error} onRetry={() => void agents.refetch()} compact />
        ) : null}
        <div className="grid gap-3 sm:grid-cols-2">
          <label className="flex flex-col gap-1">
            <span className="text-dim text-xs">Agent</span>
            <select
              aria-label="Agent"
              className="field"
              value={chosen}
              onChange={(event) => setName(event.target.value)}
            >
              {items.length === 0 ? (
                <option value="">{agents.isPending ? "reading" : "there is none"}</option>
              ) : null}
              {items.map((one) => (
                <option key={one.name} value={one.name} disabled={one.health === "broken"}>
                  {one.name}
                  {one.health === "ok" ? "" : ` (${one.health})`}
                </option>
              ))}
            </select>
          </label>
          <label className="flex flex-col gap-1">
            <span className="text-dim text-xs">Title</span>
            <input
              className="field"
              value={title}
              maxLength={500}
              onChange={(event) => setTitle(event.target.value)}
              placeholder="a line for people"
            />
          </label>
        </div>
        {agent !== undefined ? (
          <p className="-mt-2 text-faint text-xs">
            {agent.description ?? agent.source} · {agent.driver},{" "}
            {agent.lifecycle === "persistent" ? "stays up between runs" : "one process a run"}
            {agent.needs ? <span className="text-amber"> · needs {agent.needs}</span> : null}
          </p>
        ) : null}
        {formed && schema ? (
          <SchemaForm
            key={chosen}
            schema={schema}
            value={document}
            change={(next) => setDocuments({ ...documents, [chosen]: next })}
            faults={tried ? found : {}}
          />
        ) : (
          <label className="flex flex-col gap-1">
            <span className="text-dim text-xs">Prompt</span>
            <textarea
              className="field h-auto! py-2"
              rows={5}
              autoFocus
              value={prompt}
              onChange={(event) => setPrompt(event.target.value)}
              placeholder="What should it do? Leave it empty to create the session only."
            />
          </label>
        )}
        {schema?.properties !== undefined ? (
          <button
            type="button"
            className="self-start text-accent text-xs hover:underline"
            onClick={() => setFree(!free)}
          >
            {free ? "Fill in the form instead" : "Write a free prompt instead"}
          </button>
        ) : null}
        <button
          type="button"
          aria-expanded={more}
          className="flex items-center gap-1.5 self-start text-dim hover:text-ink"
          onClick={() => setMore(!more)}
        >
          <Icon name={more ? "down" : "right"} size={12} /> Labels, limits and more
        </button>
        {more ? (
          <div className="flex flex-col gap-3 rounded-lg border bg-sunken p-3">
            <div className="grid gap-3 sm:grid-cols-2">
              <label className="flex flex-col gap-1">
                <span className="text-dim text-xs">Labels</span>
                <input
                  className="field"
                  value={labels}
                  placeholder="team=a, urgent=yes"
                  onChange={(event) => setLabels(event.target.value)}
                />
              </label>
              <label className="flex flex-col gap-1">
                <span className="text-dim text-xs">Id, made up if empty</span>
                <input
                  className="field font-mono"
                  value={id}
                  maxLength={128}
                  onChange={(event) => setId(event.target.value)}
                />
              </label>
            </div>
            <fieldset className="grid grid-cols-2 gap-3 sm:grid-cols-5">
              <legend className="mb-1 text-dim text-xs">Limits, over the agent's own</legend>
              {LIMITS.map(({ key, label, about }) => (
                <label key={key} className="flex flex-col gap-1">
                  <span className="text-faint text-xs">{label}</span>
                  <input
                    className="field tabular"
                    placeholder={about}
                    value={limits[key] ?? ""}
                    aria-invalid={badLimits.some((one) => one.key === key)}
                    onChange={(event) => setLimits({ ...limits, [key]: event.target.value })}
                  />
                </label>
              ))}
            </fieldset>
            {badLimits.length > 0 ? (
              <p className="text-red text-xs">
                Write{" "}
                {badLimits.map((one) => `${one.label.toLowerCase()} as ${one.about}`).join(", ")}.
              </p>
            ) : null}
            <label className="flex flex-col gap-1">
              <span className="text-dim text-xs">
                When its agent's source says something else by the next run, it
              </span>
              <select
                aria-label="When the source of its agent has changed"
                className="field"
                value={policy}
                onChange={(event) => setPolicy(event.target.value as AgentPolicy)}
              >
                {POLICIES.map((one) => (
                  <option key={one.value} value={one.value}>
                    {one.label}
                  </option>
                ))}
              </select>
            </label>
            <Option
              on={shared}
              set={setShared}
              label="Share it"
              about="every operator may use it, every viewer see it"
            />
          </div>
        ) : null}
        {tried && Object.keys(found).length > 0 ? (
          <p className="text-red text-xs">Something in the form is missing or does not fit.</p>
        ) : null}
        {error !== null ? <ErrorNote error={error} compact /> : null}
      </form>
    </Dialog>
  );
}
