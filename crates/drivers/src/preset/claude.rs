//! Claude Code: messages both ways, and a question before each use of a tool.

use serde_json::{Value, json};

use super::messages::Messages;
use super::stream::{Answered, Question, Said, Stream, str_at};
use super::{Cancel, Feed, Preset};

/// How it is driven.
pub(super) const PRESET: Preset = Preset {
    base: &[
        "-p",
        "--input-format",
        "stream-json",
        "--output-format",
        "stream-json",
        "--verbose",
        "--include-partial-messages",
        "--permission-prompt-tool",
        "stdio",
    ],
    subject: None,
    autonomous: &[],
    careful: &[],
    careful_env: &[],
    fresh: &[],
    resume: &["--resume", "{id}"],
    last: &[],
    env: &[("DISABLE_AUTOUPDATER", "1")],
    files: &[],
    feed: Feed::Messages,
    cancel: Cancel::Message,
    unknown: &["No conversation found"],
    stream: || Box::new(Claude::default()),
};

/// Tools that only look.
const READS: [&str; 7] = ["Read", "Glob", "Grep", "LS", "TodoWrite", "NotebookRead", "ToolSearch"];

/// Its stream.
#[derive(Debug, Default)]
struct Claude {
    messages: Messages,
}

fn request(id: &str, request: &Value) -> Value {
    json!({ "type": "control_request", "request_id": id, "request": request })
}

fn response(id: &str, response: &Value) -> Value {
    json!({
        "type": "control_response",
        "response": { "subtype": "success", "request_id": id, "response": response },
    })
}

impl Stream for Claude {
    fn begin(&mut self, prompt: &str) -> Vec<Value> {
        // By itself it asks only about what it finds dangerous. With the hook it asks
        // about everything, and what may be done is decided in one place.
        let hooks = json!({ "PreToolUse": [{ "hookCallbackIds": ["every use"] }] });
        let content = json!([{ "type": "text", "text": prompt }]);
        vec![
            request("initialize", &json!({ "subtype": "initialize", "hooks": hooks })),
            json!({ "type": "user", "message": { "role": "user", "content": content } }),
        ]
    }

    fn object(&mut self, kind: &str, line: &Value) -> Vec<Said> {
        match kind {
            "control_request" => asked(line),
            "control_cancel_request" => {
                vec![Said::AskOver(str_at(line, "/request_id").to_owned())]
            }
            _ => self.messages.object(kind, line),
        }
    }

    fn answer(&mut self, question: &Question, answered: Answered) -> Option<Value> {
        let decision = match answered {
            // With every use asked about, there is nothing it could remember.
            Answered::Allow => json!({ "behavior": "allow", "updatedInput": question.input }),
            Answered::Deny { reason } => json!({ "behavior": "deny", "message": reason }),
        };
        Some(response(&question.request, &decision))
    }

    fn interrupt(&mut self) -> Option<Value> {
        Some(request("cancel", &json!({ "subtype": "interrupt" })))
    }
}

fn asked(line: &Value) -> Vec<Said> {
    let id = str_at(line, "/request_id");
    match str_at(line, "/request/subtype") {
        "hook_callback" => {
            let ask = json!({ "hookEventName": "PreToolUse", "permissionDecision": "ask" });
            vec![Said::Reply(response(id, &json!({ "hookSpecificOutput": ask })))]
        }
        "can_use_tool" => {
            let tool = str_at(line, "/request/tool_name").to_owned();
            let about = str_at(line, "/request/description");
            vec![Said::Ask(Question {
                request: id.to_owned(),
                title: if about.is_empty() { tool.clone() } else { format!("{tool}: {about}") },
                reads: READS.contains(&tool.as_str()),
                tool,
                input: line.pointer("/request/input").cloned().unwrap_or_default(),
            })]
        }
        // Left without an answer, it would wait for ever.
        other => vec![Said::Reply(json!({
            "type": "control_response",
            "response": {
                "subtype": "error", "request_id": id, "error": format!("{other:?} is not spoken here"),
            },
        }))],
    }
}
