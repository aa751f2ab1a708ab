//! A log as the messages of a conversation: a pure fold.

use std::collections::HashMap;

use greenroom_core::{Event, Timestamp};
use serde_json::{Value, json};

use crate::service::forks;

/// A conversation, as it is read.
#[derive(Debug, Default)]
pub(super) struct Transcript {
    agent: String,
    items: Vec<Value>,
    prompts: HashMap<String, String>,
    /// What the agent is saying.
    open: Option<Said>,
    /// What was asked, in order.
    asked: Vec<String>,
    /// What went wrong, in order.
    errors: Vec<Value>,
}

#[derive(Debug)]
struct Said {
    text: String,
    thought: String,
    calls: Vec<Value>,
    at: Timestamp,
}

fn text<'a>(data: &'a Value, key: &str) -> &'a str {
    data.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// What a run asks, as text.
pub(super) fn asked(data: &Value) -> String {
    match (data.get("input"), data.get("prompt")) {
        // A task for a member of a team.
        (Some(input), _) if input.get("task").is_some_and(Value::is_string) => {
            text(input, "task").to_owned()
        }
        (Some(document), _) if !document.is_null() => document.to_string(),
        (_, Some(Value::String(text))) => text.clone(),
        _ => String::new(),
    }
}

/// A use of a tool, as their clients read one.
pub(super) fn call(data: &Value) -> Value {
    let input = data.get("input").cloned().unwrap_or_else(|| json!({}));
    let arguments = match input {
        Value::String(text) => text,
        other => other.to_string(),
    };
    json!({
        "id": text(data, "id"),
        "type": "function",
        "function": { "name": tool(data), "arguments": arguments },
    })
}

/// The tool of a use, as whoever uses it calls it.
pub(super) fn tool(data: &Value) -> &str {
    let names = ["tool", "name", "title"];
    names.iter().map(|key| text(data, key)).find(|name| !name.is_empty()).unwrap_or_default()
}

/// What came of a use.
pub(super) fn output(data: &Value) -> String {
    let keys = ["output", "result", "text", "content"];
    let found = keys.iter().find_map(|key| data.get(*key).filter(|value| !value.is_null()));
    match found {
        Some(Value::String(text)) => text.clone(),
        Some(value) => value.to_string(),
        None => String::new(),
    }
}

impl Transcript {
    /// One of an agent of this name.
    pub(super) fn of(agent: &str) -> Self {
        Self { agent: agent.to_owned(), ..Self::default() }
    }

    /// Folds one event.
    pub(super) fn event(&mut self, event: &Event) {
        let Some(event) = forks::said(event) else { return };
        let data = &event.data;
        if data.get("late").and_then(Value::as_bool) == Some(true) {
            return;
        }
        match event.kind.as_str() {
            "run.queued" => {
                let run = data.get("run").map(|run| text(run, "id")).unwrap_or_default();
                self.prompts.insert(run.to_owned(), asked(data));
            }
            "run.edited" => {
                self.prompts.insert(text(data, "run").to_owned(), asked(data));
            }
            "run.started" | "run.steered" => {
                self.close();
                let prompt = self.prompts.remove(text(data, "run")).unwrap_or_default();
                self.asked.push(prompt.clone());
                self.add(json!({ "role": "user", "content": prompt }), event.at, "");
            }
            "message" if text(data, "role") == "agent" => {
                self.said(event.at).text.push_str(text(data, "text"));
            }
            "thought" => self.said(event.at).thought.push_str(text(data, "text")),
            "tool_call" => {
                let call = call(data);
                self.said(event.at).calls.push(call);
            }
            "tool_result" => {
                self.close();
                let message = json!({
                    "role": "tool", "content": output(data), "tool_call_id": text(data, "id"),
                    "is_error": data.get("is_error").and_then(Value::as_bool).unwrap_or(false),
                });
                let agent = self.agent.clone();
                self.add(message, event.at, &agent);
            }
            "session.agent_info" => match text(data, "about") {
                "discard" => {
                    if let Some(said) = self.open.as_mut().filter(|said| said.calls.is_empty()) {
                        said.text.clear();
                    }
                }
                "compacted" => {
                    self.close();
                    self.items.push(json!({ "summary": text(data, "summary") }));
                }
                _ => {}
            },
            "run.completed" | "run.failed" | "run.stopped" => {
                self.close();
                if let Some(error) = data.get("error").filter(|error| !error.is_null()) {
                    self.errors.push(json!({
                        "run": text(data, "run"), "at": event.at,
                        "code": text(error, "code"), "message": text(error, "message"),
                    }));
                }
            }
            _ => {}
        }
    }

