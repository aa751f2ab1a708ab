//! Versions of agents: made, chosen and taken back by the API; and agents that take nothing
//! new, or are removed with all that is theirs.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use greenroom_core::{AgentName, AgentSpec, Session};
use greenroom_protocol::{Problem, v1};
use greenroom_store::{AgentRow, SessionQuery};
use serde_json::Value;

use crate::app::App;
use crate::auth::Caller;
use crate::error::ApiResult;
use crate::service::agents::{self, Pinned};
use crate::service::sessions;
use crate::sources::by_api::{ByApi, only_by_api};
use crate::sources::{is_by_api, parse};

/// So long the sessions of an agent have to be proven stopped when it is removed with them.
const GOING: Duration = Duration::from_secs(120);
/// So many of them are removed at once.
const AT_ONCE: usize = 16;

fn named(name: &str) -> ApiResult<AgentName> {
    Ok(name.parse().map_err(|_| agents::not_found(name))?)
}

/// Makes a version of an agent from what an agent file would say.
pub(crate) async fn create(
    app: &App,
    name: &str,
    request: v1::CreateAgentVersion,
) -> ApiResult<v1::AgentVersion> {
    let name: AgentName = name.parse().map_err(|error| {
        let shown: String = name.chars().take(100).collect();
        Problem::new(404, "agent_not_found", format!("no agent can be named {shown:?}: {error}"))
    })?;
    let broken = |place: &str, message: String| {
        Problem::new(409, "description_broken", format!("{place}: {message}")).at(place)
    };
    let mut description = request.description;
    let said = description.entry("name").or_insert_with(|| name.as_str().into());
    if said.as_str() != Some(name.as_str()) {
        let message = format!("it is not {:?}, the agent of the path", name.as_str());
        return Err(broken("/description/name", message).into());
    }
    let document = Value::Object(description);
    let spec = parse(&document.to_string(), name.as_str()).map_err(|error| {
        let place = error.key.as_deref().map(|key| format!("/{}", key.replace('.', "/")));
        broken(&format!("/description{}", place.unwrap_or_default()), error.message)
    })?;
    let serve = request.serve.unwrap_or(true);
    let row = take(app, spec, &document, None, serve).await?;
    let all = agents::versions(app, name.as_str()).await?;
    let made = all.into_iter().find(|version| version.version == row.version);
    made.ok_or_else(|| not_found(&name, row.version).into())
}

/// Keeps a description that came by the API, with all that was said with it.
pub(crate) async fn take(
    app: &App,
    spec: AgentSpec,
    document: &Value,
    failure: Option<String>,
    serve: bool,
) -> ApiResult<AgentRow> {
    app.sources.take(app, ByApi { spec, document, failure, serve }).await
}

/// A version that may be chosen.
pub(crate) async fn find(app: &App, name: &AgentName, version: u32) -> ApiResult<AgentRow> {
    let row = app.store.agent_version(name, version).await?;
    Ok(row.filter(|row| !row.withdrawn).ok_or_else(|| not_found(name, version))?)
}

/// The version that a new session has asked for.
pub(crate) async fn chosen(app: &App, name: &str, version: u32) -> ApiResult<Arc<Pinned>> {
    let name = named(name)?;
    let row = find(app, &name, version).await?;
    if let Some(failure) = &row.failure {
        let detail =
            format!("version {version} of agent {:?} has failed: {failure}", name.as_str());
        return Err(Problem::new(409, "agent_version_failed", detail)
            .hint("choose another version")
            .into());
    }
    let pinned = app.agents.version(&*app.store, &name, version).await?;
    Ok(pinned.ok_or_else(|| not_found(&name, version))?)
}

/// Puts a version in service.
pub(crate) async fn serve(app: &App, name: &AgentName, version: u32) -> ApiResult<()> {
    chosen(app, name.as_str(), version).await?;
    app.store.serve_agent(name, version).await?;
    app.agents_changed();
    Ok(())
}

fn not_found(name: &AgentName, version: u32) -> Problem {
    let detail = format!("agent {:?} has no version {version}", name.as_str());
    Problem::new(404, "agent_version_not_found", detail)
        .hint("GET /v1/agents/NAME/versions lists them")
}

/// Has an agent take nothing new, or again.
pub(crate) async fn disable(app: &App, name: &str, disabled: bool) -> ApiResult<()> {
    let parsed = named(name)?;
    let known = app.store.agent(&parsed).await?.is_some()
        || app.store.agent_versions(&parsed).await?.iter().any(|row| !row.withdrawn);
    if !known {
        return Err(agents::not_found(name).into());
    }
    app.store.disable_agent(&parsed, disabled, app.clock.wall()).await?;
    app.agents.set_disabled(parsed, disabled);
    app.agents_changed();
    // What waited for it goes on.
    app.wakes.place.notify_one();
    Ok(())
}

/// Refuses what a disabled agent does not take.
pub(crate) fn refuse_disabled(app: &App, name: &AgentName) -> ApiResult<()> {
    if !app.agents.is_disabled(name) {
        return Ok(());
    }
    let detail = format!("agent {:?} is disabled: it takes nothing new", name.as_str());
    let hint = format!("greenroom agents enable {}", name.as_str());
    Err(Problem::new(409, "agent_disabled", detail).hint(hint).into())
}

