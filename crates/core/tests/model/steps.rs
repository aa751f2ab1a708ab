//! What can happen next, and what comes of it.

use greenroom_core::assignment::StopOrder;
use greenroom_core::command::{Actor, Command, Mode, Prompt, Stop};
use greenroom_core::converge::{Action, converge};
use greenroom_core::fact::Changes;
use greenroom_core::receipt::{EndReason, LastRun, Means, Receipt, StopReason};
use greenroom_core::record::{Outcome, RecordBody};
use greenroom_core::run::PendingRun;
use greenroom_core::session::Wanted;
use greenroom_core::*;
use stateright::{Model, Property};
use uuid::Uuid;

use crate::world::{Folder, RUNNER, Shim, System, Turn, World, now, number, run};

/// One step of anybody.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    // A person, or a deadline.
    Prompt { resume: bool },
    Stop,
    Resume,
    Abandon,
    IdleLimit,
    StopOverdue,
    Delete,
    Edit,
    // The coordinator.
    Grant,
    Silent,
    Seen,
    Deliver { at: usize },
    TakeRecord { epoch: u32 },
    Hear { epoch: u32 },
    FilesGone,
    // The runner.
    RunnerRestarts,
    RunnerCloses { epoch: u32 },
    // A shim and its agent.
    ShimUp { epoch: u32 },
    Begin { epoch: u32 },
    Answer { epoch: u32 },
    ShimEnds { epoch: u32 },
    AgentDies { epoch: u32 },
    ShimDies { epoch: u32, proven: bool },
}

impl Step {
    /// Nobody has to do this, so nothing may depend on it.
    pub fn is_optional(self) -> bool {
        matches!(
            self,
            Self::Prompt { .. }
                | Self::Stop
                | Self::Resume
                | Self::Abandon
                | Self::IdleLimit
                | Self::StopOverdue
                | Self::Delete
                | Self::Edit
                | Self::Silent
                | Self::RunnerRestarts
                | Self::ShimDies { .. }
        )
    }
}

impl Model for System {
    type State = World;
    type Action = Step;

    fn init_states(&self) -> Vec<World> {
        vec![World::new(self)]
    }

    fn actions(&self, world: &World, steps: &mut Vec<Step>) {
        for (epoch, folder) in &world.runner.folders {
            let epoch = *epoch;
            match folder.shim {
                Shim::Coming => steps.push(Step::ShimUp { epoch }),
                Shim::Alive => {
                    steps.extend([Step::Begin { epoch }, Step::Answer { epoch }]);
                    steps.push(Step::ShimEnds { epoch });
                    steps.push(Step::ShimDies { epoch, proven: true });
                    steps.push(Step::ShimDies { epoch, proven: false });
                }
                Shim::Ended | Shim::Crashed { .. } => {
                    steps.push(Step::AgentDies { epoch });
                    steps.push(Step::RunnerCloses { epoch });
                }
            }
            steps.extend([Step::TakeRecord { epoch }, Step::Hear { epoch }]);
        }
        steps.push(Step::Grant);
        steps.extend((0..world.down.len()).map(|at| Step::Deliver { at }));
        steps.extend([Step::Seen, Step::Silent, Step::StopOverdue, Step::IdleLimit]);
        steps.extend([Step::Delete, Step::Edit, Step::FilesGone]);
        steps.extend([Step::Prompt { resume: false }, Step::Prompt { resume: true }]);
        steps.extend([Step::Stop, Step::Resume, Step::Abandon, Step::RunnerRestarts]);
    }

    fn next_state(&self, before: &World, step: Step) -> Option<World> {
        let mut world = before.clone();
        world.step(self, step).then_some(world).filter(|after| after != before)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        crate::properties::all(self)
    }
}

/// Takes one of what is left.
fn spend(left: &mut u8) -> bool {
    let some = *left > 0;
    *left = left.saturating_sub(1);
    some
}

