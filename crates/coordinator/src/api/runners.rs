//! `/v1/runners`

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use greenroom_protocol::{Problem, v1};
use http::StatusCode;
use serde::Deserialize;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::json;
use crate::app::App;
use crate::auth::{Allowed, ToAdminister, ToOperate};
use crate::error::ApiResult;
use crate::extract::{Path, Query};
use crate::service::runners;

pub(super) fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::default()
        .routes(routes!(list))
        .routes(routes!(get, remove))
        .routes(routes!(drain))
}

/// List runners
#[utoipa::path(get, path = "/v1/runners", tag = "runners",
    responses((status = 200, description = "All runners", body = v1::List<v1::Runner>)))]
async fn list(
    State(app): State<Arc<App>>,
    Allowed { caller, .. }: Allowed<ToOperate>,
) -> ApiResult<Response> {
    Ok(json(StatusCode::OK, &v1::List::whole(runners::list(&app, &caller).await?)))
}

/// Show a runner
#[utoipa::path(get, path = "/v1/runners/{id}", tag = "runners",
    params(("id" = uuid::Uuid, Path, description = "The runner")),
    responses((status = 200, description = "The runner", body = v1::Runner)))]
async fn get(
    State(app): State<Arc<App>>,
    Allowed { caller, .. }: Allowed<ToOperate>,
    Path(id): Path<String>,
) -> ApiResult<Response> {
    Ok(json(StatusCode::OK, &runners::get(&app, &caller, &id).await?))
}

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
struct DrainQuery {
    /// Give it things again.
    #[serde(default)]
    #[param(value_type = Option<bool>)]
    lift: bool,
}

/// Give a runner nothing new
#[utoipa::path(post, path = "/v1/runners/{id}/drain", tag = "runners",
    params(("id" = uuid::Uuid, Path, description = "The runner"), DrainQuery),
    responses((status = 200, description = "The runner", body = v1::Runner)))]
async fn drain(
    State(app): State<Arc<App>>,
    Allowed { caller, .. }: Allowed<ToAdminister>,
    Path(id): Path<String>,
    Query(query): Query<DrainQuery>,
) -> ApiResult<Response> {
    Ok(json(StatusCode::OK, &runners::drain(&app, &caller, &id, query.lift).await?))
}

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
struct RemoveQuery {
    /// Also one that has the files of sessions. They are lost.
    #[serde(default)]
    #[param(value_type = Option<bool>)]
    force: bool,
}

/// Remove a runner
#[utoipa::path(delete, path = "/v1/runners/{id}", tag = "runners",
    params(("id" = uuid::Uuid, Path, description = "The runner"), RemoveQuery),
    responses(
        (status = 204, description = "It is removed"),
        (status = 409, description = "`runner_is_home`", body = Problem, content_type = "application/problem+json")))]
async fn remove(
    State(app): State<Arc<App>>,
    Allowed { caller, .. }: Allowed<ToAdminister>,
    Path(id): Path<String>,
    Query(query): Query<RemoveQuery>,
) -> ApiResult<Response> {
    runners::remove(&app, &caller, &id, query.force).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}
