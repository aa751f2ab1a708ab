//! What an editor sends as a prompt, as text; and what goes wrong, in the protocol's errors.

use greenroom_client::ClientError;
use greenroom_drivers::acp::wire::{AUTH_REQUIRED, RpcError};
use serde_json::Value;

/// What was asked does not fit.
pub(super) const INVALID_PARAMS: i32 = -32602;
/// There is no such method.
pub(super) const METHOD_NOT_FOUND: i32 = -32601;
/// It cannot be done now.
const INTERNAL: i32 = -32603;
/// There is no such session.
const NOT_FOUND: i32 = -32002;

/// Something does not fit.
pub(super) fn invalid(message: impl Into<String>) -> RpcError {
    RpcError { code: INVALID_PARAMS, message: message.into() }
}

/// Something cannot be done.
pub(super) fn failed(message: impl Into<String>) -> RpcError {
    RpcError { code: INTERNAL, message: message.into() }
}

/// What the coordinator refuses, with what to do.
pub(super) fn refused(error: ClientError) -> RpcError {
    if error.is_no_coordinator() {
        return failed(format!(
            "{error}; start one with `greenroom up`, or name another with --url or --data"
        ));
    }
    let ClientError::Problem(problem) = error else { return failed(error.to_string()) };
    let (code, hint) = match problem.status {
        401 => (
            AUTH_REQUIRED,
            Some("give `greenroom acp` a token with --token or GREENROOM_TOKEN".to_owned()),
        ),
        404 => (NOT_FOUND, problem.hint.clone()),
        400 | 422 => (INVALID_PARAMS, problem.hint.clone()),
        _ => (INTERNAL, problem.hint.clone()),
    };
    let message = match hint {
        Some(hint) => format!("{}; {hint}", problem.detail),
        None => problem.detail.clone(),
    };
    RpcError { code, message }
}

/// A prompt's blocks as one text.
pub(super) fn prompt(blocks: &Value) -> Result<String, RpcError> {
    let blocks = blocks.as_array().ok_or_else(|| invalid("prompt is a list of content blocks"))?;
    let mut text = String::new();
    for block in blocks {
        let field = |path: &str| block.pointer(path).and_then(Value::as_str);
        let kind = field("/type").unwrap_or_default();
        match kind {
            "text" => text.push_str(field("/text").unwrap_or_default()),
            "resource_link" => {
                let uri = field("/uri").unwrap_or_default();
                text.push_str(&format!("[{}]({uri})", field("/name").unwrap_or(uri)));
            }
            "resource" => {
                let uri = field("/resource/uri").unwrap_or_default();
                let Some(content) = field("/resource/text") else {
                    return Err(invalid(format!("{uri} is no text, and only text is taken along")));
                };
                text.push_str(&format!("\n<file uri=\"{uri}\">\n{content}\n</file>\n"));
            }
            other => {
                return Err(invalid(format!(
                    "a prompt here is text, links and embedded text, and this has {other:?}"
                )));
            }
        }
    }
    match text.trim().is_empty() {
        true => Err(invalid("the prompt is empty")),
        false => Ok(text),
    }
}

/// A line for people, from what was asked first.
pub(super) fn title(prompt: &str) -> String {
    let line = prompt.trim().lines().next().unwrap_or_default();
    crate::human::short(line, 80)
}

#[cfg(test)]
mod tests {
    use super::*;
    use greenroom_protocol::Problem;
    use serde_json::json;

    #[test]
    fn a_prompt_is_text_with_what_it_refers_to() {
        let blocks = json!([
            { "type": "text", "text": "look at " },
            { "type": "resource_link", "name": "main.rs", "uri": "file:///a/main.rs" },
            { "type": "resource", "resource": { "uri": "file:///b", "text": "hello" } },
        ]);
        let text = prompt(&blocks).expect("a prompt");
        assert!(text.starts_with(
            "look at [main.rs](file:///a/main.rs)\n<file uri=\"file:///b\">\nhello\n"
        ));
        for odd in [
            json!([{ "type": "image", "data": "" }]),
            json!([{ "type": "resource", "resource": { "uri": "x", "blob": "aGk=" } }]),
            json!([{ "type": "text", "text": " \n" }]),
            json!([]),
            json!("hello"),
        ] {
            assert_eq!(prompt(&odd).expect_err("no prompt").code, INVALID_PARAMS, "{odd}");
        }
        assert_eq!(title("\n fix it\nnow"), "fix it");
    }

    #[test]
    fn refusals_say_what_to_do() {
        let code = |status| {
            let problem = Problem::new(status, "x", "no").hint("do this");
            let error = refused(ClientError::Problem(Box::new(problem)));
            assert!(error.message.starts_with("no; "), "{error}");
            error.code
        };
        assert_eq!(
            [401, 404, 422, 409].map(code),
            [AUTH_REQUIRED, NOT_FOUND, INVALID_PARAMS, INTERNAL]
        );
    }
}
