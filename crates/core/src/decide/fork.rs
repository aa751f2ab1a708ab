//! How a fork begins.

use serde_json::json;

use crate::fact::{Event, Fact, ForkedConversation, Output};
use crate::record::OutputKind;

use super::Plan;

impl Plan {
    /// What of another session's log is the fork's own comes before all else; where that is
    /// nothing, because its agent keeps its conversation itself, the log says so.
    pub(super) fn fork(&mut self, inherited: Vec<Event>) {
        let Some(forked) = &self.session.forked_from else { return };
        match forked.conversation {
            ForkedConversation::Inherited => {
                for event in inherited {
                    self.emit(Fact::Inherited(Box::new(event)));
                }
            }
            ForkedConversation::Fresh => {
                let reason = format!(
                    "forked from {}: the agent keeps its conversation itself, and begins another",
                    forked.id
                );
                let data = json!({ "reason": reason });
                let kind = OutputKind::ContextFresh;
                self.emit(Fact::Output(Output { kind, run: None, data, late: false }));
            }
        }
    }
}
