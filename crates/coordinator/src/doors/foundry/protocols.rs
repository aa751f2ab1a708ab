//! What agents serve: a request is brought to its session's agent, and what belongs to one
//! session is found again by its id.

use std::sync::Arc;

use axum::extract::Request;
use axum::response::Response;
use greenroom_core::{Session, SessionUid, Status};
use greenroom_protocol::Problem;
use greenroom_store::{SessionQuery, Sort};
use http::{HeaderMap, HeaderName, HeaderValue, Method};
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use super::sessions::New;
use super::{Asked, conversations, ids, responses, sessions};
use crate::api::requests;
use crate::api::sessions::visible;
use crate::app::App;
use crate::auth::{Caller, Right};
use crate::error::ApiResult;
use crate::service::sessions::{self as service, ComesUp};

/// Names the session to whoever asks.
const SESSION: HeaderName = HeaderName::from_static("x-agent-session-id");
/// Names the invocation to both sides.
const INVOCATION: HeaderName = HeaderName::from_static("x-agent-invocation-id");
/// One for each request, which an agent says when it calls back.
const CALL: HeaderName = HeaderName::from_static("x-agent-foundry-call-id");
/// What a platform says to an agent, and its callers do not.
const PLATFORM: [HeaderName; 5] = [
    SESSION,
    INVOCATION,
    CALL,
    HeaderName::from_static("x-agent-user-id"),
    HeaderName::from_static("x-agent-response-id"),
];
/// Selects the session in a query.
const SELECTOR: &str = "agent_session_id";

/// Sessions with something that may answer.
const LIVE: [Status; 4] = [Status::Starting, Status::Running, Status::Waiting, Status::Idle];

/// Brings a request to what an agent serves at `path`.
pub(super) async fn pass(mut asked: Asked, agent: &str, path: &str) -> ApiResult<Response> {
    asked.caller.require(Right::Use)?;
    for name in PLATFORM {
        asked.request().headers_mut().remove(name);
    }
    let inner = path.strip_prefix("/openai").map(|rest| rest.strip_prefix("/v1").unwrap_or(rest));
    let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    match (inner, parts.as_slice()) {
        (Some(rest), _) if is_at(rest, "/responses") => responses::pass(asked, agent, rest).await,
        (Some(rest), _) if is_at(rest, "/conversations") => {
            conversations::answer(asked, agent, rest).await
        }
        (None, ["invocations", "docs", ..]) => docs(asked, agent, path).await,
        (None, ["invocations", id, ..]) => {
            let uid = decoded(id).as_deref().and_then(ids::of_invocation);
            let session = chosen(&asked, agent, uid).await?;
            ask(asked, &session, path).await
        }
        (None, ["invocations"]) if asked.method == Method::POST => {
            let session = begun(&asked, agent).await?;
            let id = ids::invocation(session.uid);
            if let Ok(id) = HeaderValue::from_str(&id) {
                asked.request().headers_mut().insert(INVOCATION, id);
            }
            ask(asked, &session, path).await
        }
        (None, ["invocations_ws"] | ["a2a", ..]) => {
            let session = begun(&asked, agent).await?;
            ask(asked, &session, path).await
        }
        (None, ["invocations"]) => Err(not_served(path, "takes POST").into()),
        _ => Err(not_served(path, "is no protocol that is served here").into()),
    }
}

fn is_at(path: &str, place: &str) -> bool {
    path.strip_prefix(place).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn not_served(path: &str, why: &str) -> Problem {
    let shown: String = path.chars().take(120).collect();
    let detail = format!("{shown:?} {why}");
    Problem::new(404, "protocol_not_found", detail)
        .hint("invocations, invocations_ws, openai/responses, openai/conversations, a2a")
}

pub(super) fn decoded(part: &str) -> Option<String> {
    Some(percent_decode_str(part).decode_utf8().ok()?.into_owned())
}

/// A parameter of the query.
pub(super) fn parameter(asked: &Asked, name: &str) -> Option<String> {
    let mut pairs = asked.uri.query().unwrap_or_default().split('&');
    let value = pairs.find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))?;
    decoded(&value.replace('+', " ")).filter(|value| !value.is_empty())
}

