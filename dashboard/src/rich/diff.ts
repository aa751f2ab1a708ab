// Reading patches, and making one from two texts.

export interface DiffLine {
  kind: "same" | "added" | "removed";
  old: number | null;
  new: number | null;
  text: string;
}

interface Hunk {
  head: string;
  lines: DiffLine[];
}

export interface FileDiff {
  path: string;
  from: string | null;
  kind: "added" | "removed" | "renamed" | "changed";
  binary: boolean;
  added: number;
  removed: number;
  hunks: Hunk[];
}

const HUNK = /^@@ -(\d+)(?:,\d+)? \+(\d+)(?:,\d+)? @@(.*)$/;

const unquoted = (path: string): string => {
  const bare = path.replace(/\t.*$/, "");
  if (!bare.startsWith('"')) return bare;
  try {
    return JSON.parse(bare) as string;
  } catch {
    return bare;
  }
};
const stripped = (path: string): string => unquoted(path).replace(/^[ab]\//, "");

/** Reads a patch as git writes it. */
export function parsePatch(patch: string): FileDiff[] {
  const files: FileDiff[] = [];
  let file: FileDiff | undefined;
  let hunk: Hunk | undefined;
  let [oldAt, newAt] = [0, 0];
  for (const line of patch.split("\n")) {
    if (line.startsWith("diff --git ")) {
      const path = / b\/(.*)$/.exec(line)?.[1] ?? line.slice(11);
      file = {
        path: path.replace(/"$/, ""),
        from: null,
        kind: "changed",
        binary: false,
        added: 0,
        removed: 0,
        hunks: [],
      };
      files.push(file);
      hunk = undefined;
      continue;
    }
    if (file === undefined) continue;
    const head = HUNK.exec(line);
    if (head !== null) {
      [oldAt, newAt] = [Number(head[1]), Number(head[2])];
      hunk = { head: line, lines: [] };
      file.hunks.push(hunk);
      continue;
    }
    if (hunk === undefined) {
      if (line.startsWith("new file")) file.kind = "added";
      else if (line.startsWith("deleted file")) file.kind = "removed";
      else if (line.startsWith("rename from "))
        Object.assign(file, { kind: "renamed", from: unquoted(line.slice(12)) });
      else if (line.startsWith("+++ ") && line !== "+++ /dev/null")
        file.path = stripped(line.slice(4));
      else if (line.startsWith("Binary files") || line === "GIT binary patch") file.binary = true;
      continue;
    }
    const text = line.slice(1);
    if (line.startsWith("+")) {
      hunk.lines.push({ kind: "added", old: null, new: newAt++, text });
      file.added += 1;
    } else if (line.startsWith("-")) {
      hunk.lines.push({ kind: "removed", old: oldAt++, new: null, text });
      file.removed += 1;
    } else if (line.startsWith(" ")) {
      hunk.lines.push({ kind: "same", old: oldAt++, new: newAt++, text });
    }
  }
  return files;
}

/** Larger texts are shown one after the other instead of line by line. */
const MOST_CELLS = 4_000_000;

/** The lines of two texts, side by side: their longest common part stays in place. */
export function diffTexts(before: string, after: string): DiffLine[] {
  const a = before.replace(/\n$/, "").split("\n");
  const b = after.replace(/\n$/, "").split("\n");
  if (before === "") a.length = 0;
  if (after === "") b.length = 0;
  let start = 0;
  while (start < a.length && start < b.length && a[start] === b[start]) start += 1;
  let [endA, endB] = [a.length, b.length];
  while (endA > start && endB > start && a[endA - 1] === b[endB - 1]) {
    endA -= 1;
    endB -= 1;
  }
  const lines: DiffLine[] = [];
  let [i, j] = [0, 0];
  const same = () => lines.push({ kind: "same", old: ++i, new: ++j, text: a[i - 1] ?? "" });
  const removed = () => lines.push({ kind: "removed", old: ++i, new: null, text: a[i - 1] ?? "" });
  const added = () => lines.push({ kind: "added", old: null, new: ++j, text: b[j - 1] ?? "" });
  while (i < start) same();
  const [height, width] = [endA - start, endB - start];
  if (height * width <= MOST_CELLS) {
    const common = new Uint32Array((height + 1) * (width + 1));
    const at = (y: number, x: number) => y * (width + 1) + x;
    for (let y = height - 1; y >= 0; y -= 1) {
      for (let x = width - 1; x >= 0; x -= 1) {
        common[at(y, x)] =
          a[start + y] === b[start + x]
            ? (common[at(y + 1, x + 1)] ?? 0) + 1
            : Math.max(common[at(y + 1, x)] ?? 0, common[at(y, x + 1)] ?? 0);
      }
    }
    while (i < endA && j < endB) {
      const [y, x] = [i - start, j - start];
      if (a[i] === b[j]) same();
      else if ((common[at(y + 1, x)] ?? 0) >= (common[at(y, x + 1)] ?? 0)) removed();
      else added();
    }
  }
  while (i < endA) removed();
  while (j < endB) added();
  while (i < a.length) same();
  return lines;
}

interface Pair {
  left: DiffLine | null;
  right: DiffLine | null;
}

/** Removed lines beside the added ones that took their place. */
export function sideBySide(lines: readonly DiffLine[]): Pair[] {
  const pairs: Pair[] = [];
  let removed: DiffLine[] = [];
  let added: DiffLine[] = [];
  const flush = () => {
    for (let i = 0; i < Math.max(removed.length, added.length); i += 1) {
      pairs.push({ left: removed[i] ?? null, right: added[i] ?? null });
    }
    removed = [];
    added = [];
  };
  for (const line of lines) {
    if (line.kind === "removed") {
      if (added.length > 0) flush();
      removed.push(line);
    } else if (line.kind === "added") added.push(line);
    else {
      flush();
      pairs.push({ left: line, right: line });
    }
  }
  flush();
  return pairs;
}
