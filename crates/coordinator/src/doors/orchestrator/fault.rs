//! Refusals, in the words that the orchestrator's clients know.

use axum::Json;
use axum::response::{IntoResponse, Response};
use greenroom_protocol::Problem;
use greenroom_store::StoreError;
use http::{HeaderValue, StatusCode, header};
use serde_json::{Value, json};

use crate::error::ApiError;

/// Why something was not done.
#[derive(Debug)]
pub(super) enum Fault {
    /// As everywhere else in this program; said in this door's words on the way out.
    Problem(ApiError),
    /// In this door's own words: what stands in `detail`.
    Detail(u16, Value),
}

/// Short for what a handler of this door answers.
pub(super) type Done<T> = Result<T, Fault>;

impl Fault {
    /// Words of this door.
    pub(super) fn new(status: u16, detail: impl Into<String>) -> Self {
        Self::Detail(status, Value::String(detail.into()))
    }

    /// The words, for whoever has no place for a status.
    pub(super) fn text(&self) -> String {
        let detail = match self {
            Self::Problem(error) => detail(&error.0),
            Self::Detail(_, detail) => detail.clone(),
        };
        match detail {
            Value::String(text) => text,
            Value::Object(fields) if fields.contains_key("message") => {
                let message = fields["message"].as_str().unwrap_or_default().to_owned();
                match fields.get("validation_errors") {
                    Some(errors) => format!("{message}: {errors}"),
                    None => message,
                }
            }
            other => other.to_string(),
        }
    }
}

impl<E: Into<ApiError>> From<E> for Fault {
    fn from(error: E) -> Self {
        Self::Problem(error.into())
    }
}

/// What the store refuses is refused here, too.
pub(super) fn stored<T>(result: Result<T, StoreError>) -> Done<T> {
    result.map_err(|error| Fault::Problem(error.into()))
}

impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        match self {
            Self::Problem(error) => error.into_response(),
            Self::Detail(status, detail) => plain(status, &detail),
        }
    }
}

fn plain(status: u16, detail: &Value) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, Json(json!({ "detail": detail }))).into_response()
}

/// A problem in this door's words.
pub(super) fn spoken(problem: &Problem) -> Response {
    let mut response = plain(problem.status, &detail(problem));
    if let Some(seconds) = problem.retry_after {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    if problem.status == 401 {
        let challenge = HeaderValue::from_static("Bearer");
        response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
    }
    response
}

fn detail(problem: &Problem) -> Value {
    match problem.code.as_str() {
        "session_not_found" => "Session not found".into(),
        "run_not_found" => "Run not found".into(),
        "runner_not_found" => "Runner not found".into(),
        "route_not_found" => "Not Found".into(),
        "method_not_allowed" => "Method Not Allowed".into(),
        _ if problem.status == 422 => {
            let place = problem.path.as_deref().unwrap_or("/");
            let mut loc = vec![Value::from(if place.starts_with('/') { "body" } else { "query" })];
            let parts = place.split('/').filter(|part| !part.is_empty());
            loc.extend(parts.map(|part| match part.parse::<u64>() {
                Ok(number) => Value::from(number),
                Err(_) => Value::from(part),
            }));
            let missing = problem.detail.contains("missing field");
            let kind = if missing { "missing" } else { "value_error" };
            json!([{ "type": kind, "loc": loc, "msg": problem.detail, "input": null }])
        }
        _ => match &problem.hint {
            Some(hint) if problem.status < 500 => format!("{} ({hint})", problem.detail).into(),
            _ => problem.detail.clone().into(),
        },
    }
}
