//! The journal: what is written is read, what is damaged shows, nothing is invented.

use std::fs;
use std::path::Path;

use greenroom_core::record::{OutputKind, Writer};
use greenroom_core::{RecordBody, RunId, Timestamp};
use greenroom_shim::journal::frame::{HEADER, Parsed, encode, parse};
use greenroom_shim::journal::{
    Entry, JournalWriter, Reader, SEGMENT, discard_through, segments, stream_name,
};
use proptest::prelude::*;
use serde_json::json;
use uuid::Uuid;

fn at() -> Timestamp {
    Timestamp::from_unix_ms(1_700_000_000_000)
}

fn text(text: &str) -> RecordBody {
    RecordBody::Output { run: None, kind: OutputKind::Message, data: json!({ "text": text }) }
}

fn read(dir: &Path) -> Vec<Entry> {
    let mut reader = Reader::open(dir, Writer::Shim, 1);
    let mut all = Vec::new();
    while let Some(entry) = reader.next().unwrap() {
        all.push(entry);
    }
    all
}

fn write(dir: &Path, texts: &[String]) {
    let mut writer = JournalWriter::open(dir, Writer::Shim).unwrap();
    for one in texts {
        writer.append(at(), &text(one)).unwrap();
    }
    writer.sync().unwrap();
}

fn only_file(dir: &Path) -> std::path::PathBuf {
    let all = segments(dir, Writer::Shim).unwrap();
    assert_eq!(all.len(), 1);
    all[0].path.clone()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn frames_survive_and_their_damage_shows(
        content in ".{0,200}",
        index in any::<u64>(),
        flip in any::<(usize, u8)>(),
        cut in any::<usize>(),
    ) {
        let mut bytes = Vec::new();
        let body = text(&content);
        encode(index, at(), &body, &mut bytes).unwrap();
        let whole = Parsed::Frame(Box::new(Entry { index, at: at(), body }), bytes.len());
        prop_assert_eq!(&parse(&bytes), &whole);
        let cut = cut % bytes.len();
        prop_assert!(matches!(parse(&bytes[..cut]), Parsed::Incomplete(n) if n > cut));
        let (place, bits) = (flip.0 % bytes.len(), flip.1 | 1);
        bytes[place] ^= bits;
        prop_assert!(!matches!(parse(&bytes), Parsed::Frame(..)));
    }

    /// Whatever bytes are overwritten: indexes go up without a hole that no gap names,
    /// and every entry is what was written at its index.
    #[test]
    fn damage_is_a_gap_and_nothing_else(
        texts in proptest::collection::vec("[a-z\n\"]{0,80}", 1..40),
        damage in proptest::collection::vec((any::<usize>(), any::<u8>(), 1usize..60), 0..4),
        cut in proptest::option::of(any::<usize>()),
    ) {
        let dir = tempfile::tempdir().unwrap();
        write(dir.path(), &texts);
        let path = only_file(dir.path());
        let mut bytes = fs::read(&path).unwrap();
        for (place, value, length) in damage {
            let place = place % bytes.len();
            let end = (place + length).min(bytes.len());
            bytes[place..end].fill(value);
        }
        if let Some(cut) = cut {
            bytes.truncate(cut % bytes.len());
        }
        fs::write(&path, &bytes).unwrap();
        let mut next = 1;
        for entry in read(dir.path()) {
            match entry.body {
                RecordBody::Gap { from, to } => {
                    prop_assert_eq!(from, next);
                    prop_assert!(to >= from && entry.index == to);
                    next = to + 1;
                }
                body => {
                    prop_assert_eq!(entry.index, next);
                    prop_assert_eq!(body, text(&texts[next as usize - 1]));
                    next += 1;
                }
            }
        }
        prop_assert!(next <= texts.len() as u64 + 1);
        // A writer goes on behind it, and what it writes is read.
        let mut writer = JournalWriter::open(dir.path(), Writer::Shim).unwrap();
        let index = writer.append(at(), &text("more")).unwrap();
        prop_assert!(index >= next);
        writer.sync().unwrap();
        let last = read(dir.path()).pop().unwrap();
        prop_assert_eq!((last.index, last.body), (index, text("more")));
    }

    #[test]
    fn noise_is_no_entry(noise in proptest::collection::vec(any::<u8>(), 0..2000)) {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("journal.shim.00000000000000000001"), &noise).unwrap();
        prop_assert_eq!(read(dir.path()), Vec::new());
    }
}

#[test]
fn segments_are_read_across_and_discarded_when_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let big = "x".repeat(1 << 20);
    let mut writer = JournalWriter::open(dir.path(), Writer::Shim).unwrap();
    let mut tail = Reader::open(dir.path(), Writer::Shim, 1);
    for index in 1..=20 {
        assert_eq!(writer.append(at(), &text(&big)).unwrap(), index);
        // The reader is right behind, and does not run ahead of what is durable.
        assert_eq!(tail.next_up_to(index - 1).unwrap(), None);
        writer.sync().unwrap();
        assert_eq!(tail.next_up_to(index).unwrap().unwrap().index, index);
        assert_eq!(tail.next().unwrap(), None);
    }
    let all = segments(dir.path(), Writer::Shim).unwrap();
    assert_eq!(all.iter().map(|segment| segment.first).collect::<Vec<_>>(), [1, 8, 15]);
    assert!(fs::metadata(&all[0].path).unwrap().len() <= SEGMENT);
    assert_eq!(discard_through(dir.path(), Writer::Shim, 13).unwrap(), 1);
    assert_eq!(discard_through(dir.path(), Writer::Shim, 1000).unwrap(), 1);
    // What is gone is a gap for who still asks for it.
    let mut reader = Reader::open(dir.path(), Writer::Shim, 3);
    let gap = reader.next().unwrap().unwrap();
    assert_eq!(gap.body, RecordBody::Gap { from: 3, to: 14 });
    assert_eq!(reader.next().unwrap().unwrap().index, 15);
    let mut reader = Reader::open(dir.path(), Writer::Shim, 18);
    assert_eq!(reader.next().unwrap().unwrap().index, 18);
}

#[test]
fn streams_are_apart() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), &["a".to_owned()]);
    let mut runner = JournalWriter::open(dir.path(), Writer::Runner).unwrap();
    assert_eq!(runner.append(at(), &RecordBody::Ready).unwrap(), 1);
    assert_eq!(read(dir.path()).len(), 1);
    assert_eq!((stream_name(Writer::Shim), stream_name(Writer::Runner)), ("shim", "runner"));
}

#[test]
fn a_kind_from_the_future_is_kept_without_effect() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), &["a".to_owned()]);
    let path = only_file(dir.path());
    let mut bytes = fs::read(&path).unwrap();
    for payload in [
        json!({"v": 2, "index": 2, "at": at(), "body": {"is": "teleported", "to": [1]}}),
        json!({"v": 9, "index": 3, "later": true}),
    ] {
        let payload = payload.to_string().into_bytes();
        let length = (payload.len() as u32).to_le_bytes();
        let sum = crc32c::crc32c_append(crc32c::crc32c(&length), &payload);
        bytes.extend_from_slice(&length);
        bytes.extend_from_slice(&sum.to_le_bytes());
        bytes.extend_from_slice(&payload);
    }
    fs::write(&path, &bytes).unwrap();
    let bodies: Vec<_> = read(dir.path()).into_iter().map(|entry| entry.body).collect();
    assert_eq!(bodies, [text("a"), RecordBody::Unknown, RecordBody::Unknown]);
    let _ = (HEADER, RunId(Uuid::now_v7()));
}
