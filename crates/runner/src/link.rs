//! The link: one long poll that is heartbeat, report, list and wake-up in one.
//!
//! Absence is never a command. What a reply names is obeyed, and only if it comes from the
//! store this runner has joined; whatever else happens, everything is kept and the runner
//! goes on trying.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use greenroom_core::{SessionUid, StreamId};
use greenroom_protocol::Problem;
use greenroom_protocol::link::{Floor, OpenStream, RunnerInfo, SyncReply, SyncRequest};
use tokio::sync::watch;

use crate::backoff::Backoff;
use crate::board::Report;
use crate::host::Host;
use crate::http::CallError;
use crate::identity::Joined;
use crate::{kept, point, probe, streams};

/// How long the coordinator may wait for news before it answers.
const WAIT: u64 = 15_000;
/// After a refusal that a person has to see to.
const SLOW: Duration = Duration::from_secs(10);
/// Transfers that were dialled are remembered, since they are named until they are taken.
const DIALLED: usize = 4096;

/// How the link stands.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum LinkState {
    /// Nothing came of it yet.
    Trying,
    /// The coordinator has answered since it was last lost.
    Up,
    /// It was up, and no answer comes.
    Lost,
    /// The coordinator does not take this runner.
    Refused(Box<Problem>),
}

/// The link of a runner.
pub(crate) struct Link {
    host: Arc<Host>,
    state: watch::Sender<LinkState>,
    online: watch::Sender<bool>,
    /// Everything up to this revision has been handed to the sessions.
    since: u64,
    /// Which history of the store has spoken last.
    era: Option<u32>,
    /// The next report names everything.
    full: bool,
    backoff: Backoff,
    dialled: VecDeque<StreamId>,
    /// The version of the note on leftovers that has been answered.
    noted: u64,
}

/// What an exchange with the coordinator came to.
enum Exchange {
    Answered(Report, Box<SyncReply>),
    Failed(CallError),
}

