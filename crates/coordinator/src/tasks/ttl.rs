//! Expires sessions whose time to live has passed, and removes them a day of our own
//! uptime later. The only judgement by a wall clock there is, so it is made with suspicion.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use greenroom_core::command::{Actor, Command};
use greenroom_core::session::Life;
use greenroom_core::{SessionUid, Timestamp};
use greenroom_store::{Scan, SessionQuery, Sort};

use crate::app::App;
use crate::service::views;

use super::{fresh_stop, is_stopping, next, scan, submit};

/// What has expired is removed after this much uptime.
const KEPT: Duration = Duration::from_secs(24 * 3600);
/// A step of the wall clock against the clock since boot that is not believed.
const STEP: i64 = 5 * 60 * 1000;
/// How often it is looked at.
const LOOK: Duration = Duration::from_secs(30);

pub(super) async fn run(app: Arc<App>) {
    let mut trust = Trust::new(&app).await;
    let mut expired: HashMap<SessionUid, Instant> = HashMap::new();
    loop {
        let now = app.clock.wall();
        if trust.check(now, app.clock.boot()) {
            let following = expire(&app, now).await;
            remove(&app, &mut expired).await;
            let sleep = following.unwrap_or(LOOK).min(LOOK);
            if !next(&app, &app.wakes.ttl, sleep).await {
                return;
            }
        } else if !next(&app, &app.wakes.ttl, LOOK).await {
            return;
        }
    }
}

/// Expires what is due. Answers how long until the next.
async fn expire(app: &App, now: Timestamp) -> Option<Duration> {
    let mut following: Option<i64> = None;
    for uid in scan(&*app.store, Scan::TtlLimited).await {
        let Ok(Some(session)) = app.store.session(uid).await else { continue };
        let Some(at) = views::expires_at(&session) else { continue };
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

/// Whether the wall clock is believed.
struct Trust {
    /// Wall clock minus clock since boot, when it was last believed.
    offset: i64,
    /// The newest thing in the log: a clock behind it was set back.
    newest: Timestamp,
    believed: bool,
}

impl Trust {
    async fn new(app: &App) -> Self {
        let query =
            SessionQuery { sort: Sort::Active, expired: true, limit: 1, ..Default::default() };
        let newest = app.store.sessions(query).await.ok().and_then(|page| {
            page.items.first().map(|session| session.last_active_at.max(session.updated_at))
        });
        Self {
            offset: offset(app.clock.wall(), app.clock.boot()),
            newest: newest.unwrap_or(Timestamp::from_unix_ms(0)),
            believed: true,
        }
    }

    fn check(&mut self, wall: Timestamp, boot: Duration) -> bool {
        let behind = wall < self.newest;
        let stepped = (offset(wall, boot) - self.offset).abs() > STEP;
        let believed = !behind && !stepped;
        if believed != self.believed {
            self.believed = believed;
            if believed {
                tracing::info!("the wall clock is believed again; sessions expire as they should");
            } else {
                tracing::warn!(
                    behind,
                    stepped,
                    "the wall clock has jumped, or is behind the newest event: no session expires until it is right, or the coordinator is started anew"
                );
            }
        }
        if believed {
            // Small corrections add up over months and are no step.
            self.offset = offset(wall, boot);
        }
        believed
    }
}

fn offset(wall: Timestamp, boot: Duration) -> i64 {
    wall.unix_ms() - boot.as_millis() as i64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_jumps_is_not_believed() {
        let at = Timestamp::from_unix_ms;
        let secs = Duration::from_secs;
        let mut trust = Trust { offset: 1_000_000, newest: at(1_000_000), believed: true };
        assert!(trust.check(at(1_010_000), secs(10)));
        // A year ahead in a minute.
        assert!(!trust.check(at(31_536_000_000), secs(70)));
        // Back where it should be.
        assert!(trust.check(at(1_080_000), secs(80)));
        // Behind the newest event.
        assert!(!trust.check(at(900_000), secs(90)));
        // Suspend moves both clocks, and is no step.
        assert!(trust.check(at(1_000_000 + 7_200_000), secs(7200)));
    }
}
