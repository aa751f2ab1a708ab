//! What of a session can be set.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use greenroom_core::approval::{Mode, SessionPolicy};
use greenroom_protocol::{Problem, v1};
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::agents::looping;
use super::asked::Body;
use super::names::Segments;
use super::overrides;
use super::policy::{self, Permissions};
use super::shown::STARRED;
use crate::api::json as answer;
use crate::app::App;
use crate::auth::{Allowed, Caller, ToDecide, ToRead, ToUse};
use crate::error::ApiResult;
use crate::service::{following, models, sessions};

async fn set_policy(
    app: &Arc<App>,
    caller: &Caller,
    id: &str,
    change: impl FnOnce(&SessionPolicy) -> Result<SessionPolicy, Box<Problem>>,
) -> ApiResult<v1::Session> {
    let session = sessions::find(app, caller, id).await?;
    let approvals = change(&session.approvals)?;
    let patch = v1::PatchSession { approvals: Some(approvals), ..v1::PatchSession::default() };
    sessions::update(app, caller, id, patch).await
}

/// `POST /api/sessions/{id}/tools/toggle`: all tools are approved in advance, or not any more.
/// What is denied stays denied.
pub(super) async fn toggle(
    State(app): State<Arc<App>>,
    Allowed { caller, .. }: Allowed<ToDecide>,
    path: Segments,
) -> ApiResult<Response> {
    set_policy(&app, &caller, &path.session(), |before| {
        let mode = (!policy::is_approved(before)).then_some(Mode::Autonomous);
        let headless = before.headless.map(|_| false);
        Ok(SessionPolicy { mode, headless, ..before.clone() })
    })
    .await?;
    Ok(answer(StatusCode::OK, &Value::Null))
}

/// `POST /api/sessions/{id}/thinking/toggle`: how much a model thinks is its agent's.
pub(super) async fn thinking(
    State(app): State<Arc<App>>,
    Allowed { caller, .. }: Allowed<ToUse>,
    path: Segments,
) -> ApiResult<Response> {
    sessions::find(&app, &caller, &path.session()).await?;
    let detail = "how much a model thinks is set in its agent's file, not for a session";
    Err(Problem::new(409, "thinking_unsupported", detail).into())
}

#[derive(Debug, Deserialize)]
pub(super) struct SetPermissions {
    #[serde(default)]
    permissions: Option<Permissions>,
}

/// `PATCH /api/sessions/{id}/permissions`
pub(super) async fn permissions(
    State(app): State<Arc<App>>,
    Allowed { caller, .. }: Allowed<ToDecide>,
    path: Segments,
    Body(request): Body<SetPermissions>,
) -> ApiResult<Response> {
    let wanted = request.permissions.unwrap_or_default();
    set_policy(&app, &caller, &path.session(), |before| wanted.over(before)).await?;
    Ok(answer(StatusCode::OK, &json!({ "message": "session permissions updated" })))
}

#[derive(Debug, Deserialize)]
pub(super) struct SetSafety {
    safety_policy: String,
}

/// `PATCH /api/sessions/{id}/safety-policy`
pub(super) async fn safety(
    State(app): State<Arc<App>>,
    Allowed { caller, .. }: Allowed<ToDecide>,
    path: Segments,
    Body(request): Body<SetSafety>,
) -> ApiResult<Response> {
    let (mode, headless) = policy::safety(&request.safety_policy)?;
    let session = set_policy(&app, &caller, &path.session(), |before| {
        Ok(SessionPolicy { mode, headless, ..before.clone() })
    })
    .await?;
    let view = json!({ "id": session.id, "safety_policy": policy::word(&session.approvals) });
    Ok(answer(StatusCode::OK, &view))
}

#[derive(Debug, Deserialize)]
pub(super) struct SetTitle {
    title: String,
}

