//! What pages need: logins, a session's past, and what of it was seen.

mod support;

use greenroom_core::RecordBody;
use greenroom_core::receipt::EndReason;
use greenroom_core::record::{Outcome, OutputKind};
use reqwest::Method;
use serde_json::{Value, json};
use support::*;

#[tokio::test]
async fn a_session_is_shown_as_it_was_at_every_entry_of_its_log() {
    let room = Room::open().await;
    let mut runner = room.runner().await;
    let made = room.create(json!({"agent": "shell", "prompt": "x", "id": "one"})).await;
    let uid = uid(&made);
    let (epoch, run) = runner.wait_run(uid).await;
    runner.complete(uid, epoch, run, "hi\n").await;
    let now = room.wait_status("one", "finished").await;
    let at = async |seq: u64| room.get(&format!("/v1/sessions/one/state?seq={seq}")).await;

    // After each change of status the fold stands as the log says it does.
    let mut changes = 0;
    for event in room.events("one").await {
        if event["type"] == "session.status" {
            let then = at(event["seq"].as_u64().expect("seq")).await.expect(200);
            assert_eq!(then["status"], event["data"]["status"], "{event}");
            assert_eq!(then["last_seq"], event["seq"]);
            changes += 1;
        }
    }
    assert!(changes >= 3, "{changes}");
    let last = now["last_seq"].as_u64().expect("seq");
    for whole in [at(last).await, at(last + 5).await, room.get("/v1/sessions/one/state").await] {
        assert_eq!(whole.expect(200), now);
    }
    let first = at(1).await.expect(200);
    assert_eq!((&first["status"], &first["receipt"]), (&json!("new"), &Value::Null));
    at(0).await.refused(422);

    let receipts = room.get("/v1/sessions/one/receipts").await.expect(200);
    assert_eq!(receipts["items"].as_array().map(Vec::len), Some(1), "{receipts}");
    assert_eq!(receipts["items"][0]["how"], "finished");
    assert_eq!(receipts["items"][0]["receipt"], now["receipt"]);
    let stranger = room.new_token("operator", "eve").await;
    for path in ["state", "receipts"] {
        let path = format!("/v1/sessions/one/{path}");
        room.call_as(&stranger, Method::GET, &path, None).await.refused(404);
    }
}

#[tokio::test]
async fn receipts_come_in_pages() {
    let room = Room::open().await;
    room.create(json!({"agent": "shell", "id": "one"})).await;
    for _ in 0..3 {
        // Nothing runs here, so each stop closes what was never placed.
        room.post("/v1/sessions/one/runs", json!({"prompt": "x"})).await.expect(202);
        room.post("/v1/sessions/one/stop", json!({})).await.expect(200);
    }
    let mut all = Vec::new();
    let mut cursor = String::new();
    loop {
        let path = format!("/v1/sessions/one/receipts?limit=2&cursor={cursor}");
        let page = room.get(&path).await.expect(200);
        all.extend(page["items"].as_array().expect("items").iter().map(|r| r["seq"].clone()));
        match page["next_cursor"].as_str() {
            Some(next) => cursor = next.to_owned(),
            None => break,
        }
    }
    let mut sorted = all.clone();
    sorted.sort_by_key(Value::as_u64);
    sorted.dedup();
    assert_eq!((all.len(), &all), (3, &sorted));
    room.get("/v1/sessions/one/receipts?cursor=zz").await.refused(422);
}

#[tokio::test]
async fn what_each_person_has_seen_is_their_own() {
    let room = Room::open().await;
    let made = room.create(json!({"agent": "shell", "id": "one", "prompt": "x"})).await;
    let see = async |seq: u64| {
        let body = json!({ "seq": seq });
        send(room.request(Method::PUT, "/v1/sessions/one/seen").json(&body)).await
    };
    assert_eq!(room.get("/v1/seen").await.expect(200), json!({ "items": {} }));
    see(2).await.expect(204);
    assert_eq!(room.get("/v1/seen").await.expect(200), json!({ "items": { "one": 2 } }));
    see(1).await.expect(204);
    see(1_000_000).await.expect(204);
    see(u64::MAX).await.refused(422);
    let seen = room.get("/v1/seen").await.expect(200)["items"]["one"].clone();
    assert!(seen.as_u64() >= made["last_seq"].as_u64() && seen.as_u64() < Some(1000), "{seen}");
    let room = room.restart().await;
    assert_eq!(room.get("/v1/seen").await.expect(200)["items"]["one"], seen);
    let viewer = room.new_token("viewer", "vic").await;
    let theirs = room.call_as(&viewer, Method::GET, "/v1/seen", None).await.expect(200);
    assert_eq!(theirs, json!({ "items": {} }));
}

