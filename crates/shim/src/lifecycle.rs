//! A compute that is not being ended: it comes up, takes runs, and may end by itself.

use std::collections::BTreeMap;
use std::rc::Rc;

use greenroom_core::agent::{Leftovers, PromptVia};
use greenroom_core::receipt::{EndReason, LastRun};
use greenroom_core::record::Outcome;
use greenroom_core::{RecordBody, RunId};
use serde_json::Value;

use crate::agent::{Leader, Start, StartError};
use crate::clock::{self, Moment};
use crate::outcome;
use crate::output::Mode;
use crate::redact::Secrets;
use crate::streams::Streams;
use crate::supervise::{ActiveRun, PendingRun, Phase, RETRY, Supervisor};
use crate::wire::{RunInput, Secret, ToShim};

/// After the agent's own end, its pipes must be silent for so long.
const SILENCE: Moment = 250;
/// However much what it left behind goes on writing, its run ends so long after it.
const LONGEST_TAIL: Moment = 2000;
/// What ends of itself right after the agent is no leftover.
const SETTLE: Moment = 50;
/// What an agent leaves behind has no longer than this to end when asked.
const SWEEP_GRACE: u64 = 2000;

impl Supervisor {
    /// A message came.
    pub(crate) fn told(&mut self, message: ToShim, now: Moment) {
        match message {
            ToShim::Hello { .. } | ToShim::Unknown => {}
            ToShim::Stop { stop } => self.stop(stop, now),
            _ if self.is_ending() => {}
            ToShim::Env { env, secrets } => {
                if self.phase == Phase::AwaitingEnv {
                    self.take_env(env, &secrets, now);
                }
            }
            ToShim::Cancel { run, grace_ms } => self.cancel(run, grace_ms, now),
            ToShim::Answer { id, answer } => self.answer(id, answer, now),
            ToShim::Steer { run, into, input } => self.steer(run, into, &input),
            ToShim::Settings { settings } => self.settle(*settings),
            ToShim::CannotStart { error } => {
                if self.phase == Phase::AwaitingEnv {
                    self.end_by_itself(now, EndReason::StartError, 0, Some(error));
                }
            }
            ToShim::Run { run, input } => {
                let free = self.run.is_none() && self.pending.is_none();
                if free && !self.given.contains(&run) {
                    self.given.push(run);
                    self.pending = Some(PendingRun { id: run, input, logged: None, retry_at: 0 });
                }
            }
        }
    }

    /// When there is something to do though nothing happens.
    pub(crate) fn lifecycle_deadline(&self, now: Moment) -> Option<Moment> {
        if self.is_ending() {
            return None;
        }
        let start = (self.phase != Phase::Up).then(|| self.start_deadline());
        let pending = self.pending.as_ref().filter(|_| self.phase == Phase::Up);
        let natural = self.leader.as_ref().and_then(|leader| {
            let (_, at) = leader.exit?;
            Some(self.quiet_at(at).unwrap_or(now).max(now))
        });
        let pending = pending.map(|pending| pending.retry_at);
        let deadlines = [start, pending, self.run_deadline(), self.cancel_deadline(), natural];
        deadlines.into_iter().flatten().min()
    }

    fn start_deadline(&self) -> Moment {
        self.born.saturating_add(self.spec.limits.start().0)
    }

    fn run_deadline(&self) -> Option<Moment> {
        // While a person is asked, nobody can be blamed for the time.
        let run = self.run.as_ref().filter(|_| !self.run_waits())?;
        Some(run.begun.saturating_add(self.spec.limits.run_ms?.0))
    }

    pub(crate) fn advance_lifecycle(&mut self, now: Moment) {
        self.watch_start(now);
        if self.is_ending() {
            return;
        }
        if self.phase != Phase::Up && now >= self.start_deadline() {
            let detail = format!("start limit {} reached", self.spec.limits.start());
            self.end_by_itself(now, EndReason::StartTimeout, 0, Some(detail));
            return;
        }
        if let Some(leader) = &self.leader
            && leader.exit.is_some()
        {
            self.look_for_oom(now);
            if !self.is_ending() {
                self.end_naturally(now, false);
            }
            return;
        }
        if let Some(limit) = self.spec.limits.run_ms
            && self.run_deadline().is_some_and(|deadline| now >= deadline)
        {
            let detail = format!("run limit {limit} reached");
            let grace = self.spec.graces.grace_ms.0;
            self.end_by_itself(now, EndReason::Limit, grace, Some(detail));
            return;
        }
        self.watch_cancel(now);
        if !self.is_ending() {
            self.begin_pending_run(now);
        }
    }

