//! Opaque places in a list.

use crate::{Result, StoreError};

/// The place after an entry: its number, and its sort key where it has one.
pub(super) fn write(list: &str, number: i64, key: &str) -> String {
    let plain = format!("{list}\n{number}\n{key}");
    plain.bytes().map(|byte| format!("{byte:02x}")).collect()
}

/// What [`write`] has written for the same list.
pub(super) fn read(list: &str, cursor: &str) -> Result<(i64, String)> {
    plain(cursor)
        .and_then(|plain| {
            let mut parts = plain.splitn(3, '\n');
            let same = parts.next()? == list;
            let number = parts.next()?.parse().ok()?;
            let key = parts.next()?.to_owned();
            same.then_some((number, key))
        })
        .ok_or(StoreError::BadCursor)
}

fn plain(cursor: &str) -> Option<String> {
    let digits = cursor.as_bytes();
    if digits.len() > 4096 || !digits.len().is_multiple_of(2) {
        return None;
    }
    let digit = |byte: u8| (byte as char).to_digit(16);
    let bytes: Option<Vec<u8>> =
        digits.chunks(2).map(|pair| Some((digit(pair[0])? * 16 + digit(pair[1])?) as u8)).collect();
    String::from_utf8(bytes?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_for_its_own_list() {
        let cursor = write("id", 7, "a.b\nc");
        assert_eq!(read("id", &cursor).expect("reads"), (7, "a.b\nc".to_owned()));
        for bad in ["", "zz", "abc", "é", &cursor[..6], &write("created", 7, "")] {
            assert!(matches!(read("id", bad), Err(StoreError::BadCursor)), "{bad}");
        }
    }
}
