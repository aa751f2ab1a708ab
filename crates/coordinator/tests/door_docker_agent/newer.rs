//! The rows of what came after the March shape.

use std::time::Duration;

use greenroom_core::record::OutputKind;
use reqwest::Method;
use serde_json::{Value, json};

use crate::kit::*;
use crate::support::*;

#[tokio::test]
async fn get_health_and_ready_need_no_token() {
    let house = House::open().await;
    let open = async |path: &str| {
        send(house.room.http.get(house.room.url(&format!("/docker-agent{path}")))).await
    };
    assert_eq!(open("/health").await.expect(200), json!({ "status": "ok" }));
    let ready = open("/ready").await.expect(200);
    assert_eq!((&ready["ready"], &ready["store_connected"]), (&json!(true), &json!(true)));
    assert_eq!(ready["active_sessions"], 0);
}

#[tokio::test]
async fn get_api_ready_waits_for_any_session() {
    let house = House::open().await;
    refused(house.get("/api/ready?timeout=20ms").await, 503);
    let (ready, _) = tokio::join!(house.get("/api/ready?timeout=20s"), house.session(json!({})));
    ready.expect(200);
    house.get("/api/ready").await.expect(200);
}

#[tokio::test]
async fn get_status_says_how_a_session_stands_and_waits_for_one() {
    let mut house = House::open().await;
    let id = house.session(json!({ "title": "T" })).await;
    let path = format!("/api/sessions/{id}/status");
    let status = house.get(&path).await.expect(200);
    assert_eq!((&status["streaming"], &status["num_messages"]), (&json!(false), &json!(0)));
    let _frames = house.begun(&id, "x").await;
    let status = house.get(&path).await.expect(200);
    assert_eq!((&status["streaming"], &status["agent"]), (&json!(true), &json!("team")));
    refused(house.get("/api/sessions/later/status").await, 404);
    refused(house.get("/api/sessions/later/status?wait=20ms").await, 503);
    let made = async { house.post("/api/sessions", json!({ "id": "later" })).await.expect(200) };
    let (status, _) = tokio::join!(house.get("/api/sessions/later/status?wait=20s"), made);
    assert_eq!(status.expect(200)["id"], "later");
}

#[tokio::test]
async fn get_snapshot_has_what_waits_and_where_the_log_is() {
    let mut house = House::open().await;
    let unknown = house.get("/api/sessions/nobody/snapshot").await;
    assert_eq!(unknown.body["code"], "unknown_session");
    refused_with_code(unknown);
    let id = house.session(json!({ "safety_policy": "restricted" })).await;
    let (_frames, uid, epoch, run) = house.begun(&id, "x").await;
    let ask = permission("shell", json!({ "command": "ls" }));
    let asked = ask.id;
    house.ask(uid, epoch, run, ask).await;
    let snapshot = house.get(&format!("/api/sessions/{id}/snapshot")).await.expect(200);
    assert_eq!(
        (&snapshot["streaming"], &snapshot["safety_policy"]),
        (&json!(true), &json!("restricted"))
    );
    assert_eq!(snapshot["pending"][0]["type"], "tool_call_confirmation");
    assert_eq!(snapshot["pending"][0]["confirmation_id"], json!(asked));
    let events = house.room.events(&id).await;
    assert_eq!(snapshot["last_event_seq"], events.last().expect("events")["seq"]);
    assert!(snapshot["event_epoch"].as_str().is_some_and(|epoch| !epoch.is_empty()));
    assert_eq!(snapshot["messages"][0]["message"]["content"], "x");
    // Who comes back can still answer exactly this.
    let body = json!({ "confirmation": "approve", "confirmation_id": asked });
    house.post(&format!("/api/sessions/{id}/resume"), body).await.expect(200);
}

#[track_caller]
fn refused_with_code(answer: Answer) {
    assert_eq!(answer.status, 404);
    assert_eq!(answer.body["message"], answer.body["error"]);
}

/// Events from a position on.
async fn follow(house: &House, id: &str, query: &str) -> Frames {
    let path = format!("/docker-agent/api/sessions/{id}/events{query}");
    Frames::of(house.room.request(Method::GET, &path)).await
}

