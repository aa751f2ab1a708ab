//! Removes what is left of sessions that are gone, some rows at a time, so that nobody
//! waits for it.

use std::sync::Arc;
use std::time::Duration;

use crate::app::App;

use super::next;

/// Between two helpings.
const PAUSE: Duration = Duration::from_millis(5);

pub(super) async fn run(app: Arc<App>) {
    loop {
        loop {
            match app.store.purge().await {
                Ok(true) if !app.ending.is_cancelled() => tokio::time::sleep(PAUSE).await,
                Ok(_) => break,
                Err(error) => {
                    tracing::warn!(%error, "removing old rows failed; it is tried again");
                    break;
                }
            }
        }
        if !next(&app, &app.wakes.purge, Duration::from_secs(600)).await {
            return;
        }
    }
}
