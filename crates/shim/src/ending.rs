//! A compute that is being ended: down the ladder, to the proof, to the receipt.

use std::collections::HashSet;

use greenroom_core::RecordBody;
use greenroom_core::Timestamp;
use greenroom_core::assignment::StopOrder;
use greenroom_core::receipt::{Action, EndReason, Receipt, Step};
use greenroom_core::record::Outcome;
use rustix::process::Signal;

use crate::agent::Leader;
use crate::clock::{self, Moment};
use crate::ladder::{Act, Ladder};
use crate::outcome;
use crate::supervise::{RETRY, Supervisor};
use crate::wire::FromShim;

/// What SIGTERM to the shim leaves to the agent.
const SHUTDOWN_GRACE: u64 = 5000;
/// Without proof for so long after the kill, those who wait are told.
const UNPROVEN_AFTER: Moment = 20_000;
/// How long one round of killing may take before control has its turn.
const ROUND: Moment = 20;
/// How long the last words may take.
const FAREWELL: Moment = 1000;

/// A compute on its way down.
#[derive(Debug)]
pub(crate) struct Ending {
    reason: EndReason,
    detail: Option<String>,
    begun: Moment,
    requested_at: Timestamp,
    requested_by: Vec<String>,
    steps: Vec<Step>,
    ladder: Ladder,
    leader_noted: bool,
    leftovers: u32,
    /// Next round of killing.
    next_round: Moment,
    rounds: u32,
    /// When to say that there is no proof yet.
    unproven_at: Option<Moment>,
}

/// A receipt on its way to the disk.
#[derive(Debug)]
pub(crate) struct Closing {
    receipt: Receipt,
    logged: bool,
    retry_at: Moment,
    unproven_at: Moment,
}

impl Ending {
    fn new(reason: EndReason, now: Moment, cancel: Option<u64>, grace: u64) -> Self {
        Self {
            reason,
            detail: None,
            begun: now,
            requested_at: clock::wall(),
            requested_by: Vec::new(),
            steps: Vec::new(),
            ladder: Ladder::new(now, cancel, grace),
            leader_noted: false,
            leftovers: 0,
            next_round: now,
            rounds: 0,
            unproven_at: None,
        }
    }

    fn step(&mut self, now: Moment, action: Action, detail: impl Into<String>) {
        let after_ms = now.saturating_sub(self.begun);
        self.steps.push(Step { after_ms, action, detail: detail.into() });
    }

    /// How a run ends that is in progress.
    pub(crate) fn cut_short(&self) -> Outcome {
        outcome::cut_short(self.reason, self.detail.as_deref())
    }

    fn join(&mut self, stop: &StopOrder, now: Moment) {
        for who in &stop.requested_by {
            if !self.requested_by.contains(who) {
                self.requested_by.push(who.clone());
            }
        }
        self.ladder.shorten(now, stop.grace_ms.0);
    }
}

impl Supervisor {
    /// Somebody wants it down.
    pub(crate) fn stop(&mut self, stop: StopOrder, now: Moment) {
        if self.done || self.closing.is_some() {
            return;
        }
        // An end that came before the stop was seen is the agent's own.
        if self.ending.is_none() && self.leader.as_ref().is_some_and(|l| l.exit.is_some()) {
            self.end_naturally(now, true);
        }
        if self.done || self.closing.is_some() {
            return;
        }
        match &mut self.ending {
            Some(ending) => ending.join(&stop, now),
            None => {
                let cancel = self.cancels_first().then_some(stop.cancel_grace_ms.0);
                let mut ending = Ending::new(stop.reason.into(), now, cancel, stop.grace_ms.0);
                ending.step(now, Action::Seen, format!("stop {}", stop.id));
                ending.join(&stop, now);
                self.begin_ending(ending, now);
            }
        }
    }

