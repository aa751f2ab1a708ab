// Dialogs that can be asked for from anywhere.
import { useSyncExternalStore } from "react";
import type { CreateSession, Session } from "@/api/types";

export type Asked =
  | { kind: "stop"; sessions: Session[] }
  | { kind: "abandon"; session: Session }
  | { kind: "delete"; sessions: Session[]; done?: () => void }
  | { kind: "new"; prefill?: Partial<CreateSession> }
  | { kind: "keys" }
  | { kind: "palette" };

let asked: Asked | null = null;
const listeners = new Set<() => void>();

export function ask(next: Asked | null): void {
  asked = next;
  for (const then of listeners) then();
}

const subscribe = (then: () => void): (() => void) => {
  listeners.add(then);
  return () => listeners.delete(then);
};

export const useAsked = (): Asked | null => useSyncExternalStore(subscribe, () => asked);
