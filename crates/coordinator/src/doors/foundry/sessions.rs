//! Sessions: created and up, stopped for certain, resumed, removed.

use std::sync::Arc;
use std::time::Duration;

use axum::response::{IntoResponse, Response};
use greenroom_core::{AgentName, Epoch, Ms, Session, SessionId, Status};
use greenroom_protocol::{Problem, v1};
use greenroom_store::{Beyond, SessionQuery, Sort};
use http::StatusCode;
use serde::{Deserialize, Serialize};

use super::paging::{self, PageQuery};
use super::{Asked, agents, json, records, view};
use crate::api::sessions::visible;
use crate::app::App;
use crate::auth::{Caller, Right};
use crate::doors::records::Records;
use crate::error::ApiResult;
use crate::service::sessions::{self, Answered, ComesUp, IdempotencyKey, LimitsOf, Making};
use crate::service::stop::{self, Stopped};
use crate::service::{hosted, runs};

/// The last compute of a session that had ended by itself before it was stopped.
const STOPS: Records = records("stop");
/// What is not used for so long expires, unless its agent's limits say otherwise.
const KEPT: Ms = Ms::secs(30 * 24 * 3600);
/// A stop, or a removal, has its own deadline before this one.
const PATIENCE: Duration = Duration::from_secs(600);

/// A session of an agent that the caller may see.
pub(super) async fn find(
    app: &App,
    caller: &Caller,
    agent: &str,
    id: &str,
) -> ApiResult<Arc<Session>> {
    caller.require(Right::Read)?;
    let session = sessions::find(app, caller, id).await?;
    match session.agent.name.as_str() == agent {
        true => Ok(session),
        false => Err(sessions::not_found(id).into()),
    }
}

fn shown(app: &App, status: StatusCode, session: &Session) -> Response {
    json(status, &view::session(session, &app.lives))
}

#[derive(Debug, Default, Deserialize)]
struct Create {
    agent_session_id: Option<String>,
    version_indicator: Option<Indicator>,
}

#[derive(Debug, Deserialize)]
struct Indicator {
    #[serde(rename = "type")]
    kind: Option<String>,
    agent_version: Option<String>,
}

impl Create {
    fn version(&self) -> ApiResult<Option<u32>> {
        let Some(indicator) = &self.version_indicator else { return Ok(None) };
        let at = "version_indicator";
        if indicator.kind.as_deref().is_some_and(|kind| kind != "version_ref") {
            let detail = "version_indicator.type is version_ref";
            return Err(Problem::invalid(detail).at(at).into());
        }
        match indicator.agent_version.as_deref() {
            None | Some("") => {
                let detail = "version_indicator.agent_version is required";
                Err(Problem::invalid(detail).at(at).into())
            }
            Some(text) => Ok(Some(agents::number(text)?)),
        }
    }
}

/// Creates a session, which comes up.
pub(super) async fn create(asked: Asked, agent: &str) -> ApiResult<Response> {
    let (app, caller, request) = (Arc::clone(&asked.app), asked.caller.clone(), asked.id());
    let body: Create = asked.json().await?.unwrap_or_default();
    let version = body.version()?;
    if let Some(id) = &body.agent_session_id
        && let Err(error) = id.parse::<SessionId>()
    {
        let detail = format!("agent_session_id: {error}");
        return Err(Problem::new(400, "invalid_session_id", detail).at("agent_session_id").into());
    }
    let new = New { id: body.agent_session_id, version, comes_up: ComesUp::Persistent };
    let session = make(&app, &caller, agent, new, request).await?;
    let session = hosted::start(&app, session).await?;
    Ok(shown(&app, StatusCode::CREATED, &session))
}

/// What is asked of a new session.
pub(super) struct New {
    /// Its name; made up where absent.
    pub id: Option<String>,
    /// The version of its agent; the endpoint's where absent.
    pub version: Option<u32>,
    /// Whether it comes up.
    pub comes_up: ComesUp,
}

/// A new session, or the one that an earlier try of the same request has made.
pub(super) async fn make(
    app: &App,
    caller: &Caller,
    agent: &str,
    New { id, version, comes_up }: New,
    request: Option<String>,
) -> ApiResult<Arc<Session>> {
    let Ok(name) = agent.parse::<AgentName>() else {
        return Err(crate::service::agents::not_found(agent).into());
    };
    let agent_version = match version {
        Some(version) => Some(version),
        None => agents::share(app, &name, request.as_deref()).await?,
    };
    let body = v1::CreateSession {
        agent: name.as_str().to_owned(),
        agent_version,
        id,
        ..v1::CreateSession::default()
    };
    let key = request.map(|key| IdempotencyKey {
        key,
        scope: format!("{} POST /foundry {name} sessions", caller.scope()),
    });
    let making = Making { comes_up, ..Making::of(LimitsOf::AgentUntil { unused: KEPT }) };
    let uid = match sessions::create_with(app, caller, body, key, making).await? {
        Answered::Now(session) => session.uid,
        Answered::Before(answer) => super::parsed::<v1::Session>(&answer.body)?.uid,
    };
    let session = sessions::by_uid(app, caller, uid).await?;
    Ok(session.ok_or_else(|| Problem::not_found("session", "just created"))?)
}

