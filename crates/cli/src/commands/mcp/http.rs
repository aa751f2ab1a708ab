//! The HTTP door: who may come in, and in whose name.

use std::collections::HashMap;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::{Json, Router};
use greenroom_client::{Client, ClientError, Secret};
use greenroom_coordinator::Hosts;
use greenroom_protocol::Problem;
use http::{HeaderValue, StatusCode, header};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::server;
use crate::context::Context;
use crate::ending::Signals;
use crate::error::{CliError, Code};

/// Where the server is beneath its address.
const PATH: &str = "/mcp";
/// So many callers' connections are kept; with more, all are made anew.
const CALLERS: usize = 64;

/// Reads `--listen`: loopback only, since what comes in is a bearer token in the clear.
pub(super) fn address(text: &str) -> Result<SocketAddr, String> {
    let failed = || "write it like 127.0.0.1:7071, or localhost:0".to_owned();
    let address = text.to_socket_addrs().map_err(|_| failed())?.next().ok_or_else(failed)?;
    match address.ip().is_loopback() {
        true => Ok(address),
        false => Err(format!(
            "{address} is not on loopback, and tokens would travel in the clear: listen on 127.0.0.1, and put a proxy with TLS before it (--allowed-host NAME)"
        )),
    }
}

/// Calls in the names of whoever comes.
struct Callers {
    url: String,
    known: Mutex<HashMap<String, Client>>,
}

impl Callers {
    fn of(&self, token: &str) -> Result<Client, ClientError> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = known.get(token) {
            return Ok(client.clone());
        }
        let client = Client::new(&self.url, Some(&Secret::new(token)))?;
        if known.len() >= CALLERS {
            known.clear();
        }
        known.insert(token.to_owned(), client.clone());
        Ok(client)
    }
}

fn problem(problem: Problem) -> Response {
    let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::BAD_GATEWAY);
    let mut response = (status, Json(&problem)).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
    if status == StatusCode::UNAUTHORIZED {
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
}

fn refused(error: ClientError) -> Response {
    problem(match error {
        ClientError::Problem(told) => *told,
        other => {
            Problem::new(503, "no_coordinator", other.to_string()).hint("start it, and try again")
        }
    })
}

/// The token in a request's header.
fn bearer(request: &Request) -> Option<&str> {
    let value = request.headers().get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

/// Lets nobody in without a token that the coordinator knows now.
async fn known(State(callers): State<Arc<Callers>>, mut request: Request, next: Next) -> Response {
    let Some(token) = bearer(&request) else {
        return problem(
            Problem::new(401, "unauthorized", "there is no bearer token")
                .hint("send Authorization: Bearer TOKEN; greenroom token create makes one"),
        );
    };
    let client = match callers.of(token) {
        Ok(client) => client,
        Err(error) => return refused(error),
    };
    if let Err(error) = client.who().await {
        return refused(error);
    }
    request.extensions_mut().insert(client);
    next.run(request).await
}

/// Serves until a signal.
pub(super) async fn serve(
    context: &Context,
    listen: SocketAddr,
    allowed_hosts: &[String],
) -> Result<Code, CliError> {
    let mut signals = Signals::listen()?;
    let failed = |error: std::io::Error| {
        CliError::failed(format!("cannot listen on {listen}: {error}"))
            .hint("choose another address with --listen; port 0 takes a free one")
    };
    let listener = TcpListener::bind(listen).await.map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    let callers = Arc::new(Callers { url: context.url()?, known: Mutex::default() });
    let hosts = Arc::new(Hosts::new(address, allowed_hosts));
    let ends = CancellationToken::new();
    let app = Router::new()
        .route_service(PATH, server::over_http(ends.clone()))
        .layer(middleware::from_fn_with_state(callers, known))
        .layer(middleware::from_fn_with_state(hosts, greenroom_coordinator::guard));
    context.ui.line(format!("greenroom mcp is up at http://{address}{PATH}"))?;
    let served = axum::serve(listener, app);
    tokio::select! {
        // Whoever still waits is cut off: nothing is lost, it can ask again.
        _ = signals.next() => {}
        done = served => done.map_err(failed)?,
    }
    ends.cancel();
    Ok(Code::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_is_listened_on() {
        assert_eq!(address("127.0.0.1:0").expect("one").port(), 0);
        assert!(address("[::1]:1").is_ok());
        for beyond in ["0.0.0.0:7071", "192.0.2.1:1", "[::]:1"] {
            assert!(address(beyond).expect_err(beyond).contains("loopback"), "{beyond}");
        }
        assert!(address("7071").is_err());
    }
}
