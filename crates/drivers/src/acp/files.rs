//! `fs/*`: text files of the workspace, and no others.

use serde_json::{Value, json};

use super::wire::RpcError;
use crate::looping::tools::place::{Denied, Place};

/// There is no such resource.
pub(super) const NOT_FOUND: i32 = -32002;
/// What was asked cannot be done so.
const INVALID_PARAMS: i32 = -32602;
/// A text file larger than this is not read whole.
const LONGEST: u64 = 64 << 20;

impl From<Denied> for RpcError {
    fn from(denied: Denied) -> Self {
        let code = match &denied {
            Denied::Missing(_) => NOT_FOUND,
            Denied::Refused(_) => INVALID_PARAMS,
        };
        Self { code, message: denied.to_string() }
    }
}

fn path(place: &Place, params: &Value) -> Result<String, RpcError> {
    let given = params["path"].as_str();
    let missing = || RpcError { code: INVALID_PARAMS, message: "path is missing".to_owned() };
    Ok(place.relative(given.ok_or_else(missing)?)?)
}

/// `fs/read_text_file {path, line?, limit?}`
pub(super) fn read(place: &Place, params: &Value) -> Result<Value, RpcError> {
    let bytes = place.read(&path(place, params)?, LONGEST)?;
    let text = String::from_utf8_lossy(&bytes);
    Ok(json!({ "content": part(&text, &params["line"], &params["limit"]) }))
}

/// So many lines from that one on, counted from 1.
fn part(text: &str, line: &Value, limit: &Value) -> String {
    if line.is_null() && limit.is_null() {
        return text.to_owned();
    }
    let skip = line.as_u64().unwrap_or(1).saturating_sub(1) as usize;
    let take = limit.as_u64().unwrap_or(u64::MAX) as usize;
    text.split_inclusive('\n').skip(skip).take(take).collect()
}

/// `fs/write_text_file {path, content}`
pub(super) fn write(place: &Place, params: &Value) -> Result<Value, RpcError> {
    let content = params["content"].as_str().unwrap_or_default();
    place.write(&path(place, params)?, content.as_bytes())?;
    Ok(json!({}))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str) -> Value {
        json!({ "path": path, "content": "one\ntwo\nthree\n" })
    }

    #[test]
    fn files_of_the_workspace_are_written_and_read() {
        let dir = tempfile::tempdir().unwrap();
        let workspace = dir.path();
        let place = &Place::open(workspace).unwrap();
        write(place, &file(workspace.join("a/b.txt").to_str().unwrap())).unwrap();
        let read_back = read(place, &json!({ "path": "a/b.txt" })).unwrap();
        assert_eq!(read_back["content"], "one\ntwo\nthree\n");
        let some = read(place, &json!({ "path": "a/b.txt", "line": 2, "limit": 1 })).unwrap();
        assert_eq!(some["content"], "two\n");
        let missing = read(place, &json!({ "path": "none" })).unwrap_err();
        assert_eq!(missing.code, NOT_FOUND);
    }

    #[test]
    fn nothing_else_is() {
        let dir = tempfile::tempdir().unwrap();
        let workspace = dir.path().join("workspace");
        std::fs::create_dir(&workspace).unwrap();
        std::fs::write(dir.path().join("secret"), "s").unwrap();
        std::os::unix::fs::symlink("../secret", workspace.join("link")).unwrap();
        std::os::unix::fs::symlink("..", workspace.join("up")).unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            workspace.join("fifo"),
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::from_raw_mode(0o600),
            0,
        )
        .unwrap();
        let place = Place::open(&workspace).unwrap();
        for path in ["../secret", "/etc/passwd", "link", "up/secret", "a/../../secret", "", "fifo"]
        {
            assert!(read(&place, &json!({ "path": path })).is_err(), "{path:?} was read");
            assert!(write(&place, &file(path)).is_err(), "{path:?} was written");
        }
        assert_eq!(std::fs::read_to_string(dir.path().join("secret")).unwrap(), "s");
    }
}
