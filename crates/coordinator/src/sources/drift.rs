//! What is different between two descriptions, for people.

use greenroom_core::AgentSpec;
use greenroom_core::fact::Difference;
use serde_json::Value;

/// Differences that are told; more are counted by nobody.
const MOST: usize = 32;
/// Characters of a value that are shown.
const SHOWN: usize = 200;

/// The places where two descriptions differ, in order.
pub(crate) fn differences(before: &AgentSpec, after: &AgentSpec) -> Vec<Difference> {
    let json = |spec| serde_json::to_value(spec).unwrap_or_default();
    let mut found = Vec::new();
    walk(String::new(), &json(before), &json(after), &mut found);
    found.truncate(MOST);
    found
}

fn walk(path: String, before: &Value, after: &Value, found: &mut Vec<Difference>) {
    if before == after || found.len() > MOST {
        return;
    }
    match (before, after) {
        (Value::Object(old), Value::Object(new)) => {
            let mut keys: Vec<&String> = old.keys().chain(new.keys()).collect();
            keys.sort();
            keys.dedup();
            for key in keys {
                let path = format!("{path}/{}", key.replace('~', "~0").replace('/', "~1"));
                let side =
                    |map: &serde_json::Map<_, _>| map.get(key).cloned().unwrap_or(Value::Null);
                walk(path, &side(old), &side(new), found);
            }
        }
        (Value::Array(old), Value::Array(new)) => {
            for index in 0..old.len().max(new.len()) {
                let side = |list: &Vec<Value>| list.get(index).cloned().unwrap_or(Value::Null);
                walk(format!("{path}/{index}"), &side(old), &side(new), found);
            }
        }
        _ => {
            let hidden = path.starts_with("/env/");
            let side = |value: &Value| (!value.is_null()).then(|| shown(value, hidden));
            found.push(Difference { from: side(before), to: side(after), path });
        }
    }
}

/// A value as JSON. What is in an agent's environment is nobody else's business.
fn shown(value: &Value, hidden: bool) -> String {
    if hidden {
        return "…".to_owned();
    }
    let mut text = value.to_string();
    if text.chars().count() > SHOWN {
        text = text.chars().take(SHOWN).chain(['…']).collect();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sources::parse;

    #[test]
    fn differences_name_their_places() {
        let spec = |text: &str| parse(text, "a.yaml").expect("an agent");
        let before =
            spec("name: a\ndriver: command\ncommand: [sh, -c, one]\nenv: { K: s3cret, L: l }\n");
        let after = spec(&format!(
            "name: a\ndescription: new\ndriver: command\ncommand: [sh, -c, {}, more]\nenv: {{ K: other, L: l }}\n",
            "x".repeat(300)
        ));
        assert_eq!(differences(&before, &before), []);
        let found = differences(&before, &after);
        let told: Vec<_> = found
            .iter()
            .map(|d| {
                (d.path.as_str(), d.from.as_deref().unwrap_or("-"), d.to.as_deref().unwrap_or("-"))
            })
            .collect();
        let long = format!("\"{}…", "x".repeat(199));
        assert_eq!(
            told,
            [
                ("/description", "-", "\"new\""),
                ("/driver/command/2", "\"one\"", long.as_str()),
                ("/driver/command/3", "-", "\"more\""),
                ("/env/K", "…", "…"),
            ]
        );
    }
}
