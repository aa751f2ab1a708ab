//! What stands in a path.
//!
//! A segment is read as it was received: some clients escape the key of an agent once more
//! than others, so each form of it has to be tried.

use std::convert::Infallible;

use axum::extract::FromRequestParts;
use http::request::Parts;
use percent_encoding::percent_decode_str;

/// The segments of a path, as received.
#[derive(Debug, Clone)]
pub(super) struct Segments(Vec<String>);

impl<S: Send + Sync> FromRequestParts<S> for Segments {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Infallible> {
        Ok(Self::of(parts.uri.path()))
    }
}

impl Segments {
    /// Of a path beneath the door.
    fn of(path: &str) -> Self {
        Self(path.trim_start_matches('/').split('/').map(str::to_owned).collect())
    }

    /// One of them as received; empty where the path is shorter.
    pub(super) fn raw(&self, at: usize) -> &str {
        self.0.get(at).map_or("", String::as_str)
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.0.len()
    }

    /// The session's name: `/api/sessions/{id}/…`.
    pub(super) fn session(&self) -> String {
        // What is no text once it is decoded is no name, and is not found as it stands.
        decoded(self.raw(2)).unwrap_or_else(|| self.raw(2).to_owned())
    }
}

fn decoded(text: &str) -> Option<String> {
    Some(percent_decode_str(text).decode_utf8().ok()?.into_owned())
}

/// A segment as received, decoded once, and decoded twice; each form once.
pub(super) fn forms(received: &str) -> Vec<String> {
    let once = decoded(received);
    let twice = once.as_deref().and_then(decoded);
    let mut forms = vec![received.to_owned()];
    for form in [once, twice].into_iter().flatten() {
        if !forms.contains(&form) {
            forms.push(form);
        }
    }
    forms
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_segment_is_tried_as_received_decoded_once_and_twice() {
        assert_eq!(forms("plain"), ["plain"]);
        assert_eq!(forms("a%20b"), ["a%20b", "a b"]);
        let key = "http%253A%252F%252Fex.com%252Fa";
        assert_eq!(forms(key), [key, "http%3A%2F%2Fex.com%2Fa", "http://ex.com/a"]);
        assert_eq!(forms("%FF"), ["%FF"]);
        assert_eq!(forms("%25FF"), ["%25FF", "%FF"]);
        assert_eq!(forms(""), [""]);
    }

    #[test]
    fn a_name_is_decoded_once() {
        let of = |path: &str| Segments::of(path).session();
        assert_eq!(of("/api/sessions/a%2Fb/title"), "a/b");
        assert_eq!(of("/api/sessions/a%252Fb"), "a%2Fb");
        assert_eq!(of("/api/sessions/%FF"), "%FF");
        assert_eq!(of("/api"), "");
    }

    proptest! {
        #[test]
        fn any_segment_has_one_to_three_forms(text in "[a-z%0-9A-F/.]{0,40}") {
            let forms = forms(&text);
            prop_assert!((1..=3).contains(&forms.len()));
            prop_assert_eq!(&forms[0], &text);
        }
    }
}
