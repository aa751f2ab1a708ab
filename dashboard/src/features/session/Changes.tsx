import { useQuery } from "@tanstack/react-query";
import { lazy, Suspense } from "react";
import { problemOf } from "@/api/client";
import { diffQuery } from "@/api/queries";
import { copy, Empty, ErrorNote, Rows } from "@/ui/bits";
import { Button, IconButton } from "@/ui/button";
import { NotKept } from "./NotKept";

const Patch = lazy(() => import("@/rich/Diff"));

/** What has changed in the workspace since the session began. */
export default function Changes({
  id,
  seq,
  version,
}: {
  id: string;
  seq: number | null;
  version: number;
}) {
  const diff = useQuery(diffQuery(id, seq ?? undefined));
  if (diff.isPending) return <Rows n={6} height={40} />;
  if (diff.isError) {
    const problem = problemOf(diff.error);
    if (problem.code === "no_files_kept") return <NotKept problem={problem} />;
    if (problem.code === "no_repository") {
      return (
        <Empty icon="diff" title="The workspace is no clone of a git repository">
          An agent with{" "}
          <code className="font-mono text-xs">{"workspace: {from: git, url: …}"}</code> has one, and
          what it changes is shown here.
        </Empty>
      );
    }
    return (
      <div className="p-4">
        <ErrorNote error={problem} onRetry={() => void diff.refetch()} />
      </div>
    );
  }
  return (
    <div className="min-h-0 flex-1 overflow-y-auto" data-version={version}>
      <div className="flex items-center gap-2 border-b px-4 py-1.5 text-dim text-xs">
        {seq === null
          ? "Since the session began"
          : `From its beginning to the end of the last run that had ended by entry ${seq}`}
        <span className="ml-auto flex gap-1">
          <IconButton
            icon="copy"
            label="Copy the patch"
            onClick={() => void copy(diff.data, "The patch is copied")}
          />
          <Button
            small
            look="ghost"
            icon="refresh"
            busy={diff.isFetching}
            onClick={() => void diff.refetch()}
          >
            Again
          </Button>
        </span>
      </div>
      {diff.data.trim() === "" ? (
        <Empty icon="check" title="Nothing has changed" />
      ) : (
        <div className="p-4">
          <Suspense fallback={<Rows n={6} height={24} />}>
            <Patch patch={diff.data} />
          </Suspense>
        </div>
      )}
    </div>
  );
}
