//! Stops: one for each epoch, which later ones join and can only shorten.

use crate::assignment::StopOrder;
use crate::command::{Actor, Refusal, Stop};
use crate::fact::{Closed, Fact};
use crate::ids::{Epoch, RunId, StopId};
use crate::receipt::{EndReason, Means, Receipt, StopReason};
use crate::session::{Hold, HowEnded, Wanted};
use crate::status::Status;
use crate::value::Ms;

use super::Plan;

impl Plan {
    pub(super) fn stop(&mut self, stop: Stop) {
        // An idle stop and a prompt race. Whichever is committed second sees the other, and
        // here that means that there is nothing idle to stop any more.
        if stop.reason == StopReason::Idle && self.session.status() != Status::Idle {
            return;
        }
        let head = self.session.head_run();
        if stop.discard_queue {
            self.discard_behind(head, &stop.by);
        }
        if stop.tree && !self.session.tree_stopped {
            self.emit(Fact::TreeStopped { by: stop.by.name.clone() });
        }
        let unplaced = matches!(self.session.status(), Status::New | Status::Queued);
        let ends = if let Some(compute) = &self.session.compute {
            let given = compute.head.is_some();
            if let Some(run) = head.filter(|_| stop.reason.holds() && !given) {
                self.emit(Fact::RunStopped { run, error: None });
            }
            self.take_down(&stop);
            true
        } else if unplaced && stop.reason.holds() {
            self.close_unplaced(&stop, head);
            true
        } else {
            // A machine that goes down ends what is live; what waits for a place waits on.
            false
        };
        // At rest there is nothing to end, but what waits must go on waiting, and what the
        // children of a stopped tree have to tell must not start their parent again.
        let waits = ends || stop.tree || !self.session.queue.is_empty();
        let may_hold = stop.reason.holds() && self.refuse_deleting().is_ok();
        if may_hold && waits && self.session.hold.is_none() {
            self.emit(Fact::Held { why: Hold::Stop });
        }
    }

    /// Wants the compute down, or joins the stop that already does.
    pub(super) fn take_down(&mut self, stop: &Stop) {
        let Some(compute) = &self.session.compute else { return };
        let epoch = compute.epoch;
        let graces = self.session.traits.graces;
        let ends_run = stop.reason.holds();
        match &compute.wanted {
            Wanted::Up => {
                let order = StopOrder {
                    id: stop.id,
                    reason: stop.reason,
                    cancel_grace_ms: graces.cancel_grace_ms,
                    grace_ms: stop.grace.unwrap_or(graces.grace_ms),
                    requested_by: vec![stop.by.name.clone()],
                    attempt: 0,
                };
                let reason = stop.text.clone();
                self.emit(Fact::Stopping { epoch, stop: order, ends_run, reason });
            }
            Wanted::Down(under_way) => {
                let order = &under_way.order;
                let grace_ms = stop.grace.unwrap_or(order.grace_ms).min(order.grace_ms);
                let again = compute.unconfirmed;
                let news = again
                    || grace_ms < order.grace_ms
                    || !order.requested_by.contains(&stop.by.name)
                    || (ends_run && !under_way.ends_run)
                    || (stop.reason == StopReason::Deleted && order.reason != stop.reason);
                if news {
                    self.emit(Fact::StopJoined {
                        epoch,
                        by: stop.by.name.clone(),
                        reason: stop.reason,
                        grace_ms,
                        ends_run,
                        again,
                    });
                }
            }
        }
    }

    /// Closes the epoch that would have been next: it was never given to a runner.
    fn close_unplaced(&mut self, stop: &Stop, head: Option<RunId>) {
        if let Some(run) = head {
            self.emit(Fact::RunStopped { run, error: None });
        }
        let mut receipt = Receipt::without_process(
            self.session.last_epoch.next(),
            stop.reason.into(),
            self.now.0,
            Means::NeverPlaced,
            "no runner had been given this compute",
        );
        receipt.requested_by = vec![stop.by.name.clone()];
        self.emit(Fact::closed(Closed {
            how: HowEnded::Stopped(stop.reason),
            receipt: Box::new(receipt),
        }));
    }

