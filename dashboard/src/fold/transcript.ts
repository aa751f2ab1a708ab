// From events to what a transcript shows: text that belongs together in one block, a tool's
// call with its result, a plan that replaces the one before. Built event by event; a block
// that changes is replaced, so that what has not changed need not be drawn again.
import type { LogEvent, Receipt } from "@/api/types";
import { text } from "./apply";
import { answerOf } from "./page";
import type { AskDetail, HowEnded } from "./types";

interface Common {
  key: string;
  /** First and last event of it. */
  seq: number;
  to: number;
  at: string;
  until: string;
  run: string | null;
  late: boolean;
}

interface ToolUse {
  id: string;
  tool: string;
  title: string | null;
  input: unknown;
  output: unknown;
  content: unknown;
  done: boolean;
  failed: boolean;
}

export interface PlanEntry {
  content: string;
  status: string;
}

export type Block = Common &
  (
    | {
        kind: "prompt";
        text: string | null;
        input: unknown;
        by: string | null;
        /** It became part of the run in progress. */
        steered: boolean;
      }
    | { kind: "message"; role: string; text: string; goesOn: boolean; content: unknown }
    | { kind: "thought"; text: string }
    | { kind: "tool"; use: ToolUse }
    | { kind: "plan"; entries: PlanEntry[] }
    | { kind: "log"; stream: string; text: string }
    | { kind: "approval"; ask: AskDetail }
    | { kind: "receipt"; how: HowEnded; receipt: Receipt }
    | { kind: "usage"; data: LogEvent["data"] }
    | { kind: "line"; type: string; data: LogEvent["data"] }
  );

/** Text is cut into pieces of about this size, so that none is too long to draw. */
const PIECE = 6000;
const LONGEST_PIECE = 48_000;

/** Said in other ways, or of no use to a reader. */
const SILENT = new Set([
  "session.status",
  "session.ready",
  "run.dispatched",
  "session.closing",
  "approval.answered",
  "approval.delivered",
  "approval.withdrawn",
]);
const CLOSES = new Set([
  "session.stopped",
  "session.finished",
  "session.failed",
  "session.interrupted",
]);

