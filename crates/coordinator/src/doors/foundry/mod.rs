//! Hosted-agent sessions, as `azd ai agent` and `azure-ai-projects` know them.

mod agents;
mod conversations;
mod definition;
mod files;
mod ids;
mod logs;
mod paging;
mod protocols;
mod responses;
mod route;
mod sessions;
mod view;

use std::sync::{Arc, Mutex, PoisonError};

use axum::body::Body;
use axum::extract::{OriginalUri, Query, Request, State};
use axum::middleware::map_request;
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use axum::{Json, Router};
use greenroom_protocol::Problem;
use http::{HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::app::App;
use crate::auth::{Caller, USER};
use crate::doors::Door;
use crate::doors::records::Records;
use crate::error::ApiResult;
use crate::hub::lock;
use route::Target;

/// For which of its users a platform asks.
const IDENTITY: HeaderName = HeaderName::from_static("x-ms-user-identity");
/// The same on each try of one request.
const REQUEST: &str = "x-ms-client-request-id";
/// What failed, in a word, for those who have advice for it.
const DETAILS: HeaderName = HeaderName::from_static("x-adc-response-details");
/// Names one request in logs.
const TRACE: HeaderName = HeaderName::from_static("x-request-id");
/// A JSON body has so many bytes at most.
const MAX_JSON: usize = 32 << 20;

/// Its routes, beneath `/foundry`.
pub(super) fn routes() -> Router<Arc<App>> {
    Router::new().route("/{*path}", any(dispatch)).layer(map_request(named_user))
}

/// Records of one kind.
const fn records(kind: &'static str) -> Records {
    Records::of(Door::Foundry, kind)
}

/// Who a platform speaks for is who our own API calls a user.
async fn named_user(mut request: Request) -> Request {
    let headers = request.headers_mut();
    headers.remove(USER);
    if let Some(user) = headers.remove(IDENTITY) {
        headers.insert(USER, user);
    }
    request
}

/// One request, with who asks.
struct Asked {
    app: Arc<App>,
    caller: Caller,
    uri: Uri,
    method: Method,
    /// Behind a lock that nobody waits for: a body can be sent to another thread, and not be
    /// shared with it.
    request: Mutex<Request>,
}

impl Asked {
    /// The parameters of its query.
    fn query<T: DeserializeOwned>(&self) -> ApiResult<T> {
        let read = Query::<T>::try_from_uri(&self.uri);
        let bad = |error: &dyn std::fmt::Display| Problem::invalid(format!("the query: {error}"));
        Ok(read.map_err(|rejection| bad(&rejection.body_text()).at("query"))?.0)
    }

    /// A header that is text.
    fn header(&self, name: &str) -> Option<String> {
        lock(&self.request).headers().get(name)?.to_str().ok().map(str::to_owned)
    }

    /// The request, to be changed.
    fn request(&mut self) -> &mut Request {
        self.request.get_mut().unwrap_or_else(PoisonError::into_inner)
    }

    /// The request, to be sent on.
    fn into_request(self) -> Request {
        self.request.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    /// What names all tries of this request, where its client says so.
    fn id(&self) -> Option<String> {
        let id = self.header(REQUEST)?;
        ((1..=255).contains(&id.len()) && !id.contains('\t')).then_some(id)
    }

    /// Its JSON body; `None` where there is none.
    async fn json<T: DeserializeOwned>(self) -> ApiResult<Option<T>> {
        let body = read(self.into_request().into_body()).await?;
        if body.iter().all(u8::is_ascii_whitespace) {
            return Ok(None);
        }
        Ok(Some(parsed(&body)?))
    }
}

async fn read(body: Body) -> ApiResult<bytes::Bytes> {
    Ok(axum::body::to_bytes(body, MAX_JSON).await.map_err(|_| {
        Problem::new(413, "too_large", "the body is longer than 32 MiB, or broke off")
    })?)
}

fn parsed<T: DeserializeOwned>(body: &[u8]) -> ApiResult<T> {
    let mut read = serde_json::Deserializer::from_slice(body);
    Ok(serde_path_to_error::deserialize(&mut read).map_err(|error| {
        let path = error.path().to_string();
        let place = if path == "." { "the body".to_owned() } else { path };
        Problem::invalid(format!("{place}: {}", error.inner())).at(place)
    })?)
}

async fn dispatch(
    State(app): State<Arc<App>>,
    caller: Caller,
    OriginalUri(uri): OriginalUri,
    request: Request,
) -> ApiResult<Response> {
    let prefix = format!("/{}", Door::Foundry.as_str());
    let target = route::parse(uri.path().strip_prefix(&prefix).unwrap_or_default());
    let Some(target) = target else {
        let shown: String = uri.path().chars().take(200).collect();
        let detail = format!("nothing is at {shown:?}");
        return Err(Problem::new(404, "route_not_found", detail).into());
    };
    let method = request.method().clone();
    let trace = request.headers().get(TRACE).or(request.headers().get(REQUEST)).cloned();
    let asked = Asked { app, caller, uri, method, request: Mutex::new(request) };
    let answer = answer(asked, target).await;
    let mut response = answer.unwrap_or_else(|error| refusal(&error.0));
    if let Some(trace) = trace {
        response.headers_mut().entry(TRACE).or_insert(trace);
    }
    Ok(response)
}

async fn answer(asked: Asked, target: Target) -> ApiResult<Response> {
    let method = asked.method.clone();
    match (method.as_str(), target) {
        ("GET", Target::Agents) => agents::list(asked).await,
        ("POST", Target::Agents) => agents::create(asked).await,
        ("GET", Target::Agent(a)) => agents::get(asked, &a).await,
        ("POST", Target::Agent(a)) => agents::update(asked, &a).await,
        ("PATCH", Target::Agent(a)) => agents::patch(asked, &a).await,
        ("DELETE", Target::Agent(a)) => agents::delete(asked, &a).await,
        ("POST", Target::AgentVerb(a, verb)) => agents::verb(asked, &a, &verb).await,
        ("GET", Target::Versions(a)) => agents::versions(asked, &a).await,
        ("POST", Target::Versions(a)) => agents::create_version(asked, &a).await,
        ("GET", Target::Version(a, v)) => agents::version(asked, &a, &v).await,
        ("DELETE", Target::Version(a, v)) => agents::delete_version(asked, &a, &v).await,
        ("GET", Target::Code(a)) => agents::code(asked, &a).await,
        ("GET", Target::Sessions(a)) => sessions::list(asked, &a).await,
        ("POST", Target::Sessions(a)) => sessions::create(asked, &a).await,
        ("GET", Target::Session(a, s)) => sessions::get(asked, &a, &s).await,
        ("DELETE", Target::Session(a, s)) => sessions::delete(asked, &a, &s).await,
        ("POST", Target::SessionVerb(a, s, verb)) => match verb.as_str() {
            "stop" => sessions::stop(asked, &a, &s).await,
            "resume" | "start" => sessions::resume(asked, &a, &s).await,
            _ => Err(Problem::new(404, "unknown_verb", "a session has :stop and :resume").into()),
        },
        ("GET", Target::Logs(a, s)) => logs::stream(asked, &a, &s).await,
        ("GET", Target::Files(a, s)) => files::list(asked, &a, &s).await,
        ("DELETE", Target::Files(a, s)) => files::remove(asked, &a, &s).await,
        ("GET", Target::Content(a, s)) => files::read(asked, &a, &s).await,
        ("PUT", Target::Content(a, s)) => files::write(asked, &a, &s).await,
        ("POST", Target::Mkdir(a, s)) => files::mkdir(asked, &a, &s).await,
        ("GET", Target::Stat(a, s)) => files::stat(asked, &a, &s).await,
        (_, Target::Protocol(a, path)) => protocols::pass(asked, &a, &path).await,
        (_, target) => Ok(not_taken(&target)),
    }
}

/// The methods that each path takes.
fn not_taken(target: &Target) -> Response {
    let takes = match target {
        Target::Agents | Target::Versions(_) | Target::Sessions(_) => "GET, POST",
        Target::Agent(_) => "GET, POST, PATCH, DELETE",
        Target::Version(..) | Target::Session(..) | Target::Files(..) => "GET, DELETE",
        Target::AgentVerb(..) | Target::SessionVerb(..) | Target::Mkdir(..) => "POST",
        Target::Content(..) => "GET, PUT",
        Target::Code(_) | Target::Logs(..) | Target::Stat(..) | Target::Protocol(..) => "GET",
    };
    let detail = format!("this path takes {takes}");
    let mut response = refusal(&Problem::new(405, "method_not_allowed", detail));
    response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(takes));
    response
}

fn json(status: StatusCode, body: &serde_json::Value) -> Response {
    (status, Json(body)).into_response()
}

/// The code by which clients of this door know a refusal of ours.
fn code(problem: &Problem) -> &str {
    match problem.code.as_str() {
        "session_exists" => "session_already_exists",
        "invalid" | "invalid_request" => "invalid_parameter",
        code => code,
    }
}

/// What failed, for those who have advice for it.
fn details(problem: &Problem) -> Option<&'static str> {
    Some(match problem.code.as_str() {
        "agent_failed" | "not_up" | "not_serving" => "ReadinessTimeout",
        "agent_unreachable" | "runner_unreachable" => "ProxyTimeout",
        "session_stopping" => "SandboxIdle",
        "session_not_found" => "SandboxNotFound",
        "agent_version_failed" => "AgentVersionProvisioningFailed",
        "quota_exceeded" => "QuotaExceeded",
        "source_unavailable" => "AgentVersionNotReady",
        _ => return None,
    })
}

