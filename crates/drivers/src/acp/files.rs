//! `fs/*`: text files of the workspace, and no others.

use std::io::{self, Read, Write};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, mkdirat, openat, openat2};
use serde_json::{Value, json};

use super::wire::RpcError;

/// There is no such resource.
pub(super) const NOT_FOUND: i32 = -32002;
/// A text file larger than this is not read whole.
const LONGEST: u64 = 64 << 20;

/// The path beneath the workspace that an absolute or relative one leads to.
fn beneath(workspace: &Path, params: &Value) -> io::Result<PathBuf> {
    let outside = |path: &str| {
        let text = format!("{path:?} is outside the workspace {}", workspace.display());
        io::Error::new(io::ErrorKind::InvalidInput, text)
    };
    let path = params["path"]
        .as_str()
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "path is missing"))?;
    let inner = match Path::new(path).strip_prefix(workspace) {
        Ok(inner) => inner,
        Err(_) if Path::new(path).is_absolute() => return Err(outside(path)),
        Err(_) => Path::new(path),
    };
    let plain =
        inner.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    if !plain || inner.as_os_str().is_empty() {
        return Err(outside(path));
    }
    Ok(inner.to_owned())
}

fn open(workspace: &Path, inner: &Path, flags: OFlags) -> io::Result<std::fs::File> {
    let root =
        openat(CWD, workspace, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let flags = flags | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let mode =
        if flags.contains(OFlags::CREATE) { Mode::from_raw_mode(0o644) } else { Mode::empty() };
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    let file: std::fs::File = openat2(&root, inner, flags, mode, resolve)?.into();
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
    }
    Ok(file)
}

/// `fs/read_text_file {path, line?, limit?}`
pub(super) fn read(workspace: &Path, params: &Value) -> Result<Value, RpcError> {
    let inner = beneath(workspace, params)?;
    let file = open(workspace, &inner, OFlags::RDONLY)?;
    let mut bytes = Vec::new();
    file.take(LONGEST + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LONGEST {
        let text = format!("{} has more than 64 MiB", inner.display());
        return Err(RpcError { code: -32603, message: text });
    }
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
pub(super) fn write(workspace: &Path, params: &Value) -> Result<Value, RpcError> {
    let inner = beneath(workspace, params)?;
    let content = params["content"].as_str().unwrap_or_default();
    make_folders(workspace, &inner)?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC;
    open(workspace, &inner, flags)?.write_all(content.as_bytes())?;
    Ok(Value::Null)
}

fn make_folders(workspace: &Path, inner: &Path) -> io::Result<()> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut at = openat(CWD, workspace, flags, Mode::empty())?;
    let Some(parent) = inner.parent() else { return Ok(()) };
    for part in parent.components() {
        if let Component::Normal(name) = part {
            match mkdirat(&at, name, Mode::from_raw_mode(0o755)) {
                Ok(()) | Err(rustix::io::Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
            at = openat2(&at, name, flags, Mode::empty(), ResolveFlags::BENEATH)?;
        }
    }
    Ok(())
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
        write(workspace, &file(workspace.join("a/b.txt").to_str().unwrap())).unwrap();
        let read_back = read(workspace, &json!({ "path": "a/b.txt" })).unwrap();
        assert_eq!(read_back["content"], "one\ntwo\nthree\n");
        let some = read(workspace, &json!({ "path": "a/b.txt", "line": 2, "limit": 1 })).unwrap();
        assert_eq!(some["content"], "two\n");
        let missing = read(workspace, &json!({ "path": "none" })).unwrap_err();
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
            CWD,
            workspace.join("fifo"),
            rustix::fs::FileType::Fifo,
            Mode::from_raw_mode(0o600),
            0,
        )
        .unwrap();
        for path in ["../secret", "/etc/passwd", "link", "up/secret", "a/../../secret", "", "fifo"]
        {
            assert!(read(&workspace, &json!({ "path": path })).is_err(), "{path:?} was read");
            assert!(write(&workspace, &file(path)).is_err(), "{path:?} was written");
        }
        assert_eq!(std::fs::read_to_string(dir.path().join("secret")).unwrap(), "s");
    }
}
