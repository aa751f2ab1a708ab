//! Runs: what is asked of a session, one at a time.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::ids::RunId;
use crate::value::{Ms, Timestamp};

/// A run that has no answer yet, as the session knows it. What it asks is stored beside
/// the session, by its id.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
pub struct PendingRun {
    /// Its identity.
    pub id: RunId,
    /// Whether its end is told to the parent session.
    #[serde(default)]
    pub callback: bool,
    /// When it was accepted.
    pub created_at: Timestamp,
}

/// The run a compute has been given.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Head {
    /// Which run.
    pub run: PendingRun,
    /// How far it is.
    pub state: HeadState,
    /// Its turn is to be ended, and how long that may take.
    #[serde(default)]
    pub cancel: Option<Ms>,
    /// Runs of the queue that are to become part of it, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steers: Vec<RunId>,
}

/// How far a dispatched run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HeadState {
    /// Handed out; the agent may not have seen it.
    Dispatched,
    /// The agent has seen it.
    Running,
    /// It waits for a person.
    Waiting,
}

/// How a run stands, in the words of the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RunStatus {
    /// Waits for its turn. May be withdrawn.
    Queued,
    /// Handed to a compute.
    Dispatched,
    /// The agent works on it.
    Running,
    /// It waits for a person.
    Waiting,
    /// It has its answer.
    Completed,
    /// It ended abnormally.
    Failed,
    /// It was stopped.
    Stopped,
    /// It was taken back before it was dispatched.
    Withdrawn,
}

impl RunStatus {
    /// The word in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Dispatched => "dispatched",
            Self::Running => "running",
            Self::Waiting => "waiting",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Stopped => "stopped",
            Self::Withdrawn => "withdrawn",
        }
    }

    /// Whether nothing more will happen to it.
    pub fn is_final(self) -> bool {
        matches!(self, Self::Completed | Self::Failed | Self::Stopped | Self::Withdrawn)
    }
}

impl From<HeadState> for RunStatus {
    fn from(state: HeadState) -> Self {
        match state {
            HeadState::Dispatched => Self::Dispatched,
            HeadState::Running => Self::Running,
            HeadState::Waiting => Self::Waiting,
        }
    }
}
