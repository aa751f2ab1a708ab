//! The long poll: what a runner has to do, as soon as there is something.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use greenroom_core::command::Command;
use greenroom_core::receipt::EndReason;
use greenroom_core::record::{OutputKind, RecordBody, RunError};
use greenroom_core::run::HeadState;
use greenroom_core::session::Wanted;
use greenroom_core::{Epoch, Order, RunId, Session, SessionId, SessionUid};
use greenroom_protocol::link::ForeignRunner;
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep_until};

use super::super::fault::{Done, stored};
use super::super::kept::{Claim, KeptRun, KeptSession};
use super::super::registry::scripts;
use super::super::{agents, view, words};
use super::{Adapter, SAY_AGAIN, Said, register, registered, seen};
use crate::app::App;
use crate::auth::Caller;
use crate::extract::Query;
use crate::presence::Runner;
use crate::service::sessions;

/// A poll waits this long at most.
const LONGEST: Duration = Duration::from_secs(30);

/// A poll waits so long: within what a runner may be silent.
pub(super) fn longest(app: &App) -> Duration {
    LONGEST.min(app.runner_ttl * 3 / 2)
}

pub(super) fn routes() -> Router<Arc<App>> {
    Router::new().route("/runner/runs", get(poll))
}

#[derive(Debug, Deserialize)]
struct Who {
    runner_id: String,
}

async fn poll(
    State(app): State<Arc<App>>,
    caller: Caller,
    Query(Who { runner_id }): Query<Who>,
) -> Done<Response> {
    let (runner, foreign) = registered(&app, &caller, &runner_id)?;
    // Heard before anything is looked up: what changes from here on is not missed.
    let mut wakes = runner.wakes();
    seen(&app, &runner).await?;
    let deadline = Instant::now() + longest(&app);
    loop {
        wakes.mark_unchanged();
        registered(&app, &caller, &runner_id)?;
        if let Some(answer) = next(&app, &runner, &foreign).await? {
            seen(&app, &runner).await?;
            return Ok(Json(answer).into_response());
        }
        if Instant::now() >= deadline || app.ending.is_cancelled() {
            seen(&app, &runner).await?;
            return Ok(StatusCode::NO_CONTENT.into_response());
        }
        // Who waits here lives.
        let look = Instant::now() + SAY_AGAIN.min(app.runner_ttl / 2);
        tokio::select! {
            _ = wakes.changed() => {}
            () = sleep_until(deadline.min(look)) => {}
            () = app.ending.cancelled() => {}
            () = caller.revoked.cancelled() => {}
        }
        runner.seen();
    }
}

/// What a runner is answered now, if there is anything: stops first.
async fn next(app: &App, runner: &Runner, foreign: &ForeignRunner) -> Done<Option<Value>> {
    let adapter = Adapter::new(app, runner.id, &foreign.id);
    let todo = settle(app, &adapter).await?;
    let due = |(session, _): &(Arc<Session>, Epoch)| {
        app.orchestrator.told.is_due(runner.id, session.uid, session.last_epoch)
    };
    let stops: Vec<(Arc<Session>, Epoch)> = todo.stops.into_iter().filter(due).collect();
    let GivenUp { mut sessions, wait } = given_up(app, runner, &adapter, todo.given_up).await?;
    sessions.extend(stops.iter().map(|(session, _)| session.id.clone()));
    if !sessions.is_empty() {
        let runs: Vec<String> = stops
            .iter()
            .filter_map(|(session, _)| session.compute.as_ref()?.head.as_ref())
            .map(|head| words::run_id(head.run.id))
            .collect();
        return Ok(Some(json!({ "stop_sessions": sessions, "stop_runs": runs })));
    }
    let procedural =
        foreign.said.pointer("/executor/type").is_some_and(|kind| kind == "procedural");
    if procedural {
        let news = scripts::news(app, &foreign.id).await?;
        if !news.is_empty() {
            news.told(app, &foreign.id).await?;
            return Ok(Some(json!({ "sync_scripts": news.sync, "remove_scripts": news.remove })));
        }
    }
    if register::is_dismissed(app, runner, foreign).await? {
        return Ok(Some(json!({ "deregistered": true })));
    }
    for (uid, epoch, run) in todo.runs {
        if wait.contains(&uid) {
            continue;
        }
        if let Some(sent) = send(app, &adapter, uid, epoch, run).await? {
            return Ok(Some(json!({ "run": sent })));
        }
    }
    Ok(None)
}

