//! Capabilities: pieces of prompt, servers and scripts that blueprints share.

use std::sync::Arc;

use axum::extract::State;
use axum::routing::get as on_get;
use axum::{Json, Router};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::super::DOOR;
use super::super::fault::{Done, Fault};
use super::blueprints::{self, Servers};
use super::{check_name, given, now, scripts};
use crate::app::App;
use crate::auth::{Allowed, ToAdminister, ToRead};
use crate::doors::records::Records;
use crate::error::ApiResult;
use crate::extract::{Body, Path};

const CAPABILITIES: Records = Records::of(DOOR, "capability");

/// What it brings.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(in super::super) enum Kind {
    Script,
    Mcp,
    #[default]
    Text,
}

/// A capability, as it is kept and shown.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(in super::super) struct Capability {
    pub name: String,
    #[serde(default)]
    pub description: String,
    #[serde(rename = "type", default)]
    pub kind: Kind,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub script: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mcp_servers: Option<Servers>,
    #[serde(default)]
    pub created_at: String,
    #[serde(default)]
    pub modified_at: String,
}

impl Capability {
    pub(in super::super) fn shown(&self) -> Value {
        serde_json::to_value(self).unwrap_or_default()
    }

    fn summary(&self) -> Value {
        let servers: Vec<&String> =
            self.mcp_servers.iter().flatten().map(|(name, _)| name).collect();
        json!({
            "name": self.name, "description": self.description, "type": self.kind,
            "has_script": self.script.is_some(), "script_name": self.script,
            "has_text": self.text.is_some(), "has_mcp": !servers.is_empty(),
            "mcp_server_names": servers, "created_at": self.created_at,
            "modified_at": self.modified_at,
        })
    }
}

pub(super) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/capabilities", on_get(list).post(create))
        .route("/capabilities/{name}", on_get(show).patch(change).delete(remove))
}

/// A capability.
pub(in super::super) async fn get(app: &App, name: &str) -> ApiResult<Option<Capability>> {
    CAPABILITIES.get(app, name).await
}

/// All of them.
pub(in super::super) async fn all(app: &App) -> ApiResult<Vec<Capability>> {
    let all: Vec<(String, Capability)> = CAPABILITIES.all(app).await?;
    Ok(all.into_iter().map(|(_, one)| one).collect())
}

/// Keeps one, and what the blueprints that use it become by it.
pub(in super::super) async fn keep(app: &App, capability: &Capability) -> Done<()> {
    CAPABILITIES.put(app, &capability.name, capability).await?;
    for name in blueprints::with_capability(app, &capability.name).await? {
        if let Some(blueprint) = blueprints::get(app, &name).await? {
            blueprints::keep(app, &blueprint).await?;
        }
    }
    Ok(())
}

pub(in super::super) async fn drop_one(app: &App, name: &str) -> ApiResult<bool> {
    CAPABILITIES.remove(app, name).await
}

fn not_found(name: &str) -> Fault {
    let shown: String = name.chars().take(140).collect();
    Fault::new(404, format!("Capability not found: {shown}"))
}

/// Refuses what does not belong to its kind, and a script that is not there.
pub(in super::super) async fn check(app: &App, one: &Capability, scripts_too: bool) -> Done<()> {
    check_name("capability", &one.name)?;
    let refuse = |kind: &str, field: &str| {
        Err(Fault::new(400, format!("Capability type '{kind}' cannot have '{field}'")))
    };
    match one.kind {
        Kind::Text if one.script.is_some() => return refuse("text", "script"),
        Kind::Text if one.mcp_servers.is_some() => return refuse("text", "mcp_servers"),
        Kind::Mcp if one.script.is_some() => return refuse("mcp", "script"),
        Kind::Script if one.mcp_servers.is_some() => return refuse("script", "mcp_servers"),
        Kind::Script if one.script.is_none() => {
            return Err(Fault::new(400, "Capability type 'script' requires 'script'"));
        }
        Kind::Mcp if one.mcp_servers.is_none() => {
            return Err(Fault::new(400, "Capability type 'mcp' requires 'mcp_servers'"));
        }
        _ => {}
    }
    if let Some(script) = one.script.as_ref().filter(|_| scripts_too)
        && scripts::get(app, script).await?.is_none()
    {
        return Err(Fault::new(400, format!("Script not found: {script}")));
    }
    Ok(())
}

async fn list(State(app): State<Arc<App>>, Allowed { .. }: Allowed<ToRead>) -> Done<Json<Value>> {
    let all = all(&app).await?;
    Ok(Json(all.iter().map(Capability::summary).collect()))
}

async fn show(
    State(app): State<Arc<App>>,
    Allowed { .. }: Allowed<ToRead>,
    Path(name): Path<String>,
) -> Done<Json<Value>> {
    let found = get(&app, &name).await?;
    found.map(|one| Json(one.shown())).ok_or_else(|| not_found(&name))
}

#[derive(Debug, Deserialize)]
struct New {
    name: String,
    description: String,
    #[serde(rename = "type", default)]
    kind: Kind,
    script: Option<String>,
    text: Option<String>,
    mcp_servers: Option<Servers>,
}

async fn create(
    State(app): State<Arc<App>>,
    Allowed { .. }: Allowed<ToAdminister>,
    Body(new): Body<New>,
) -> Done<(StatusCode, Json<Value>)> {
    let at = now(&app);
    let capability = Capability {
        name: new.name,
        description: new.description,
        kind: new.kind,
        script: new.script.filter(|script| !script.is_empty()),
        text: new.text.filter(|text| !text.is_empty()),
        mcp_servers: new.mcp_servers.filter(|servers| !servers.is_empty()),
        created_at: at.clone(),
        modified_at: at,
    };
    check(&app, &capability, true).await?;
    if !CAPABILITIES.add(&app, &capability.name, &capability).await? {
        return Err(Fault::new(409, format!("Capability already exists: {}", capability.name)));
    }
    Ok((StatusCode::CREATED, Json(capability.shown())))
}

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
    text: Option<Option<String>>,
    #[serde(deserialize_with = "given")]
    mcp_servers: Option<Option<Servers>>,
}

async fn change(
    State(app): State<Arc<App>>,
    Allowed { .. }: Allowed<ToAdminister>,
    Path(name): Path<String>,
    Body(patch): Body<Patch>,
) -> Done<Json<Value>> {
    let mut one = get(&app, &name).await?.ok_or_else(|| not_found(&name))?;
    one.description = patch.description.flatten().unwrap_or(one.description);
    one.kind = patch.kind.flatten().unwrap_or(one.kind);
    if let Some(Some(script)) = patch.script {
        one.script = Some(script).filter(|script| !script.is_empty());
    }
    if let Some(Some(text)) = patch.text {
        one.text = Some(text).filter(|text| !text.is_empty());
    }
    if let Some(Some(servers)) = patch.mcp_servers {
        one.mcp_servers = Some(servers).filter(|servers| !servers.is_empty());
    }
    check(&app, &one, true).await?;
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
    let users = blueprints::with_capability(&app, &name).await?;
    if !users.is_empty() {
        let detail = format!("Capability is referenced by agents: {}", users.join(", "));
        return Err(Fault::new(409, detail));
    }
    drop_one(&app, &name).await?;
    Ok(StatusCode::NO_CONTENT)
}
