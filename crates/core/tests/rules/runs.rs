//! Runs: one at a time, given once, and never lost.

use greenroom_core::command::{Asks, Mode, Prompt};
use greenroom_core::receipt::EndReason;
use greenroom_core::record::RunError;
use greenroom_core::session::{Blocked, Need};
use greenroom_core::{Command, Fact, RunId};

use crate::scene::*;

fn withdraw(n: u128) -> Command {
    Command::Withdraw { run: run(n), by: user() }
}

#[test]
fn a_process_a_run_from_prompt_to_prompt() {
    let scene = session().prompted();
    assert_eq!(scene.stands(), "queued");
    let scene = scene.placed();
    assert_eq!((scene.stands().as_str(), scene.runs().as_str()), ("starting", "1 dispatched"));
    let scene = scene.ready().begins(1);
    assert_eq!((scene.stands().as_str(), scene.runs().as_str()), ("running", "1 running"));
    // Its run is over, and what it left behind is being swept.
    let scene = scene.ends(1, completed());
    assert_eq!((scene.stands().as_str(), scene.runs().as_str()), ("stopping done", "1 completed"));
    let scene = scene.closed(EndReason::Done);
    assert_eq!(scene.stands(), "finished");
    assert_eq!(scene.prompted().stands(), "queued");
}

#[test]
fn anything_but_an_answer_is_a_failure_of_run_and_session() {
    let table = [
        (EndReason::Exit, "failed exit", "exit"),
        (EndReason::Signal, "failed signal", "signal"),
        (EndReason::Oom, "failed oom", "oom"),
        (EndReason::Protocol, "failed protocol", "protocol"),
        (EndReason::Lost, "interrupted lost", "interrupted"),
        (EndReason::Reboot, "interrupted reboot", "interrupted"),
        // An end that calls itself done, without an answer.
        (EndReason::Done, "failed exit", "exit"),
    ];
    for (reason, stands, error) in table {
        let scene = session().running().closed(reason);
        assert_eq!(scene.stands(), stands);
        assert_eq!((scene.runs().as_str(), scene.error(1)), ("1 failed", error), "{reason:?}");
    }
    let answered_badly = session().running().ends(1, failed()).closed(EndReason::Exit);
    assert_eq!(answered_badly.stands(), "failed exit");
}

#[test]
fn the_next_prompt_starts_at_once() {
    let warm = persistent().answered().prompted();
    assert_eq!(warm.session.need(), Some(Need::Turn { runner: HOME }));
    let next = session().running().prompted().ends(1, completed());
    assert_eq!(next.session.need(), None, "not beside a process that is being swept");
    let next = next.closed(EndReason::Done);
    assert_eq!(next.session.need(), Some(Need::Place { home: Some(HOME), with_run: true }));
    let failed = session().running().prompted().closed(EndReason::Exit);
    assert_eq!(failed.stands(), "queued");
}

/// With its leftovers kept, a compute stays after its run and takes the next one.
#[test]
fn kept_leftovers_keep_the_compute() {
    let scene = keeping().answered();
    assert_eq!(scene.stands(), "idle");
    let next = scene.prompted().placed().begins(2);
    assert_eq!((next.stands().as_str(), next.session.last_epoch.0), ("running", 1));
}

#[test]
fn one_run_is_dispatched_at_a_time() {
    let scene = persistent().running().prompted();
    assert_eq!(scene.session.need(), None);
    assert_eq!(scene.refuses(Command::Grant { runner: HOME }), "not_needed");
}

#[test]
fn what_waits_may_be_taken_back_until_it_is_dispatched() {
    let queued = session().prompted().prompted();
    let scene = queued.clone().does(withdraw(1)).does(withdraw(2));
    assert_eq!(
        (scene.stands().as_str(), scene.runs().as_str()),
        ("new", "1 withdrawn, 2 withdrawn")
    );
    let dispatched = queued.placed();
    assert_eq!(dispatched.refuses(withdraw(1)), "run_started");
    assert_eq!(dispatched.ready().begins(1).refuses(withdraw(1)), "run_started");
    assert_eq!(scene.refuses(withdraw(1)), "run_ended");
    assert_eq!(scene.refuses(withdraw(7)), "run_ended");
}

