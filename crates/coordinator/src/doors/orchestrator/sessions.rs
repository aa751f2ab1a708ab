//! Sessions: listing, showing, what their executors say of them, removing them.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::routing::{get, patch, post};
use axum::{Json, Router};
use greenroom_core::command::Command;
use greenroom_core::fact::Output;
use greenroom_core::record::RecordBody;
use greenroom_core::run::RunStatus;
use greenroom_core::session::Life;
use greenroom_core::{Event, RunId, Session};
use greenroom_store::{Commit, RunRow};
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::events::{self, Posted};
use super::fault::{Done, Fault, stored};
use super::kept::{KeptRun, KeptSession, RunResult};
use super::runner::Adapter;
use super::{stop, view, words};
use crate::api;
use crate::app::App;
use crate::auth::{Allowed, Caller, Right, ToRead, ToUse, Who};
use crate::error::ApiResult;
use crate::extract::{Body, Path};
use crate::service::sessions;

/// Entries of a log that are read at once.
const CHUNK: u32 = 500;
/// Entries that one answer has at most.
const MOST: usize = 20_000;

pub(super) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/sessions", get(list))
        .route("/sessions/{id}", get(show).delete(remove))
        .route("/sessions/{id}/status", get(status))
        .route("/sessions/{id}/result", get(result))
        .route("/sessions/{id}/affinity", get(affinity))
        .route("/sessions/{id}/bind", post(bind))
        .route("/sessions/{id}/stop", post(stop_one))
        .route("/sessions/{id}/events", get(log).post(said))
        .route("/sessions/{id}/metadata", patch(metadata))
}

/// All sessions that a caller may see, newest first.
pub(super) async fn visible(app: &App, caller: &Caller) -> ApiResult<Vec<Arc<Session>>> {
    let mut all = Vec::new();
    let mut cursor = None;
    loop {
        let page = app.store.sessions(api::visible(caller, 1000, cursor)).await?;
        all.extend(page.items);
        match page.next {
            Some(next) => cursor = Some(next),
            None => return Ok(all),
        }
    }
}

/// A session that the caller may see: as everywhere, or because they speak for the runner
/// that is its home.
pub(super) async fn find(app: &App, caller: &Caller, id: &str) -> ApiResult<Arc<Session>> {
    if let Who::Runner(runner) = &caller.who
        && let Ok(name) = id.parse()
        && let Some(session) = app.store.session_named(&name).await?
        && session.home == Some(*runner)
        && session.life != Life::Removed
    {
        return Ok(session);
    }
    sessions::find(app, caller, id).await
}

/// Refuses who may only look. The session's own runner may say what it has to say.
fn may_say(caller: &Caller, session: &Session) -> ApiResult<()> {
    match &caller.who {
        Who::Runner(runner) if session.home == Some(*runner) => Ok(()),
        _ => caller.require(Right::Use),
    }
}

async fn list(
    State(app): State<Arc<App>>,
    Allowed { caller, .. }: Allowed<ToRead>,
) -> Done<Json<Value>> {
    let mut all = Vec::new();
    for session in visible(&app, &caller).await? {
        all.push(view::session(&app, &session).await?);
    }
    Ok(Json(json!({ "sessions": all })))
}

