//! Requests for a session's agent, where that serves HTTP.

use std::sync::Arc;

use axum::body::{Body, HttpBody};
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use greenroom_protocol::Problem;
use greenroom_protocol::link::{HttpReply, HttpRequest};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWriteExt};
use tokio::sync::oneshot;
use tokio_util::io::ReaderStream;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::app::App;
use crate::auth::{Allowed, Caller, ToUse};
use crate::error::ApiResult;
use crate::extract::Path;
use crate::service::hosted;
use crate::service::streams::ByteStream;

pub(super) fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::default().routes(routes!(ask, send))
}

/// Says that an answer is the agent's, and of which compute.
const EPOCH: HeaderName = HeaderName::from_static("x-greenroom-epoch");
/// A request's headers have so many bytes at most: they ride in an assignment.
const MAX_HEADERS: usize = 32 << 10;

/// Ask the session's agent
///
/// Only for agents with `driver: hosted`. The request goes to the agent as it is, without
/// what is said to Greenroom (`Authorization`, `Cookie`), and its answer comes back as it
/// is, streams and upgrades to WebSocket too; `x-greenroom-epoch` says that it is the
/// agent's. A session at rest is brought up first. Who lets go of the connection lets go of
/// the request.
#[utoipa::path(method(get, delete), path = "/v1/sessions/{id}/http/{*path}", tag = "http",
    params(("id" = String, Path, description = "The session's name"), ("path" = String, Path, description = "Path at the agent")),
    responses(
        (status = "default", description = "What the agent answers"),
        (status = 409, description = "`not_hosted`, `not_serving`, `session_held`, `session_stopping`, `stop_unconfirmed`, or the agent's own", body = Problem, content_type = "application/problem+json"),
        (status = 502, description = "`agent_failed`: it did not come up; `agent_unreachable`: it did not answer; or the agent's own", body = Problem, content_type = "application/problem+json"),
        (status = 504, description = "`runner_unreachable`, or the agent's own", body = Problem, content_type = "application/problem+json")))]
async fn ask(
    State(app): State<Arc<App>>,
    Allowed { caller, .. }: Allowed<ToUse>,
    Path((id, _path)): Path<(String, String)>,
    request: Request,
) -> ApiResult<Response> {
    let target = target(request.uri());
    pass(&app, &caller, &id, target, request).await
}

/// Ask the session's agent, with a body
///
/// As without one.
#[utoipa::path(method(post, put, patch), path = "/v1/sessions/{id}/http/{*path}", tag = "http",
    params(("id" = String, Path, description = "The session's name"), ("path" = String, Path, description = "Path at the agent")),
    request_body(content = Option<String>, content_type = "application/octet-stream"),
    responses(
        (status = "default", description = "What the agent answers"),
        (status = 409, description = "As without a body", body = Problem, content_type = "application/problem+json"),
        (status = 502, description = "As without a body", body = Problem, content_type = "application/problem+json"),
        (status = 504, description = "As without a body", body = Problem, content_type = "application/problem+json")))]
async fn send(
    State(app): State<Arc<App>>,
    Allowed { caller, .. }: Allowed<ToUse>,
    Path((id, _path)): Path<(String, String)>,
    request: Request,
) -> ApiResult<Response> {
    let target = target(request.uri());
    pass(&app, &caller, &id, target, request).await
}

/// For which of its users somebody acts: the agent is told by Greenroom, and by nobody else
/// where Greenroom knows it.
const AGENT_USER: HeaderName = HeaderName::from_static("x-agent-user-id");

