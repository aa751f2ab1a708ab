//! Whether it lives, and can do its work.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::Response;
use greenroom_core::Ms;
use greenroom_protocol::Problem;
use http::StatusCode;
use serde::Deserialize;
use serde_json::json;

use super::asked::bad;
use crate::api::json as answer;
use crate::api::visible;
use crate::app::App;
use crate::auth::{Allowed, Caller, ToRead, ToUse};
use crate::error::ApiResult;
use crate::extract::{Query, duration};

/// A store that has not answered for so long is not ready.
const STORE: Duration = Duration::from_secs(5);
/// How long somebody waits for a session, and at most.
const WAIT: Duration = Duration::from_secs(30);
const LONGEST: Duration = Duration::from_secs(300);

/// `GET /api/ping`
pub(super) async fn ping() -> Response {
    answer(StatusCode::OK, &json!({ "status": "ok" }))
}

/// `GET /health`
pub(super) async fn health() -> Response {
    ping().await
}

/// `GET /ready`: a write to the store would succeed. One that does not answer is not ready.
pub(super) async fn ready(State(app): State<Arc<App>>) -> Response {
    let connected = match tokio::time::timeout(STORE, app.store.ready()).await {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(error.to_string()),
        Err(_) => Some("the store has not answered for 5 s".to_owned()),
    };
    let ending = app.ending.is_cancelled().then(|| "it is ending".to_owned());
    let wrong = connected.clone().or(ending);
    let active = match app.store.runners().await {
        Ok(runners) => runners.iter().map(|runner| runner.live).sum(),
        Err(_) => 0u32,
    };
    let mut view = json!({
        "ready": wrong.is_none(), "store_connected": connected.is_none(),
        "active_sessions": active,
    });
    if let Some(wrong) = &wrong {
        view["latest_error"] = wrong.as_str().into();
    }
    let status = if wrong.is_none() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    answer(status, &view)
}

#[derive(Debug, Deserialize)]
pub(super) struct Timeout {
    #[serde(default, deserialize_with = "duration")]
    timeout: Option<Ms>,
}

/// `GET /api/ready?timeout=30s`: as soon as there is any session that the caller may see.
pub(super) async fn any_session(
    State(app): State<Arc<App>>,
    Allowed { caller, .. }: Allowed<ToRead>,
    Query(query): Query<Timeout>,
) -> ApiResult<Response> {
    let wait = query.timeout.map_or(WAIT, Duration::from).min(LONGEST);
    let deadline = tokio::time::Instant::now() + wait;
    // Heard from before the look, so that nothing is missed.
    let mut changes = app.hub.changes();
    while !has_session(&app, &caller).await? {
        let heard = tokio::select! {
            heard = tokio::time::timeout_at(deadline, changes.recv()) => heard.is_ok(),
            () = app.ending.cancelled() => false,
        };
        if !heard {
            let mut problem = Problem::new(503, "not_ready", "there was no session in time");
            problem.retry_after = Some(1);
            return Err(problem.into());
        }
    }
    Ok(answer(StatusCode::OK, &json!({ "status": "ready" })))
}

async fn has_session(app: &App, caller: &Caller) -> ApiResult<bool> {
    Ok(!app.store.sessions(visible(caller, 1, None)).await?.items.is_empty())
}

#[derive(Debug, Deserialize)]
pub(super) struct Callback {
    #[serde(default)]
    state: Option<String>,
}

/// `POST /api/mcp-oauth/callback?state=&code=`: nothing logs in by itself here, so no state is
/// known.
pub(super) async fn oauth(_: Allowed<ToUse>, Query(query): Query<Callback>) -> ApiResult<Response> {
    if query.state.is_none_or(|state| state.is_empty()) {
        return Err(bad("state is missing").into());
    }
    Err(Problem::new(404, "oauth_not_found", "no login waits for this state").into())
}
