//! What sessions and runners leave behind, put away in the background: when the runner
//! starts, when there is something new, and once in a while.

use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::Notify;

use crate::host::Host;
use crate::remove::{self, Left};

/// When nothing is left, the next look is taken after this.
const EVERY: Duration = Duration::from_secs(24 * 3600);
/// What could not be removed is tried again after this.
const RETRY: Duration = Duration::from_secs(600);
/// Another runner's control groups must have been left alone for so long.
const ABANDONED: Duration = Duration::from_secs(3600);

/// What could not be removed, for a person to see to.
#[derive(Debug, Default)]
pub(crate) struct Leftovers {
    note: Mutex<Note>,
    /// There is something new in the trash that could not be removed.
    pub(crate) new: Notify,
}

#[derive(Debug, Default, Clone)]
pub(crate) struct Note {
    pub(crate) text: Option<String>,
    /// Counts changes.
    pub(crate) version: u64,
}

impl Leftovers {
    fn lock(&self) -> MutexGuard<'_, Note> {
        self.note.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is to be said of it now.
    pub(crate) fn note(&self) -> Note {
        self.lock().clone()
    }

    /// Says whether that is news.
    fn set(&self, text: Option<String>) -> bool {
        let mut note = self.lock();
        let changed = note.text != text;
        if changed {
            *note = Note { text, version: note.version + 1 };
        }
        changed
    }
}

/// Puts away what is left behind, as long as the runner lives.
pub(crate) async fn run(host: Arc<Host>) {
    let capabilities = host.found.capabilities.clone();
    let removed = host.blocking(move || capabilities.remove_abandoned(ABANDONED)).await;
    if removed > 0 {
        tracing::info!(removed, "control groups of runners that are gone are removed");
    }
    loop {
        let folder = host.folder.clone();
        let left = host.blocking(move || {
            if let Err(error) = remove::old_floors(&folder, SystemTime::now()) {
                tracing::warn!(%error, "records of removed sessions are not removed");
            }
            if let Err(error) = remove::old_worktrees(&folder) {
                tracing::warn!(%error, "a removed session's worktree stays registered");
            }
            remove::empty(&folder.trash()).unwrap_or_else(Left::from)
        });
        let note = words(&left.await, &host.folder.trash());
        let next = if note.is_some() { RETRY } else { EVERY };
        if let Some(note) = &note {
            tracing::warn!("{note}");
        }
        if host.leftovers.set(note) {
            host.board.nudge();
        }
        tokio::select! {
            () = host.leftovers.new.notified() => {}
            () = tokio::time::sleep(next) => {}
        }
    }
}

/// What is left, and what to do about it.
fn words(left: &Left, trash: &Path) -> Option<String> {
    if left.is_nothing() {
        return None;
    }
    let trash = trash.display();
    Some(match &left.error {
        None => format!(
            "files of removed sessions are left in {trash}: they hold {} mounts, which are never \
             crossed; unmount them, and the rest is removed within ten minutes",
            left.mounts
        ),
        Some(error) => format!(
            "files of removed sessions are left in {trash}: {error}; remove them by hand, or \
             make it possible: it is tried again every ten minutes"
        ),
    })
}