    fn said(&mut self, at: Timestamp) -> &mut Said {
        let empty = || Said { text: String::new(), thought: String::new(), calls: Vec::new(), at };
        self.open.get_or_insert_with(empty)
    }

    fn close(&mut self) {
        let Some(said) = self.open.take() else { return };
        if said.text.is_empty() && said.thought.is_empty() && said.calls.is_empty() {
            return;
        }
        let mut message = json!({ "role": "assistant", "content": said.text });
        if !said.thought.is_empty() {
            message["reasoning_content"] = said.thought.into();
        }
        if !said.calls.is_empty() {
            message["tool_calls"] = said.calls.into();
        }
        let agent = self.agent.clone();
        self.add(message, said.at, &agent);
    }

    fn add(&mut self, mut message: Value, at: Timestamp, agent: &str) {
        message["created_at"] = json!(at);
        self.items.push(json!({ "message": { "agentName": agent, "message": message } }));
    }

    /// What was asked, in order.
    pub(super) fn asks(&self) -> &[String] {
        &self.asked
    }

    /// What went wrong, in order.
    pub(super) fn errors(&self) -> &[Value] {
        &self.errors
    }

    /// The items of a session: messages, and summaries of what was before them.
    pub(super) fn items(&mut self) -> &[Value] {
        self.close();
        &self.items
    }

    /// Its messages.
    pub(super) fn messages(&mut self) -> Vec<Value> {
        let items = self.items().iter();
        items.filter_map(|item| item.get("message").cloned()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(log: &[(&str, Value)]) -> Transcript {
        let mut transcript = Transcript::of("root");
        for (at, (kind, data)) in log.iter().enumerate() {
            transcript.event(&Event {
                seq: at as u64 + 1,
                at: Timestamp::from_unix_ms(0),
                run: None,
                kind: (*kind).to_owned(),
                data: data.clone(),
            });
        }
        transcript
    }

    fn turn() -> Vec<(&'static str, Value)> {
        vec![
            ("run.queued", json!({ "run": { "id": "1" }, "prompt": "do" })),
            ("run.started", json!({ "run": "1" })),
            ("thought", json!({ "text": "hm" })),
            ("message", json!({ "role": "agent", "text": "I " })),
            ("message", json!({ "role": "agent", "text": "will." })),
            ("tool_call", json!({ "id": "c", "tool": "shell", "input": { "command": "ls" } })),
            ("approval.requested", json!({ "id": "a" })),
            ("tool_result", json!({ "id": "c", "tool": "shell", "output": "x" })),
            ("message", json!({ "role": "agent", "text": "Done." })),
            ("run.completed", json!({ "run": "1" })),
        ]
    }

    #[test]
    fn a_turn_is_question_answer_with_calls_results_and_answer() {
        let messages = read(&turn()).messages();
        let roles: Vec<&str> =
            messages.iter().map(|m| m["message"]["role"].as_str().expect("a role")).collect();
        assert_eq!(roles, ["user", "assistant", "tool", "assistant"]);
        let said = &messages[1]["message"];
        assert_eq!(
            (&said["content"], &said["reasoning_content"]),
            (&json!("I will."), &json!("hm"))
        );
        assert_eq!(said["tool_calls"][0]["function"]["arguments"], "{\"command\":\"ls\"}");
        assert_eq!(messages[2]["message"]["tool_call_id"], "c");
    }

    #[test]
    fn what_was_inherited_reads_as_what_it_is() {
        let mut log: Vec<(&str, Value)> = Vec::new();
        for (at, (kind, data)) in turn().into_iter().enumerate() {
            let event = json!({ "seq": at, "at": "2026-01-01T00:00:00Z", "run": null,
                "type": kind, "data": data });
            log.push(("session.inherited", event));
        }
        let times = |mut messages: Vec<Value>| {
            for message in &mut messages {
                message["message"]["created_at"] = Value::Null;
            }
            messages
        };
        assert_eq!(times(read(&log).messages()), times(read(&turn()).messages()));
    }

    #[test]
    fn a_summary_is_an_item_and_no_message() {
        let mut log = turn();
        log.push((
            "session.agent_info",
            json!({ "about": "compacted", "summary": "s", "keep": 1 }),
        ));
        log.push(("run.failed", json!({ "run": "2", "error": { "code": "x", "message": "y" } })));
        let mut transcript = read(&log);
        assert_eq!(transcript.items().last().expect("one"), &json!({ "summary": "s" }));
        assert_eq!(transcript.messages().len(), 4);
        assert_eq!(transcript.errors()[0]["message"], "y");
        assert_eq!(transcript.asks(), ["do"]);
    }
}
