//! A room with the door open, and what its clients do.
#![allow(unreachable_pub, reason = "a part of one test binary")]

use futures::StreamExt;
use futures::stream::BoxStream;
use greenroom_coordinator::Door;
use greenroom_core::approval::{Ask, AskKind};
use greenroom_core::record::{Outcome, OutputKind};
use greenroom_core::{ApprovalId, Epoch, RecordBody, RunId, SessionUid};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::*;

/// A team, as docker-agent writes one.
pub const TEAM: &str = r#"
version: "2"
agents:
  root:
    model: openai/m
    description: Leads
    instruction: Be brief.
    sub_agents: [helper]
    toolsets: [{ type: filesystem }, { type: shell }]
    commands: { fix: "Fix $1" }
  helper:
    model: openai/m
    description: Helps
    toolsets: [{ type: fetch }]
"#;

/// A room with the door open.
pub struct House {
    pub room: Room,
    pub runner: FakeRunner,
}

impl House {
    /// With the team `team`, and an agent `plain` that asks nobody.
    pub async fn open() -> Self {
        let room = Room::with(|config| config.doors = [Door::DockerAgent].into()).await;
        let plain = "name: plain\ndriver: command\ncommand: [x]\n";
        for (name, text) in [("team", TEAM), ("plain", plain)] {
            let file = room.folder.path().join(format!("{name}.yaml"));
            std::fs::write(&file, text).expect("an agent's file");
            room.post("/v1/agents", json!({ "source": file })).await.expect(201);
        }
        let runner = room.runner().await;
        Self { room, runner }
    }

    pub async fn call(&self, method: Method, path: &str, body: Option<Value>) -> Answer {
        let mut request = self.room.request(method, &format!("/docker-agent{path}"));
        if let Some(body) = body {
            request = request.json(&body);
        }
        send(request).await
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.call(Method::GET, path, None).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.call(Method::POST, path, Some(body)).await
    }

    pub async fn patch(&self, path: &str, body: Value) -> Answer {
        self.call(Method::PATCH, path, Some(body)).await
    }

    /// A session of this template, by its name.
    pub async fn session(&self, template: Value) -> String {
        let made = self.post("/api/sessions", template).await.expect(200);
        made["id"].as_str().expect("an id").to_owned()
    }

    pub async fn uid(&self, id: &str) -> SessionUid {
        uid(&self.room.get(&format!("/v1/sessions/{id}")).await.expect(200))
    }

    /// Begins a turn and reads nothing of it yet.
    pub async fn turn(&self, path: &str, body: Value) -> Frames {
        let request = self.room.request(Method::POST, &format!("/docker-agent{path}"));
        Frames::of(request.json(&body)).await
    }

    /// A turn of `team` that has begun: its stream, and what its runner was given.
    pub async fn begun(&mut self, id: &str, prompt: &str) -> (Frames, SessionUid, Epoch, RunId) {
        let body = json!([{ "role": "user", "content": prompt }]);
        let frames = self.turn(&format!("/api/sessions/{id}/agent/team"), body).await;
        let uid = self.uid(id).await;
        let (epoch, run) = self.runner.wait_run(uid).await;
        self.runner.tell(uid, epoch, vec![RecordBody::Ready]).await;
        self.runner.tell(uid, epoch, vec![RecordBody::RunStarted { run }]).await;
        (frames, uid, epoch, run)
    }

    /// A turn that is asked and answered.
    pub async fn done(&mut self, id: &str, prompt: &str, text: &str) -> Vec<Value> {
        let (frames, uid, epoch, run) = self.begun(id, prompt).await;
        let outcome = Outcome::Completed { result: None };
        let end = vec![message(run, text), RecordBody::RunEnded { run, outcome }];
        self.runner.tell(uid, epoch, end).await;
        frames.all().await
    }

