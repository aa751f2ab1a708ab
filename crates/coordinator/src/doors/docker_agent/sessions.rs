//! Sessions: listing, creating, showing, removing them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::Response;
use greenroom_core::approval::{Mode, SessionPolicy};
use greenroom_core::folder_path::BadPath;
use greenroom_core::{Limits, Ms, Session, SessionWorkspace};
use greenroom_protocol::{Problem, v1};
use greenroom_store::SessionQuery;
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use super::agents::resolve;
use super::asked::{Body, bad};
use super::names::Segments;
use super::overrides;
use super::policy::{Permissions, safety};
use super::shown::{self, AGENT, SOURCE, STARRED, UNCHOSEN};
use crate::api::idempotency_key;
use crate::api::json as answer;
use crate::api::visible;
use crate::app::App;
use crate::auth::{Allowed, ToRead, ToUse};
use crate::error::ApiResult;
use crate::extract::{Query, duration, parsed};
use crate::service::agents;
use crate::service::sessions::{self, Answered, IdempotencyKey, LimitsOf, Making};
use crate::service::stop;

/// Sessions that a list has at most, where it does not say.
const MOST: usize = 5_000;

#[derive(Debug, Deserialize)]
pub(super) struct ListQuery {
    /// Only those with a live compute.
    #[serde(default)]
    active: Option<bool>,
    /// Only those of this agent.
    #[serde(default)]
    agent: Option<String>,
    /// So many at most.
    #[serde(default, deserialize_with = "parsed")]
    limit: Option<usize>,
}

/// `GET /api/sessions`: newest first, without those that agents have created. No log is read.
pub(super) async fn list(
    State(app): State<Arc<App>>,
    Allowed { caller, .. }: Allowed<ToRead>,
    Query(query): Query<ListQuery>,
) -> ApiResult<Response> {
    let most = query.limit.unwrap_or(MOST).min(MOST);
    let mut wanted = SessionQuery {
        agent: query.agent.filter(|agent| !agent.is_empty()),
        ..visible(&caller, 1000, None)
    };
    let mut found: Vec<Arc<Session>> = Vec::new();
    while found.len() < most {
        let page = app.store.sessions(wanted.clone()).await?;
        let roots = page.items.into_iter().filter(|session| {
            session.parent.is_none() && (query.active != Some(true) || session.compute.is_some())
        });
        found.extend(roots);
        match page.next {
            Some(next) => wanted.cursor = Some(next),
            None => break,
        }
    }
    found.truncate(most);
    let uids: Vec<_> = found.iter().map(|session| session.uid).collect();
    let counts = shown::counts(&app, &uids).await?;
    let all: Vec<Value> =
        found.iter().zip(counts).map(|(session, count)| shown::listed(session, count)).collect();
    Ok(answer(StatusCode::OK, &all))
}

/// A session as a template: what of it is honoured.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Template {
    pub(super) id: Option<String>,
    pub(super) title: Option<String>,
    pub(super) tools_approved: Option<bool>,
    pub(super) permissions: Option<Permissions>,
    pub(super) safety_policy: Option<String>,
    pub(super) working_dir: Option<String>,
    pub(super) max_iterations: Option<i64>,
    pub(super) attributes: Option<BTreeMap<String, String>>,
    pub(super) starred: Option<bool>,
    pub(super) agent: Option<String>,
    pub(super) agent_model_overrides: Option<BTreeMap<String, String>>,
}

impl Template {
    /// The session that is asked for, of an agent that is to be named.
    pub(super) fn request(self) -> Result<v1::CreateSession, Box<Problem>> {
        let mut request = v1::CreateSession {
            approvals: self.policy()?,
            limits: self.limits()?,
            workspace: self.workspace()?,
            ..v1::CreateSession::default()
        };
        let mut labels = self.attributes.unwrap_or_default();
        if self.starred == Some(true) {
            labels.insert(STARRED.to_owned(), "true".to_owned());
        }
        request.labels = Some(labels);
        request.id = self.id.filter(|id| !id.is_empty());
        request.title = self.title.filter(|title| !title.is_empty());
        let models = overrides::read(self.agent_model_overrides.unwrap_or_default())?;
        request.models = Some(models).filter(|models| !models.is_empty());
        Ok(request)
    }

    fn policy(&self) -> Result<Option<SessionPolicy>, Box<Problem>> {
        let mut policy = match &self.permissions {
            Some(permissions) => permissions.clone().over(&SessionPolicy::default())?,
            None => SessionPolicy::default(),
        };
        if self.tools_approved == Some(true) {
            policy.mode = Some(Mode::Autonomous);
        }
        if let Some(word) = self.safety_policy.as_deref().filter(|word| !word.is_empty()) {
            (policy.mode, policy.headless) = safety(word)?;
        }
        Ok((!policy.is_default()).then_some(policy))
    }

    fn limits(&self) -> Result<Option<Limits>, Box<Problem>> {
        let most = self.max_iterations.filter(|most| *most != 0);
        let Some(most) = most else { return Ok(None) };
        let iterations = u32::try_from(most)
            .map_err(|_| bad("max_iterations is a number from 0 (the agent's own) on"))?;
        Ok(Some(Limits { iterations: Some(iterations), ..Limits::default() }))
    }

    /// The folder it is to work in. Whether that is allowed, its runner's operator has said.
    fn workspace(&self) -> Result<Option<SessionWorkspace>, Box<Problem>> {
        let named = self.working_dir.as_deref().filter(|folder| !folder.is_empty());
        let Some(folder) = named else { return Ok(None) };
        let path = folder.parse().map_err(|error: BadPath| bad(format!("working_dir: {error}")))?;
        Ok(Some(SessionWorkspace::in_place(path)))
    }
}

