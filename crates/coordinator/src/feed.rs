//! Streams of events: replay, then live. Each viewer subscribes before it reads the log,
//! drops doubles by their position, and falls back to the log when it is too slow.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use bytes::{Bytes, BytesMut};
use futures::future::ready;
use futures::stream::{self, BoxStream, SelectAll, StreamExt};
use greenroom_core::session::Life;
use greenroom_core::{Seq, Session, SessionId, SessionUid};
use http::{HeaderValue, header};
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use tokio::time::{Instant, sleep_until};

use crate::app::App;
use crate::auth::Caller;
use crate::error::ApiResult;
use crate::hub::{ChangeFrame, Cursor, FrameStyle, Frames, News, Subscription};

/// Silence after which a comment says that the stream lives.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// What a viewer is told that was too slow for the changes of all sessions.
const BEHIND: &[u8] = b"event: resync\ndata: {\"reason\":\"behind\"}\n\n";
/// Events that are read from the log at once.
const PAGE: u32 = 64;

/// Where a viewer begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Start {
    /// With this event.
    At(Seq),
    /// After this cursor, which may be of another history.
    After(Cursor),
}

/// One viewer of one session.
struct Viewer {
    app: Arc<App>,
    caller: Caller,
    uid: SessionUid,
    id: SessionId,
    style: FrameStyle,
    news: Subscription,
    /// Everything up to here was sent.
    position: Seq,
    /// The log goes at least so far: it is read before anything live is sent.
    known: Seq,
    resync: Option<Bytes>,
    gone: bool,
    heartbeat: Instant,
}

/// The frames of one session, as bytes.
async fn frames(
    app: &Arc<App>,
    caller: &Caller,
    found: &Arc<Session>,
    start: Start,
    style: FrameStyle,
) -> ApiResult<BoxStream<'static, Bytes>> {
    // Subscribed before its length is read: what comes in between comes twice, not never.
    let news = app.hub.subscribe(found.uid);
    let session = app.store.session(found.uid).await?;
    let session = session.unwrap_or_else(|| {
        let mut gone = (**found).clone();
        gone.life = Life::Removed;
        Arc::new(gone)
    });
    let (position, resync) = begin(app.hub.era(), &session, start, style);
    let viewer = Viewer {
        app: Arc::clone(app),
        caller: caller.clone(),
        uid: session.uid,
        id: session.id.clone(),
        style,
        news,
        position,
        known: session.last_seq,
        resync,
        gone: session.life == Life::Removed,
        heartbeat: Instant::now() + HEARTBEAT,
    };
    Ok(stream::unfold(viewer, |mut viewer| async move {
        let bytes = viewer.next().await?;
        viewer.heartbeat = Instant::now() + HEARTBEAT;
        Some((bytes, viewer))
    })
    .boxed())
}

/// Where a viewer really begins. One that knows another history, or more than there is, is
/// told so instead of silently missing what is new.
fn begin(era: u32, session: &Session, start: Start, style: FrameStyle) -> (Seq, Option<Bytes>) {
    let last = session.last_seq;
    let (position, reason) = match start {
        Start::After(cursor) if cursor.era != era => (0, Some("era")),
        Start::After(cursor) if cursor.seq > last => (last, Some("beyond_end")),
        Start::After(cursor) => (cursor.seq, None),
        Start::At(from) if from.saturating_sub(1) > last => (last, Some("beyond_end")),
        Start::At(from) => (from.saturating_sub(1), None),
    };
    let resync = reason.map(|reason| {
        let mut data = serde_json::json!({
            "reason": reason, "from": position + 1, "last_seq": last, "era": era,
        });
        if style == FrameStyle::Named {
            data["session_id"] = session.id.as_str().into();
        }
        Bytes::from(format!("event: resync\ndata: {data}\n\n"))
    });
    (position, resync)
}

impl Viewer {
    /// The next bytes to send; `None` ends the stream.
    async fn next(&mut self) -> Option<Bytes> {
        if let Some(resync) = self.resync.take() {
            return Some(resync);
        }
        loop {
            if self.position < self.known {
                match self.replay().await {
                    Some(bytes) if !bytes.is_empty() => return Some(bytes),
                    Some(_) => continue,
                    None => return None,
                }
            }
            if self.gone {
                return None;
            }
            let news = tokio::select! {
                biased;
                () = self.app.ending.cancelled() => return None,
                () = self.caller.revoked.cancelled() => return None,
                news = self.news.next() => news,
                () = sleep_until(self.heartbeat) => return Some(Bytes::from_static(b": \n\n")),
            };
            match news? {
                News::Delta(delta) => return Some(delta.frame(self.style)),
                News::Batch(batch) => {
                    let session = &batch.commit.session;
                    if !self.caller.sees_session(session) {
                        return None;
                    }
                    self.gone = session.life == Life::Removed;
                    let first = batch.commit.events.first().map_or(Seq::MAX, |event| event.seq);
                    let last = session.last_seq;
                    if last <= self.position || first == Seq::MAX {
                        continue;
                    }
                    if first > self.position + 1 {
                        // Something between was not heard: the log has it.
                        self.known = last;
                        continue;
                    }
                    let bytes = batch.frames(self.style).after(self.position);
                    self.position = last;
                    self.known = self.known.max(last);
                    return Some(bytes);
                }
                News::Behind => match self.app.store.session(self.uid).await {
                    Ok(Some(session)) if self.caller.sees_session(&session) => {
                        self.known = self.known.max(session.last_seq);
                    }
                    Ok(_) => return None,
                    Err(error) => return self.broken(&error.to_string()),
                },
            }
        }
    }

