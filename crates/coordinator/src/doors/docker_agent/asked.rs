//! What a body says. Clients send more than a server reads, so what is not known is passed
//! over; what is known must be of its kind.

use std::sync::Arc;

use axum::extract::{FromRequest, Request};
use bytes::Bytes;
use greenroom_protocol::Problem;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::app::App;
use crate::error::ApiError;

/// What does not parse.
pub(super) fn bad(detail: impl Into<String>) -> Box<Problem> {
    Box::new(Problem::new(400, "bad_request", detail))
}

/// A JSON body. Nothing at all reads as `null`.
#[derive(Debug)]
pub(super) struct Body<T>(pub T);

impl<T: DeserializeOwned> FromRequest<Arc<App>> for Body<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, ApiError> {
        let bytes = Bytes::from_request(request, app).await.map_err(|rejection| match rejection
            .status()
            .as_u16()
        {
            413 => Box::new(Problem::new(413, "too_large", "the body is larger than 1 MiB")),
            _ => bad(format!("the body cannot be read: {}", rejection.body_text())),
        })?;
        read(&bytes).map(Self).map_err(Into::into)
    }
}

fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Box<Problem>> {
    let nothing = bytes.iter().all(u8::is_ascii_whitespace);
    let text: &[u8] = if nothing { b"null" } else { bytes };
    let mut from = serde_json::Deserializer::from_slice(text);
    let read = serde_path_to_error::deserialize(&mut from).map_err(|error| {
        let place = error.path().to_string();
        let place = if place == "." { String::new() } else { format!("{place}: ") };
        bad(format!("the body does not parse: {place}{}", error.inner()))
    })?;
    from.end().map_err(|error| bad(format!("the body is not one JSON value: {error}")))?;
    Ok(read)
}

/// What a client says in a conversation.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Message {
    #[serde(default)]
    role: Option<String>,
    #[serde(default)]
    content: Option<String>,
    #[serde(default)]
    multi_content: Option<Vec<Part>>,
}

/// A part of a message.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Part {
    #[serde(default, rename = "type")]
    kind: Option<String>,
    #[serde(default)]
    text: Option<String>,
}

impl Message {
    /// Of the user.
    pub(super) fn of_user(content: Option<String>, multi_content: Option<Vec<Part>>) -> Self {
        Self { role: Some("user".to_owned()), content, multi_content }
    }

    /// Whether it is of the user, as opposed to what an agent has said before.
    fn is_asked(&self) -> bool {
        !matches!(self.role.as_deref(), Some("assistant" | "tool"))
    }

    /// Its text. What is no text cannot be passed on.
    pub(super) fn text(&self) -> Result<String, Box<Problem>> {
        let mut pieces: Vec<&str> =
            self.content.as_deref().filter(|text| !text.is_empty()).into_iter().collect();
        for part in self.multi_content.iter().flatten() {
            match (part.kind.as_deref(), part.text.as_deref()) {
                (None | Some("text"), Some(text)) => {
                    // Some clients say the same in both.
                    if !pieces.contains(&text) {
                        pieces.push(text);
                    }
                }
                (kind, _) => {
                    let kind = kind.unwrap_or("of no type");
                    let detail = format!(
                        "multi_content: a part {kind:?} cannot be given to an agent here; send text, \
                         or put the file into the workspace (PUT /v1/sessions/ID/files/content/PATH)"
                    );
                    return Err(bad(detail));
                }
            }
        }
        Ok(pieces.join("\n\n"))
    }
}

/// A run: a bare list of messages, or an object that holds it.
#[derive(Debug, Default)]
pub(super) struct Asked {
    /// The messages.
    pub(super) messages: Vec<Message>,
    /// The model that the agent is to use.
    pub(super) model: Option<String>,
}

impl<'de> Deserialize<'de> for Asked {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Named {
            #[serde(default)]
            messages: Option<Vec<Message>>,
            #[serde(default)]
            model: Option<String>,
        }
        let value = Value::deserialize(from)?;
        let wrong = |error: serde_json::Error| serde::de::Error::custom(error);
        match value {
            Value::Null => Ok(Self::default()),
            Value::Array(_) => {
                Ok(Self { messages: serde_json::from_value(value).map_err(wrong)?, model: None })
            }
            Value::Object(_) => {
                let named: Named = serde_json::from_value(value).map_err(wrong)?;
                let model = named.model.filter(|model| !model.is_empty());
                Ok(Self { messages: named.messages.unwrap_or_default(), model })
            }
            _ => Err(serde::de::Error::custom(
                "a list of messages is expected, or an object with `messages`",
            )),
        }
    }
}

