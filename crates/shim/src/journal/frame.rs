//! One journal entry as bytes: length, checksum, JSON.
//!
//! The checksum covers the length too, so that a run of zeros (blocks that were set
//! aside, or a file that grew before its data came) is never an entry.

use greenroom_core::{RecordBody, Timestamp};
use serde::{Deserialize, Serialize};

/// Version of the payload.
const VERSION: u32 = 1;
/// Bytes before the payload: its length, and the checksum, both little-endian.
pub const HEADER: usize = 8;
/// No payload is longer.
pub const MAX_PAYLOAD: usize = 64 << 20;

/// One entry of a journal.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    /// Its position: 1, 2, 3 and so on.
    pub index: u64,
    /// Wall clock of the writer.
    pub at: Timestamp,
    /// What it says.
    pub body: RecordBody,
}

#[derive(Serialize)]
struct Out<'a> {
    v: u32,
    index: u64,
    at: Timestamp,
    body: &'a RecordBody,
}

#[derive(Deserialize)]
struct In {
    index: u64,
    at: Timestamp,
    body: RecordBody,
}

/// What of an entry every version has.
#[derive(Deserialize)]
struct Least {
    index: u64,
    #[serde(default)]
    at: Option<Timestamp>,
}

/// Why a thing cannot be an entry.
#[derive(Debug, thiserror::Error)]
pub enum Unencodable {
    /// It has no JSON form.
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    /// It is larger than any reader would take.
    #[error("an entry of {0} bytes is too long for a journal")]
    TooLong(usize),
}

/// Appends an entry's bytes to `out`.
pub fn encode(
    index: u64,
    at: Timestamp,
    body: &RecordBody,
    out: &mut Vec<u8>,
) -> Result<(), Unencodable> {
    let start = out.len();
    out.extend_from_slice(&[0; HEADER]);
    let written = serde_json::to_writer(&mut *out, &Out { v: VERSION, index, at, body });
    let length = out.len() - start - HEADER;
    if let Err(error) = written {
        out.truncate(start);
        return Err(error.into());
    }
    if length > MAX_PAYLOAD {
        out.truncate(start);
        return Err(Unencodable::TooLong(length));
    }
    let length = (length as u32).to_le_bytes();
    let sum = checksum(length, &out[start + HEADER..]);
    out[start..start + 4].copy_from_slice(&length);
    out[start + 4..start + HEADER].copy_from_slice(&sum.to_le_bytes());
    Ok(())
}

fn checksum(length: [u8; 4], payload: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&length), payload)
}

/// What the bytes at some place are.
#[derive(Debug, Clone, PartialEq)]
pub enum Parsed {
    /// An entry, and how many bytes it takes.
    Frame(Box<Entry>, usize),
    /// It could be the beginning of an entry of so many bytes.
    Incomplete(usize),
    /// Certainly no entry.
    Bad,
}

/// Reads the entry `bytes` begins with.
pub fn parse(bytes: &[u8]) -> Parsed {
    let Some((header, rest)) = bytes.split_at_checked(HEADER) else {
        return Parsed::Incomplete(HEADER);
    };
    let length_bytes = [header[0], header[1], header[2], header[3]];
    let length = u32::from_le_bytes(length_bytes) as usize;
    if length == 0 || length > MAX_PAYLOAD || rest.first().is_some_and(|first| *first != b'{') {
        return Parsed::Bad;
    }
    let Some(payload) = rest.get(..length) else {
        return Parsed::Incomplete(HEADER + length);
    };
    let sum = u32::from_le_bytes([header[4], header[5], header[6], header[7]]);
    if sum != checksum(length_bytes, payload) {
        return Parsed::Bad;
    }
    match entry(payload) {
        Some(entry) => Parsed::Frame(Box::new(entry), HEADER + length),
        None => Parsed::Bad,
    }
}

fn entry(payload: &[u8]) -> Option<Entry> {
    if let Ok(In { index, at, body }) = serde_json::from_slice(payload) {
        return Some(Entry { index, at, body });
    }
    // Whole, and written by a build that knows more than this one: kept, not refused.
    let least: Least = serde_json::from_slice(payload).ok()?;
    let at = least.at.unwrap_or(Timestamp::from_unix_ms(0));
    Some(Entry { index: least.index, at, body: RecordBody::Unknown })
}
