//! The API: one file per noun. A handler parses and authorises; what is done is in
//! `service`.

mod agents;
mod approvals;
mod events;
mod files;
mod forks;
mod health;
mod history;
mod link;
mod login;
mod page;
mod plain;
mod push;
pub(crate) mod requests;
mod runners;
mod runs;
pub(crate) mod sessions;
pub mod spec;
mod stop;
mod tokens;

pub(crate) use sessions::visible;

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{MatchedPath, Request};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use greenroom_core::Ms;
use greenroom_protocol::Problem;
use greenroom_store::Answer;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use tower_http::catch_panic::CatchPanicLayer;
use utoipa_axum::router::OpenApiRouter;

use crate::app::App;
use crate::doors::{self, Doors};
use crate::error::{ApiResult, problem_response};
use crate::extract;
use crate::guard::{Hosts, guard};

/// A JSON body has so many bytes at most. What is larger goes through files.
pub const MAX_BODY: usize = 4 << 20;

/// All operations with their descriptions.
pub fn operations() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::default()
        .merge(health::routes())
        .merge(page::routes())
        .merge(agents::routes())
        .merge(sessions::routes())
        .merge(forks::routes())
        .merge(stop::routes())
        .merge(runs::routes())
        .merge(approvals::routes())
        .merge(events::routes())
        .merge(files::routes())
        .merge(push::routes())
        .merge(requests::routes())
        .merge(history::routes())
        .merge(login::routes())
        .merge(runners::routes())
        .merge(tokens::routes())
        .merge(link::routes())
}

/// The service that answers every request.
pub fn router(app: Arc<App>, hosts: Hosts, open: &Doors, origins: &[HeaderValue]) -> Router {
    let hosts = Arc::new(hosts.with_guests(doors::guests(open, origins)));
    let (router, _) = operations().split_for_parts();
    router
        .merge(doors::routes(open, origins))
        .fallback(no_route)
        .layer(middleware::from_fn(measure))
        .layer(axum::extract::DefaultBodyLimit::max(MAX_BODY))
        .layer(middleware::map_response(plain_refusals_become_problems))
        .layer(CatchPanicLayer::custom(panicked))
        .layer(middleware::from_fn_with_state(hosts, guard))
        .with_state(app)
}

async fn no_route(request: Request) -> Response {
    let headers = request.headers();
    if let Some(found) = page::elsewhere(request.method(), request.uri().path(), headers) {
        return found;
    }
    let path: String = request.uri().path().chars().take(200).collect();
    let problem = Problem::new(404, "route_not_found", format!("nothing is at {path:?}"));
    problem_response(&problem.hint("GET /openapi.json lists what there is"))
}

/// What the router refuses by itself, such as a method, says why like everything else.
pub(crate) async fn plain_refusals_become_problems(response: Response) -> Response {
    if response.status() != StatusCode::METHOD_NOT_ALLOWED
        || response.headers().contains_key(header::CONTENT_TYPE)
    {
        return response;
    }
    // Which ones it takes is in the header `Allow`, which the router adds.
    let (parts, _) = response.into_parts();
    let detail = "this path does not take that method; the header Allow says which it takes";
    let mut problem = problem_response(&Problem::new(405, "method_not_allowed", detail));
    if let Some(allow) = parts.headers.get(header::ALLOW) {
        problem.headers_mut().insert(header::ALLOW, allow.clone());
    }
    problem
}

fn panicked(panic: Box<dyn std::any::Any + Send>) -> Response {
    let what = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("unknown");
    tracing::error!(what, "a handler panicked");
    problem_response(&Problem::new(
        500,
        "internal",
        "the coordinator has made a mistake; its log says more",
    ))
}

/// Counts and times requests by route and status.
async fn measure(request: Request, next: Next) -> Response {
    let method = request.method().as_str().to_owned();
    let route =
        request.extensions().get::<MatchedPath>().map_or("none", MatchedPath::as_str).to_owned();
    let begin = Instant::now();
    let response = next.run(request).await;
    let status = response.status().as_u16().to_string();
    let labels = [("method", method), ("route", route), ("status", status)];
    metrics::counter!("greenroom_http_requests_total", &labels).increment(1);
    metrics::histogram!("greenroom_http_request_seconds", &labels[..2])
        .record(begin.elapsed().as_secs_f64());
    response
}

/// JSON with a status.
pub(crate) fn json<T: serde::Serialize>(status: StatusCode, body: &T) -> Response {
    (status, axum::Json(body)).into_response()
}

/// An answer that was kept, as it was.
pub(crate) fn kept(answer: Answer) -> Response {
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::OK);
    let mut response = (status, Bytes::from(answer.body)).into_response();
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

/// The caller's idempotency key, where there is one.
pub(crate) fn idempotency_key(headers: &HeaderMap) -> ApiResult<Option<String>> {
    let Some(key) = headers.get("idempotency-key") else { return Ok(None) };
    match key.to_str() {
        Ok(key) if (1..=255).contains(&key.len()) && !key.contains('\t') => {
            Ok(Some(key.to_owned()))
        }
        _ => Err(Problem::invalid("Idempotency-Key has 1 to 255 printable characters")
            .at("Idempotency-Key")
            .into()),
    }
}

/// How long a request waits for what it asks for.
#[derive(Debug, Default, serde::Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct Wait {
    /// Wait so long for the end, such as `30s`; ten minutes at most.
    #[serde(default, deserialize_with = "extract::duration")]
    #[param(value_type = Option<String>, example = "30s")]
    pub wait: Option<Ms>,
}

impl Wait {
    /// As a span of time.
    pub(crate) fn span(&self) -> Option<Duration> {
        self.wait.map(Duration::from)
    }
}

/// A page of a list.
#[derive(Debug, Default, serde::Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct PageQuery {
    /// Entries of a page, 1 to 1000; larger is clamped. Default 100.
    #[serde(default)]
    #[param(value_type = Option<u64>, minimum = 1)]
    pub limit: extract::PageSize,
    /// `next_cursor` of the page before.
    pub cursor: Option<String>,
}
