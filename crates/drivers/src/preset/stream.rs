//! What a parser makes of the lines of an agent's stream.

use greenroom_core::record::{OutputKind, RunError};
use serde_json::{Value, json};

/// What a line says.
#[derive(Debug, Clone, PartialEq)]
pub enum Said {
    /// A piece of the answer.
    Text(String),
    /// An event.
    Event(OutputKind, Value),
    /// The agent's own name for the conversation.
    Conversation(String),
    /// The agent asks whether it may.
    Ask(Question),
    /// It waits for that answer no longer.
    AskOver(String),
    /// A line for the agent's input.
    Reply(Value),
    /// The turn has gone wrong. The first word counts.
    Failed(RunError),
    /// It asks what nobody can answer. If it says no more after that, it waits for ever: it is
    /// told to end, and this went wrong.
    Stuck(RunError),
    /// The turn is over.
    Done,
}

/// A question about the use of a tool.
#[derive(Debug, Clone, PartialEq)]
pub struct Question {
    /// The agent's name for the question.
    pub request: String,
    /// The tool.
    pub tool: String,
    /// What it would be given.
    pub input: Value,
    /// One line for people.
    pub title: String,
    /// Whether it only looks.
    pub reads: bool,
}

/// A parser of one run's lines: pure, and never at a loss.
pub trait Stream: Send {
    /// An object of the stream, and its `type`.
    fn object(&mut self, kind: &str, line: &Value) -> Vec<Said>;

    /// Lines that open the agent's input, where it takes messages.
    fn begin(&mut self, _prompt: &str) -> Vec<Value> {
        Vec::new()
    }

    /// The line that answers a question.
    fn answer(&mut self, _question: &Question, _answer: Answered) -> Option<Value> {
        None
    }

    /// The line that ends the turn.
    fn interrupt(&mut self) -> Option<Value> {
        None
    }

    /// What it has kept to itself so far: there are no more lines.
    fn over(&mut self) -> Vec<Said> {
        Vec::new()
    }

    /// Why it may have ended without a word about the turn.
    fn unsaid(&self) -> Option<RunError> {
        None
    }

    /// A line of standard output.
    fn line(&mut self, line: &str) -> Vec<Said> {
        let bare = line.trim();
        if bare.is_empty() {
            return Vec::new();
        }
        match serde_json::from_str::<Value>(bare) {
            Ok(value) if value.is_object() => self.object(str_at(&value, "/type"), &value),
            _ => vec![Said::Event(OutputKind::Log, json!({ "stream": "stdout", "text": line }))],
        }
    }
}

/// How a question was answered.
#[derive(Debug, Clone, PartialEq)]
pub enum Answered {
    /// It may.
    Allow,
    /// It may not.
    Deny {
        /// Why.
        reason: String,
    },
}

/// The text there, or none.
pub(super) fn str_at<'a>(value: &'a Value, path: &str) -> &'a str {
    value.pointer(path).and_then(Value::as_str).unwrap_or_default()
}

/// The elements there, or none.
pub(super) fn list_at<'a>(value: &'a Value, path: &str) -> &'a [Value] {
    value.pointer(path).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// A piece of the answer, if there is one.
pub(super) fn text(text: &str) -> Vec<Said> {
    if text.is_empty() { Vec::new() } else { vec![Said::Text(text.to_owned())] }
}

/// A thought, if there is one.
pub(super) fn thought(text: &str) -> Vec<Said> {
    match text.is_empty() {
        true => Vec::new(),
        false => vec![Said::Event(OutputKind::Thought, json!({ "text": text }))],
    }
}

/// A use of a tool.
pub(super) fn tool_call(id: &str, name: &str, input: &Value) -> Said {
    Said::Event(OutputKind::ToolCall, json!({ "id": id, "tool": name, "input": input }))
}

/// What a tool answered.
pub(super) fn tool_result(id: &str, output: Value, is_error: bool) -> Said {
    let data = json!({ "id": id, "output": output, "is_error": is_error });
    Said::Event(OutputKind::ToolResult, data)
}

/// What the agent means to do: `{content, status}` each.
pub(super) fn plan(entries: impl Iterator<Item = (String, String)>) -> Said {
    let entries: Vec<Value> =
        entries.map(|(content, status)| json!({ "content": content, "status": status })).collect();
    Said::Event(OutputKind::Plan, json!({ "entries": entries }))
}

/// A line of the agent about itself or its troubles.
pub(super) fn log(text: &str) -> Vec<Said> {
    match text.is_empty() {
        true => Vec::new(),
        false => vec![Said::Event(OutputKind::Log, json!({ "stream": "agent", "text": text }))],
    }
}

/// Tokens and cost used.
#[derive(Debug, Clone, Default)]
pub(super) struct Usage {
    /// Tokens of the model's input, those of a cache included.
    pub(super) input: u64,
    /// Tokens of the model's output.
    pub(super) output: u64,
    /// Dollars, where the agent says.
    pub(super) cost: Option<f64>,
    /// The model, where the agent says.
    pub(super) model: Option<String>,
}

impl Usage {
    /// The event, unless nothing was used.
    pub(super) fn said(self) -> Option<Said> {
        if self.input == 0 && self.output == 0 && self.cost.is_none_or(|cost| cost == 0.0) {
            return None;
        }
        let mut data = json!({ "input_tokens": self.input, "output_tokens": self.output });
        if let Some(cost) = self.cost {
            data["cost_usd"] = json!(cost);
        }
        if let Some(model) = self.model.filter(|model| !model.is_empty()) {
            data["model"] = json!(model);
        }
        Some(Said::Event(OutputKind::Usage, data))
    }
}

/// A number of tokens.
pub(super) fn tokens(value: &Value, path: &str) -> u64 {
    value.pointer(path).and_then(Value::as_u64).unwrap_or_default()
}
