//! The description of the API, as OpenAPI 3.1: what the handlers say of themselves, and
//! what is the same for all of them.

use serde_json::{Map, Value, json};

use super::operations;

const PROBLEM: &str = "application/problem+json";

/// The whole document.
pub fn document() -> Value {
    let (_, api) = operations().split_for_parts();
    let mut document = serde_json::to_value(&api).unwrap_or_default();
    document["info"] = json!({
        "title": "Greenroom",
        "version": env!("CARGO_PKG_VERSION"),
        "description": "Start AI agents, watch them live, stop them for certain, and let them go on later.\n\nA program that serves users of its own may name one in the header `X-Greenroom-User` of any request: it then sees the sessions of that user and no others, and those it creates are that user's.",
        "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
    });
    document["security"] = json!([{ "bearer": [] }]);
    let components = &mut document["components"];
    components["securitySchemes"] = json!({
        "bearer": { "type": "http", "scheme": "bearer" },
    });
    complete_schemas(&mut components["schemas"]);
    if let Some(paths) = document["paths"].as_object_mut() {
        // The router's way to write "the rest of the path" is not OpenAPI's.
        let renamed = std::mem::take(paths);
        paths.extend(renamed.into_iter().map(|(path, item)| (path.replace("{*", "{"), item)));
        for (path, item) in paths {
            for (method, operation) in item.as_object_mut().into_iter().flatten() {
                complete_operation(path, method, operation);
            }
        }
    }
    document
}

/// Adds the refusals every operation shares, and tightens its parameters.
fn complete_operation(path: &str, method: &str, operation: &mut Value) {
    // Handlers are named by what they do to their noun; the document needs both.
    let id = operation["operationId"].as_str().unwrap_or_default().to_owned();
    let tag = operation["tags"][0].as_str().unwrap_or_default().to_owned();
    // What one handler does for several methods is several operations.
    let id = if tag == "http" { method } else { &id };
    operation["operationId"] = format!("{tag}_{id}").into();
    let is_open = operation.get("security").is_some();
    let writes = method != "get";
    let has_body = operation.get("requestBody").is_some();
    let has_path = path.contains('{');
    let parameters: Vec<Value> =
        operation.get("parameters").and_then(Value::as_array).cloned().unwrap_or_default();
    let has_cursor = parameters.iter().any(|parameter| parameter["name"] == "cursor");
    let mut add = |status: &str, text: &str| {
        let response = json!({
            "description": text,
            "content": { PROBLEM: { "schema": { "$ref": "#/components/schemas/Problem" } } },
        });
        let responses = &mut operation["responses"];
        if responses.get(status).is_none() {
            responses[status] = response;
        }
    };
    if !is_open {
        add("401", "No valid token");
    }
    add("403", "A missing right, or a foreign Origin");
    if has_path || has_cursor {
        add("404", "What isn't there, or isn't yours");
    }
    if has_body {
        add("413", "Too large");
    }
    add("421", "A foreign Host");
    if has_body || !parameters.is_empty() {
        add("422", "What does not parse");
    }
    let admits = ["/v1/sessions", "/fork", "/runs", "/resume"];
    if tag == "http" || (method == "post" && admits.iter().any(|end| path.ends_with(end))) {
        add(
            "429",
            "`quota_exceeded`: `quota` says which, and the header Retry-After when to try again",
        );
    }
    add("500", "A mistake of the coordinator, or of its store");
    if writes {
        add("507", "The disk is full, and nothing was kept");
    }
    if path.contains("/files") || tag == "http" {
        add("503", "The coordinator is ending");
    }
    let parameters = operation.get_mut("parameters").and_then(Value::as_array_mut);
    for parameter in parameters.into_iter().flatten() {
        complete_parameter(parameter);
    }
}

/// The name of a model: printed, and no option of a command.
const MODEL: &str = "[!-,.-~]([ -~]{0,198}[!-~])?";
/// An absolute path that leads nowhere but down, of names that every file system takes.
const FOLDER: &str = r"^(/|(/(?!\.\.?(/|$))[^/\u0000-\u001f\u007f-\u009f]{1,60})+)$";

/// A span of time as text. Like all parameters, an empty one is as good as none.
const DURATION: &str = "^([0-9]{1,10}ms|[0-9]{1,8}s|[0-9]{1,6}m|[0-9]{1,4}h|[0-9]{1,3}d)?$";
/// A position in a log; the history it is of stands before it, after a restore.
const POSITION: &str = "([0-9]+\\.)?[0-9]+";
/// An identity.
const UUID: &str = "[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}";
/// A cursor is bytes, written as two digits each.
const CURSOR: &str = "^([0-9a-f]{2})*$";
/// A path beneath the workspace: not absolute, and without a part that leads upwards.
const BENEATH: &str = "^(?!/)(?!([^\\u0000]*/)?\\.\\.(/|$))[^\\u0000]*$";
/// A session to watch.
const WATCHED: &str = "[A-Za-z0-9][A-Za-z0-9._-]{0,127}";

