//! Which agent a run is of: a blueprint of this door, one of ours, one that a runner of the
//! other system has brought along, or none at all.

use std::sync::Arc;

use greenroom_core::agent::{Driver, ForeignSpec, Leftovers};
use greenroom_core::{AgentName, AgentSpec, RunId, Session, SessionId};
use serde_json::{Value, json};

use super::demands::Demands;
use super::fault::{Done, Fault, stored};
use super::kept::KeptSession;
use super::placeholders::Values;
use super::registry::blueprints::{Blueprint, Hooks, Kind, Status};
use super::{SYSTEM, registry, resolve};
use crate::app::App;
use crate::auth::Caller;
use crate::error::{ApiError, ApiResult};
use crate::service::agents::Pinned;
use crate::service::following;
use crate::sources::{DOOR as FROM_DOOR, new_agent};

/// The name, among ours, of the agent of runs that name none.
const PLAIN: &str = "orchestrator-plain";

/// An agent that was found.
#[derive(Debug)]
pub(super) struct Found {
    /// Its name, where it has one.
    pub shown: Option<String>,
    /// What its parameters must fit; a prompt where there is none.
    pub schema: Option<Value>,
    /// It takes one run a session.
    pub procedural: bool,
    /// What it asks of its runner.
    pub demands: Demands,
    /// What runs before and after its runs.
    pub hooks: Hooks,
    pub agent: Agent,
}

/// What runs it.
pub(super) enum Agent {
    /// Our own runners.
    Ours(Arc<Pinned>),
    /// A runner of the other system.
    Foreign {
        spec: Box<AgentSpec>,
        /// It is in service under its name.
        listed: bool,
    },
}

impl std::fmt::Debug for Agent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Ours(_) => "Ours",
            Self::Foreign { .. } => "Foreign",
        })
    }
}

/// Finds an agent. One that is not there, or is switched off, is refused.
pub(super) async fn find(app: &App, caller: &Caller, named: Option<&str>) -> Done<Found> {
    let Some(named) = named.filter(|name| !name.is_empty()) else { return plain() };
    if let Some(blueprint) = registry::blueprints::get(app, named).await? {
        if blueprint.status == Status::Inactive {
            return Err(Fault::new(409, format!("Agent '{named}' is inactive: activate it first")));
        }
        return of_blueprint(app, &blueprint).await;
    }
    if let Some(found) = of_runner(app, named)? {
        return Ok(found);
    }
    let pinned = match following::named(app, named).await {
        Ok(pinned) => pinned,
        Err(error) if error.0.status == 404 => return Err(not_found(named)),
        Err(error) => return Err(error.into()),
    };
    caller.require(crate::auth::Right::Use)?;
    if pinned.row.spec.driver.system().is_some() {
        return Err(not_found(named));
    }
    Ok(Found {
        shown: Some(pinned.row.name.to_string()),
        schema: pinned.row.spec.input_schema.clone(),
        procedural: false,
        demands: Demands::default(),
        hooks: Hooks::default(),
        agent: Agent::Ours(pinned),
    })
}

/// An agent that isn't there.
pub(super) fn not_found(name: &str) -> Fault {
    let shown: String = name.chars().take(140).collect();
    Fault::new(404, format!("Agent not found: {shown}"))
}

fn plain() -> Done<Found> {
    let demands = Demands { executor_type: Some("autonomous".to_owned()), ..Demands::default() };
    Ok(Found {
        shown: None,
        schema: None,
        procedural: false,
        agent: Agent::Foreign { spec: Box::new(spec(PLAIN, json!({}), &demands)?), listed: false },
        demands,
        hooks: Hooks::default(),
    })
}

/// A blueprint, with everything it refers to.
pub(super) async fn of_blueprint(app: &App, blueprint: &Blueprint) -> Done<Found> {
    let resolved = resolve::resolved(app, blueprint).await?;
    let procedural = resolved.kind == Kind::Procedural;
    let own = match &resolved.script {
        Some(script) => {
            let script = registry::scripts::get(app, script).await?;
            script.and_then(|script| script.demands).unwrap_or_default()
        }
        None => Demands::default(),
    };
    let kind =
        Demands { executor_type: Some(resolved.kind.as_str().to_owned()), ..Demands::default() };
    let demands = own.over(resolved.demands.clone().unwrap_or_default()).over(kind);
    let description = resolve::description(&resolved);
    let mut spec = spec(&blueprint.name, description, &demands)?;
    spec.description = Some(blueprint.description.clone()).filter(|text| !text.is_empty());
    spec.input_schema = resolved.parameters_schema.clone();
    Ok(Found {
        shown: Some(blueprint.name.clone()),
        schema: resolved.parameters_schema.clone(),
        procedural,
        demands,
        hooks: blueprint.hooks.clone().unwrap_or_default(),
        agent: Agent::Foreign { spec: Box::new(spec), listed: true },
    })
}