impl Link {
    pub(crate) fn new(
        host: Arc<Host>,
        state: watch::Sender<LinkState>,
        online: watch::Sender<bool>,
    ) -> Self {
        let backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(5));
        let dialled = VecDeque::new();
        let (since, noted) = (0, 0);
        Self { host, state, online, since, era: None, full: true, backoff, dialled, noted }
    }

    /// Keeps the link up, for ever.
    pub(crate) async fn run(mut self) {
        loop {
            if self.host.identity.joined().is_none() && !self.join().await {
                continue;
            }
            match self.exchange().await {
                Exchange::Answered(report, reply) => self.answered(&report, *reply),
                Exchange::Failed(error) => self.failed(error).await,
            }
        }
    }

    fn request(
        &self,
        report: &mut Report,
        floors: Vec<Floor>,
        wait_ms: u64,
    ) -> Option<SyncRequest> {
        let joined = self.host.identity.joined()?;
        let note = self.host.leftovers.note();
        report.note = note.version;
        Some(SyncRequest {
            store_id: joined.store_id,
            instance: self.host.identity.instance(),
            since_rev: self.since,
            wait_ms,
            info: (self.full || note.version != self.noted).then(|| self.info(note.text)),
            // Whether it drains is a matter of the coordinator's.
            draining: false,
            full: self.full,
            computes: report.computes.clone(),
            removed: report.removed.clone(),
            floors,
            files: report.files.clone(),
        })
    }

    fn info(&self, note: Option<String>) -> RunnerInfo {
        probe::info(&self.host, note)
    }

    /// A call that borrows nothing, so that another can be made beside it.
    fn call(
        &self,
        mut report: Report,
        floors: Vec<Floor>,
        wait_ms: u64,
    ) -> impl Future<Output = Exchange> + use<> {
        let request = self.request(&mut report, floors, wait_ms);
        let api = self.host.api.clone();
        async move {
            let Some(request) = request else { return Exchange::Failed(CallError::NotJoined) };
            point::pass("runner_before_report");
            match api.sync(&request).await {
                Ok(reply) => Exchange::Answered(report, Box::new(reply)),
                Err(error) => Exchange::Failed(error),
            }
        }
    }

    /// How far each session has come here. One whose record does not read is left out: its
    /// own fence stops it all the same.
    async fn floors(&self) -> Vec<Floor> {
        let folder = self.host.folder.clone();
        self.host.blocking(move || folder.floors()).await.unwrap_or_else(|error| {
            tracing::warn!(%error, "the records of closed computes cannot be listed");
            Vec::new()
        })
    }

    /// One poll; and beside it, whatever cannot wait until that is answered.
    async fn exchange(&mut self) -> Exchange {
        // The first exchange gets the list at once; the next waits for news.
        let wait = if self.full { 0 } else { WAIT };
        let floors = if self.full { self.floors().await } else { Vec::new() };
        let poll = self.call(self.host.board.report(self.full), floors, wait);
        let mut poll = std::pin::pin!(poll);
        if wait == 0 {
            return poll.await;
        }
        loop {
            let due = self.host.board.next_due();
            tokio::select! {
                exchange = &mut poll => return exchange,
                () = self.host.board.urgent.notified() => {}
                () = until(due) => {
                    let aside = self.call(self.host.board.report(false), Vec::new(), 0);
                    tokio::select! {
                        // What was said aside is said again with the next poll.
                        exchange = &mut poll => return exchange,
                        exchange = aside => match exchange {
                            Exchange::Answered(report, reply) => self.answered(&report, *reply),
                            failed => return failed,
                        },
                    }
                    if self.full {
                        // It was another store that answered.
                        return poll.await;
                    }
                }
            }
        }
    }

    fn answered(&mut self, report: &Report, reply: SyncReply) {
        let ours = self.host.identity.joined().map(|joined| joined.store_id);
        if ours != Some(reply.store_id) {
            tracing::error!(theirs = %reply.store_id, "another store answers; nothing it says is obeyed");
            self.lost();
            return;
        }
        if self.era.replace(reply.era).is_some_and(|era| era != reply.era) {
            tracing::info!(era = reply.era, "the store was restored from a backup");
            self.host.forget_orders();
            if !self.full {
                // It answered a question about the history from before.
                self.lost();
                return;
            }
        }
        self.host.board.answered(report);
        let heard = self.host.board.files_heard(report, reply.files.as_deref());
        kept::heard(&self.host, heard);
        self.noted = report.note;
        if self.full {
            tracing::info!(rev = reply.rev, "the link is up");
            self.host.board.connected();
            self.full = false;
        }
        self.backoff.reset();
        let SyncReply { rev, assignments, opens, marks, unclaimed, .. } = reply;
        let (unclaimed, news) = self.host.board.unclaimed(report, &unclaimed);
        for uid in news {
            tracing::warn!(%uid, "the coordinator does not know this session; its compute is kept");
        }
        self.host.uploads.unclaimed(unclaimed);
        self.host.uploads.marks(marks);
        // An answer that was overtaken by a newer one says nothing new.
        if rev >= self.since {
            self.since = rev;
            let mut by_session: BTreeMap<SessionUid, Vec<_>> = BTreeMap::new();
            for assignment in assignments {
                by_session.entry(assignment.uid).or_default().push(assignment);
            }
            for (uid, orders) in by_session {
                self.host.order(uid, orders);
            }
        }
        for open in opens {
            self.dial(open);
        }
        self.online.send_replace(true);
        self.state.send_replace(LinkState::Up);
    }

    fn dial(&mut self, open: OpenStream) {
        if self.dialled.contains(&open.stream) {
            return;
        }
        if self.dialled.len() == DIALLED {
            self.dialled.pop_front();
        }
        self.dialled.push_back(open.stream);
        self.host.spawn(streams::serve(self.host.clone(), open));
    }

    /// From now on nothing is known of the coordinator: the next word to it is everything.
    fn lost(&mut self) {
        self.full = true;
        self.since = 0;
        self.online.send_replace(false);
        self.state.send_if_modified(|state| {
            let was_up = *state == LinkState::Up;
            if was_up {
                *state = LinkState::Lost;
            }
            was_up
        });
    }

    async fn failed(&mut self, error: CallError) {
        let was_up = !self.full;
        self.lost();
        let for_a_person =
            |problem: &Problem| problem.status < 500 && !matches!(problem.status, 408 | 429);
        let problem = match error {
            CallError::Refused(problem) if for_a_person(&problem) => problem,
            error => return self.no_answer(&error, was_up).await,
        };
        let foreign = problem.status == 409 && problem.code == "foreign_store";
        let unknown = problem.status == 401;
        if (unknown || (foreign && self.host.config.adopt_store))
            && self.host.config.join_token.is_some()
            && self.join().await
        {
            return;
        }
        tracing::error!(%problem, code = problem.code, "the coordinator refuses this runner; everything is kept");
        if foreign || unknown {
            self.state.send_replace(LinkState::Refused(problem));
        }
        tokio::time::sleep(SLOW.mul_f64(rand::random_range(0.5..1.0))).await;
    }

    async fn no_answer(&mut self, error: &CallError, was_up: bool) {
        tracing::warn!(%error, "the coordinator does not answer");
        // Often it was only restarted, and a connection was left over from before.
        if !was_up {
            tokio::time::sleep(self.backoff.next()).await;
        }
    }

    /// Exchanges the join token for a credential. Says whether this runner has one now.
    async fn join(&mut self) -> bool {
        let Some(token) = self.host.config.join_token.clone() else {
            // `start` does not let it come so far.
            tokio::time::sleep(SLOW).await;
            return false;
        };
        let info = self.info(self.host.leftovers.note().text);
        let reply = match self.host.api.enroll(&token, &info).await {
            Ok(reply) => reply,
            Err(CallError::Refused(problem)) if problem.status < 500 => {
                tracing::error!(%problem, "the coordinator does not take this runner");
                self.state.send_replace(LinkState::Refused(problem));
                tokio::time::sleep(SLOW.mul_f64(rand::random_range(0.5..1.0))).await;
                return false;
            }
            Err(error) => {
                tracing::warn!(%error, "the coordinator could not be joined yet");
                tokio::time::sleep(self.backoff.next()).await;
                return false;
            }
        };
        let before = self.host.identity.joined().map(|joined| joined.store_id);
        if before.is_some_and(|before| before != reply.store_id) && !self.host.config.adopt_store {
            let problem = Problem::new(
                409,
                "foreign_store",
                "this coordinator has another store than the one this runner has joined",
            )
            .hint("give the runner another data folder, or the coordinator its old one");
            tracing::error!(theirs = %reply.store_id, "another store answers; everything is kept");
            self.state.send_replace(LinkState::Refused(Box::new(problem)));
            return false;
        }
        let joined = Joined { store_id: reply.store_id, credential: reply.credential };
        match self.host.identity.join(joined) {
            Ok(()) => true,
            Err(error) => {
                tracing::error!(%error, "the credential could not be kept");
                tokio::time::sleep(self.backoff.next()).await;
                false
            }
        }
    }
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due.into()).await,
        None => std::future::pending().await,
    }
}
