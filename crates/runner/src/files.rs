//! Files of a session, on stopped sessions too: list, look, read, write, make, remove.
//! Everything stays beneath the workspace, whatever the agent has put there.

use std::ffi::{CStr, CString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use greenroom_core::{SessionUid, Timestamp};
use greenroom_protocol::Problem;
use greenroom_protocol::v1::{FileInfo, List, PushRequest, Pushed};
use rustix::fs::{AtFlags, FileType, FlockOperation, Mode, OFlags, ResolveFlags, Stat, flock};
use rustix::io::Errno;
use tokio_util::sync::CancellationToken;

use crate::beneath::{RelPath, Root, open_beneath, open_regular};
use crate::folder::Folder;
use crate::git::{self, Repository};
use crate::push;
use crate::remove;

/// Short for what an operation answers.
pub(crate) type Files<T> = Result<T, Box<Problem>>;

/// Opens a session's workspace.
pub(crate) fn workspace(folder: &Folder, uid: SessionUid) -> Files<Root> {
    let missing = || {
        Problem::new(404, "workspace_not_found", "the session has no workspace on its runner")
            .hint("it is made when the session first starts")
    };
    let broken = |error: io::Error| {
        Problem::new(
            500,
            "workspace_unreadable",
            format!("the workspace cannot be opened: {error}"),
        )
    };
    let place = folder.place(uid).map_err(broken)?.ok_or_else(missing)?;
    match Root::open(&place.path) {
        Ok(root) => Ok(root),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(missing().into()),
        Err(error) => Err(broken(error).into()),
    }
}

/// What a session has changed in its clone, as a patch.
pub(crate) fn diff(folder: &Folder, uid: SessionUid) -> Files<Vec<u8>> {
    let (repository, path) = repository(folder, uid)?;
    git::diff(&repository, &path, &folder.run(uid), &CancellationToken::new())
        .map_err(|error| Problem::new(409, "diff_failed", error.to_string()).into())
}

/// Pushes what a session has committed. It is given up when `cancel` says so.
pub(crate) fn push(
    folder: &Folder,
    uid: SessionUid,
    request: &PushRequest,
    cancel: &CancellationToken,
) -> Files<Pushed> {
    let (repository, path) = repository(folder, uid)?;
    Ok(push::push(&repository, request, &path, &folder.run(uid), cancel)?)
}

/// A session's repository, and where its files are.
fn repository(folder: &Folder, uid: SessionUid) -> Files<(Repository, PathBuf)> {
    // Says where nothing is yet.
    workspace(folder, uid)?;
    let unreadable = |error: io::Error| Problem::new(500, "file_error", error.to_string());
    let place = folder.place(uid).map_err(unreadable)?;
    let repository = folder.repository(uid).map_err(unreadable)?;
    match (repository, place) {
        (Some(repository), Some(place)) => Ok((repository, place.path)),
        _ => {
            let text = "the session's workspace is no clone of a git repository";
            Err(Problem::new(409, "no_repository", text)
                .hint("an agent with `workspace: {from: git, url: …}` has one")
                .into())
        }
    }
}

/// An error of the disk in words for the caller.
pub(crate) fn problem(error: &io::Error, path: &RelPath) -> Box<Problem> {
    let path = path.as_str();
    let say = |status, code: &str, text: String| Problem::new(status, code, text).at("path");
    let problem = match Errno::from_io_error(error) {
        Some(Errno::NOENT) => {
            say(404, "file_not_found", format!("there is no {path:?} in the workspace"))
        }
        Some(Errno::XDEV) => {
            say(422, "outside_workspace", format!("{path:?} leads out of the workspace"))
                .hint("links are followed only as long as they stay inside")
        }
        Some(Errno::NOTDIR) => {
            say(409, "not_a_directory", format!("a part of {path:?} is no folder"))
        }
        Some(Errno::ISDIR) => say(409, "is_a_directory", format!("{path:?} is a folder")),
        Some(Errno::LOOP) => {
            say(409, "is_a_link", format!("{path:?} is a link, or leads through too many"))
                .hint("name what it leads to")
        }
        Some(Errno::NOTEMPTY | Errno::EXIST) => {
            say(409, "not_empty", format!("the folder {path:?} is not empty"))
                .hint("say recursive=true to remove what is in it, too")
        }
        Some(Errno::BUSY) => say(409, "is_a_mount", format!("{path:?} is a mount, or holds one")),
        Some(Errno::NAMETOOLONG) => say(422, "invalid", format!("{path:?} is too long")),
        Some(Errno::NOSPC | Errno::DQUOT) => {
            say(507, "no_space", format!("no space is left for {path:?} on the runner"))
        }
        Some(Errno::ACCESS | Errno::PERM | Errno::ROFS) => {
            say(409, "not_permitted", format!("the runner may not do that with {path:?}: {error}"))
        }
        _ => say(500, "file_error", format!("{path:?}: {error}")),
    };
    Box::new(problem)
}

fn kind_word(kind: FileType) -> &'static str {
    match kind {
        FileType::RegularFile => "file",
        FileType::Directory => "dir",
        FileType::Symlink => "symlink",
        _ => "other",
    }
}

