//! Agents and their versions: made from definitions, enabled, disabled, removed.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::response::{IntoResponse, Response};
use greenroom_core::AgentName;
use greenroom_protocol::Problem;
use greenroom_store::AgentRow;
use http::{StatusCode, header};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::paging::{self, PageQuery};
use super::{Asked, conversations, definition, json as answer, records};
use crate::app::App;
use crate::auth::Right;
use crate::doors::records::Records;
use crate::error::ApiResult;
use crate::service::{agents as service, versions};

/// What clients have said with a version, beyond what is run of it.
const VERSIONS: Records = records("version");
/// How clients want an agent to be reached.
const ENDPOINTS: Records = records("endpoint");

/// What a client says of a version.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Said {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    definition: Option<Value>,
    #[serde(default)]
    description: Option<String>,
    #[serde(default)]
    metadata: Option<BTreeMap<String, String>>,
    #[serde(default)]
    draft: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    agent_endpoint: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    agent_card: Option<Value>,
}

impl Said {
    fn check(&self) -> ApiResult<()> {
        let Some(metadata) = &self.metadata else { return Ok(()) };
        let odd = |(key, value): (&String, &String)| {
            key.chars().count() > 64 || value.chars().count() > 512
        };
        if metadata.len() > 16 || metadata.iter().any(odd) {
            let detail =
                "metadata has 16 entries at most; a key has 64 characters, a value 512 at most";
            return Err(Problem::invalid(detail).at("metadata").into());
        }
        Ok(())
    }
}

/// How an agent is reached.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Endpoint {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    agent_endpoint: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    agent_card: Option<Value>,
}

/// A version's number.
pub(super) fn number(text: &str) -> ApiResult<u32> {
    let shown: String = text.chars().take(80).collect();
    let missing = || Problem::new(404, "agent_version_not_found", format!("no version {shown:?}"));
    Ok(text.parse().map_err(|_| missing())?)
}

fn named(name: &str) -> ApiResult<AgentName> {
    Ok(name.parse().map_err(|_| service::not_found(name))?)
}

fn key(row: &AgentRow) -> String {
    format!("{}/{}", row.name, row.version)
}

async fn shown_version(app: &App, row: &AgentRow) -> ApiResult<Value> {
    let said: Said = VERSIONS.get(app, &key(row)).await?.unwrap_or_default();
    let definition = said.definition.unwrap_or_else(|| definition::of(&row.spec));
    let mut version = json!({
        "object": "agent.version",
        "id": format!("{}:{}", row.name, row.version),
        "name": row.name.as_str(),
        "version": row.version.to_string(),
        "created_at": row.updated_at.unix_ms().div_euclid(1000),
        "description": said.description.or_else(|| row.spec.description.clone()),
        "metadata": said.metadata.unwrap_or_default(),
        "draft": said.draft.unwrap_or_default(),
        "definition": definition,
        "status": if row.failure.is_some() { "failed" } else { "active" },
    });
    if let Some(failure) = &row.failure {
        let (code, message) = failure.split_once(": ").unwrap_or(("ProvisioningError", failure));
        version["error"] = json!({ "code": code, "message": message });
    }
    Ok(version)
}

/// The versions of an agent that may be chosen, newest first.
async fn rows(app: &App, name: &AgentName) -> ApiResult<Vec<AgentRow>> {
    let mut rows = app.store.agent_versions(name).await?;
    rows.retain(|row| !row.withdrawn);
    let served = app.store.agent(name).await?.is_some();
    // What a file has left behind that is gone is history, and no agent.
    if !served && rows.iter().all(|row| !crate::sources::is_by_api(&row.source)) {
        rows.clear();
    }
    if rows.is_empty() {
        return Err(service::not_found(name.as_str()).into());
    }
    Ok(rows)
}

async fn shown(app: &App, name: &AgentName) -> ApiResult<Value> {
    let rows = rows(app, name).await?;
    let mut latest = None;
    for row in &rows {
        let version = shown_version(app, row).await?;
        if version["draft"] == false {
            latest = Some(version);
            break;
        }
    }
    let latest = match latest {
        Some(latest) => latest,
        None => shown_version(app, &rows[0]).await?,
    };
    let state = if app.agents.is_disabled(name) { "disabled" } else { "enabled" };
    let Endpoint { agent_endpoint, agent_card } =
        ENDPOINTS.get(app, name.as_str()).await?.unwrap_or_default();
    let served = app.store.agent(name).await?.map(|row| row.version.to_string());
    let usual = json!({
        "version_selector": { "version_selection_rules": served.map(|version| json!({
            "type": "FixedRatio", "agent_version": version, "traffic_percentage": 100,
        })).into_iter().collect::<Vec<_>>() },
        "protocol_configuration": { "responses": {}, "invocations": {} },
        "authorization_schemes": [{ "type": "Entra" }],
    });
    Ok(json!({
        "object": "agent", "id": name.as_str(), "name": name.as_str(),
        "state": state, "configuration_state": state,
        "versions": { "latest": latest },
        "agent_endpoint": agent_endpoint.unwrap_or(usual),
        "agent_card": agent_card,
    }))
}

