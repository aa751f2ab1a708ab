//! Stops, and what lifts or replaces them.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use greenroom_protocol::{Problem, v1};
use http::StatusCode;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Wait, json};
use crate::app::App;
use crate::auth::{Allowed, ToDecide, ToUse};
use crate::error::ApiResult;
use crate::extract::{Body, MaybeBody, Path, Query};
use crate::service::{runs, stop as service};

pub(super) fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::default().routes(routes!(stop)).routes(routes!(resume)).routes(routes!(abandon))
}

/// Stop a session, for certain
///
/// Idempotent, and legal in every status. With `wait` it answers with the receipt.
#[utoipa::path(post, path = "/v1/sessions/{id}/stop", tag = "sessions",
    params(("id" = String, Path, description = "The session's name"), Wait),
    request_body = Option<v1::StopRequest>,
    responses(
        (status = 200, description = "It is at rest, and this is the evidence", body = v1::StopReply),
        (status = 202, description = "It is wanted down, and not yet proven", body = v1::StopReply)))]
async fn stop(
    State(app): State<Arc<App>>,
    Allowed { caller, .. }: Allowed<ToUse>,
    Path(id): Path<String>,
    Query(wait): Query<Wait>,
    MaybeBody(request): MaybeBody<Option<v1::StopRequest>>,
) -> ApiResult<Response> {
    let stopped =
        service::stop(&app, &caller, &id, request.unwrap_or_default(), wait.span(), None).await?;
    let status = if stopped.at_rest { StatusCode::OK } else { StatusCode::ACCEPTED };
    Ok(json(status, &stopped.reply))
}

/// Let a stopped session go on
///
/// Lifts the hold, so that what waits goes on in order; brings a persistent agent up.
#[utoipa::path(post, path = "/v1/sessions/{id}/resume", tag = "sessions",
    params(("id" = String, Path, description = "The session's name")),
    responses(
        (status = 200, description = "The session", body = v1::Session),
        (status = 404, description = "`session_not_found`; `agent_not_found`: no source serves the session's agent", body = Problem, content_type = "application/problem+json"),
        (status = 503, description = "`source_unavailable`: the source of the session's agent has not answered yet", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "`nothing_to_resume`, `session_deleting`; `agent_ambiguous`, `agent_drifted`, with `candidates`", body = Problem, content_type = "application/problem+json")))]
async fn resume(
    State(app): State<Arc<App>>,
    Allowed { caller, .. }: Allowed<ToDecide>,
    Path(id): Path<String>,
) -> ApiResult<Response> {
    Ok(json(StatusCode::OK, &runs::resume(&app, &caller, &id).await?))
}

/// Close a compute by a person's word
///
/// The way out of `unreachable` and `stop_unconfirmed` when the machine is gone for good.
#[utoipa::path(post, path = "/v1/sessions/{id}/abandon", tag = "sessions",
    params(("id" = String, Path, description = "The session's name")),
    request_body = v1::AbandonRequest,
    responses(
        (status = 200, description = "The session", body = v1::Session),
        (status = 409, description = "`nothing_to_abandon`", body = Problem, content_type = "application/problem+json")))]
async fn abandon(
    State(app): State<Arc<App>>,
    Allowed { caller, .. }: Allowed<ToDecide>,
    Path(id): Path<String>,
    Body(request): Body<v1::AbandonRequest>,
) -> ApiResult<Response> {
    Ok(json(StatusCode::OK, &runs::abandon(&app, &caller, &id, request.reason).await?))
}
