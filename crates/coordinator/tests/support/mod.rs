//! A coordinator on a real listener and a real store, and a runner that does what a test
//! tells it.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its own part")]

use std::path::Path;
use std::sync::{Arc, Once};
use std::time::Duration;

use futures::StreamExt;
use greenroom_coordinator::clock::SystemClock;
use greenroom_coordinator::{Config, Coordinator};
use greenroom_core::receipt::{EndReason, Means};
use greenroom_core::record::{Outcome, OutputKind, Writer};
use greenroom_core::{
    Assignment, Epoch, Ms, Order, Receipt, Record, RecordBody, RunId, RunnerId, SessionUid,
    StoreId, Timestamp,
};
use greenroom_protocol::link::*;
use greenroom_store::{SqliteStore, Store};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

/// Patience of a test with something that must happen.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A coordinator with its data folder.
pub struct Room {
    pub coordinator: Coordinator,
    pub store: Arc<SqliteStore>,
    pub folder: tempfile::TempDir,
    pub http: reqwest::Client,
    pub token: String,
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: reqwest::header::HeaderMap,
    pub body: Value,
}

impl Answer {
    /// The body, of an answer with this status.
    #[track_caller]
    pub fn expect(self, status: u16) -> Value {
        assert_eq!(self.status.as_u16(), status, "{}", self.body);
        self.body
    }

    /// The code of the problem, of an answer with this status.
    #[track_caller]
    pub fn refused(self, status: u16) -> String {
        assert_eq!(self.status.as_u16(), status, "{}", self.body);
        assert_eq!(self.headers["content-type"], "application/problem+json");
        assert_eq!(self.body["status"], status);
        self.body["code"].as_str().expect("a code").to_owned()
    }
}

pub fn client() -> reqwest::Client {
    static TLS: Once = Once::new();
    TLS.call_once(|| {
        let _ = rustls::crypto::ring::default_provider().install_default();
    });
    reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .expect("a client")
}

pub fn config(folder: &Path) -> Config {
    Config {
        listen: "127.0.0.1:0".parse().expect("an address"),
        data: folder.to_owned(),
        ..Default::default()
    }
}

impl Room {
    pub async fn open() -> Self {
        Self::with(|_| {}).await
    }

    pub async fn with(change: impl FnOnce(&mut Config)) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut config = config(folder.path());
        change(&mut config);
        Self::in_folder(folder, config).await
    }

    pub async fn in_folder(folder: tempfile::TempDir, config: Config) -> Self {
        let path = folder.path().join("greenroom.db");
        let store = Arc::new(SqliteStore::open(&path).await.expect("a store"));
        let shared: Arc<dyn Store> = Arc::clone(&store) as Arc<dyn Store>;
        let coordinator = greenroom_coordinator::start_with(config, shared, Arc::new(SystemClock))
            .await
            .expect("a coordinator");
        let token = coordinator.admin_token().to_owned();
        Self { coordinator, store, folder, http: client(), token }
    }

    /// Ends it and starts it again on the same folder.
    pub async fn restart(self) -> Self {
        self.restarted(|_| {}).await
    }

    /// Ends it and starts it again on the same folder, with this door.
    pub async fn restart_with(self, door: greenroom_coordinator::Door) -> Self {
        self.restarted(|config| {
            config.doors.insert(door);
        })
        .await
    }

    async fn restarted(self, change: impl FnOnce(&mut Config)) -> Self {
        let Self { coordinator, store, folder, .. } = self;
        coordinator.shutdown().await;
        store.close().await;
        drop(store);
        let mut config = config(folder.path());
        change(&mut config);
        Self::in_folder(folder, config).await
    }

    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.coordinator.url())
    }

    pub fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        self.http.request(method, self.url(path)).bearer_auth(&self.token)
    }

    pub async fn get(&self, path: &str) -> Answer {
        send(self.request(Method::GET, path)).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        send(self.request(Method::POST, path).json(&body)).await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        send(self.request(Method::DELETE, path)).await
    }

    /// With another token than the admin's.
    pub async fn call_as(
        &self,
        token: &str,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> Answer {
        let mut request = self.http.request(method, self.url(path)).bearer_auth(token);
        if let Some(body) = body {
            request = request.json(&body);
        }
        send(request).await
    }

    pub async fn create(&self, body: Value) -> Value {
        self.post("/v1/sessions", body).await.expect(201)
    }

    pub async fn new_token(&self, role: &str, principal: &str) -> String {
        let made = self.post("/v1/tokens", json!({"role": role, "principal": principal})).await;
        made.expect(201)["secret"].as_str().expect("a secret").to_owned()
    }

    /// Waits for a session to come to a status.
    pub async fn wait_status(&self, id: &str, status: &str) -> Value {
        let path = format!("/v1/sessions/{id}");
        eventually(async || {
            let session = self.get(&path).await.expect(200);
            (session["status"] == status).then_some(session)
        })
        .await
    }

    /// All events of a session.
    pub async fn events(&self, id: &str) -> Vec<Value> {
        let page = self.get(&format!("/v1/sessions/{id}/events?limit=1000")).await.expect(200);
        page["items"].as_array().expect("items").clone()
    }

    pub async fn types(&self, id: &str) -> Vec<String> {
        let events = self.events(id).await;
        events.iter().map(|event| event["type"].as_str().expect("a type").to_owned()).collect()
    }

    /// A runner that has joined and spoken once.
    pub async fn runner(&self) -> FakeRunner {
        let token = self.coordinator.join_token().await.expect("a token");
        FakeRunner::join(self, &token, None).await
    }
}

