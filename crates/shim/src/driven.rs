//! A compute whose agent is spoken to by a driver: a process of the compute that knows
//! the agent's protocol, and is told and heard here.

use std::collections::BTreeSet;
use std::path::Path;

use greenroom_core::agent::{CommandSpec, Driver, PromptVia, Stdout};
use greenroom_core::approval::Answer;
use greenroom_core::drive::{FromDriver, Open, ToDriver};
use greenroom_core::receipt::EndReason;
use greenroom_core::record::{Outcome, RunError};
use greenroom_core::{ApprovalId, Ms, RecordBody, RunId, Settings};

use crate::clock::{self, Moment};
use crate::supervise::{Phase, Supervisor};
use crate::wire::RunInput;

/// A driver is this very build, also after its file was replaced.
pub(crate) const SELF: &str = "/proc/self/exe";

/// What a driver adds to a compute.
#[derive(Debug, Default)]
pub(crate) struct Driven {
    /// It has heard what is driven.
    is_open: bool,
    /// Questions that are not answered; while there is one, the run's clock stands still.
    open: BTreeSet<ApprovalId>,
    waits_since: Option<Moment>,
    /// Answers that were passed on.
    answered: BTreeSet<ApprovalId>,
    /// Texts that were passed on, or wait for their run to begin.
    steered: BTreeSet<RunId>,
    early: Vec<ToDriver>,
    /// The run whose turn is being ended, and until when it may.
    cancel: Option<(RunId, Moment)>,
    /// Its agent works, with or without a run.
    busy: bool,
    /// Why it cannot go on, as it said.
    failed: Option<RunError>,
}

/// The command of a compute's leader: the agent's own, or the driver's.
pub(crate) fn command_of(driver: &Driver) -> CommandSpec {
    let drive = |kind: &str| CommandSpec {
        command: vec!["greenroom".to_owned(), "drive".to_owned(), kind.to_owned()],
        prompt_via: PromptVia::Stdin,
        stdout: Stdout::Jsonl,
        lifecycle: driver.lifecycle(),
    };
    match driver {
        Driver::Command(command) => command.clone(),
        other => drive(other.process().unwrap_or_default()),
    }
}

