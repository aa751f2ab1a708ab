//! Secrets out of what an agent says, before anybody keeps or hears it.
//!
//! A secret is known by its value, as it is or as JSON encoders write it, wherever reads
//! have cut it. What an agent makes of it (a part, base64, the percent form of a URL) is
//! not known.

use std::collections::BTreeMap;
use std::fmt;
use std::fmt::Write as _;
use std::rc::Rc;

use aho_corasick::{AhoCorasick, AhoCorasickKind, BuildError, Input, MatchKind};
use serde_json::Value;

use crate::wire::Secret;

/// Shorter values stand in too much that is none: they are not looked for.
const SHORTEST: usize = 6;
/// Up to so many bytes of patterns the fastest automaton is small, too.
const FEW: usize = 1 << 10;

/// The values that must not be said, and what is said in their place.
#[derive(Default)]
pub(crate) struct Secrets {
    finder: Option<Finder>,
}

struct Finder {
    automaton: AhoCorasick,
    /// Everything that is looked for.
    patterns: Vec<Vec<u8>>,
    /// What is put in the place of each.
    labels: Vec<String>,
    longest: usize,
}

/// Says nothing of them.
impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secrets").finish_non_exhaustive()
    }
}

impl Secrets {
    /// Everything that must not be said. An error only where there is more of it than can
    /// be looked for.
    pub(crate) fn new(secrets: &[Secret]) -> Result<Self, BuildError> {
        let looked_for = || secrets.iter().filter(|secret| secret.value.len() >= SHORTEST);
        let mut labels = BTreeMap::new();
        for secret in looked_for() {
            let named = format!("[secret {}]", secret.name);
            // A name may give away what it names, or what another one does.
            let tells = looked_for().any(|other| named.contains(&other.value));
            let label = if tells { "***".to_owned() } else { named };
            for form in forms(&secret.value) {
                labels.entry(form.into_bytes()).or_insert_with(|| label.clone());
            }
        }
        let (patterns, labels): (Vec<Vec<u8>>, Vec<String>) = labels.into_iter().unzip();
        let Some(longest) = patterns.iter().map(Vec::len).max() else { return Ok(Self::default()) };
        let kind = match patterns.iter().map(Vec::len).sum::<usize>() {
            0..=FEW => AhoCorasickKind::DFA,
            _ => AhoCorasickKind::ContiguousNFA,
        };
        let automaton = AhoCorasick::builder()
            .match_kind(MatchKind::LeftmostLongest)
            .kind(Some(kind))
            .build(&patterns)?;
        Ok(Self { finder: Some(Finder { automaton, patterns, labels, longest }) })
    }

    /// A text without them.
    pub(crate) fn in_text(&self, text: String) -> String {
        match &self.finder {
            Some(finder) if finder.automaton.is_match(&text) => {
                finder.automaton.replace_all(&text, &finder.labels)
            }
            _ => text,
        }
    }

    /// A document without them: in its texts and names, however they were written, and in
    /// its numbers.
    pub(crate) fn in_value(&self, value: &mut Value) {
        let Some(finder) = &self.finder else { return };
        match value {
            Value::Null | Value::Bool(_) => {}
            Value::Number(number) => {
                let text = number.to_string();
                if finder.automaton.is_match(&text) {
                    *value = Value::String(self.in_text(text));
                }
            }
            Value::String(text) => *text = self.in_text(std::mem::take(text)),
            Value::Array(items) => items.iter_mut().for_each(|item| self.in_value(item)),
            Value::Object(fields) => {
                if fields.keys().any(|name| finder.automaton.is_match(name)) {
                    let clean = |(name, value)| (self.in_text(name), value);
                    *fields = std::mem::take(fields).into_iter().map(clean).collect();
                }
                fields.values_mut().for_each(|value| self.in_value(value));
            }
        }
    }
}

