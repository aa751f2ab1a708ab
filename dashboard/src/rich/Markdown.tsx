// What agents write, drawn from its syntax tree: no HTML of theirs is ever put into the
// page, pictures are links, and nothing is fetched.
import type { Nodes, Parents } from "mdast";
import { fromMarkdown } from "mdast-util-from-markdown";
import { gfmFromMarkdown } from "mdast-util-gfm";
import { gfm } from "micromark-extension-gfm";
import { lazy, memo, type ReactNode, Suspense, useMemo } from "react";
import { CopyButton } from "@/ui/bits";

const Highlighted = lazy(() => import("./Highlight"));

const SAFE = /^(https?:|mailto:|#|\/(?!\/))/i;

/** A link that leads where it says. Others are shown as the text they are. */
const safe = (url: string): string | undefined => (SAFE.test(url) ? url : undefined);

function all(parent: Parents): ReactNode {
  return parent.children.map((child, index) => <Node key={index} node={child as Nodes} />);
}

/** Lines of a paragraph stay lines: agents mean them. */
function broken(text: string): ReactNode {
  if (!text.includes("\n")) return text;
  return text.split("\n").map((line, index) => (
    <span key={index}>
      {index > 0 ? <br /> : null}
      {line}
    </span>
  ));
}

function Code({ text, language }: { text: string; language: string | null }) {
  return (
    <div className="group relative">
      <pre tabIndex={0}>
        <code>
          {language === null ? (
            text
          ) : (
            <Suspense fallback={text}>
              <Highlighted text={text} language={language} />
            </Suspense>
          )}
        </code>
      </pre>
      <span className="absolute top-1 right-1 flex items-center rounded bg-sunken opacity-0 focus-within:opacity-100 group-hover:opacity-100">
        {language !== null ? <span className="px-1 text-2xs text-faint">{language}</span> : null}
        <CopyButton text={text} label="Copy this code" />
      </span>
    </div>
  );
}

function Node({ node }: { node: Nodes }): ReactNode {
  switch (node.type) {
    case "text":
      return broken(node.value);
    case "paragraph":
      return <p>{all(node)}</p>;
    case "heading": {
      const Tag = `h${Math.min(6, node.depth + 2)}` as "h3";
      return <Tag className={`md-${node.depth}`}>{all(node)}</Tag>;
    }
    case "strong":
      return <strong className="font-semibold">{all(node)}</strong>;
    case "emphasis":
      return <em>{all(node)}</em>;
    case "delete":
      return <del>{all(node)}</del>;
    case "inlineCode":
      return <code>{node.value}</code>;
    case "code":
      return <Code text={node.value} language={node.lang ?? null} />;
    case "break":
      return <br />;
    case "thematicBreak":
      return <hr />;
    case "blockquote":
      return <blockquote>{all(node)}</blockquote>;
    case "list":
      return node.ordered === true ? (
        <ol start={node.start ?? 1}>{all(node)}</ol>
      ) : (
        <ul>{all(node)}</ul>
      );
    case "listItem":
      return (
        <li className={typeof node.checked === "boolean" ? "list-none" : ""}>
          {typeof node.checked === "boolean" ? <span>{node.checked ? "☑ " : "☐ "}</span> : null}
          {node.children.map((child, index) =>
            child.type === "paragraph" ? (
              <span key={index}>{all(child)}</span>
            ) : (
              <Node key={index} node={child} />
            ),
          )}
        </li>
      );
    case "link":
    case "image": {
      const href = safe(node.url);
      const says = node.type === "image" ? (node.alt ?? node.url) : all(node);
      if (href === undefined) return says;
      return (
        <a href={href} target="_blank" rel="noreferrer noopener" title={node.url}>
          {says}
        </a>
      );
    }
    case "table": {
      const [head, ...rows] = node.children;
      return (
        <table>
          <thead>
            <tr>
              {head?.children.map((cell, index) => (
                <th key={index}>{all(cell)}</th>
              ))}
            </tr>
          </thead>
          <tbody>
            {rows.map((row, at) => (
              <tr key={at}>
                {row.children.map((cell, index) => (
                  <td key={index}>{all(cell)}</td>
                ))}
              </tr>
            ))}
          </tbody>
        </table>
      );
    }
    case "html":
      return <code>{node.value}</code>;
    case "footnoteReference":
      return <sup>[{node.identifier}]</sup>;
    case "linkReference":
      return all(node);
    default:
      return "children" in node ? all(node as Parents) : null;
  }
}

export default memo(function Markdown({ text }: { text: string }) {
  const tree = useMemo(
    () => fromMarkdown(text, { extensions: [gfm()], mdastExtensions: [gfmFromMarkdown()] }),
    [text],
  );
  return <div className="prose-agent">{all(tree)}</div>;
});
