//! What the coordinator is to be told of computes, and what of it has been answered.
//!
//! State rides here and never waits behind output. A receipt takes this way only when the
//! journal's way is late: so that normally the log reads in its natural order.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use greenroom_core::receipt::EndReason;
use greenroom_core::record::Writer;
use greenroom_core::{Epoch, Generation, Receipt, RunFiles, RunId, SessionUid};
use greenroom_protocol::link::{KeptFiles, ObservedCompute, ObservedState};
use tokio::sync::Notify;

/// A receipt that has been on disk for so long goes ahead of its journal.
const PATIENCE: Duration = Duration::from_millis(500);
/// The same of a compute that ended by itself: nobody waits for the proof, and whoever reads
/// along wants the text before the end.
const AT_EASE: Duration = Duration::from_secs(5);

/// What was kept of files is said again after this, where the coordinator is not there yet;
/// later and later.
const AGAIN: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(60));
/// So much of it is said at once.
const KEPT: usize = 256;

/// What is known of computes, as it is to be reported.
#[derive(Debug, Default)]
pub(crate) struct Board {
    inner: Mutex<Inner>,
    /// Something should be said before the next poll.
    pub(crate) urgent: Notify,
    /// A receipt has reached the coordinator.
    settling: Notify,
}

#[derive(Debug, Default)]
struct Inner {
    posts: BTreeMap<(SessionUid, Epoch), Post>,
    removed: BTreeMap<SessionUid, u64>,
    /// What was kept of files, until the coordinator has it.
    kept: BTreeMap<(SessionUid, RunId), Kept>,
    /// Counts changes.
    clock: u64,
    /// When the link last came up: receipts from before have their patience from here.
    connected: Option<Instant>,
    /// The journal's way does not work at the moment.
    records_fail: bool,
    /// Something beside computes is to be said.
    nudged: bool,
    unclaimed: BTreeSet<SessionUid>,
}

#[derive(Debug)]
struct Post {
    generation: Generation,
    state: ObservedState,
    /// Control folder, where the journal is.
    dir: PathBuf,
    /// When it last changed.
    changed: u64,
    /// Up to which change it has been answered.
    answered: u64,
    /// A receipt waits from this moment for the journal to bring it.
    since: Option<Instant>,
    /// The journal has brought the receipt.
    delivered: bool,
}

impl Post {
    /// When it should be said, if it waits for something.
    fn due(&self, inner: &Inner) -> Option<Instant> {
        if self.delivered {
            return None;
        }
        let since = self.since?;
        let since = inner.connected.map_or(since, |at| since.max(at));
        Some(if inner.records_fail { since } else { since + self.patience() })
    }

    fn patience(&self) -> Duration {
        match &self.state {
            ObservedState::Closed { receipt }
                if matches!(receipt.reason, EndReason::Done | EndReason::Exit) =>
            {
                AT_EASE
            }
            _ => PATIENCE,
        }
    }

    fn is_quiet(&self, inner: &Inner, now: Instant) -> bool {
        self.delivered || self.due(inner).is_some_and(|due| due > now)
    }

    fn is_news(&self) -> bool {
        self.changed > self.answered
    }
}

/// What was kept of a run's files.
#[derive(Debug)]
struct Kept {
    files: RunFiles,
    /// When it is said, or said again; not before the link comes up anew where absent.
    due: Option<Instant>,
    /// How long after that it is said again.
    again: Duration,
}

/// What goes into one report.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) computes: Vec<ObservedCompute>,
    pub(crate) removed: Vec<SessionUid>,
    pub(crate) files: Vec<KeptFiles>,
    /// The version of the note that is said with it, as the link puts it in.
    pub(crate) note: u64,
    /// The board's clock when this was taken.
    taken: u64,
}

