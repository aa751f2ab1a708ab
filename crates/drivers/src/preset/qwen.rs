//! Qwen Code: the messages of Claude Code, in one direction.

use serde_json::Value;

use super::messages::Messages;
use super::stream::{Said, Stream};
use super::{Cancel, Feed, Preset};

/// How it is driven.
pub(super) const PRESET: Preset = Preset {
    base: &["--output-format", "stream-json", "--include-partial-messages"],
    subject: None,
    autonomous: &["--yolo"],
    // What would be asked is refused: edits, writes and the shell.
    careful: &["--approval-mode", "default"],
    careful_env: &[],
    fresh: &[],
    resume: &["--resume", "{id}"],
    last: &[],
    env: &[],
    files: &[],
    feed: Feed::Prompt,
    cancel: Cancel::Signal(rustix::process::Signal::INT),
    unknown: &["No saved session found"],
    stream: || Box::new(Qwen::default()),
};

/// Its stream.
#[derive(Debug, Default)]
struct Qwen {
    messages: Messages,
}

impl Stream for Qwen {
    fn object(&mut self, kind: &str, line: &Value) -> Vec<Said> {
        self.messages.object(kind, line)
    }
}
