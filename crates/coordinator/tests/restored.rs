//! A coordinator whose log is behind its runners, as after a restore from an older backup.

mod support;

use greenroom_core::receipt::{EndReason, Means, Receipt};
use greenroom_core::{Epoch, Generation, SessionUid, Timestamp};
use greenroom_protocol::link::{Floor, ObservedCompute, ObservedState};
use serde_json::{Value, json};
use support::*;

/// What a runner says first, of a session that has come so far there.
async fn hello(runner: &mut FakeRunner, uid: SessionUid, epoch: u32) {
    let hello = runner.sync_with(|request| {
        request.full = true;
        request.floors = vec![Floor { uid, epoch: Epoch(epoch) }];
    });
    hello.await;
    // Its answer may have had an order already: it is asked for again.
    runner.rev = 0;
}

async fn prompt(room: &Room, id: &str) -> Value {
    room.post(&format!("/v1/sessions/{id}/runs"), json!({"prompt": "again"})).await.expect(202)
}

/// Another process on a store in which one session has ended its first compute.
async fn behind() -> (Room, FakeRunner, SessionUid) {
    let room = Room::open().await;
    let mut runner = room.runner().await;
    let made = room.create(json!({"agent": "shell", "id": "s", "prompt": "x"})).await;
    let (epoch, run) = runner.wait_run(uid(&made)).await;
    runner.complete(uid(&made), epoch, run, "one").await;
    let room = room.restart().await;
    runner.moves_to(&room);
    (room, runner, uid(&made))
}

#[tokio::test]
async fn no_epoch_that_a_runner_has_closed_is_handed_out_again() {
    let (room, mut runner, uid) = behind().await;
    hello(&mut runner, uid, 5).await;
    let asked = prompt(&room, "s").await;
    let (epoch, run) = runner.wait_run(uid).await;
    assert_eq!((epoch, json!(run)), (Epoch(6), asked["id"].clone()));
    assert!(room.types("s").await.contains(&"session.epochs_known".to_owned()));
}

/// The journal of its last compute is all that says so: no floor was written yet.
#[tokio::test]
async fn what_has_ended_on_a_runner_is_used_up_without_a_floor_too() {
    let (room, mut runner, uid) = behind().await;
    let receipt = Receipt::without_process(
        Epoch(4),
        EndReason::Done,
        Timestamp::from_unix_ms(0),
        Means::NoChildLeft,
        "ECHILD",
    );
    let ended = ObservedCompute {
        uid,
        epoch: Epoch(4),
        generation: Generation(1),
        state: ObservedState::Closed { receipt: Box::new(receipt) },
        first_index: None,
    };
    let hello = runner.sync_with(|request| {
        request.full = true;
        request.computes = vec![ended];
    });
    hello.await;
    prompt(&room, "s").await;
    assert_eq!(runner.wait_run(uid).await.0, Epoch(5));
}

/// It waited for its home to come back, and that tells how far it has come before anything
/// is placed there.
#[tokio::test]
async fn a_prompt_that_waits_for_the_runner_is_placed_above_what_that_knows() {
    let (room, mut runner, uid) = behind().await;
    assert_eq!(prompt(&room, "s").await["status"], "queued");
    hello(&mut runner, uid, 3).await;
    let (epoch, _) = runner.wait_run(uid).await;
    assert_eq!(epoch, Epoch(4));
    let types = room.types("s").await;
    assert_eq!(types.iter().filter(|kind| *kind == "session.placed").count(), 2, "{types:?}");
}

#[tokio::test]
async fn a_session_that_the_log_never_placed_is_at_home_where_its_files_are() {
    let room = Room::open().await;
    let mut runner = room.runner().await;
    let made = room.create(json!({"agent": "shell", "id": "s"})).await;
    assert_eq!(made["runner_id"], Value::Null);
    let room = room.restart().await;
    runner.moves_to(&room);
    hello(&mut runner, uid(&made), 2).await;
    let session = room.get("/v1/sessions/s").await.expect(200);
    assert_eq!(session["runner_id"], json!(runner.id));
    assert_eq!(session["epoch"], 2);
}