fn complete_parameter(parameter: &mut Value) {
    let name = parameter["name"].as_str().unwrap_or_default().to_owned();
    let within = parameter["in"].as_str().unwrap_or_default().to_owned();
    let text = |pattern: &str| json!({ "type": "string", "pattern": pattern });
    let schema = match (within.as_str(), name.as_str()) {
        ("query", "wait") => text(DURATION),
        ("query", "from") | ("header", "Last-Event-ID") => text(&format!("^({POSITION})?$")),
        ("query", "watch") => {
            let one = format!("{WATCHED}(@{POSITION})?");
            text(&format!("^({one}(,{one}){{0,49}})?$"))
        }
        ("query", "cursor") => text(CURSOR),
        ("query", "seq") => text("^([1-9][0-9]{0,17})?$"),
        ("query", "label") => json!({ "type": "array", "items": text("^([^=]+=[\\s\\S]*)?$") }),
        ("query", "sort") => json!({ "type": "string", "enum": ["created", "active", "id", ""] }),
        ("query", "status") => text(&format!("^ *({0})? *(, *({0})? *)*$", statuses())),
        ("query", "limit") => json!({ "type": "integer", "minimum": 1 }),
        ("query", "runner" | "run" | "since") => text(&format!("^({UUID})?$")),
        ("query", "path") | ("path", "path") => {
            json!({ "type": "string", "maxLength": 4096, "pattern": BENEATH })
        }
        ("query", "recursive" | "force" | "lift" | "roots") => json!({ "type": "boolean" }),
        ("header", "Idempotency-Key") => text("^[!-~]([ -~]{0,253}[!-~])?$"),
        ("query", _) => json!({ "type": "string" }),
        _ => return,
    };
    parameter["schema"] = schema;
}

fn statuses() -> String {
    greenroom_core::Status::ALL.map(greenroom_core::Status::as_str).join("|")
}

