//! What docker-agent is known to do wrong, by its number: the shape is kept, the defect not.

use greenroom_core::RecordBody;
use greenroom_core::record::{Outcome, OutputKind};
use greenroom_protocol::link::{Delta, RecordLine};
use greenroom_store::Store;
use reqwest::Method;
use serde_json::{Value, json};

use crate::kit::*;
use crate::support::*;

#[tokio::test]
async fn defect_1_a_turn_outlives_its_connection() {
    let mut house = House::open().await;
    let id = house.session(json!({})).await;
    let (frames, uid, epoch, run) = house.begun(&id, "x").await;
    drop(frames);
    house.runner.tell(uid, epoch, vec![message(run, "all the same\n"), completed(run)]).await;
    let session = house.get(&format!("/api/sessions/{id}")).await.expect(200);
    assert_eq!(session["messages"][1]["message"]["content"], "all the same\n");
    let runs = house.room.get(&format!("/v1/sessions/{id}/runs")).await.expect(200);
    assert_eq!(runs["items"][0]["status"], "completed");
}

#[tokio::test]
async fn defect_2_a_session_keeps_its_agent_and_says_so() {
    let mut house = House::open().await;
    let id = house.session(json!({})).await;
    house.done(&id, "x", "y\n").await;
    let path = format!("/api/sessions/{id}/agent/plain");
    let text = refused(house.post(&path, json!([{ "content": "x" }])).await, 409);
    assert!(text.contains("team") && text.contains("plain"), "{text}");
    let list = house.get("/api/sessions?agent=team").await.expect(200);
    assert_eq!(list[0]["id"], json!(id));
    assert_eq!(house.get("/api/sessions?agent=plain").await.expect(200), json!([]));
    // One that was named when it was made is not changed by a run, either.
    let named = house.session(json!({ "agent": "plain" })).await;
    let path = format!("/api/sessions/{named}/agent/team");
    refused(house.post(&path, json!([{ "content": "x" }])).await, 409);
    // What asks nobody takes no rules.
    let ruled = house.session(json!({ "permissions": { "deny": ["shell"] } })).await;
    let path = format!("/api/sessions/{ruled}/agent/plain");
    refused(house.post(&path, json!([{ "content": "x" }])).await, 409);
}

#[tokio::test]
async fn defect_3_and_4_events_outlive_a_restart_and_a_gap_is_never_silent() {
    let mut house = House::open().await;
    let id = house.session(json!({})).await;
    house.done(&id, "hi", "hello\n").await;
    let snapshot = house.get(&format!("/api/sessions/{id}/snapshot")).await.expect(200);
    let epoch = snapshot["event_epoch"].as_str().expect("an epoch").to_owned();
    let seen = snapshot["last_event_seq"].as_u64().expect("a position");
    let House { room, mut runner } = house;
    let Room { coordinator, store, folder, .. } = room;
    coordinator.shutdown().await;
    store.close().await;
    drop(store);
    let mut config = config(folder.path());
    config.doors = [greenroom_coordinator::Door::DockerAgent].into();
    let room = Room::in_folder(folder, config).await;
    runner.moves_to(&room);
    let mut house = House { room, runner };
    let follow = async |house: &House, query: String| {
        let path = format!("/docker-agent/api/sessions/{id}/events{query}");
        Frames::of(house.room.request(Method::GET, &path)).await
    };
    let mut whole = follow(&house, String::new()).await;
    assert_eq!(whole.until("stream_epoch").await["epoch"], epoch.as_str(), "the same log");
    assert_eq!(whole.until("agent_choice").await["content"], "hello\n");
    let mut frames = follow(&house, format!("?since={seen}&since_epoch={epoch}")).await;
    house.runner.sync(0).await;
    house.patch(&format!("/api/sessions/{id}/title"), json!({ "title": "T" })).await.expect(200);
    frames.until("stream_epoch").await;
    assert_eq!(frames.next().await.expect("more")["type"], "session_title", "nothing is missed");
    for query in [
        format!("?since={}&since_epoch={epoch}", seen + 500),
        format!("?since={seen}&since_epoch=other"),
    ] {
        let mut frames = follow(&house, query).await;
        frames.until("stream_epoch").await;
        let gap = frames.next().await.expect("more");
        assert_eq!((&gap, frames.last_id), (&json!({ "type": "gap" }), None));
        assert_eq!(frames.until("agent_choice").await["content"], "hello\n", "all of it again");
    }
}

