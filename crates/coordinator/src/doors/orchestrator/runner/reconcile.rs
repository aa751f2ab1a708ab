//! What happens to runners and runs of the other system though nobody asks just then.

use std::sync::Arc;
use std::time::{Duration, Instant};

use greenroom_core::RunId;
use greenroom_core::command::Command;
use greenroom_core::receipt::EndReason;
use greenroom_core::record::RunError;
use greenroom_core::run::{HeadState, RunStatus};

use super::super::fault::{Done, Fault, stored};
use super::super::kept::{Claim, KeptRun, KeptSession};
use super::super::{SYSTEM, hooks};
use super::{Adapter, poll, register};
use crate::app::App;
use crate::service::sessions;

/// How often it is looked whether a time has passed.
const LOOK: Duration = Duration::from_secs(1);
/// How often what is kept of sessions that are gone is looked for.
const SWEEP: Duration = Duration::from_secs(3600);
/// A run that was sent has to have begun after so long.
const START_MS: i64 = 60_000;
/// What is said of a run that nobody has taken.
const NO_MATCH: &str = "No matching runner available within timeout";

/// Until the coordinator ends.
pub(crate) async fn reconcile(app: Arc<App>) {
    match KeptRun::all(&app).await {
        Ok(all) => {
            for (run, kept) in all {
                if kept.waits.is_some() || kept.finish.is_some() {
                    app.orchestrator.hooks.add(run);
                }
                if let Some(at) = kept.timeout_at {
                    app.orchestrator.told.times_out(run, at.unix_ms());
                }
            }
        }
        Err(error) => tracing::warn!(error = %error.0.detail, "what runs wait for cannot be read"),
    }
    let mut swept: Option<Instant> = None;
    loop {
        if swept.is_none_or(|swept| swept.elapsed() > SWEEP) {
            swept = Some(Instant::now());
            if let Err(fault) = sweep(&app).await {
                tracing::warn!(error = %fault.text(), "what is kept of sessions that are gone stays for now");
            }
        }
        if let Err(fault) = look(&app).await {
            tracing::warn!(error = %fault.text(), "runners of the orchestrator are looked at again");
        }
        let has_runners = app.runners.list().iter().any(|runner| runner.foreign().is_some());
        let wait = if has_runners || !app.orchestrator.hooks.is_empty() { LOOK } else { 5 * LOOK };
        tokio::select! {
            biased;
            () = app.ending.cancelled() => return,
            () = app.orchestrator.wake.notified() => {}
            () = tokio::time::sleep(wait) => {}
        }
    }
}

/// Forgets what is kept of sessions that are gone, by whatever door they went.
async fn sweep(app: &App) -> Done<()> {
    for uid in KeptSession::all(app).await? {
        if is_old(uid.0) && stored(app.store.session(uid).await)?.is_none() {
            KeptSession::forget(app, uid).await?;
        }
    }
    for (run, kept) in KeptRun::all(app).await? {
        let Some(uid) = kept.session else { continue };
        if is_old(run.0) && stored(app.store.session(uid).await)?.is_none() {
            KeptRun::forget(app, run).await?;
        }
    }
    Ok(())
}

/// Whether it was made an hour ago, by its own time: what is being made is written down
/// before it is there.
fn is_old(id: uuid::Uuid) -> bool {
    let made = id.get_timestamp().map_or(0, |made| made.to_unix().0);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.is_ok_and(|now| now.as_secs().saturating_sub(made) > 3600)
}

async fn look(app: &Arc<App>) -> Done<()> {
    hooks::look(app).await?;
    for run in app.orchestrator.told.timed_out(app.clock.wall().unix_ms()) {
        match give_up(app, run).await {
            Ok(()) => {}
            Err(Fault::Problem(error)) if error.0.status < 500 => {}
            Err(fault) => return Err(fault),
        }
    }
    for runner in app.runners.list() {
        let Some(foreign) = runner.foreign().filter(|foreign| foreign.system == SYSTEM) else {
            continue;
        };
        let adapter = Adapter::new(app, runner.id, &foreign.id);
        poll::settle(app, &adapter).await?;
        for session in register::live(app, runner.id).await? {
            let Some(compute) = &session.compute else { continue };
            let Some(head) = &compute.head else { continue };
            if compute.unconfirmed || head.state != HeadState::Dispatched {
                continue;
            }
            let sent = Claim::of(app, head.run.id).await?.and_then(Claim::sent_at);
            let Some(sent) = sent else { continue };
            if app.clock.wall().unix_ms() - sent.unix_ms() < START_MS {
                continue;
            }
            // Whether the answer with it arrived nobody knows, and it is not sent twice.
            let evidence = "the run was sent to its runner, which never said that it began";
            let command = Command::Unproven { epoch: compute.epoch, evidence: evidence.to_owned() };
            sessions::submit(app, session.uid, vec![command]).await?;
        }
    }
    Ok(())
}

/// Nobody has taken a run in time: it fails, and whoever asked for it is told.
async fn give_up(app: &Arc<App>, run: RunId) -> Done<()> {
    let Some(row) = stored(app.store.run(run).await)? else { return Ok(()) };
    let Some(session) = stored(app.store.session(row.uid).await)? else { return Ok(()) };
    let error = RunError::new("no_runner", NO_MATCH);
    match row.status {
        RunStatus::Queued if session.compute.is_none() && session.hold.is_none() => {
            sessions::submit(app, session.uid, vec![Command::GiveUp { run, error }]).await?;
        }
        // It waits for another run of its session, or for a person.
        RunStatus::Queued => {
            let later = app.clock.wall().unix_ms() + 60_000;
            app.orchestrator.told.times_out(run, later);
        }
        RunStatus::Dispatched => {
            let Some(adapter) = Adapter::at_home(app, &session) else { return Ok(()) };
            let current = session.compute.as_ref().and_then(|compute| compute.head.as_ref());
            let is_it = current.is_some_and(|head| head.run.id == run);
            if is_it && adapter.keep_back(&session).await? {
                adapter.close_unsent(&session, EndReason::StartError, Some(error)).await?;
            }
        }
        _ => {}
    }
    Ok(())
}
