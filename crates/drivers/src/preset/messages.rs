//! The stream of messages that Claude Code speaks, and what descends from it.

use greenroom_core::record::RunError;
use serde_json::{Value, json};

use super::failure;
use super::stream::{
    Said, Usage, list_at, plan, str_at, text, thought, tokens, tool_call, tool_result,
};

/// Reads `system`, `stream_event`, `assistant`, `user` and `result`.
#[derive(Debug, Default)]
pub(super) struct Messages {
    /// Whether the text block in progress came in pieces.
    streamed: bool,
    model: String,
}

impl Messages {
    /// What such a line says.
    pub(super) fn object(&mut self, kind: &str, line: &Value) -> Vec<Said> {
        // A helper's own talk is not the answer; its tools are used all the same.
        let helper = line.pointer("/parent_tool_use_id").is_some_and(Value::is_string);
        match kind {
            "system" if str_at(line, "/subtype") == "init" => {
                self.model = str_at(line, "/model").to_owned();
                vec![Said::Conversation(str_at(line, "/session_id").to_owned())]
            }
            "stream_event" if !helper => self.piece(line),
            "assistant" => list_at(line, "/message/content")
                .iter()
                .flat_map(|block| self.block(block, line, helper))
                .collect(),
            "user" => list_at(line, "/message/content").iter().filter_map(result_of).collect(),
            "result" => self.result(line),
            _ => Vec::new(),
        }
    }

    fn piece(&mut self, line: &Value) -> Vec<Said> {
        match str_at(line, "/event/type") {
            "content_block_start" => self.streamed = false,
            "content_block_delta" if str_at(line, "/event/delta/type") == "text_delta" => {
                self.streamed = true;
                return text(str_at(line, "/event/delta/text"));
            }
            _ => {}
        }
        Vec::new()
    }

    fn block(&mut self, block: &Value, line: &Value, helper: bool) -> Vec<Said> {
        match str_at(block, "/type") {
            // Not the model's words, but the agent's about its failure: its result has them.
            "text" if helper || str_at(line, "/message/model") == "<synthetic>" => Vec::new(),
            "text" if std::mem::take(&mut self.streamed) => Vec::new(),
            "text" => text(str_at(block, "/text")),
            "thinking" if !helper => thought(str_at(block, "/thinking")),
            "tool_use" => {
                let name = str_at(block, "/name");
                let input = block.pointer("/input").unwrap_or(&Value::Null);
                let mut said = vec![tool_call(str_at(block, "/id"), name, input)];
                let todos = list_at(input, "/todos");
                if !todos.is_empty() && matches!(name, "TodoWrite" | "todo_write") {
                    let word = |todo: &Value, path| str_at(todo, path).to_owned();
                    let entry = |todo| (word(todo, "/content"), word(todo, "/status"));
                    said.push(plan(todos.iter().map(entry)));
                }
                said
            }
            _ => Vec::new(),
        }
    }

    fn result(&mut self, line: &Value) -> Vec<Said> {
        let mut said = Vec::new();
        let cached = tokens(line, "/usage/cache_read_input_tokens");
        // Only the one who counts what is cached apart also says how much he has put there.
        let created = line.pointer("/usage/cache_creation_input_tokens").and_then(Value::as_u64);
        let usage = Usage {
            input: tokens(line, "/usage/input_tokens") + created.map_or(0, |new| new + cached),
            output: tokens(line, "/usage/output_tokens"),
            cost: line.pointer("/total_cost_usd").and_then(Value::as_f64),
            model: Some(std::mem::take(&mut self.model)),
        };
        said.extend(usage.said());
        if line.pointer("/is_error").and_then(Value::as_bool) == Some(true) {
            said.push(Said::Failed(failed(line)));
        }
        said.push(Said::Done);
        said
    }
}

fn result_of(block: &Value) -> Option<Said> {
    (str_at(block, "/type") == "tool_result").then(|| {
        let output = block.pointer("/content").cloned().unwrap_or_default();
        let is_error = block.pointer("/is_error").and_then(Value::as_bool).unwrap_or(false);
        tool_result(str_at(block, "/tool_use_id"), output, is_error)
    })
}

fn failed(line: &Value) -> RunError {
    let status = line.pointer("/api_error_status").and_then(Value::as_u64);
    let message = match (str_at(line, "/result"), str_at(line, "/error/message")) {
        ("", "") => match list_at(line, "/errors").first() {
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
            None => json!(str_at(line, "/subtype")).as_str().unwrap_or_default().to_owned(),
        },
        ("", message) | (message, _) => message.to_owned(),
    };
    match str_at(line, "/subtype") {
        // The turn went its way, and the model's answer was an error.
        "success" => failure::of_status(status, &message),
        _ if message.contains("API Error") => failure::of_status(status, &message),
        _ => failure::of_agent(&message),
    }
}
