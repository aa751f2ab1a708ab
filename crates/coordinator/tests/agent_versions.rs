//! Versions of agents that the API makes, takes back and removes.

mod support;

use greenroom_core::receipt::EndReason;
use greenroom_core::{Order, RecordBody};
use reqwest::Method;
use serde_json::{Value, json};
use support::*;

const VERSIONS: &str = "/v1/agents/helper/versions";

fn command(word: &str) -> Value {
    json!({"description": {"driver": "hosted", "command": [word]}})
}

#[tokio::test(flavor = "multi_thread")]
async fn a_description_by_the_api_lasts_and_counts() {
    let room = Room::open().await;
    let first = room.post(VERSIONS, command("one")).await.expect(201);
    assert_eq!((&first["version"], &first["source"]), (&json!(1), &json!("api:helper")));
    assert_eq!(room.post(VERSIONS, command("two")).await.expect(201)["version"], 2);
    assert_eq!(room.post(VERSIONS, command("two")).await.expect(201)["version"], 2, "the same");
    let mut aside = command("three");
    aside["serve"] = json!(false);
    let aside = room.post(VERSIONS, aside).await.expect(201);
    assert_eq!((&aside["version"], &aside["current"]), (&json!(3), &json!(false)));

    let room = room.restart().await;
    let served = room.get("/v1/agents/helper").await.expect(200);
    assert_eq!((&served["version"], &served["health"]), (&json!(2), &json!("ok")));
    let of = async |version: Value| {
        let body = json!({"agent": "helper", "agent_version": version});
        room.post("/v1/sessions", body).await
    };
    assert_eq!(of(json!(1)).await.expect(201)["agent"]["version"], 1);
    assert_eq!(of(json!(null)).await.expect(201)["agent"]["version"], 2);
    assert_eq!(of(json!(9)).await.refused(404), "agent_version_not_found");

    // What is taken back is no choice any more; what was next is in service.
    room.delete(&format!("{VERSIONS}/2")).await.expect(204);
    assert_eq!(room.delete(&format!("{VERSIONS}/2")).await.refused(404), "agent_version_not_found");
    assert_eq!(of(json!(2)).await.refused(404), "agent_version_not_found");
    assert_eq!(room.get("/v1/agents/helper").await.expect(200)["version"], 3);
    let again = room.post(VERSIONS, command("two")).await.expect(201);
    assert_eq!(again["version"], 4, "numbers go on");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_name_has_one_owner_and_a_description_is_checked() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("filed.yaml");
    std::fs::write(&file, "name: filed\ndriver: command\ncommand: [x]\n").expect("a file");
    let room = Room::open().await;
    room.post("/v1/agents", json!({"source": file})).await.expect(201);
    for taken in ["filed", "shell"] {
        let refusal = room.post(&format!("/v1/agents/{taken}/versions"), command("x")).await;
        assert_eq!(refusal.refused(409), "agent_name_taken", "{taken}");
    }
    let remove = room.delete("/v1/agents/filed/versions/1").await;
    assert_eq!(remove.refused(409), "agent_has_source");
    for (description, place) in [
        (json!({"driver": "hosted"}), "/description/command"),
        (json!({"driver": "hosted", "command": ["x"], "name": "other"}), "/description/name"),
        (
            json!({"driver": "hosted", "command": ["x"], "limits": {"idle": "soon"}}),
            "/description/limits/idle",
        ),
    ] {
        let answer = room.post(VERSIONS, json!({"description": description})).await;
        assert_eq!(answer.body["path"], place, "{}", answer.body);
        assert_eq!(answer.refused(409), "description_broken");
    }
    let unnamed = room.post("/v1/agents/a%20b/versions", command("x")).await;
    assert_eq!(unnamed.refused(404), "agent_not_found");
    // A file that comes later does not take the name of what the API has made.
    room.post(VERSIONS, command("x")).await.expect(201);
    let late = folder.path().join("late.yaml");
    std::fs::write(&late, "name: helper\ndriver: command\ncommand: [x]\n").expect("a file");
    assert_eq!(
        room.post("/v1/agents", json!({"source": late})).await.refused(409),
        "source_broken"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_live_keeps_its_agent_unless_it_is_forced() {
    let room = Room::open().await;
    let mut runner = room.runner().await;
    room.post(VERSIONS, command("x")).await.expect(201);
    let made = room.create(json!({"agent": "helper", "id": "s", "prompt": "x"})).await;
    room.create(json!({"agent": "helper", "id": "rest"})).await;
    let (epoch, _) = runner.wait_run(uid(&made)).await;
    for path in ["/v1/agents/helper", "/v1/agents/helper/versions/1"] {
        let refusal = room.delete(path).await;
        assert!(refusal.body["detail"].as_str().expect("a detail").contains(": s"));
        assert_eq!(refusal.refused(409), "agent_has_active_sessions", "{path}");
    }
    let forced = tokio::spawn(send(room.request(Method::DELETE, "/v1/agents/helper?force=true")));
    runner.wait_for(uid(&made), |order| matches!(order, Order::Down { .. })).await;
    // Nothing new comes in meanwhile, and nothing is said before it is proven.
    let refusal = room.post("/v1/sessions", json!({"agent": "helper"})).await;
    assert_eq!(refusal.refused(409), "agent_disabled");
    assert!(!forced.is_finished(), "nothing is proven yet");
    let receipt = RecordBody::Receipt { receipt: Box::new(receipt(epoch, EndReason::Deleted)) };
    runner.tell(uid(&made), epoch, vec![receipt]).await;
    runner.wait_for(uid(&made), |order| matches!(order, Order::Gone { .. })).await;
    runner.sync_with(|request| request.removed.push(uid(&made))).await;
    forced.await.expect("an answer").expect(204);
    for gone in ["/v1/agents/helper", "/v1/sessions/s", "/v1/sessions/rest"] {
        assert_eq!(room.get(gone).await.status, 404, "{gone}");
    }
    let again = room.post(VERSIONS, command("x")).await.expect(201);
    assert_eq!(again["version"], 2);
    assert_eq!(room.get("/v1/agents/helper").await.expect(200)["disabled"], false);
}