pub(super) async fn get(asked: Asked, name: &str) -> ApiResult<Response> {
    asked.caller.require(Right::Read)?;
    Ok(answer(StatusCode::OK, &shown(&asked.app, &named(name)?).await?))
}

pub(super) async fn list(asked: Asked) -> ApiResult<Response> {
    asked.caller.require(Right::Read)?;
    let page = asked.query::<PageQuery>()?.page(true)?;
    let app = &asked.app;
    let mut names = app.store.agents_of("api:").await?;
    names.extend(app.store.agents().await?.into_iter().map(|row| row.name));
    names.sort();
    names.dedup();
    let names: Vec<Value> = names.iter().map(|name| json!({ "name": name })).collect();
    let (names, more) = paging::cut(names, "name", &page);
    let mut agents = Vec::new();
    for name in names.iter().filter_map(|name| name["name"].as_str()) {
        agents.push(shown(app, &named(name)?).await?);
    }
    Ok(answer(StatusCode::OK, &paging::answer(agents, "name", more)))
}

/// A body that says an agent; the code itself does not come this way.
async fn said(asked: Asked) -> ApiResult<Said> {
    let kind = asked.header(header::CONTENT_TYPE.as_str());
    if kind.is_some_and(|kind| kind.starts_with("multipart/")) {
        let detail = "code is not taken as a zip: it is on the runner, and \
            code_configuration.entry_point names it";
        return Err(Problem::new(415, "code_upload_unsupported", detail).into());
    }
    let said: Said = asked.json().await?.unwrap_or_default();
    said.check()?;
    Ok(said)
}

/// Keeps what is said as a version, and what was said with it.
async fn keep(app: &App, name: &AgentName, said: Said) -> ApiResult<AgentRow> {
    let Some(given) = &said.definition else {
        return Err(Problem::invalid("definition is required").at("definition").into());
    };
    let read = definition::read(name, said.description.as_deref(), given)?;
    let document = serde_json::to_value(&said).unwrap_or_default();
    let endpoint: Endpoint = ENDPOINTS.get(app, name.as_str()).await?.unwrap_or_default();
    // An endpoint that was told which version to take does not take another by itself.
    let chosen = endpoint.agent_endpoint.as_ref().is_some_and(|one| !rules(one).is_empty());
    let serve = !said.draft.unwrap_or_default() && !chosen;
    let row = versions::take(app, read.spec, &document, read.failure, serve).await?;
    VERSIONS.put(app, &key(&row), &said).await?;
    Ok(row)
}

async fn exists(app: &App, name: &AgentName) -> ApiResult<bool> {
    match rows(app, name).await {
        Ok(_) => Ok(true),
        Err(error) if error.0.status == 404 => Ok(false),
        Err(error) => Err(error),
    }
}

fn new_name(text: &str) -> ApiResult<AgentName> {
    let bad = |error| Problem::new(400, "invalid_agent_name", format!("name: {error}")).at("name");
    Ok(text.parse().map_err(bad)?)
}

pub(super) async fn create(asked: Asked) -> ApiResult<Response> {
    asked.caller.require(Right::Administer)?;
    let app = Arc::clone(&asked.app);
    let mut said = said(asked).await?;
    let name = new_name(said.name.take().as_deref().unwrap_or_default())?;
    let endpoint =
        Endpoint { agent_endpoint: said.agent_endpoint.take(), agent_card: said.agent_card.take() };
    if exists(&app, &name).await? {
        let newest = rows(&app, &name).await?.swap_remove(0);
        let before: Option<Said> = VERSIONS.get(&app, &key(&newest)).await?;
        let same = before.is_some_and(|before| {
            serde_json::to_value(&before).ok() == serde_json::to_value(&said).ok()
        });
        if !same {
            let detail = format!("agent {:?} exists already", name.as_str());
            return Err(Problem::new(409, "agent_already_exists", detail)
                .hint("POST /agents/NAME makes a new version of it")
                .into());
        }
    } else {
        keep(&app, &name, said).await?;
    }
    if endpoint.agent_endpoint.is_some() || endpoint.agent_card.is_some() {
        reach(&app, &name, endpoint).await?;
    }
    Ok(answer(StatusCode::CREATED, &shown(&app, &name).await?))
}

