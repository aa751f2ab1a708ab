//! The orchestrator's door: sessions, runs, stops and the stream, over our own runners.

mod orchestrator;
mod support;

use greenroom_core::receipt::EndReason;
use greenroom_core::{Order, RecordBody};
use orchestrator::*;
use reqwest::Method;
use serde_json::{Value, json};
use support::*;

fn uid_of(session: &Value) -> greenroom_core::SessionUid {
    session["uid"].as_str().expect("a uid").parse().expect("a uid")
}

#[tokio::test]
async fn a_session_of_our_own_agent_is_run_and_stopped() {
    let room = open().await;
    let mut runner = room.runner().await;
    let (id, run) = room.o_start(json!({"agent_name": "shell", "project_dir": "/p"})).await;
    let v1 = room.get(&format!("/v1/sessions/{id}")).await.expect(200);
    let (epoch, ours) = runner.wait_run(uid_of(&v1)).await;
    let shown = room.o_session(&id).await;
    assert_eq!(shown["status"], "pending", "{shown}");
    assert_eq!(shown["run_id"], run.as_str());
    assert_eq!((&shown["agent_name"], &shown["project_dir"]), (&json!("shell"), &json!("/p")));
    assert_eq!(room.o_run(&run).await["status"], "claimed");

    let begun = vec![RecordBody::Ready, RecordBody::RunStarted { run: ours }];
    runner.tell(uid_of(&v1), epoch, begun).await;
    let shown = room.o_run(&run).await;
    assert_eq!((&shown["status"], &shown["type"]), (&json!("running"), &json!("start_session")));
    assert_eq!(shown["parameters"], json!({"prompt": "hello"}));

    let stop = room.o_post(&format!("/runs/{run}/stop"), json!({})).await.expect(200);
    assert_eq!(
        stop,
        json!({"ok": true, "run_id": run, "session_id": id, "session_name": id,
        "status": "stopping"})
    );
    assert_eq!(room.o_session(&id).await["status"], "stopping");
    assert_eq!(room.o_run(&run).await["status"], "stopping");
    let again = room.o_post(&format!("/sessions/{id}/stop"), json!({})).await.expect(200);
    assert_eq!(again["message"], "Session is already being stopped");
    runner.wait_for(uid_of(&v1), |order| matches!(order, Order::Down { .. })).await;
    let receipt = Box::new(receipt(epoch, EndReason::User));
    runner.tell(uid_of(&v1), epoch, vec![RecordBody::Receipt { receipt }]).await;
    room.o_wait(&id, "stopped").await;
    let already = room.o_post(&format!("/sessions/{id}/stop"), json!({})).await.expect(200);
    assert_eq!(already["message"], "Session already stopped");
    assert_eq!(room.o_run(&run).await["status"], "stopped");
    assert!(room.o_kinds(&id).await.contains(&"run_stopped".to_owned()));
    let v1 = room.get(&format!("/v1/sessions/{id}")).await.expect(200);
    assert_eq!((&v1["status"], &v1["receipt"]["survivors"]), (&json!("stopped"), &json!(0)));
    assert_eq!(room.o_session(&id).await["run_id"], Value::Null);
}

#[tokio::test]
async fn what_waits_is_cancelled_and_what_is_unknown_is_refused() {
    let room = open().await;
    let (id, run) = room.o_start(json!({"agent_name": "shell", "session_id": "mine"})).await;
    assert_eq!(id, "mine");
    let twice = json!({"type": "start_session", "agent_name": "shell", "session_id": "mine",
        "parameters": {"prompt": "x"}});
    let body = room.o_post("/runs", twice).await.expect(409);
    assert_eq!(body["detail"], "Session 'mine' already exists");
    assert_eq!(room.o_run(&run).await["status"], "pending");
    let stop = room.o_post("/sessions/mine/stop", json!({})).await.expect(200);
    assert_eq!(
        stop,
        json!({"ok": true, "run_id": run, "session_id": "mine",
        "session_name": "mine", "status": "stopped", "message": "Run cancelled before execution"})
    );
    for (body, status, words) in [
        (
            json!({"type": "resume_session", "parameters": {"prompt": "x"}}),
            400,
            "session_id is required for resume_session",
        ),
        (
            json!({"type": "resume_session", "session_id": "no", "parameters": {"prompt": "x"}}),
            404,
            "Session 'no' not found",
        ),
        (
            json!({"type": "start_session", "agent_name": "nobody", "parameters": {"prompt": "x"}}),
            404,
            "Agent not found: nobody",
        ),
        (
            json!({"type": "start_session", "agent_name": "shell", "parent_session_id": "no",
            "parameters": {"prompt": "x"}}),
            404,
            "Parent session 'no' not found",
        ),
    ] {
        assert_eq!(room.o_post("/runs", body).await.expect(status)["detail"], words);
    }
    let bad = json!({"type": "start_session", "agent_name": "shell", "parameters": {"x": 1}});
    let detail = room.o_post("/runs", bad).await.expect(400)["detail"].clone();
    assert_eq!(detail["error"], "parameter_validation_failed");
    assert!(detail["validation_errors"][0]["path"].is_string(), "{detail}");
    let detail = room.o_post("/runs", json!({"prompt": "x"})).await.expect(422)["detail"].clone();
    assert_eq!((&detail[0]["type"], &detail[0]["loc"][0]), (&json!("missing"), &json!("body")));
    let bad = json!({"type": "start_session", "agent_name": "shell", "parameters": {"prompt": "x"},
        "additional_demands": {"tags": "python"}});
    room.o_post("/runs", bad).await.expect(422);

    assert_eq!(room.o_get("/sessions/no").await.expect(404)["detail"], "Session not found");
    assert_eq!(room.o_get("/sessions/no/status").await.expect(200)["status"], "not_existent");
    assert_eq!(room.o_get("/sessions/mine/status").await.expect(200)["status"], "stopped");
    assert_eq!(room.o_get("/runs/run_1").await.expect(404)["detail"], "Run not found");
    assert_eq!(room.o_get("/runs?status=odd").await.expect(200), json!({"runs": []}));
    let stopped = room.o_get("/runs?status=stopped").await.expect(200);
    assert_eq!(stopped["runs"][0]["run_id"], run.as_str());
    let early = room.o_get("/sessions/mine/result").await.expect(400);
    assert_eq!(early["detail"], "Session not finished or idle");
    assert_eq!(room.o_get("/health").await.expect(200), json!({"status": "healthy"}));
    assert_eq!(room.o_get("/nothing").await.expect(404)["detail"], "Not Found");
    let nobody = send(client().get(room.url("/orchestrator/sessions"))).await;
    assert!(nobody.expect(401)["detail"].is_string());

    let removed = room.o_send(Method::DELETE, "/sessions/mine", json!({})).await.expect(200);
    assert_eq!((&removed["ok"], &removed["deleted"]["runs_count"]), (&json!(true), &json!(1)));
    room.o_get("/sessions/mine").await.expect(404);
}

