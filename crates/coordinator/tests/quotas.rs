//! Quotas: what would be one session too many is refused, whole, and nothing else.

mod support;

use greenroom_coordinator::{Door, Quotas};
use greenroom_core::record::Outcome;
use greenroom_core::{Order, RecordBody};
use reqwest::Method;
use serde_json::{Value, json};
use support::*;

fn active(most: u32) -> Quotas {
    Quotas { active: Some(most), ..Quotas::default() }
}

async fn with(quotas: Quotas) -> Room {
    let doors = [Door::Foundry, Door::Orchestrator, Door::DockerAgent];
    Room::with(|config| {
        config.quotas = quotas;
        config.doors = doors.into();
    })
    .await
}

/// An agent that stays up between runs.
async fn warm(room: &Room) {
    let file = room.folder.path().join("warm.yaml");
    let text = "name: warm\ndriver: command\ncommand: [x]\nstdout: jsonl\nlifecycle: persistent\n";
    std::fs::write(&file, text).expect("a file");
    room.post("/v1/agents", json!({"source": file})).await.expect(201);
}

fn asking(id: &str) -> Value {
    json!({"agent": "shell", "id": id, "prompt": "x"})
}

/// Refused by this quota, used so far.
#[track_caller]
fn exceeded(answer: Answer, quota: &str, used: u32) {
    let seconds = answer.headers["retry-after"].to_str().expect("text").parse::<u32>();
    assert_eq!(answer.body["retry_after"], seconds.expect("seconds"));
    assert_eq!(answer.body["quota"], json!({"quota": quota, "limit": used, "used": used}));
    assert!(answer.body["detail"].as_str().expect("a detail").contains(quota));
    assert!(answer.body["hint"].is_string(), "what to do: {}", answer.body);
    assert_eq!(answer.refused(429), "quota_exceeded");
}

#[tokio::test]
async fn one_active_session_too_many_is_refused_whole() {
    let room = with(active(2)).await;
    warm(&room).await;
    room.create(asking("a")).await;
    let keyed = |id: &str, key: &str| {
        let request = room.request(Method::POST, "/v1/sessions").json(&asking(id));
        send(request.header("idempotency-key", key))
    };
    assert_eq!(keyed("b", "one").await.status, 201);
    exceeded(keyed("c", "two").await, "max_active", 2);
    assert_eq!(keyed("b", "one").await.status, 201, "what was answered is answered again");
    assert_eq!(room.get("/v1/sessions/c").await.refused(404), "session_not_found");
    let list = room.get("/v1/sessions").await.expect(200);
    assert_eq!(list["items"].as_array().map(Vec::len), Some(2));
    // What asks for nothing takes no place.
    room.create(json!({"agent": "warm", "id": "rest"})).await;
    exceeded(room.post("/v1/sessions/rest/runs", json!({"prompt": "x"})).await, "max_active", 2);
    exceeded(room.post("/v1/sessions/rest/resume", json!({})).await, "max_active", 2);
    assert_eq!(room.types("rest").await, ["session.created"]);
    // What is active goes on, and may be stopped and removed.
    room.post("/v1/sessions/a/runs", json!({"prompt": "more"})).await.expect(202);
    room.post("/v1/sessions/a/stop", json!({})).await.expect(200);
    // The same request is not refused for ever.
    assert_eq!(keyed("c", "two").await.status, 201);
    exceeded(room.post("/v1/sessions/a/resume", json!({})).await, "max_active", 2);
    assert_eq!(room.delete("/v1/sessions/b").await.status, 204);
    assert_eq!(room.post("/v1/sessions/a/resume", json!({})).await.status, 200);
    let me = room.get("/v1/login").await.expect(200);
    assert_eq!(me["quotas"], json!([{"quota": "max_active", "limit": 2, "used": 2}]));
}

