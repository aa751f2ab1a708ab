//! Forks of sessions.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use greenroom_protocol::{Problem, v1};
use http::{HeaderMap, StatusCode};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{idempotency_key, json, kept};
use crate::app::App;
use crate::auth::{Allowed, ToDecide};
use crate::error::ApiResult;
use crate::extract::{MaybeBody, Path};
use crate::service::forks;
use crate::service::sessions::Answered;

pub(super) fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::default().routes(routes!(fork))
}

/// Fork a session
///
/// Makes a session of the same agent that begins with the conversation until a place in it:
/// for agents of driver `loop` that is its own history, other agents keep theirs themselves
/// and begin a fresh one, and `forked_from` says which. Its workspace is a fresh one.
#[utoipa::path(post, path = "/v1/sessions/{id}/fork", tag = "sessions",
    params(
        ("id" = String, Path, description = "The session's name"),
        ("Idempotency-Key" = Option<String>, Header, description = "Makes a repetition answer the same for 7 days", min_length = 1, max_length = 255)),
    request_body = Option<v1::ForkSession>,
    responses(
        (status = 201, description = "The fork", body = v1::Session),
        (status = 404, description = "`session_not_found`, `run_not_found`", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "`session_exists`, `session_deleting`, `fork_too_large`, `idempotency_conflict`", body = Problem, content_type = "application/problem+json")))]
async fn fork(
    State(app): State<Arc<App>>,
    Allowed { caller, .. }: Allowed<ToDecide>,
    Path(id): Path<String>,
    headers: HeaderMap,
    MaybeBody(request): MaybeBody<Option<v1::ForkSession>>,
) -> ApiResult<Response> {
    let key = idempotency_key(&headers)?;
    Ok(match forks::fork(&app, &caller, &id, request.unwrap_or_default(), key).await? {
        Answered::Now(session) => json(StatusCode::CREATED, &session),
        Answered::Before(answer) => kept(answer),
    })
}