    /// It ends though nobody asked.
    pub(crate) fn end_by_itself(
        &mut self,
        now: Moment,
        reason: EndReason,
        grace: u64,
        detail: Option<String>,
    ) {
        if self.is_ending() {
            return;
        }
        let cancel_grace = self.spec.graces.cancel_grace_ms.0;
        let cancel = self.cancels_first().then_some(cancel_grace.min(grace));
        let mut ending = Ending::new(reason, now, cancel, grace);
        ending.step(now, Action::Seen, detail.clone().unwrap_or_default());
        ending.detail = detail;
        self.state(RecordBody::Closing { reason });
        self.begin_ending(ending, now);
    }

    /// The agent ended by itself, and left so many processes behind (or nothing at all).
    pub(crate) fn end_with_leader(
        &mut self,
        now: Moment,
        reason: EndReason,
        left: Option<(u32, u64)>,
        detail: Option<String>,
    ) {
        let mut ending = Ending::new(reason, now, None, left.map_or(0, |(_, grace)| grace));
        ending.detail = detail;
        ending.step(now, Action::Seen, "the agent ended by itself");
        if let Some((leftovers, _)) = left {
            ending.leftovers = leftovers;
            self.state(RecordBody::Closing { reason });
        }
        self.begin_ending(ending, now);
    }

    /// The machine, or an operator, wants the shim itself to go.
    pub(crate) fn shut_down(&mut self, now: Moment) {
        match &mut self.ending {
            Some(ending) => ending.ladder.shorten(now, SHUTDOWN_GRACE),
            None => {
                let detail = "the shim was told to go (SIGTERM)".to_owned();
                self.end_by_itself(now, EndReason::Shutdown, SHUTDOWN_GRACE, Some(detail));
            }
        }
    }

    /// The control folder is gone.
    pub(crate) fn end_lost(&mut self, now: Moment) {
        self.lost = true;
        if self.closing.is_some() {
            self.leave_without_receipt();
            return;
        }
        let detail = "the control folder is gone".to_owned();
        self.end_by_itself(now, EndReason::Lost, 0, Some(detail));
        if let Some(ending) = &mut self.ending {
            ending.ladder.shorten(now, 0);
        }
    }

    /// All is ended, and there is nowhere to say it.
    fn leave_without_receipt(&mut self) {
        self.tree.remove();
        self.done = true;
    }

    fn begin_ending(&mut self, ending: Ending, now: Moment) {
        self.pending = None;
        self.ending = Some(ending);
        self.reap(now);
        if !self.tree.is_gone() {
            self.tree.count_quickly();
        }
        self.go_on_ending(now);
    }

    /// When there is something to do though nothing happens.
    pub(crate) fn ending_deadline(&self) -> Option<Moment> {
        if let Some(closing) = &self.closing {
            return Some(closing.retry_at);
        }
        let ending = self.ending.as_ref()?;
        let round = ending.ladder.killing().then_some(ending.next_round);
        [ending.ladder.wake_at(), round, ending.unproven_at].into_iter().flatten().min()
    }

    /// One look at a compute that is being ended.
    pub(crate) fn go_on_ending(&mut self, now: Moment) {
        self.reap(now);
        let Some(mut ending) = self.ending.take() else { return };
        self.note_leader(&mut ending, now);
        if self.run.is_none() {
            ending.ladder.turn_is_over();
        }
        while !self.tree.is_gone() {
            let leader_alive = self.leader.as_ref().is_some_and(Leader::is_alive);
            let Some(act) = ending.ladder.next(now, leader_alive) else { break };
            self.act(act, &mut ending, now);
            self.reap(now);
        }
        if ending.ladder.killing() && now >= ending.next_round && !self.tree.is_gone() {
            self.kill_on(&mut ending, now);
        }
        self.note_leader(&mut ending, now);
        if self.tree.is_gone() {
            self.conclude(ending);
            return;
        }
        if ending.unproven_at.is_some_and(|at| now >= at) {
            ending.unproven_at = Some(now + UNPROVEN_AFTER);
            let evidence = self.tree.evidence();
            self.server.say(&FromShim::Unproven { evidence });
        }
        self.ending = Some(ending);
    }

