//! The agent orchestrator's coordinator, as its runner and its dashboard know it.

use std::sync::Arc;

use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use greenroom_protocol::Problem;
use http::StatusCode;
use serde_json::json;

use crate::app::App;

/// Its routes, beneath `/orchestrator`.
pub(super) fn routes() -> Router<Arc<App>> {
    Router::new()
}

/// `{"detail": …}`.
pub(super) fn refusal(problem: &Problem) -> Response {
    let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, Json(json!({ "detail": problem.detail }))).into_response()
}
