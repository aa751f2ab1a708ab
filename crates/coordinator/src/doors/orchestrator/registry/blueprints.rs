//! Blueprints: descriptions of agents that runners of the other system run.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::routing::{get as on_get, patch};
use axum::{Json, Router};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::super::demands::Demands;
use super::super::fault::{Done, Fault, stored};
use super::super::{DOOR, agents, check, resolve};
use super::{capabilities, check_name, given, now, scripts};
use crate::app::App;
use crate::auth::{Allowed, Caller, Right, ToAdminister, Who};
use crate::doors::records::Records;
use crate::error::ApiResult;
use crate::extract::{Body, Path, Query};
use crate::sources::new_agent;

const BLUEPRINTS: Records = Records::of(DOOR, "agent");

/// Who interprets its parameters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(in super::super) enum Kind {
    /// A model.
    #[default]
    Autonomous,
    /// A program.
    Procedural,
}

impl Kind {
    pub(in super::super) fn as_str(self) -> &'static str {
        match self {
            Self::Autonomous => "autonomous",
            Self::Procedural => "procedural",
        }
    }
}

/// Whether it can be used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(in super::super) enum Status {
    #[default]
    Active,
    Inactive,
}

/// What a failing hook means for its run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(in super::super) enum OnError {
    Block,
    #[default]
    Continue,
}

/// An agent that runs before or after another's run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(in super::super) struct Hook {
    #[serde(rename = "type", default = "agent_word")]
    pub kind: String,
    pub agent_name: String,
    #[serde(default)]
    pub on_error: OnError,
    #[serde(default = "five_minutes")]
    pub timeout_seconds: u64,
}

fn agent_word() -> String {
    "agent".to_owned()
}

fn five_minutes() -> u64 {
    300
}

/// The hooks of a blueprint.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(in super::super) struct Hooks {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_run_start: Option<Hook>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_run_finish: Option<Hook>,
}

/// References to MCP servers, by the name the agent has for each.
pub(in super::super) type Servers = BTreeMap<String, Reference>;

/// A reference to the registry. Nothing else is taken: no address of a blueprint's own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct Reference {
    #[serde(rename = "ref")]
    pub reference: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<Map<String, Value>>,
}

/// A blueprint, as it is kept and shown.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(in super::super) struct Blueprint {
    pub name: String,
    #[serde(default)]
    pub description: String,
    #[serde(rename = "type", default)]
    pub kind: Kind,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub script: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameters_schema: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_schema: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system_prompt: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mcp_servers: Option<Servers>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skills: Option<Vec<String>>,
    #[serde(default)]
    pub tags: Vec<String>,
    #[serde(default)]
    pub capabilities: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub demands: Option<Demands>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hooks: Option<Hooks>,
    #[serde(default)]
    pub status: Status,
    #[serde(default)]
    pub created_at: String,
    #[serde(default)]
    pub modified_at: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
}

impl Blueprint {
    /// As clients read it.
    pub(in super::super) fn shown(&self) -> Value {
        serde_json::to_value(self).unwrap_or_default()
    }

    /// Whether it needs a capability.
    fn uses_script(&self, name: &str) -> bool {
        self.script.as_deref() == Some(name)
    }
}

pub(super) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/agents", on_get(list).post(create))
        .route("/agents/{name}", on_get(show).patch(change).delete(remove))
        .route("/agents/{name}/status", patch(switch))
}

/// A blueprint.
pub(in super::super) async fn get(app: &App, name: &str) -> ApiResult<Option<Blueprint>> {
    BLUEPRINTS.get(app, name).await
}

/// All of them.
pub(in super::super) async fn all(app: &App) -> ApiResult<Vec<Blueprint>> {
    let all: Vec<(String, Blueprint)> = BLUEPRINTS.all(app).await?;
    Ok(all.into_iter().map(|(_, blueprint)| blueprint).collect())
}

/// Names of those that use a capability.
pub(super) async fn with_capability(app: &App, name: &str) -> ApiResult<Vec<String>> {
    let all = all(app).await?.into_iter();
    Ok(all.filter(|one| one.capabilities.iter().any(|c| c == name)).map(|one| one.name).collect())
}

/// Names of those that use a script.
pub(super) async fn with_script(app: &App, name: &str) -> ApiResult<Vec<String>> {
    Ok(all(app)
        .await?
        .into_iter()
        .filter(|one| one.uses_script(name))
        .map(|one| one.name)
        .collect())
}

