//! Stopping: legal in every status, proven, and one for each compute.

use greenroom_core::receipt::{EndReason, Means, StopReason};
use greenroom_core::{Command, Epoch, Fact, Ms, Status};

use crate::scene::*;

/// What a person's stop makes of each status, with the facts that say so.
#[test]
fn a_stop_is_legal_in_every_status() {
    let expected: [(&str, &str); 14] = [
        ("new", "stopped user"),
        ("queued", "stopped user"),
        ("starting", "stopping user"),
        ("running", "stopping user"),
        ("waiting", "stopping user"),
        ("idle", "stopping user"),
        ("stopping user", "stopping user"),
        ("stopped user", "stopped user"),
        ("finished", "finished"),
        ("failed exit", "failed exit"),
        ("interrupted reboot", "interrupted reboot"),
        ("unreachable", "stopping user"),
        ("stop_unconfirmed", "stopping user"),
        ("deleting", "deleting"),
    ];
    for (scene, (before, after)) in one_in_each_status().into_iter().zip(expected) {
        assert_eq!(scene.stands(), before);
        assert_eq!(scene.stops().stands(), after, "a stop in {before}");
    }
}

#[test]
fn at_rest_with_nothing_waiting_a_stop_changes_nothing() {
    for scene in one_in_each_status() {
        let status = scene.session.status();
        if status.is_at_rest() && status != Status::New {
            assert_eq!(scene.stops().told(), Vec::<String>::new(), "{status:?}");
        }
    }
}

#[test]
fn what_was_never_placed_is_closed_at_once_with_a_receipt() {
    for scene in [session(), session().prompted()] {
        let scene = scene.stops();
        let receipt = scene.receipt();
        assert_eq!((receipt.epoch, receipt.processes_seen, receipt.survivors), (Epoch(1), 0, 0));
        assert_eq!(receipt.proof[0].means, Means::NeverPlaced);
        assert_eq!(receipt.requested_by, ["user"]);
        assert!(scene.held());
    }
}

#[test]
fn an_epoch_that_was_closed_unplaced_is_never_used_again() {
    let scene = session().prompted().stops().prompted().placed();
    assert_eq!(scene.session.last_epoch, Epoch(2));
}

#[test]
fn a_never_started_compute_is_stopped_by_its_runners_receipt() {
    let scene = session().prompted().placed().stops().closed_with(EndReason::User, |receipt| {
        receipt.proof[0].means = Means::NeverStarted;
    });
    assert_eq!((scene.stands().as_str(), scene.runs().as_str()), ("stopped user", "1 stopped"));
}

#[test]
fn the_head_run_ends_stopped_and_what_is_behind_it_waits() {
    let behind = |scene: Scene| scene.prompted().prompted();
    let queued = behind(session().prompted()).stops();
    assert_eq!(queued.runs(), "1 stopped, 2 queued, 3 queued");
    let dispatched = behind(session().prompted().placed()).stops().closed(EndReason::User);
    assert_eq!(dispatched.runs(), "1 stopped, 2 queued, 3 queued");
    let running = behind(session().running()).stops().closed(EndReason::User);
    assert_eq!(running.runs(), "1 stopped, 2 queued, 3 queued");
    for scene in [queued, dispatched, running] {
        assert_eq!((scene.stands().as_str(), scene.held()), ("stopped user", true));
    }
}

/// A prompt to a warm agent and the stop after it: whether the prompt was handed out in
/// between is a race that the person who stopped must not be able to tell.
#[test]
fn a_run_that_waits_for_a_warm_compute_is_its_head() {
    let slow = persistent().answered().prompted();
    assert_eq!(slow.stands(), "queued");
    let quick = slow.clone().placed();
    for scene in [slow, quick] {
        let scene = scene.stops().closed(EndReason::User);
        assert_eq!(scene.runs(), "1 completed, 2 stopped");
    }
}

#[test]
fn a_repeated_stop_ends_no_further_run() {
    let scene = session().running().prompted().stops().stops();
    assert_eq!(scene.queue(), [2]);
    assert_eq!(scene.told(), Vec::<String>::new());
}

#[test]
fn discarding_the_queue_withdraws_what_waits_and_says_so() {
    let discard = |scene: Scene| scene.stops_with(StopReason::User, |s| s.discard_queue = true);
    let queued = discard(session().prompted().prompted());
    assert_eq!(queued.runs(), "1 stopped, 2 withdrawn");
    let running = discard(session().running().prompted().prompted());
    assert_eq!(running.runs(), "1 running, 2 withdrawn, 3 withdrawn");
    let held = discard(session().prompted().prompted().stops());
    assert_eq!(held.runs(), "1 stopped, 2 withdrawn");
}

/// The head run has ended and the receipt is not in: nothing of the queue is the head.
#[test]
fn discarding_the_queue_during_a_stop_spares_no_run() {
    let scene = session().running().prompted().stops().ends(1, completed());
    let scene = scene.stops_with(StopReason::User, |stop| stop.discard_queue = true);
    assert_eq!(scene.runs(), "1 completed, 2 withdrawn");
}