    fn note_leader(&mut self, ending: &mut Ending, now: Moment) {
        let exit = self.leader.as_ref().and_then(|leader| leader.exit);
        if let Some((exit, at)) = exit.filter(|_| !ending.leader_noted) {
            ending.leader_noted = true;
            ending.step(at.clamp(ending.begun, now), Action::LeaderExited, outcome::in_words(exit));
        }
    }

    fn act(&mut self, act: Act, ending: &mut Ending, now: Moment) {
        match act {
            Act::Cancel => {
                self.cancel_turn();
                ending.step(now, Action::Cancel, "the driver was told to end the turn");
            }
            Act::TermLeader => {
                fail::fail_point!("shim_before_term");
                if let Some(leader) = &self.leader {
                    let sent = leader.send(Signal::TERM) && leader.send(Signal::CONT);
                    let detail = if sent { "SIGTERM, SIGCONT" } else { "it has just ended" };
                    ending.step(now, Action::TermLeader, detail);
                }
            }
            Act::TermRest => {
                let leader = self.leader.as_ref().filter(|leader| leader.is_alive());
                let count = self.tree.term_all_but(leader.map(|leader| leader.pid));
                let detail = format!("SIGTERM, SIGCONT to {count} processes");
                ending.step(now, Action::TermRest, detail);
            }
            Act::Kill => {
                if let Some(detail) = self.tree.freeze() {
                    ending.step(now, Action::Freeze, detail);
                }
                let detail = match self.tree.kill_group() {
                    Some(detail) => {
                        ending.next_round = now + 5;
                        detail
                    }
                    None => format!("stopped, then killed {}", self.stop_then_kill()),
                };
                ending.step(clock::now(), Action::Kill, detail);
                ending.unproven_at = Some(now + UNPROVEN_AFTER);
                fail::fail_point!("shim_after_kill");
            }
        }
    }

    /// Kills again what is left: what escaped the group, or was born while we walked.
    fn kill_on(&mut self, ending: &mut Ending, now: Moment) {
        ending.rounds += 1;
        if !self.tree.group_is_empty() {
            self.tree.kill_group();
        }
        let begun = clock::now();
        // What the group killed ends by itself; only what then is still a child escaped.
        let walks = self.tree.birth_group().is_none() || ending.rounds > 2;
        while walks && !self.tree.childless && clock::now() < begun + ROUND {
            self.stop_then_kill();
            self.reap(now);
        }
        let pause = (1u64 << ending.rounds.min(8)).min(200);
        ending.next_round = clock::now() + pause;
    }

    /// Stops what can be found until nothing new is, then kills it. Without the stopping
    /// first, a tree that forks faster than it is walked is never caught. Nothing is
    /// reaped meanwhile: that is slow in a storm, and gives numbers free to be used again.
    fn stop_then_kill(&mut self) -> usize {
        let mut stopped = HashSet::new();
        let until = clock::now() + ROUND;
        while self.tree.stop_children(&mut stopped) || self.tree.stop_members(&mut stopped) {
            if clock::now() >= until {
                break;
            }
        }
        self.tree.kill_members()
    }

