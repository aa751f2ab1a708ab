//! The YAML of docker-agent, as far as it can be served: a file of several agents becomes
//! one agent of ours, its root, with the others as its team. Every key is served, or warned
//! of by its name, or an error; `docs/loop.md` has the table.

mod keys;
mod models;
mod toolsets;

use std::collections::{BTreeMap, BTreeSet};

use greenroom_core::AgentName;
use greenroom_core::agent::Driver;
use greenroom_core::approval::{Mode, Rule};
use greenroom_core::loop_spec::*;
use serde_json::Value;

use self::keys::{Keys, Wrong};
use self::models::Models;
use self::toolsets::{Shared, Toolsets, tool_named};
use super::agent_file::{AgentFile, ApprovalsFile, DriverWord};
use super::loop_file::{Carried, check_command};

/// Keys of an agent without which it is still itself.
const WARNED: [(&str, &str); 9] = [
    ("welcome_message", "nobody is welcomed"),
    ("num_history_items", "the whole conversation is kept, and summed up where it is too long"),
    ("add_description_parameter", "tools are described as they are"),
    ("max_consecutive_tool_calls", "max_iterations bounds a run"),
    ("max_old_tool_call_tokens", "the whole conversation is kept"),
    ("max_tool_result_tokens", "200 kB of a tool's answer are kept"),
    ("redact_secrets", "secrets that Greenroom gave an agent are always redacted"),
    ("cache", "answers are not kept for later"),
    ("use_commands", "all commands of the file can be used"),
];

/// Keys of an agent without which it would be another.
const REFUSED: [&str; 10] = [
    "handoffs",
    "hooks",
    "skills",
    "rag",
    "code_mode_tools",
    "harness",
    "budget",
    "use_skills",
    "inject_memories",
    "evaluators",
];

/// What is being read.
struct Reading {
    models: Models,
    shared: Shared,
    carried: Carried,
    warnings: Vec<String>,
}

/// One agent of the file.
struct Member {
    spec: LoopSpec,
    description: Option<String>,
    output_schema: Option<Value>,
    mode: Option<(Mode, bool)>,
}

/// Reads a whole file. `name` is the agent's, since such files have none.
pub(super) fn read(value: Value, name: AgentName) -> Result<AgentFile, Wrong> {
    let mut file = Keys::of("", value)?;
    let version: Option<Value> = file.take("version")?;
    if version.is_some_and(|version| !version.is_string() && !version.is_number()) {
        return Err(file.wrong("version", "must be a number"));
    }
    // What is there for people who look for agents has no effect on one.
    let mut metadata = file.take_map("metadata")?;
    let described = match &mut metadata {
        Some(metadata) => metadata.take::<String>("description")?,
        None => None,
    };
    let mut carried = Carried::default();
    let mut warnings = Vec::new();
    let models = Models::read(&mut file, &mut carried, &mut warnings)?;
    let shared = file.take::<Shared>("mcps")?.unwrap_or_default();
    let mut reading = Reading { models, shared, carried, warnings };
    let rules = rules(&mut file)?;
    let runtime = match file.take_map("runtime")? {
        Some(mut runtime) => {
            let mode = safety(&mut runtime)?;
            runtime.end(&[])?;
            mode
        }
        None => None,
    };
    let agents = file.take_entries("agents")?;
    let names: BTreeSet<String> = agents.iter().map(|(name, _)| name.clone()).collect();
    let root =
        if names.contains("root") { Some("root") } else { agents.first().map(|a| a.0.as_str()) };
    let root = root.ok_or_else(|| file.wrong("agents", "must hold an agent"))?.to_owned();
    file.end(&["rag", "hooks", "evaluators", "budget", "skills"])?;
    let mut members = BTreeMap::new();
    for (name, keys) in agents {
        let member = reading.agent(keys, &names)?;
        members.insert(name, member);
    }
    let Some(mut head) = members.remove(&root) else {
        return Err(("agents".into(), "is empty".into()));
    };
    let mut team = BTreeMap::new();
    for (member, mut made) in members {
        if made.output_schema.is_some() {
            let message = "is served for the first agent alone";
            return Err((format!("agents.{member}.structured_output"), message.to_owned()));
        }
        if let Some(description) = made.description.take() {
            let told = format!("Of the agents you can hand work to, {member}: {description}");
            if head.spec.sub_agents.iter().any(|agent| agent.as_str() == member) {
                head.spec.instruction =
                    format!("{}\n\n{told}", head.spec.instruction).trim().to_owned();
            }
        }
        let key: AgentName = agent_name(&member).map_err(|m| (format!("agents.{member}"), m))?;
        team.insert(key, made.spec);
    }
    head.spec.team = team;
    head.spec.called = (root != "root").then(|| agent_name(&root).ok()).flatten();
    head.spec.choices = reading.models.choices();
    head.spec.warnings = reading.warnings;
    let (mode, headless) = head.mode.or(runtime).unwrap_or_default();
    let [allow, ask, deny] = rules;
    Ok(AgentFile {
        description: head.description.or(described),
        env: Some(reading.carried.env),
        approvals: Some(ApprovalsFile { mode, headless, allow, ask, deny, timeout: None }),
        output_schema: head.output_schema,
        made: Some(Driver::Loop(Box::new(head.spec))),
        ..AgentFile::bare(name, DriverWord::Loop)
    })
}

