//! Models that were chosen for a session: `agent_model_overrides`, by the names that an agent's
//! file gives its members. Here a session has one for whoever works on it, and others for the
//! members of its team, who work in sessions of their own.

use std::collections::BTreeMap;

use greenroom_core::{AgentName, Session};
use greenroom_protocol::{Problem, v1};
use serde_json::{Value, json};

use super::agents::{head, looping};
use super::asked::bad;
use super::shown::{AGENT, MEMBER, UNCHOSEN};
use crate::app::App;
use crate::error::ApiResult;
use crate::service::agents::Pinned;
use crate::service::following;

/// By name; those without a model choose nothing.
pub(super) fn read(
    said: BTreeMap<String, String>,
) -> Result<BTreeMap<AgentName, String>, Box<Problem>> {
    let named = |(name, model): (String, String)| {
        let shown: String = name.chars().take(100).collect();
        let wrong = |why| bad(format!("agent_model_overrides: {shown:?}: {why}"));
        Ok((name.parse::<AgentName>().map_err(wrong)?, model))
    };
    said.into_iter().filter(|(_, model)| !model.is_empty()).map(named).collect()
}

/// What of it is for the first agent of a file, and what for the others.
pub(super) fn of_agent(
    mut said: BTreeMap<AgentName, String>,
    agent: &Pinned,
) -> (Option<String>, BTreeMap<AgentName, String>) {
    let mut own = None;
    for name in own_names(agent) {
        let taken = name.parse::<AgentName>().ok().and_then(|name| said.remove(&name));
        own = own.or(taken);
    }
    (own, said)
}

/// Says in a request which of them are for the session's own agent.
pub(super) fn settle(request: &mut v1::CreateSession, agent: &Pinned) {
    let (model, models) = of_agent(request.models.take().unwrap_or_default(), agent);
    request.model = model;
    request.models = Some(models).filter(|models| !models.is_empty());
}

/// What the first agent of a file is called: there, in general, and here.
fn own_names(agent: &Pinned) -> [&str; 3] {
    [looping(agent).map_or("root", head), "root", agent.row.name.as_str()]
}

/// The member of a team that works on a session, where it is not the first agent.
pub(super) fn worker(session: &Session) -> Option<AgentName> {
    session.labels.get(MEMBER)?.parse().ok()
}

/// A change of one of them; empty takes it back.
pub(super) fn patch(
    session: &Session,
    agent: &Pinned,
    name: Option<String>,
    model: String,
) -> Result<v1::PatchSession, Box<Problem>> {
    let works = worker(session);
    let unchosen = session.labels.get(AGENT).is_some_and(|value| value == UNCHOSEN);
    let name = name.filter(|name| !name.is_empty());
    let is_own = match (&name, &works) {
        (None, _) => true,
        (Some(name), Some(works)) => name == works.as_str(),
        (Some(name), None) => own_names(agent).contains(&name.as_str()),
    };
    if unchosen {
        let detail = "which models there are says the agent, and that is chosen with the first \
                      turn: name the model there, or create the session with an agent";
        return Err(Box::new(Problem::new(409, "agent_unchosen", detail)));
    }
    if is_own {
        return Ok(v1::PatchSession { model: Some(model), ..v1::PatchSession::default() });
    }
    let mut models = session.models.clone();
    let name = name.unwrap_or_default();
    let name: AgentName = name.parse().map_err(|why| bad(format!("agent_name: {why}")))?;
    match model.is_empty() {
        true => drop(models.remove(&name)),
        false => drop(models.insert(name, model)),
    }
    Ok(v1::PatchSession { models: Some(models), ..v1::PatchSession::default() })
}

/// As a session says them; none where nothing was chosen.
pub(super) fn shown(session: &Session, agent: Option<&Pinned>) -> Option<Value> {
    let mut all: BTreeMap<String, &str> =
        session.models.iter().map(|(name, model)| (name.to_string(), model.as_str())).collect();
    if let Some(model) = &session.model {
        let own = agent.and_then(looping).map_or("root", head);
        let works = worker(session).map_or_else(|| own.to_owned(), |name| name.to_string());
        all.insert(works, model);
    }
    (!all.is_empty()).then(|| json!(all))
}

/// A view of a session, with them.
pub(super) async fn with(app: &App, session: &Session, mut view: Value) -> ApiResult<Value> {
    if session.model.is_none() && session.models.is_empty() {
        return Ok(view);
    }
    let agent = following::pinned(app, session).await.ok();
    if let Some(overrides) = shown(session, agent.as_deref()) {
        view["agent_model_overrides"] = overrides;
    }
    Ok(view)
}
