//! What docker-agent itself said, where it is the agent of a session: its clients get that as
//! it was said. The log keeps it as `origin`, beside what it means.

use greenroom_core::Event;
use serde_json::Value;

use super::transcript::output;

/// What may go on. Beginnings and ends of a whole stream are the door's own to say, and so is
/// what waits for an answer.
const KINDS: [&str; 28] = [
    "agent_info",
    "team_info",
    "toolset_info",
    "mcp_init_started",
    "mcp_init_finished",
    "user_message",
    "stream_started",
    "stream_stopped",
    "agent_choice",
    "agent_choice_reasoning",
    "tool_call",
    "tool_call_output",
    "tool_call_response",
    "hook_blocked",
    "hook_started",
    "hook_finished",
    "token_usage",
    "session_title",
    "session_summary",
    "session_compaction",
    "agent_switching",
    "model_fallback",
    "rag_indexing_started",
    "rag_indexing_progress",
    "rag_indexing_completed",
    "sub_session_completed",
    "shell",
    "warning",
];

/// Those that name a session: the door's own, where they name none.
const OF_SESSION: [&str; 4] =
    ["token_usage", "session_title", "session_summary", "session_compaction"];

/// Those that begin or end something, which is never this session's own stream.
const OF_OTHERS: [&str; 3] = ["user_message", "stream_started", "stream_stopped"];

/// The event as it was said, if docker-agent said it.
pub(super) fn said(event: &Event, session: &str) -> Option<Value> {
    let origin = event.data.get("origin").filter(|origin| origin.is_object())?;
    let text = |key: &str| origin.get(key).and_then(Value::as_str).unwrap_or_default();
    let kind = KINDS.into_iter().find(|kind| *kind == text("type"))?;
    let named = text("session_id");
    if OF_OTHERS.contains(&kind) && (named.is_empty() || named == session) {
        return None;
    }
    let mut origin = origin.clone();
    if named.is_empty() && OF_SESSION.contains(&kind) {
        origin["session_id"] = session.into();
    }
    if kind == "tool_call_response" {
        let output = output(&event.data);
        if let Some(result) = origin.get_mut("result").filter(|result| result.is_object()) {
            result["output"] = output.as_str().into();
        }
        origin["response"] = output.into();
    }
    Some(origin)
}

/// Who speaks from then on, as far as it says.
pub(super) fn speaker(said: &Value) -> Option<String> {
    let name = said.get("agent_name").and_then(Value::as_str).unwrap_or_default();
    (!name.is_empty()).then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use greenroom_core::Timestamp;
    use serde_json::json;

    fn event(kind: &str, data: Value) -> Event {
        Event { seq: 1, at: Timestamp::default(), kind: kind.to_owned(), run: None, data }
    }

    #[test]
    fn it_goes_on_as_it_was_said() {
        let origin = json!({ "type": "model_fallback", "failed_model": "a", "fallback_model": "b",
            "agent_name": "root", "timestamp": "0001-01-01T00:00:00Z" });
        let data = json!({ "about": "model_fallback", "origin": origin });
        let said_so = said(&event("session.agent_info", data), "s").expect("it does");
        assert_eq!(said_so, origin);
        assert_eq!(speaker(&said_so).as_deref(), Some("root"));
    }

    #[test]
    fn an_output_is_put_back_and_a_session_named() {
        let origin = json!({ "type": "tool_call_response", "tool_call": { "id": "c" },
            "result": { "meta": 1 } });
        let data = json!({ "id": "c", "output": "a b", "is_error": false, "origin": origin });
        let answered = said(&event("tool_result", data), "s").expect("it does");
        assert_eq!(answered["response"], "a b");
        assert_eq!(answered["result"], json!({ "meta": 1, "output": "a b" }));
        let data = json!({ "origin": { "type": "token_usage", "usage": {} } });
        assert_eq!(said(&event("usage", data), "s").expect("it does")["session_id"], "s");
    }

    #[test]
    fn no_agent_ends_a_stream_or_asks_by_itself() {
        for origin in [
            json!({ "type": "stream_stopped" }),
            json!({ "type": "stream_stopped", "session_id": "s" }),
            json!({ "type": "session_exited" }),
            json!({ "type": "gap" }),
            json!({ "type": "error", "error": "x" }),
            json!({ "type": "tool_call_confirmation" }),
            json!("stream_stopped"),
            json!(null),
        ] {
            let data = json!({ "about": "x", "origin": origin });
            assert_eq!(said(&event("session.agent_info", data), "s"), None, "{origin}");
        }
    }
}
