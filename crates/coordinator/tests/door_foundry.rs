//! The door `/foundry`: what its clients send, and what they must be told.

mod support;

use std::time::Duration;

use greenroom_coordinator::Door;
use greenroom_core::receipt::EndReason;
use greenroom_core::{Epoch, Order, RecordBody, SessionUid};
use greenroom_protocol::link::{ObservedCompute, ObservedState};
use reqwest::Method;
use serde_json::{Value, json};
use support::*;

const BASE: &str = "/foundry/api/projects/p";

async fn open() -> Room {
    let room = Room::with(|config| {
        config.doors.insert(Door::Foundry);
    })
    .await;
    let description = json!({"description": {"driver": "hosted", "command": ["serve"]}});
    room.post("/v1/agents/helper/versions", description).await.expect(201);
    room
}

fn sessions(rest: &str) -> String {
    format!("{BASE}/agents/helper/endpoint/sessions{rest}")
}

/// A request as these clients send it: named, and without a type where there is no body.
async fn call(room: &Room, method: Method, path: &str, id: &str) -> Answer {
    let request = room.request(method, path).header("x-ms-client-request-id", id);
    send(request.header("content-length", "0")).await
}

/// What the door says of a refusal: the code, in the body and in a header.
#[track_caller]
fn refused(answer: Answer, status: u16) -> String {
    assert_eq!(answer.status.as_u16(), status, "{}", answer.body);
    let error = &answer.body["error"];
    assert_eq!(answer.headers["x-ms-error-code"], error["code"].as_str().expect("a code"));
    assert!(!error["message"].as_str().expect("a message").is_empty());
    let final_one = status < 500 && status != 429;
    assert!(!final_one || !answer.headers.contains_key("retry-after"), "clients would repeat it");
    error["code"].as_str().expect("a code").to_owned()
}