/// Passes a request on to a session's agent, there at `target`: path and query.
pub(crate) async fn pass(
    app: &Arc<App>,
    caller: &Caller,
    id: &str,
    target: String,
    mut request: Request,
) -> ApiResult<Response> {
    if let Some(user) = &caller.user
        && let Ok(user) = HeaderValue::from_str(user)
    {
        request.headers_mut().insert(AGENT_USER, user);
    }
    let begins = !request.method().is_safe() && !ends(&target);
    let method = request.method().to_string();
    let upgrade = request.headers().contains_key(header::UPGRADE);
    let headers = to_agent(request.headers(), upgrade)?;
    let (mut say, mut heard) = (None, None);
    let upload = if upgrade {
        let (sender, receiver) = oneshot::channel();
        say = Some(sender);
        heard = Some(hyper::upgrade::on(&mut request));
        Some(Body::from_stream(once_upgraded(receiver)))
    } else {
        let body = request.into_body();
        (!body.is_end_stream()).then_some(body)
    };
    let body = upload.is_some();
    let ask = move |epoch| HttpRequest { epoch, method, target, headers, body };
    let (epoch, reply) = hosted::pass(app, caller, id, begins, ask, upload).await?;
    let Some(answer) = reply.head.http else {
        let detail = "the runner did not say what the agent answered";
        return Err(Problem::new(502, "agent_unreachable", detail).into());
    };
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::BAD_GATEWAY);
    let switched = status == StatusCode::SWITCHING_PROTOCOLS;
    let mut headers = to_client(&answer, switched);
    headers.insert(EPOCH, HeaderValue::from(epoch.0));
    if let (true, Some(opened), Some(say)) = (switched, heard, say) {
        tokio::spawn(speak(Arc::clone(app), opened, say, reply.body));
        return Ok((status, headers).into_response());
    }
    Ok((status, headers, Body::from_stream(until_the_end(app, reply.body))).into_response())
}

/// Whether a request ends something. A disabled agent takes it, as what is under way drains.
fn ends(target: &str) -> bool {
    target.split('?').next().is_some_and(|path| path.ends_with("/cancel"))
}

/// What the agent is asked: what follows `/http`, as it was written.
fn target(uri: &http::Uri) -> String {
    // "", v1, sessions, ID, http, and the rest
    let rest = uri.path().splitn(6, '/').nth(5).unwrap_or_default();
    match uri.query() {
        Some(query) => format!("/{rest}?{query}"),
        None => format!("/{rest}"),
    }
}

/// What is said to Greenroom, and not to an agent.
const OURS: [HeaderName; 4] =
    [header::AUTHORIZATION, header::PROXY_AUTHORIZATION, header::COOKIE, header::HOST];
/// What is about one connection (RFC 9110, 7.6.1).
const OF_ONE_CONNECTION: [HeaderName; 5] =
    [header::CONNECTION, header::TE, header::TRAILER, header::TRANSFER_ENCODING, header::UPGRADE];
/// What speaks for the whole origin, which is Greenroom's.
const OF_THE_ORIGIN: [HeaderName; 6] = [
    header::SET_COOKIE,
    header::STRICT_TRANSPORT_SECURITY,
    header::ALT_SVC,
    HeaderName::from_static("clear-site-data"),
    HeaderName::from_static("service-worker-allowed"),
    HeaderName::from_static("access-control-allow-origin"),
];

fn to_agent(headers: &HeaderMap, upgrade: bool) -> ApiResult<Vec<(String, String)>> {
    let goes = |name: &HeaderName| {
        !OURS.contains(name)
            && (!OF_ONE_CONNECTION.contains(name) || upgrade && is_upgrade(name))
            && !name.as_str().starts_with("x-greenroom-")
    };
    let mut all = Vec::new();
    let mut size = 0;
    for (name, value) in headers.iter().filter(|(name, _)| goes(name)) {
        let Ok(value) = value.to_str() else {
            return Err(Problem::invalid(format!("header {name}: is not plain text")).into());
        };
        size += name.as_str().len() + value.len();
        all.push((name.to_string(), value.to_owned()));
    }
    if size > MAX_HEADERS {
        let detail = "the request's headers have more than 32 KiB";
        return Err(Problem::new(413, "too_large", detail).into());
    }
    Ok(all)
}

