//! Every refusal and failure as one `application/problem+json`.

use axum::Json;
use axum::response::{IntoResponse, Response};
use greenroom_core::Refusal;
use greenroom_protocol::Problem;
use greenroom_store::StoreError;
use http::{HeaderValue, StatusCode, header};

use crate::service::quotas;

/// What a handler answers when it does not do what was asked.
#[derive(Debug)]
pub struct ApiError(pub Box<Problem>);

/// Short for what a handler answers.
pub(crate) type ApiResult<T> = Result<T, ApiError>;

impl From<Problem> for ApiError {
    fn from(problem: Problem) -> Self {
        Self(Box::new(problem))
    }
}

impl From<Box<Problem>> for ApiError {
    fn from(problem: Box<Problem>) -> Self {
        Self(problem)
    }
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        let problem = Problem::new(409, refusal.code(), refusal.to_string());
        match refusal {
            Refusal::SessionBusy { .. } => {
                problem.hint("send the prompt with mode \"enqueue\" to wait in line").into()
            }
            _ => problem.into(),
        }
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        let detail = error.to_string();
        match error {
            StoreError::Refused(refusal) => refusal.into(),
            StoreError::NoSession => Problem::new(404, "session_not_found", detail).into(),
            StoreError::NameTaken(_) => Problem::new(409, "session_exists", detail)
                .hint("choose another id, or leave it out to get one")
                .into(),
            StoreError::QuotaExceeded(used) => quotas::exceeded(used).into(),
            StoreError::IdempotencyConflict => Problem::new(409, "idempotency_conflict", detail)
                .hint("use a fresh Idempotency-Key for another request")
                .into(),
            StoreError::Full => Problem::new(507, "disk_full", detail)
                .hint("free space on the disk of the data folder")
                .into(),
            // It reads as one, and is of another list.
            StoreError::BadCursor => {
                Problem::new(404, "cursor_not_found", detail).at("cursor").into()
            }
            StoreError::NoRunner => Problem::new(404, "runner_not_found", detail).into(),
            StoreError::OldInstance => Problem::new(409, "old_instance", detail).into(),
            StoreError::Newer { .. } | StoreError::Database(_) => {
                tracing::error!(error = %detail, "the store failed");
                Problem::new(500, "store_failed", detail).into()
            }
        }
    }
}

/// A problem as a response, with the headers that belong to its status.
pub(crate) fn problem_response(problem: &Problem) -> Response {
    let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = (status, Json(problem)).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    if status == StatusCode::UNAUTHORIZED {
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    if let Some(seconds) = problem.retry_after {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    // A door says it in words of its own.
    response.extensions_mut().insert(problem.clone());
    response
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        problem_response(&self.0)
    }
}