/// Agents that registered runners have brought along, each with its runner's name.
pub(in super::super) fn of_runners(app: &App) -> Vec<(String, Value)> {
    let mut all = Vec::new();
    for runner in app.runners.list() {
        let Some(foreign) = runner.foreign().filter(|foreign| foreign.registered) else { continue };
        for agent in foreign.said.get("agents").and_then(Value::as_array).into_iter().flatten() {
            let mut shown = agent.clone();
            if let Some(fields) = shown.as_object_mut() {
                fields.insert("type".into(), "procedural".into());
                fields.insert("runner_id".into(), foreign.id.clone().into());
                fields.insert("status".into(), "active".into());
                for list in ["tags", "capabilities"] {
                    fields.entry(list).or_insert_with(|| json!([]));
                }
                fields.entry("description").or_insert_with(|| "".into());
                for time in ["created_at", "modified_at"] {
                    fields.entry(time).or_insert_with(|| {
                        foreign.said.get("registered_at").cloned().unwrap_or_default()
                    });
                }
                fields.retain(|_, value| !value.is_null());
            }
            all.push((foreign.id.clone(), shown));
        }
    }
    all
}

/// Keeps a blueprint, and puts it into service where it is whole and switched on.
pub(in super::super) async fn keep(app: &App, blueprint: &Blueprint) -> Done<()> {
    BLUEPRINTS.put(app, &blueprint.name, blueprint).await?;
    let Ok(name) = blueprint.name.parse() else { return Ok(()) };
    match (blueprint.status, agents::of_blueprint(app, blueprint).await) {
        (Status::Active, Ok(found)) => {
            if let agents::Agent::Foreign { spec, .. } = found.agent {
                let new = new_agent(app, *spec, &agents::source(&blueprint.name));
                stored(app.store.put_agent(new).await)?;
            }
        }
        // What it refers to is not there, or nobody is to use it.
        _ => _ = stored(app.store.retire_agent(&name).await)?,
    }
    app.agents_changed();
    Ok(())
}

/// Takes an agent out of service whose blueprint is gone.
pub(in super::super) async fn retire(app: &App, name: &str) -> Done<()> {
    if let Ok(name) = name.parse() {
        stored(app.store.retire_agent(&name).await)?;
        app.agents_changed();
    }
    Ok(())
}

/// Removes a blueprint. Its sessions keep the description they have.
pub(in super::super) async fn drop_one(app: &App, name: &str) -> Done<bool> {
    let known = BLUEPRINTS.remove(app, name).await?;
    if let (true, Ok(name)) = (known, name.parse()) {
        stored(app.store.retire_agent(&name).await)?;
        app.agents_changed();
    }
    Ok(known)
}

/// Whoever may see agents, or speaks for a runner of the other system.
fn may_read(caller: &Caller) -> ApiResult<()> {
    match caller.who {
        Who::Runner(_) => Ok(()),
        _ => caller.require(Right::Read),
    }
}

#[derive(Debug, Default, Deserialize)]
struct ListQuery {
    tags: Option<String>,
}

/// All agents, as a list shows them. One that does not resolve is shown as it is written:
/// it must not hide the others.
pub(in super::super) async fn listed(app: &App) -> Done<Vec<Value>> {
    let mut shown = Vec::new();
    for blueprint in all(app).await? {
        match resolve::resolved(app, &blueprint).await {
            Ok(whole) => shown.push(whole.shown()),
            Err(fault) => {
                let mut raw = blueprint.shown();
                raw["error"] = fault.text().into();
                shown.push(raw);
            }
        }
    }
    shown.extend(of_runners(app).into_iter().map(|(_, agent)| agent));
    for row in stored(app.store.agents().await)? {
        if row.spec.driver.system().is_none() {
            shown.push(ours(&row));
        }
    }
    Ok(shown)
}

/// One of our own agents, as a blueprint that cannot be edited here.
fn ours(row: &greenroom_store::AgentRow) -> Value {
    let mut shown = json!({
        "name": row.name, "type": "autonomous", "tags": [], "capabilities": [],
        "description": row.spec.description.clone().unwrap_or_default(), "status": "active",
        "created_at": super::super::words::time(row.updated_at),
        "modified_at": super::super::words::time(row.updated_at),
    });
    for (key, schema) in
        [("parameters_schema", &row.spec.input_schema), ("output_schema", &row.spec.output_schema)]
    {
        if let Some(schema) = schema {
            shown[key] = schema.clone();
        }
    }
    shown
}

