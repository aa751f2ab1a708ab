// Fails when the checked-in types are not those of ../docs/openapi.json.
import { readFile } from "node:fs/promises";
import openapi, { astToString } from "openapi-typescript";

const spec = new URL("../../docs/openapi.json", import.meta.url);
const kept = new URL("../src/api/schema.d.ts", import.meta.url);
const made = astToString(await openapi(spec, { alphabetize: true }));
const strip = (text) => text.replace(/^\/\*\*[\s\S]*?\*\/\n/, "").trim();
if (strip(await readFile(kept, "utf8")) !== strip(made)) {
  console.error("src/api/schema.d.ts is not that of docs/openapi.json: run `npm run types`");
  process.exit(1);
}
console.log("types: as in docs/openapi.json");