impl Asked {
    /// What is new of it, as one text; none where nothing is. `known` is what was asked in the
    /// session before.
    ///
    /// Some clients send the whole conversation with each turn. What stands before an answer of
    /// the agent was asked before, and so was what the session knows, in order, from the
    /// beginning. The last message is always new.
    pub(super) fn prompt(&self, known: &[String]) -> Result<Option<String>, Box<Problem>> {
        let answered = self.messages.iter().rposition(|message| !message.is_asked());
        let rest = &self.messages[answered.map_or(0, |at| at + 1)..];
        let mut texts: Vec<String> = Vec::new();
        for message in rest {
            texts.push(message.text()?);
        }
        texts.retain(|text| !text.trim().is_empty());
        if answered.is_none() && texts.len() > 1 {
            let mut known = known.iter();
            let again = texts[..texts.len() - 1]
                .iter()
                .take_while(|text| known.any(|asked| asked == *text))
                .count();
            texts.drain(..again);
        }
        Ok((!texts.is_empty()).then(|| texts.join("\n\n")))
    }

    /// How many messages of the user there are.
    pub(super) fn asks(&self) -> usize {
        self.messages.iter().filter(|message| message.is_asked()).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn asked(body: Value) -> Asked {
        read(body.to_string().as_bytes()).expect("it parses")
    }

    fn prompt(body: Value, known: &[&str]) -> Option<String> {
        let known: Vec<String> = known.iter().map(|text| (*text).to_owned()).collect();
        asked(body).prompt(&known).expect("text")
    }

    fn user(text: &str) -> Value {
        json!({ "role": "user", "content": text })
    }

    #[test]
    fn both_shapes_of_a_body_say_the_same() {
        let bare = asked(json!([user("hello")]));
        let named = asked(json!({ "messages": [user("hello")], "model": "openai/m" }));
        assert_eq!(bare.prompt(&[]), Ok(Some("hello".to_owned())));
        assert_eq!(named.prompt(&[]), Ok(Some("hello".to_owned())));
        assert_eq!((bare.model, named.model.as_deref()), (None, Some("openai/m")));
    }

    #[test]
    fn what_was_asked_before_is_not_asked_again() {
        let answer = json!({ "role": "assistant", "content": "yes" });
        assert_eq!(prompt(json!([user("a"), answer, user("b")]), &[]).as_deref(), Some("b"));
        assert_eq!(prompt(json!([user("a"), user("b")]), &["a"]).as_deref(), Some("b"));
        // What others have asked in between is passed over.
        let sent = json!([user("a"), user("b"), user("c")]);
        assert_eq!(prompt(sent, &["a", "from the command line", "b"]).as_deref(), Some("c"));
        // One message is new, whatever was said before; and several new ones are all asked.
        assert_eq!(prompt(json!([user("go")]), &["go"]).as_deref(), Some("go"));
        assert_eq!(prompt(json!([user("a"), user("b")]), &[]).as_deref(), Some("a\n\nb"));
        for nothing in [json!([]), json!(null), json!({}), json!([user(" ")]), json!([answer])] {
            assert_eq!(prompt(nothing, &[]), None);
        }
    }

    #[test]
    fn parts_are_text_or_refused() {
        let parts = json!([{ "role": "user", "content": "a",
            "multi_content": [{ "type": "text", "text": "a" }, { "type": "text", "text": "b" }] }]);
        assert_eq!(prompt(parts, &[]).as_deref(), Some("a\n\nb"));
        let image = json!([{ "role": "user", "multi_content":
            [{ "type": "image_url", "image_url": { "url": "data:," } }] }]);
        let refused = asked(image).prompt(&[]).expect_err("no text");
        assert_eq!((refused.status, refused.detail.contains("image_url")), (400, true));
    }

    #[test]
    fn what_does_not_parse_is_400_and_says_where() {
        let wrong = |body: &str| read::<Asked>(body.as_bytes()).expect_err("refused");
        for body in ["{", "[1]", "\"x\"", "[] []", "{\"messages\": 3}", "\u{0}"] {
            assert_eq!(wrong(body).status, 400, "{body}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Err(problem) = read::<Asked>(&bytes) {
                prop_assert_eq!(problem.status, 400);
            }
        }

        #[test]
        fn the_last_thing_asked_is_always_asked(
            texts in proptest::collection::vec("[ab]{1,2}", 1..6),
            known in proptest::collection::vec("[ab]{1,2}", 0..6),
        ) {
            let body = Value::Array(texts.iter().map(|text| user(text)).collect());
            let prompt = asked(body).prompt(&known).expect("text").expect("something");
            prop_assert!(prompt.ends_with(texts.last().expect("one")));
        }
    }
}
