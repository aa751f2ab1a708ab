// What can be done with a session, wherever its menu is opened.
import { perform, resumeSession } from "@/api/actions";
import type { Session } from "@/api/types";
import { refresh } from "@/live/cache";
import { copy } from "@/ui/bits";
import type { MenuItem } from "@/ui/overlay";
import { complain, toast } from "@/ui/toast";
import { ask } from "../dialogs";
import { canAbandon, canResume, canStop, canStopAgain } from "../rights";
import { nameOf } from "../words";

export async function resume(session: Session): Promise<void> {
  try {
    await perform(resumeSession(session.id));
    toast({ tone: "good", text: `${nameOf(session)} goes on` });
  } catch (error) {
    complain(error);
  }
  await refresh(session.id);
}

export function sessionMenu(session: Session): (MenuItem | null)[] {
  const items: (MenuItem | null)[] = [];
  if (canStop(session.status) || canStopAgain(session.status)) {
    const label = canStop(session.status) ? "Stop…" : "Try the stop again…";
    items.push({
      label,
      icon: "stop",
      keys: "s",
      onSelect: () => ask({ kind: "stop", sessions: [session] }),
    });
  }
  if (canResume(session)) {
    items.push({ label: "Resume", icon: "play", keys: "r", onSelect: () => void resume(session) });
  }
  if (canAbandon(session.status)) {
    items.push({
      label: "Abandon…",
      icon: "warning",
      about: "closes its compute by your word",
      onSelect: () => ask({ kind: "abandon", session }),
    });
  }
  if (items.length > 0) items.push(null);
  items.push(
    {
      label: "Copy the id",
      icon: "copy",
      onSelect: () => void copy(session.id, `${session.id} is copied`),
    },
    {
      label: "Copy a link",
      icon: "link",
      onSelect: () => void copy(`${location.origin}/sessions/${encodeURIComponent(session.id)}`),
    },
    {
      label: "Copy: watch it in a terminal",
      icon: "terminal",
      onSelect: () => void copy(`greenroom sessions watch ${session.id}`),
    },
    null,
    {
      label: "New session like this…",
      icon: "plus",
      onSelect: () =>
        ask({
          kind: "new",
          prefill: {
            agent: session.agent.name,
            labels: session.labels,
            title: session.title ?? null,
          },
        }),
    },
    null,
    {
      label: "Delete…",
      icon: "trash",
      danger: true,
      keys: "Del",
      onSelect: () => ask({ kind: "delete", sessions: [session] }),
    },
  );
  return items;
}
