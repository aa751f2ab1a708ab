//! What an agent's description says, once it has been read and checked.
//!
//! The YAML form with its defaults and error messages lives with the sources; this is
//! the form that is stored, digested, and sent to runner and shim.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::approval::Policy;
use crate::ids::AgentName;
use crate::limits::Limits;
use crate::loop_spec::LoopSpec;
use crate::value::Ms;

/// A checked description of something that can be run.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
pub struct AgentSpec {
    /// The agent's name.
    pub name: AgentName,
    /// One line for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// How the agent is spoken to.
    pub driver: Driver,
    /// Variables for the agent's process. Values may hold `${env:X}` and `${secret:X}`,
    /// resolved by the runner at start and never stored.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Where the first workspace comes from.
    #[serde(default)]
    pub workspace: WorkspaceFrom,
    /// How long a stop waits before it uses force.
    #[serde(default)]
    pub stop: Graces,
    /// What happens to processes an agent leaves behind when it ends by itself.
    #[serde(default)]
    pub leftovers: Leftovers,
    /// Limits, unless the session has its own.
    #[serde(default)]
    pub limits: Limits,
    /// Labels a runner must have.
    #[serde(default)]
    pub runner_labels: BTreeMap<String, String>,
    /// JSON Schema of a run's `input`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_schema: Option<Value>,
    /// JSON Schema of a run's result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_schema: Option<Value>,
    /// What it may do without being asked, where its driver lets Greenroom decide.
    #[serde(default, skip_serializing_if = "Policy::is_default")]
    pub approvals: Policy,
}

impl AgentSpec {
    /// An agent of which nothing is said but its name and how it is spoken to.
    pub fn new(name: AgentName, driver: Driver) -> Self {
        Self {
            name,
            description: None,
            driver,
            env: BTreeMap::new(),
            workspace: WorkspaceFrom::default(),
            stop: Graces::default(),
            leftovers: Leftovers::default(),
            limits: Limits::default(),
            runner_labels: BTreeMap::new(),
            input_schema: None,
            output_schema: None,
            approvals: Policy::default(),
        }
    }

    /// Whether one process serves many runs.
    pub fn lifecycle(&self) -> Lifecycle {
        self.driver.lifecycle()
    }
}

/// How an agent is spoken to.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Driver {
    /// A program: prompt in, text or JSON lines out.
    Command(CommandSpec),
    /// A coding agent's own command line: a `command` whose stream is known.
    Preset(PresetSpec),
    /// An agent that speaks the Agent Client Protocol on its standard streams.
    Acp(AcpSpec),
    /// A process that serves HTTP on a port of its own.
    Hosted(HostedSpec),
    /// Our own agent: a model and its tools.
    Loop(Box<LoopSpec>),
    /// A container's image. No runner starts one: a version of it is kept, and has failed.
    Image(ImageSpec),
    /// An agent that only a runner of another system can run.
    Foreign(ForeignSpec),
}

impl Driver {
    /// Its name in agent files and in the API.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Command(_) | Self::Preset(_) => "command",
            Self::Acp(_) => "acp",
            Self::Hosted(_) => "hosted",
            Self::Loop(_) => "loop",
            Self::Image(_) => "image",
            Self::Foreign(_) => "foreign",
        }
    }

    /// The process that speaks with the agent, `greenroom drive KIND`, where there is one.
    pub fn process(&self) -> Option<&'static str> {
        match self {
            Self::Command(_) | Self::Image(_) | Self::Foreign(_) => None,
            Self::Preset(_) => Some("preset"),
            Self::Acp(_) => Some("acp"),
            Self::Hosted(_) => Some("hosted"),
            Self::Loop(_) => Some("loop"),
        }
    }

    /// Whether one process serves many runs.
    pub fn lifecycle(&self) -> Lifecycle {
        match self {
            Self::Command(command) => command.lifecycle,
            Self::Preset(_) | Self::Image(_) | Self::Foreign(_) => Lifecycle::PerRun,
            Self::Acp(_) | Self::Hosted(_) | Self::Loop(_) => Lifecycle::Persistent,
        }
    }

    /// Whether it can end a turn and keep the compute.
    pub fn cancels(&self) -> bool {
        self.process().is_some()
    }

    /// Whether a stop begins with the end of the turn. One that serves HTTP has its SIGTERM
    /// at once: it drains what it is in the middle of, or puts it aside for its next start.
    pub fn cancels_first(&self) -> bool {
        self.cancels() && !matches!(self, Self::Hosted(_))
    }

    /// Graces of a stop, where its description names none.
    pub fn graces(&self) -> Graces {
        match self {
            // What it drains takes 30 s at most, by the contract such agents are written for.
            Self::Hosted(_) => Graces { grace_ms: Ms::secs(35), ..Graces::default() },
            _ => Graces::default(),
        }
    }

    /// The system whose runners alone can run it; none for those that ours can.
    pub fn system(&self) -> Option<&str> {
        match self {
            Self::Foreign(foreign) => Some(&foreign.system),
            _ => None,
        }
    }

    /// Whether it can give text to a run in progress.
    pub fn steers(&self) -> bool {
        matches!(self, Self::Loop(_))
    }
}

