// Keys for everything: single letters, and `g` with a letter after it. They rest while
// somebody types, and while a dialog is open.
import { useEffect, useRef } from "react";

type Keys = Readonly<Record<string, (event: KeyboardEvent) => void>>;

const stack: { current: Keys }[] = [];
let prefix: { key: string; at: number } | null = null;

function isTyping(target: EventTarget | null): boolean {
  const element = target as HTMLElement | null;
  if (element === null || typeof element.closest !== "function") return false;
  return (
    element.isContentEditable ||
    element.closest("input:not([type=checkbox]), textarea, select, [role=slider]") !== null
  );
}

function onKey(event: KeyboardEvent): void {
  if (event.defaultPrevented || event.isComposing) return;
  const command = event.metaKey || event.ctrlKey;
  const name = command ? `mod+${event.key.toLowerCase()}` : event.key;
  const blocked =
    isTyping(event.target) || document.querySelector("[role=dialog],[role=menu]") !== null;
  if (blocked && !command && event.key !== "Escape") return;
  if (event.altKey || (command && name !== "mod+k" && name !== "mod+enter")) return;
  const sequence =
    prefix !== null && Date.now() - prefix.at < 1200 ? `${prefix.key} ${event.key}` : null;
  prefix = null;
  for (const names of sequence === null ? [name] : [sequence, name]) {
    for (const { current } of stack.toReversed()) {
      const then = current[names];
      if (then === undefined) continue;
      event.preventDefault();
      then(event);
      return;
    }
  }
  if (event.key === "g" && !command) prefix = { key: "g", at: Date.now() };
}

/** What these keys do while this is shown. The latest to be shown comes first. */
export function useKeys(keys: Keys, on = true): void {
  const kept = useRef(keys);
  kept.current = keys;
  useEffect(() => {
    if (!on) return;
    if (stack.length === 0) window.addEventListener("keydown", onKey);
    stack.push(kept);
    return () => {
      stack.splice(stack.indexOf(kept), 1);
      if (stack.length === 0) window.removeEventListener("keydown", onKey);
    };
  }, [on]);
}
