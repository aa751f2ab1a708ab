//! Receipts and endings, as people read them.

use greenroom_core::receipt::{Action, EndReason, Exit, Means};
use greenroom_core::{Receipt, Status};
use greenroom_protocol::v1::StopReply;

use crate::human::{clean, count, moment};
use crate::ui::{Paint, Tone};

/// A word of the API, as it is written there.
fn word(value: &impl serde::Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        _ => String::new(),
    }
}

/// Whether anything stands behind a receipt.
pub(crate) fn is_proven(receipt: &Receipt) -> bool {
    let proves = |means: Means| !matches!(means, Means::None | Means::RunnerWord);
    receipt.asserted_by.is_none() && receipt.proof.iter().any(|proof| proves(proof.means))
}

/// The counts of a receipt, always in the same words, so that programs can read them.
fn counts(receipt: &Receipt) -> String {
    format!(
        "{} processes, {} survivors, {} ms",
        receipt.processes_seen, receipt.survivors, receipt.duration_ms
    )
}

/// What a stop came to, in one sentence.
pub(crate) fn stop_sentence(reply: &StopReply, agent: &str) -> String {
    let id = &reply.session_id;
    if reply.already_stopped {
        return format!("Session \"{id}\" is already stopped for agent \"{agent}\".");
    }
    match (&reply.receipt, reply.status) {
        (_, Status::Stopping) => format!("Session \"{id}\" is stopping for agent \"{agent}\"."),
        (Some(receipt), Status::Finished | Status::Failed | Status::Interrupted) => format!(
            "Session \"{id}\" had ended by itself ({}) for agent \"{agent}\" ({}).",
            reply.status.as_str(),
            counts(receipt)
        ),
        (Some(receipt), _) => {
            format!("Session \"{id}\" stopped for agent \"{agent}\" ({}).", counts(receipt))
        }
        (None, _) => format!("Session \"{id}\" stopped for agent \"{agent}\"."),
    }
}

/// What a local stop came to, in one sentence.
pub(crate) fn local_sentence(session: &str, receipt: &Receipt) -> String {
    format!("Session \"{session}\" stopped ({}).", counts(receipt))
}

fn exit(exit: Exit) -> String {
    match exit {
        Exit::Code(code) => format!("exit code {code}"),
        Exit::Signal(signal) => format!("signal {signal}"),
    }
}

fn action(action: Action) -> &'static str {
    match action {
        Action::Seen => "seen",
        Action::Cancel => "cancel",
        Action::TermLeader => "SIGTERM to the agent",
        Action::LeaderExited => "the agent exited",
        Action::TermRest => "SIGTERM to the rest",
        Action::Freeze => "freeze",
        Action::Kill => "SIGKILL to all",
        Action::Proven => "proven",
        Action::Nothing => "nothing to do",
    }
}

fn means(means: Means) -> &'static str {
    match means {
        Means::NoChildLeft => "no child left",
        Means::CgroupEmpty => "control group empty",
        Means::NeverPlaced => "never placed",
        Means::NeverStarted => "never started",
        Means::Rebooted => "the machine was started anew",
        Means::RunnerRecord => "the runner's record",
        Means::RunnerWord => "the word of a runner of another system",
        Means::None => "no proof",
    }
}