/// How a value is written: as it is, and within JSON as the common encoders do. They agree
/// on quotes and control characters, and differ in what else they escape.
fn forms(value: &str) -> Vec<String> {
    let mut forms = vec![value.to_owned()];
    for ascii in [None, Some(false), Some(true)] {
        for slash in [false, true] {
            for html in [false, true] {
                forms.push(escaped(value, ascii, slash, html));
            }
        }
    }
    forms.sort_unstable();
    forms.dedup();
    forms
}

/// `ascii`: other characters are escaped too, with upper-case digits or not.
fn escaped(value: &str, ascii: Option<bool>, slash: bool, html: bool) -> String {
    let mut out = String::with_capacity(value.len() + 8);
    for char in value.chars() {
        match char {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '/' if slash => out.push_str("\\/"),
            '<' | '>' | '&' if html => push_unit(&mut out, char as u16, ascii == Some(true)),
            '\0'..='\x1f' => push_unit(&mut out, char as u16, ascii == Some(true)),
            '\u{80}'.. if ascii.is_some() => {
                for unit in char.encode_utf16(&mut [0; 2]) {
                    push_unit(&mut out, *unit, ascii == Some(true));
                }
            }
            char => out.push(char),
        }
    }
    out
}

fn push_unit(out: &mut String, unit: u16, upper: bool) {
    // Writing to a string never fails.
    let _ = match upper {
        true => write!(out, "\\u{unit:04X}"),
        false => write!(out, "\\u{unit:04x}"),
    };
}

impl Finder {
    /// Gives all of `bytes` that is decided, clean, and says where the undecided begins.
    fn scan(&self, bytes: &[u8], emit: &mut impl FnMut(&[u8])) -> usize {
        let mut at = 0;
        let mut held = self.held(bytes, at);
        // What begins behind that place may be part of what begins there.
        while let Some((from, to, label)) = self.find(bytes, at).filter(|found| found.0 < held) {
            emit(&bytes[at..from]);
            emit(label.as_bytes());
            at = to;
            if at > held {
                held = self.held(bytes, at);
            }
        }
        emit(&bytes[at..held]);
        held
    }

    /// The first secret from `at` on, the longest if several begin there.
    fn find(&self, bytes: &[u8], at: usize) -> Option<(usize, usize, &str)> {
        let found = self.automaton.find(Input::new(bytes).range(at..))?;
        Some((found.start(), found.end(), &self.labels[found.pattern().as_usize()]))
    }

    /// The first place from `from` on at which a secret could begin that goes on behind
    /// the end of `bytes`; that end, if there is none.
    fn held(&self, bytes: &[u8], from: usize) -> usize {
        let first = from.max((bytes.len() + 1).saturating_sub(self.longest));
        let begins = |at: &usize| {
            let rest = &bytes[*at..];
            self.patterns.iter().any(|p| p.len() > rest.len() && p.starts_with(rest))
        };
        (first..bytes.len()).find(begins).unwrap_or(bytes.len())
    }
}

/// A stream of bytes without secrets. What could be the beginning of one waits for what
/// comes next.
#[derive(Debug)]
pub(crate) struct Redactor {
    secrets: Rc<Secrets>,
    held: Vec<u8>,
}

impl Redactor {
    pub(crate) fn new(secrets: Rc<Secrets>) -> Self {
        Self { secrets, held: Vec::new() }
    }

    /// More bytes; `emit` gets what may be said of them and of those that waited.
    pub(crate) fn push(&mut self, bytes: &[u8], mut emit: impl FnMut(&[u8])) {
        let Some(finder) = &self.secrets.finder else { return emit(bytes) };
        if self.held.is_empty() {
            let decided = finder.scan(bytes, &mut emit);
            self.held.extend_from_slice(&bytes[decided..]);
        } else {
            self.held.extend_from_slice(bytes);
            let decided = finder.scan(&self.held, &mut emit);
            self.held.drain(..decided);
            self.held.shrink_to(finder.longest);
        }
    }

