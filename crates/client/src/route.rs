//! The one place where ids, names, paths and values become part of an address.

use std::fmt::{Display, Write};

use greenroom_protocol::Problem;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::ClientError;

/// Everything but what RFC 3986 calls unreserved.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// An address beneath the coordinator's own, in the making.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Route {
    path: String,
    query: String,
}

/// The problem of naming something that is not there.
pub fn not_found(kind: &str, name: &str) -> Problem {
    Problem::not_found(kind, name)
}

impl Route {
    /// From fixed words, like `v1/sessions`.
    pub(crate) fn to(words: &str) -> Self {
        Self { path: format!("/{words}"), query: String::new() }
    }

    /// Then the name of a `kind` of thing. A name that an address cannot carry (`..`
    /// would be taken for a step upwards) cannot exist either.
    pub(crate) fn name(mut self, kind: &str, name: &str) -> Result<Self, ClientError> {
        if matches!(name, "" | "." | "..") {
            return Err(ClientError::Problem(Box::new(not_found(kind, name))));
        }
        self.push(name);
        Ok(self)
    }

    /// Then fixed words.
    pub(crate) fn then(mut self, words: &str) -> Self {
        self.path.push('/');
        self.path.push_str(words);
        self
    }

    /// Then the path of a file. Its slashes stay slashes, unless a part of it would be
    /// taken for a step: then all of it travels as one name, and the coordinator judges
    /// exactly what the caller wrote.
    pub(crate) fn file(mut self, path: &str) -> Result<Self, ClientError> {
        if matches!(path, "" | "." | "..") {
            let detail = format!("{path:?} does not name a file of the workspace");
            return Err(ClientError::Problem(Box::new(Problem::invalid(detail))));
        }
        if path.split('/').any(|part| matches!(part, "" | "." | "..")) {
            self.push(path);
        } else {
            path.split('/').for_each(|part| self.push(part));
        }
        Ok(self)
    }

    /// Then a path with its query, which is another's and goes there as it is written.
    pub(crate) fn raw(mut self, target: &str) -> Result<Self, ClientError> {
        let plain = |byte: u8| byte.is_ascii_graphic() && byte != b'#';
        if !target.bytes().all(plain) {
            let detail = format!("{target:?} is no path of an address: percent-encode it");
            return Err(ClientError::Problem(Box::new(Problem::invalid(detail))));
        }
        if !target.starts_with('/') {
            self.path.push('/');
        }
        self.path.push_str(target);
        Ok(self)
    }

    /// With a parameter.
    pub(crate) fn ask(mut self, key: &str, value: impl Display) -> Self {
        let sign = if self.query.is_empty() { '?' } else { '&' };
        let value = value.to_string();
        let value = utf8_percent_encode(&value, RESERVED);
        // Writing to a string does not fail.
        let _ = write!(self.query, "{sign}{key}={value}");
        self
    }

    /// With a parameter, where there is a value.
    pub(crate) fn maybe(self, key: &str, value: Option<impl Display>) -> Self {
        match value {
            Some(value) => self.ask(key, value),
            None => self,
        }
    }

    /// The address.
    pub(crate) fn address(&self) -> String {
        format!("{}{}", self.path, self.query)
    }

    fn push(&mut self, part: &str) {
        let _ = write!(self.path, "/{}", utf8_percent_encode(part, RESERVED));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use percent_encoding::percent_decode_str;
    use proptest::prelude::*;

    fn session(id: &str) -> Result<String, ClientError> {
        Ok(Route::to("v1/sessions").name("session", id)?.then("stop").address())
    }

    #[test]
    fn odd_names_are_encoded() {
        let made = session("a/b c:d%e").expect("a name");
        assert_eq!(made, "/v1/sessions/a%2Fb%20c%3Ad%25e/stop");
        assert_eq!(session("é?#&").expect("a name"), "/v1/sessions/%C3%A9%3F%23%26/stop");
    }

    #[test]
    fn steps_are_not_names() {
        for step in ["", ".", ".."] {
            let error = session(step).expect_err("not a name");
            assert!(matches!(error, ClientError::Problem(p) if p.code == "session_not_found"));
        }
        assert_eq!(session("...").expect("a name"), "/v1/sessions/.../stop");
    }

    #[test]
    fn files_keep_their_slashes_and_steps_reach_the_coordinator() {
        let file = |path| Route::to("f").file(path).expect("a path").address();
        assert_eq!(file("src/a b.rs"), "/f/src/a%20b.rs");
        assert_eq!(file("../../etc/passwd"), "/f/..%2F..%2Fetc%2Fpasswd");
        assert_eq!(file("/etc/passwd"), "/f/%2Fetc%2Fpasswd");
        assert_eq!(file("a/./b"), "/f/a%2F.%2Fb");
        assert!(Route::to("f").file("..").is_err());
    }

    #[test]
    fn parameters_are_encoded() {
        let address = Route::to("s").ask("label", "k=a b").maybe("q", Some("ü&")).address();
        assert_eq!(address, "/s?label=k%3Da%20b&q=%C3%BC%26");
    }

    proptest! {
        #[test]
        fn a_name_survives_the_address_parser(name in ".{1,40}") {
            let Ok(address) = session(&name) else { return Ok(()) };
            let url = reqwest::Url::parse(&format!("http://host{address}")).expect("an address");
            let parts: Vec<_> = url.path_segments().expect("a path").collect();
            prop_assert_eq!(parts.len(), 4);
            let decoded = percent_decode_str(parts[2]).decode_utf8().expect("text");
            prop_assert_eq!(decoded, name);
        }

        #[test]
        fn a_file_path_survives_the_address_parser(path in "[a-z. /%é]{1,30}") {
            let Ok(route) = Route::to("content").file(&path) else { return Ok(()) };
            let url = reqwest::Url::parse(&format!("http://host{}", route.address())).expect("an address");
            let sent = url.path().strip_prefix("/content/").expect("beneath it");
            let decoded = percent_decode_str(sent).decode_utf8().expect("text");
            prop_assert_eq!(decoded, path);
        }
    }
}