const insideFence = (written: string): boolean =>
  (written.match(/^\s*(```|~~~)/gm)?.length ?? 0) % 2 === 1;

export class Transcript {
  private blocks: Block[] = [];
  private tools = new Map<string, number>();
  private asks = new Map<string, number>();
  private prompts = new Map<string, LogEvent>();
  private shared = false;

  /** The blocks so far. What was given out before is not changed by later events. */
  list(): readonly Block[] {
    this.shared = true;
    return this.blocks;
  }

  push(event: LogEvent): void {
    const d = event.data;
    switch (event.type) {
      case "session.inherited":
        return this.inherited(event);
      case "message":
        return this.message(event);
      case "thought":
        return this.join(event, "thought", text(d.text) ?? "");
      case "log":
        return this.log(event);
      case "tool_call":
        return this.call(event);
      case "tool_result":
        return this.result(event);
      case "plan":
        return this.plan(event);
      case "usage":
        return this.add({ ...common(event), kind: "usage", data: d });
      case "run.queued":
        this.prompts.set(String(event.run), event);
        return this.add({ ...common(event), kind: "line", type: event.type, data: d });
      case "run.edited":
        this.edit(event);
        return this.add({ ...common(event), kind: "line", type: event.type, data: d });
      case "run.started":
      case "run.steered":
        return this.prompt(event);
      case "approval.requested":
        return this.ask(event);
      default:
        return this.other(event);
    }
  }

  private writable(): Block[] {
    if (this.shared) {
      this.blocks = this.blocks.slice();
      this.shared = false;
    }
    return this.blocks;
  }

  private add(block: Block): void {
    this.writable().push(block);
  }

  private last(): Block | undefined {
    return this.blocks[this.blocks.length - 1];
  }

  private replace(index: number, block: Block): void {
    this.writable()[index] = block;
  }

  private extend(event: LogEvent, change: Partial<Block>): void {
    const index = this.blocks.length - 1;
    const block = this.blocks[index] as Block;
    this.replace(index, { ...block, ...change, to: event.seq, until: event.at } as Block);
  }

  /** An entry of the log that this one was forked from, at its place here. */
  private inherited(event: LogEvent): void {
    const { type, at, run, data } = event.data;
    if (typeof type !== "string" || type === event.type) return;
    const said = {
      at: text(at) ?? event.at,
      run: text(run),
      data: (data ?? {}) as LogEvent["data"],
    };
    this.push({ ...event, ...said, type });
  }

  private message(event: LogEvent): void {
    const d = event.data;
    const role = text(d.role) ?? "agent";
    const said = text(d.text);
    const last = this.last();
    const same =
      last?.kind === "message" &&
      last.role === role &&
      last.run === event.run &&
      last.late === (d.late === true);
    if (said === null) {
      this.add({
        ...common(event),
        kind: "message",
        role,
        text: "",
        goesOn: same,
        content: d.content ?? d,
      });
      return;
    }
    if (same && last.content === null) {
      const full =
        last.text.length > LONGEST_PIECE || (last.text.length > PIECE && !insideFence(last.text));
      if (!full) return this.extend(event, { text: last.text + said } as Partial<Block>);
    }
    this.add({ ...common(event), kind: "message", role, text: said, goesOn: same, content: null });
  }

  private join(event: LogEvent, kind: "thought", said: string): void {
    const last = this.last();
    if (last?.kind === kind && last.run === event.run && last.text.length < PIECE) {
      const between = last.text.endsWith("\n") || said.startsWith("\n") ? "" : "\n";
      return this.extend(event, { text: last.text + between + said } as Partial<Block>);
    }
    this.add({ ...common(event), kind, text: said });
  }

  private log(event: LogEvent): void {
    const stream = text(event.data.stream) ?? "log";
    const said = text(event.data.text) ?? JSON.stringify(event.data);
    const last = this.last();
    if (
      last?.kind === "log" &&
      last.stream === stream &&
      last.run === event.run &&
      last.text.length < PIECE
    ) {
      const between = last.text.endsWith("\n") ? "" : "\n";
      return this.extend(event, { text: last.text + between + said } as Partial<Block>);
    }
    this.add({ ...common(event), kind: "log", stream, text: said });
  }

  private call(event: LogEvent): void {
    const d = event.data;
    const id = text(d.id) ?? `call-${event.seq}`;
    const known = this.tools.get(id);
    const before = known === undefined ? undefined : this.blocks[known];
    if (known !== undefined && before?.kind === "tool" && (d.update === true || !before.use.done)) {
      const use: ToolUse = {
        ...before.use,
        tool: text(d.tool) ?? before.use.tool,
        title: text(d.title) ?? before.use.title,
        input: d.input ?? before.use.input,
        content: d.content ?? before.use.content,
      };
      this.replace(known, { ...before, use, to: event.seq, until: event.at });
      return;
    }
    this.tools.set(id, this.blocks.length);
    const tool = text(d.tool) ?? text(d.name) ?? text(d.kind) ?? "tool";
    const use = {
      id,
      tool,
      title: text(d.title),
      input: d.input ?? null,
      output: null,
      content: d.content ?? null,
      done: false,
      failed: false,
    };
    this.add({ ...common(event), kind: "tool", use });
  }

  private result(event: LogEvent): void {
    const d = event.data;
    const id = text(d.id) ?? "";
    const known = this.tools.get(id);
    const before = known === undefined ? undefined : this.blocks[known];
    const output = d.output ?? d.raw_output ?? null;
    const end = { output, content: d.content ?? null, done: true, failed: d.is_error === true };
    if (known === undefined || before?.kind !== "tool") {
      // Its call is before what was loaded.
      const use = {
        id,
        tool: text(d.tool) ?? "tool",
        title: text(d.title),
        input: d.input ?? null,
        ...end,
      };
      this.add({ ...common(event), kind: "tool", use });
      return;
    }
    const use: ToolUse = {
      ...before.use,
      ...end,
      title: text(d.title) ?? before.use.title,
      input: d.input ?? before.use.input,
      content: d.content ?? before.use.content,
    };
    this.replace(known, { ...before, use, to: event.seq, until: event.at });
  }

  private plan(event: LogEvent): void {
    const list = Array.isArray(event.data.entries)
      ? (event.data.entries as Record<string, unknown>[])
      : [];
    const entries = list.map((entry) => ({
      content: text(entry.content) ?? text(entry.title) ?? JSON.stringify(entry),
      status: text(entry.status) ?? "pending",
    }));
    if (this.last()?.kind === "plan") return this.extend(event, { entries } as Partial<Block>);
    this.add({ ...common(event), kind: "plan", entries });
  }

  private edit(event: LogEvent): void {
    const run = String(event.run);
    const asked = this.prompts.get(run);
    const { prompt, input } = event.data;
    const data = { by: asked?.data.by ?? null, prompt, input };
    this.prompts.set(run, { ...(asked ?? event), data });
  }

  private prompt(event: LogEvent): void {
    const asked = this.prompts.get(String(event.run));
    const from = asked?.data ?? {};
    this.add({
      ...common(event),
      kind: "prompt",
      text: text(from.prompt),
      input: from.input ?? null,
      by: text(from.by),
      steered: event.type === "run.steered",
    });
  }

  private ask(event: LogEvent): void {
    const id = String(event.data.id);
    this.asks.set(id, this.blocks.length);
    const ask: AskDetail = {
      id,
      run: String(event.data.run),
      seq: event.seq,
      at: event.at,
      data: event.data,
      state: "open",
      answer: null,
    };
    this.add({ ...common(event), kind: "approval", ask });
  }

  private other(event: LogEvent): void {
    const d = event.data;
    if (event.type.startsWith("approval.")) {
      const index = this.asks.get(String(d.id));
      const change = answerOf(event);
      const block = index === undefined ? undefined : this.blocks[index];
      if (index !== undefined && change !== null && block?.kind === "approval") {
        this.replace(index, { ...block, ask: { ...block.ask, ...change } });
      }
    }
    if (SILENT.has(event.type)) return;
    if (CLOSES.has(event.type) || event.type === "session.late_receipt") {
      const how = (d.how as HowEnded) ?? { as: "stopped" };
      this.add({ ...common(event), kind: "receipt", how, receipt: d.receipt as Receipt });
      return;
    }
    this.add({ ...common(event), kind: "line", type: event.type, data: d });
  }
}

function common(event: LogEvent): Common {
  return {
    key: String(event.seq),
    seq: event.seq,
    to: event.seq,
    at: event.at,
    until: event.at,
    run: event.run,
    late: event.data.late === true,
  };
}

export function transcriptOf(events: readonly LogEvent[]): Transcript {
  const transcript = new Transcript();
  for (const event of events) transcript.push(event);
  return transcript;
}