/// An agent of another system. What its description means, only that system's runners know.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
pub struct ForeignSpec {
    /// The system, by the name of its door.
    pub system: String,
    /// The description, as its runners are given it.
    pub description: Value,
}

/// A coding agent's own command line.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
pub struct PresetSpec {
    /// Whose.
    pub preset: Preset,
    /// The program, where it is not the preset's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub program: Option<String>,
    /// More arguments, after the preset's own and before the prompt.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
}

impl PresetSpec {
    /// Has it use this model, in the place of any that its arguments name: all of them take
    /// `--model NAME`, and some only once.
    pub fn choose(&mut self, model: &str) {
        let mut kept = Vec::new();
        let mut args = std::mem::take(&mut self.args).into_iter();
        while let Some(arg) = args.next() {
            match arg.as_str() {
                "--model" | "-m" => drop(args.next()),
                _ if arg.starts_with("--model=") => {}
                _ => kept.push(arg),
            }
        }
        kept.extend(["--model".to_owned(), model.to_owned()]);
        self.args = kept;
    }
}

/// Command lines whose flags and streams are known.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Preset {
    /// Claude Code.
    Claude,
    /// Codex.
    Codex,
    /// opencode.
    Opencode,
    /// pi.
    Pi,
    /// Qwen Code.
    Qwen,
    /// Gemini CLI.
    Gemini,
    /// Copilot CLI.
    Copilot,
    /// docker-agent.
    #[serde(rename = "docker-agent")]
    DockerAgent,
}

impl Preset {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Claude,
        Self::Codex,
        Self::Opencode,
        Self::Pi,
        Self::Qwen,
        Self::Gemini,
        Self::Copilot,
        Self::DockerAgent,
    ];

    /// The word in agent files, which is also the name of its program.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Claude => "claude",
            Self::Codex => "codex",
            Self::Opencode => "opencode",
            Self::Pi => "pi",
            Self::Qwen => "qwen",
            Self::Gemini => "gemini",
            Self::Copilot => "copilot",
            Self::DockerAgent => "docker-agent",
        }
    }
}

/// An agent that speaks the Agent Client Protocol.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
pub struct AcpSpec {
    /// The program and its arguments; no shell is involved.
    pub command: Vec<String>,
    /// The session mode to set, where the agent offers it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// Options to set, where the agent offers them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub config: BTreeMap<String, String>,
    /// How to log in, where the agent asks for it: one of its `authMethods`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auth: Option<String>,
}

/// A process that serves HTTP on `$PORT`, and how it is asked.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
pub struct HostedSpec {
    /// The program and its arguments; no shell is involved.
    pub command: Vec<String>,
    /// How a run is put to it.
    #[serde(default)]
    pub protocol: HostedProtocol,
    /// The path whose answer 200 says that it is ready, where it is not the protocol's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ready: Option<String>,
}

/// A container's image.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
pub struct ImageSpec {
    /// Its reference in a registry.
    pub image: String,
}

/// How a run is put to a process that serves HTTP.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum HostedProtocol {
    /// `POST /invocations`, as in the Azure AI agent server's contract: an answer, a stream,
    /// or 202 and a place to ask. Ready by `GET /readiness`.
    #[default]
    Invocations,
    /// `POST /responses`, in the form of the OpenAI Responses API. Ready by `GET /readiness`.
    Responses,
    /// `POST /invocations` as in Amazon Bedrock AgentCore's contract, with `GET /ping`, which
    /// also says whether it is busy.
    Agentcore,
}

