//! The shim's own stream: what is synced when, and what happens when the disk is full.

use std::io;
use std::path::Path;

use greenroom_core::RecordBody;
use greenroom_core::record::Writer;

use crate::clock::{self, Moment};
use crate::journal::JournalWriter;

/// Text is synced no more often than this.
const TEXT_SYNC: Moment = 1000;

/// The journal with its rule for syncing: state at once, text at most once a second.
#[derive(Debug)]
pub(crate) struct Log {
    journal: JournalWriter,
    state_waits: bool,
    text_since: Option<Moment>,
    synced_at: Moment,
}

impl Log {
    pub(crate) fn open(dir: &Path) -> io::Result<Self> {
        let mut journal = JournalWriter::open(dir, Writer::Shim)?;
        if journal.last() == 0 {
            // A disk that is full from the start leaves us without; then a receipt can
            // only be written once there is room again.
            if let Err(error) = journal.hold_reserve() {
                eprintln!("greenroom shim: no disk could be set aside: {error}");
            }
        }
        Ok(Self { journal, state_waits: false, text_since: None, synced_at: 0 })
    }

    /// Makes room for the first entries while there is time. What the disk refuses is
    /// tried again with them.
    pub(crate) fn begin(&mut self) {
        if let Err(error) = self.journal.begin() {
            eprintln!("greenroom shim: the journal could not be begun: {error}");
        }
    }

    /// Index of the last entry.
    pub(crate) fn last(&self) -> u64 {
        self.journal.last()
    }

    /// Index of the last entry that is on disk.
    pub(crate) fn durable(&self) -> u64 {
        self.journal.durable()
    }

    /// Appends an entry.
    pub(crate) fn append(&mut self, body: &RecordBody) -> io::Result<u64> {
        let index = self.journal.append(clock::wall(), body)?;
        if body.is_state() {
            self.state_waits = true;
        } else if self.text_since.is_none() {
            self.text_since = Some(clock::now());
        }
        Ok(index)
    }

    /// Syncs all there is.
    pub(crate) fn sync(&mut self) -> io::Result<u64> {
        self.synced_at = clock::now();
        let durable = self.journal.sync()?;
        self.state_waits = false;
        self.text_since = None;
        Ok(durable)
    }

    /// When something must be synced.
    pub(crate) fn deadline(&self) -> Option<Moment> {
        // After an error the next try waits as long as text does.
        let next = self.synced_at + TEXT_SYNC;
        match (self.state_waits, self.text_since) {
            (true, _) => Some(if self.journal.on_reserve() { next } else { 0 }),
            (false, Some(since)) => Some(next.max(since)),
            (false, None) => None,
        }
    }

    /// Syncs what is due. An error is tried again.
    pub(crate) fn sync_due(&mut self, now: Moment) {
        if self.deadline().is_some_and(|at| now >= at)
            && let Err(error) = self.sync()
        {
            eprintln!("greenroom shim: the journal could not be synced: {error}");
        }
    }

    /// Nothing more will be written.
    pub(crate) fn finish(&mut self) {
        self.journal.release_reserve();
    }
}
