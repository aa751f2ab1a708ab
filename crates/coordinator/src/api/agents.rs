//! `/v1/agents`

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
use crate::auth::{Allowed, ToAdminister, ToRead};
use crate::error::ApiResult;
use crate::extract::{Body, Path, Query};
use crate::service::{agents, versions as service_versions};

pub(super) fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::default()
        .routes(routes!(list, add))
        .routes(routes!(get, remove))
        .routes(routes!(versions, create_version))
        .routes(routes!(remove_version))
        .routes(routes!(disable))
        .routes(routes!(enable))
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

/// Make a version of an agent
///
/// From what an agent file says. Its agent is the API's from then on: its source is
/// `api:NAME`. Who says the same again has the same version.
#[utoipa::path(post, path = "/v1/agents/{name}/versions", tag = "agents",
    params(("name" = String, Path, description = "The agent's name")),
    request_body = v1::CreateAgentVersion,
    responses(
        (status = 201, description = "The version", body = v1::AgentVersion),
        (status = 409, description = "`agent_name_taken`: another source has an agent of this name; `description_broken`: no agent file says this", body = Problem, content_type = "application/problem+json")))]
async fn create_version(
    State(app): State<Arc<App>>,
    _: Allowed<ToAdminister>,
    Path(name): Path<String>,
    Body(request): Body<v1::CreateAgentVersion>,
) -> ApiResult<Response> {
    Ok(json(StatusCode::CREATED, &service_versions::create(&app, &name, request).await?))
}

/// Take a version of an agent back
///
/// One that the API has made. Sessions at rest keep it; with `force` its sessions are removed
/// too, each proven.
#[utoipa::path(delete, path = "/v1/agents/{name}/versions/{version}", tag = "agents",
    params(("name" = String, Path, description = "The agent's name"), ("version" = u32, Path, description = "Which"), Force),
    responses(
        (status = 204, description = "It is no choice any more"),
        (status = 404, description = "`agent_not_found`, `agent_version_not_found`", body = Problem, content_type = "application/problem+json"),
        (status = 409, description = "`agent_has_active_sessions`, `agent_has_source`, `stop_unconfirmed`", body = Problem, content_type = "application/problem+json")))]
async fn remove_version(
    State(app): State<Arc<App>>,
    Allowed { caller, .. }: Allowed<ToAdminister>,
    Path((name, version)): Path<(String, u32)>,
    Query(Force { force }): Query<Force>,
) -> ApiResult<Response> {
    service_versions::remove_version(&app, &caller, &name, version, force, |_| true).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Have an agent take nothing new
///
/// No new session, no new run, no new request. What is under way goes on to its end; what
/// waits for a place waits on. Stops and files work as ever.
#[utoipa::path(post, path = "/v1/agents/{name}/disable", tag = "agents",
    params(("name" = String, Path, description = "The agent's name")),
    responses((status = 204, description = "It is disabled, now or before")))]
async fn disable(
    State(app): State<Arc<App>>,
    _: Allowed<ToAdminister>,
    Path(name): Path<String>,
) -> ApiResult<Response> {
    service_versions::disable(&app, &name, true).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Have a disabled agent take what is asked again
#[utoipa::path(post, path = "/v1/agents/{name}/enable", tag = "agents",
    params(("name" = String, Path, description = "The agent's name")),
    responses((status = 204, description = "It is enabled, now or before")))]
async fn enable(
    State(app): State<Arc<App>>,
    _: Allowed<ToAdminister>,
    Path(name): Path<String>,
) -> ApiResult<Response> {
    service_versions::disable(&app, &name, false).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
struct Force {
    /// Remove its sessions too, each stopped and proven first.
    #[serde(default)]
    #[param(value_type = Option<bool>)]
    force: bool,
}

/// Take an agent out of service
///
/// Sessions that have it keep it; with `force` they are removed too, each proven. An agent
/// that the API has made goes only when none of its sessions is live.
#[utoipa::path(delete, path = "/v1/agents/{name}", tag = "agents",
    params(("name" = String, Path, description = "The agent's name"), Force),
    responses(
        (status = 204, description = "It is out of service"),
        (status = 409, description = "`agent_has_source`, `agent_has_active_sessions`, `stop_unconfirmed`", body = Problem, content_type = "application/problem+json")))]
async fn remove(
    State(app): State<Arc<App>>,
    Allowed { caller, .. }: Allowed<ToAdminister>,
    Path(name): Path<String>,
    Query(Force { force }): Query<Force>,
) -> ApiResult<Response> {
    service_versions::remove_agent(&app, &caller, &name, force).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}
