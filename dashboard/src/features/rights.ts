// What may be asked of a session in each status, and by whom.
import { useQuery } from "@tanstack/react-query";
import { meQuery } from "@/api/queries";
import type { Role, Session, Status } from "@/api/types";

/** Sessions that have, or will have, a compute. */
const STOPPABLE = new Set<Status>([
  "queued",
  "starting",
  "running",
  "waiting",
  "idle",
  "unreachable",
]);
const ABANDONABLE = new Set<Status>(["unreachable", "stop_unconfirmed"]);
const RESUMABLE = new Set<Status>(["stopped", "failed", "interrupted", "finished"]);

export const canStop = (status: Status): boolean => STOPPABLE.has(status);
/** A stop that was not proven can be tried again. */
export const canStopAgain = (status: Status): boolean => status === "stop_unconfirmed";
export const canAbandon = (status: Status): boolean => ABANDONABLE.has(status);
export const canResume = (session: Session): boolean =>
  session.hold ||
  (RESUMABLE.has(session.status) && session.status_reason === "expired") ||
  session.status === "stopped";

interface Me {
  role: Role | null;
  principal: string | null;
  /** May start, prompt and stop. */
  uses: boolean;
  operates: boolean;
  administers: boolean;
}

/** Who looks at this. Where the coordinator does not say, it refuses what is not allowed. */
export function useMe(): Me {
  const { data } = useQuery(meQuery);
  const role = data?.role ?? null;
  return {
    role,
    principal: data?.principal ?? null,
    uses: role === null || role === "admin" || role === "operator",
    operates: role === null || role === "admin" || role === "operator",
    administers: role === null || role === "admin",
  };
}