fn not_a_file(kind: FileType, path: &RelPath) -> Box<Problem> {
    match kind {
        FileType::Directory => problem(&Errno::ISDIR.into(), path),
        FileType::Symlink => problem(&Errno::LOOP.into(), path),
        _ => {
            let text = format!("{:?} is a pipe, a socket or a device", path.as_str());
            Box::new(Problem::new(409, "not_a_file", text).at("path"))
        }
    }
}

fn info(path: String, name: String, stat: &Stat) -> FileInfo {
    let kind = FileType::from_raw_mode(stat.st_mode);
    let modified = jiff::Timestamp::new(stat.st_mtime, stat.st_mtime_nsec as i32).ok();
    FileInfo {
        path,
        name,
        kind: kind_word(kind).to_owned(),
        size: if kind == FileType::RegularFile { stat.st_size as u64 } else { 0 },
        mode: stat.st_mode & 0o7777,
        modified_at: modified.map(Timestamp),
    }
}

/// What is in a folder, by name.
pub(crate) fn list(root: &Root, path: &RelPath) -> Files<List<FileInfo>> {
    let fail = |error: io::Error| problem(&error, path);
    let folder = root.open_at(path, OFlags::RDONLY | OFlags::DIRECTORY).map_err(fail)?;
    let mut items = Vec::new();
    let mut names = remove::entries(&folder).map_err(|error| fail(error.into()))?;
    // What is being written is not there yet; what was being written never was.
    names.retain(|name| !is_part(name) || !put_away(&folder, name));
    for name in names {
        match rustix::fs::statat(&folder, &name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => {
                let name = name.to_string_lossy().into_owned();
                items.push(info(path.join(&name), name, &stat));
            }
            // It went while we looked.
            Err(Errno::NOENT) => {}
            Err(error) => return Err(fail(error.into())),
        }
    }
    items.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(List::whole(items))
}

/// One entry; a link is itself, not what it leads to.
pub(crate) fn stat(root: &Root, path: &RelPath) -> Files<FileInfo> {
    let fail = |error: io::Error| problem(&error, path);
    let looked = root.open_at(path, OFlags::PATH | OFlags::NOFOLLOW).map_err(fail)?;
    let stat = rustix::fs::fstat(&looked).map_err(|error| fail(error.into()))?;
    Ok(info(path.as_str().to_owned(), path.name().to_owned(), &stat))
}

/// A regular file for reading, and its length.
pub(crate) fn read(root: &Root, path: &RelPath) -> Files<(File, u64)> {
    let fail = |error: io::Error| problem(&error, path);
    let file = match open_regular(root, path).map_err(fail)? {
        Ok(file) => File::from(file),
        Err(kind) => return Err(not_a_file(kind, path)),
    };
    let length = file.metadata().map_err(fail)?.len();
    Ok((file, length))
}

/// Makes a folder and those above it. One that is there already is fine.
pub(crate) fn mkdir(root: &Root, path: &RelPath) -> Files<FileInfo> {
    let made = make_folders(root, path)?;
    let stat = rustix::fs::fstat(&made).map_err(|error| problem(&error.into(), path))?;
    Ok(info(path.as_str().to_owned(), path.name().to_owned(), &stat))
}

fn make_folders(root: &Root, path: &RelPath) -> Files<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY;
    let mut at = root.open_at(&RelPath::parse("")?, flags).map_err(|e| problem(&e, path))?;
    for prefix in path.prefixes() {
        let fail = |error: io::Error| problem(&error, &prefix);
        at = match root.open_at(&prefix, flags) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                match rustix::fs::mkdirat(&at, prefix.name(), Mode::from_raw_mode(0o755)) {
                    // A link that leads nowhere is there, and is no folder.
                    Ok(()) | Err(Errno::EXIST) => {}
                    Err(error) => return Err(fail(error.into())),
                }
                rustix::fs::fsync(&at).map_err(|error| fail(error.into()))?;
                root.open_at(&prefix, flags).map_err(fail)?
            }
            opened => opened.map_err(fail)?,
        };
    }
    Ok(at)
}

/// What the names of files that are being written begin with. A UUID follows.
const PART: &str = ".greenroom-upload-";

pub(crate) fn is_part(name: &CStr) -> bool {
    let id = name.to_bytes().strip_prefix(PART.as_bytes());
    id.is_some_and(|id| id.len() == 32 && id.iter().all(u8::is_ascii_hexdigit))
}

/// Removes a file that was being written when its writer died. Says whether the name is
/// that of a file nobody should see.
fn put_away(folder: &OwnedFd, name: &CStr) -> bool {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let Ok(file) = rustix::fs::openat(folder, name, flags, Mode::empty()) else { return false };
    let regular = rustix::fs::fstat(&file)
        .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile);
    if regular && flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok() {
        let _ = rustix::fs::unlinkat(folder, name, AtFlags::empty());
    }
    regular
}

