//! Sessions the writer has at hand. It is the only writer, so what is in here is so.

use std::collections::HashMap;
use std::sync::Arc;

use greenroom_core::record::Writer;
use greenroom_core::{Epoch, Session, SessionUid};

/// How many sessions are kept.
const CAPACITY: usize = 4096;

/// A journal stream and how far it is durable here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Top {
    pub(super) epoch: Epoch,
    pub(super) writer: Writer,
    pub(super) index: u64,
}

/// A session as the database has it.
#[derive(Debug)]
pub(super) struct Entry {
    /// Its number in the database.
    pub(super) sid: i64,
    pub(super) session: Arc<Session>,
    pub(super) tops: Vec<Top>,
}

/// The sessions that were used last.
#[derive(Default)]
pub(super) struct Cache {
    entries: HashMap<SessionUid, (u64, Arc<Entry>)>,
    clock: u64,
}

impl Cache {
    pub(super) fn get(&mut self, uid: SessionUid) -> Option<Arc<Entry>> {
        self.clock += 1;
        let (used, entry) = self.entries.get_mut(&uid)?;
        *used = self.clock;
        Some(Arc::clone(entry))
    }

    pub(super) fn put(&mut self, uid: SessionUid, entry: Arc<Entry>) {
        self.clock += 1;
        self.entries.insert(uid, (self.clock, entry));
        if self.entries.len() > CAPACITY {
            self.halve();
        }
    }

    pub(super) fn forget(&mut self, uid: SessionUid) {
        self.entries.remove(&uid);
    }

    /// Drops the half that was not used for longest.
    fn halve(&mut self) {
        let mut used: Vec<u64> = self.entries.values().map(|(used, _)| *used).collect();
        let middle = used.len() / 2;
        let (_, median, _) = used.select_nth_unstable(middle);
        let median = *median;
        self.entries.retain(|_, (used, _)| *used >= median);
    }
}
