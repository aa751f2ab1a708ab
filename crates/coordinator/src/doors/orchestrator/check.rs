//! Whether parameters fit what an agent asks for.

use jsonschema::Draft;
use serde_json::{Value, json};

use super::fault::{Done, Fault};

/// What is asked for where an agent says nothing: a prompt, and nothing else.
pub(super) fn implicit() -> Value {
    json!({
        "type": "object",
        "properties": { "prompt": { "type": "string", "minLength": 1 } },
        "required": ["prompt"],
        "additionalProperties": false,
    })
}

/// Refuses parameters that do not fit, with every place.
pub(super) fn parameters(agent: Option<&str>, schema: Option<&Value>, given: &Value) -> Done<()> {
    let schema = schema.cloned().unwrap_or_else(implicit);
    let agent = agent.unwrap_or("(none)");
    let validator = compile(&schema).map_err(|error| {
        Fault::new(422, format!("the parameters_schema of agent '{agent}' is not one: {error}"))
    })?;
    let errors: Vec<Value> = validator
        .iter_errors(given)
        .take(50)
        .map(|error| {
            let message: String = error.to_string().chars().take(400).collect();
            json!({
                "path": place(&error.instance_path().to_string()),
                "message": message,
                "schema_path": error.schema_path().to_string().trim_start_matches('/'),
            })
        })
        .collect();
    if errors.is_empty() {
        return Ok(());
    }
    Err(Fault::Detail(
        400,
        json!({
            "error": "parameter_validation_failed",
            "message": format!("Parameters do not match the schema of agent '{agent}'"),
            "agent_name": agent,
            "validation_errors": errors,
            "parameters_schema": schema,
        }),
    ))
}

/// Compiles a schema of the seventh draft. References to elsewhere are refused.
pub(super) fn compile(schema: &Value) -> Result<jsonschema::Validator, String> {
    let options = jsonschema::options().with_draft(Draft::Draft7);
    options.build(schema).map_err(|error| error.to_string())
}

/// A JSON pointer as `$.a[0]`.
fn place(pointer: &str) -> String {
    let mut place = "$".to_owned();
    for part in pointer.split('/').skip(1) {
        let part = part.replace("~1", "/").replace("~0", "~");
        match part.parse::<u32>() {
            Ok(number) => place.push_str(&format!("[{number}]")),
            Err(_) => place.push_str(&format!(".{part}")),
        }
    }
    place
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn misfits_name_their_places() {
        assert!(parameters(None, None, &json!({"prompt": "x"})).is_ok());
        let schema = json!({"type": "object", "properties": {"a": {"type": "array",
            "items": {"type": "integer"}}}, "required": ["b"]});
        let given = json!({"a": [1, "x"]});
        let Err(Fault::Detail(400, detail)) = parameters(Some("x"), Some(&schema), &given) else {
            panic!("it does not fit");
        };
        let errors = detail["validation_errors"].as_array().expect("errors");
        let places: Vec<_> = errors.iter().map(|error| error["path"].clone()).collect();
        assert!(places.contains(&json!("$.a[1]")) && places.contains(&json!("$")), "{detail}");
        for bad in
            [json!({}), json!({"prompt": ""}), json!({"prompt": 1}), json!({"prompt": "x", "y": 1})]
        {
            assert!(parameters(None, None, &bad).is_err(), "{bad}");
        }
        assert!(parameters(None, Some(&json!({"type": 7})), &json!({})).is_err());
    }
}
