//! How a session stands, and what has happened in it since.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::Response;
use bytes::Bytes;
use futures::stream::{self, StreamExt};
use greenroom_core::{Ms, Seq, Session};
use greenroom_protocol::{Problem, v1};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use super::asked::bad;
use super::call::frame;
use super::face::Face;
use super::frames::Frames;
use super::names::Segments;
use super::overrides;
use super::run::{rendered, respond};
use super::shown;
use super::watch::{Next, Over, Watch};
use crate::api::json as answer;
use crate::app::App;
use crate::auth::{Allowed, Caller, ToRead};
use crate::error::ApiResult;
use crate::extract::{Query, duration};
use crate::service::{approvals, sessions};

/// Entries before a position that say what is meant by those behind it.
const WARM: Seq = 5_000;
/// Entries of a log that are read at once.
const CHUNK: u32 = 1000;
/// The longest that somebody waits for a session.
const LONGEST: Duration = Duration::from_secs(300);

#[derive(Debug, Deserialize)]
pub(super) struct Wait {
    #[serde(default, deserialize_with = "duration")]
    wait: Option<Ms>,
}

/// `GET /api/sessions/{id}/status?wait=10s`
pub(super) async fn status(
    State(app): State<Arc<App>>,
    Allowed { caller, .. }: Allowed<ToRead>,
    path: Segments,
    Query(query): Query<Wait>,
) -> ApiResult<Response> {
    let session = match query.wait {
        Some(wait) => wait_for(&app, &caller, &path.session(), Duration::from(wait)).await?,
        None => sessions::find(&app, &caller, &path.session()).await?,
    };
    let counts = shown::counts(&app, &[session.uid]).await?;
    let messages = counts.first().copied().unwrap_or(0);
    Ok(answer(StatusCode::OK, &shown::status(&session, messages)))
}

/// A session, as soon as it is there.
async fn wait_for(app: &App, caller: &Caller, id: &str, wait: Duration) -> ApiResult<Arc<Session>> {
    let deadline = tokio::time::Instant::now() + wait.min(LONGEST);
    // Heard from before the look, so that nothing is missed.
    let mut changes = app.hub.changes();
    loop {
        match sessions::find(app, caller, id).await {
            Err(error) if error.0.status == 404 => {}
            found => return found,
        }
        let heard = tokio::select! {
            heard = tokio::time::timeout_at(deadline, changes.recv()) => heard.is_ok(),
            () = app.ending.cancelled() => false,
        };
        if !heard {
            let shown: String = id.chars().take(140).collect();
            let detail = format!("session {shown:?} was not there in time");
            let mut problem = Problem::new(503, "not_ready", detail);
            problem.retry_after = Some(1);
            return Err(problem.into());
        }
    }
}

/// `GET /api/sessions/{id}/snapshot`
pub(super) async fn snapshot(
    State(app): State<Arc<App>>,
    Allowed { caller, .. }: Allowed<ToRead>,
    path: Segments,
) -> ApiResult<Response> {
    let session = sessions::find(&app, &caller, &path.session()).await?;
    let mut transcript = shown::transcript(&app, &session).await?;
    let frames = Frames::of(Face::of(&app, &session).await?);
    let open = approvals::of_session(&app, &caller, session.id.as_str()).await?;
    let pending = open
        .iter()
        .filter(|ask| ask.status == v1::ApprovalStatus::Open)
        .map(|ask| frames.question(ask.requested_at, &json!(ask)))
        .collect();
    let view = shown::snapshot(&app, &session, &mut transcript, pending);
    Ok(answer(StatusCode::OK, &overrides::with(&app, &session, view).await?))
}

#[derive(Debug, Deserialize)]
pub(super) struct EventsQuery {
    #[serde(default)]
    since: Option<String>,
    #[serde(default)]
    since_epoch: Option<String>,
}

/// Where a viewer begins.
#[derive(Debug, PartialEq, Eq)]
struct Start {
    after: Seq,
    /// What it has seen is of another log, or of one that was longer.
    gap: bool,
}

/// Where a viewer begins that has seen everything up to `since` of the log `seen_epoch`.
fn start(since: Option<Seq>, seen_epoch: Option<&str>, now: &str, last: Seq, era: u32) -> Start {
    let whole = |gap| Start { after: 0, gap };
    let Some(since) = since.filter(|since| *since > 0) else { return whole(false) };
    match seen_epoch {
        Some(seen) if seen != now => whole(true),
        // Of which history the position is nobody can say once there are several.
        None if era > 0 => whole(true),
        _ if since > last => whole(true),
        _ => Start { after: since, gap: false },
    }
}

fn position(text: &str, name: &str) -> Result<Seq, Box<Problem>> {
    text.trim().parse().map_err(|_| {
        let shown: String = text.chars().take(40).collect();
        bad(format!("{name}: {shown:?} is not a position in a stream: use a number such as 42"))
    })
}

