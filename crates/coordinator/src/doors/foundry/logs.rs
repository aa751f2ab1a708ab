//! The log of a session as a stream of lines: the last ones, and then what comes. Each frame
//! has its place in the log as its id, so that a client that comes back misses nothing.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::StreamExt;
use greenroom_core::session::Life;
use greenroom_core::{Event, Seq, Session, SessionUid, Status, Timestamp};
use greenroom_protocol::Problem;
use http::{HeaderValue, header};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until};

use super::{Asked, sessions};
use crate::app::App;
use crate::auth::Caller;
use crate::error::ApiResult;
use crate::hub::Subscription;

/// Silence after which a comment says that the stream lives.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// Silence of the log that is said.
const SILENCE: Duration = Duration::from_secs(60);
/// Entries of the log that are read at once, and pages that are read for the last lines.
const PAGE: u32 = 500;
const PAGES: u32 = 20;
/// Lines to begin with, unless it is said; and at most.
const USUAL: usize = 50;
const MOST: usize = 300;

#[derive(Debug, Deserialize)]
struct LogQuery {
    kind: Option<String>,
    tail: Option<String>,
    follow: Option<String>,
}

/// Which entries of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// What the agent's process says.
    Console,
    /// What becomes of its session.
    System,
}

impl LogQuery {
    fn read(self) -> ApiResult<(Kind, usize, bool)> {
        let bad = |name: &str, detail: &str| Problem::invalid(format!("{name} {detail}")).at(name);
        let kind = match self.kind.as_deref() {
            None | Some("" | "console") => Kind::Console,
            Some("system") => Kind::System,
            Some(_) => return Err(bad("kind", "is console or system").into()),
        };
        let tail = match self.tail.as_deref().filter(|tail| !tail.is_empty()) {
            None => USUAL,
            Some(tail) => match tail.parse::<u64>() {
                Ok(tail) if tail > 0 => tail.min(MOST as u64) as usize,
                _ => return Err(bad("tail", "is a number from 1 to 300").into()),
            },
        };
        let follow = match self.follow.as_deref() {
            None | Some("" | "true") => true,
            Some("false") => false,
            Some(_) => return Err(bad("follow", "is true or false").into()),
        };
        Ok((kind, tail, follow))
    }
}

/// An entry as lines of the stream, if it is one.
fn line(event: &Event, kind: Kind) -> Option<Value> {
    let text = |stream: &str, text: &str| json!({ "timestamp": event.at, "stream": stream, "message": text.trim_end_matches('\n') });
    match (event.kind.as_str(), kind) {
        ("log", Kind::Console) => {
            let stream = event.data["stream"].as_str().unwrap_or("stdout");
            Some(text(stream, event.data["text"].as_str()?))
        }
        ("message", Kind::Console) => Some(text("stdout", event.data["text"].as_str()?)),
        ("session.status", Kind::System) => {
            let reason = event.data["reason"].as_str().map(|reason| format!(" ({reason})"));
            let status = event.data["status"].as_str()?;
            Some(text("status", &format!("session is {status}{}", reason.unwrap_or_default())))
        }
        ("session.stopped" | "session.finished" | "session.failed" | "session.interrupted", _) => {
            let receipt = &event.data["receipt"];
            let said = format!(
                "{} after {} ms: {} processes seen, {} survivors",
                event.kind, receipt["duration_ms"], receipt["processes_seen"], receipt["survivors"]
            );
            Some(text("status", &said))
        }
        (name, Kind::System) if name.starts_with("session.") || name.starts_with("run.") => {
            Some(text("status", name))
        }
        _ => None,
    }
}

fn frame(seq: Option<Seq>, data: &Value) -> Bytes {
    let id = seq.map(|seq| format!("id: {seq}\n")).unwrap_or_default();
    format!("{id}event: log\ndata: {data}\n\n").into()
}

/// What the session is, as the stream's first frame says it.
fn about(session: &Session) -> Value {
    let state = match session.status() {
        Status::Running | Status::Waiting | Status::Idle => "Running",
        Status::New | Status::Queued | Status::Starting => "Creating",
        Status::Stopping | Status::StopUnconfirmed => "Stopping",
        Status::Unreachable => "Unreachable",
        Status::Failed => "Failed",
        Status::Stopped | Status::Finished | Status::Interrupted => "Stopped",
        Status::Deleting => "Deleting",
    };
    json!({
        "timestamp": session.updated_at, "session_id": session.id.as_str(),
        "session_state": state, "agent": session.agent.name.as_str(),
        "version": session.agent.version.to_string(), "last_accessed": session.last_active_at,
    })
}

