//! Copilot CLI: `copilot --output-format json`. It names its conversation in its last
//! line, so we name it in advance.

use serde_json::Value;

use super::failure;
use super::stream::{Said, Stream, str_at, text, thought, tool_call, tool_result};
use super::{Cancel, Feed, Preset};

/// How it is driven.
pub(super) const PRESET: Preset = Preset {
    base: &["--output-format", "json"],
    subject: None,
    autonomous: &["--allow-all-tools"],
    // What would be asked is refused.
    careful: &[],
    careful_env: &[],
    fresh: &["--session-id={id}"],
    resume: &["--resume={id}"],
    last: &[],
    env: &[("COPILOT_AUTO_UPDATE", "false")],
    files: &[],
    feed: Feed::Prompt,
    cancel: Cancel::Signal(rustix::process::Signal::INT),
    unknown: &["No session, task, or name matched"],
    stream: || Box::new(Copilot::default()),
};

/// Its stream.
#[derive(Debug, Default)]
struct Copilot {
    /// Whether the message in progress came in pieces.
    streamed: bool,
}

impl Stream for Copilot {
    fn object(&mut self, kind: &str, line: &Value) -> Vec<Said> {
        let data = line.pointer("/data").unwrap_or(&Value::Null);
        match kind {
            "assistant.message_start" => {
                self.streamed = false;
                Vec::new()
            }
            "assistant.message_delta" => {
                self.streamed = true;
                text(str_at(data, "/deltaContent"))
            }
            "assistant.message" if std::mem::take(&mut self.streamed) => Vec::new(),
            "assistant.message" => text(str_at(data, "/content")),
            "assistant.reasoning" => thought(str_at(data, "/content")),
            "tool.execution_start" => {
                let input = data.pointer("/arguments").unwrap_or(&Value::Null);
                vec![tool_call(str_at(data, "/toolCallId"), str_at(data, "/toolName"), input)]
            }
            "tool.execution_complete" => {
                let done = data.pointer("/success").and_then(Value::as_bool).unwrap_or(false);
                let at = if done { "/result/content" } else { "/error/message" };
                let output = data.pointer(at).cloned().unwrap_or_default();
                vec![tool_result(str_at(data, "/toolCallId"), output, !done)]
            }
            "session.error" => {
                let status = data.pointer("/statusCode").and_then(Value::as_u64);
                vec![Said::Failed(failure::of_status(status, str_at(data, "/message")))]
            }
            "result" => vec![Said::Conversation(str_at(line, "/sessionId").to_owned()), Said::Done],
            _ => Vec::new(),
        }
    }
}
