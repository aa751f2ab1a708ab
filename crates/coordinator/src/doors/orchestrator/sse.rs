//! `GET /sse/sessions`: everything about all sessions one may see, in one stream.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use axum::routing::get;
use bytes::Bytes;
use futures::stream;
use greenroom_core::session::Life;
use greenroom_core::{Event, Session};
use greenroom_store::Commit;
use http::{HeaderMap, HeaderValue, header};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::feed::{self, Tick};
use super::{events, sessions, view, words};
use crate::app::App;
use crate::auth::{Allowed, Caller, ToRead};
use crate::error::ApiResult;
use crate::extract::Query;

/// Silence after which a comment says that the stream lives.
const HEARTBEAT: Duration = Duration::from_secs(30);
/// Entries that are read from the logs for one viewer that comes back.
const MOST: usize = 20_000;
/// So far the clock of a runner may be wrong, in milliseconds.
const SKEW_MS: i64 = 86_400_000;
/// Kinds of entries that are made here, at a time of this machine's clock.
const OURS: [&str; 4] = ["session.created", "session.updated", "session.placed", "run.queued"];

pub(super) fn routes() -> Router<Arc<App>> {
    Router::new().route("/sse/sessions", get(open))
}

#[derive(Debug, Default, Deserialize)]
struct Wanted {
    /// This session alone.
    session_id: Option<String>,
    /// Those of this owner.
    created_by: Option<String>,
    /// `false` leaves the snapshot out.
    include_init: Option<String>,
}

async fn open(
    State(app): State<Arc<App>>,
    Allowed { caller, .. }: Allowed<ToRead>,
    Query(wanted): Query<Wanted>,
    headers: HeaderMap,
) -> ApiResult<Response> {
    let last = headers.get("last-event-id").and_then(|value| value.to_str().ok()).map(str::trim);
    let last = last.filter(|id| !id.is_empty());
    let viewer = Viewer::begin(&app, caller, wanted, last).await?;
    let frames = stream::unfold(viewer, |mut viewer| async move {
        let bytes = viewer.next().await?;
        Some((Ok::<_, std::convert::Infallible>(bytes), viewer))
    });
    let mut response = Response::new(Body::from_stream(frames));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(response)
}

/// One frame.
fn frame(tick: Tick, event: &str, word: &str, data: &Value) -> Bytes {
    format!("id: {}\nevent: {event}\ndata: {data}\n\n", feed::id(tick, word)).into()
}

struct Viewer {
    app: Arc<App>,
    caller: Caller,
    wanted: Wanted,
    wakes: watch::Receiver<()>,
    /// Everything up to here was sent, or is not for this viewer.
    position: Tick,
    ready: VecDeque<Bytes>,
}

impl Viewer {
    async fn begin(
        app: &Arc<App>,
        caller: Caller,
        wanted: Wanted,
        last: Option<&str>,
    ) -> ApiResult<Self> {
        // Watched before anything is listed: what comes in between comes twice, not never.
        let (now, wakes) = app.orchestrator.feed.watch(app.clock.wall().unix_ms());
        let mut viewer = Self {
            app: Arc::clone(app),
            caller,
            wanted,
            wakes,
            position: now,
            // Sends the headers at once.
            ready: VecDeque::from([Bytes::from_static(b": heartbeat\n\n")]),
        };
        match last.map(|id| feed::read_id(id).unwrap_or(0)) {
            None if viewer.wanted.include_init.as_deref() == Some("false") => {}
            None => viewer.init().await?,
            Some(tick) if app.orchestrator.feed.after(tick).is_some() => viewer.position = tick,
            Some(tick) => viewer.catch_up(tick).await?,
        }
        Ok(viewer)
    }

    fn wants(&self, session: &Session) -> bool {
        let named = self.wanted.session_id.as_deref().filter(|id| !id.is_empty());
        let by = self.wanted.created_by.as_deref().filter(|by| !by.is_empty());
        self.caller.sees_session(session)
            && named.is_none_or(|id| id == session.id.as_str())
            && by.is_none_or(|by| by == session.owner.0)
    }

    /// All sessions as they are.
    async fn init(&mut self) -> ApiResult<()> {
        let mut all = Vec::new();
        for session in sessions::visible(&self.app, &self.caller).await? {
            if self.wants(&session) {
                all.push(view::session(&self.app, &session).await?);
            }
        }
        self.ready.push_back(frame(self.position, "init", "ini", &json!({ "sessions": all })));
        Ok(())
    }

