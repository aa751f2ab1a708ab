import { describe, expect, it } from "vitest";
import type { Session, Status } from "@/api/types";
import { treeOf } from "./tree";

const session = (id: string, status: Status, parent: string | null = null): Session =>
  ({ id, status, parent_id: parent }) as Session;

const all = [
  session("child-2", "failed", "root"),
  session("grandchild", "waiting", "child-1"),
  session("child-1", "running", "root"),
  session("root", "idle"),
  session("other", "finished"),
  session("orphan", "idle", "gone"),
];

describe("the tree of sessions", () => {
  it("is folded at first, and says what is beneath", () => {
    const rows = treeOf(all, new Set());
    expect(rows.map((row) => [row.session.id, row.below, row.rolled])).toEqual([
      ["root", 3, "waiting"],
      ["other", 0, "finished"],
      ["orphan", 0, "idle"],
    ]);
  });

  it("shows roots alone while parents are still to come", () => {
    const rows = treeOf(all, new Set(), true);
    expect(rows.map((row) => row.session.id)).toEqual(["root", "other"]);
  });

  it("unfolds level by level", () => {
    const rows = treeOf(all, new Set(["root", "child-1"]));
    expect(rows.map((row) => `${"-".repeat(row.depth)}${row.session.id}`)).toEqual([
      "root",
      "-child-2",
      "-child-1",
      "--grandchild",
      "other",
      "orphan",
    ]);
  });
});
