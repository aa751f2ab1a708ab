//! A session's floor: its highest closed epoch. What is not above it is never started.

use std::io;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use greenroom_core::{Epoch, SessionUid};

use crate::folder::Folder;
use crate::point;

/// The floor as the disk has it. Raised by one at a time, and never lowered.
#[derive(Debug, Clone)]
pub(crate) struct Floor {
    folder: Arc<Folder>,
    uid: SessionUid,
    on_disk: Arc<AtomicU32>,
    writing: Arc<Mutex<()>>,
}

impl Floor {
    /// Reads it. Blocks.
    pub(crate) fn read(folder: Arc<Folder>, uid: SessionUid) -> io::Result<Self> {
        let on_disk = Arc::new(AtomicU32::new(folder.floor(uid)?.0));
        Ok(Self { folder, uid, on_disk, writing: Arc::default() })
    }

    /// What is known to be on disk.
    pub(crate) fn on_disk(&self) -> Epoch {
        Epoch(self.on_disk.load(Ordering::Acquire))
    }

    /// Puts it on disk that this epoch is closed. Blocks.
    pub(crate) fn raise(&self, epoch: Epoch) -> io::Result<()> {
        let _one_at_a_time = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        if epoch <= self.on_disk() {
            return Ok(());
        }
        point::pass("runner_before_floor");
        self.folder.raise_floor(self.uid, epoch)?;
        self.on_disk.store(epoch.0, Ordering::Release);
        point::pass("runner_after_floor");
        Ok(())
    }
}
