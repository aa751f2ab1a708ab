//! Agents: listing them, and finding the one that a client means.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use greenroom_core::agent::Driver;
use greenroom_core::loop_spec::LoopSpec;
use greenroom_core::source_key;
use greenroom_protocol::candidate::Candidate;
use greenroom_protocol::{Problem, v1};
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::names::{Segments, forms};
use crate::api::json as answer;
use crate::app::App;
use crate::auth::{Allowed, ToRead};
use crate::error::ApiResult;
use crate::extract::Query;
use crate::service::agents::{self, Pinned};
use crate::service::following;

/// Candidates that a refusal names.
const MOST_NAMED: usize = 20;

#[derive(Debug, Deserialize)]
pub(super) struct ListQuery {
    /// Also sources that never had a good description.
    #[serde(default)]
    all: Option<bool>,
}

/// `GET /api/agents`
pub(super) async fn list(
    State(app): State<Arc<App>>,
    _: Allowed<ToRead>,
    Query(query): Query<ListQuery>,
) -> ApiResult<Response> {
    let mut shown = Vec::new();
    for agent in agents::list(&app).await? {
        let never = agent.version == 0;
        if never && query.all != Some(true) {
            tracing::debug!(source = %agent.source, "not listed: it has never loaded");
            continue;
        }
        let pinned = app.agents.version(&*app.store, &agent.name, agent.version).await?;
        let spec = pinned.as_deref().and_then(looping);
        let mut entry = json!({
            "name": agent.source_key,
            "description": agent.description.unwrap_or_default(),
            "multi": spec.is_some_and(|spec| !spec.team.is_empty()),
            "commands": spec.map(commands).unwrap_or_default(),
            "health": agent.health,
        });
        if let Some(error) = agent.error {
            entry["error"] = error.into();
        }
        shown.push(entry);
    }
    let key = |entry: &Value| entry["name"].as_str().unwrap_or_default().to_owned();
    shown.sort_by_key(key);
    Ok(answer(StatusCode::OK, &shown))
}

fn commands(spec: &LoopSpec) -> Vec<Value> {
    let command = |(name, prompt): (&String, &String)| json!({ "name": name, "prompt": prompt });
    spec.commands.iter().map(command).collect()
}

/// What an agent of ours is.
pub(super) fn looping(agent: &Pinned) -> Option<&LoopSpec> {
    match &agent.row.spec.driver {
        Driver::Loop(spec) => Some(spec),
        _ => None,
    }
}

/// `GET /api/agents/{agent}`: what is of use to people. Environments, headers and keys are
/// nobody else's business.
pub(super) async fn config(
    State(app): State<Arc<App>>,
    _: Allowed<ToRead>,
    path: Segments,
) -> ApiResult<Response> {
    let agent = resolve(&app, path.raw(2)).await?;
    let spec = &agent.row.spec;
    let mut members = Map::new();
    let mut models = Map::new();
    match looping(&agent) {
        Some(own) => {
            members.insert(head(own).to_owned(), member(own, spec.description.as_deref()));
            let each = std::iter::once(own).chain(own.team.values());
            for model in each.flat_map(|member| &member.models) {
                let provider = model.provider.as_str();
                models.insert(
                    model.name(),
                    json!({
                        "provider": provider, "model": model.model, "max_tokens": model.max_tokens,
                    }),
                );
            }
            for (name, mate) in &own.team {
                members.insert(name.to_string(), member(mate, None));
            }
        }
        None => {
            let described = json!({
                "description": spec.description.clone().unwrap_or_default(),
                "harness": { "type": spec.driver.word() },
            });
            members.insert("root".to_owned(), described);
        }
    }
    let config = json!({
        "version": "7",
        "agents": members,
        "models": models,
        "metadata": {
            "description": spec.description.clone().unwrap_or_default(),
            "version": agent.row.version.to_string(),
        },
    });
    Ok(answer(StatusCode::OK, &config))
}

/// What the first agent of a file is called.
pub(super) fn head(spec: &LoopSpec) -> &str {
    spec.called.as_ref().map_or("root", |name| name.as_str())
}

fn member(spec: &LoopSpec, description: Option<&str>) -> Value {
    let tools: Vec<&str> = spec.tools.iter().map(|tool| tool.as_str()).collect();
    let servers: Vec<&String> = spec.mcp.keys().collect();
    let names: Vec<String> = spec.models.iter().map(|model| model.name()).collect();
    json!({
        "model": names.first(),
        "fallback": { "models": names.get(1..).unwrap_or_default() },
        "description": description.unwrap_or_default(),
        "instruction": spec.instruction,
        "tools": tools,
        "mcp_servers": servers,
        "sub_agents": spec.sub_agents,
        "max_iterations": spec.max_iterations,
        "commands": spec.commands,
    })
}

