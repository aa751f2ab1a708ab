import type { ElementContent, RootContent } from "hast";
import bash from "highlight.js/lib/languages/bash";
import c from "highlight.js/lib/languages/c";
import cpp from "highlight.js/lib/languages/cpp";
import css from "highlight.js/lib/languages/css";
import diff from "highlight.js/lib/languages/diff";
import dockerfile from "highlight.js/lib/languages/dockerfile";
import go from "highlight.js/lib/languages/go";
import ini from "highlight.js/lib/languages/ini";
import java from "highlight.js/lib/languages/java";
import javascript from "highlight.js/lib/languages/javascript";
import json from "highlight.js/lib/languages/json";
import markdown from "highlight.js/lib/languages/markdown";
import python from "highlight.js/lib/languages/python";
import ruby from "highlight.js/lib/languages/ruby";
import rust from "highlight.js/lib/languages/rust";
import sql from "highlight.js/lib/languages/sql";
import typescript from "highlight.js/lib/languages/typescript";
import xml from "highlight.js/lib/languages/xml";
import yaml from "highlight.js/lib/languages/yaml";
import { createLowlight } from "lowlight";
import { memo, type ReactNode, useMemo } from "react";

const light = createLowlight({
  bash,
  c,
  cpp,
  css,
  diff,
  dockerfile,
  go,
  ini,
  java,
  javascript,
  json,
  markdown,
  python,
  ruby,
  rust,
  sql,
  typescript,
  xml,
  yaml,
});
light.registerAlias({
  bash: ["sh", "shell", "zsh", "console"],
  ini: ["toml"],
  typescript: ["tsx", "ts"],
  javascript: ["jsx", "js"],
  xml: ["html", "svg"],
  yaml: ["yml"],
  python: ["py"],
  rust: ["rs"],
});

/** Longer texts are shown plain: colour is not worth the wait. */
const LONGEST = 60_000;

function draw(node: RootContent | ElementContent, key: number): ReactNode {
  if (node.type === "text") return node.value;
  if (node.type !== "element") return null;
  const names = node.properties.className;
  const name = Array.isArray(names)
    ? names.map((one) => String(one).replace("hljs-", "hl-")).join(" ")
    : "";
  return (
    <span key={key} className={name}>
      {node.children.map(draw)}
    </span>
  );
}

export default memo(function Highlight({ text, language }: { text: string; language: string }) {
  return useMemo(() => {
    const known = light.registered(language.toLowerCase()) && text.length < LONGEST;
    return known ? light.highlight(language.toLowerCase(), text).children.map(draw) : text;
  }, [text, language]);
});
