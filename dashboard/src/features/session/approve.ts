// Answering what an agent asks.
import { answerApproval, perform } from "@/api/actions";
import { get, url } from "@/api/client";
import { approvalsQuery, queries } from "@/api/queries";
import type { AnswerRequest, Approval, List } from "@/api/types";
import { complain, toast } from "@/ui/toast";

export async function answer(
  session: string,
  approval: string,
  body: AnswerRequest,
): Promise<boolean> {
  try {
    await perform(answerApproval(session, approval, body));
    toast({ tone: "good", text: body.decision === "allow" ? "Allowed" : "Denied" });
    return true;
  } catch (error) {
    complain(error);
    return false;
  } finally {
    void queries.invalidateQueries({ queryKey: approvalsQuery.queryKey });
  }
}

/** Answers the oldest open question of a session, unless it needs more than a yes. */
export async function answerFirst(session: string, decision: "allow" | "deny"): Promise<void> {
  try {
    const { items } = await get<List<Approval>>(url(["v1", "sessions", session, "approvals"]));
    const first = items.find((one) => one.status === "open");
    if (first === undefined) return;
    if (first.kind === "form" && decision === "allow") {
      toast({ tone: "info", text: "This one asks for a form to be filled in" });
      return;
    }
    await answer(session, first.id, { decision });
  } catch (error) {
    complain(error);
  }
}
