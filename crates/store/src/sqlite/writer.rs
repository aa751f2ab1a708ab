//! The one writer: it owns the only connection that writes, and commits in groups.
//!
//! Two lanes lead here, and the control lane goes first, so a stop never waits behind
//! output for longer than one batch. Each unit of work is a savepoint; nothing is
//! answered, published or trusted before the batch is committed.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use greenroom_core::SessionUid;
use sqlx::SqliteConnection;
use tokio::sync::{mpsc, oneshot, watch};

use crate::{Commit, CommitSink, Result, StoreError};

use super::cache::Cache;
use super::fault::{Do, Fault, is_full, is_local};
use super::unit::Unit;

/// Units of one batch.
const MOST_UNITS: usize = 256;
/// Bytes of one batch, after which it is committed.
const MOST_BYTES: usize = 1 << 20;
/// The same for a batch that has a wish in it: somebody waits.
const MOST_BYTES_URGENT: usize = 64 << 10;
/// Units that may wait in each lane.
const LANE: usize = 1024;

/// Something to do in the writer's transaction.
#[async_trait]
pub(super) trait Work: Send + 'static {
    /// What it answers.
    type Output: Send + 'static;

    /// Does it. An error undoes all of it.
    async fn run(self, unit: &mut Unit<'_>) -> Do<Self::Output>;
}

/// Which way work goes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lane {
    /// Wishes and answers of people: first.
    Control,
    /// What agents say.
    Bulk,
}

#[async_trait]
trait Job: Send {
    async fn run(&mut self, unit: &mut Unit<'_>) -> Do<()>;
    /// Tells who asked. With success, what the work has answered is told.
    fn answer(self: Box<Self>, result: Result<()>);
}

struct Asked<W: Work> {
    work: Option<W>,
    output: Option<W::Output>,
    reply: oneshot::Sender<Result<W::Output>>,
}

#[async_trait]
impl<W: Work> Job for Asked<W> {
    async fn run(&mut self, unit: &mut Unit<'_>) -> Do<()> {
        if let Some(work) = self.work.take() {
            self.output = Some(work.run(unit).await?);
        }
        Ok(())
    }

    fn answer(self: Box<Self>, result: Result<()>) {
        let answer = match (result, self.output) {
            (Ok(()), Some(output)) => Ok(output),
            (Ok(()), None) => Err(StoreError::Database("the writer lost an answer".to_owned())),
            (Err(error), _) => Err(error),
        };
        // Who asked may have gone; what was done stays done.
        let _ = self.reply.send(answer);
    }
}

/// The way to the writer.
pub(super) struct Lanes {
    control: mpsc::Sender<Box<dyn Job>>,
    bulk: mpsc::Sender<Box<dyn Job>>,
    closing: watch::Sender<bool>,
}

impl Lanes {
    /// Has work done; answers when it is on disk.
    pub(super) async fn ask<W: Work>(&self, lane: Lane, work: W) -> Result<W::Output> {
        let closed = || StoreError::Database("the store is closed".to_owned());
        let (reply, answer) = oneshot::channel();
        let job = Box::new(Asked { work: Some(work), output: None, reply });
        let way = match lane {
            Lane::Control => &self.control,
            Lane::Bulk => &self.bulk,
        };
        way.send(job).await.map_err(|_| closed())?;
        answer.await.map_err(|_| closed())?
    }

    /// Ends the writer after what it has.
    pub(super) async fn close(&self) {
        self.closing.send_replace(true);
        self.control.closed().await;
        self.bulk.closed().await;
    }
}

/// The writer's own state.
pub(super) struct Writer {
    pub(super) conn: SqliteConnection,
    pub(super) last_sid: i64,
    pub(super) sink: Arc<OnceLock<CommitSink>>,
    /// When a commit last succeeded.
    pub(super) committed: watch::Sender<Option<Instant>>,
}

/// What became of one unit of a batch.
enum Step {
    Done(Vec<Arc<Commit>>),
    Refused(StoreError),
}

/// The batch is undone, and this is what everybody in it is told.
enum Lost {
    Full,
    Database(String),
}

impl Lost {
    fn of(error: &sqlx::Error) -> Self {
        if is_full(error) { Self::Full } else { Self::Database(error.to_string()) }
    }

    fn error(&self) -> StoreError {
        match self {
            Self::Full => StoreError::Full,
            Self::Database(text) => StoreError::Database(text.clone()),
        }
    }
}

impl Writer {
    /// Starts the writer. The second answer ends when it has ended.
    pub(super) fn start(self) -> (Lanes, tokio::task::JoinHandle<()>) {
        let (control, control_in) = mpsc::channel(LANE);
        let (bulk, bulk_in) = mpsc::channel(LANE);
        let (closing, closing_in) = watch::channel(false);
        let ended = tokio::spawn(self.run(control_in, bulk_in, closing_in));
        (Lanes { control, bulk, closing }, ended)
    }