    /// Nothing follows: a secret that was only begun is none.
    pub(crate) fn finish(&mut self, mut emit: impl FnMut(&[u8])) {
        let held = std::mem::take(&mut self.held);
        let Some(finder) = self.secrets.finder.as_ref().filter(|_| !held.is_empty()) else {
            return;
        };
        emit(&finder.automaton.replace_all_bytes(&held, &finder.labels));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn secrets(values: &[(&str, &str)]) -> Rc<Secrets> {
        let secret =
            |&(name, value): &(&str, &str)| Secret { name: name.into(), value: value.into() };
        let all: Vec<_> = values.iter().map(secret).collect();
        Rc::new(Secrets::new(&all).unwrap())
    }

    fn stream(secrets: &Rc<Secrets>, bytes: &[u8], cuts: &[usize]) -> Vec<u8> {
        let mut at: Vec<usize> = cuts.iter().map(|cut| cut % (bytes.len() + 1)).collect();
        at.extend([0, bytes.len()]);
        at.sort_unstable();
        let (mut redactor, mut out) = (Redactor::new(secrets.clone()), Vec::new());
        for pair in at.windows(2) {
            redactor.push(&bytes[pair[0]..pair[1]], |clean| out.extend_from_slice(clean));
            let longest = secrets.finder.as_ref().map_or(1, |finder| finder.longest);
            assert!(redactor.held.len() < longest);
        }
        redactor.finish(|clean| out.extend_from_slice(clean));
        out
    }

    /// The plain definition: at each place the longest value that is there.
    fn naive(values: &[String], bytes: &[u8]) -> Vec<u8> {
        let (mut out, mut at) = (Vec::new(), 0);
        while at < bytes.len() {
            let here = values.iter().enumerate().filter(|(_, value)| {
                value.len() >= SHORTEST && bytes[at..].starts_with(value.as_bytes())
            });
            match here.max_by_key(|(n, value)| (value.len(), usize::MAX - n)) {
                Some((n, value)) => {
                    out.extend_from_slice(format!("[secret {n}]").as_bytes());
                    at += value.len();
                }
                None => {
                    out.push(bytes[at]);
                    at += 1;
                }
            }
        }
        out
    }

    proptest! {
        /// Few letters, so that values overlap, hold each other and repeat themselves.
        #[test]
        fn chunks_do_not_matter_and_the_result_is_the_plain_replacement(
            values in proptest::collection::vec("[xyz\n]{1,14}", 0..5),
            noise in proptest::collection::vec("[xyz\n]{0,9}", 0..30),
            picks in proptest::collection::vec(any::<usize>(), 0..30),
            cuts in proptest::collection::vec(any::<usize>(), 0..60),
        ) {
            let mut bytes = Vec::new();
            for (n, noise) in noise.iter().enumerate() {
                bytes.extend_from_slice(noise.as_bytes());
                if let Some(pick) = picks.get(n).filter(|_| !values.is_empty()) {
                    bytes.extend_from_slice(values[pick % values.len()].as_bytes());
                }
            }
            let named: Vec<_> = values.iter().enumerate()
                .map(|(n, value)| Secret { name: n.to_string(), value: value.clone() })
                .collect();
            // Only the plain form: a line end within a value has others, too.
            let plain: Vec<_> = named.into_iter().filter(|s| !s.value.contains('\n')).collect();
            let all: Vec<String> = values.iter()
                .map(|value| if value.contains('\n') { String::new() } else { value.clone() })
                .collect();
            let secrets = Rc::new(Secrets::new(&plain).unwrap());
            let out = stream(&secrets, &bytes, &cuts);
            let expected = naive(&all, &bytes);
            prop_assert_eq!(String::from_utf8_lossy(&out), String::from_utf8_lossy(&expected));
        }

        /// Any text as a value, in its own form or as JSON, among any bytes.
        #[test]
        fn no_value_comes_through(
            values in proptest::collection::vec("[A-Za-z0-9 \"\\\\\n/é€😀<+=]{6,40}", 1..4),
            noise in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..20), 1..12),
            picks in proptest::collection::vec(any::<(usize, bool)>(), 12),
            cuts in proptest::collection::vec(any::<usize>(), 0..60),
        ) {
            let mut bytes = Vec::new();
            for (noise, (pick, json)) in noise.iter().zip(&picks) {
                bytes.extend_from_slice(noise);
                let value = &values[pick % values.len()];
                let quoted = serde_json::to_string(value).unwrap();
                bytes.extend_from_slice(if *json { quoted.as_bytes() } else { value.as_bytes() });
            }
            let named: Vec<_> = values.iter().enumerate()
                .map(|(n, value)| Secret { name: format!("_{n}_"), value: value.clone() })
                .collect();
            let secrets = Rc::new(Secrets::new(&named).unwrap());
            let out = stream(&secrets, &bytes, &cuts);
            prop_assert_eq!(&stream(&secrets, &bytes, &[]), &out);
            for value in &values {
                let json = serde_json::to_string(value).unwrap();
                for form in [value.as_str(), &json[1..json.len() - 1]] {
                    prop_assert!(!out.windows(form.len()).any(|window| window == form.as_bytes()));
                }
            }
        }
    }

    #[test]
    fn a_longer_secret_goes_before_one_that_it_begins_with() {
        let secrets = secrets(&[("short", "abcdef"), ("long", "abcdefghij")]);
        for (text, clean) in [
            ("abcdefghij", "[secret long]"),
            ("abcdefghi", "[secret short]ghi"),
            ("abcdef", "[secret short]"),
            ("abcde", "abcde"),
        ] {
            let each: Vec<usize> = (0..text.len()).collect();
            assert_eq!(stream(&secrets, text.as_bytes(), &each), clean.as_bytes());
        }
    }

    #[test]
    fn only_what_may_begin_a_secret_waits() {
        let mut redactor = Redactor::new(secrets(&[("key", "hush-hush-hush")]));
        let mut say = |text: &str| {
            let mut out = String::new();
            redactor
                .push(text.as_bytes(), |clean| out.push_str(std::str::from_utf8(clean).unwrap()));
            out
        };
        assert_eq!(say("a line\n"), "a line\n");
        assert_eq!(say("what hush-h"), "what ");
        assert_eq!(say("ush-"), "");
        assert_eq!(say("hush!"), "[secret key]!");
        assert_eq!(say("hush-"), "");
        assert_eq!(say("no"), "hush-no");
    }

    #[test]
    fn documents_are_cleaned_however_they_were_written() {
        let secrets = secrets(&[("pem", "a \"b\"/\né\\z"), ("pin", "123456"), ("s", "short")]);
        let text = r#"{"x":["a \u0022b\u0022\/\u000a\u00E9\\z!",123456,1,null,"short"],"123456":{"y":true}}"#;
        let mut value: Value = serde_json::from_str(text).unwrap();
        secrets.in_value(&mut value);
        let clean = json!({"x": ["[secret pem]!", "[secret pin]", 1, null, "short"], "[secret pin]": {"y": true}});
        assert_eq!(value, clean);
        // As text they are known in the forms of the common encoders.
        for form in [r#"a \"b\"/\né\\z"#, r#"a \"b\"/\n\u00e9\\z"#, r#"a \"b\"\/\n\u00E9\\z"#] {
            assert_eq!(secrets.in_text(format!("<{form}>")), "<[secret pem]>");
        }
    }

    #[test]
    fn a_name_that_tells_is_not_said() {
        let secrets = secrets(&[("password", "password"), ("other", "secret")]);
        assert_eq!(secrets.in_text("password, secret".into()), "***, ***");
        assert!(!format!("{secrets:?}").contains("password"));
    }
}
