//! Holding: what a stop keeps waiting, and who lets it go on.

use greenroom_core::receipt::{EndReason, StopReason};
use greenroom_core::session::Need;
use greenroom_core::{Command, Epoch, Fact};

use crate::scene::*;

#[test]
fn who_holds() {
    let table = [
        (StopReason::User, true),
        (StopReason::Parent, true),
        (StopReason::Limit, true),
        (StopReason::Shutdown, false),
        (StopReason::Idle, false),
    ];
    for (reason, holds) in table {
        let scene = persistent().answered().stops_for(reason);
        assert_eq!(scene.held(), holds, "{reason:?}");
        assert_eq!(scene.closed(reason.into()).held(), holds, "{reason:?}");
    }
}

#[test]
fn while_held_nothing_starts() {
    let scene = session().running().prompted().stops().closed(EndReason::User);
    assert_eq!(scene.session.need(), None);
    assert_eq!(scene.refuses(Command::Grant { runner: HOME }), "not_needed");
}

/// At once would make the stop pointless, never would lose the prompt.
#[test]
fn a_prompt_during_a_stop_waits_for_the_receipt_and_for_a_person() {
    let scene = session().running().stops().prompted();
    assert_eq!((scene.stands().as_str(), scene.held()), ("stopping user", true));
    let scene = scene.closed(EndReason::User);
    assert_eq!((scene.stands().as_str(), scene.queue()), ("stopped user", vec![2]));
}

#[test]
fn a_prompt_during_a_stop_lifts_the_hold_if_it_says_so() {
    let scene = session().running().stops().prompts_with(|prompt| prompt.resume = true);
    assert_eq!((scene.stands().as_str(), scene.held()), ("stopping user", false));
    let scene = scene.closed(EndReason::User);
    assert_eq!((scene.stands().as_str(), scene.runs().as_str()), ("queued", "1 stopped, 2 queued"));
}

#[test]
fn a_later_stop_holds_again() {
    let lifted = session().running().stops().prompts_with(|prompt| prompt.resume = true);
    let again = lifted.clone().stops();
    assert!(again.held());
    // The prompt that lifted the hold would have been next: it is what this stop is about.
    assert_eq!(again.closed(EndReason::User).stands(), "stopped user");
    let resumed = persistent().answered().stops().resumed();
    assert!(resumed.session.wants_compute);
    let again = resumed.stops();
    assert!(again.held() && !again.session.wants_compute);
    assert_eq!(again.closed(EndReason::User).stands(), "stopped user");
}

#[test]
fn a_persons_prompt_after_the_receipt_lifts_the_hold_and_the_queue_goes_on_in_order() {
    let stopped = || session().running().prompted().stops().closed(EndReason::User);
    let scene = stopped().prompted();
    assert_eq!((scene.stands().as_str(), scene.queue()), ("queued", vec![2, 3]));
    let scene = stopped().prompts_with(|prompt| prompt.first = true);
    assert_eq!((scene.stands().as_str(), scene.queue()), ("queued", vec![3, 2]));
}

/// The end of a child must not start a parent that a person has stopped.
#[test]
fn no_agent_and_no_child_lifts_a_hold() {
    let stopped = session().running().stops().closed(EndReason::User);
    let told = stopped.clone().prompts_with(|prompt| prompt.by = agent());
    assert_eq!((told.stands().as_str(), told.held()), ("stopped user", true));
    let told = stopped.does(child_ended(9));
    assert_eq!(
        (told.stands().as_str(), told.held(), told.queue()),
        ("stopped user", true, vec![9])
    );
}

pub fn child_ended(as_run: u128) -> Command {
    Command::ChildEnded {
        child: greenroom_core::SessionUid(uuid::Uuid::from_u128(2)),
        id: "child".parse().expect("a name"),
        run: run(70),
        status: greenroom_core::run::RunStatus::Completed,
        as_run: run(as_run),
        prompt: "your child is done".into(),
    }
}

#[test]
fn a_stop_at_rest_holds_what_waits() {
    let scene = session().answered().closed(EndReason::Done);
    assert!(!scene.clone().stops().held(), "nothing waits, so nothing is held");
    // An expired session is at rest though the end of a child waits in its queue.
    let waits = scene.expired().does(child_ended(9));
    assert_eq!((waits.stands().as_str(), waits.held()), ("finished expired", false));
    let waits = waits.stops();
    assert_eq!((waits.stands().as_str(), waits.held()), ("finished expired", true));
    assert_eq!(waits.queue(), [9]);
}

#[test]
fn interrupting_and_stopping_one_run_do_not_hold() {
    let interrupt = |prompt: &mut greenroom_core::command::Prompt| {
        prompt.mode = greenroom_core::command::Mode::Interrupt;
    };
    let interrupted = session().running().prompted().prompts_with(interrupt);
    assert_eq!((interrupted.stands().as_str(), interrupted.held()), ("stopping user", false));
    let interrupted = interrupted.closed(EndReason::User);
    assert_eq!((interrupted.stands().as_str(), interrupted.queue()), ("queued", vec![3, 2]));
    assert_eq!(interrupted.runs(), "1 stopped, 2 queued, 3 queued");

    let stopped = session().running().prompted().stops_run(1);
    assert_eq!((stopped.stands().as_str(), stopped.held()), ("stopping user", false));
    let stopped = stopped.closed(EndReason::User);
    assert_eq!((stopped.stands().as_str(), stopped.queue()), ("queued", vec![2]));
}