    /// Nothing is left: the receipt can be written.
    fn conclude(&mut self, ending: Ending) {
        let now = clock::now();
        // Its last words are those of a compute that ends: a driver's about its run, too.
        self.ending = Some(ending);
        self.finish_streams(now, false);
        let Some(mut ending) = self.ending.take() else { return };
        self.strays.clear();
        self.end_run(ending.cut_short());
        self.keep_gap(None);
        if self.tree.census.seen() == 0 {
            ending.step(now, Action::Nothing, "there was no process");
        }
        ending.step(now, Action::Proven, "");
        // Another folder at the same place must not get our receipt.
        self.lost |= self.folder_is_lost();
        if self.lost {
            self.leave_without_receipt();
            return;
        }
        let receipt = Receipt {
            epoch: self.spec.epoch,
            reason: ending.reason,
            requested_at: ending.requested_at,
            steps: ending.steps,
            duration_ms: now.saturating_sub(ending.begun),
            processes_seen: self.tree.census.seen(),
            survivors: 0,
            proof: self.tree.proof(),
            scope: Receipt::SCOPE.to_owned(),
            isolation: self.spec.isolation.clone(),
            exit: self.leader.as_ref().and_then(|leader| Some(leader.exit?.0)),
            leftovers: ending.leftovers,
            requested_by: ending.requested_by,
            asserted_by: None,
            last_run: self.last_run.clone(),
            detail: ending.detail,
        };
        self.closing = Some(Closing { receipt, logged: false, retry_at: now, unproven_at: now });
        self.owed_retry = 0;
        self.try_to_close(now);
    }

    /// Puts the receipt on disk, says it, and is done. What the disk refuses is tried
    /// again for ever: without it the end is not proven to anybody else.
    pub(crate) fn try_to_close(&mut self, now: Moment) {
        let Some(mut closing) = self.closing.take_if(|closing| now >= closing.retry_at) else {
            return;
        };
        self.owed_retry = 0;
        self.pay_owed(now);
        match self.write_receipt(&mut closing) {
            Ok(()) => self.farewell(closing.receipt),
            Err(error) => {
                closing.retry_at = now + RETRY;
                if now >= closing.unproven_at {
                    closing.unproven_at = now + UNPROVEN_AFTER;
                    let evidence = format!("the receipt could not be written: {error}");
                    self.server.say(&FromShim::Unproven { evidence });
                }
                self.closing = Some(closing);
            }
        }
    }

    fn write_receipt(&mut self, closing: &mut Closing) -> std::io::Result<()> {
        if !self.owed.is_empty() {
            return Err(rustix::io::Errno::NOSPC.into());
        }
        fail::fail_point!("shim_before_receipt", |_| Err(std::io::Error::other("fail point")));
        if !closing.logged {
            let receipt = Box::new(closing.receipt.clone());
            self.log.append(&RecordBody::Receipt { receipt })?;
            closing.logged = true;
        }
        self.log.sync()?;
        fail::fail_point!("shim_after_receipt", |_| Err(std::io::Error::other("fail point")));
        Ok(())
    }

    /// The receipt is in the journal, and that is the proof. `closed` says the same where
    /// the journal is gone, so nobody waits for it; what the disk refuses of it is made up
    /// for by whoever looks at the folder next.
    fn farewell(&mut self, receipt: Receipt) {
        let closed = serde_json::to_vec(&receipt);
        // Who hears of the end may remove the folder that the groups are in.
        self.tree.remove();
        self.tell_durable();
        self.server.say(&FromShim::Closed { receipt: Box::new(receipt) });
        self.server.send();
        let path = self.control.closed_path();
        let reserved = self.closed_reserve.take();
        let written = closed.map_err(std::io::Error::from).and_then(|bytes| {
            match reserved.map(|reserved| reserved.become_file(&path, &bytes)) {
                Some(Ok(())) => Ok(()),
                _ => crate::control::write_durable(&path, &bytes),
            }
        });
        if let Err(error) = written {
            eprintln!("greenroom shim: {} could not be written: {error}", path.display());
        }
        fail::fail_point!("shim_after_closed");
        self.log.finish();
        let until = clock::now() + FAREWELL;
        while !self.server.send() && clock::now() < until {
            let fds = self.server.interests();
            let mut fds: Vec<_> = fds
                .map(|(fd, _)| {
                    rustix::event::PollFd::from_borrowed_fd(fd, rustix::event::PollFlags::OUT)
                })
                .collect();
            let wait = rustix::time::Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
            let _ = rustix::event::poll(&mut fds, Some(&wait));
        }
        self.done = true;
    }
}
