//! JSON Schemas of agents: compiled without ever fetching anything, and with errors that
//! name the place.

use jsonschema::Validator;
use serde_json::Value;

/// Compiles a schema. References to elsewhere are refused.
pub(crate) fn compile(schema: &Value) -> Result<Validator, String> {
    jsonschema::validator_for(schema).map_err(|error| error.to_string())
}

/// What does not fit, and where.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Misfit {
    /// JSON pointer into the document.
    pub path: String,
    /// What is wrong there.
    pub message: String,
}

/// Checks a document against a compiled schema.
pub(crate) fn check(validator: &Validator, document: &Value) -> Result<(), Misfit> {
    validator.validate(document).map_err(|error| {
        let mut message = error.to_string();
        if message.len() > 400 {
            let cut = message.floor_char_boundary(400);
            message.truncate(cut);
            message.push('…');
        }
        Misfit { path: error.instance_path().to_string(), message }
    })
}

/// SHA-256 of a JSON document, whatever the order of its keys.
pub(crate) fn digest(document: &Value) -> [u8; 32] {
    let mut text = String::new();
    canonical(document, &mut text);
    crate::secret::hash(&text)
}

fn canonical(value: &Value, out: &mut String) {
    match value {
        Value::Object(fields) => {
            let mut keys: Vec<&String> = fields.keys().collect();
            keys.sort();
            out.push('{');
            for key in keys {
                out.push_str(&Value::from(key.as_str()).to_string());
                out.push(':');
                canonical(&fields[key], out);
                out.push(',');
            }
            out.push('}');
        }
        Value::Array(items) => {
            out.push('[');
            for item in items {
                canonical(item, out);
                out.push(',');
            }
            out.push(']');
        }
        plain => out.push_str(&plain.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn misfits_name_the_place() {
        let schema = json!({"type": "object", "properties": {"a": {"type": "array", "items": {"type": "integer"}}}});
        let validator = compile(&schema).expect("a schema");
        assert_eq!(check(&validator, &json!({"a": [1]})), Ok(()));
        let misfit = check(&validator, &json!({"a": [1, "x"]})).expect_err("a misfit");
        assert_eq!(misfit.path, "/a/1");
        assert!(compile(&json!({"type": 7})).is_err());
        assert!(compile(&json!({"$ref": "http://example.com/schema"})).is_err());
    }

    #[test]
    fn the_digest_ignores_order() {
        let a: Value = serde_json::from_str(r#"{"a":1,"b":{"c":2,"d":3}}"#).expect("json");
        let b: Value = serde_json::from_str(r#"{"b":{"d":3,"c":2},"a":1}"#).expect("json");
        assert_eq!(digest(&a), digest(&b));
        assert_ne!(digest(&a), digest(&json!({"a":1})));
    }
}
