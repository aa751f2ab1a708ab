import { describe, expect, it } from "vitest";
import { diffTexts, parsePatch, sideBySide } from "./diff";

const PATCH = `diff --git a/notes.md b/notes.md
index 1..2 100644
--- a/notes.md
+++ b/notes.md
@@ -1,2 +1,3 @@ notes
 # Notes
-- nothing
+- something
+- more
diff --git a/new.txt b/new.txt
new file mode 100644
index 0..1
--- /dev/null
+++ b/new.txt
@@ -0,0 +1 @@
+new
diff --git a/old.bin b/old.bin
deleted file mode 100644
Binary files a/old.bin and /dev/null differ
`;

describe("patches", () => {
  it("are read file by file", () => {
    const files = parsePatch(PATCH);
    expect(files.map((one) => [one.path, one.kind, one.added, one.removed, one.binary])).toEqual([
      ["notes.md", "changed", 2, 1, false],
      ["new.txt", "added", 1, 0, false],
      ["old.bin", "removed", 0, 0, true],
    ]);
    expect(files[0]?.hunks[0]?.lines.map((line) => [line.old, line.new])).toEqual([
      [1, 1],
      [2, null],
      [null, 2],
      [null, 3],
    ]);
  });

  it("are made from two texts", () => {
    const kinds = diffTexts("a\nb\nc\n", "a\nx\nc\nd\n").map(
      (line) => `${line.kind[0]}${line.text}`,
    );
    expect(kinds).toEqual(["sa", "rb", "ax", "sc", "ad"]);
    expect(diffTexts("", "a\n").map((line) => line.kind)).toEqual(["added"]);
    expect(diffTexts("same\n", "same\n").map((line) => line.kind)).toEqual(["same"]);
  });

  it("stand side by side", () => {
    const pairs = sideBySide(diffTexts("a\nb\nc\n", "a\nx\ny\nc\n"));
    expect(pairs.map(({ left, right }) => [left?.text ?? null, right?.text ?? null])).toEqual([
      ["a", "a"],
      ["b", "x"],
      [null, "y"],
      ["c", "c"],
    ]);
  });
});
