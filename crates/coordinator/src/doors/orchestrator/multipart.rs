//! Forms with a file in them: as much of them as an upload of one archive needs.

use http::{HeaderMap, header};

use super::fault::{Done, Fault};

/// A file of a form.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Upload<'a> {
    /// What its sender calls it.
    pub name: String,
    pub content: &'a [u8],
}

/// The file in the field of this name.
pub(super) fn file<'a>(headers: &HeaderMap, body: &'a [u8], field: &str) -> Done<Upload<'a>> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let boundary = kind
        .and_then(boundary)
        .ok_or_else(|| Fault::new(422, "the body must be multipart/form-data, with a boundary"))?;
    find(body, &boundary, field)
        .ok_or_else(|| Fault::new(422, format!("the form has no file in the field '{field}'")))
}

fn boundary(kind: &str) -> Option<String> {
    let (essence, rest) = kind.split_once(';')?;
    if !essence.trim().eq_ignore_ascii_case("multipart/form-data") {
        return None;
    }
    let found = parameter(rest, "boundary")?;
    (1..=70).contains(&found.len()).then_some(found)
}

/// A parameter of a header, without its quotes.
fn parameter(text: &str, name: &str) -> Option<String> {
    let mut rest = text;
    while !rest.is_empty() {
        let (key, after) = rest.split_once('=')?;
        let key = key.trim_matches([' ', ';', '\t']);
        let (value, next) = match after.strip_prefix('"') {
            Some(quoted) => {
                let end = quoted.find('"')?;
                (&quoted[..end], &quoted[end + 1..])
            }
            None => after.split_once(';').unwrap_or((after, "")),
        };
        if key.eq_ignore_ascii_case(name) {
            return Some(value.trim().to_owned());
        }
        rest = next;
    }
    None
}

fn find<'a>(body: &'a [u8], boundary: &str, field: &str) -> Option<Upload<'a>> {
    let mark = format!("--{boundary}");
    let mark = mark.as_bytes();
    let mut rest = after(body, mark)?;
    loop {
        if rest.starts_with(b"--") {
            return None;
        }
        let part = rest.strip_prefix(b"\r\n".as_slice()).unwrap_or(rest);
        let split = position(part, b"\r\n\r\n")?;
        let (head, content) = (&part[..split], &part[split + 4..]);
        let closing = [b"\r\n".as_slice(), mark].concat();
        let end = position(content, &closing)?;
        let head = std::str::from_utf8(head).ok()?;
        let disposition = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.trim().eq_ignore_ascii_case("content-disposition").then_some(value)
        });
        let parameters = disposition.and_then(|text| text.split_once(';')).map_or("", |(_, p)| p);
        if parameter(parameters, "name").as_deref() == Some(field)
            && let Some(name) = parameter(parameters, "filename")
        {
            return Some(Upload { name, content: &content[..end] });
        }
        rest = &content[end + closing.len()..];
    }
}

fn position(text: &[u8], part: &[u8]) -> Option<usize> {
    text.windows(part.len()).position(|window| window == part)
}

fn after<'a>(text: &'a [u8], part: &[u8]) -> Option<&'a [u8]> {
    position(text, part).map(|at| &text[at + part.len()..])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_file_is_found() {
        let body = b"--x y\r\nContent-Disposition: form-data; name=\"other\"\r\n\r\n1\r\n--x y\r\n\
            content-disposition: form-data; name=\"file\"; filename=\"c.tar.gz\"\r\n\
            Content-Type: application/gzip\r\n\r\na\r\nb\r\n--x y--\r\n";
        let found = find(body, "x y", "file").expect("a file");
        assert_eq!((found.name.as_str(), found.content), ("c.tar.gz", b"a\r\nb".as_slice()));
        assert!(find(body, "x y", "none").is_none() && find(body, "z", "file").is_none());
        assert_eq!(boundary("multipart/form-data; boundary=\"x y\"").as_deref(), Some("x y"));
        assert_eq!(boundary("multipart/form-data; charset=a; boundary=b").as_deref(), Some("b"));
        assert_eq!(boundary("application/json; boundary=b"), None);
    }

    proptest! {
        #[test]
        fn anything_is_read_or_refused(body in "[-a\r\n:;=\" ]{0,200}", kind in "[-a-z/;=\" ]{0,60}") {
            let _ = find(body.as_bytes(), "a", "a");
            let _ = boundary(&kind);
        }
    }
}
