//! An agent that works without a run.

use greenroom_core::RecordBody;
use greenroom_core::receipt::{EndReason, StopReason};

use crate::scene::*;

fn busy(scene: Scene, busy: bool) -> Scene {
    scene.records(RecordBody::Busy { busy })
}

#[test]
fn who_works_without_a_run_runs_and_does_not_idle_out() {
    let scene = busy(persistent().prompted().placed().ready().begins(1).ends(1, completed()), true);
    assert_eq!(scene.stands(), "running serving");
    assert_eq!(scene.session.slot(), Some(HOME), "it takes a slot");
    let seq = scene.session.last_seq;
    let scene = busy(scene, true);
    assert_eq!(scene.session.last_seq, seq, "said again it is no news");
    let scene = scene.stops_for(StopReason::Idle);
    assert_eq!(scene.stands(), "running serving", "an idle limit does not count");
    let scene = busy(scene, false);
    assert_eq!(scene.stands(), "idle");
    assert_eq!(scene.stops_for(StopReason::Idle).stands(), "stopping idle");
}

#[test]
fn a_stop_ends_who_works_without_a_run() {
    let scene = busy(persistent().prompted().placed().ready().begins(1).ends(1, completed()), true);
    let scene = scene.stops();
    assert_eq!(scene.stands(), "stopping user");
    let scene = scene.closed(EndReason::User);
    assert_eq!(scene.stands(), "stopped user");
    assert_eq!(scene.session.slot(), None);
}