#[tokio::test]
async fn get_events_replays_then_tails_with_ids_and_ends_with_the_session() {
    let mut house = House::open().await;
    let id = house.session(json!({})).await;
    house.done(&id, "hi", "hello\n").await;
    let mut frames = follow(&house, &id, "").await;
    let hello = frames.next().await.expect("the first");
    assert_eq!(hello["type"], "stream_epoch");
    let mut events = Vec::new();
    loop {
        let event = frames.next().await.expect("more");
        let over = event["type"] == "stream_stopped";
        events.push(event);
        if over {
            break;
        }
    }
    assert_eq!(said(&events), "hello\n");
    let seen = frames.last_id.expect("a position");
    let epoch = hello["epoch"].as_str().expect("an epoch").to_owned();
    drop(frames);

    // What comes meanwhile is there, and nothing twice.
    house.done(&id, "again", "once more\n").await;
    let query = format!("?since={seen}&since_epoch={epoch}");
    let mut frames = follow(&house, &id, &query).await;
    assert_eq!(frames.next().await.expect("the first")["type"], "stream_epoch");
    let user = frames.until("user_message").await;
    assert_eq!(user["message"], "again");
    assert!(frames.last_id.is_none_or(|id| id > seen));
    frames.until("stream_stopped").await;
    house.call(Method::DELETE, &format!("/api/sessions/{id}?wait=false"), None).await;
    let uid = house.uid_if_there(&id).await;
    house.let_go(uid).await;
    let exited = frames.until("session_exited").await;
    assert_eq!(exited["reason"], "deleted");
    assert_eq!(frames.next().await, None);
}

impl House {
    async fn uid_if_there(&self, id: &str) -> Option<greenroom_core::SessionUid> {
        let session = self.room.get(&format!("/v1/sessions/{id}")).await;
        (session.status == 200).then(|| uid(&session.body))
    }

    /// The runner ends what it is told to end, and removes the files.
    async fn let_go(&mut self, uid: Option<greenroom_core::SessionUid>) {
        let Some(uid) = uid else { return };
        use greenroom_core::receipt::EndReason;
        use greenroom_core::{Order, RecordBody};
        let down = |order: &Order| matches!(order, Order::Down { .. });
        let assignment = self.runner.wait_for(uid, down).await;
        let receipt = Box::new(receipt(assignment.epoch, EndReason::Deleted));
        self.runner.tell(uid, assignment.epoch, vec![RecordBody::Receipt { receipt }]).await;
        self.runner.wait_for(uid, |order| matches!(order, Order::Gone { .. })).await;
        self.runner.sync_with(|request| request.removed = vec![uid]).await;
    }
}

#[tokio::test]
async fn get_events_goes_on_after_last_event_id() {
    let mut house = House::open().await;
    let id = house.session(json!({})).await;
    house.done(&id, "hi", "hello\n").await;
    let path = format!("/docker-agent/api/sessions/{id}/events");
    let last = house.room.events(&id).await.len();
    let request = house.room.request(Method::GET, &path);
    // Stronger than the query.
    let request = request.query(&[("since", "0")]).header("last-event-id", last.to_string());
    let mut frames = Frames::of(request).await;
    assert_eq!(frames.next().await.expect("the first")["type"], "stream_epoch");
    house.patch(&format!("/api/sessions/{id}/title"), json!({ "title": "T" })).await.expect(200);
    let next = frames.next().await.expect("the next");
    assert_eq!((&next["type"], &next["title"]), (&json!("session_title"), &json!("T")));
    for wrong in ["x", "-1", "1.5"] {
        refused(house.get(&format!("/api/sessions/{id}/events?since={wrong}")).await, 400);
    }
}

#[tokio::test]
async fn post_steer_is_queued_in_a_turn_and_409_otherwise() {
    let mut house = House::open().await;
    let id = house.session(json!({})).await;
    let path = format!("/api/sessions/{id}/steer");
    let body = json!({ "messages": [{ "role": "user", "content": "also this" }] });
    refused(house.post(&path, body.clone()).await, 409);
    let (mut frames, uid, epoch, run) = house.begun(&id, "x").await;
    assert_eq!(house.post(&path, body.clone()).await.expect(202), json!({ "status": "queued" }));
    let framed = json!({ "messages": body["messages"], "framing": "instruction" });
    house.post(&path, framed).await.expect(202);
    refused(house.post(&path, json!({ "messages": [], "framing": "plain" })).await, 400);
    let odd = json!({ "messages": body["messages"], "framing": "loud" });
    refused(house.post(&path, odd).await, 400);
    for _ in 0..3 {
        house.post(&path, body.clone()).await.expect(202);
    }
    let full = house.post(&path, body).await;
    assert_eq!(full.headers["retry-after"], "1");
    refused(full, 429);
    let queue = house.get(&format!("/api/sessions/{id}/queue")).await.expect(200);
    assert_eq!(queue["steer"], json!({ "depth": 5, "capacity": 5 }));
    assert_eq!(queue["followup"], json!({ "depth": 0, "capacity": 20 }));
    let runs = house.room.get(&format!("/v1/sessions/{id}/runs")).await.expect(200);
    let steer = runs["items"]
        .as_array()
        .expect("runs")
        .iter()
        .find(|r| r["prompt"] == "also this")
        .expect("it is a run");
    let steered = steer["id"].as_str().expect("an id").parse().expect("an id");
    let told = greenroom_core::RecordBody::Steered { run: steered, into: run };
    house.runner.tell(uid, epoch, vec![told]).await;
    frames.until("user_message").await;
    assert_eq!(frames.until("user_message").await["message"], "also this");
}