/// What a person has given up and this runner may still have: it has come back, and is told
/// to stop it.
#[derive(Default)]
struct GivenUp {
    /// To be told now.
    sessions: BTreeSet<SessionId>,
    /// Told lately: its process may be ending, and another one is not started beside it.
    wait: HashSet<SessionUid>,
}

/// Its protocol names sessions, not computes: only what has nothing newer at the runner can be
/// told.
async fn given_up(
    app: &App,
    runner: &Runner,
    adapter: &Adapter<'_>,
    all: Vec<(Arc<Session>, Epoch)>,
) -> Done<GivenUp> {
    let mut found = GivenUp::default();
    for (session, epoch) in all {
        if adapter.was_sent(&session).await? {
            continue;
        }
        match app.orchestrator.told.is_due_once_more(runner.id, session.uid, epoch) {
            Said::Due => {
                found.sessions.insert(session.id.clone());
                found.wait.insert(session.uid);
            }
            Said::Lately => {
                found.wait.insert(session.uid);
            }
            Said::Enough => {}
        }
    }
    for owed in app.orchestrator.told.owed(runner.id) {
        // Its name may be another one's by now.
        let now = stored(app.store.session_named(&owed.id).await)?;
        if now.is_none_or(|now| now.uid == owed.uid) {
            found.sessions.insert(owed.id);
        }
    }
    Ok(found)
}

