//! What a shim and the driver inside its compute say to each other: one JSON object a
//! line, on the driver's standard input and output.
//!
//! A driver is a process of the compute, `greenroom drive KIND`: it is stopped, killed
//! and counted like the rest. It knows how one kind of agent is spoken to, and nothing
//! of journals, stops and proofs. Its standard error is the agent's, and its own.
//!
//! | from the shim | | from the driver |
//! |---|---|---|
//! | `open`, first | | `ready`, or `failed` |
//! | `run` | | events, `text`, `conversation`, …, then `ended` |
//! | `steer` | | `steered`, or nothing where the turn was over |
//! | `cancel` | the turn is ended | `ended` |
//! | `answer` | | `answered` or `ask_over` |
//! | `settings` | they count from now on | nothing |

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::agent::Driver;
use crate::approval::{Answer, Ask, Policies, Policy};
use crate::ids::{ApprovalId, Epoch, RunId, SessionId};
use crate::record::{Outcome, RunError};
use crate::settings::Settings;

/// What a shim says to a driver.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum ToDriver {
    /// First, and once: what is driven.
    Open(Box<Open>),
    /// A run to begin. Another comes only after its `ended`.
    Run {
        /// The run.
        run: RunId,
        /// What it asks, as text.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        prompt: Option<String>,
        /// What it asks, as a document.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        input: Option<Value>,
    },
    /// Text for the turn of this run. It is said as `steered` when the agent is about to be
    /// given it; after `ended` it is dropped.
    Steer {
        /// The run that carries it.
        run: RunId,
        /// The run it is for.
        into: RunId,
        /// The text.
        text: String,
    },
    /// End the turn in progress, if there is one. The driver answers with `ended`.
    Cancel,
    /// A question is answered.
    Answer {
        /// Which.
        id: ApprovalId,
        /// How.
        answer: Answer,
    },
    /// The session's settings were edited. Repeats change nothing.
    Settings {
        /// All of them, as they are now.
        settings: Box<Settings>,
    },
    /// A kind this build does not know.
    #[serde(other)]
    Unknown,
}

/// What is driven.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Open {
    /// How the agent is spoken to.
    pub driver: Driver,
    /// The session's name.
    pub session: SessionId,
    /// This compute.
    pub epoch: Epoch,
    /// The agent's own name for the conversation, from an earlier compute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conversation: Option<String>,
    /// Whether an earlier compute has begun a run: a conversation is to be continued.
    pub resumed: bool,
    /// The agent's working directory.
    pub workspace: PathBuf,
    /// The agent's HOME.
    pub home: PathBuf,
    /// Where a driver that passes HTTP on puts its socket: a path in the compute's control
    /// folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub door: Option<PathBuf>,
    /// What it goes by until there is an edit.
    #[serde(flatten)]
    pub settings: Settings,
    /// The policies it stays within, those of the sessions above.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub within: Vec<Policy>,
    /// JSON Schema of a run's result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_schema: Option<Value>,
}

impl Open {
    /// All that judges what the agent does.
    pub fn policies(&self) -> Policies {
        Policies { own: self.settings.approvals.clone(), within: self.within.clone() }
    }
}

/// What a driver says, beside the events of [`OutputKind`](crate::record::OutputKind),
/// whose lines look as those of a `jsonl` agent do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum FromDriver {
    /// Runs can be given to it.
    Ready,
    /// It cannot go on; it exits after that.
    Failed {
        /// What happened.
        error: RunError,
    },
    /// The agent's own name for the conversation.
    Conversation {
        /// The name.
        id: String,
    },
    /// A piece of the agent's answer, as it comes.
    Text {
        /// The piece.
        text: String,
    },
    /// Something for a person to decide. The run waits.
    Ask {
        /// What.
        ask: Box<Ask>,
    },
    /// What was asked needs no answer any more.
    AskOver {
        /// Which.
        id: ApprovalId,
        /// Why.
        reason: String,
    },
    /// The agent works though no run is in progress, or does no more.
    Busy {
        /// Whether it works.
        busy: bool,
    },
    /// The agent is given this text now.
    Steered {
        /// The run that carried it.
        run: RunId,
    },
    /// The run has ended.
    Ended {
        /// The run.
        run: RunId,
        /// How.
        outcome: Outcome,
    },
}