impl Supervisor {
    /// What is executed for the leader, where its command does not say.
    pub(crate) fn leader_program(&self) -> Option<&'static Path> {
        self.driven.as_ref().map(|_| Path::new(SELF))
    }

    fn tell(&mut self, message: &ToDriver) {
        let Ok(mut line) = serde_json::to_vec(message) else { return };
        line.push(b'\n');
        if let Some(streams) = &mut self.streams {
            streams.feed(&line, false);
        }
    }

    /// Its first words to a driver that was just started.
    pub(crate) fn open_driver(&mut self) {
        let spec = &self.spec;
        let open = Open {
            driver: spec.driver.clone(),
            session: spec.session.clone(),
            epoch: spec.epoch,
            conversation: spec.conversation.clone(),
            resumed: spec.resumed,
            workspace: spec.workspace.clone(),
            home: spec.home.clone(),
            door: Some(self.control.door_path()),
            settings: spec.settings.clone(),
            within: spec.within.clone(),
            output_schema: spec.output_schema.clone(),
        };
        self.tell(&ToDriver::Open(Box::new(open)));
        if let Some(driven) = &mut self.driven {
            driven.is_open = true;
        }
    }

    /// The session's settings were edited. A driver that is not open yet begins with them.
    pub(crate) fn settle(&mut self, settings: Settings) {
        if self.spec.settings == settings {
            return;
        }
        self.spec.settings = settings.clone();
        if self.driven.as_ref().is_some_and(|driven| driven.is_open) {
            self.tell(&ToDriver::Settings { settings: Box::new(settings) });
        }
    }

    /// Gives the driver a run.
    pub(crate) fn tell_run(&mut self, run: RunId, input: &RunInput) {
        let (prompt, input) = match input {
            RunInput::Prompt(text) => (Some(text.clone()), None),
            RunInput::Input(value) => (None, Some(value.clone())),
        };
        self.tell(&ToDriver::Run { run, prompt, input });
        let early = self.driven.as_mut().map(|driven| std::mem::take(&mut driven.early));
        early.unwrap_or_default().iter().for_each(|steer| self.tell(steer));
    }

    /// Text for the run in progress, or for the one that is about to begin. For any other it
    /// is too late.
    pub(crate) fn steer(&mut self, run: RunId, into: RunId, input: &RunInput) {
        let active = self.run.as_ref().is_some_and(|active| active.id == into);
        let pending = self.pending.as_ref().is_some_and(|pending| pending.id == into);
        let Some(driven) = &mut self.driven else { return };
        if !(active || pending) || !driven.steered.insert(run) {
            return;
        }
        let text = match input {
            RunInput::Prompt(text) => text.clone(),
            RunInput::Input(value) => value.to_string(),
        };
        let steer = ToDriver::Steer { run, into, text };
        match active {
            true => self.tell(&steer),
            false => driven.early.push(steer),
        }
    }

    /// The agent is given a text: that is on record with its run.
    fn driver_steered(&mut self, run: RunId) {
        let given = self.driven.as_ref().is_some_and(|driven| driven.steered.contains(&run));
        let (Some(active), Some(last)) = (&self.run, &mut self.last_run) else { return };
        let into = active.id;
        if given && !last.steered.contains(&run) {
            last.steered.push(run);
            self.state(RecordBody::Steered { run, into });
        }
    }

    /// The driver says something beside events. Called while its streams are being read:
    /// what needs them, or ends the compute, comes in [`obey_driver`](Self::obey_driver).
    pub(crate) fn heard(&mut self, said: FromDriver, stray: bool) {
        let now = clock::now();
        match said {
            _ if stray => {}
            FromDriver::Ready => {
                if self.phase == Phase::Starting && !self.is_ending() {
                    self.phase = Phase::Up;
                    self.state(RecordBody::Ready);
                }
            }
            FromDriver::Failed { error } => {
                if let Some(driven) = &mut self.driven {
                    driven.failed.get_or_insert(error);
                }
            }
            FromDriver::Busy { busy } => {
                let Some(driven) = &mut self.driven else { return };
                if std::mem::replace(&mut driven.busy, busy) != busy {
                    self.state(RecordBody::Busy { busy });
                }
            }
            FromDriver::Conversation { id } => self.state(RecordBody::Conversation { id }),
            // Put together where text is.
            FromDriver::Text { .. } => {}
            FromDriver::Ask { ask } => {
                let (Some(run), Some(driven)) = (&self.run, &mut self.driven) else { return };
                let run = run.id;
                if driven.open.insert(ask.id) {
                    driven.waits_since.get_or_insert(now);
                    self.state(RecordBody::Asked { run, ask });
                }
            }
            FromDriver::AskOver { id, reason } => {
                if self.ask_is_over(id, now) {
                    self.state(RecordBody::AskOver { id, reason });
                }
            }
            FromDriver::Steered { run } => self.driver_steered(run),
            FromDriver::Ended { run, outcome } => self.driver_ended(run, outcome),
        }
    }

    /// What follows from what the driver has said.
    pub(crate) fn obey_driver(&mut self, now: Moment) {
        let Some(driven) = &mut self.driven else { return };
        if let Some(error) = driven.failed.take() {
            self.driver_failed(error, now);
        }
        if self.run.is_some() || self.last_run.is_none() {
            return;
        }
        if !self.is_persistent()
            && let Some(streams) = &mut self.streams
        {
            // One run is all it is for: the end of its input tells it to go.
            streams.close_stdin();
        }
        if self.ending.is_some() {
            self.go_on_ending(now);
        }
    }

    fn driver_failed(&mut self, error: RunError, now: Moment) {
        // A compute of one run is up before its agent is.
        let starting = self.phase != Phase::Up || error.code == "start_error";
        let reason = if starting { EndReason::StartError } else { EndReason::Protocol };
        let detail = error.message.clone();
        self.end_run(Outcome::Failed { error });
        let grace = self.spec.graces.grace_ms.0;
        self.end_by_itself(now, reason, grace, Some(detail));
    }

    fn driver_ended(&mut self, run: RunId, outcome: Outcome) {
        if self.run.as_ref().is_none_or(|active| active.id != run) {
            return;
        }
        if let Some(driven) = &mut self.driven {
            driven.cancel = None;
            driven.open.clear();
            driven.waits_since = None;
        }
        // A turn that was cancelled because the compute ends was stopped by that.
        let outcome = match (&self.ending, outcome) {
            (Some(ending), Outcome::Stopped { error: None }) => ending.cut_short(),
            (_, outcome) => outcome,
        };
        self.end_run(outcome);
    }

    /// A question needs no answer any more; the run's clock goes on.
    fn ask_is_over(&mut self, id: ApprovalId, now: Moment) -> bool {
        let Some(driven) = &mut self.driven else { return false };
        let was_open = driven.open.remove(&id);
        if driven.open.is_empty()
            && let Some(since) = driven.waits_since.take()
            && let Some(run) = &mut self.run
        {
            run.begun += now.saturating_sub(since);
        }
        was_open
    }

    /// Whether the run in progress waits for a person.
    pub(crate) fn run_waits(&self) -> bool {
        self.driven.as_ref().is_some_and(|driven| driven.waits_since.is_some())
    }

    /// An answer came for the agent.
    pub(crate) fn answer(&mut self, id: ApprovalId, answer: Answer, now: Moment) {
        let Some(driven) = &mut self.driven else { return };
        if !driven.answered.insert(id) {
            return;
        }
        self.ask_is_over(id, now);
        self.tell(&ToDriver::Answer { id, answer });
        self.state(RecordBody::AnswerTaken { id });
    }

    /// The turn of this run is to be ended, within so long.
    pub(crate) fn cancel(&mut self, run: RunId, grace: Ms, now: Moment) {
        let in_progress = self.run.as_ref().is_some_and(|active| active.id == run);
        if in_progress && self.turn_to_cancel() {
            self.cancel_turn();
            if let Some(driven) = &mut self.driven {
                driven.cancel = Some((run, now.saturating_add(grace.0)));
            }
        } else if in_progress && self.driven.is_none() {
            let grace = self.spec.graces.grace_ms.0;
            let detail = "its run was stopped".to_owned();
            self.end_by_itself(now, EndReason::User, grace, Some(detail));
        } else if self.pending.as_ref().is_some_and(|pending| pending.id == run) {
            // It has not begun, and never will.
            self.pending = None;
            self.state(RecordBody::RunEnded { run, outcome: Outcome::Stopped { error: None } });
        }
    }

    /// Whether there is a turn that the driver could end and was not told to.
    pub(crate) fn turn_to_cancel(&self) -> bool {
        let told = self.driven.as_ref().is_none_or(|driven| driven.cancel.is_some());
        !told && self.run.is_some() && self.leader.as_ref().is_some_and(|l| l.is_alive())
    }

    /// Whether a stop begins with the end of the turn.
    pub(crate) fn cancels_first(&self) -> bool {
        self.spec.driver.cancels_first() && self.turn_to_cancel()
    }

    pub(crate) fn cancel_turn(&mut self) {
        self.tell(&ToDriver::Cancel);
    }

    /// Until when a turn that was cancelled may take to end.
    pub(crate) fn cancel_deadline(&self) -> Option<Moment> {
        self.driven.as_ref()?.cancel.map(|(_, until)| until)
    }

    /// A turn that does not end in time takes the compute with it.
    pub(crate) fn watch_cancel(&mut self, now: Moment) {
        if self.run.is_some() && self.cancel_deadline().is_some_and(|until| now >= until) {
            let grace = self.spec.graces.grace_ms.0;
            let detail = "its run was stopped, and the agent did not end the turn in time";
            self.end_by_itself(now, EndReason::User, grace, Some(detail.to_owned()));
        }
    }
}
