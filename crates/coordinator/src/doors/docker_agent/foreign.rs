//! What docker-agent itself said, where it is the agent of a session: its clients get that as
//! it was said. The log keeps it as `origin`, beside what it means (decision 45).

use greenroom_core::{Event, Timestamp};
use serde_json::{Value, json};

use super::call::{bounded, head, pieces};
use super::transcript::output;

/// What goes on. Beginning and end of the session's own stream are the door's to say, and so
/// are its errors, what was asked, and what waits for an answer.
const KINDS: [&str; 27] = [
    "agent_info",
    "team_info",
    "toolset_info",
    "mcp_init_started",
    "mcp_init_finished",
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

/// Text that may be long, and where it is.
const TEXTS: [(&str, &str); 5] = [
    ("agent_choice", "content"),
    ("agent_choice_reasoning", "content"),
    ("tool_call_output", "output"),
    ("shell", "output"),
    ("warning", "message"),
];

/// Streams of helpers within each other, at most.
const MOST_OPEN: usize = 64;
/// A name is cut after so many bytes.
const MOST_NAME: usize = 128;

/// What docker-agent says in one turn.
#[derive(Debug, Default)]
pub(super) struct Own {
    /// Who of its team speaks.
    speaker: Option<String>,
    /// Streams of its helpers that have begun and not ended, with who speaks in them.
    open: Vec<(String, String)>,
    /// Whether this is all of the turn; else what ends may have begun before.
    is_whole: bool,
}

fn text<'a>(origin: &'a Value, key: &str) -> &'a str {
    origin.get(key).and_then(Value::as_str).unwrap_or_default()
}

impl Own {
    /// A turn that begins.
    pub(super) fn begun() -> Self {
        Self { is_whole: true, ..Self::default() }
    }

    /// Who of its team speaks, as far as it has said.
    pub(super) fn speaker(&self) -> Option<&String> {
        self.speaker.as_ref()
    }

    /// The event as it was said, if docker-agent said it: nothing of it, if it is not for
    /// its clients.
    pub(super) fn said(&mut self, event: &Event, session: &str) -> Option<Vec<Value>> {
        let origin = event.data.get("origin").filter(|origin| origin.is_object())?;
        let said = text(origin, "type");
        let Some(kind) = KINDS.into_iter().find(|kind| *kind == said) else {
            return Some(Vec::new());
        };
        if !self.takes(kind, origin, session) {
            return Some(Vec::new());
        }
        let name = head(text(origin, "agent_name"), MOST_NAME);
        if !name.is_empty() {
            self.speaker = Some(name.to_owned());
        }
        let mut own = origin.clone();
        let names_none = text(&own, "session_id").is_empty();
        if names_none && OF_SESSION.contains(&kind) {
            own["session_id"] = session.into();
        }
        if kind == "sub_session_completed" && text(&own, "parent_session_id").is_empty() {
            own["parent_session_id"] = session.into();
        }
        if let Some(call) = own.get_mut("tool_call").filter(|call| call.is_object()) {
            *call = bounded(call.take());
        }
        if kind == "tool_call_response" {
            let output = output(&event.data);
            if let Some(result) = own.get_mut("result").filter(|result| result.is_object()) {
                result["output"] = output.as_str().into();
            }
            own["response"] = output.into();
        }
        let long = TEXTS.iter().find(|(of, _)| *of == kind).map(|(_, key)| *key);
        Some(match long.and_then(|key| Some((key, own.get(key)?.as_str()?.to_owned()))) {
            Some((key, long)) => pieces(&long)
                .into_iter()
                .map(|piece| {
                    let mut own = own.clone();
                    own[key] = piece.into();
                    own
                })
                .collect(),
            None => vec![own],
        })
    }

    /// Whether it may go on. What begins and ends is a helper's stream, in pairs; what is said
    /// as text is said by a helper, for the answer itself is no event of this kind.
    fn takes(&mut self, kind: &str, origin: &Value, session: &str) -> bool {
        let named = text(origin, "session_id");
        let is_helpers = !named.is_empty() && named != session && named.len() <= MOST_NAME;
        match kind {
            "stream_started" => {
                let new = self.open.iter().all(|(open, _)| open != named);
                let takes = is_helpers && new && self.open.len() < MOST_OPEN;
                if takes {
                    let name = head(text(origin, "agent_name"), MOST_NAME);
                    self.open.push((named.to_owned(), name.to_owned()));
                }
                takes
            }
            "stream_stopped" => {
                let before = self.open.len();
                self.open.retain(|(open, _)| open != named);
                self.open.len() < before || is_helpers && !self.is_whole
            }
            "agent_choice" | "agent_choice_reasoning" => is_helpers,
            _ => true,
        }
    }

    /// The ends of what has not ended: the turn is over.
    pub(super) fn over(&mut self, at: Timestamp) -> Vec<Value> {
        let open = std::mem::take(&mut self.open);
        let stopped = |(id, name)| {
            json!({ "type": "stream_stopped", "session_id": id, "agent_name": name,
                "timestamp": at })
        };
        open.into_iter().rev().map(stopped).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: &str, data: Value) -> Event {
        Event { seq: 1, at: Timestamp::default(), kind: kind.to_owned(), run: None, data }
    }