#[test]
fn a_queued_run_is_stopped_by_itself() {
    let scene = session().running().prompted().stops_run(2);
    assert_eq!(
        (scene.stands().as_str(), scene.runs().as_str()),
        ("running", "1 running, 2 stopped")
    );
    let over = Command::StopRun {
        run: run(2),
        stop: greenroom_core::StopId(uuid::Uuid::nil()),
        by: user(),
        grace: None,
    };
    assert_eq!(scene.refuses(over), "run_ended");
}

/// The agent cannot have seen it: it is the head of the queue again, also before what was
/// put first since.
#[test]
fn a_run_that_had_not_begun_goes_back_to_the_head() {
    for reason in [EndReason::Lost, EndReason::Reboot, EndReason::StartTimeout] {
        let scene = session().prompted().placed().prompts_with(|prompt| prompt.first = true);
        let scene = scene.closed(reason);
        assert_eq!((scene.runs().as_str(), scene.queue()), ("1 queued, 2 queued", vec![1, 2]));
    }
}

/// Twice means: pushed twice, paid twice, deleted twice.
#[test]
fn a_run_that_had_begun_is_never_repeated_by_itself() {
    let known = session().running().closed(EndReason::Lost);
    let from_receipt = session().prompted().placed().closed_with(EndReason::Lost, |receipt| {
        receipt.last_run = last_run(1, None);
    });
    for scene in [known, from_receipt] {
        assert_eq!((scene.runs().as_str(), scene.error(1)), ("1 failed", "interrupted"));
        assert_eq!(scene.session.need(), None);
    }
}

#[test]
fn a_receipt_that_overtakes_the_journal_says_what_the_journal_would() {
    let scene = session().prompted().placed().closed_with(EndReason::Done, |receipt| {
        receipt.last_run = last_run(1, Some(completed()));
    });
    assert_eq!((scene.stands().as_str(), scene.runs().as_str()), ("finished", "1 completed"));
    let told = scene.told();
    let place = |kind: &str| told.iter().position(|told| told == kind).expect(kind);
    assert!(place("run.started") < place("run.completed"));
    // The journal that comes after it adds nothing.
    let after = scene.ready().begins(1);
    assert_eq!(after.told(), Vec::<String>::new());
    assert_eq!(after.ends(1, completed()).told(), Vec::<String>::new());
}

#[test]
fn a_run_that_could_not_be_started_fails() {
    let scene = session().prompted().placed().prompted().closed(EndReason::StartError);
    assert_eq!(scene.stands(), "failed start_error");
    assert_eq!((scene.runs().as_str(), scene.error(1)), ("1 failed, 2 queued", "start_error"));
}

#[test]
fn reject_is_refused_wherever_the_prompt_would_wait() {
    let rejecting = || {
        let mode = Mode::Reject;
        Command::Prompt(Prompt { mode, ..prompt(50) })
    };
    let expected = [
        ("new", None),
        ("queued", Some("session_busy")),
        ("starting", Some("session_busy")),
        ("running", Some("session_busy")),
        ("waiting", Some("session_busy")),
        ("idle", None),
        ("stopping", Some("session_busy")),
        ("stopped", None),
        ("finished", None),
        ("failed", None),
        ("interrupted", None),
        ("unreachable", Some("session_busy")),
        ("stop_unconfirmed", Some("session_busy")),
        ("deleting", Some("session_deleting")),
    ];
    for (scene, (status, code)) in one_in_each_status().into_iter().zip(expected) {
        match code {
            Some(code) => assert_eq!(scene.refuses(rejecting()), code, "{status}"),
            None => assert_eq!(scene.does(rejecting()).stands(), "queued", "{status}"),
        }
    }
    // Its run is answered, and what is left of the compute goes by itself.
    let closing = session().answered().does(rejecting());
    assert_eq!((closing.stands().as_str(), closing.queue().len()), ("stopping done", 1));
}

