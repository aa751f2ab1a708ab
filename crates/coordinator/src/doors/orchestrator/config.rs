//! The registries as one archive: taken away, and put back whole.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use bytes::Bytes;
use http::{HeaderMap, header};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::archive::{self, File};
use super::fault::{Done, Fault, stored};
use super::registry::blueprints::{self, Blueprint, Status};
use super::registry::capabilities::{self, Capability};
use super::registry::mcp_servers::{self, Server};
use super::registry::now;
use super::registry::scripts::{self, Script};
use super::{DOOR, multipart};
use crate::app::App;
use crate::auth::{Allowed, ToAdminister};

/// An archive has so many bytes at most.
const MOST: usize = 32 << 20;

pub(super) fn routes() -> Router<Arc<App>> {
    let import = post(import).layer(DefaultBodyLimit::max(MOST));
    Router::new().route("/config/export", get(export)).route("/config/import", import)
}

async fn export(
    State(app): State<Arc<App>>,
    Allowed { .. }: Allowed<ToAdminister>,
) -> Done<Response> {
    let mut files: Vec<File> = Vec::new();
    let pretty = |value: &Value| serde_json::to_vec_pretty(value).unwrap_or_default();
    for blueprint in blueprints::all(&app).await? {
        let folder = format!("agents/{}", blueprint.name);
        let mut document = blueprint.shown();
        let fields = document.as_object_mut();
        let parts = fields.map(|fields| {
            fields.remove("status");
            (fields.remove("system_prompt"), fields.remove("mcp_servers"))
        });
        files.push((format!("{folder}/agent.json"), pretty(&document)));
        let (prompt, servers) = parts.unwrap_or_default();
        if let Some(Value::String(prompt)) = prompt {
            files.push((format!("{folder}/agent.system-prompt.md"), prompt.into_bytes()));
        }
        if let Some(servers) = servers {
            let document = json!({ "mcpServers": servers });
            files.push((format!("{folder}/agent.mcp.json"), pretty(&document)));
        }
        if blueprint.status == Status::Inactive {
            files.push((format!("{folder}/.disabled"), Vec::new()));
        }
    }
    for capability in capabilities::all(&app).await? {
        let folder = format!("capabilities/{}", capability.name);
        let mut document = capability.shown();
        let fields = document.as_object_mut();
        let parts = fields.map(|fields| (fields.remove("text"), fields.remove("mcp_servers")));
        files.push((format!("{folder}/capability.json"), pretty(&document)));
        let (text, servers) = parts.unwrap_or_default();
        if let Some(Value::String(text)) = text {
            files.push((format!("{folder}/capability.text.md"), text.into_bytes()));
        }
        if let Some(servers) = servers {
            let document = json!({ "mcpServers": servers });
            files.push((format!("{folder}/capability.mcp.json"), pretty(&document)));
        }
    }
    for script in scripts::all(&app).await? {
        let folder = format!("scripts/{}", script.name);
        files.push((format!("{folder}/script.json"), pretty(&script.manifest())));
        let program = script.script_content.into_bytes();
        files.push((format!("{folder}/{}", script.script_file), program));
    }
    for server in mcp_servers::all(&app).await? {
        let document = serde_json::to_value(&server).unwrap_or_default();
        files.push((format!("mcp-servers/{}/mcp-server.json", server.id), pretty(&document)));
    }
    let at = app.clock.wall();
    let name = at.0.strftime("config-%Y%m%d-%H%M%S.tar.gz");
    let packed = archive::pack(&files, at.unix_ms() / 1000)?;
    let headers = [
        (header::CONTENT_TYPE, "application/gzip".to_owned()),
        (header::CONTENT_DISPOSITION, format!("attachment; filename=\"{name}\"")),
    ];
    Ok((headers, packed).into_response())
}

/// What an archive holds, of each kind only where it has that folder.
#[derive(Default)]
struct Config {
    agents: Option<Vec<Blueprint>>,
    capabilities: Option<Vec<Capability>>,
    scripts: Option<Vec<Script>>,
    servers: Option<Vec<Server>>,
}

