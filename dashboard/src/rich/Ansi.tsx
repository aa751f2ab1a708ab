import { memo } from "react";
import { type Piece, parseAnsi } from "./ansi";

const COLOURS: Readonly<Record<string, string>> = {
  black: "var(--color-faint)",
  white: "var(--color-ink)",
  red: "var(--color-red)",
  green: "var(--color-green)",
  yellow: "var(--color-amber)",
  blue: "var(--color-blue)",
  magenta: "var(--color-violet)",
  cyan: "var(--color-teal)",
};

function colour(name: string | null): string | undefined {
  if (name === null) return undefined;
  return COLOURS[name.replace("bright-", "")] ?? name;
}

function styleOf(piece: Piece): React.CSSProperties {
  const bg = colour(piece.bg);
  return {
    color: colour(piece.fg),
    background: bg === undefined ? undefined : `color-mix(in srgb, ${bg} 25%, transparent)`,
    fontWeight: piece.bold ? 700 : undefined,
    opacity: piece.dim ? 0.7 : undefined,
    fontStyle: piece.italic ? "italic" : undefined,
    textDecoration: piece.underline ? "underline" : undefined,
  };
}

/** Text as a terminal shows it. */
export default memo(function Ansi({ text }: { text: string }) {
  return parseAnsi(text).map((piece, index) => (
    <span key={index} style={styleOf(piece)}>
      {piece.text}
    </span>
  ));
});
