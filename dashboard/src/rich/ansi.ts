// Colours and weights of a terminal: SGR sequences and carriage returns. Everything else a
// terminal understands is left out.

export interface Piece {
  text: string;
  fg: string | null;
  bg: string | null;
  bold: boolean;
  dim: boolean;
  italic: boolean;
  underline: boolean;
}

type Style = Omit<Piece, "text">;

const PLAIN: Style = {
  fg: null,
  bg: null,
  bold: false,
  dim: false,
  italic: false,
  underline: false,
};
const NAMES = ["black", "red", "green", "yellow", "blue", "magenta", "cyan", "white"] as const;

// biome-ignore lint/suspicious/noControlCharactersInRegex: that is what a terminal is told with
const SEQUENCE = /\u001b(?:\[([0-9;:?]*)([@-~])|\][^\u0007\u001b]*(?:\u0007|\u001b\\)|[@-Z\\-_])/g;

function indexed(n: number): string {
  if (n < 16) return `${n >= 8 ? "bright-" : ""}${NAMES[n % 8]}`;
  if (n >= 232) {
    const level = 8 + (n - 232) * 10;
    return `rgb(${level} ${level} ${level})`;
  }
  const part = (i: number) => (i === 0 ? 0 : 55 + i * 40);
  const cube = n - 16;
  return `rgb(${part(Math.floor(cube / 36))} ${part(Math.floor(cube / 6) % 6)} ${part(cube % 6)})`;
}

function styled(style: Style, parameters: string): Style {
  const codes = parameters.split(/[;:]/).map((one) => Number(one || "0"));
  let next = { ...style };
  for (let i = 0; i < codes.length; i += 1) {
    const code = codes[i] ?? 0;
    if (code === 0) next = { ...PLAIN };
    else if (code === 1) next.bold = true;
    else if (code === 2) next.dim = true;
    else if (code === 3) next.italic = true;
    else if (code === 4) next.underline = true;
    else if (code === 22) Object.assign(next, { bold: false, dim: false });
    else if (code === 23) next.italic = false;
    else if (code === 24) next.underline = false;
    else if (code >= 30 && code <= 37) next.fg = NAMES[code - 30] ?? null;
    else if (code === 39) next.fg = null;
    else if (code >= 40 && code <= 47) next.bg = NAMES[code - 40] ?? null;
    else if (code === 49) next.bg = null;
    else if (code >= 90 && code <= 97) next.fg = `bright-${NAMES[code - 90]}`;
    else if (code >= 100 && code <= 107) next.bg = `bright-${NAMES[code - 100]}`;
    else if (code === 38 || code === 48) {
      const side = code === 38 ? "fg" : "bg";
      if (codes[i + 1] === 5) {
        next[side] = indexed(codes[i + 2] ?? 0);
        i += 2;
      } else if (codes[i + 1] === 2) {
        next[side] = `rgb(${codes[i + 2] ?? 0} ${codes[i + 3] ?? 0} ${codes[i + 4] ?? 0})`;
        i += 4;
      }
    }
  }
  return next;
}

/** What a line shows in the end, when a progress bar has written over it many times. */
function overwritten(line: string): string {
  const bare = line.endsWith("\r") ? line.slice(0, -1) : line;
  const at = bare.lastIndexOf("\r");
  return at < 0 ? bare : bare.slice(at + 1);
}

export function hasAnsi(text: string): boolean {
  return text.includes("\u001b[") || /\r[^\n]/.test(text);
}

export function parseAnsi(text: string): Piece[] {
  const source = text.includes("\r") ? text.split("\n").map(overwritten).join("\n") : text;
  const pieces: Piece[] = [];
  let style = PLAIN;
  let at = 0;
  const push = (part: string) => {
    if (part !== "") pieces.push({ ...style, text: part });
  };
  for (const match of source.matchAll(SEQUENCE)) {
    push(source.slice(at, match.index));
    at = match.index + match[0].length;
    if (match[2] === "m") style = styled(style, match[1] ?? "");
  }
  push(source.slice(at));
  return pieces;
}
