//! Models that sessions choose, and edits of what a live compute goes by.

mod support;

use greenroom_core::{Epoch, Order, SessionUid};
use reqwest::Method;
use serde_json::{Value, json};
use support::*;

const TEAM: &str = r#"
version: "2"
models:
  fast: { provider: openai, model: small, temperature: 0.5 }
agents:
  root: { model: anthropic/lead, sub_agents: [helper], fallback: { models: [fast] } }
  helper: { model: fast, description: Helps }
"#;

async fn room() -> Room {
    let room = Room::open().await;
    for (name, text) in [
        ("team", TEAM),
        ("own", "name: own\ndriver: loop\nmodel: openai/m\nbase_url: http://127.0.0.1:1/v1\n"),
        ("claude", "name: claude\ndriver: command\npreset: claude\nargs: [--model, sonnet]\n"),
        ("acp", "name: acp\ndriver: acp\ncommand: [x]\n"),
        ("plain", "name: plain\ndriver: command\ncommand: [x]\n"),
    ] {
        let file = room.folder.path().join(format!("{name}.yaml"));
        std::fs::write(&file, text).expect("an agent's file");
        room.post("/v1/agents", json!({ "source": file })).await.expect(201);
    }
    room
}

async fn patch(room: &Room, id: &str, body: Value) -> Answer {
    send(room.request(Method::PATCH, &format!("/v1/sessions/{id}")).json(&body)).await
}

async fn begun(room: &Room, runner: &mut FakeRunner, body: Value) -> (SessionUid, Epoch, Value) {
    let made = room.create(body).await;
    let (epoch, _) = runner.wait_run(uid(&made)).await;
    let path = format!("/v1/link/computes/{}/{epoch}", uid(&made));
    (uid(&made), epoch, runner.get(&path).await.expect(200))
}

async fn told(runner: &mut FakeRunner, uid: SessionUid, edit: u64) {
    let order = |order: &Order| matches!(order, Order::Up { settings: Some(n), .. } if *n == edit);
    runner.wait_for(uid, order).await;
}

#[tokio::test]
async fn a_runner_is_told_of_each_edit_and_fetches_what_counts_then() {
    let room = room().await;
    let mut runner = room.runner().await;
    let body = json!({ "agent": "team", "id": "one", "prompt": "x", "model": "fast" });
    let (uid, epoch, compute) = begun(&room, &mut runner, body).await;
    let begins = &compute["settings"];
    assert_eq!(
        (&begins["model"]["model"], &begins["approvals"]["mode"]),
        (&json!("small"), &json!("balanced"))
    );
    let path = format!("/v1/link/computes/{uid}/{epoch}/settings");
    assert_eq!(&runner.get(&path).await.expect(200)["settings"], begins);

    patch(&room, "one", json!({ "title": "T" })).await.expect(200);
    patch(&room, "one", json!({ "approvals": { "mode": "strict" } })).await.expect(200);
    told(&mut runner, uid, 1).await;
    let members = json!({ "helper": "anthropic/other" });
    let body = json!({ "model": "openai/large", "models": members });
    let shown = patch(&room, "one", body).await.expect(200);
    assert_eq!((&shown["model"], &shown["models"]), (&json!("openai/large"), &members));
    told(&mut runner, uid, 2).await;
    let now = runner.get(&path).await.expect(200)["settings"].clone();
    assert_eq!(now["approvals"]["mode"], "strict");
    assert_eq!(
        (&now["model"]["model"], &now["model"]["temperature"]),
        (&json!("large"), &Value::Null)
    );
    assert_eq!(now["models"]["helper"]["model"], "other");
    let key = |model: &Value| model["key_env"].as_str().map(str::to_owned);
    assert!(key(&now["model"]).is_some() && key(&now["model"]) != key(&now["models"]["helper"]));

    let taken_back = json!({ "model": "", "models": {} });
    let shown = patch(&room, "one", taken_back).await.expect(200);
    assert_eq!((&shown["model"], &shown["models"]), (&Value::Null, &Value::Null));
    told(&mut runner, uid, 3).await;
    let now = runner.get(&path).await.expect(200)["settings"].clone();
    assert_eq!((&now["model"], &now["models"]), (&Value::Null, &Value::Null));
    // Nobody else is told, and of no other compute.
    let stranger = room.runner().await;
    stranger.get(&path).await.refused(404);
    runner.get(&format!("/v1/link/computes/{uid}/2/settings")).await.refused(404);
}