impl World {
    /// Makes one step. Says whether it was possible.
    pub fn step(&mut self, system: &System, step: Step) -> bool {
        match step {
            Step::Prompt { resume } => self.prompt(system, resume),
            Step::Stop => spend(&mut self.left.stops) && self.stop(system, StopReason::User),
            Step::IdleLimit => spend(&mut self.left.idles) && self.stop(system, StopReason::Idle),
            Step::Resume => {
                spend(&mut self.left.resumes)
                    && self.command(system, Command::Resume { by: Actor::person("p") })
            }
            Step::Abandon => {
                let by = Actor::person("p");
                spend(&mut self.left.abandons)
                    && self.command(system, Command::Abandon { by, reason: String::new() })
            }
            Step::StopOverdue => spend(&mut self.left.overdues) && self.overdue(system),
            Step::Delete => {
                let (stop, by) = (StopId(Uuid::from_u128(6)), Actor::person("p"));
                spend(&mut self.left.deletes) && self.command(system, Command::Delete { stop, by })
            }
            Step::Edit => spend(&mut self.left.edits) && self.edit(system),
            Step::FilesGone => self.runner.removed && self.command(system, Command::FilesGone),
            Step::Grant => self.command(system, Command::Grant { runner: RUNNER }),
            Step::Silent => {
                spend(&mut self.left.silences)
                    && self.command(system, Command::RunnerSilent { runner: RUNNER })
            }
            Step::Seen => self.command(system, Command::RunnerSeen { runner: RUNNER }),
            Step::Deliver { at } => self.deliver(system, at),
            Step::TakeRecord { epoch } => self.take_record(system, epoch),
            Step::Hear { epoch } => self.hear(system, epoch),
            Step::RunnerRestarts => {
                spend(&mut self.left.runner_crashes) && self.restart_runner(system)
            }
            Step::RunnerCloses { epoch } => self.runner_closes(system, epoch),
            Step::ShimUp { epoch } => self.shim_up(epoch),
            Step::Begin { epoch } => self.begin(epoch),
            Step::Answer { epoch } => self.answer(epoch),
            Step::ShimEnds { epoch } => self.shim_ends(system, epoch),
            Step::AgentDies { epoch } => self.agent_dies(system, epoch),
            Step::ShimDies { epoch, proven } => {
                spend(&mut self.left.shim_crashes) && self.shim_dies(epoch, proven)
            }
        }
    }

    fn prompt(&mut self, system: &System, resume: bool) -> bool {
        let n = usize::from(system.budget.prompts - self.left.prompts);
        // Only a prompt that meets a stop needs to say that the work should go on.
        let stopping = self.session.compute.as_ref().is_some_and(|c| c.wanted != Wanted::Up);
        spend(&mut self.left.prompts)
            && resume <= (stopping && self.session.hold.is_some())
            && self.command(
                system,
                Command::Prompt(Prompt {
                    run: PendingRun { id: run(n), callback: false, created_at: now().0 },
                    prompt: None,
                    input: None,
                    by: Actor::person("p"),
                    mode: Mode::Enqueue,
                    resume,
                    first: false,
                    stop: StopId(Uuid::from_u128(9)),
                }),
            )
    }

    fn stop(&mut self, system: &System, reason: StopReason) -> bool {
        self.command(
            system,
            Command::Stop(Stop {
                id: StopId(Uuid::from_u128(8)),
                reason,
                by: Actor::person("p"),
                text: None,
                grace: None,
                discard_queue: false,
                tree: false,
            }),
        )
    }

    fn overdue(&mut self, system: &System) -> bool {
        let Some(compute) = &self.session.compute else { return false };
        let Wanted::Down(stopping) = &compute.wanted else { return false };
        let command =
            Command::StopOverdue { epoch: compute.epoch, attempt: stopping.order.attempt };
        self.command(system, command)
    }

