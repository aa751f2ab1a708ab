//! Approvals and questions: asked by an agent, answered once by a person.

use crate::approval::{Answer, Ask};
use crate::command::{Actor, Refusal};
use crate::fact::{ApprovalAnswered, ApprovalRequested, Fact};
use crate::ids::{ApprovalId, Epoch, RunId};
use crate::run::HeadState;
use crate::session::{AskState, Wanted};

use super::Plan;

impl Plan {
    fn ask_state(&self, id: ApprovalId) -> Option<(RunId, AskState)> {
        let asked = &self.session.compute.as_ref()?.asked;
        asked.iter().find(|asked| asked.id == id).map(|asked| (asked.run, asked.state))
    }

    /// The agent asks. Only of the run that it has.
    pub(super) fn asked(&mut self, epoch: Epoch, run: RunId, ask: Ask) {
        let head = self.session.compute.as_ref().and_then(|compute| compute.head.as_ref());
        let its_own = head.is_some_and(|head| head.run.id == run);
        if !its_own || self.ask_state(ask.id).is_some() {
            return;
        }
        self.emit(Fact::ApprovalRequested(Box::new(ApprovalRequested { epoch, run, ask })));
        self.emit(Fact::RunWaiting { run });
    }

    /// Somebody answers: the first one counts.
    pub(super) fn answer(
        &mut self,
        id: ApprovalId,
        answer: Answer,
        by: &Actor,
    ) -> Result<(), Refusal> {
        let Some(compute) = &self.session.compute else { return Err(Refusal::ApprovalOver) };
        let (epoch, goes_on) = (compute.epoch, compute.wanted == Wanted::Up && !compute.closing);
        match self.ask_state(id) {
            Some((_, AskState::Answered { .. } | AskState::Delivered)) => {
                Err(Refusal::ApprovalAnswered)
            }
            Some((run, AskState::Open)) if goes_on => {
                let by = by.name.clone();
                let answered = ApprovalAnswered { id, epoch, run, by, answer };
                self.emit(Fact::ApprovalAnswered(Box::new(answered)));
                self.go_on(run);
                Ok(())
            }
            Some((_, AskState::Open)) | None => Err(Refusal::ApprovalOver),
        }
    }

    pub(super) fn answer_taken(&mut self, epoch: Epoch, id: ApprovalId) {
        if matches!(self.ask_state(id), Some((_, AskState::Answered { .. }))) {
            self.emit(Fact::ApprovalDelivered { id, epoch });
        }
    }

    /// The agent waits no longer. An answer that had come is not undone by that.
    pub(super) fn ask_over(&mut self, epoch: Epoch, id: ApprovalId, reason: String) {
        if let Some((run, AskState::Open | AskState::Answered { .. })) = self.ask_state(id) {
            self.emit(Fact::ApprovalWithdrawn { id, epoch, reason });
            self.go_on(run);
        }
    }

    /// A run goes on once nothing of it waits for a person.
    fn go_on(&mut self, run: RunId) {
        let Some(compute) = &self.session.compute else { return };
        let waits = compute.open_asks().any(|asked| asked.run == run);
        let waited = compute
            .head
            .as_ref()
            .is_some_and(|head| head.run.id == run && head.state == HeadState::Waiting);
        if waited && !waits {
            self.emit(Fact::RunResumed { run });
        }
    }

    /// With its run, what was asked for it is over.
    pub(super) fn withdraw_asks(&mut self, run: RunId, reason: &str) {
        let Some(compute) = &self.session.compute else { return };
        let epoch = compute.epoch;
        let over: Vec<_> = compute
            .asked
            .iter()
            .filter(|asked| asked.run == run && asked.state != AskState::Delivered)
            .map(|asked| asked.id)
            .collect();
        for id in over {
            self.emit(Fact::ApprovalWithdrawn { id, epoch, reason: reason.to_owned() });
        }
    }
}
