//! Prompts, places, and what lifts a hold.

use crate::command::{Actor, Asks, ChildEnd, Mode, Prompt, Refusal, Stop};
use crate::fact::{ChildCompleted, Fact, RunQueued};
use crate::ids::{RunId, RunnerId};
use crate::receipt::StopReason;
use crate::record::RunError;
use crate::run::PendingRun;
use crate::session::{Life, Need, Wanted};

use super::Plan;

impl Plan {
    pub(super) fn refuse_deleting(&self) -> Result<(), Refusal> {
        match self.session.life {
            Life::Deleting | Life::Removed => Err(Refusal::Deleting),
            Life::Kept | Life::Expired => Ok(()),
        }
    }

    pub(super) fn prompt(&mut self, prompt: Prompt) -> Result<(), Refusal> {
        self.refuse_deleting()?;
        let busy = self.session.compute.as_ref().is_some_and(|compute| {
            let in_doubt = compute.silent || compute.unconfirmed;
            compute.head.is_some() || in_doubt || compute.wanted != Wanted::Up
        });
        if prompt.mode == Mode::Reject && (busy || !self.session.queue.is_empty()) {
            return Err(Refusal::SessionBusy { status: self.session.status().as_str() });
        }
        let interrupts = prompt.mode == Mode::Interrupt;
        let into = match prompt.mode {
            Mode::Steer => self.turn_to_steer()?,
            Mode::Enqueue | Mode::Interrupt | Mode::Reject => None,
        };
        self.restore(&prompt.by);
        self.emit(Fact::RunQueued(Box::new(RunQueued {
            run: prompt.run,
            prompt: prompt.prompt,
            input: prompt.input,
            by: prompt.by.name.clone(),
            first: prompt.first || interrupts,
            into,
        })));
        // A person who asks after the receipt has seen the stop. One who asks while it is
        // under way may not have, and must say that the work should go on.
        let stopping = self.session.compute.as_ref().is_some_and(|c| c.wanted != Wanted::Up);
        if prompt.resume || (prompt.by.person && !stopping) {
            self.lift(&prompt.by);
        }
        if interrupts {
            self.interrupt(prompt.stop, &prompt.by);
        }
        Ok(())
    }

    /// The run that a steer becomes part of. With none in progress it is a prompt like any
    /// other, whoever the agent is.
    fn turn_to_steer(&self) -> Result<Option<RunId>, Refusal> {
        let compute = self.session.compute.as_ref();
        match compute.and_then(|compute| compute.turn_in_progress()) {
            Some(_) if !self.session.traits.steers => Err(Refusal::SteerUnsupported),
            turn => Ok(turn),
        }
    }

    /// Ends the run in progress so that the one at the head of the queue can go on.
    fn interrupt(&mut self, id: crate::ids::StopId, by: &Actor) {
        let Some(compute) = &self.session.compute else { return };
        if compute.wanted != Wanted::Up || compute.head.is_none() {
            return;
        }
        if self.cancel(by) {
            return;
        }
        let stop = Stop {
            id,
            reason: StopReason::User,
            by: by.clone(),
            text: Some("interrupted by a later prompt".to_owned()),
            grace: None,
            discard_queue: false,
            tree: false,
        };
        self.take_down(&stop);
    }

    pub(super) fn lift(&mut self, by: &Actor) {
        if self.session.hold.is_some() || self.session.tree_stopped {
            self.emit(Fact::Resumed { by: by.name.clone() });
        }
    }

    pub(super) fn restore(&mut self, by: &Actor) {
        if self.session.life == Life::Expired {
            self.emit(Fact::Restored { by: by.name.clone() });
        }
    }

    pub(super) fn resume(&mut self, by: &Actor) -> Result<(), Refusal> {
        self.refuse_deleting()?;
        let held = self.session.hold.is_some() || self.session.tree_stopped;
        let liftable = held || self.session.life == Life::Expired;
        // A compute that is on its way down does not count: its successor is what is asked.
        let up =
            self.session.compute.as_ref().is_some_and(|c| c.wanted == Wanted::Up && !c.closing);
        let startable = self.session.traits.persistent && !up && !self.session.wants_compute;
        if !liftable && !startable {
            return Err(Refusal::NothingToResume);
        }
        self.restore(by);
        self.lift(by);
        if startable && self.session.queue.is_empty() {
            self.emit(Fact::ComputeWanted { by: by.name.clone() });
        }
        Ok(())
    }

