//! `POST /api/v2/sessions/start`.

use greenroom_coordinator::Door;
use reqwest::Method;
use serde_json::{Value, json};

use crate::kit::*;
use crate::support::*;

const PATH: &str = "/api/v2/sessions/start";

/// A request to begin this session.
fn asks(id: &str) -> Value {
    json!({
        "session_id": id, "agent_name": "plain",
        "input": { "request_id": "r-1", "content": "hello" },
    })
}

/// A refusal of this kind, in the form that is there.
#[track_caller]
fn refused(answer: Answer, status: u16, reason: &str) -> String {
    assert_eq!(answer.status.as_u16(), status, "{}", answer.body);
    assert_eq!(
        (&answer.body["operation"], &answer.body["reason"]),
        (&json!("start"), &json!(reason))
    );
    assert!(answer.body["session_id"].is_string() && answer.body["detail"].is_string());
    answer.body["error"].as_str().expect("an error").to_owned()
}

#[tokio::test]
async fn post_start_begins_a_session_with_its_first_input() {
    let mut house = House::open().await;
    house.runner.allows(&["/srv"]).await;
    let mut request = asks("s-1");
    request["title"] = json!("T");
    request["working_dir"] = json!("/srv/app");
    request["attributes"] = json!({ "team": "web" });
    let started = house.post(PATH, request).await.expect(202);
    assert_eq!(started["session_id"], "s-1");
    let uid = house.uid("s-1").await;
    let (_, run) = house.runner.wait_run(uid).await;
    assert_eq!(started["turn_id"], run.to_string());
    let body = house.runner.get(&format!("/v1/link/runs/{run}")).await.expect(200);
    assert_eq!(body["prompt"], "hello");
    let session = house.get("/api/sessions/s-1").await.expect(200);
    assert_eq!((&session["title"], &session["working_dir"]), (&json!("T"), &json!("/srv/app")));
    let ours = house.room.get("/v1/sessions/s-1").await.expect(200);
    assert_eq!(ours["labels"]["team"], "web");
    assert_eq!(ours["labels"]["docker-agent.actor.agent"], "plain");
    // In one commit: nobody ever sees the one without the other.
    let types = house.room.types("s-1").await;
    assert_eq!(types[..2], ["session.created", "run.queued"], "{types:?}");
}

#[tokio::test]
async fn post_start_once_more_is_answered_as_before_and_another_body_is_a_conflict() {
    let mut house = House::open().await;
    let first = house.post(PATH, asks("s-1")).await.expect(202);
    // The order of its keys says nothing.
    let again = r#"{"input":{"content":"hello","request_id":"r-1"},"agent_name":"plain",
        "session_id":"s-1"}"#;
    let url = format!("/docker-agent{PATH}");
    let same = send(house.room.request(Method::POST, &url).body(again)).await.expect(202);
    assert_eq!(same, first);
    for (pointer, value) in [
        ("/input/request_id", json!("r-2")),
        ("/input/content", json!("hello!")),
        ("/agent_name", json!("team")),
    ] {
        let mut other = asks("s-1");
        *other.pointer_mut(pointer).expect("it is there") = value;
        refused(house.post(PATH, other).await, 409, "conflict");
    }
    // What came in by another way is not taken over.
    house.session(json!({ "id": "made", "agent": "plain" })).await;
    refused(house.post(PATH, asks("made")).await, 409, "conflict");
    // It is the same after the turn, after a restart, and when its agent is gone.
    let uid = house.uid("s-1").await;
    let (epoch, run) = house.runner.wait_run(uid).await;
    house.runner.complete(uid, epoch, run, "done").await;
    let House { room, mut runner } = house;
    let room = room.restart_with(Door::DockerAgent).await;
    runner.moves_to(&room);
    let house = House { room, runner };
    assert_eq!(house.post(PATH, asks("s-1")).await.expect(202), first);
    house.room.delete("/v1/agents/plain").await.expect(204);
    assert_eq!(house.post(PATH, asks("s-1")).await.expect(202), first);
    let runs = house.room.get("/v1/sessions/s-1/runs").await.expect(200);
    assert_eq!(runs["items"].as_array().map(Vec::len), Some(1), "{runs}");
    refused(house.post(PATH, asks("s-2")).await, 404, "not_found");
}

