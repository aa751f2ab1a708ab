//! `/v1/agents`

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use greenroom_protocol::{Problem, v1};
use http::StatusCode;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::json;
use crate::app::App;
use crate::auth::{Allowed, ToAdminister, ToRead};
use crate::error::ApiResult;
use crate::extract::{Body, Path};
use crate::service::agents;

pub(super) fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::default()
        .routes(routes!(list, add))
        .routes(routes!(get, remove))
        .routes(routes!(versions))
}

/// List agents
#[utoipa::path(get, path = "/v1/agents", tag = "agents",
    responses((status = 200, description = "All agents", body = v1::List<v1::Agent>)))]
async fn list(State(app): State<Arc<App>>, _: Allowed<ToRead>) -> ApiResult<Response> {
    Ok(json(StatusCode::OK, &v1::List::whole(agents::list(&app).await?)))
}

/// Add a source of agents
///
/// A file or folder on the coordinator's machine, a URL, or an image of a registry. Answers the agents that it has.
#[utoipa::path(post, path = "/v1/agents", tag = "agents",
    request_body = v1::AddAgent,
    responses(
        (status = 201, description = "The agents of the source", body = v1::List<v1::Agent>),
        (status = 404, description = "`source_not_found`", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "`source_broken`", body = Problem, content_type = "application/problem+json")))]
async fn add(
    State(app): State<Arc<App>>,
    _: Allowed<ToAdminister>,
    Body(request): Body<v1::AddAgent>,
) -> ApiResult<Response> {
    let added = agents::add(&app, &request.source).await?;
    Ok(json(StatusCode::CREATED, &v1::List::whole(added)))
}

/// Show an agent
#[utoipa::path(get, path = "/v1/agents/{name}", tag = "agents",
    params(("name" = String, Path, description = "The agent's name")),
    responses((status = 200, description = "The agent", body = v1::Agent)))]
async fn get(
    State(app): State<Arc<App>>,
    _: Allowed<ToRead>,
    Path(name): Path<String>,
) -> ApiResult<Response> {
    Ok(json(StatusCode::OK, &agents::get(&app, &name).await?))
}

/// List the versions of an agent
///
/// Every description that was ever read under its name, newest first.
#[utoipa::path(get, path = "/v1/agents/{name}/versions", tag = "agents",
    params(("name" = String, Path, description = "The agent's name")),
    responses((status = 200, description = "Its versions", body = v1::List<v1::AgentVersion>)))]
async fn versions(
    State(app): State<Arc<App>>,
    _: Allowed<ToRead>,
    Path(name): Path<String>,
) -> ApiResult<Response> {
    Ok(json(StatusCode::OK, &v1::List::whole(agents::versions(&app, &name).await?)))
}

/// Take an agent out of service
///
/// Sessions that have it keep it.
#[utoipa::path(delete, path = "/v1/agents/{name}", tag = "agents",
    params(("name" = String, Path, description = "The agent's name")),
    responses(
        (status = 204, description = "It is out of service"),
        (status = 409, description = "`agent_has_source`", body = Problem, content_type = "application/problem+json")))]
async fn remove(
    State(app): State<Arc<App>>,
    _: Allowed<ToAdminister>,
    Path(name): Path<String>,
) -> ApiResult<Response> {
    agents::remove(&app, &name).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}
