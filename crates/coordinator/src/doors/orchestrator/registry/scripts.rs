//! Scripts: programs that procedural runners fetch and run.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::get as on_get;
use axum::{Json, Router};
use http::{StatusCode, header};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::super::demands::Demands;
use super::super::fault::{Done, Fault};
use super::super::{DOOR, archive, check as schemas};
use super::{blueprints, capabilities, check_file, check_name, given, now};
use crate::app::App;
use crate::auth::{Allowed, Caller, Right, ToAdminister, ToRead, Who};
use crate::doors::records::Records;
use crate::error::ApiResult;
use crate::extract::{Body, Path};

const SCRIPTS: Records = Records::of(DOOR, "script");
const SYNCED: Records = Records::of(DOOR, "synced");

/// A script, as it is kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(in super::super) struct Script {
    pub name: String,
    #[serde(default)]
    pub description: String,
    pub script_file: String,
    pub script_content: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameters_schema: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub demands: Option<Demands>,
    #[serde(default)]
    pub created_at: String,
    #[serde(default)]
    pub modified_at: String,
}

impl Script {
    pub(in super::super) fn shown(&self) -> Value {
        serde_json::to_value(self).unwrap_or_default()
    }

    fn summary(&self) -> Value {
        let demands = self.demands.clone().unwrap_or_default();
        json!({
            "name": self.name, "description": self.description, "script_file": self.script_file,
            "has_parameters_schema": self.parameters_schema.is_some(),
            "has_demands": self.demands.is_some(), "demand_tags": demands.tags,
            "created_at": self.created_at, "modified_at": self.modified_at,
        })
    }

    /// What it is beside its program, as a file of its folder.
    pub(in super::super) fn manifest(&self) -> Value {
        let mut manifest = self.shown();
        if let Some(fields) = manifest.as_object_mut() {
            for key in ["script_content", "created_at", "modified_at"] {
                fields.remove(key);
            }
        }
        manifest
    }
}

pub(super) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/scripts", on_get(list).post(create))
        .route("/scripts/{name}", on_get(show).patch(change).delete(remove))
        .route("/scripts/{name}/download", on_get(download))
}

/// A script.
pub(in super::super) async fn get(app: &App, name: &str) -> ApiResult<Option<Script>> {
    SCRIPTS.get(app, name).await
}

/// All of them.
pub(in super::super) async fn all(app: &App) -> ApiResult<Vec<Script>> {
    let all: Vec<(String, Script)> = SCRIPTS.all(app).await?;
    Ok(all.into_iter().map(|(_, one)| one).collect())
}

/// Keeps one. Procedural runners are told with their next poll, which ends at once.
pub(in super::super) async fn keep(app: &App, script: &Script) -> Done<()> {
    SCRIPTS.put(app, &script.name, script).await?;
    for name in blueprints::with_script(app, &script.name).await? {
        if let Some(blueprint) = blueprints::get(app, &name).await? {
            blueprints::keep(app, &blueprint).await?;
        }
    }
    wake_runners(app);
    Ok(())
}

pub(in super::super) async fn drop_one(app: &App, name: &str) -> ApiResult<bool> {
    let known = SCRIPTS.remove(app, name).await?;
    wake_runners(app);
    Ok(known)
}

/// Runners look for themselves whether there is anything new for them.
pub(in super::super) fn wake_runners(app: &App) {
    for runner in app.runners.list() {
        if runner.foreign().is_some() {
            runner.wake();
        }
    }
}

/// What a runner has to fetch and what it has to remove, with what to remember once it is told.
pub(in super::super) struct News {
    pub sync: Vec<String>,
    pub remove: Vec<String>,
    have: std::collections::BTreeMap<String, String>,
}

/// What is other than this runner was told.
pub(in super::super) async fn news(app: &App, runner: &str) -> ApiResult<News> {
    let told: std::collections::BTreeMap<String, String> =
        SYNCED.get(app, runner).await?.unwrap_or_default();
    let have: std::collections::BTreeMap<String, String> =
        all(app).await?.into_iter().map(|script| (script.name, script.modified_at)).collect();
    let sync = have.iter().filter(|(name, at)| told.get(*name) != Some(*at));
    let sync = sync.map(|(name, _)| name.clone()).collect();
    let remove = told.keys().filter(|name| !have.contains_key(*name)).cloned().collect();
    Ok(News { sync, remove, have })
}

impl News {
    pub(in super::super) fn is_empty(&self) -> bool {
        self.sync.is_empty() && self.remove.is_empty()
    }

    /// Remembers that a runner is told.
    pub(in super::super) async fn told(&self, app: &App, runner: &str) -> ApiResult<()> {
        SYNCED.put(app, runner, &self.have).await
    }
}

/// A runner that starts anew is told everything again.
pub(in super::super) async fn forget_told(app: &App, runner: &str) -> ApiResult<()> {
    SYNCED.remove(app, runner).await?;
    Ok(())
}

fn not_found(name: &str) -> Fault {
    let shown: String = name.chars().take(140).collect();
    Fault::new(404, format!("Script not found: {shown}"))
}