/// Adds to the schemas what types alone do not say.
fn complete_schemas(schemas: &mut Value) {
    let name = |max: u32| json!({ "type": "string", "pattern": format!("^[A-Za-z0-9][A-Za-z0-9._-]{{0,{max}}}$") });
    let Some(all) = schemas.as_object_mut() else { return };
    let span =
        json!({ "type": ["integer", "null"], "minimum": 0, "maximum": greenroom_core::Ms::MAX.0 });
    set(
        all,
        "Limits",
        &[
            ("idle_ms", span.clone()),
            ("run_ms", span.clone()),
            ("start_ms", span.clone()),
            ("ttl_ms", span.clone()),
            ("unused_ms", span.clone()),
            ("pids", json!({ "type": ["integer", "null"], "minimum": 1, "maximum": u32::MAX })),
            (
                "iterations",
                json!({ "type": ["integer", "null"], "minimum": 1, "maximum": u32::MAX }),
            ),
        ],
    );
    let labels = json!({
        "type": ["object", "null"], "maxProperties": 64,
        "propertyNames": { "type": "string", "minLength": 1, "maxLength": 100, "pattern": "^[^=]+$" },
        "additionalProperties": { "type": "string", "maxLength": 500 },
    });
    let title = json!({ "type": ["string", "null"], "maxLength": 500 });
    let mut id = name(127);
    id["type"] = json!(["string", "null"]);
    let named = [("id", id), ("labels", labels.clone()), ("title", title.clone())];
    set(all, "CreateSession", &named);
    set(all, "CreateSession", &[("runner_labels", labels.clone())]);
    // Empty takes a choice back.
    for (schema, optional) in [("CreateSession", ""), ("PatchSession", "?")] {
        let pattern = format!("^({MODEL}){optional}$");
        let model = |kind: Value| json!({ "type": kind, "pattern": pattern });
        let models = json!({
            "type": ["object", "null"], "propertyNames": name(62),
            "additionalProperties": model(json!("string")),
        });
        set(all, schema, &[("model", model(json!(["string", "null"]))), ("models", models)]);
    }
    if let Some(folder) = all.get_mut("FolderPath") {
        folder["maxLength"] = json!(1000);
        folder["pattern"] = json!(FOLDER);
    }
    set(all, "ForkSession", &named);
    set(all, "PatchSession", &[("labels", labels), ("title", title)]);
    set(
        all,
        "CreateRun",
        &[(
            "mode",
            json!({ "type": ["string", "null"], "enum": ["enqueue", "interrupt", "reject", "steer", null] }),
        )],
    );
    set(
        all,
        "StopRequest",
        &[
            ("grace_ms", span.clone()),
            ("reason", json!({ "type": ["string", "null"], "maxLength": 2000 })),
        ],
    );
    set(all, "StopRunRequest", &[("grace_ms", span)]);
    set(
        all,
        "AbandonRequest",
        &[(
            "reason",
            json!({ "type": "string", "minLength": 1, "maxLength": 2000, "pattern": "\\S" }),
        )],
    );
    set(all, "AddAgent", &[("source", json!({ "type": "string", "pattern": "^[^\\u0000:]+$" }))]);
    set(
        all,
        "CreateToken",
        &[
            (
                "principal",
                json!({ "type": ["string", "null"], "minLength": 1, "maxLength": 200, "pattern": "^[^\\u0000-\\u001f\\u007f-\\u009f]+$" }),
            ),
            (
                "role",
                json!({ "type": "string", "enum": ["admin", "operator", "viewer", "runner"] }),
            ),
        ],
    );
    let path = json!({ "type": "string", "minLength": 1, "maxLength": 4096, "pattern": BENEATH });
    set(all, "Mkdir", &[("path", path)]);
    let text = |pattern: String| json!({ "type": ["string", "null"], "pattern": pattern });
    let (branch, remote) = push_patterns();
    set(all, "PushRequest", &[("branch", text(branch)), ("remote", text(remote))]);
    all.values_mut().for_each(one_key_says_which);
    // One of `prompt` and `input`; for a session, at most one.
    let given = |key: &str| json!({ "required": [key], "properties": { key: { "not": { "type": "null" } } } });
    let both = json!({ "allOf": [given("prompt"), given("input")] });
    for (schema, needs_one) in [("CreateRun", true), ("CreateSession", false), ("ReviseRun", false)]
    {
        let Some(schema) = all.get_mut(schema) else { continue };
        schema["not"] = both.clone();
        if needs_one {
            schema["allOf"] = one_of_them(&[given("prompt"), given("input")]);
        }
    }
    if let Some(schema) = all.get_mut("ForkSession") {
        schema["not"] = json!({ "allOf": [given("before_run"), given("before_message")] });
    }
    if let Some(schema) = all.get_mut("ReviseRun") {
        schema["allOf"] = one_of_them(&[given("prompt"), given("input"), given("position")]);
    }
    super::plain::make_plain(all);
}

/// At least one of these. Behind `allOf`, so that it is a condition on one kind of thing and
/// not several kinds, of which generators would make a type each.
fn one_of_them(given: &[Value]) -> Value {
    json!([{ "anyOf": given }])
}

/// What a branch and an address look like: the latter with a scheme, or as `user@host:path`,
/// without a password either way.
fn push_patterns() -> (String, String) {
    let control = "\\u0000-\\u001f\\u007f-\\u009f";
    let branch = format!("^[^\\-{control}][^{control}]*$");
    let schemed =
        format!("(?:https?|ssh|git)://(?:[^/:@{control}]*@)?[^/@{control}]*(?:/[^{control}]*)?");
    let short = format!("[^\\-/:@{control}][^/:@{control}]*@[^/:@{control}]*:[^@{control}]*");
    (branch, format!("^(?:{schemed}|{short})$"))
}

/// Where the name of an object's only key says which of several things it is, it has no other.
fn one_key_says_which(schema: &mut Value) {
    let variants = schema.get_mut("oneOf").and_then(Value::as_array_mut);
    for variant in variants.into_iter().flatten() {
        let keys = variant["properties"].as_object().map_or(0, Map::len);
        let required = variant["required"].as_array().map_or(0, Vec::len);
        if (keys, required) == (1, 1) && variant["properties"].as_object().is_some_and(is_content) {
            variant["maxProperties"] = 1.into();
        }
    }
}

/// Whether what stands behind a key is more than a word that says which it is.
fn is_content(properties: &Map<String, Value>) -> bool {
    properties.values().all(|value| value.get("enum").is_none() && value.get("const").is_none())
}

fn set(all: &mut Map<String, Value>, schema: &str, properties: &[(&str, Value)]) {
    let Some(known) = all.get_mut(schema).and_then(|schema| schema.get_mut("properties")) else {
        return;
    };
    for (name, value) in properties {
        let Some(property) = known.get_mut(*name) else { continue };
        let description = property.get("description").cloned();
        *property = value.clone();
        if let Some(description) = description {
            property["description"] = description;
        }
    }
}