#[tokio::test]
async fn post_start_that_comes_late_begins_nothing_that_was_deleted() {
    let mut house = House::open().await;
    house.post(PATH, asks("s-1")).await.expect(202);
    let uid = house.uid("s-1").await;
    let (epoch, run) = house.runner.wait_run(uid).await;
    house.runner.complete(uid, epoch, run, "done").await;
    house.room.delete("/v1/sessions/s-1?wait=0s").await.expect(202);
    house.runner.sync_with(|request| request.removed = vec![uid]).await;
    house.room.get("/v1/sessions/s-1").await.refused(404);
    let text = refused(house.post(PATH, asks("s-1")).await, 409, "conflict");
    assert!(text.contains("deleted"), "{text}");
}

#[tokio::test]
async fn post_start_at_the_same_time_begins_one_session() {
    let house = House::open().await;
    let all = futures::future::join_all((0..8).map(|_| house.post(PATH, asks("s-1")))).await;
    let first = all[0].body.clone();
    for answer in all {
        assert_eq!(answer.expect(202), first);
    }
    let runs = house.room.get("/v1/sessions/s-1/runs").await.expect(200);
    assert_eq!(runs["items"].as_array().map(Vec::len), Some(1), "{runs}");
}

#[tokio::test]
async fn post_start_finds_agents_as_everything_here_and_members_of_a_source() {
    let mut house = House::open().await;
    let key = house.room.get("/v1/agents/team").await.expect(200)["source_key"].clone();
    let mut request = asks("by-key");
    request["agent_name"] = key.clone();
    house.post(PATH, request).await.expect(202);
    let mut request = asks("by-member");
    request["source"] = key.clone();
    request["agent_name"] = json!("helper");
    house.post(PATH, request).await.expect(202);
    let uid = house.uid("by-member").await;
    let (_, run) = house.runner.wait_run(uid).await;
    let body = house.runner.get(&format!("/v1/link/runs/{run}")).await.expect(200);
    assert_eq!(body["input"], json!({ "agent": "helper", "task": "hello" }));
    let mut request = asks("none");
    request["source"] = key;
    request["agent_name"] = json!("nobody");
    let text = refused(house.post(PATH, request).await, 404, "not_found");
    assert!(text.contains("nobody"), "{text}");
}

#[tokio::test]
async fn post_start_is_strict_about_its_body() {
    let house = House::open().await;
    for missing in ["session_id", "agent_name", "input"] {
        let mut request = asks("s");
        request.as_object_mut().expect("an object").remove(missing);
        let text = refused(house.post(PATH, request).await, 400, "invalid");
        assert!(text.contains(missing), "{text}");
    }
    for (pointer, value) in [
        ("/session_id", json!("")),
        ("/session_id", json!("a/b")),
        ("/agent_name", json!(" ")),
        ("/input/request_id", json!("")),
        ("/input/content", json!("  ")),
        ("/input/content", json!(3)),
    ] {
        let mut request = asks("s");
        *request.pointer_mut(pointer).expect("it is there") = value;
        refused(house.post(PATH, request).await, 400, "invalid");
    }
    for (name, value) in
        [("modle", json!("x")), ("working_dir", json!("/etc")), ("safety_policy", json!("yolo"))]
    {
        let mut request = asks("s");
        request[name] = value;
        refused(house.post(PATH, request).await, 400, "invalid");
    }
    let mut request = asks("s");
    request["input"]["mode"] = json!("steer");
    refused(house.post(PATH, request).await, 400, "invalid");
    let url = format!("/docker-agent{PATH}");
    for body in ["", "{", "[]", "{} {}"] {
        let sent = send(house.room.request(Method::POST, &url).body(body)).await;
        refused(sent, 400, "invalid");
    }
    let large = format!("\"{}\"", "x".repeat(1 << 20));
    refused(send(house.room.request(Method::POST, &url).body(large)).await, 413, "invalid");
    house.room.get("/v1/sessions/s").await.refused(404);
}