async fn files_gone(app: &App, uid: SessionUid) -> Done<()> {
    match sessions::submit(app, uid, vec![Command::FilesGone]).await {
        Ok(_) => Ok(()),
        Err(error) if error.0.status == 404 => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// What a runner has to do.
#[derive(Default)]
pub(super) struct Todo {
    stops: Vec<(Arc<Session>, Epoch)>,
    /// Computes that a person has given up.
    given_up: Vec<(Arc<Session>, Epoch)>,
    runs: Vec<(SessionUid, Epoch, RunId)>,
}

/// Goes through the assignments of a runner, and does what needs no runner: what nobody has
/// come for is closed, and of sessions that are removed it has nothing to remove.
pub(super) async fn settle(app: &App, adapter: &Adapter<'_>) -> Done<Todo> {
    let (rev, assignments) = stored(app.store.assignments(adapter.runner, 0).await)?;
    let mut todo = Todo::default();
    let mut closed = false;
    for assignment in assignments {
        let (uid, epoch) = (assignment.uid, assignment.epoch);
        match assignment.order {
            Order::Closed => closed = true,
            Order::Gone { .. } => {
                if let Some(session) = stored(app.store.session(uid).await)?
                    && !session.abandoned.is_empty()
                {
                    app.orchestrator.told.owes(adapter.runner, &session);
                }
                files_gone(app, uid).await?;
            }
            Order::Down { .. } => {
                let Some(session) = stored(app.store.session(uid).await)? else { continue };
                if session.abandoned.contains(&epoch) {
                    todo.given_up.push((session, epoch));
                } else if let Some(session) = still_ending(app, adapter, session, epoch).await? {
                    todo.stops.push((session, epoch));
                }
            }
            Order::Up { run: Some(run), .. } => {
                if Claim::of(app, run).await?.is_none() {
                    todo.runs.push((uid, epoch, run));
                }
            }
            // A compute without a run is nothing that it could start.
            Order::Up { run: None, .. } => {
                if let Some(session) = stored(app.store.session(uid).await)?
                    && session.compute.as_ref().is_some_and(|c| c.epoch == epoch && !c.began)
                {
                    adapter.close_unsent(&session, EndReason::Done, None).await?;
                }
            }
        }
    }
    if closed {
        stored(app.store.acknowledge(adapter.runner, rev).await)?;
    }
    Ok(todo)
}

/// A session whose stop its runner has to be told; nothing where it had not come for it, and
/// that is closed now.
async fn still_ending(
    app: &App,
    adapter: &Adapter<'_>,
    session: Arc<Session>,
    epoch: Epoch,
) -> Done<Option<Arc<Session>>> {
    let Some(compute) = session.compute.as_ref().filter(|compute| compute.epoch == epoch) else {
        return Ok(None);
    };
    let Wanted::Down(stopping) = &compute.wanted else { return Ok(None) };
    if !adapter.keep_back(&session).await? {
        return Ok(Some(session));
    }
    let reason = EndReason::from(stopping.order.reason);
    match adapter.close_unsent(&session, reason, None).await {
        Ok(()) => {}
        // Somebody else has just closed it.
        Err(super::Fault::Detail(409, _)) => {}
        Err(fault) => return Err(fault),
    }
    let now = stored(app.store.session(session.uid).await)?;
    let still = now.filter(|now| now.compute.as_ref().is_some_and(|c| c.epoch == epoch));
    Ok(still)
}

/// The same for one session, as soon as it is stopped.
pub(in super::super) async fn settle_session(app: &App, uid: SessionUid) -> Done<()> {
    let Some(session) = stored(app.store.session(uid).await)? else { return Ok(()) };
    let Some(adapter) = Adapter::at_home(app, &session) else { return Ok(()) };
    if let Some(epoch) = session.compute.as_ref().map(|compute| compute.epoch) {
        still_ending(app, &adapter, session, epoch).await?;
    }
    Ok(())
}

/// The run as its runner is given it, once it is on record that it may have it.
async fn send(
    app: &App,
    adapter: &Adapter<'_>,
    uid: SessionUid,
    epoch: Epoch,
    run: RunId,
) -> Done<Option<Value>> {
    let Some(row) = stored(app.store.run(run).await)? else { return Ok(None) };
    let Some(before) = stored(app.store.session(uid).await)? else { return Ok(None) };
    let kept = KeptRun::of(app, run).await?;
    let scope = match &kept {
        Some(kept) => kept.scope.clone(),
        None => KeptSession::of(app, uid).await?.scope,
    };
    let parameters = view::parameters(&row);
    let blueprint = match kept.and_then(|kept| kept.blueprint) {
        Some(blueprint) => Ok(Some(blueprint)),
        // It came in elsewhere: what it refers to is looked up now.
        None => agents::for_resume(app, &before, &parameters, &scope, run).await,
    };
    if !Claim::Sent(app.clock.wall()).make(app, run).await? {
        return Ok(None);
    }
    let session = stored(app.store.session(uid).await)?;
    let to_start = session.filter(|session| {
        session.compute.as_ref().is_some_and(|compute| {
            let head = compute.head.as_ref();
            let waits = |state| state == HeadState::Dispatched;
            compute.epoch == epoch
                && compute.wanted == Wanted::Up
                && head.is_some_and(|head| head.run.id == run && waits(head.state))
        })
    });
    let Some(session) = to_start else {
        // Stopped in the moment before: it is not sent.
        Claim::take_back(app, run).await?;
        settle_session(app, uid).await?;
        return Ok(None);
    };
    let blueprint = match blueprint {
        Ok(blueprint) => blueprint,
        Err(fault) => {
            Claim::take_back(app, run).await?;
            let error = RunError::new("start_error", fault.text());
            adapter.close_unsent(&session, EndReason::StartError, Some(error)).await?;
            return Ok(None);
        }
    };
    let began = session.compute.as_ref().is_some_and(|compute| compute.began);
    if !began && session.ended.is_some() && session.conversation.is_some() {
        // Its process is gone, and with it what it remembered.
        let data = json!({ "reason": "its process had ended; the runner starts another" });
        let body = RecordBody::Output { run: Some(run), kind: OutputKind::ContextFresh, data };
        adapter.append(uid, epoch, vec![body]).await?;
    }
    let mut sent = view::run(app, &row, &session).await?;
    sent["status"] = "claimed".into();
    // What is asked to go on goes on where its process is; else a process is started for it.
    sent["type"] = if began { "resume_session" } else { "start_session" }.into();
    sent["scope"] = scope.unwrap_or_default();
    sent["resolved_agent_blueprint"] = blueprint.unwrap_or_default();
    Ok(Some(sent))
}
