//! The journal of a compute: what its shim (and, for what a shim no longer can say, its
//! runner) has to tell, on disk, in order, and readable while it grows.
//!
//! A stream is a row of segment files `journal.<writer>.<first index>`. An entry is a
//! frame (see [`frame`]); a torn end is cut, damage in the middle shows as a gap.

use std::io;
use std::path::{Path, PathBuf};

use greenroom_core::record::Writer;

pub mod frame;
mod reader;
mod writer;

pub use frame::Entry;
pub use reader::Reader;
pub use writer::{JournalWriter, RESERVE, SEGMENT};

/// One file of a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Segment {
    /// Index of its first entry.
    pub first: u64,
    /// Where it is.
    pub path: PathBuf,
}

/// A stream's name in file names.
pub fn stream_name(writer: Writer) -> &'static str {
    match writer {
        Writer::Shim => "shim",
        Writer::Runner => "runner",
    }
}

fn segment_path(dir: &Path, writer: Writer, first: u64) -> PathBuf {
    dir.join(format!("journal.{}.{first:020}", stream_name(writer)))
}

/// The segments of a stream, in order. A folder that is not there has none.
pub fn segments(dir: &Path, writer: Writer) -> io::Result<Vec<Segment>> {
    let prefix = format!("journal.{}.", stream_name(writer));
    let mut found = Vec::new();
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(found),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name();
        let first = name.to_str().and_then(|name| name.strip_prefix(&prefix)?.parse().ok());
        if let Some(first) = first {
            found.push(Segment { first, path: entry.path() });
        }
    }
    found.sort_by_key(|segment| segment.first);
    Ok(found)
}

/// Removes the segments whose every entry is acknowledged, that is, whose indexes are
/// all at most `index`. The last segment stays: it goes with the folder.
pub fn discard_through(dir: &Path, writer: Writer, index: u64) -> io::Result<u32> {
    let mut removed = 0;
    let all = segments(dir, writer)?;
    for (segment, next) in all.iter().zip(all.iter().skip(1)) {
        if next.first.saturating_sub(1) > index {
            break;
        }
        match std::fs::remove_file(&segment.path) {
            Ok(()) => removed += 1,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(removed)
}

/// Syncs a stream whose writer is dead, so that all that can be read of it is durable.
pub fn sync_stream(dir: &Path, writer: Writer) -> io::Result<()> {
    let all = segments(dir, writer)?;
    for segment in &all {
        std::fs::File::open(&segment.path)?.sync_all()?;
    }
    if !all.is_empty() {
        std::fs::File::open(dir)?.sync_all()?;
    }
    Ok(())
}