pub async fn send(request: reqwest::RequestBuilder) -> Answer {
    let response = request.send().await.expect("an answer");
    let (status, headers) = (response.status(), response.headers().clone());
    let text = response.text().await.expect("a body");
    let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
    Answer { status, headers, body }
}

impl FakeRunner {
    /// Says that its operator allows folders beneath these.
    pub async fn allows(&mut self, roots: &[&str]) {
        let roots: Vec<_> = roots.iter().map(|root| root.parse().expect("a path")).collect();
        let info = RunnerInfo { working_dir_roots: roots, ..info() };
        self.sync_with(|request| request.info = Some(info)).await;
    }
}

/// Asks until there is an answer. For what happens by itself and is seen only by asking.
pub async fn eventually<T>(mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let begin = std::time::Instant::now();
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(begin.elapsed() < PATIENCE, "it never came to that");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// A runner that does what a test tells it.
pub struct FakeRunner {
    pub id: RunnerId,
    pub credential: String,
    pub store_id: StoreId,
    pub instance: u64,
    pub rev: u64,
    http: reqwest::Client,
    url: String,
    indexes: std::collections::HashMap<(SessionUid, Epoch), u64>,
}

impl FakeRunner {
    pub async fn join(room: &Room, token: &str, id: Option<RunnerId>) -> Self {
        let id = id.unwrap_or(RunnerId(uuid::Uuid::now_v7()));
        let enrolled = enroll(room, token, id).await.expect(200);
        let reply: EnrollReply = serde_json::from_value(enrolled).expect("a reply");
        let mut runner = Self {
            id,
            credential: reply.credential,
            store_id: reply.store_id,
            instance: 1,
            rev: 0,
            http: client(),
            url: room.coordinator.url(),
            indexes: Default::default(),
        };
        runner.sync(0).await;
        runner
    }

    /// Goes on with a coordinator that was started anew, of which it knows nothing yet.
    pub fn moves_to(&mut self, room: &Room) {
        self.url = room.coordinator.url();
        self.rev = 0;
    }

    /// The request it would send.
    pub fn request(&self, wait_ms: u64) -> SyncRequest {
        SyncRequest {
            store_id: self.store_id,
            instance: self.instance,
            since_rev: self.rev,
            wait_ms,
            info: Some(info()),
            draining: false,
            full: false,
            computes: Vec::new(),
            removed: Vec::new(),
            floors: Vec::new(),
            files: Vec::new(),
        }
    }

    pub async fn send_sync(&self, request: &SyncRequest) -> Answer {
        self.post("/v1/link/sync", serde_json::to_vec(request).expect("json")).await
    }

    pub async fn post(&self, path: &str, body: impl Into<reqwest::Body>) -> Answer {
        send(self.http.post(format!("{}{path}", self.url)).bearer_auth(&self.credential).body(body))
            .await
    }

    pub async fn get(&self, path: &str) -> Answer {
        send(self.http.get(format!("{}{path}", self.url)).bearer_auth(&self.credential)).await
    }

    pub async fn sync_with(&mut self, change: impl FnOnce(&mut SyncRequest)) -> SyncReply {
        let mut request = self.request(0);
        change(&mut request);
        let body = self.send_sync(&request).await.expect(200);
        let reply: SyncReply = serde_json::from_value(body).expect("a reply");
        self.rev = reply.rev;
        reply
    }

    pub async fn sync(&mut self, wait_ms: u64) -> SyncReply {
        self.sync_with(|request| request.wait_ms = wait_ms).await
    }

    /// The next assignment of a session that fits.
    pub async fn wait_for(&mut self, uid: SessionUid, fits: impl Fn(&Order) -> bool) -> Assignment {
        let begin = std::time::Instant::now();
        loop {
            let reply = self.sync(5_000).await;
            if let Some(found) =
                reply.assignments.into_iter().find(|a| a.uid == uid && fits(&a.order))
            {
                return found;
            }
            assert!(begin.elapsed() < PATIENCE, "the assignment never came");
        }
    }

    /// The next compute with a run.
    pub async fn wait_run(&mut self, uid: SessionUid) -> (Epoch, RunId) {
        let up = |order: &Order| matches!(order, Order::Up { run: Some(_), .. });
        let assignment = self.wait_for(uid, up).await;
        let Order::Up { run: Some(run), .. } = assignment.order else {
            unreachable!("chosen above")
        };
        (assignment.epoch, run)
    }

    /// The next record of a compute's journal.
    pub fn record(&mut self, uid: SessionUid, epoch: Epoch, body: RecordBody) -> Record {
        let index = self.indexes.entry((uid, epoch)).or_default();
        *index += 1;
        Record { uid, epoch, writer: Writer::Shim, index: *index, at: now(), body }
    }

    pub async fn upload(&self, lines: &[RecordLine]) -> RecordsReply {
        let mut body = Vec::new();
        for line in lines {
            body.extend(serde_json::to_vec(line).expect("json"));
            body.push(b'\n');
        }
        let reply = self.post("/v1/link/records", body).await.expect(200);
        serde_json::from_value(reply).expect("a reply")
    }

    pub async fn tell(
        &mut self,
        uid: SessionUid,
        epoch: Epoch,
        bodies: Vec<RecordBody>,
    ) -> RecordsReply {
        let lines: Vec<RecordLine> = bodies
            .into_iter()
            .map(|body| RecordLine::Record(Box::new(self.record(uid, epoch, body))))
            .collect();
        self.upload(&lines).await
    }

    /// Runs a run to its answer, and the compute to its end.
    pub async fn complete(&mut self, uid: SessionUid, epoch: Epoch, run: RunId, text: &str) {
        self.tell(
            uid,
            epoch,
            vec![
                RecordBody::Ready,
                RecordBody::RunStarted { run },
                message(run, text),
                RecordBody::RunEnded { run, outcome: Outcome::Completed { result: None } },
                RecordBody::Closing { reason: EndReason::Done },
                RecordBody::Receipt { receipt: Box::new(receipt(epoch, EndReason::Done)) },
            ],
        )
        .await;
    }
}

pub async fn enroll(room: &Room, token: &str, id: RunnerId) -> Answer {
    let body = json!({"runner_id": id, "info": info()});
    room.call_as(token, Method::POST, "/v1/link/enroll", Some(body)).await
}

pub fn info() -> RunnerInfo {
    RunnerInfo {
        name: "fake".into(),
        host: "host".into(),
        platform: "linux x86_64".into(),
        version: "0.1.0".into(),
        labels: Default::default(),
        slots: None,
        isolation: "none".into(),
        probe: Probe::default(),
        keeps_files: true,
        working_dir_roots: Vec::new(),
        foreign: None,
    }
}

pub fn now() -> Timestamp {
    Timestamp::from_unix_ms(1_790_000_000_000)
}

pub fn message(run: RunId, text: &str) -> RecordBody {
    RecordBody::Output {
        run: Some(run),
        kind: OutputKind::Message,
        data: json!({"role": "agent", "text": text}),
    }
}

pub fn receipt(epoch: Epoch, reason: EndReason) -> Receipt {
    Receipt::without_process(epoch, reason, now(), Means::NoChildLeft, "ECHILD")
}

pub fn uid(session: &Value) -> SessionUid {
    session["uid"].as_str().expect("a uid").parse().expect("a uid")
}

/// One frame of a stream.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Frame {
    pub id: Option<String>,
    pub event: String,
    pub data: Value,
}