#[tokio::test]
async fn defect_5_answers_are_correlated_and_count_once() {
    let mut house = House::open().await;
    let id = house.session(json!({})).await;
    let (_frames, uid, epoch, run) = house.begun(&id, "x").await;
    let path = format!("/api/sessions/{id}/resume");
    refused(house.post(&path, json!({ "confirmation": "approve" })).await, 409);
    let (first, second) = (permission("shell", json!({})), permission("fetch", json!({})));
    let (one, two) = (first.id, second.id);
    house.ask(uid, epoch, run, first).await;
    house.ask(uid, epoch, run, second).await;
    // Which one is meant has to be said.
    let text = refused(house.post(&path, json!({ "confirmation": "approve" })).await, 409);
    assert!(text.contains(&one.to_string()) && text.contains(&two.to_string()), "{text}");
    let by_tool = json!({ "confirmation": "reject", "tool_name": "fetch" });
    house.post(&path, by_tool).await.expect(200);
    let by_id = json!({ "confirmation": "approve", "confirmation_id": one });
    house.post(&path, by_id.clone()).await.expect(200);
    refused(house.post(&path, by_id).await, 409);
    let unknown = json!({ "confirmation": "approve", "confirmation_id": "x" });
    refused(house.post(&path, unknown).await, 409);
    let log = house.room.events(&id).await;
    let answers: Vec<(&Value, &Value)> = log
        .iter()
        .filter(|e| e["type"] == "approval.answered")
        .map(|e| (&e["data"]["id"], &e["data"]["decision"]))
        .collect();
    assert_eq!(answers, [(&json!(two), &json!("deny")), (&json!(one), &json!("allow"))]);
}

#[tokio::test]
async fn defect_7_permissions_outlive_the_turn_that_is_in_progress() {
    let mut house = House::open().await;
    let id = house.session(json!({})).await;
    let (frames, uid, epoch, run) = house.begun(&id, "x").await;
    let rules = json!({ "permissions": { "deny": ["shell"] } });
    house.patch(&format!("/api/sessions/{id}/permissions"), rules).await.expect(200);
    house.runner.tell(uid, epoch, vec![completed(run)]).await;
    frames.all().await;
    let session = house.get(&format!("/api/sessions/{id}")).await.expect(200);
    assert_eq!(session["permissions"]["deny"], json!(["shell"]));
}

#[tokio::test]
async fn defect_9_nothing_that_is_sent_takes_the_server_down() {
    let house = House::open().await;
    let id = house.session(json!({})).await;
    let path = format!("/api/sessions/{id}/agent/team");
    for body in [json!([]), json!({}), json!({ "messages": null }), json!([{}]), json!(null)] {
        refused(house.post(&path, body).await, 400);
    }
    house.get("/health").await.expect(200);
}

#[tokio::test]
async fn defect_10_lists_read_no_logs() {
    let mut house = House::open().await;
    let id = house.session(json!({})).await;
    let (_frames, uid, epoch, run) = house.begun(&id, "x").await;
    let text = "x".repeat(60_000) + "\n";
    let many: Vec<RecordBody> = (0..50).map(|_| message(run, &text)).collect();
    house.runner.tell(uid, epoch, many).await;
    let list = house.get("/api/sessions").await.expect(200);
    assert!(list.to_string().len() < 1_000, "{list}");
    assert_eq!(list[0]["num_messages"], 1);
}

#[tokio::test]
async fn defect_13_no_call_is_left_without_an_answer_in_a_history() {
    let mut house = House::open().await;
    let id = house.session(json!({})).await;
    let (frames, uid, epoch, run) = house.begun(&id, "x").await;
    let used = json!({ "id": "c1", "tool": "read_file", "input": { "path": "a" } });
    let stopped = RecordBody::RunEnded { run, outcome: Outcome::Stopped { error: None } };
    let result = json!({ "id": "c1", "tool": "read_file", "output": "stopped", "is_error": true });
    let end = vec![
        output(run, OutputKind::ToolCall, used),
        output(run, OutputKind::ToolResult, result),
        stopped,
    ];
    house.runner.tell(uid, epoch, end).await;
    let events = frames.all().await;
    assert_eq!(types(&events)[events.len() - 2..], ["warning", "stream_stopped"]);
    let session = house.get(&format!("/api/sessions/{id}")).await.expect(200);
    assert_eq!(session["messages"][2]["message"]["tool_call_id"], "c1");
}

#[tokio::test]
async fn defect_15_no_frame_is_longer_than_a_client_reads() {
    let mut house = House::open().await;
    let id = house.session(json!({})).await;
    let (frames, uid, epoch, run) = house.begun(&id, "x").await;
    let used = json!({ "id": "c1", "tool": "read_file", "input": { "path": "é".repeat(60_000) } });
    let result = json!({ "id": "c1", "tool": "read_file", "output": "\u{1}é".repeat(100_000) });
    let long = "wörds ".repeat(40_000) + "\n";
    let bodies = vec![
        output(run, OutputKind::ToolCall, used),
        output(run, OutputKind::ToolResult, result),
        message(run, &long),
        completed(run),
    ];
    house.runner.tell(uid, epoch, bodies).await;
    let events = frames.all().await;
    assert_eq!(said(&events), long, "text is split, and whole");
    for event in &events {
        assert!(event.to_string().len() < 60 << 10, "{}", event["type"]);
    }
    let call = events.iter().find(|e| e["type"] == "tool_call").expect("the call");
    let arguments = call["tool_call"]["function"]["arguments"].as_str().expect("text");
    serde_json::from_str::<Value>(arguments).expect("it still reads as JSON");
}

