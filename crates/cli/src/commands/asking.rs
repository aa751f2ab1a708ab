//! What is asked of an agent, and the limits it is asked within, as the command line
//! says it.

use std::path::{Component, Path, PathBuf};
use std::str::FromStr;

use greenroom_core::agent::AgentPolicy;
use greenroom_core::approval::{Mode, Rule, SessionPolicy};
use greenroom_core::folder_path::BadPath;
use greenroom_core::{Bytes, Limits, Ms, SessionWorkspace};
use serde_json::Value;

use crate::data::read_stdin;
use crate::error::CliError;

/// What is asked: at most one of the two.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Asked {
    pub(crate) prompt: Option<String>,
    pub(crate) input: Option<Value>,
}

impl Asked {
    /// From a prompt (`-` is standard input) and an input (JSON, or `@FILE`).
    pub(crate) fn read(prompt: Option<String>, input: Option<&str>) -> Result<Self, CliError> {
        if prompt.is_some() && input.is_some() {
            return Err(CliError::usage("a run has a prompt or an --input, not both"));
        }
        let prompt = match prompt.as_deref() {
            Some("-") => Some(read_stdin()?),
            _ => prompt,
        };
        Ok(Self { prompt, input: input.map(read_input).transpose()? })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.prompt.is_none() && self.input.is_none()
    }
}

fn read_input(text: &str) -> Result<Value, CliError> {
    let document = match text.strip_prefix('@') {
        Some("-") => read_stdin()?,
        Some(file) => std::fs::read_to_string(file)
            .map_err(|error| CliError::io("read", file.as_ref(), &error))?,
        None => text.to_owned(),
    };
    serde_json::from_str(&document).map_err(|error| {
        CliError::usage(format!("--input is not JSON: {error}"))
            .hint("write it like '{\"task\": 1}', or @FILE")
    })
}

/// One limit: `run=30m`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Limit(Limits);

impl FromStr for Limit {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some((key, value)) = text.split_once('=') else {
            return Err("write it like run=30m".to_owned());
        };
        let time = || value.parse::<Ms>().map(Some).map_err(|e| e.to_string());
        let size = || value.parse::<Bytes>().map(Some).map_err(|e| e.to_string());
        let mut limits = Limits::default();
        match key {
            "idle" => limits.idle_ms = time()?,
            "run" => limits.run_ms = time()?,
            "start" => limits.start_ms = time()?,
            "ttl" => limits.ttl_ms = time()?,
            "unused" => limits.unused_ms = time()?,
            "memory" => limits.memory_bytes = size()?,
            "output" => limits.output_bytes = size()?,
            "pids" => {
                limits.pids = Some(value.parse().map_err(|_| format!("{value:?} is not a number"))?)
            }
            _ => {
                return Err(format!(
                    "{key:?} is not a limit: idle, run, start, ttl, unused, memory, pids or output"
                ));
            }
        }
        Ok(Self(limits))
    }
}

impl Limit {
    /// All of them together; the last of a kind counts.
    pub(crate) fn all(limits: &[Self]) -> Option<Limits> {
        limits
            .iter()
            .map(|Self(limits)| limits)
            .fold(None, |all: Option<Limits>, next| Some(all.unwrap_or_default().overlaid(next)))
    }
}

/// What a new session may be given.
#[derive(Debug, clap::Args)]
pub(crate) struct Traits {
    /// Name for the session; made up if absent
    #[arg(long, value_name = "ID")]
    pub(crate) id: Option<String>,
    /// A line for people
    #[arg(long, value_name = "TEXT")]
    pub(crate) title: Option<String>,
    /// Label for filters; may be repeated
    #[arg(long = "label", value_name = "K=V")]
    pub(crate) labels: Vec<crate::args::Label>,
    /// Limit over the agent's own: idle, run, start, ttl, unused, memory, pids, output; may be repeated
    #[arg(long = "limit", value_name = "WHAT=VALUE")]
    pub(crate) limits: Vec<Limit>,
    /// Let every operator use it and every viewer see it
    #[arg(long)]
    pub(crate) shared: bool,
    /// Version of the agent; the one in service if absent
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) agent_version: Option<u32>,
    /// What a prompt does when the agent's source says something else by then: follow, pin or ask
    #[arg(long, value_name = "POLICY", value_parser = policy)]
    pub(crate) agent_policy: Option<AgentPolicy>,
    /// Folder of the runner's machine to work in, beneath one that its --working-dir-root allows
    #[arg(long, value_name = "PATH", value_parser = working_dir)]
    pub(crate) working_dir: Option<SessionWorkspace>,
    /// The model it is to use, as the agent's file names it, or another of a provider there
    #[arg(long, value_name = "MODEL")]
    pub(crate) model: Option<String>,
    #[command(flatten)]
    pub(crate) approvals: Approvals,
}

