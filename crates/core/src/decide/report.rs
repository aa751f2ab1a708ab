//! Reports from runners: what was observed, however late and however often it arrives.

use crate::fact::{Closed, Fact, Output};
use crate::ids::{Epoch, RunId, RunnerId};
use crate::receipt::{EndReason, LastRun, Means, Receipt, StopReason};
use crate::record::{Outcome, Record, RecordBody, RunError};
use crate::run::HeadState;
use crate::session::{FailReason, Hold, HowEnded, InterruptReason, Life, Wanted};

use super::Plan;

impl Plan {
    pub(super) fn record(&mut self, record: Record) {
        let current = self.session.compute.as_ref().is_some_and(|c| c.epoch == record.epoch);
        let epoch = record.epoch;
        match record.body {
            RecordBody::Output { run, kind, data } => {
                self.emit(Fact::Output(Output { kind, run, data, late: !current }));
            }
            RecordBody::Receipt { receipt } => self.receipt(*receipt),
            RecordBody::Gap { from, to } => self.emit(Fact::LogGap { epoch, from, to }),
            // What an epoch had to say of runs is in its receipt, which is in already.
            _ if !current => {}
            RecordBody::Ready => self.ready(epoch),
            RecordBody::Closing { reason } => self.emit(Fact::Closing { epoch, reason }),
            RecordBody::RunStarted { run } => self.run_started(epoch, run),
            RecordBody::RunEnded { run, outcome } => self.run_ended(epoch, run, outcome),
            RecordBody::Unknown => {
                self.emit(Fact::Unmatched { epoch, body: Box::new(RecordBody::Unknown) });
            }
        }
    }

    fn ready(&mut self, epoch: Epoch) {
        if self.session.compute.as_ref().is_some_and(|compute| !compute.ready) {
            self.emit(Fact::Ready { epoch });
        }
    }

    fn head(&self) -> Option<(RunId, HeadState)> {
        let head = self.session.compute.as_ref()?.head.as_ref()?;
        Some((head.run.id, head.state))
    }

    fn run_started(&mut self, epoch: Epoch, run: RunId) {
        match self.head() {
            Some((head, HeadState::Dispatched)) if head == run => {
                self.ready(epoch);
                self.emit(Fact::RunStarted { run });
            }
            Some((head, _)) if head == run => {}
            // A log restored from a backup may not know the run. It is said, not lost.
            _ => self.unmatched(epoch, RecordBody::RunStarted { run }),
        }
    }

    fn run_ended(&mut self, epoch: Epoch, run: RunId, outcome: Outcome) {
        if self.head().is_some_and(|(head, _)| head == run) {
            self.end_run(run, outcome);
        } else {
            self.unmatched(epoch, RecordBody::RunEnded { run, outcome });
        }
    }

    fn unmatched(&mut self, epoch: Epoch, body: RecordBody) {
        self.emit(Fact::Unmatched { epoch, body: Box::new(body) });
    }

    fn end_run(&mut self, run: RunId, outcome: Outcome) {
        self.emit(match outcome {
            Outcome::Completed { result } => Fact::RunCompleted { run, result },
            Outcome::Failed { error } => Fact::RunFailed { run, error },
            Outcome::Stopped { error } => Fact::RunStopped { run, error },
        });
    }

    /// Closes the epoch a receipt names: the current one, or one that a person had closed.
    /// A receipt for an epoch that is closed already says nothing new.
    pub(super) fn receipt(&mut self, receipt: Receipt) {
        let current = self.session.compute.as_ref().is_some_and(|c| c.epoch == receipt.epoch);
        if !current {
            if self.session.abandoned.contains(&receipt.epoch) {
                self.emit(Fact::LateReceipt { receipt: Box::new(receipt) });
            }
            return;
        }
        let asked = self.session.compute.as_ref().is_some_and(|c| c.wanted != Wanted::Up);
        let how = self.how_ended(receipt.reason);
        self.settle_head(how, &receipt);
        let waits = !self.session.queue.is_empty();
        self.emit(Fact::closed(Closed { how, receipt: Box::new(receipt) }));
        let hold = match how {
            // A stop that was asked for has set its hold already, and it may have been lifted
            // since. Limits and stops on the machine itself are first heard of here.
            HowEnded::Stopped(reason) if reason.holds() && !asked => Some(Hold::Stop),
            HowEnded::Failed(reason) if reason.holds() && waits => Some(Hold::Failure),
            _ => None,
        };
        if let Some(why) = hold.filter(|_| self.session.hold.is_none()) {
            self.emit(Fact::Held { why });
        }
        if self.session.life == Life::Deleting {
            self.remove_if_nowhere();
        }
    }

    /// What the end counts as. A stop that was asked for gives its name to whatever end came
    /// after it; a person's word alone never counts as a proven stop.
    fn how_ended(&self, reason: EndReason) -> HowEnded {
        if reason == EndReason::Abandoned {
            return HowEnded::Interrupted(InterruptReason::Abandoned);
        }
        if let Some(compute) = &self.session.compute
            && let Wanted::Down(stopping) = &compute.wanted
        {
            return HowEnded::Stopped(stopping.order.reason);
        }
        match reason {
            EndReason::User => HowEnded::Stopped(StopReason::User),
            EndReason::Idle => HowEnded::Stopped(StopReason::Idle),
            EndReason::Limit => HowEnded::Stopped(StopReason::Limit),
            EndReason::Shutdown => HowEnded::Stopped(StopReason::Shutdown),
            EndReason::Parent => HowEnded::Stopped(StopReason::Parent),
            EndReason::Deleted => HowEnded::Stopped(StopReason::Deleted),
            EndReason::Done => HowEnded::Finished,
            EndReason::Exit => HowEnded::Failed(FailReason::Exit),
            EndReason::Signal => HowEnded::Failed(FailReason::Signal),
            EndReason::Oom => HowEnded::Failed(FailReason::Oom),
            EndReason::StartTimeout => HowEnded::Failed(FailReason::StartTimeout),
            EndReason::StartError => HowEnded::Failed(FailReason::StartError),
            EndReason::Protocol => HowEnded::Failed(FailReason::Protocol),
            EndReason::Reboot => HowEnded::Interrupted(InterruptReason::Reboot),
            EndReason::Lost => HowEnded::Interrupted(InterruptReason::Lost),
            EndReason::Abandoned => HowEnded::Interrupted(InterruptReason::Abandoned),
        }
    }

