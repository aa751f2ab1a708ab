//! `${params.X}`, `${scope.X}`, `${env.X}`, `${runtime.X}`: names in a description, and what
//! stands for them in a run.

use greenroom_core::{RunId, SessionId};
use serde_json::Value;

use super::words;
use crate::app::App;

/// What names stand for in one run.
pub(super) struct Values<'a> {
    pub app: &'a App,
    pub parameters: &'a Value,
    pub scope: &'a Option<Value>,
    pub session: &'a SessionId,
    pub run: RunId,
}

impl Values<'_> {
    /// Puts values in the place of names, in the prompt and in what MCP servers are given.
    /// What has no value stays as it is written; `${runner.X}` is the runner's to fill.
    pub(super) fn fill(&self, description: &mut Value) {
        for key in ["system_prompt", "mcp_servers"] {
            if let Some(part) = description.get_mut(key) {
                self.fill_all(part);
            }
        }
    }

    fn fill_all(&self, value: &mut Value) {
        match value {
            Value::String(text) => *text = filled(text, |name| self.value(name)),
            Value::Array(items) => items.iter_mut().for_each(|item| self.fill_all(item)),
            Value::Object(fields) => fields.values_mut().for_each(|field| self.fill_all(field)),
            _ => {}
        }
    }

    fn value(&self, name: &str) -> Option<String> {
        let (kind, name) = name.split_once('.')?;
        match kind {
            "params" => at(self.parameters, name),
            "scope" => at(self.scope.as_ref()?, name),
            // Only what an operator has named: anybody may write a description.
            "env" => {
                let allowed = self.app.exposed_env.iter().any(|exposed| exposed == name);
                std::env::var(name).ok().filter(|_| allowed)
            }
            "runtime" => match name {
                "session_id" => Some(self.session.to_string()),
                "run_id" => Some(words::run_id(self.run)),
                _ => None,
            },
            _ => None,
        }
    }
}

fn at(value: &Value, name: &str) -> Option<String> {
    let found = value
        .get(name)
        .or_else(|| name.split('.').try_fold(value, |value, part| value.get(part)))?;
    Some(match found {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    })
}

/// A text with values in the place of names. A value is not looked into again.
fn filled(text: &str, value: impl Fn(&str) -> Option<String>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(begin) = rest.find("${") {
        let Some(length) = rest[begin..].find('}') else { break };
        let (before, whole) = (&rest[..begin], &rest[begin..=begin + length]);
        out.push_str(before);
        match value(&whole[2..whole.len() - 1]) {
            Some(found) => out.push_str(&found),
            None => out.push_str(whole),
        }
        rest = &rest[begin + length + 1..];
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn names_are_filled_once() {
        let value = |name: &str| (name == "params.a").then(|| "${params.a}!".to_owned());
        assert_eq!(filled("x ${params.a} y ${b.c} ${", value), "x ${params.a}! y ${b.c} ${");
        assert_eq!(filled("${params.a}${params.a}", value), "${params.a}!${params.a}!");
        assert_eq!(filled("ä${}${params.a", value), "ä${}${params.a");
    }

    #[test]
    fn values_are_found_by_name_and_by_path() {
        let given = json!({"a": {"b": 1}, "c.d": "x"});
        assert_eq!(at(&given, "a.b").as_deref(), Some("1"));
        assert_eq!(at(&given, "c.d").as_deref(), Some("x"));
        assert_eq!(at(&given, "a.z"), None);
    }
}
