//! A blueprint with everything it refers to: texts and servers of its capabilities, how its
//! script is called, addresses of MCP servers.

use serde_json::{Map, Value, json};

use super::fault::{Done, Fault};
use super::registry::blueprints::{Blueprint, Kind};
use super::registry::capabilities::Capability;
use super::registry::{capabilities, mcp_servers, scripts};
use crate::app::App;

/// Between the parts of a prompt.
const BETWEEN: &str = "\n\n---\n\n";

/// A blueprint with its capabilities and its script.
pub(super) async fn resolved(app: &App, blueprint: &Blueprint) -> Done<Blueprint> {
    let mut whole = blueprint.clone();
    let name = &blueprint.name;
    let mut prompt: Vec<String> = whole.system_prompt.take().into_iter().collect();
    let mut servers = whole.mcp_servers.take().unwrap_or_default();
    for capability in &blueprint.capabilities {
        let Some(found) = capabilities::get(app, capability).await? else {
            return Err(Fault::new(
                422,
                format!(
                    "Capability resolution failed for agent '{name}': capability '{capability}' not found"
                ),
            ));
        };
        let Capability { text, mcp_servers, script, .. } = found;
        prompt.extend(text.filter(|text| !text.is_empty()));
        for (server, reference) in mcp_servers.unwrap_or_default() {
            if servers.contains_key(&server) {
                return Err(Fault::new(
                    422,
                    format!(
                        "MCP server conflict in agent '{name}': '{server}' is named more than once"
                    ),
                ));
            }
            servers.insert(server, reference);
        }
        if let Some(script) = script {
            let Some(found) = scripts::get(app, &script).await? else {
                return Err(Fault::new(
                    422,
                    format!(
                        "Script resolution failed for agent '{name}': script '{script}' not found"
                    ),
                ));
            };
            prompt.push(usage(&found));
        }
    }
    if let Some(script) = blueprint.script.as_ref().filter(|_| blueprint.kind == Kind::Procedural) {
        let Some(found) = scripts::get(app, script).await? else {
            return Err(Fault::Detail(
                400,
                json!({ "error": "script_not_found",
                "message": format!("Script resolution failed for agent '{name}': script '{script}' not found"),
                "agent_name": name, "script_name": script }),
            ));
        };
        whole.parameters_schema = found.parameters_schema.or(whole.parameters_schema);
        whole.command = Some(format!("scripts/{script}/{}", found.script_file));
    }
    if blueprint.kind == Kind::Autonomous {
        whole.system_prompt = (!prompt.is_empty()).then(|| prompt.join(BETWEEN));
        whole.mcp_servers = (!servers.is_empty()).then_some(servers);
    }
    Ok(whole)
}

/// How an agent calls a script.
fn usage(script: &scripts::Script) -> String {
    let arguments = script.parameters_schema.as_ref().and_then(|schema| schema.get("properties"));
    let arguments: Vec<String> = arguments
        .and_then(Value::as_object)
        .into_iter()
        .flat_map(Map::keys)
        .map(|name| format!(" --{name} <value>"))
        .collect();
    format!(
        "## Local Script: {}\n\n{}\n\nUsage:\n\n```\nuv run --script scripts/{}/{}{}\n```",
        script.name,
        script.description,
        script.name,
        script.script_file,
        arguments.concat()
    )
}

/// A blueprint as a runner reads it: what it is, without what is only for its editor.
pub(super) fn description(whole: &Blueprint) -> Value {
    let mut description = whole.shown();
    if let Some(fields) = description.as_object_mut() {
        for key in ["created_at", "modified_at", "status", "capabilities", "hooks", "demands"] {
            fields.remove(key);
        }
    }
    description
}

/// Puts the addresses of MCP servers in the place of their references, with what the
/// registry knows of their configuration.
pub(super) async fn references(app: &App, description: &mut Value) -> Done<()> {
    let Some(servers) = description.get_mut("mcp_servers").and_then(Value::as_object_mut) else {
        return Ok(());
    };
    for (name, server) in servers.iter_mut() {
        let reference = server.get("ref").and_then(Value::as_str).unwrap_or_default().to_owned();
        let Some(known) = mcp_servers::get(app, &reference).await? else {
            return Err(Fault::Detail(
                400,
                json!({ "error": "mcp_ref_resolution_failed",
                "message": format!("MCP server '{reference}' is not in the registry"),
                "server_name": name, "ref": reference }),
            ));
        };
        let mut config = known.default_config.clone().unwrap_or_default();
        let given = server.get("config").and_then(Value::as_object).cloned();
        config.extend(given.unwrap_or_default().into_iter().filter(|(_, value)| !value.is_null()));
        let mut missing = Vec::new();
        for (field, about) in known.config_schema.iter().flatten() {
            if !config.contains_key(field) {
                match about.default.clone().filter(|value| !value.is_null()) {
                    Some(value) => _ = config.insert(field.clone(), value),
                    None if about.required => missing.push(field.clone()),
                    None => {}
                }
            }
        }
        if !missing.is_empty() {
            return Err(Fault::Detail(
                400,
                json!({ "error": "missing_required_mcp_config",
                "message": format!("MCP server '{name}' lacks required configuration: {}", missing.join(", ")),
                "server_name": name, "missing_fields": missing }),
            ));
        }
        *server = json!({ "url": known.url, "config": config });
    }
    Ok(())
}