impl Board {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, uid: SessionUid, epoch: Epoch, state: ObservedState, dir: PathBuf) {
        let mut inner = self.lock();
        inner.clock += 1;
        let changed = inner.clock;
        let before = inner.posts.get(&(uid, epoch));
        let generation = before.map_or(Generation(0), |post| post.generation);
        let answered = before.map_or(0, |post| post.answered);
        let closed = matches!(state, ObservedState::Closed { .. });
        let since = closed.then(Instant::now);
        let delivered = closed && before.is_some_and(|post| post.delivered);
        let post = Post { generation, state, dir, changed, answered, since, delivered };
        inner.posts.insert((uid, epoch), post);
    }

    /// It lives, or is coming up.
    pub(crate) fn live(&self, uid: SessionUid, epoch: Epoch, dir: PathBuf) {
        self.put(uid, epoch, ObservedState::Live, dir);
    }

    /// It is closed. Said when the journal is late.
    pub(crate) fn closed(&self, uid: SessionUid, epoch: Epoch, receipt: Receipt, dir: PathBuf) {
        self.put(uid, epoch, ObservedState::Closed { receipt: Box::new(receipt) }, dir);
        self.urgent.notify_one();
    }

    /// It may be gone, and that cannot be proven. Said at once, and again if it changes.
    pub(crate) fn unproven(&self, uid: SessionUid, epoch: Epoch, evidence: String, dir: PathBuf) {
        self.put(uid, epoch, ObservedState::Unproven { evidence }, dir);
        self.urgent.notify_one();
    }

    /// It was asked for, and a record of its end is all there is.
    pub(crate) fn fenced(&self, uid: SessionUid, epoch: Epoch, floor: Epoch) {
        self.put(uid, epoch, ObservedState::Fenced { floor }, PathBuf::new());
        self.urgent.notify_one();
    }

    /// The coordinator asks about an epoch that is closed. Says whether something is here
    /// to answer with.
    pub(crate) fn answer(&self, uid: SessionUid, epoch: Epoch) -> bool {
        let mut inner = self.lock();
        inner.clock += 1;
        let now = inner.clock;
        let Some(post) = inner.posts.get_mut(&(uid, epoch)) else { return false };
        if matches!(post.state, ObservedState::Live) {
            return false;
        }
        // What the journal has brought, and is asked about all the same, was lost there.
        if post.delivered {
            post.delivered = false;
            post.since = Some(Instant::now());
        }
        post.changed = now;
        drop(inner);
        self.urgent.notify_one();
        true
    }

    /// The coordinator's journal has the receipt of this epoch.
    pub(crate) fn delivered(&self, uid: SessionUid, epoch: Epoch) {
        if let Some(post) = self.lock().posts.get_mut(&(uid, epoch)) {
            // The journal may be ahead of those who are told that it is closed.
            post.delivered = true;
        }
        self.settling.notify_waiters();
    }

    /// What a report about this epoch reflects.
    pub(crate) fn reflects(&self, uid: SessionUid, epoch: Epoch, generation: Generation) {
        let mut inner = self.lock();
        inner.clock += 1;
        let now = inner.clock;
        if let Some(post) = inner.posts.get_mut(&(uid, epoch))
            && post.generation < generation
        {
            post.generation = generation;
            post.changed = now;
        }
    }

    /// The generations so far were of another history.
    pub(crate) fn forget_generations(&self) {
        self.lock().posts.values_mut().for_each(|post| post.generation = Generation(0));
    }

    /// Nothing more is to be said about this epoch.
    pub(crate) fn forget(&self, uid: SessionUid, epoch: Epoch) {
        self.lock().posts.remove(&(uid, epoch));
    }

    /// The session's files are removed; nothing else is to be said about it.
    pub(crate) fn removed(&self, uid: SessionUid) {
        let mut inner = self.lock();
        inner.clock += 1;
        let now = inner.clock;
        inner.posts.retain(|(other, _), _| *other != uid);
        inner.kept.retain(|(other, _), _| *other != uid);
        inner.removed.insert(uid, now);
        drop(inner);
        self.urgent.notify_one();
    }

    /// This was kept of a run's files. Said until it is acknowledged.
    pub(crate) fn kept(&self, files: KeptFiles) {
        let KeptFiles { uid, run, files } = files;
        let due = Some(Instant::now());
        let kept = Kept { files, due, again: AGAIN.0 };
        self.lock().kept.insert((uid, run), kept);
        self.urgent.notify_one();
    }

    /// That report was answered with these runs as heard of; without any word of them where
    /// the coordinator does not listen to that. Gives what is heard of.
    pub(crate) fn files_heard(
        &self,
        report: &Report,
        heard: Option<&[RunId]>,
    ) -> Vec<(SessionUid, RunId)> {
        let mut inner = self.lock();
        let mut over = Vec::new();
        for KeptFiles { uid, run, .. } in &report.files {
            if heard.is_some_and(|heard| heard.contains(run)) {
                inner.kept.remove(&(*uid, *run));
                over.push((*uid, *run));
            } else if let Some(kept) = inner.kept.get_mut(&(*uid, *run)) {
                kept.due = heard.map(|_| Instant::now() + kept.again);
                kept.again = (kept.again * 2).min(AGAIN.1);
            }
        }
        over
    }

    /// The link came up.
    pub(crate) fn connected(&self) {
        let mut inner = self.lock();
        let now = Instant::now();
        inner.connected = Some(now);
        inner.kept.values_mut().for_each(|kept| kept.due = kept.due.or(Some(now)));
        inner.records_fail = false;
    }

    /// The next report should not wait for the poll.
    pub(crate) fn nudge(&self) {
        self.lock().nudged = true;
        self.urgent.notify_one();
    }

    /// Whether the journal's way works.
    pub(crate) fn records_fail(&self, fail: bool) {
        let mut inner = self.lock();
        let turned = inner.records_fail != fail;
        inner.records_fail = fail;
        drop(inner);
        if turned && fail {
            self.urgent.notify_one();
        }
    }

    /// Of the computes in a report, those of these sessions are unknown to the coordinator.
    /// Gives all that are, and says which are news.
    pub(crate) fn unclaimed(
        &self,
        report: &Report,
        uids: &[SessionUid],
    ) -> (BTreeSet<SessionUid>, Vec<SessionUid>) {
        let mut inner = self.lock();
        let news = uids.iter().copied().filter(|uid| !inner.unclaimed.contains(uid)).collect();
        for compute in &report.computes {
            inner.unclaimed.remove(&compute.uid);
        }
        inner.unclaimed.extend(uids);
        (inner.unclaimed.clone(), news)
    }

    /// How many computes are not closed.
    pub(crate) fn live_count(&self) -> usize {
        let inner = self.lock();
        let live = |post: &&Post| matches!(post.state, ObservedState::Live);
        inner.posts.values().filter(live).count()
    }

    /// Waits until every receipt has reached the coordinator, one way or the other.
    pub(crate) async fn settled(&self) {
        loop {
            let changed = self.settling.notified();
            let open = |post: &Post| {
                let receipt = matches!(post.state, ObservedState::Closed { .. });
                receipt && !post.delivered && post.is_news()
            };
            if !self.lock().posts.values().any(open) {
                return;
            }
            changed.await;
        }
    }

    /// What should be said now; everything, where `full`.
    pub(crate) fn report(&self, full: bool) -> Report {
        let now = Instant::now();
        let inner = self.lock();
        let computes = inner
            .posts
            .iter()
            .filter(|(_, post)| (full || post.is_news()) && !post.is_quiet(&inner, now))
            .map(|((uid, epoch), post)| ObservedCompute {
                uid: *uid,
                epoch: *epoch,
                generation: post.generation,
                state: post.state.clone(),
                first_index: full.then(|| first_index(post)).flatten(),
            })
            .collect();
        let removed = inner.removed.keys().copied().collect();
        let due = |kept: &Kept| kept.due.is_some_and(|due| due <= now);
        let kept = inner.kept.iter().filter(|(_, kept)| due(kept)).take(KEPT);
        let files = kept.map(|((uid, run), kept)| {
            let (uid, run, files) = (*uid, *run, kept.files.clone());
            KeptFiles { uid, run, files }
        });
        let files = files.collect();
        Report { computes, removed, files, note: 0, taken: inner.clock }
    }

    /// That report was answered.
    pub(crate) fn answered(&self, report: &Report) {
        let mut inner = self.lock();
        inner.nudged = false;
        for compute in &report.computes {
            if let Some(post) = inner.posts.get_mut(&(compute.uid, compute.epoch)) {
                post.answered = post.answered.max(report.taken);
            }
        }
        for uid in &report.removed {
            if inner.removed.get(uid).is_some_and(|at| *at <= report.taken) {
                inner.removed.remove(uid);
            }
        }
        // Answers without a compute of their own are said once.
        inner.posts.retain(|_, post| {
            post.is_news() || !matches!(post.state, ObservedState::Fenced { .. })
        });
        drop(inner);
        self.settling.notify_waiters();
    }

    /// When the next thing is to be said that cannot wait for the next poll.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        let inner = self.lock();
        if inner.nudged || !inner.removed.is_empty() {
            return Some(Instant::now());
        }
        let news = inner.posts.values().filter(|post| post.is_news() && !post.delivered);
        let kept = inner.kept.values().filter_map(|kept| kept.due);
        let posts = news.filter_map(|post| match post.state {
            ObservedState::Live => None,
            ObservedState::Closed { .. } => post.due(&inner),
            ObservedState::Fenced { .. } | ObservedState::Unproven { .. } => Some(Instant::now()),
        });
        posts.chain(kept).min()
    }
}

