//! What a compute tells: the entries of its journal.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::approval::Ask;
use crate::ids::{ApprovalId, Epoch, RunId, SessionUid};
use crate::receipt::{EndReason, Receipt};
use crate::value::Timestamp;

/// Who wrote a journal stream. Nobody appends to another's.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Writer {
    /// The compute's supervisor.
    Shim,
    /// The runner, when it closes what a shim no longer can.
    Runner,
}

/// One entry of a journal, as it is uploaded.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
pub struct Record {
    /// The session.
    pub uid: SessionUid,
    /// Its compute.
    pub epoch: Epoch,
    /// Whose stream.
    pub writer: Writer,
    /// Position in that stream: 1, 2, 3 and so on.
    pub index: u64,
    /// Wall clock of the writer.
    pub at: Timestamp,
    /// What it says.
    pub body: RecordBody,
}

/// What a journal entry says.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum RecordBody {
    /// The compute is up: runs can be handed to it.
    Ready,
    /// The run is about to be given to the agent. Durable before the agent sees it.
    RunStarted {
        /// The run.
        run: RunId,
    },
    /// A run has become part of the one in progress.
    Steered {
        /// The run.
        run: RunId,
        /// The one in progress.
        into: RunId,
    },
    /// The run has its answer.
    RunEnded {
        /// The run.
        run: RunId,
        /// How it ended.
        outcome: Outcome,
    },
    /// The agent's own name for the conversation, by which it can be taken up again.
    Conversation {
        /// The name.
        id: String,
    },
    /// The agent asks something of a person, and the run waits.
    Asked {
        /// The run.
        run: RunId,
        /// What.
        ask: Box<Ask>,
    },
    /// An answer has reached the agent's driver.
    AnswerTaken {
        /// To what.
        id: ApprovalId,
    },
    /// What was asked needs no answer any more.
    AskOver {
        /// What.
        id: ApprovalId,
        /// Why.
        reason: String,
    },
    /// The agent works though no run is in progress, or does no more.
    Busy {
        /// Whether it works.
        busy: bool,
    },
    /// The compute is ending though nobody asked; a receipt follows.
    Closing {
        /// Why.
        reason: EndReason,
    },
    /// Something the agent said or did.
    Output {
        /// The run it belongs to, if any.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        run: Option<RunId>,
        /// What kind.
        kind: OutputKind,
        /// The event's data.
        data: Value,
    },
    /// The compute is proven ended. Last in its stream.
    Receipt {
        /// The evidence.
        receipt: Box<Receipt>,
    },
    /// Entries of this stream that can no longer be read, up to and with this index.
    Gap {
        /// First index that is lost.
        from: u64,
        /// Last index that is lost.
        to: u64,
    },
    /// An entry of a newer kind than this build knows. Kept, and without effect.
    #[serde(other)]
    Unknown,
}

impl RecordBody {
    /// State is never dropped and is synced to disk at once; output may wait a second,
    /// and what is over the session's quota is counted instead.
    pub fn is_state(&self) -> bool {
        match self {
            Self::Output { kind, .. } => kind.is_state(),
            _ => true,
        }
    }
}

/// Kinds of output, named as their events.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum OutputKind {
    /// Text of the agent, in whole lines: `{role, text, part, from, to}`.
    Message,
    /// The agent's thinking: `{text}`.
    Thought,
    /// The agent calls a tool.
    ToolCall,
    /// A tool answered.
    ToolResult,
    /// What the agent means to do.
    Plan,
    /// Tokens and cost used.
    Usage,
    /// Text beside the answer: `{stream, text}`.
    Log,
    /// Output over the quota that was counted and dropped: `{bytes}`.
    OutputGap,
    /// The agent could not take up its conversation and began another: `{reason}`.
    ContextFresh,
    /// What the agent says of itself: `{about, …}`, with `about` one of `agent`, `modes`,
    /// `mode`, `config`, `commands`, `title`; of a loop also `compacted`, `correction`,
    /// `prompt`, `discard`.
    AgentInfo,
    /// What a policy decided, without asking anybody: `{tool, input, decision, by}`.
    Decided,
    /// A request that was passed on to an agent that serves HTTP: `{method, path, status,
    /// duration_ms}`, or `error` in the place of `status`.
    Request,
}

impl OutputKind {
    /// All kinds.
    pub const ALL: [Self; 12] = [
        Self::Message,
        Self::Thought,
        Self::ToolCall,
        Self::ToolResult,
        Self::Plan,
        Self::Usage,
        Self::Log,
        Self::OutputGap,
        Self::ContextFresh,
        Self::AgentInfo,
        Self::Decided,
        Self::Request,
    ];

    /// The event type of this kind.
    pub fn event_type(self) -> &'static str {
        match self {
            Self::Message => "message",
            Self::Thought => "thought",
            Self::ToolCall => "tool_call",
            Self::ToolResult => "tool_result",
            Self::Plan => "plan",
            Self::Usage => "usage",
            Self::Log => "log",
            Self::OutputGap => "output_gap",
            Self::ContextFresh => "session.context_fresh",
            Self::AgentInfo => "session.agent_info",
            Self::Decided => "approval.decided",
            Self::Request => "http_request",
        }
    }

    /// The kind of this event type.
    pub fn of(event_type: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.event_type() == event_type)
    }

    /// Whether it is kept whatever the quota says.
    pub fn is_state(self) -> bool {
        !matches!(self, Self::Message | Self::Thought | Self::Log | Self::Request)
    }
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum Outcome {
    /// With an answer.
    Completed {
        /// The structured answer, where the agent gives one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        result: Option<Value>,
    },
    /// Abnormally.
    Failed {
        /// What happened.
        error: RunError,
    },
    /// It was stopped.
    Stopped {
        /// Why, where it wasn't simply asked for.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        error: Option<RunError>,
    },
}

/// What was kept of the files at a run's end, in a workspace of git.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RunFiles {
    /// All of them, as this commit of a repository of the runner's own.
    Commit(String),
    /// Nothing, and why.
    Reason {
        /// Stable word: `too_slow`, `too_large`, `no_space`, `no_wait`, `git_failed`.
        code: String,
        /// What happened, for people.
        message: String,
    },
}

/// Why a run did not complete.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
pub struct RunError {
    /// Stable word: `exit`, `signal`, `oom`, `limit`, `interrupted`, `start_error`,
    /// `start_timeout`, `protocol`, `output_schema`, `abandoned`, `auth`, `model_error`,
    /// `model_timeout`, `max_iterations`, `refused`, `agent_error`.
    pub code: String,
    /// What happened, to what, for people.
    pub message: String,
}

impl RunError {
    /// An error from its parts.
    pub fn new(code: &str, message: impl Into<String>) -> Self {
        Self { code: code.to_owned(), message: message.into() }
    }
}