/// What a session may do without being asked, over what its agent may.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct Approvals {
    /// What is asked where no rule says so: strict, balanced or autonomous
    #[arg(long, value_name = "MODE", value_parser = mode)]
    approvals_mode: Option<Mode>,
    /// Nobody is there: what would be asked is denied
    #[arg(long)]
    headless: bool,
    /// Let it do this, where the agent's own rules do not deny or ask; may be repeated
    #[arg(long, value_name = "RULE")]
    allow: Vec<String>,
    /// Ask before it does this; may be repeated
    #[arg(long, value_name = "RULE")]
    ask: Vec<String>,
    /// Never let it do this; may be repeated
    #[arg(long, value_name = "RULE")]
    deny: Vec<String>,
}

impl Approvals {
    /// As the API has it; nothing where nothing was said.
    pub(crate) fn policy(self) -> Option<SessionPolicy> {
        let rules = |texts: Vec<String>| texts.into_iter().map(Rule).collect();
        let policy = SessionPolicy {
            mode: self.approvals_mode,
            headless: self.headless.then_some(true),
            allow: rules(self.allow),
            ask: rules(self.ask),
            deny: rules(self.deny),
            timeout_ms: None,
        };
        (!policy.is_default()).then_some(policy)
    }
}

fn mode(word: &str) -> Result<Mode, String> {
    let mode = serde_json::from_value(Value::from(word));
    mode.map_err(|_| "it is strict, balanced or autonomous".to_owned())
}

/// What a resume does with a description that has changed.
pub(crate) fn policy(word: &str) -> Result<AgentPolicy, String> {
    serde_json::from_value(Value::from(word)).map_err(|_| "it is follow, pin or ask".to_owned())
}

/// A folder to work in. One that is not absolute is beneath this command's own.
fn working_dir(text: &str) -> Result<SessionWorkspace, String> {
    let path = match std::env::current_dir() {
        Ok(here) if !text.is_empty() => plain(&here.join(text)),
        _ => text.to_owned(),
    };
    path.parse().map(SessionWorkspace::in_place).map_err(|error: BadPath| error.to_string())
}

/// A path without `.` and `..`, as it is written.
fn plain(path: &Path) -> String {
    let mut names = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => {
                names.pop();
            }
            part => names.push(part),
        }
    }
    names.to_string_lossy().into_owned()
}

impl Traits {
    /// The body that creates the session.
    pub(crate) fn create(
        self,
        agent: String,
        asked: Asked,
    ) -> greenroom_protocol::v1::CreateSession {
        greenroom_protocol::v1::CreateSession {
            agent,
            agent_version: self.agent_version,
            id: self.id,
            title: self.title,
            labels: (!self.labels.is_empty()).then(|| crate::args::Label::map(&self.labels)),
            prompt: asked.prompt,
            input: asked.input,
            limits: Limit::all(&self.limits),
            shared: self.shared.then_some(true),
            agent_policy: self.agent_policy,
            approvals: self.approvals.policy(),
            workspace: self.working_dir,
            model: self.model,
            ..Default::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_to_work_in() {
        let at = |text: &str| working_dir(text).map(|from| from.path().to_string());
        assert_eq!(at("/srv/app/../b/").as_deref(), Ok("/srv/b"));
        let here = std::env::current_dir().expect("a folder");
        assert_eq!(at("sub").map(PathBuf::from), Ok(here.join("sub")));
        assert!(at("").is_err());
    }

    #[test]
    fn prompts_and_inputs() {
        let asked = Asked::read(Some("hi".into()), None).expect("a prompt");
        assert_eq!(asked.prompt.as_deref(), Some("hi"));
        let asked = Asked::read(None, Some("{\"a\": 1}")).expect("an input");
        assert_eq!(asked.input, Some(serde_json::json!({"a": 1})));
        assert!(Asked::read(None, Some("{")).is_err());
        assert!(Asked::read(Some("a".into()), Some("{}")).is_err());
    }

    #[test]
    fn policies_are_words() {
        assert_eq!(policy("pin"), Ok(AgentPolicy::Pin));
        assert_eq!(policy("follow"), Ok(AgentPolicy::Follow));
        assert_eq!(policy("ask"), Ok(AgentPolicy::Ask));
        assert!(policy("Pin").is_err());
    }

    #[test]
    fn limits_add_up() {
        let read = |text: &str| text.parse::<Limit>();
        let all =
            [read("run=30m"), read("memory=1GiB"), read("run=1h")].map(|l| l.expect("a limit"));
        let limits = Limit::all(&all).expect("some");
        assert_eq!(
            (limits.run_ms, limits.memory_bytes),
            (Some(Ms::secs(3600)), Some(Bytes(1 << 30)))
        );
        for bad in ["run", "run=5", "speed=1", "pids=x"] {
            assert!(read(bad).is_err(), "{bad}");
        }
        assert_eq!(Limit::all(&[]), None);
    }
}