/// Refuses what could leave its folder, or is no schema.
pub(in super::super) fn check(script: &Script) -> Done<()> {
    check_name("script", &script.name)?;
    check_file(&script.script_file)?;
    if script.script_file == "script.json" {
        return Err(Fault::new(400, "script_file cannot be script.json, which describes it"));
    }
    if let Some(schema) = &script.parameters_schema {
        schemas::compile(schema)
            .map_err(|error| Fault::new(422, format!("not a JSON schema: {error}")))?;
    }
    if let Some(demands) = &script.demands {
        demands.check()?;
    }
    Ok(())
}

async fn list(State(app): State<Arc<App>>, Allowed { .. }: Allowed<ToRead>) -> Done<Json<Value>> {
    let all = all(&app).await?;
    Ok(Json(all.iter().map(Script::summary).collect()))
}

/// Whoever may see agents, or speaks for a runner of the other system.
fn may_read(caller: &Caller) -> ApiResult<()> {
    match caller.who {
        Who::Runner(_) => Ok(()),
        _ => caller.require(Right::Read),
    }
}

async fn show(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(name): Path<String>,
) -> Done<Json<Value>> {
    may_read(&caller)?;
    let found = get(&app, &name).await?;
    found.map(|one| Json(one.shown())).ok_or_else(|| not_found(&name))
}

#[derive(Debug, Deserialize)]
struct New {
    name: String,
    description: String,
    script_file: String,
    script_content: String,
    parameters_schema: Option<Value>,
    demands: Option<Demands>,
}

async fn create(
    State(app): State<Arc<App>>,
    Allowed { .. }: Allowed<ToAdminister>,
    Body(new): Body<New>,
) -> Done<(StatusCode, Json<Value>)> {
    let at = now(&app);
    let script = Script {
        name: new.name,
        description: new.description,
        script_file: new.script_file,
        script_content: new.script_content,
        parameters_schema: new.parameters_schema,
        demands: new.demands,
        created_at: at.clone(),
        modified_at: at,
    };
    check(&script)?;
    if get(&app, &script.name).await?.is_some() {
        return Err(Fault::new(409, format!("Script already exists: {}", script.name)));
    }
    keep(&app, &script).await?;
    Ok((StatusCode::CREATED, Json(script.shown())))
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Patch {
    description: Option<String>,
    script_file: Option<String>,
    script_content: Option<String>,
    #[serde(deserialize_with = "given")]
    parameters_schema: Option<Option<Value>>,
    #[serde(deserialize_with = "given")]
    demands: Option<Option<Demands>>,
}

async fn change(
    State(app): State<Arc<App>>,
    Allowed { .. }: Allowed<ToAdminister>,
    Path(name): Path<String>,
    Body(patch): Body<Patch>,
) -> Done<Json<Value>> {
    let mut one = get(&app, &name).await?.ok_or_else(|| not_found(&name))?;
    one.description = patch.description.unwrap_or(one.description);
    one.script_file = patch.script_file.unwrap_or(one.script_file);
    one.script_content = patch.script_content.unwrap_or(one.script_content);
    if let Some(Some(schema)) = patch.parameters_schema {
        let empty = schema.as_object().is_some_and(serde_json::Map::is_empty);
        one.parameters_schema = Some(schema).filter(|_| !empty);
    }
    if let Some(Some(demands)) = patch.demands {
        one.demands = Some(demands).filter(|demands| *demands != Demands::default());
    }
    check(&one)?;
    one.modified_at = now(&app);
    keep(&app, &one).await?;
    Ok(Json(one.shown()))
}

async fn remove(
    State(app): State<Arc<App>>,
    Allowed { .. }: Allowed<ToAdminister>,
    Path(name): Path<String>,
) -> Done<StatusCode> {
    get(&app, &name).await?.ok_or_else(|| not_found(&name))?;
    let mut users = blueprints::with_script(&app, &name).await?;
    for capability in capabilities::all(&app).await? {
        if capability.script.as_deref() == Some(name.as_str()) {
            users.push(format!("capability {}", capability.name));
        }
    }
    if !users.is_empty() {
        let detail = format!("Script is referenced by agents: {}", users.join(", "));
        return Err(Fault::new(409, detail));
    }
    drop_one(&app, &name).await?;
    Ok(StatusCode::NO_CONTENT)
}

async fn download(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(name): Path<String>,
) -> Done<Response> {
    may_read(&caller)?;
    let script = get(&app, &name).await?.ok_or_else(|| not_found(&name))?;
    let manifest = serde_json::to_vec_pretty(&script.manifest()).unwrap_or_default();
    let files = vec![
        (format!("{name}/script.json"), manifest),
        (format!("{name}/{}", script.script_file), script.script_content.into_bytes()),
    ];
    let packed = archive::pack(&files, app.clock.wall().unix_ms() / 1000)?;
    let headers = [
        (header::CONTENT_TYPE, "application/gzip".to_owned()),
        (header::CONTENT_DISPOSITION, format!("attachment; filename=\"{name}.tar.gz\"")),
    ];
    Ok((headers, packed).into_response())
}
