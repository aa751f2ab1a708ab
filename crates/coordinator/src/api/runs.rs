//! Runs.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use greenroom_core::Ms;
use greenroom_protocol::{Problem, v1};
use http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{PageQuery, Wait, idempotency_key, json, kept};
use crate::app::App;
use crate::auth::{Allowed, ToRead, ToUse};
use crate::error::ApiResult;
use crate::extract::{Body, MaybeBody, Path, Query, cursor};
use crate::service::runs;
use crate::service::sessions::Answered;
use crate::service::views;

pub(super) fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::default()
        .routes(routes!(list, create))
        .routes(routes!(get, revise))
        .routes(routes!(stop))
        .routes(routes!(withdraw))
}

/// Ask something of a session
///
/// Brings a compute up if there is none and no hold.
#[utoipa::path(post, path = "/v1/sessions/{id}/runs", tag = "runs",
    params(
        ("id" = String, Path, description = "The session's name"),
        ("Idempotency-Key" = Option<String>, Header, description = "Makes a repetition answer the same for 7 days", min_length = 1, max_length = 255)),
    request_body = v1::CreateRun,
    responses(
        (status = 202, description = "The run, and what is before it", body = v1::AcceptedRun),
        (status = 404, description = "`session_not_found`; `agent_not_found`: no source serves the session's agent", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "`source_unavailable`: the source of the session's agent has not answered yet", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "`session_busy`, `session_deleting`, `idempotency_conflict`, `no_parent`; `agent_ambiguous`, `agent_drifted`, with `candidates`", body = Problem, content_type = "application/problem+json")))]
async fn create(
    State(app): State<Arc<App>>,
    Allowed { caller, .. }: Allowed<ToUse>,
    Path(id): Path<String>,
    headers: HeaderMap,
    Body(request): Body<v1::CreateRun>,
) -> ApiResult<Response> {
    let key = idempotency_key(&headers)?;
    Ok(match runs::create(&app, &caller, &id, request, key).await? {
        Answered::Now(run) => json(StatusCode::ACCEPTED, &run),
        Answered::Before(answer) => kept(answer),
    })
}

/// List a session's runs
#[utoipa::path(get, path = "/v1/sessions/{id}/runs", tag = "runs",
    params(("id" = String, Path, description = "The session's name"), PageQuery),
    responses((status = 200, description = "A page of runs, newest first", body = v1::List<v1::Run>)))]
async fn list(
    State(app): State<Arc<App>>,
    Allowed { caller, .. }: Allowed<ToRead>,
    Path(id): Path<String>,
    Query(page): Query<PageQuery>,
) -> ApiResult<Response> {
    let cursor = cursor(page.cursor)?;
    Ok(json(StatusCode::OK, &runs::list(&app, &caller, &id, page.limit.0, cursor).await?))
}

/// Show a run
#[utoipa::path(get, path = "/v1/runs/{id}", tag = "runs",
    params(("id" = uuid::Uuid, Path, description = "The run")),
    responses((status = 200, description = "The run", body = v1::Run)))]
async fn get(
    State(app): State<Arc<App>>,
    Allowed { caller, .. }: Allowed<ToRead>,
    Path(id): Path<String>,
) -> ApiResult<Response> {
    let (row, _) = runs::find(&app, &caller, &id).await?;
    Ok(json(StatusCode::OK, &views::run(&row)))
}

/// Change what a run asks, or its place
///
/// Only of one that waits for its turn.
#[utoipa::path(patch, path = "/v1/runs/{id}", tag = "runs",
    params(("id" = uuid::Uuid, Path, description = "The run")),
    request_body = v1::ReviseRun,
    responses(
        (status = 200, description = "The run", body = v1::Run),
        (status = 409, description = "`run_started`, `session_deleting`", body = Problem, content_type = "application/problem+json")))]
async fn revise(
    State(app): State<Arc<App>>,
    Allowed { caller, .. }: Allowed<ToUse>,
    Path(id): Path<String>,
    Body(request): Body<v1::ReviseRun>,
) -> ApiResult<Response> {
    Ok(json(StatusCode::OK, &runs::revise(&app, &caller, &id, request).await?))
}

/// Body of a run's stop; may be absent.
#[derive(Debug, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
struct StopRunRequest {
    /// From the first SIGTERM to the kill, where the compute ends with the run; the agent's
    /// own where absent. A driver that can end a turn has `stop.cancel_grace` of its agent
    /// file for that, and where it does not obey the compute is ended by the agent's own
    /// graces, whatever is said here.
    #[serde(default)]
    grace_ms: Option<Ms>,
}

/// Stop one run
///
/// The next waiting prompt then goes on. A driver without a cancel of its own ends the
/// compute with the run.
#[utoipa::path(post, path = "/v1/runs/{id}/stop", tag = "runs",
    params(("id" = uuid::Uuid, Path, description = "The run"), Wait),
    request_body = Option<StopRunRequest>,
    responses(
        (status = 200, description = "It has ended", body = v1::Run),
        (status = 202, description = "It is being stopped", body = v1::Run)))]
async fn stop(
    State(app): State<Arc<App>>,
    Allowed { caller, .. }: Allowed<ToUse>,
    Path(id): Path<String>,
    Query(wait): Query<Wait>,
    MaybeBody(request): MaybeBody<Option<StopRunRequest>>,
) -> ApiResult<Response> {
    let grace = request.unwrap_or_default().grace_ms;
    if grace.is_some_and(|grace| grace > Ms::MAX) {
        return Err(Problem::invalid("/grace_ms is more than ten years").at("/grace_ms").into());
    }
    let (run, ended) = runs::stop(&app, &caller, &id, grace, wait.span()).await?;
    Ok(json(if ended { StatusCode::OK } else { StatusCode::ACCEPTED }, &run))
}

/// Take back a run that was not dispatched
#[utoipa::path(post, path = "/v1/runs/{id}/withdraw", tag = "runs",
    params(("id" = uuid::Uuid, Path, description = "The run")),
    responses(
        (status = 200, description = "The run", body = v1::Run),
        (status = 409, description = "`run_started`", body = Problem, content_type = "application/problem+json")))]
async fn withdraw(
    State(app): State<Arc<App>>,
    Allowed { caller, .. }: Allowed<ToUse>,
    Path(id): Path<String>,
) -> ApiResult<Response> {
    Ok(json(StatusCode::OK, &runs::withdraw(&app, &caller, &id).await?))
}
