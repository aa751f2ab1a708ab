//! How a session stands: a pure function of what is wanted and what is known.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::receipt::StopReason;
use crate::run::HeadState;
use crate::session::{
    Blocked, Compute, FailReason, HowEnded, InterruptReason, Life, Session, Wanted,
};

/// How a session stands.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Nothing asked yet.
    New,
    /// Waits for its runner or a place.
    Queued,
    /// The compute is coming up.
    Starting,
    /// A run is in progress.
    Running,
    /// The run waits for a person.
    Waiting,
    /// The compute is warm, without a run.
    Idle,
    /// Wanted down, not yet proven.
    Stopping,
    /// Proven down by request.
    Stopped,
    /// The agent ended by itself after its answer, proven.
    Finished,
    /// Ended abnormally, proven.
    Failed,
    /// Proven gone, and nobody asked.
    Interrupted,
    /// Its runner is silent; nothing is known.
    Unreachable,
    /// A stop's deadline passed without proof; the wish stays.
    StopUnconfirmed,
    /// Being removed.
    Deleting,
}

impl Status {
    /// All of them, in the order of the documents.
    pub const ALL: [Status; 14] = [
        Self::New,
        Self::Queued,
        Self::Starting,
        Self::Running,
        Self::Waiting,
        Self::Idle,
        Self::Stopping,
        Self::Stopped,
        Self::Finished,
        Self::Failed,
        Self::Interrupted,
        Self::Unreachable,
        Self::StopUnconfirmed,
        Self::Deleting,
    ];

    /// The word in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::Queued => "queued",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Waiting => "waiting",
            Self::Idle => "idle",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
            Self::Finished => "finished",
            Self::Failed => "failed",
            Self::Interrupted => "interrupted",
            Self::Unreachable => "unreachable",
            Self::StopUnconfirmed => "stop_unconfirmed",
            Self::Deleting => "deleting",
        }
    }

    /// The status of this word.
    pub fn of(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == word)
    }

    /// At rest: nothing is live, and nothing will be until somebody asks.
    pub fn is_at_rest(self) -> bool {
        matches!(
            self,
            Self::New | Self::Stopped | Self::Finished | Self::Failed | Self::Interrupted
        )
    }
}

/// A status with the reason that belongs to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Standing {
    /// The status.
    pub status: Status,
    /// Its reason, as the API says it.
    pub reason: Option<&'static str>,
}

impl Session {
    /// How it stands.
    pub fn status(&self) -> Status {
        self.standing().status
    }

    /// How it stands, and why.
    pub fn standing(&self) -> Standing {
        let (status, reason) = self.stand();
        Standing { status, reason }
    }

    fn stand(&self) -> (Status, Option<&'static str>) {
        if matches!(self.life, Life::Deleting | Life::Removed) {
            return (Status::Deleting, None);
        }
        if let Some(compute) = &self.compute {
            return self.stand_with(compute);
        }
        if self.need().is_some() {
            return (Status::Queued, self.blocked.map(blocked_word));
        }
        let expired = (self.life == Life::Expired).then_some("expired");
        match self.ended.as_ref().map(|ended| ended.how) {
            None if expired.is_some() => (Status::Stopped, expired),
            None => (Status::New, None),
            Some(HowEnded::Stopped(reason)) => {
                (Status::Stopped, expired.or(Some(stop_word(reason))))
            }
            Some(HowEnded::Finished) => (Status::Finished, expired),
            Some(HowEnded::Failed(reason)) => (Status::Failed, Some(fail_word(reason))),
            Some(HowEnded::Interrupted(reason)) => {
                (Status::Interrupted, Some(interrupt_word(reason)))
            }
        }
    }

    fn stand_with(&self, compute: &Compute) -> (Status, Option<&'static str>) {
        if compute.unconfirmed {
            return (Status::StopUnconfirmed, None);
        }
        if let Wanted::Down(stopping) = &compute.wanted {
            return (Status::Stopping, Some(stop_word(stopping.order.reason)));
        }
        if compute.silent {
            return (Status::Unreachable, None);
        }
        match compute.head.as_ref().map(|head| head.state) {
            _ if !compute.ready => (Status::Starting, None),
            Some(HeadState::Dispatched | HeadState::Running) => (Status::Running, None),
            Some(HeadState::Waiting) => (Status::Waiting, None),
            None if compute.closing => (Status::Stopping, Some("done")),
            None if self.need().is_some() => (Status::Queued, self.blocked.map(blocked_word)),
            None if compute.busy => (Status::Running, Some("serving")),
            None => (Status::Idle, None),
        }
    }
}

fn stop_word(reason: StopReason) -> &'static str {
    match reason {
        StopReason::User => "user",
        StopReason::Idle => "idle",
        StopReason::Limit => "limit",
        StopReason::Shutdown => "shutdown",
        StopReason::Parent => "parent",
        StopReason::Deleted => "deleted",
    }
}

fn fail_word(reason: FailReason) -> &'static str {
    match reason {
        FailReason::Exit => "exit",
        FailReason::Signal => "signal",
        FailReason::Oom => "oom",
        FailReason::StartTimeout => "start_timeout",
        FailReason::StartError => "start_error",
        FailReason::Protocol => "protocol",
    }
}

fn interrupt_word(reason: InterruptReason) -> &'static str {
    match reason {
        InterruptReason::Reboot => "reboot",
        InterruptReason::Lost => "lost",
        InterruptReason::Abandoned => "abandoned",
    }
}

fn blocked_word(blocked: Blocked) -> &'static str {
    match blocked {
        Blocked::NoRunner => "no_runner",
        Blocked::NoWorkingDir => "no_working_dir",
        Blocked::HomeUnreachable => "home_unreachable",
        Blocked::HomeDraining => "home_draining",
        Blocked::HomeFull => "home_full",
        Blocked::RunnersFull => "runners_full",
        Blocked::AgentDisabled => "agent_disabled",
    }
}
