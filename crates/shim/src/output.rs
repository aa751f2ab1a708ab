//! What an agent writes, as journal entries: pure, from bytes to things to keep.

use greenroom_core::agent::Stdout;
use greenroom_core::drive::FromDriver;
use greenroom_core::record::OutputKind;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use std::borrow::Cow;
use std::rc::Rc;

use crate::clock::Moment;
use crate::redact::{Redactor, Secrets};
use crate::text::{Coalescer, Lossy, Piece};

/// A JSON line longer than this is text.
const LONGEST_JSON: usize = 4 << 20;

/// What standard output is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Text: the agent's message.
    Text,
    /// JSON lines: an object of a known `type` is that event, another line is text.
    Jsonl,
    /// The same, and the words of [`FromDriver`].
    Driver,
}

impl From<Stdout> for Mode {
    fn from(stdout: Stdout) -> Self {
        match stdout {
            Stdout::Text => Self::Text,
            Stdout::Jsonl => Self::Jsonl,
        }
    }
}

/// What came of some output.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Emit {
    /// An entry for the journal.
    Output {
        kind: OutputKind,
        data: Value,
        /// How much of the agent's output it is.
        bytes: u64,
    },
    /// Text for those who watch.
    Delta { part: u32, offset: u64, text: String },
    /// The structured answer of the run.
    Result(Value),
    /// What a driver says beside events.
    Said(Box<FromDriver>),
}

/// Bytes into text that may be said.
#[derive(Debug)]
struct Decoder {
    redactor: Redactor,
    lossy: Lossy,
}

impl Decoder {
    fn new(secrets: Rc<Secrets>) -> Self {
        Self { redactor: Redactor::new(secrets), lossy: Lossy::default() }
    }

    fn push(&mut self, bytes: &[u8], out: &mut String) {
        self.redactor.push(bytes, |clean| self.lossy.push(clean, out));
    }

    fn finish(&mut self, out: &mut String) {
        self.redactor.finish(|clean| self.lossy.push(clean, out));
        self.lossy.finish(out);
    }
}

/// An agent's standard output.
#[derive(Debug)]
pub(crate) struct Answer {
    mode: Mode,
    secrets: Rc<Secrets>,
    decoder: Decoder,
    text: Coalescer,
    /// A line that has no end yet, where lines are what counts.
    line: Vec<u8>,
    /// The line in progress is too long to be looked into; it goes on as text.
    overlong: bool,
    pieces: Vec<Piece>,
}

/// The part of a JSON line that says what it is.
#[derive(Deserialize)]
struct Kind<'a> {
    #[serde(borrow, rename = "type")]
    kind: Cow<'a, str>,
}

impl Answer {
    pub(crate) fn new(mode: Mode, secrets: Rc<Secrets>) -> Self {
        Self {
            mode,
            decoder: Decoder::new(secrets.clone()),
            secrets,
            text: Coalescer::default(),
            line: Vec::new(),
            overlong: false,
            pieces: Vec::new(),
        }
    }

    /// A run begins: its parts are counted from 0. What is left of before goes out first.
    pub(crate) fn begin_run(&mut self, out: &mut Vec<Emit>) {
        self.flush_text(out);
        self.text = Coalescer::default();
    }

    /// More bytes.
    pub(crate) fn push(&mut self, bytes: &[u8], now: Moment, out: &mut Vec<Emit>) {
        match self.mode {
            Mode::Text => self.push_text(bytes, now, out),
            Mode::Jsonl | Mode::Driver => self.push_lines(bytes, now, out),
        }
    }

    /// When [`tick`](Self::tick) has something to do.
    pub(crate) fn deadline(&self) -> Option<Moment> {
        self.text.deadline()
    }

    /// Time has passed.
    pub(crate) fn tick(&mut self, now: Moment, out: &mut Vec<Emit>) {
        self.text.tick(now, &mut self.pieces);
        self.take_pieces(out);
    }

    /// The run, or the output, has ended: all that is there goes out.
    pub(crate) fn boundary(&mut self, now: Moment, out: &mut Vec<Emit>) {
        if !self.line.is_empty() {
            let line = std::mem::take(&mut self.line);
            self.push_line(&line, now, out);
        }
        self.overlong = false;
        self.flush_text(out);
    }

    fn flush_text(&mut self, out: &mut Vec<Emit>) {
        let mut rest = String::new();
        self.decoder.finish(&mut rest);
        self.text.push(&rest, 0, &mut self.pieces);
        self.text.boundary(&mut self.pieces);
        self.take_pieces(out);
    }

    fn push_text(&mut self, bytes: &[u8], now: Moment, out: &mut Vec<Emit>) {
        let mut text = String::new();
        self.decoder.push(bytes, &mut text);
        if text.is_empty() {
            return;
        }
        let (part, offset) = self.text.position();
        self.text.push(&text, now, &mut self.pieces);
        self.take_pieces(out);
        out.push(Emit::Delta { part, offset, text });
    }

