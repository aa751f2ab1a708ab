//! The link: who may join, who may report what, and what silence means.

mod support;

use greenroom_core::receipt::EndReason;
use greenroom_core::{Epoch, Generation, Order, RecordBody, RunnerId, StoreId};
use greenroom_protocol::link::{ObservedCompute, ObservedState, RecordLine};
use serde_json::json;
use support::*;

fn live(uid: greenroom_core::SessionUid, epoch: u32) -> ObservedCompute {
    ObservedCompute {
        uid,
        epoch: Epoch(epoch),
        generation: Generation(0),
        state: ObservedState::Live,
        first_index: None,
    }
}

#[tokio::test]
async fn a_join_token_is_worth_one_runner() {
    let room = Room::open().await;
    let token = room.new_token("runner", "machines").await;
    let runner = FakeRunner::join(&room, &token, None).await;
    let again = enroll(&room, &token, RunnerId(uuid::Uuid::now_v7())).await;
    assert_eq!(again.refused(401), "unauthorized");
    // A runner that is home to sessions cannot be taken over with another token.
    let mut runner = runner;
    let made = room.create(json!({"agent": "shell", "prompt": "x"})).await;
    runner.wait_run(uid(&made)).await;
    let token = room.new_token("runner", "machines").await;
    assert_eq!(enroll(&room, &token, runner.id).await.refused(409), "runner_exists");
    runner.sync(0).await;
}

#[tokio::test]
async fn another_store_and_an_older_process_are_refused() {
    let room = Room::open().await;
    let mut runner = room.runner().await;
    let mut foreign = runner.request(0);
    foreign.store_id = StoreId(uuid::Uuid::now_v7());
    assert_eq!(runner.send_sync(&foreign).await.refused(409), "foreign_store");
    runner.instance = 3;
    runner.sync(0).await;
    let mut old = runner.request(0);
    old.instance = 2;
    assert_eq!(runner.send_sync(&old).await.refused(409), "old_instance");
}

#[tokio::test]
async fn a_runner_reports_only_what_was_assigned_to_it() {
    let room = Room::open().await;
    let mut home = room.runner().await;
    let made = room.create(json!({"agent": "shell", "id": "s", "prompt": "x"})).await;
    let uid = uid(&made);
    let (epoch, run) = home.wait_run(uid).await;
    let mut stranger = room.runner().await;
    let forged = stranger.record(
        uid,
        epoch,
        RecordBody::Receipt { receipt: Box::new(receipt(epoch, EndReason::Done)) },
    );
    let reply = stranger.upload(&[RecordLine::Record(Box::new(forged))]).await;
    assert_eq!(reply.marks, []);
    let closed = ObservedState::Closed { receipt: Box::new(receipt(epoch, EndReason::Done)) };
    let claim = ObservedCompute { state: closed, ..live(uid, epoch.0) };
    stranger.sync_with(|request| request.computes = vec![claim]).await;
    stranger.sync_with(|request| request.removed = vec![uid]).await;
    assert_eq!(room.get("/v1/sessions/s").await.expect(200)["status"], "starting");
    stranger.get(&format!("/v1/link/computes/{uid}/{epoch}")).await.refused(404);
    stranger.get(&format!("/v1/link/runs/{run}")).await.refused(404);
    home.get(&format!("/v1/link/computes/{uid}/2")).await.refused(404);
}

#[tokio::test]
async fn what_the_store_does_not_know_is_kept_and_shown() {
    let room = Room::open().await;
    let mut runner = room.runner().await;
    let unknown = greenroom_core::SessionUid(uuid::Uuid::now_v7());
    let reply = runner
        .sync_with(|request| {
            request.full = true;
            request.computes = vec![live(unknown, 4)];
        })
        .await;
    assert_eq!((reply.unclaimed, reply.assignments), (vec![unknown], vec![]));
    let shown = room.get(&format!("/v1/runners/{}", runner.id)).await.expect(200);
    assert_eq!(shown["unclaimed"], json!([format!("{unknown}/4")]));
    runner.sync_with(|request| request.full = true).await;
    let shown = room.get(&format!("/v1/runners/{}", runner.id)).await.expect(200);
    assert_eq!(shown["unclaimed"], json!([]));
}

#[tokio::test]
async fn a_newer_compute_than_the_log_knows_is_adopted_and_its_gap_said() {
    let room = Room::open().await;
    let mut runner = room.runner().await;
    let made = room.create(json!({"agent": "shell", "id": "s", "prompt": "x"})).await;
    let uid = uid(&made);
    let (epoch, run) = runner.wait_run(uid).await;
    runner.complete(uid, epoch, run, "done").await;
    let newer = ObservedCompute { first_index: Some(41), ..live(uid, 7) };
    let reply = runner.sync_with(|request| request.computes = vec![newer]).await;
    assert_eq!(reply.marks.iter().find(|m| m.epoch == Epoch(7)).map(|m| m.index), Some(40));
    let session = room.get("/v1/sessions/s").await.expect(200);
    assert_eq!(session["epoch"], 7);
    let types = room.types("s").await;
    assert!(types.iter().any(|kind| kind == "log_gap"), "{types:?}");
    assert!(types.iter().any(|kind| kind == "session.epoch_adopted"));
}

