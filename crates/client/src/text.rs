//! The text of a session as it is shown: live frames first, the durable text behind them,
//! every byte once and in order.

use std::collections::BTreeMap;

use greenroom_core::{Event, RunId};
use serde_json::Value;

use crate::Delta;

/// What of a session's text has been shown.
///
/// A live frame is shown only where it continues what is known to be complete; whatever
/// is held back comes with the durable text.
#[derive(Debug, Default)]
pub struct Transcript {
    run: Option<RunId>,
    /// Bytes shown of each part of the run.
    shown: BTreeMap<u32, u64>,
    /// The last part is complete: the log has gone on behind it.
    closed: bool,
}

impl Transcript {
    /// Of nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// What of a live frame is to be shown now.
    pub fn delta<'a>(&mut self, delta: &'a Delta) -> &'a str {
        if self.run != Some(delta.run) {
            // Its run has not begun in the log as far as that was read.
            return "";
        }
        let last = self.shown.last_key_value().map(|(part, _)| *part);
        let goes_on = match last {
            None => delta.part == 0,
            Some(last) if self.closed => delta.part == last + 1,
            Some(last) => delta.part == last,
        };
        if !goes_on {
            return "";
        }
        let shown = self.shown.get(&delta.part).copied().unwrap_or(0);
        if delta.offset > shown {
            // Frames were dropped in between.
            return "";
        }
        let rest = suffix(&delta.text, shown - delta.offset);
        if !rest.is_empty() {
            self.closed = false;
            self.shown.insert(delta.part, delta.offset + delta.text.len() as u64);
        }
        rest
    }

    /// What of an entry of the log is to be shown now: the part of a message's text that
    /// was not shown yet.
    pub fn event<'a>(&mut self, event: &'a Event) -> &'a str {
        if event.kind == "run.started" {
            self.begin(event.run);
        }
        if event.kind != "message" {
            // What an agent complains about goes beside its text and does not end a part.
            self.closed |= event.kind != "log";
            return "";
        }
        if event.run != self.run {
            self.begin(event.run);
        }
        let text = event.data.get("text").and_then(Value::as_str).unwrap_or_default();
        let number = |key: &str| event.data.get(key).and_then(Value::as_u64);
        let part = number("part").and_then(|part| u32::try_from(part).ok());
        let (Some(part), Some(from)) = (part, number("from")) else {
            self.closed = true;
            return text;
        };
        self.closed = false;
        let shown = self.shown.entry(part).or_insert(0);
        let rest = suffix(text, shown.saturating_sub(from));
        *shown = (*shown).max(from + text.len() as u64);
        rest
    }

    fn begin(&mut self, run: Option<RunId>) {
        *self = Self { run, ..Self::default() };
    }
}

/// `text` without its first `bytes`. A cut inside of a character, which no sender makes,
/// shows the character again.
fn suffix(text: &str, bytes: u64) -> &str {
    let at = usize::try_from(bytes).unwrap_or(usize::MAX).min(text.len());
    &text[text.floor_char_boundary(at)..]
}

#[cfg(test)]
mod tests {
    use super::*;
    use greenroom_core::Timestamp;
    use proptest::prelude::*;
    use serde_json::json;

    fn run() -> RunId {
        RunId(uuid::Uuid::from_u128(1))
    }

    fn event(kind: &str, data: Value) -> Event {
        let at = Timestamp::from_unix_ms(0);
        Event { seq: 1, at, run: Some(run()), kind: kind.to_owned(), data }
    }

    fn message(part: u32, from: usize, text: &str) -> Event {
        let to = from + text.len();
        event("message", json!({"role": "agent", "text": text, "part": part, "from": from, "to": to}))
    }

    fn delta(part: u32, offset: usize, text: &str) -> Delta {
        Delta { run: run(), part, offset: offset as u64, text: text.to_owned() }
    }

    fn begun() -> Transcript {
        let mut transcript = Transcript::new();
        transcript.event(&event("run.started", json!({})));
        transcript
    }

    #[test]
    fn frames_and_text_overlap() {
        let mut t = begun();
        assert_eq!(t.delta(&delta(0, 0, "hel")), "hel");
        assert_eq!(t.delta(&delta(0, 2, "llo\n")), "lo\n");
        assert_eq!(t.event(&message(0, 0, "hello\nyou\n")), "you\n");
        assert_eq!(t.delta(&delta(0, 6, "you\n")), "");
        assert_eq!(t.delta(&delta(0, 10, "!")), "!");
    }

    #[test]
    fn a_lost_frame_waits_for_the_text() {
        let mut t = begun();
        assert_eq!(t.delta(&delta(0, 0, "a")), "a");
        assert_eq!(t.delta(&delta(0, 3, "d")), "");
        assert_eq!(t.event(&message(0, 0, "abcd\n")), "bcd\n");
    }

    #[test]
    fn a_new_part_waits_until_the_one_before_is_complete() {
        let mut t = begun();
        assert_eq!(t.delta(&delta(0, 0, "a")), "a");
        assert_eq!(t.delta(&delta(1, 0, "x")), "");
        assert_eq!(t.event(&message(0, 0, "ab\n")), "b\n");
        assert_eq!(t.event(&event("tool_call", json!({}))), "");
        assert_eq!(t.delta(&delta(1, 0, "x")), "x");
        assert_eq!(t.event(&message(1, 0, "xy")), "y");
    }

    #[test]
    fn text_without_position_is_whole() {
        let mut t = begun();
        assert_eq!(t.event(&event("message", json!({"text": "hi"}))), "hi");
        assert_eq!(t.delta(&Delta { run: RunId(uuid::Uuid::nil()), ..delta(0, 0, "x") }), "");
    }

    proptest! {
        /// Whatever frames are lost and however frames and text interleave, the text comes
        /// out whole, once, in order.
        #[test]
        fn the_text_comes_out_once(
            parts in proptest::collection::vec(proptest::collection::vec("[aé😀\n]{1,6}", 1..6), 1..4),
            kept in proptest::collection::vec(any::<bool>(), 24),
            lead in 0usize..4,
        ) {
            let (mut frames, mut log, mut want) = (Vec::new(), Vec::new(), String::new());
            for (part, texts) in parts.iter().enumerate() {
                let mut from = 0;
                for text in texts {
                    frames.push((log.len(), delta(part as u32, from, text)));
                    log.push(message(part as u32, from, text));
                    from += text.len();
                    want.push_str(text);
                }
                log.push(event("tool_call", json!({})));
            }
            let (mut t, mut got) = (begun(), String::new());
            let mut frames = frames.into_iter().zip(kept).filter(|(_, kept)| *kept).map(|(f, _)| f).peekable();
            for (at, entry) in log.iter().enumerate() {
                // Frames run ahead of the text by up to `lead` entries.
                while let Some((_, frame)) = frames.next_if(|(about, _)| *about <= at + lead) {
                    got.push_str(t.delta(&frame));
                }
                got.push_str(t.event(entry));
            }
            prop_assert_eq!(got, want);
        }
    }
}