/// A receipt as a short timeline.
pub(crate) fn timeline(receipt: &Receipt, paint: Paint) -> String {
    let mut lines = Vec::new();
    let verdict = match is_proven(receipt) {
        true => paint.tint(Tone::Live, "proven"),
        false => paint.tint(Tone::Bad, "not proven"),
    };
    lines.push(format!(
        "{}  epoch {}, reason {}, {verdict}: {}",
        paint.tint(Tone::Head, "Receipt"),
        receipt.epoch,
        reason(receipt.reason),
        counts(receipt),
    ));
    let field = |name: &str, text: String| format!("  {name:<10}  {text}");
    lines.push(field(
        "requested",
        match receipt.requested_by.join(", ") {
            by if by.is_empty() => moment(receipt.requested_at),
            by => format!("{} by {}", moment(receipt.requested_at), clean(&by)),
        },
    ));
    for step in &receipt.steps {
        let after = format!("+{} ms", step.after_ms);
        let what = action(step.action);
        let detail = match step.detail.is_empty() {
            true => String::new(),
            false => format!(": {}", clean(&step.detail)),
        };
        lines.push(format!("  {after:>10}  {what}{detail}"));
    }
    lines.extend(receipt.exit.map(|e| field("exit", exit(e))));
    if receipt.leftovers > 0 {
        let left = count(receipt.leftovers as usize, "process").replace("processs", "processes");
        lines.push(field("leftovers", format!("{left} left behind by the agent")));
    }
    for proof in &receipt.proof {
        lines.push(field("proof", format!("{}: {}", means(proof.means), clean(&proof.result))));
    }
    lines.extend(
        receipt.asserted_by.as_ref().map(|by| field("asserted", format!("by {}", clean(by)))),
    );
    lines.extend(receipt.detail.as_ref().map(|detail| field("detail", clean(detail))));
    lines.push(field("isolation", receipt.isolation.clone()));
    lines.push(paint.tint(Tone::Dim, &field("scope", clean(&receipt.scope))));
    lines.join("\n") + "\n"
}

fn reason(reason: EndReason) -> String {
    word(&reason)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use greenroom_core::receipt::{Proof, Step};
    use greenroom_core::{Epoch, Timestamp};

    /// A receipt with something in every field.
    pub(crate) fn receipt() -> Receipt {
        let step =
            |after_ms, action, detail: &str| Step { after_ms, action, detail: detail.to_owned() };
        Receipt {
            steps: vec![
                step(0, Action::Seen, "stop 1"),
                step(1, Action::TermLeader, ""),
                step(6, Action::LeaderExited, "signal 15"),
                step(400, Action::Kill, "6 left"),
                step(412, Action::Proven, ""),
            ],
            duration_ms: 412,
            processes_seen: 7,
            exit: Some(Exit::Signal(15)),
            requested_by: vec!["admin".to_owned()],
            ..Receipt::without_process(
                Epoch(3),
                EndReason::User,
                Timestamp::from_unix_ms(0),
                Means::NoChildLeft,
                "ECHILD",
            )
        }
    }

    /// A text without what depends on where this runs: the receipt's time on the wall.
    pub(crate) fn anywhere(text: &str) -> String {
        text.replace(&moment(Timestamp::from_unix_ms(0)), "yyyy-mm-dd hh:mm:ss")
    }

    fn reply(status: Status, already_stopped: bool, receipt: Option<Receipt>) -> StopReply {
        let session_id = "X".parse().expect("a name");
        StopReply { session_id, run_id: None, status, already_stopped, receipt }
    }

    #[test]
    fn the_sentences_of_a_stop() {
        let say = |reply: StopReply| stop_sentence(&reply, "A");
        assert_eq!(
            say(reply(Status::Stopped, false, Some(receipt()))),
            "Session \"X\" stopped for agent \"A\" (7 processes, 0 survivors, 412 ms)."
        );
        assert_eq!(
            say(reply(Status::Finished, true, Some(receipt()))),
            "Session \"X\" is already stopped for agent \"A\"."
        );
        assert_eq!(
            say(reply(Status::Stopping, false, None)),
            "Session \"X\" is stopping for agent \"A\"."
        );
    }

    #[test]
    fn a_receipt_is_a_timeline() {
        let proof = Proof { means: Means::CgroupEmpty, result: "populated 0".to_owned() };
        let mut receipt = receipt();
        receipt.proof.push(proof);
        receipt.leftovers = 1;
        insta::assert_snapshot!(anywhere(&timeline(&receipt, Paint::OFF)));
    }

    #[test]
    fn a_persons_word_is_no_proof() {
        let mut receipt = receipt();
        assert!(is_proven(&receipt));
        receipt.asserted_by = Some("ann".to_owned());
        assert!(!is_proven(&receipt));
    }
}
