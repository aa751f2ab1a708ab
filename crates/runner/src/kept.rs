//! What is kept of a session's files at the end of each run, in workspaces of git.
//!
//! A run's end waits for nothing of this: what is kept is taken when the end is on disk and
//! on its way. But the next start of the session waits for it, for a while, so that what is
//! kept is what the run has left.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use greenroom_core::{RunFiles, RunId, SessionUid, Timestamp};
use greenroom_protocol::link::KeptFiles;
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;

use crate::folder::Folder;
use crate::git::GitError;
use crate::host::Host;
use crate::point;
use crate::session::{Event, Inbox};

pub(crate) mod look;
pub(crate) mod record;
pub(crate) mod repository;
#[cfg(test)]
mod tests;

use repository::{KeepError, Shelf};

/// The next start of a session waits so long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
/// No take is longer.
const LIMIT: Duration = Duration::from_secs(600);
/// So many are at work at once.
const AT_ONCE: usize = 2;

/// What is being kept of all sessions.
#[derive(Debug)]
pub(crate) struct Kept {
    sessions: Mutex<HashMap<SessionUid, Arc<Session>>>,
    turns: Semaphore,
}

/// What is being kept of one session, or is to be.
#[derive(Debug)]
struct Session {
    /// How much is on its way.
    open: watch::Sender<usize>,
    /// One at a time is at work.
    turn: tokio::sync::Mutex<()>,
    /// Ends what is at work.
    cancel: CancellationToken,
    why: OnceLock<GivenUp>,
}

/// Why it was given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum GivenUp {
    /// The next start waits no longer.
    NoWait,
    /// The session is removed.
    Removed,
}

/// Something is on its way: readers and the next start wait until this is dropped.
#[derive(Debug)]
pub(crate) struct Awaited {
    kept: Arc<Kept>,
    uid: SessionUid,
    session: Arc<Session>,
}

impl Drop for Awaited {
    fn drop(&mut self) {
        let mut sessions = self.kept.lock();
        self.session.open.send_modify(|open| *open -= 1);
        let known = sessions.get(&self.uid);
        let last = *self.session.open.borrow() == 0;
        if last && known.is_some_and(|known| Arc::ptr_eq(known, &self.session)) {
            sessions.remove(&self.uid);
        }
    }
}

impl Default for Kept {
    fn default() -> Self {
        Self { sessions: Mutex::default(), turns: Semaphore::new(AT_ONCE) }
    }
}

impl Kept {
    fn lock(&self) -> MutexGuard<'_, HashMap<SessionUid, Arc<Session>>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A run's end is near, and its files will be asked for.
    pub(crate) fn expect(self: &Arc<Self>, uid: SessionUid) -> Awaited {
        let mut sessions = self.lock();
        let session = sessions.entry(uid).or_insert_with(|| {
            Arc::new(Session {
                open: watch::Sender::new(0),
                turn: tokio::sync::Mutex::default(),
                cancel: CancellationToken::new(),
                why: OnceLock::new(),
            })
        });
        session.open.send_modify(|open| *open += 1);
        Awaited { kept: self.clone(), uid, session: session.clone() }
    }

    /// Whether something of a session is on its way.
    pub(crate) fn is_open(&self, uid: SessionUid) -> bool {
        self.lock().contains_key(&uid)
    }

    /// Waits until nothing of a session is on its way.
    pub(crate) async fn settled(&self, uid: SessionUid) {
        let session = self.lock().get(&uid).cloned();
        if let Some(session) = session {
            let _ = session.open.subscribe().wait_for(|open| *open == 0).await;
        }
    }

    /// The same before the next start, which does not wait for ever.
    pub(crate) async fn settled_for_start(&self, uid: SessionUid, patience: Duration) {
        if tokio::time::timeout(patience, self.settled(uid)).await.is_err() {
            self.give_up(uid, GivenUp::NoWait);
            self.settled(uid).await;
        }
    }

    /// The session is removed: nothing of it is kept any more.
    pub(crate) async fn forget(&self, uid: SessionUid) {
        self.give_up(uid, GivenUp::Removed);
        self.settled(uid).await;
    }

    fn give_up(&self, uid: SessionUid, why: GivenUp) {
        if let Some(session) = self.lock().get(&uid) {
            let _ = session.why.set(why);
            session.cancel.cancel();
        }
    }
}

/// A run has ended: keeps the files of its workspace, if that is one of git, beside
/// everything else.
pub(crate) fn run_over(host: &Arc<Host>, uid: SessionUid, run: RunId, at: Timestamp, inbox: Inbox) {
    let awaited = host.kept.expect(uid);
    let host = host.clone();
    host.tasks.clone().spawn(async move {
        let session = awaited.session.clone();
        let cancel = host.cancel.child_token();
        let given_up = session.cancel.clone();
        let kept = tokio::select! {
            kept = keep(&host, &session, uid, run, at, &cancel) => kept,
            // What is at work ends at once, and is waited for.
            () = given_up.cancelled() => {
                cancel.cancel();
                let _turn = session.turn.lock().await;
                Err(GitError::Cancelled.into())
            }
        };
        let files = match kept {
            Ok(files) => files,
            Err(_) if session.why.get() == Some(&GivenUp::Removed) => None,
            // The next runner of this folder sees to it.
            Err(_) if host.cancel.is_cancelled() => None,
            Err(error) => Some(reason(&error, session.why.get().is_some())),
        };
        if let Some(files) = files {
            tell(&host, uid, run, files).await;
        }
        drop(awaited);
        let _ = inbox.send(Event::FilesKept);
    });
}

