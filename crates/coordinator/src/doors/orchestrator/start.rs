//! Asking for a run: of a new session, or of one that is there.

use std::collections::BTreeMap;
use std::sync::Arc;

use greenroom_core::{RunId, Session, SessionId};
use greenroom_protocol::v1;
use serde::Deserialize;
use serde_json::{Value, json};

use super::agents::{self, Agent};
use super::demands::Demands;
use super::fault::{Done, Fault, stored};
use super::hooks::{self, Waiting};
use super::kept::{KeptRun, KeptSession};
use super::registry::blueprints::{Hook, Hooks};
use super::{check, words};
use crate::app::{App, fresh};
use crate::auth::{Caller, Right, Who};
use crate::error::ApiResult;
use crate::service::sessions::{LimitsOf, Making};
use crate::service::{quotas, runs, sessions};

/// A run fails that nobody has taken for so long.
const NO_MATCH_MS: i64 = 300_000;

/// What kind of run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Kind {
    StartSession,
    ResumeSession,
}

impl Kind {
    fn as_str(self) -> &'static str {
        match self {
            Self::StartSession => "start_session",
            Self::ResumeSession => "resume_session",
        }
    }
}

/// How whoever asks is told of the end.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum ExecutionMode {
    /// By asking.
    #[default]
    Sync,
    /// By asking.
    AsyncPoll,
    /// By a run of the parent session.
    AsyncCallback,
}

impl ExecutionMode {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Sync => "sync",
            Self::AsyncPoll => "async_poll",
            Self::AsyncCallback => "async_callback",
        }
    }
}

/// Body of `POST /runs`.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct RunCreate {
    #[serde(rename = "type")]
    pub kind: Kind,
    pub parameters: serde_json::Map<String, Value>,
    pub session_id: Option<String>,
    pub agent_name: Option<String>,
    pub project_dir: Option<String>,
    pub parent_session_id: Option<String>,
    pub execution_mode: Option<ExecutionMode>,
    pub additional_demands: Option<Demands>,
    pub scope: Option<serde_json::Map<String, Value>>,
}

/// What was begun.
#[derive(Debug)]
pub(super) struct Begun {
    pub session: SessionId,
    pub run: RunId,
}

/// Begins what is asked for.
pub(super) async fn create(app: &Arc<App>, caller: &Caller, asked: RunCreate) -> Done<Begun> {
    match asked.kind {
        Kind::StartSession => start(app, caller, asked, true).await,
        Kind::ResumeSession => resume(app, caller, asked).await,
    }
}

/// Begins a session whose agent's hooks do not run.
pub(super) async fn create_bare(app: &Arc<App>, caller: &Caller, asked: RunCreate) -> Done<Begun> {
    start(app, caller, asked, false).await
}

/// Who asks. A runner asks for the sessions it hosts, as their agents would.
async fn asking(app: &App, caller: &Caller, parent: Option<&str>) -> Done<Caller> {
    let Who::Runner(runner) = &caller.who else { return Ok(caller.clone()) };
    let parent = match parent.and_then(|parent| parent.parse::<SessionId>().ok()) {
        Some(name) => stored(app.store.session_named(&name).await)?,
        None => None,
    };
    let hosts = |session: &Arc<Session>| {
        session.compute.as_ref().is_some_and(|compute| compute.runner == *runner)
    };
    let Some(parent) = parent.filter(hosts) else {
        return Err(Fault::new(
            403,
            "a runner asks for runs of the sessions it hosts only: name the parent_session_id, or use a token of an operator",
        ));
    };
    Ok(Caller {
        principal: parent.owner.clone(),
        role: greenroom_protocol::token::Role::Agent,
        who: Who::Agent { uid: parent.uid, id: parent.id.clone() },
        user: parent.user.clone(),
        revoked: caller.revoked.clone(),
    })
}

