//! Expires sessions whose time to live has passed, and removes them a day of our own
//! uptime later. Both by the time in which a coordinator was up: no clock can jump over it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use greenroom_core::command::{Actor, Command};
use greenroom_core::session::Life;
use greenroom_core::{SessionUid, Timestamp};
use greenroom_store::Scan;

use crate::app::App;

use super::{fresh_stop, is_stopping, next, scan, submit};

/// What has expired is removed after this much uptime.
const KEPT: Duration = Duration::from_secs(24 * 3600);
/// How often it is looked at.
const LOOK: Duration = Duration::from_secs(30);

pub(super) async fn run(app: Arc<App>) {
    let mut expired: HashMap<SessionUid, Instant> = HashMap::new();
    let mut kept = Instant::now();
    loop {
        let following = expire(&app, app.lives.now()).await;
        remove(&app, &mut expired).await;
        if kept.elapsed() >= LOOK {
            kept = Instant::now();
            if let Err(error) = app.lives.keep(&*app.store).await {
                tracing::warn!(%error, "how long this coordinator is up could not be kept; it is tried again");
            }
        }
        if !next(&app, &app.wakes.ttl, following.unwrap_or(LOOK).min(LOOK)).await {
            return;
        }
    }
}

/// Expires what is due. Answers how long until the next.
async fn expire(app: &App, now: Timestamp) -> Option<Duration> {
    let mut following: Option<i64> = None;
    for uid in scan(&*app.store, Scan::TtlLimited).await {
        let Ok(Some(session)) = app.store.session(uid).await else { continue };
        let Some(at) = app.lives.expires_at(&session) else { continue };
        let left = at.unix_ms() - now.unix_ms();
        if session.life != Life::Kept {
            continue;
        }
        if left <= 0 {
            submit(app, uid, Command::Expire { stop: fresh_stop() }).await;
        } else {
            following = Some(following.map_or(left, |before| before.min(left)));
        }
    }
    following.map(|ms| Duration::from_millis(ms.max(1) as u64))
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
