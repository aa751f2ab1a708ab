//! Agent files: YAML with checked keys, defaults, and errors that say where they are.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::Path;

use greenroom_core::AgentSpec;
use greenroom_core::agent::*;
use greenroom_core::approval::{self, Policy, Rule};
use greenroom_core::{AgentName, Bytes, Limits, Ms};
use serde::Deserialize;
use serde::de::{self, Deserializer, Visitor};
use serde_json::Value;

use super::docker_yaml;
use super::loop_file::LoopFile;
use super::template;
use super::workspace_file::WorkspaceFile;

/// A file larger than this is no agent file.
pub const MAX_BYTES: usize = 1 << 20;

/// What is wrong with an agent file, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.text())]
pub struct AgentFileError {
    /// The file, as it was named.
    pub file: String,
    /// The line, from 1, where it is known.
    pub line: Option<u64>,
    /// The key, where it is about one: `limits.idle`.
    pub key: Option<String>,
    /// What is wrong.
    pub message: String,
}

impl AgentFileError {
    fn text(&self) -> String {
        let mut text = self.file.clone();
        if let Some(line) = self.line {
            text.push_str(&format!(":{line}"));
        }
        if let Some(key) = &self.key {
            text.push_str(&format!(": {key}"));
        }
        format!("{text}: {}", self.message)
    }
}

/// Reads an agent file. `file` is only for errors.
pub fn parse(text: &str, file: &str) -> Result<AgentSpec, AgentFileError> {
    let fail = |line: Option<u64>, key: Option<String>, message: String| AgentFileError {
        file: file.to_owned(),
        line,
        key,
        message,
    };
    if text.len() > MAX_BYTES {
        return Err(fail(None, None, "an agent file has 1 MiB at most".to_owned()));
    }
    let placed = |(line, key, message)| fail(line, key, message);
    let word: DriverOnly = read(text).map_err(placed)?;
    let raw = match word.driver {
        Some(DriverWord::Loop) => read::<LoopFile>(text).map_err(placed)?.agent(),
        // Only docker-agent's files have agents, and none of them has a driver.
        None if word.agents.is_some() => {
            let stem = stem(file);
            let name = stem.parse().map_err(|_| {
                let message = format!("the file's name is the agent's, and {stem:?} is no name");
                fail(None, None, message)
            })?;
            docker_yaml::read(read::<Value>(text).map_err(placed)?, name)
        }
        _ => Ok(read::<AgentFile>(text).map_err(placed)?),
    };
    raw.and_then(AgentFile::check)
        .map_err(|(key, message)| fail(line_of(text, &key), Some(key), message))
}

/// Reads YAML that is no agent file, and says what is wrong with it in the same way.
pub fn yaml<T: serde::de::DeserializeOwned>(text: &str, file: &str) -> Result<T, AgentFileError> {
    read(text).map_err(|(line, key, message)| AgentFileError {
        file: file.to_owned(),
        line,
        key,
        message,
    })
}

/// How a file is called, or an image, without the end of its name: an agent's name where the
/// file does not say one.
pub(super) fn stem(file: &str) -> &str {
    if let Some(image) = file.strip_prefix("oci:") {
        let name = image.rsplit('/').next().unwrap_or_default();
        return name.split(['@', ':']).next().unwrap_or_default();
    }
    let is_url = file.contains("://");
    let end = file.find(['?', '#']).filter(|_| is_url).unwrap_or(file.len());
    Path::new(&file[..end]).file_stem().and_then(OsStr::to_str).unwrap_or_default()
}

type Place = (Option<u64>, Option<String>, String);

fn read<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, Place> {
    let mut key = None;
    // `no` in a schema is a word, and so is `0755`: YAML 1.1 is not spoken here.
    let options = serde_saphyr::options! {
        strict_booleans: true,
        leading_zero_numbers_as_strings: true,
        underscored_numbers_as_strings: true,
    };
    let read = serde_saphyr::with_deserializer_from_str_with_options(text, options, |yaml| {
        serde_path_to_error::deserialize(yaml).map_err(|error| {
            let path = error.path().to_string();
            key = (path != "." && path != "?").then_some(path);
            error.into_inner()
        })
    });
    read.map_err(|error: serde_saphyr::Error| {
        let error = error.without_snippet();
        let line = error.location().map(|at| at.line()).filter(|line| *line > 0);
        let mut message = error.to_string();
        // The line is said once, before the message.
        if let Some(cut) = message.rfind(" at line ").or_else(|| message.rfind("\n --> ")) {
            message.truncate(cut);
        }
        // It offers to be told otherwise, which is not for the author of a file to do.
        if let Some(cut) = message.find(", set DuplicateKeyPolicy") {
            message.truncate(cut);
        }
        (line, key, message.trim().to_owned())
    })
}