#[tokio::test]
async fn what_a_session_does_now_is_in_the_list_also_after_a_restart() {
    let room = Room::open().await;
    let mut runner = room.runner().await;
    let made = room.create(json!({ "agent": "shell", "id": "one", "prompt": "x" })).await;
    let uid = uid(&made);
    let (epoch, run) = runner.wait_run(uid).await;
    let doing = async |room: &Room| {
        let list = room.get("/v1/sessions").await.expect(200);
        let one = room.get("/v1/sessions/one").await.expect(200)["activity"].clone();
        assert_eq!(list["items"][0]["activity"], one);
        one
    };
    let bodies = vec![
        RecordBody::Ready,
        RecordBody::RunStarted { run },
        message(run, "Let me see.\n"),
        RecordBody::Output {
            run: Some(run),
            kind: OutputKind::ToolCall,
            data: json!({ "id": "1", "name": "shell", "input": { "command": "make test" } }),
        },
    ];
    assert_eq!(doing(&room).await, Value::Null);
    runner.tell(uid, epoch, bodies).await;
    assert_eq!(doing(&room).await, "$ make test");
    let room = room.restart().await;
    runner.moves_to(&room);
    assert_eq!(doing(&room).await, "$ make test");
    let ended = RecordBody::RunEnded { run, outcome: Outcome::Completed { result: None } };
    let receipt = Box::new(receipt(epoch, EndReason::Done));
    runner.tell(uid, epoch, vec![ended, RecordBody::Receipt { receipt }]).await;
    assert_eq!(doing(&room).await, Value::Null);
}

#[tokio::test]
async fn a_token_becomes_a_cookie_that_ends_with_its_logout() {
    let room = Room::open().await;
    let token = room.new_token("operator", "ann").await;
    let origin = room.url("");
    let login = async |token: &str| {
        let request = room.http.post(room.url("/v1/login")).header("origin", &origin);
        request.json(&json!({ "token": token })).send().await.expect("an answer")
    };
    assert_eq!(login("grt_unknown").await.status(), 401);
    let answer = login(&token).await;
    assert_eq!(answer.status(), 200);
    let cookie = answer.headers()["set-cookie"].to_str().expect("text").to_owned();
    for word in ["HttpOnly", "SameSite=Strict", "Path=/"] {
        assert!(cookie.contains(word), "{cookie}");
    }
    let cookie = cookie.split(';').next().expect("a pair").to_owned();
    assert!(!cookie.contains(&token), "it is a token of its own");
    let with = |method: Method, path: &str| {
        room.http.request(method, room.url(path)).header("cookie", &cookie)
    };
    let who = send(with(Method::GET, "/v1/login")).await.expect(200);
    assert_eq!(who, json!({ "principal": "ann", "role": "operator" }));

    // What changes anything must come from a page of this address.
    let body = json!({ "agent": "shell" });
    let create = || with(Method::POST, "/v1/sessions").json(&body);
    send(create()).await.refused(403);
    send(create().header("origin", "http://evil.example")).await.refused(403);
    let made = send(create().header("origin", &origin)).await.expect(201);
    assert_eq!(made["owner"], "ann");

    send(with(Method::DELETE, "/v1/login").header("origin", &origin)).await.expect(204);
    send(with(Method::GET, "/v1/login")).await.refused(401);
    // The token itself goes on.
    room.call_as(&token, Method::GET, "/v1/login", None).await.expect(200);
}

#[tokio::test]
async fn what_waits_is_edited_and_reordered() {
    let room = Room::open().await;
    let mut runner = room.runner().await;
    let made = room.create(json!({"agent": "shell", "prompt": "first", "id": "one"})).await;
    let uid = uid(&made);
    let (epoch, first) = runner.wait_run(uid).await;
    let prompt = async |text: &str| {
        let body = json!({ "prompt": text });
        room.post("/v1/sessions/one/runs", body).await.expect(202)["id"]
            .as_str()
            .expect("an id")
            .to_owned()
    };
    let (second, third) = (prompt("second").await, prompt("third").await);
    let revise = async |run: &str, body: Value| {
        send(room.request(Method::PATCH, &format!("/v1/runs/{run}")).json(&body)).await
    };
    let edited = revise(&third, json!({ "prompt": "other", "position": 0 })).await.expect(200);
    assert_eq!(edited["prompt"], "other");
    revise(&second, json!({})).await.refused(422);
    revise(&second, json!({ "prompt": "a", "input": {} })).await.refused(422);
    assert_eq!(
        revise(&first.to_string(), json!({ "position": 0 })).await.refused(409),
        "run_started"
    );

    runner.complete(uid, epoch, first, "done\n").await;
    let (_, next) = runner.wait_run(uid).await;
    assert_eq!(next.to_string(), third, "it was moved to the front");
    let body = runner.get(&format!("/v1/link/runs/{next}")).await.expect(200);
    assert_eq!(body["prompt"], "other", "its agent gets what it asks now");
    let kinds = room.types("one").await;
    for kind in ["run.edited", "run.moved"] {
        assert!(kinds.iter().any(|have| have == kind), "{kinds:?}");
    }
}

#[tokio::test]
async fn an_agents_versions_hide_its_environment() {
    let room = Room::open().await;
    let versions = room.get("/v1/agents/shell/versions").await.expect(200);
    let first = &versions["items"][0];
    assert_eq!((&first["version"], &first["current"]), (&json!(1), &json!(true)), "{versions}");
    for value in first["description"]["env"].as_object().into_iter().flat_map(|env| env.values()) {
        assert_eq!(value, "…");
    }
    room.get("/v1/agents/nobody/versions").await.refused(404);
}