    /// A question of the turn in progress.
    pub async fn ask(&mut self, uid: SessionUid, epoch: Epoch, run: RunId, ask: Ask) {
        self.runner.tell(uid, epoch, vec![RecordBody::Asked { run, ask: Box::new(ask) }]).await;
    }
}

/// The refusal's text, of an answer with this status: in both fields, and nowhere else.
#[track_caller]
pub fn refused(answer: Answer, status: u16) -> String {
    assert_eq!(answer.status.as_u16(), status, "{}", answer.body);
    assert_eq!(answer.headers["content-type"], "application/json");
    let text = answer.body["error"].as_str().expect("an error").to_owned();
    assert_eq!(answer.body["message"], text.as_str());
    assert!(!text.is_empty());
    text
}

/// May it use a tool in this way?
pub fn permission(tool: &str, input: Value) -> Ask {
    Ask {
        id: ApprovalId(uuid::Uuid::now_v7()),
        kind: AskKind::Permission,
        title: format!("Use {tool}"),
        tool: Some(tool.to_owned()),
        input: Some(input),
        options: Vec::new(),
        schema: None,
        url: None,
    }
}

/// An event of a run.
pub fn output(run: RunId, kind: OutputKind, data: Value) -> RecordBody {
    RecordBody::Output { run: Some(run), kind, data }
}

/// The end of a run with its answer.
pub fn completed(run: RunId) -> RecordBody {
    RecordBody::RunEnded { run, outcome: Outcome::Completed { result: None } }
}

/// The events of a stream.
pub struct Frames {
    bytes: BoxStream<'static, reqwest::Result<bytes::Bytes>>,
    buffer: Vec<u8>,
    /// The position that was said last.
    pub last_id: Option<u64>,
}

impl Frames {
    pub async fn of(request: reqwest::RequestBuilder) -> Self {
        let answer = request.send().await.expect("a stream");
        let status = answer.status();
        assert_eq!(answer.headers()["content-type"], "text/event-stream", "{status}");
        assert_eq!(
            (status.as_u16(), &answer.headers()["cache-control"]),
            (200, &"no-cache".parse().expect("a value"))
        );
        Self { bytes: answer.bytes_stream().boxed(), buffer: Vec::new(), last_id: None }
    }

    /// The next event; none at the end.
    pub async fn next(&mut self) -> Option<Value> {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|two| two == b"\n\n") {
                let frame: Vec<u8> = self.buffer.drain(..end + 2).collect();
                let frame = String::from_utf8(frame).expect("text");
                let mut data = None;
                for line in frame.lines() {
                    match line.split_once(": ") {
                        Some(("id", id)) => self.last_id = Some(id.parse().expect("a number")),
                        Some(("data", json)) => {
                            data = Some(serde_json::from_str(json).expect("JSON"))
                        }
                        _ => assert!(line.is_empty() || line.starts_with(':'), "{line}"),
                    }
                }
                if data.is_some() {
                    return data;
                }
                continue;
            }
            let part = tokio::time::timeout(PATIENCE, self.bytes.next()).await.expect("in time");
            match part {
                Some(bytes) => self.buffer.extend_from_slice(&bytes.expect("bytes")),
                None => return None,
            }
        }
    }

    /// The next event of this type.
    pub async fn until(&mut self, kind: &str) -> Value {
        loop {
            let event = self.next().await.unwrap_or_else(|| panic!("{kind} comes"));
            if event["type"] == kind {
                return event;
            }
        }
    }

    /// All that is left, up to the end of the stream.
    pub async fn all(mut self) -> Vec<Value> {
        let mut all = Vec::new();
        while let Some(event) = self.next().await {
            all.push(event);
        }
        all
    }
}

/// The types of events, in order.
pub fn types(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["type"].as_str().expect("a type")).collect()
}

/// What an agent has said, put together.
pub fn said(events: &[Value]) -> String {
    let choices = events.iter().filter(|event| event["type"] == "agent_choice");
    choices.map(|event| event["content"].as_str().expect("text")).collect()
}