/// The line of a dotted key, found by its indentation. Good for errors, not for more.
fn line_of(text: &str, key: &str) -> Option<u64> {
    let mut parts = key.split('.');
    let mut wanted = parts.next()?;
    let mut found = None;
    for (number, line) in (1..).zip(text.lines()) {
        let bare = line.trim_start();
        let is_key =
            bare.strip_prefix(wanted).is_some_and(|rest| rest.trim_start().starts_with(':'));
        if is_key {
            found = Some(number);
            match parts.next() {
                Some(next) => wanted = next,
                None => break,
            }
        }
    }
    found
}

/// What decides how the rest is read.
#[derive(Debug, Deserialize)]
struct DriverOnly {
    driver: Option<DriverWord>,
    agents: Option<de::IgnoredAny>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AgentFile {
    pub(super) name: AgentName,
    pub(super) description: Option<String>,
    pub(super) driver: DriverWord,
    pub(super) command: Option<Vec<String>>,
    pub(super) prompt_via: Option<PromptVia>,
    pub(super) stdout: Option<Stdout>,
    pub(super) lifecycle: Option<Lifecycle>,
    pub(super) preset: Option<Preset>,
    pub(super) args: Option<Vec<String>>,
    pub(super) mode: Option<String>,
    pub(super) config: Option<BTreeMap<String, String>>,
    pub(super) auth: Option<String>,
    pub(super) protocol: Option<HostedProtocol>,
    pub(super) ready: Option<String>,
    pub(super) approvals: Option<ApprovalsFile>,
    pub(super) env: Option<BTreeMap<String, String>>,
    pub(super) workspace: Option<WorkspaceFile>,
    pub(super) stop: Option<StopFile>,
    pub(super) leftovers: Option<Leftovers>,
    pub(super) limits: Option<LimitsFile>,
    pub(super) runner: Option<RunnerFile>,
    pub(super) input_schema: Option<Value>,
    pub(super) output_schema: Option<Value>,
    /// The driver, where its own keys were read before.
    #[serde(skip)]
    pub(super) made: Option<Driver>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum DriverWord {
    Command,
    Acp,
    Hosted,
    Loop,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ApprovalsFile {
    #[serde(default)]
    pub(super) mode: approval::Mode,
    #[serde(default)]
    pub(super) headless: bool,
    #[serde(default)]
    pub(super) allow: Vec<Rule>,
    #[serde(default)]
    pub(super) ask: Vec<Rule>,
    #[serde(default)]
    pub(super) deny: Vec<Rule>,
    pub(super) timeout: Option<Text<Ms>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StopFile {
    cancel_grace: Option<Text<Ms>>,
    grace: Option<Text<Ms>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LimitsFile {
    idle: Option<Text<Ms>>,
    run: Option<Text<Ms>>,
    start: Option<Text<Ms>>,
    ttl: Option<Text<Ms>>,
    unused: Option<Text<Ms>>,
    memory: Option<Text<Bytes>>,
    pids: Option<u32>,
    output: Option<Text<Bytes>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RunnerFile {
    labels: Option<BTreeMap<String, String>>,
}

/// A value written as text with a unit. A bare number is refused: nobody can tell seconds
/// from milliseconds by looking at it.
#[derive(Debug)]
pub(super) struct Text<T>(pub(super) T);

impl<'de, T> Deserialize<'de> for Text<T>
where
    T: std::str::FromStr,
    T::Err: std::fmt::Display,
{
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct AsText<T>(std::marker::PhantomData<T>);
        impl<T> Visitor<'_> for AsText<T>
        where
            T: std::str::FromStr,
            T::Err: std::fmt::Display,
        {
            type Value = Text<T>;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a number with its unit")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Text<T>, E> {
                text.trim().parse().map(Text).map_err(E::custom)
            }
        }
        from.deserialize_str(AsText(std::marker::PhantomData))
    }
}

/// Whether it can stand in a request's first line, as a path of this very server.
fn is_path(text: &str) -> bool {
    let good = |byte: u8| byte.is_ascii_graphic() && byte != b'#';
    text.starts_with('/') && !text.starts_with("//") && text.bytes().all(good)
}

impl AgentFile {
    /// A file that says nothing but this.
    pub(super) fn bare(name: AgentName, driver: DriverWord) -> Self {
        Self {
            name,
            description: None,
            driver,
            command: None,
            prompt_via: None,
            stdout: None,
            lifecycle: None,
            preset: None,
            args: None,
            mode: None,
            config: None,
            auth: None,
            protocol: None,
            ready: None,
            approvals: None,
            env: None,
            workspace: None,
            stop: None,
            leftovers: None,
            limits: None,
            runner: None,
            input_schema: None,
            output_schema: None,
            made: None,
        }
    }

    fn check(self) -> Result<AgentSpec, (String, String)> {
        let bad = |key: &str, message: &str| (key.to_owned(), message.to_owned());
        let driver = self.driver()?;
        let env = self.env.unwrap_or_default();
        for (name, value) in &env {
            template::check_name(name)
                .and_then(|()| template::check_value(value))
                .map_err(|message| (format!("env.{name}"), message))?;
        }
        let workspace = match self.workspace {
            Some(workspace) => workspace.check()?,
            None => WorkspaceFrom::Empty,
        };
        let defaults = driver.graces();
        let stop = match self.stop {
            Some(stop) => Graces {
                cancel_grace_ms: stop.cancel_grace.map_or(defaults.cancel_grace_ms, |t| t.0),
                grace_ms: stop.grace.map_or(defaults.grace_ms, |t| t.0),
            },
            None => defaults,
        };
        let limits = match self.limits {
            Some(limits) => limits.check()?,
            None => Limits::default(),
        };
        for (key, schema) in
            [("input_schema", &self.input_schema), ("output_schema", &self.output_schema)]
        {
            if let Some(schema) = schema {
                crate::schema::compile(schema)
                    .map_err(|error| (key.to_owned(), format!("is not a JSON Schema: {error}")))?;
            }
        }
        if self.description.as_deref().is_some_and(|text| text.len() > 1000) {
            return Err(bad("description", "has 1000 bytes at most"));
        }
        Ok(AgentSpec {
            name: self.name,
            description: self.description,
            driver,
            env,
            workspace,
            stop,
            leftovers: self.leftovers.unwrap_or_default(),
            limits,
            runner_labels: self.runner.and_then(|runner| runner.labels).unwrap_or_default(),
            input_schema: self.input_schema,
            output_schema: self.output_schema,
            approvals: self.approvals.map(ApprovalsFile::policy).unwrap_or_default(),
        })
    }

    /// Keys of one driver are refused with another: what is said and not done is worse
    /// than an error.
    fn foreign_key(&self) -> Option<(&'static str, &'static str)> {
        let driver = self.driver;
        let command = driver == DriverWord::Command;
        let plain = command && self.preset.is_none();
        let hosted = driver == DriverWord::Hosted;
        [
            ("prompt_via", self.prompt_via.is_some(), plain, "driver: command"),
            ("stdout", self.stdout.is_some(), plain, "driver: command"),
            ("lifecycle", self.lifecycle.is_some(), plain, "driver: command"),
            ("preset", self.preset.is_some(), command, "driver: command"),
            ("args", self.args.is_some(), command && !plain, "a preset"),
            ("mode", self.mode.is_some(), driver == DriverWord::Acp, "driver: acp"),
            ("config", self.config.is_some(), driver == DriverWord::Acp, "driver: acp"),
            ("auth", self.auth.is_some(), driver == DriverWord::Acp, "driver: acp"),
            ("protocol", self.protocol.is_some(), hosted, "driver: hosted"),
            ("ready", self.ready.is_some(), hosted, "driver: hosted"),
            ("approvals", self.approvals.is_some(), !plain && !hosted, "a driver that asks"),
        ]
        .into_iter()
        .find(|(_, given, fits, _)| *given && !*fits)
        .map(|(key, _, _, whose)| (key, whose))
    }

    fn driver(&self) -> Result<Driver, (String, String)> {
        let bad = |key: &str, message: &str| Err((key.to_owned(), message.to_owned()));
        if let Some((key, whose)) = self.foreign_key() {
            let here = match self.preset {
                Some(preset) => format!("preset: {}", preset.as_str()),
                None => format!("driver: {}", self.driver.as_str()),
            };
            return Err((key.to_owned(), format!("belongs to {whose}, not to {here}")));
        }
        match self.driver {
            DriverWord::Command => {}
            DriverWord::Acp => {
                return Ok(Driver::Acp(AcpSpec {
                    command: self.command("acp", "[opencode, acp]")?,
                    mode: self.mode.clone(),
                    config: self.config.clone().unwrap_or_default(),
                    auth: self.auth.clone(),
                }));
            }
            DriverWord::Hosted => {
                if self.ready.as_deref().is_some_and(|path| !is_path(path)) {
                    return bad("ready", "must be a path that begins with /, such as /health");
                }
                return Ok(Driver::Hosted(HostedSpec {
                    command: self.command("hosted", "[python3, agent.py]")?,
                    protocol: self.protocol.unwrap_or_default(),
                    ready: self.ready.clone(),
                }));
            }
            DriverWord::Loop => {
                let made = self.made.clone();
                return made.ok_or_else(|| ("driver".to_owned(), "has no model".to_owned()));
            }
        }
        if let Some(preset) = self.preset {
            return self.preset(preset);
        }
        let command = self.command("command", "[python3, fix.py]")?;
        let (stdout, lifecycle) =
            (self.stdout.unwrap_or_default(), self.lifecycle.unwrap_or_default());
        if lifecycle == Lifecycle::Persistent {
            if stdout != Stdout::Jsonl {
                return bad(
                    "lifecycle",
                    "\"persistent\" needs stdout: jsonl, or nobody can tell where an answer ends",
                );
            }
            if self.prompt_via.is_some_and(|via| via != PromptVia::Stdin) {
                return bad(
                    "prompt_via",
                    "must be \"stdin\" for a persistent agent: each run is a line there",
                );
            }
        }
        Ok(Driver::Command(CommandSpec {
            command,
            prompt_via: self.prompt_via.unwrap_or_default(),
            stdout,
            lifecycle,
        }))
    }

    fn command(&self, driver: &str, example: &str) -> Result<Vec<String>, (String, String)> {
        let bad = |message: String| Err(("command".to_owned(), message));
        let Some(command) = self.command.clone() else {
            return bad(format!(
                "is required for the driver \"{driver}\": a list of strings, such as {example}"
            ));
        };
        if command.first().is_none_or(|program| program.is_empty()) {
            return bad("must name a program first".to_owned());
        }
        if command.iter().any(|part| part.contains('\0')) {
            return bad("must not contain NUL characters".to_owned());
        }
        Ok(command)
    }

    fn preset(&self, preset: Preset) -> Result<Driver, (String, String)> {
        let program = match self.command.as_deref() {
            None => None,
            Some([program]) if !program.is_empty() && !program.contains('\0') => {
                Some(program.clone())
            }
            Some(_) => {
                let message = "names the program alone with a preset; what comes after it is args";
                return Err(("command".to_owned(), message.to_owned()));
            }
        };
        let args = self.args.clone().unwrap_or_default();
        if args.iter().any(|arg| arg.contains('\0')) {
            return Err(("args".to_owned(), "must not contain NUL characters".to_owned()));
        }
        Ok(Driver::Preset(PresetSpec { preset, program, args }))
    }
}

impl ApprovalsFile {
    fn policy(self) -> Policy {
        Policy {
            mode: self.mode,
            headless: self.headless,
            allow: self.allow,
            ask: self.ask,
            deny: self.deny,
            timeout_ms: self.timeout.map(|timeout| timeout.0),
        }
    }
}

impl DriverWord {
    fn as_str(self) -> &'static str {
        match self {
            Self::Command => "command",
            Self::Acp => "acp",
            Self::Hosted => "hosted",
            Self::Loop => "loop",
        }
    }
}

impl LimitsFile {
    fn check(self) -> Result<Limits, (String, String)> {
        let bad = |key: &str, message: &str| Err((format!("limits.{key}"), message.to_owned()));
        if self.pids == Some(0) {
            return bad("pids", "must be at least 1");
        }
        if self.memory.as_ref().is_some_and(|memory| memory.0.0 < 1 << 20) {
            return bad("memory", "must be at least 1MiB");
        }
        Ok(Limits {
            idle_ms: self.idle.map(|t| t.0),
            run_ms: self.run.map(|t| t.0),
            start_ms: self.start.map(|t| t.0),
            ttl_ms: self.ttl.map(|t| t.0),
            unused_ms: self.unused.map(|t| t.0),
            memory_bytes: self.memory.map(|t| t.0),
            pids: self.pids,
            iterations: None,
            output_bytes: self.output.map(|t| t.0),
        })
    }
}