impl HostedProtocol {
    /// The path that says whether it is ready.
    pub fn ready_path(self) -> &'static str {
        match self {
            Self::Invocations | Self::Responses => "/readiness",
            Self::Agentcore => "/ping",
        }
    }
}

/// A program and how it is fed.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
pub struct CommandSpec {
    /// The program and its arguments; no shell is involved.
    pub command: Vec<String>,
    /// How the prompt reaches it.
    #[serde(default)]
    pub prompt_via: PromptVia,
    /// What its standard output is.
    #[serde(default)]
    pub stdout: Stdout,
    /// One process a run, or one for all.
    #[serde(default)]
    pub lifecycle: Lifecycle,
}

/// How the prompt reaches a program.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PromptVia {
    /// On standard input, then end of file.
    #[default]
    Stdin,
    /// As the last argument.
    Arg,
    /// In the variable `GREENROOM_PROMPT`.
    Env,
}

/// What a program's standard output is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Stdout {
    /// Text: the agent's message.
    #[default]
    Text,
    /// JSON lines: an object of a known `type` is that event, another line is message text.
    Jsonl,
}

/// One process a run, or one for all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Lifecycle {
    /// Started for each run, ended by its answer.
    #[default]
    PerRun,
    /// Stays up between runs; fed one JSON line a run.
    Persistent,
}

/// Where the first workspace comes from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(tag = "from", rename_all = "snake_case")]
pub enum WorkspaceFrom {
    /// An empty folder.
    #[default]
    Empty,
    /// A folder of the runner's machine.
    Dir {
        /// Absolute path on the runner's machine.
        path: String,
        /// Copied at the start, or worked in where it is.
        mode: DirMode,
    },
    /// A clone of a git repository, on a branch of the session's own.
    Git {
        /// Its address, or the absolute path of a repository on the runner's machine.
        url: String,
        /// Branch, tag or commit; the repository's own default where absent.
        #[serde(default, skip_serializing_if = "Option::is_none", rename = "ref")]
        reference: Option<String>,
    },
    /// A working tree of a repository on the runner's machine, on a branch of the session's
    /// own. In agent files: `from: git` with `mode: worktree`.
    Worktree {
        /// Absolute path of the repository.
        path: String,
        /// Branch, tag or commit; what the repository has checked out where absent.
        #[serde(default, skip_serializing_if = "Option::is_none", rename = "ref")]
        reference: Option<String>,
    },
}

/// How a folder becomes a workspace.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DirMode {
    /// Copied when the session first starts.
    #[default]
    Copy,
    /// Worked in where it is; it is never removed with the session.
    InPlace,
}

/// How long a stop waits before it uses force.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
pub struct Graces {
    /// For the driver's own cancel.
    pub cancel_grace_ms: Ms,
    /// From the first SIGTERM to the kill.
    pub grace_ms: Ms,
}

impl Default for Graces {
    fn default() -> Self {
        Self { cancel_grace_ms: Ms::secs(2), grace_ms: Ms::secs(10) }
    }
}

/// What happens to processes an agent leaves behind when it ends by itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Leftovers {
    /// They are ended and counted.
    #[default]
    Sweep,
    /// They stay, and with them the compute, until a stop.
    Keep,
}

/// What a resume does when the source of the description says something else by now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum AgentPolicy {
    /// Takes what the source says now.
    #[default]
    Follow,
    /// Keeps the description it has, also when its source is gone.
    Pin,
    /// Is refused until a person has chosen.
    Ask,
}

impl AgentPolicy {
    /// Whether it is the usual one, which is not written down.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// The description a session was created with: what a resume must find again.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
pub struct AgentPin {
    /// The agent's name.
    pub name: AgentName,
    /// Which description of that name, counted by the coordinator from 1.
    pub version: u32,
    /// Where it came from, as `kind:key` (for example `file:/etc/agents/fixer.yaml`).
    pub source: String,
    /// SHA-256 of the description, hexadecimal.
    pub digest: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_that_is_chosen_is_named_once() {
        for before in ["--x y", "--x y --model a", "--model=a --x y", "-m a --x y -m b", "--x y -m"]
        {
            let args = before.split(' ').map(str::to_owned).collect();
            let mut spec = PresetSpec { preset: Preset::Codex, program: None, args };
            spec.choose("new");
            assert_eq!(spec.args.join(" "), "--x y --model new", "{before}");
        }
    }
}