async fn import(
    State(app): State<Arc<App>>,
    Allowed { .. }: Allowed<ToAdminister>,
    headers: HeaderMap,
    body: Bytes,
) -> Done<Json<Value>> {
    let file = multipart::file(&headers, &body, "file")?;
    let name = file.name.to_ascii_lowercase();
    if !name.ends_with(".tar.gz") && !name.ends_with(".tgz") {
        return Err(Fault::new(400, "File must be a .tar.gz or .tgz archive"));
    }
    let files = archive::unpack(file.content)?;
    let config = read(&app, files)?;
    check(&app, &config).await?;
    let before = (blueprints::all(&app).await?, capabilities::all(&app).await?);
    let imported = (config.agents.clone(), config.capabilities.clone());
    replace(&app, &config).await?;
    let count = |list: Option<usize>| list.unwrap_or(0);
    let (agents, capabilities) =
        (imported.0.as_ref().map(Vec::len), imported.1.as_ref().map(Vec::len));
    Ok(Json(json!({
        "message": "Configuration imported",
        "agents_imported": count(agents),
        "capabilities_imported": count(capabilities),
        "agents_replaced": agents.map_or(0, |_| before.0.len()),
        "capabilities_replaced": capabilities.map_or(0, |_| before.1.len()),
        "scripts_imported": count(config.scripts.as_ref().map(Vec::len)),
        "mcp_servers_imported": count(config.servers.as_ref().map(Vec::len)),
    })))
}

type Folders = BTreeMap<String, BTreeMap<String, Vec<u8>>>;

/// Reads an archive: `kind/name/file`, also beneath one folder of its own.
fn read(app: &App, files: Vec<File>) -> Done<Config> {
    let mut kinds: BTreeMap<&str, Folders> = BTreeMap::new();
    const KINDS: [&str; 4] = ["agents", "capabilities", "scripts", "mcp-servers"];
    for (path, content) in files {
        let parts: Vec<&str> = path.split('/').filter(|part| !matches!(*part, "" | ".")).collect();
        let from = parts.iter().take(2).position(|part| KINDS.contains(part));
        let Some([kind, name, file]) = from.and_then(|from| parts.get(from..)) else { continue };
        let Some(kind) = KINDS.iter().find(|known| *known == kind) else { continue };
        let folders = kinds.entry(kind).or_default();
        folders.entry((*name).to_owned()).or_default().insert((*file).to_owned(), content);
    }
    if kinds.is_empty() {
        return Err(Fault::new(
            400,
            "Archive must contain an agents/ or capabilities/ directory with something in it",
        ));
    }
    let at = now(app);
    let each = |kind: &str| kinds.get(kind).into_iter().flatten();
    let mut config = Config::default();
    if kinds.contains_key("agents") {
        let mut all = Vec::new();
        for (name, files) in each("agents") {
            let mut document: Value = document(name, files, "agent.json")?;
            named(&mut document, "name", name, &at);
            if let Some(prompt) = text(files, "agent.system-prompt.md")? {
                document["system_prompt"] = prompt.into();
            }
            if let Some(servers) = servers(name, files, "agent.mcp.json")? {
                document["mcp_servers"] = servers;
            }
            if files.contains_key(".disabled") {
                document["status"] = "inactive".into();
            }
            all.push(typed(name, document)?);
        }
        config.agents = Some(all);
    }
    if kinds.contains_key("capabilities") {
        let mut all = Vec::new();
        for (name, files) in each("capabilities") {
            let mut document: Value = document(name, files, "capability.json")?;
            named(&mut document, "name", name, &at);
            if let Some(text) = text(files, "capability.text.md")? {
                document["text"] = text.into();
            }
            if let Some(servers) = servers(name, files, "capability.mcp.json")? {
                document["mcp_servers"] = servers;
            }
            all.push(typed(name, document)?);
        }
        config.capabilities = Some(all);
    }
    if kinds.contains_key("scripts") {
        let mut all = Vec::new();
        for (name, files) in each("scripts") {
            let mut document: Value = document(name, files, "script.json")?;
            named(&mut document, "name", name, &at);
            let file = document["script_file"].as_str().unwrap_or_default().to_owned();
            let content = text(files, &file)?.ok_or_else(|| {
                Fault::new(400, format!("Script '{name}' has no file {file:?} in the archive"))
            })?;
            document["script_content"] = content.into();
            all.push(typed(name, document)?);
        }
        config.scripts = Some(all);
    }
    if kinds.contains_key("mcp-servers") {
        let mut all = Vec::new();
        for (name, files) in each("mcp-servers") {
            let mut document: Value = document(name, files, "mcp-server.json")?;
            named(&mut document, "id", name, &at);
            all.push(typed(name, document)?);
        }
        config.servers = Some(all);
    }
    Ok(config)
}