/// A stream that is read.
pub struct Sse {
    bytes: futures::stream::BoxStream<'static, reqwest::Result<bytes::Bytes>>,
    buffer: String,
}

impl Sse {
    pub async fn open(request: reqwest::RequestBuilder) -> Self {
        let response =
            request.header("accept", "text/event-stream").send().await.expect("a stream");
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Self { bytes: response.bytes_stream().boxed(), buffer: String::new() }
    }

    pub async fn of(room: &Room, path: &str) -> Self {
        Self::open(room.request(Method::GET, path)).await
    }

    /// The next frame; `None` at the end. Comments are skipped.
    pub async fn next(&mut self) -> Option<Frame> {
        loop {
            if let Some(end) = self.buffer.find("\n\n") {
                let text: String = self.buffer.drain(..end + 2).collect();
                if let Some(frame) = read_frame(&text) {
                    return Some(frame);
                }
                continue;
            }
            let part =
                tokio::time::timeout(PATIENCE, self.bytes.next()).await.expect("a frame in time");
            match part {
                Some(Ok(bytes)) => self.buffer.push_str(std::str::from_utf8(&bytes).expect("text")),
                _ => return None,
            }
        }
    }

    /// The next frame of this kind.
    pub async fn until(&mut self, event: &str) -> Frame {
        loop {
            let frame = self.next().await.expect("the stream goes on");
            if frame.event == event {
                return frame;
            }
        }
    }
}

fn read_frame(text: &str) -> Option<Frame> {
    let mut frame = Frame::default();
    for line in text.lines() {
        match line.split_once(": ") {
            Some(("id", id)) => frame.id = Some(id.to_owned()),
            Some(("event", event)) => frame.event = event.to_owned(),
            Some(("data", data)) => frame.data = serde_json::from_str(data).expect("json"),
            _ => {}
        }
    }
    (!frame.event.is_empty()).then_some(frame)
}

pub fn ms(n: u64) -> Ms {
    Ms(n)
}
