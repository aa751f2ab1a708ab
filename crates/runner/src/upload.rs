//! The journals' way up: batches of records, in order, until each is acknowledged.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use greenroom_core::{Receipt, SessionUid};
use greenroom_protocol::link::{Mark, RecordsReply};
use tokio::sync::{Notify, mpsc, watch};

use crate::backoff::Backoff;
use crate::board::Board;
use crate::http::{Api, CallError};
use crate::session::{Event, Inbox};
use crate::tail::{Acked, Batch, Durable, Key, Span, Tail};

/// No batch has more bytes, unless one record alone has.
const BATCH: usize = 1 << 20;
/// One session's share of a batch while others wait.
const SHARE: usize = 256 << 10;

/// What the lane is told.
#[derive(Debug)]
enum Told {
    Add { key: Key, dir: PathBuf, durable: Durable, fresh: bool, inbox: Inbox },
    Release(Key),
    Drop(Key),
    Claimed(SessionUid),
    Unclaimed(BTreeSet<SessionUid>),
    Marks(Vec<Mark>),
}

/// The journals' way up, as others speak to it.
#[derive(Debug, Clone)]
pub(crate) struct Uploads {
    told: mpsc::UnboundedSender<Told>,
    wake: Arc<Notify>,
}

impl Uploads {
    fn tell(&self, told: Told) {
        // The lane ends only with the runner.
        let _ = self.told.send(told);
        self.wake.notify_one();
    }

    /// Takes the journals of a compute. `fresh`: the coordinator has nothing of them yet.
    pub(crate) fn add(&self, key: Key, dir: PathBuf, durable: Durable, fresh: bool, inbox: Inbox) {
        self.tell(Told::Add { key, dir, durable, fresh, inbox });
    }

    /// More of some journal is on disk.
    pub(crate) fn more(&self) {
        self.wake.notify_one();
    }

    /// The epoch is closed, and nobody writes its journals any more.
    pub(crate) fn release(&self, key: Key) {
        self.tell(Told::Release(key));
    }

    /// The session is removed: nobody wants these any more.
    pub(crate) fn drop(&self, key: Key) {
        self.tell(Told::Drop(key));
    }

    /// The coordinator speaks of this session: what it refused before is tried again.
    pub(crate) fn claimed(&self, uid: SessionUid) {
        self.tell(Told::Claimed(uid));
    }

    /// The coordinator does not know these sessions.
    pub(crate) fn unclaimed(&self, uids: BTreeSet<SessionUid>) {
        self.tell(Told::Unclaimed(uids));
    }

    /// The coordinator says what it has.
    pub(crate) fn marks(&self, marks: Vec<Mark>) {
        if !marks.is_empty() {
            self.tell(Told::Marks(marks));
        }
    }
}

/// The lane itself.
#[derive(Debug)]
pub(crate) struct Lane {
    api: Api,
    board: Arc<Board>,
    told: mpsc::UnboundedReceiver<Told>,
    wake: Arc<Notify>,
    online: watch::Receiver<bool>,
    sessions: Sessions,
    backoff: Backoff,
    /// After a refusal sessions go one by one, so that one cannot block the others.
    alone: bool,
}

/// The journals of all sessions.
#[derive(Debug, Default)]
struct Sessions {
    tails: BTreeMap<Key, (Tail, Inbox)>,
    /// Not before; and the wait after that.
    penalties: BTreeMap<SessionUid, (Instant, Backoff)>,
    unclaimed: BTreeSet<SessionUid>,
    /// Whose turn it was last.
    last: Option<SessionUid>,
}

/// Makes the lane and what speaks to it. Nothing is sent before `online` says so.
pub(crate) fn lane(api: Api, board: Arc<Board>, online: watch::Receiver<bool>) -> (Uploads, Lane) {
    let (send, told) = mpsc::unbounded_channel();
    let wake = Arc::new(Notify::new());
    let uploads = Uploads { told: send, wake: wake.clone() };
    let backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(5));
    let sessions = Sessions::default();
    (uploads, Lane { api, board, told, wake, online, sessions, backoff, alone: false })
}

impl Lane {
    /// Runs until the runner ends.
    pub(crate) async fn run(mut self) {
        loop {
            while let Ok(told) = self.told.try_recv() {
                self.sessions.hear(told, &self.board);
            }
            if !*self.online.borrow_and_update() {
                if self.online.changed().await.is_err() {
                    return;
                }
                continue;
            }
            let (batch, wait) = self.fill().await;
            if batch.spans.is_empty() {
                self.rest(wait).await;
                continue;
            }
            self.send(batch).await;
        }
    }

