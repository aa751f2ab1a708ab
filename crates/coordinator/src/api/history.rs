//! A session's past, and what of it was seen.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use greenroom_protocol::v1;
use greenroom_store::StoreError;
use http::StatusCode;
use serde::Deserialize;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{PageQuery, json};
use crate::app::App;
use crate::auth::{Allowed, ToRead};
use crate::error::ApiResult;
use crate::extract::{Body, Path, Query, cursor, parsed};
use crate::service::history;

pub(super) fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::default()
        .routes(routes!(state))
        .routes(routes!(receipts))
        .routes(routes!(seen))
        .routes(routes!(see))
}

#[derive(Debug, Default, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
struct StateQuery {
    /// The entry of the log after which it is shown; its last where absent, or beyond it.
    #[serde(default, deserialize_with = "parsed")]
    #[param(value_type = Option<u64>, minimum = 1)]
    seq: Option<u64>,
}

/// Show a session as it was
///
/// The fold of its log up to and with an entry.
#[utoipa::path(get, path = "/v1/sessions/{id}/state", tag = "history",
    params(("id" = String, Path, description = "The session's name"), StateQuery),
    responses((status = 200, description = "The session, as it was", body = v1::Session)))]
async fn state(
    State(app): State<Arc<App>>,
    Allowed { caller, .. }: Allowed<ToRead>,
    Path(id): Path<String>,
    Query(query): Query<StateQuery>,
) -> ApiResult<Response> {
    Ok(json(StatusCode::OK, &history::state(&app, &caller, &id, query.seq).await?))
}

/// List a session's receipts
///
/// Oldest first: each compute's end, with its evidence.
#[utoipa::path(get, path = "/v1/sessions/{id}/receipts", tag = "history",
    params(("id" = String, Path, description = "The session's name"), PageQuery),
    responses((status = 200, description = "A page of receipts", body = v1::List<v1::ReceiptAt>)))]
async fn receipts(
    State(app): State<Arc<App>>,
    Allowed { caller, .. }: Allowed<ToRead>,
    Path(id): Path<String>,
    Query(page): Query<PageQuery>,
) -> ApiResult<Response> {
    let after = match cursor(page.cursor)? {
        None => 0,
        Some(text) => u64::from_str_radix(&text, 16).map_err(|_| StoreError::BadCursor)?,
    };
    Ok(json(StatusCode::OK, &history::receipts(&app, &caller, &id, after, page.limit.0).await?))
}

/// Show what the caller has seen
#[utoipa::path(get, path = "/v1/seen", tag = "history",
    responses((status = 200, description = "How far each session was seen", body = v1::Seen)))]
async fn seen(
    State(app): State<Arc<App>>,
    Allowed { caller, .. }: Allowed<ToRead>,
) -> ApiResult<Response> {
    Ok(json(StatusCode::OK, &history::seen(&app, &caller).await?))
}

/// Mark a session as seen
#[utoipa::path(put, path = "/v1/sessions/{id}/seen", tag = "history",
    params(("id" = String, Path, description = "The session's name")),
    request_body = v1::SeenRequest,
    responses((status = 204, description = "It is marked")))]
async fn see(
    State(app): State<Arc<App>>,
    Allowed { caller, .. }: Allowed<ToRead>,
    Path(id): Path<String>,
    Body(request): Body<v1::SeenRequest>,
) -> ApiResult<Response> {
    history::see(&app, &caller, &id, request.seq).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}