#[test]
fn later_stops_join_and_can_only_shorten() {
    let grace = |scene: Scene, by: &str, secs: u64| {
        scene.stops_with(StopReason::User, |stop| {
            stop.grace = Some(Ms::secs(secs));
            stop.by.name = by.into();
        })
    };
    let scene = grace(grace(grace(session().running(), "ann", 35), "bob", 0), "cid", 60);
    let order = scene.stop_order().expect("it is stopping");
    assert_eq!((order.grace_ms, order.attempt), (Ms(0), 0));
    assert_eq!(order.requested_by, ["ann", "bob", "cid"]);
    let stopping = scene.log.iter().filter(|fact| matches!(fact, Fact::Stopping { .. }));
    assert_eq!(stopping.count(), 1);
}

#[test]
fn a_stop_that_joins_without_a_grace_shortens_nothing() {
    let short = session().running().stops_with(StopReason::User, |stop| stop.grace = Some(Ms(1)));
    assert_eq!(short.stops().stop_order().expect("it is stopping").grace_ms, Ms(1));
}

#[test]
fn a_deadline_without_proof_is_not_called_stopped() {
    let scene = session().running().stops().overdue();
    assert_eq!(scene.stands(), "stop_unconfirmed");
    let again = scene.clone().stops();
    assert_eq!(again.stands(), "stopping user");
    assert_eq!(again.stop_order().expect("it is stopping").attempt, 1);
    // The wish stays: its receipt may come at any time, and settles it.
    for scene in [scene, again] {
        assert_eq!(scene.closed(EndReason::User).stands(), "stopped user");
    }
}

#[test]
fn an_old_deadline_does_not_fail_the_next_try() {
    let again = session().running().stops().overdue().stops();
    let late = again.does(Command::StopOverdue { epoch: Epoch(1), attempt: 0 });
    assert_eq!(late.stands(), "stopping user");
    assert_eq!(late.overdue().stands(), "stop_unconfirmed");
}

/// A supervisor that died without a control group around its tree.
#[test]
fn an_end_that_cannot_be_proven_is_unconfirmed_though_nobody_asked() {
    let unproven = || Command::Unproven { epoch: Epoch(1), evidence: "pid 7".into() };
    let scene = session().running().does(unproven());
    assert_eq!(scene.stands(), "stop_unconfirmed");
    assert_eq!(scene.clone().does(unproven()).told(), Vec::<String>::new());
    // A stop is a new try, and finds the same.
    let scene = scene.stops();
    assert_eq!(scene.stands(), "stopping user");
    assert_eq!(scene.does(unproven()).stands(), "stop_unconfirmed");
}

#[test]
fn a_receipt_that_proves_nothing_closes_nothing() {
    let survivors = session().running().stops().closed_with(EndReason::User, |r| r.survivors = 1);
    assert_eq!(survivors.stands(), "stop_unconfirmed");
    let no_means = session().running().stops().closed_with(EndReason::User, |r| r.proof.clear());
    assert_eq!(no_means.stands(), "stop_unconfirmed");
    // Only a person may abandon; a runner's word for it counts for nothing.
    let word = session().running().closed(EndReason::Abandoned);
    assert_eq!(word.stands(), "stop_unconfirmed");
}

#[test]
fn the_agents_own_outcome_wins_over_a_stop_that_came_late() {
    let scene = session().running().stops().closed_with(EndReason::User, |receipt| {
        receipt.last_run = last_run(1, Some(completed()));
    });
    assert_eq!((scene.stands().as_str(), scene.runs().as_str()), ("stopped user", "1 completed"));
}

#[test]
fn a_stop_gives_its_name_to_whatever_end_came_after_it() {
    for reason in [EndReason::Exit, EndReason::Oom, EndReason::Lost, EndReason::Reboot] {
        let scene = session().running().stops().closed(reason);
        assert_eq!((scene.stands().as_str(), scene.runs().as_str()), ("stopped user", "1 stopped"));
    }
}

#[test]
fn a_stop_while_its_runner_is_silent_ends_in_stop_unconfirmed_or_a_receipt() {
    let scene = session().running().silent().stops();
    assert_eq!(scene.stands(), "stopping user");
    assert_eq!(scene.clone().overdue().stands(), "stop_unconfirmed");
    assert_eq!(scene.closed(EndReason::User).stands(), "stopped user");
}

#[test]
fn a_person_who_stops_an_idle_stop_takes_it_over() {
    let idle = persistent().answered().stops_for(StopReason::Idle);
    assert_eq!((idle.stands().as_str(), idle.held()), ("stopping idle", false));
    let taken = idle.stops();
    assert_eq!((taken.stands().as_str(), taken.held()), ("stopping user", true));
    assert_eq!(taken.closed(EndReason::Idle).stands(), "stopped user");
}

#[test]
fn a_machine_that_goes_down_ends_what_is_live_and_leaves_what_waits() {
    let waits = session().prompted().stops_for(StopReason::Shutdown);
    assert_eq!((waits.stands().as_str(), waits.told().len()), ("queued", 0));
    let live = session().running().prompted().stops_for(StopReason::Shutdown);
    let live = live.closed(EndReason::Shutdown);
    assert_eq!((live.runs().as_str(), live.held()), ("1 stopped, 2 queued", false));
}