pub(super) async fn stream(asked: Asked, agent: &str, id: &str) -> ApiResult<Response> {
    let (app, caller) = (&asked.app, &asked.caller);
    let session = sessions::find(app, caller, agent, id).await?;
    let (kind, tail, follow) = asked.query::<LogQuery>()?.read()?;
    // Heard of from now on, so that nothing is missed between what is there and what comes.
    let news = app.hub.subscribe(session.uid);
    let after = asked.header("last-event-id").and_then(|id| id.trim().parse::<Seq>().ok());
    let (lines, position) = match after {
        Some(after) => (Vec::new(), after.min(session.last_seq)),
        None => tail_of(app, &session, kind, tail).await?,
    };
    let mut first = vec![frame(None, &about(&session))];
    if session.compute.as_ref().is_some_and(|compute| compute.ready) {
        first.push(frame(None, &said("Successfully connected to container")));
    }
    first.extend(lines);
    let now = Instant::now();
    let viewer = Viewer {
        app: Arc::clone(app),
        caller: caller.clone(),
        uid: session.uid,
        kind,
        follow,
        news,
        position,
        spoke: now,
        heartbeat: now + HEARTBEAT,
    };
    let rest = futures::stream::unfold(viewer, |mut viewer| async move {
        let bytes = viewer.next().await?;
        Some((bytes, viewer))
    });
    let all = futures::stream::iter(first).chain(rest).map(Ok::<_, std::convert::Infallible>);
    let mut response = Body::from_stream(all).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

fn said(text: &str) -> Value {
    let now = Timestamp::from_unix_ms(jiff::Timestamp::now().as_millisecond());
    json!({ "timestamp": now, "stream": "status", "message": text })
}

/// The last lines there are, and up to where the log was read.
async fn tail_of(
    app: &App,
    session: &Session,
    kind: Kind,
    tail: usize,
) -> ApiResult<(Vec<Bytes>, Seq)> {
    let end = session.last_seq;
    let mut lines: Vec<Bytes> = Vec::new();
    let mut to = end;
    for _ in 0..PAGES {
        let from = to.saturating_sub(Seq::from(PAGE) - 1).max(1);
        if to == 0 || lines.len() >= tail {
            break;
        }
        let events = app.store.events(session.uid, from, PAGE).await?;
        let fits = events.iter().filter(|event| event.seq <= to);
        let mut page: Vec<Bytes> =
            fits.filter_map(|event| Some(frame(Some(event.seq), &line(event, kind)?))).collect();
        page.append(&mut lines);
        lines = page;
        to = from - 1;
    }
    let from = lines.len().saturating_sub(tail);
    Ok((lines.split_off(from), end))
}

struct Viewer {
    app: Arc<App>,
    caller: Caller,
    uid: SessionUid,
    kind: Kind,
    follow: bool,
    news: Subscription,
    position: Seq,
    /// When there was something to say last.
    spoke: Instant,
    heartbeat: Instant,
}

impl Viewer {
    /// The next bytes; `None` ends the stream. News only wake it: what it says it reads from
    /// the log, in order.
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            let events = self.app.store.events(self.uid, self.position + 1, PAGE).await.ok()?;
            if let Some(last) = events.last() {
                self.position = last.seq;
                let lines = events
                    .iter()
                    .filter_map(|event| Some(frame(Some(event.seq), &line(event, self.kind)?)));
                let bytes: Vec<Bytes> = lines.collect();
                if !bytes.is_empty() {
                    self.spoke = Instant::now();
                    self.heartbeat = self.spoke + HEARTBEAT;
                    return Some(bytes.concat().into());
                }
                continue;
            }
            let session = self.app.store.session(self.uid).await.ok()??;
            let gone = session.life == Life::Removed || !self.caller.sees_session(&session);
            if gone || !self.follow {
                return None;
            }
            tokio::select! {
                biased;
                () = self.app.ending.cancelled() => return None,
                () = self.caller.revoked.cancelled() => return None,
                news = self.news.next() => { news?; }
                () = sleep_until(self.heartbeat) => return Some(self.silence()),
            }
        }
    }

    fn silence(&mut self) -> Bytes {
        let now = Instant::now();
        self.heartbeat = now + HEARTBEAT;
        if now.duration_since(self.spoke) < SILENCE {
            return Bytes::from_static(b": keep-alive\n\n");
        }
        self.spoke = now;
        frame(None, &said("No logs since last 60 seconds"))
    }
}