#[tokio::test]
async fn the_last_place_is_taken_once() {
    let room = with(active(3)).await;
    for n in 0..12 {
        room.create(json!({"agent": "shell", "id": format!("rest{n}")})).await;
    }
    let mut asked = tokio::task::JoinSet::new();
    for n in 0..24 {
        let (path, body) = match n % 2 {
            0 => ("/v1/sessions".to_owned(), asking(&format!("new{n}"))),
            _ => (format!("/v1/sessions/rest{}/runs", n / 2), json!({"prompt": "x"})),
        };
        asked.spawn(send(room.request(Method::POST, &path).json(&body)));
    }
    let answers: Vec<u16> =
        asked.join_all().await.iter().map(|answer| answer.status.as_u16()).collect();
    let taken = answers.iter().filter(|status| [201, 202].contains(status)).count();
    let refused = answers.iter().filter(|status| **status == 429).count();
    assert_eq!((taken, refused), (3, 21), "{answers:?}");
}

#[tokio::test]
async fn owners_and_their_users_have_quotas_of_their_own() {
    let quotas = Quotas { active: None, active_per_owner: Some(1), sessions_per_owner: Some(2) };
    let room = with(quotas).await;
    let (ann, bob) =
        (room.new_token("operator", "ann").await, room.new_token("operator", "bob").await);
    let whose = [(&ann, None), (&ann, Some("u")), (&bob, None), (&bob, Some("u"))];
    for (token, user) in whose {
        let call = |method: Method, path: &str, body: Option<Value>| {
            let mut request = room.http.request(method, room.url(path)).bearer_auth(token);
            if let Some(user) = user {
                request = request.header("x-greenroom-user", user);
            }
            if let Some(body) = body {
                request = request.json(&body);
            }
            send(request)
        };
        let make = |body: Value| call(Method::POST, "/v1/sessions", Some(body));
        let first = make(json!({"agent": "shell", "prompt": "x"})).await.expect(201);
        let more = make(json!({"agent": "shell", "prompt": "x"})).await;
        exceeded(more, "max_active_per_owner", 1);
        // A child counts for whom its parent is.
        let child = json!({"agent": "shell", "prompt": "x", "parent": first["id"]});
        exceeded(make(child).await, "max_active_per_owner", 1);
        let second = make(json!({"agent": "shell"})).await.expect(201);
        exceeded(make(json!({"agent": "shell"})).await, "max_sessions_per_owner", 2);
        let id = second["id"].as_str().expect("an id");
        let fork = call(Method::POST, &format!("/v1/sessions/{id}/fork"), Some(json!({}))).await;
        exceeded(fork, "max_sessions_per_owner", 2);
        let gone = call(Method::DELETE, &format!("/v1/sessions/{id}"), None).await;
        assert_eq!(gone.status, 204);
        make(json!({"agent": "shell"})).await.expect(201);
        let me = call(Method::GET, "/v1/login", None).await.expect(200);
        assert_eq!(
            me["quotas"],
            json!([
                {"quota": "max_active_per_owner", "limit": 1, "used": 1},
                {"quota": "max_sessions_per_owner", "limit": 2, "used": 2},
            ])
        );
    }
}

/// The end of a child was admitted with the child: no quota keeps it from its parent.
#[tokio::test]
async fn what_a_child_has_to_tell_is_never_refused() {
    let room = with(active(1)).await;
    warm(&room).await;
    let mut runner = room.runner().await;
    let parent = room.create(json!({"agent": "shell", "id": "parent"})).await;
    let child = room
        .create(json!({"agent": "warm", "id": "child", "parent": "parent", "callback": true, "prompt": "x"}))
        .await;
    let (epoch, run) = runner.wait_run(uid(&child)).await;
    let outcome = Outcome::Completed { result: None };
    let records = vec![
        RecordBody::Ready,
        RecordBody::RunStarted { run },
        RecordBody::RunEnded { run, outcome },
    ];
    runner.tell(uid(&child), epoch, records).await;
    // The child is up and idle: the only place is taken, and the parent has one beyond it.
    runner.wait_run(uid(&parent)).await;
    assert_eq!(room.get("/v1/sessions/child").await.expect(200)["status"], "idle");
    let more = room.post("/v1/sessions", asking("more")).await;
    assert_eq!(more.body["quota"]["used"], 2, "{}", more.body);
    assert_eq!(more.refused(429), "quota_exceeded");
}