    pub(super) fn withdraw(&mut self, run: RunId, by: &Actor) -> Result<(), Refusal> {
        // The agent may have it already.
        if self.session.compute.as_ref().is_some_and(|compute| compute.has_steer(run)) {
            return Err(Refusal::RunStarted);
        }
        if self.session.queue.iter().any(|waiting| waiting.id == run) {
            self.emit(Fact::RunWithdrawn { run, by: by.name.clone() });
            return Ok(());
        }
        match self.session.current_run() {
            Some((head, _)) if head == run => Err(Refusal::RunStarted),
            _ => Err(Refusal::RunEnded { status: "ended" }),
        }
    }

    /// A run that waits for its own turn asks something else, or goes to another place. What
    /// is for the run in progress stays before all that waits.
    pub(super) fn revise(
        &mut self,
        run: RunId,
        asks: Option<Asks>,
        position: Option<u32>,
        by: &Actor,
    ) -> Result<(), Refusal> {
        self.refuse_deleting()?;
        let compute = self.session.compute.as_ref();
        let steer = |id: RunId| compute.is_some_and(|compute| compute.has_steer(id));
        let Some(now) = self.session.queue.iter().position(|waiting| waiting.id == run) else {
            return match self.session.current_run() {
                Some((head, _)) if head == run => Err(Refusal::RunStarted),
                _ => Err(Refusal::RunEnded { status: "ended" }),
            };
        };
        if steer(run) {
            return Err(Refusal::RunStarted);
        }
        let first = self.session.queue.iter().filter(|waiting| steer(waiting.id)).count();
        let last = self.session.queue.len() - 1;
        if let Some(asks) = asks {
            let (prompt, input) = match asks {
                Asks::Prompt(text) => (Some(text), None),
                Asks::Input(document) => (None, Some(document)),
            };
            self.emit(Fact::RunEdited { run, prompt, input, by: by.name.clone() });
        }
        if let Some(position) = position {
            let wanted = usize::try_from(position).unwrap_or(usize::MAX).clamp(first, last);
            if wanted != now {
                // No queue is longer than a number can say.
                let position = u32::try_from(wanted).unwrap_or(u32::MAX);
                self.emit(Fact::RunMoved { run, position, by: by.name.clone() });
            }
        }
        Ok(())
    }

    /// A place on a runner is given: the next compute is placed there, or the warm one takes
    /// its turn. What is dispatched is committed with it, before anything is sent.
    pub(super) fn grant(&mut self, runner: RunnerId) -> Result<(), Refusal> {
        match self.session.need() {
            Some(Need::Place { home, .. }) if home.is_none_or(|home| home == runner) => {
                let epoch = self.session.last_epoch.next();
                self.emit(Fact::Placed { epoch, runner });
            }
            Some(Need::Turn { runner: at }) if at == runner => {}
            _ => return Err(Refusal::NotNeeded),
        }
        self.dispatch();
        Ok(())
    }

    fn dispatch(&mut self) {
        let next = self.session.queue.front().map(|run| run.id);
        if let (Some(run), Some(compute)) = (next, &self.session.compute) {
            let epoch = compute.epoch;
            self.emit(Fact::RunDispatched { run, epoch });
        }
    }

    /// Tells the agent, by one run, of all that has ended.
    pub(super) fn children_ended(&mut self, ended: Vec<ChildEnd>, as_run: RunId, prompt: String) {
        if self.refuse_deleting().is_err() || ended.is_empty() {
            return;
        }
        let names: Vec<String> = ended.iter().map(|end| format!("child {}", end.id)).collect();
        for ChildEnd { child, id, run, status } in ended {
            let told = ChildCompleted { child, id, run, status, as_run };
            self.emit(Fact::ChildCompleted(Box::new(told)));
        }
        self.emit(Fact::RunQueued(Box::new(RunQueued {
            run: PendingRun { id: as_run, callback: self.session.callback, created_at: self.now.0 },
            prompt: Some(prompt),
            input: None,
            by: names.join(", "),
            first: false,
            into: None,
        })));
    }

    /// Ends a run that has waited too long. What is behind it goes on waiting.
    pub(super) fn give_up(&mut self, run: RunId, error: RunError) -> Result<(), Refusal> {
        let steer = self.session.compute.as_ref().is_some_and(|c| c.has_steer(run));
        if steer || !self.session.queue.iter().any(|waiting| waiting.id == run) {
            return match self.session.current_run() {
                Some((head, _)) if head == run || steer => Err(Refusal::RunStarted),
                _ => Err(Refusal::RunEnded { status: "ended" }),
            };
        }
        self.emit(Fact::RunFailed { run, error });
        Ok(())
    }
}
