// The reference of the API, rendered from what the coordinator says of itself.
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { apiQuery } from "@/api/queries";
import { CodeLine, ErrorNote, Rows } from "@/ui/bits";
import { Icon } from "@/ui/icons";
import { Json } from "../session/blocks/texts";

interface Schema {
  $ref?: string;
  type?: string | string[];
  [key: string]: unknown;
}

interface Operation {
  summary?: string;
  description?: string;
  tags?: string[];
  parameters?: {
    name: string;
    in: string;
    required?: boolean;
    description?: string;
    schema?: Schema;
  }[];
  requestBody?: { content?: Record<string, { schema?: Schema }> };
  responses?: Record<
    string,
    { description?: string; content?: Record<string, { schema?: Schema }> }
  >;
}

const METHODS = ["get", "post", "put", "patch", "delete"] as const;
const TONES: Readonly<Record<string, string>> = {
  get: "text-blue",
  post: "text-green",
  put: "text-amber",
  patch: "text-amber",
  delete: "text-red",
};

const nameOf = (schema: Schema | undefined): string | null => {
  const ref =
    schema?.$ref ??
    (schema?.oneOf as Schema[] | undefined)?.find((one) => one.$ref !== undefined)?.$ref;
  return ref?.split("/").pop() ?? null;
};

export default function ApiReference() {
  const api = useQuery(apiQuery);
  const [text, setText] = useState("");
  if (api.isPending) return <Rows n={8} height={44} />;
  if (api.isError) {
    return (
      <div className="p-4">
        <ErrorNote error={api.error} onRetry={() => void api.refetch()} />
      </div>
    );
  }
  const schemas = api.data.components.schemas as Record<string, Schema>;
  const sought = text.toLowerCase();
  const all = Object.entries(api.data.paths).flatMap(([path, methods]) =>
    METHODS.flatMap((method) => {
      const operation = methods[method] as Operation | undefined;
      if (operation === undefined) return [];
      const says = `${method} ${path} ${operation.summary ?? ""}`.toLowerCase();
      return says.includes(sought) ? [{ path, method, operation }] : [];
    }),
  );
  const groups = new Map<string, typeof all>();
  for (const one of all) {
    const tag = one.operation.tags?.[0] ?? "other";
    groups.set(tag, [...(groups.get(tag) ?? []), one]);
  }
  return (
    <div className="mx-auto max-w-4xl p-4">
      <div className="mb-4 flex flex-wrap items-center gap-3">
        <p className="flex-1 text-dim max-sm:basis-full">
          {api.data.info.title} {api.data.info.version}. The document itself is at{" "}
          <a href="/openapi.json" className="text-accent underline">
            /openapi.json
          </a>
          .
        </p>
        <input
          type="search"
          className="field max-w-60"
          placeholder="Find a call"
          aria-label="Find a call"
          value={text}
          onChange={(event) => setText(event.target.value)}
        />
      </div>
      {[...groups].map(([tag, operations]) => (
        <section key={tag} className="mb-6">
          <h2 className="mb-2 font-medium capitalize">{tag}</h2>
          <ul className="card divide-y overflow-hidden">
            {operations.map((one) => (
              <Call key={one.method + one.path} {...one} schemas={schemas} />
            ))}
          </ul>
        </section>
      ))}
    </div>
  );
}

function Call({
  path,
  method,
  operation,
  schemas,
}: {
  path: string;
  method: string;
  operation: Operation;
  schemas: Record<string, Schema>;
}) {
  const [open, setOpen] = useState(false);
  const body = Object.entries(operation.requestBody?.content ?? {})[0];
  const shape = (schema: Schema | undefined) => {
    const name = nameOf(schema);
    return { name, schema: name === null ? schema : schemas[name] };
  };
  const sent = shape(body?.[1].schema);
  return (
    <li>
      <button
        type="button"
        aria-expanded={open}
        onClick={() => setOpen(!open)}
        className="flex w-full items-center gap-3 px-3 py-2 text-left hover:bg-hover"
      >
        <Icon name={open ? "down" : "right"} size={12} className="text-faint" />
        <span className={`w-14 font-mono text-xs uppercase ${TONES[method]}`}>{method}</span>
        <span className="min-w-0 break-all font-mono text-xs">{path}</span>
        <span className="ml-auto hidden truncate text-dim text-xs sm:block">
          {operation.summary}
        </span>
      </button>
      {open ? (
        <div className="flex flex-col gap-3 border-t bg-sunken px-4 py-3">
          {operation.description !== undefined ? (
            <p className="whitespace-pre-wrap">{operation.description}</p>
          ) : null}
          <CodeLine
            label="call"
            text={`curl -X ${method.toUpperCase()} -H "Authorization: Bearer $GREENROOM_TOKEN" ${location.origin}${path}`}
          />
          {operation.parameters !== undefined && operation.parameters.length > 0 ? (
            <dl className="grid grid-cols-[minmax(7rem,auto)_1fr] gap-x-4 gap-y-1 text-xs">
              {operation.parameters.map((one) => (
                <div key={one.in + one.name} className="contents">
                  <dt className="font-mono">
                    {one.name}
                    {one.required === true ? <span className="text-red"> *</span> : null}{" "}
                    <span className="text-faint">{one.in}</span>
                  </dt>
                  <dd className="text-dim">{one.description}</dd>
                </div>
              ))}
            </dl>
          ) : null}
          {body !== undefined ? (
            <div>
              <h3 className="mb-1 text-dim text-xs">
                Body, {body[0]} {sent.name !== null ? `(${sent.name})` : ""}
              </h3>
              <Json value={sent.schema} />
            </div>
          ) : null}
          <ul className="flex flex-col gap-1 text-xs">
            {Object.entries(operation.responses ?? {}).map(([status, answer]) => {
              const name = nameOf(Object.values(answer.content ?? {})[0]?.schema);
              return (
                <li key={status} className="flex gap-3">
                  <span
                    className={`w-8 font-mono ${status.startsWith("2") ? "text-green" : "text-dim"}`}
                  >
                    {status}
                  </span>
                  <span className="text-dim">{answer.description}</span>
                  {name !== null && name !== "Problem" ? (
                    <span className="font-mono text-faint">{name}</span>
                  ) : null}
                </li>
              );
            })}
          </ul>
        </div>
      ) : null}
    </li>
  );
}