    fn push_lines(&mut self, mut bytes: &[u8], now: Moment, out: &mut Vec<Emit>) {
        while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
            let (head, tail) = bytes.split_at(end + 1);
            bytes = tail;
            if self.overlong {
                self.push_text(head, now, out);
                self.overlong = false;
            } else if self.line.is_empty() {
                self.push_line(head, now, out);
            } else {
                let mut line = std::mem::take(&mut self.line);
                line.extend_from_slice(head);
                self.push_line(&line, now, out);
            }
        }
        if self.overlong {
            return self.push_text(bytes, now, out);
        }
        self.line.extend_from_slice(bytes);
        if self.line.len() > LONGEST_JSON {
            let line = std::mem::take(&mut self.line);
            self.overlong = true;
            self.push_text(&line, now, out);
        }
    }

    fn push_line(&mut self, line: &[u8], now: Moment, out: &mut Vec<Emit>) {
        match self.event(line) {
            None => self.push_text(line, now, out),
            Some(Emit::Said(said)) if matches!(*said, FromDriver::Text { .. }) => {
                if let FromDriver::Text { text } = *said {
                    self.push_text(text.as_bytes(), now, out);
                }
            }
            Some(event) => {
                self.flush_text(out);
                out.push(event);
            }
        }
    }

    /// The event that a line is, if it is one.
    fn event(&self, line: &[u8]) -> Option<Emit> {
        if self.mode == Mode::Text || line.trim_ascii_start().first() != Some(&b'{') {
            return None;
        }
        // Looked at first without building anything: most lines are not for us.
        let Kind { kind } = serde_json::from_slice(line).ok()?;
        if self.mode == Mode::Driver && OutputKind::of(&kind).is_none() {
            return self.said(line);
        }
        let is_result = kind == "result";
        let kind = OutputKind::of(&kind).filter(|kind| *kind != OutputKind::OutputGap);
        if kind.is_none() && !is_result {
            return None;
        }
        let mut data: Map<String, Value> = serde_json::from_slice(line).ok()?;
        data.remove("type");
        let Some(kind) = kind else {
            let mut result = data.remove("result").unwrap_or(Value::Null);
            self.secrets.in_value(&mut result);
            return Some(Emit::Result(result));
        };
        if kind == OutputKind::Message && !data.contains_key("role") {
            data.insert("role".to_owned(), "agent".into());
        }
        // Only now: in the line itself a secret could be anything, a number too, and what
        // is put in its place would not read.
        let mut data = Value::Object(data);
        self.secrets.in_value(&mut data);
        Some(Emit::Output { kind, data, bytes: line.len() as u64 })
    }

    /// What a driver says beside events.
    fn said(&self, line: &[u8]) -> Option<Emit> {
        let said: FromDriver = match serde_json::from_slice(line).ok()? {
            // Its secrets may lie across pieces: they are looked for where it is put together.
            text @ FromDriver::Text { .. } => text,
            _ => {
                let mut value: Value = serde_json::from_slice(line).ok()?;
                self.secrets.in_value(&mut value);
                serde_json::from_value(value).ok()?
            }
        };
        Some(Emit::Said(Box::new(said)))
    }

    fn take_pieces(&mut self, out: &mut Vec<Emit>) {
        out.extend(self.pieces.drain(..).map(|Piece { part, from, to, text }| Emit::Output {
            kind: OutputKind::Message,
            bytes: to - from,
            data: json!({"role": "agent", "text": text, "part": part, "from": from, "to": to}),
        }));
    }
}

/// An agent's standard error.
#[derive(Debug)]
pub(crate) struct Complaints {
    decoder: Decoder,
    text: Coalescer,
    pieces: Vec<Piece>,
}

impl Complaints {
    pub(crate) fn new(secrets: Rc<Secrets>) -> Self {
        let (text, pieces) = (Coalescer::default(), Vec::new());
        Self { decoder: Decoder::new(secrets), text, pieces }
    }

    /// More bytes.
    pub(crate) fn push(&mut self, bytes: &[u8], now: Moment, out: &mut Vec<Emit>) {
        let mut text = String::new();
        self.decoder.push(bytes, &mut text);
        self.text.push(&text, now, &mut self.pieces);
        self.take_pieces(out);
    }

    /// When [`tick`](Self::tick) has something to do.
    pub(crate) fn deadline(&self) -> Option<Moment> {
        self.text.deadline()
    }

    /// Time has passed.
    pub(crate) fn tick(&mut self, now: Moment, out: &mut Vec<Emit>) {
        self.text.tick(now, &mut self.pieces);
        self.take_pieces(out);
    }

