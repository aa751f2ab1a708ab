//! Expires sessions whose time to live has passed or that were not used for too long, and
//! removes them a day of our own uptime later. All by the time in which a coordinator was up:
//! no clock can jump over it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use greenroom_core::SessionUid;
use greenroom_core::command::{Actor, Command};
use greenroom_store::Scan;

use crate::app::App;
use crate::timers::SOON;

use super::{fresh_stop, is_stopping, next, scan, submit};

/// What has expired is removed after this much uptime.
const KEPT: Duration = Duration::from_secs(24 * 3600);

pub(super) async fn run(app: Arc<App>) {
    let mut expired: HashMap<SessionUid, Instant> = HashMap::new();
    let mut kept = Instant::now();
    loop {
        let (due, following) = app.expiries.due(&app.lives);
        for (uid, why) in due {
            submit(&app, uid, Command::Expire { stop: fresh_stop(), why }).await;
        }
        remove(&app, &mut expired).await;
        if kept.elapsed() >= SOON {
            kept = Instant::now();
            if let Err(error) = app.lives.keep(&*app.store).await {
                tracing::warn!(%error, "how long this coordinator is up could not be kept; it is tried again");
            }
        }
        if !next(&app, &app.expiries.changed, following.unwrap_or(SOON).min(SOON)).await {
            return;
        }
    }
}

/// Removes what has been expired for a day of uptime.
async fn remove(app: &App, expired: &mut HashMap<SessionUid, Instant>) {
    let now = Instant::now();
    let found = scan(&*app.store, Scan::Expired).await;
    expired.retain(|uid, _| found.contains(uid));
    for uid in found {
        let since = *expired.entry(uid).or_insert(now);
        if now.duration_since(since) < KEPT {
            continue;
        }
        if let Ok(Some(session)) = app.store.session(uid).await
            && !is_stopping(&session)
        {
            let by = Actor::machine("ttl");
            submit(app, uid, Command::Delete { stop: fresh_stop(), by }).await;
        }
    }
}
