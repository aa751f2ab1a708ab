//! P4: accepted means durable. A 2xx is sent only after the fact is on disk.

use greenroom_tests::http::Reply;
use greenroom_tests::session::id_of;
use greenroom_tests::{Greenroom, agents, json, scaled};

fn keyed(room: &Greenroom, path: &str, key: &str, body: &serde_json::Value) -> Reply {
    room.api.request("POST", path).header("idempotency-key", key).json(body).send()
}

#[test]
fn p4_killed_right_after_the_answer() {
    let mut room = Greenroom::up().agent("echo", agents::echo()).start();
    for turn in 0..scaled(20, 200) {
        let key = format!("create-{turn}");
        let body = json!({"agent": "echo", "prompt": format!("word {turn}"), "labels": {"turn": turn.to_string()}});
        let created = keyed(&room, "/v1/sessions", &key, &body);
        room.kill9_server();
        let created = created.expect(201);
        let id = id_of(&created);
        room.start_server();

        let session = room.api.session(&id);
        assert_eq!(session["labels"]["turn"], turn.to_string());
        let again = keyed(&room, "/v1/sessions", &key, &body).expect(201);
        assert_eq!(again, created, "a repeated key answers the same");
        let run = room.api.wait_run(&id, &created["run_id"]);
        assert_eq!(run["status"], "completed", "agents outlive us: {run:#}");
        let runs = room.api.runs(&id);
        assert_eq!(runs.len(), 1, "the prompt was taken once: {runs:#?}");

        // A prompt, the same way.
        let path = format!("/v1/sessions/{id}/runs");
        let body = json!({"prompt": "next"});
        let accepted = keyed(&room, &path, "prompt", &body);
        room.kill9_and_restart();
        let accepted = accepted.expect(202);
        assert_eq!(keyed(&room, &path, "prompt", &body).expect(202), accepted);
        room.api.wait_run(&id, &accepted["id"]);
        assert_eq!(room.api.runs(&id).len(), 2);

        // And a stop: once answered, it is never forgotten.
        let stopped = room.api.stop_with(&id, "", json!({}));
        room.kill9_and_restart();
        assert!(matches!(stopped.status, 200 | 202), "{}", stopped.text());
        room.api.wait_rest(&id);
        room.api.check(&id);
    }
}

#[test]
fn p4_a_stop_that_was_answered_is_carried_out() {
    let mut room = Greenroom::up().agent("stubborn", agents::stubborn()).start();
    for turn in 0..scaled(6, 40) {
        let (mark, prompt) = room.mark();
        let id = room.api.begin("stubborn", &prompt);
        if turn % 2 == 0 {
            room.api.wait_text(&id, "holding");
        }
        let reply = room.api.stop_with(&id, "", json!({"grace_ms": 200}));
        room.kill9_server();
        assert!(matches!(reply.status, 200 | 202), "{}", reply.text());
        room.start_server();
        let session = room.api.wait_status(&id, "stopped");
        assert_eq!(session["receipt"]["survivors"], 0);
        assert!(greenroom_tests::procs::holding(&mark).is_empty());
        room.api.check(&id);
    }
}

#[test]
fn p4_idempotency_keys() {
    let room = Greenroom::up().agent("echo", agents::echo()).start();
    let body = json!({"agent": "echo", "id": "twice", "prompt": "hello"});
    let first = keyed(&room, "/v1/sessions", "k1", &body).expect(201);
    assert_eq!(keyed(&room, "/v1/sessions", "k1", &body).expect(201), first);
    // The same meaning in another order of keys is the same body.
    let turned = r#"{"prompt":"hello","id":"twice","agent":"echo"}"#;
    let reply = room
        .api
        .request("POST", "/v1/sessions")
        .header("idempotency-key", "k1")
        .header("content-type", "application/json")
        .body(turned)
        .send();
    assert_eq!(reply.expect(201), first);
    keyed(&room, "/v1/sessions", "k1", &json!({"agent": "echo"}))
        .problem(409, "idempotency_conflict");
    keyed(&room, "/v1/sessions", "k2", &body).problem(409, "session_exists");
    // A refusal is not kept: the same key may be used for what is right.
    let free = json!({"agent": "echo", "id": "free"});
    keyed(&room, "/v1/sessions", "k2", &free).expect(201);
    // The scope is caller and route.
    let token =
        room.api.post("/v1/tokens", json!({"role": "operator", "principal": "ann"})).expect(201);
    let ann = room.api.as_token(token["secret"].as_str().expect("a secret"));
    let hers = ann
        .request("POST", "/v1/sessions")
        .header("idempotency-key", "k1")
        .json(&json!({"agent": "echo"}))
        .send();
    assert_ne!(hers.expect(201)["id"], first["id"]);
    room.api.wait_status("twice", "finished");
    let path = "/v1/sessions/twice/runs";
    let run = keyed(&room, path, "k1", &json!({"prompt": "again"})).expect(202);
    assert_eq!(keyed(&room, path, "k1", &json!({"prompt": "again"})).expect(202), run);
    room.api.wait_run("twice", &run["id"]);
    assert_eq!(room.api.runs("twice").len(), 2);
}

#[test]
fn p4_twins_in_flight_create_one() {
    let room = Greenroom::up().agent("echo", agents::echo()).start();
    for turn in 0..10 {
        let body = json!({"agent": "echo", "prompt": "hello", "title": format!("turn {turn}")});
        let replies = std::thread::scope(|scope| {
            let all: Vec<_> = (0..8)
                .map(|_| {
                    let (room, body) = (&room, &body);
                    scope.spawn(move || {
                        keyed(room, "/v1/sessions", &format!("twin-{turn}"), body).expect(201)
                    })
                })
                .collect();
            all.into_iter().map(|thread| thread.join().expect("no panic")).collect::<Vec<_>>()
        });
        assert!(replies.iter().all(|reply| reply["id"] == replies[0]["id"]), "{replies:#?}");
        assert!(replies.iter().all(|reply| reply["run_id"] == replies[0]["run_id"]));
    }
    let list = room.api.get("/v1/sessions?limit=1000").expect(200);
    assert_eq!(list["items"].as_array().map(Vec::len), Some(10));
}
