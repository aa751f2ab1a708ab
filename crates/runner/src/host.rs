//! What every task of a runner shares.

use std::collections::HashMap;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use greenroom_core::{Assignment, SessionUid};
use greenroom_protocol::link::Delta;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::RunnerConfig;
use crate::adopt::Left;
use crate::board::Board;
use crate::folder::Folder;
use crate::http::Api;
use crate::identity::Identity;
use crate::kept::Kept;
use crate::probe;
use crate::roots::Roots;
use crate::session::{self, Event, Inbox};
use crate::tidy::Leftovers;
use crate::upload::Uploads;

/// What every task of a runner shares.
#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) config: RunnerConfig,
    pub(crate) folder: Arc<Folder>,
    pub(crate) roots: Roots,
    pub(crate) identity: Arc<Identity>,
    pub(crate) found: probe::Found,
    pub(crate) api: Api,
    pub(crate) board: Arc<Board>,
    pub(crate) uploads: Uploads,
    pub(crate) deltas: mpsc::Sender<Delta>,
    pub(crate) leftovers: Leftovers,
    /// What is being kept of files at ends of runs.
    pub(crate) kept: Arc<Kept>,
    /// Everything is being stopped: nothing is started any more.
    pub(crate) stopping: AtomicBool,
    /// Ends every task. No agent notices.
    pub(crate) cancel: CancellationToken,
    pub(crate) tasks: TaskTracker,
    sessions: Mutex<HashMap<SessionUid, Inbox>>,
}

/// The parts of a [`Host`] that are made before it.
pub(crate) struct Parts {
    pub(crate) config: RunnerConfig,
    pub(crate) folder: Arc<Folder>,
    pub(crate) roots: Roots,
    pub(crate) identity: Arc<Identity>,
    pub(crate) found: probe::Found,
    pub(crate) api: Api,
    pub(crate) board: Arc<Board>,
    pub(crate) uploads: Uploads,
    pub(crate) deltas: mpsc::Sender<Delta>,
}

impl Host {
    pub(crate) fn new(parts: Parts) -> Self {
        let Parts { config, folder, roots, identity, found, api, board, uploads, deltas } = parts;
        Self {
            config,
            folder,
            roots,
            identity,
            found,
            api,
            board,
            uploads,
            deltas,
            leftovers: Leftovers::default(),
            kept: Arc::default(),
            stopping: AtomicBool::new(false),
            cancel: CancellationToken::new(),
            tasks: TaskTracker::new(),
            sessions: Mutex::default(),
        }
    }

    fn sessions(&self) -> MutexGuard<'_, HashMap<SessionUid, Inbox>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs something until it ends or the runner does.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let cancel = self.cancel.clone();
        self.tasks.spawn(async move {
            tokio::select! {
                () = cancel.cancelled() => {}
                () = task => {}
            }
        });
    }

    /// Runs something that waits for the disk. A shutdown waits for it too: nothing is at
    /// work in the folder when its lock is let go.
    pub(crate) async fn blocking<T: Send + 'static>(
        &self,
        f: impl FnOnce() -> T + Send + 'static,
    ) -> T {
        unbroken(self.tasks.spawn_blocking(f)).await
    }

    /// Takes over what a data folder has of a session. Called before the link is up.
    pub(crate) fn adopt(self: &Arc<Self>, uid: SessionUid, left: Left) {
        let inbox = session::spawn(self.clone(), uid, Some(left));
        self.sessions().insert(uid, inbox);
    }

    /// Hands assignments to the session they are about.
    pub(crate) fn order(self: &Arc<Self>, uid: SessionUid, orders: Vec<Assignment>) {
        let mut sessions = self.sessions();
        // Sent under the lock: a session that wants to retire looks under it too.
        let inbox = sessions.entry(uid).or_insert_with(|| session::spawn(self.clone(), uid, None));
        let _ = inbox.send(Event::Orders(orders));
    }

    /// The orders obeyed so far were of another history, whose numbers mean nothing in this
    /// one. What was closed stays closed.
    pub(crate) fn forget_orders(&self) {
        for inbox in self.sessions().values() {
            let _ = inbox.send(Event::NewEra);
        }
        self.board.forget_generations();
    }

    /// Every session that has something here.
    pub(crate) fn inboxes(&self) -> Vec<Inbox> {
        self.sessions().values().cloned().collect()
    }

    /// A session with nothing left to do takes itself off the list, unless something has
    /// come for it meanwhile.
    pub(crate) fn retire(&self, uid: SessionUid, inbox: &mpsc::UnboundedReceiver<Event>) -> bool {
        let mut sessions = self.sessions();
        inbox.is_empty() && sessions.remove(&uid).is_some()
    }
}

/// What a thread gives. If it broke, so does who waits for it.
pub(crate) async fn unbroken<T>(thread: tokio::task::JoinHandle<T>) -> T {
    match thread.await {
        Ok(value) => value,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime is going down, and with it this task.
            Err(_) => std::future::pending().await,
        },
    }
}
