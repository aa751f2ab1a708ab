//! The agent: what it has, and how it uses a tool.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use greenroom_core::approval::Decision;
use greenroom_core::drive::Open;
use greenroom_core::loop_spec::{LoopSpec, LoopTool, ModelSpec};
use greenroom_core::record::OutputKind;
use greenroom_core::{AgentName, RunId};
use serde_json::{Value, json};

use super::api::{Api, Worker};
use super::history::History;
use super::mcp::Mcp;
use super::model::{Call, Form, Model, Tool};
use super::remember;
use super::tools::{self, Bench};
use crate::policy::{self, Use, Verdict};
use crate::shim::{Shim, permission_ask};

/// The tool by which work is handed to another agent.
pub const DELEGATE: &str = "delegate";
/// Of any tool's answer, so much is kept.
const MOST_OUTPUT: usize = 200_000;

/// An agent that is up.
pub struct Agent {
    /// Who is told.
    pub shim: Shim,
    /// Its description.
    pub spec: LoopSpec,
    /// Agents that are described with it.
    pub team: Arc<BTreeMap<AgentName, LoopSpec>>,
    /// The form of its answers.
    pub form: Option<Form>,
    /// Checks answers against that form.
    pub validator: Option<jsonschema::Validator>,
    /// The models, in the order in which they are tried.
    pub models: Vec<Box<dyn Model>>,
    /// What its own tools work with.
    pub bench: Bench,
    /// The tools of others.
    pub mcp: Mcp,
    /// Where child sessions are made, for an agent that has sub-agents.
    pub api: Option<Api>,
    /// The conversation.
    pub history: History,
    /// The run in progress.
    pub run: Option<RunId>,
    /// The conversation was this long when a model last read it, in tokens.
    pub context: u64,
    /// What was said of an answer that is not over.
    pub partial: Arc<Mutex<String>>,
    /// Children nobody waits for any more.
    pub forsaken: Arc<Mutex<Vec<String>>>,
    /// What it was opened with.
    pub open: Open,
    /// Its variables.
    pub variables: Variables,
    /// Which member of the team it is, rather than its head.
    pub member: Option<AgentName>,
    /// The models of its description, before any that was chosen for the session.
    pub described: Vec<ModelSpec>,
    /// Models that were chosen and cannot be called.
    pub refused: Option<Vec<ModelSpec>>,
    /// What this compute's calls are known by, so that making a child twice is once.
    pub scope: String,
}

/// Where variables are looked up.
pub type Variables = Arc<dyn Fn(&str) -> Option<String> + Send + Sync>;

/// Forgets a child that has ended; dropped before, it remembers to have it stopped.
struct Waiting {
    child: Option<String>,
    forsaken: Arc<Mutex<Vec<String>>>,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if let Some(child) = self.child.take() {
            self.forsaken.lock().unwrap_or_else(PoisonError::into_inner).push(child);
        }
    }
}

impl Agent {
    /// Says an event and folds it: what is in the log is what is in the conversation.
    pub fn say(&mut self, kind: OutputKind, data: Value) {
        self.history.event(kind.event_type(), &data);
        self.shim.event(kind, data);
    }

    /// A word for people, which is no part of the conversation.
    pub fn warn(&self, text: &str) {
        let data = json!({ "stream": "driver", "text": format!("{}\n", text.trim_end()) });
        self.shim.event(OutputKind::Log, data);
    }

    /// The tools, as the model is told of them.
    pub fn tools(&self) -> Vec<Tool> {
        let mut all: Vec<Tool> =
            self.spec.tools.iter().map(|tool| tools::describe(*tool)).collect();
        all.extend(self.mcp.tools().cloned());
        if !self.spec.sub_agents.is_empty() {
            all.push(Tool {
                name: DELEGATE.to_owned(),
                description: "Hands a task to another agent, which works on it in a workspace of \
                              its own, and says its answer. Tell it everything it needs to know."
                    .to_owned(),
                schema: json!({
                    "type": "object",
                    "properties": {
                        "agent": { "type": "string", "enum": self.spec.sub_agents },
                        "task": { "type": "string", "description": "What it is to do" },
                    },
                    "required": ["agent", "task"],
                }),
            });
        }
        all
    }

    fn own(&self, name: &str) -> Option<LoopTool> {
        self.spec.tools.iter().copied().find(|tool| tool.as_str() == name)
    }

    /// Uses a tool, if it may: what the model is told of it, and whether it went wrong.
    pub async fn use_tool(&mut self, call: &Call) -> (String, bool) {
        let output = match self.allowed(call).await {
            Ok(()) => self.used(call).await,
            Err(why) => Err(why),
        };
        let (text, is_error) = match output {
            Ok(text) => (text, false),
            Err(text) => (text, true),
        };
        (shortened(text), is_error)
    }

