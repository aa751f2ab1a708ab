//! Health, figures, and the description of the API.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use greenroom_protocol::{Problem, v1};
use http::{HeaderValue, StatusCode, header};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::json;
use crate::app::App;
use crate::auth::{Allowed, Caller, ToOperate};
use crate::error::ApiResult;

pub(super) fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::default()
        .routes(routes!(healthz))
        .routes(routes!(readyz))
        .routes(routes!(metrics))
        .routes(routes!(openapi))
}

fn health() -> v1::Health {
    v1::Health { status: "ok".to_owned(), version: env!("CARGO_PKG_VERSION").to_owned() }
}

/// Whether it lives
#[utoipa::path(get, path = "/healthz", tag = "health", security(()),
    responses((status = 200, description = "It lives", body = v1::Health)))]
async fn healthz() -> Response {
    json(StatusCode::OK, &health())
}

/// Whether it can do its work: a write to the store would succeed
#[utoipa::path(get, path = "/readyz", tag = "health", security(()),
    responses(
        (status = 200, description = "It is ready", body = v1::Health),
        (status = 503, description = "`not_ready`", body = Problem, content_type = "application/problem+json")))]
async fn readyz(State(app): State<Arc<App>>) -> ApiResult<Response> {
    let not_ready = |detail: String| {
        let mut problem = Problem::new(503, "not_ready", detail);
        problem.retry_after = Some(1);
        problem
    };
    if app.ending.is_cancelled() {
        return Err(not_ready("it is ending".to_owned()).into());
    }
    match tokio::time::timeout(Duration::from_secs(5), app.store.ready()).await {
        Ok(Ok(())) => Ok(json(StatusCode::OK, &health())),
        Ok(Err(error)) => Err(not_ready(error.to_string()).into()),
        Err(_) => Err(not_ready("the store has not answered for 5 s".to_owned()).into()),
    }
}

/// Figures in the text format of Prometheus
#[utoipa::path(get, path = "/metrics", tag = "health",
    responses((status = 200, description = "The figures", body = String, content_type = "text/plain")))]
async fn metrics(_: Allowed<ToOperate>) -> ApiResult<Response> {
    let text = crate::figures::render();
    let mut response = text.into_response();
    let plain = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, plain);
    Ok(response)
}

/// The description of this API
#[utoipa::path(get, path = "/openapi.json", tag = "health",
    responses((status = 200, description = "An OpenAPI document", body = Object, content_type = "application/json")))]
async fn openapi(State(app): State<Arc<App>>, _caller: Caller) -> Response {
    let mut response = app.openapi.clone().into_response();
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
