//! Entries of a session's log as `session/update`. Pure, and tolerant: what is not known is
//! left out.

use std::collections::{BTreeMap, HashSet};

use greenroom_client::{Delta, Transcript};
use greenroom_core::{Event, RunId};
use serde_json::{Map, Value, json};

/// What a session's editor has been told.
#[derive(Debug, Default)]
pub(super) struct Teller {
    transcript: Transcript,
    /// Prompts of runs that have not begun yet, but for the editor's own.
    prompts: BTreeMap<RunId, String>,
    /// The editor's own runs: it has shown their prompts already.
    own: HashSet<RunId>,
    /// Calls the editor knows, and what they would do while they have no result.
    known: HashSet<String>,
    open: Vec<(String, Value, Value)>,
    /// Text was said since the last run began.
    pub(super) said_text: bool,
}

/// A piece of text.
pub(super) fn chunk(kind: &str, text: &str) -> Value {
    json!({ "sessionUpdate": kind, "content": { "type": "text", "text": text } })
}

fn text_of<'a>(data: &'a Value, key: &str) -> &'a str {
    data.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// A kind of tool as the protocol has them.
fn kind_of(data: &Value) -> Option<&str> {
    const KINDS: [&str; 10] = [
        "read",
        "edit",
        "delete",
        "move",
        "search",
        "execute",
        "think",
        "fetch",
        "switch_mode",
        "other",
    ];
    data["kind"].as_str().filter(|kind| KINDS.contains(kind))
}