/// `PATCH /api/sessions/{id}/title`
pub(super) async fn title(
    State(app): State<Arc<App>>,
    Allowed { caller, .. }: Allowed<ToDecide>,
    path: Segments,
    Body(request): Body<SetTitle>,
) -> ApiResult<Response> {
    let patch = v1::PatchSession { title: Some(request.title), ..v1::PatchSession::default() };
    let session = sessions::update(&app, &caller, &path.session(), patch).await?;
    let title = session.title.unwrap_or_default();
    Ok(answer(StatusCode::OK, &json!({ "id": session.id, "title": title })))
}

#[derive(Debug, Deserialize)]
pub(super) struct SetStarred {
    starred: bool,
}

/// `PATCH /api/sessions/{id}/starred`
pub(super) async fn starred(
    State(app): State<Arc<App>>,
    Allowed { caller, .. }: Allowed<ToDecide>,
    path: Segments,
    Body(request): Body<SetStarred>,
) -> ApiResult<Response> {
    let id = path.session();
    let mut labels = sessions::find(&app, &caller, &id).await?.labels.clone();
    match request.starred {
        true => labels.insert(STARRED.to_owned(), "true".to_owned()),
        false => labels.remove(STARRED),
    };
    let patch = v1::PatchSession { labels: Some(labels), ..v1::PatchSession::default() };
    let session = sessions::update(&app, &caller, &id, patch).await?;
    Ok(answer(StatusCode::OK, &json!({ "id": session.id, "starred": request.starred })))
}

/// `GET /api/sessions/{id}/models`
pub(super) async fn models(
    State(app): State<Arc<App>>,
    Allowed { caller, .. }: Allowed<ToRead>,
    path: Segments,
) -> ApiResult<Response> {
    let session = sessions::find(&app, &caller, &path.session()).await?;
    let agent = following::pinned(&app, &session).await?;
    let Some(spec) = looping(&agent) else {
        let detail = format!("agent {} chooses its model itself", agent.row.name);
        return Err(Problem::new(422, "model_unsupported", detail).into());
    };
    let member = overrides::worker(&session);
    let now = models::in_use(&session, &agent.row.spec, member.as_ref());
    let now = now.first().map(|model| model.name());
    // `PROVIDER/*` is no model, but says that any other there can be chosen.
    let names: Vec<String> =
        spec.known().into_iter().filter(|name| !name.ends_with("/*")).collect();
    let view = json!({
        "agent": session.agent.name,
        "current_model_ref": session.model.clone().or(now),
        "models": names,
    });
    Ok(answer(StatusCode::OK, &view))
}

#[derive(Debug, Deserialize)]
pub(super) struct SetModel {
    /// Empty for the agent's own.
    model: String,
    /// Of whom, where not of the one that works on the session.
    #[serde(default)]
    agent_name: Option<String>,
}

/// `PATCH /api/sessions/{id}/model`
pub(super) async fn model(
    State(app): State<Arc<App>>,
    Allowed { caller, .. }: Allowed<ToDecide>,
    path: Segments,
    Body(request): Body<SetModel>,
) -> ApiResult<Response> {
    let session = sessions::find(&app, &caller, &path.session()).await?;
    let agent = following::pinned(&app, &session).await?;
    let patch = overrides::patch(&session, &agent, request.agent_name, request.model)?;
    sessions::update(&app, &caller, session.id.as_str(), patch).await?;
    let session = sessions::find(&app, &caller, session.id.as_str()).await?;
    let overrides = overrides::shown(&session, Some(&agent)).unwrap_or_default();
    let view = json!({
        "id": session.id, "model": session.model, "agent_model_overrides": overrides,
    });
    Ok(answer(StatusCode::OK, &view))
}

/// Messages, summaries and tokens that a client would write into a session: its log says what
/// has happened, and nobody writes it from outside.
pub(super) async fn not_ours(
    State(app): State<Arc<App>>,
    Allowed { caller, .. }: Allowed<ToUse>,
    path: Segments,
) -> ApiResult<Response> {
    sessions::find(&app, &caller, &path.session()).await?;
    let detail = "a session's log says what has happened in it, and is not written by clients: \
                  ask the agent with POST /api/sessions/ID/agent/AGENT, or send a follow-up";
    Err(Problem::new(409, "log_is_its_own", detail).into())
}