    /// Withdraws every run that waits behind the head.
    fn discard_behind(&mut self, head: Option<RunId>, by: &Actor) {
        let waiting: Vec<RunId> = self.session.queue.iter().map(|run| run.id).collect();
        for run in waiting.into_iter().filter(|run| Some(*run) != head) {
            let given = self.session.compute.as_ref().is_some_and(|c| c.has_steer(run));
            self.emit(match given {
                // The agent may have it already.
                true => Fact::RunStopped { run, error: None },
                false => Fact::RunWithdrawn { run, by: by.name.clone() },
            });
        }
    }

    /// Ends one run. Where the driver has a cancel of its own the compute stays; else it ends
    /// with the run. The queue is not held and goes on.
    pub(super) fn stop_run(
        &mut self,
        run: RunId,
        id: StopId,
        by: &Actor,
        grace: Option<Ms>,
    ) -> Result<(), Refusal> {
        if self.session.queue.iter().any(|waiting| waiting.id == run) {
            self.emit(Fact::RunStopped { run, error: None });
            return Ok(());
        }
        let head = self.session.compute.as_ref().and_then(|compute| compute.head.as_ref());
        if head.is_none_or(|head| head.run.id != run) {
            return Err(Refusal::RunEnded { status: "ended" });
        }
        if self.cancel(by) {
            return Ok(());
        }
        self.take_down(&Stop {
            id,
            reason: StopReason::User,
            by: by.clone(),
            text: None,
            grace,
            discard_queue: false,
            tree: false,
        });
        Ok(())
    }

    /// Lets the driver end the turn, where it can.
    pub(super) fn cancel(&mut self, by: &Actor) -> bool {
        let traits = self.session.traits;
        let Some(compute) = &self.session.compute else { return false };
        let up = compute.ready && compute.wanted == Wanted::Up && !compute.closing;
        let Some(head) = compute.head.as_ref().filter(|_| up && traits.cancels) else {
            return false;
        };
        if head.cancel.is_none() {
            let grace_ms = traits.graces.cancel_grace_ms;
            self.emit(Fact::RunStopping { run: head.run.id, grace_ms, by: by.name.clone() });
        }
        true
    }

    pub(super) fn stop_overdue(&mut self, epoch: Epoch, attempt: u32) {
        let Some(compute) = &self.session.compute else { return };
        let Wanted::Down(stopping) = &compute.wanted else { return };
        if compute.epoch == epoch && stopping.order.attempt == attempt && !compute.unconfirmed {
            let evidence = "no receipt came before the stop's deadline".to_owned();
            self.emit(Fact::StopUnconfirmed { epoch, evidence });
        }
    }

    /// Closes an epoch that cannot be proven ended, by a person's word. What waits is held:
    /// nothing must start by itself beside something that may still be alive.
    pub(super) fn abandon(&mut self, by: &Actor, reason: &str) -> Result<(), Refusal> {
        let in_doubt = self.session.compute.as_ref().is_some_and(|c| c.silent || c.unconfirmed);
        if !in_doubt {
            return Err(Refusal::NothingToAbandon { status: self.session.status().as_str() });
        }
        self.close_by_word(by, reason);
        if self.session.hold.is_none() && self.refuse_deleting().is_ok() {
            self.emit(Fact::Held { why: Hold::Stop });
        }
        Ok(())
    }

    pub(super) fn close_by_word(&mut self, by: &Actor, reason: &str) {
        let Some(compute) = &self.session.compute else { return };
        let mut receipt = Receipt::without_process(
            compute.epoch,
            EndReason::Abandoned,
            self.now.0,
            Means::None,
            &format!("asserted by {}: {reason}", by.name),
        );
        receipt.requested_by = vec![by.name.clone()];
        receipt.asserted_by = Some(by.name.clone());
        self.close(receipt);
    }
}
