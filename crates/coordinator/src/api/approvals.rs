//! Approvals and questions.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use greenroom_protocol::{Problem, v1};
use http::StatusCode;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{PageQuery, json};
use crate::app::App;
use crate::auth::{Allowed, ToDecide, ToRead};
use crate::error::ApiResult;
use crate::extract::{Body, Path, Query, cursor};
use crate::service::approvals as service;

pub(super) fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::default()
        .routes(routes!(list))
        .routes(routes!(of_session))
        .routes(routes!(answer))
}

/// List what waits for a person
///
/// In all sessions one may see; an agent sees its own and its children's. `limit` counts
/// sessions.
#[utoipa::path(get, path = "/v1/approvals", tag = "approvals",
    params(PageQuery),
    responses((status = 200, description = "What waits", body = v1::List<v1::Approval>)))]
async fn list(
    State(app): State<Arc<App>>,
    Allowed { caller, .. }: Allowed<ToRead>,
    Query(page): Query<PageQuery>,
) -> ApiResult<Response> {
    let query = super::sessions::visible(&caller, page.limit.0, cursor(page.cursor)?);
    Ok(json(StatusCode::OK, &service::waiting(&app, query).await?))
}

/// List what a session's agent asks
///
/// Of its live compute, in the order asked, answered or not. What was asked before is in the log.
#[utoipa::path(get, path = "/v1/sessions/{id}/approvals", tag = "approvals",
    params(("id" = String, Path, description = "The session's name")),
    responses((status = 200, description = "All of it", body = v1::List<v1::Approval>)))]
async fn of_session(
    State(app): State<Arc<App>>,
    Allowed { caller, .. }: Allowed<ToRead>,
    Path(id): Path<String>,
) -> ApiResult<Response> {
    let all = service::of_session(&app, &caller, &id).await?;
    Ok(json(StatusCode::OK, &v1::List::whole(all)))
}

/// Answer
///
/// Once: the first answer counts. It is good for this one action, and nothing else.
#[utoipa::path(post, path = "/v1/sessions/{id}/approvals/{approval}", tag = "approvals",
    params(
        ("id" = String, Path, description = "The session's name"),
        ("approval" = uuid::Uuid, Path, description = "What is answered")),
    request_body = v1::AnswerRequest,
    responses(
        (status = 200, description = "It is answered", body = v1::Approval),
        (status = 409, description = "`approval_answered`, `approval_over`", body = Problem, content_type = "application/problem+json")))]
async fn answer(
    State(app): State<Arc<App>>,
    Allowed { caller, .. }: Allowed<ToDecide>,
    Path((id, approval)): Path<(String, String)>,
    Body(request): Body<v1::AnswerRequest>,
) -> ApiResult<Response> {
    let answered = service::answer(&app, &caller, &id, &approval, request).await?;
    Ok(json(StatusCode::OK, &answered))
}