    /// The run, or the output, has ended: all that is there goes out.
    pub(crate) fn boundary(&mut self, out: &mut Vec<Emit>) {
        let mut rest = String::new();
        self.decoder.finish(&mut rest);
        self.text.push(&rest, 0, &mut self.pieces);
        self.text.boundary(&mut self.pieces);
        self.take_pieces(out);
    }

    fn take_pieces(&mut self, out: &mut Vec<Emit>) {
        out.extend(self.pieces.drain(..).map(|piece| Emit::Output {
            kind: OutputKind::Log,
            bytes: piece.to - piece.from,
            data: json!({"stream": "stderr", "text": piece.text}),
        }));
    }
}

/// How much output of a run is kept. Once something did not fit, nothing more is: a log
/// with holes all over is worse than one that ends.
#[derive(Debug)]
pub(crate) struct Quota {
    limit: u64,
    used: u64,
    dropped: u64,
}

impl Quota {
    pub(crate) fn new(limit: u64) -> Self {
        Self { limit, used: 0, dropped: 0 }
    }

    /// Whether an entry of so many bytes is kept; counts it either way.
    pub(crate) fn admit(&mut self, bytes: u64) -> bool {
        let fits = !self.is_over() && self.used.saturating_add(bytes) <= self.limit;
        if fits {
            self.used += bytes;
        } else {
            self.dropped += bytes;
        }
        fits
    }

    /// So many bytes could not be kept after all, or were never looked at.
    pub(crate) fn lose(&mut self, bytes: u64) {
        self.dropped += bytes;
    }

    /// Whether nothing more is kept.
    pub(crate) fn is_over(&self) -> bool {
        self.dropped > 0
    }

    /// What was dropped since the run began; the next run begins anew.
    pub(crate) fn take_gap(&mut self) -> Option<u64> {
        let dropped = std::mem::take(&mut self.dropped);
        self.used = 0;
        (dropped > 0).then_some(dropped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn feed(mode: Mode, chunks: &[&[u8]]) -> Vec<Emit> {
        let (mut answer, mut out) = (Answer::new(mode, Rc::default()), Vec::new());
        for chunk in chunks {
            answer.push(chunk, 0, &mut out);
        }
        answer.boundary(0, &mut out);
        out.retain(|emit| !matches!(emit, Emit::Delta { .. }));
        out
    }

    fn message(part: u32, from: u64, text: &str) -> Emit {
        let to = from + text.len() as u64;
        Emit::Output {
            kind: OutputKind::Message,
            data: json!({"role": "agent", "text": text, "part": part, "from": from, "to": to}),
            bytes: text.len() as u64,
        }
    }

    #[test]
    fn lines_of_known_type_are_events_and_all_others_are_text() {
        let input =
            b"hello\n{\"type\":\"tool_call\",\"name\":\"ls\"}\n{\"type\":\"nothing\"}\n{broken\n\
            {\"type\":\"result\",\"result\":{\"a\":1}}\nbye";
        let event =
            Emit::Output { kind: OutputKind::ToolCall, data: json!({"name": "ls"}), bytes: 33 };
        let expected = [
            message(0, 0, "hello\n"),
            event,
            message(1, 0, "{\"type\":\"nothing\"}\n{broken\n"),
            Emit::Result(json!({"a": 1})),
            message(2, 0, "bye"),
        ];
        assert_eq!(feed(Mode::Jsonl, &[input]), expected);
        let single: Vec<&[u8]> = input.chunks(1).collect();
        assert_eq!(feed(Mode::Jsonl, &single), expected);
    }

    #[test]
    fn in_text_mode_json_is_text() {
        let line = "{\"type\":\"result\",\"result\":1}\n";
        assert_eq!(feed(Mode::Text, &[line.as_bytes()]), [message(0, 0, line)]);
    }

    #[test]
    fn a_quota_ends_a_log_once() {
        let mut quota = Quota::new(10);
        assert!(quota.admit(10));
        assert!(!quota.admit(1));
        assert!(!quota.admit(0));
        assert_eq!(quota.take_gap(), Some(1));
        assert!(quota.admit(10));
        assert_eq!(quota.take_gap(), None);
    }

    proptest! {
        #[test]
        fn deltas_say_the_same_text_at_the_same_places(
            lines in proptest::collection::vec("[a-z é]{0,20}\n", 0..40),
            size in 1usize..50,
        ) {
            let bytes = lines.concat().into_bytes();
            let (mut answer, mut out) = (Answer::new(Mode::Text, Rc::default()), Vec::new());
            for chunk in bytes.chunks(size) {
                answer.push(chunk, 0, &mut out);
            }
            answer.boundary(0, &mut out);
            let mut live = String::new();
            for emit in &out {
                if let Emit::Delta { part, offset, text } = emit {
                    prop_assert_eq!((*part, *offset), (0, live.len() as u64));
                    live.push_str(text);
                }
            }
            prop_assert_eq!(live.into_bytes(), bytes);
        }
    }
}
