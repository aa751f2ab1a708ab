// What waits, where it is seen without looking: in the title, in the icon, and as a
// notification for those who want one.
import { useEffect, useRef } from "react";
import type { Session } from "@/api/types";
import { nameOf } from "./words";

const KEY = "greenroom.notify";

export const wantsNotifications = (): boolean => {
  try {
    return (
      localStorage.getItem(KEY) === "yes" &&
      "Notification" in window &&
      Notification.permission === "granted"
    );
  } catch {
    return false;
  }
};

export async function setNotifications(on: boolean): Promise<boolean> {
  if (on && (!("Notification" in window) || (await Notification.requestPermission()) !== "granted"))
    return false;
  localStorage.setItem(KEY, on ? "yes" : "no");
  return on;
}

function drawIcon(count: number): void {
  const link = document.getElementById("favicon") as HTMLLinkElement | null;
  if (link === null) return;
  if (count === 0) {
    link.href = "/assets/favicon.svg";
    return;
  }
  const says = count > 9 ? "9+" : String(count);
  const svg = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><rect width="32" height="32" rx="8" fill="#1f7a55"/><circle cx="20" cy="12" r="11" fill="#7435c9"/><text x="20" y="17.5" font-family="sans-serif" font-weight="700" font-size="15" fill="#fff" text-anchor="middle">${says}</text></svg>`;
  link.href = `data:image/svg+xml,${encodeURIComponent(svg)}`;
}

let base = "Greenroom";

function writeTitle(count: number): void {
  document.title = count > 0 ? `(${count}) ${base}` : base;
}

let current = 0;

/** What this page is called. */
export function useTitle(title: string): void {
  useEffect(() => {
    base = title === "" ? "Greenroom" : `${title} · Greenroom`;
    writeTitle(current);
  }, [title]);
}

/** Tells of what waits, and of what is new among it; what waited before the page came is no news. */
export function useBell(waiting: readonly Session[] | undefined): void {
  const known = useRef<Set<string> | null>(null);
  useEffect(() => {
    if (waiting === undefined) return;
    current = waiting.length;
    writeTitle(current);
    drawIcon(current);
    const before = known.current;
    known.current = new Set(waiting.map((one) => one.id));
    if (before === null || !document.hidden || !wantsNotifications()) return;
    for (const session of waiting) {
      if (before.has(session.id)) continue;
      const note = new Notification(`${nameOf(session)} waits for you`, {
        body: session.agent.name,
        tag: session.id,
      });
      note.onclick = () => {
        window.focus();
        note.close();
      };
    }
  }, [waiting]);
}