#[tokio::test]
async fn a_long_poll_wakes_at_once() {
    let room = Room::open().await;
    let mut runner = room.runner().await;
    let request = runner.request(15_000);
    let waiting = {
        let (http, url, token) =
            (room.http.clone(), room.url("/v1/link/sync"), runner.credential.clone());
        tokio::spawn(async move { send(http.post(url).bearer_auth(token).json(&request)).await })
    };
    // The poll is there once the runner counts as seen, which it does before it waits.
    let begin = std::time::Instant::now();
    let made = room.create(json!({"agent": "shell", "prompt": "x"})).await;
    let reply = waiting.await.expect("an answer").expect(200);
    assert!(begin.elapsed() < std::time::Duration::from_secs(2));
    assert_eq!(reply["assignments"][0]["uid"], made["uid"]);
    // The end of the coordinator wakes it too.
    runner.sync(0).await;
    let request = runner.request(15_000);
    let (http, url, token) =
        (room.http.clone(), room.url("/v1/link/sync"), runner.credential.clone());
    let waiting =
        tokio::spawn(async move { http.post(url).bearer_auth(token).json(&request).send().await });
    room.get(&format!("/v1/runners/{}", runner.id)).await.expect(200);
    room.coordinator.shutdown().await;
    let _ = waiting.await.expect("an end");
    assert!(begin.elapsed() < std::time::Duration::from_secs(5));
}

#[tokio::test]
async fn silence_makes_unreachable_and_a_word_makes_reachable() {
    let room = Room::with(|config| config.runner_ttl = ms(300)).await;
    let mut runner = room.runner().await;
    let made = room.create(json!({"agent": "shell", "id": "s", "prompt": "x"})).await;
    let (epoch, _) = runner.wait_run(uid(&made)).await;
    runner.tell(uid(&made), epoch, vec![RecordBody::Ready]).await;
    room.wait_status("s", "unreachable").await;
    let shown = room.get(&format!("/v1/runners/{}", runner.id)).await.expect(200);
    assert_eq!(shown["status"], "unreachable");
    // Nothing new is placed there.
    room.create(json!({"agent": "shell", "id": "waits", "prompt": "x"})).await;
    let waits = eventually(async || {
        let session = room.get("/v1/sessions/waits").await.expect(200);
        session["status_reason"].is_string().then_some(session)
    })
    .await;
    assert_eq!(
        (&waits["status"], &waits["status_reason"]),
        (&json!("queued"), &json!("no_runner"))
    );
    runner.sync(0).await;
    room.wait_status("s", "running").await;
    room.wait_status("waits", "starting").await;
    // By a person's word it can be closed when it is silent again.
    room.wait_status("s", "unreachable").await;
    room.post("/v1/sessions/s/abandon", json!({"reason": " "})).await.refused(422);
    let abandoned =
        room.post("/v1/sessions/s/abandon", json!({"reason": "it burnt"})).await.expect(200);
    assert_eq!(
        (&abandoned["status"], &abandoned["receipt"]["asserted_by"]),
        (&json!("interrupted"), &json!("admin"))
    );
    let again = room.post("/v1/sessions/s/abandon", json!({"reason": "it burnt"})).await;
    assert_eq!(again.refused(409), "nothing_to_abandon");
}

#[tokio::test]
async fn a_drained_runner_gets_nothing_new() {
    let room = Room::open().await;
    let mut runner = room.runner().await;
    let made = room.create(json!({"agent": "shell", "id": "s", "prompt": "x"})).await;
    let (epoch, run) = runner.wait_run(uid(&made)).await;
    runner.complete(uid(&made), epoch, run, "x").await;
    let path = format!("/v1/runners/{}/drain", runner.id);
    assert_eq!(room.post(&path, json!({})).await.expect(200)["draining"], true);
    assert!(runner.sync(5_000).await.drain);
    room.post("/v1/sessions/s/runs", json!({"prompt": "again"})).await.expect(202);
    let reason = eventually(async || {
        let session = room.get("/v1/sessions/s").await.expect(200);
        session["status_reason"].as_str().map(str::to_owned)
    })
    .await;
    assert_eq!(reason, "home_draining");
    assert_eq!(
        room.post(&format!("{path}?lift=true"), json!({})).await.expect(200)["draining"],
        false
    );
    runner.wait_run(uid(&made)).await;
}

