// How a session stands, always by shape and word as well as by colour.
import type { ReactNode } from "react";
import type { Status } from "@/api/types";

interface Look {
  label: string;
  colour: string;
  shape: ReactNode;
  hatched?: boolean;
}

const ring = <circle cx="6" cy="6" r="4" fill="none" stroke="currentColor" strokeWidth="1.6" />;

const LOOKS: Readonly<Record<Status, Look>> = {
  new: {
    label: "New",
    colour: "text-grey",
    shape: (
      <circle
        cx="6"
        cy="6"
        r="4"
        fill="none"
        stroke="currentColor"
        strokeWidth="1.4"
        strokeDasharray="2 1.6"
      />
    ),
  },
  queued: {
    label: "Queued",
    colour: "text-grey",
    shape: <path d="M3 2h6L6 6zM3 10h6L6 6z" fill="currentColor" />,
  },
  starting: {
    label: "Starting",
    colour: "text-blue",
    shape: (
      <path
        d="M6 2a4 4 0 1 1-4 4"
        fill="none"
        stroke="currentColor"
        strokeWidth="1.6"
        strokeLinecap="round"
      />
    ),
  },
  running: {
    label: "Running",
    colour: "text-blue",
    shape: <path d="M3.5 1.8v8.4L10.2 6z" fill="currentColor" />,
  },
  waiting: {
    label: "Waiting",
    colour: "text-violet",
    shape: (
      <path
        d="M6 1l5 5-5 5-5-5zM6 3.7v2.6M6 8.1v.1"
        fill="none"
        stroke="currentColor"
        strokeWidth="1.3"
        strokeLinejoin="round"
        strokeLinecap="round"
      />
    ),
  },
  idle: { label: "Idle", colour: "text-teal", shape: ring },
  stopping: {
    label: "Stopping",
    colour: "text-amber",
    shape: (
      <path
        d="M2.5 2.5h7v7h-7z"
        fill="none"
        stroke="currentColor"
        strokeWidth="1.8"
        strokeLinejoin="round"
      />
    ),
  },
  stopped: {
    label: "Stopped",
    colour: "text-grey",
    shape: <rect x="2" y="2" width="8" height="8" rx="1" fill="currentColor" />,
  },
  finished: {
    label: "Finished",
    colour: "text-green",
    shape: (
      <path
        d="M2 6.4l2.7 2.7L10 3.3"
        fill="none"
        stroke="currentColor"
        strokeWidth="1.8"
        strokeLinecap="round"
        strokeLinejoin="round"
      />
    ),
  },
  failed: {
    label: "Failed",
    colour: "text-red",
    shape: (
      <path
        d="M2.8 2.8l6.4 6.4M9.2 2.8L2.8 9.2"
        stroke="currentColor"
        strokeWidth="1.8"
        strokeLinecap="round"
      />
    ),
  },
  interrupted: {
    label: "Interrupted",
    colour: "text-orange",
    shape: <path d="M7 1L3 6.5h2.6L5 11l4-5.5H6.4z" fill="currentColor" />,
  },
  unreachable: {
    label: "Unreachable",
    colour: "text-orange",
    hatched: true,
    shape: (
      <path
        d="M2 10L10 2M2 5a6 6 0 0 1 2.5-1.6M10 5l-1-.8M4.5 8a2.2 2.2 0 0 1 2.6-.4"
        fill="none"
        stroke="currentColor"
        strokeWidth="1.4"
        strokeLinecap="round"
      />
    ),
  },
  stop_unconfirmed: {
    label: "Stop unconfirmed",
    colour: "text-orange",
    hatched: true,
    shape: (
      <path
        d="M6 1.3l5 9H1zM6 4.8v2.4M6 8.8v.1"
        fill="none"
        stroke="currentColor"
        strokeWidth="1.3"
        strokeLinejoin="round"
        strokeLinecap="round"
      />
    ),
  },
  deleting: {
    label: "Deleting",
    colour: "text-grey",
    shape: (
      <path
        d="M2 3h8M3.3 3l.5 7h4.4l.5-7M5 3V1.8h2V3"
        fill="none"
        stroke="currentColor"
        strokeWidth="1.3"
        strokeLinecap="round"
      />
    ),
  },
};

export const statusLabel = (status: Status): string => LOOKS[status]?.label ?? status;

export function StatusMark({ status, size = 12 }: { status: Status; size?: number }) {
  const look = LOOKS[status] ?? LOOKS.new;
  const motion =
    status === "stopping" ? "animate-breathe" : status === "starting" ? "animate-turn" : "";
  return (
    <svg
      width={size}
      height={size}
      viewBox="0 0 12 12"
      aria-hidden="true"
      className={`shrink-0 ${look.colour} ${motion}`}
    >
      {look.shape}
    </svg>
  );
}

interface BadgeProps {
  status: Status;
  reason?: string | null | undefined;
  large?: boolean;
}

/** The word with its shape. `stopping` pulses, unless motion is unwelcome. */
export function StatusBadge({ status, reason, large = false }: BadgeProps) {
  const look = LOOKS[status] ?? LOOKS.new;
  const pulse = status === "stopping" ? "animate-breathe" : "";
  return (
    <span
      data-status={status}
      className={`inline-flex max-w-full items-center gap-1.5 whitespace-nowrap rounded-md border border-current/25 bg-current/8 font-medium ${look.colour} ${look.hatched === true ? "hatched" : ""} ${large ? "h-7 px-2.5 text-sm" : "h-5.5 px-1.5 text-xs"}`}
    >
      <span className={`inline-flex ${pulse}`} data-pulse={pulse !== ""}>
        <StatusMark status={status} size={large ? 13 : 11} />
      </span>
      <span className="truncate">
        {look.label}
        {reason ? <span className="font-normal"> · {reason.replaceAll("_", " ")}</span> : null}
      </span>
    </span>
  );
}
