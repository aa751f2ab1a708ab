//! MCP servers that blueprints and capabilities refer to by name.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::State;
use axum::routing::get as on_get;
use axum::{Json, Router};
use http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::super::DOOR;
use super::super::fault::{Done, Fault};
use super::{check_name, now};
use crate::app::App;
use crate::auth::{Allowed, ToAdminister, ToRead};
use crate::doors::records::Records;
use crate::error::ApiResult;
use crate::extract::{Body, Path};

const SERVERS: Records = Records::of(DOOR, "mcp_server");

/// What one field of a server's configuration is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(in super::super) struct Field {
    #[serde(rename = "type")]
    pub kind: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    #[serde(default)]
    pub required: bool,
    #[serde(default)]
    pub sensitive: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<Value>,
}

/// A server, as it is kept and shown.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(in super::super) struct Server {
    pub id: String,
    pub name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    pub url: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_schema: Option<BTreeMap<String, Field>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_config: Option<Map<String, Value>>,
    #[serde(default)]
    pub created_at: String,
    #[serde(default)]
    pub updated_at: String,
}

impl Server {
    /// As clients read it. What is marked as sensitive is kept and not shown.
    pub(in super::super) fn shown(&self) -> Value {
        let mut shown = self.clone();
        let schema = self.config_schema.clone().unwrap_or_default();
        for (name, value) in shown.default_config.iter_mut().flatten() {
            if schema.get(name).is_some_and(|field| field.sensitive) {
                *value = "…".into();
            }
        }
        for field in shown.config_schema.iter_mut().flat_map(BTreeMap::values_mut) {
            if field.sensitive && field.default.is_some() {
                field.default = Some("…".into());
            }
        }
        serde_json::to_value(shown).unwrap_or_default()
    }
}

pub(super) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/mcp-servers", on_get(list).post(create))
        .route("/mcp-servers/{id}", on_get(show).put(change).delete(remove))
}

/// A server.
pub(in super::super) async fn get(app: &App, id: &str) -> ApiResult<Option<Server>> {
    SERVERS.get(app, id).await
}

/// All of them.
pub(in super::super) async fn all(app: &App) -> ApiResult<Vec<Server>> {
    let all: Vec<(String, Server)> = SERVERS.all(app).await?;
    Ok(all.into_iter().map(|(_, one)| one).collect())
}

pub(in super::super) async fn keep(app: &App, server: &Server) -> ApiResult<()> {
    SERVERS.put(app, &server.id, server).await
}

pub(in super::super) async fn drop_one(app: &App, id: &str) -> ApiResult<bool> {
    SERVERS.remove(app, id).await
}

fn not_found(id: &str) -> Fault {
    let shown: String = id.chars().take(140).collect();
    Fault::new(404, format!("MCP server not found: {shown}"))
}

/// Refuses what is no server.
pub(in super::super) fn check(server: &Server) -> Done<()> {
    check_name("MCP server", &server.id)?;
    if server.url.is_empty() || server.url.chars().count() > 2000 {
        return Err(Fault::new(422, "url has 1 to 2000 characters"));
    }
    Ok(())
}

async fn list(State(app): State<Arc<App>>, Allowed { .. }: Allowed<ToRead>) -> Done<Json<Value>> {
    let all = all(&app).await?;
    Ok(Json(all.iter().map(Server::shown).collect()))
}

async fn show(
    State(app): State<Arc<App>>,
    Allowed { .. }: Allowed<ToRead>,
    Path(id): Path<String>,
) -> Done<Json<Value>> {
    let found = get(&app, &id).await?;
    found.map(|one| Json(one.shown())).ok_or_else(|| not_found(&id))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct New {
    id: String,
    name: String,
    description: Option<String>,
    url: String,
    config_schema: Option<BTreeMap<String, Field>>,
    default_config: Option<Map<String, Value>>,
}

async fn create(
    State(app): State<Arc<App>>,
    Allowed { .. }: Allowed<ToAdminister>,
    Body(new): Body<New>,
) -> Done<(StatusCode, Json<Value>)> {
    let at = now(&app);
    let server = Server {
        id: new.id,
        name: new.name,
        description: new.description,
        url: new.url,
        config_schema: new.config_schema,
        default_config: new.default_config,
        created_at: at.clone(),
        updated_at: at,
    };
    check(&server)?;
    if !SERVERS.add(&app, &server.id, &server).await? {
        return Err(Fault::new(409, format!("MCP server already exists: {}", server.id)));
    }
    Ok((StatusCode::CREATED, Json(server.shown())))
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Patch {
    name: Option<String>,
    description: Option<String>,
    url: Option<String>,
    config_schema: Option<BTreeMap<String, Field>>,
    default_config: Option<Map<String, Value>>,
}

async fn change(
    State(app): State<Arc<App>>,
    Allowed { .. }: Allowed<ToAdminister>,
    Path(id): Path<String>,
    Body(patch): Body<Patch>,
) -> Done<Json<Value>> {
    let mut one = get(&app, &id).await?.ok_or_else(|| not_found(&id))?;
    one.name = patch.name.unwrap_or(one.name);
    one.url = patch.url.unwrap_or(one.url);
    // Empty clears: what is absent stays.
    one.description = patch.description.or(one.description).filter(|text| !text.is_empty());
    one.config_schema = patch.config_schema.or(one.config_schema).filter(|all| !all.is_empty());
    if let Some(mut config) = patch.default_config {
        // What was shown as a sign stands for what is kept.
        let before = one.default_config.unwrap_or_default();
        for (name, value) in &mut config {
            if *value == "…" {
                *value = before.get(name).cloned().unwrap_or_default();
            }
        }
        one.default_config = Some(config).filter(|all| !all.is_empty());
    }
    check(&one)?;
    one.updated_at = now(&app);
    keep(&app, &one).await?;
    Ok(Json(one.shown()))
}

async fn remove(
    State(app): State<Arc<App>>,
    Allowed { .. }: Allowed<ToAdminister>,
    Path(id): Path<String>,
) -> Done<StatusCode> {
    match drop_one(&app, &id).await? {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(not_found(&id)),
    }
}
