// A slider over the log: everything on the page is a fold of events 1 to its position.
import * as Slider from "@radix-ui/react-slider";
import { useEffect, useMemo, useState } from "react";
import { copy } from "@/ui/bits";
import { Button, IconButton, Spinner } from "@/ui/button";
import { clock, exact, grouped } from "@/ui/format";
import { useKeys } from "@/ui/keys";
import type { SessionView } from "./view";

interface Mark {
  seq: number;
  tone: string;
  label: string;
}

const TONES: Readonly<Record<string, string>> = {
  "run.started": "bg-blue",
  "run.completed": "bg-green",
  "run.failed": "bg-red",
  "run.stopped": "bg-grey",
  "approval.requested": "bg-violet",
};

function marksOf({ live }: SessionView): Mark[] {
  const marks: Mark[] = [];
  for (const event of live.events) {
    const tone = TONES[event.type];
    if (tone !== undefined)
      marks.push({ seq: event.seq, tone, label: event.type.replace(".", " ") });
  }
  return marks.slice(-200);
}

export function Timeline({
  view,
  goTo,
}: {
  view: SessionView;
  goTo: (seq: number | null) => void;
}) {
  const { live, seq, log } = view;
  const last = live.to;
  const [held, setHeld] = useState<number | null>(null);
  // biome-ignore lint/correctness/useExhaustiveDependencies: the events are those up to `to`
  const marks = useMemo(() => marksOf(view), [live.to, live.from]);
  const at = held ?? seq ?? last;
  // biome-ignore lint/correctness/useExhaustiveDependencies: the newest position wins
  useEffect(() => {
    if (held === null) return;
    const timer = setTimeout(() => {
      goTo(held >= last ? null : held);
      setHeld(null);
    }, 90);
    return () => clearTimeout(timer);
  }, [held]);
  const move = (by: number) => {
    const next = Math.min(last, Math.max(1, (seq ?? last) + by));
    goTo(next >= last ? null : next);
  };
  useKeys({
    "[": () => move(-1),
    "]": () => move(1),
    "{": () => move(-50),
    "}": () => move(50),
  });
  useKeys({ Escape: () => goTo(null) }, seq !== null);
  if (last < 2) return null;
  const event = seq === null ? undefined : live.events[seq - live.from];
  const reading = seq !== null && view.session === undefined;
  return (
    <div
      className={`flex items-center gap-2.5 border-t px-4 py-1 ${seq !== null ? "bg-violet/10" : "bg-canvas"}`}
      data-part="timeline"
      data-seq={seq ?? "now"}
    >
      <IconButton
        icon="right"
        label="Back by one entry"
        keys="["
        className="rotate-180 [&_kbd]:rotate-180"
        disabled={at <= 1}
        onClick={() => move(-1)}
      />
      <Slider.Root
        min={1}
        max={Math.max(2, last)}
        step={1}
        value={[at]}
        onValueChange={([value]) => setHeld(value ?? last)}
        className="relative flex h-6 flex-1 touch-none select-none items-center"
      >
        <Slider.Track className="relative h-1 grow rounded-full bg-line-strong">
          <Slider.Range
            className={`absolute h-full rounded-full ${seq !== null ? "bg-violet" : "bg-accent"}`}
          />
          {marks.map((mark) => (
            <span
              key={mark.seq}
              title={`${mark.label} at ${mark.seq}`}
              className={`-top-1 absolute h-3 w-0.5 rounded ${mark.tone}`}
              style={{ left: `${((mark.seq - 1) / Math.max(1, last - 1)) * 100}%` }}
            />
          ))}
        </Slider.Track>
        <Slider.Thumb
          aria-label="Moment of the log"
          aria-valuetext={`entry ${at} of ${last}`}
          className={`block size-3.5 rounded-full border-2 border-panel shadow ${seq !== null ? "bg-violet" : "bg-accent"}`}
        />
      </Slider.Root>
      <IconButton
        icon="right"
        label="On by one entry"
        keys="]"
        disabled={seq === null}
        onClick={() => move(1)}
      />
      {seq === null && held === null ? (
        <span className="text-right text-faint text-xs tabular sm:w-28">
          {grouped(last)} entries
        </span>
      ) : (
        <>
          <span
            className="text-right text-xs tabular"
            title={event === undefined ? undefined : exact(event.at)}
          >
            {event === undefined ? null : (
              <span className="text-dim max-sm:hidden">{clock(event.at)} · </span>
            )}
            {grouped(at)} of {grouped(last)}
          </span>
          {reading || live.loadingEarlier ? (
            <span className="flex items-center gap-1.5 text-dim text-xs" role="status">
              <Spinner /> reading the log, {grouped(Math.max(0, (live.reached || live.from) - 1))}{" "}
              entries to go
            </span>
          ) : null}
          <IconButton
            icon="link"
            label="Copy a link to this moment"
            onClick={() =>
              void copy(
                `${location.origin}/sessions/${encodeURIComponent(log.id)}?seq=${at}`,
                "The link shows this moment",
              )
            }
          />
          <Button small look="primary" keys="Esc" onClick={() => goTo(null)}>
            Now
          </Button>
        </>
      )}
    </div>
  );
}