    fn info(origin: Value) -> Event {
        event("session.agent_info", json!({ "about": "x", "origin": origin }))
    }

    #[test]
    fn it_goes_on_as_it_was_said() {
        let origin = json!({ "type": "model_fallback", "failed_model": "a", "fallback_model": "b",
            "agent_name": "root", "timestamp": "0001-01-01T00:00:00Z" });
        let mut own = Own::begun();
        assert_eq!(own.said(&info(origin.clone()), "s"), Some(vec![origin]));
        assert_eq!(own.speaker().map(String::as_str), Some("root"));
        assert_eq!(own.said(&event("message", json!({ "text": "x" })), "s"), None);
    }

    #[test]
    fn an_output_is_put_back_and_a_session_named() {
        let mut own = Own::begun();
        let origin = json!({ "type": "tool_call_response", "tool_call": { "id": "c" },
            "result": { "meta": 1 } });
        let data = json!({ "id": "c", "output": "a b", "is_error": false, "origin": origin });
        let answered = own.said(&event("tool_result", data), "s").expect("it does").remove(0);
        assert_eq!(answered["response"], "a b");
        assert_eq!(answered["result"], json!({ "meta": 1, "output": "a b" }));
        let data = json!({ "origin": { "type": "token_usage", "usage": {} } });
        let used = own.said(&event("usage", data), "s").expect("it does");
        assert_eq!(used[0]["session_id"], "s");
    }

    #[test]
    fn no_agent_ends_a_stream_or_asks_or_answers_by_itself() {
        let mut own = Own::begun();
        for origin in [
            json!({ "type": "stream_stopped" }),
            json!({ "type": "stream_stopped", "session_id": "s" }),
            json!({ "type": "stream_stopped", "session_id": "never begun" }),
            json!({ "type": "stream_started", "session_id": "s" }),
            json!({ "type": "agent_choice", "session_id": "s", "content": "x" }),
            json!({ "type": "agent_choice", "content": "x" }),
            json!({ "type": "user_message", "session_id": "x", "message": "yes" }),
            json!({ "type": "session_exited" }),
            json!({ "type": "gap" }),
            json!({ "type": "error", "error": "x" }),
            json!({ "type": "tool_call_confirmation" }),
            json!({ "type": 7 }),
        ] {
            assert_eq!(own.said(&info(origin.clone()), "s"), Some(Vec::new()), "{origin}");
        }
        for origin in [json!("stream_stopped"), json!(null)] {
            assert_eq!(own.said(&info(origin.clone()), "s"), None, "{origin}");
        }
        let long = json!({ "type": "agent_info", "agent_name": "é".repeat(1000) });
        own.said(&info(long), "s");
        assert!(own.speaker().is_some_and(|name| name.len() <= MOST_NAME));
    }

    #[test]
    fn streams_within_it_are_pairs_whatever_happens() {
        let mut own = Own::begun();
        let stream =
            |kind: &str, id: &str| json!({ "type": kind, "session_id": id, "agent_name": "h" });
        for (kind, id, goes_on) in [
            ("stream_started", "a", true),
            ("stream_started", "a", false),
            ("stream_started", "b", true),
            ("stream_stopped", "b", true),
            ("stream_stopped", "b", false),
            ("stream_started", "c", true),
        ] {
            let said = own.said(&info(stream(kind, id)), "s").expect("docker-agent's");
            assert_eq!(!said.is_empty(), goes_on, "{kind} {id}");
        }
        let over = own.over(Timestamp::default());
        let ids: Vec<&Value> = over.iter().map(|event| &event["session_id"]).collect();
        assert_eq!(ids, ["c", "a"], "the innermost first");
        assert!(own.over(Timestamp::default()).is_empty());
        // Who has come in the middle was told of its beginning before.
        let over = stream("stream_stopped", "d");
        assert_eq!(Own::default().said(&info(over.clone()), "s"), Some(vec![over]));
        for n in 0..2 * MOST_OPEN {
            own.said(&info(stream("stream_started", &n.to_string())), "s");
        }
        assert_eq!(own.over(Timestamp::default()).len(), MOST_OPEN);
    }

    #[test]
    fn what_is_long_still_reads() {
        let mut own = Own::begun();
        let arguments = json!({ "content": "x".repeat(100_000) }).to_string();
        let call = json!({ "id": "c", "function": { "name": "f", "arguments": arguments } });
        let data = json!({ "origin": { "type": "tool_call", "tool_call": call } });
        let called = own.said(&event("tool_call", data), "s").expect("it does").remove(0);
        let arguments = called["tool_call"]["function"]["arguments"].as_str().expect("text");
        assert!(serde_json::from_str::<Value>(arguments).is_ok(), "{arguments}");
        let long = "y".repeat(100_000);
        let said = own.said(&info(json!({ "type": "shell", "output": long })), "s").expect("it");
        let whole: String = said.iter().map(|one| one["output"].as_str().expect("text")).collect();
        assert!(said.len() > 1 && whole == long);
    }
}