    /// A frame reaches the runner, which does at once what it decides to. One that makes it
    /// do nothing is no step: all it could do is to make older frames harmless.
    fn deliver(&mut self, system: &System, at: usize) -> bool {
        let Some(assignment) = self.down.get(at).cloned() else { return false };
        let done = match converge(&self.runner.local(system.fences), &assignment) {
            Action::Start { epoch, settings } => {
                // Its body is of now, whatever the frame says.
                let now = settings.map(|_| self.session.settings);
                let folder = Folder { told: settings, ..Folder::new(now) };
                self.runner.folders.insert(epoch.0, folder);
                true
            }
            Action::HandSettings { settings } => self.settle(assignment.epoch.0, settings),
            Action::HandRun { run } => self.hand(assignment.epoch.0, run),
            // Turns that are cancelled, and answers, are no business of this model's agent.
            Action::Cancel { .. } | Action::HandAnswer { .. } | Action::HandSteer { .. } => false,
            Action::Stop { stop } => self.tell_stop(assignment.epoch.0, stop),
            Action::CloseUnstarted { epoch, stop } => {
                self.runner.folders.insert(epoch.0, Folder::new(None));
                self.close_unstarted(epoch.0, &stop)
            }
            // Answers are steps of their own, and what is settled is dropped elsewhere.
            Action::AnswerClosed { .. } | Action::Forget { .. } => false,
            Action::RemoveFiles => !std::mem::replace(&mut self.runner.removed, true),
            Action::Nothing => false,
        };
        self.runner.seen = self.runner.seen.max(assignment.generation);
        self.drop_harmless(system);
        done
    }

    /// The runner fetches the settings, which are of now, and tells its shim.
    fn settle(&mut self, epoch: u32, edit: u64) -> bool {
        let Some(folder) = self.runner.folders.get_mut(&epoch) else { return false };
        if folder.shim != Shim::Alive {
            return false;
        }
        (folder.told, folder.settings) = (Some(edit), self.session.settings);
        true
    }

    fn edit(&mut self, system: &System) -> bool {
        let changes =
            Changes { model: Some(format!("m{}", self.session.settings)), ..Changes::default() };
        self.command(system, Command::Update(changes))
    }

    /// A shim takes a run when it has none; it remembers no other than the last.
    fn hand(&mut self, epoch: u32, run: RunId) -> bool {
        let Some(folder) = self.runner.folders.get_mut(&epoch) else { return false };
        let free = folder.handed.is_none() || folder.turn == Turn::Answered;
        if folder.shim != Shim::Alive || !free {
            return false;
        }
        folder.handed = Some(run);
        folder.turn = Turn::Handed;
        true
    }

    fn tell_stop(&mut self, epoch: u32, stop: StopOrder) -> bool {
        match self.runner.folders.get_mut(&epoch) {
            // Its lock is free: the runner takes it, and the shim that comes late exits.
            Some(folder) if folder.shim == Shim::Coming => self.close_unstarted(epoch, &stop),
            Some(folder) if folder.shim == Shim::Alive => {
                folder.stop = Some(stop);
                true
            }
            _ => false,
        }
    }

    fn close_unstarted(&mut self, epoch: u32, stop: &StopOrder) -> bool {
        self.write_receipt(epoch, stop.reason.into(), Means::NeverStarted)
    }

    /// The runner closes an epoch in its own stream: on disk first, then in words.
    fn write_receipt(&mut self, epoch: u32, reason: EndReason, means: Means) -> bool {
        let Some(folder) = self.runner.folders.get_mut(&epoch) else { return false };
        folder.end(epoch, reason, means);
        folder.closed = true;
        self.runner.floor = self.runner.floor.max(Epoch(epoch));
        true
    }

    /// A runner dies and comes back at once. Being away is no different from not stepping;
    /// what is lost is its memory and every frame that was addressed to it.
    fn restart_runner(&mut self, system: &System) -> bool {
        self.runner.seen = Generation(0);
        if system.budget.edits > 0 {
            // What it forgets where nothing is edited would only multiply states.
            self.runner.folders.values_mut().for_each(|folder| folder.told = None);
        }
        if !system.fences.record {
            self.runner.floor = Epoch(0);
            self.runner.folders.retain(|_, folder| !folder.closed);
        }
        let coming: Vec<u32> = self
            .runner
            .folders
            .iter()
            .filter(|(_, folder)| folder.shim == Shim::Coming)
            .map(|(epoch, _)| *epoch)
            .collect();
        for epoch in coming {
            self.write_receipt(epoch, EndReason::Lost, Means::NeverStarted);
        }
        self.down.clear();
        self.send();
        self.drop_harmless(system);
        true
    }