    /// The environment is here, and which of it must not be said.
    fn take_env(&mut self, env: BTreeMap<String, String>, secrets: &[Secret], now: Moment) {
        match Secrets::new(secrets) {
            Ok(secrets) => {
                self.secrets = Rc::new(secrets);
                self.env = env;
                self.come_up(now);
            }
            Err(error) => {
                let detail =
                    format!("its secrets are too large to be kept out of its log: {error}");
                self.end_by_itself(now, EndReason::StartError, 0, Some(detail));
            }
        }
    }

    fn come_up(&mut self, now: Moment) {
        if !self.is_persistent() {
            self.phase = Phase::Up;
            self.state(RecordBody::Ready);
            return;
        }
        // `Ready` comes after the process here; without this mark, a journal that ends
        // before it would say that there never was one.
        if let Err(error) = self.control.mark_begun() {
            let detail = format!("the control folder cannot be written: {error}");
            self.end_by_itself(now, EndReason::StartError, 0, Some(detail));
            return;
        }
        self.phase = Phase::Starting;
        self.start_leader(None, now);
    }

    /// Starts the agent's process. If that cannot be, the compute ends.
    fn start_leader(&mut self, prompt: Option<&str>, now: Moment) -> bool {
        let feed = self.is_persistent() || self.command.prompt_via == PromptVia::Stdin;
        let start = Start {
            command: &self.command,
            program: self.leader_program(),
            env: &self.env,
            workspace: &self.spec.workspace,
            home: &self.spec.home,
            prompt,
            feed,
            nice: self.nice,
        };
        match Leader::start(&start, &self.tree) {
            Ok((leader, ends)) => {
                fail::fail_point!("shim_after_spawn");
                self.tree.childless = false;
                self.leader = Some(leader);
                let mode = match self.driven {
                    Some(_) => Mode::Driver,
                    None => self.command.stdout.into(),
                };
                self.streams = Some(Streams::new(ends, mode, &self.secrets, now));
                if self.driven.is_some() {
                    self.open_driver();
                }
                true
            }
            Err(error) => {
                self.reap(now);
                self.end_unstarted(&error, now);
                false
            }
        }
    }

    /// Learns whether the program really runs.
    fn watch_start(&mut self, now: Moment) {
        match self.leader.as_mut().and_then(Leader::started) {
            None => {}
            // A driver says itself when its agent is ready.
            Some(Ok(())) if self.phase == Phase::Starting && self.driven.is_none() => {
                self.phase = Phase::Up;
                self.state(RecordBody::Ready);
            }
            Some(Ok(())) => {}
            Some(Err(error)) => self.end_unstarted(&error, now),
        }
    }

    fn end_unstarted(&mut self, error: &StartError, now: Moment) {
        // It may name parts of the agent's environment.
        let detail = self.secrets.in_text(error.to_string());
        self.end_by_itself(now, EndReason::StartError, 0, Some(detail));
    }

    /// Begins the run that was handed over, once that is on disk: the agent never sees a
    /// prompt of which no record tells.
    fn begin_pending_run(&mut self, now: Moment) {
        let Some(mut pending) = self.pending.take_if(|p| now >= p.retry_at) else { return };
        if self.phase != Phase::Up || !self.owed.is_empty() {
            pending.retry_at = if self.phase == Phase::Up { now + RETRY } else { 0 };
            self.pending = Some(pending);
            return;
        }
        if pending.logged.is_none() {
            fail::fail_point!("shim_before_run_started");
            self.flush_between_runs();
            let started = RecordBody::RunStarted { run: pending.id };
            pending.logged = self.log.append(&started).ok();
        }
        let logged = pending.logged.is_some_and(|index| {
            self.log.durable() >= index || self.log.sync().is_ok_and(|durable| durable >= index)
        });
        if !logged {
            pending.retry_at = now + RETRY;
            self.pending = Some(pending);
            return;
        }
        self.tell_durable();
        fail::fail_point!("shim_after_run_started");
        let PendingRun { id, input, .. } = pending;
        self.run = Some(ActiveRun { id, begun: clock::now(), result: None });
        self.last_run = Some(LastRun { run: id, outcome: None, steered: Vec::new() });
        if self.is_persistent() {
            self.hand_over(id, &input, now);
        } else {
            self.start_for(id, &input, now);
        }
    }

    /// What came between two runs belongs to none.
    fn flush_between_runs(&mut self) {
        let mut emits = Vec::new();
        if let Some(streams) = &mut self.streams {
            streams.begin_run(&mut emits);
        }
        self.keep(emits, false);
        self.keep_gap(None);
    }

    fn start_for(&mut self, run: RunId, input: &RunInput, now: Moment) {
        if self.driven.is_some() {
            if self.start_leader(None, now) {
                self.tell_run(run, input);
            }
            return;
        }
        let text = match input {
            RunInput::Prompt(text) => text.clone(),
            RunInput::Input(value) => value.to_string(),
        };
        let started = self.start_leader(Some(&text), now);
        if let Some(streams) = self.streams.as_mut().filter(|_| started) {
            streams.feed(text.as_bytes(), true);
        }
    }