/// The session that the query selects, else the one that an id is of.
pub(super) async fn chosen(
    asked: &Asked,
    agent: &str,
    uid: Option<SessionUid>,
) -> ApiResult<Arc<Session>> {
    if let Some(id) = parameter(asked, SELECTOR) {
        return sessions::find(&asked.app, &asked.caller, agent, &id).await;
    }
    let found = match uid {
        Some(uid) => service::by_uid(&asked.app, &asked.caller, uid).await?,
        None => None,
    };
    let of_it = found.filter(|session| session.agent.name.as_str() == agent);
    Ok(of_it.ok_or_else(|| {
        let detail = "this is of no session that is known";
        Problem::new(404, "not_found", detail).hint("say which with agent_session_id")
    })?)
}

/// The session that the query selects, else a new one.
pub(super) async fn begun(asked: &Asked, agent: &str) -> ApiResult<Arc<Session>> {
    match parameter(asked, SELECTOR) {
        Some(id) => sessions::find(&asked.app, &asked.caller, agent, &id).await,
        None => {
            let new = New { id: None, version: None, comes_up: ComesUp::Hosted };
            sessions::make(&asked.app, &asked.caller, agent, new, asked.id()).await
        }
    }
}

/// What an agent says of itself is asked of any of its sessions that are up.
async fn docs(asked: Asked, agent: &str, path: &str) -> ApiResult<Response> {
    let session = match parameter(&asked, SELECTOR) {
        Some(id) => sessions::find(&asked.app, &asked.caller, agent, &id).await?,
        None => live(&asked.app, &asked.caller, agent).await?.ok_or_else(|| {
            let detail = format!("no session of agent {agent:?} is up to say what it serves");
            Problem::new(404, "not_found", detail).hint("say which with agent_session_id")
        })?,
    };
    ask(asked, &session, path).await
}

async fn live(app: &App, caller: &Caller, agent: &str) -> ApiResult<Option<Arc<Session>>> {
    let query = SessionQuery {
        agent: Some(agent.to_owned()),
        statuses: LIVE.to_vec(),
        sort: Sort::Active,
        ..visible(caller, 1, None)
    };
    Ok(app.store.sessions(query).await?.items.into_iter().next())
}

/// Path and query for the agent: without what is for the platform, with the session.
fn target(path: &str, query: Option<&str>, session: &str) -> String {
    let ours = |pair: &&str| {
        let name = pair.split('=').next().unwrap_or_default();
        !pair.is_empty() && name != "api-version" && name != SELECTOR
    };
    let kept: Vec<&str> = query.unwrap_or_default().split('&').filter(ours).collect();
    let session = utf8_percent_encode(session, NON_ALPHANUMERIC);
    let joint = if kept.is_empty() { "" } else { "&" };
    format!("{path}?{}{joint}{SELECTOR}={session}", kept.join("&"))
}

/// Asks a session's agent, and says which session that was.
pub(super) async fn ask(asked: Asked, session: &Session, path: &str) -> ApiResult<Response> {
    let id = session.id.as_str();
    let target = target(path, asked.uri.query(), id);
    let (app, caller) = (Arc::clone(&asked.app), asked.caller.clone());
    let mut request = asked.into_request();
    tell(&mut request);
    let mut response = requests::pass(&app, &caller, id, target, request).await?;
    named(response.headers_mut(), id);
    Ok(response)
}

fn tell(request: &mut Request) {
    let call = uuid::Uuid::now_v7().simple().to_string();
    if let Ok(call) = HeaderValue::from_str(&call) {
        request.headers_mut().insert(CALL, call);
    }
}

fn named(headers: &mut HeaderMap, id: &str) {
    if let Ok(id) = HeaderValue::from_str(id) {
        headers.insert(SESSION, id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_agent_is_told_its_session_and_not_the_platforms_words() {
        for (query, expected) in [
            (None, "/invocations?agent_session_id=s%2D1"),
            (Some("api-version=v1"), "/invocations?agent_session_id=s%2D1"),
            (
                Some("stream=true&api-version=v1&agent_session_id=other&starting_after=3"),
                "/invocations?stream=true&starting_after=3&agent_session_id=s%2D1",
            ),
        ] {
            assert_eq!(target("/invocations", query, "s-1"), expected);
        }
    }

    proptest! {
        #[test]
        fn any_query_makes_a_target(query in "[a-z=&%+0-9\\PC]{0,60}") {
            let target = target("/invocations", Some(&query), "s");
            prop_assert!(target.starts_with("/invocations?"));
            prop_assert!(target.ends_with("agent_session_id=s"));
            prop_assert_eq!(target.matches("agent_session_id=").count() >= 1, true);
        }
    }
}
