//! What must be so after every command.

use std::collections::{BTreeMap, BTreeSet};

use greenroom_core::command::Now;
use greenroom_core::fact::Created;
use greenroom_core::session::{AskState, HowEnded};
use greenroom_core::*;

use crate::scene::{at, run};

/// A session, its log, and what the log has said so far.
pub struct Watch {
    pub session: Session,
    created: Created,
    log: Vec<Fact>,
    accepted: BTreeSet<RunId>,
    ended: BTreeMap<RunId, usize>,
    begun: BTreeSet<RunId>,
    placed: Epoch,
    closed: BTreeSet<Epoch>,
}

impl Watch {
    pub fn new(created: Created) -> Self {
        Self {
            session: Session::begin(&created, at()),
            log: vec![Fact::Created(Box::new(created.clone()))],
            created,
            accepted: BTreeSet::new(),
            ended: BTreeMap::new(),
            begun: BTreeSet::new(),
            placed: Epoch(0),
            closed: BTreeSet::new(),
        }
    }

    /// The number of a run that was not asked for yet.
    pub fn next_run(&self) -> u128 {
        self.accepted.len() as u128 + 1
    }

    /// The head run for even numbers, so that reports are right half the time.
    pub fn head_or(&self, n: u128) -> RunId {
        let head = self.session.compute.as_ref().and_then(|compute| compute.head.as_ref());
        head.filter(|_| n.is_multiple_of(2)).map_or(run(n), |head| head.run.id)
    }

    /// A run on its way into the head run for even numbers.
    pub fn steer_or(&self, n: u128) -> RunId {
        let head = self.session.compute.as_ref().and_then(|compute| compute.head.as_ref());
        let steer = head.and_then(|head| head.steers.first().copied());
        steer.filter(|_| n.is_multiple_of(2)).unwrap_or(run(n))
    }

    /// Folds facts, each of which must be in order.
    pub fn accept(&mut self, facts: &[Fact]) {
        for fact in facts {
            let before = self.session.clone();
            apply(&mut self.session, fact, at());
            self.log.push(fact.clone());
            self.remember(fact);
            let after = &self.session;
            assert_eq!(after.last_seq, self.log.len() as u64);
            assert_eq!(after.version > before.version, !fact.is_output());
            assert!(after.last_epoch >= before.last_epoch);
            assert!(after.generation >= before.generation);
            let edited = goes_by(&before) != goes_by(after);
            assert_eq!(after.settings > before.settings, edited, "{fact:?}");
            let edited = before.approvals != after.approvals;
            let were = on_their_way(&before);
            for (id, once) in on_their_way(after) {
                let was = were.get(&id).copied().unwrap_or(false);
                assert_eq!(once, was || edited, "an edit is the later word: {fact:?}");
            }
            if orders(&before) != orders(after) {
                assert!(after.generation > before.generation, "{fact:?} changes what is wanted");
            }
        }
    }

    fn remember(&mut self, fact: &Fact) {
        match fact {
            Fact::RunQueued(queued) => assert!(self.accepted.insert(queued.run.id)),
            Fact::RunStarted { run } => assert!(self.begun.insert(*run), "begun twice"),
            Fact::RunRequeued { run } => assert!(!self.begun.contains(run), "it had begun"),
            Fact::RunCompleted { run, .. }
            | Fact::RunFailed { run, .. }
            | Fact::RunStopped { run, .. }
            | Fact::RunSteered { run, .. }
            | Fact::RunWithdrawn { run, .. } => *self.ended.entry(*run).or_default() += 1,
            Fact::Placed { epoch, .. } | Fact::EpochAdopted { epoch, .. } => {
                assert!(*epoch > self.placed && !self.closed.contains(epoch));
                self.placed = *epoch;
            }
            Fact::Stopped(closed)
            | Fact::Finished(closed)
            | Fact::Failed(closed)
            | Fact::Interrupted(closed) => {
                let receipt = &closed.receipt;
                assert!(self.closed.insert(receipt.epoch), "closed twice");
                assert_eq!(receipt.is_proven(), receipt.asserted_by.is_none());
                assert!(receipt.is_proven() || matches!(closed.how, HowEnded::Interrupted(_)));
            }
            _ => {}
        }
    }

