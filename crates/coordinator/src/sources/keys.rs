//! The key and the stable identity of whatever an operator may name.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use greenroom_core::source_key;

/// Before a URL whose query is part of its identity.
pub const WITH_QUERY: &str = "with-query:";

/// Key and stable identity of a reference. Only those of a URL can differ in more than form:
/// a file, folder, image or built-in agent is itself and nothing else.
pub fn of(reference: &[u8]) -> (Vec<u8>, Vec<u8>) {
    if source_key::is_url(reference) {
        let key = source_key::of_url(reference).into_bytes();
        let stable = source_key::stable(&key);
        return (key, stable);
    }
    if let Some(url) = reference.strip_prefix(WITH_QUERY.as_bytes())
        && source_key::is_url(url)
    {
        let key = source_key::of_url(url).into_bytes();
        let stable = source_key::stable_with_query(&key);
        return (key, stable);
    }
    let key = of_local(reference);
    (key.clone(), key)
}

/// What a source is known by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Its key.
    pub key: String,
    /// Its stable identity, of a URL; nothing else has more than its key.
    pub stable: Option<String>,
    /// As people may see it, as `kind:key`.
    pub shown: String,
}

impl Identity {
    /// Of a source, as it is kept. What is shown has no password, and a session's log has
    /// only what is shown.
    pub fn of(source: &str) -> Self {
        let lossy = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        let url = source.strip_prefix("url:").map(|url| (url, false));
        let url = url.or_else(|| source.strip_prefix("url+query:").map(|url| (url, true)));
        let Some((url, with_query)) = url else {
            let key = lossy(of_local(source.as_bytes()));
            return Self { key, stable: None, shown: source.to_owned() };
        };
        let key = source_key::of_url(url.as_bytes());
        let stable = match with_query {
            true => source_key::stable_with_query(key.as_bytes()),
            false => source_key::stable(key.as_bytes()),
        };
        Self { key, stable: Some(lossy(stable)), shown: source_key::redacted(source) }
    }

    /// As people may see it.
    pub fn of_shown(source: &str) -> Self {
        Self::of(&source_key::redacted(source))
    }
}

fn of_local(reference: &[u8]) -> Vec<u8> {
    for kind in ["file:", "dir:"] {
        if let Some(path) = reference.strip_prefix(kind.as_bytes()) {
            return source_key::of_file(path);
        }
    }
    for kind in ["builtin:", "api:"] {
        if let Some(name) = reference.strip_prefix(kind.as_bytes()) {
            return name.to_vec();
        }
    }
    if is_file(reference) {
        return source_key::of_file(reference);
    }
    let text = std::str::from_utf8(reference).unwrap_or_default();
    let image = text.strip_prefix("oci://").or_else(|| text.strip_prefix("oci:"));
    match image.or_else(|| Some(text).filter(|text| is_image(text))) {
        Some(image) => source_key::of_oci(image).into_bytes(),
        None => reference.to_vec(),
    }
}

/// Whether it is the name of an agent file, or of any file that is there.
fn is_file(reference: &[u8]) -> bool {
    let path = Path::new(OsStr::from_bytes(reference));
    let known = path.extension().is_some_and(|end| {
        ["yaml", "yml", "hcl"].iter().any(|known| end.eq_ignore_ascii_case(known))
    });
    known || path.is_file()
}

/// Whether it reads like an image of a registry: `host/name:tag`, `org/name@sha256:…`. A
/// single word is the name of an agent.
fn is_image(reference: &str) -> bool {
    let (name, tag) = match reference.split_once('@') {
        Some((name, digest)) => (name, digest),
        None => match reference.rsplit_once(':') {
            Some((name, tag)) if !tag.contains('/') => (name, tag),
            _ => (reference, "latest"),
        },
    };
    let word = |text: &str, more: &str| {
        !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || more.contains(c))
    };
    let mut parts = name.split('/');
    let first = parts.next().is_some_and(|part| word(part, "._-:"));
    let mut rest = parts.peekable();
    first && rest.peek().is_some() && rest.all(|part| word(part, "._-")) && word(tag, "._-:+")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn both(reference: &str) -> (String, String) {
        let (key, stable) = of(reference.as_bytes());
        let text = |bytes| String::from_utf8(bytes).expect("text");
        (text(key), text(stable))
    }

    #[test]
    fn only_a_url_has_an_identity_beside_its_key() {
        let url = both("https://ex.com/a.yaml?tag=v1");
        assert_eq!(url.0, "https%3A%2F%2Fex.com%2Fa.yaml%3Ftag%3Dv1");
        assert_eq!(url.1, "https://ex.com/a.yaml");
        let with = both("with-query:https://ex.com/a.yaml?tag=v1#f");
        assert_eq!(with.0, "https%3A%2F%2Fex.com%2Fa.yaml%3Ftag%3Dv1%23f");
        assert_eq!(with.1, "https://ex.com/a.yaml?tag=v1");
        for (reference, key) in [
            ("", ""),
            ("shell", "shell"),
            ("builtin:shell", "shell"),
            ("api:helper", "helper"),
            ("./agents/fixer.yaml", "fixer"),
            ("file:/etc/agents/fixer.YML", "fixer"),
            ("docker.io/org/a:v1", "docker.io_org_a_v1.yaml"),
            ("localhost:5000/a", "localhost_5000_a.yaml"),
            ("oci://ex.com/a@sha256:0f", "ex.com_a_sha256_0f.yaml"),
            ("HTTPS://ex.com/a?x", "HTTPS://ex.com/a?x"),
            ("what?", "what?"),
            ("100%25", "100%25"),
            // A file cannot pass for a URL.
            ("http%3A%2F%2Fex.com%2Fa.yaml", "http%3A%2F%2Fex.com%2Fa"),
        ] {
            assert_eq!(both(reference), (key.to_owned(), key.to_owned()), "{reference}");
        }
    }
}