    /// What was missed is not here any more: the logs have it. The entries since then first,
    /// with the id that the viewer came with, then all sessions as they are.
    async fn catch_up(&mut self, tick: Tick) -> ApiResult<()> {
        let since = i64::try_from(tick / 1000).unwrap_or(i64::MAX);
        let mut left = MOST;
        for session in sessions::visible(&self.app, &self.caller).await? {
            let active = session.last_active_at.max(session.updated_at).unix_ms();
            let old = session.compute.is_none() && active.saturating_add(SKEW_MS) < since;
            if tick == 0 || old || !self.wants(&session) {
                continue;
            }
            let missed = self.missed(&session, since, left).await?;
            left = left.saturating_sub(missed.len());
            for event in missed.iter().rev() {
                if let Some(shown) = events::shown(&session.id, event) {
                    self.ready.push_back(frame(tick, "event", "evt", &json!({ "data": shown })));
                }
                if let Some((run, error)) = events::failure(event) {
                    let data = json!({ "run_id": words::run_id(run), "error": error,
                        "session_id": session.id });
                    self.ready.push_back(frame(tick, "run_failed", "rfl", &data));
                }
            }
        }
        self.init().await
    }

    /// The end of a log, newest first, back to an entry that was certainly there before. Only
    /// entries of our own have times of our own clock, so it goes back to one of those: rather
    /// something twice, which its id tells, than something never.
    async fn missed(&self, session: &Session, since: i64, most: usize) -> ApiResult<Vec<Event>> {
        let mut missed = Vec::new();
        let mut to = session.last_seq;
        while to > 0 && missed.len() < most {
            let from = to.saturating_sub(255).max(1);
            let page = self.app.store.events(session.uid, from, (to - from + 1) as u32).await?;
            for event in page.into_iter().rev() {
                if OURS.contains(&event.kind.as_str()) && event.at.unix_ms() < since {
                    return Ok(missed);
                }
                missed.push(event);
            }
            to = from - 1;
        }
        Ok(missed)
    }

    /// The next bytes; `None` ends the stream.
    async fn next(&mut self) -> Option<Bytes> {
        let heartbeat = Instant::now() + HEARTBEAT;
        loop {
            if let Some(bytes) = self.ready.pop_front() {
                return Some(bytes);
            }
            self.wakes.mark_unchanged();
            match self.app.orchestrator.feed.after(self.position) {
                // Too slow, or too long away: everything anew.
                None => {
                    let behind = self.position;
                    (self.position, self.wakes) =
                        self.app.orchestrator.feed.watch(self.app.clock.wall().unix_ms());
                    self.app.orchestrator.feed.leave();
                    self.catch_up(behind).await.ok()?;
                    continue;
                }
                Some(found) if !found.is_empty() => {
                    for (first, commit) in found {
                        self.frames(first, &commit).await.ok()?;
                        self.position = feed::end_of(first, &commit);
                    }
                    continue;
                }
                Some(_) => {}
            }
            tokio::select! {
                biased;
                () = self.app.ending.cancelled() => return None,
                () = self.caller.revoked.cancelled() => return None,
                changed = self.wakes.changed() => changed.ok()?,
                () = sleep_until(heartbeat) => return Some(Bytes::from_static(b": heartbeat\n\n")),
            }
        }
    }

    /// What a commit says, after the position.
    async fn frames(&mut self, first: Tick, commit: &Arc<Commit>) -> ApiResult<()> {
        let session = &commit.session;
        if !self.wants(session) {
            return Ok(());
        }
        let after = self.position;
        let created = commit.events.first().is_some_and(|event| event.kind == "session.created");
        if first > after {
            if session.life == Life::Removed {
                let runs = self.app.store.runs(session.uid, 1000, None).await?.items.len();
                let data = json!({ "session_id": session.id, "runs_deleted": runs });
                self.ready.push_back(frame(first, "session_deleted", "sdl", &data));
            } else if commit.state_changed || created {
                let data = json!({ "session": view::session(&self.app, session).await? });
                let (event, word) = match created {
                    true => ("session_created", "scr"),
                    false => ("session_updated", "sup"),
                };
                self.ready.push_back(frame(first, event, word, &data));
            }
        }
        let mut tick = first;
        for event in &commit.events {
            tick += 1;
            if tick > after
                && let Some(shown) = events::shown(&session.id, event)
            {
                self.ready.push_back(frame(tick, "event", "evt", &json!({ "data": shown })));
            }
            tick += 1;
            if tick > after
                && let Some((run, error)) = events::failure(event)
            {
                let data = json!({ "run_id": words::run_id(run), "error": error,
                    "session_id": session.id });
                self.ready.push_back(frame(tick, "run_failed", "rfl", &data));
            }
        }
        Ok(())
    }
}

impl Drop for Viewer {
    fn drop(&mut self) {
        self.app.orchestrator.feed.leave();
    }
}