fn is_upgrade(name: &HeaderName) -> bool {
    *name == header::UPGRADE || *name == header::CONNECTION
}

/// Whatever an agent answers, it is never a page of ours: no script of it runs with our
/// origin's rights.
fn to_client(answer: &HttpReply, switched: bool) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in &answer.headers {
        let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), value.parse()) else { continue };
        let connection = OF_ONE_CONNECTION.contains(&name) && !(switched && is_upgrade(&name));
        if !connection && !OF_THE_ORIGIN.contains(&name) {
            headers.append(name, value);
        }
    }
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("sandbox"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers
}

/// The bytes of an answer. What the coordinator's own end cuts off does not look whole.
fn until_the_end(
    app: &App,
    body: ByteStream,
) -> impl futures::Stream<Item = Result<Bytes, axum::Error>> + use<> {
    let ending = app.ending.clone();
    let ended = ending.clone();
    let cut = futures::stream::once(async move {
        let ending = ended.is_cancelled();
        ending.then(|| Err(axum::Error::new(std::io::Error::other("the coordinator is ending"))))
    });
    body.take_until(ending.cancelled_owned()).chain(cut.filter_map(std::future::ready))
}

type Reading = Box<dyn AsyncRead + Send + Unpin>;

/// What a client says once its connection is its own.
fn once_upgraded(
    opened: oneshot::Receiver<Reading>,
) -> impl futures::Stream<Item = std::io::Result<Bytes>> {
    let read = async move {
        let read = opened.await.map_err(|_| std::io::ErrorKind::ConnectionAborted)?;
        Ok::<_, std::io::Error>(ReaderStream::new(read))
    };
    futures::stream::once(read).try_flatten()
}

async fn speak(
    app: Arc<App>,
    opened: hyper::upgrade::OnUpgrade,
    say: oneshot::Sender<Reading>,
    mut body: ByteStream,
) {
    let Ok(opened) = opened.await else { return };
    let (read, mut write) = tokio::io::split(TokioIo::new(opened));
    if say.send(Box::new(read)).is_err() {
        return;
    }
    loop {
        let part = tokio::select! {
            part = body.next() => part,
            () = app.ending.cancelled() => return,
        };
        match part {
            Some(Ok(bytes)) if write.write_all(&bytes).await.is_ok() => {}
            _ => break,
        }
    }
    let _ = write.shutdown().await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_agent_is_asked_what_stands_behind_its_session() {
        let of = |uri: &str| target(&uri.parse().expect("a URI"));
        assert_eq!(of("/v1/sessions/a/http/responses/x%2Fy?a=%20b"), "/responses/x%2Fy?a=%20b");
        assert_eq!(of("/v1/sessions/a/http/"), "/");
        assert_eq!(of("/v1/sessions/a/http//x/../y"), "//x/../y");
    }

    #[test]
    fn what_is_said_to_greenroom_does_not_reach_an_agent() {
        let given = [
            ("authorization", "Bearer t"),
            ("cookie", "greenroom_session=s"),
            ("x-greenroom-csrf", "c"),
            ("connection", "close"),
            ("content-type", "text/plain"),
        ];
        let headers = given
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        let kept = to_agent(&headers.collect(), false).expect("they are plain");
        assert_eq!(kept, [("content-type".to_owned(), "text/plain".to_owned())]);
    }

    #[test]
    fn an_answer_never_speaks_for_our_origin() {
        let given = [
            ("set-cookie", "greenroom_session=mine"),
            ("content-security-policy", "default-src *"),
            ("content-type", "text/html"),
        ];
        let headers = given.iter().map(|(name, value)| ((*name).into(), (*value).into()));
        let answer = HttpReply { status: 200, headers: headers.collect() };
        let kept = to_client(&answer, false);
        assert!(!kept.contains_key(header::SET_COOKIE));
        assert_eq!(kept[header::CONTENT_SECURITY_POLICY], "sandbox");
        assert_eq!(kept[header::CONTENT_TYPE], "text/html");
    }
}
