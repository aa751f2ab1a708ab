//! Steering: text that becomes part of the run in progress, and what becomes of it where
//! that ends first.

use greenroom_core::command::{Actor, Mode};
use greenroom_core::receipt::{EndReason, LastRun, StopReason};
use greenroom_core::{Command, Fact, Order, RecordBody, RunId};

use crate::scene::*;

/// A warm agent that takes text into its first run, which is in progress.
fn steerable() -> Scene {
    let mut scene = persistent();
    scene.session.traits.steers = true;
    scene.session.traits.cancels = true;
    scene.running()
}

impl Scene {
    fn steers(self) -> Self {
        self.prompts_with(|prompt| prompt.mode = Mode::Steer)
    }

    fn taken(self, n: u128) -> Self {
        self.records(RecordBody::Steered { run: run(n), into: run(1) })
    }
}

fn told(scene: &Scene) -> Vec<RunId> {
    match scene.session.assignments().pop().map(|(_, assignment)| assignment.order) {
        Some(Order::Up { steers, .. }) => steers,
        other => panic!("it is told {other:?}"),
    }
}

fn waiting(scene: &Scene) -> Vec<RunId> {
    scene.session.queue.iter().map(|run| run.id).collect()
}

#[test]
fn it_is_handed_out_before_what_waits_and_ends_when_it_is_taken() {
    let scene = steerable().prompted().steers().steers();
    assert_eq!(waiting(&scene), [run(3), run(4), run(2)], "in order, before the others");
    assert_eq!(told(&scene), [run(3), run(4)]);
    let scene = scene.taken(3);
    assert_eq!(scene.told(), ["run.steered"]);
    assert_eq!((waiting(&scene), told(&scene)), (vec![run(4), run(2)], vec![run(4)]));
    // Said again, it is known already.
    let scene = scene.taken(3);
    assert_eq!(scene.told(), ["session.unmatched"]);
    assert_eq!(waiting(&scene), [run(4), run(2)]);
}

#[test]
fn what_comes_too_late_is_a_run_like_any_other() {
    let scene = steerable().prompted().steers().ends(1, completed()).placed();
    assert_eq!(scene.session.head_run(), Some(run(3)), "it goes next");
    assert_eq!((waiting(&scene), told(&scene)), (vec![run(2)], vec![]));
    // Nothing is given to a turn that is being ended.
    let scene = steerable().stops_run(1).steers();
    assert_eq!((waiting(&scene), told(&scene)), (vec![run(2)], vec![]));
    // A stop holds it, and it is not lost.
    let scene = steerable().steers().stops().closed(EndReason::User);
    assert_eq!((scene.stands().as_str(), waiting(&scene)), ("stopped user", vec![run(2)]));
    assert_eq!(scene.resumed().placed().session.head_run(), Some(run(2)));
}

#[test]
fn with_nothing_in_progress_it_is_a_prompt() {
    let scene = session().steers();
    assert_eq!((scene.stands().as_str(), waiting(&scene)), ("queued", vec![run(1)]));
    let scene = session().running().ends(1, completed()).steers();
    assert_eq!(waiting(&scene), [run(2)], "also of an agent that takes none");
}

#[test]
fn an_agent_that_takes_none_says_so() {
    let busy = session().running();
    let steer = greenroom_core::command::Prompt { mode: Mode::Steer, ..prompt(2) };
    assert_eq!(busy.refuses(Command::Prompt(steer)), "steer_unsupported");
}

#[test]
fn what_the_agent_may_have_is_not_taken_back() {
    let scene = steerable().steers();
    let withdraw = Command::Withdraw { run: run(2), by: user() };
    assert_eq!(scene.refuses(withdraw), "run_started");
    let discarding = scene.clone().stops_with(StopReason::User, |stop| stop.discard_queue = true);
    assert!(discarding.news.contains(&Fact::RunStopped { run: run(2), error: None }));
    // One that was stopped on its way leaves the order.
    let scene = scene.stops_run(2);
    assert_eq!((waiting(&scene), told(&scene)), (vec![], vec![]));
}

#[test]
fn a_receipt_says_what_was_taken() {
    let last = LastRun { run: run(1), outcome: Some(completed()), steered: vec![run(2)] };
    let scene = steerable().steers().steers();
    let mut receipt = proof(scene.session.last_epoch, EndReason::Done);
    receipt.last_run = Some(last);
    let scene = scene.does(Command::Receipt(Box::new(receipt)));
    assert!(scene.told().contains(&"run.steered".to_owned()), "{:?}", scene.told());
    assert_eq!(waiting(&scene), [run(3)], "the other was not");
}

#[test]
fn what_may_have_been_taken_is_not_repeated_by_itself() {
    let scene = steerable().steers().silent();
    let scene = scene.does(Command::Abandon { by: Actor::person("user"), reason: "x".into() });
    let ends = scene.news.iter().filter(|fact| matches!(fact, Fact::RunFailed { .. })).count();
    assert_eq!((ends, waiting(&scene)), (2, vec![]));
}
