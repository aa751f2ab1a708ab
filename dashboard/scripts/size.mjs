// The scripts that a first load needs must stay small: the entry and all it imports
// statically, and the page that `/` shows.
import { readFile } from "node:fs/promises";
import { gzipSync } from "node:zlib";

const LIMIT = 250_000;
const dist = new URL("../dist/", import.meta.url);
const manifest = JSON.parse(await readFile(new URL(".vite/manifest.json", dist), "utf8"));
const entry = Object.keys(manifest).find((key) => manifest[key].isEntry);
const first = Object.keys(manifest).filter((key) =>
  key.endsWith("features/sessions/SessionsPage.tsx"),
);
const needed = new Set();
const take = (key) => {
  if (needed.has(key)) return;
  needed.add(key);
  for (const next of manifest[key].imports ?? []) take(next);
};
for (const key of [entry, ...first]) take(key);
let total = 0;
for (const key of needed) {
  const file = manifest[key].file;
  if (!file.endsWith(".js")) continue;
  const size = gzipSync(await readFile(new URL(file, dist)), { level: 9 }).length;
  total += size;
  console.log(`${String(size).padStart(8)}  ${file}`);
}
console.log(`${String(total).padStart(8)}  first load, gzip (limit ${LIMIT})`);
if (total > LIMIT) {
  console.error("the first load is too large");
  process.exit(1);
}
