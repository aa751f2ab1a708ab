//! `/v1/tokens`

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use greenroom_protocol::v1;
use http::StatusCode;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::json;
use crate::app::App;
use crate::auth::{Allowed, ToAdminister};
use crate::error::ApiResult;
use crate::extract::{Body, Path};
use crate::service::tokens;

pub(super) fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::default().routes(routes!(list, create)).routes(routes!(revoke))
}

/// List tokens, without their secrets
#[utoipa::path(get, path = "/v1/tokens", tag = "tokens",
    responses((status = 200, description = "All tokens", body = v1::List<v1::Token>)))]
async fn list(
    State(app): State<Arc<App>>,
    Allowed { caller, .. }: Allowed<ToAdminister>,
) -> ApiResult<Response> {
    Ok(json(StatusCode::OK, &v1::List::whole(tokens::list(&app, &caller).await?)))
}

/// Make a token
///
/// The secret is said once. A token of role `runner` is good for one runner to join.
#[utoipa::path(post, path = "/v1/tokens", tag = "tokens",
    request_body = v1::CreateToken,
    responses((status = 201, description = "The token, with its secret", body = v1::NewToken)))]
async fn create(
    State(app): State<Arc<App>>,
    Allowed { caller, .. }: Allowed<ToAdminister>,
    Body(request): Body<v1::CreateToken>,
) -> ApiResult<Response> {
    Ok(json(StatusCode::CREATED, &tokens::create(&app, &caller, request).await?))
}

/// Revoke a token
///
/// Streams that were opened with it end.
#[utoipa::path(delete, path = "/v1/tokens/{id}", tag = "tokens",
    params(("id" = uuid::Uuid, Path, description = "The token")),
    responses((status = 204, description = "It is void")))]
async fn revoke(
    State(app): State<Arc<App>>,
    Allowed { caller, .. }: Allowed<ToAdminister>,
    Path(id): Path<String>,
) -> ApiResult<Response> {
    tokens::revoke(&app, &caller, &id).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}
