//! Answers in the four wire formats, and what of a request says the same in each.

use greenroom_core::loop_spec::Provider;
use serde_json::{Value, json};

fn data(value: Value) -> String {
    format!("data: {value}\n\n")
}

fn named(name: &str, value: Value) -> String {
    format!("event: {name}\ndata: {value}\n\n")
}

/// An answer in one of the formats: thoughts first, then text, then calls, then the end.
#[derive(Debug, Clone, Default)]
pub(crate) struct Said<'a> {
    pub(crate) text: &'a [&'a str],
    pub(crate) calls: &'a [(&'a str, &'a str, &'a str)],
    /// Input and output tokens.
    pub(crate) tokens: (u64, u64),
}

/// Only text.
pub(crate) fn text<'a>(text: &'a [&'a str]) -> Said<'a> {
    Said { text, ..Said::default() }
}

/// Only calls: id, tool, input.
pub(crate) fn calls<'a>(calls: &'a [(&'a str, &'a str, &'a str)]) -> Said<'a> {
    Said { calls, ..Said::default() }
}

pub(crate) fn events(provider: Provider, said: &Said<'_>) -> Vec<String> {
    match provider {
        Provider::Openai => openai(said),
        Provider::OpenaiResponses => responses(said),
        Provider::Anthropic => anthropic(said),
        Provider::Gemini => gemini(said),
    }
}

/// How many of the last events are only the end of the answer.
pub(crate) fn ending(provider: Provider) -> usize {
    match provider {
        Provider::Openai | Provider::OpenaiResponses => 1,
        Provider::Anthropic => 2,
        Provider::Gemini => 1,
    }
}

fn openai(said: &Said<'_>) -> Vec<String> {
    let choice = |delta: Value, end: Value| {
        data(json!({"id": "x", "object": "chat.completion.chunk",
            "choices": [{"index": 0, "delta": delta, "finish_reason": end}]}))
    };
    let mut events = vec![choice(json!({"role": "assistant", "content": ""}), Value::Null)];
    events.extend(said.text.iter().map(|t| choice(json!({"content": t}), Value::Null)));
    for (at, (id, tool, input)) in said.calls.iter().enumerate() {
        let (head, tail) = input.split_at(input.len() / 2);
        let begun = json!({"tool_calls": [{"index": at, "id": id, "type": "function",
            "function": {"name": tool, "arguments": head}}]});
        events.push(choice(begun, Value::Null));
        let rest = json!({"tool_calls": [{"index": at, "function": {"arguments": tail}}]});
        events.push(choice(rest, Value::Null));
    }
    let end = if said.calls.is_empty() { "stop" } else { "tool_calls" };
    events.push(choice(json!({}), json!(end)));
    let (input, output) = said.tokens;
    events.push(data(json!({"choices": [], "usage": {
        "prompt_tokens": input, "completion_tokens": output, "total_tokens": input + output}})));
    events.push("data: [DONE]\n\n".to_owned());
    events
}

fn responses(said: &Said<'_>) -> Vec<String> {
    let event = |kind: &str, mut value: Value| {
        value["type"] = json!(kind);
        named(kind, value)
    };
    let mut events = vec![event(
        "response.created",
        json!({"response": {"id": "r", "status": "in_progress", "output": []}}),
    )];
    let mut output = Vec::new();
    if !said.text.is_empty() {
        events.push(event(
            "response.output_item.added",
            json!({"output_index": 0,
            "item": {"type": "message", "id": "m", "role": "assistant", "content": []}}),
        ));
        for text in said.text {
            events.push(event(
                "response.output_text.delta",
                json!({"output_index": 0, "content_index": 0, "item_id": "m", "delta": text}),
            ));
        }
        output.push(json!({"type": "message", "id": "m", "role": "assistant",
            "content": [{"type": "output_text", "text": said.text.concat()}]}));
    }
    for (at, (id, tool, input)) in said.calls.iter().enumerate() {
        let at = at + output.len();
        let item = |args: &str| {
            json!({"type": "function_call", "id": format!("f{id}"),
            "call_id": id, "name": tool, "arguments": args})
        };
        events.push(event(
            "response.output_item.added",
            json!({"output_index": at, "item": item("")}),
        ));
        let (head, tail) = input.split_at(input.len() / 2);
        for delta in [head, tail] {
            events.push(event(
                "response.function_call_arguments.delta",
                json!({"output_index": at, "item_id": format!("f{id}"), "delta": delta}),
            ));
        }
        events.push(event(
            "response.output_item.done",
            json!({"output_index": at, "item": item(input)}),
        ));
    }
    for (id, tool, input) in said.calls {
        output.push(json!({"type": "function_call", "id": format!("f{id}"),
            "call_id": id, "name": tool, "arguments": input}));
    }
    let (input, out) = said.tokens;
    events.push(event(
        "response.completed",
        json!({"response": {"id": "r", "status": "completed", "model": "m",
        "output": output, "usage": {"input_tokens": input, "output_tokens": out,
        "total_tokens": input + out}}}),
    ));
    events
}

fn anthropic(said: &Said<'_>) -> Vec<String> {
    let event = |kind: &str, mut value: Value| {
        value["type"] = json!(kind);
        named(kind, value)
    };
    let (input, output) = said.tokens;
    let mut events = vec![event(
        "message_start",
        json!({"message": {"id": "m", "role": "assistant",
        "content": [], "usage": {"input_tokens": input, "output_tokens": 0}}}),
    )];
    let mut index = 0;
    if !said.text.is_empty() {
        events.push(event(
            "content_block_start",
            json!({"index": 0, "content_block": {"type": "text", "text": ""}}),
        ));
        for text in said.text {
            events.push(event(
                "content_block_delta",
                json!({"index": 0, "delta": {"type": "text_delta", "text": text}}),
            ));
        }
        events.push(event("content_block_stop", json!({"index": 0})));
        index = 1;
    }
    for (id, tool, input) in said.calls {
        events.push(event(
            "content_block_start",
            json!({"index": index,
            "content_block": {"type": "tool_use", "id": id, "name": tool, "input": {}}}),
        ));
        let (head, tail) = input.split_at(input.len() / 2);
        for part in [head, tail] {
            events.push(event(
                "content_block_delta",
                json!({"index": index,
                "delta": {"type": "input_json_delta", "partial_json": part}}),
            ));
        }
        events.push(event("content_block_stop", json!({"index": index})));
        index += 1;
    }
    let end = if said.calls.is_empty() { "end_turn" } else { "tool_use" };
    events.push(event(
        "message_delta",
        json!({"delta": {"stop_reason": end}, "usage": {"output_tokens": output}}),
    ));
    events.push(event("message_stop", json!({})));
    events
}

fn gemini(said: &Said<'_>) -> Vec<String> {
    let parts = |parts: Value| {
        data(json!({"candidates": [{"content": {"role": "model", "parts": parts}}]}))
    };
    let mut events: Vec<String> = said.text.iter().map(|t| parts(json!([{"text": t}]))).collect();
    for (_, tool, input) in said.calls {
        let input: Value = serde_json::from_str(input).unwrap_or_else(|_| json!({}));
        events.push(parts(json!([{"functionCall": {"name": tool, "args": input},
            "thoughtSignature": "c2lnbmVk"}])));
    }
    let (input, output) = said.tokens;
    events.push(data(json!({"candidates": [{"content": {"role": "model", "parts": []},
        "finishReason": "STOP"}], "usageMetadata": {"promptTokenCount": input,
        "candidatesTokenCount": output, "totalTokenCount": input + output}})));
    events
}

/// An error in the middle of a stream, as each provider says it.
pub(crate) fn error(provider: Provider) -> String {
    match provider {
        Provider::Openai => {
            data(json!({"error": {"message": "it overflowed", "type": "server_error"}}))
        }
        Provider::OpenaiResponses => named(
            "error",
            json!({"type": "error", "code": "server_error", "message": "it overflowed"}),
        ),
        Provider::Anthropic => named(
            "error",
            json!({"type": "error", "error": {"type": "overloaded_error", "message": "it overflowed"}}),
        ),
        Provider::Gemini => {
            data(json!({"error": {"code": 500, "message": "it overflowed", "status": "INTERNAL"}}))
        }
    }
}

/// The conversation of a request, without what goes before it.
pub(crate) fn conversation(provider: Provider, body: &Value) -> Vec<Value> {
    let all = match provider {
        Provider::Openai | Provider::Anthropic => &body["messages"],
        Provider::OpenaiResponses => &body["input"],
        Provider::Gemini => &body["contents"],
    };
    let all = all.as_array().expect("messages").iter();
    all.filter(|message| message["role"] != "system").cloned().collect()
}
