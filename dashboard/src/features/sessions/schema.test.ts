import { describe, expect, it } from "vitest";
import { duration, faults, initial, kindOf, type Schema, size } from "./schema";

const schema: Schema = {
  type: "object",
  required: ["ticket"],
  properties: {
    ticket: { type: "string", minLength: 3 },
    priority: { type: "string", enum: ["low", "high"], default: "low" },
    attempts: { type: "integer", minimum: 1, maximum: 5 },
    files: { type: "array", items: { type: "string" } },
    where: { type: "object", properties: { branch: { type: "string", default: "main" } } },
    anything: {},
  },
};

describe("a form from a schema", () => {
  it("knows what to ask for", () => {
    const kinds = Object.entries(schema.properties ?? {}).map(([name, field]) => [
      name,
      kindOf(field),
    ]);
    expect(Object.fromEntries(kinds)).toEqual({
      ticket: "text",
      priority: "choice",
      attempts: "integer",
      files: "words",
      where: "group",
      anything: "json",
    });
  });

  it("begins with what the schema says", () => {
    expect(initial(schema)).toEqual({ priority: "low", where: { branch: "main" } });
  });

  it("says what is missing or does not fit, and where", () => {
    expect(faults(schema, { attempts: 9 })).toEqual({
      "/ticket": "is needed",
      "/attempts": "is more than 5",
    });
    expect(faults(schema, { ticket: "x", attempts: 1.5 })).toEqual({
      "/ticket": "is shorter than 3 characters",
      "/attempts": "is not a whole number",
    });
    expect(faults(schema, { ticket: "GR-1" })).toEqual({});
  });

  it("reads spans of time and sizes as agent files have them", () => {
    expect([duration("15m"), duration("500ms"), duration("2 h"), duration("soon")]).toEqual([
      900_000,
      500,
      7_200_000,
      null,
    ]);
    expect([size("512MiB"), size("1GB"), size("100"), size("big")]).toEqual([
      512 * 1024 ** 2,
      1e9,
      100,
      null,
    ]);
  });
});
