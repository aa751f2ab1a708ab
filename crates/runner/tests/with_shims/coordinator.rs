//! A coordinator of a few lines: it gives the orders a test puts in, and keeps what comes.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use axum::Json;
use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use greenroom_core::record::Writer;
use greenroom_core::*;
use greenroom_protocol::Problem;
use greenroom_protocol::link::*;
use tokio::sync::watch;

/// What it has, and how it behaves.
#[derive(Default)]
pub(crate) struct Inner {
    pub(crate) store: Option<StoreId>,
    pub(crate) era: u32,
    pub(crate) rev: u64,
    pub(crate) assignments: BTreeMap<(SessionUid, Epoch), (u64, Assignment)>,
    pub(crate) bodies: HashMap<(SessionUid, Epoch), ComputeBody>,
    pub(crate) runs: HashMap<RunId, RunBody>,
    pub(crate) records: Vec<Record>,
    pub(crate) marks: BTreeMap<(SessionUid, Epoch, Writer), u64>,
    pub(crate) deltas: Vec<Delta>,
    pub(crate) syncs: Vec<SyncRequest>,
    pub(crate) opens: Vec<OpenStream>,
    pub(crate) uploads: HashMap<StreamId, Vec<u8>>,
    pub(crate) answers: HashMap<StreamId, Vec<u8>>,
    pub(crate) enrolled: u32,
    /// What people have answered to agents, as it is said now.
    pub(crate) given: HashMap<ApprovalId, approval::Answer>,
    /// How often one of these was asked for; the first waits while it is held.
    pub(crate) given_asked: u32,
    pub(crate) given_held: bool,
    /// The settings of a compute, as they are said now, and how often they were asked for.
    pub(crate) settings: HashMap<(SessionUid, Epoch), Settings>,
    pub(crate) settings_asked: u32,
    /// Sessions it does not know.
    pub(crate) unknown: BTreeSet<SessionUid>,
    /// Answers 503 to records.
    pub(crate) records_fail: bool,
    /// Every second call for records is answered 503 after it was stored.
    pub(crate) records_flap: bool,
    pub(crate) calls: u64,
}

#[derive(Clone)]
pub(crate) struct Coordinator {
    inner: Arc<Mutex<Inner>>,
    changed: Arc<watch::Sender<u64>>,
    pub(crate) url: String,
}

const CREDENTIAL: &str = "Bearer runner-credential";

impl Coordinator {
    pub(crate) async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let inner = Inner { store: Some(StoreId(uuid::Uuid::now_v7())), ..Inner::default() };
        let coordinator = Self {
            inner: Arc::new(Mutex::new(inner)),
            changed: Arc::new(watch::channel(0).0),
            url,
        };
        let router = Router::new()
            .route("/v1/link/enroll", post(enroll))
            .route("/v1/link/sync", post(sync))
            .route("/v1/link/records", post(records))
            .route("/v1/link/computes/{uid}/{epoch}", get(compute))
            .route("/v1/link/computes/{uid}/{epoch}/answers/{id}", get(given))
            .route("/v1/link/computes/{uid}/{epoch}/settings", get(settings))
            .route("/v1/link/runs/{run}", get(run))
            .route("/v1/link/streams/{id}", get(stream_in).post(stream_out))
            .layer(axum::extract::DefaultBodyLimit::disable())
            .with_state(coordinator.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        coordinator
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    pub(crate) fn change<T>(&self, f: impl FnOnce(&mut Inner) -> T) -> T {
        let value = f(&mut self.lock());
        self.changed.send_modify(|n| *n += 1);
        value
    }

    /// Waits until the state is as it should be.
    pub(crate) async fn until(&self, what: &str, is: impl Fn(&Inner) -> bool) {
        let mut changed = self.changed.subscribe();
        let wait = async {
            while !is(&self.lock()) {
                changed.changed().await.unwrap();
            }
        };
        if tokio::time::timeout(Duration::from_secs(30), wait).await.is_err() {
            let inner = self.lock();
            let bodies: Vec<_> = inner.records.iter().map(|r| &r.body).rev().take(5).collect();
            panic!(
                "never came: {what}; the last records are {bodies:#?}; the last sync is {:#?}",
                inner.syncs.last()
            );
        }
    }

    /// Waits for something to be seen, and gives it.
    pub(crate) async fn find<T>(&self, what: &str, look: impl Fn(&Inner) -> Option<T>) -> T {
        self.until(what, |inner| look(inner).is_some()).await;
        look(&self.lock()).unwrap()
    }

    pub(crate) fn order(&self, uid: SessionUid, epoch: u32, generation: u64, order: Order) {
        let epoch = Epoch(epoch);
        let generation = Generation(generation);
        self.change(|inner| {
            inner.rev += 1;
            let assignment = Assignment { uid, epoch, generation, order };
            inner.assignments.insert((uid, epoch), (inner.rev, assignment));
        });
    }

    pub(crate) async fn receipt(&self, uid: SessionUid, epoch: u32) -> Receipt {
        self.find("a receipt", |inner| inner.receipt(uid, Epoch(epoch))).await
    }

    /// Asks for a transfer, and gives the head and the bytes.
    pub(crate) async fn transfer(
        &self,
        uid: SessionUid,
        kind: StreamKind,
        upload: Option<&[u8]>,
    ) -> (StreamHead, Vec<u8>) {
        let stream = StreamId(uuid::Uuid::now_v7());
        self.change(|inner| {
            if let Some(bytes) = upload {
                inner.uploads.insert(stream, bytes.to_vec());
            }
            inner.opens.push(OpenStream { stream, uid, reply_to: None, kind });
        });
        let bytes = self.find("an answer", |inner| inner.answers.get(&stream).cloned()).await;
        let end = bytes.iter().position(|byte| *byte == b'\n').unwrap();
        (serde_json::from_slice(&bytes[..end]).unwrap(), bytes[end + 1..].to_vec())
    }
}

impl Inner {
    pub(crate) fn receipt(&self, uid: SessionUid, epoch: Epoch) -> Option<Receipt> {
        self.records.iter().find_map(|record| match &record.body {
            RecordBody::Receipt { receipt } if (record.uid, record.epoch) == (uid, epoch) => {
                Some((**receipt).clone())
            }
            _ => None,
        })
    }

