//! Stops, with the answers that the orchestrator's clients know.

use std::sync::Arc;

use greenroom_core::run::RunStatus;
use greenroom_protocol::v1::StopRequest;
use serde_json::{Value, json};

use super::fault::{Done, stored};
use super::{hooks, runner, view, words};
use crate::app::App;
use crate::auth::{Caller, Right};
use crate::service::{sessions, stop as service};

/// Stops a session: what is answered goes by the run that is active.
pub(super) async fn stop(app: &Arc<App>, caller: &Caller, id: &str) -> Done<Value> {
    let session = sessions::find(app, caller, id).await?;
    caller.require(Right::Use)?;
    let before = view::status(app, &session).await?;
    let mut answer = json!({
        "ok": true,
        "session_id": session.id,
        "session_name": session.title.clone().unwrap_or_else(|| session.id.to_string()),
        "status": before,
    });
    match before {
        "stopping" if session.compute.as_ref().is_none_or(|compute| !compute.unconfirmed) => {
            answer["message"] = "Session is already being stopped".into();
            return Ok(answer);
        }
        "stopped" | "finished" | "failed" => {
            answer["message"] = format!("Session already {before}").into();
            return Ok(answer);
        }
        _ => {}
    }
    let head = session.current_run();
    let row = match head {
        Some((run, _)) => stored(app.store.run(run).await)?,
        None => None,
    };
    let taken = match &row {
        Some(row) => view::is_claimed(app, &session, row).await?,
        None => false,
    };
    let cancelled = hooks::cancel(app, &session).await?;
    let done = service::stop(app, caller, id, StopRequest::default(), None, None).await?;
    // What no runner has come for is closed here and now.
    runner::settle_session(app, session.uid).await?;
    let now = stored(app.store.session(session.uid).await)?;
    let status = now.as_ref().map_or("stopped", |session| words::session_status(session));
    answer["status"] = status.into();
    let run = cancelled.or(done.reply.run_id).or(head.map(|(run, _)| run));
    match (before, row.map(|row| row.status)) {
        ("idle", _) => answer["message"] = "Stop command queued for idle session".into(),
        (_, None) if cancelled.is_some() => {
            answer["run_id"] = run.map(words::run_id).into();
            answer["message"] = "Run cancelled before execution".into();
        }
        (_, None) => {
            answer["message"] = "No active run found - session marked as stopped".into();
        }
        (_, Some(status)) => {
            answer["run_id"] = run.map(words::run_id).into();
            if status == RunStatus::Queued || !taken {
                answer["message"] = "Run cancelled before execution".into();
            }
        }
    }
    Ok(answer)
}
