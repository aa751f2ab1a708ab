//! Reconcilers. Each is activated without input, by a wake-up or by its timer; looks for
//! itself what there is to do; does it through ordinary commands; and may run twice.

mod completions;
mod idle;
mod place;
mod purge;
mod remotes;
mod runner_silence;
mod sources;
mod stop_deadlines;
mod ttl;

use std::sync::Arc;
use std::time::Duration;

use greenroom_core::command::Command;
use greenroom_core::session::Wanted;
use greenroom_core::{SessionUid, StopId};
use greenroom_store::{Scan, Store, StoreError, Submission};
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::app::App;
use crate::error::ApiResult;

/// So many entries at the end of a log say what its session is doing.
const LAST_WORDS: u64 = 50;

/// Makes what is kept in memory anew from the store. Before the first request.
pub(crate) async fn restore(app: &App) -> ApiResult<()> {
    let now = std::time::Instant::now();
    for uid in app.store.scan(Scan::Stopping).await? {
        if let Some(session) = app.store.session(uid).await? {
            app.deadlines.note(&session, now);
        }
    }
    for uid in app.store.scan(Scan::IdleLimited).await? {
        if let Some(session) = app.store.session(uid).await? {
            app.idle.note(&session, app.clock.boot());
        }
    }
    for uid in app.store.scan(Scan::TtlLimited).await? {
        if let Some(session) = app.store.session(uid).await? {
            app.expiries.note(&session, &app.lives);
        }
    }
    for runner in app.runners.list() {
        for uid in app.store.scan(Scan::LiveOn(runner.id)).await? {
            if let Some(session) = app.store.session(uid).await? {
                app.runners.note_slot(&session);
                let from = session.last_seq.saturating_sub(LAST_WORDS) + 1;
                let last = app.store.events(uid, from, LAST_WORDS as u32).await?;
                app.activities.read(uid, &last);
            }
        }
    }
    Ok(())
}

/// Starts all reconcilers. They end when the coordinator does.
pub(crate) fn start(app: &Arc<App>) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    tasks.spawn(place::run(Arc::clone(app)));
    tasks.spawn(stop_deadlines::run(Arc::clone(app)));
    tasks.spawn(runner_silence::run(Arc::clone(app)));
    tasks.spawn(idle::run(Arc::clone(app)));
    tasks.spawn(ttl::run(Arc::clone(app)));
    tasks.spawn(completions::run(Arc::clone(app)));
    tasks.spawn(purge::run(Arc::clone(app)));
    tasks.spawn(sources::run(Arc::clone(app)));
    tasks.spawn(remotes::run(Arc::clone(app)));
    tasks
}

/// Waits for a wake-up or the timer. `false` when the coordinator ends.
async fn next(app: &App, wake: &Notify, timer: Duration) -> bool {
    tokio::select! {
        biased;
        () = app.ending.cancelled() => false,
        () = wake.notified() => true,
        () = tokio::time::sleep(timer) => true,
    }
}

/// Submits a reconciler's command. What is refused or gone needs it no more; what fails is
/// tried again at the next activation.
async fn submit(app: &App, uid: SessionUid, command: Command) -> bool {
    match app.store.submit(Submission::new(uid, app.clock.wall(), vec![command])).await {
        Ok(_) => true,
        Err(StoreError::Refused(_) | StoreError::NoSession) => false,
        Err(error) => {
            tracing::warn!(session = %uid, %error, "a reconciler's command failed; it is tried again");
            false
        }
    }
}

/// Looks for sessions. A store that fails is asked again at the next activation.
async fn scan(store: &dyn Store, scan: Scan) -> Vec<SessionUid> {
    store.scan(scan).await.unwrap_or_else(|error| {
        tracing::warn!(?scan, %error, "a scan failed; it is tried again");
        Vec::new()
    })
}

/// Identity for a stop that a reconciler begins.
fn fresh_stop() -> StopId {
    crate::app::fresh::stop()
}

/// Whether a stop is under way.
fn is_stopping(session: &greenroom_core::Session) -> bool {
    session.compute.as_ref().is_some_and(|compute| compute.wanted != Wanted::Up)
}