    async fn allowed(&mut self, call: &Call) -> Result<(), String> {
        if !call.input.is_object() {
            return Err(format!(
                "the input is not a JSON object: {}",
                call.input.as_str().map_or_else(|| call.input.to_string(), str::to_owned)
            ));
        }
        let own = self.own(&call.tool);
        let delegates = call.tool == DELEGATE && !self.spec.sub_agents.is_empty();
        if own.is_none() && !delegates && !self.mcp.has(&call.tool) {
            let names: Vec<String> = self.tools().into_iter().map(|tool| tool.name).collect();
            let names = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
            return Err(format!("there is no tool {:?}; there are: {names}", call.tool));
        }
        // A sub-agent asks for itself, by its own rules.
        let reads = delegates || own.is_some_and(LoopTool::reads);
        let wish = Use { tool: &call.tool, input: &call.input, reads };
        // That it looks at its own files is not worth a word each time.
        if reads && matches!(policy::judge(&self.shim.policies(), wish), Verdict::Allow { .. }) {
            return Ok(());
        }
        let mut ask =
            permission_ask(tools::title(&call.tool, &call.input), &call.tool, call.input.clone());
        ask.options = remember::options(&call.tool, self.shim.policies().own.mode);
        let answer = self.shim.permission_for_longer(wish, ask, remember::answer).await;
        match answer.decision {
            Decision::Allow => Ok(()),
            Decision::Deny => {
                let why = answer.reason.unwrap_or_else(|| "no reason was given".to_owned());
                Err(format!("this was not allowed: {why}"))
            }
        }
    }

    async fn used(&mut self, call: &Call) -> Result<String, String> {
        if let Some(tool) = self.own(&call.tool) {
            let done = tools::run(&self.bench, tool, &call.input).await;
            if let Some(plan) = done.plan {
                self.say(OutputKind::Plan, plan);
            }
            return done.output;
        }
        if call.tool == DELEGATE {
            return self.delegate(call).await;
        }
        self.mcp.call(&call.tool, &call.input).await
    }

    async fn delegate(&self, call: &Call) -> Result<String, String> {
        let field = |name: &str| call.input.get(name).and_then(Value::as_str).unwrap_or_default();
        let (name, task) = (field("agent"), field("task"));
        let Some(agent) = self.spec.sub_agents.iter().find(|agent| agent.as_str() == name) else {
            return Err(format!("there is no sub-agent {name:?}"));
        };
        if task.trim().is_empty() {
            return Err("\"task\" is empty".to_owned());
        }
        let api = self.api.as_ref().ok_or("this session has no coordinator to ask")?;
        let key = format!("{}-{}", self.scope, call.id);
        let worker = match self.team.contains_key(agent) {
            true => Worker::Member(agent),
            false => Worker::Agent(agent),
        };
        let child = api.create_child(&worker, task, &key).await?;
        let mut waiting =
            Waiting { child: Some(child.clone()), forsaken: Arc::clone(&self.forsaken) };
        let end = api.follow_child(&child).await?;
        waiting.child = None;
        match (end.kind.as_str(), end.error) {
            ("run.completed", _) => Ok(end.answer),
            (kind, error) => {
                let how = kind.strip_prefix("run.").unwrap_or(kind);
                let why = error.map(|error| format!(": {error}")).unwrap_or_default();
                Err(format!("session {child} of agent {agent} ended {how}{why}\n{}", end.answer))
            }
        }
    }

    /// Stops children nobody waits for any more.
    pub async fn stop_forsaken(&self) {
        let children = {
            let mut forsaken = self.forsaken.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *forsaken)
        };
        if let Some(api) = &self.api {
            let stops = children.iter().map(|child| api.stop_child(child));
            for stopped in futures::future::join_all(stops).await {
                if let Err(error) = stopped {
                    self.warn(&error);
                }
            }
        }
    }
}

/// The beginning of a text that is too long, and a word about it.
fn shortened(mut text: String) -> String {
    if text.len() > MOST_OUTPUT {
        let cut = (0..=MOST_OUTPUT).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        let left = text.len() - cut;
        text.truncate(cut);
        text.push_str(&format!("\n[{left} bytes left out]"));
    }
    text
}

/// Variables of an agent, as its environment has them.
pub fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Variables that hold what commands are not given.
pub fn hidden(spec: &LoopSpec) -> Vec<String> {
    use greenroom_core::loop_spec::McpAt;
    let none = BTreeMap::new();
    let servers = spec.mcp.values().flat_map(|server| match &server.at {
        McpAt::Stdio { env, .. } => env.values(),
        McpAt::Http { headers, .. } if !headers.is_empty() => headers.values(),
        McpAt::Http { .. } => none.values(),
    });
    let models = spec.models.iter().chain(spec.choices.values());
    models.filter_map(|model| model.key_env.as_ref()).chain(servers).cloned().collect()
}