    pub(crate) fn started(&self, wanted: RunId) -> bool {
        let is = |record: &Record| matches!(&record.body, RecordBody::RunStarted { run } if *run == wanted);
        self.records.iter().any(is)
    }

    /// All text an epoch's agent has said.
    pub(crate) fn text(&self, uid: SessionUid, epoch: u32) -> String {
        let texts = self.records.iter().filter(|r| (r.uid, r.epoch) == (uid, Epoch(epoch)));
        texts
            .filter_map(|record| match &record.body {
                RecordBody::Output { data, .. } => data["text"].as_str().map(str::to_owned),
                _ => None,
            })
            .collect()
    }
}

type Answer<T> = Result<Json<T>, Refused>;

struct Refused(u16, &'static str);

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let Self(status, code) = self;
        (StatusCode::from_u16(status).unwrap(), Json(Problem::new(status, code, code)))
            .into_response()
    }
}

fn check(headers: &HeaderMap) -> Result<(), Refused> {
    let good = headers.get("authorization").is_some_and(|value| value == CREDENTIAL);
    if good { Ok(()) } else { Err(Refused(401, "unauthorized")) }
}

async fn enroll(
    State(c): State<Coordinator>,
    headers: HeaderMap,
    Json(_): Json<EnrollRequest>,
) -> Answer<EnrollReply> {
    if headers.get("authorization").is_none_or(|value| value != "Bearer join-me") {
        return Err(Refused(401, "unauthorized"));
    }
    let store_id = c.change(|inner| {
        inner.enrolled += 1;
        inner.store.unwrap()
    });
    Ok(Json(EnrollReply { credential: "runner-credential".into(), store_id }))
}

async fn sync(
    State(c): State<Coordinator>,
    headers: HeaderMap,
    Json(request): Json<SyncRequest>,
) -> Answer<SyncReply> {
    check(&headers)?;
    if Some(request.store_id) != c.lock().store {
        return Err(Refused(409, "foreign_store"));
    }
    c.change(|inner| inner.syncs.push(request.clone()));
    let mut changed = c.changed.subscribe();
    let news = async {
        while c.lock().rev <= request.since_rev && c.lock().opens.is_empty() {
            changed.changed().await.unwrap();
        }
    };
    let _ = tokio::time::timeout(Duration::from_millis(request.wait_ms), news).await;
    let inner = c.lock();
    let named = |uid| request.computes.iter().any(|compute| compute.uid == uid);
    Ok(Json(SyncReply {
        era: inner.era,
        store_id: inner.store.unwrap(),
        rev: inner.rev,
        assignments: inner
            .assignments
            .values()
            .filter(|(rev, _)| *rev > request.since_rev)
            .map(|(_, assignment)| assignment.clone())
            .collect(),
        opens: inner.opens.clone(),
        marks: inner
            .marks
            .iter()
            .filter(|((uid, _, _), _)| named(*uid))
            .map(|((uid, epoch, writer), index)| Mark {
                uid: *uid,
                epoch: *epoch,
                writer: *writer,
                index: *index,
            })
            .collect(),
        unclaimed: inner.unknown.iter().copied().filter(|uid| named(*uid)).collect(),
        drain: false,
        files: None,
    }))
}