#[tokio::test]
async fn a_model_that_nobody_can_call_is_refused_with_what_is_known() {
    let room = room().await;
    for (agent, model, status, known) in [
        ("team", "slow", 409, "anthropic/*, anthropic/lead, fast, openai/*, openai/small"),
        ("team", "gemini/x", 409, "fast"),
        ("own", "anthropic/x", 409, "openai/*, openai/m"),
        ("own", "--yolo", 422, "characters"),
        ("claude", "--yolo", 422, "characters"),
        ("plain", "openai/m", 409, "driver command"),
    ] {
        let answer = room.post("/v1/sessions", json!({ "agent": agent, "model": model })).await;
        assert_eq!(answer.body["path"], "/model", "{agent} {model}");
        let detail = answer.body["detail"].as_str().expect("words");
        assert!(detail.contains(known), "{agent} {model}: {detail}");
        let code = if agent == "plain" { "model_unsupported" } else { "model_unknown" };
        assert_eq!(answer.refused(status), code);
    }
    room.create(json!({ "agent": "team", "id": "one", "model": "openai/anything" })).await;
    let answer = patch(&room, "one", json!({ "models": { "nobody": "fast" } })).await;
    assert_eq!(answer.body["path"], "/models/nobody");
    answer.refused(409);
    patch(&room, "one", json!({ "model": "slow" })).await.refused(409);
    let session = room.get("/v1/sessions/one").await.expect(200);
    assert_eq!(session["model"], "openai/anything", "it has what it had");
}

#[tokio::test]
async fn others_are_told_of_their_model_at_their_start() {
    let room = room().await;
    let mut runner = room.runner().await;
    let body = |agent: &str| json!({ "agent": agent, "prompt": "x", "model": "opus" });
    let (_, _, compute) = begun(&room, &mut runner, body("claude")).await;
    assert_eq!(compute["agent"]["driver"]["args"], json!(["--model", "opus"]));
    let (_, _, compute) = begun(&room, &mut runner, body("acp")).await;
    assert_eq!(compute["agent"]["driver"]["config"], json!({ "model": "opus" }));
}

#[tokio::test]
async fn a_member_of_a_team_has_what_was_chosen_for_it() {
    let room = room().await;
    let mut runner = room.runner().await;
    let members = json!({ "helper": "openai/large" });
    let body = json!({ "agent": "team", "id": "one", "prompt": "x", "models": members });
    let (_, _, compute) = begun(&room, &mut runner, body).await;
    let token = compute["env"]["GREENROOM_TOKEN"].as_str().expect("a token");
    for (agent, models) in [("team", &members), ("own", &Value::Null)] {
        let body = json!({ "agent": agent, "input": { "agent": "helper", "task": "do" } });
        let made = room.call_as(token, Method::POST, "/v1/sessions", Some(body)).await.expect(201);
        assert_eq!(&made["models"], models, "{agent}");
    }
    // A fork has it, too.
    let fork = room.post("/v1/sessions/one/fork", json!({})).await.expect(201);
    assert_eq!(fork["models"], members);
}

#[tokio::test]
async fn what_its_agent_does_not_know_any_more_is_said() {
    let room = room().await;
    let mut runner = room.runner().await;
    room.create(json!({ "agent": "team", "id": "one", "model": "fast" })).await;
    patch(&room, "one", json!({ "agent": "own" })).await.expect(200);
    room.post("/v1/sessions/one/runs", json!({ "prompt": "x" })).await.expect(202);
    let session = room.get("/v1/sessions/one").await.expect(200);
    let (epoch, _) = runner.wait_run(uid(&session)).await;
    let path = format!("/v1/link/computes/{}/{epoch}", uid(&session));
    let compute = runner.get(&path).await.expect(200);
    assert_eq!(compute["settings"]["model"], Value::Null);
    let warned = compute["agent"]["driver"]["warnings"][0].as_str().expect("a warning");
    assert!(warned.contains("\"fast\" of the session is not known"), "{warned}");
}
