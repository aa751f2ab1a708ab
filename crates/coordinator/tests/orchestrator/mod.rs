//! A runner of the agent orchestrator that says what a test tells it to, in the words of the
//! original: every request is one of its own.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its own part")]

use greenroom_coordinator::Door;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::*;

/// A room with this door open.
pub async fn open() -> Room {
    Room::with(|config| config.doors = [Door::Orchestrator].into()).await
}

/// The same after a restart.
pub async fn reopen(room: Room) -> Room {
    let Room { coordinator, store, folder, .. } = room;
    coordinator.shutdown().await;
    use greenroom_store::Store;
    store.close().await;
    drop(store);
    let mut config = config(folder.path());
    config.doors = [Door::Orchestrator].into();
    Room::in_folder(folder, config).await
}

impl Room {
    pub async fn o_get(&self, path: &str) -> Answer {
        self.get(&format!("/orchestrator{path}")).await
    }

    pub async fn o_post(&self, path: &str, body: Value) -> Answer {
        self.post(&format!("/orchestrator{path}"), body).await
    }

    pub async fn o_send(&self, method: Method, path: &str, body: Value) -> Answer {
        send(self.request(method, &format!("/orchestrator{path}")).json(&body)).await
    }

    /// Starts a session, and answers (session_id, run_id).
    pub async fn o_start(&self, body: Value) -> (String, String) {
        let mut asked = json!({"type": "start_session", "parameters": {"prompt": "hello"}});
        for (key, value) in body.as_object().expect("fields") {
            asked[key] = value.clone();
        }
        let made = self.o_post("/runs", asked).await.expect(201);
        assert_eq!(made["status"], "pending");
        let text = |key: &str| made[key].as_str().expect("an id").to_owned();
        (text("session_id"), text("run_id"))
    }

    pub async fn o_session(&self, id: &str) -> Value {
        self.o_get(&format!("/sessions/{id}")).await.expect(200)["session"].clone()
    }

    pub async fn o_run(&self, id: &str) -> Value {
        self.o_get(&format!("/runs/{id}")).await.expect(200)
    }

    pub async fn o_wait(&self, id: &str, status: &str) -> Value {
        eventually(async || {
            let session = self.o_session(id).await;
            (session["status"] == status).then_some(session)
        })
        .await
    }

    pub async fn o_kinds(&self, id: &str) -> Vec<String> {
        let all = self.o_get(&format!("/sessions/{id}/events")).await.expect(200);
        let events = all["events"].as_array().expect("events").clone();
        events.iter().map(|e| e["event_type"].as_str().expect("a kind").to_owned()).collect()
    }
}

/// The runner.
pub struct Runner {
    pub id: String,
    pub token: String,
    url: String,
    http: reqwest::Client,
}

/// What it says of itself when it registers.
pub fn registration(profile: &str) -> Value {
    json!({
        "hostname": "build-1", "project_dir": "/work", "executor_profile": profile,
        "executor": {"type": "autonomous", "command": "executors/echo/echo", "config": {},
            "lifecycle": "persistent"},
        "tags": ["python", "gpu"], "require_matching_tags": false,
    })
}

impl Runner {
    pub async fn register(room: &Room, body: Value) -> Self {
        Self::register_as(room, &room.token, body).await
    }

    pub async fn register_as(room: &Room, token: &str, body: Value) -> Self {
        let mut runner = Self {
            id: String::new(),
            token: token.to_owned(),
            url: room.url("/orchestrator"),
            http: client(),
        };
        let made = runner.post("/runner/register", body).await.expect(200);
        assert_eq!(made["poll_endpoint"], "/runner/runs");
        assert_eq!(made["heartbeat_interval_seconds"], 60);
        runner.id = made["runner_id"].as_str().expect("an id").to_owned();
        runner
    }

    pub fn moves_to(&mut self, room: &Room) {
        self.url = room.url("/orchestrator");
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        let request = self.http.post(format!("{}{path}", self.url)).bearer_auth(&self.token);
        send(request.json(&body)).await
    }

    /// One poll, as long as it takes.
    pub async fn poll(&self) -> Answer {
        let url = format!("{}/runner/runs?runner_id={}", self.url, self.id);
        send(self.http.get(url).bearer_auth(&self.token)).await
    }

    /// Polls until there is this.
    pub async fn wait(&self, key: &str) -> Value {
        let begin = std::time::Instant::now();
        loop {
            let answer = self.poll().await;
            if answer.status == 204 {
                assert!(begin.elapsed() < PATIENCE, "{key} never came");
                continue;
            }
            let body = answer.expect(200);
            if !body[key].is_null() {
                return body;
            }
            assert!(begin.elapsed() < PATIENCE, "{key} never came: {body}");
        }
    }

    pub async fn wait_run(&self) -> Value {
        self.wait("run").await["run"].clone()
    }

    pub async fn report(&self, run: &Value, what: &str, mut body: Value) -> Answer {
        body["runner_id"] = self.id.clone().into();
        let run = run["run_id"].as_str().or(run.as_str()).expect("a run");
        self.post(&format!("/runner/runs/{run}/{what}"), body).await
    }

    pub async fn started(&self, run: &Value) {
        let ok = self.report(run, "started", json!({})).await.expect(200);
        assert_eq!(ok, json!({"ok": true}));
    }

    pub async fn bind(&self, run: &Value) -> Answer {
        let session = run["session_id"].as_str().expect("a session");
        let body = json!({"executor_session_id": "exec-1", "hostname": "build-1",
            "executor_profile": "coder", "project_dir": "/work"});
        self.post(&format!("/sessions/{session}/bind"), body).await
    }

    pub async fn event(&self, run: &Value, mut event: Value) -> Answer {
        let session = run["session_id"].as_str().expect("a session");
        event["session_id"] = session.into();
        event["timestamp"] = "2026-03-01T10:00:00.000000+00:00".into();
        self.post(&format!("/sessions/{session}/events"), event).await
    }

    /// The whole of a run, to its answer.
    pub async fn answers(&self, run: &Value, text: &str, session_status: &str) {
        self.started(run).await;
        self.bind(run).await.expect(200);
        let said = json!({"event_type": "message", "role": "assistant",
            "content": [{"type": "text", "text": text}]});
        self.event(run, said).await.expect(201);
        self.event(run, json!({"event_type": "result", "result_text": text})).await.expect(201);
        let end = json!({"status": "success", "session_status": session_status});
        self.report(run, "completed", end).await.expect(200);
    }
}