fn broken(name: &str, what: impl std::fmt::Display) -> Fault {
    Fault::new(400, format!("Invalid configuration of '{name}': {what}"))
}

fn document(name: &str, files: &BTreeMap<String, Vec<u8>>, file: &str) -> Done<Value> {
    let bytes = files.get(file).ok_or_else(|| broken(name, format!("{file} is missing")))?;
    let document: Value = serde_json::from_slice(bytes).map_err(|error| broken(name, error))?;
    match document.is_object() {
        true => Ok(document),
        false => Err(broken(name, format!("{file} is not an object"))),
    }
}

fn text(files: &BTreeMap<String, Vec<u8>>, file: &str) -> Done<Option<String>> {
    let Some(bytes) = files.get(file) else { return Ok(None) };
    let text = String::from_utf8(bytes.clone()).map_err(|_| broken(file, "it is not UTF-8"))?;
    Ok(Some(text))
}

fn servers(name: &str, files: &BTreeMap<String, Vec<u8>>, file: &str) -> Done<Option<Value>> {
    if !files.contains_key(file) {
        return Ok(None);
    }
    Ok(document(name, files, file)?.get("mcpServers").cloned())
}

/// A folder's name is the name of what is in it.
fn named(document: &mut Value, key: &str, name: &str, at: &str) {
    document[key] = name.into();
    for time in ["created_at", "modified_at", "updated_at"] {
        if !document[time].is_string() {
            document[time] = at.into();
        }
    }
}

fn typed<T: DeserializeOwned>(name: &str, document: Value) -> Done<T> {
    serde_json::from_value(document).map_err(|error| broken(name, error))
}

/// Refuses what could not be made by the other calls, before anything is replaced.
async fn check(app: &App, config: &Config) -> Done<()> {
    for blueprint in config.agents.iter().flatten() {
        blueprints::check_one(blueprint)?;
        let ours = match blueprint.name.parse() {
            Ok(name) => stored(app.store.agent(&name).await)?,
            Err(_) => None,
        };
        if ours.is_some_and(|row| row.spec.driver.system().is_none()) {
            return Err(broken(
                &blueprint.name,
                "this name is that of an agent of Greenroom's own",
            ));
        }
    }
    for capability in config.capabilities.iter().flatten() {
        capabilities::check(app, capability, config.scripts.is_none()).await?;
    }
    for script in config.scripts.iter().flatten() {
        scripts::check(script)?;
    }
    for server in config.servers.iter().flatten() {
        mcp_servers::check(server)?;
    }
    Ok(())
}

/// Replaces each kind that the archive has, all in one commit.
async fn replace(app: &App, config: &Config) -> Done<()> {
    fn records<T: serde::Serialize>(
        all: &Option<Vec<T>>,
        kind: &'static str,
        name: impl Fn(&T) -> &str,
        into: &mut Vec<(&'static str, Vec<(String, String)>)>,
    ) {
        if let Some(all) = all {
            let body = |one: &T| serde_json::to_string(one).unwrap_or_default();
            into.push((kind, all.iter().map(|one| (name(one).to_owned(), body(one))).collect()));
        }
    }
    let before = blueprints::all(app).await?;
    let mut kinds = Vec::new();
    records(&config.agents, "agent", |one| one.name.as_str(), &mut kinds);
    records(&config.capabilities, "capability", |one| one.name.as_str(), &mut kinds);
    records(&config.scripts, "script", |one| one.name.as_str(), &mut kinds);
    records(&config.servers, "mcp_server", |one| one.id.as_str(), &mut kinds);
    let at = app.clock.wall();
    stored(app.store.replace_door_records(DOOR.as_str(), kinds, at).await)?;
    // What is in service follows from what is kept.
    let now = blueprints::all(app).await?;
    for gone in before.iter().filter(|one| now.iter().all(|new| new.name != one.name)) {
        blueprints::retire(app, &gone.name).await?;
    }
    for blueprint in &now {
        blueprints::keep(app, blueprint).await?;
    }
    scripts::wake_runners(app);
    Ok(())
}
