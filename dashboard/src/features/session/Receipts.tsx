import { useQuery } from "@tanstack/react-query";
import { receiptsQuery } from "@/api/queries";
import type { Receipt } from "@/api/types";
import type { HowEnded } from "@/fold/types";
import { Empty, ErrorNote, Rows } from "@/ui/bits";
import { exact } from "@/ui/format";
import { StatusMark } from "@/ui/status";
import { receiptLine } from "../words";
import { ReceiptSteps } from "./blocks/ReceiptBlock";
import type { SessionView } from "./view";

interface Shown {
  seq: number;
  at: string;
  how: HowEnded["as"] | null;
  late: boolean;
  receipt: Receipt;
}

const standing = (how: string): HowEnded["as"] | null =>
  how === "stopped" || how === "finished" || how === "failed" || how === "interrupted" ? how : null;

/** The evidence of every compute that has ended, newest first. */
export default function Receipts({ view }: { view: SessionView }) {
  const { page, seq, log, now } = view;
  const asked = useQuery({
    ...receiptsQuery(log.id, now?.receipt?.epoch ?? 0),
    enabled: page === null,
  });
  const all: Shown[] =
    page !== null
      ? page.receipts.map(({ how, ...one }) => ({ ...one, how: how.as, late: one.late }))
      : (asked.data ?? [])
          .filter((one) => seq === null || one.seq <= seq)
          .map((one) => ({ ...one, how: standing(one.how), late: one.how === "late" }));
  if (asked.isLoading) return <Rows n={4} height={90} />;
  return (
    <section className="min-h-0 flex-1 overflow-y-auto" aria-label="Receipts" tabIndex={0}>
      {asked.isError ? (
        <div className="p-4">
          <ErrorNote error={asked.error} onRetry={() => void asked.refetch()} />
        </div>
      ) : null}
      {all.length === 0 ? (
        <Empty icon="receipt" title="No receipt yet">
          Every compute ends with one, whatever ended it: what was done, when, to how many
          processes, and by what means it is known that none is left.
        </Empty>
      ) : (
        <ol className="mx-auto flex max-w-3xl flex-col gap-3 p-4">
          {all.toReversed().map(({ seq, at, how, late, receipt }) => (
            <li key={seq} className="card p-4" data-receipt={receipt.epoch}>
              <h2 className="mb-3 flex items-center gap-2 font-medium">
                {how !== null ? <StatusMark status={how} /> : null}
                Compute {receipt.epoch}
                <span className="min-w-0 flex-1 truncate font-normal text-dim">
                  {receiptLine(receipt)}
                  {late ? ", after a person had closed it" : ""}
                </span>
                <time dateTime={at} className="shrink-0 font-normal text-faint text-xs">
                  {exact(at)}
                </time>
              </h2>
              <ReceiptSteps receipt={receipt} />
            </li>
          ))}
        </ol>
      )}
    </section>
  );
}