#[tokio::test]
async fn defect_16_a_stream_says_so_when_the_server_ends() {
    let mut house = House::open().await;
    let id = house.session(json!({})).await;
    let (frames, ..) = house.begun(&id, "x").await;
    let all = tokio::spawn(frames.all());
    house.room.coordinator.shutdown().await;
    let events = all.await.expect("it ends");
    assert_eq!(types(&events)[events.len() - 2..], ["error", "stream_stopped"], "{events:#?}");
    let error = events[events.len() - 2]["error"].as_str().expect("text");
    assert!(error.contains("goes on"), "{error}");
}

/// M let two turns of one session mix.
#[tokio::test]
async fn busy_is_409_and_nothing_is_mixed() {
    let mut house = House::open().await;
    let id = house.session(json!({})).await;
    let (frames, uid, epoch, run) = house.begun(&id, "first").await;
    let path = format!("/api/sessions/{id}/agent/team");
    let text = refused(house.post(&path, json!([{ "content": "second" }])).await, 409);
    assert!(text.contains("busy"), "{text}");
    house.runner.tell(uid, epoch, vec![completed(run)]).await;
    let events = frames.all().await;
    assert!(!events.iter().any(|event| event["message"] == "second"), "{events:#?}");
}

/// The Go client sends the whole conversation with each turn.
#[tokio::test]
async fn a_history_that_is_sent_again_does_not_double() {
    let mut house = House::open().await;
    let id = house.session(json!({})).await;
    house.done(&id, "one", "1\n").await;
    house.done(&id, "two", "2\n").await;
    let again =
        json!(["one", "two", "three"].map(|text| json!({ "role": "user", "content": text })));
    let frames = house.turn(&format!("/api/sessions/{id}/agent/team"), again).await;
    let uid = house.uid(&id).await;
    let (epoch, run) = house.runner.wait_run(uid).await;
    let body = house.runner.get(&format!("/v1/link/runs/{run}")).await.expect(200);
    assert_eq!(body["prompt"], "three");
    let told = vec![RecordBody::RunStarted { run }, completed(run)];
    house.runner.tell(uid, epoch, told).await;
    frames.all().await;
}

#[tokio::test]
async fn everybody_sees_what_v1_would_show_them() {
    let house = House::open().await;
    let id = house.session(json!({})).await;
    let eve = house.room.new_token("operator", "eve").await;
    let viewer = house.room.new_token("viewer", "eve").await;
    let path = format!("/docker-agent/api/sessions/{id}");
    refused(house.room.call_as(&eve, Method::GET, &path, None).await, 404);
    refused(house.room.call_as(&eve, Method::DELETE, &path, None).await, 404);
    let events = format!("{path}/events");
    refused(house.room.call_as(&eve, Method::GET, &events, None).await, 404);
    let list = house.room.call_as(&eve, Method::GET, "/docker-agent/api/sessions", None).await;
    assert_eq!(list.expect(200), json!([]));
    let made = json!({ "title": "x" });
    refused(
        house.room.call_as(&viewer, Method::POST, "/docker-agent/api/sessions", Some(made)).await,
        403,
    );
    refused(house.room.call_as("nonsense", Method::GET, &path, None).await, 401);
}

#[tokio::test]
async fn text_that_overtakes_the_beginning_of_its_turn_waits_for_it() {
    let mut house = House::open().await;
    let id = house.session(json!({})).await;
    let body = json!([{ "role": "user", "content": "hi" }]);
    let mut frames = house.turn(&format!("/api/sessions/{id}/agent/plain"), body).await;
    let uid = house.uid(&id).await;
    let (epoch, run) = house.runner.wait_run(uid).await;
    house.runner.tell(uid, epoch, vec![RecordBody::Ready]).await;
    let delta = Delta { uid, run, part: 0, offset: 0, text: "hello".into() };
    house.runner.upload(&[RecordLine::Delta(delta)]).await;
    house.runner.tell(uid, epoch, vec![RecordBody::RunStarted { run }]).await;
    loop {
        let event = frames.next().await.expect("the turn begins");
        assert_ne!(event["type"], "agent_choice", "nothing is said before the turn has begun");
        if event["type"] == "stream_started" {
            break;
        }
    }
    let next = frames.next().await.expect("the text");
    assert_eq!((&next["type"], &next["content"]), (&json!("agent_choice"), &json!("hello")));
}