/// `GET /api/agents/{agent}/{member}/tools/count`
pub(super) async fn tools(
    State(app): State<Arc<App>>,
    _: Allowed<ToRead>,
    path: Segments,
) -> ApiResult<Response> {
    let agent = resolve(&app, path.raw(2)).await?;
    let member = team_member(&agent, path.raw(3))?;
    let spec = looping(&agent).map(|own| match &member {
        Some(name) => own.team.iter().find(|(key, _)| key.as_str() == name).map_or(own, |m| m.1),
        None => own,
    });
    let count = spec.map_or(0, tool_count);
    Ok(answer(StatusCode::OK, &json!({ "available_tools": count })))
}

/// Tools that an agent is known to have. Those of an MCP server are counted where its
/// description names them: nothing is started to count the others.
pub(super) fn tool_count(spec: &LoopSpec) -> usize {
    let named: usize =
        spec.mcp.values().map(|server| server.tools.as_ref().map_or(0, |tools| tools.len())).sum();
    spec.tools.len() + named + usize::from(!spec.sub_agents.is_empty())
}

/// The member of an agent's team that a segment names; none for the agent itself.
pub(super) fn team_member(agent: &Pinned, received: &str) -> ApiResult<Option<String>> {
    let named = forms(received);
    let own = agent.row.name.as_str();
    let Some(spec) = looping(agent) else {
        if named.iter().any(|name| name == own || name == "root") {
            return Ok(None);
        }
        return Err(no_member(agent, received, &[own]).into());
    };
    if let Some(name) = named.iter().find(|name| spec.team.keys().any(|key| key.as_str() == **name))
    {
        return Ok(Some(name.clone()));
    }
    if named.iter().any(|name| name == own || name == head(spec)) {
        return Ok(None);
    }
    let mut all = vec![head(spec)];
    all.extend(spec.team.keys().map(|key| key.as_str()));
    Err(no_member(agent, received, &all).into())
}

fn no_member(agent: &Pinned, received: &str, all: &[&str]) -> Problem {
    let shown: String = received.chars().take(100).collect();
    let detail = format!(
        "agent not found: {shown:?} is none of agent {}; candidates: {}",
        agent.row.name,
        all.join(", ")
    );
    Problem::new(404, "agent_not_found", detail)
}

/// The agent that a segment of a path means: an exact key or name in any form of the segment,
/// else the one source whose stable identity fits, else none, which names the candidates.
pub(super) async fn resolve(app: &App, received: &str) -> ApiResult<Arc<Pinned>> {
    let all: Vec<v1::Agent> =
        agents::list(app).await?.into_iter().filter(|agent| agent.version > 0).collect();
    for form in forms(received) {
        // The one that has a name comes before variants of it.
        let exact = all
            .iter()
            .find(|agent| agent.source_key == form)
            .or_else(|| all.iter().find(|agent| agent.name.as_str() == form));
        if let Some(agent) = exact {
            let found = app.agents.version(&*app.store, &agent.name, agent.version).await?;
            return Ok(found.ok_or_else(|| not_found(received, &all))?);
        }
    }
    match following::named(app, received).await {
        Ok(found) => Ok(found),
        Err(error) if error.0.code == "agent_ambiguous" => {
            let fitting = std::mem::take(&mut error.0.clone().candidates);
            Err(named_candidates(received, fitting).into())
        }
        Err(error) if error.0.status == 404 => Err(not_found(received, &all).into()),
        Err(error) => Err(error),
    }
}

fn not_found(received: &str, all: &[v1::Agent]) -> Problem {
    let candidates = all.iter().take(MOST_NAMED).map(|agent| Candidate {
        source_key: agent.source_key.clone(),
        source: agent.source.clone(),
        agent: Some(agent.name.clone()),
        version: Some(agent.version),
        digest: Some(agent.digest.clone()),
    });
    named_candidates(received, candidates.collect())
}

/// Nothing, or nothing alone, is meant. What stands in a key of user and password is not said.
fn named_candidates(received: &str, candidates: Vec<Candidate>) -> Problem {
    let plain = forms(received).pop().unwrap_or_default();
    let shown: String = source_key::redacted(&plain).chars().take(200).collect();
    let mut problem = Problem::new(404, "agent_not_found", format!("agent not found: {shown}"));
    problem.candidates = candidates;
    problem
}
