// Packs what is built, once and well: the coordinator serves the packed form to who takes it.
import { readdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";

const SMALL = 1024;
const dist = fileURLToPath(new URL("../dist", import.meta.url));
for (const entry of await readdir(dist, { recursive: true, withFileTypes: true })) {
  const path = join(entry.parentPath, entry.name);
  if (!entry.isFile() || !/\.(js|css|html|svg)$/.test(entry.name)) continue;
  const bytes = await readFile(path);
  if (bytes.length > SMALL) await writeFile(`${path}.gz`, gzipSync(bytes, { level: 9 }));
}