/// The first journal index of the shim that is still here.
fn first_index(post: &Post) -> Option<u64> {
    let segments = greenroom_shim::journal::segments(&post.dir, Writer::Shim).ok()?;
    Some(segments.first()?.first)
}

#[cfg(test)]
mod tests {
    use super::*;
    use greenroom_core::Timestamp;
    use greenroom_core::receipt::Means;

    fn receipt(epoch: Epoch) -> Receipt {
        let at = Timestamp::from_unix_ms(0);
        Receipt::without_process(epoch, EndReason::Done, at, Means::NeverStarted, "")
    }

    fn uid() -> SessionUid {
        SessionUid(uuid::Uuid::now_v7())
    }

    #[test]
    fn a_receipt_waits_for_its_journal_unless_that_fails() {
        let (board, uid) = (Board::default(), uid());
        board.closed(uid, Epoch(1), receipt(Epoch(1)), PathBuf::new());
        assert!(board.report(true).computes.is_empty());
        assert!(board.next_due().is_some_and(|due| due > Instant::now()));
        board.records_fail(true);
        let report = board.report(false);
        assert_eq!(report.computes.len(), 1);
        board.answered(&report);
        assert!(board.report(false).computes.is_empty());
        assert!(board.next_due().is_none());
    }

    #[test]
    fn a_delivered_receipt_is_said_only_when_it_is_asked_for_again() {
        let (board, uid) = (Board::default(), uid());
        board.closed(uid, Epoch(1), receipt(Epoch(1)), PathBuf::new());
        board.delivered(uid, Epoch(1));
        assert!(board.next_due().is_none());
        assert!(board.report(true).computes.is_empty());
        assert!(board.answer(uid, Epoch(1)));
        assert!(board.next_due().is_some());
        assert!(!board.answer(uid, Epoch(2)));
    }

