//! Reading a stream of a journal, also while it is being written.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use greenroom_core::record::Writer;
use greenroom_core::{RecordBody, Timestamp};

use super::frame::{Entry, HEADER, Parsed, parse};
use super::{Segment, segments};

/// Bytes read at once.
const CHUNK: usize = 128 << 10;

/// Reads one stream in order. What cannot be read any more shows as one
/// [`RecordBody::Gap`], at the index of its last entry; what is not written yet shows
/// as nothing, and is there at the next call.
#[derive(Debug)]
pub struct Reader {
    dir: PathBuf,
    writer: Writer,
    next: u64,
    open: Option<OpenSegment>,
}

#[derive(Debug)]
struct OpenSegment {
    first: u64,
    file: File,
    /// Where the next entry begins.
    offset: u64,
    buffer: Vec<u8>,
    /// Where in the file the buffer begins.
    buffer_at: u64,
    /// A search behind `offset` found nothing when the file was so long.
    searched: Option<(u64, u64)>,
}

impl Reader {
    /// A reader of the stream `writer` in `dir`, from index `from` (1 is the first).
    pub fn open(dir: &Path, writer: Writer, from: u64) -> Self {
        Self { dir: dir.to_owned(), writer, next: from.max(1), open: None }
    }

    /// The index that comes next.
    pub fn position(&self) -> u64 {
        self.next
    }

    /// The next entry, if it is written already.
    #[expect(clippy::should_implement_trait, reason = "the end of it is only for now")]
    pub fn next(&mut self) -> io::Result<Option<Entry>> {
        self.next_up_to(u64::MAX)
    }

    /// The next entry, if it is written already and its index is not above `durable`:
    /// only what is synced may leave the machine.
    pub fn next_up_to(&mut self, durable: u64) -> io::Result<Option<Entry>> {
        loop {
            if self.next > durable {
                return Ok(None);
            }
            if self.open.is_none() {
                let all = segments(&self.dir, self.writer)?;
                let holds = all.iter().rev().find(|s| s.first <= self.next);
                let Some(segment) = holds.or(all.first()) else { return Ok(None) };
                self.open = Some(OpenSegment::at(segment)?);
                continue;
            }
            let Some(open) = &mut self.open else { continue };
            if let Some((entry, length)) = open.entry()? {
                if entry.index > self.next {
                    let to = entry.index - 1;
                    if to > durable {
                        return Ok(None);
                    }
                    return Ok(Some(self.gap(to, entry.at)));
                }
                open.offset += length as u64;
                if entry.index < self.next {
                    continue;
                }
                self.next += 1;
                return Ok(Some(entry));
            }
            // Listed first and then looked at once more: the writer may have finished
            // this segment and begun the next between the two looks.
            let first = open.first;
            let later = segments(&self.dir, self.writer)?.into_iter().find(|s| s.first > first);
            let Some(later) = later else { return Ok(None) };
            if open.entry()?.is_some() {
                continue;
            }
            let at = Timestamp::from_unix_ms(0);
            let lost = (later.first > self.next).then_some(later.first - 1);
            self.open = Some(OpenSegment::at(&later)?);
            if let Some(to) = lost.filter(|to| *to <= durable) {
                return Ok(Some(self.gap(to, at)));
            }
        }
    }

    fn gap(&mut self, to: u64, at: Timestamp) -> Entry {
        let from = self.next;
        self.next = to + 1;
        Entry { index: to, at, body: RecordBody::Gap { from, to } }
    }
}

impl OpenSegment {
    fn at(segment: &Segment) -> io::Result<Self> {
        Ok(Self {
            first: segment.first,
            file: File::open(&segment.path)?,
            offset: 0,
            buffer: Vec::new(),
            buffer_at: 0,
            searched: None,
        })
    }

    /// The entry at `offset`, or at the first place behind it that holds one.
    fn entry(&mut self) -> io::Result<Option<(Entry, usize)>> {
        if let Some(found) = self.parse_at(self.offset)? {
            return Ok(Some(found));
        }
        let length = self.file.metadata()?.len();
        if length <= self.offset || self.searched == Some((self.offset, length)) {
            return Ok(None);
        }
        for offset in self.offset + 1..length.saturating_sub(HEADER as u64) {
            if let Some(found) = self.parse_at(offset)? {
                self.offset = offset;
                return Ok(Some(found));
            }
        }
        self.searched = Some((self.offset, length));
        Ok(None)
    }

    fn parse_at(&mut self, offset: u64) -> io::Result<Option<(Entry, usize)>> {
        let mut wanted = HEADER + 1;
        loop {
            let bytes = self.bytes(offset, wanted)?;
            match parse(bytes) {
                Parsed::Frame(entry, length) => return Ok(Some((*entry, length))),
                Parsed::Incomplete(more) if bytes.len() >= wanted && more > wanted => {
                    // A length beyond the file's end is not worth a buffer.
                    let end = self.file.metadata()?.len();
                    if offset + more as u64 > end {
                        return Ok(None);
                    }
                    wanted = more;
                }
                Parsed::Incomplete(_) | Parsed::Bad => return Ok(None),
            }
        }
    }

    /// At least `wanted` bytes from `offset`, or what there is.
    fn bytes(&mut self, offset: u64, wanted: usize) -> io::Result<&[u8]> {
        let end = self.buffer_at + self.buffer.len() as u64;
        if offset < self.buffer_at || offset + wanted as u64 > end {
            self.buffer.resize(wanted.max(CHUNK), 0);
            let mut filled = 0;
            while filled < self.buffer.len() {
                match self.file.read_at(&mut self.buffer[filled..], offset + filled as u64) {
                    Ok(0) => break,
                    Ok(n) => filled += n,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
            }
            self.buffer.truncate(filled);
            self.buffer.shrink_to(CHUNK);
            self.buffer_at = offset;
        }
        let from = ((offset - self.buffer_at) as usize).min(self.buffer.len());
        Ok(&self.buffer[from..])
    }

    /// Runs through the whole segment: its last index, and where that entry ends.
    pub(super) fn end(segment: &Segment) -> io::Result<(Option<u64>, u64)> {
        let mut open = Self::at(segment)?;
        let mut last = None;
        let mut end = 0;
        while let Some((entry, length)) = open.entry()? {
            open.offset += length as u64;
            last = Some(entry.index);
            end = open.offset;
        }
        Ok((last, end))
    }
}

/// Last readable index of a segment, and the length of its readable part.
pub(super) fn end_of(segment: &Segment) -> io::Result<(Option<u64>, u64)> {
    OpenSegment::end(segment)
}