/// Keeps them, or says that there is nothing to be kept.
async fn keep(
    host: &Arc<Host>,
    session: &Arc<Session>,
    uid: SessionUid,
    run: RunId,
    at: Timestamp,
    cancel: &CancellationToken,
) -> Result<Option<RunFiles>, KeepError> {
    let folder = host.folder.clone();
    if !host.blocking(move || is_wanted(&folder, uid, run)).await? {
        return Ok(None);
    }
    let _slot = host.kept.turns.acquire().await;
    let (folder, stop, owned) = (host.folder.clone(), cancel.clone(), session.clone());
    let mut work = host.tasks.spawn_blocking(move || {
        let _turn = owned.turn.blocking_lock();
        // Whoever gave it up waits for nothing that begins later.
        if stop.is_cancelled() {
            return Err(GitError::Cancelled.into());
        }
        point::pass("runner_before_files");
        take(&folder, uid, run, at, &stop)
    });
    let done = match tokio::time::timeout(LIMIT, &mut work).await {
        Ok(done) => done,
        Err(_) => {
            cancel.cancel();
            let _ = work.await;
            return Ok(Some(RunFiles::Reason {
                code: "too_slow".to_owned(),
                message: format!("they were not all seen within {} minutes", LIMIT.as_secs() / 60),
            }));
        }
    };
    done.unwrap_or_else(|error| Err(std::io::Error::other(error).into()))
}

/// Whether it is a workspace of git, and nothing is known of this run's files yet.
fn is_wanted(folder: &Folder, uid: SessionUid, run: RunId) -> Result<bool, KeepError> {
    if folder.repository(uid)?.is_none() || folder.place(uid)?.is_none() {
        return Ok(false);
    }
    Ok(record::read(&Shelf::of(&folder.run(uid)), run)?.is_none())
}

/// Keeps the files as they are now. Blocks.
fn take(
    folder: &Folder,
    uid: SessionUid,
    run: RunId,
    at: Timestamp,
    cancel: &CancellationToken,
) -> Result<Option<RunFiles>, KeepError> {
    let (Some(repository), Some(place)) = (folder.repository(uid)?, folder.place(uid)?) else {
        return Ok(None);
    };
    let shelf = Shelf::of(&folder.run(uid));
    let commit = match shelf.of_run(run, cancel)? {
        // A runner that died since has kept them.
        Some(commit) => commit,
        None => shelf.keep(&repository, &place.path, run, at, cancel)?,
    };
    point::pass("runner_after_files");
    Ok(Some(RunFiles::Commit(commit)))
}

/// Records what became of it, and tells the coordinator.
async fn tell(host: &Arc<Host>, uid: SessionUid, run: RunId, files: RunFiles) {
    if let RunFiles::Reason { code, message } = &files {
        tracing::warn!(%uid, %run, code, message, "the files at a run's end are not kept");
    }
    let (folder, record) = (host.folder.clone(), files.clone());
    let written = host.blocking(move || record::write(&Shelf::of(&folder.run(uid)), run, &record));
    if let Err(error) = written.await {
        tracing::warn!(%uid, %run, %error, "what was kept of files is not recorded; it is told all the same");
    }
    host.board.kept(KeptFiles { uid, run, files });
}

/// Why nothing is kept, for whoever asks for it.
fn reason(error: &KeepError, given_up: bool) -> RunFiles {
    let text = error.to_string();
    let full = ["No space left", "Disk quota", "StorageFull"];
    let code = match error {
        _ if given_up => "no_wait",
        KeepError::TooLarge(_) => "too_large",
        KeepError::Git(_) if full.iter().any(|word| text.contains(word)) => "no_space",
        KeepError::Git(_) => "git_failed",
    };
    let message = match code {
        "no_wait" => format!(
            "the next start of the session waited {} seconds for it, and no longer",
            PATIENCE.as_secs()
        ),
        _ => text,
    };
    RunFiles::Reason { code: code.to_owned(), message }
}

/// The coordinator has heard of these.
pub(crate) fn heard(host: &Arc<Host>, runs: Vec<(SessionUid, RunId)>) {
    if runs.is_empty() {
        return;
    }
    let folder = host.folder.clone();
    host.tasks.spawn_blocking(move || {
        for (uid, run) in runs {
            if let Err(error) = record::said(&Shelf::of(&folder.run(uid)), run) {
                tracing::warn!(%uid, %run, %error, "a record of kept files stays; it is told again");
            }
        }
    });
}
