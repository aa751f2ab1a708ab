//! What a parent is told of its children's runs.

mod support;

use greenroom_core::receipt::{EndReason, LastRun};
use greenroom_core::record::Outcome;
use greenroom_core::{Generation, RecordBody};
use greenroom_protocol::link::{ObservedCompute, ObservedState};
use serde_json::json;
use support::*;

/// After a cut the receipt comes with the first poll, and the journal behind it.
#[tokio::test]
async fn a_receipt_that_overtakes_the_journal_takes_no_text_from_the_parent() {
    let room = Room::open().await;
    let mut runner = room.runner().await;
    room.create(json!({"agent": "shell", "id": "parent"})).await;
    let child = json!({
        "agent": "shell", "id": "child", "parent": "parent", "prompt": "x", "callback": true,
    });
    let uid = uid(&room.create(child).await);
    let (epoch, run) = runner.wait_run(uid).await;
    let outcome = Outcome::Completed { result: None };
    let mut receipt = receipt(epoch, EndReason::Done);
    receipt.last_run = Some(LastRun { run, outcome: Some(outcome.clone()), steered: Vec::new() });
    let state = ObservedState::Closed { receipt: Box::new(receipt.clone()) };
    let closed =
        ObservedCompute { uid, epoch, generation: Generation(0), state, first_index: Some(1) };
    runner.sync_with(|request| request.computes = vec![closed]).await;
    room.wait_status("child", "finished").await;

    runner.tell(uid, epoch, vec![RecordBody::Ready, RecordBody::RunStarted { run }]).await;
    runner.tell(uid, epoch, vec![message(run, "the answer\n")]).await;
    let end = vec![
        RecordBody::RunEnded { run, outcome },
        RecordBody::Receipt { receipt: Box::new(receipt) },
    ];
    runner.tell(uid, epoch, end).await;
    let told = eventually(async || {
        let runs = room.get("/v1/sessions/parent/runs").await.expect(200);
        runs["items"].get(0).cloned()
    })
    .await;
    let prompt = told["prompt"].as_str().expect("a prompt");
    assert!(prompt.contains("completed") && prompt.ends_with("the answer"), "{prompt}");
}
