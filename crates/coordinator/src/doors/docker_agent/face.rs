//! What a client is told of an agent when a turn begins.

use greenroom_core::Session;
use greenroom_core::agent::{Driver, Preset};
use serde_json::{Value, json};

use super::agents::{head, looping, tool_count};
use super::overrides;
use crate::app::App;
use crate::error::ApiResult;
use crate::service::{following, models};

/// Tools of ours that only look, or ask for themselves: they begin with their call.
const AT_ONCE: [&str; 5] = ["read_file", "list", "search", "todo", "delegate"];

/// What a client is told of an agent.
#[derive(Debug, Clone, Default)]
pub(super) struct Face {
    /// The session.
    pub(super) session: String,
    /// The agent's name, in every event.
    pub(super) agent: String,
    /// `provider/model`, or the driver.
    pub(super) model: String,
    /// One line for people.
    pub(super) description: String,
    /// The agent and its team.
    pub(super) team: Vec<Value>,
    /// Tools it is known to have.
    pub(super) tools: usize,
    /// Whether servers are started for it.
    pub(super) has_servers: bool,
    /// Calls of the model in a run; 0 for any number.
    pub(super) max_iterations: u32,
    /// Whether it says what it is going to do before it asks whether it may.
    pub(super) calls_then_asks: bool,
    /// Whether it is docker-agent itself, whose events go on as they were said.
    pub(super) is_docker_agent: bool,
}

impl Face {
    /// Of the agent of a session, as it is now.
    pub(super) async fn of(app: &App, session: &Session) -> ApiResult<Self> {
        let agent = following::pinned(app, session).await?;
        let spec = &agent.row.spec;
        let description = spec.description.clone().unwrap_or_default();
        let name = session.agent.name.to_string();
        let mut face = Self {
            session: session.id.to_string(),
            agent: name.clone(),
            model: spec.driver.word().to_owned(),
            description: description.clone(),
            team: Vec::new(),
            tools: 0,
            has_servers: false,
            max_iterations: 0,
            calls_then_asks: false,
            is_docker_agent: matches!(
                &spec.driver,
                Driver::Preset(preset) if preset.preset == Preset::DockerAgent
            ),
        };
        let entry = |name: &str, description: &str, model: &str| {
            let (provider, model) = model.split_once('/').unwrap_or(("", model));
            json!({
                "name": name, "description": description, "provider": provider, "model": model,
            })
        };
        let Some(own) = looping(&agent) else {
            face.team = vec![entry(&name, &description, &face.model)];
            return Ok(face);
        };
        let worker = overrides::worker(session);
        let model = |member| {
            let now = models::in_use(session, spec, member);
            now.first().map(|model| model.name()).unwrap_or_default()
        };
        face.agent = head(own).to_owned();
        face.model = model(worker.as_ref());
        face.team = vec![entry(head(own), &description, &model(None))];
        face.team.extend(own.team.keys().map(|name| entry(name.as_str(), "", &model(Some(name)))));
        face.tools = tool_count(own);
        face.has_servers = !own.mcp.is_empty();
        face.max_iterations = own.max_iterations;
        face.calls_then_asks = true;
        Ok(face)
    }

    /// Whether a tool is known to be used only once it was decided that it may be.
    pub(super) fn waits_for_leave(&self, tool: &str) -> bool {
        self.calls_then_asks && !AT_ONCE.contains(&tool)
    }
}