/// Content of a call as the protocol has it: what an agent of it said, else its output as text.
fn content_of(data: &Value) -> Option<Value> {
    if let Some(content) = data["content"].as_array() {
        let fits = |piece: &&Value| matches!(piece["type"].as_str(), Some("content" | "diff"));
        return Some(content.iter().filter(fits).cloned().collect());
    }
    let output = ["output", "result", "text"].iter().find_map(|key| data.get(*key));
    let text = match output? {
        Value::Null => return None,
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    Some(json!([{ "type": "content", "content": { "type": "text", "text": text } }]))
}

/// A plan's entries, with what the protocol wants and ours may lack.
fn entries_of(data: &Value) -> Vec<Value> {
    let entries = data["entries"].as_array().into_iter().flatten();
    entries
        .filter_map(|entry| {
            let content = entry["content"].as_str()?;
            let word = |key: &str, all: [&'static str; 3], otherwise: &'static str| {
                all.into_iter().find(|word| entry[key] == *word).unwrap_or(otherwise)
            };
            Some(json!({
                "content": content,
                "priority": word("priority", ["high", "medium", "low"], "medium"),
                "status": word("status", ["pending", "in_progress", "completed"], "pending"),
            }))
        })
        .collect()
}

impl Teller {
    /// This run's prompt came from the editor.
    pub(super) fn own(&mut self, run: RunId) {
        self.own.insert(run);
    }

    /// A restored coordinator tells its log anew.
    pub(super) fn restart(&mut self) {
        self.transcript = Transcript::new();
    }

    /// Text ahead of the log.
    pub(super) fn delta(&mut self, delta: &Delta) -> Option<Value> {
        let text = self.transcript.delta(delta);
        self.said_text |= !text.is_empty();
        (!text.is_empty()).then(|| chunk("agent_message_chunk", text))
    }

    /// The call that a question is about, if it is one the editor knows.
    pub(super) fn call_of(&self, tool: &Value, input: &Value) -> Option<&str> {
        let mut open = self.open.iter().rev();
        open.find(|(_, t, i)| t == tool && i == input).map(|(id, _, _)| id.as_str())
    }

    /// An entry of the log.
    pub(super) fn event(&mut self, event: &Event) -> Vec<Value> {
        let data = &event.data;
        match event.kind.as_str() {
            "message" => return self.message(event).into_iter().collect(),
            "thought" => return vec![chunk("agent_thought_chunk", text_of(data, "text"))],
            _ => {
                self.transcript.event(event);
            }
        }
        match (event.kind.as_str(), event.run) {
            ("run.queued", Some(run)) => {
                if let Some(prompt) = prompt_of(data) {
                    self.prompts.insert(run, prompt);
                }
                Vec::new()
            }
            ("run.edited", Some(run)) => {
                if let (Some(kept), Some(prompt)) = (self.prompts.get_mut(&run), prompt_of(data)) {
                    *kept = prompt;
                }
                Vec::new()
            }
            ("run.started" | "run.steered", Some(run)) => {
                self.said_text = false;
                self.prompted(run)
            }
            ("tool_call", _) => vec![self.call(event)],
            ("tool_result", _) => self.result(event),
            ("plan", _) => vec![json!({ "sessionUpdate": "plan", "entries": entries_of(data) })],
            ("usage", _) => usage(data).into_iter().collect(),
            ("session.updated", _) => updated(data),
            ("session.agent_info", _) if data["about"] == "commands" => {
                let commands = data["commands"].as_array().cloned().unwrap_or_default();
                vec![
                    json!({ "sessionUpdate": "available_commands_update", "availableCommands": commands }),
                ]
            }
            _ => Vec::new(),
        }
    }

    /// Somebody's prompt, once its agent sees it.
    fn prompted(&mut self, run: RunId) -> Vec<Value> {
        let prompt = self.prompts.remove(&run);
        if self.own.contains(&run) {
            return Vec::new();
        }
        prompt.map(|text| chunk("user_message_chunk", &text)).into_iter().collect()
    }

    fn message(&mut self, event: &Event) -> Option<Value> {
        let text = self.transcript.event(event);
        let whole = event.data.get("part").is_none() && !text.ends_with('\n');
        // Texts without a position are apart from each other.
        let text = if whole { format!("{text}\n") } else { text.to_owned() };
        let says = !text.trim_end_matches('\n').is_empty() || (!whole && !text.is_empty());
        self.said_text |= says;
        let kind = match event.data["role"].as_str() {
            Some("user") => "user_message_chunk",
            _ => "agent_message_chunk",
        };
        says.then(|| chunk(kind, &text))
    }

    fn call(&mut self, event: &Event) -> Value {
        let data = &event.data;
        let id = id_of(event);
        let first = self.known.insert(id.clone());
        let tool = data.get("tool").or_else(|| data.get("name")).cloned().unwrap_or(Value::Null);
        if first {
            let input = data.get("input").cloned().unwrap_or(Value::Null);
            self.open.push((id.clone(), tool.clone(), input));
        }
        let mut update = Map::new();
        let mut set = |key: &str, value: Value| update.insert(key.to_owned(), value);
        set("sessionUpdate", if first { "tool_call" } else { "tool_call_update" }.into());
        set("toolCallId", id.into());
        let title = text_of(data, "title");
        if first || !title.is_empty() {
            let title = if title.is_empty() { crate::show::tool(data) } else { title.to_owned() };
            set("title", title.into());
        }
        if let Some(kind) = kind_of(data) {
            set("kind", kind.into());
        }
        let status = data["status"].as_str().filter(|s| matches!(*s, "pending" | "in_progress"));
        set("status", status.unwrap_or("in_progress").into());
        if let Some(input) = data.get("input").filter(|input| !input.is_null()) {
            set("rawInput", input.clone());
        }
        for key in ["content", "locations"] {
            if let Some(list) = data.get(key).filter(|list| list.is_array()) {
                set(key, list.clone());
            }
        }
        Value::Object(update)
    }

    fn result(&mut self, event: &Event) -> Vec<Value> {
        let data = &event.data;
        let id = id_of(event);
        let mut told = Vec::new();
        if !self.known.contains(&id) {
            told.push(self.call(event));
        }
        self.open.retain(|(open, _, _)| *open != id);
        let failed = data["is_error"] == true;
        let status = if failed { "failed" } else { "completed" };
        let mut update =
            json!({ "sessionUpdate": "tool_call_update", "toolCallId": id, "status": status });
        if let Some(content) = content_of(data) {
            update["content"] = content;
        }
        if let Some(raw) = data.get("raw_output").or_else(|| data.get("output")) {
            update["rawOutput"] = raw.clone();
        }
        told.push(update);
        told
    }
}

/// A call's name; one that has none is the entry itself.
fn id_of(event: &Event) -> String {
    match event.data["id"].as_str() {
        Some(id) if !id.is_empty() => id.to_owned(),
        _ => format!("entry-{}", event.seq),
    }
}

fn prompt_of(data: &Value) -> Option<String> {
    let input = || data.get("input").filter(|input| !input.is_null()).map(Value::to_string);
    data["prompt"].as_str().map(str::to_owned).or_else(input)
}

fn usage(data: &Value) -> Option<Value> {
    let (used, size) = (data["context_tokens"].as_u64()?, data["context_limit"].as_u64()?);
    let mut update = json!({ "sessionUpdate": "usage_update", "used": used, "size": size });
    if data["total_cost"].is_object() {
        update["cost"] = data["total_cost"].clone();
    }
    Some(update)
}

fn updated(data: &Value) -> Vec<Value> {
    let mut told = Vec::new();
    if let Some(title) = data.get("title") {
        let title = title.as_str().filter(|title| !title.is_empty());
        told.push(json!({ "sessionUpdate": "session_info_update", "title": title }));
    }
    if let Some(policy) = data.get("approvals").filter(|policy| policy.is_object()) {
        let mode = serde_json::from_value(policy["mode"].clone()).unwrap_or(None);
        let id = super::choices::mode_id(mode);
        told.push(json!({ "sessionUpdate": "current_mode_update", "currentModeId": id }));
    }
    told
}

#[cfg(test)]
mod tests;
