//! What an agent that serves HTTP answers, read as far as anybody here must.

use serde_json::Value;
use sse_stream::SseStream;

use super::busy::is_in_progress;

/// An answer of an agent that is not 2xx, or says that it is an error, in words.
pub(super) fn complaint(status: Option<u16>, body: &Value) -> String {
    let error = &body["error"];
    let said = error["message"].as_str().or(error.as_str()).or(body["message"].as_str());
    let code = error["code"].as_str().or(error["type"].as_str());
    let said = match (said, code) {
        (Some(said), Some(code)) => format!("{said} ({code})"),
        (Some(said), None) => said.to_owned(),
        (None, Some(code)) => code.to_owned(),
        (None, None) => "it gave no reason".to_owned(),
    };
    match status {
        Some(status) => format!("the agent answered {status}: {said}"),
        None => format!("the agent failed: {said}"),
    }
}

/// The text of an answer of a form that nobody has fixed: a string, or the one thing in it
/// that is commonly the answer.
pub(super) fn text_of(said: &Value) -> Option<&str> {
    const KEYS: [&str; 9] =
        ["output", "response", "result", "answer", "message", "text", "content", "delta", "chunk"];
    match said {
        Value::String(text) => Some(text),
        Value::Object(fields) => {
            KEYS.iter().find_map(|key| fields.get(*key)).and_then(Value::as_str)
        }
        _ => None,
    }
}

/// The path at which work that a request began can be asked about, where its answer, of
/// which this is the beginning, says that it goes on.
pub(super) fn goes_on(path: &str, seen: &[u8]) -> Option<String> {
    let path = path.trim_end_matches('/');
    let said: Value = match serde_json::from_slice(seen) {
        Ok(said) => said,
        // A stream: its first event names the response.
        Err(_) => {
            let text = String::from_utf8_lossy(seen);
            let data = text.lines().find_map(|line| line.strip_prefix("data:"))?;
            serde_json::from_str::<Value>(data.trim()).ok()?["response"].take()
        }
    };
    let id = said["id"].as_str().filter(|_| path == "/responses");
    let id = id.or_else(|| said["invocation_id"].as_str());
    let id = id.filter(|id| is_id(id))?;
    is_in_progress(&said["status"]).then(|| format!("{path}/{id}"))
}

/// Whether it can be a part of a path, as it is.
pub(super) fn is_id(id: &str) -> bool {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.:".contains(&byte);
    !id.is_empty() && id.len() <= 256 && id.bytes().all(good) && id != "." && id != ".."
}

/// Whether an answer is a stream of events.
pub(super) fn is_stream(answer: &reqwest::Response) -> bool {
    let kind = answer.headers().get(http::header::CONTENT_TYPE);
    kind.and_then(|kind| kind.to_str().ok())
        .is_some_and(|kind| kind.trim_start().to_ascii_lowercase().starts_with("text/event-stream"))
}

/// The events of an answer: the data of each, in order.
pub(super) fn events(
    answer: reqwest::Response,
) -> impl futures::Stream<Item = Result<String, String>> + Send + Unpin {
    use futures::StreamExt;
    let events = SseStream::from_bytes_stream(answer.bytes_stream());
    Box::pin(events.filter_map(|event| {
        std::future::ready(match event {
            Ok(event) => event.data.map(Ok),
            Err(error) => Some(Err(format!("the agent's stream broke: {error}"))),
        })
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn what_goes_on_is_named_by_its_answer() {
        let on = |path: &str, text: &str| goes_on(path, text.as_bytes());
        let response = r#"{"id":"caresp_1","status":"in_progress"}"#;
        assert_eq!(on("/responses", response).as_deref(), Some("/responses/caresp_1"));
        let stream = "event: response.created\ndata: {\"type\":\"response.created\",\
            \"response\":{\"id\":\"r.2\",\"status\":\"in_progress\"}}\n\nevent: x\ndata: {\"ha";
        assert_eq!(on("/responses", stream).as_deref(), Some("/responses/r.2"));
        let invocation = r#"{"invocation_id":"i-3","status":"running"}"#;
        assert_eq!(on("/invocations/", invocation).as_deref(), Some("/invocations/i-3"));
        for over in [
            r#"{"id":"caresp_1","status":"completed"}"#,
            r#"{"id":"../../etc","status":"in_progress"}"#,
            r#"{"status":"in_progress"}"#,
            "all done",
            "",
        ] {
            assert_eq!(on("/responses", over), None, "{over}");
        }
        assert_eq!(on("/invocations", response), None, "an answer's id is no invocation's");
    }

    #[test]
    fn errors_and_texts_read_in_their_usual_forms() {
        let error = json!({"error": {"code": "not_found", "message": "no such thing"}});
        let said = complaint(Some(404), &error);
        assert_eq!(said, "the agent answered 404: no such thing (not_found)");
        assert_eq!(complaint(None, &Value::Null), "the agent failed: it gave no reason");
        assert_eq!(text_of(&json!("hi")), Some("hi"));
        assert_eq!(text_of(&json!({"response": "hi", "n": 1})), Some("hi"));
        assert_eq!(text_of(&json!({"n": 1})), None);
    }

    proptest! {
        #[test]
        fn no_answer_breaks_it(seen in proptest::collection::vec(any::<u8>(), 0..200)) {
            goes_on("/responses", &seen);
        }
    }
}