/// Creates a session, whose runner brings it up meanwhile.
async fn up(room: &Room, runner: &mut FakeRunner, id: &str) -> (SessionUid, Epoch) {
    let body = json!({"agent_session_id": id, "version_indicator": {"type": "version_ref", "agent_version": "1"}});
    let made = room.request(Method::POST, &sessions("")).json(&body);
    let made = tokio::spawn(send(made));
    let uid = eventually(async || {
        let known = room.get(&format!("/v1/sessions/{id}")).await;
        (known.status == 200).then(|| uid(&known.body))
    })
    .await;
    let up = |order: &Order| matches!(order, Order::Up { .. });
    let epoch = runner.wait_for(uid, up).await.epoch;
    runner.tell(uid, epoch, vec![RecordBody::Ready]).await;
    let made = made.await.expect("an answer").expect(201);
    assert_eq!((&made["status"], &made["agent_session_id"]), (&json!("active"), &json!(id)));
    (uid, epoch)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_is_answered_when_its_receipt_is_in_and_once() {
    let room = open().await;
    let mut runner = room.runner().await;
    let (uid, epoch) = up(&room, &mut runner, "s").await;
    let stop = room.request(Method::POST, &sessions("/s:stop"));
    let stopping = tokio::spawn(send(stop.header("x-ms-client-request-id", "one")));
    runner.wait_for(uid, |order| matches!(order, Order::Down { .. })).await;
    // Not before it is proven.
    assert_eq!(room.get(&sessions("/s")).await.expect(200)["status"], "active");
    assert!(!stopping.is_finished(), "nothing is proven yet");
    let receipt = RecordBody::Receipt { receipt: Box::new(receipt(epoch, EndReason::User)) };
    runner.tell(uid, epoch, vec![receipt]).await;
    assert_eq!(stopping.await.expect("an answer").status, 204);

    let session = room.get(&sessions("/s")).await.expect(200);
    assert_eq!((&session["status"], &session["stop_reason"]), (&json!("idle"), &json!("user")));
    for field in ["created_at", "last_accessed_at", "expires_at", "stopped_at"] {
        assert!(session[field].is_i64(), "{field}: {session}");
    }
    // A repetition of that request is that stop; another one comes too late.
    assert_eq!(call(&room, Method::POST, &sessions("/s:stop"), "one").await.status, 204);
    let again = call(&room, Method::POST, &sessions("/s:stop"), "two").await;
    assert_eq!(refused(again, 409), "session_already_stopped");
    let again = call(&room, Method::POST, &sessions("/s:stop"), "two").await;
    assert_eq!(refused(again, 409), "session_already_stopped");
    let v1 = room.get("/v1/sessions/s").await.expect(200);
    assert_eq!((&v1["status"], &v1["receipt"]["epoch"]), (&json!("stopped"), &json!(1)));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_stop_of_a_session_that_was_never_stopped_is_done() {
    let room = open().await;
    let mut runner = room.runner().await;
    // Nothing ever ran.
    room.create(json!({"agent": "helper", "id": "new"})).await;
    assert_eq!(room.get(&sessions("/new")).await.expect(200)["status"], "idle");
    assert_eq!(call(&room, Method::POST, &sessions("/new:stop"), "a").await.status, 204);
    let receipt = room.get("/v1/sessions/new").await.expect(200)["receipt"].clone();
    assert_eq!(receipt["proof"][0]["means"], "never_placed");
    let again = call(&room, Method::POST, &sessions("/new:stop"), "b").await;
    assert_eq!(refused(again, 409), "session_already_stopped");

    // What ran has ended by itself.
    let made = room.create(json!({"agent": "shell", "id": "done", "prompt": "x"})).await;
    let (epoch, run) = runner.wait_run(uid(&made)).await;
    runner.complete(uid(&made), epoch, run, "hello\n").await;
    room.wait_status("done", "finished").await;
    let done = format!("{BASE}/agents/shell/endpoint/sessions/done:stop");
    assert_eq!(call(&room, Method::POST, &done, "a").await.status, 204);
    assert_eq!(call(&room, Method::POST, &done, "a").await.status, 204, "the same request");
    let again = call(&room, Method::POST, &done, "b").await;
    assert_eq!(refused(again, 409), "session_already_stopped");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_that_cannot_be_proven_says_so() {
    let room = open().await;
    let mut runner = room.runner().await;
    let (uid, epoch) = up(&room, &mut runner, "s").await;
    let stopping = tokio::spawn(send(room.request(Method::POST, &sessions("/s:stop"))));
    let order = runner.wait_for(uid, |order| matches!(order, Order::Down { .. })).await;
    let state = ObservedState::Unproven { evidence: "the supervisor is gone".into() };
    let generation = order.generation;
    let seen = ObservedCompute { uid, epoch, generation, state, first_index: None };
    runner.sync_with(|request| request.computes.push(seen)).await;
    assert_eq!(refused(stopping.await.expect("an answer"), 409), "stop_unconfirmed");
    let session = room.get(&sessions("/s")).await.expect(200);
    assert_eq!(
        (&session["status"], &session["session_status"]),
        (&json!("active"), &json!("stop_unconfirmed"))
    );
    // A person's word is no proof either.
    room.post("/v1/sessions/s/abandon", json!({"reason": "its machine burnt"})).await.expect(200);
    let again = call(&room, Method::POST, &sessions("/s:stop"), "x").await;
    assert_eq!(refused(again, 409), "stop_unconfirmed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_create_is_one_session() {
    let room = open().await;
    let mut runner = room.runner().await;
    let body = json!({"version_indicator": {"type": "version_ref", "agent_version": "1"}});
    let request = || {
        let request = room.request(Method::POST, &sessions("")).json(&body);
        tokio::spawn(send(request.header("x-ms-client-request-id", "one")))
    };
    let (first, second) = (request(), request());
    let listed = eventually(async || {
        let listed = room.get("/v1/sessions").await.expect(200);
        let items = listed["items"].as_array().expect("items");
        items.first().filter(|one| one["wanted"] == "up").cloned()
    })
    .await;
    let epoch =
        runner.wait_for(uid(&listed), |order| matches!(order, Order::Up { .. })).await.epoch;
    runner.tell(uid(&listed), epoch, vec![RecordBody::Ready]).await;
    let first = first.await.expect("an answer").expect(201);
    let second = second.await.expect("an answer").expect(201);
    assert_eq!(first["agent_session_id"], second["agent_session_id"]);
    assert_eq!(
        room.get("/v1/sessions").await.expect(200)["items"].as_array().expect("items").len(),
        1
    );
    // The same name for another wish is a mistake.
    let other = room.request(Method::POST, &sessions("")).json(&json!({"agent_session_id": "x"}));
    let other = send(other.header("x-ms-client-request-id", "one")).await;
    assert_eq!(refused(other, 409), "idempotency_conflict");
}

#[tokio::test(flavor = "multi_thread")]
async fn three_kinds_of_clients_page_through_the_same_list() {
    let room = open().await;
    for n in 1..=5 {
        room.create(json!({"agent": "helper", "id": format!("s{n}")})).await;
    }
    room.create(json!({"agent": "shell", "id": "other"})).await;
    let ids = |page: &Value| -> Vec<String> {
        let data = page["data"].as_array().expect("data").iter();
        data.map(|one| one["agent_session_id"].as_str().expect("an id").to_owned()).collect()
    };
    for follow in ["pagination_token", "after"] {
        let (mut seen, mut next) = (Vec::new(), String::new());
        loop {
            let page = room.get(&sessions(&format!("?limit=2&order=asc&{follow}={next}"))).await;
            let page = page.expect(200);
            seen.extend(ids(&page));
            assert_eq!(page["last_id"].is_null(), page["has_more"] == false, "{page}");
            assert_eq!(page.get("pagination_token").is_none(), page["has_more"] == false, "{page}");
            match page["last_id"].as_str() {
                Some(last) => next = last.to_owned(),
                None => break,
            }
        }
        assert_eq!(seen, ["s1", "s2", "s3", "s4", "s5"], "{follow}");
    }
    let before = room.get(&sessions("?limit=2&order=asc&before=s4")).await.expect(200);
    assert_eq!(ids(&before), ["s2", "s3"]);
    for bad in ["limit=0", "limit=x", "order=up", "after=never", "after=s1&before=s2", "after=%ff"]
    {
        let refusal = room.get(&sessions(&format!("?{bad}"))).await;
        assert_eq!(refused(refusal, 400), "invalid_parameter", "{bad}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn one_users_sessions_are_no_others() {
    let room = open().await;
    let made = room.request(Method::POST, "/v1/sessions").header("x-greenroom-user", "u-1");
    let made = send(made.json(&json!({"agent": "helper", "id": "mine"}))).await.expect(201);
    assert_eq!(made["user"], "u-1");
    room.create(json!({"agent": "helper", "id": "nobodys"})).await;
    let as_user = async |user: &str, method: Method, path: &str| {
        send(room.request(method, path).header("x-ms-user-identity", user)).await
    };
    let mine = as_user("u-1", Method::GET, &sessions("/mine")).await.expect(200);
    assert_eq!(mine["user_identity"], "u-1");
    let listed = as_user("u-1", Method::GET, &sessions("")).await.expect(200);
    assert_eq!(listed["data"].as_array().expect("data").len(), 1);
    for (user, path) in [("u-2", "/mine"), ("u-1", "/nobodys")] {
        for (method, verb) in [(Method::GET, ""), (Method::POST, ":stop"), (Method::DELETE, "")] {
            let answer = as_user(user, method, &sessions(&format!("{path}{verb}"))).await;
            assert_eq!(refused(answer, 404), "session_not_found");
        }
    }
    // Whoever says no user sees what their token shows.
    assert_eq!(
        room.get(&sessions("")).await.expect(200)["data"].as_array().expect("data").len(),
        2
    );
    let one = room.get("/v1/sessions?user=u-1").await.expect(200);
    assert_eq!(one["items"].as_array().expect("items").len(), 1);
    let bad = as_user(&"x".repeat(257), Method::GET, &sessions("")).await;
    assert_eq!(refused(bad, 400), "invalid_parameter");
    // An owner is one whatever users they name.
    let eve = room.new_token("operator", "eve").await;
    let request = room.http.get(room.url(&sessions("/mine"))).bearer_auth(&eve);
    let foreign = send(request.header("x-ms-user-identity", "u-1")).await;
    assert_eq!(refused(foreign, 404), "session_not_found");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disabled_agent_takes_nothing_new() {
    let room = open().await;
    let mut runner = room.runner().await;
    let (uid, epoch) = up(&room, &mut runner, "live").await;
    room.create(json!({"agent": "helper", "id": "new"})).await;
    let agent = format!("{BASE}/agents/helper");
    assert_eq!(room.post(&format!("{agent}:disable"), json!(null)).await.status, 204);
    assert_eq!(room.get("/v1/agents/helper").await.expect(200)["disabled"], true);
    let room = room.restart_with(Door::Foundry).await;
    runner.moves_to(&room);
    assert_eq!(room.get(&agent).await.expect(200)["state"], "disabled", "it lasts");

    let refusals = [
        (room.post(&sessions(""), json!({})).await, "a session"),
        (room.post(&sessions("/new:resume"), json!({})).await, "a start"),
        (room.post("/v1/sessions/live/runs", json!({"prompt": "x"})).await, "a run"),
        (room.post("/v1/sessions/live/http/invocations", json!({})).await, "a request"),
        (
            room.post(
                &format!("{agent}/endpoint/protocols/invocations?agent_session_id=live"),
                json!({}),
            )
            .await,
            "an invocation",
        ),
    ];
    for (answer, what) in refusals {
        assert_eq!(answer.status, 409, "{what}: {}", answer.body);
        assert!(answer.body.to_string().contains("agent_disabled"), "{what}: {}", answer.body);
    }
    // What is there goes on, and is stopped as ever.
    let stopping = tokio::spawn(send(room.request(Method::POST, &sessions("/live:stop"))));
    runner.wait_for(uid, |order| matches!(order, Order::Down { .. })).await;
    let receipt = RecordBody::Receipt { receipt: Box::new(receipt(epoch, EndReason::User)) };
    runner.tell(uid, epoch, vec![receipt]).await;
    assert_eq!(stopping.await.expect("an answer").status, 204);
    assert_eq!(room.post(&format!("{agent}:enable"), json!(null)).await.status, 204);
    room.create(json!({"agent": "helper", "id": "again"})).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_for_a_disabled_agent_waits_on() {
    let room = open().await;
    room.create(json!({"agent": "shell", "id": "waits", "prompt": "x"})).await;
    room.post("/v1/agents/shell/disable", json!({})).await.expect(204);
    let mut runner = room.runner().await;
    let blocked = eventually(async || {
        let now = room.get("/v1/sessions/waits").await.expect(200);
        (now["status_reason"] == "agent_disabled").then_some(now)
    })
    .await;
    assert_eq!(blocked["status"], "queued");
    room.post("/v1/agents/shell/enable", json!({})).await.expect(204);
    runner.wait_run(uid(&blocked)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_takes_its_endpoints_version_when_it_goes_on() {
    let room = open().await;
    let mut runner = room.runner().await;
    let (uid, epoch) = up(&room, &mut runner, "s").await;
    let next = json!({"description": {"driver": "hosted", "command": ["serve", "2"]}});
    assert_eq!(room.post("/v1/agents/helper/versions", next).await.expect(201)["version"], 2);
    let version = async |id: &str| {
        let session = room.get(&sessions(&format!("/{id}"))).await.expect(200);
        session["version_indicator"]["agent_version"].clone()
    };
    assert_eq!(version("s").await, "1", "what lives keeps its own");
    let stopping = tokio::spawn(send(room.request(Method::POST, &sessions("/s:stop"))));
    runner.wait_for(uid, |order| matches!(order, Order::Down { .. })).await;
    let receipt = RecordBody::Receipt { receipt: Box::new(receipt(epoch, EndReason::User)) };
    runner.tell(uid, epoch, vec![receipt]).await;
    stopping.await.expect("an answer").expect(204);
    let resuming = tokio::spawn(send(room.request(Method::POST, &sessions("/s:resume"))));
    let epoch = runner.wait_for(uid, |order| matches!(order, Order::Up { .. })).await.epoch;
    runner.tell(uid, epoch, vec![RecordBody::Ready]).await;
    assert_eq!(resuming.await.expect("an answer").expect(200)["status"], "active");
    assert_eq!(version("s").await, "2");

    // An endpoint takes what it is told: all of one, or shares of several.
    let agent = format!("{BASE}/agents/helper");
    let select = async |shares: &[(&str, u32)]| {
        let rules: Vec<Value> = shares
            .iter()
            .map(|(version, share)| json!({"type": "FixedRatio", "agent_version": version, "traffic_percentage": share}))
            .collect();
        let body =
            json!({"agent_endpoint": {"version_selector": {"version_selection_rules": rules}}});
        send(room.request(Method::PATCH, &agent).json(&body)).await
    };
    select(&[("1", 100)]).await.expect(200);
    let next =
        json!({"description": {"driver": "hosted", "command": ["serve", "3"]}, "serve": false});
    room.post("/v1/agents/helper/versions", next).await.expect(201);
    assert_eq!(room.get("/v1/agents/helper").await.expect(200)["version"], 1);
    assert_eq!(refused(select(&[("1", 50)]).await, 400), "invalid_parameter");
    assert_eq!(refused(select(&[("9", 100)]).await, 404), "agent_version_not_found");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_is_a_stream_of_lines() {
    let room = open().await;
    let mut runner = room.runner().await;
    let (uid, epoch) = up(&room, &mut runner, "s").await;
    let line = |text: &str| RecordBody::Output {
        run: None,
        kind: greenroom_core::record::OutputKind::Log,
        data: json!({"stream": "stderr", "text": format!("{text}\n")}),
    };
    runner.tell(uid, epoch, (0..5).map(|n| line(&format!("line {n}"))).collect()).await;
    for path in [
        "agents/helper/sessions/s:logstream?tail=2&follow=true&kind=console&api-version=v1",
        "agents/helper/versions/1/sessions/s:logstream?api-version=v1&tail=2",
    ] {
        let mut stream = Sse::of(&room, &format!("{BASE}/{path}")).await;
        let first = stream.next().await.expect("what it is").data;
        assert_eq!((&first["session_state"], &first["version"]), (&json!("Running"), &json!("1")));
        let said = async |stream: &mut Sse| {
            let frame = stream.until("log").await;
            (frame.id, frame.data["message"].as_str().expect("a message").to_owned())
        };
        assert_eq!(said(&mut stream).await.1, "Successfully connected to container");
        assert_eq!(said(&mut stream).await.1, "line 3");
        let (id, text) = said(&mut stream).await;
        assert_eq!(text, "line 4");
        // It goes on, and whoever comes back misses nothing.
        runner.tell(uid, epoch, vec![line("more")]).await;
        assert_eq!(said(&mut stream).await.1, "more");
        let back = room.request(Method::GET, &format!("{BASE}/{path}"));
        let mut back = Sse::open(back.header("last-event-id", id.expect("a place"))).await;
        back.next().await.expect("what it is");
        said(&mut back).await;
        assert_eq!(said(&mut back).await.1, "more");
        runner.tell(uid, epoch, vec![line("line 3"), line("line 4")]).await;
    }
    let ends = format!("{BASE}/agents/helper/sessions/s:logstream?follow=false&kind=system");
    let mut stream = Sse::of(&room, &ends).await;
    let ended = tokio::time::timeout(Duration::from_secs(4), async {
        let mut all = Vec::new();
        while let Some(frame) = stream.next().await {
            all.push(frame.data.to_string());
        }
        all.concat()
    });
    assert!(ended.await.expect("it ends by itself").contains("session is idle"));
    for bad in ["tail=0", "tail=x", "kind=all", "follow=maybe"] {
        let refusal = room.get(&format!("{BASE}/agents/helper/sessions/s:logstream?{bad}")).await;
        assert_eq!(refused(refusal, 400), "invalid_parameter", "{bad}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn conversations_are_named_and_are_their_owners() {
    let room = open().await;
    let base = format!("{BASE}/agents/helper/endpoint/protocols/openai/conversations");
    let made = room.post(&base, json!({"metadata": {"k": "v"}})).await.expect(200);
    let id = made["id"].as_str().expect("an id");
    assert_eq!((&made["object"], &made["metadata"]["k"]), (&json!("conversation"), &json!("v")));
    let one = format!("{base}/{id}");
    assert_eq!(room.get(&one).await.expect(200), made);
    let eve = room.new_token("operator", "eve").await;
    let foreign = room.call_as(&eve, Method::GET, &one, None).await;
    assert_eq!(refused(foreign, 404), "conversation_not_found");
    assert_eq!(
        refused(room.post(&base, json!({"items": [{}]})).await, 400),
        "unsupported_parameter"
    );
    assert_eq!(room.delete(&one).await.expect(200)["deleted"], true);
    assert_eq!(refused(room.get(&one).await, 404), "conversation_not_found");
    // They go with their agent.
    let made = room.post(&base, json!({})).await.expect(200);
    room.delete(&format!("{BASE}/agents/helper")).await.expect(200);
    let left = room.get(&format!("{base}/{}", made["id"].as_str().expect("an id"))).await;
    assert_eq!(refused(left, 404), "conversation_not_found");
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_are_said_in_one_form() {
    let room = open().await;
    let nobody = send(room.http.get(room.url(&sessions("")))).await;
    assert_eq!(refused(nobody, 401), "unauthorized");
    let viewer = room.new_token("viewer", "ann").await;
    let may_not = room.call_as(&viewer, Method::POST, &sessions(""), Some(json!({}))).await;
    assert_eq!(refused(may_not, 403), "forbidden");
    let operator = room.new_token("operator", "ann").await;
    let agent = format!("{BASE}/agents/helper");
    for (method, path) in [
        (Method::DELETE, agent.clone()),
        (Method::POST, format!("{agent}:disable")),
        (Method::POST, format!("{agent}/versions")),
        (Method::POST, format!("{BASE}/agents")),
        (Method::DELETE, format!("{agent}/versions/1")),
    ] {
        let may_not = room.call_as(&operator, method, &path, Some(json!({}))).await;
        assert_eq!(refused(may_not, 403), "forbidden", "{path}");
    }
    assert_eq!(refused(room.get("/foundry").await, 404), "route_not_found");
    assert_eq!(refused(room.get("/foundry/api/projects").await, 404), "route_not_found");
    let wrong = room.delete(&sessions("")).await;
    assert_eq!(wrong.headers["allow"], "GET, POST");
    assert_eq!(refused(wrong, 405), "method_not_allowed");
    let body = room.request(Method::POST, &sessions("")).body("{");
    assert_eq!(refused(send(body).await, 400), "invalid_parameter");
    for id in ["", "a/b", "..", "s:stop", &"x".repeat(129)] {
        let made = room.post(&sessions(""), json!({"agent_session_id": id})).await;
        assert_eq!(refused(made, 400), "invalid_session_id", "{id}");
    }
    assert_eq!(refused(room.get(&sessions("//files")).await, 404), "session_not_found");
    assert_eq!(room.delete(&sessions("/never")).await.status, 204);
    let traced = call(&room, Method::GET, &sessions("/never"), "mine").await;
    assert_eq!(traced.headers["x-request-id"], "mine");
}
