//! Hosted-agent sessions, as `azd ai agent` and `azure-ai-projects` know them.

use std::sync::Arc;

use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use greenroom_protocol::Problem;
use http::{HeaderName, HeaderValue, StatusCode};
use serde_json::json;

use crate::app::App;

/// Its routes, beneath `/foundry`.
pub(super) fn routes() -> Router<Arc<App>> {
    Router::new()
}

/// `{"error": {"code", "message"}}`, with the code in a header too.
pub(super) fn refusal(problem: &Problem) -> Response {
    let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let message = match &problem.hint {
        Some(hint) => format!("{} ({hint})", problem.detail),
        None => problem.detail.clone(),
    };
    let body = json!({ "error": { "code": problem.code, "message": message } });
    let mut response = (status, Json(body)).into_response();
    if let Ok(code) = HeaderValue::from_str(&problem.code) {
        response.headers_mut().insert(HeaderName::from_static("x-ms-error-code"), code);
    }
    response
}
