//! Edits that count in the turn in progress, and the model a session uses.

use greenroom_core::approval::AskOption;
use greenroom_core::{Order, SessionUid};
use serde_json::{Value, json};

use crate::kit::*;

/// What the compute that was told of this edit goes by then.
async fn settings(house: &mut House, uid: SessionUid, edit: u64) -> Value {
    let told = |order: &Order| matches!(order, Order::Up { settings: Some(n), .. } if *n == edit);
    let epoch = house.runner.wait_for(uid, told).await.epoch;
    let path = format!("/v1/link/computes/{uid}/{epoch}/settings");
    house.runner.get(&path).await.expect(200)["settings"].clone()
}

#[tokio::test]
async fn permissions_and_safety_reach_the_turn_in_progress() {
    let mut house = House::open().await;
    let id = house.session(json!({})).await;
    let (mut frames, uid, _, _) = house.begun(&id, "x").await;
    let path = format!("/api/sessions/{id}");
    let permissions = json!({ "permissions": { "allow": ["shell:cmd=ls*"], "deny": ["fetch"] } });
    house.patch(&format!("{path}/permissions"), permissions).await.expect(200);
    let now = settings(&mut house, uid, 1).await;
    assert_eq!(now["approvals"]["allow"], json!(["shell(ls*)"]));
    assert_eq!(now["approvals"]["deny"], json!(["fetch"]));
    let safety = json!({ "safety_policy": "autonomous" });
    house.patch(&format!("{path}/safety-policy"), safety).await.expect(200);
    assert_eq!(settings(&mut house, uid, 2).await["approvals"]["mode"], "autonomous");
    house.post(&format!("{path}/tools/toggle"), Value::Null).await.expect(200);
    assert_eq!(settings(&mut house, uid, 3).await["approvals"]["mode"], "balanced");
    house.patch(&format!("{path}/title"), json!({ "title": "Now" })).await.expect(200);
    assert_eq!(frames.until("session_title").await["title"], "Now");
    let session = house.room.get(&format!("/v1/sessions/{id}")).await.expect(200);
    assert_eq!((&session["status"], &session["epoch"]), (&json!("running"), &json!(1)));
}

#[tokio::test]
async fn an_edit_keeps_an_idle_compute() {
    let mut house = House::open().await;
    let id = house.session(json!({})).await;
    house.done(&id, "hi", "hello\n").await;
    let uid = house.uid(&id).await;
    let body = json!({ "safety_policy": "strict" });
    house.patch(&format!("/api/sessions/{id}/safety-policy"), body).await.expect(200);
    assert_eq!(settings(&mut house, uid, 1).await["approvals"]["mode"], "strict");
    let session = house.room.get(&format!("/v1/sessions/{id}")).await.expect(200);
    assert_eq!((&session["status"], &session["epoch"]), (&json!("idle"), &json!(1)));
}

