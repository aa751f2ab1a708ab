//! Which description the next compute is of.

use crate::command::{Rebind, Refusal};
use crate::fact::Fact;

use super::Plan;

impl Plan {
    /// While a compute is up, or not proven down, its session is that compute's: what it
    /// runs, and by what graces it ends, stays as it was started.
    pub(super) fn rebind(&mut self, rebind: Rebind) -> Result<(), Refusal> {
        let live = self.session.compute.is_some();
        let changed = match rebind {
            Rebind::Follow(_) | Rebind::Unresolved if live => return Ok(()),
            Rebind::Choose(_) if live => return Err(Refusal::AgentInUse),
            Rebind::Unresolved => return Err(Refusal::AgentUnresolved),
            Rebind::Follow(changed) | Rebind::Choose(changed) => changed,
        };
        self.refuse_deleting()?;
        if changed.to != self.session.agent {
            self.emit(Fact::AgentChanged(changed));
        }
        Ok(())
    }
}
