//! Gemini CLI: `gemini -o stream-json`.

use serde_json::{Value, json};

use super::failure;
use super::stream::{Said, Stream, Usage, log, str_at, text, tokens, tool_call, tool_result};
use super::{Cancel, Feed, Preset};

/// How it is driven.
pub(super) const PRESET: Preset = Preset {
    // Nobody can say that the folder is trusted: it is the session's own.
    base: &["--output-format", "stream-json", "--skip-trust"],
    subject: None,
    autonomous: &["--yolo"],
    // What would be asked is not offered to the model: edits, writes and the shell.
    careful: &["--approval-mode", "default"],
    careful_env: &[],
    fresh: &[],
    resume: &["--resume", "{id}"],
    last: &[],
    // Else a wrapper is started that hears signals and does not pass them on.
    env: &[("GEMINI_CLI_NO_RELAUNCH", "true")],
    // Else a base URL of one's own selects a way to log in that needs a browser.
    files: &[(
        ".gemini/settings.json",
        "{\"security\":{\"auth\":{\"selectedType\":\"gemini-api-key\"}},\
         \"general\":{\"disableAutoUpdate\":true}}\n",
    )],
    feed: Feed::Prompt,
    cancel: Cancel::Signal(rustix::process::Signal::TERM),
    unknown: &[
        "Invalid session identifier",
        "No previous sessions found",
        "Error resuming session",
    ],
    stream: || Box::new(Gemini::default()),
};

/// Its stream.
#[derive(Debug, Default)]
struct Gemini {
    model: String,
}

impl Stream for Gemini {
    fn object(&mut self, kind: &str, line: &Value) -> Vec<Said> {
        match kind {
            "init" => {
                self.model = str_at(line, "/model").to_owned();
                vec![Said::Conversation(str_at(line, "/session_id").to_owned())]
            }
            "message" if str_at(line, "/role") == "assistant" => text(str_at(line, "/content")),
            "tool_use" => {
                let input = line.pointer("/parameters").unwrap_or(&Value::Null);
                vec![tool_call(str_at(line, "/tool_id"), str_at(line, "/tool_name"), input)]
            }
            "tool_result" => {
                let output = ["/output", "/error/message"].iter().find_map(|at| line.pointer(at));
                let failed = str_at(line, "/status") == "error";
                let output = output.cloned().unwrap_or_else(|| json!(""));
                vec![tool_result(str_at(line, "/tool_id"), output, failed)]
            }
            "error" => log(str_at(line, "/message")),
            "result" => {
                let usage = Usage {
                    input: tokens(line, "/stats/input_tokens"),
                    output: tokens(line, "/stats/output_tokens"),
                    cost: None,
                    model: Some(std::mem::take(&mut self.model)),
                };
                let failed = (str_at(line, "/status") != "success")
                    .then(|| Said::Failed(failure::of_model(str_at(line, "/error/message"))));
                usage.said().into_iter().chain(failed).chain([Said::Done]).collect()
            }
            _ => Vec::new(),
        }
    }
}
