//! The door: a socket in the compute's control folder, on which requests of clients come
//! in and are passed on to the agent as they are. A connection that its client lets go is
//! let go at the agent too; what the agent makes of that is its own affair.

use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::time::Instant;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use bytes::Bytes;
use futures::StreamExt;
use greenroom_core::record::OutputKind;
use http::header::{self, HeaderMap, HeaderName};
use http::{Method, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::UnixListener;

use super::busy::{self, Headers, Hold};
use super::{Agents, reply};
use crate::looping::http::causes;

/// Headers that are about one connection, and go no further (RFC 9110, 7.6.1).
const OF_ONE_CONNECTION: [HeaderName; 7] = [
    header::CONNECTION,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];
/// So much of an answer is looked at for the name of what it began.
const LOOKED_AT: usize = 64 << 10;

/// Opens it. Must be called within a runtime.
pub(super) fn open(agents: Agents, path: &Path) -> io::Result<()> {
    // A socket's name has 107 bytes at most; through its folder it is short.
    let folder = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let folder = std::fs::File::open(folder)?;
    let near = Path::new("/proc/self/fd").join(folder.as_raw_fd().to_string()).join(name);
    let listener = UnixListener::bind(near)?;
    let router = Router::new().fallback(pass).with_state(agents);
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok(())
}

/// A request on its way through.
struct Passing {
    agents: Agents,
    method: Method,
    path: String,
    whose: Headers,
    begun: Instant,
    status: Option<StatusCode>,
    /// The beginning of the answer, where it may name something that goes on after it.
    seen: Option<Vec<u8>>,
    hold: Option<Hold>,
}

impl Drop for Passing {
    /// It is over, however it ended.
    fn drop(&mut self) {
        if let Some(seen) = &self.seen
            && let Some(begun) = reply::goes_on(&self.path, seen)
        {
            busy::follow(&self.agents, begun, self.whose.clone());
        }
        let (agents, hold) = (self.agents.clone(), self.hold.take());
        if agents.tells {
            tokio::spawn(async move {
                busy::look(&agents).await;
                drop(hold);
            });
        }
        // Who looks changes nothing, and may look often.
        if self.method == Method::GET || self.method == Method::HEAD {
            return;
        }
        let duration = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        let mut data = json!({
            "method": self.method.as_str(), "path": self.path, "duration_ms": duration,
        });
        match self.status {
            Some(status) => data["status"] = status.as_u16().into(),
            None => data["error"] = "the agent did not answer".into(),
        }
        self.agents.shim.event(OutputKind::Request, data);
    }
}

async fn pass(State(agents): State<Agents>, mut request: Request) -> Response {
    let path = request.uri().path().to_owned();
    let url = match request.uri().query() {
        Some(query) => format!("{}{path}?{query}", agents.base),
        None => format!("{}{path}", agents.base),
    };
    let method = request.method().clone();
    let begins = method == Method::POST
        && matches!(path.trim_end_matches('/'), "/invocations" | "/responses");
    let mut passing = Passing {
        whose: busy::whose(request.headers()),
        begun: Instant::now(),
        status: None,
        seen: begins.then(Vec::new),
        hold: Some(agents.busy.hold()),
        agents: agents.clone(),
        method: method.clone(),
        path,
    };
    let upgrade = request.headers().get(header::UPGRADE).cloned();
    let mut headers = end_to_end(request.headers());
    headers.remove(header::HOST);
    if let Some(protocol) = &upgrade {
        headers.insert(header::UPGRADE, protocol.clone());
        headers.insert(header::CONNECTION, http::HeaderValue::from_static("upgrade"));
    }
    let ours = hyper::upgrade::on(&mut request);
    let body = request.into_body();
    let mut on = agents.http.request(method, url).headers(headers);
    if !http_body_is_empty(&body) {
        on = on.body(reqwest::Body::wrap_stream(body.into_data_stream()));
    }
    let answer = match on.send().await {
        Ok(answer) => answer,
        Err(error) => return no_answer(&error),
    };
    passing.status = Some(answer.status());
    let status = answer.status();
    let mut headers = end_to_end(answer.headers());
    if status == StatusCode::SWITCHING_PROTOCOLS {
        for name in [header::UPGRADE, header::CONNECTION] {
            if let Some(value) = answer.headers().get(&name) {
                headers.insert(name, value.clone());
            }
        }
        tokio::spawn(async move {
            let (Ok(ours), Ok(mut theirs)) = (ours.await, answer.upgrade().await) else { return };
            // Until one of them ends.
            let _ = tokio::io::copy_bidirectional(&mut TokioIo::new(ours), &mut theirs).await;
            drop(passing);
        });
        return (status, headers).into_response();
    }
    let body = futures::stream::unfold(
        (Box::pin(answer.bytes_stream()), passing),
        |(mut body, mut passing)| async move {
            let part = body.next().await?;
            if let (Some(seen), Ok(part)) = (&mut passing.seen, &part) {
                let room = LOOKED_AT.saturating_sub(seen.len());
                seen.extend_from_slice(&part[..part.len().min(room)]);
            }
            let part: Result<Bytes, _> = part;
            Some((part, (body, passing)))
        },
    );
    (status, headers, Body::from_stream(body)).into_response()
}

fn http_body_is_empty(body: &Body) -> bool {
    use axum::body::HttpBody;
    body.is_end_stream()
}

fn end_to_end(headers: &HeaderMap) -> HeaderMap {
    // What `Connection` names is about the connection too.
    let named: Vec<String> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|name| name.trim().to_ascii_lowercase())
        .collect();
    let goes_on = |name: &HeaderName| {
        !OF_ONE_CONNECTION.contains(name)
            && name != "keep-alive"
            && !named.iter().any(|named| named == name.as_str())
    };
    let kept = headers.iter().filter(|(name, _)| goes_on(name));
    kept.map(|(name, value)| (name.clone(), value.clone())).collect()
}

/// The agent is there, and did not answer this request.
fn no_answer(error: &reqwest::Error) -> Response {
    let detail = format!("the agent did not answer: {}", causes(error));
    let problem: Value = json!({
        "type": "about:blank", "title": "Bad gateway", "status": 502,
        "code": "agent_unreachable", "detail": detail,
    });
    let kind = [(header::CONTENT_TYPE, "application/problem+json")];
    (StatusCode::BAD_GATEWAY, kind, Json(problem)).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_of_a_connection_stay_with_it() {
        let all = [
            ("connection", "Keep-Alive, X-Mine"),
            ("keep-alive", "5"),
            ("x-mine", "1"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "websocket"),
            ("content-type", "text/plain"),
            ("x-agent-user-id", "u"),
        ];
        let of = |(name, value): &(&'static str, &'static str)| {
            (HeaderName::from_static(name), http::HeaderValue::from_static(value))
        };
        let kept = end_to_end(&all.iter().map(of).collect());
        let mut names: Vec<_> = kept.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["content-type", "x-agent-user-id"]);
    }
}
