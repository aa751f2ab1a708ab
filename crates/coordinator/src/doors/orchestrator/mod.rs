//! The agent orchestrator's coordinator, as its runner and its dashboard know it.

mod agents;
mod archive;
mod callbacks;
mod check;
mod config;
mod demands;
mod events;
mod fault;
mod feed;
mod hooks;
mod kept;
mod mcp;
mod multipart;
mod placeholders;
mod registry;
mod resolve;
mod runner;
mod runs;
mod sessions;
mod sse;
mod start;
mod stop;
mod view;
mod words;

use std::sync::Arc;

use axum::extract::Request;
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::get;
use axum::{Json, Router};
use greenroom_protocol::Problem;
use http::{HeaderValue, Uri, header};
use serde_json::{Value, json};

use crate::app::App;
use crate::auth::Caller;
use crate::doors::Door;

pub(crate) use self::callbacks::{is_ours, tell};
pub(crate) use self::feed::Feed;

/// The door.
const DOOR: Door = Door::Orchestrator;
/// The system of agents and runners that come in here.
const SYSTEM: &str = "orchestrator";

/// What the door shares between requests. Nothing of it is the only copy of anything.
#[derive(Default)]
pub(crate) struct State {
    /// The latest commits, for viewers that come back.
    pub feed: Feed,
    /// Records of runners of the other system are numbered here, one report at a time.
    pub appending: tokio::sync::Mutex<()>,
    /// What runners have been told, and when.
    pub told: runner::Told,
    /// Runs that a hook is to be looked at for.
    pub hooks: hooks::Pending,
    /// Something waits for a runner of the other system, or for a time to pass.
    pub wake: tokio::sync::Notify,
}

/// Its routes, beneath `/orchestrator`.
pub(super) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/health", get(health))
        .merge(sessions::routes())
        .merge(runs::routes())
        .merge(sse::routes())
        .merge(runner::routes())
        .merge(registry::routes())
        .merge(config::routes())
        .merge(mcp::routes())
        .layer(middleware::from_fn(token_of_query))
}

/// Does what waits for runners of the other system, until the coordinator ends.
pub(crate) use self::runner::reconcile;

async fn health(_: Caller) -> Json<Value> {
    Json(json!({ "status": "healthy" }))
}

/// A browser's `EventSource` cannot send a header, so its token comes in the query. It is
/// taken out of there before anything else sees the address.
async fn token_of_query(mut request: Request, next: Next) -> Response {
    let query = request.uri().query().unwrap_or_default();
    let is_key = |pair: &&str| pair.split('=').next() == Some("api_key");
    if let Some(pair) = query.split('&').find(is_key) {
        let token = pair.split_once('=').map_or("", |(_, token)| token);
        let token = percent_encoding::percent_decode_str(token).decode_utf8_lossy();
        let bearer = HeaderValue::from_str(&format!("Bearer {token}"));
        let rest: Vec<&str> = query.split('&').filter(|pair| !is_key(pair)).collect();
        let path = request.uri().path();
        let bare = match rest.is_empty() {
            true => path.to_owned(),
            false => format!("{path}?{}", rest.join("&")),
        };
        if let Ok(uri) = bare.parse::<Uri>() {
            *request.uri_mut() = uri;
        }
        request.extensions_mut().remove::<axum::extract::OriginalUri>();
        if let Ok(mut bearer) = bearer
            && !request.headers().contains_key(header::AUTHORIZATION)
        {
            bearer.set_sensitive(true);
            request.headers_mut().insert(header::AUTHORIZATION, bearer);
        }
    }
    next.run(request).await
}

/// `{"detail": …}`.
pub(super) fn refusal(problem: &Problem) -> Response {
    fault::spoken(problem)
}
