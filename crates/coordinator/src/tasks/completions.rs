//! Tells parents about the ends of their children's runs: an outbox row becomes an
//! ordinary command to the parent, exactly once.

use std::sync::Arc;
use std::time::Duration;

use crate::app::{App, fresh};

use super::next;

pub(super) async fn run(app: Arc<App>) {
    loop {
        while deliver(&app).await {}
        if !next(&app, &app.wakes.completions, Duration::from_secs(30)).await {
            return;
        }
    }
}

/// Delivers what waits. `true` when there may be more.
async fn deliver(app: &App) -> bool {
    let waiting = match app.store.completions(100).await {
        Ok(waiting) => waiting,
        Err(error) => {
            tracing::warn!(%error, "the outbox cannot be read; it is tried again");
            return false;
        }
    };
    let mut delivered = false;
    for completion in waiting {
        let parent = completion.parent;
        let place = match app.store.session(parent).await {
            Ok(Some(session)) => {
                let labels = app.runner_labels(&session).await;
                app.runners.candidates(session.home, &labels)
            }
            _ => Vec::new(),
        };
        match app.store.deliver(completion, fresh::run(), place).await {
            Ok(()) => delivered = true,
            Err(error) => {
                tracing::warn!(%parent, %error, "a completion could not be delivered; it is tried again");
            }
        }
    }
    delivered && !app.ending.is_cancelled()
}