    async fn rest(&mut self, wait: Option<Duration>) {
        let wait = wait.unwrap_or(Duration::from_secs(3600));
        tokio::select! {
            () = self.wake.notified() => {}
            () = tokio::time::sleep(wait) => {}
            _ = self.online.changed() => {}
        }
    }

    async fn fill(&mut self) -> (Batch, Option<Duration>) {
        let mut sessions = std::mem::take(&mut self.sessions);
        let alone = self.alone;
        // Journals are files: reading them must not hold up anything else.
        let filled = tokio::task::spawn_blocking(move || {
            let filled = sessions.fill(alone);
            (sessions, filled)
        });
        match filled.await {
            Ok((sessions, filled)) => {
                self.sessions = sessions;
                filled
            }
            Err(error) => {
                // A bug of ours: better to end than to say that all is sent.
                tracing::error!(%error, "reading journals failed");
                std::process::abort();
            }
        }
    }

    async fn send(&mut self, batch: Batch) {
        let Batch { ndjson, spans } = batch;
        let size = ndjson.len();
        let body = bytes::Bytes::from(ndjson);
        loop {
            match self.api.records(body.clone()).await {
                Ok(reply) => {
                    self.backoff.reset();
                    self.alone = false;
                    self.board.records_fail(false);
                    self.sessions.taken(&spans, reply, size, &self.board);
                    return;
                }
                Err(error) => {
                    self.board.records_fail(true);
                    let refused = error.status().is_some_and(|status| {
                        (400..500).contains(&status) && !matches!(status, 401 | 408 | 409 | 429)
                    });
                    tracing::debug!(%error, refused, "records were not taken");
                    if refused {
                        self.refused(&spans, &error);
                        return;
                    }
                    tokio::time::sleep(self.backoff.next()).await;
                    if !*self.online.borrow() {
                        self.sessions.rewind(&spans);
                        return;
                    }
                }
            }
        }
    }

    fn refused(&mut self, spans: &[Span], error: &CallError) {
        self.sessions.rewind(spans);
        let uids: BTreeSet<_> = spans.iter().map(|span| span.key.0).collect();
        if uids.len() > 1 {
            self.alone = true;
            return;
        }
        for uid in uids {
            tracing::warn!(%uid, %error, "the coordinator refuses a session's records; they stay here");
            self.sessions.punish(uid);
        }
    }
}

impl Sessions {
    fn hear(&mut self, told: Told, board: &Board) {
        match told {
            Told::Add { key, dir, durable, fresh, inbox } => {
                let tail = || (Tail::new(key, dir, durable, fresh), inbox);
                self.tails.entry(key).or_insert_with(tail);
            }
            Told::Release(key) => {
                if let Some((tail, _)) = self.tails.get_mut(&key) {
                    tail.release();
                }
            }
            Told::Drop(key) => {
                self.tails.remove(&key);
                self.penalties.remove(&key.0);
            }
            Told::Claimed(uid) => {
                self.unclaimed.remove(&uid);
                self.penalties.remove(&uid);
            }
            Told::Unclaimed(uids) => self.unclaimed = uids,
            Told::Marks(marks) => {
                for mark in marks {
                    if let Some((tail, _)) = self.tails.get_mut(&(mark.uid, mark.epoch)) {
                        let acked = tail.hint(mark.writer, mark.index);
                        self.settle(&mark, &acked, board);
                    }
                }
            }
        }
    }

    fn punish(&mut self, uid: SessionUid) {
        let fresh =
            || (Instant::now(), Backoff::new(Duration::from_millis(200), Duration::from_secs(60)));
        let (until, backoff) = self.penalties.entry(uid).or_insert_with(fresh);
        *until = Instant::now() + backoff.next();
    }

    /// Sessions that may send, the one after the last first.
    fn turns(&self) -> Vec<SessionUid> {
        let now = Instant::now();
        let mut uids: Vec<_> = self.tails.keys().map(|(uid, _)| *uid).collect();
        uids.dedup();
        let split = uids.partition_point(|uid| Some(*uid) <= self.last);
        uids.rotate_left(split);
        uids.retain(|uid| {
            !self.unclaimed.contains(uid)
                && self.penalties.get(uid).is_none_or(|(until, _)| *until <= now)
        });
        uids
    }

