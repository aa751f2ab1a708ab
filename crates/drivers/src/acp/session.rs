//! Opening a session with the agent: a new one, or the one of an earlier compute.

use greenroom_core::agent::AcpSpec;
use greenroom_core::drive::Open;
use serde_json::{Value, json};

use super::wire::{self, Connection, RpcError};
use crate::Failure;
use crate::shim::Shim;

/// A session with the agent.
#[derive(Debug, Default)]
pub(super) struct Session {
    /// The agent's name for it.
    pub(super) id: String,
    /// Why the agent does not know what was said before, where it should.
    pub(super) forgot: Option<String>,
    /// The agent has told again all that was said before.
    pub(super) replayed: bool,
}

fn failed(what: &str, error: &RpcError) -> Failure {
    Failure::new("start_error", format!("the agent refused {what}: {error}"))
}

/// From the first word to a session that takes prompts.
pub(super) async fn open(
    agent: &Connection,
    shim: &Shim,
    open: &Open,
    spec: &AcpSpec,
) -> Result<Session, Failure> {
    let hello = agent.call("initialize", wire::initialize()).await;
    let hello = hello.map_err(|error| failed("initialize", &error))?;
    let spoken = hello["protocolVersion"].as_u64().unwrap_or(0);
    if spoken != u64::from(wire::VERSION) {
        let text =
            format!("the agent speaks version {spoken} of the protocol, not {}", wire::VERSION);
        return Err(Failure::new("protocol", text));
    }
    say_info(shim, "agent", json!({ "agent": hello["agentInfo"] }));
    if let Some(method) = &spec.auth {
        log_in(agent, &hello, method).await?;
    }
    let (session, answer) = take_up(agent, &hello, open).await?;
    shim.conversation(&session.id);
    if let Some(reason) = &session.forgot {
        shim.context_fresh(reason);
    }
    if !answer["modes"].is_null() {
        say_info(shim, "modes", json!({ "modes": answer["modes"] }));
    }
    if !answer["configOptions"].is_null() {
        say_info(shim, "config", json!({ "options": answer["configOptions"] }));
    }
    set_up(agent, &session.id, &answer, spec).await?;
    Ok(session)
}

fn say_info(shim: &Shim, about: &str, data: Value) {
    if let super::updates::Said::Event(kind, data) = super::updates::info(about, data) {
        shim.event(kind, data);
    }
}

async fn log_in(agent: &Connection, hello: &Value, method: &str) -> Result<(), Failure> {
    match agent.call("authenticate", json!({ "methodId": method })).await {
        Ok(_) => Ok(()),
        Err(error) => {
            let text = format!(
                "the agent refused to log in with {method:?}: {error}; it offers {}",
                methods(hello)
            );
            Err(Failure::new("auth", text))
        }
    }
}

fn methods(hello: &Value) -> String {
    let methods = hello["authMethods"].as_array().cloned().unwrap_or_default();
    let ids: Vec<_> = methods.iter().filter_map(|method| method["id"].as_str()).collect();
    if ids.is_empty() { "no method".to_owned() } else { ids.join(", ") }
}

/// Greenroom itself, for the agent: it can start, watch and stop child sessions. Its token is
/// the agent's own, which reaches no other and answers no approval.
fn our_server() -> Value {
    let env: Vec<Value> = ["GREENROOM_URL", "GREENROOM_TOKEN", "GREENROOM_SESSION"]
        .into_iter()
        .filter_map(|name| Some(json!({ "name": name, "value": std::env::var(name).ok()? })))
        .collect();
    // Through this process, which lives as long as the agent: the file may have been replaced.
    let program = format!("/proc/{}/exe", std::process::id());
    json!({ "name": "greenroom", "command": program, "args": ["mcp"], "env": env })
}

/// The session of before, where there was one and the agent still has it; else a new one.
async fn take_up(
    agent: &Connection,
    hello: &Value,
    open: &Open,
) -> Result<(Session, Value), Failure> {
    let capabilities = &hello["agentCapabilities"];
    let mut forgot = None;
    if let Some(id) = &open.conversation {
        let known = json!({ "sessionId": id, "cwd": open.workspace, "mcpServers": [our_server()] });
        let ways = [
            ("session/resume", capabilities["sessionCapabilities"]["resume"].is_object()),
            ("session/load", capabilities["loadSession"] == true),
        ];
        for (method, offered) in ways {
            if !offered {
                continue;
            }
            match agent.call(method, known.clone()).await {
                Ok(answer) => {
                    let replayed = method == "session/load";
                    return Ok((Session { id: id.clone(), forgot: None, replayed }, answer));
                }
                Err(error) => forgot = Some(format!("the agent refused {method} of {id}: {error}")),
            }
        }
        let cannot = || format!("the agent can take up no conversation; {id} is lost to it");
        forgot.get_or_insert_with(cannot);
    } else if open.resumed {
        forgot = Some("the agent never named its conversation".to_owned());
    }
    let new = json!({ "cwd": open.workspace, "mcpServers": [our_server()] });
    let answer = agent.call("session/new", new).await.map_err(|error| match error.code {
        wire::AUTH_REQUIRED => {
            let text = format!(
                "the agent wants a login ({error}): set `auth` in its agent file to one of {}, \
                 and give it what that needs",
                methods(hello)
            );
            Failure::new("auth", text)
        }
        _ => failed("session/new", &error),
    })?;
    match answer["sessionId"].as_str() {
        Some(id) => Ok((Session { id: id.to_owned(), forgot, replayed: false }, answer)),
        None => Err(Failure::new("protocol", "the agent's answer to session/new has no sessionId")),
    }
}

/// Mode and options, as the agent file asks. What the agent does not offer is an error, not
/// silence.
async fn set_up(
    agent: &Connection,
    id: &str,
    answer: &Value,
    spec: &AcpSpec,
) -> Result<(), Failure> {
    if let Some(mode) = &spec.mode {
        let offered = ids(&answer["modes"]["availableModes"]);
        if !offered.contains(mode) {
            return Err(not_offered("mode", mode, &offered));
        }
        let wanted = json!({ "sessionId": id, "modeId": mode });
        let set = agent.call("session/set_mode", wanted).await;
        set.map_err(|error| failed("session/set_mode", &error))?;
    }
    for (option, value) in &spec.config {
        let offered = ids(&answer["configOptions"]);
        if !offered.contains(option) {
            return Err(not_offered("config option", option, &offered));
        }
        let wanted = json!({ "sessionId": id, "configId": option, "value": value });
        let set = agent.call("session/set_config_option", wanted).await;
        set.map_err(|error| failed(&format!("{option} = {value}"), &error))?;
    }
    Ok(())
}

fn ids(list: &Value) -> Vec<String> {
    let list = list.as_array().cloned().unwrap_or_default();
    list.iter().filter_map(|entry| entry["id"].as_str().map(str::to_owned)).collect()
}

fn not_offered(what: &str, wanted: &str, offered: &[String]) -> Failure {
    let offered = if offered.is_empty() { "none".to_owned() } else { offered.join(", ") };
    Failure::new("start_error", format!("the agent has no {what} {wanted:?}; it offers {offered}"))
}
