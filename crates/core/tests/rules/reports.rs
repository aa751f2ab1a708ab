//! Reports: doubled, late, from the wrong epoch, and from runners that were silent.

use greenroom_core::fact::Output;
use greenroom_core::receipt::EndReason;
use greenroom_core::record::OutputKind;
use greenroom_core::{Command, Epoch, Fact, RecordBody, RunFiles};
use serde_json::json;

use crate::scene::*;

fn of_epoch(scene: &Scene, epoch: u32, body: RecordBody) -> Command {
    Command::Records(vec![scene.record(Epoch(epoch), body)])
}

fn says(text: &str) -> RecordBody {
    RecordBody::Output {
        run: Some(run(1)),
        kind: OutputKind::Message,
        data: json!({ "text": text }),
    }
}

#[test]
fn output_takes_a_place_in_the_log_and_changes_no_state() {
    let before = session().running();
    let after = before.clone().records(says("hello"));
    assert_eq!(after.session.last_seq, before.session.last_seq + 1);
    assert_eq!(after.session.version, before.session.version);
}

/// An epoch's tail may come when the next one works already: kept, marked, without effect.
#[test]
fn what_an_older_epoch_still_has_to_say_is_kept_and_marked_late() {
    let scene = session().answered().closed(EndReason::Done).prompted().placed().ready().begins(2);
    let report = of_epoch(&scene, 1, says("my last words"));
    let scene = scene.does(report);
    assert!(matches!(&scene.news[..], [Fact::Output(Output { late: true, .. })]));
    for body in [
        RecordBody::RunEnded { run: run(2), outcome: failed() },
        RecordBody::RunStarted { run: run(2) },
        RecordBody::Closing { reason: EndReason::Exit },
        RecordBody::Receipt { receipt: Box::new(proof(Epoch(1), EndReason::Exit)) },
    ] {
        let report = of_epoch(&scene, 1, body);
        assert_eq!(scene.clone().does(report).told(), Vec::<String>::new());
    }
    assert_eq!(scene.stands(), "running");
}

#[test]
fn an_epoch_is_closed_by_its_first_receipt_only() {
    let scene = session().running().stops().closed(EndReason::User);
    assert_eq!(scene.closed(EndReason::Lost).told(), Vec::<String>::new());
}

#[test]
fn records_of_a_newer_build_are_kept_and_block_nothing() {
    let scene = session().running().records(RecordBody::Unknown);
    assert_eq!(
        (scene.told(), scene.stands().as_str()),
        (vec!["session.unmatched".into()], "running")
    );
    let closed = scene.closed(EndReason::Exit).records(RecordBody::Unknown);
    assert_eq!(closed.told(), ["session.unmatched"]);
}

#[test]
fn what_is_lost_for_good_says_so() {
    let scene = session().running().records(RecordBody::Gap { from: 5, to: 9 });
    assert_eq!(scene.told(), ["log_gap"]);
    let scene = scene.does(Command::Lost { epoch: Epoch(1), from: 10, to: 12 });
    assert_eq!(scene.told(), ["log_gap"]);
}

#[test]
fn what_was_kept_of_files_is_said_and_changes_nothing_else() {
    let scene = session().running().closed(EndReason::Exit);
    let reason = |code: &str, message: &str| RunFiles::Reason {
        code: code.to_owned(),
        message: message.to_owned(),
    };
    let said = [
        (RunFiles::Commit("c0".repeat(20)), json!({"run": run(1), "commit": "c0".repeat(20)})),
        (
            reason("too_slow", "it took too long"),
            json!({"run": run(1), "reason": {"code": "too_slow", "message": "it took too long"}}),
        ),
    ];
    for (files, data) in said {
        let after = scene.clone().does(Command::RunFiles { run: run(1), files });
        assert_eq!(after.told(), ["run.files"]);
        let event = after.news[0].to_event(9, at());
        assert_eq!((event.run, &event.data), (Some(run(1)), &data));
        assert_eq!(Fact::from_event(&event).expect("a fact"), after.news[0]);
        assert_eq!(after.stands(), scene.stands());
        assert_eq!(after.session.generation, scene.session.generation);
    }
}

#[test]
fn silence_ends_nothing() {
    let scene = session().running().prompted().silent();
    assert_eq!((scene.stands().as_str(), scene.session.need()), ("unreachable", None));
    assert_eq!(scene.clone().silent().told(), Vec::<String>::new());
    let other = scene.clone().does(Command::RunnerSeen { runner: ELSEWHERE });
    assert_eq!(other.stands(), "unreachable");
    let seen = scene.does(Command::RunnerSeen { runner: HOME });
    assert_eq!((seen.stands().as_str(), seen.runs().as_str()), ("running", "1 running, 2 queued"));
    // Nothing live, nothing to be silent about.
    let rest = session().answered().closed(EndReason::Done);
    assert_eq!(rest.silent().told(), Vec::<String>::new());
}

#[test]
fn a_persons_word_closes_what_nothing_can_prove() {
    for scene in [session().running().silent(), session().running().stops().overdue()] {
        let scene = scene.prompted().abandoned();
        assert_eq!((scene.stands().as_str(), scene.held()), ("interrupted abandoned", true));
        let receipt = scene.receipt();
        assert_eq!(receipt.asserted_by.as_deref(), Some("user"));
        assert!(!receipt.is_proven());
        assert_eq!(scene.queue(), [2]);
        assert_eq!(scene.session.need(), None, "not by itself beside what may be alive");
    }
    let unasked = session().running().silent().abandoned();
    assert_eq!((unasked.runs().as_str(), unasked.error(1)), ("1 failed", "abandoned"));
    let unseen = session().prompted().placed().silent().abandoned();
    assert_eq!((unseen.runs().as_str(), unseen.error(1)), ("1 failed", "abandoned"));
}

#[test]
fn only_what_is_in_doubt_can_be_abandoned() {
    let word = || Command::Abandon { by: user(), reason: "I say so".into() };
    for scene in one_in_each_status() {
        let doubted = ["unreachable", "stop_unconfirmed"].contains(&scene.stands().as_str());
        if !doubted {
            assert_eq!(scene.refuses(word()), "nothing_to_abandon", "{}", scene.stands());
        }
    }
}

#[test]
fn a_late_receipt_of_an_abandoned_epoch_is_logged_once() {
    let scene = session().running().silent().abandoned();
    let scene = scene.closed(EndReason::User);
    assert_eq!(scene.told(), ["session.late_receipt"]);
    assert_eq!(scene.stands(), "interrupted abandoned");
    assert_eq!(scene.closed(EndReason::User).told(), Vec::<String>::new());
}

/// Its run was ended by the same word, so this is all that says how far it really came.
#[test]
fn what_an_abandoned_epoch_reports_of_its_run_is_kept() {
    let scene = session().running().silent().abandoned().ends(1, completed());
    assert_eq!(
        (scene.told(), scene.runs().as_str()),
        (vec!["session.unmatched".into()], "1 failed")
    );
}

#[test]
fn the_next_epoch_may_live_while_an_abandoned_one_returns() {
    let scene = session().running().silent().abandoned().prompted().placed().ready().begins(2);
    assert_eq!((scene.stands().as_str(), scene.session.last_epoch), ("running", Epoch(2)));
    let late = proof(Epoch(1), EndReason::User);
    let scene = scene.does(Command::Receipt(Box::new(late)));
    assert_eq!(
        (scene.told(), scene.stands().as_str()),
        (vec!["session.late_receipt".into()], "running")
    );
}
