import { problemOf } from "@/api/client";
import { Empty } from "@/ui/bits";

/** Whether the coordinator says that it has no files of that moment. */
export function isNotKept(error: unknown): boolean {
  return ["no_files_kept", "no_repository"].includes(problemOf(error).code);
}

/** Why there are none, in its words. */
export function NotKept({ problem }: { problem: { message: string; hint: string | undefined } }) {
  return (
    <Empty icon="clock" title="The files of this moment are not kept">
      {problem.message}
      {problem.hint !== undefined ? <span className="mt-1 block">{problem.hint}</span> : null}
    </Empty>
  );
}
