import { describe, expect, it } from "vitest";
import { hasAnsi, parseAnsi } from "./ansi";

const brief = (text: string) => parseAnsi(text).map(({ text, fg, bold }) => [text, fg, bold]);

describe("terminal output", () => {
  it("takes colours apart and ends them", () => {
    expect(brief("a\u001b[1;31mb\u001b[0mc")).toEqual([
      ["a", null, false],
      ["b", "red", true],
      ["c", null, false],
    ]);
  });

  it("knows the palette of 256 and true colours", () => {
    expect(parseAnsi("\u001b[38;5;196mx")[0]?.fg).toBe("rgb(255 0 0)");
    expect(parseAnsi("\u001b[38;2;1;2;3mx")[0]?.fg).toBe("rgb(1 2 3)");
    expect(parseAnsi("\u001b[48;5;12mx")[0]?.bg).toBe("bright-blue");
  });

  it("shows what a progress bar shows in the end", () => {
    expect(brief("10%\r50%\r100%\ndone\r\n")).toEqual([["100%\ndone\n", null, false]]);
  });

  it("leaves out what only moves a cursor or names a window", () => {
    expect(brief("\u001b[2J\u001b[1;1Hhi\u001b]0;title\u0007!")).toEqual([
      ["hi", null, false],
      ["!", null, false],
    ]);
  });

  it("knows plain text", () =>
    expect([hasAnsi("plain\r\n"), hasAnsi("\u001b[1m")]).toEqual([false, true]));
});
