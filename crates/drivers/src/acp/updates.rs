//! `session/update`: from the agent's words to ours. Pure, and tolerant: a kind that is
//! not known is kept as it is.

use greenroom_core::record::OutputKind;
use serde_json::{Map, Value, json};

/// What an update says.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Said {
    /// A piece of the answer.
    Text(String),
    /// A piece of its thinking.
    Thought(String),
    /// Anything else, as an event.
    Event(OutputKind, Value),
    /// Nothing that is not known already.
    Nothing,
}

/// Reads one update.
pub(super) fn read(update: &Value) -> Said {
    let field = |key: &str| update.get(key).cloned().unwrap_or(Value::Null);
    match update.get("sessionUpdate").and_then(Value::as_str).unwrap_or_default() {
        "agent_message_chunk" => match text_of(&update["content"]) {
            Some(text) => Said::Text(text),
            None => Said::Event(
                OutputKind::Message,
                json!({ "role": "agent", "content": field("content") }),
            ),
        },
        "agent_thought_chunk" => Said::Thought(
            text_of(&update["content"]).unwrap_or_else(|| field("content").to_string()),
        ),
        // Our own prompt, or what was said before.
        "user_message_chunk" => Said::Nothing,
        "tool_call" => Said::Event(OutputKind::ToolCall, tool_call(update, false)),
        "tool_call_update" => match update.get("status").and_then(Value::as_str) {
            Some("completed" | "failed") => {
                Said::Event(OutputKind::ToolResult, tool_result(update))
            }
            _ => Said::Event(OutputKind::ToolCall, tool_call(update, true)),
        },
        "plan" => Said::Event(OutputKind::Plan, json!({ "entries": field("entries") })),
        "usage_update" => Said::Event(
            OutputKind::Usage,
            json!({
                "context_tokens": field("used"), "context_limit": field("size"),
                "total_cost": field("cost"),
            }),
        ),
        "available_commands_update" => {
            info("commands", json!({ "commands": field("availableCommands") }))
        }
        "current_mode_update" => info("mode", json!({ "mode": field("currentModeId") })),
        "config_option_update" => info("config", json!({ "options": field("configOptions") })),
        "session_info_update" => info("title", without(update, &["sessionUpdate", "_meta"])),
        kind => {
            let mut data = without(update, &["sessionUpdate", "_meta"]);
            data["stream"] = "agent".into();
            data["text"] = kind.into();
            Said::Event(OutputKind::Log, data)
        }
    }
}

/// What the agent says of itself.
pub(super) fn info(about: &str, mut data: Value) -> Said {
    data["about"] = about.into();
    Said::Event(OutputKind::AgentInfo, data)
}

fn text_of(content: &Value) -> Option<String> {
    (content["type"] == "text").then(|| content["text"].as_str().map(str::to_owned))?
}

fn without(update: &Value, keys: &[&str]) -> Value {
    let mut fields = update.as_object().cloned().unwrap_or_default();
    fields.retain(|key, _| !keys.contains(&key.as_str()));
    Value::Object(fields)
}

/// The fields of a call that are there, by our names.
fn tool_call(update: &Value, is_update: bool) -> Value {
    let mut data = Map::new();
    for (theirs, ours) in [
        ("toolCallId", "id"),
        ("title", "title"),
        ("kind", "kind"),
        ("status", "status"),
        ("rawInput", "input"),
        ("content", "content"),
        ("locations", "locations"),
    ] {
        if let Some(value) = update.get(theirs).filter(|value| !value.is_null()) {
            data.insert(ours.to_owned(), value.clone());
        }
    }
    if let Some(tool) = tool_of(update) {
        data.insert("tool".to_owned(), tool.into());
    }
    if is_update {
        data.insert("update".to_owned(), true.into());
    }
    Value::Object(data)
}

fn tool_result(update: &Value) -> Value {
    let mut data = Map::new();
    for (theirs, ours) in [
        ("toolCallId", "id"),
        ("title", "title"),
        ("rawOutput", "raw_output"),
        ("content", "content"),
        ("rawInput", "input"),
    ] {
        if let Some(value) = update.get(theirs).filter(|value| !value.is_null()) {
            data.insert(ours.to_owned(), value.clone());
        }
    }
    if let Some(text) = output_text(&update["content"]) {
        data.insert("output".to_owned(), text.into());
    }
    data.insert("is_error".to_owned(), (update["status"] == "failed").into());
    Value::Object(data)
}

