//! What a runner is told, and what it does about it.

use greenroom_core::assignment::{Assignment, StopOrder};
use greenroom_core::converge::{Action, Local, LocalCompute, converge};
use greenroom_core::receipt::{EndReason, StopReason};
use greenroom_core::{Command, Epoch, Generation, Ms, Order, RunId, StopId};
use uuid::Uuid;

use crate::scene::*;

/// Every order, as `epoch order`.
fn orders(scene: &Scene) -> Vec<String> {
    let told = scene.session.assignments().into_iter().map(|(runner, assignment)| {
        assert_eq!(runner, HOME);
        let order = match assignment.order {
            Order::Up { run: Some(run), .. } => format!("up {}", run.0.as_u128()),
            Order::Up { run: None, .. } => "up".into(),
            Order::Down { .. } => "down".into(),
            Order::Closed => "closed".into(),
            Order::Gone { stop: None } => "gone".into(),
            Order::Gone { stop: Some(_) } => "down and gone".into(),
        };
        format!("{} {order}", assignment.epoch)
    });
    told.collect()
}

#[test]
fn what_is_wanted_in_each_status() {
    let expected: [&[&str]; 14] = [
        &[],
        &[],
        &["1 up 1"],
        &["1 up 1"],
        &["1 up 1"],
        &["1 up"],
        &["1 down"],
        &["1 closed"],
        &["1 closed"],
        &["1 closed"],
        &["1 closed"],
        &["1 up 1"],
        &["1 down"],
        &["1 down"],
    ];
    for (scene, expected) in one_in_each_status().iter().zip(expected) {
        assert_eq!(orders(scene), expected, "{}", scene.stands());
    }
}

/// Taken for a level, up and down would collapse, and the stop between them be lost.
#[test]
fn wanted_never_goes_back_up() {
    let scene = persistent().running().stops().prompts_with(|prompt| prompt.resume = true);
    assert_eq!(orders(&scene), ["1 down"]);
    let scene = scene.closed(EndReason::User).placed();
    assert_eq!(orders(&scene), ["2 up 2"]);
}

#[test]
fn an_abandoned_epoch_is_told_to_end_whenever_its_runner_returns() {
    let scene = session().running().silent().abandoned();
    assert_eq!(orders(&scene), ["1 down"]);
    let stop = scene.stop_order().expect("it is told down");
    let next = scene.prompted().placed();
    assert_eq!(orders(&next), ["1 down", "2 up 2"]);
    assert_eq!(next.stop_order().map(|order| order.id), Some(stop.id), "one stop, one identity");
    let receipt = Box::new(proof(Epoch(1), EndReason::User));
    assert_eq!(orders(&next.does(Command::Receipt(receipt))), ["2 up 2"]);
    let gone = session().running().silent().deleted().abandoned();
    assert_eq!(orders(&gone), ["1 down and gone"], "one order for each epoch");
    let receipt = Box::new(proof(Epoch(1), EndReason::User));
    assert_eq!(orders(&gone.does(Command::Receipt(receipt))), ["1 gone"]);
}

const STOP: StopId = StopId(Uuid::nil());

fn stop() -> StopOrder {
    StopOrder {
        id: STOP,
        reason: StopReason::User,
        cancel_grace_ms: Ms(0),
        grace_ms: Ms(10),
        requested_by: vec!["ann".into()],
        attempt: 0,
    }
}

fn told(epoch: u32, generation: u64, order: Order) -> Assignment {
    let uid = session().session.uid;
    Assignment { uid, epoch: Epoch(epoch), generation: Generation(generation), order }
}

fn up(n: u128) -> Order {
    Order::up(Some(run(n)))
}

fn down() -> Order {
    Order::Down { stop: stop() }
}

fn gone() -> Order {
    Order::Gone { stop: Some(stop()) }
}

fn local(floor: u32, live: Option<LocalCompute>) -> Local {
    Local { floor: Epoch(floor), seen: Generation(5), live }
}

fn live(epoch: u32, run: Option<RunId>, stop: Option<StopOrder>) -> Option<LocalCompute> {
    let (cancelled, answered) = (None, Default::default());
    Some(LocalCompute {
        epoch: Epoch(epoch),
        run,
        stop,
        cancelled,
        answered,
        steered: Default::default(),
        settings: None,
    })
}