async fn start(app: &Arc<App>, caller: &Caller, asked: RunCreate, with_hooks: bool) -> Done<Begun> {
    let caller = &asking(app, caller, asked.parent_session_id.as_deref()).await?;
    caller.require(Right::Use)?;
    let parent = parent(app, caller, asked.parent_session_id.as_deref()).await?;
    let id: SessionId = match asked.session_id.as_deref().filter(|id| !id.is_empty()) {
        None => name(&words::new_session_id())?,
        Some(given) => name(given)?,
    };
    let found = agents::find(app, caller, asked.agent_name.as_deref()).await?;
    let parameters = Value::Object(asked.parameters);
    check::parameters(found.shown.as_deref(), found.schema.as_ref(), &parameters)?;
    let scope = inherited(app, parent.as_deref(), asked.scope).await?;
    let given = asked.additional_demands.unwrap_or_default();
    given.check()?;
    let demands = found.demands.clone().over(given);
    // A hook belongs to a run that was taken: it would be skipped, or fail, for want of a place.
    let making = Making { admitted: !with_hooks, ..Making::of(LimitsOf::Agent) };
    let (uid, run) = (making.uid, making.run);
    let blueprint = found.for_runner(app, &parameters, &scope, &id, run).await?;
    let mode = asked.execution_mode.unwrap_or_default();
    let kept = KeptSession {
        agent_name: found.shown.clone(),
        project_dir: asked.project_dir.clone(),
        procedural: found.procedural,
        scope: scope.clone(),
        from_here: true,
        ..KeptSession::default()
    };
    let hooks = if with_hooks { found.hooks.clone() } else { Hooks::default() };
    let callback = mode == ExecutionMode::AsyncCallback && parent.is_some();
    let waits = hooks.on_run_start.map(|hook| waiting(app, hook, &parameters, callback));
    let hooked = waits.is_some() || hooks.on_run_finish.is_some();
    let kept_run = KeptRun {
        session: Some(uid),
        kind: asked.kind.as_str().to_owned(),
        execution_mode: mode.as_str().to_owned(),
        agent_name: found.shown.clone(),
        project_dir: asked.project_dir,
        scope,
        demands: demands.shown(),
        timeout_at: Some(timeout(app)),
        blueprint,
        result: None,
        waits,
        finish: hooks.on_run_finish,
    };
    let (prompt, input) = match kept_run.waits {
        // It is asked once its hook has answered.
        Some(_) => (None, None),
        None => asks(found.schema.is_some(), parameters),
    };
    let request = v1::CreateSession {
        agent: found.shown.clone().unwrap_or_default(),
        id: Some(id.to_string()),
        prompt,
        input,
        parent: parent.as_ref().map(|parent| parent.id.to_string()),
        callback: callback.then_some(true),
        runner_labels: Some(demands.labels(matches!(found.agent, Agent::Foreign { .. }))),
        ..Default::default()
    };
    if kept_run.waits.is_some() {
        let (owner, user) = match &parent {
            Some(parent) => (&parent.owner, &parent.user),
            None => (&caller.principal, &caller.user),
        };
        quotas::check_active(app, owner, user.as_deref()).await?;
    }
    // Written down before the session is there: whoever is told of it finds it whole.
    kept.keep(app, uid).await?;
    kept_run.keep(app, run).await?;
    let agent = found.pinned(app);
    match sessions::create_of(app, caller, request, agent, making, None).await {
        Ok(_) => {}
        Err(error) => {
            KeptSession::forget(app, uid).await?;
            KeptRun::forget(app, run).await?;
            return Err(match error.0.code.as_str() {
                "session_exists" => Fault::new(409, format!("Session '{id}' already exists")),
                _ => error.into(),
            });
        }
    }
    begun(app, run, hooked);
    Ok(Begun { session: id, run })
}

