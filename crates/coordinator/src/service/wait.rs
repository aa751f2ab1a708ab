//! Waiting for a session to come to something, without asking again and again.

use std::sync::Arc;
use std::time::Duration;

use greenroom_core::{Event, Session, SessionUid};
use tokio::time::{Instant, timeout_at};

use crate::app::App;
use crate::error::ApiResult;
use crate::hub::{News, Subscription};

/// The longest a request may wait.
pub(crate) const LONGEST: Duration = Duration::from_secs(600);

/// What somebody waits with: subscribed before the wish was committed, so nothing that
/// follows is missed.
pub(crate) struct Waiter {
    subscription: Subscription,
    uid: SessionUid,
    deadline: Instant,
}

impl Waiter {
    /// Begins to listen, for so long.
    pub(crate) fn new(app: &App, uid: SessionUid, wait: Duration) -> Self {
        let deadline = Instant::now() + wait.min(LONGEST);
        Self { subscription: app.hub.subscribe(uid), uid, deadline }
    }

    /// The first state for which `done` answers something. `None` when the time has run
    /// out, or the coordinator ends. A session that is gone is `done(None, …)`.
    pub(crate) async fn until<T>(
        mut self,
        app: &App,
        mut done: impl FnMut(Option<&Arc<Session>>, &[Event]) -> Option<T>,
    ) -> ApiResult<Option<T>> {
        let session = app.store.session(self.uid).await?;
        if let Some(answer) = done(session.as_ref(), &[]) {
            return Ok(Some(answer));
        }
        loop {
            let news = tokio::select! {
                news = timeout_at(self.deadline, self.subscription.next()) => news,
                () = app.ending.cancelled() => return Ok(None),
            };
            let answer = match news {
                Err(_) | Ok(None) => return Ok(None),
                Ok(Some(News::Batch(batch))) => {
                    done(Some(&batch.commit.session), &batch.commit.events)
                }
                Ok(Some(News::Delta(_))) => None,
                Ok(Some(News::Behind)) => {
                    let session = app.store.session(self.uid).await?;
                    done(session.as_ref(), &[])
                }
            };
            if answer.is_some() {
                return Ok(answer);
            }
        }
    }
}