/// Makes a file to write to. Its lock tells it from one whose writer is dead. Until it has
/// that, another upload may take it for such a one and put it away; then another is made.
fn make_part(folder: &OwnedFd) -> Result<(CString, OwnedFd), Errno> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    for _ in 0..64 {
        let name = format!("{PART}{}", uuid::Uuid::now_v7().simple());
        let part = CString::new(name).map_err(|_| Errno::INVAL)?;
        let file = rustix::fs::openat(folder, &part, flags, Mode::RUSR | Mode::WUSR)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) if rustix::fs::fstat(&file)?.st_nlink > 0 => return Ok((part, file)),
            Ok(()) | Err(Errno::WOULDBLOCK) => {}
            Err(error) => return Err(error),
        }
    }
    Err(Errno::AGAIN)
}

/// A file being written, under a name of its own. Dropped without [`finish`](Self::finish),
/// it never was.
#[derive(Debug)]
pub(crate) struct Upload {
    folder: OwnedFd,
    path: RelPath,
    part: CString,
    target: CString,
    mode: Mode,
    finished: bool,
}

impl Upload {
    /// Begins to write a regular file. Folders above it are made.
    pub(crate) fn begin(root: &Root, path: &RelPath) -> Files<(Self, File)> {
        if path.is_root() {
            return Err(not_a_file(FileType::Directory, path));
        }
        let fail = |error: Errno| problem(&error.into(), path);
        let folder = make_folders(root, &path.parent())?;
        for name in remove::entries(&folder).map_err(fail)?.iter().filter(|name| is_part(name)) {
            put_away(&folder, name);
        }
        let target = CString::new(path.name()).map_err(|_| fail(Errno::INVAL))?;
        let mode = match rustix::fs::statat(&folder, &target, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => match FileType::from_raw_mode(stat.st_mode) {
                FileType::RegularFile => Mode::from_raw_mode(stat.st_mode & 0o777),
                kind => return Err(not_a_file(kind, path)),
            },
            Err(Errno::NOENT) => Mode::from_raw_mode(0o644),
            Err(error) => return Err(fail(error)),
        };
        let (part, file) = make_part(&folder).map_err(fail)?;
        let path = path.clone();
        Ok((Self { folder, path, part, target, mode, finished: false }, File::from(file)))
    }

    /// Syncs it and gives it its name: from then on it is there, whole, also after a power cut.
    pub(crate) fn finish(mut self, file: &File) -> Files<FileInfo> {
        let done = (|| {
            rustix::fs::fchmod(file, self.mode)?;
            rustix::fs::fsync(file)?;
            // What is there now may be something else than when this began.
            match rustix::fs::statat(&self.folder, &self.target, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink => {
                    return Err(Errno::LOOP);
                }
                Ok(_) | Err(Errno::NOENT) => {}
                Err(error) => return Err(error),
            }
            rustix::fs::renameat(&self.folder, &self.part, &self.folder, &self.target)?;
            self.finished = true;
            rustix::fs::fsync(&self.folder)?;
            rustix::fs::fstat(file)
        })();
        match done {
            Ok(stat) => Ok(info(self.path.as_str().to_owned(), self.path.name().to_owned(), &stat)),
            Err(error) => Err(problem(&error.into(), &self.path)),
        }
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if !self.finished {
            let _ = rustix::fs::unlinkat(&self.folder, &self.part, AtFlags::empty());
        }
    }
}

/// Removes a file, a link or a folder; with `recursive` what is in it too.
pub(crate) fn delete(root: &Root, path: &RelPath, recursive: bool) -> Files<()> {
    if path.is_root() {
        return Err(Problem::invalid("the workspace itself cannot be removed")
            .hint("delete the session")
            .at("path")
            .into());
    }
    let fail = |error: io::Error| problem(&error, path);
    let parent = root.open_at(&path.parent(), OFlags::RDONLY | OFlags::DIRECTORY).map_err(fail)?;
    let name = CString::new(path.name()).map_err(|error| fail(error.into()))?;
    let is_folder = remove::is_folder(&parent, &name).map_err(|error| fail(error.into()))?;
    if is_folder && recursive {
        // Only to be told a mount before anything is touched.
        let restrict = ResolveFlags::NO_XDEV | ResolveFlags::NO_SYMLINKS;
        match open_beneath(&parent, name.as_c_str(), OFlags::PATH, restrict) {
            Err(error) if Errno::from_io_error(&error) == Some(Errno::XDEV) => {
                return Err(fail(Errno::BUSY.into()));
            }
            _ => {}
        }
        let left = remove::remove_tree(parent.as_fd(), &name);
        if left.mounts > 0 {
            return Err(fail(Errno::BUSY.into()));
        }
        if let Some(error) = left.error {
            return Err(fail(error));
        }
    } else {
        let flags = if is_folder { AtFlags::REMOVEDIR } else { AtFlags::empty() };
        rustix::fs::unlinkat(&parent, &name, flags).map_err(|error| fail(error.into()))?;
    }
    rustix::fs::fsync(&parent).map_err(|error| fail(error.into()))
}

#[cfg(test)]
mod tests;
