//! Whether a session is used, for those that expire when they are not.

use crate::fact::Fact;
use crate::limits::Limits;
use crate::session::Session;

impl Limits {
    /// Whether a session may expire.
    pub fn may_expire(&self) -> bool {
        self.ttl_ms.is_some() || self.unused_ms.is_some()
    }
}

impl Session {
    /// Whether it is in use right now: a run is in progress that waits for no person, its agent
    /// works without one, or a run waits for a place. What a stop holds back waits for a
    /// person.
    pub fn in_use(&self) -> bool {
        self.slot().is_some() || (!self.queue.is_empty() && self.need().is_some())
    }
}

impl Fact {
    /// Whether its session is used with it. What is said of a session beside its work, and that
    /// it is let go of, is no use.
    pub fn is_use(&self) -> bool {
        !matches!(
            self,
            Self::Inherited(_)
                | Self::Updated(_)
                | Self::Status { .. }
                | Self::AgentChanged(_)
                | Self::Blocked { .. }
                | Self::Stopping { .. }
                | Self::StopJoined { .. }
                | Self::StopUnconfirmed { .. }
                | Self::LateReceipt { .. }
                | Self::Held { .. }
                | Self::Unreachable { .. }
                | Self::Reachable { .. }
                | Self::EpochAdopted { .. }
                | Self::EpochsKnown { .. }
                | Self::TreeStopped { .. }
                | Self::WorkspaceLost { .. }
                | Self::Expired
                | Self::Deleting { .. }
                | Self::Removed
                | Self::RunFiles { .. }
                | Self::ChildRemoved { .. }
                | Self::LogGap { .. }
                | Self::Unmatched { .. }
        )
    }
}
