//! Removal, expiry, children, and a home that is lost.

use crate::command::{Actor, Expiry, Refusal, Stop, TreeBounds};
use crate::fact::Fact;
use crate::ids::{RunId, RunnerId, StopId};
use crate::receipt::StopReason;
use crate::session::{Hold, Life};

use super::Plan;

impl Plan {
    pub(super) fn delete(&mut self, id: StopId, by: &Actor) {
        let stop = Stop {
            id,
            reason: StopReason::Deleted,
            by: by.clone(),
            text: None,
            grace: None,
            discard_queue: false,
            tree: false,
        };
        if self.refuse_deleting().is_err() {
            // It is under way; where its stop could not be proven, it is tried again.
            if self.session.compute.as_ref().is_some_and(|compute| compute.unconfirmed) {
                self.take_down(&stop);
            }
            return;
        }
        let waiting: Vec<RunId> = self.session.queue.iter().map(|run| run.id).collect();
        for run in waiting {
            self.emit(Fact::RunWithdrawn { run, by: by.name.clone() });
        }
        self.take_down(&stop);
        self.emit(Fact::Deleting { by: by.name.clone() });
        self.remove_if_nowhere();
    }

    /// With no runner that holds anything of it, a session that is being removed is gone.
    pub(super) fn remove_if_nowhere(&mut self) {
        let nowhere = self.session.home.is_none() || self.session.last_epoch.0 == 0;
        if self.session.life == Life::Deleting && self.session.compute.is_none() && nowhere {
            self.emit(Fact::Removed);
        }
    }

    pub(super) fn files_gone(&mut self) {
        if self.session.life == Life::Deleting && self.session.compute.is_none() {
            self.emit(Fact::Removed);
        }
    }

    pub(super) fn expire(&mut self, id: StopId, why: Expiry) {
        if self.session.life != Life::Kept {
            return;
        }
        let (by, text) = match why {
            Expiry::Ttl => ("ttl", "the session's time to live has passed"),
            // It was used between the look and the wish.
            Expiry::Unused { since } if self.session.in_use() || self.session.used_at != since => {
                return;
            }
            Expiry::Unused { .. } => ("unused", "the session was not used for too long"),
        };
        self.stop(Stop {
            id,
            reason: StopReason::Limit,
            by: Actor::machine(by),
            text: Some(text.to_owned()),
            grace: None,
            discard_queue: false,
            tree: false,
        });
        self.emit(Fact::Expired);
    }

    /// The home runner was removed by force. What lived there cannot be proven ended, so
    /// the person who removed it vouches for it.
    pub(super) fn home_lost(&mut self, runner: RunnerId, by: &Actor) {
        if self.session.home != Some(runner) {
            return;
        }
        if self.session.compute.is_some() {
            self.close_by_word(by, "its runner was removed by force");
            if self.session.hold.is_none() && self.refuse_deleting().is_ok() {
                self.emit(Fact::Held { why: Hold::Stop });
            }
        }
        self.emit(Fact::WorkspaceLost { runner });
        self.remove_if_nowhere();
    }

    pub(super) fn spawn_child(&self, bounds: TreeBounds) -> Result<(), Refusal> {
        self.refuse_deleting()?;
        if self.session.tree_stopped {
            return Err(Refusal::ParentStopping);
        }
        if self.session.depth >= bounds.depth {
            return Err(Refusal::TooDeep(bounds.depth));
        }
        if self.session.children >= bounds.children {
            return Err(Refusal::TooManyChildren(bounds.children));
        }
        Ok(())
    }
}
