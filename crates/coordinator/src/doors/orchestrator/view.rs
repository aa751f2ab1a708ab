//! Sessions and runs as the orchestrator's clients read them.

use greenroom_core::run::RunStatus;
use greenroom_core::{RunId, RunnerId, Session, Status};
use greenroom_store::RunRow;
use serde_json::{Value, json};

use super::kept::{Claim, KeptRun, KeptSession};
use super::words;
use crate::app::App;
use crate::error::ApiResult;

/// A session.
pub(super) async fn session(app: &App, session: &Session) -> ApiResult<Value> {
    let kept = KeptSession::of(app, session.uid).await?;
    let status = status(app, session).await?;
    let parent = match session.parent {
        // A parent that is gone is nobody's parent any more.
        Some(parent) => app.store.session(parent).await?.map(|parent| parent.id.clone()),
        None => None,
    };
    let runner = session.home.and_then(|home| app.runners.get(home));
    let info = runner.map(|runner| runner.info());
    let profile = info
        .as_ref()
        .and_then(|info| info.foreign.as_ref())
        .and_then(|foreign| Some(foreign.said.get("executor_profile")?.as_str()?.to_owned()));
    let agent_name = match kept.from_here {
        true => kept.agent_name,
        false => Some(session.agent.name.to_string()),
    };
    let active = matches!(status, "pending" | "running" | "stopping");
    let run = session.current_run().filter(|_| active).map(|(run, _)| words::run_id(run));
    Ok(json!({
        "session_id": session.id,
        "status": status,
        "created_at": words::time(session.created_at),
        "project_dir": kept.project_dir,
        "agent_name": agent_name,
        "last_resumed_at": kept.last_resumed_at,
        "parent_session_id": parent,
        "executor_session_id": session.conversation,
        "executor_profile": kept.executor_profile.or(profile),
        "hostname": kept.hostname.or(info.map(|info| info.host)),
        "run_id": run,
    }))
}

/// How a session stands. One that never had a compute stands as its last run does.
pub(super) async fn status(app: &App, session: &Session) -> ApiResult<&'static str> {
    if session.status() != Status::New {
        return Ok(words::session_status(session));
    }
    let last = app.store.runs(session.uid, 1, None).await?;
    Ok(match last.items.first().map(|run| run.status) {
        Some(RunStatus::Failed) => "failed",
        Some(RunStatus::Stopped | RunStatus::Withdrawn) => "stopped",
        Some(RunStatus::Completed) => "finished",
        _ => "pending",
    })
}

/// What a run asks, as parameters.
pub(super) fn parameters(row: &RunRow) -> Value {
    match (&row.input, &row.prompt) {
        (Some(input), _) => input.clone(),
        (None, Some(prompt)) => json!({ "prompt": prompt }),
        (None, None) => json!({}),
    }
}

/// The name of a runner: its own, where it came in here.
pub(super) fn runner_name(app: &App, id: RunnerId) -> String {
    let foreign = app.runners.get(id).and_then(|runner| runner.foreign());
    foreign.map_or_else(|| id.to_string(), |foreign| foreign.id)
}

/// Whether the runner of a dispatched run has it. Ours take what is dispatched; one of the
/// other system comes for it.
pub(super) async fn is_claimed(app: &App, session: &Session, row: &RunRow) -> ApiResult<bool> {
    let foreign = session
        .home
        .and_then(|home| app.runners.get(home))
        .is_some_and(|runner| runner.foreign().is_some());
    if !foreign {
        return Ok(row.status != RunStatus::Queued);
    }
    Ok(matches!(Claim::of(app, row.id).await?, Some(Claim::Sent(_))))
}

/// A run.
pub(super) async fn run(app: &App, row: &RunRow, session: &Session) -> ApiResult<Value> {
    let kept = KeptRun::of(app, row.id).await?;
    let of_session = KeptSession::of(app, session.uid).await?;
    let claim = Claim::of(app, row.id).await?.and_then(Claim::sent_at);
    let claimed = is_claimed(app, session, row).await?;
    let status = words::run_status(row.status, words::is_ending(session, row.id), claimed);
    let kind = match &kept {
        Some(kept) => kept.kind.clone(),
        None => kind(app, session, row).await?.to_owned(),
    };
    let kept = kept.unwrap_or_default();
    let placed = claimed || !matches!(row.status, RunStatus::Queued | RunStatus::Dispatched);
    let runner = session.home.filter(|_| placed && row.started_at.or(claim).is_some());
    let agent = match of_session.from_here {
        true => kept.agent_name.or(of_session.agent_name),
        false => Some(session.agent.name.to_string()),
    };
    let mode = match kept.execution_mode.is_empty() {
        false => kept.execution_mode.as_str(),
        true if row.callback => "async_callback",
        true => "sync",
    };
    Ok(json!({
        "run_id": words::run_id(row.id),
        "type": kind,
        "session_id": row.session_id,
        "agent_name": agent,
        "parameters": parameters(row),
        "status": status,
        "project_dir": kept.project_dir.or(of_session.project_dir),
        "parent_session_id": session.parent_id,
        "execution_mode": mode,
        "demands": kept.demands,
        "runner_id": runner.map(|home| runner_name(app, home)),
        "error": row.error.as_ref().map(|(_, message)| message),
        "created_at": words::time(row.created_at),
        "claimed_at": claim.or(row.started_at).map(words::time),
        "started_at": row.started_at.map(words::time),
        "completed_at": row.ended_at.map(words::time),
        "timeout_at": kept.timeout_at.map(words::time),
    }))
}

/// A run that waits for the hook before it.
pub(super) fn waiting(run: RunId, kept: &KeptRun, session: &Session) -> Value {
    let waits = kept.waits.as_ref();
    json!({
        "run_id": words::run_id(run),
        "type": kept.kind,
        "session_id": session.id,
        "agent_name": kept.agent_name,
        "parameters": waits.map(|waits| waits.parameters.clone()),
        "status": "pending",
        "project_dir": kept.project_dir,
        "parent_session_id": session.parent_id,
        "execution_mode": kept.execution_mode,
        "demands": kept.demands,
        "runner_id": null,
        "error": null,
        "created_at": words::time(waits.map_or(session.created_at, |waits| waits.since)),
        "claimed_at": null,
        "started_at": null,
        "completed_at": null,
        "timeout_at": kept.timeout_at.map(words::time),
    })
}

/// The kind of a run that came in elsewhere: the first of its session starts it.
async fn kind(app: &App, session: &Session, row: &RunRow) -> ApiResult<&'static str> {
    let mut cursor = None;
    loop {
        let page = app.store.runs(session.uid, 1000, cursor).await?;
        match page.next {
            Some(next) => cursor = Some(next),
            None => {
                let first = page.items.last().is_some_and(|first| first.id == row.id);
                return Ok(if first { "start_session" } else { "resume_session" });
            }
        }
    }
}
