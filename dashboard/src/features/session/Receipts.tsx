import { useQuery } from "@tanstack/react-query";
import { receiptsQuery, useCan } from "@/api/queries";
import type { Receipt } from "@/api/types";
import type { HowEnded } from "@/fold/types";
import { Empty, ErrorNote, Rows } from "@/ui/bits";
import { Button } from "@/ui/button";
import { StatusMark } from "@/ui/status";
import { receiptLine } from "../words";
import { ReceiptSteps } from "./blocks/ReceiptBlock";
import type { SessionView } from "./view";

interface Shown {
  key: string;
  how: HowEnded["as"] | null;
  receipt: Receipt;
}

/** The evidence of every compute that has ended, newest first. */
export default function Receipts({ view }: { view: SessionView }) {
  const { page, seq, session, log, live } = view;
  const can = useCan("get", "/v1/sessions/{id}/receipts");
  const asked = useQuery({
    ...receiptsQuery(log.id),
    enabled: page === null && seq === null && can === true,
  });
  let all: Shown[] = [];
  if (page !== null)
    all = page.receipts.map((one) => ({
      key: String(one.seq),
      how: one.how.as,
      receipt: one.receipt,
    }));
  else if (asked.data !== undefined)
    all = asked.data.items.map((receipt) => ({ key: String(receipt.epoch), how: null, receipt }));
  else if (session?.receipt != null) all = [{ key: "last", how: null, receipt: session.receipt }];
  const partly = page === null && asked.data === undefined;
  if (asked.isLoading) return <Rows n={4} height={90} />;
  return (
    <div className="min-h-0 flex-1 overflow-y-auto">
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
          {[...all].reverse().map(({ key, how, receipt }) => (
            <li key={key} className="card p-4" data-receipt={receipt.epoch}>
              <h2 className="mb-3 flex items-center gap-2 font-medium">
                {how !== null ? <StatusMark status={how} /> : null}
                Compute {receipt.epoch}
                <span className="font-normal text-dim">{receiptLine(receipt)}</span>
              </h2>
              <ReceiptSteps receipt={receipt} />
            </li>
          ))}
        </ol>
      )}
      {partly && (session?.epoch ?? 0) > 1 ? (
        <div className="flex justify-center pb-6">
          <Button busy={live.loadingEarlier} onClick={() => void log.loadAll()}>
            Read the whole log for the receipts before
          </Button>
        </div>
      ) : null}
    </div>
  );
}
