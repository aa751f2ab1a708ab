//! What a source is known by: its key, and the identity that stays when its query changes.
//!
//! Both are those of docker-agent (`StableSourceKey`), byte for byte, so that a key means
//! the same thing to both; `docs/sources.md` has the rule and a table of cases.

mod go_url;

use go_url::{Url, query_escape, query_unescape};

/// Whether it is a URL to fetch from. The prefix is compared as it is written.
pub fn is_url(reference: &[u8]) -> bool {
    reference.starts_with(b"http://") || reference.starts_with(b"https://")
}

/// The key of a source that was named by a URL.
pub fn of_url(url: &[u8]) -> String {
    ascii(query_escape(url))
}

/// The key of a file: its name without what is behind the last dot.
pub fn of_file(path: &[u8]) -> Vec<u8> {
    let end = path.iter().rposition(|byte| *byte != b'/').map_or(0, |last| last + 1);
    let start = path[..end].iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash + 1);
    let name = &path[start..end];
    let stem = name.iter().rposition(|byte| *byte == b'.').unwrap_or(name.len());
    name[..stem].to_vec()
}

/// The key of an OCI reference.
pub fn of_oci(reference: &str) -> String {
    let odd = |letter| if r#"/:@\*?"<>|"#.contains(letter) { '_' } else { letter };
    let name: String = reference.chars().map(odd).collect();
    if name.ends_with(".yaml") { name } else { format!("{name}.yaml") }
}

/// The stable identity of a key: for one of a URL, the URL without its query and fragment;
/// for any other, and for what Go's `net/url` refuses, the key itself.
pub fn stable(key: &[u8]) -> Vec<u8> {
    reduced(key, false)
}

/// As [`stable`], for a source whose query was declared to be part of its identity.
pub fn stable_with_query(key: &[u8]) -> Vec<u8> {
    reduced(key, true)
}

fn reduced(key: &[u8], with_query: bool) -> Vec<u8> {
    let decoded = query_unescape(key).ok();
    match decoded.as_deref().and_then(Url::parse) {
        Some(Ok(mut url)) => {
            if !with_query {
                url.query.clear();
            }
            url.print()
        }
        Some(Err(_)) | None => key.to_vec(),
    }
}

/// A URL, or a text that ends with one, as people may see it: user name and password are
/// hidden.
pub fn redacted(text: &str) -> String {
    let begins = ["http://", "https://"].iter().filter_map(|scheme| text.find(scheme)).min();
    let (before, url) = text.split_at(begins.unwrap_or(0));
    let Some((scheme, rest)) = url.split_once("://") else { return text.to_owned() };
    let refused = matches!(Url::parse(url.as_bytes()), Some(Err(_)) | None);
    // Where it does not parse, nobody knows where its user name and password end.
    let end = if refused { rest.len() } else { rest.find(['/', '?', '#']).unwrap_or(rest.len()) };
    match rest[..end].rfind('@') {
        Some(at) => format!("{before}{scheme}://***@{}", &rest[at + 1..]),
        None => text.to_owned(),
    }
}

fn ascii(bytes: Vec<u8>) -> String {
    match String::from_utf8(bytes) {
        Ok(text) => text,
        Err(_) => unreachable!("what is escaped is ASCII"),
    }
}

#[cfg(test)]
mod tests;
