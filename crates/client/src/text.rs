//! The text of a session as it is shown: live frames first, the durable text behind them,
//! every byte once and in order.

use std::collections::BTreeMap;

use greenroom_core::{Event, RunId};
use serde_json::Value;

use crate::Delta;

/// What of a session's text has been shown.
///
/// A live frame overtakes the log, so it is shown only where nothing can be missing before
/// it: in the first part of a run of an agent that writes plain text. An agent that writes
/// JSON lines has events between its texts; its text comes with the log.
#[derive(Debug, Default)]
pub struct Transcript {
    run: Option<RunId>,
    /// Bytes shown of each part of the run.
    shown: BTreeMap<u32, u64>,
    style: Style,
}

/// How an agent writes, as far as that can be told.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Style {
    #[default]
    Unknown,
    Text,
    Lines,
}

impl Transcript {
    /// Of nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// What of a live frame is to be shown now.
    pub fn delta<'a>(&mut self, delta: &'a Delta) -> &'a str {
        if self.run != Some(delta.run) || delta.part > 0 {
            // Its run has not begun in the log as far as that was read, or it is not the
            // run's only part.
            return "";
        }
        if self.style == Style::Unknown && !delta.text.ends_with('\n') {
            // Of JSON lines, only whole lines come as frames.
            self.style = Style::Text;
        }
        let shown = self.shown.get(&0).copied().unwrap_or(0);
        if self.style != Style::Text || delta.offset > shown {
            return "";
        }
        let rest = suffix(&delta.text, shown - delta.offset);
        self.shown.insert(0, shown.max(delta.offset + delta.text.len() as u64));
        rest
    }

    /// What of an entry of the log is to be shown now: the part of a message's text that
    /// was not shown yet.
    pub fn event<'a>(&mut self, event: &'a Event) -> &'a str {
        match event.kind.as_str() {
            "message" => return self.message(event),
            "run.started" => self.begin(event.run),
            "thought" | "tool_call" | "tool_result" | "plan" | "usage" => self.style = Style::Lines,
            _ => {}
        }
        ""
    }

    fn message<'a>(&mut self, event: &'a Event) -> &'a str {
        if event.run != self.run {
            self.begin(event.run);
        }
        let text = event.data.get("text").and_then(Value::as_str).unwrap_or_default();
        let number = |key: &str| event.data.get(key).and_then(Value::as_u64);
        let part = number("part").and_then(|part| u32::try_from(part).ok());
        let (Some(part), Some(from)) = (part, number("from")) else {
            self.style = Style::Lines;
            return text;
        };
        if part > 0 {
            self.style = Style::Lines;
        } else if self.style == Style::Unknown {
            self.style = Style::Text;
        }
        let shown = self.shown.entry(part).or_insert(0);
        let rest = suffix(text, shown.saturating_sub(from));
        *shown = (*shown).max(from + text.len() as u64);
        rest
    }

    /// Another run; its agent writes as it did.
    fn begin(&mut self, run: Option<RunId>) {
        self.run = run;
        self.shown.clear();
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
        event(
            "message",
            json!({"role": "agent", "text": text, "part": part, "from": from, "to": to}),
        )
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
    fn json_lines_come_with_the_log() {
        let mut t = begun();
        assert_eq!(t.delta(&delta(0, 0, "plain\n")), "", "what came before it may be on its way");
        assert_eq!(t.event(&event("message", json!({"text": "hi"}))), "hi");
        assert_eq!(t.event(&message(0, 0, "plain\n")), "plain\n");
        assert_eq!(t.delta(&delta(0, 6, "x")), "");
        assert_eq!(t.event(&event("tool_call", json!({}))), "");
        assert_eq!(t.delta(&delta(1, 0, "y")), "");
    }

    #[test]
    fn lines_of_text_are_live_once_they_are_known_to_be_text() {
        let mut t = begun();
        assert_eq!(t.delta(&delta(0, 0, "one\n")), "");
        assert_eq!(t.event(&message(0, 0, "one\n")), "one\n");
        assert_eq!(t.delta(&delta(0, 4, "two\n")), "two\n");
        assert_eq!(t.event(&message(0, 4, "two\n")), "");
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
            parts in proptest::collection::vec(proptest::collection::vec("[aé😀]{0,6}\n?", 1..6), 1..4),
            kept in proptest::collection::vec(any::<bool>(), 24),
            lead in 0usize..4,
        ) {
            let (mut frames, mut log, mut want) = (Vec::new(), Vec::new(), String::new());
            // More than one part is what JSON lines have, and their frames are whole lines.
            let lines = parts.len() > 1;
            for (part, texts) in parts.iter().enumerate() {
                let mut from = 0;
                for text in texts {
                    let text = if lines { format!("{}\n", text.trim_end()) } else { text.clone() };
                    frames.push((log.len(), delta(part as u32, from, &text)));
                    log.push(message(part as u32, from, &text));
                    from += text.len();
                    want.push_str(&text);
                }
                if lines {
                    log.push(event("message", json!({"text": "between"})));
                    want.push_str("between");
                }
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
