//! After a restore from an older backup the log knows less than its runners do.

use greenroom_core::receipt::{EndReason, Means};
use greenroom_core::session::Wanted;
use greenroom_core::{Command, Epoch};

use crate::scene::*;

fn fenced(epoch: u32, floor: u32) -> Command {
    Command::Fenced { epoch: Epoch(epoch), floor: Epoch(floor), runner: HOME }
}

fn adopt(epoch: u32) -> Command {
    Command::Adopt { epoch: Epoch(epoch), runner: HOME }
}

#[test]
fn an_epoch_that_its_runner_has_closed_before_is_closed_by_that_record() {
    let scene = session().prompted().placed().prompted().does(fenced(1, 4));
    assert_eq!(scene.receipt().proof[0].means, Means::RunnerRecord);
    assert_eq!(scene.session.last_epoch, Epoch(4));
    assert_eq!(scene.clone().placed().session.last_epoch, Epoch(5));
    // What the log has forgotten may have run this prompt: it is not repeated by itself.
    assert_eq!((scene.runs().as_str(), scene.error(1)), ("1 failed, 2 queued", "interrupted"));
}

#[test]
fn at_rest_the_runners_record_is_learned_before_it_hurts() {
    let scene = session().answered().closed(EndReason::Done).does(fenced(1, 4));
    assert_eq!((scene.stands().as_str(), scene.session.last_epoch), ("finished", Epoch(4)));
    assert_eq!(scene.prompted().placed().session.last_epoch, Epoch(5));
}

#[test]
fn what_a_runner_knows_is_learned_under_a_live_compute_too() {
    let known = || Command::EpochsKnown { floor: Epoch(5), runner: HOME };
    let scene = session().running().does(known());
    assert_eq!((scene.stands().as_str(), scene.session.last_epoch), ("running", Epoch(5)));
    assert_eq!(scene.session.compute.as_ref().map(|compute| compute.epoch), Some(Epoch(1)));
    assert_eq!(scene.clone().does(known()).told(), Vec::<String>::new());
    // So is what a fence says by the way.
    let fence = session().running().does(fenced(4, 5));
    assert_eq!((fence.stands().as_str(), fence.session.last_epoch), ("running", Epoch(5)));
    // Its end comes as ever, and what follows is above all that the runner has closed.
    let next = scene.prompted().ends(1, completed()).closed(EndReason::Done).placed();
    assert_eq!(next.session.last_epoch, Epoch(6));
    assert_eq!(next.runs(), "1 completed, 2 dispatched");
}

#[test]
fn the_record_of_another_runner_is_none_of_the_sessions() {
    let elsewhere = || Command::EpochsKnown { floor: Epoch(5), runner: ELSEWHERE };
    assert_eq!(session().running().does(elsewhere()).told(), Vec::<String>::new());
    // The log is from before its first placement: whoever has the record has the files.
    let homeless = session().prompted().does(elsewhere());
    assert_eq!(homeless.session.home, Some(ELSEWHERE));
    assert_eq!(homeless.session.last_epoch, Epoch(5));
}

#[test]
fn a_fence_that_says_nothing_new_changes_nothing() {
    let live = session().running();
    assert_eq!(live.clone().does(fenced(1, 0)).told(), Vec::<String>::new());
    let (epoch, floor) = (Epoch(1), Epoch(1));
    let foreign = Command::Fenced { epoch, floor, runner: ELSEWHERE };
    assert_eq!(live.does(foreign).told(), Vec::<String>::new());
    let next = session().answered().closed(EndReason::Done).prompted().placed();
    assert_eq!(
        next.does(fenced(1, 1)).told(),
        Vec::<String>::new(),
        "a late answer to a late frame"
    );
}

#[test]
fn a_fence_settles_an_abandoned_epoch() {
    let scene = session().running().silent().abandoned().does(fenced(1, 1));
    assert_eq!(scene.told(), ["session.late_receipt"]);
    assert!(scene.session.abandoned.is_empty());
}

#[test]
fn a_live_compute_that_is_newer_than_the_log_is_the_truth() {
    let scene = persistent().answered().does(adopt(4));
    assert_eq!((scene.stands().as_str(), scene.session.last_epoch), ("idle", Epoch(4)));
    assert_eq!(scene.session.compute.as_ref().map(|compute| compute.epoch), Some(Epoch(4)));
    let old = persistent().answered().does(adopt(1));
    assert_eq!(old.told(), Vec::<String>::new());
}

#[test]
fn a_run_of_the_compute_it_replaces_is_not_given_to_it_again() {
    let scene = persistent().prompted().placed().does(adopt(3));
    assert_eq!((scene.runs().as_str(), scene.error(1)), ("1 failed", "interrupted"));
}

#[test]
fn only_its_home_can_have_a_newer_compute() {
    let foreign = || Command::Adopt { epoch: Epoch(9), runner: ELSEWHERE };
    let scene = persistent().answered().does(foreign());
    assert_eq!(scene.told(), Vec::<String>::new());
    // The log is from before its first placement.
    let homeless = persistent().prompted().does(foreign());
    assert_eq!(homeless.session.home, Some(ELSEWHERE));
}

/// The log still has in its queue what the adopted compute has begun since.
#[test]
fn an_adopted_compute_catches_its_log_up() {
    let scene = persistent().prompted().does(adopt(2));
    let begun = scene.clone().begins(1);
    assert_eq!((begun.stands().as_str(), begun.runs().as_str()), ("running", "1 running"));
    let ended = scene.ends(1, completed());
    assert_eq!((ended.stands().as_str(), ended.runs().as_str()), ("idle", "1 completed"));
}

#[test]
fn a_run_that_the_log_has_never_heard_of_is_said_and_not_lost() {
    let scene = persistent().answered().does(adopt(2)).begins(9).ends(9, completed());
    assert_eq!((scene.told(), scene.stands().as_str()), (vec!["session.unmatched".into()], "idle"));
}

#[test]
fn a_hold_that_a_live_compute_contradicts_is_lifted_by_the_next_prompt() {
    let scene = persistent().answered().stops().closed(EndReason::User).does(adopt(2)).prompted();
    assert_eq!((scene.stands().as_str(), scene.held()), ("queued", false));
}

#[test]
fn what_is_being_removed_or_has_expired_adopts_only_to_stop() {
    let deleting = session().answered().closed(EndReason::Done).deleted().does(adopt(2));
    let expired = session().answered().closed(EndReason::Done).expired().does(adopt(2));
    for scene in [deleting, expired] {
        let compute = scene.session.compute.as_ref().expect("adopted");
        assert!(matches!(compute.wanted, Wanted::Down(_)), "{}", scene.stands());
    }
}