#[tokio::test(flavor = "multi_thread")]
async fn doors_refuse_in_words_of_their_own() {
    let room = with(active(1)).await;
    let description = json!({"description": {"driver": "hosted", "command": ["serve"]}});
    room.post("/v1/agents/helper/versions", description).await.expect(201);
    let mut runner = room.runner().await;
    room.create(json!({"agent": "helper", "id": "rest"})).await;
    let taken = room.create(json!({"agent": "shell", "id": "taken", "prompt": "x"})).await;
    let (epoch, run) = runner.wait_run(uid(&taken)).await;
    let before = room.get("/v1/sessions").await.expect(200)["items"].clone();

    let foundry = "/foundry/api/projects/p/agents/helper/endpoint";
    for path in [
        "/sessions",
        "/sessions/rest:resume",
        "/protocols/invocations",
        "/protocols/invocations?agent_session_id=rest",
        "/protocols/openai/responses",
    ] {
        let answer = room.post(&format!("{foundry}{path}"), json!({"input": "x"})).await;
        assert_eq!(answer.status, 429, "{path}: {}", answer.body);
        assert_eq!(answer.headers["x-adc-response-details"], "QuotaExceeded", "{path}");
        assert_eq!(answer.headers["x-ms-error-code"], "quota_exceeded", "{path}");
        assert_eq!(answer.headers["retry-after"], "5", "{path}");
        let error = &answer.body["error"];
        let said = (&error["code"], &error["type"]);
        assert_eq!(said, (&json!("quota_exceeded"), &json!("rate_limit_error")), "{path}");
        assert!(error["message"].as_str().expect("a message").contains("1 of 1 active sessions"));
    }
    let asked = json!({"type": "start_session", "agent_name": "shell", "parameters": {"prompt": "x"}, "session_id": "o"});
    let answer = room.post("/orchestrator/runs", asked).await;
    assert_eq!(answer.headers["retry-after"], "5");
    assert!(answer.expect(429)["detail"].as_str().expect("words").contains("max_active"));
    room.create(json!({"agent": "shell", "id": "quiet"})).await;
    let asked =
        json!({"type": "resume_session", "session_id": "quiet", "parameters": {"prompt": "x"}});
    room.post("/orchestrator/runs", asked).await.expect(429);
    let asked = json!([{"role": "user", "content": "x"}]);
    let answer = room.post("/docker-agent/api/sessions/quiet/agent/shell", asked).await;
    assert_eq!(answer.headers["retry-after"], "5");
    assert!(answer.expect(429)["error"].as_str().expect("words").contains("max_active"));
    room.delete("/v1/sessions/quiet").await;
    assert_eq!(room.get("/v1/sessions").await.expect(200)["items"], before, "nothing was left");
    assert_eq!(room.get("/orchestrator/sessions/o").await.status, 404);

    // There is room again.
    runner.complete(uid(&taken), epoch, run, "hello\n").await;
    room.wait_status("taken", "finished").await;
    let made = room.request(Method::POST, &format!("{foundry}/sessions"));
    let made = tokio::spawn(send(made.json(&json!({"agent_session_id": "up"}))));
    let uid = eventually(async || {
        let known = room.get("/v1/sessions/up").await;
        (known.status == 200).then(|| uid(&known.body))
    })
    .await;
    let epoch = runner.wait_for(uid, |order| matches!(order, Order::Up { .. })).await.epoch;
    runner.tell(uid, epoch, vec![RecordBody::Ready]).await;
    assert_eq!(made.await.expect("an answer").expect(201)["status"], "active");
}