    /// Ends or gives back the run the compute had. One that the agent may have seen is never
    /// run again by itself.
    fn settle_head(&mut self, how: HowEnded, receipt: &Receipt) {
        let Some((run, state)) = self.head() else { return };
        let last = receipt.last_run.as_ref().filter(|last| last.run == run);
        if let Some(LastRun { outcome: Some(outcome), .. }) = last {
            return self.end_run(run, outcome.clone());
        }
        let ends_run = self.session.compute.as_ref().is_some_and(|compute| {
            matches!(&compute.wanted, Wanted::Down(stopping) if stopping.ends_run)
        });
        if ends_run {
            return self.end_run(run, Outcome::Stopped { error: None });
        }
        let began = state != HeadState::Dispatched || last.is_some();
        // Whether an abandoned compute began its run nobody knows; it is not tried again.
        let unknown = receipt.reason == EndReason::Abandoned;
        if !began && !unknown && how != HowEnded::Failed(FailReason::StartError) {
            return self.emit(Fact::RunRequeued { run });
        }
        let detail = receipt.detail.as_deref();
        let error = |code: &str, text: &str| RunError::new(code, detail.unwrap_or(text));
        self.end_run(run, match how {
            HowEnded::Stopped(StopReason::Limit) => {
                Outcome::Stopped { error: Some(error("limit", "the run reached a limit")) }
            }
            HowEnded::Stopped(_) => Outcome::Stopped { error: None },
            HowEnded::Finished => Outcome::Failed {
                error: error("exit", "the agent ended before it had answered"),
            },
            HowEnded::Failed(reason) => {
                let (code, text) = fail_text(reason);
                Outcome::Failed { error: error(code, text) }
            }
            HowEnded::Interrupted(InterruptReason::Abandoned) => Outcome::Failed {
                error: error("abandoned", "the compute was abandoned; how far the run came is unknown"),
            },
            HowEnded::Interrupted(_) => Outcome::Failed {
                error: error("interrupted", "the compute was interrupted; the run is not repeated by itself"),
            },
        });
    }

    pub(super) fn unproven(&mut self, epoch: Epoch, evidence: String) {
        let doubt = self
            .session
            .compute
            .as_ref()
            .is_some_and(|compute| compute.epoch == epoch && !compute.unconfirmed);
        if doubt {
            self.emit(Fact::StopUnconfirmed { epoch, evidence });
        }
    }

    /// The runner will not start this epoch: its own record says it is closed. That record
    /// is the proof, and what it knows is the new floor.
    pub(super) fn fenced(&mut self, epoch: Epoch, floor: Epoch, runner: RunnerId) {
        let current = self
            .session
            .compute
            .as_ref()
            .is_some_and(|compute| compute.epoch == epoch && compute.runner == runner);
        if !current || floor < epoch {
            return;
        }
        let receipt = Receipt::without_process(
            epoch,
            EndReason::Lost,
            self.now.0,
            Means::RunnerRecord,
            &format!("epoch {floor} is closed in the runner's own record"),
        );
        self.receipt(receipt);
        if self.session.last_epoch < floor {
            self.emit(Fact::EpochsKnown { epoch: floor });
        }
    }

    /// The runner has a newer compute than the log: the log was restored from a backup. The
    /// live one is the truth.
    pub(super) fn adopt(&mut self, epoch: Epoch, runner: RunnerId) {
        if epoch <= self.session.last_epoch {
            return;
        }
        if let Some(compute) = &self.session.compute {
            let receipt = Receipt::without_process(
                compute.epoch,
                EndReason::Lost,
                self.now.0,
                Means::RunnerRecord,
                &format!("the runner has gone on to epoch {epoch}"),
            );
            self.receipt(receipt);
        }
        self.emit(Fact::EpochAdopted { epoch, runner });
    }

    pub(super) fn silent(&mut self, runner: RunnerId) {
        if let Some(compute) = &self.session.compute
            && compute.runner == runner
            && !compute.silent
        {
            let epoch = compute.epoch;
            self.emit(Fact::Unreachable { epoch, runner });
        }
    }

    pub(super) fn seen(&mut self, runner: RunnerId) {
        if let Some(compute) = &self.session.compute
            && compute.runner == runner
            && compute.silent
        {
            let epoch = compute.epoch;
            self.emit(Fact::Reachable { epoch, runner });
        }
    }
}

fn fail_text(reason: FailReason) -> (&'static str, &'static str) {
    match reason {
        FailReason::Exit => ("exit", "the agent ended before it had answered"),
        FailReason::Signal => ("signal", "a signal ended the agent"),
        FailReason::Oom => ("oom", "the agent used more memory than it may"),
        FailReason::StartTimeout => ("start_timeout", "the agent did not come up in time"),
        FailReason::StartError => ("start_error", "the agent could not be started"),
        FailReason::Protocol => ("protocol", "the agent broke its protocol"),
    }
}
