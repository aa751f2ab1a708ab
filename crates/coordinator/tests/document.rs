//! What the document says of parameters and bodies is what is taken, also at the edges.

mod support;

use reqwest::Method;
use serde_json::{Value, json};
use support::*;

async fn keyed(room: &Room, key: &str) -> Answer {
    let request = room.request(Method::POST, "/v1/sessions").header("idempotency-key", key);
    send(request.json(&json!({"agent": "shell"}))).await
}

#[tokio::test]
async fn an_idempotency_key_is_of_printable_characters() {
    let room = Room::open().await;
    for key in ["k", "two words", "~", &"k".repeat(255)] {
        keyed(&room, key).await.expect(201);
    }
    for key in ["", "a\tb", &"k".repeat(256)] {
        assert_eq!(keyed(&room, key).await.refused(422), "invalid", "{key:?}");
    }
}

#[tokio::test]
async fn a_list_of_statuses_may_have_gaps() {
    let room = Room::open().await;
    room.create(json!({"agent": "shell"})).await;
    for status in ["", "new", "new,idle", " new , idle ", ",new,"] {
        let request = room.request(Method::GET, "/v1/sessions").query(&[("status", status)]);
        let page = send(request).await.expect(200);
        assert_eq!(page["items"].as_array().map(Vec::len), Some(1), "{status:?}");
    }
    for status in ["newer", "new idle", "\tnew"] {
        let request = room.request(Method::GET, "/v1/sessions").query(&[("status", status)]);
        assert_eq!(send(request).await.refused(422), "invalid", "{status:?}");
    }
}

#[tokio::test]
async fn a_position_is_digits_and_may_be_beyond_every_end() {
    let room = Room::open().await;
    room.create(json!({"agent": "shell", "id": "s"})).await;
    let long = "9".repeat(30);
    for from in ["2.1", &long] {
        let page = room.get(&format!("/v1/sessions/s/events?from={from}")).await.expect(200);
        assert_eq!(page["next_cursor"], Value::Null);
    }
    for from in ["%2B1", "-1", "1.", "one"] {
        let path = format!("/v1/sessions/s/events?from={from}");
        assert_eq!(room.get(&path).await.refused(422), "invalid", "{from}");
    }
}

#[tokio::test]
async fn a_watch_names_sessions_that_are_there() {
    let room = Room::open().await;
    room.create(json!({"agent": "shell", "id": "s"})).await;
    for watch in ["s", "s@0", "s@1", "s@1.1"] {
        Sse::of(&room, &format!("/v1/events?watch={watch}")).await;
    }
    assert_eq!(room.get("/v1/events?watch=none").await.refused(404), "session_not_found");
    let document = room.get("/openapi.json").await.expect(200);
    assert!(document["paths"]["/v1/events"]["get"]["responses"]["404"].is_object());
    for watch in ["s@", "s@x", "s@%2B1"] {
        let path = format!("/v1/events?watch={watch}");
        assert_eq!(room.get(&path).await.refused(422), "invalid", "{watch}");
    }
}

#[tokio::test]
async fn whole_numbers_may_be_written_as_floats_at_any_depth() {
    let room = Room::open().await;
    let runner = room.runner().await;
    let uid = uid(&room.create(json!({"agent": "shell", "limits": {"run_ms": 3e4}})).await);
    let body = json!({
        "store_id": runner.store_id, "instance": 1.0, "since_rev": 0.0, "wait_ms": 0.0,
        "computes": [{
            "uid": uid, "epoch": 1.0, "generation": 307.0, "first_index": 4.0,
            "state": {"is": "closed", "receipt": {
                "epoch": 1.0, "reason": "exit", "requested_at": "2026-01-01T00:00:00Z",
                "steps": [{"after_ms": 1e2, "action": "kill"}], "duration_ms": 7.0,
                "processes_seen": 1.0, "survivors": 0.0, "proof": [], "scope": "",
                "isolation": "none", "exit": {"code": -5.0}, "leftovers": 0.0,
                "requested_by": [],
            }},
        }],
    });
    runner.post("/v1/link/sync", body.to_string()).await.expect(200);
    let half = body.to_string().replace("307.0", "307.5");
    assert_eq!(runner.post("/v1/link/sync", half).await.refused(422), "invalid");
}

#[tokio::test]
async fn a_list_is_no_object() {
    let room = Room::open().await;
    room.create(json!({"agent": "shell", "id": "s"})).await;
    for body in [json!([]), json!([null, null]), json!({"limits": []})] {
        let patch = room.request(Method::PATCH, "/v1/sessions/s").json(&body);
        assert_eq!(send(patch).await.refused(422), "invalid", "{body}");
    }
    assert_eq!(room.post("/v1/sessions", json!(["shell"])).await.refused(422), "invalid");
}

/// What is meant for an agent is handed on as it was written.
#[tokio::test]
async fn numbers_of_an_input_stay_as_they_are() {
    let room = Room::open().await;
    let asked = json!({"agent": "shell", "id": "s", "input": {"n": 1.0, "m": [2.0]}});
    room.create(asked).await;
    let runs = room.get("/v1/sessions/s/runs").await.expect(200);
    let input = &runs["items"][0]["input"];
    assert_eq!((input["n"].to_string(), input["m"].to_string()), ("1.0".into(), "[2.0]".into()));
}

#[tokio::test]
async fn an_upload_without_anything_that_is_known_is_an_upload() {
    let room = Room::open().await;
    let runner = room.runner().await;
    for body in ["", "\n", "null", "{\"hologram\": 1}\nnonsense"] {
        let reply = runner.post("/v1/link/records", body).await.expect(200);
        assert_eq!(reply, json!({"marks": []}), "{body}");
    }
}