#[tokio::test]
async fn a_model_is_chosen_with_the_session_with_a_turn_and_in_the_middle_of_one() {
    let mut house = House::open().await;
    let overrides = json!({ "root": "openai/first", "helper": "openai/small" });
    let id = house.session(json!({ "agent_model_overrides": overrides })).await;
    let path = format!("/api/sessions/{id}");
    assert_eq!(house.get(&path).await.expect(200)["agent_model_overrides"], overrides);
    let body = json!({ "messages": [{ "content": "x" }], "model": "openai/second" });
    let mut frames = house.turn(&format!("{path}/agent/team"), body).await;
    assert_eq!(frames.until("agent_info").await["model"], "openai/second");
    let uid = house.uid(&id).await;
    let (epoch, run) = house.runner.wait_run(uid).await;
    let compute = house.runner.get(&format!("/v1/link/computes/{uid}/{epoch}")).await.expect(200);
    assert_eq!(compute["settings"]["model"]["model"], "second");
    assert_eq!(compute["settings"]["models"]["helper"]["model"], "small");
    house.runner.tell(uid, epoch, vec![greenroom_core::RecordBody::Ready]).await;

    let url = format!("{path}/model");
    let set = house.patch(&url, json!({ "model": "openai/third" })).await.expect(200);
    assert_eq!((&set["id"], &set["model"]), (&json!(id), &json!("openai/third")));
    assert_eq!(frames.until("agent_info").await["model"], "openai/third");
    let edit = house.room.get(&format!("/v1/sessions/{id}")).await.expect(200);
    assert_eq!(edit["model"], "openai/third");
    house.patch(&url, json!({ "model": "openai/x", "agent_name": "helper" })).await.expect(200);
    let session = house.get(&path).await.expect(200);
    let expected = json!({ "root": "openai/third", "helper": "openai/x" });
    assert_eq!(session["agent_model_overrides"], expected);
    let models = house.get(&format!("{path}/models")).await.expect(200);
    assert_eq!(models["current_model_ref"], "openai/third");
    let snapshot = house.get(&format!("{path}/snapshot")).await.expect(200);
    assert_eq!(snapshot["agent_model_overrides"], expected);

    for (body, named) in [
        (json!({ "model": "anthropic/x" }), "openai/m"),
        (json!({ "model": "openai/m", "agent_name": "nobody" }), "helper"),
    ] {
        let text = refused(house.patch(&url, body).await, 422);
        assert!(text.contains(named), "{text}");
    }
    house.patch(&url, json!({ "model": "" })).await.expect(200);
    house.patch(&url, json!({ "model": "", "agent_name": "helper" })).await.expect(200);
    assert_eq!(house.get(&path).await.expect(200)["agent_model_overrides"], Value::Null);
    house.runner.complete(uid, epoch, run, "done\n").await;
}

#[tokio::test]
async fn what_was_chosen_before_the_agent_is_looked_at_with_the_first_turn() {
    let house = House::open().await;
    let overrides = json!({ "agent_model_overrides": { "root": "nobody/x" } });
    let id = house.session(overrides).await;
    let turn = format!("/api/sessions/{id}/agent/team");
    let body = json!([{ "role": "user", "content": "x" }]);
    let text = refused(house.post(&turn, body.clone()).await, 422);
    assert!(text.contains("nobody/x") && text.contains("openai/m"), "{text}");
    let early = json!({ "model": "openai/m" });
    refused(house.patch(&format!("/api/sessions/{id}/model"), early).await, 409);
    // An agent that chooses for itself says so.
    let plain = house.session(json!({ "agent": "plain" })).await;
    let body = json!({ "messages": [{ "content": "x" }], "model": "openai/m" });
    let text = refused(house.post(&format!("/api/sessions/{plain}/agent/plain"), body).await, 422);
    assert!(text.contains("chooses its model itself"), "{text}");
}

/// The verb edits the session, and what it answers is not older than that.
#[tokio::test]
async fn what_is_approved_for_longer_comes_with_its_own_edit() {
    let mut house = House::open().await;
    let id = house.session(json!({})).await;
    let (_frames, uid, epoch, run) = house.begun(&id, "x").await;
    for (verb, option) in [("approve-tool", "allow_tool"), ("approve-session", "allow_all")] {
        let mut ask = permission("shell", json!({ "command": "ls" }));
        let (id_of, name, kind) = (option.to_owned(), option.to_owned(), "allow_always".to_owned());
        ask.options = vec![AskOption { id: id_of, name, kind }];
        let path = format!("/v1/link/computes/{uid}/{epoch}/answers/{}", ask.id);
        house.ask(uid, epoch, run, ask).await;
        let resume = format!("/api/sessions/{id}/resume");
        house.post(&resume, json!({ "confirmation": verb })).await.expect(200);
        let answer = house.runner.get(&path).await.expect(200)["answer"].clone();
        assert_eq!(answer, json!({ "decision": "allow", "option": option }), "{verb}");
    }
}
