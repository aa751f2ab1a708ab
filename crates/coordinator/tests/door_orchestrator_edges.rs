//! The orchestrator's door where something is odd: nobody takes a run, a process comes back,
//! names collide, and what descriptions may and may not read.

mod orchestrator;
mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use greenroom_coordinator::Door;
use greenroom_coordinator::clock::{Clock, SystemClock};
use greenroom_core::Timestamp;
use greenroom_store::{SqliteStore, Store};
use orchestrator::*;
use reqwest::Method;
use serde_json::{Value, json};
use support::*;

/// The machine's clock, some time ahead.
struct Ahead(AtomicI64);

impl Clock for Ahead {
    fn wall(&self) -> Timestamp {
        Timestamp::from_unix_ms(SystemClock.wall().unix_ms() + self.0.load(Ordering::SeqCst))
    }

    fn boot(&self) -> Duration {
        SystemClock.boot()
    }
}

async fn with_clock() -> (Room, Arc<Ahead>) {
    let folder = tempfile::tempdir().expect("a folder");
    let mut config = config(folder.path());
    config.doors = [Door::Orchestrator].into();
    let path = folder.path().join("greenroom.db");
    let store = Arc::new(SqliteStore::open(&path).await.expect("a store"));
    let clock = Arc::new(Ahead(AtomicI64::new(0)));
    let shared: Arc<dyn Store> = Arc::clone(&store) as Arc<dyn Store>;
    let ahead = Arc::clone(&clock) as Arc<dyn Clock>;
    let coordinator =
        greenroom_coordinator::start_with(config, shared, ahead).await.expect("a coordinator");
    let token = coordinator.admin_token().to_owned();
    (Room { coordinator, store, folder, http: client(), token }, clock)
}

#[tokio::test]
async fn a_run_that_nobody_takes_fails_and_its_parent_is_told() {
    let (room, clock) = with_clock().await;
    let (parent, _) = room.o_start(json!({"agent_name": "shell"})).await;
    room.o_post(&format!("/sessions/{parent}/stop"), json!({})).await.expect(200);
    let (id, run) = room
        .o_start(json!({"parent_session_id": parent, "execution_mode": "async_callback",
            "additional_demands": {"tags": ["nobody-has-it"]}}))
        .await;
    let mut sse = Sse::of(&room, "/orchestrator/sse/sessions?include_init=false").await;
    assert_eq!(room.o_run(&run).await["status"], "pending");
    clock.0.store(301_000, Ordering::SeqCst);
    let failed = sse.until("run_failed").await;
    let words = "No matching runner available within timeout";
    assert_eq!(failed.data, json!({"run_id": run, "error": words, "session_id": id}));
    let shown = room.o_run(&run).await;
    assert_eq!((&shown["status"], &shown["error"]), (&json!("failed"), &json!(words)));
    assert_eq!(room.o_session(&id).await["status"], "failed", "and not pending for ever");
    let told = eventually(async || {
        let runs = room.get(&format!("/v1/sessions/{parent}/runs")).await.expect(200);
        runs["items"][0]["prompt"]
            .as_str()
            .filter(|text| text.contains("callback"))
            .map(str::to_owned)
    })
    .await;
    assert!(told.contains(words), "{told}");
}

/// A run that was sent, and of which nothing is heard, is neither sent again nor called over.
#[tokio::test]
async fn a_run_that_was_sent_is_not_sent_twice() {
    let (room, clock) = with_clock().await;
    let runner = Runner::register(&room, registration("coder")).await;
    let (id, run) = room.o_start(json!({})).await;
    let given = runner.wait_run().await;
    clock.0.store(61_000, Ordering::SeqCst);
    room.wait_status(&id, "stop_unconfirmed").await;
    let (next, _) = room.o_start(json!({})).await;
    assert_eq!(runner.wait_run().await["session_id"], next.as_str());
    // It was only slow.
    runner.started(&given).await;
    runner.report(&given, "completed", json!({})).await.expect(200);
    assert_eq!(room.o_run(&run).await["status"], "completed");
    assert_eq!(room.o_session(&id).await["status"], "finished");
}

