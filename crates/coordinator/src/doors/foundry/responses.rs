//! The Responses protocol: which session a response is of is said by its own id, by the one
//! before it, or by its conversation.

use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use greenroom_core::Session;
use greenroom_protocol::Problem;
use http::{HeaderName, HeaderValue, Method, header};
use serde_json::{Map, Value};

use super::{Asked, conversations, ids, protocols, sessions};
use crate::error::ApiResult;
use crate::service::sessions as service;

/// Fixes the id of the response that is asked for.
const RESPONSE: HeaderName = HeaderName::from_static("x-agent-response-id");

pub(super) async fn pass(asked: Asked, agent: &str, path: &str) -> ApiResult<Response> {
    let id = path.strip_prefix("/responses").unwrap_or_default().trim_start_matches('/');
    if !id.is_empty() {
        let id = id.split('/').next().and_then(protocols::decoded);
        let uid = id.as_deref().and_then(ids::of_response);
        let session = protocols::chosen(&asked, agent, uid).await?;
        return protocols::ask(asked, &session, path).await;
    }
    if asked.method != Method::POST {
        let detail = "responses are asked for by POST, and read by their ids";
        return Err(Problem::new(405, "method_not_allowed", detail).into());
    }
    begin(asked, agent).await
}

/// Text of a field, where it has some.
fn text<'a>(body: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    body.get(name)?.as_str().filter(|text| !text.is_empty())
}

/// The conversation that a request belongs to.
fn conversation(body: &Map<String, Value>) -> Option<&str> {
    text(body, "conversation").or_else(|| body.get("conversation")?.get("id")?.as_str())
}

async fn begin(mut asked: Asked, agent: &str) -> ApiResult<Response> {
    let bytes = super::read(std::mem::take(asked.request().body_mut())).await?;
    let mut body: Map<String, Value> = super::parsed(&bytes)?;
    let session = session(&asked, agent, &body).await?;
    // Clients say `session_id`; agents read only the other.
    body.remove("session_id");
    body.insert("agent_session_id".to_owned(), session.id.as_str().into());
    let near = text(&body, "previous_response_id").or_else(|| conversation(&body));
    let id = ids::response(session.uid, near);
    let bytes = serde_json::to_vec(&body).unwrap_or_default();
    let request = asked.request();
    let headers = request.headers_mut();
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(bytes.len()));
    headers.remove(header::TRANSFER_ENCODING);
    if let Ok(id) = HeaderValue::from_str(&id) {
        headers.insert(RESPONSE, id);
    }
    *request.body_mut() = Body::from(bytes);
    protocols::ask(asked, &session, "/responses").await
}

/// The session that is named, that of the response before, or that of the conversation; else
/// a new one, which the conversation has from then on.
async fn session(asked: &Asked, agent: &str, body: &Map<String, Value>) -> ApiResult<Arc<Session>> {
    let (app, caller) = (&asked.app, &asked.caller);
    let named = text(body, "agent_session_id").or_else(|| text(body, "session_id"));
    let session = match named.map(str::to_owned) {
        Some(id) => Some(sessions::find(app, caller, agent, &id).await?),
        None if protocols::parameter(asked, "agent_session_id").is_some() => {
            Some(protocols::begun(asked, agent).await?)
        }
        None => None,
    };
    let before = text(body, "previous_response_id");
    let session = match (session, before.and_then(ids::of_response)) {
        (Some(session), _) => Some(session),
        (None, Some(uid)) => service::by_uid(app, caller, uid)
            .await?
            .filter(|session| session.agent.name.as_str() == agent),
        (None, None) => None,
    };
    let Some(conversation) = conversation(body) else {
        return match (session, before) {
            (Some(session), _) => Ok(session),
            (None, Some(before)) => {
                let shown: String = before.chars().take(120).collect();
                let detail = format!("response {shown:?} is of no session that is known");
                Err(Problem::new(404, "previous_response_not_found", detail)
                    .at("previous_response_id")
                    .into())
            }
            (None, None) => protocols::begun(asked, agent).await,
        };
    };
    conversations::session(asked, agent, conversation, session).await
}
