import { describe, expect, it } from "vitest";
import { SseParser } from "./sse";

const STREAM =
  ': \n\nid: 7\nevent: message\ndata: {"a":1}\n\nevent: delta\r\ndata: one\r\ndata: two\r\n\r\n: beat\n\n';

describe("a stream of events", () => {
  it("is read the same however it is cut", () => {
    const whole = new SseParser().push(STREAM);
    expect(whole).toEqual([
      { event: "message", data: '{"a":1}' },
      { event: "delta", data: "one\ntwo" },
    ]);
    const plain = STREAM.replaceAll("\r\n", "\n");
    for (const size of [1, 2, 3, 7]) {
      const parser = new SseParser();
      const frames = [];
      for (let at = 0; at < plain.length; at += size)
        frames.push(...parser.push(plain.slice(at, at + size)));
      expect(frames).toEqual(whole);
    }
  });
});
