// Numbers and times for people.

export function ago(ms: number): string {
  const s = Math.max(0, Math.round(ms / 1000));
  if (s < 5) return "now";
  if (s < 60) return `${s}s`;
  if (s < 3600) return `${Math.floor(s / 60)}m`;
  if (s < 86_400) return `${Math.floor(s / 3600)}h`;
  return `${Math.floor(s / 86_400)}d`;
}

export function span(ms: number): string {
  if (ms < 1000) return `${Math.round(ms)} ms`;
  const s = ms / 1000;
  if (s < 10) return `${whole(s)} s`;
  if (s < 60) return `${Math.floor(s)} s`;
  const m = Math.floor(s / 60);
  if (m < 60) return both(m, "min", Math.floor(s % 60), "s");
  const h = Math.floor(m / 60);
  return h < 48 ? both(h, "h", m % 60, "min") : both(Math.floor(h / 24), "d", h % 24, "h");
}

const both = (n: number, unit: string, rest: number, smaller: string): string =>
  rest === 0 ? `${n} ${unit}` : `${n} ${unit} ${rest} ${smaller}`;

export function count(n: number): string {
  if (n < 1000) return String(n);
  if (n < 10_000) return `${(n / 1000).toFixed(1)}k`;
  if (n < 1_000_000) return `${Math.round(n / 1000)}k`;
  return `${(n / 1e6).toFixed(1)}M`;
}

const GROUPED = new Intl.NumberFormat("en");

export const grouped = (n: number): string => GROUPED.format(n);

export function cost(usd: number): string {
  if (usd === 0) return "$0";
  return usd < 0.01 ? `$${usd.toFixed(4)}` : `$${usd.toFixed(2)}`;
}

export function bytes(n: number): string {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  let value = n;
  while (value >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${unit === 0 || value >= 100 ? Math.round(value) : whole(value)} ${units[unit]}`;
}

/** With one digit after the point, where it says something. */
const whole = (n: number): string => n.toFixed(1).replace(/\.0$/, "");

/** Where an agent comes from, as short as it can be told from others. */
export function sourceName(source: string): string {
  const start = /^(?:\w+:)?(?:https?:\/\/[^/]+)?/.exec(source)?.[0] ?? "";
  const parts = source.slice(start.length).split("/");
  if (parts.length < 4) return source;
  const two = `${start}…/${parts.slice(-2).join("/")}`;
  return two.length > 23 ? `${start}…/${parts[parts.length - 1]}` : two;
}

// Made once: making one takes longer than a thousand uses.
const EXACT = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "medium" });
const CLOCK = new Intl.DateTimeFormat("en-GB", {
  hour: "2-digit",
  minute: "2-digit",
  second: "2-digit",
});

export const exact = (at: string): string => EXACT.format(Date.parse(at));

export const clock = (at: string): string => CLOCK.format(Date.parse(at));

export const plural = (n: number, one: string, many = `${one}s`): string =>
  `${grouped(n)} ${n === 1 ? one : many}`;
