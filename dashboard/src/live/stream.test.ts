import { afterEach, expect, test, vi } from "vitest";
import type { LiveFrame } from "./messages";
import { LiveStream } from "./stream";

/** The coordinator's ends of the streams that were opened, in order. */
const ends: ReadableStreamDefaultController<Uint8Array>[] = [];

vi.mock("@/api/client", () => ({
  problemOf: (error: unknown) => error,
  url: (path: string[]) => path.join("/"),
  send: async () =>
    new Response(new ReadableStream<Uint8Array>({ start: (end) => void ends.push(end) })),
}));

const say = (end: number, data: object, event = "change") =>
  ends[end]?.enqueue(
    new TextEncoder().encode(`event: ${event}\ndata: ${JSON.stringify(data)}\n\n`),
  );

let stream: LiveStream | undefined;
afterEach(() => stream?.close());

test("what was on its way to a stream when the next began is not lost", async () => {
  const heard: LiveFrame[] = [];
  stream = new LiveStream({
    frames: (frames) => heard.push(...frames),
    status: () => {},
    gone: () => {},
  });
  stream.start();
  await vi.waitFor(() => expect(ends.length).toBe(1));
  stream.watch([{ id: "s", seq: 0, glance: false }]);
  await vi.waitFor(() => expect(ends.length).toBe(2));
  say(1, { of: "session", id: "s", version: 1 });
  await vi.waitFor(() => expect(heard.length).toBe(1));
  // The log goes on in the new one alone; a change may have been told to the old one only.
  say(0, { session_id: "s", seq: 1 }, "event");
  say(0, { of: "session", id: "s", version: 2 });
  await vi.waitFor(() => expect(heard.length).toBe(2));
  expect(heard[1]).toMatchObject({ kind: "change", change: { version: 2 } });
});