#[test]
fn an_interrupt_goes_first_where_there_is_nothing_to_interrupt() {
    let interrupt = |prompt: &mut Prompt| prompt.mode = Mode::Interrupt;
    let scene = session().prompted().prompts_with(interrupt);
    assert_eq!((scene.stands().as_str(), scene.queue()), ("queued", vec![2, 1]));
    let idle = persistent().answered().prompts_with(interrupt);
    assert_eq!((idle.stands().as_str(), idle.queue()), ("queued", vec![2]));
}

#[test]
fn why_it_waits_is_said_once_and_not_longer_than_it_is_so() {
    let full = || Command::Block(Blocked::RunnersFull);
    let scene = session().prompted().does(full());
    assert_eq!(scene.stands(), "queued runners_full");
    assert_eq!(scene.clone().does(full()).told(), Vec::<String>::new());
    assert_eq!(scene.clone().placed().stands(), "starting");
    assert_eq!(scene.clone().stops().prompted().stands(), "queued");
    assert_eq!(scene.does(withdraw(1)).prompted().stands(), "queued");
    assert_eq!(session().does(full()).told(), Vec::<String>::new());
}

#[test]
fn a_session_is_placed_only_where_its_files_are() {
    let scene = session().answered().closed(EndReason::Done).prompted();
    assert_eq!(scene.refuses(Command::Grant { runner: ELSEWHERE }), "not_needed");
    let warm = persistent().answered().prompted();
    assert_eq!(warm.refuses(Command::Grant { runner: ELSEWHERE }), "not_needed");
}

#[test]
fn waiting_for_a_person_takes_no_slot() {
    let slots = [None, None, Some(HOME), Some(HOME), None, None, Some(HOME)];
    for (scene, slot) in one_in_each_status().into_iter().zip(slots) {
        assert_eq!(scene.session.slot(), slot, "{}", scene.stands());
    }
}

#[test]
fn a_run_keeps_its_own_wish_for_a_callback() {
    let scene = session().prompts_with(|prompt| prompt.run.callback = true).placed();
    let told: Vec<RunId> = scene
        .log
        .iter()
        .filter_map(|fact| match fact {
            Fact::RunQueued(queued) if queued.run.callback => Some(queued.run.id),
            _ => None,
        })
        .collect();
    assert_eq!(told, [run(1)]);
    let head = scene.session.compute.and_then(|compute| compute.head).expect("a head");
    assert!(head.run.callback);
}

fn revise(n: u128, position: Option<u32>) -> Command {
    let asks = position.is_none().then(|| Asks::Prompt("something else".to_owned()));
    Command::Revise { run: run(n), asks, position, by: user() }
}

#[test]
fn what_waits_is_edited_and_moved_and_what_has_begun_is_not() {
    let scene = session().prompted().placed().ready().begins(1).prompted().prompted().prompted();
    assert_eq!(scene.queue(), [2, 3, 4]);
    let scene = scene.does(revise(4, Some(0)));
    assert_eq!(scene.queue(), [4, 2, 3]);
    let scene = scene.does(revise(4, Some(99)));
    assert_eq!(scene.queue(), [2, 3, 4], "beyond the end is last");
    let before = scene.session.last_seq;
    let scene = scene.does(revise(3, Some(1)));
    assert_eq!(scene.session.last_seq, before, "nothing is said where nothing changes");
    let scene = scene.does(revise(3, None));
    assert_eq!(scene.queue(), [2, 3, 4]);
    assert_eq!(scene.refuses(revise(1, None)), "run_started");
    assert_eq!(scene.refuses(revise(9, Some(0))), "run_ended");
}

/// A run that nobody has taken in time fails; one that was handed out does not.
#[test]
fn a_run_that_waits_can_be_given_up() {
    let error = RunError::new("no_runner", "nobody has taken it");
    let give_up = |n| Command::GiveUp { run: run(n), error: error.clone() };
    let scene = session().prompted().prompted().does(give_up(1));
    assert_eq!((scene.stands().as_str(), scene.runs().as_str()), ("queued", "1 failed, 2 queued"));
    let scene = scene.does(give_up(2));
    assert_eq!((scene.stands().as_str(), scene.error(2)), ("new", "no_runner"));
    assert_eq!(scene.refuses(give_up(2)), "run_ended");
    let running = session().running();
    assert_eq!(running.refuses(give_up(1)), "run_started");
}