    async fn run(
        mut self,
        mut control: mpsc::Receiver<Box<dyn Job>>,
        mut bulk: mpsc::Receiver<Box<dyn Job>>,
        mut closing: watch::Receiver<bool>,
    ) {
        let mut cache = Cache::default();
        let mut closed = false;
        loop {
            let first = tokio::select! {
                biased;
                // Also when every handle of the store is gone.
                _ = closing.wait_for(|closing| *closing), if !closed => {
                    closed = true;
                    control.close();
                    bulk.close();
                    continue;
                }
                Some(job) = control.recv() => (Lane::Control, job),
                Some(job) = bulk.recv() => (Lane::Bulk, job),
                else => break,
            };
            let more = |with_bulk| match control.try_recv() {
                Ok(job) => Some((Lane::Control, job)),
                Err(_) if with_bulk => bulk.try_recv().ok().map(|job| (Lane::Bulk, job)),
                Err(_) => None,
            };
            self.batch(&mut cache, first, more).await;
        }
        if let Err(error) = sqlx::Connection::close(self.conn).await {
            tracing::warn!(%error, "the database did not close cleanly; it recovers when it is opened");
        }
    }

    async fn batch(
        &mut self,
        cache: &mut Cache,
        first: (Lane, Box<dyn Job>),
        mut more: impl FnMut(bool) -> Option<(Lane, Box<dyn Job>)>,
    ) {
        if let Err(error) = self.sql("BEGIN IMMEDIATE").await {
            return first.1.answer(Err(error.into()));
        }
        let mut steps: Vec<(Box<dyn Job>, Step)> = Vec::new();
        let mut changed: Vec<SessionUid> = Vec::new();
        let (mut next, mut bytes, mut most) = (Some(first), 0, MOST_BYTES);
        let mut lost = None;
        while let Some((lane, mut job)) = next.take() {
            if lane == Lane::Control {
                most = MOST_BYTES_URGENT;
            }
            let mut unit = Unit::new(&mut self.conn, cache, &mut self.last_sid);
            let ran = job.run(&mut unit).await;
            let kept = match ran {
                Ok(()) => unit.keep().await,
                Err(fault) => Err((unit, fault)),
            };
            match kept {
                Ok(outcome) => {
                    bytes += outcome.bytes;
                    changed.extend(outcome.changed);
                    steps.push((job, Step::Done(outcome.commits)));
                }
                Err((unit, fault)) => match undo(unit, fault).await {
                    Ok(refused) => steps.push((job, Step::Refused(refused))),
                    Err(all) => {
                        job.answer(Err(all.error()));
                        lost = Some(all);
                        break;
                    }
                },
            }
            if steps.len() < MOST_UNITS && bytes < MOST_BYTES {
                next = more(bytes < most);
            }
        }
        if lost.is_none() {
            fail::fail_point!("store_before_commit");
            lost = self.commit().await.err();
            fail::fail_point!("store_after_commit");
        }
        match lost {
            None => self.publish(steps),
            Some(lost) => {
                self.roll_back().await;
                for uid in changed {
                    cache.forget(uid);
                }
                for (job, _) in steps {
                    job.answer(Err(lost.error()));
                }
            }
        }
    }

    async fn sql(&mut self, sql: &'static str) -> sqlx::Result<()> {
        sqlx::query(sql).execute(&mut self.conn).await.map(drop)
    }

    /// Commits the batch. A full disk undoes it; after any other failure nobody can know
    /// what is on disk, and going on could break what was promised.
    async fn commit(&mut self) -> std::result::Result<(), Lost> {
        match self.sql("COMMIT").await {
            Ok(()) => {
                self.committed.send_replace(Some(Instant::now()));
                Ok(())
            }
            Err(error) if is_full(&error) => Err(Lost::Full),
            Err(error) => {
                eprintln!(
                    "error: the database could not be written to disk ({error}), and what is there is \
                     unknown; greenroom ends, agents go on\nhint: check the disk, then start it again"
                );
                std::process::abort()
            }
        }
    }

    async fn roll_back(&mut self) {
        if let Err(error) = self.sql("ROLLBACK").await {
            // After a full disk SQLite has done it by itself.
            tracing::debug!(%error, "the transaction was rolled back already");
        }
    }

    fn publish(&self, steps: Vec<(Box<dyn Job>, Step)>) {
        let sink = self.sink.get();
        for (job, step) in steps {
            match step {
                Step::Refused(error) => job.answer(Err(error)),
                Step::Done(commits) => {
                    let news =
                        commits.iter().filter(|c| !c.events.is_empty() || !c.assigned.is_empty());
                    if let Some(sink) = sink {
                        news.for_each(|commit| sink(commit));
                    }
                    job.answer(Ok(()));
                }
            }
        }
    }
}

/// Undoes one unit, if the transaction around it is still there.
async fn undo(unit: Unit<'_>, fault: Fault) -> std::result::Result<StoreError, Lost> {
    if let Fault::Sql(error) = &fault
        && !is_local(error)
    {
        return Err(Lost::of(error));
    }
    match unit.undo().await {
        Ok(()) => Ok(fault.into()),
        // No savepoint: SQLite has rolled all of it back.
        Err(_) => Err(match &fault {
            Fault::Sql(error) => Lost::of(error),
            Fault::Refused(error) => Lost::Database(format!("a batch was undone: {error}")),
        }),
    }
}

/// Whether a write would succeed: one that did a moment ago says so, else one is made.
pub(super) struct Probe(pub(super) watch::Receiver<Option<Instant>>);

const PROBE: &str = "UPDATE identity SET probe = probe + 1";
const FRESH: Duration = Duration::from_secs(1);

#[async_trait]
impl Work for Probe {
    type Output = ();

    async fn run(self, unit: &mut Unit<'_>) -> Do<()> {
        let fresh = self.0.borrow().is_some_and(|at| at.elapsed() < FRESH);
        if !fresh {
            unit.writes.sql(PROBE);
        }
        Ok(())
    }
}