    /// A batch, and when to look again if it is empty.
    fn fill(&mut self, alone: bool) -> (Batch, Option<Duration>) {
        let mut batch = Batch::default();
        let turns = self.turns();
        'batch: for share in [SHARE, BATCH] {
            for uid in &turns {
                let limit = BATCH.min(batch.ndjson.len() + share);
                if batch.ndjson.len() >= BATCH {
                    break 'batch;
                }
                self.fill_session(*uid, &mut batch, limit);
                if alone && !batch.spans.is_empty() {
                    break 'batch;
                }
            }
        }
        // Whoever comes first may send a record of any size; everybody does in turn.
        self.last = batch.spans.first().map(|span| span.key.0).or(self.last);
        let now = Instant::now();
        let waits = self.penalties.values().map(|(until, _)| until.saturating_duration_since(now));
        (batch, waits.filter(|wait| !wait.is_zero()).min())
    }

    /// A session's journals, in the order of its epochs.
    fn fill_session(&mut self, uid: SessionUid, batch: &mut Batch, limit: usize) {
        let mut failed = false;
        let mut done = Vec::new();
        for (key, (tail, inbox)) in self.tails.range_mut((uid, greenroom_core::Epoch(0))..) {
            if key.0 != uid || batch.ndjson.len() >= limit {
                break;
            }
            match tail.fill(batch, limit) {
                Ok(met) => {
                    for (run, at) in met.ended {
                        let _ = inbox.send(Event::RunEnded { epoch: key.1, run, at });
                    }
                    if let Some(receipt) = met.receipt {
                        tell_receipt(inbox, *key, receipt);
                    }
                    if tail.is_done().unwrap_or(false) {
                        done.push(*key);
                    }
                }
                Err(error) => {
                    tracing::error!(uid = %key.0, epoch = %key.1, %error, "a journal cannot be read");
                    failed = true;
                    break;
                }
            }
        }
        for key in done {
            if let Some((_, inbox)) = self.tails.remove(&key) {
                let _ = inbox.send(Event::Uploaded { epoch: key.1 });
            }
        }
        if failed {
            self.punish(uid);
        }
    }

    fn taken(&mut self, spans: &[Span], reply: RecordsReply, size: usize, board: &Board) {
        let share = size / spans.len().max(1);
        for mark in &reply.marks {
            self.mark(*mark, share, board);
        }
        for span in spans {
            let marked =
                |mark: &&Mark| (mark.uid, mark.epoch) == span.key && mark.writer == span.writer;
            match reply.marks.iter().find(marked) {
                Some(mark) if mark.index >= span.last => {
                    self.penalties.remove(&span.key.0);
                }
                Some(_) => {}
                None => {
                    if let Some((tail, _)) = self.tails.get_mut(&span.key) {
                        tail.rewind(span.writer);
                    }
                    self.punish(span.key.0);
                }
            }
        }
    }

    fn mark(&mut self, mark: Mark, bytes: usize, board: &Board) {
        let key = (mark.uid, mark.epoch);
        let Some((tail, _)) = self.tails.get_mut(&key) else { return };
        let acked = tail.acknowledge(mark.writer, mark.index);
        tail.prune(bytes);
        // Taken, but not all: at once again only if it gets anywhere.
        if acked.refused && !acked.progress {
            self.punish(key.0);
        }
        self.settle(&mark, &acked, board);
    }

    fn settle(&mut self, mark: &Mark, acked: &Acked, board: &Board) {
        let key = (mark.uid, mark.epoch);
        if acked.receipt {
            board.delivered(key.0, key.1);
        }
        if let Some((tail, inbox)) = self.tails.get_mut(&key)
            && tail.is_done().unwrap_or(false)
        {
            let _ = inbox.send(Event::Uploaded { epoch: key.1 });
            self.tails.remove(&key);
        }
    }

    fn rewind(&mut self, spans: &[Span]) {
        for span in spans {
            if let Some((tail, _)) = self.tails.get_mut(&span.key) {
                tail.rewind(span.writer);
            }
        }
    }
}

fn tell_receipt(inbox: &Inbox, key: Key, receipt: Box<Receipt>) {
    let _ = inbox.send(Event::ReceiptSeen { epoch: key.1, receipt });
}