async fn resume(app: &Arc<App>, caller: &Caller, asked: RunCreate) -> Done<Begun> {
    let Some(named) = asked.session_id.as_deref().filter(|id| !id.is_empty()) else {
        return Err(Fault::new(400, "session_id is required for resume_session"));
    };
    let parent_name = asked.parent_session_id.as_deref().filter(|id| !id.is_empty());
    let caller = &asking(app, caller, parent_name).await?;
    caller.require(Right::Use)?;
    let session =
        sessions::find(app, caller, named).await.map_err(|error| match error.0.status {
            404 => Fault::new(404, format!("Session '{}' not found", shortened(named))),
            _ => error.into(),
        })?;
    let parent = parent(app, caller, parent_name).await?;
    let mode = asked.execution_mode.unwrap_or_default();
    let callback = mode == ExecutionMode::AsyncCallback;
    let told = session.parent.is_some()
        && parent.as_ref().is_none_or(|parent| Some(parent.uid) == session.parent);
    if callback && !told && parent.is_some() {
        return Err(Fault::new(
            409,
            format!(
                "Session '{named}' has another parent: its ends are told to the session that has created it"
            ),
        ));
    }
    let mut kept = KeptSession::of(app, session.uid).await?;
    if kept.procedural {
        let agent = kept.agent_name.unwrap_or_else(|| session.agent.name.to_string());
        return Err(Fault::Detail(
            400,
            json!({ "error": "procedural_agent_no_resume", "agent_name": agent,
                "message": format!("Agent '{agent}' is procedural: its sessions take one run and cannot be resumed") }),
        ));
    }
    let parameters = Value::Object(asked.parameters);
    check::parameters(kept.agent_name.as_deref(), None, &parameters)?;
    if let Some(demands) = &asked.additional_demands {
        demands.check()?;
    }
    let before = kept.scope.clone().and_then(|scope| scope.as_object().cloned());
    let scope = merged(before.unwrap_or_default(), asked.scope.unwrap_or_default());
    let run = fresh::run();
    let hooks = hooks::of_session(app, &kept).await?;
    let waits = hooks.on_run_start.map(|hook| waiting(app, hook, &parameters, callback && told));
    let hooked = waits.is_some() || hooks.on_run_finish.is_some();
    let waits_now = waits.is_some();
    if waits_now && !session.is_active() {
        quotas::check_active(app, &session.owner, session.user.as_deref()).await?;
    }
    let blueprint = agents::for_resume(app, &session, &parameters, &scope, run).await?;
    let kept_run = KeptRun {
        session: Some(session.uid),
        kind: asked.kind.as_str().to_owned(),
        execution_mode: mode.as_str().to_owned(),
        agent_name: kept.agent_name.clone(),
        project_dir: asked.project_dir.or(kept.project_dir.clone()),
        scope: scope.clone(),
        demands: asked.additional_demands.as_ref().and_then(Demands::shown),
        timeout_at: Some(timeout(app)),
        blueprint,
        result: None,
        waits,
        finish: hooks.on_run_finish,
    };
    kept_run.keep(app, run).await?;
    if kept.from_here {
        kept.scope = scope;
        kept.last_resumed_at = Some(words::time(app.clock.wall()));
        kept.keep(app, session.uid).await?;
    }
    if waits_now {
        begun(app, run, hooked);
        return Ok(Begun { session: session.id.clone(), run });
    }
    let (prompt, _) = asks(false, parameters);
    // Whoever asks for a session by name to go on means it, also while it is being stopped.
    let person = caller.require(Right::Decide).is_ok();
    let request = v1::CreateRun {
        prompt,
        callback: Some(callback && told),
        resume: person.then_some(true),
        ..Default::default()
    };
    match runs::create_as(app, caller, session.id.as_str(), request, run, None).await {
        Ok(_) => {}
        Err(error) => {
            KeptRun::forget(app, run).await?;
            return Err(error.into());
        }
    }
    begun(app, run, hooked);
    Ok(Begun { session: session.id.clone(), run })
}

/// What is looked at later.
fn begun(app: &App, run: RunId, hooked: bool) {
    app.orchestrator.told.times_out(run, timeout(app).unix_ms());
    if hooked {
        app.orchestrator.hooks.add(run);
        app.orchestrator.wake.notify_one();
    }
}

fn waiting(app: &App, hook: Hook, parameters: &Value, callback: bool) -> Waiting {
    Waiting { hook, parameters: parameters.clone(), since: app.clock.wall(), callback }
}

fn timeout(app: &App) -> greenroom_core::Timestamp {
    greenroom_core::Timestamp::from_unix_ms(app.clock.wall().unix_ms() + NO_MATCH_MS)
}

fn name(text: &str) -> Done<SessionId> {
    text.parse().map_err(|error| Fault::new(400, format!("{error}")))
}

fn shortened(text: &str) -> String {
    text.chars().take(140).collect()
}

/// The session that asks.
async fn parent(app: &App, caller: &Caller, named: Option<&str>) -> Done<Option<Arc<Session>>> {
    let own = match &caller.who {
        Who::Agent { id, .. } => Some(id.to_string()),
        _ => None,
    };
    let named = named.filter(|id| !id.is_empty()).map(str::to_owned).or(own);
    let Some(named) = named else { return Ok(None) };
    match sessions::find(app, caller, &named).await {
        Ok(parent) => Ok(Some(parent)),
        Err(error) if error.0.status == 404 => {
            Err(Fault::new(404, format!("Parent session '{}' not found", shortened(&named))))
        }
        Err(error) => Err(error.into()),
    }
}

/// What no model sees: the parent's, with what is given over it.
async fn inherited(
    app: &App,
    parent: Option<&Session>,
    given: Option<serde_json::Map<String, Value>>,
) -> ApiResult<Option<Value>> {
    let above = match parent {
        Some(parent) => KeptSession::of(app, parent.uid).await?.scope,
        None => None,
    };
    let above = above.and_then(|scope| scope.as_object().cloned()).unwrap_or_default();
    Ok(merged(above, given.unwrap_or_default()))
}

fn merged(
    mut above: serde_json::Map<String, Value>,
    given: serde_json::Map<String, Value>,
) -> Option<Value> {
    above.extend(given);
    (!above.is_empty()).then_some(Value::Object(above))
}

/// A prompt alone is text; everything else is a document.
pub(super) fn asks(custom: bool, parameters: Value) -> (Option<String>, Option<Value>) {
    match parameters.get("prompt").and_then(Value::as_str) {
        Some(prompt) if !custom => (Some(prompt.to_owned()), None),
        _ => (None, Some(parameters)),
    }
}

/// Labels, and what they are of.
pub(super) type Labels = BTreeMap<String, String>;