async fn list(
    State(app): State<Arc<App>>,
    caller: Caller,
    Query(query): Query<ListQuery>,
) -> Done<Json<Value>> {
    may_read(&caller)?;
    let tags = query.tags.unwrap_or_default();
    let wanted: Vec<&str> = tags.split(',').map(str::trim).filter(|tag| !tag.is_empty()).collect();
    let has = |agent: &Value, tag: &str| {
        agent["tags"].as_array().is_some_and(|tags| tags.iter().any(|one| one == tag))
    };
    let all = listed(&app).await?.into_iter();
    let all: Vec<Value> = all.filter(|agent| wanted.iter().all(|tag| has(agent, tag))).collect();
    Ok(Json(Value::Array(all)))
}

#[derive(Debug, Default, Deserialize)]
struct ShowQuery {
    raw: Option<String>,
}

async fn show(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(name): Path<String>,
    Query(query): Query<ShowQuery>,
) -> Done<Json<Value>> {
    may_read(&caller)?;
    if let Some(blueprint) = get(&app, &name).await? {
        let raw = query.raw.is_some_and(|raw| raw.eq_ignore_ascii_case("true") || raw == "1");
        return Ok(Json(match raw {
            true => blueprint.shown(),
            false => resolve::resolved(&app, &blueprint).await?.shown(),
        }));
    }
    let all = listed(&app).await?;
    let found = all.into_iter().find(|agent| agent["name"] == name.as_str());
    found.map(Json).ok_or_else(|| agents::not_found(&name))
}

/// Body of `POST /agents`.
#[derive(Debug, Deserialize)]
struct New {
    name: String,
    description: String,
    #[serde(flatten)]
    rest: Patch,
}

/// Body of `PATCH /agents/{name}`: what is absent stays, what is empty goes.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Patch {
    #[serde(deserialize_with = "given")]
    description: Option<Option<String>>,
    #[serde(rename = "type", deserialize_with = "given")]
    kind: Option<Option<Kind>>,
    #[serde(deserialize_with = "given")]
    script: Option<Option<String>>,
    #[serde(deserialize_with = "given")]
    parameters_schema: Option<Option<Value>>,
    #[serde(deserialize_with = "given")]
    output_schema: Option<Option<Value>>,
    #[serde(deserialize_with = "given")]
    system_prompt: Option<Option<String>>,
    #[serde(deserialize_with = "given")]
    mcp_servers: Option<Option<Servers>>,
    #[serde(deserialize_with = "given")]
    skills: Option<Option<Vec<String>>>,
    #[serde(deserialize_with = "given")]
    tags: Option<Option<Vec<String>>>,
    #[serde(deserialize_with = "given")]
    capabilities: Option<Option<Vec<String>>>,
    #[serde(deserialize_with = "given")]
    demands: Option<Option<Demands>>,
    #[serde(deserialize_with = "given")]
    hooks: Option<Option<Hooks>>,
}

impl Patch {
    fn apply(self, to: &mut Blueprint) {
        fn set<T>(to: &mut Option<T>, new: Option<Option<T>>, empty: impl Fn(&T) -> bool) {
            if let Some(Some(new)) = new {
                *to = Some(new).filter(|new| !empty(new));
            }
        }
        let empty = |value: &Value| {
            value.as_object().is_some_and(Map::is_empty) || value.as_str() == Some("")
        };
        if let Some(Some(kind)) = self.kind {
            to.kind = kind;
        }
        set(&mut to.script, self.script, String::is_empty);
        set(&mut to.parameters_schema, self.parameters_schema, empty);
        set(&mut to.output_schema, self.output_schema, empty);
        set(&mut to.system_prompt, self.system_prompt, String::is_empty);
        set(&mut to.mcp_servers, self.mcp_servers, BTreeMap::is_empty);
        set(&mut to.skills, self.skills, Vec::is_empty);
        set(&mut to.demands, self.demands, |demands| *demands == Demands::default());
        set(&mut to.hooks, self.hooks, |hooks| *hooks == Hooks::default());
        if let Some(Some(tags)) = self.tags {
            to.tags = tags;
        }
        if let Some(Some(capabilities)) = self.capabilities {
            to.capabilities = capabilities;
        }
        if let Some(Some(description)) = self.description {
            to.description = description;
        }
    }
}

