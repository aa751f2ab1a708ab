//! docker-agent's `serve api`, as its clients know it.

use std::sync::Arc;

use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use greenroom_protocol::Problem;
use http::StatusCode;
use serde_json::json;

use crate::app::App;

/// Its routes, beneath `/docker-agent`.
pub(super) fn routes() -> Router<Arc<App>> {
    Router::new().route("/api/ping", get(ping))
}

async fn ping() -> Response {
    Json(json!({ "status": "ok" })).into_response()
}

/// `{"message", "error"}`: its server says the one, its client reads the other.
pub(super) fn refusal(problem: &Problem) -> Response {
    let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let body = json!({ "message": problem.detail, "error": problem.detail });
    (status, Json(body)).into_response()
}