    fn hand_over(&mut self, run: RunId, input: &RunInput, now: Moment) {
        // With leftovers kept, the process may have ended and the compute stayed.
        if self.leader.is_none() && !self.start_leader(None, now) {
            return;
        }
        if self.driven.is_some() {
            return self.tell_run(run, input);
        }
        let mut line = match input {
            RunInput::Prompt(text) => serde_json::json!({ "run": run, "prompt": text }),
            RunInput::Input(value) => serde_json::json!({ "run": run, "input": value }),
        }
        .to_string();
        line.push('\n');
        if let Some(streams) = &mut self.streams {
            streams.feed(line.as_bytes(), false);
        }
    }

    /// The agent gave a structured answer.
    pub(crate) fn take_result(&mut self, result: Value) {
        if self.is_persistent() {
            self.end_run(Outcome::Completed { result: Some(result) });
        } else if let Some(run) = &mut self.run {
            run.result = Some(result);
        }
    }

    /// The run in progress has this end.
    pub(crate) fn end_run(&mut self, outcome: Outcome) {
        let Some(ActiveRun { id: run, .. }) = self.run.take() else { return };
        self.keep_gap(Some(run));
        if let Some(last) = &mut self.last_run {
            last.outcome = Some(outcome.clone());
        }
        self.state(RecordBody::RunEnded { run, outcome });
    }

    /// When the output of an agent that ended at `at` counts as ended; `None` is now.
    fn quiet_at(&self, at: Moment) -> Option<Moment> {
        let streams = self.streams.as_ref()?;
        if streams.has_ended() {
            return (!self.tree.is_gone()).then_some(at + SETTLE);
        }
        Some((at.max(streams.heard_at) + SILENCE).min(at + LONGEST_TAIL))
    }

    /// The agent ended by itself. Its run ends with its output; what it left behind is
    /// then swept, or kept.
    pub(crate) fn end_naturally(&mut self, now: Moment, at_once: bool) {
        let Some(leader) = &self.leader else { return };
        let Some((exit, at)) = leader.exit else { return };
        self.reap(now);
        if !at_once && self.quiet_at(at).is_some_and(|quiet| now < quiet) {
            return;
        }
        let program = leader_name(&self.leader);
        let oom = self.tree.had_oom();
        let gone = self.tree.is_gone();
        self.finish_streams(now, !gone);
        // Known only now: its last words may have been the answer.
        let (in_run, persistent) = (self.run.is_some(), self.is_persistent());
        let reason = match outcome::reason_of(exit, !(in_run && persistent), oom) {
            // A driver that never said that it is ready has not brought its agent up.
            EndReason::Exit | EndReason::Done if self.phase == Phase::Starting => {
                EndReason::StartError
            }
            // A driver ends well also where its agent did not.
            EndReason::Done if !persistent && self.failure().is_some() => EndReason::Exit,
            reason => reason,
        };
        if let Some(run) = &mut self.run {
            let result = run.result.take();
            self.end_run(match persistent || self.driven.is_some() {
                true => outcome::without_result(&program, exit, oom),
                false => outcome::of_one_run(&program, exit, oom, result),
            });
        }
        let detail = (reason != EndReason::Done).then(|| match reason {
            EndReason::Oom => "the agent used more memory than its limit allows".to_owned(),
            _ => self.failure().unwrap_or_else(|| format!("{program} {}", outcome::in_words(exit))),
        });
        if gone {
            self.end_with_leader(now, reason, None, detail);
            return;
        }
        let left = self.tree.count().len() as u32;
        if self.spec.leftovers == Leftovers::Keep && left > 0 {
            self.leader = None;
            return;
        }
        let grace = self.spec.graces.grace_ms.0.min(SWEEP_GRACE);
        self.end_with_leader(now, reason, Some((left, grace)), detail);
    }

    /// How its last run has failed, as its driver says.
    fn failure(&self) -> Option<String> {
        self.driven.as_ref()?;
        match self.last_run.as_ref()?.outcome.as_ref()? {
            Outcome::Failed { error } => Some(error.message.clone()),
            _ => None,
        }
    }

    /// The kernel may have killed something of ours for want of memory.
    pub(crate) fn look_for_oom(&mut self, now: Moment) {
        if self.is_ending() || !self.tree.had_oom() {
            return;
        }
        let limit = self.spec.limits.memory_bytes.unwrap_or_default();
        let grace = self.spec.graces.grace_ms.0.min(SWEEP_GRACE);
        let detail = format!("memory limit {limit} reached");
        self.end_by_itself(now, EndReason::Oom, grace, Some(detail));
    }
}

fn leader_name(leader: &Option<Leader>) -> String {
    leader.as_ref().map_or_else(|| "the agent".to_owned(), |leader| leader.program.clone())
}
