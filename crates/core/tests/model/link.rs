//! The coordinator and what reaches it.

use greenroom_core::record::Writer;
use greenroom_core::run::RunStatus;
use greenroom_core::session::{HowEnded, Wanted};
use greenroom_core::*;

use crate::world::{System, World, canonicalise, now, number};

impl World {
    /// Puts a command to the coordinator. Says whether anything came of it.
    pub fn command(&mut self, system: &System, command: Command) -> bool {
        let Ok(facts) = decide(&self.session, command, now()) else { return false };
        if facts.is_empty() {
            return false;
        }
        for fact in &facts {
            apply(&mut self.session, fact, now().0);
            self.remember(fact);
        }
        canonicalise(&mut self.session);
        self.send();
        self.drop_harmless(system);
        true
    }

    /// What is wanted now is sent; all that was sent before may still arrive.
    pub fn send(&mut self) {
        for (_, assignment) in self.session.assignments() {
            if !self.down.contains(&assignment) {
                self.down.push(assignment);
            }
        }
        self.down.sort_by_key(|a| (a.generation.0, a.epoch.0));
    }

    /// Drops what can do nothing any more and would only multiply states: frames older than
    /// what the runner has obeyed, while that fence stands; and what is left of an epoch
    /// that is settled here and dead there, since every report about it is ignored.
    pub fn drop_harmless(&mut self, system: &System) {
        if system.fences.generation {
            let seen = self.runner.seen;
            self.down.retain(|assignment| assignment.generation >= seen);
        }
        let session = &self.session;
        let open = |epoch: &u32| open(session, *epoch);
        self.runner.folders.retain(|epoch, f| open(epoch) || !f.closed || f.lives());
        self.ghost.wanted_down.retain(open);
        self.marks.retain(|epoch, _| open(epoch));
    }

    fn remember(&mut self, fact: &Fact) {
        let ghost = &mut self.ghost;
        let mut end = |run: &RunId, status| {
            let ended = &mut ghost.ended[number(*run)];
            ghost.ended_twice |= ended.is_some();
            *ended = Some(status);
        };
        match fact {
            Fact::RunCompleted { run, .. } => end(run, RunStatus::Completed),
            Fact::RunFailed { run, .. } => end(run, RunStatus::Failed),
            Fact::RunStopped { run, .. } => end(run, RunStatus::Stopped),
            Fact::RunWithdrawn { run, .. } => end(run, RunStatus::Withdrawn),
            Fact::RunRequeued { .. } => ghost.requeued = true,
            Fact::RunDispatched { run, .. } => ghost.under[number(*run)] = self.session.settings,
            Fact::Stopped(closed)
            | Fact::Finished(closed)
            | Fact::Failed(closed)
            | Fact::Interrupted(closed) => {
                let epoch = closed.receipt.epoch.0;
                ghost.closed_twice |= epoch <= ghost.closed;
                ghost.closed = epoch;
                let stopped = matches!(closed.how, HowEnded::Stopped(_));
                ghost.unproven_stop |= stopped && !closed.receipt.is_proven();
                if closed.receipt.asserted_by.is_some() {
                    ghost.vouched.insert(epoch);
                }
            }
            _ => {}
        }
        if let Some(compute) = &self.session.compute
            && matches!(compute.wanted, Wanted::Down(_))
        {
            ghost.wanted_down.insert(compute.epoch.0);
        }
        ghost.wanted_down.extend(self.session.abandoned.iter().map(|epoch| epoch.0));
    }

    /// The coordinator takes the next entry of a shim's journal. Doubles and holes are
    /// refused by its mark, so a stream is read like this however its frames fly. Receipts
    /// are heard, below: that way they also overtake the rest.
    pub fn take_record(&mut self, system: &System, epoch: u32) -> bool {
        let mark = *self.marks.get(&epoch).unwrap_or(&0);
        let folder = self.runner.folders.get(&epoch);
        let Some(body) = folder.and_then(|folder| folder.journal.get(mark).cloned()) else {
            return false;
        };
        if !open(&self.session, epoch) {
            return false;
        }
        if let RecordBody::RunEnded { run, .. } = &body
            && !self.ghost.vouched.contains(&epoch)
        {
            self.ghost.acknowledged[number(*run)] = true;
        }
        self.marks.insert(epoch, mark + 1);
        let record = Record {
            uid: self.session.uid,
            epoch: Epoch(epoch),
            writer: Writer::Shim,
            index: mark as u64 + 1,
            at: now().0,
            body,
        };
        self.command(system, Command::Records(vec![record]));
        true
    }

    /// The coordinator hears how a compute ended, perhaps not for the first time.
    pub fn hear(&mut self, system: &System, epoch: u32) -> bool {
        let folder = self.runner.folders.get(&epoch).filter(|folder| folder.closed);
        let Some(folder) = folder else { return false };
        let command = match &folder.receipt {
            Some(receipt) => Command::Receipt(Box::new(receipt.clone())),
            None => Command::Unproven { epoch: Epoch(epoch), evidence: String::new() },
        };
        self.command(system, command)
    }
}

/// Whether a report about the epoch could still change anything.
fn open(session: &Session, epoch: u32) -> bool {
    session.compute.as_ref().is_some_and(|compute| compute.epoch.0 == epoch)
        || session.abandoned.contains(&Epoch(epoch))
}