fn agent_name(name: &str) -> Result<AgentName, String> {
    name.parse().map_err(|error| format!("{error}"))
}

/// How much is asked, in its words.
fn safety(keys: &mut Keys) -> Result<Option<(Mode, bool)>, Wrong> {
    let word: Option<String> = keys.take("safety")?;
    Ok(match word.as_deref() {
        None => None,
        Some("strict") => Some((Mode::Strict, false)),
        Some("balanced") => Some((Mode::Balanced, false)),
        Some("restricted") => Some((Mode::Balanced, true)),
        Some("autonomous") => Some((Mode::Autonomous, false)),
        Some(_) => {
            let known = "must be strict, balanced, restricted or autonomous";
            return Err(keys.wrong("safety", known));
        }
    })
}

fn rules(file: &mut Keys) -> Result<[Vec<Rule>; 3], Wrong> {
    let Some(mut keys) = file.take_map("permissions")? else { return Ok(Default::default()) };
    let mut all: [Vec<Rule>; 3] = Default::default();
    for (list, key) in all.iter_mut().zip(["allow", "ask", "deny"]) {
        for pattern in keys.take::<Vec<String>>(key)?.unwrap_or_default() {
            list.push(rule(&pattern).map_err(|message| keys.wrong(key, message))?);
        }
    }
    keys.end(&[])?;
    Ok(all)
}

/// `tool` or `tool:argument=pattern`.
pub(crate) fn rule(pattern: &str) -> Result<Rule, String> {
    let (tool, argument) = match pattern.split_once(':') {
        None => (pattern, None),
        Some((tool, rest)) => {
            let Some((name, value)) = rest.split_once('=') else {
                return Err(format!("{pattern:?} must be TOOL or TOOL:ARGUMENT=PATTERN"));
            };
            if rest.contains(':') {
                return Err(format!("{pattern:?}: a rule about several arguments is not served"));
            }
            if !matches!(name, "cmd" | "command" | "path" | "url" | "urls") {
                return Err(format!("{pattern:?}: a rule about {name:?} is not served"));
            }
            (tool, Some(value))
        }
    };
    if tool.is_empty() {
        return Err(format!("{pattern:?} names no tool"));
    }
    let tool = tool_named(tool).map_or(tool, |tool| tool.as_str());
    Ok(Rule(match argument {
        None => tool.to_owned(),
        Some(value) => format!("{tool}({value})"),
    }))
}

