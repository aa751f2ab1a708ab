//! Why a turn went wrong, from what agents say about it.

use greenroom_core::record::RunError;
use serde_json::Value;

/// What agents say where they are not logged in, in lower case.
const AUTH: [&str; 12] = [
    "401",
    "unauthorized",
    "authentication",
    "invalid auth",
    "auth method",
    "api key",
    "api_key",
    "not logged in",
    "please run /login",
    "no authentication information",
    "oauth",
    "invalid x-api-key",
];

/// A turn that failed at the model, or at the door before it.
pub(super) fn of_model(message: &str) -> RunError {
    let message = readable(message);
    let code = if is_auth(&message) { "auth" } else { "model_error" };
    RunError::new(code, message)
}

/// As [`of_model`], where the status is known.
pub(super) fn of_status(status: Option<u64>, message: &str) -> RunError {
    match status {
        Some(401 | 403) => RunError::new("auth", readable(message)),
        Some(_) => RunError::new("model_error", readable(message)),
        None => of_model(message),
    }
}

/// A turn that failed within the agent.
pub(super) fn of_agent(message: &str) -> RunError {
    RunError::new("agent_error", readable(message))
}

/// An agent that ended without having said how the turn went.
pub(super) fn of_exit(how: &str, last_words: &str) -> RunError {
    let text = if last_words.is_empty() { how.to_owned() } else { format!("{how}: {last_words}") };
    let code = if is_auth(last_words) { "auth" } else { "exit" };
    RunError::new(code, text)
}

fn is_auth(message: &str) -> bool {
    let message = message.to_lowercase();
    AUTH.iter().any(|word| message.contains(word))
}

/// The message within a message that is JSON, and not too long.
fn readable(message: &str) -> String {
    let inner = message
        .find('{')
        .and_then(|at| serde_json::Deserializer::from_str(&message[at..]).into_iter().next())
        .and_then(Result::ok)
        .and_then(|value: Value| {
            let text = value.pointer("/error/message").or_else(|| value.pointer("/message"))?;
            text.as_str().map(str::to_owned)
        });
    let mut text = inner.unwrap_or_else(|| message.trim().to_owned());
    if text.is_empty() {
        text = "the agent did not say what went wrong".to_owned();
    }
    if let Some((at, _)) = text.char_indices().nth(1000) {
        text.truncate(at);
        text.push('…');
    }
    text
}

/// Without the sequences that give a terminal its colours.
pub(super) fn uncoloured(text: &str) -> String {
    let mut parts = text.split("\u{1b}[");
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let end = part.find(|c: char| c.is_ascii_alphabetic()).map_or(part.len(), |at| at + 1);
        plain.push_str(&part[end..]);
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_agents_say_is_told_apart() {
        let wrapped = r#"[API Error: {"error":{"code":400,"message":"too long"}}]"#;
        assert_eq!(of_model(wrapped), RunError::new("model_error", "too long"));
        assert_eq!(of_model("Invalid API key · Please run /login").code, "auth");
        assert_eq!(of_status(Some(403), "no").code, "auth");
        assert_eq!(of_status(Some(500), "api key store is down").code, "model_error");
        assert_eq!(of_exit("codex exited with code 1", "").message, "codex exited with code 1");
        assert_eq!(of_exit("x", "Error: Not logged in").code, "auth");
        assert_eq!(of_agent("{ not json").message, "{ not json");
        assert_eq!(uncoloured("\u{1b}[91m\u{1b}[1mError: \u{1b}[0mno"), "Error: no");
    }
}