/// Takes an agent out of service; with `force`, with all its sessions. One that the API has
/// made goes only when nothing of it is live.
pub(crate) async fn remove_agent(
    app: &App,
    caller: &Caller,
    name: &str,
    force: bool,
) -> ApiResult<()> {
    let parsed = named(name)?;
    let versions = app.store.agent_versions(&parsed).await?;
    let by_api = |row: &&AgentRow| is_by_api(&row.source) && !row.withdrawn;
    let ours: Vec<u32> = versions.iter().filter(by_api).map(|row| row.version).collect();
    let served = app.store.agent(&parsed).await?;
    let elsewhere = served.as_ref().is_some_and(|row| !is_by_api(&row.source));
    if ours.is_empty() && served.is_none() {
        return Err(agents::not_found(name).into());
    }
    if force {
        if elsewhere {
            agents::refuse_sourced(app, served.as_ref())?;
        }
        clear(app, caller, &parsed, None).await?;
    } else if !elsewhere {
        refuse_live(app, &parsed, None).await?;
    }
    if elsewhere {
        agents::remove(app, name).await?;
    }
    for version in ours {
        app.store.withdraw_agent_version(&parsed, version).await?;
    }
    if !elsewhere {
        app.store.retire_agent(&parsed).await?;
    }
    app.store.disable_agent(&parsed, false, app.clock.wall()).await?;
    app.agents.set_disabled(parsed, false);
    app.agents_changed();
    Ok(())
}

/// Takes a version back that the API has made; with `force`, with its sessions. Where it was
/// in service the newest other one is, of those that are `served`.
pub(crate) async fn remove_version(
    app: &App,
    caller: &Caller,
    name: &str,
    version: u32,
    force: bool,
    served: impl Fn(u32) -> bool,
) -> ApiResult<()> {
    let name = named(name)?;
    let row = find(app, &name, version).await?;
    only_by_api(&row)?;
    if force {
        clear(app, caller, &name, Some(version)).await?;
    } else {
        refuse_live(app, &name, Some(version)).await?;
    }
    if app.store.agent(&name).await?.is_some_and(|now| now.version == version) {
        let all = app.store.agent_versions(&name).await?;
        let fits = |row: &&AgentRow| {
            row.version != version
                && row.failure.is_none()
                && !row.withdrawn
                && is_by_api(&row.source)
                && served(row.version)
        };
        match all.iter().find(fits) {
            Some(next) => app.store.serve_agent(&name, next.version).await?,
            None => {
                app.store.retire_agent(&name).await?;
            }
        }
    }
    app.store.withdraw_agent_version(&name, version).await?;
    app.agents_changed();
    Ok(())
}

/// The sessions of an agent, or of one of its versions.
async fn sessions_of(
    app: &App,
    name: &AgentName,
    version: Option<u32>,
) -> ApiResult<Vec<Arc<Session>>> {
    let mut all = Vec::new();
    let mut query = SessionQuery {
        agent: Some(name.as_str().to_owned()),
        expired: true,
        limit: 1000,
        ..SessionQuery::default()
    };
    loop {
        let page = app.store.sessions(query.clone()).await?;
        let of_it = |session: &Arc<Session>| version.is_none_or(|v| session.agent.version == v);
        all.extend(page.items.into_iter().filter(of_it));
        match page.next {
            Some(next) => query.cursor = Some(next),
            None => return Ok(all),
        }
    }
}

async fn refuse_live(app: &App, name: &AgentName, version: Option<u32>) -> ApiResult<()> {
    let all = sessions_of(app, name, version).await?;
    let live = |session: &&Arc<Session>| session.is_live() || session.need().is_some();
    let live: Vec<&str> =
        all.iter().filter(live).map(|session| session.id.as_str()).take(20).collect();
    if live.is_empty() {
        return Ok(());
    }
    let detail =
        format!("agent {:?} has sessions that are live: {}", name.as_str(), live.join(", "));
    Err(Problem::new(409, "agent_has_active_sessions", detail)
        .hint("stop them first, or remove it with force=true, which removes its sessions too")
        .into())
}

/// Removes sessions, each proven. The agent takes nothing new meanwhile, and stays so where
/// one of them cannot be proven gone.
async fn clear(
    app: &App,
    caller: &Caller,
    name: &AgentName,
    version: Option<u32>,
) -> ApiResult<()> {
    let before = app.agents.is_disabled(name);
    disable(app, name.as_str(), true).await?;
    let all = sessions_of(app, name, version).await?;
    let remove = async |session: Arc<Session>| {
        let gone = sessions::delete(app, caller, session.id.as_str(), GOING).await;
        match gone {
            Ok(true) => None,
            Err(error) if error.0.status == 404 => None,
            Ok(false) | Err(_) => Some(session.id.as_str().to_owned()),
        }
    };
    let left = futures::stream::iter(all).map(remove).buffer_unordered(AT_ONCE);
    let left: Vec<String> = left.filter_map(std::future::ready).collect().await;
    if !left.is_empty() {
        let detail = format!(
            "agent {:?} is disabled but not removed: it is not proven that these sessions are gone: {}",
            name.as_str(),
            left.join(", ")
        );
        return Err(Problem::new(409, "stop_unconfirmed", detail)
            .hint("see: greenroom sessions show; then remove it again")
            .into());
    }
    if !before {
        disable(app, name.as_str(), false).await?;
    }
    Ok(())
}
