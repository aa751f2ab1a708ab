//! How events are written down: one JSON object a frame, none longer than their clients read.

use greenroom_core::Seq;
use serde_json::{Value, json};

/// A frame is no longer than this: a line of 64 KiB ends the stream of some clients.
const MOST_FRAME: usize = 60 << 10;
/// Arguments of a call that are longer are shown in part.
const MOST_ARGUMENTS: usize = 16 << 10;
/// Text is split into pieces of this size.
pub(super) const PIECE: usize = 16 << 10;

/// The beginning of a text, of so many bytes at most.
pub(super) fn head(text: &str, most: usize) -> &str {
    &text[..text.floor_char_boundary(most)]
}

/// A text that is too long, in pieces.
pub(super) fn pieces(mut text: &str) -> Vec<&str> {
    let mut all = Vec::new();
    while text.len() > PIECE {
        let (piece, rest) = text.split_at(text.floor_char_boundary(PIECE));
        all.push(piece);
        text = rest;
    }
    all.push(text);
    all
}

/// A call whose arguments still read as JSON, however long they are.
pub(super) fn bounded(mut call: Value) -> Value {
    if let Some(arguments) = call["function"]["arguments"].as_str()
        && arguments.len() > MOST_ARGUMENTS
    {
        let short = json!({
            "truncated_bytes": arguments.len(), "beginning": head(arguments, MOST_ARGUMENTS / 2),
        });
        call["function"]["arguments"] = short.to_string().into();
    }
    call
}

/// What is said of a tool beside its name.
pub(super) fn definition(tool: &str, reads: bool) -> Value {
    json!({
        "name": tool, "category": "", "parameters": { "type": "object" },
        "annotations": { "readOnlyHint": reads }, "outputSchema": null,
    })
}

/// An event as a frame of a stream, with its position where it has one.
pub(super) fn frame(event: &Value, seq: Option<Seq>) -> String {
    let mut json = event.to_string();
    let mut most = 16 << 10;
    while json.len() > MOST_FRAME {
        let mut shorter = event.clone();
        if most < 64 {
            shorter = nothing_of(event, json.len());
        } else {
            shorten(&mut shorter, most);
        }
        json = shorter.to_string();
        most /= 2;
    }
    match seq {
        Some(seq) => format!("id: {seq}\ndata: {json}\n\n"),
        None => format!("data: {json}\n\n"),
    }
}

/// Cuts every text that is longer.
fn shorten(value: &mut Value, most: usize) {
    match value {
        Value::String(text) if text.len() > most => {
            let left = text.len();
            *text = format!("{}\n[cut here, of {left} bytes]", head(text, most));
        }
        Value::Array(items) => items.iter_mut().for_each(|item| shorten(item, most)),
        Value::Object(fields) => fields.values_mut().for_each(|field| shorten(field, most)),
        _ => {}
    }
}

/// What is left of an event that is many small things.
fn nothing_of(event: &Value, bytes: usize) -> Value {
    let mut left = json!({ "omitted_bytes": bytes });
    for key in ["type", "session_id", "agent_name", "timestamp", "tool_call", "tool_call_id"] {
        let small = event.get(key).filter(|value| value.to_string().len() < 4096);
        if let Some(value) = small {
            left[key] = value.clone();
        }
    }
    left
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn arguments_that_are_cut_still_read_as_json() {
        let long = json!({ "content": "é".repeat(40_000) }).to_string();
        let call = json!({ "id": "c", "function": { "name": "t", "arguments": long } });
        let call = bounded(call);
        let arguments = call["function"]["arguments"].as_str().expect("text");
        assert!(arguments.len() < MOST_ARGUMENTS);
        let read: Value = serde_json::from_str(arguments).expect("JSON");
        assert_eq!(read["truncated_bytes"], long.len());
    }

    #[test]
    fn no_frame_is_longer_than_clients_read() {
        let text = "\u{1}é\n".repeat(100_000);
        let many: Vec<Value> = (0..50_000).map(|n| json!({ "n": n })).collect();
        for event in [
            json!({ "type": "tool_call_response", "response": text, "result": { "output": text } }),
            json!({ "type": "plan", "session_id": "s", "many": many }),
        ] {
            let frame = frame(&event, Some(7));
            assert!(frame.len() < 64 << 10, "{}", frame.len());
            let data = frame.strip_prefix("id: 7\ndata: ").expect("a frame").trim_end();
            let read: Value = serde_json::from_str(data).expect("JSON");
            assert_eq!(read["type"], event["type"]);
        }
    }

    proptest! {
        #[test]
        fn a_frame_is_two_lines_and_an_empty_one(text in any::<String>(), times in 1usize..3000) {
            let frame = frame(&json!({ "type": "agent_choice", "content": text.repeat(times) }), None);
            prop_assert!(frame.len() < 64 << 10);
            prop_assert_eq!(frame.matches('\n').count(), 2);
        }

        #[test]
        fn pieces_are_the_whole(text in any::<String>(), times in 1usize..2000) {
            let text = text.repeat(times);
            prop_assert_eq!(pieces(&text).concat(), text);
        }
    }
}