/// Refuses what could never work.
pub(in super::super) fn check_one(blueprint: &Blueprint) -> Done<()> {
    check_name("agent", &blueprint.name)?;
    for schema in [&blueprint.parameters_schema, &blueprint.output_schema].into_iter().flatten() {
        check::compile(schema)
            .map_err(|error| Fault::new(422, format!("not a JSON schema: {error}")))?;
    }
    if let Some(demands) = &blueprint.demands {
        demands.check()?;
    }
    let hooks = blueprint.hooks.clone().unwrap_or_default();
    for hook in [&hooks.on_run_start, &hooks.on_run_finish].into_iter().flatten() {
        let fits = hook.kind == "agent" && (1..=86_400).contains(&hook.timeout_seconds);
        if !fits || hook.agent_name.is_empty() {
            return Err(Fault::new(
                422,
                "a hook has type 'agent', an agent_name, and a timeout_seconds of 1 to 86400",
            ));
        }
    }
    Ok(())
}

/// Refuses references to what is not there.
async fn check_references(app: &App, blueprint: &Blueprint) -> Done<()> {
    for name in &blueprint.capabilities {
        if capabilities::get(app, name).await?.is_none() {
            return Err(Fault::new(
                422,
                format!(
                    "Capability resolution failed for agent '{}': capability '{name}' not found",
                    blueprint.name
                ),
            ));
        }
    }
    if let Some(name) = &blueprint.script
        && scripts::get(app, name).await?.is_none()
    {
        return Err(Fault::new(
            422,
            format!(
                "Script resolution failed for agent '{}': script '{name}' not found",
                blueprint.name
            ),
        ));
    }
    Ok(())
}

async fn create(
    State(app): State<Arc<App>>,
    Allowed { .. }: Allowed<ToAdminister>,
    Body(new): Body<New>,
) -> Done<(StatusCode, Json<Value>)> {
    let at = now(&app);
    let mut blueprint = Blueprint {
        name: new.name,
        description: new.description,
        kind: Kind::default(),
        script: None,
        parameters_schema: None,
        output_schema: None,
        system_prompt: None,
        mcp_servers: None,
        skills: None,
        tags: Vec::new(),
        capabilities: Vec::new(),
        demands: None,
        hooks: None,
        status: Status::Active,
        created_at: at.clone(),
        modified_at: at,
        command: None,
    };
    new.rest.apply(&mut blueprint);
    check_one(&blueprint)?;
    let name = blueprint.name.clone();
    let ours = match name.parse() {
        Ok(name) => stored(app.store.agent(&name).await)?.is_some(),
        Err(_) => false,
    };
    let brought = of_runners(&app).iter().any(|(_, agent)| agent["name"] == name.as_str());
    if ours || brought || get(&app, &name).await?.is_some() {
        return Err(Fault::new(409, format!("Agent already exists: {name}")));
    }
    check_references(&app, &blueprint).await?;
    keep(&app, &blueprint).await?;
    Ok((StatusCode::CREATED, Json(blueprint.shown())))
}

async fn change(
    State(app): State<Arc<App>>,
    Allowed { .. }: Allowed<ToAdminister>,
    Path(name): Path<String>,
    Body(patch): Body<Patch>,
) -> Done<Json<Value>> {
    let mut blueprint = get(&app, &name).await?.ok_or_else(|| agents::not_found(&name))?;
    patch.apply(&mut blueprint);
    check_one(&blueprint)?;
    check_references(&app, &blueprint).await?;
    blueprint.modified_at = now(&app);
    keep(&app, &blueprint).await?;
    Ok(Json(blueprint.shown()))
}

async fn remove(
    State(app): State<Arc<App>>,
    Allowed { .. }: Allowed<ToAdminister>,
    Path(name): Path<String>,
) -> Done<StatusCode> {
    match drop_one(&app, &name).await? {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(agents::not_found(&name)),
    }
}

#[derive(Debug, Deserialize)]
struct Switch {
    status: Status,
}

async fn switch(
    State(app): State<Arc<App>>,
    Allowed { .. }: Allowed<ToAdminister>,
    Path(name): Path<String>,
    Body(Switch { status }): Body<Switch>,
) -> Done<Json<Value>> {
    let mut blueprint = get(&app, &name).await?.ok_or_else(|| agents::not_found(&name))?;
    blueprint.status = status;
    blueprint.modified_at = now(&app);
    keep(&app, &blueprint).await?;
    Ok(Json(blueprint.shown()))
}