#[test]
fn a_prompt_that_met_an_idle_stop_goes_on_by_itself() {
    let scene = persistent().answered().stops_for(StopReason::Idle).prompted();
    assert_eq!((scene.stands().as_str(), scene.held()), ("stopping idle", false));
    let scene = scene.closed(EndReason::Idle);
    assert_eq!(scene.stands(), "queued");
    assert_eq!(scene.placed().session.last_epoch, Epoch(2));
}

/// Two commits on one row: here the prompt was first.
#[test]
fn an_idle_stop_that_met_a_prompt_does_nothing() {
    let prompted = persistent().answered().prompted();
    let dispatched = prompted.clone().placed();
    let running = dispatched.clone().begins(2);
    for scene in [prompted, dispatched, running] {
        assert_eq!(scene.stops_for(StopReason::Idle).told(), Vec::<String>::new());
    }
}

/// Five prompts must not burn, one by one, in the same failure.
#[test]
fn failures_that_would_repeat_hold_the_queue() {
    let table = [
        (EndReason::StartTimeout, "failed start_timeout", true),
        (EndReason::StartError, "failed start_error", true),
        (EndReason::Protocol, "failed protocol", true),
        (EndReason::Exit, "queued", false),
        (EndReason::Signal, "queued", false),
        (EndReason::Oom, "queued", false),
        (EndReason::Reboot, "queued", false),
        (EndReason::Lost, "queued", false),
    ];
    for (reason, stands, held) in table {
        let scene = session().running().prompted().closed(reason);
        assert_eq!((scene.stands().as_str(), scene.held()), (stands, held), "{reason:?}");
        assert_eq!(scene.queue(), [2]);
        // A person who asks again has seen it.
        assert_eq!(scene.resumed_or_prompted(held).stands(), "queued");
    }
}

impl Scene {
    fn resumed_or_prompted(self, held: bool) -> Self {
        if held { self.resumed() } else { self.prompted() }
    }
}

/// An agent that ends before it takes its first run would be started for it for ever.
#[test]
fn an_agent_that_never_takes_its_run_does_not_start_over_and_over() {
    for reason in [EndReason::Exit, EndReason::Signal, EndReason::Oom, EndReason::Done] {
        let scene = persistent().prompted().placed().ready().closed(reason);
        assert_eq!((scene.runs().as_str(), scene.held()), ("1 queued", true), "{reason:?}");
        assert_eq!(scene.session.need(), None);
    }
    // One that has worked before it ended is another matter: the next prompt starts at once.
    let scene = persistent().answered().prompted().placed().closed(EndReason::Exit);
    assert_eq!((scene.runs().as_str(), scene.held()), ("1 completed, 2 queued", false));
}

#[test]
fn a_limit_that_the_supervisor_enforced_holds() {
    let scene = session().running().prompted().closed(EndReason::Limit);
    assert_eq!((scene.stands().as_str(), scene.held()), ("stopped limit", true));
    assert_eq!((scene.runs().as_str(), scene.error(1)), ("1 stopped, 2 queued", "limit"));
}

#[test]
fn resume_needs_something_to_resume() {
    let by = || Command::Resume { by: user() };
    for scene in [session(), session().running(), session().answered().closed(EndReason::Done)] {
        assert_eq!(scene.refuses(by()), "nothing_to_resume");
    }
    assert_eq!(persistent().answered().refuses(by()), "nothing_to_resume");
    let lifted = session().running().stops().closed(EndReason::User).resumed();
    assert_eq!((lifted.stands().as_str(), lifted.held()), ("stopped user", false));
}

#[test]
fn a_persistent_agent_comes_up_without_a_prompt() {
    let stopped = persistent().answered().stops().closed(EndReason::User);
    for scene in [persistent(), stopped] {
        let scene = scene.resumed();
        assert_eq!(scene.stands(), "queued");
        let home = scene.session.home;
        assert_eq!(scene.session.need(), Some(Need::Place { home, with_run: false }));
        assert_eq!(scene.clone().refuses(Command::Resume { by: user() }), "nothing_to_resume");
        let scene = scene.placed().ready();
        assert_eq!((scene.stands().as_str(), scene.session.wants_compute), ("idle", false));
        let started = scene.log.iter().filter(|fact| matches!(fact, Fact::RunDispatched { .. }));
        assert!(started.count() <= 1);
    }
}

#[test]
fn a_resume_during_a_stop_brings_up_the_next_compute() {
    let scene = persistent().answered().stops().resumed();
    assert_eq!((scene.stands().as_str(), scene.held()), ("stopping user", false));
    let scene = scene.closed(EndReason::User);
    assert_eq!(scene.stands(), "queued");
    assert_eq!(scene.placed().session.last_epoch, Epoch(2));
}