#[tokio::test]
async fn the_stream_tells_everything_and_again() {
    let room = open().await;
    let mut runner = room.runner().await;
    let (old, _) = room.o_start(json!({"agent_name": "shell"})).await;
    let path = format!("/orchestrator/sse/sessions?api_key={}", room.token);
    let mut sse = Sse::open(room.http.get(room.url(&path))).await;
    let init = sse.next().await.expect("a frame");
    assert_eq!(init.event, "init");
    assert_eq!(init.data["sessions"][0]["session_id"], old.as_str());
    let (id, run) = room.o_start(json!({"agent_name": "shell"})).await;
    let created = sse.until("session_created").await;
    assert_eq!(created.data["session"]["session_id"], id.as_str());
    let form = created.id.clone().expect("an id");
    let parts: Vec<&str> = form.split('-').collect();
    assert!(parts.len() == 3 && parts[1] == "scr" && parts[2].len() == 3, "{form}");
    let v1 = room.get(&format!("/v1/sessions/{id}")).await.expect(200);
    let (epoch, ours) = runner.wait_run(uid_of(&v1)).await;
    runner.complete(uid_of(&v1), epoch, ours, "done\n").await;
    let mut seen = Vec::new();
    loop {
        let frame = sse.next().await.expect("a frame");
        assert!(frame.data.get("type").is_none(), "{frame:?}");
        let done = frame.event == "session_updated"
            && frame.data["session"]["session_id"] == id.as_str()
            && frame.data["session"]["status"] == "finished";
        if frame.event == "event" && frame.data["data"]["session_id"] == id.as_str() {
            assert_eq!(frame.data["data"].as_object().expect("an event").len(), 14);
            seen.push(frame.data["data"]["event_type"].as_str().expect("a kind").to_owned());
        }
        if done {
            break;
        }
    }
    while !seen.contains(&"run_completed".to_owned()) {
        let frame = sse.until("event").await;
        seen.push(frame.data["data"]["event_type"].as_str().expect("a kind").to_owned());
    }
    assert_eq!(seen, ["run_start", "message", "run_completed"]);
    drop(sse);
    // What came after the id is told again, in order, and nothing else.
    let request = || room.request(Method::GET, "/orchestrator/sse/sessions");
    let mut again = Sse::open(request().header("last-event-id", form.as_str())).await;
    let mut kinds = Vec::new();
    while kinds.last().map(String::as_str) != Some("run_completed") {
        let frame = again.next().await.expect("a frame");
        assert_ne!(frame.event, "init");
        if frame.event == "event" {
            kinds.push(frame.data["data"]["event_type"].as_str().expect("a kind").to_owned());
        }
    }
    assert_eq!(kinds, ["run_start", "message", "run_completed"]);
    drop(again);
    let stop = room.o_post(&format!("/runs/{run}/stop"), json!({})).await.expect(200);
    assert_eq!(stop["message"], "Session already finished");

    // After a restart the logs have what was missed.
    let room = reopen(room).await;
    let request = room.request(Method::GET, "/orchestrator/sse/sessions");
    let mut later = Sse::open(request.header("last-event-id", form.as_str())).await;
    let mut kinds = Vec::new();
    loop {
        let frame = later.next().await.expect("a frame");
        if frame.event == "init" {
            assert_eq!(frame.data["sessions"].as_array().expect("a list").len(), 2);
            break;
        }
        kinds.push(frame.data["data"]["event_type"].as_str().expect("a kind").to_owned());
    }
    assert!(kinds.contains(&"run_completed".to_owned()), "{kinds:?}");
    let one = format!("/orchestrator/sse/sessions?session_id={id}&include_init=false");
    let mut one = Sse::open(room.request(Method::GET, &one)).await;
    room.o_start(json!({"agent_name": "shell"})).await;
    let resumed = json!({"type": "resume_session", "session_id": id,
        "parameters": {"prompt": "more"}});
    room.o_post("/runs", resumed).await.expect(201);
    let first = one.next().await.expect("a frame");
    assert_eq!(first.data["session"]["session_id"], id.as_str(), "only what was asked for");
}