pub(super) async fn update(asked: Asked, name: &str) -> ApiResult<Response> {
    asked.caller.require(Right::Administer)?;
    let app = Arc::clone(&asked.app);
    let name = named(name)?;
    rows(&app, &name).await?;
    let mut said = said(asked).await?;
    said.name = None;
    keep(&app, &name, said).await?;
    Ok(answer(StatusCode::OK, &shown(&app, &name).await?))
}

pub(super) async fn create_version(asked: Asked, name: &str) -> ApiResult<Response> {
    asked.caller.require(Right::Administer)?;
    let app = Arc::clone(&asked.app);
    let name = new_name(name)?;
    let mut said = said(asked).await?;
    said.name = None;
    let row = keep(&app, &name, said).await?;
    Ok(answer(StatusCode::OK, &shown_version(&app, &row).await?))
}

pub(super) async fn versions(asked: Asked, name: &str) -> ApiResult<Response> {
    #[derive(Deserialize)]
    struct Drafts {
        include_drafts: Option<String>,
    }
    asked.caller.require(Right::Read)?;
    let page = asked.query::<PageQuery>()?.page(false)?;
    let drafts = asked.query::<Drafts>()?.include_drafts.is_some_and(|with| with == "true");
    let mut all = Vec::new();
    for row in rows(&asked.app, &named(name)?).await?.iter().rev() {
        let version = shown_version(&asked.app, row).await?;
        if drafts || version["draft"] == false {
            all.push(version);
        }
    }
    // Some clients name a version by its number, some by its id.
    let id = match &page.beyond {
        Some((named, _)) if named.contains(':') => "id",
        Some(_) => "version",
        None => "id",
    };
    let (items, more) = paging::cut(all, id, &page);
    Ok(answer(StatusCode::OK, &paging::answer(items, "id", more)))
}

pub(super) async fn version(asked: Asked, name: &str, version: &str) -> ApiResult<Response> {
    asked.caller.require(Right::Read)?;
    let row = versions::find(&asked.app, &named(name)?, number(version)?).await?;
    Ok(answer(StatusCode::OK, &shown_version(&asked.app, &row).await?))
}

#[derive(Debug, Deserialize)]
struct Force {
    force: Option<String>,
}

fn forced(asked: &Asked) -> ApiResult<bool> {
    match asked.query::<Force>()?.force.as_deref() {
        None | Some("" | "false" | "False") => Ok(false),
        Some("true" | "True") => Ok(true),
        Some(_) => Err(Problem::invalid("force is true or false").at("force").into()),
    }
}

pub(super) async fn delete(asked: Asked, name: &str) -> ApiResult<Response> {
    asked.caller.require(Right::Administer)?;
    let (app, caller) = (&asked.app, &asked.caller);
    let parsed = named(name)?;
    let force = forced(&asked)?;
    let before = rows(app, &parsed).await?;
    versions::remove_agent(app, caller, name, force).await?;
    for row in before {
        VERSIONS.remove(app, &key(&row)).await?;
    }
    ENDPOINTS.remove(app, name).await?;
    conversations::forget(app, name).await?;
    let gone = json!({ "object": "agent.deleted", "name": name, "deleted": true });
    Ok(answer(StatusCode::OK, &gone))
}

pub(super) async fn delete_version(asked: Asked, name: &str, version: &str) -> ApiResult<Response> {
    asked.caller.require(Right::Administer)?;
    let (app, caller) = (&asked.app, &asked.caller);
    let (parsed, wanted) = (named(name)?, number(version)?);
    let force = forced(&asked)?;
    let mut drafts = Vec::new();
    for row in rows(app, &parsed).await? {
        let said: Option<Said> = VERSIONS.get(app, &key(&row)).await?;
        if said.is_some_and(|said| said.draft == Some(true)) {
            drafts.push(row.version);
        }
    }
    let row = versions::find(app, &parsed, wanted).await?;
    let release = |version: u32| !drafts.contains(&version);
    versions::remove_version(app, caller, name, wanted, force, release).await?;
    VERSIONS.remove(app, &key(&row)).await?;
    // No endpoint takes its share any more.
    let endpoint: Option<Endpoint> = ENDPOINTS.get(app, name).await?;
    if let Some(mut endpoint) = endpoint
        && let Some(reached) = &mut endpoint.agent_endpoint
        && rules(reached).iter().any(|(shared, _)| *shared == wanted)
    {
        reached["version_selector"] = Value::Null;
        ENDPOINTS.put(app, name, &endpoint).await?;
    }
    let gone = json!({
        "object": "agent.version.deleted", "name": name, "version": version, "deleted": true,
    });
    Ok(answer(StatusCode::OK, &gone))
}