pub(super) async fn get(asked: Asked, agent: &str, id: &str) -> ApiResult<Response> {
    let session = find(&asked.app, &asked.caller, agent, id).await?;
    Ok(shown(&asked.app, StatusCode::OK, &session))
}

pub(super) async fn list(asked: Asked, agent: &str) -> ApiResult<Response> {
    asked.caller.require(Right::Read)?;
    let page = asked.query::<PageQuery>()?.page(false)?;
    let beyond = match page.beyond {
        None => None,
        Some((id, before)) => {
            let unknown = || Problem::invalid(format!("no session {id:?} was ever listed here"));
            let id: SessionId = id.parse().map_err(|_| unknown().at("after"))?;
            Some(if before { Beyond::Before(id) } else { Beyond::After(id) })
        }
    };
    let query = SessionQuery {
        agent: Some(agent.to_owned()),
        sort: if page.oldest_first { Sort::Oldest } else { Sort::Created },
        beyond,
        ..visible(&asked.caller, page.limit as u32, None)
    };
    let found = match asked.app.store.sessions(query).await {
        Err(greenroom_store::StoreError::BadCursor) => {
            let detail = "after, before or pagination_token names no session that was listed here";
            return Err(Problem::invalid(detail).at("after").into());
        }
        found => found?,
    };
    let items = found.items.iter().map(|session| view::session(session, &asked.app.lives));
    let answer = paging::answer(items.collect(), "agent_session_id", found.next.is_some());
    Ok(json(StatusCode::OK, &answer))
}

/// What is kept of a stop that found a compute which had ended by itself.
#[derive(Debug, Serialize, Deserialize)]
struct FirstStop {
    epoch: Epoch,
    request: Option<String>,
}

/// Whether a stop is the first one that found this compute, or a repetition of that one.
async fn is_first(
    app: &App,
    session: &Session,
    epoch: Epoch,
    request: Option<String>,
) -> ApiResult<bool> {
    let id = session.uid.to_string();
    let first = FirstStop { epoch, request };
    if STOPS.add(app, &id, &first).await? {
        return Ok(true);
    }
    match STOPS.get::<FirstStop>(app, &id).await? {
        Some(known) if known.epoch == epoch => {
            Ok(first.request.is_some() && known.request == first.request)
        }
        // Of an earlier compute.
        _ => {
            STOPS.put(app, &id, &first).await?;
            Ok(true)
        }
    }
}

/// Stops a session. Done is only what is proven; a session that was stopped already is told
/// apart from one whose compute had ended by itself and that nobody has stopped yet.
pub(super) async fn stop(asked: Asked, agent: &str, id: &str) -> ApiResult<Response> {
    let (app, caller, request) = (&asked.app, &asked.caller, asked.id());
    let session = find(app, caller, agent, id).await?;
    let key = request.clone().map(|key| IdempotencyKey {
        key,
        scope: format!("{} POST /foundry stop {}", caller.scope(), session.uid),
    });
    let Stopped { reply, at_rest } =
        stop::stop(app, caller, id, v1::StopRequest::default(), Some(PATIENCE), key).await?;
    let proven = reply.receipt.as_ref().filter(|receipt| receipt.is_proven());
    let Some(receipt) = proven.filter(|_| at_rest) else {
        return Err(unproven(id, reply.status).into());
    };
    if !reply.already_stopped {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let by_itself = reply.status != Status::Stopped;
    if by_itself && is_first(app, &session, receipt.epoch, request).await? {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let detail = format!("session {id:?} is already stopped for agent {agent:?}");
    Err(Problem::new(409, "session_already_stopped", detail).into())
}

fn unproven(id: &str, status: Status) -> Problem {
    let detail = format!(
        "it is not proven that nothing of session {id:?} runs any more: it is {}",
        status.as_str()
    );
    Problem::new(409, "stop_unconfirmed", detail)
        .hint("stop it again, or see: greenroom sessions show")
}

/// Brings a session up that is at rest, of its endpoint's current version.
pub(super) async fn resume(asked: Asked, agent: &str, id: &str) -> ApiResult<Response> {
    let (app, caller) = (&asked.app, &asked.caller);
    find(app, caller, agent, id).await?;
    runs::resume(app, caller, id).await?;
    let session = find(app, caller, agent, id).await?;
    let session = hosted::start(app, session).await?;
    Ok(shown(app, StatusCode::OK, &session))
}

/// Removes a session and its files. One that is not there is as gone as it can be; one that
/// is somebody else's stays, and is not said to be gone.
pub(super) async fn delete(asked: Asked, agent: &str, id: &str) -> ApiResult<Response> {
    let (app, caller) = (&asked.app, &asked.caller);
    caller.require(Right::Use)?;
    let Ok(name) = id.parse::<SessionId>() else {
        return Ok(StatusCode::NO_CONTENT.into_response());
    };
    if app.store.session_named(&name).await?.is_none() {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let session = find(app, caller, agent, id).await?;
    if !sessions::delete(app, caller, id, PATIENCE).await? {
        return Err(unproven(id, session.status()).into());
    }
    STOPS.remove(app, &session.uid.to_string()).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}