/// `POST /api/sessions`. Which agent it is of is said with its first run; it may be said here.
pub(super) async fn create(
    State(app): State<Arc<App>>,
    Allowed { caller, .. }: Allowed<ToUse>,
    headers: HeaderMap,
    Body(template): Body<Option<Template>>,
) -> ApiResult<Response> {
    let mut template = template.unwrap_or_default();
    let named = template.agent.take();
    let mut request = template.request()?;
    let labels = request.labels.get_or_insert_default();
    let named = named.or_else(|| labels.get(SOURCE).cloned()).filter(|named| !named.is_empty());
    let limits_of = match named {
        Some(named) => {
            let agent = resolve(&app, &named).await?;
            overrides::settle(&mut request, &agent);
            request.agent = agent.row.name.to_string();
            LimitsOf::Agent
        }
        None => {
            labels.insert(AGENT.to_owned(), UNCHOSEN.to_owned());
            // Whose models they are, and whether they are known, the first run says.
            request.agent = any_agent(&app).await?;
            LimitsOf::Request
        }
    };
    let key =
        idempotency_key(&headers)?.or_else(|| request.id.as_ref().map(|id| format!("id {id}")));
    // Made up here where it is not given, in the form that their clients have.
    if key.is_none() {
        request.id = Some(uuid::Uuid::new_v4().to_string());
    }
    let scope = format!("{} POST /docker-agent/api/sessions", caller.scope());
    let key = key.map(|key| IdempotencyKey { key, scope });
    let id = match sessions::create_with(&app, &caller, request, key, Making::of(limits_of)).await?
    {
        Answered::Now(session) => session.id.to_string(),
        Answered::Before(answer) => {
            let before: v1::Session = serde_json::from_slice(&answer.body)
                .map_err(|error| Problem::new(500, "internal", error.to_string()))?;
            before.id.to_string()
        }
    };
    let session = sessions::find(&app, &caller, &id).await?;
    let items = shown::transcript(&app, &session).await?.items().to_vec();
    let view = shown::whole(&session, &items);
    Ok(answer(StatusCode::OK, &overrides::with(&app, &session, view).await?))
}

/// The agent of a session that has none yet: its first run names one. One that can be asked
/// for leave comes first, since a session may be given permissions before that.
async fn any_agent(app: &App) -> ApiResult<String> {
    let all = agents::list(app).await?;
    let mut good: Vec<_> = all.into_iter().filter(|agent| agent.version > 0).collect();
    good.sort_by_key(|agent| match agent.driver.as_str() {
        "loop" => 0,
        "command" => 2,
        _ => 1,
    });
    match good.into_iter().next() {
        Some(agent) => Ok(agent.name.to_string()),
        None => Err(Problem::new(409, "no_agent", "no agent is served")
            .hint("start with --agents, or: greenroom agents add")
            .into()),
    }
}

/// `GET /api/sessions/{id}`
pub(super) async fn get(
    State(app): State<Arc<App>>,
    Allowed { caller, .. }: Allowed<ToRead>,
    path: Segments,
) -> ApiResult<Response> {
    let session = sessions::find(&app, &caller, &path.session()).await?;
    let mut transcript = shown::transcript(&app, &session).await?;
    let view = shown::session(&session, &mut transcript);
    Ok(answer(StatusCode::OK, &overrides::with(&app, &session, view).await?))
}

#[derive(Debug, Deserialize)]
pub(super) struct DeleteQuery {
    #[serde(default, deserialize_with = "duration")]
    timeout: Option<Ms>,
    #[serde(default)]
    wait: Option<bool>,
}

/// `DELETE /api/sessions/{id}?wait=true&timeout=10s`: stopped, proven, removed.
pub(super) async fn delete(
    State(app): State<Arc<App>>,
    Allowed { caller, .. }: Allowed<ToUse>,
    path: Segments,
    Query(query): Query<DeleteQuery>,
) -> ApiResult<Response> {
    let wait = match query.wait {
        Some(false) => Duration::ZERO,
        _ => query.timeout.map_or(Duration::from_secs(10), Duration::from),
    };
    let gone = sessions::delete(&app, &caller, &path.session(), wait).await?;
    let (status, message) = match gone {
        true => (StatusCode::OK, "session deleted"),
        false => (StatusCode::ACCEPTED, "session is being deleted"),
    };
    Ok(answer(status, &json!({ "message": message })))
}

#[derive(Debug, Deserialize)]
pub(super) struct StopQuery {
    #[serde(default, deserialize_with = "duration")]
    timeout: Option<Ms>,
}

/// `POST /api/sessions/{id}/stop?timeout=30s`: stopped, with the proof.
pub(super) async fn stop(
    State(app): State<Arc<App>>,
    Allowed { caller, .. }: Allowed<ToUse>,
    path: Segments,
    Query(query): Query<StopQuery>,
) -> ApiResult<Response> {
    let wait = query.timeout.map_or(Duration::from_secs(30), Duration::from);
    let request = v1::StopRequest::default();
    let stopped = stop::stop(&app, &caller, &path.session(), request, Some(wait), None).await?;
    let (status, message) = match (stopped.at_rest, stopped.reply.already_stopped) {
        (true, true) => (StatusCode::OK, "session is already stopped"),
        (true, false) => (StatusCode::OK, "session stopped"),
        (false, _) => (StatusCode::ACCEPTED, "session is being stopped"),
    };
    let view = json!({
        "message": message, "status": stopped.reply.status, "receipt": stopped.reply.receipt,
    });
    Ok(answer(status, &view))
}
