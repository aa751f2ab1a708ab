//! Approvals: asked by an agent, answered once, and good for one action. And turns that
//! a driver can end.

use greenroom_core::approval::Decision;
use greenroom_core::command::Mode;
use greenroom_core::receipt::EndReason;
use greenroom_core::record::Outcome;
use greenroom_core::session::Need;
use greenroom_core::{ApprovalId, Command, Ms, Order, RecordBody};

use crate::scene::*;

/// A warm agent whose driver can end a turn, in its first run.
fn driven() -> Scene {
    let mut scene = persistent();
    scene.session.traits.cancels = true;
    scene.running()
}

fn order(scene: &Scene) -> (Option<Ms>, Vec<ApprovalId>) {
    match scene.session.assignments().pop() {
        Some((_, assignment)) => match assignment.order {
            Order::Up { cancel, answers, .. } => (cancel, answers),
            other => panic!("it is told {other:?}"),
        },
        None => panic!("nothing is assigned"),
    }
}

fn answering(n: u128) -> Command {
    Command::Answer { id: ask(n).id, answer: answer(Decision::Allow), by: user() }
}

#[test]
fn the_run_waits_for_the_answer_and_takes_no_slot() {
    let scene = driven().asks(1, 1);
    assert_eq!(scene.told(), ["approval.requested", "run.waiting", "session.status"]);
    assert_eq!((scene.stands().as_str(), scene.session.slot()), ("waiting", None));
    let scene = scene.answers(1, Decision::Allow);
    assert_eq!(scene.told(), ["approval.answered", "run.resumed", "session.status"]);
    assert_eq!(scene.stands(), "running");
    assert_eq!(order(&scene).1, [ask(1).id], "its runner is told");
    let scene = scene.records(RecordBody::AnswerTaken { id: ask(1).id });
    assert_eq!(order(&scene).1, [], "until the driver has it");
}

#[test]
fn with_two_questions_it_waits_for_both() {
    let scene = driven().asks(1, 1).asks(1, 2).answers(2, Decision::Deny);
    assert_eq!(scene.stands(), "waiting");
    assert_eq!(scene.answers(1, Decision::Allow).stands(), "running");
}

#[test]
fn only_the_first_answer_counts() {
    let scene = driven().asks(1, 1).answers(1, Decision::Deny);
    assert_eq!(scene.refuses(answering(1)), "approval_answered");
    let scene = scene.records(RecordBody::AnswerTaken { id: ask(1).id });
    assert_eq!(scene.refuses(answering(1)), "approval_answered");
}

#[test]
fn what_was_asked_ends_with_its_run_its_compute_or_its_stop() {
    let ended = driven().asks(1, 1).ends(1, completed());
    assert!(ended.told().contains(&"approval.withdrawn".to_owned()), "{:?}", ended.told());
    assert_eq!(ended.refuses(answering(1)), "approval_over");
    let stopping = driven().asks(1, 1).stops();
    assert_eq!(stopping.refuses(answering(1)), "approval_over");
    let stopped = stopping.closed(EndReason::User);
    assert!(stopped.told().contains(&"approval.withdrawn".to_owned()), "{:?}", stopped.told());
    // A later compute's agent asks anew, and the old answer is nobody's.
    let next = stopped.prompted().placed().ready().begins(2);
    assert_eq!(next.refuses(answering(1)), "approval_over");
}

#[test]
fn a_question_of_another_run_or_asked_twice_changes_nothing() {
    let scene = driven().asks(7, 1);
    assert_eq!((scene.stands().as_str(), scene.told().len()), ("running", 0));
    let scene = driven().asks(1, 1).answers(1, Decision::Allow).asks(1, 1);
    assert_eq!((scene.stands().as_str(), scene.told().len()), ("running", 0));
}

#[test]
fn a_question_that_needs_no_answer_lets_the_run_go_on() {
    let over = RecordBody::AskOver { id: ask(1).id, reason: "the turn was cancelled".into() };
    let scene = driven().asks(1, 1).records(over);
    assert_eq!(scene.stands(), "running");
}

#[test]
fn a_stopped_run_leaves_its_warm_compute() {
    let scene = driven().prompted().stops_run(1);
    assert_eq!(scene.told(), ["run.stopping"]);
    assert_eq!(order(&scene).0, Some(Ms::secs(2)));
    let scene = scene.ends(1, Outcome::Stopped { error: None });
    assert_eq!(scene.runs(), "1 stopped, 2 queued");
    assert_eq!(scene.session.need(), Some(Need::Turn { runner: HOME }), "the next goes on");
    assert_eq!(order(&scene).0, None);
}

#[test]
fn a_turn_that_does_not_end_takes_its_compute_and_holds_nothing() {
    let scene = driven().prompted().stops_run(1).closed(EndReason::User);
    assert_eq!(scene.runs(), "1 stopped, 2 queued");
    assert!(!scene.held());
    assert_eq!(scene.session.need(), Some(Need::Place { home: Some(HOME), with_run: true }));
}

#[test]
fn an_interrupt_ends_the_turn_and_goes_first() {
    let scene = driven().prompted().prompts_with(|prompt| prompt.mode = Mode::Interrupt);
    assert_eq!(scene.queue(), [3, 2]);
    assert_eq!(scene.stands(), "running");
    assert!(order(&scene).0.is_some());
}

#[test]
fn an_answer_does_not_undo_a_stop_of_the_whole() {
    let scene = driven().asks(1, 1).stops_run(1).stops();
    assert_eq!(scene.stands(), "stopping user");
    assert_eq!(scene.closed(EndReason::User).runs(), "1 stopped");
}

#[test]
fn the_agents_own_name_for_the_conversation_is_kept() {
    let named = RecordBody::Conversation { id: "54ab".into() };
    let scene = driven().records(named.clone());
    assert_eq!(scene.told(), ["session.conversation"]);
    let scene = scene.records(named);
    assert_eq!(scene.told().len(), 0, "once");
    let stopped = scene.stops().closed(EndReason::User);
    assert_eq!(stopped.session.conversation.as_deref(), Some("54ab"));
}