#[tokio::test]
async fn a_process_that_registers_anew_has_nothing() {
    let room = Room::with(|config| {
        config.doors = [Door::Orchestrator].into();
        config.runner_ttl = ms(100);
    })
    .await;
    let runner = Runner::register(&room, registration("coder")).await;
    let (id, run) = room.o_start(json!({})).await;
    let given = runner.wait_run().await;
    runner.started(&given).await;
    // It is silent, and that ends nothing.
    let stale = eventually(async || {
        let all = room.o_get("/runners").await.expect(200)["runners"].clone();
        (all[0]["status"] == "stale").then_some(all)
    })
    .await;
    assert_eq!(stale.as_array().expect("a list").len(), 1);
    room.wait_status(&id, "unreachable").await;
    assert_eq!(room.o_session(&id).await["status"], "running");
    let again = Runner::register(&room, registration("coder")).await;
    assert_eq!(again.id, runner.id, "the same machine, folder and profile");
    assert_eq!(room.o_session(&id).await["status"], "failed");
    assert_eq!(room.o_run(&run).await["status"], "failed");
    let v1 = room.get(&format!("/v1/sessions/{id}")).await.expect(200);
    assert_eq!(
        (&v1["status"], &v1["receipt"]["proof"][0]["means"]),
        (&json!("interrupted"), &json!("runner_word"))
    );
}

#[tokio::test]
async fn agents_that_a_runner_brings_are_its_own() {
    let room = open().await;
    let mut with = registration("tools");
    with["executor"]["type"] = "procedural".into();
    with["agents"] = json!([{"name": "resize", "description": "d", "command": "bin/resize",
        "parameters_schema": {"type": "object", "required": ["width"]}}]);
    let runner = Runner::register(&room, with.clone()).await;
    let shown = room.o_get("/agents/resize").await.expect(200);
    assert_eq!((&shown["type"], &shown["runner_id"]), (&json!("procedural"), &json!(runner.id)));
    let mut other = with;
    other["hostname"] = "build-2".into();
    let taken = runner.post("/runner/register", other).await.expect(409)["detail"].clone();
    assert_eq!(
        (&taken["error"], &taken["existing_runner_id"]),
        (&json!("agent_name_collision"), &json!(runner.id))
    );
    let taken = json!({"name": "resize", "description": "d"});
    room.o_post("/agents", taken).await.expect(409);
    let (_, run) = room.o_start(json!({"agent_name": "resize", "parameters": {"width": 3}})).await;
    let given = runner.wait_run().await;
    assert_eq!((&given["run_id"], &given["agent_name"]), (&json!(run), &json!("resize")));
    assert_eq!(given["resolved_agent_blueprint"]["command"], "bin/resize");
    let path = format!("/runners/{}?self=true", runner.id);
    room.o_send(Method::DELETE, &path, json!({})).await.expect(200);
    room.o_get("/agents/resize").await.expect(404);
}

#[tokio::test]
async fn descriptions_read_only_what_they_may() {
    // Every process has a PATH; here it is named, and HOME is not.
    let room = Room::with(|config| {
        config.doors = [Door::Orchestrator].into();
        config.exposed_env = vec!["PATH".to_owned()];
    })
    .await;
    let runner = Runner::register(&room, registration("coder")).await;
    let agent =
        json!({"name": "spy", "description": "d", "system_prompt": "${env.PATH}|${env.HOME}"});
    room.o_post("/agents", agent).await.expect(201);
    room.o_start(json!({"agent_name": "spy"})).await;
    let given = runner.wait_run().await;
    let path = std::env::var("PATH").expect("a path");
    assert_eq!(given["resolved_agent_blueprint"]["system_prompt"], format!("{path}|${{env.HOME}}"));

    let server = json!({"id": "s", "name": "S", "url": "http://x", "default_config": {"key": "hush", "lang": "en"},
        "config_schema": {"key": {"type": "string", "sensitive": true}}});
    let shown = room.o_post("/mcp-servers", server).await.expect(201);
    assert_eq!(shown["default_config"], json!({"key": "…", "lang": "en"}));
    let body = json!({"default_config": {"key": "…", "lang": "de"}});
    room.o_send(Method::PUT, "/mcp-servers/s", body).await.expect(200);
    let agent = json!({"name": "user", "description": "d", "mcp_servers": {"s": {"ref": "s"}}});
    room.o_post("/agents", agent).await.expect(201);
    room.o_start(json!({"agent_name": "user"})).await;
    let given = runner.wait_run().await;
    let config = &given["resolved_agent_blueprint"]["mcp_servers"]["s"]["config"];
    assert_eq!(*config, json!({"key": "hush", "lang": "de"}), "what is hidden is kept");
}