async fn records(
    State(c): State<Coordinator>,
    headers: HeaderMap,
    body: Bytes,
) -> Answer<RecordsReply> {
    check(&headers)?;
    let lines = body.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let lines: Vec<RecordLine> = lines.map(|line| serde_json::from_slice(line).unwrap()).collect();
    let result = c.change(|inner| {
        inner.calls += 1;
        let mut named = BTreeSet::new();
        let is_delta = matches!(lines.first(), Some(RecordLine::Delta(_)));
        if inner.records_fail && !is_delta {
            return Err(Refused(503, "not_ready"));
        }
        for line in lines {
            match line {
                RecordLine::Delta(delta) => inner.deltas.push(delta),
                RecordLine::Record(record) => {
                    let key = (record.uid, record.epoch, record.writer);
                    if inner.unknown.contains(&record.uid) {
                        continue;
                    }
                    named.insert(key);
                    let mark = inner.marks.entry(key).or_default();
                    let from = match &record.body {
                        RecordBody::Gap { from, .. } => *from,
                        _ => record.index,
                    };
                    if record.index > *mark && from <= *mark + 1 {
                        *mark = record.index;
                        inner.records.push(*record);
                    }
                }
            }
        }
        if inner.records_flap && inner.calls.is_multiple_of(2) && !is_delta {
            return Err(Refused(503, "not_ready"));
        }
        let mark = |key: &(SessionUid, Epoch, Writer)| {
            let (uid, epoch, writer) = *key;
            Mark { uid, epoch, writer, index: inner.marks[key] }
        };
        Ok(RecordsReply { marks: named.iter().map(mark).collect() })
    });
    result.map(Json)
}

async fn compute(
    State(c): State<Coordinator>,
    headers: HeaderMap,
    Path((uid, epoch)): Path<(SessionUid, Epoch)>,
) -> Answer<ComputeBody> {
    check(&headers)?;
    let body = c.lock().bodies.get(&(uid, epoch)).cloned();
    body.map(Json).ok_or(Refused(404, "compute_not_found"))
}

async fn given(
    State(c): State<Coordinator>,
    headers: HeaderMap,
    Path((_, _, id)): Path<(SessionUid, Epoch, ApprovalId)>,
) -> Answer<AnswerBody> {
    check(&headers)?;
    let (answer, first) = c.change(|inner| {
        inner.given_asked += 1;
        (inner.given.get(&id).cloned(), inner.given_asked == 1)
    });
    if first {
        c.until("that the first answer is let go", |inner| !inner.given_held).await;
    }
    answer.map(|answer| Json(AnswerBody { answer })).ok_or(Refused(404, "approval_not_found"))
}

async fn settings(
    State(c): State<Coordinator>,
    headers: HeaderMap,
    Path((uid, epoch)): Path<(SessionUid, Epoch)>,
) -> Answer<SettingsBody> {
    check(&headers)?;
    let settings = c.change(|inner| {
        inner.settings_asked += 1;
        inner.settings.get(&(uid, epoch)).cloned().unwrap_or_default()
    });
    Ok(Json(SettingsBody { settings }))
}

async fn run(
    State(c): State<Coordinator>,
    headers: HeaderMap,
    Path(run): Path<RunId>,
) -> Answer<RunBody> {
    check(&headers)?;
    let body = c.lock().runs.get(&run).cloned();
    body.map(Json).ok_or(Refused(404, "run_not_found"))
}

async fn stream_in(
    State(c): State<Coordinator>,
    headers: HeaderMap,
    Path(id): Path<StreamId>,
) -> Result<Vec<u8>, Refused> {
    check(&headers)?;
    c.lock().uploads.get(&id).cloned().ok_or(Refused(404, "stream_not_found"))
}

async fn stream_out(
    State(c): State<Coordinator>,
    headers: HeaderMap,
    Path(id): Path<StreamId>,
    body: Bytes,
) -> Result<(), Refused> {
    check(&headers)?;
    c.change(|inner| {
        inner.opens.retain(|open| open.stream != id);
        inner.answers.insert(id, body.to_vec());
    });
    Ok(())
}