    #[test]
    fn what_changes_while_a_report_is_under_way_is_said_again() {
        let (board, uid) = (Board::default(), uid());
        board.live(uid, Epoch(1), PathBuf::new());
        let report = board.report(false);
        board.reflects(uid, Epoch(1), Generation(3));
        board.answered(&report);
        let again = board.report(false);
        assert_eq!(again.computes[0].generation, Generation(3));
        board.answered(&again);
        assert!(board.report(false).computes.is_empty());
        assert_eq!(board.report(true).computes.len(), 1);
        board.removed(uid);
        assert_eq!(board.report(false).removed, [uid]);
        assert!(board.report(true).computes.is_empty());
    }

    #[test]
    fn what_was_kept_is_said_until_it_is_heard() {
        let (board, uid) = (Board::default(), uid());
        let run = RunId(uuid::Uuid::now_v7());
        let files = RunFiles::Commit("c".repeat(40));
        board.kept(KeptFiles { uid, run, files });
        assert!(board.next_due().is_some_and(|due| due <= Instant::now()));
        let report = board.report(false);
        assert_eq!(report.files.len(), 1);
        // Its run has not ended there yet: said again, soon.
        assert!(board.files_heard(&report, Some(&[])).is_empty());
        assert!(board.report(false).files.is_empty());
        assert!(board.next_due().is_some_and(|due| due > Instant::now()));
        // One that does not listen is told again when the link comes up anew.
        board.files_heard(&report, None);
        assert!(board.next_due().is_none() && board.report(true).files.is_empty());
        board.connected();
        let report = board.report(true);
        assert_eq!(report.files.len(), 1);
        assert_eq!(board.files_heard(&report, Some(&[run])), [(uid, run)]);
        board.connected();
        assert!(board.report(true).files.is_empty() && board.next_due().is_none());
        // A session that is removed says nothing.
        board.kept(KeptFiles { uid, run, files: RunFiles::Commit("c".repeat(40)) });
        board.removed(uid);
        assert!(board.report(true).files.is_empty());
    }
}
