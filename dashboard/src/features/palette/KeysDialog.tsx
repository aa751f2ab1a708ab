import { Fragment } from "react";
import { Kbd } from "@/ui/button";
import { Dialog } from "@/ui/overlay";

const GROUPS: readonly { title: string; keys: readonly (readonly [string, string])[] }[] = [
  {
    title: "Everywhere",
    keys: [
      ["⌘K", "search and act"],
      ["g s", "sessions"],
      ["g a", "attention"],
      ["g r", "runners"],
      ["g e", "agents"],
      ["g ,", "settings"],
      ["c", "new session"],
      ["?", "these keys"],
    ],
  },
  {
    title: "Lists",
    keys: [
      ["j k", "down, up"],
      ["Enter", "open"],
      ["x", "choose"],
      ["/", "search"],
      ["t", "tree or list"],
      ["l h", "unfold, fold"],
      ["s", "stop"],
      ["Del", "delete"],
      ["G", "to the end"],
    ],
  },
  {
    title: "One session",
    keys: [
      ["s", "stop"],
      ["r", "resume"],
      ["a", "approve what is asked"],
      ["d", "deny what is asked"],
      ["p", "write a prompt"],
      ["⌘Enter", "send"],
      ["/", "search the transcript"],
      ["j k", "next, previous entry"],
      ["e", "unfold the entry"],
      ["y", "copy a link to the entry"],
      ["[ ]", "back and on in time"],
      ["Esc", "back to now"],
      ["1 … 5", "transcript, files, changes, runs, receipts"],
    ],
  },
  {
    title: "Attention",
    keys: [
      ["j k", "down, up"],
      ["a", "approve"],
      ["d", "deny"],
      ["e", "seen"],
      ["Enter", "open"],
    ],
  },
];

export function KeysDialog({ onClose }: { onClose: () => void }) {
  return (
    <Dialog open onClose={onClose} title="Keys" wide>
      <div className="grid gap-6 pb-3 sm:grid-cols-2">
        {GROUPS.map((group) => (
          <section key={group.title}>
            <h3 className="mb-2 font-medium text-faint text-xs">{group.title}</h3>
            <dl className="grid grid-cols-[6rem_1fr] items-center gap-y-1.5">
              {group.keys.map(([key, what]) => (
                <Fragment key={key}>
                  <dt className="flex gap-1 text-dim">
                    {key.split(" ").map((one) => (
                      <Kbd key={one} always>
                        {one}
                      </Kbd>
                    ))}
                  </dt>
                  <dd>{what}</dd>
                </Fragment>
              ))}
            </dl>
          </section>
        ))}
      </div>
    </Dialog>
  );
}