/// `{"error": {"code", "message"}}`, with the code in a header too.
pub(super) fn refusal(problem: &Problem) -> Response {
    // Here what does not parse is a bad request like any other.
    let status = if problem.status == 422 { 400 } else { problem.status };
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let message = match &problem.hint {
        Some(hint) => format!("{} ({hint})", problem.detail),
        None => problem.detail.clone(),
    };
    let code = code(problem);
    let mut error = json!({ "code": code, "message": message, "details": [] });
    if let Some(place) = &problem.path {
        error["param"] = place.as_str().into();
    }
    if status == StatusCode::TOO_MANY_REQUESTS {
        error["type"] = "rate_limit_error".into();
    } else if status.is_client_error() {
        error["type"] = "invalid_request_error".into();
    }
    let mut response = (status, Json(json!({ "error": error }))).into_response();
    let headers = response.headers_mut();
    if let Ok(code) = HeaderValue::from_str(code) {
        headers.insert(HeaderName::from_static("x-ms-error-code"), code);
    }
    if let Some(details) = details(problem) {
        headers.insert(DETAILS, HeaderValue::from_static(details));
    }
    // Clients repeat whatever has one of these, also what is final.
    let passes = status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS;
    if let Some(seconds) = problem.retry_after.filter(|_| passes) {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    if status == StatusCode::UNAUTHORIZED {
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
}