#[tokio::test]
async fn post_followup_waits_in_line_and_a_key_makes_it_once() {
    let mut house = House::open().await;
    let id = house.session(json!({})).await;
    house.done(&id, "first", "one\n").await;
    let (_frames, ..) = house.begun(&id, "second").await;
    let path = format!("/docker-agent/api/sessions/{id}/followup");
    let said = |key: &str, text: &str| {
        let body = json!({ "messages": [{ "content": text }] });
        send(house.room.request(Method::POST, &path).header("idempotency-key", key).json(&body))
    };
    let queued = json!({ "status": "queued_streaming", "duplicate": false });
    assert_eq!(said("a", "third").await.expect(202), queued);
    let again = json!({ "status": "duplicate", "duplicate": true });
    assert_eq!(said("a", "third").await.expect(202), again);
    refused(said("a", "another").await, 409);
    let plain = |n: usize| json!({ "messages": [{ "content": format!("{n}") }] });
    for n in 1..20 {
        house.post(&format!("/api/sessions/{id}/followup"), plain(n)).await.expect(202);
    }
    let full = house.post(&format!("/api/sessions/{id}/followup"), plain(20)).await;
    assert_eq!(full.headers["retry-after"], "1");
    refused(full, 429);
    assert_eq!(said("a", "third").await.expect(202), again, "also where no more is taken");
    let queue = house.get(&format!("/api/sessions/{id}/queue")).await.expect(200);
    assert_eq!(queue["followup"], json!({ "depth": 20, "capacity": 20 }));
}

#[tokio::test]
async fn post_followup_to_an_idle_session_begins_at_once() {
    let mut house = House::open().await;
    let id = house.session(json!({})).await;
    house.done(&id, "first", "one\n").await;
    let body = json!({ "messages": [{ "content": "second" }] });
    let queued = house.post(&format!("/api/sessions/{id}/followup"), body).await.expect(202);
    assert_eq!(queued, json!({ "status": "queued_idle", "duplicate": false }));
    let uid = house.uid(&id).await;
    let (_, run) = house.runner.wait_run(uid).await;
    let body = house.runner.get(&format!("/v1/link/runs/{run}")).await.expect(200);
    assert_eq!(body["prompt"], "second");
}

#[tokio::test]
async fn patch_safety_policy_and_starred() {
    let house = House::open().await;
    let id = house.session(json!({ "permissions": { "deny": ["shell"] } })).await;
    let path = format!("/api/sessions/{id}");
    for (said, kept, mode, headless) in [
        ("strict", "strict", json!("strict"), json!(false)),
        ("safer", "balanced", json!("balanced"), json!(false)),
        ("restricted", "restricted", json!("balanced"), json!(true)),
        ("unsafe", "autonomous", json!("autonomous"), json!(false)),
        ("", "", Value::Null, Value::Null),
    ] {
        let body = json!({ "safety_policy": said });
        let set = house.patch(&format!("{path}/safety-policy"), body).await.expect(200);
        assert_eq!(set["safety_policy"], kept);
        let ours = house.room.get(&format!("/v1/sessions/{id}")).await.expect(200);
        assert_eq!(
            (&ours["approvals"]["mode"], &ours["approvals"]["headless"]),
            (&mode, &headless)
        );
        assert_eq!(ours["approvals"]["deny"], json!(["shell"]));
    }
    refused(
        house.patch(&format!("{path}/safety-policy"), json!({ "safety_policy": "x" })).await,
        400,
    );
    for starred in [true, false] {
        let set = house.patch(&format!("{path}/starred"), json!({ "starred": starred })).await;
        assert_eq!(set.expect(200)["starred"], starred);
        let session = house.get(&path).await.expect(200);
        assert_eq!(session["starred"], starred);
    }
}

#[tokio::test]
async fn get_models_and_what_is_not_a_clients_to_write() {
    let mut house = House::open().await;
    let id = house.session(json!({ "agent": "team" })).await;
    let models = house.get(&format!("/api/sessions/{id}/models")).await.expect(200);
    let expected =
        json!({ "agent": "team", "current_model_ref": "openai/m", "models": ["openai/m"] });
    assert_eq!(models, expected);
    let plain = house.session(json!({ "agent": "plain" })).await;
    refused(house.get(&format!("/api/sessions/{plain}/models")).await, 422);
    house.done(&id, "hi", "hello\n").await;
    for (method, path) in [
        (Method::POST, "messages"),
        (Method::PATCH, "messages/1"),
        (Method::POST, "summaries"),
        (Method::PATCH, "tokens"),
    ] {
        let path = format!("/api/sessions/{id}/{path}");
        refused(house.call(method, &path, Some(json!({}))).await, 409);
    }
    refused(house.call(Method::POST, "/api/mcp-oauth/callback", None).await, 400);
    refused(house.call(Method::POST, "/api/mcp-oauth/callback?state=x&code=y", None).await, 404);
}

