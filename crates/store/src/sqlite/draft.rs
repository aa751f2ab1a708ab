//! A session while a unit of work changes it: commands are decided on it one by one, and
//! what has happened is written at once at the end.

use std::sync::Arc;

use greenroom_core::command::Now;
use greenroom_core::run::RunStatus;
use greenroom_core::{
    Assignment, Command, Epoch, Event, Fact, Receipt, Refusal, RunId, RunnerId, Session, Timestamp,
    apply, decide,
};
use serde_json::Value;

use super::cache::{Entry, Top};

/// A session that is being changed.
pub(super) struct Draft {
    /// Its number in the database.
    pub(super) sid: i64,
    /// As it was; `None` for one that is new.
    pub(super) before: Option<Arc<Session>>,
    /// As it is now.
    pub(super) session: Session,
    /// What has happened, with the entries of the log.
    pub(super) facts: Vec<(Fact, Event)>,
    /// Ends of runs that its parent is to be told.
    pub(super) told: Vec<End>,
    /// Its journal streams.
    pub(super) tops: Vec<Top>,
    /// Which of those have moved.
    pub(super) moved: Vec<Top>,
}

/// Times are kept in milliseconds, so nothing may depend on more.
pub(super) fn whole_ms(at: Timestamp) -> Timestamp {
    Timestamp::from_unix_ms(at.unix_ms())
}

impl Draft {
    /// Of a session that exists.
    pub(super) fn of(entry: &Entry) -> Self {
        Self {
            sid: entry.sid,
            before: Some(Arc::clone(&entry.session)),
            session: Session::clone(&entry.session),
            facts: Vec::new(),
            told: Vec::new(),
            tops: entry.tops.clone(),
            moved: Vec::new(),
        }
    }

    /// Of a session that begins with this fact and goes on with those.
    pub(super) fn begin(
        sid: i64,
        session: Session,
        first: Fact,
        then: Vec<Fact>,
        at: Timestamp,
    ) -> Self {
        let event = first.to_event(1, at);
        let mut draft = Self {
            sid,
            before: None,
            session,
            facts: vec![(first, event)],
            told: Vec::new(),
            tops: Vec::new(),
            moved: Vec::new(),
        };
        for fact in then {
            draft.take(fact, at);
        }
        draft
    }

    /// Decides a command; its facts are taken at once.
    pub(super) fn decide(&mut self, command: Command, at: Timestamp) -> Result<(), Refusal> {
        // A compute that never began has said nothing.
        let began = |receipt: &Receipt| receipt.last_run.is_some() || receipt.processes_seen > 0;
        let ahead = match &command {
            Command::Receipt(receipt) if began(receipt) => Some(receipt.epoch),
            _ => None,
        };
        let known = self.told.len();
        for fact in decide(&self.session, command, Now(at))? {
            self.take(fact, at);
        }
        // What the run has said last comes with the journal, behind its receipt.
        self.told[known..].iter_mut().for_each(|end| end.awaits = ahead);
        Ok(())
    }

    /// Takes a fact as the next entry of the log.
    pub(super) fn take(&mut self, fact: Fact, at: Timestamp) {
        if self.session.parent.is_some()
            && let Some(end) = End::of(&fact)
            && self.tells(end.run)
        {
            self.told.push(end);
        }
        apply(&mut self.session, &fact, at);
        let event = fact.to_event(self.session.last_seq, at);
        self.facts.push((fact, event));
    }

    /// Whether the end of this run, which has not ended yet, is told to the parent.
    fn tells(&self, run: RunId) -> bool {
        let head = self.session.compute.as_ref().and_then(|compute| compute.head.as_ref());
        let mut runs = self.session.queue.iter().chain(head.map(|head| &head.run));
        runs.any(|pending| pending.id == run && pending.callback)
    }

    /// Moves a stream's mark.
    pub(super) fn set_top(&mut self, top: Top) {
        for list in [&mut self.tops, &mut self.moved] {
            let same = |t: &&mut Top| t.epoch == top.epoch && t.writer == top.writer;
            match list.iter_mut().find(same) {
                Some(known) => known.index = top.index,
                None => list.push(top),
            }
        }
    }

    /// Whether more than output has happened.
    pub(super) fn state_changed(&self) -> bool {
        self.before.as_ref().is_none_or(|before| before.version != self.session.version)
    }

    /// What its runners are told that they were not told before, and the compute they
    /// need not be told of any more.
    pub(super) fn orders(&self) -> Orders {
        let before = self.before.as_ref().map(|before| before.assignments()).unwrap_or_default();
        let after = self.session.assignments();
        let listed = |epoch| after.iter().any(|(_, assignment)| assignment.epoch == epoch);
        let dropped = before.iter().map(|(_, a)| a.epoch).filter(|epoch| !listed(*epoch)).collect();
        let changed = after.iter().filter(|order| !before.contains(order)).cloned().collect();
        Orders { changed, dropped }
    }
}

/// What changes in the table of assignments.
pub(super) struct Orders {
    pub(super) changed: Vec<(RunnerId, Assignment)>,
    pub(super) dropped: Vec<Epoch>,
}

/// The end of a run.
pub(super) struct End {
    pub(super) run: RunId,
    pub(super) status: RunStatus,
    /// Its structured answer, as JSON.
    pub(super) result: Option<String>,
    /// Why it did not complete.
    pub(super) error: Option<String>,
    /// The compute whose journal has not come so far yet.
    pub(super) awaits: Option<Epoch>,
}

impl End {
    fn of(fact: &Fact) -> Option<Self> {
        let (run, status, result, error) = match fact {
            Fact::RunCompleted { run, result } => {
                (run, RunStatus::Completed, result.as_ref(), None)
            }
            Fact::RunFailed { run, error } => (run, RunStatus::Failed, None, Some(error)),
            Fact::RunStopped { run, error } => (run, RunStatus::Stopped, None, error.as_ref()),
            Fact::RunWithdrawn { run, .. } => (run, RunStatus::Withdrawn, None, None),
            _ => return None,
        };
        Some(Self {
            run: *run,
            status,
            result: result.map(Value::to_string),
            error: error.map(|error| error.message.clone()),
            awaits: None,
        })
    }
}
