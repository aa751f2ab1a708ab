//! pi: `pi --mode json -p`. Its exit code says nothing: a model's error ends in 0, too.

use serde_json::Value;

use super::failure;
use super::stream::{Said, Stream, Usage, str_at, text, thought, tokens, tool_call, tool_result};
use super::{Cancel, Feed, Preset};

/// How it is driven.
pub(super) const PRESET: Preset = Preset {
    base: &["--mode", "json", "-p"],
    // It knows no approvals.
    subject: None,
    autonomous: &[],
    // So it is given only tools that look.
    careful: &["--tools", "read,grep,find,ls"],
    careful_env: &[],
    fresh: &[],
    resume: &["--session", "{id}"],
    last: &[],
    env: &[("PI_SKIP_VERSION_CHECK", "1")],
    files: &[],
    feed: Feed::Prompt,
    // SIGINT leaves its tools running.
    cancel: Cancel::Signal(rustix::process::Signal::TERM),
    unknown: &["No session found"],
    stream: || Box::new(Pi),
};

/// Its stream.
#[derive(Debug)]
struct Pi;

impl Stream for Pi {
    fn object(&mut self, kind: &str, line: &Value) -> Vec<Said> {
        match kind {
            "session" => vec![Said::Conversation(str_at(line, "/id").to_owned())],
            "message_update" => match str_at(line, "/assistantMessageEvent/type") {
                "text_delta" => text(str_at(line, "/assistantMessageEvent/delta")),
                "thinking_end" => thought(str_at(line, "/assistantMessageEvent/content")),
                _ => Vec::new(),
            },
            "message_end" => message_end(line),
            "tool_execution_start" => {
                let input = line.pointer("/args").unwrap_or(&Value::Null);
                vec![tool_call(str_at(line, "/toolCallId"), str_at(line, "/toolName"), input)]
            }
            "tool_execution_end" => {
                let output = line.pointer("/result/content").cloned().unwrap_or_default();
                let failed = line.pointer("/isError").and_then(Value::as_bool).unwrap_or(false);
                vec![tool_result(str_at(line, "/toolCallId"), output, failed)]
            }
            "agent_end" => agent_end(line),
            _ => Vec::new(),
        }
    }
}

fn message_end(line: &Value) -> Vec<Said> {
    if str_at(line, "/message/role") != "assistant" {
        return Vec::new();
    }
    let cached =
        tokens(line, "/message/usage/cacheRead") + tokens(line, "/message/usage/cacheWrite");
    let usage = Usage {
        input: tokens(line, "/message/usage/input") + cached,
        output: tokens(line, "/message/usage/output"),
        cost: line.pointer("/message/usage/cost/total").and_then(Value::as_f64),
        model: Some(str_at(line, "/message/model").to_owned()),
    };
    usage.said().into_iter().collect()
}

/// How the turn went is how its last message did: before, it has tried again.
fn agent_end(line: &Value) -> Vec<Said> {
    let messages = super::stream::list_at(line, "/messages");
    let last = messages.iter().rev().find(|message| str_at(message, "/role") == "assistant");
    let reason = last.map_or("", |message| str_at(message, "/stopReason"));
    let failed = matches!(reason, "error" | "aborted").then(|| {
        let message = last.map_or("", |message| str_at(message, "/errorMessage"));
        Said::Failed(failure::of_model(message))
    });
    failed.into_iter().chain([Said::Done]).collect()
}
