//! What a runner reports of runs and sessions: checked for whose it is, and for what can
//! follow what.

use std::sync::Arc;

use axum::extract::State;
use axum::routing::post;
use axum::{Json, Router};
use greenroom_core::receipt::{Action, EndReason};
use greenroom_core::record::{Outcome, RecordBody, RunError};
use greenroom_core::run::{HeadState, RunStatus};
use greenroom_core::session::Compute;
use greenroom_core::{RunId, Session};
use greenroom_store::RunRow;
use serde::Deserialize;
use serde_json::{Value, json};

use super::super::fault::{Done, Fault, stored};
use super::super::kept::{Claim, KeptRun};
use super::super::words;
use super::{Adapter, known, seen};
use crate::app::App;
use crate::auth::Caller;
use crate::extract::{Body, Path};

pub(super) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/runner/runs/{id}/started", post(started))
        .route("/runner/runs/{id}/completed", post(completed))
        .route("/runner/runs/{id}/failed", post(failed))
        .route("/runner/runs/{id}/stopped", post(stopped))
        .route("/runner/sessions/{id}/status", post(session_status))
}

fn ok() -> Json<Value> {
    Json(json!({ "ok": true }))
}

/// A run that a runner reports on.
struct Reported<'a> {
    adapter: Adapter<'a>,
    row: RunRow,
    session: Arc<Session>,
}

impl Reported<'_> {
    /// The compute, while this run is what it has.
    fn current(&self) -> Option<(&Compute, HeadState)> {
        let compute = self.session.compute.as_ref()?;
        let head = compute.head.as_ref().filter(|head| head.run.id == self.row.id)?;
        Some((compute, head.state))
    }

    /// What cannot follow what is known.
    fn conflict<T>(&self, to: &str) -> Done<T> {
        let from = self.row.status.as_str();
        Err(Fault::new(409, format!("Run is {from} and cannot become {to}")))
    }
}

async fn reported<'a>(
    app: &'a App,
    caller: &Caller,
    id: &str,
    runner_id: &str,
) -> Done<Reported<'a>> {
    let (runner, foreign) = known(app, caller, runner_id)?;
    if foreign.registered {
        seen(app, &runner).await?;
    }
    let not_found = || Fault::new(404, "Run not found");
    let run: RunId = words::read_run_id(id).ok_or_else(not_found)?;
    let row = stored(app.store.run(run).await)?.ok_or_else(not_found)?;
    let session = stored(app.store.session(row.uid).await)?.ok_or_else(not_found)?;
    // Of what is others' it is told no more than that there is nothing for it.
    if session.home != Some(runner.id) {
        return Err(not_found());
    }
    if !matches!(Claim::of(app, run).await?, Some(Claim::Sent(_))) {
        return Err(Fault::new(409, "Run was not given to this runner"));
    }
    Ok(Reported { adapter: Adapter::new(app, runner.id, &foreign.id), row, session })
}

#[derive(Debug, Deserialize)]
struct Started {
    runner_id: String,
}

async fn started(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
    Body(said): Body<Started>,
) -> Done<Json<Value>> {
    let reported = reported(&app, &caller, &id, &said.runner_id).await?;
    if let Some((compute, HeadState::Dispatched)) = reported.current() {
        let bodies = vec![RecordBody::Ready, RecordBody::RunStarted { run: reported.row.id }];
        reported.adapter.append(reported.session.uid, compute.epoch, bodies).await?;
    }
    // Where the end has overtaken the beginning, the end is what is known.
    Ok(ok())
}

#[derive(Debug, Deserialize)]
struct Completed {
    runner_id: String,
    session_status: Option<String>,
}

async fn completed(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
    Body(said): Body<Completed>,
) -> Done<Json<Value>> {
    let stays = match said.session_status.as_deref() {
        None | Some("finished") => false,
        Some("idle") => true,
        Some(_) => return Err(Fault::new(400, "session_status is 'idle' or 'finished'")),
    };
    let reported = reported(&app, &caller, &id, &said.runner_id).await?;
    let Some((compute, state)) = reported.current() else {
        return match reported.row.status {
            RunStatus::Completed => Ok(ok()),
            _ => reported.conflict("completed"),
        };
    };
    let run = reported.row.id;
    let result = KeptRun::of(&app, run).await?.and_then(|kept| kept.result?.result_data);
    let outcome = Outcome::Completed { result };
    if stays {
        let mut bodies = Vec::new();
        if state == HeadState::Dispatched {
            bodies.extend([RecordBody::Ready, RecordBody::RunStarted { run }]);
        }
        bodies.push(RecordBody::RunEnded { run, outcome });
        reported.adapter.append(reported.session.uid, compute.epoch, bodies).await?;
        return Ok(ok());
    }
    let said = "the executor has ended with exit code 0";
    let reason = EndReason::Done;
    reported.adapter.close(&reported.session, reason, said, None, Some(outcome)).await?;
    Ok(ok())
}