/// An agent that a registered runner has brought along.
fn of_runner(app: &App, named: &str) -> Done<Option<Found>> {
    for (runner, agent) in registry::blueprints::of_runners(app) {
        if agent["name"] != named {
            continue;
        }
        let demands = Demands {
            runner: Some(runner.clone()),
            executor_type: Some("procedural".to_owned()),
            ..Demands::default()
        };
        let schema = agent.get("parameters_schema").filter(|schema| !schema.is_null()).cloned();
        return Ok(Some(Found {
            shown: Some(named.to_owned()),
            schema,
            procedural: true,
            agent: Agent::Foreign { spec: Box::new(spec(named, agent, &demands)?), listed: false },
            demands,
            hooks: Hooks::default(),
        }));
    }
    Ok(None)
}

fn spec(name: &str, description: Value, demands: &Demands) -> Done<AgentSpec> {
    let name: AgentName = name.parse().map_err(|error| Fault::new(400, format!("{error}")))?;
    let driver = Driver::Foreign(ForeignSpec { system: SYSTEM.to_owned(), description });
    let mut spec = AgentSpec::new(name, driver);
    // Its process stays after a run, or goes: its runner says which.
    spec.leftovers = Leftovers::Keep;
    spec.runner_labels = demands.labels(true);
    Ok(spec)
}

/// Where an agent of this door comes from.
pub(super) fn source(name: &str) -> String {
    format!("{FROM_DOOR}{SYSTEM}/{name}")
}

impl Found {
    /// The agent as its runner is given it, with values in the place of their names. Nothing
    /// for agents that our own runners run.
    pub(super) async fn for_runner(
        &self,
        app: &App,
        parameters: &Value,
        scope: &Option<Value>,
        session: &SessionId,
        run: RunId,
    ) -> Done<Option<Value>> {
        let Agent::Foreign { spec, .. } = &self.agent else { return Ok(None) };
        for_runner(app, &spec.driver, parameters, scope, session, run).await
    }

    /// Its description as a session keeps it.
    pub(super) async fn pinned(self, app: &App) -> ApiResult<Arc<Pinned>> {
        let (spec, listed) = match self.agent {
            Agent::Ours(pinned) => return Ok(pinned),
            Agent::Foreign { spec, listed } => (spec, listed),
        };
        let new = new_agent(app, *spec, &source(self.shown.as_deref().unwrap_or(PLAIN)));
        let row = match listed {
            true => app.store.put_agent(new).await?,
            false => app.store.keep_agent(new).await?,
        };
        let found = app.agents.version(&*app.store, &row.name, row.version).await?;
        found.ok_or_else(|| ApiError::from(crate::service::agents::not_found(row.name.as_str())))
    }
}

async fn for_runner(
    app: &App,
    driver: &Driver,
    parameters: &Value,
    scope: &Option<Value>,
    session: &SessionId,
    run: RunId,
) -> Done<Option<Value>> {
    let Driver::Foreign(foreign) = driver else { return Ok(None) };
    if foreign.description.as_object().is_none_or(serde_json::Map::is_empty) {
        return Ok(None);
    }
    let mut description = foreign.description.clone();
    resolve::references(app, &mut description).await?;
    let values = Values { app, parameters, scope, session, run };
    values.fill(&mut description);
    Ok(Some(description))
}

/// The same for a session that is there: the agent that it goes on with.
pub(super) async fn for_resume(
    app: &App,
    session: &Session,
    parameters: &Value,
    scope: &Option<Value>,
    run: RunId,
) -> Done<Option<Value>> {
    let kept = KeptSession::of(app, session.uid).await?;
    let named = kept.agent_name.filter(|_| kept.from_here);
    if let Some(name) = named
        && let Some(blueprint) = registry::blueprints::get(app, &name).await?
    {
        // What it is by now, as every session follows its source.
        let found = of_blueprint(app, &blueprint).await?;
        let filled = found.for_runner(app, parameters, scope, &session.id, run).await?;
        if let (Agent::Foreign { spec, .. }, Status::Active) = (found.agent, blueprint.status) {
            stored(app.store.put_agent(new_agent(app, *spec, &source(&name))).await)?;
        }
        return Ok(filled);
    }
    let pinned = following::pinned(app, session).await?;
    for_runner(app, &pinned.row.spec.driver, parameters, scope, &session.id, run).await
}