#[tokio::test]
async fn post_batch_delete_and_export_say_what_became_of_each() {
    let mut house = House::open().await;
    let one = house.session(json!({})).await;
    house.done(&one, "hi", "hello\n").await;
    let two = house.session(json!({})).await;
    let ids = json!({ "session_ids": [one, two, "nobody"] });
    let exported = house.post("/api/sessions/batch/export", ids).await.expect(200);
    assert_eq!(exported["sessions"].as_array().map(Vec::len), Some(2));
    assert_eq!(exported["sessions"][0]["messages"][1]["message"]["message"]["content"], "hello\n");
    assert_eq!(exported["failed"][0]["id"], "nobody");
    let ids = json!({ "session_ids": [two, "nobody"] });
    let deleted = house.post("/api/sessions/batch/delete", ids).await.expect(200);
    assert_eq!((&deleted["deleted"], &deleted["pending"]), (&json!([two]), &json!([])));
    assert_eq!(deleted["failed"][0]["id"], "nobody");
    refused(house.post("/api/sessions/batch/delete", json!({ "session_ids": [] })).await, 400);
    refused(house.post("/api/sessions/batch/export", json!({})).await, 400);
}

#[tokio::test]
async fn get_recovery_has_messages_and_what_went_wrong() {
    use greenroom_core::RecordBody;
    use greenroom_core::record::{Outcome, RunError};
    let mut house = House::open().await;
    let id = house.session(json!({})).await;
    let (frames, uid, epoch, run) = house.begun(&id, "hi").await;
    let error = RunError::new("model_error", "it said no");
    let end = RecordBody::RunEnded { run, outcome: Outcome::Failed { error } };
    house.runner.tell(uid, epoch, vec![message(run, "half"), end]).await;
    let events = frames.all().await;
    let last_two = &types(&events)[events.len() - 2..];
    assert_eq!(last_two, ["error", "stream_stopped"]);
    let recovery = house.get(&format!("/api/sessions/{id}/recovery")).await.expect(200);
    assert_eq!(recovery["errors"][0]["message"], "it said no");
    let messages = recovery["session"]["messages"].as_array().expect("items");
    assert_eq!(messages[1]["message"]["message"]["content"], "half");
}

#[tokio::test]
async fn post_stop_comes_with_the_receipt() {
    let house = House::open().await;
    let id = house.session(json!({})).await;
    let path = format!("/api/sessions/{id}/stop");
    let stopped = house.call(Method::POST, &path, None).await.expect(200);
    assert_eq!(
        (&stopped["message"], &stopped["status"]),
        (&json!("session stopped"), &json!("stopped"))
    );
    assert_eq!(stopped["receipt"]["survivors"], 0);
    let again = house.call(Method::POST, &path, None).await.expect(200);
    assert_eq!(again["message"], "session is already stopped");
}

#[tokio::test]
async fn what_an_agent_says_of_its_conversation_is_translated() {
    let mut house = House::open().await;
    let id = house.session(json!({})).await;
    let (mut frames, uid, epoch, run) = house.begun(&id, "x").await;
    let say = |data: Value| output(run, OutputKind::AgentInfo, data);
    let error = json!({ "code": "model_error", "message": "away" });
    house
        .runner
        .tell(
            uid,
            epoch,
            vec![
                say(json!({ "about": "discard", "model": "openai/m", "error": error, "next": "fallback" })),
                say(json!({ "about": "discard", "model": "openai/m", "error": error, "next": "retry" })),
                say(json!({ "about": "compacted", "summary": "what was", "keep": 1 })),
                output(run, OutputKind::Log, json!({ "stream": "driver", "text": "careful\n" })),
            ],
        )
        .await;
    assert_eq!(frames.until("model_fallback").await["reason"], "away");
    assert!(frames.until("warning").await["message"].as_str().is_some_and(|m| m.contains("away")));
    assert_eq!(frames.until("session_compaction").await["status"], "started");
    assert_eq!(frames.until("session_summary").await["summary"], "what was");
    assert_eq!(frames.until("session_compaction").await["status"], "completed");
    assert_eq!(frames.until("warning").await["message"], "careful\n");
    let silent = tokio::time::timeout(Duration::from_millis(50), frames.next()).await;
    assert!(silent.is_err(), "the stream waits for the turn: {silent:?}");
}
