//! Codex: `codex exec --json`.

use greenroom_core::record::OutputKind;
use serde_json::{Value, json};

use super::failure;
use super::stream::{
    Said, Stream, list_at, log, plan, str_at, text, thought, tokens, tool_call, tool_result,
};
use super::{Cancel, Feed, Preset};

/// How it is driven.
pub(super) const PRESET: Preset = Preset {
    base: &["exec", "--json", "--skip-git-repo-check"],
    subject: None,
    autonomous: &["--dangerously-bypass-approvals-and-sandbox"],
    // Its own sandbox, in which nothing is written. A `-c sandbox_mode=…` or a `--sandbox`
    // among the agent file's arguments counts instead.
    careful: &["-c", "sandbox_mode=\"read-only\""],
    careful_env: &[],
    fresh: &[],
    resume: &["resume", "{id}"],
    // The prompt is on standard input.
    last: &["-"],
    env: &[],
    files: &[],
    feed: Feed::Prompt,
    cancel: Cancel::Signal(rustix::process::Signal::INT),
    unknown: &["no rollout found", "thread/resume failed"],
    stream: || Box::new(Codex),
};

/// Its stream.
#[derive(Debug)]
struct Codex;

impl Stream for Codex {
    fn object(&mut self, kind: &str, line: &Value) -> Vec<Said> {
        let item = line.pointer("/item").unwrap_or(&Value::Null);
        match kind {
            "thread.started" => vec![Said::Conversation(str_at(line, "/thread_id").to_owned())],
            "item.started" => begun(item).into_iter().collect(),
            "item.updated" => todo(item).into_iter().collect(),
            "item.completed" => completed(item),
            // It tries again; if that fails too, the turn does.
            "error" => log(str_at(line, "/message")),
            "turn.completed" => usage(line).into_iter().chain([Said::Done]).collect(),
            "turn.failed" => {
                let error = failure::of_model(str_at(line, "/error/message"));
                vec![Said::Failed(error), Said::Done]
            }
            _ => Vec::new(),
        }
    }
}

/// The tool of an item, and what it is given.
fn tool(item: &Value) -> Option<(String, Value)> {
    Some(match str_at(item, "/type") {
        "command_execution" => ("shell".into(), json!({ "command": item.pointer("/command") })),
        "file_change" => ("file_change".into(), json!({ "changes": item.pointer("/changes") })),
        "web_search" => ("web_search".into(), json!({ "query": item.pointer("/query") })),
        "mcp_tool_call" => {
            let name = format!("{}.{}", str_at(item, "/server"), str_at(item, "/tool"));
            (name, item.pointer("/arguments").cloned().unwrap_or_default())
        }
        "collab_tool_call" => (str_at(item, "/tool").to_owned(), item.clone()),
        _ => return None,
    })
}

fn begun(item: &Value) -> Option<Said> {
    let call = tool(item).map(|(name, input)| tool_call(str_at(item, "/id"), &name, &input));
    call.or_else(|| todo(item))
}

fn completed(item: &Value) -> Vec<Said> {
    let id = str_at(item, "/id");
    match str_at(item, "/type") {
        "agent_message" => text(str_at(item, "/text")),
        "reasoning" => thought(str_at(item, "/text")),
        // Advice and warnings come so, too: what ends the turn says so itself.
        "error" => log(str_at(item, "/message")),
        "command_execution" => {
            let code = item.pointer("/exit_code").and_then(Value::as_i64);
            let output = item.pointer("/aggregated_output").cloned().unwrap_or_default();
            let failed = str_at(item, "/status") == "failed" || code.is_some_and(|code| code != 0);
            let mut result = tool_result(id, output, failed);
            if let (Said::Event(OutputKind::ToolResult, data), Some(code)) = (&mut result, code) {
                data["exit_code"] = json!(code);
            }
            vec![result]
        }
        // It is told of only once it has been made.
        "file_change" | "web_search" | "mcp_tool_call" | "collab_tool_call" => {
            let output = ["/result", "/error", "/changes"]
                .iter()
                .find_map(|at| item.pointer(at).filter(|value| !value.is_null()).cloned());
            let failed = str_at(item, "/status") == "failed";
            let made = matches!(str_at(item, "/type"), "file_change" | "web_search");
            let call = begun(item).filter(|_| made);
            call.into_iter().chain([tool_result(id, output.unwrap_or_default(), failed)]).collect()
        }
        _ => todo(item).into_iter().collect(),
    }
}

fn todo(item: &Value) -> Option<Said> {
    (str_at(item, "/type") == "todo_list").then(|| {
        plan(list_at(item, "/items").iter().map(|entry| {
            let done = entry.pointer("/completed").and_then(Value::as_bool).unwrap_or(false);
            let status = if done { "completed" } else { "pending" };
            (str_at(entry, "/text").to_owned(), status.to_owned())
        }))
    })
}

/// It counts the whole conversation, not the turn.
fn usage(line: &Value) -> Option<Said> {
    let (input, output) =
        (tokens(line, "/usage/input_tokens"), tokens(line, "/usage/output_tokens"));
    let data = json!({ "input_tokens": input, "output_tokens": output, "of": "conversation" });
    (input + output > 0).then_some(Said::Event(OutputKind::Usage, data))
}