fn output_text(content: &Value) -> Option<String> {
    let pieces: Vec<String> =
        content.as_array()?.iter().filter_map(|piece| text_of(&piece["content"])).collect();
    (!pieces.is_empty()).then(|| pieces.join("\n"))
}

/// What a call's tool is named. The protocol has no name for it: some agents say it in
/// `name` or beside, the others have a kind.
pub(super) fn tool_of(call: &Value) -> Option<String> {
    let named = [&call["name"], &call["toolName"], &call["_meta"]["claudeCode"]["toolName"]];
    let named = named.into_iter().find_map(Value::as_str);
    named.or_else(|| call["kind"].as_str()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn event(update: Value) -> (OutputKind, Value) {
        match read(&update) {
            Said::Event(kind, data) => (kind, data),
            other => panic!("it is {other:?}"),
        }
    }

    #[test]
    fn text_and_thoughts_are_pieces() {
        let chunk =
            |kind: &str| json!({"sessionUpdate": kind, "content": {"type": "text", "text": "hi"}});
        assert_eq!(read(&chunk("agent_message_chunk")), Said::Text("hi".into()));
        assert_eq!(read(&chunk("agent_thought_chunk")), Said::Thought("hi".into()));
        assert_eq!(read(&chunk("user_message_chunk")), Said::Nothing);
        let image = json!({"sessionUpdate": "agent_message_chunk", "content": {"type": "image", "data": "…"}});
        assert_eq!(event(image).0, OutputKind::Message);
    }

    #[test]
    fn a_call_and_its_result() {
        let call = json!({"sessionUpdate": "tool_call", "toolCallId": "t1", "title": "Write a", "name": "Write",
            "kind": "edit", "status": "pending", "rawInput": {"path": "a"}});
        let (kind, data) = event(call);
        assert_eq!(kind, OutputKind::ToolCall);
        assert_eq!(
            (&data["id"], &data["tool"], &data["input"]["path"]),
            (&json!("t1"), &json!("Write"), &json!("a"))
        );
        let done = json!({"sessionUpdate": "tool_call_update", "toolCallId": "t1", "status": "failed",
            "content": [{"type": "content", "content": {"type": "text", "text": "no"}}]});
        let (kind, data) = event(done);
        assert_eq!(kind, OutputKind::ToolResult);
        assert_eq!((&data["output"], &data["is_error"]), (&json!("no"), &json!(true)));
        let going_on = json!({"sessionUpdate": "tool_call_update", "toolCallId": "t1", "status": "in_progress"});
        let (kind, data) = event(going_on);
        assert_eq!((kind, &data["update"]), (OutputKind::ToolCall, &json!(true)));
    }

    #[test]
    fn every_kind_of_the_protocol_is_mapped() {
        for (kind, becomes) in [
            ("plan", OutputKind::Plan),
            ("usage_update", OutputKind::Usage),
            ("available_commands_update", OutputKind::AgentInfo),
            ("current_mode_update", OutputKind::AgentInfo),
            ("config_option_update", OutputKind::AgentInfo),
            ("session_info_update", OutputKind::AgentInfo),
            ("notice", OutputKind::Log),
            ("compaction_update", OutputKind::Log),
            ("of tomorrow", OutputKind::Log),
        ] {
            assert_eq!(event(json!({"sessionUpdate": kind})).0, becomes, "{kind}");
        }
    }

    /// Any JSON, a few levels deep, with the protocol's keys among its keys.
    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            ".{0,8}".prop_map(Value::from),
            prop::sample::select(vec![
                "text",
                "tool_call",
                "tool_call_update",
                "agent_message_chunk",
                "completed",
                "plan"
            ])
            .prop_map(Value::from),
        ];
        let key = prop_oneof![
            prop::sample::select(vec![
                "sessionUpdate",
                "content",
                "type",
                "text",
                "status",
                "toolCallId",
                "_meta",
                "rawInput"
            ])
            .prop_map(str::to_owned),
            "[a-z]{1,4}",
        ];
        leaf.prop_recursive(3, 24, 6, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map(key.clone(), inner, 0..6)
                    .prop_map(|fields| Value::Object(fields.into_iter().collect())),
            ]
        })
    }

    proptest! {
        /// Whatever an agent sends, it is read as something, and an event's data is an object.
        #[test]
        fn anything_is_read(update in any_json()) {
            if let Said::Event(_, data) = read(&update) {
                prop_assert!(data.is_object());
            }
        }
    }
}
