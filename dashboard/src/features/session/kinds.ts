// What can be shown and hidden in a transcript.
import type { Block } from "@/fold/transcript";

export const KINDS = [
  "messages",
  "thoughts",
  "tools",
  "plans",
  "logs",
  "approvals",
  "requests",
  "lifecycle",
  "usage",
] as const;
export type Kind = (typeof KINDS)[number];

export const KIND_LABELS: Readonly<Record<Kind, string>> = {
  messages: "Messages",
  thoughts: "Thoughts",
  tools: "Tools",
  plans: "Plans",
  logs: "Logs",
  approvals: "Approvals",
  requests: "Requests",
  lifecycle: "Lifecycle",
  usage: "Usage",
};

export function kindOfBlock(block: Block): Kind {
  switch (block.kind) {
    case "prompt":
    case "message":
      return "messages";
    case "thought":
      return "thoughts";
    case "tool":
      return "tools";
    case "plan":
      return "plans";
    case "log":
      return "logs";
    case "approval":
      return "approvals";
    case "usage":
      return "usage";
    case "receipt":
      return "lifecycle";
    case "line":
      if (block.type === "http_request") return "requests";
      return block.type === "approval.decided" ? "approvals" : "lifecycle";
  }
}

const STORE = "greenroom.hidden";

export function hiddenKinds(): Set<Kind> {
  try {
    const kept = JSON.parse(localStorage.getItem(STORE) ?? '["usage"]') as string[];
    return new Set(KINDS.filter((kind) => kept.includes(kind)));
  } catch {
    return new Set(["usage"]);
  }
}

export function keepHidden(hidden: ReadonlySet<Kind>): void {
  localStorage.setItem(STORE, JSON.stringify([...hidden]));
}

const json = (value: unknown): string =>
  typeof value === "string" ? value : value == null ? "" : JSON.stringify(value);

/** All the text of a block, for searching and copying. */
export function textOf(block: Block): string {
  switch (block.kind) {
    case "prompt":
      return block.text ?? json(block.input);
    case "message":
      return block.content === null ? block.text : json(block.content);
    case "thought":
    case "log":
      return block.text;
    case "tool":
      return [block.use.title ?? block.use.tool, json(block.use.input), json(block.use.output)]
        .filter((one) => one !== "")
        .join("\n");
    case "plan":
      return block.entries
        .map((entry) => `- [${entry.status === "completed" ? "x" : " "}] ${entry.content}`)
        .join("\n");
    case "approval":
      return `${String(block.ask.data.title)}\n${json(block.ask.data.input)}`;
    case "receipt":
      return JSON.stringify(block.receipt, null, 2);
    case "usage":
    case "line":
      return JSON.stringify(block.data, null, 2);
  }
}