impl Reading {
    fn agent(&mut self, mut keys: Keys, names: &BTreeSet<String>) -> Result<Member, Wrong> {
        let model: Option<String> = keys.take("model")?;
        let model = model.ok_or_else(|| keys.wrong("model", "is required"))?;
        let found = self.models.find(&model, &mut self.carried);
        let mut spec = LoopSpec::of(found.map_err(|message| keys.wrong("model", message))?);
        if let Some(mut fallback) = keys.take_map("fallback")? {
            for model in fallback.take::<Vec<String>>("models")?.unwrap_or_default() {
                let found = self.models.find(&model, &mut self.carried);
                spec.models.push(found.map_err(|message| fallback.wrong("models", message))?);
            }
            fallback.warn(
                &[
                    ("retries", "a model is tried again for two minutes"),
                    ("cooldown", "a run stays with the model that worked"),
                ],
                &mut self.warnings,
            );
            fallback.end(&[])?;
        }
        let description = keys.take("description")?;
        spec.instruction = keys.take::<String>("instruction")?.unwrap_or_default();
        let mut toolsets = Toolsets::default();
        let list: Vec<Value> = keys.take("toolsets")?.unwrap_or_default();
        for (at, value) in list.into_iter().enumerate() {
            let set = Keys::of(keys.at(&format!("toolsets[{at}]")), value)?;
            toolsets.add(set, &self.shared, &mut self.carried, &mut self.warnings)?;
        }
        toolsets.tools.sort();
        toolsets.tools.dedup();
        (spec.tools, spec.mcp) = (toolsets.tools, toolsets.mcp);
        for more in toolsets.instructions.iter().filter(|text| !text.is_empty()) {
            spec.instruction = format!("{}\n\n{more}", spec.instruction).trim().to_owned();
        }
        for name in keys.take::<Vec<String>>("sub_agents")?.unwrap_or_default() {
            if !names.contains(&name) {
                let message =
                    format!("{name:?} is not in agents: agents of elsewhere are not served");
                return Err(keys.wrong("sub_agents", message));
            }
            let name = agent_name(&name).map_err(|message| keys.wrong("sub_agents", message))?;
            spec.sub_agents.push(name);
        }
        // There, 0 is without end; here, too.
        spec.max_iterations = keys.take("max_iterations")?.unwrap_or(0);
        spec.add_date = keys.take("add_date")?.unwrap_or(false);
        spec.add_environment_info = keys.take("add_environment_info")?.unwrap_or(false);
        spec.add_prompt_files = keys.take("add_prompt_files")?.unwrap_or_default();
        spec.commands = commands(&mut keys)?;
        let mut output_schema = None;
        if let Some(mut output) = keys.take_map("structured_output")? {
            spec.output_name = output.take("name")?;
            output_schema = output.take("schema")?;
            if output_schema.is_none() {
                return Err(output.wrong("schema", "is required"));
            }
            // A result always has to fit, and its schema says what it is.
            let _: Option<bool> = output.take("strict")?;
            let _: Option<String> = output.take("description")?;
            output.end(&[])?;
        }
        let mode = safety(&mut keys)?;
        keys.warn(&WARNED, &mut self.warnings);
        keys.end(&REFUSED)?;
        Ok(Member { spec, description, output_schema, mode })
    }
}

/// `commands`: a map, or a list of maps, of names to prompts.
fn commands(keys: &mut Keys) -> Result<BTreeMap<String, String>, Wrong> {
    let mut commands = BTreeMap::new();
    let value: Option<Value> = keys.take("commands")?;
    let maps = match value {
        None => return Ok(commands),
        Some(Value::Array(list)) => list,
        Some(map) => vec![map],
    };
    for map in maps {
        let Value::Object(map) = map else {
            return Err(keys.wrong("commands", "must be a map of names to prompts"));
        };
        for (name, value) in map {
            let at = format!("commands.{name}");
            check_command(&name).map_err(|message| keys.wrong(&at, message))?;
            let text = match value {
                Value::String(text) => text,
                other => {
                    let mut command = Keys::of(keys.at(&at), other)?;
                    let text: Option<String> = command.take("instruction")?;
                    let _: Option<String> = command.take("description")?;
                    let text = text.ok_or_else(|| command.wrong("instruction", "is required"))?;
                    command.end(&["agent"])?;
                    text
                }
            };
            if text.contains("!`") || text.trim_start().starts_with('!') {
                return Err(keys.wrong(&at, "runs a command first, which is not served"));
            }
            commands.insert(name, text);
        }
    }
    Ok(commands)
}