    /// The runner finds that a shim is gone, and records that before it says so.
    fn runner_closes(&mut self, system: &System, epoch: u32) -> bool {
        let Some(folder) = self.runner.folders.get_mut(&epoch).filter(|folder| !folder.closed)
        else {
            return false;
        };
        match folder.shim {
            Shim::Crashed { proven: true } => {
                self.write_receipt(epoch, EndReason::Lost, Means::CgroupEmpty);
            }
            Shim::Ended | Shim::Crashed { proven: false } => {
                folder.closed = true;
                self.runner.floor = self.runner.floor.max(Epoch(epoch));
            }
            Shim::Coming | Shim::Alive => return false,
        }
        self.drop_harmless(system);
        true
    }

    fn agent_dies(&mut self, system: &System, epoch: u32) -> bool {
        let Some(folder) = self.runner.folders.get_mut(&epoch) else { return false };
        let died = std::mem::take(&mut folder.agent);
        self.drop_harmless(system);
        died
    }

    fn shim_up(&mut self, epoch: u32) -> bool {
        let Some(folder) = self.runner.folders.get_mut(&epoch) else { return false };
        // The first thing it does is to take its lock and look whether it is closed.
        if folder.shim != Shim::Coming || folder.closed {
            return false;
        }
        folder.shim = Shim::Alive;
        folder.agent = true;
        folder.journal.push(RecordBody::Ready);
        let over = epoch <= self.ghost.closed && !self.ghost.vouched.contains(&epoch);
        self.ghost.again |= over || epoch <= self.ghost.started;
        self.ghost.started = epoch;
        true
    }

    fn begin(&mut self, epoch: u32) -> bool {
        let Some(folder) = self.runner.folders.get_mut(&epoch) else { return false };
        let Some(run) = folder.handed else { return false };
        if folder.turn != Turn::Handed || folder.stop.is_some() {
            return false;
        }
        // Durable before the agent sees it.
        folder.journal.push(RecordBody::RunStarted { run });
        folder.turn = Turn::Begun;
        self.ghost.stale |= folder.settings < self.ghost.under[number(run)];
        self.ghost.edited |= folder.settings > 0;
        self.ghost.executed[number(run)] += 1;
        true
    }

    fn answer(&mut self, epoch: u32) -> bool {
        let Some(folder) = self.runner.folders.get_mut(&epoch) else { return false };
        let Some(run) = folder.handed else { return false };
        if folder.turn != Turn::Begun {
            return false;
        }
        let outcome = Outcome::Completed { result: None };
        folder.journal.push(RecordBody::RunEnded { run, outcome });
        folder.turn = Turn::Answered;
        true
    }

    /// A shim ends its tree, proves it, writes the receipt and exits: when it is told to,
    /// when its one run is answered, or when the agent ends by itself.
    fn shim_ends(&mut self, system: &System, epoch: u32) -> bool {
        let Some(folder) = self.runner.folders.get_mut(&epoch) else { return false };
        let answered = folder.turn == Turn::Answered;
        let reason = match &folder.stop {
            Some(stop) => EndReason::from(stop.reason),
            None if answered && !system.persistent => EndReason::Done,
            None if spend(&mut self.left.exits) => EndReason::Exit,
            None => return false,
        };
        if folder.stop.is_some() && !self.ghost.wanted_down.contains(&epoch) {
            self.ghost.unasked = true;
        }
        folder.end(epoch, reason, Means::NoChildLeft);
        true
    }

    /// Without a control group nobody knows what becomes of its tree.
    fn shim_dies(&mut self, epoch: u32, proven: bool) -> bool {
        let Some(folder) = self.runner.folders.get_mut(&epoch) else { return false };
        folder.shim = Shim::Crashed { proven };
        folder.agent &= !proven;
        true
    }
}

impl Folder {
    fn end(&mut self, epoch: u32, reason: EndReason, means: Means) {
        let mut receipt = Receipt::without_process(Epoch(epoch), reason, now().0, means, "");
        receipt.last_run = self.last_run();
        self.receipt = Some(receipt);
        self.shim = Shim::Ended;
        self.agent = false;
    }

    /// What the journal says of the last run that was begun.
    fn last_run(&self) -> Option<LastRun> {
        self.journal.iter().rev().find_map(|body| match body {
            RecordBody::RunEnded { run, outcome } => {
                Some(LastRun { run: *run, outcome: Some(outcome.clone()), steered: Vec::new() })
            }
            RecordBody::RunStarted { run } => {
                Some(LastRun { run: *run, outcome: None, steered: Vec::new() })
            }
            _ => None,
        })
    }
}
