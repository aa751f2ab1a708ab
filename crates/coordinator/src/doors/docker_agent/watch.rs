//! What happens in a session from a position on: its log without gaps and doubles, and text
//! as it comes.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use greenroom_core::session::Life;
use greenroom_core::{Event, Seq, Session, SessionUid};
use tokio::time::{Instant, sleep_until};

use crate::app::App;
use crate::auth::Caller;
use crate::error::ApiResult;
use crate::hub::{DeltaFrame, News, Subscription};

/// Silence after which somebody is told that the stream lives.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// Entries of the log that are read at once.
const PAGE: u32 = 64;

/// What happens next.
pub(super) enum Next {
    /// An entry of the log.
    Event(Event),
    /// A piece of text, as it comes.
    Delta(Arc<DeltaFrame>),
    /// Nothing, for a while.
    Quiet,
    /// Nothing more.
    Over(Over),
}

/// Why there is nothing more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Over {
    /// The session was removed.
    Gone,
    /// The coordinator ends.
    Ending,
    /// The caller may not see it any more.
    Hidden,
    /// The log cannot be read.
    Broken,
}

/// One viewer.
pub(super) struct Watch {
    app: Arc<App>,
    caller: Caller,
    uid: SessionUid,
    news: Subscription,
    /// Everything up to here was said.
    position: Seq,
    /// The log goes at least so far: it is read before anything live is said.
    known: Seq,
    ready: VecDeque<Event>,
    gone: bool,
    heartbeat: Instant,
}

impl Watch {
    /// Begins to watch behind a position; `after` nothing means behind all there is.
    pub(super) async fn begin(
        app: &Arc<App>,
        caller: &Caller,
        session: &Session,
        after: Option<Seq>,
    ) -> ApiResult<Self> {
        // Subscribed before its length is read: what comes in between comes twice, not never.
        let news = app.hub.subscribe(session.uid);
        let now = app.store.session(session.uid).await?;
        let known = now.as_ref().map_or(session.last_seq, |now| now.last_seq);
        Ok(Self {
            app: Arc::clone(app),
            caller: caller.clone(),
            uid: session.uid,
            news,
            position: after.unwrap_or(known),
            known,
            ready: VecDeque::new(),
            gone: now.is_none_or(|now| now.life == Life::Removed),
            heartbeat: Instant::now() + HEARTBEAT,
        })
    }

    /// What happens next.
    pub(super) async fn next(&mut self) -> Next {
        let next = self.look().await;
        self.heartbeat = Instant::now() + HEARTBEAT;
        next
    }

    async fn look(&mut self) -> Next {
        loop {
            if let Some(event) = self.ready.pop_front() {
                if event.seq <= self.position {
                    continue;
                }
                self.position = event.seq;
                return Next::Event(event);
            }
            if self.position < self.known {
                match self.app.store.events(self.uid, self.position + 1, PAGE).await {
                    Ok(events) if events.is_empty() => {
                        // Its log is being removed under our eyes.
                        self.position = self.known;
                        self.gone |= !matches!(self.app.store.session(self.uid).await, Ok(Some(_)));
                    }
                    Ok(events) => self.ready.extend(events),
                    Err(error) => {
                        tracing::warn!(%error, "a stream ended: the log cannot be read");
                        return Next::Over(Over::Broken);
                    }
                }
                continue;
            }
            if self.gone {
                return Next::Over(Over::Gone);
            }
            let news = tokio::select! {
                biased;
                () = self.app.ending.cancelled() => return Next::Over(Over::Ending),
                () = self.caller.revoked.cancelled() => return Next::Over(Over::Hidden),
                news = self.news.next() => news,
                () = sleep_until(self.heartbeat) => return Next::Quiet,
            };
            match news {
                None => return Next::Over(Over::Ending),
                Some(News::Delta(delta)) => return Next::Delta(delta),
                Some(News::Batch(batch)) => {
                    let session = &batch.commit.session;
                    if !self.caller.sees_session(session) {
                        return Next::Over(Over::Hidden);
                    }
                    self.gone = session.life == Life::Removed;
                    self.known = self.known.max(session.last_seq);
                    let goes_on = batch
                        .commit
                        .events
                        .first()
                        .is_some_and(|event| event.seq <= self.position + 1);
                    if goes_on {
                        self.ready.extend(batch.commit.events.iter().cloned());
                    }
                }
                Some(News::Behind) => match self.app.store.session(self.uid).await {
                    Ok(Some(session)) if self.caller.sees_session(&session) => {
                        self.known = self.known.max(session.last_seq);
                    }
                    Ok(Some(_)) => return Next::Over(Over::Hidden),
                    Ok(None) => return Next::Over(Over::Gone),
                    Err(_) => return Next::Over(Over::Broken),
                },
            }
        }
    }
}