#[derive(Debug, Deserialize)]
struct Failed {
    runner_id: String,
    #[serde(default)]
    error: Option<String>,
}

async fn failed(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
    Body(said): Body<Failed>,
) -> Done<Json<Value>> {
    let reported = reported(&app, &caller, &id, &said.runner_id).await?;
    if reported.current().is_none() {
        return match reported.row.status {
            RunStatus::Failed => Ok(ok()),
            _ => reported.conflict("failed"),
        };
    }
    let error = said.error.filter(|error| !error.is_empty());
    let error = error.unwrap_or_else(|| "Unknown error".to_owned());
    let end = error.floor_char_boundary(16_000);
    let error = &error[..end];
    let outcome = Outcome::Failed { error: RunError::new("exit", error) };
    let reason = EndReason::Exit;
    reported.adapter.close(&reported.session, reason, error, None, Some(outcome)).await?;
    Ok(ok())
}

#[derive(Debug, Deserialize)]
struct Stopped {
    runner_id: String,
    signal: Option<String>,
}

async fn stopped(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
    Body(said): Body<Stopped>,
) -> Done<Json<Value>> {
    let reported = reported(&app, &caller, &id, &said.runner_id).await?;
    let signal = said.signal.unwrap_or_else(|| "SIGTERM".to_owned());
    let signal: String = signal.chars().take(40).collect();
    let action = match signal.as_str() {
        "shutdown" => Action::Cancel,
        "SIGKILL" => Action::Kill,
        _ => Action::TermLeader,
    };
    let ending = reported.adapter.is_ending(&reported.session);
    let outcome = match reported.current() {
        Some(_) => Some(Outcome::Stopped { error: None }),
        // The turn ended in the moment of the stop, and the process with it.
        None if ending && reported.row.status.is_final() => None,
        None if reported.row.status == RunStatus::Stopped => return Ok(ok()),
        None => return reported.conflict("stopped"),
    };
    let reason = if ending { EndReason::User } else { EndReason::Shutdown };
    let words = format!("stopped with {signal}");
    let step = Some((action, signal.as_str()));
    reported.adapter.close(&reported.session, reason, &words, step, outcome).await?;
    Ok(ok())
}

#[derive(Debug, Deserialize)]
struct OfSession {
    runner_id: String,
    status: String,
}

async fn session_status(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
    Body(said): Body<OfSession>,
) -> Done<Json<Value>> {
    let (runner, foreign) = known(&app, &caller, &said.runner_id)?;
    let not_found = || Fault::new(404, "Session not found");
    let name = id.parse().map_err(|_| not_found())?;
    let session = stored(app.store.session_named(&name).await)?;
    let session = session.filter(|session| session.home == Some(runner.id));
    let session = session.ok_or_else(not_found)?;
    let adapter = Adapter::new(&app, runner.id, &foreign.id);
    let ending = adapter.is_ending(&session);
    let reason = match said.status.as_str() {
        "finished" => EndReason::Done,
        "failed" => EndReason::Exit,
        "stopped" if ending => EndReason::User,
        "stopped" => EndReason::Shutdown,
        _ => return Err(Fault::new(400, "status is 'finished', 'failed' or 'stopped'")),
    };
    if session.compute.is_none() || !adapter.was_sent(&session).await? {
        return Ok(ok());
    }
    let words = format!("its process has ended: {}", said.status);
    let head = session.compute.as_ref().and_then(|compute| compute.head.as_ref());
    let outcome = head.map(|_| match reason {
        EndReason::User | EndReason::Shutdown => Outcome::Stopped { error: None },
        _ => Outcome::Failed { error: RunError::new("exit", words.clone()) },
    });
    adapter.close(&session, reason, &words, None, outcome).await?;
    Ok(ok())
}
