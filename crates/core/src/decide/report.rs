//! Reports from runners: what was observed, however late and however often it arrives.

use crate::assignment::StopOrder;
use crate::fact::{Closed, Fact, Output};
use crate::ids::{Epoch, RunId, RunnerId};
use crate::receipt::{EndReason, LastRun, Means, Receipt, StopReason};
use crate::record::{Outcome, Record, RecordBody, RunError};
use crate::run::HeadState;
use crate::session::{Compute, FailReason, Hold, HowEnded, InterruptReason, Life, Wanted};

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
            RecordBody::Unknown => self.unmatched(epoch, RecordBody::Unknown),
            // What an epoch had to say of its runs is in its receipt, which is in already;
            // but not where a person's word stands in its place.
            body if self.session.abandoned.contains(&epoch) => self.unmatched(epoch, body),
            _ if !current => {}
            RecordBody::Ready => self.ready(epoch),
            RecordBody::Conversation { id } => {
                if self.session.conversation.as_ref() != Some(&id) {
                    self.emit(Fact::Conversation { epoch, id });
                }
            }
            RecordBody::Asked { run, ask } => self.asked(epoch, run, *ask),
            RecordBody::AnswerTaken { id } => self.answer_taken(epoch, id),
            RecordBody::AskOver { id, reason } => self.ask_over(epoch, id, reason),
            RecordBody::Busy { busy } => {
                if self.session.compute.as_ref().is_some_and(|compute| compute.busy != busy) {
                    self.emit(Fact::Busy { epoch, busy });
                }
            }
            RecordBody::Closing { reason } => self.emit(Fact::Closing { epoch, reason }),
            RecordBody::RunStarted { run } => self.run_started(epoch, run),
            RecordBody::RunEnded { run, outcome } => self.run_ended(epoch, run, outcome),
            RecordBody::Steered { run, into } => self.steered(epoch, run, into),
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

    /// A log restored from an older copy may still have in its queue what the compute has
    /// begun since. The compute is right.
    fn catch_up(&mut self, epoch: Epoch, run: RunId) {
        if self.head().is_none() && self.session.queue.iter().any(|waiting| waiting.id == run) {
            self.emit(Fact::RunDispatched { run, epoch });
        }
    }

    fn run_started(&mut self, epoch: Epoch, run: RunId) {
        self.catch_up(epoch, run);
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
        self.catch_up(epoch, run);
        if self.head().is_some_and(|(head, _)| head == run) {
            self.end_run(run, outcome);
        } else {
            self.unmatched(epoch, RecordBody::RunEnded { run, outcome });
        }
    }

    fn steered(&mut self, epoch: Epoch, run: RunId, into: RunId) {
        let head = self.session.compute.as_ref().and_then(|compute| compute.head.as_ref());
        if head.is_some_and(|head| head.run.id == into && head.steers.contains(&run)) {
            self.emit(Fact::RunSteered { run, into });
        } else {
            self.unmatched(epoch, RecordBody::Steered { run, into });
        }
    }

    fn unmatched(&mut self, epoch: Epoch, body: RecordBody) {
        self.emit(Fact::Unmatched { epoch, body: Box::new(body) });
    }

    fn end_run(&mut self, run: RunId, outcome: Outcome) {
        self.withdraw_asks(run, "its run has ended");
        self.emit(match outcome {
            Outcome::Completed { result } => Fact::RunCompleted { run, result },
            Outcome::Failed { error } => Fact::RunFailed { run, error },
            Outcome::Stopped { error } => Fact::RunStopped { run, error },
        });
    }

    /// A runner's receipt closes the epoch it names: the current one, or one that a person
    /// had closed. For an epoch that is closed already it says nothing new, and one that
    /// proves nothing closes nothing.
    pub(super) fn receipt(&mut self, receipt: Receipt) {
        let epoch = receipt.epoch;
        if !receipt.is_proven() {
            let survivors = receipt.survivors;
            self.unproven(epoch, format!("a receipt without proof came ({survivors} survivors)"));
        } else if self.current(epoch).is_some() {
            self.close(receipt);
        } else if self.session.abandoned.contains(&epoch) {
            self.emit(Fact::LateReceipt { receipt: Box::new(receipt) });
        }
    }

    fn current(&self, epoch: Epoch) -> Option<&Compute> {
        self.session.compute.as_ref().filter(|compute| compute.epoch == epoch)
    }

    /// Closes the current epoch.
    pub(super) fn close(&mut self, receipt: Receipt) {
        let Some(compute) = &self.session.compute else { return };
        // Ending a run may take its compute with it; what waits goes on all the same.
        let cancelled = compute.head.as_ref().is_some_and(|head| head.cancel.is_some());
        let asked = compute.wanted != Wanted::Up || cancelled;
        let began = compute.began || receipt.last_run.is_some();
        let how = self.how_ended(&receipt);
        let given_back = self.settle_head(how, &receipt);
        // An agent that ends before it takes its first run would do so again and again.
        let fruitless = given_back && !began;
        let waits = !self.session.queue.is_empty();
        self.emit(Fact::closed(Closed { how, receipt: Box::new(receipt) }));
        let hold = match how {
            // A stop that was asked for has set its hold already, and it may have been lifted
            // since. Limits and stops on the machine itself are first heard of here.
            HowEnded::Stopped(reason) if reason.holds() && !asked => Some(Hold::Stop),
            HowEnded::Failed(reason) if reason.holds() && waits => Some(Hold::Failure),
            HowEnded::Failed(_) | HowEnded::Finished if fruitless => Some(Hold::Failure),
            _ => None,
        };
        let free = self.session.hold.is_none() && self.refuse_deleting().is_ok();
        if let Some(why) = hold.filter(|_| free) {
            self.emit(Fact::Held { why });
        }
        self.remove_if_nowhere();
    }

    /// What the end counts as. A stop that was asked for gives its name to whatever end came
    /// after it; a person's word alone never counts as a proven stop.
    fn how_ended(&self, receipt: &Receipt) -> HowEnded {
        let reason = receipt.reason;
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
            // It has finished only if it has answered what it began.
            EndReason::Done if self.unanswered(receipt) => HowEnded::Failed(FailReason::Exit),
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

    /// Whether the compute has begun a run and has not answered it.
    fn unanswered(&self, receipt: &Receipt) -> bool {
        let Some((run, state)) = self.head() else { return false };
        match receipt.last_run.as_ref().filter(|last| last.run == run) {
            Some(last) => last.outcome.is_none(),
            None => state != HeadState::Dispatched,
        }
    }

    /// Ends the run the compute had, or gives it back and says so. One that the agent may
    /// have seen is never run again by itself.
    fn settle_head(&mut self, how: HowEnded, receipt: &Receipt) -> bool {
        let Some((run, state)) = self.head() else { return false };
        let last = receipt.last_run.as_ref().filter(|last| last.run == run);
        if last.is_some() {
            // The receipt has overtaken the journal.
            self.run_started(receipt.epoch, run);
        }
        for steer in last.iter().flat_map(|last| &last.steered) {
            let waits = self.session.compute.as_ref().is_some_and(|c| c.has_steer(*steer));
            if waits {
                self.steered(receipt.epoch, *steer, run);
            }
        }
        if let Some(LastRun { outcome: Some(outcome), .. }) = last {
            self.end_run(run, outcome.clone());
            return false;
        }
        let ends_run = self.session.compute.as_ref().is_some_and(
            |compute| matches!(&compute.wanted, Wanted::Down(stopping) if stopping.ends_run),
        );
        if ends_run {
            self.end_run(run, Outcome::Stopped { error: None });
            return false;
        }
        let began = state != HeadState::Dispatched || last.is_some();
        // Whether a compute began its run nobody knows, where a person's word closes it or a
        // record without details; it is not tried again.
        let unknown = receipt.reason == EndReason::Abandoned
            || receipt.proof.iter().any(|proof| proof.means == Means::RunnerRecord);
        if unknown {
            // Nor is what was on its way into it.
            let compute = self.session.compute.as_ref();
            let head = compute.and_then(|compute| compute.head.as_ref());
            for steer in head.map(|head| head.steers.clone()).unwrap_or_default() {
                let text = "whether the agent was given this is unknown";
                let error = RunError::new("abandoned", text);
                self.end_run(steer, Outcome::Failed { error });
            }
        }
        if !began && !unknown && how != HowEnded::Failed(FailReason::StartError) {
            self.emit(Fact::RunRequeued { run });
            return true;
        }
        let detail = receipt.detail.as_deref();
        let error = |code: &str, text: &str| RunError::new(code, detail.unwrap_or(text));
        self.end_run(
            run,
            match how {
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
                    error: error(
                        "abandoned",
                        "the compute was abandoned; how far the run came is unknown",
                    ),
                },
                HowEnded::Interrupted(_) => Outcome::Failed {
                    error: error(
                        "interrupted",
                        "the compute was interrupted; the run is not repeated by itself",
                    ),
                },
            },
        );
        false
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
        if self.session.home != Some(runner) || floor < epoch {
            return;
        }
        let receipt =
            self.by_record(epoch, format!("epoch {floor} is closed in the runner's own record"));
        if self.current(epoch).is_some() {
            self.close(receipt);
        } else if self.session.abandoned.contains(&epoch) {
            self.emit(Fact::LateReceipt { receipt: Box::new(receipt) });
        }
        self.epochs_known(floor, runner);
    }

    /// The runner's record goes further than the log, which was restored from a backup: no
    /// epoch up to there is handed out again. A session whose log has no home yet has its
    /// files where that record is.
    pub(super) fn epochs_known(&mut self, floor: Epoch, runner: RunnerId) {
        let at_home = self.session.home.is_none_or(|home| home == runner);
        if floor > self.session.last_epoch && at_home && self.session.life != Life::Removed {
            self.emit(Fact::EpochsKnown { epoch: floor, runner: Some(runner) });
        }
    }

    fn by_record(&self, epoch: Epoch, result: String) -> Receipt {
        let means = Means::RunnerRecord;
        let mut receipt =
            Receipt::without_process(epoch, EndReason::Lost, self.now.0, means, &result);
        receipt.detail = Some(
            "the log is older than the runner's record (it was restored from a backup); \
             how far the run came is unknown, and it is not repeated by itself"
                .to_owned(),
        );
        receipt
    }

    /// The runner has a newer compute than the log: the log was restored from a backup. The
    /// live one is the truth. A runner that is not the session's home has no say.
    pub(super) fn adopt(&mut self, epoch: Epoch, runner: RunnerId) {
        let at_home = self.session.home.is_none_or(|home| home == runner);
        if epoch <= self.session.last_epoch || !at_home || self.session.life == Life::Removed {
            return;
        }
        if let Some(compute) = &self.session.compute {
            let result = format!("the runner has gone on to epoch {epoch}");
            let receipt = self.by_record(compute.epoch, result);
            self.close(receipt);
        }
        self.emit(Fact::EpochAdopted { epoch, runner });
        let reason = match self.session.life {
            Life::Kept => return,
            Life::Expired => StopReason::Limit,
            Life::Deleting | Life::Removed => StopReason::Deleted,
        };
        let stop = StopOrder { reason, ..self.session.late_stop(epoch) };
        self.emit(Fact::Stopping { epoch, stop, ends_run: true, reason: None });
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