#[tokio::test]
async fn sessions_say_what_was_said_of_them() {
    let room = open().await;
    let runner = Runner::register(&room, registration("coder")).await;
    let (id, _) = room.o_start(json!({})).await;
    let given = runner.wait_run().await;
    runner.answers(&given, "x", "idle").await;
    let body =
        json!({"project_dir": "/elsewhere", "executor_session_id": "exec-2", "agent_name": null});
    let done =
        room.o_send(Method::PATCH, &format!("/sessions/{id}/metadata"), body).await.expect(200);
    assert_eq!(
        (&done["ok"], &done["session"]["project_dir"]),
        (&json!(true), &json!("/elsewhere"))
    );
    assert_eq!(room.o_session(&id).await["executor_session_id"], "exec-2");
    let title = json!({"title": "A title"});
    send(room.request(Method::PATCH, &format!("/v1/sessions/{id}")).json(&title)).await.expect(200);
    let stop = room.o_post(&format!("/sessions/{id}/stop"), json!({})).await.expect(200);
    assert_eq!(
        (&stop["session_name"], &stop["message"]),
        (&json!("A title"), &json!("Stop command queued for idle session"))
    );
    runner.wait("stop_sessions").await;
    let path = format!("/runner/sessions/{id}/status");
    let odd = json!({"runner_id": runner.id, "status": "gone"});
    runner.post(&path, odd).await.expect(400);
    let body = json!({"runner_id": runner.id, "status": "stopped"});
    assert_eq!(runner.post(&path, body).await.expect(200), json!({"ok": true}));
    assert_eq!(room.o_session(&id).await["status"], "stopped");
    let wrong: Value = json!({"event_type": "message", "session_id": "other"});
    let refused = room.o_post(&format!("/sessions/{id}/events"), wrong).await.expect(400);
    assert_eq!(refused["detail"], "Event session_id must match URL session_id");
    let removed =
        room.o_send(Method::DELETE, &format!("/sessions/{id}"), json!({})).await.expect(200);
    assert_eq!(removed["deleted"]["session"], true);
    room.get(&format!("/v1/sessions/{id}")).await.expect(404);
}

/// Its dashboard is a page of another origin, which sends what a browser sends for it.
#[tokio::test]
async fn pages_of_an_origin_that_is_let_in_use_the_door_and_nothing_else() {
    const PAGE: &str = "http://localhost:3000";
    let folder = tempfile::tempdir().expect("a folder");
    let mut config = config(folder.path());
    config.doors = [Door::Orchestrator].into();
    config.door_origins = vec![PAGE.parse().expect("an origin")];
    let room = Room::in_folder(folder, config).await;
    let asked = |method: Method, path: &str, origin: &str| {
        let request = room.http.request(method, room.url(path)).header("origin", origin);
        request.header("sec-fetch-site", "same-site")
    };
    let allowed = |answer: &reqwest::Response| {
        let said = answer.headers().get("access-control-allow-origin");
        said.map(|origin| origin.to_str().expect("text").to_owned())
    };

    let before = asked(Method::OPTIONS, "/orchestrator/runs", PAGE)
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", "authorization,content-type")
        .send();
    let before = before.await.expect("an answer");
    assert_eq!((before.status().as_u16(), allowed(&before).as_deref()), (200, Some(PAGE)));
    assert_eq!(before.headers()["access-control-allow-headers"], "authorization,content-type");
    assert_eq!(before.headers()["access-control-allow-methods"], "POST");
    assert!(before.headers().get("access-control-allow-credentials").is_none());

    let run =
        json!({"type": "start_session", "agent_name": "shell", "parameters": {"prompt": "x"}});
    let made = asked(Method::POST, "/orchestrator/runs", PAGE).bearer_auth(&room.token).json(&run);
    let made = made.send().await.expect("an answer");
    assert_eq!((made.status().as_u16(), allowed(&made).as_deref()), (201, Some(PAGE)));
    // A refusal can be read, too.
    let nobody = asked(Method::GET, "/orchestrator/sessions", PAGE).send().await.expect("one");
    assert_eq!((nobody.status().as_u16(), allowed(&nobody).as_deref()), (401, Some(PAGE)));

    // A cookie that a browser has of this address is not this page's.
    let login = json!({ "token": room.token });
    let login = room.http.post(room.url("/v1/login")).json(&login).send().await.expect("one");
    let cookie = login.headers()["set-cookie"].to_str().expect("text").to_owned();
    let cookie = cookie.split(';').next().expect("a pair").to_owned();
    let own = room.http.get(room.url("/orchestrator/sessions")).header("cookie", &cookie);
    assert_eq!(own.send().await.expect("one").status().as_u16(), 200);
    let theirs = asked(Method::GET, "/orchestrator/sessions", PAGE).header("cookie", &cookie);
    assert_eq!(theirs.send().await.expect("one").status().as_u16(), 401);

    for (path, origin) in
        [("/v1/sessions", PAGE), ("/orchestrator/sessions", "http://evil.example")]
    {
        let refused = asked(Method::GET, path, origin).bearer_auth(&room.token);
        let refused = refused.send().await.expect("an answer");
        assert_eq!((refused.status().as_u16(), allowed(&refused)), (403, None), "{path} {origin}");
    }
}
