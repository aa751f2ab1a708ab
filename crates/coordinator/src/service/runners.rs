//! Runners, as operators see them.

use std::sync::Arc;

use greenroom_core::RunnerId;
use greenroom_core::command::Command;
use greenroom_protocol::{Problem, v1};
use greenroom_store::{RunnerRow, RunnerUpdate, Scan, StoreError, Submission};

use crate::app::App;
use crate::auth::{Caller, Right};
use crate::error::{ApiError, ApiResult};
use crate::service::views;

fn not_found(id: &str) -> Problem {
    let shown: String = id.chars().take(80).collect();
    Problem::not_found("runner", &shown).hint("greenroom runners ls shows what there is")
}

async fn find(app: &App, id: &str) -> ApiResult<RunnerRow> {
    let parsed: RunnerId = id.parse().map_err(|_| not_found(id))?;
    Ok(app.store.runner(parsed).await?.ok_or_else(|| not_found(id))?)
}

fn view(app: &App, row: &RunnerRow) -> v1::Runner {
    views::runner(row, app.runners.get(row.id).as_deref())
}

/// All of them.
pub(crate) async fn list(app: &App, caller: &Caller) -> ApiResult<Vec<v1::Runner>> {
    caller.require(Right::Operate)?;
    Ok(app.store.runners().await?.iter().map(|row| view(app, row)).collect())
}

/// One of them.
pub(crate) async fn get(app: &App, caller: &Caller, id: &str) -> ApiResult<v1::Runner> {
    caller.require(Right::Operate)?;
    let row = find(app, id).await?;
    Ok(view(app, &row))
}

/// Gives a runner nothing new, or things again.
pub(crate) async fn drain(
    app: &App,
    caller: &Caller,
    id: &str,
    lift: bool,
) -> ApiResult<v1::Runner> {
    caller.require(Right::Administer)?;
    let row = find(app, id).await?;
    let update = RunnerUpdate { draining: Some(!lift), ..Default::default() };
    app.store.update_runner(row.id, update).await?;
    if let Some(runner) = app.runners.get(row.id) {
        runner.set_draining(!lift);
        runner.wake();
    }
    app.wakes.place.notify_one();
    app.runner_changed(row.id);
    let row = find(app, id).await?;
    Ok(view(app, &row))
}

/// Removes a runner. One that is home to sessions only by force: their files are lost with
/// it, and their logs say so.
pub(crate) async fn remove(
    app: &Arc<App>,
    caller: &Caller,
    id: &str,
    force: bool,
) -> ApiResult<()> {
    caller.require(Right::Administer)?;
    let row = find(app, id).await?;
    if row.sessions > 0 && !force {
        return Err(Problem::new(
            409,
            "runner_is_home",
            format!("runner {id} has the files of {} sessions", row.sessions),
        )
        .hint("delete those sessions first, or say force=true: their files are lost then")
        .into());
    }
    // Once begun it goes on, whether its caller waits or not.
    let (app, by) = (Arc::clone(app), caller.actor());
    let work = tokio::spawn(async move {
        app.runners.leave(row.id);
        app.auth.forget_runner(row.id);
        for uid in app.store.scan(Scan::HomeOn(row.id)).await? {
            let command = Command::HomeLost { runner: row.id, by: by.clone() };
            match app.store.submit(Submission::new(uid, app.clock.wall(), vec![command])).await {
                Ok(_) | Err(StoreError::NoSession) => {}
                Err(error) => return Err(ApiError::from(error)),
            }
        }
        app.store.remove_runner(row.id).await?;
        app.runner_changed(row.id);
        Ok(())
    });
    work.await.unwrap_or_else(|error| {
        Err(Problem::new(500, "internal", format!("the runner was not removed whole: {error}"))
            .hint("remove it again")
            .into())
    })
}