/// `GET /api/sessions/{id}/events?since=N&since_epoch=E`, or with `Last-Event-ID`.
pub(super) async fn events(
    State(app): State<Arc<App>>,
    Allowed { caller, .. }: Allowed<ToRead>,
    path: Segments,
    Query(query): Query<EventsQuery>,
    headers: HeaderMap,
) -> ApiResult<Response> {
    let session = sessions::find(&app, &caller, &path.session()).await?;
    let last_event = headers.get("last-event-id").map(|value| value.to_str().unwrap_or("?"));
    let since = match (last_event.filter(|text| !text.trim().is_empty()), query.since.as_deref()) {
        (Some(text), _) => Some(position(text, "Last-Event-ID")?),
        (None, Some(text)) if !text.is_empty() => Some(position(text, "since")?),
        _ => None,
    };
    let epoch = shown::epoch(&app, &session);
    let seen_epoch = query.since_epoch.as_deref().filter(|epoch| !epoch.is_empty());
    let start = start(since, seen_epoch, &epoch, session.last_seq, app.hub.era());
    let watch = Watch::begin(&app, &caller, &session, Some(start.after)).await?;
    let mut frames = Frames::of(Face::of(&app, &session).await?);
    warm(&app, &session, &mut frames, start.after).await?;
    let hello = json!({
        "type": "stream_epoch", "session_id": session.id, "epoch": epoch,
        "last_event_seq": session.last_seq,
    });
    let mut ready = VecDeque::from([Bytes::from(frame(&hello, None))]);
    if start.gap {
        ready.push_back(Bytes::from(frame(&json!({ "type": "gap" }), None)));
    }
    let follow = Follow { app, watch, frames, ready, over: false };
    let all = stream::unfold(follow, |mut follow| async move {
        let bytes = follow.next().await?;
        Some((bytes, follow))
    });
    let mut response = respond(all.boxed());
    if let Ok(epoch) = HeaderValue::from_str(&epoch) {
        response.headers_mut().insert("x-session-event-epoch", epoch);
    }
    Ok(response)
}

/// Reads what stands before a position, so that what is behind it is understood.
async fn warm(app: &App, session: &Session, frames: &mut Frames, after: Seq) -> ApiResult<()> {
    let mut from = after.saturating_sub(WARM) + 1;
    while from <= after {
        let events = app.store.events(session.uid, from, CHUNK).await?;
        let Some(last) = events.last() else { break };
        from = last.seq + 1;
        for event in events.iter().filter(|event| event.seq <= after) {
            frames.event(event);
        }
    }
    Ok(())
}

/// The stream of a session. It has what the log has, each entry once and with its position;
/// text comes when the log has it, within a second.
struct Follow {
    app: Arc<App>,
    watch: Watch,
    frames: Frames,
    ready: VecDeque<Bytes>,
    over: bool,
}

impl Follow {
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(bytes) = self.ready.pop_front() {
                return Some(bytes);
            }
            if self.over {
                return None;
            }
            match self.watch.next().await {
                Next::Quiet => return Some(Bytes::from_static(b": ping\n\n")),
                Next::Delta(_) => {}
                Next::Event(event) => {
                    if let Some(run) = self.frames.lacks(&event)
                        && let Ok(Some(row)) = self.app.store.run(run).await
                    {
                        let asks = json!({ "prompt": row.prompt, "input": row.input });
                        self.frames.knows(run, &asks);
                    }
                    let events: Vec<Value> = self.frames.event(&event);
                    self.ready.extend(rendered(&events, Some(event.seq)));
                }
                Next::Over(over) => {
                    self.over = true;
                    if over == Over::Gone {
                        let exited = json!({ "type": "session_exited", "reason": "deleted" });
                        self.ready.push_back(Bytes::from(frame(&exited, None)));
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_of_another_log_is_a_gap_and_never_silent() {
        let begin = |since, epoch: Option<&str>, era| start(since, epoch, "0-a", 10, era);
        let at = |after, gap| Start { after, gap };
        assert_eq!(begin(None, None, 0), at(0, false));
        assert_eq!(begin(Some(0), Some("0-a"), 0), at(0, false));
        assert_eq!(begin(Some(4), Some("0-a"), 0), at(4, false));
        assert_eq!(begin(Some(4), None, 0), at(4, false));
        assert_eq!(begin(Some(10), Some("0-a"), 0), at(10, false));
        assert_eq!(begin(Some(4), Some("0-b"), 0), at(0, true), "another log");
        assert_eq!(begin(Some(11), Some("0-a"), 0), at(0, true), "a longer one");
        assert_eq!(begin(Some(4), None, 1), at(0, true), "which one nobody can say");
        assert!(position("x", "since").is_err() && position("-1", "since").is_err());
    }
}