async fn show(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Done<Json<Value>> {
    let session = find(&app, &caller, &id).await?;
    Ok(Json(json!({ "session": view::session(&app, &session).await? })))
}

async fn status(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Done<Json<Value>> {
    let status = match find(&app, &caller, &id).await {
        Ok(session) => view::status(&app, &session).await?,
        Err(error) if error.0.status == 404 => "not_existent",
        Err(error) => return Err(error.into()),
    };
    Ok(Json(json!({ "status": status })))
}

async fn affinity(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Done<Json<Value>> {
    let session = find(&app, &caller, &id).await?;
    let shown = view::session(&app, &session).await?;
    let fields = ["session_id", "hostname", "project_dir", "executor_profile"];
    let affinity: serde_json::Map<String, Value> =
        fields.iter().map(|field| ((*field).to_owned(), shown[*field].clone())).collect();
    Ok(Json(json!({ "affinity": affinity })))
}

async fn result(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Done<Json<Value>> {
    let session = find(&app, &caller, &id).await?;
    let found = result_of(&app, &session).await?;
    Ok(Json(json!({ "result_text": found.result_text, "result_data": found.result_data })))
}

/// What the newest run of a session that has answered came to.
pub(super) async fn result_of(app: &App, session: &Session) -> Done<RunResult> {
    if !matches!(view::status(app, session).await?, "idle" | "finished") {
        return Err(Fault::new(400, "Session not finished or idle"));
    }
    let page = stored(app.store.runs(session.uid, 100, None).await)?;
    for row in page.items.iter().filter(|row| row.status == RunStatus::Completed) {
        let found = result_of_run(app, session, row).await?;
        if found != RunResult::default() {
            return Ok(found);
        }
    }
    Err(Fault::new(404, "No result found"))
}

/// What a run came to: what its executor has posted as its result, else its answer and what
/// its agent has said in it.
pub(super) async fn result_of_run(
    app: &App,
    session: &Session,
    row: &RunRow,
) -> ApiResult<RunResult> {
    if let Some(result) = KeptRun::of(app, row.id).await?.and_then(|kept| kept.result) {
        return Ok(result);
    }
    let text = said_in(app, session, row.id).await?;
    Ok(RunResult {
        result_text: Some(text).filter(|text| !text.is_empty()),
        result_data: row.result.clone(),
    })
}

/// What the agent has said in a run.
async fn said_in(app: &App, session: &Session, run: RunId) -> ApiResult<String> {
    let mut parts: Vec<String> = Vec::new();
    let mut to = session.last_seq;
    while to > 0 {
        let from = to.saturating_sub(u64::from(CHUNK) - 1).max(1);
        let page = app.store.events(session.uid, from, CHUNK).await?;
        let mut begun = false;
        for event in page.iter().rev().filter(|event| event.run == Some(run)) {
            if event.kind == "message" && event.data["role"] != "user" {
                parts.extend(event.data["text"].as_str().map(str::to_owned));
            }
            begun |= event.kind == "run.queued";
        }
        if begun {
            break;
        }
        to = from - 1;
    }
    parts.reverse();
    Ok(parts.concat().trim_end().to_owned())
}

async fn log(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Done<Json<Value>> {
    let session = find(&app, &caller, &id).await?;
    let mut all = Vec::new();
    let mut from = 1;
    while all.len() < MOST {
        let page: Vec<Event> = stored(app.store.events(session.uid, from, CHUNK).await)?;
        let Some(last) = page.last() else { break };
        from = last.seq + 1;
        all.extend(page.iter().filter_map(|event| events::shown(&session.id, event)));
    }
    Ok(Json(json!({ "events": all })))
}

/// An executor says what has happened.
async fn said(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
    Body(posted): Body<Posted>,
) -> Done<(StatusCode, Json<Value>)> {
    let session = find(&app, &caller, &id).await?;
    may_say(&caller, &session)?;
    if posted.session_id != id {
        return Err(Fault::new(400, "Event session_id must match URL session_id"));
    }
    if posted.event_type.is_empty() || posted.event_type.len() > 100 {
        return Err(Fault::new(422, "event_type has 1 to 100 characters"));
    }
    let runs = stored(app.store.runs(session.uid, 1, None).await)?.items;
    let head = session.compute.as_ref().and_then(|compute| compute.head.as_ref());
    let run = head.map(|head| head.run.id).or(runs.first().map(|row| row.id));
    if let (Some(result), Some(run)) = (posted.result(), run) {
        let mut kept = KeptRun::of(&app, run).await?.unwrap_or_default();
        kept.result = Some(result);
        kept.keep(&app, run).await?;
    }
    let logged = posted.logged();
    let at = logged.at.unwrap_or_else(|| app.clock.wall());
    match Adapter::at_home(&app, &session) {
        Some(adapter) if session.last_epoch.0 > 0 => {
            let epoch = session.compute.as_ref().map_or(session.last_epoch, |c| c.epoch);
            let body = RecordBody::Output { run, kind: logged.kind, data: logged.data };
            adapter.append_at(session.uid, epoch, vec![(at, body)]).await?;
        }
        _ => {
            let output = Output { kind: logged.kind, run, data: logged.data, late: false };
            sessions::submit(&app, session.uid, vec![Command::Say(output)]).await?;
        }
    }
    Ok((StatusCode::CREATED, Json(json!({ "ok": true }))))
}

#[derive(Debug, Deserialize)]
struct Bind {
    executor_session_id: String,
    hostname: String,
    executor_profile: String,
    project_dir: Option<String>,
}

/// An executor has begun with a session.
async fn bind(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
    Body(bind): Body<Bind>,
) -> Done<Json<Value>> {
    let session = find(&app, &caller, &id).await?;
    may_say(&caller, &session)?;
    let home = Adapter::at_home(&app, &session);
    let Some((adapter, compute)) = home.zip(session.compute.as_ref()) else {
        // It comes after the end, or is no executor's to bind: nothing is brought back by it.
        let status = view::status(&app, &session).await?;
        return Err(Fault::new(409, format!("Session is {status}: there is nothing to bind")));
    };
    let mut bodies = vec![RecordBody::Conversation { id: bind.executor_session_id }];
    if let Some(head) = compute.head.as_ref().filter(|_| !adapter.is_ending(&session)) {
        bodies.extend([RecordBody::Ready, RecordBody::RunStarted { run: head.run.id }]);
    }
    adapter.append(session.uid, compute.epoch, bodies).await?;
    let mut kept = KeptSession::of(&app, session.uid).await?;
    kept.hostname = Some(bind.hostname);
    kept.executor_profile = Some(bind.executor_profile);
    kept.project_dir = bind.project_dir.or(kept.project_dir);
    kept.keep(&app, session.uid).await?;
    told(&app, &session).await
}

#[derive(Debug, Deserialize)]
struct Metadata {
    project_dir: Option<String>,
    agent_name: Option<String>,
    last_resumed_at: Option<String>,
    executor_session_id: Option<String>,
    executor_profile: Option<String>,
    hostname: Option<String>,
}

async fn metadata(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
    Body(new): Body<Metadata>,
) -> Done<Json<Value>> {
    let session = find(&app, &caller, &id).await?;
    may_say(&caller, &session)?;
    let mut kept = KeptSession::of(&app, session.uid).await?;
    if !kept.from_here {
        kept.agent_name = Some(session.agent.name.to_string());
    }
    kept.project_dir = new.project_dir.or(kept.project_dir);
    kept.agent_name = new.agent_name.or(kept.agent_name);
    kept.last_resumed_at = new.last_resumed_at.or(kept.last_resumed_at);
    kept.executor_profile = new.executor_profile.or(kept.executor_profile);
    kept.hostname = new.hostname.or(kept.hostname);
    kept.keep(&app, session.uid).await?;
    if let (Some(id), Some(adapter), Some(compute)) =
        (new.executor_session_id, Adapter::at_home(&app, &session), &session.compute)
    {
        let bodies = vec![RecordBody::Conversation { id }];
        adapter.append(session.uid, compute.epoch, bodies).await?;
    }
    told(&app, &session).await
}

/// Says to viewers what is kept beside the session's own state, and answers it.
async fn told(app: &App, session: &Session) -> Done<Json<Value>> {
    let now = stored(app.store.session(session.uid).await)?;
    let session = now.unwrap_or_else(|| Arc::new(session.clone()));
    let shown = view::session(app, &session).await?;
    let commit = Commit { session, events: Vec::new(), state_changed: true, assigned: Vec::new() };
    app.orchestrator.feed.note(&Arc::new(commit), app.clock.wall().unix_ms());
    Ok(Json(json!({ "ok": true, "session": shown })))
}

async fn stop_one(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
) -> Done<Json<Value>> {
    Ok(Json(stop::stop(&app, &caller, &id).await?))
}

async fn remove(
    State(app): State<Arc<App>>,
    Allowed { caller, .. }: Allowed<ToUse>,
    Path(id): Path<String>,
) -> Done<Json<Value>> {
    Ok(Json(remove_one(&app, &caller, &id).await?))
}

/// Removes a session. One that works is stopped first by whoever wants it gone.
pub(super) async fn remove_one(app: &Arc<App>, caller: &Caller, id: &str) -> Done<Value> {
    let session = sessions::find(app, caller, id).await?;
    if matches!(words::session_status(&session), "running" | "idle") {
        return Err(Fault::new(409, "Stop session first"));
    }
    let rows = stored(app.store.runs(session.uid, 1000, None).await)?.items;
    sessions::delete(app, caller, id, Duration::from_secs(30)).await?;
    for row in &rows {
        KeptRun::forget(app, row.id).await?;
    }
    KeptSession::forget(app, session.uid).await?;
    Ok(json!({
        "ok": true,
        "session_id": session.id,
        "deleted": { "session": true, "events_count": session.last_seq, "runs_count": rows.len() },
        "runs_removed_from_cache": rows.len(),
    }))
}
