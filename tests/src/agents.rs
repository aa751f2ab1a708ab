//! Agent descriptions for the tests.

use serde_json::{Value, json};

use crate::room::actor;

/// The text of an agent's file. JSON is YAML.
pub fn file(name: &str, description: Value) -> String {
    let mut agent = json!({"name": name, "driver": "command"});
    if let (Value::Object(into), Value::Object(from)) = (&mut agent, description) {
        into.extend(from);
    }
    serde_json::to_string_pretty(&agent).expect("JSON")
}

/// A shell script; `$1` and so on are `args`.
pub fn sh(script: &str, args: &[&str]) -> Value {
    let mut command = vec!["/bin/sh", "-c", script, "agent"];
    command.extend(args);
    json!({"command": command})
}

/// One mode of the suite's own helper program.
pub fn act(args: &[&str]) -> Value {
    let path = actor();
    let mut command = vec![path.to_str().expect("a path of UTF-8")];
    command.extend(args);
    json!({"command": command})
}

/// Its prompt is a marker's path: it says `holding`, holds that open, and waits for ever.
/// SIGTERM ends it.
pub fn holder() -> Value {
    with(act(&["hold"]), json!({"prompt_via": "arg"}))
}

/// As [`holder`], and SIGTERM does not end it.
pub fn stubborn() -> Value {
    with(act(&["hold-stubborn"]), json!({"prompt_via": "arg"}))
}

/// Its prompt is a marker's path: so many daemons hold that open, having left its session,
/// its environment and its name behind. It says `N daemons`, and waits or ends.
pub fn daemons(count: usize, stay: bool) -> Value {
    let then = if stay { "stay" } else { "leave" };
    with(act(&["daemons", &count.to_string(), then]), json!({"prompt_via": "arg"}))
}

/// Repeats its prompt and ends.
pub fn echo() -> Value {
    json!({"command": ["/bin/cat"]})
}

/// A persistent agent that answers each run with its prompt, or does what it says: `hang`,
/// `exit N`, `kill`, `garbage`.
pub fn persistent() -> Value {
    with(act(&["persistent"]), json!({"lifecycle": "persistent", "stdout": "jsonl"}))
}

/// A description with further keys.
pub fn with(mut description: Value, more: Value) -> Value {
    if let (Value::Object(into), Value::Object(from)) = (&mut description, more) {
        into.extend(from);
    }
    description
}