#[tokio::test]
async fn slots_are_kept() {
    let room = Room::open().await;
    let mut runner = room.runner().await;
    runner.sync_with(|request| request.info.as_mut().expect("info").slots = Some(1)).await;
    let first = room.create(json!({"agent": "shell", "id": "first", "prompt": "x"})).await;
    room.create(json!({"agent": "shell", "id": "second", "prompt": "x"})).await;
    let second = eventually(async || {
        let session = room.get("/v1/sessions/second").await.expect(200);
        session["status_reason"].is_string().then_some(session)
    })
    .await;
    assert_eq!(
        (&second["status"], &second["status_reason"]),
        (&json!("queued"), &json!("runners_full"))
    );
    let begin = |order: &Order| matches!(order, Order::Up { run: Some(_), .. });
    let up = runner.wait_for(uid(&first), begin).await;
    let Order::Up { run: Some(run), .. } = up.order else { unreachable!("chosen above") };
    runner.complete(uid(&first), up.epoch, run, "x").await;
    room.wait_status("second", "starting").await;
}

#[tokio::test]
async fn a_home_is_removed_only_by_force() {
    let room = Room::open().await;
    let mut runner = room.runner().await;
    let made = room.create(json!({"agent": "shell", "id": "s", "prompt": "x"})).await;
    runner.wait_run(uid(&made)).await;
    let path = format!("/v1/runners/{}", runner.id);
    assert_eq!(room.delete(&path).await.refused(409), "runner_is_home");
    room.delete(&format!("{path}?force=true")).await.expect(204);
    let session = room.get("/v1/sessions/s").await.expect(200);
    assert_eq!((&session["status"], &session["runner_id"]), (&json!("interrupted"), &json!(null)));
    assert!(room.types("s").await.iter().any(|kind| kind == "session.workspace_lost"));
    assert_eq!(runner.send_sync(&runner.request(0)).await.refused(401), "unauthorized");
    assert_eq!(room.delete(&path).await.refused(404), "runner_not_found");
}

#[tokio::test]
async fn a_folder_of_a_client_is_worked_in_only_where_an_operator_allows_it() {
    let room = Room::open().await;
    let mut plain = room.runner().await;
    let asks = |path: &str, id: &str| {
        let workspace = json!({ "from": "dir", "path": path });
        json!({ "agent": "shell", "id": id, "prompt": "x", "workspace": workspace })
    };
    let refused = room.post("/v1/sessions", asks("/srv/app", "none")).await;
    assert!(refused.body["hint"].as_str().expect("a hint").contains("--working-dir-root"));
    assert_eq!(refused.refused(403), "working_dir_not_allowed");
    let mut allows = room.runner().await;
    allows.allows(&["/srv"]).await;
    for (path, status) in [("/srv2/app", 403), ("/", 403), ("/srv/../etc", 422), ("srv", 422)] {
        room.post("/v1/sessions", asks(path, "none")).await.refused(status);
    }
    for workspace in [json!({ "from": "git", "url": "x" }), json!({ "from": "empty" })] {
        let body = json!({ "agent": "shell", "workspace": workspace });
        room.post("/v1/sessions", body).await.refused(422);
    }
    // It goes to the runner that allows it, and that one is told what was named.
    let made = room.create(asks("/srv//app/", "s")).await;
    let folder = json!({ "from": "dir", "path": "/srv/app", "mode": "in_place" });
    assert_eq!(made["workspace"], folder);
    let (epoch, run) = allows.wait_run(uid(&made)).await;
    let body = allows.get(&format!("/v1/link/computes/{}/{epoch}", uid(&made))).await.expect(200);
    assert_eq!(body["workspace"], folder);
    assert_eq!(plain.sync(0).await.assignments.len(), 0);
    // An agent names none, also not the folder of its own session.
    let token = body["env"]["GREENROOM_TOKEN"].as_str().expect("a token");
    let child = room
        .call_as(token, reqwest::Method::POST, "/v1/sessions", Some(asks("/srv/app", "c")))
        .await;
    assert_eq!(child.refused(403), "forbidden");
    allows.complete(uid(&made), epoch, run, "done").await;
    // A fork of it works in the same folder.
    let fork = room.post("/v1/sessions/s/fork", json!({ "id": "f" })).await.expect(201);
    assert_eq!(fork["workspace"], folder);
    // Where the operator takes it back, what is new waits and says for what.
    allows.allows(&["/srv/other"]).await;
    room.post("/v1/sessions", asks("/srv/app", "late")).await.refused(403);
    room.post("/v1/sessions/f/runs", json!({ "prompt": "x" })).await.expect(202);
    let waits = eventually(async || {
        let session = room.get("/v1/sessions/f").await.expect(200);
        session["status_reason"].is_string().then_some(session)
    })
    .await;
    assert_eq!(waits["status_reason"], "no_working_dir");
    allows.allows(&["/srv/other", "/srv/app"]).await;
    room.wait_status("f", "starting").await;
}