pub(super) async fn verb(asked: Asked, name: &str, verb: &str) -> ApiResult<Response> {
    asked.caller.require(Right::Administer)?;
    let disabled = match verb {
        "disable" => true,
        "enable" => false,
        _ => {
            let detail = "an agent has :enable and :disable";
            return Err(Problem::new(404, "unknown_verb", detail).into());
        }
    };
    versions::disable(&asked.app, name, disabled).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// The code of an agent is where it runs, and was never here.
pub(super) async fn code(asked: Asked, name: &str) -> ApiResult<Response> {
    asked.caller.require(Right::Read)?;
    rows(&asked.app, &named(name)?).await?;
    let detail = format!("the code of agent {name:?} is on its runner, and is not kept here");
    Err(Problem::new(404, "code_not_found", detail).into())
}

/// The shares of versions that an endpoint was told.
fn rules(endpoint: &Value) -> Vec<(u32, u64)> {
    let rules = endpoint["version_selector"]["version_selection_rules"].as_array();
    let rule = |rule: &Value| {
        let version = rule["agent_version"].as_str()?.parse().ok()?;
        Some((version, rule["traffic_percentage"].as_u64()?))
    };
    rules.into_iter().flatten().filter_map(rule).collect()
}

/// Keeps how an agent is to be reached, and puts the version with the largest share in service.
async fn reach(app: &App, name: &AgentName, change: Endpoint) -> ApiResult<()> {
    let mut endpoint: Endpoint = ENDPOINTS.get(app, name.as_str()).await?.unwrap_or_default();
    if let Some(given) = change.agent_endpoint {
        let given_rules = &given["version_selector"]["version_selection_rules"];
        let shares = rules(&given);
        let at = "agent_endpoint.version_selector";
        let bad = |detail: &str| Problem::invalid(format!("{at}: {detail}")).at(at);
        if given_rules.as_array().is_some_and(|all| all.len() != shares.len()) {
            let detail = "each rule has an agent_version and a traffic_percentage";
            return Err(bad(detail).into());
        }
        let total = shares.iter().fold(0u64, |sum, (_, share)| sum.saturating_add(*share));
        if !shares.is_empty() && total != 100 {
            return Err(bad("the shares add up to 100").into());
        }
        for (version, _) in &shares {
            versions::chosen(app, name.as_str(), *version).await?;
        }
        if let Some((largest, _)) = shares.iter().max_by_key(|(_, share)| *share) {
            versions::serve(app, name, *largest).await?;
        }
        endpoint.agent_endpoint = Some(given);
    }
    if let Some(card) = change.agent_card {
        endpoint.agent_card = Some(card);
    }
    ENDPOINTS.put(app, name.as_str(), &endpoint).await
}

pub(super) async fn patch(asked: Asked, name: &str) -> ApiResult<Response> {
    asked.caller.require(Right::Administer)?;
    let app = Arc::clone(&asked.app);
    let name = named(name)?;
    rows(&app, &name).await?;
    let change: Endpoint = asked.json().await?.unwrap_or_default();
    reach(&app, &name, change).await?;
    Ok(answer(StatusCode::OK, &shown(&app, &name).await?))
}

/// The version a new session takes, where an endpoint shares its sessions among several. Each
/// try of one request comes to the same.
pub(super) async fn share(
    app: &App,
    name: &AgentName,
    request: Option<&str>,
) -> ApiResult<Option<u32>> {
    let endpoint: Option<Endpoint> = ENDPOINTS.get(app, name.as_str()).await?;
    let shares = endpoint.and_then(|one| one.agent_endpoint).map(|one| rules(&one));
    let shares = shares.unwrap_or_default();
    if shares.len() < 2 {
        return Ok(None);
    }
    let digest = request.map(|request| crate::schema::digest(&request.into())[..8].to_vec());
    let drawn = digest.and_then(|bytes| Some(u64::from_be_bytes(bytes.try_into().ok()?)));
    let drawn = drawn.unwrap_or_else(|| rand::RngExt::random(&mut rand::rng()));
    Ok(share_at(&shares, drawn % 100))
}

/// The version whose share holds this point of a hundred.
fn share_at(shares: &[(u32, u64)], mut point: u64) -> Option<u32> {
    for (version, share) in shares {
        if point < *share {
            return Some(*version);
        }
        point -= share;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_cover_a_hundred_points() {
        let shares = [(1, 30), (2, 0), (3, 70)];
        let of =
            |version| (0..100).filter(|point| share_at(&shares, *point) == Some(version)).count();
        assert_eq!((of(1), of(2), of(3)), (30, 0, 70));
        assert_eq!(share_at(&shares, 100), None);
    }
}
