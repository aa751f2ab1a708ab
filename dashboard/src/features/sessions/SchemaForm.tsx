import { useId, useState } from "react";
import { type Document, type Faults, kindOf, type Schema } from "./schema";

interface Props {
  schema: Schema;
  value: Document;
  change: (value: Document) => void;
  faults: Faults;
  at?: string;
}

/** A form for a document, made from its JSON Schema. */
export function SchemaForm({ schema, value, change, faults, at = "" }: Props) {
  return (
    <div className="flex flex-col gap-3">
      {Object.entries(schema.properties ?? {}).map(([name, field]) => (
        <Field
          key={name}
          name={name}
          schema={field}
          needed={schema.required?.includes(name) === true}
          value={value[name]}
          faults={faults}
          at={`${at}/${name}`}
          change={(next) => {
            const { [name]: _, ...rest } = value;
            change(next === undefined || next === "" ? rest : { ...value, [name]: next });
          }}
        />
      ))}
    </div>
  );
}

interface FieldProps {
  name: string;
  schema: Schema;
  needed: boolean;
  value: unknown;
  change: (value: unknown) => void;
  faults: Faults;
  at: string;
}

function Field({ name, schema, needed, value, change, faults, at }: FieldProps) {
  const id = useId();
  const kind = kindOf(schema);
  const label = schema.title ?? name;
  const fault = faults[at];
  const about = (
    <>
      {schema.description !== undefined ? (
        <p id={`${id}-about`} className="text-faint text-xs">
          {schema.description}
        </p>
      ) : null}
      {fault !== undefined ? (
        <p id={`${id}-fault`} className="text-red text-xs">
          {label} {fault}
        </p>
      ) : null}
    </>
  );
  if (kind === "group") {
    return (
      <fieldset className="rounded-lg border p-3">
        <legend className="px-1 text-dim text-xs">{label}</legend>
        <SchemaForm
          schema={schema}
          value={(value ?? {}) as Document}
          change={change}
          faults={faults}
          at={at}
        />
      </fieldset>
    );
  }
  const rest = {
    id,
    "aria-invalid": fault !== undefined,
    "aria-required": needed,
    "aria-describedby": `${id}-about ${id}-fault`,
  };
  if (kind === "boolean") {
    return (
      <div>
        <label className="flex items-center gap-2.5">
          <input
            {...rest}
            type="checkbox"
            className="size-4 accent-accent-strong"
            checked={value === true}
            onChange={(event) => change(event.target.checked)}
          />
          {label}
        </label>
        {about}
      </div>
    );
  }
  return (
    <div className="flex flex-col gap-1">
      <label htmlFor={id} className="text-dim text-xs">
        {label}
        {needed ? <span className="text-red"> *</span> : null}
      </label>
      <Input kind={kind} schema={schema} value={value} change={change} rest={rest} />
      {about}
    </div>
  );
}

interface InputProps {
  kind: ReturnType<typeof kindOf>;
  schema: Schema;
  value: unknown;
  change: (value: unknown) => void;
  rest: { id: string };
}

function Input({ kind, schema, value, change, rest }: InputProps) {
  const [json, setJson] = useState(() =>
    value === undefined ? "" : JSON.stringify(value, null, 2),
  );
  const [bad, setBad] = useState(false);
  switch (kind) {
    case "choice":
      return (
        <select
          {...rest}
          className="field"
          value={value === undefined ? "" : JSON.stringify(value)}
          onChange={(event) =>
            change(event.target.value === "" ? undefined : JSON.parse(event.target.value))
          }
        >
          <option value="">choose</option>
          {schema.enum?.map((one) => (
            <option key={JSON.stringify(one)} value={JSON.stringify(one)}>
              {String(one)}
            </option>
          ))}
        </select>
      );
    case "number":
    case "integer":
      return (
        <input
          {...rest}
          type="number"
          step={kind === "integer" ? 1 : "any"}
          min={schema.minimum}
          max={schema.maximum}
          className="field tabular"
          value={typeof value === "number" ? value : ""}
          onChange={(event) =>
            change(event.target.value === "" ? undefined : event.target.valueAsNumber)
          }
        />
      );
    case "long":
      return (
        <textarea
          {...rest}
          rows={4}
          className="field h-auto! py-1.5"
          value={String(value ?? "")}
          onChange={(event) => change(event.target.value)}
        />
      );
    case "words":
      return (
        <textarea
          {...rest}
          rows={2}
          placeholder="one a line"
          className="field h-auto! py-1.5"
          value={Array.isArray(value) ? value.join("\n") : ""}
          onChange={(event) =>
            change(event.target.value === "" ? undefined : event.target.value.split("\n"))
          }
        />
      );
    case "json":
      return (
        <>
          <textarea
            {...rest}
            rows={3}
            spellCheck={false}
            placeholder="JSON"
            className="field h-auto! py-1.5 font-mono text-xs"
            value={json}
            onChange={(event) => {
              setJson(event.target.value);
              try {
                change(
                  event.target.value.trim() === "" ? undefined : JSON.parse(event.target.value),
                );
                setBad(false);
              } catch {
                setBad(true);
              }
            }}
          />
          {bad ? <p className="text-red text-xs">This is not JSON yet</p> : null}
        </>
      );
    default:
      return (
        <input
          {...rest}
          className="field"
          value={String(value ?? "")}
          onChange={(event) => change(event.target.value)}
        />
      );
  }
}
