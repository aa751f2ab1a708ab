//! Runs: asking for one, listing, showing, stopping them.

use std::sync::Arc;

use axum::extract::State;
use axum::routing::{get, post};
use axum::{Json, Router};
use greenroom_core::{RunId, Session};
use greenroom_store::RunRow;
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::fault::{Done, Fault, stored};
use super::kept::KeptRun;
use super::start::{self, RunCreate};
use super::{sessions, stop, view, words};
use crate::app::App;
use crate::auth::{Allowed, Caller, ToRead, Who};
use crate::extract::{Body, Path, Query};
use crate::service::{runs, sessions as service};

pub(super) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/runs", get(list).post(create))
        .route("/runs/{id}", get(show))
        .route("/runs/{id}/stop", post(stop_one))
}

async fn create(
    State(app): State<Arc<App>>,
    caller: Caller,
    Body(asked): Body<RunCreate>,
) -> Done<(StatusCode, Json<Value>)> {
    let made = start::create(&app, &caller, asked).await?;
    let body = json!({ "run_id": words::run_id(made.run), "session_id": made.session,
        "status": "pending" });
    Ok((StatusCode::CREATED, Json(body)))
}

#[derive(Debug, Default, Deserialize)]
struct ListQuery {
    status: Option<String>,
}

async fn list(
    State(app): State<Arc<App>>,
    Allowed { caller, .. }: Allowed<ToRead>,
    Query(query): Query<ListQuery>,
) -> Done<Json<Value>> {
    let wanted = query.status.filter(|status| !status.is_empty());
    let mut all = Vec::new();
    for session in sessions::visible(&app, &caller).await? {
        let mut cursor = None;
        loop {
            let page = stored(app.store.runs(session.uid, 1000, cursor).await)?;
            for row in &page.items {
                let run = view::run(&app, row, &session).await?;
                if wanted.as_deref().is_none_or(|status| run["status"] == status) {
                    all.push((row.created_at, run));
                }
            }
            match page.next {
                Some(next) => cursor = Some(next),
                None => break,
            }
        }
    }
    for run in app.orchestrator.hooks.all() {
        if let Some((run, kept, session)) = waiting(&app, &caller, &words::run_id(run)).await?
            && wanted.as_deref().is_none_or(|status| status == "pending")
        {
            all.push((session.created_at, view::waiting(run, &kept, &session)));
        }
    }
    all.sort_by_key(|(at, _)| *at);
    let all: Vec<Value> = all.into_iter().map(|(_, run)| run).collect();
    Ok(Json(json!({ "runs": all })))
}

/// A run that the caller may see.
pub(super) async fn find(app: &App, caller: &Caller, id: &str) -> Done<(RunRow, Arc<Session>)> {
    let not_found = || Fault::new(404, "Run not found");
    let run = words::read_run_id(id).ok_or_else(not_found)?;
    if let Who::Runner(runner) = &caller.who {
        let row = stored(app.store.run(run).await)?.ok_or_else(not_found)?;
        let session = stored(app.store.session(row.uid).await)?;
        let own = session.filter(|session| session.home == Some(*runner));
        return Ok((row, own.ok_or_else(not_found)?));
    }
    Ok(runs::find(app, caller, &run.to_string()).await?)
}

/// A run that waits for the hook before it.
async fn waiting(
    app: &App,
    caller: &Caller,
    id: &str,
) -> Done<Option<(RunId, KeptRun, Arc<Session>)>> {
    let Some(run) = words::read_run_id(id) else { return Ok(None) };
    let Some(kept) = KeptRun::of(app, run).await?.filter(|kept| kept.waits.is_some()) else {
        return Ok(None);
    };
    let session = match kept.session {
        Some(uid) => service::by_uid(app, caller, uid).await?,
        None => None,
    };
    Ok(session.map(|session| (run, kept, session)))
}

async fn show(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Done<Json<Value>> {
    if let Some((run, kept, session)) = waiting(&app, &caller, &id).await? {
        return Ok(Json(view::waiting(run, &kept, &session)));
    }
    let (row, session) = find(&app, &caller, &id).await?;
    Ok(Json(view::run(&app, &row, &session).await?))
}

/// A run is stopped with its session.
async fn stop_one(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Done<Json<Value>> {
    let session = match waiting(&app, &caller, &id).await? {
        Some((_, _, session)) => session,
        None => find(&app, &caller, &id).await?.1,
    };
    Ok(Json(stop::stop(&app, &caller, session.id.as_str()).await?))
}
