//! opencode: `opencode run --format json`. It tells of a tool's use once it is over.

use greenroom_core::record::RunError;
use serde_json::Value;

use super::failure;
use super::stream::{
    Said, Stream, Usage, list_at, plan, str_at, text, thought, tokens, tool_call, tool_result,
};
use super::{Cancel, Feed, Preset};

/// How it is driven.
pub(super) const PRESET: Preset = Preset {
    base: &["run", "--format", "json", "--thinking"],
    subject: None,
    autonomous: &["--auto"],
    careful: &[],
    // What would be asked is refused, and by itself it asks nothing.
    careful_env: &[(
        "OPENCODE_PERMISSION",
        r#"{"*":"ask","read":"allow","list":"allow","glob":"allow","grep":"allow","todowrite":"allow","todoread":"allow"}"#,
    )],
    fresh: &[],
    resume: &["--session", "{id}"],
    last: &[],
    env: &[("OPENCODE_DISABLE_AUTOUPDATE", "true")],
    files: &[],
    feed: Feed::Prompt,
    cancel: Cancel::Signal(rustix::process::Signal::INT),
    unknown: &["Session not found"],
    stream: || Box::new(Opencode::default()),
};

/// Its stream.
#[derive(Debug, Default)]
struct Opencode {
    /// The last use of a tool, where it was refused: then it goes no further.
    refused: Option<String>,
}

impl Stream for Opencode {
    fn object(&mut self, kind: &str, line: &Value) -> Vec<Said> {
        let part = line.pointer("/part").unwrap_or(&Value::Null);
        let mut said = match str_at(line, "/sessionID") {
            "" => Vec::new(),
            id => vec![Said::Conversation(id.to_owned())],
        };
        said.extend(match kind {
            "text" => text(str_at(part, "/text")),
            "reasoning" => thought(str_at(part, "/text")),
            "tool_use" => {
                let error = str_at(part, "/state/error");
                self.refused = error
                    .contains("rejected permission")
                    .then(|| format!("{} was refused: nobody can be asked", str_at(part, "/tool")));
                tool_use(part)
            }
            "step_finish" => step_finish(part),
            "error" => {
                let status = line.pointer("/error/data/statusCode").and_then(Value::as_u64);
                let message = match str_at(line, "/error/data/message") {
                    "" => str_at(line, "/error/name"),
                    message => message,
                };
                let error = match str_at(line, "/error/name") {
                    "ProviderAuthError" => failure::of_status(Some(401), message),
                    _ => failure::of_status(status, message),
                };
                vec![Said::Failed(error)]
            }
            _ => Vec::new(),
        });
        said
    }

    fn unsaid(&self) -> Option<RunError> {
        self.refused.as_ref().map(|message| RunError::new("refused", message))
    }
}

fn tool_use(part: &Value) -> Vec<Said> {
    let (id, name) = (str_at(part, "/callID"), str_at(part, "/tool"));
    let input = part.pointer("/state/input").unwrap_or(&Value::Null);
    let mut said = vec![tool_call(id, name, input)];
    let todos = list_at(input, "/todos");
    if name == "todowrite" && !todos.is_empty() {
        let word = |todo: &Value, path| str_at(todo, path).to_owned();
        said.push(plan(todos.iter().map(|todo| (word(todo, "/content"), word(todo, "/status")))));
    }
    let failed = str_at(part, "/state/status") == "error";
    let at = if failed { "/state/error" } else { "/state/output" };
    said.push(tool_result(id, part.pointer(at).cloned().unwrap_or_default(), failed));
    said
}

fn step_finish(part: &Value) -> Vec<Said> {
    let cached = tokens(part, "/tokens/cache/read") + tokens(part, "/tokens/cache/write");
    let usage = Usage {
        input: tokens(part, "/tokens/input") + cached,
        output: tokens(part, "/tokens/output") + tokens(part, "/tokens/reasoning"),
        cost: part.pointer("/cost").and_then(Value::as_f64),
        model: None,
    };
    // After tools it goes on by itself.
    let over = str_at(part, "/reason") != "tool-calls";
    usage.said().into_iter().chain(over.then_some(Said::Done)).collect()
}
