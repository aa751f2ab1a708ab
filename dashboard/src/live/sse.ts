// Reading a stream of server-sent events from a response body.

export interface SseFrame {
  event: string;
  data: string;
}

/** Splits a stream of text into frames, however it is cut into pieces. */
export class SseParser {
  private rest = "";

  push(piece: string): SseFrame[] {
    const frames: SseFrame[] = [];
    this.rest += piece.replaceAll("\r\n", "\n");
    for (;;) {
      const end = this.rest.indexOf("\n\n");
      if (end < 0) return frames;
      const frame = parse(this.rest.slice(0, end));
      this.rest = this.rest.slice(end + 2);
      if (frame !== null) frames.push(frame);
    }
  }
}

function parse(block: string): SseFrame | null {
  let event = "message";
  const data: string[] = [];
  for (const line of block.split("\n")) {
    if (line.startsWith(":")) continue;
    const colon = line.indexOf(":");
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (field === "event") event = value;
    if (field === "data") data.push(value);
  }
  return data.length === 0 ? null : { event, data: data.join("\n") };
}
