//! docker-agent's `serve api`, as its clients know it: `run --remote`, and whoever speaks to
//! it with plain HTTP.
//!
//! * [`names`], [`asked`]: what a request says; [`policy`], [`overrides`]: permissions, modes and
//!   models, in both tongues
//! * [`agents`], [`sessions`], [`answers`], [`queue`], [`batch`], [`health`]: the routes
//! * [`v2`]: what is served of `/api/v2/sessions`
//! * [`run`], [`events`]: the streams; [`watch`]: what happens in a session, in order, and live
//! * [`frames`], [`transcript`], [`shown`]: from our log to their events, messages and sessions

mod agents;
mod answers;
mod asked;
mod batch;
mod call;
mod events;
mod face;
mod foreign;
mod frames;
mod health;
mod live;
mod names;
mod overrides;
mod policy;
mod queue;
mod run;
mod sessions;
mod settings;
mod shown;
mod transcript;
mod v2;
mod watch;

use std::sync::Arc;

use axum::extract::DefaultBodyLimit;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, patch, post};
use axum::{Json, Router};
use greenroom_protocol::Problem;
use http::{HeaderValue, StatusCode, header};
use serde_json::json;

use crate::app::App;

/// A body has so many bytes at most.
const MAX_BODY: usize = 1 << 20;

/// Its routes, beneath `/docker-agent`.
pub(super) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/health", get(health::health))
        .route("/ready", get(health::ready))
        .route("/api/ping", get(health::ping))
        .route("/api/ready", get(health::any_session))
        .route("/api/mcp-oauth/callback", post(health::oauth))
        .route("/api/agents", get(agents::list))
        .route("/api/agents/{agent}", get(agents::config))
        .route("/api/agents/{agent}/{member}/tools/count", get(agents::tools))
        .route("/api/sessions", get(sessions::list).post(sessions::create))
        .route("/api/sessions/batch/delete", post(batch::delete))
        .route("/api/sessions/batch/export", post(batch::export))
        .route("/api/sessions/{id}", get(sessions::get).delete(sessions::delete))
        .route("/api/sessions/{id}/agent/{agent}", post(run::run))
        .route("/api/sessions/{id}/agent/{agent}/{member}", post(run::run))
        .route("/api/sessions/{id}/resume", post(answers::resume))
        .route("/api/sessions/{id}/elicitation", post(answers::elicitation))
        .route("/api/sessions/{id}/tools/toggle", post(settings::toggle))
        .route("/api/sessions/{id}/thinking/toggle", post(settings::thinking))
        .route("/api/sessions/{id}/permissions", patch(settings::permissions))
        .route("/api/sessions/{id}/safety-policy", patch(settings::safety))
        .route("/api/sessions/{id}/title", patch(settings::title))
        .route("/api/sessions/{id}/starred", patch(settings::starred))
        .route("/api/sessions/{id}/models", get(settings::models))
        .route("/api/sessions/{id}/model", patch(settings::model))
        .route("/api/sessions/{id}/tokens", patch(settings::not_ours))
        .route("/api/sessions/{id}/messages", post(settings::not_ours))
        .route("/api/sessions/{id}/messages/{message}", patch(settings::not_ours))
        .route("/api/sessions/{id}/summaries", post(settings::not_ours))
        .route("/api/sessions/{id}/status", get(events::status))
        .route("/api/sessions/{id}/snapshot", get(events::snapshot))
        .route("/api/sessions/{id}/events", get(events::events))
        .route("/api/sessions/{id}/steer", post(queue::steer))
        .route("/api/sessions/{id}/followup", post(queue::followup))
        .route("/api/sessions/{id}/queue", get(queue::queue))
        .route("/api/sessions/{id}/fork", post(batch::fork))
        .route("/api/sessions/{id}/recovery", get(batch::recovery))
        .route("/api/sessions/{id}/stop", post(sessions::stop))
        .route("/api/v2/sessions/start", post(v2::start))
        .layer(DefaultBodyLimit::max(MAX_BODY))
}

/// `{"message", "error"}`: its server says the one, its client reads the other.
pub(super) fn refusal(problem: &Problem) -> Response {
    let status = match (problem.status, problem.code.as_str()) {
        // A model that the agent does not know is the one thing that is 422 here.
        (_, "model_unsupported" | "model_unknown") => 422,
        // So is a message by its number: there, it is a number out of its range.
        (422, _) | (404, "message_not_found") | (403, "working_dir_not_allowed") => 400,
        (_, "source_unavailable") => 502,
        (_, "agent_ambiguous") => 404,
        (status, _) => status,
    };
    let mut text = match problem.code.as_str() {
        "agent_ambiguous" | "agent_not_found" if !problem.detail.starts_with("agent not found") => {
            format!("agent not found: {}", problem.detail)
        }
        "session_busy" => {
            format!("{}: wait for its turn to end, or POST to its /followup", problem.detail)
        }
        _ => problem.detail.clone(),
    };
    if !problem.candidates.is_empty() && !text.contains("candidates: ") {
        let keys: Vec<&str> =
            problem.candidates.iter().map(|candidate| candidate.source_key.as_str()).collect();
        text = format!("{text}; candidates: {}", keys.join(", "));
    }
    let mut body = json!({ "message": text, "error": text });
    if problem.code == "session_not_found" {
        body["code"] = "unknown_session".into();
    }
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = (status, Json(body)).into_response();
    let headers = response.headers_mut();
    if let Some(seconds) = problem.retry_after {
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    if status == StatusCode::UNAUTHORIZED {
        headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use greenroom_protocol::candidate::Candidate;

    async fn said(problem: Problem) -> (u16, serde_json::Value) {
        let response = refusal(&problem);
        let status = response.status().as_u16();
        let body = axum::body::to_bytes(response.into_body(), 1 << 16).await.expect("a body");
        (status, serde_json::from_slice(&body).expect("JSON"))
    }

    #[tokio::test]
    async fn refusals_keep_their_meaning() {
        for (status, code, expected) in [
            (422, "invalid", 400),
            (422, "model_unknown", 422),
            (409, "model_unsupported", 422),
            (503, "source_unavailable", 502),
            (409, "agent_ambiguous", 404),
            (409, "session_busy", 409),
            (404, "session_not_found", 404),
            (401, "unauthorized", 401),
            (507, "disk_full", 507),
        ] {
            let (status, body) = said(Problem::new(status, code, "why")).await;
            assert_eq!(status, expected, "{code}");
            assert_eq!(body["message"], body["error"]);
        }
        let candidate = |key: &str| Candidate {
            source_key: key.to_owned(),
            source: String::new(),
            agent: None,
            version: None,
            digest: None,
        };
        let mut problem = Problem::new(409, "agent_ambiguous", "several");
        problem.candidates = vec![candidate("a"), candidate("b")];
        let (_, body) = said(problem).await;
        assert_eq!(body["error"], "agent not found: several; candidates: a, b");
    }
}
