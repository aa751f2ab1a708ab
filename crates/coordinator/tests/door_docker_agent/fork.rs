//! Forks: through `/v1`, and through the door.

use greenroom_core::record::OutputKind;
use reqwest::Method;
use serde_json::{Value, json};

use crate::kit::*;
use crate::support::*;

async fn conversation() -> (House, String) {
    let mut house = House::open().await;
    let id = house.session(json!({ "title": "T", "permissions": { "deny": ["shell"] } })).await;
    house.done(&id, "one", "1\n").await;
    let (frames, uid, epoch, run) = house.begun(&id, "two").await;
    let used = json!({ "id": "c1", "tool": "read_file", "input": { "path": "a" } });
    let result = json!({ "id": "c1", "tool": "read_file", "output": "A" });
    let bodies = vec![
        output(run, OutputKind::ToolCall, used),
        output(run, OutputKind::ToolResult, result),
        message(run, "2\n"),
        completed(run),
    ];
    house.runner.tell(uid, epoch, bodies).await;
    frames.all().await;
    (house, id)
}

/// Who said what, in order.
async fn said(house: &House, id: &str) -> Vec<(String, String)> {
    let session = house.get(&format!("/api/sessions/{id}")).await.expect(200);
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let messages = session["messages"].as_array().expect("messages").iter();
    messages.map(|m| (text(&m["message"]["role"]), text(&m["message"]["content"]))).collect()
}

fn pairs(said: &[(&str, &str)]) -> Vec<(String, String)> {
    said.iter().map(|(role, text)| ((*role).to_owned(), (*text).to_owned())).collect()
}

#[tokio::test]
async fn a_fork_has_the_conversation_as_its_own() {
    let (mut house, id) = conversation().await;
    let path = format!("/v1/sessions/{id}/fork");
    let whole = house.room.post(&path, json!({ "id": "f" })).await.expect(201);
    assert_eq!((&whole["title"], &whole["status"]), (&json!("T (fork 1)"), &json!("new")));
    assert_eq!(whole["approvals"]["deny"], json!(["shell"]));
    let from = &whole["forked_from"];
    assert_eq!((&from["id"], &from["conversation"]), (&json!(id), &json!("inherited")));
    assert_eq!(from["workspace"], "fresh");
    let log = house.room.events("f").await;
    assert_eq!(log[0]["data"]["forked_from"], *from, "the log begins with it");
    assert!(log[1..].iter().all(|event| event["type"] == "session.inherited"), "{log:#?}");
    let original = pairs(&[
        ("user", "one"),
        ("assistant", "1\n"),
        ("user", "two"),
        ("assistant", ""),
        ("tool", "A"),
        ("assistant", "2\n"),
    ]);
    assert_eq!(said(&house, "f").await, original);
    assert_eq!(house.room.get("/v1/sessions/f/runs").await.expect(200)["items"], json!([]));

    // It is its own, whatever becomes of the other, and its agent takes it up.
    let frames = house.turn("/api/sessions/f/agent/team", json!([{ "content": "three" }])).await;
    let uid = house.uid("f").await;
    let (epoch, run) = house.runner.wait_run(uid).await;
    let compute = house.runner.get(&format!("/v1/link/computes/{uid}/{epoch}")).await.expect(200);
    assert_eq!((epoch.0, &compute["resumed"]), (1, &json!(true)));
    house.runner.complete(uid, epoch, run, "3\n").await;
    frames.all().await;
    let longer = [original, pairs(&[("user", "three"), ("assistant", "3\n")])].concat();
    assert_eq!(said(&house, "f").await, longer);
    assert_eq!(said(&house, &id).await.len(), 6, "the other is as it was");

    // A fork of a fork, before what was inherited.
    let again = house
        .room
        .post("/v1/sessions/f/fork", json!({ "before_message": 1, "id": "g" }))
        .await
        .expect(201);
    assert_eq!((&again["title"], &again["forked_from"]["id"]), (&json!("T (fork 2)"), &json!("f")));
    assert_eq!(said(&house, "g").await, pairs(&[("user", "one"), ("assistant", "1\n")]));
}

