//! What a session wants of a runner: small, level-triggered, and one-way.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::ids::{ApprovalId, Epoch, Generation, RunId, SessionUid, StopId};
use crate::receipt::StopReason;
use crate::value::Ms;

/// What one compute should be. The unit of assignment is (uid, epoch).
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
pub struct Assignment {
    /// The session.
    pub uid: SessionUid,
    /// Its compute.
    pub epoch: Epoch,
    /// Grows with every change for this session.
    pub generation: Generation,
    /// What is wanted.
    pub order: Order,
}

/// What is wanted of a compute. It goes from `Up` to `Down` to `Closed` to `Gone` and
/// never back: a resume is a new epoch.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(tag = "wanted", rename_all = "snake_case")]
pub enum Order {
    /// It should live, and have begun this run.
    Up {
        /// The run dispatched to it; its body is fetched by id.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        run: Option<RunId>,
        /// That run's turn is to be ended, within so long; else the compute is.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        cancel: Option<Ms>,
        /// Questions that are answered; each answer is fetched by its id.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        answers: Vec<ApprovalId>,
        /// Runs that are to become part of that one, in order; their bodies are fetched by id.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        steers: Vec<RunId>,
        /// Which edit of the session's settings it should go by; they are fetched as they are
        /// then. Absent from a coordinator that edits none of a live compute.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        settings: Option<u64>,
    },
    /// It should be ended, with a receipt.
    Down {
        /// How.
        stop: StopOrder,
    },
    /// Its receipt is durable at the coordinator.
    Closed,
    /// The session is removed: its files may go.
    Gone {
        /// A person has closed this epoch, and nothing proves its end: what lives of it is
        /// ended first.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        stop: Option<StopOrder>,
    },
}

impl Order {
    /// It should live, and have begun this run.
    pub fn up(run: Option<RunId>) -> Self {
        Self::Up { run, cancel: None, answers: Vec::new(), steers: Vec::new(), settings: None }
    }
}

/// The one stop of a compute. Repeats change nothing; a later one only shortens it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
pub struct StopOrder {
    /// Its identity.
    pub id: StopId,
    /// Why.
    pub reason: StopReason,
    /// For the driver's own cancel.
    pub cancel_grace_ms: Ms,
    /// From the first SIGTERM to the kill.
    pub grace_ms: Ms,
    /// Everybody who asked.
    pub requested_by: Vec<String>,
    /// Counts tries after a deadline passed without proof.
    pub attempt: u32,
}