#[test]
fn what_a_runner_does() {
    let epoch = Epoch;
    let one = || Some(run(1));
    #[rustfmt::skip]
    let table = [
        ("a new epoch", local(0, None), told(1, 6, up(1)), Action::Start { epoch: epoch(1), settings: None }),
        ("a run for it", local(0, live(1, None, None)), told(1, 6, up(1)), Action::HandRun { run: run(1) }),
        ("handed already", local(0, live(1, one(), None)), told(1, 6, up(1)), Action::Nothing),
        ("the run after it", local(0, live(1, one(), None)), told(1, 6, up(2)), Action::HandRun { run: run(2) }),
        ("a run for one that stops", local(0, live(1, one(), Some(stop()))), told(1, 6, up(2)), Action::Nothing),
        ("closed before", local(1, None), told(1, 6, up(1)), Action::AnswerClosed { epoch: epoch(1) }),
        ("older than what was closed", local(3, None), told(2, 6, up(1)), Action::AnswerClosed { epoch: epoch(2) }),
        ("while an older one lives", local(0, live(1, None, None)), told(2, 6, up(2)), Action::Nothing),
        ("a message from before", local(0, None), told(1, 4, up(1)), Action::Nothing),
        ("a stop", local(0, live(1, one(), None)), told(1, 6, down()), Action::Stop { stop: stop() }),
        ("the same stop", local(0, live(1, one(), Some(stop()))), told(1, 6, down()), Action::Nothing),
        ("down before it was seen", local(0, None), told(1, 6, down()), Action::CloseUnstarted { epoch: epoch(1), stop: stop() }),
        ("down again", local(1, None), told(1, 6, down()), Action::AnswerClosed { epoch: epoch(1) }),
        ("down beside another", local(0, live(1, None, None)), told(2, 6, down()), Action::Nothing),
        ("settled", local(1, None), told(1, 6, Order::Closed), Action::Forget { epoch: epoch(1) }),
        ("settled unplaced", local(1, None), told(2, 6, Order::Closed), Action::Forget { epoch: epoch(1) }),
        ("settled elsewhere", local(0, None), told(1, 6, Order::Closed), Action::Nothing),
        ("settled, but it lives", local(0, live(1, None, None)), told(1, 6, Order::Closed), Action::Nothing),
        ("gone", local(1, None), told(1, 6, Order::Gone { stop: None }), Action::RemoveFiles),
        ("gone, but something lives", local(1, live(2, None, None)), told(1, 6, Order::Gone { stop: None }), Action::Nothing),
        ("gone, and it lives", local(0, live(1, None, None)), told(1, 6, Order::Gone { stop: None }), Action::Nothing),
        ("abandoned and gone, and it lives", local(0, live(1, one(), None)), told(1, 6, gone()), Action::Stop { stop: stop() }),
        ("the same again", local(0, live(1, one(), Some(stop()))), told(1, 6, gone()), Action::Nothing),
        ("abandoned and gone, beside another", local(0, live(2, None, None)), told(1, 6, gone()), Action::Nothing),
        ("abandoned and gone, never seen", local(0, None), told(1, 6, gone()), Action::CloseUnstarted { epoch: epoch(1), stop: stop() }),
        ("abandoned and gone, and it ended", local(1, None), told(1, 6, gone()), Action::RemoveFiles),
    ];
    for (what, local, assignment, action) in table {
        assert_eq!(converge(&local, &assignment), action, "{what}");
    }
}

#[test]
fn only_news_of_a_stop_is_passed_on() {
    let given = live(1, None, Some(stop()));
    let changed = |change: fn(&mut StopOrder)| {
        let mut order = stop();
        change(&mut order);
        converge(&local(0, given.clone()), &told(1, 6, Order::Down { stop: order }))
            != Action::Nothing
    };
    assert!(changed(|order| order.grace_ms = Ms(5)), "shorter");
    assert!(changed(|order| order.attempt = 1), "another try");
    assert!(changed(|order| order.requested_by.push("bob".into())), "somebody else");
    assert!(!changed(|order| order.grace_ms = Ms(99)), "longer");
}