    /// The log, as it is shown.
    pub fn events(&self) -> Vec<Event> {
        let log = self.log.iter().enumerate();
        log.map(|(index, fact)| fact.to_event(index as u64 + 1, at())).collect()
    }

    /// What must be so once a command is through.
    pub fn check(&self, before: &Session, facts: &[Fact]) {
        let session = &self.session;
        let (status, live) = (session.status(), session.compute.is_some());
        assert!(!(status.is_at_rest() && (live || session.need().is_some())), "{status:?}");
        assert!(
            live || status.is_at_rest() || session.need().is_some() || status == Status::Deleting
        );
        assert!(session.hold.is_none() || session.need().is_none(), "held, and it would start");
        if status == Status::Stopped {
            let ended = session.ended.as_ref().expect("it has ended");
            assert!(ended.receipt.is_proven());
        }
        if before.standing() != session.standing() {
            let told = matches!(facts.last(), Some(Fact::Status { status: s, .. }) if *s == status);
            assert!(told, "the log does not say {status:?}");
        }
        let told = orders(session);
        for (n, (_, epoch, _)) in told.iter().enumerate() {
            assert!(told[..n].iter().all(|(_, other, _)| other != epoch), "two orders: {told:?}");
        }
        let head = session.compute.as_ref().and_then(|compute| compute.head.as_ref());
        for steer in head.iter().flat_map(|head| &head.steers) {
            assert!(session.queue.iter().any(|waiting| waiting.id == *steer), "it is lost");
            assert!(session.traits.steers, "nobody could give it");
        }
        for run in &self.accepted {
            let waits = session.queue.iter().filter(|waiting| waiting.id == *run).count();
            let head = session.compute.as_ref().and_then(|compute| compute.head.as_ref());
            let works = usize::from(head.is_some_and(|head| head.run.id == *run));
            let ended = self.ended.get(run).copied().unwrap_or(0);
            assert_eq!(waits + works + ended, 1, "run {run:?}");
        }
    }

    /// Said again at once, it is so already.
    pub fn check_repeated(&self, command: Command) {
        let again = decide(&self.session, command, Now(at())).expect("not refused now");
        assert_eq!(again, [], "a repetition changed something");
    }

    /// The log, written and read, folds into the same session.
    pub fn check_log(&self) {
        let mut folded = Session::begin(&self.created, at());
        for (event, fact) in self.events().iter().zip(&self.log) {
            let written = serde_json::to_string(event);
            let event: Event = serde_json::from_str(&written.expect("written")).expect("read");
            let read = Fact::from_event(&event).expect("a fact");
            assert_eq!(&read, fact);
            if event.seq > 1 {
                apply(&mut folded, &read, at());
            }
        }
        assert_eq!(folded, self.session);
    }
}

/// What a compute goes by.
fn goes_by(session: &Session) -> impl PartialEq + use<> {
    (session.approvals.clone(), session.model.clone(), session.models.clone())
}

/// Answers that their agent may not have, and whether they are good for once only.
fn on_their_way(session: &Session) -> BTreeMap<ApprovalId, bool> {
    let asked = session.compute.iter().flat_map(|compute| &compute.asked);
    let once = asked.filter_map(|asked| match asked.state {
        AskState::Answered { once, .. } => Some((asked.id, once)),
        AskState::Open | AskState::Delivered => None,
    });
    once.collect()
}

/// What is wanted, whatever number it carries.
fn orders(session: &Session) -> Vec<(RunnerId, Epoch, Order)> {
    let all = session.assignments().into_iter();
    all.map(|(runner, assignment)| (runner, assignment.epoch, assignment.order)).collect()
}
