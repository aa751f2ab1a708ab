//! The latest commits, in the order in which they were made, for viewers that come back.
//!
//! Positions grow with time and never repeat, also over a restart: milliseconds, and a count
//! within one. Commits are kept here only while somebody watches, and a while longer; what is
//! not here any more is read from the logs.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use greenroom_store::Commit;
use serde_json::Value;
use tokio::sync::watch;

use crate::hub::lock;

/// Bytes of commits that are kept.
const KEPT: usize = 8 << 20;
/// For how long commits are kept after the last viewer has gone.
const AFTERWARDS: Duration = Duration::from_secs(600);
/// Positions within a millisecond.
const WITHIN: u64 = 1000;

/// A position: milliseconds since 1970, a thousand to each.
pub(super) type Tick = u64;

/// A position as it stands in an id.
pub(super) fn id(tick: Tick, word: &str) -> String {
    format!("{}-{word}-{:03}", tick / WITHIN, tick % WITHIN)
}

/// The position of an id.
pub(super) fn read_id(text: &str) -> Option<Tick> {
    let mut parts = text.trim().split('-');
    let (ms, _word, count, rest) = (parts.next()?, parts.next()?, parts.next()?, parts.next());
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if rest.is_some() || !digits(ms) || !digits(count) {
        return None;
    }
    let (ms, count) = (ms.parse::<u64>().ok()?, count.parse::<u64>().ok()?);
    ms.checked_mul(WITHIN)?.checked_add(count.min(WITHIN - 1))
}

/// Where a moment begins.
pub(super) fn tick_of(ms: i64) -> Tick {
    u64::try_from(ms).unwrap_or(0).saturating_mul(WITHIN)
}

/// So many positions a commit takes: one for what became of its session, two for each entry.
fn span(commit: &Commit) -> u64 {
    2 + 2 * commit.events.len() as u64
}

/// The latest commits.
pub(crate) struct Feed {
    ring: Mutex<Ring>,
    wake: watch::Sender<()>,
}

#[derive(Default)]
struct Ring {
    entries: VecDeque<(Tick, Arc<Commit>, usize)>,
    bytes: usize,
    /// The last position given out.
    last: Tick,
    /// Everything after this one is here.
    floor: Tick,
    viewers: usize,
    left: Option<Instant>,
    records: bool,
}

impl Default for Feed {
    fn default() -> Self {
        Self { ring: Mutex::default(), wake: watch::Sender::new(()) }
    }
}

impl Feed {
    /// Notes a commit. Runs on the store's writer and does not block.
    pub(crate) fn note(&self, commit: &Arc<Commit>, now_ms: i64) {
        let mut ring = lock(&self.ring);
        let over = ring.left.is_some_and(|left| left.elapsed() > AFTERWARDS);
        if over && ring.viewers == 0 {
            (ring.records, ring.left) = (false, None);
            ring.entries.clear();
            ring.bytes = 0;
        }
        if !ring.records {
            return;
        }
        let first = (ring.last + 1).max(tick_of(now_ms));
        ring.last = first + span(commit) - 1;
        let weight = 512 + commit.events.iter().map(|event| weight(&event.data)).sum::<usize>();
        ring.entries.push_back((first, Arc::clone(commit), weight));
        ring.bytes += weight;
        while ring.bytes > KEPT
            && let Some((first, commit, weight)) = ring.entries.pop_front()
        {
            ring.bytes -= weight;
            ring.floor = first + span(&commit) - 1;
        }
        drop(ring);
        self.wake.send_replace(());
    }

    /// Watches from now on.
    pub(super) fn watch(self: &Feed, now_ms: i64) -> (Tick, watch::Receiver<()>) {
        let mut wakes = self.wake.subscribe();
        wakes.mark_unchanged();
        let mut ring = lock(&self.ring);
        ring.viewers += 1;
        ring.left = None;
        if !ring.records {
            ring.records = true;
            ring.last = ring.last.max(tick_of(now_ms));
            ring.floor = ring.last;
        }
        (ring.last, wakes)
    }

    /// Watches no longer.
    pub(super) fn leave(&self) {
        let mut ring = lock(&self.ring);
        ring.viewers = ring.viewers.saturating_sub(1);
        if ring.viewers == 0 {
            ring.left = Some(Instant::now());
        }
    }

    /// What came after a position; `None` where some of it is not here any more.
    pub(super) fn after(&self, tick: Tick) -> Option<Vec<(Tick, Arc<Commit>)>> {
        let ring = lock(&self.ring);
        if tick < ring.floor || tick > ring.last {
            return None;
        }
        let later =
            ring.entries.partition_point(|(first, commit, _)| first + span(commit) - 1 <= tick);
        let found = ring.entries.iter().skip(later).take(64);
        Some(found.map(|(first, commit, _)| (*first, Arc::clone(commit))).collect())
    }
}

/// The last position of a commit that begins at this one.
pub(super) fn end_of(first: Tick, commit: &Commit) -> Tick {
    first + span(commit) - 1
}

/// About what a document takes in memory.
fn weight(value: &Value) -> usize {
    match value {
        Value::String(text) => 64 + text.len(),
        Value::Array(items) => 64 + items.iter().map(weight).sum::<usize>(),
        Value::Object(fields) => {
            64 + fields.iter().map(|(name, value)| name.len() + weight(value)).sum::<usize>()
        }
        _ => 64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_read_back() {
        let tick = 1_790_000_000_123_045;
        assert_eq!(id(tick, "evt"), "1790000000123-evt-045");
        assert_eq!(read_id("1790000000123-evt-045"), Some(tick));
        for bad in
            ["", "42", "1-evt", "x-evt-001", "1-evt-x", "1-evt-2-3", "18446744073709551615-a-1"]
        {
            assert_eq!(read_id(bad), None, "{bad}");
        }
    }
}
