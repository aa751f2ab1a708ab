// What somebody has seen: the coordinator keeps it, for every browser of a person.
import { queryOptions, useQuery } from "@tanstack/react-query";
import { get, send, url } from "@/api/client";
import { queries } from "@/api/queries";
import type { Seen } from "@/api/types";

const seenQuery = queryOptions({
  queryKey: ["seen"],
  queryFn: async ({ signal }): Promise<Seen> => {
    const { items } = await get<Seen>("/v1/seen", { signal });
    // What is about to be said here is true already.
    return { items: merged(items, unsaid) };
  },
  // What other browsers have seen is in no stream: it is asked for while somebody looks.
  staleTime: 0,
  refetchOnWindowFocus: true,
  refetchInterval: 20_000,
});

type Marks = Seen["items"];

const unsaid: Marks = {};
const timers = new Map<string, ReturnType<typeof setTimeout>>();

/** A mark never goes back. */
function merged(known: Marks, more: Marks): Marks {
  const all = { ...known };
  for (const [id, seq] of Object.entries(more)) all[id] = Math.max(seq, all[id] ?? 0);
  return all;
}

export function see(id: string, seq: number): void {
  queries.setQueryData<Seen>(["seen"], (known) => ({
    items: merged(known?.items ?? {}, { [id]: seq }),
  }));
  unsaid[id] = Math.max(seq, unsaid[id] ?? 0);
  clearTimeout(timers.get(id));
  timers.set(
    id,
    setTimeout(() => void say(id), 500),
  );
}

async function say(id: string): Promise<void> {
  timers.delete(id);
  const seq = unsaid[id];
  if (seq === undefined) return;
  try {
    await send(url(["v1", "sessions", id, "seen"]), { method: "PUT", body: { seq } });
  } catch {
    // It is said again with the next entry that is seen.
  }
  if (unsaid[id] === seq) delete unsaid[id];
}

/** How far each session was seen. */
export const useSeen = (): Marks => useQuery(seenQuery).data?.items ?? {};
