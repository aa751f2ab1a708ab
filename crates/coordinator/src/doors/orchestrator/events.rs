//! Events of a session's log, as the orchestrator's clients read them, and theirs as ours.

use greenroom_core::record::OutputKind;
use greenroom_core::{Event, RunId, SessionId, Timestamp};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::words;

/// Where an event of theirs keeps what ours has no place for.
const KEPT: &str = "orchestrator";
/// The fields of an event, beside its kind, its session and its time.
const FIELDS: [&str; 10] = [
    "tool_name",
    "tool_input",
    "tool_output",
    "error",
    "exit_code",
    "reason",
    "role",
    "content",
    "result_text",
    "result_data",
];

/// An event that an executor posts.
#[derive(Debug, Deserialize)]
pub(super) struct Posted {
    pub event_type: String,
    pub session_id: String,
    pub timestamp: Option<String>,
    #[serde(flatten)]
    pub rest: Map<String, Value>,
}

/// What stands in the log for an event of theirs.
pub(super) struct Logged {
    pub kind: OutputKind,
    pub data: Value,
    pub at: Option<Timestamp>,
}

impl Posted {
    /// As our log has it.
    pub(super) fn logged(&self) -> Logged {
        let text = |key: &str| self.rest.get(key).and_then(Value::as_str);
        let mut whole: Map<String, Value> = self
            .rest
            .iter()
            .filter(|(_, v)| !v.is_null())
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect();
        whole.insert("event_type".into(), self.event_type.clone().into());
        let (kind, mut data) = match self.event_type.as_str() {
            "message" => {
                let said = blocks(self.rest.get("content"));
                let role = match text("role") {
                    Some("user") => "user",
                    _ => "agent",
                };
                (OutputKind::Message, json!({ "role": role, "text": said }))
            }
            "pre_tool" => (
                OutputKind::ToolCall,
                json!({ "name": text("tool_name"), "input": self.rest.get("tool_input") }),
            ),
            "post_tool" => (
                OutputKind::ToolResult,
                json!({ "name": text("tool_name"), "output": self.rest.get("tool_output"),
                    "error": self.rest.get("error") }),
            ),
            other => {
                let said = format!("{other}: {}", Value::Object(self.rest.clone()));
                let end = said.floor_char_boundary(4096);
                (OutputKind::Log, json!({ "stream": SYSTEM_STREAM, "text": &said[..end] }))
            }
        };
        data[KEPT] = Value::Object(whole);
        let at = self.timestamp.as_deref().and_then(words::read_time);
        Logged { kind, data, at }
    }

    /// What it came to, where it says so.
    pub(super) fn result(&self) -> Option<super::kept::RunResult> {
        (self.event_type == "result").then(|| super::kept::RunResult {
            result_text: self.rest.get("result_text").and_then(Value::as_str).map(str::to_owned),
            result_data: self.rest.get("result_data").filter(|data| !data.is_null()).cloned(),
        })
    }
}

/// The stream of a log entry that has no better kind.
const SYSTEM_STREAM: &str = "orchestrator";

fn blocks(content: Option<&Value>) -> String {
    let blocks = content.and_then(Value::as_array).into_iter().flatten();
    let texts: Vec<&str> =
        blocks.filter_map(|block| block.get("text").and_then(Value::as_str)).collect();
    texts.join("\n")
}

/// An entry of the log, where they have an event for it.
pub(super) fn shown(session: &SessionId, event: &Event) -> Option<Value> {
    let mut fields = fields(event)?;
    let kind = fields.remove("event_type")?;
    let mut shown = Map::new();
    // Its place in the log, so that one that comes twice can be known by it.
    shown.insert("id".into(), event.seq.into());
    shown.insert("event_type".into(), kind);
    shown.insert("session_id".into(), session.as_str().into());
    shown.insert("timestamp".into(), words::time(event.at).into());
    for field in FIELDS {
        shown.insert(field.into(), fields.remove(field).unwrap_or(Value::Null));
    }
    Some(Value::Object(shown))
}

fn fields(event: &Event) -> Option<Map<String, Value>> {
    let data = &event.data;
    if let Some(kept) = data.get(KEPT).and_then(Value::as_object) {
        return Some(kept.clone());
    }
    let text = |key: &str| data.get(key).and_then(Value::as_str).unwrap_or_default();
    let made = match event.kind.as_str() {
        "message" => {
            let role = if text("role") == "user" { "user" } else { "assistant" };
            let content = json!([{ "type": "text", "text": text("text") }]);
            json!({ "event_type": "message", "role": role, "content": content })
        }
        "tool_call" => json!({ "event_type": "pre_tool", "tool_name": tool(data),
            "tool_input": data.get("input") }),
        "tool_result" => json!({ "event_type": "post_tool", "tool_name": tool(data),
            "tool_input": data.get("input"), "error": data.get("error"),
            "tool_output": data.get("output").or_else(|| data.get("content")) }),
        "run.started" => json!({ "event_type": "run_start" }),
        "run.completed" => {
            json!({ "event_type": "run_completed", "exit_code": 0, "reason": "completed" })
        }
        "run.failed" => json!({ "event_type": "run_failed", "reason": "failed",
            "error": data.pointer("/error/message") }),
        "run.stopped" => json!({ "event_type": "run_stopped", "reason": "stopped" }),
        "run.withdrawn" => json!({ "event_type": "run_stopped", "reason": "withdrawn" }),
        _ => return None,
    };
    match made {
        Value::Object(fields) => Some(fields),
        _ => None,
    }
}

fn tool(data: &Value) -> Option<&str> {
    ["name", "tool", "title"].iter().find_map(|key| data.get(*key).and_then(Value::as_str))
}

/// The run of an entry that says that one has failed, and why.
pub(super) fn failure(event: &Event) -> Option<(RunId, &str)> {
    let run = event.run.filter(|_| event.kind == "run.failed")?;
    let error = event.data.pointer("/error/message").and_then(Value::as_str).unwrap_or_default();
    Some((run, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn round_trip(posted: Value) -> Value {
        let read: Posted = serde_json::from_value(posted).expect("an event");
        let Logged { kind, data, at } = read.logged();
        let event = Event {
            seq: 7,
            at: at.unwrap_or(Timestamp::from_unix_ms(0)),
            run: None,
            kind: kind.event_type().to_owned(),
            data,
        };
        shown(&"ses_1".parse().expect("a name"), &event).expect("it is shown")
    }

    #[test]
    fn what_is_posted_comes_back_as_it_was() {
        for posted in [
            json!({"event_type": "message", "role": "assistant",
                "content": [{"type": "text", "text": "hello"}, {"type": "image", "x": 1}]}),
            json!({"event_type": "post_tool", "tool_name": "Bash", "tool_input": {"a": 1},
                "tool_output": "x", "error": "bad"}),
            json!({"event_type": "result", "result_text": "t", "result_data": {"b": 2}}),
            json!({"event_type": "something_new", "reason": "why"}),
        ] {
            let mut sent = posted.clone();
            sent["session_id"] = "ses_1".into();
            sent["timestamp"] = "2026-03-01T10:00:00.000000+00:00".into();
            let back = round_trip(sent);
            for (key, value) in posted.as_object().expect("fields") {
                assert_eq!(&back[key], value, "{back}");
            }
            assert_eq!(back["timestamp"], "2026-03-01T10:00:00.000000+00:00");
            assert_eq!(back.as_object().expect("fields").len(), 14);
        }
    }
}
