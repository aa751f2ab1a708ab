//! The keys of an agent file whose driver is `loop`.

use std::collections::BTreeMap;

use greenroom_core::agent::{Driver, Leftovers};
use greenroom_core::loop_spec::*;
use greenroom_core::{AgentName, Ms};
use serde::Deserialize;
use serde_json::{Number, Value};

use super::agent_file::{
    AgentFile, ApprovalsFile, DriverWord, LimitsFile, RunnerFile, StopFile, Text,
};
use super::template;
use super::workspace_file::WorkspaceFile;

/// What is wrong: a key, and what about it.
type Wrong = (String, String);

fn wrong<T>(key: impl Into<String>, message: impl Into<String>) -> Result<T, Wrong> {
    Err((key.into(), message.into()))
}

/// A whole file: the keys of every agent, and the loop's own.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LoopFile {
    name: AgentName,
    description: Option<String>,
    driver: DriverWord,
    approvals: Option<ApprovalsFile>,
    env: Option<BTreeMap<String, String>>,
    workspace: Option<WorkspaceFile>,
    stop: Option<StopFile>,
    leftovers: Option<Leftovers>,
    limits: Option<LimitsFile>,
    runner: Option<RunnerFile>,
    input_schema: Option<Value>,
    output_schema: Option<Value>,

    model: String,
    base_url: Option<String>,
    api_key: Option<String>,
    max_tokens: Option<u32>,
    temperature: Option<Number>,
    top_p: Option<Number>,
    silence: Option<Text<Ms>>,
    price: Option<Price>,
    #[serde(default)]
    fallback: Vec<ModelFile>,
    instruction: Option<String>,
    tools: Option<Vec<LoopTool>>,
    #[serde(default)]
    mcp: BTreeMap<String, McpFile>,
    #[serde(default)]
    sub_agents: Vec<AgentName>,
    max_iterations: Option<u32>,
    retry: Option<Text<Ms>>,
    compaction: Option<CompactionFile>,
    #[serde(default)]
    add_date: bool,
    #[serde(default)]
    add_environment_info: bool,
    #[serde(default)]
    add_prompt_files: Vec<String>,
    #[serde(default)]
    commands: BTreeMap<String, String>,
    structured_output: Option<StructuredFile>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ModelFile {
    model: String,
    base_url: Option<String>,
    api_key: Option<String>,
    max_tokens: Option<u32>,
    temperature: Option<Number>,
    top_p: Option<Number>,
    silence: Option<Text<Ms>>,
    price: Option<Price>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct McpFile {
    command: Option<Vec<String>>,
    #[serde(default)]
    env: BTreeMap<String, String>,
    url: Option<String>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    tools: Option<Vec<String>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct CompactionFile {
    at: u64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct StructuredFile {
    name: Option<String>,
    schema: Value,
}

/// Values that only the runner knows travel in the agent's environment, and the
/// description names the variable.
#[derive(Debug, Default)]
pub(super) struct Carried {
    pub(super) env: BTreeMap<String, String>,
}

impl Carried {
    /// A variable that will hold this value.
    pub(super) fn carry(&mut self, name: String, value: &str) -> Result<String, String> {
        template::check_value(value)?;
        self.env.insert(name.clone(), value.to_owned());
        Ok(name)
    }

    /// The same for a secret, which is never written where everybody reads it.
    fn key(&mut self, name: String, value: &str) -> Result<String, String> {
        let reference = value.starts_with("${env:") || value.starts_with("${secret:");
        if !(reference && value.ends_with('}')) {
            return Err(
                "must be \"${secret:NAME}\" or \"${env:NAME}\": a key is not written into a file \
                 that everybody is shown"
                    .to_owned(),
            );
        }
        self.carry(name, value)
    }
}

impl LoopFile {
    /// The same as any agent file, with its driver made.
    pub(super) fn agent(self) -> Result<AgentFile, Wrong> {
        let mut carried = Carried::default();
        let first = ModelFile {
            model: self.model,
            base_url: self.base_url,
            api_key: self.api_key,
            max_tokens: self.max_tokens,
            temperature: self.temperature,
            top_p: self.top_p,
            silence: self.silence,
            price: self.price,
        };
        let mut models = vec![first.check("", 0, &mut carried)?];
        for (at, model) in self.fallback.into_iter().enumerate() {
            models.push(model.check(&format!("fallback[{at}]."), at + 1, &mut carried)?);
        }
        let mut mcp = BTreeMap::new();
        for (name, file) in self.mcp {
            let spec = file.check(&name, &mut carried)?;
            mcp.insert(name, spec);
        }
        for file in &self.add_prompt_files {
            if file.is_empty() || file.starts_with('/') || file.split('/').any(|p| p == "..") {
                return wrong("add_prompt_files", format!("{file:?} is not beneath the workspace"));
            }
        }
        for name in self.commands.keys() {
            check_command(name).map_err(|message| (format!("commands.{name}"), message))?;
        }
        let (output_schema, output_name) = match (self.output_schema, self.structured_output) {
            (Some(_), Some(_)) => {
                return wrong("structured_output", "says the same as output_schema: use one");
            }
            (None, Some(structured)) => (Some(structured.schema), structured.name),
            (schema, None) => (schema, None),
        };
        if let Some(name) = &output_name {
            let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-');
            if name.is_empty() || name.len() > 64 || !name.bytes().all(plain) {
                let message = "has letters, digits, '_' and '-', 64 at most";
                return wrong("structured_output.name", message);
            }
        }
        if self.compaction.as_ref().is_some_and(|c| c.at < 1000) {
            return wrong("compaction.at", "is a number of tokens, 1000 at least");
        }
        let mut tools = self.tools.unwrap_or_else(|| LoopTool::ALL.to_vec());
        tools.sort();
        tools.dedup();
        let spec = LoopSpec {
            models,
            instruction: self.instruction.unwrap_or_default(),
            tools,
            mcp,
            sub_agents: self.sub_agents,
            team: BTreeMap::new(),
            called: None,
            max_iterations: self.max_iterations.unwrap_or(LoopSpec::MAX_ITERATIONS),
            retry_ms: self.retry.map_or(LoopSpec::RETRY, |t| t.0),
            compact_at: self.compaction.map(|c| c.at),
            add_date: self.add_date,
            add_environment_info: self.add_environment_info,
            add_prompt_files: self.add_prompt_files,
            commands: self.commands,
            output_name,
            choices: BTreeMap::new(),
            warnings: Vec::new(),
        };
        let mut env = self.env.unwrap_or_default();
        for name in carried.env.keys() {
            if env.contains_key(name) {
                return wrong(format!("env.{name}"), "is a name this driver uses itself");
            }
        }
        env.extend(carried.env);
        Ok(AgentFile {
            description: self.description,
            approvals: self.approvals,
            env: Some(env),
            workspace: self.workspace,
            stop: self.stop,
            leftovers: self.leftovers,
            limits: self.limits,
            runner: self.runner,
            input_schema: self.input_schema,
            output_schema,
            made: Some(Driver::Loop(Box::new(spec))),
            ..AgentFile::bare(self.name, self.driver)
        })
    }
}

/// `PROVIDER/MODEL`.
pub(super) fn model_name(text: &str) -> Result<(Provider, String), String> {
    let (provider, model) = text.split_once('/').unwrap_or((text, ""));
    let words = Provider::ALL.map(Provider::as_str).join(", ");
    let Some(provider) = Provider::of(provider) else {
        return Err(format!(
            "must be PROVIDER/MODEL with a provider of {words}; {provider:?} is none of them"
        ));
    };
    if model.trim().is_empty() || model.contains(char::is_control) {
        return Err("must be PROVIDER/MODEL, such as openai/gpt-5-mini".to_owned());
    }
    Ok((provider, model.to_owned()))
}

/// The address of an endpoint or a server.
pub(super) fn check_url(url: &str) -> Result<(), String> {
    let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
    let host = rest.map(|rest| rest.split(['/', '?', '#']).next().unwrap_or_default());
    match host {
        Some(host) if host.contains('@') => {
            Err("must not hold a password: use api_key or headers".to_owned())
        }
        Some(host) if !host.is_empty() && !url.contains(|c: char| c <= ' ') => Ok(()),
        _ => Err("must be an address that begins with http:// or https://".to_owned()),
    }
}

/// The name of a command, without its slash.
pub(super) fn check_command(name: &str) -> Result<(), String> {
    let plain = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.is_empty() || !name.chars().all(plain) {
        return Err("a command's name has letters, digits, '-', '_' and '.'".to_owned());
    }
    Ok(())
}

/// A number between bounds.
pub(super) fn between(number: &Option<Number>, most: f64) -> Result<(), String> {
    match number.as_ref().and_then(Number::as_f64) {
        Some(value) if !(0.0..=most).contains(&value) => {
            Err(format!("must be between 0 and {most}"))
        }
        _ => Ok(()),
    }
}

impl ModelFile {
    fn check(self, at: &str, index: usize, carried: &mut Carried) -> Result<ModelSpec, Wrong> {
        let at = |key: &'static str| move |message: String| (format!("{at}{key}"), message);
        let (provider, model) = model_name(&self.model).map_err(at("model"))?;
        if let Some(url) = &self.base_url {
            check_url(url).map_err(at("base_url"))?;
        }
        between(&self.temperature, 2.0).map_err(at("temperature"))?;
        between(&self.top_p, 1.0).map_err(at("top_p"))?;
        if let Some(price) = &self.price {
            between(&Some(price.input.clone()), 1e6).map_err(at("price.input"))?;
            between(&Some(price.output.clone()), 1e6).map_err(at("price.output"))?;
        }
        if self.max_tokens == Some(0) {
            return Err(at("max_tokens")("must be at least 1".to_owned()));
        }
        let key_env = match &self.api_key {
            None => None,
            Some(key) => {
                let name = format!("LOOP_MODEL_KEY_{index}");
                Some(carried.key(name, key).map_err(at("api_key"))?)
            }
        };
        Ok(ModelSpec {
            provider,
            model,
            base_url: self.base_url,
            key_env,
            max_tokens: self.max_tokens,
            temperature: self.temperature,
            top_p: self.top_p,
            silence_ms: self.silence.map_or(ModelSpec::SILENCE, |t| t.0),
            price: self.price,
        })
    }
}

/// The name of an MCP server, which goes before the names of its tools.
pub(super) fn check_mcp_name(name: &str) -> Result<(), String> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-');
    if name.is_empty() || name.len() > 32 || !name.bytes().all(plain) || name.contains("__") {
        return Err(
            "an MCP server's name has letters, digits, '-' and single '_', 32 at most: it \
                    goes before the names of its tools"
                .to_owned(),
        );
    }
    Ok(())
}

/// Puts values into variables, and says which.
pub(super) fn carry_all(
    prefix: &str,
    values: &BTreeMap<String, String>,
    carried: &mut Carried,
) -> Result<BTreeMap<String, String>, String> {
    let mut names = BTreeMap::new();
    for (at, (name, value)) in values.iter().enumerate() {
        let variable = carried.carry(format!("{prefix}_{at}"), value)?;
        names.insert(name.clone(), variable);
    }
    Ok(names)
}

impl McpFile {
    fn check(self, name: &str, carried: &mut Carried) -> Result<McpSpec, Wrong> {
        let key = |key: &str| format!("mcp.{name}{key}");
        check_mcp_name(name).map_err(|message| (key(""), message))?;
        let word = name.to_ascii_uppercase().replace('-', "_");
        let at = match (self.command, self.url) {
            (Some(command), None) => {
                if command.first().is_none_or(String::is_empty) {
                    return wrong(key(".command"), "must name a program first");
                }
                if command.iter().any(|part| part.contains('\0')) {
                    return wrong(key(".command"), "must not contain NUL characters");
                }
                if !self.headers.is_empty() {
                    return wrong(key(".headers"), "belongs to a server with a url");
                }
                for variable in self.env.keys() {
                    template::check_name(variable)
                        .map_err(|message| (format!("{}.{variable}", key(".env")), message))?;
                }
                let env = carry_all(&format!("LOOP_MCP_{word}"), &self.env, carried)
                    .map_err(|message| (key(".env"), message))?;
                McpAt::Stdio { command, env }
            }
            (None, Some(url)) => {
                check_url(&url).map_err(|message| (key(".url"), message))?;
                if !self.env.is_empty() {
                    return wrong(key(".env"), "belongs to a server with a command");
                }
                let headers = carry_all(&format!("LOOP_MCP_{word}"), &self.headers, carried)
                    .map_err(|message| (key(".headers"), message))?;
                McpAt::Http { url, headers }
            }
            _ => return wrong(key(""), "has either a command or a url"),
        };
        Ok(McpSpec { at, tools: self.tools })
    }
}
