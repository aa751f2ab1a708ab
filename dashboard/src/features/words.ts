// Lines for people.
import type { Receipt, Session } from "@/api/types";
import { plural, span } from "@/ui/format";

/** "7 processes, 0 survivors, 412 ms" */
export function receiptLine(receipt: Receipt): string {
  const parts = [
    plural(receipt.processes_seen, "process", "processes"),
    plural(receipt.survivors, "survivor"),
    span(receipt.duration_ms),
  ];
  return parts.join(", ");
}

export const isProven = (receipt: Receipt): boolean =>
  receipt.survivors === 0 &&
  receipt.reason !== "abandoned" &&
  receipt.proof.some((one) => one.means !== "none" && one.means !== "runner_word");

export const nameOf = (session: Pick<Session, "id" | "title">): string =>
  session.title ?? session.id;

const REASONS: Readonly<Record<string, string>> = {
  agent_disabled: "its agent is disabled",
  no_runner: "no runner has the labels its agent asks for",
  no_working_dir: "no runner that is connected allows its working directory",
  runners_full: "every runner that fits is full",
  home_unreachable: "the runner that has its files is silent",
  home_draining: "the runner that has its files takes nothing new",
  home_full: "the runner that has its files has no slot free",
};

export function exitWords(receipt: Receipt): string | null {
  const exit = receipt.exit;
  if (exit == null) return null;
  return "code" in exit ? `exit code ${exit.code}` : `signal ${exit.signal}`;
}

/** What there is to say of a session that says nothing itself now. */
export function standingLine(session: Session): string {
  const { status, status_reason: reason, receipt } = session;
  switch (status) {
    case "new":
      return "nothing was asked yet";
    case "queued":
      return reason ? (REASONS[reason] ?? reason) : "waits for its turn";
    case "running":
      return reason === "serving" ? "works for requests, without a run" : "";
    case "starting":
      return "the compute is coming up";
    case "waiting":
      return "waits for an answer";
    case "idle":
      return "warm, waits for a prompt";
    case "stopping":
      return reason === "done"
        ? "what the agent left behind is swept"
        : "wanted down, not yet proven";
    case "unreachable":
      return "its runner is silent; nothing is known";
    case "stop_unconfirmed":
      return "the stop's deadline passed without proof";
    case "deleting":
      return "is being removed";
    case "failed":
      return receipt?.detail ?? (receipt ? (exitWords(receipt) ?? receipt.reason) : (reason ?? ""));
    case "stopped":
      return receipt ? receiptLine(receipt) : "";
    case "interrupted":
      return receipt?.detail ?? reason ?? "";
    case "finished":
      return receipt && receipt.leftovers > 0
        ? `answered; ${plural(receipt.leftovers, "leftover")} swept`
        : "answered";
    default:
      return "";
  }
}
