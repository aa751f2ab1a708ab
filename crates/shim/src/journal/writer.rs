//! Writing a stream of a journal.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use greenroom_core::record::Writer;
use greenroom_core::{RecordBody, Timestamp};

use super::{frame, reader, segment_path, segments};
use crate::control::{Reserved, sync_parent};

/// A segment is not written to beyond this size.
pub const SEGMENT: u64 = 8 << 20;
/// Disk set aside for state and receipt.
pub const RESERVE: u64 = 64 << 10;

/// Appends to one stream. Nobody else does: that is what makes an index mean one thing.
#[derive(Debug)]
pub struct JournalWriter {
    dir: PathBuf,
    writer: Writer,
    /// Index of the next entry.
    next: u64,
    durable: u64,
    segment: Option<OpenSegment>,
    reserve: Reserve,
    scratch: Vec<u8>,
}

#[derive(Debug)]
struct OpenSegment {
    file: File,
    length: u64,
    /// Where writing must end: a reserve has only the blocks it has.
    limit: u64,
}

#[derive(Debug)]
enum Reserve {
    /// The stream has none.
    Without,
    /// Set aside.
    Held(Reserved),
    /// The open segment is the reserve: the disk is full.
    InUse,
}

impl JournalWriter {
    /// Opens the stream `writer` in `dir` and goes on where it ended; a torn end is cut.
    pub fn open(dir: &Path, writer: Writer) -> io::Result<Self> {
        let mut next = 1;
        let mut segment = None;
        if let Some(last) = segments(dir, writer)?.last() {
            let (index, length) = reader::end_of(last)?;
            next = index.map_or(last.first, |index| index + 1);
            let file = OpenOptions::new().read(true).write(true).open(&last.path)?;
            file.set_len(length)?;
            file.sync_all()?;
            segment = Some(OpenSegment { file, length, limit: SEGMENT });
        }
        Ok(Self {
            dir: dir.to_owned(),
            writer,
            next,
            durable: next - 1,
            segment,
            reserve: Reserve::Without,
            scratch: Vec::new(),
        })
    }

    /// Makes the first segment, which the first entry would have to wait for.
    pub fn begin(&mut self) -> io::Result<()> {
        if self.segment.is_none() {
            self.segment = Some(self.new_segment()?);
        }
        Ok(())
    }

    /// Sets disk aside, so that state and receipt can be written when there is none left.
    pub fn hold_reserve(&mut self) -> io::Result<()> {
        let name = format!("journal.{}.reserve", super::stream_name(self.writer));
        self.reserve = Reserve::Held(Reserved::set_aside(self.dir.join(name), RESERVE)?);
        Ok(())
    }

    /// Gives the reserve back: nothing more will be written.
    pub fn release_reserve(&mut self) {
        if let Reserve::Held(reserved) = std::mem::replace(&mut self.reserve, Reserve::Without) {
            reserved.release();
        }
    }

    /// Index of the last entry that was appended.
    pub fn last(&self) -> u64 {
        self.next - 1
    }

    /// Index of the last entry that is on disk.
    pub fn durable(&self) -> u64 {
        self.durable
    }

    /// Whether the disk is full and only the reserve is left.
    pub fn on_reserve(&self) -> bool {
        matches!(self.reserve, Reserve::InUse)
    }

    /// Appends an entry; it is on disk only after [`sync`](Self::sync). After an error
    /// nothing was appended.
    pub fn append(&mut self, at: Timestamp, body: &RecordBody) -> io::Result<u64> {
        let mut bytes = std::mem::take(&mut self.scratch);
        bytes.clear();
        let written = frame::encode(self.next, at, body, &mut bytes)
            .map_err(io::Error::other)
            .and_then(|()| self.write(&bytes, body));
        bytes.shrink_to(64 << 10);
        self.scratch = bytes;
        written?;
        self.next += 1;
        Ok(self.next - 1)
    }

    /// Makes everything that was appended durable.
    pub fn sync(&mut self) -> io::Result<u64> {
        if self.durable < self.last() {
            if let Some(segment) = &self.segment {
                segment.file.sync_data()?;
            }
            self.durable = self.last();
        }
        Ok(self.durable)
    }

    fn write(&mut self, bytes: &[u8], body: &RecordBody) -> io::Result<()> {
        if self.on_reserve() {
            self.leave_reserve();
        }
        if self.on_reserve() {
            return self.write_to_reserve(bytes, body);
        }
        let failed = match self.write_normally(bytes) {
            Ok(()) => return Ok(()),
            Err(failed) => failed,
        };
        if !body.is_state() || !self.enter_reserve()? {
            return Err(failed);
        }
        self.write_to_reserve(bytes, body)
    }

    fn write_normally(&mut self, bytes: &[u8]) -> io::Result<()> {
        let full = |s: &OpenSegment| s.length > 0 && s.length + bytes.len() as u64 > s.limit;
        if self.segment.as_ref().is_none_or(full) {
            self.sync()?;
            self.segment = Some(self.new_segment()?);
        }
        match &mut self.segment {
            Some(segment) => segment.write(bytes),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn new_segment(&self) -> io::Result<OpenSegment> {
        let path = segment_path(&self.dir, self.writer, self.next);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&path)?;
        sync_parent(&path)?;
        Ok(OpenSegment { file, length: 0, limit: SEGMENT })
    }

    /// The reserve becomes the open segment. Says no if there is none.
    fn enter_reserve(&mut self) -> io::Result<bool> {
        if !matches!(self.reserve, Reserve::Held(_)) {
            return Ok(false);
        }
        // What is in the old segment must count before the new one begins.
        self.sync()?;
        let path = segment_path(&self.dir, self.writer, self.next);
        let Reserve::Held(reserved) = std::mem::replace(&mut self.reserve, Reserve::InUse) else {
            return Ok(false);
        };
        let file = reserved.into_file(&path)?;
        self.segment = Some(OpenSegment { file, length: 0, limit: RESERVE });
        Ok(true)
    }

    fn write_to_reserve(&mut self, bytes: &[u8], body: &RecordBody) -> io::Result<()> {
        // The nearer to the end, the more of the reserve may be used, so that whatever
        // came before, the receipt has its place.
        let keep = match body {
            RecordBody::Receipt { .. } | RecordBody::Closing { .. } => 0,
            RecordBody::RunEnded { .. } => RESERVE / 4,
            _ => RESERVE / 2,
        };
        let no_space = || io::Error::from(rustix::io::Errno::NOSPC);
        let segment = self.segment.as_mut().ok_or_else(no_space)?;
        if segment.length + bytes.len() as u64 + keep > segment.limit {
            return Err(no_space());
        }
        segment.write(bytes)
    }

    /// Goes back to ordinary segments as soon as a new reserve can be had.
    fn leave_reserve(&mut self) {
        if self.segment.as_ref().is_none_or(|s| s.length == 0) || self.sync().is_err() {
            return;
        }
        if self.hold_reserve().is_err() {
            self.reserve = Reserve::InUse;
            return;
        }
        // A fresh segment is begun by the next write.
        self.segment = None;
    }
}

impl OpenSegment {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self.file.write_all_at(bytes, self.length) {
            Ok(()) => {
                self.length += bytes.len() as u64;
                Ok(())
            }
            Err(error) => {
                // Half an entry would be read as damage.
                let _ = self.file.set_len(self.length);
                Err(error)
            }
        }
    }
}
