// What of a JSON Schema a form can ask for; everything else is written as JSON.

export interface Schema {
  type?: string | string[];
  title?: string;
  description?: string;
  enum?: unknown[];
  const?: unknown;
  default?: unknown;
  properties?: Record<string, Schema>;
  required?: string[];
  items?: Schema;
  minimum?: number;
  maximum?: number;
  minLength?: number;
  maxLength?: number;
  pattern?: string;
  format?: string;
}

type FieldKind =
  | "text"
  | "long"
  | "number"
  | "integer"
  | "boolean"
  | "choice"
  | "words"
  | "group"
  | "json";

export function kindOf(schema: Schema): FieldKind {
  if (Array.isArray(schema.enum)) return "choice";
  const types = (Array.isArray(schema.type) ? schema.type : [schema.type]).filter(
    (one) => one !== "null",
  );
  if (types.length !== 1) return "json";
  switch (types[0]) {
    case "string":
      return (schema.maxLength ?? 0) > 200 || schema.format === "textarea" ? "long" : "text";
    case "number":
      return "number";
    case "integer":
      return "integer";
    case "boolean":
      return "boolean";
    case "array":
      return schema.items?.type === "string" && schema.items.enum === undefined ? "words" : "json";
    case "object":
      return schema.properties === undefined ? "json" : "group";
    default:
      return "json";
  }
}

export type Document = Record<string, unknown>;

/** What a form begins with. */
export function initial(schema: Schema): unknown {
  if (schema.default !== undefined) return schema.default;
  if (kindOf(schema) !== "group") return undefined;
  const entries = Object.entries(schema.properties ?? {}).map(
    ([name, field]) => [name, initial(field)] as const,
  );
  return Object.fromEntries(entries.filter(([, value]) => value !== undefined));
}

export type Faults = Record<string, string>;

/** What is wrong with a document, by the place in it. The coordinator has the last word. */
export function faults(schema: Schema, value: unknown, at = ""): Faults {
  const found: Faults = {};
  const kind = kindOf(schema);
  if (kind === "group") {
    const document = (value ?? {}) as Document;
    for (const [name, field] of Object.entries(schema.properties ?? {})) {
      const path = `${at}/${name}`;
      const one = document[name];
      if (one === undefined || one === "") {
        if (schema.required?.includes(name) === true) found[path] = "is needed";
        continue;
      }
      Object.assign(found, faults(field, one, path));
    }
    return found;
  }
  if (kind === "integer" && !Number.isInteger(value)) found[at] = "is not a whole number";
  if (kind === "number" && typeof value !== "number") found[at] = "is not a number";
  if (typeof value === "number") {
    if (schema.minimum !== undefined && value < schema.minimum)
      found[at] = `is less than ${schema.minimum}`;
    if (schema.maximum !== undefined && value > schema.maximum)
      found[at] = `is more than ${schema.maximum}`;
  }
  if (typeof value === "string") {
    if (schema.minLength !== undefined && value.length < schema.minLength)
      found[at] = `is shorter than ${schema.minLength} characters`;
    if (schema.maxLength !== undefined && value.length > schema.maxLength)
      found[at] = `is longer than ${schema.maxLength} characters`;
    if (schema.pattern !== undefined && !fits(schema.pattern, value))
      found[at] = `does not fit ${schema.pattern}`;
  }
  return found;
}

function fits(pattern: string, value: string): boolean {
  try {
    return new RegExp(pattern, "u").test(value);
  } catch {
    return true;
  }
}

const UNITS: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
};

/** `15m` as milliseconds; `null` for what is no span of time. */
export function duration(text: string): number | null {
  const match = /^(\d+)\s*(ms|s|m|h|d)$/.exec(text.trim());
  const unit = UNITS[match?.[2] ?? ""];
  return match === null || unit === undefined ? null : Number(match[1]) * unit;
}

const SIZES: Readonly<Record<string, number>> = {
  "": 1,
  b: 1,
  kib: 1024,
  mib: 1024 ** 2,
  gib: 1024 ** 3,
  kb: 1000,
  mb: 1000 ** 2,
  gb: 1000 ** 3,
};

/** `512MiB` as bytes; `null` for what is no size. */
export function size(text: string): number | null {
  const match = /^(\d+)\s*([kmg]?i?b)?$/i.exec(text.trim());
  const unit = SIZES[(match?.[2] ?? "").toLowerCase()];
  return match === null || unit === undefined ? null : Number(match[1]) * unit;
}