    /// A page of the log. An empty one where there is nothing to read any more.
    async fn replay(&mut self) -> Option<Bytes> {
        let session = (self.style == FrameStyle::Named).then_some(&self.id);
        match self.app.store.events(self.uid, self.position + 1, PAGE).await {
            Ok(events) => {
                match events.last() {
                    Some(last) => self.position = last.seq,
                    // Its log is being removed under our eyes.
                    None => {
                        self.position = self.known;
                        self.gone |= !matches!(self.app.store.session(self.uid).await, Ok(Some(_)));
                    }
                }
                Some(Frames::render(self.app.hub.era(), session, &events).after(0))
            }
            Err(error) => self.broken(&error.to_string()),
        }
    }

    /// The store failed: the viewer comes back with its cursor, so the stream just ends.
    fn broken(&self, error: &str) -> Option<Bytes> {
        tracing::warn!(session = %self.id, error, "a viewer's stream ended: the log cannot be read");
        None
    }
}

/// The stream of one session.
pub(crate) async fn session_stream(
    app: &Arc<App>,
    caller: &Caller,
    session: &Arc<Session>,
    start: Start,
) -> ApiResult<Response> {
    // A first comment sends the headers at once, also where nothing is to be said yet.
    let hello = stream::once(async { Bytes::from_static(b": \n\n") });
    let frames = frames(app, caller, session, start, FrameStyle::Plain).await?;
    Ok(respond(hello.chain(frames).boxed()))
}

/// The stream over all sessions a caller may see, with the events of those it watches.
pub(crate) async fn change_stream(
    app: &Arc<App>,
    caller: &Caller,
    watched: &[(Arc<Session>, Start)],
) -> ApiResult<Response> {
    let changes = Changes {
        app: Arc::clone(app),
        caller: caller.clone(),
        news: app.hub.changes(),
        first: VecDeque::from([Bytes::from_static(b": \n\n")]),
        heartbeat: Instant::now() + HEARTBEAT,
    };
    let changes = stream::unfold(changes, |mut changes| async move {
        let bytes = changes.next().await?;
        changes.heartbeat = Instant::now() + HEARTBEAT;
        Some((bytes, changes))
    });
    if watched.is_empty() {
        return Ok(respond(changes.boxed()));
    }
    let mut events: SelectAll<BoxStream<'static, Bytes>> = SelectAll::new();
    for (session, start) in watched {
        events.push(frames(app, caller, session, *start, FrameStyle::Named).await?);
    }
    // The changes decide how long the stream lasts; a watched session may end before.
    let both =
        stream::select(changes.map(Some).chain(stream::once(async { None })), events.map(Some));
    let until_it_ends = both.take_while(|bytes| ready(bytes.is_some())).filter_map(ready);
    Ok(respond(until_it_ends.boxed()))
}

struct Changes {
    app: Arc<App>,
    caller: Caller,
    news: tokio::sync::broadcast::Receiver<Arc<ChangeFrame>>,
    first: VecDeque<Bytes>,
    heartbeat: Instant,
}

impl Changes {
    async fn next(&mut self) -> Option<Bytes> {
        if let Some(first) = self.first.pop_front() {
            return Some(first);
        }
        loop {
            let news = tokio::select! {
                biased;
                () = self.app.ending.cancelled() => return None,
                () = self.caller.revoked.cancelled() => return None,
                news = self.news.recv() => news,
                () = sleep_until(self.heartbeat) => return Some(Bytes::from_static(b": \n\n")),
            };
            match news {
                Ok(change) => {
                    let visible = change.about.as_ref().is_none_or(|about| self.caller.sees(about));
                    if visible {
                        return Some(self.gather(change));
                    }
                }
                // List again, then follow: what was missed is in the list.
                Err(RecvError::Lagged(_)) => {
                    return Some(Bytes::from_static(BEHIND));
                }
                Err(RecvError::Closed) => return None,
            }
        }
    }

    /// Puts what is there already into one piece.
    fn gather(&mut self, change: Arc<ChangeFrame>) -> Bytes {
        let mut bytes = BytesMut::from(&change.frame[..]);
        while bytes.len() < 16 * 1024 {
            match self.news.try_recv() {
                Ok(change) => {
                    if change.about.as_ref().is_none_or(|about| self.caller.sees(about)) {
                        bytes.extend_from_slice(&change.frame);
                    }
                }
                Err(TryRecvError::Lagged(_)) => bytes.extend_from_slice(BEHIND),
                Err(TryRecvError::Empty | TryRecvError::Closed) => break,
            }
        }
        bytes.freeze()
    }
}

fn respond(frames: BoxStream<'static, Bytes>) -> Response {
    let body = Body::from_stream(frames.map(Ok::<_, std::convert::Infallible>));
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // Some proxies hold back what is not asked for in this way.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}
