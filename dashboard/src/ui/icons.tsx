// Line icons on a grid of 16, drawn for these pages.
import type { SVGProps } from "react";

const PATHS = {
  sessions: "M2.5 4h11M2.5 8h11M2.5 12h7",
  attention: "M2.5 9.5h3l1 2h3l1-2h3M2.5 9.5v3h11v-3M4.5 3.5h7l2 6M4.5 3.5l-2 6",
  runners: "M3 3h10v4H3zM3 9h10v4H3zM5.5 5h.01M5.5 11h.01",
  agents:
    "M5 6h6a2 2 0 0 1 2 2v3a2 2 0 0 1-2 2H5a2 2 0 0 1-2-2V8a2 2 0 0 1 2-2ZM8 6V3.2M6 9.3v.4M10 9.3v.4",
  settings: "M2.5 5h6M11.5 5h2M2.5 11h2M7.5 11h6M10 3.3v3.4M6 9.3v3.4",
  search: "M7 11.5a4.5 4.5 0 1 0 0-9 4.5 4.5 0 0 0 0 9ZM10.4 10.4l3.1 3.1",
  plus: "M8 3v10M3 8h10",
  close: "M4 4l8 8M12 4l-8 8",
  check: "M3.5 8.5l3 3 6-7",
  stop: "M4.5 4.5h7v7h-7z",
  play: "M5 3.5v9l7-4.5z",
  trash: "M3 4.5h10M6.5 4V2.8h3V4M4.5 4.5l.6 8.7h5.8l.6-8.7M7 7v3.7M9 7v3.7",
  copy: "M5.5 5.5h8v8h-8zM3.5 10.5h-1v-8h8v1",
  link: "M6.7 9.3a2.6 2.6 0 0 0 3.9.3l2-2a2.6 2.6 0 0 0-3.7-3.7l-.9.9M9.3 6.7a2.6 2.6 0 0 0-3.9-.3l-2 2a2.6 2.6 0 0 0 3.7 3.7l.9-.9",
  right: "M6 3.5L10.5 8 6 12.5",
  down: "M3.5 6L8 10.5 12.5 6",
  up: "M3.5 10L8 5.5l4.5 4.5",
  more: "M3.5 8h.01M8 8h.01M12.5 8h.01",
  send: "M8 13V3.5M4 7.5l4-4 4 4",
  file: "M4 2.5h5l3 3v8H4zM9 2.5v3h3",
  folder: "M2.5 4h4l1.3 1.5h5.7v7h-11z",
  upload: "M8 10.5V3M5 5.8L8 2.8l3 3M3 10.5v3h10v-3",
  download: "M8 2.5V10M5 7.2l3 3 3-3M3 10.5v3h10v-3",
  code: "M5.5 4.5L2 8l3.5 3.5M10.5 4.5L14 8l-3.5 3.5",
  terminal: "M3 4l3.5 3.5L3 11M8 12h5",
  tool: "M10.2 2.7a3.3 3.3 0 0 0-3 4.5L2.7 11.7l1.6 1.6 4.5-4.5a3.3 3.3 0 0 0 4.4-4L11.2 6.8 9.2 4.8z",
  thought: "M8 2.5a4.3 4.3 0 0 1 2.3 8v1.7H5.7v-1.7A4.3 4.3 0 0 1 8 2.5ZM6.2 14h3.6",
  plan: "M2.5 4.2l1 1 1.8-2M2.5 10.2l1 1 1.8-2M7.5 4.5h6M7.5 10.5h6",
  person: "M8 8a2.7 2.7 0 1 0 0-5.4A2.7 2.7 0 0 0 8 8ZM3 13.5a5 5 0 0 1 10 0",
  question: "M5.8 6a2.2 2.2 0 1 1 3.2 2c-.7.4-1 .8-1 1.5M8 12h.01",
  clock: "M8 13.5a5.5 5.5 0 1 0 0-11 5.5 5.5 0 0 0 0 11ZM8 5v3l2 1.5",
  tree: "M3.5 2.5v8.8h4M3.5 6h4M9.5 4.2h4v3.4h-4zM9.5 9.6h4V13h-4z",
  edit: "M3 13l.6-2.8 7-7 2.2 2.2-7 7zM9.4 4.4l2.2 2.2",
  warning: "M8 2.8l6 10.4H2zM8 6.5v3M8 11.3v.1",
  receipt: "M4 2.5h8v11l-2-1.3-2 1.3-2-1.3-2 1.3zM6 5.5h4M6 8h4",
  keyboard: "M2.5 4.5h11v7h-11zM5 7h.01M8 7h.01M11 7h.01M5.5 9.3h5",
  diff: "M5 2.5v6M2 5.5h6M9 12h5M12.5 3L4 13.5",
  refresh: "M13 8a5 5 0 1 1-1.6-3.7M13 2.5V5h-2.5",
  key: "M6.2 12.6a2.8 2.8 0 1 0 0-5.6 2.8 2.8 0 0 0 0 5.6ZM8.2 7.8l4.6-4.6M10.6 5.4l1.9 1.9",
  filter: "M2.5 4h11M4.5 8h7M6.5 12h3",
  out: "M9 3h4v4M13 3L7.5 8.5M11 9v4H3V5h4",
  pin: "M6 2.5h4l-.5 4 2 2h-7l2-2zM8 8.5v5",
} as const;

export type IconName = keyof typeof PATHS;

interface IconProps extends Omit<SVGProps<SVGSVGElement>, "name"> {
  name: IconName;
  size?: number;
}

export function Icon({ name, size = 16, className = "", ...rest }: IconProps) {
  const dots = name === "more" || name === "runners" || name === "question" || name === "agents";
  return (
    <svg
      width={size}
      height={size}
      viewBox="0 0 16 16"
      fill="none"
      stroke="currentColor"
      strokeWidth={dots ? 1.6 : 1.4}
      strokeLinecap="round"
      strokeLinejoin="round"
      aria-hidden="true"
      className={`shrink-0 ${className}`}
      {...rest}
    >
      <path d={PATHS[name]} />
    </svg>
  );
}
