// What somebody has seen: kept by the coordinator where it can, else in this browser.
import { queryOptions, useQuery } from "@tanstack/react-query";
import { useCallback } from "react";
import { get, problemOf, send, url } from "@/api/client";
import { queries, useCan } from "@/api/queries";

type Marks = Record<string, number>;

const STORE = "greenroom.seen";

function local(): Marks {
  try {
    return JSON.parse(localStorage.getItem(STORE) ?? "{}") as Marks;
  } catch {
    return {};
  }
}

const seenQuery = queryOptions({
  queryKey: ["seen"],
  queryFn: async ({ signal }): Promise<{ items: Marks; here: boolean }> => {
    try {
      const { items } = await get<{ items: Marks }>("/v1/seen", { signal });
      return { items, here: false };
    } catch (error) {
      if (!problemOf(error).isUnsupported) throw error;
      return { items: local(), here: true };
    }
  },
});

export interface Seen {
  marks: Marks;
  /** They are kept in this browser only. */
  here: boolean;
  see: (id: string, seq: number) => void;
}

const pending = new Map<string, ReturnType<typeof setTimeout>>();

export function useSeen(): Seen {
  const can = useCan("get", "/v1/seen");
  // A coordinator that does not keep them is not asked.
  const { data } = useQuery({ ...seenQuery, enabled: can === true });
  const here = can === false || data?.here === true;
  const marks = here
    ? (queries.getQueryData<Marks>(["seen-here"]) ?? local())
    : (data?.items ?? {});
  useQuery({ queryKey: ["seen-here"], queryFn: local, enabled: here });
  const see = useCallback(
    (id: string, seq: number) => {
      if (can === undefined) return;
      if (can === false) {
        const next = { ...local(), [id]: seq };
        localStorage.setItem(
          STORE,
          JSON.stringify(Object.fromEntries(Object.entries(next).slice(-2000))),
        );
        queries.setQueryData(["seen-here"], next);
        return;
      }
      queries.setQueryData<{ items: Marks; here: boolean }>(seenQuery.queryKey, (known) => ({
        here: false,
        items: { ...known?.items, [id]: Math.max(seq, known?.items[id] ?? 0) },
      }));
      clearTimeout(pending.get(id));
      const put = () => {
        pending.delete(id);
        void send(url(["v1", "sessions", id, "seen"]), { method: "PUT", body: { seq } }).catch(
          () => {},
        );
      };
      pending.set(id, setTimeout(put, 800));
    },
    [can],
  );
  return { marks, here, see };
}