#[tokio::test]
async fn a_fork_is_cut_before_a_run_or_a_message() {
    let (house, id) = conversation().await;
    let path = format!("/v1/sessions/{id}/fork");
    let runs = house.room.get(&format!("/v1/sessions/{id}/runs")).await.expect(200);
    let second = runs["items"][0]["id"].clone();
    for (name, body) in [
        ("by-run", json!({ "id": "by-run", "before_run": second })),
        ("by-message", json!({ "id": "by-message", "before_message": 1 })),
    ] {
        let fork = house.room.post(&path, body).await.expect(201);
        assert_eq!(said(&house, name).await, pairs(&[("user", "one"), ("assistant", "1\n")]));
        let cut = fork["forked_from"]["seq"].as_u64().expect("a position");
        let log = house.room.events(&id).await;
        assert_eq!(log[cut as usize]["type"], "run.started", "it is the entry before that one");
    }
    let none =
        house.room.post(&path, json!({ "before_message": 0, "title": "" })).await.expect(201);
    assert_eq!(none["title"], Value::Null);
    assert_eq!(said(&house, none["id"].as_str().expect("an id")).await, []);
    assert_eq!(
        house.room.post(&path, json!({ "before_message": 2 })).await.refused(404),
        "message_not_found"
    );
    let both = json!({ "before_message": 0, "before_run": second });
    house.room.post(&path, both).await.refused(422);
    let unknown = json!({ "before_run": uuid::Uuid::now_v7() });
    assert_eq!(house.room.post(&path, unknown).await.refused(404), "run_not_found");
    house.room.post("/v1/sessions/nobody/fork", json!({})).await.refused(404);
    house.room.post(&path, json!({ "id": id })).await.refused(409);
    send(house.room.request(Method::POST, &path)).await.expect(201);
}

#[tokio::test]
async fn a_fork_with_a_key_is_made_once_and_no_agent_makes_one() {
    let (house, id) = conversation().await;
    let path = format!("/v1/sessions/{id}/fork");
    let fork = || {
        let request = house.room.request(Method::POST, &path).header("idempotency-key", "k");
        send(request.json(&json!({ "before_message": 1 })))
    };
    let first = fork().await.expect(201);
    assert_eq!(fork().await.expect(201), first);
    let viewer = house.room.new_token("viewer", "local").await;
    house.room.call_as(&viewer, Method::POST, &path, None).await.refused(403);
}

#[tokio::test]
async fn an_agent_with_a_conversation_of_its_own_begins_a_fresh_one_and_the_log_says_so() {
    let mut house = House::open().await;
    house.room.create(json!({ "agent": "plain", "id": "p", "prompt": "x" })).await;
    let uid = house.uid("p").await;
    let (epoch, run) = house.runner.wait_run(uid).await;
    house.runner.complete(uid, epoch, run, "y\n").await;
    let fork = house.room.post("/v1/sessions/p/fork", json!({ "id": "q" })).await.expect(201);
    assert_eq!(fork["forked_from"]["conversation"], "fresh");
    let log = house.room.events("q").await;
    let kinds: Vec<&str> = log.iter().map(|e| e["type"].as_str().expect("a type")).collect();
    assert_eq!(kinds, ["session.created", "session.context_fresh"]);
    assert!(log[1]["data"]["reason"].as_str().is_some_and(|why| why.contains("forked from p")));
    house.room.post("/v1/sessions/q/runs", json!({ "prompt": "z" })).await.expect(202);
    let uid = house.uid("q").await;
    let (epoch, _) = house.runner.wait_run(uid).await;
    let compute = house.runner.get(&format!("/v1/link/computes/{uid}/{epoch}")).await.expect(200);
    assert_eq!(compute["resumed"], false);
}

#[tokio::test]
async fn a_fork_survives_a_restart_and_folds_to_what_it_was() {
    let (house, id) = conversation().await;
    let fork =
        house.room.post(&format!("/v1/sessions/{id}/fork"), json!({ "id": "f" })).await.expect(201);
    let last = fork["last_seq"].as_u64().expect("a position");
    let state = house.room.get(&format!("/v1/sessions/f/state?seq={last}")).await.expect(200);
    assert_eq!(state["forked_from"], fork["forked_from"]);
    let state = house.room.get("/v1/sessions/f/state?seq=3").await.expect(200);
    assert_eq!(state["forked_from"], fork["forked_from"], "folded anew from its log");
    let room = house.room.restart().await;
    let kept = room.get("/v1/sessions/f").await.expect(200);
    assert_eq!(kept["forked_from"], fork["forked_from"]);
}

#[tokio::test]
async fn post_fork_cuts_before_a_message_of_the_user() {
    let (house, id) = conversation().await;
    let path = format!("/api/sessions/{id}/fork");
    let fork = house.post(&path, json!({ "user_message_index": 1 })).await.expect(200);
    assert_eq!(fork["title"], "T (fork 1)");
    let said: Vec<&Value> = fork["messages"]
        .as_array()
        .expect("items")
        .iter()
        .map(|item| &item["message"]["message"]["content"])
        .collect();
    assert_eq!(said, [&json!("one"), &json!("1\n")]);
    for wrong in [json!(2), json!(-1), json!("x"), Value::Null] {
        refused(house.post(&path, json!({ "user_message_index": wrong })).await, 400);
    }
    refused(house.post("/api/sessions/nobody/fork", json!({ "user_message_index": 0 })).await, 404);
}
