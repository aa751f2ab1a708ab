import { memo, type ReactNode } from "react";
import type { Block } from "@/fold/transcript";
import { copy } from "@/ui/bits";
import { IconButton } from "@/ui/button";
import { clock, exact } from "@/ui/format";
import { textOf } from "../kinds";
import { linkTo } from "../TranscriptTab";
import { ApprovalBlock } from "./ApprovalBlock";
import { LineBlock } from "./LineBlock";
import { ReceiptBlock } from "./ReceiptBlock";
import { ToolBlock } from "./ToolBlock";
import { LogBlock, MessageBlock, PlanBlock, PromptBlock, ThoughtBlock } from "./texts";

interface BlockProps {
  block: Block;
  session: string;
  here: boolean;
  found: boolean;
  moment: boolean;
  past: boolean;
  open: boolean;
  flip: () => void;
  goTo: (seq: number | null) => void;
}

function inside({ block, session, past, open, flip }: BlockProps): ReactNode {
  switch (block.kind) {
    case "prompt":
      return <PromptBlock block={block} />;
    case "message":
      return <MessageBlock block={block} />;
    case "thought":
      return <ThoughtBlock text={block.text} open={open} flip={flip} />;
    case "tool":
      return <ToolBlock block={block} open={open} flip={flip} />;
    case "plan":
      return <PlanBlock entries={block.entries} open={open} flip={flip} />;
    case "log":
      return <LogBlock stream={block.stream} text={block.text} />;
    case "approval":
      return <ApprovalBlock session={session} ask={block.ask} past={past} />;
    case "receipt":
      return <ReceiptBlock how={block.how} receipt={block.receipt} open={open} flip={flip} />;
    default:
      return <LineBlock block={block} open={open} flip={flip} />;
  }
}

/** One block of a transcript, with what can be done with any of them. */
export const BlockView = memo(function BlockView(props: BlockProps) {
  const { block, session, here, found, moment, goTo } = props;
  const mark = here
    ? "bg-hover shadow-[inset_2px_0_0_var(--color-accent)]"
    : moment
      ? "shadow-[inset_2px_0_0_var(--color-violet)]"
      : "";
  const goesOn = block.kind === "message" && block.goesOn;
  return (
    <div
      data-seq={block.seq}
      data-to={block.to}
      data-kind={block.kind}
      className={`group relative rounded-lg px-3 ${goesOn ? "pb-1" : "py-1"} ${mark} ${found ? "outline-2 outline-amber/60" : ""}`}
    >
      {inside(props)}
      <div className="absolute top-0.5 right-1 z-10 flex items-center rounded-md border bg-raised opacity-0 shadow-sm focus-within:opacity-100 group-hover:opacity-100 max-sm:hidden">
        <span
          className="px-1.5 text-2xs text-faint tabular"
          title={`${exact(block.at)}, entry ${block.seq}${block.to > block.seq ? ` to ${block.to}` : ""}${block.late ? ", late" : ""}`}
        >
          {clock(block.at)} · {block.seq}
        </span>
        <IconButton icon="copy" label="Copy" onClick={() => void copy(textOf(block))} />
        <IconButton
          icon="link"
          label="Copy a link to this entry"
          keys="y"
          onClick={() => void copy(linkTo(session, block.to), "A link to this entry is copied")}
        />
        <IconButton
          icon="clock"
          label="Show the page as it was here"
          onClick={() => goTo(block.to)}
        />
      </div>
    </div>
  );
});
