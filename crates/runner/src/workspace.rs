//! Making a session's workspace and home, once.

use std::io;
use std::path::{Path, PathBuf};

use greenroom_core::agent::{DirMode, WorkspaceFrom};
use greenroom_core::{SessionId, SessionUid, SessionWorkspace};
use tokio_util::sync::CancellationToken;

use crate::copy;
use crate::folder::{Folder, Place, make_private};
use crate::git;
use crate::remove;
use crate::roots::Roots;
use crate::worktree;

/// Why a workspace could not be made, in words for the one who started the session.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WorkspaceError {
    /// The folder the agent's file names is not to be had.
    #[error("the workspace folder {} cannot be used: {reason}", path.display())]
    Source { path: PathBuf, reason: String },
    /// Git said no.
    #[error("the workspace could not be cloned: {0}")]
    Git(git::GitError),
    /// Git said no.
    #[error("the workspace could not be made: {0}")]
    Worktree(git::GitError),
    /// The disk said no.
    #[error("the workspace {} could not be made: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
}

/// What a workspace is made from, or why there is nothing, in words.
pub(crate) type Source = Result<WorkspaceFrom, String>;

/// What is made of a folder that a client has named: that folder as it really is, where the
/// operator has allowed it. Blocks.
pub(crate) fn named(
    folder: &Folder,
    roots: &Roots,
    uid: SessionUid,
    from: &SessionWorkspace,
) -> Source {
    let SessionWorkspace::Dir { path, mode } = from;
    if *mode == DirMode::Copy && matches!(folder.place(uid), Ok(Some(_))) {
        // It has its copy, and nothing is read there any more.
        return Ok(WorkspaceFrom::Dir { path: path.to_string(), mode: *mode });
    }
    let real = roots.resolve(path).map_err(|refused| refused.to_string())?;
    match real.into_os_string().into_string() {
        Ok(path) => Ok(WorkspaceFrom::Dir { path, mode: *mode }),
        Err(_) => Err(format!("the working directory {path} cannot be used: it is no text")),
    }
}

/// Where a session's workspace and home are, or will be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Paths {
    pub(crate) workspace: PathBuf,
    pub(crate) home: PathBuf,
}

/// Where a session's workspace and home are, or will be. Touches nothing.
pub(crate) fn paths(folder: &Folder, uid: SessionUid, from: &WorkspaceFrom) -> Paths {
    let work = folder.work(uid);
    let workspace = match from {
        WorkspaceFrom::Dir { path, mode: DirMode::InPlace } => PathBuf::from(path),
        WorkspaceFrom::Empty
        | WorkspaceFrom::Dir { .. }
        | WorkspaceFrom::Git { .. }
        | WorkspaceFrom::Worktree { .. } => work.join("workspace"),
    };
    Paths { workspace, home: work.join("home") }
}

/// Makes workspace and home where they are not there. What a session once had is never
/// made anew from its source. Blocks; ends early when it is cancelled.
pub(crate) fn make(
    folder: &Folder,
    uid: SessionUid,
    session: &SessionId,
    from: &WorkspaceFrom,
    cancel: &CancellationToken,
) -> Result<(), WorkspaceError> {
    let Paths { workspace, home } = paths(folder, uid, from);
    let fail = |path: &Path| {
        let path = path.to_owned();
        move |source| WorkspaceError::Io { path, source }
    };
    make_private(&folder.work(uid)).map_err(fail(&home))?;
    make_private(&home).map_err(fail(&home))?;
    let known = folder.place(uid).map_err(fail(&workspace))?;
    let place = match from {
        WorkspaceFrom::Dir { path, mode: DirMode::InPlace } => {
            check_source(Path::new(path))?;
            Place { path: workspace.clone(), in_place: true }
        }
        WorkspaceFrom::Dir { path, mode: DirMode::Copy } if known.is_none() => {
            let source = Path::new(path);
            check_source(source)?;
            fill(source, &workspace, cancel)?;
            Place { path: workspace.clone(), in_place: false }
        }
        WorkspaceFrom::Git { url, reference } if known.is_none() => {
            let branch = format!("greenroom/{session}");
            let made = clone(url, reference.as_deref(), &branch, &workspace, cancel)?;
            folder.set_repository(uid, &made).map_err(fail(&workspace))?;
            Place { path: workspace.clone(), in_place: false }
        }
        WorkspaceFrom::Worktree { path, reference } if known.is_none() => {
            worktree::make(folder, uid, session, path, reference.as_deref(), cancel)
                .map_err(WorkspaceError::Worktree)?;
            Place { path: workspace.clone(), in_place: false }
        }
        WorkspaceFrom::Empty
        | WorkspaceFrom::Dir { .. }
        | WorkspaceFrom::Git { .. }
        | WorkspaceFrom::Worktree { .. } => {
            make_private(&workspace).map_err(fail(&workspace))?;
            Place { path: workspace.clone(), in_place: false }
        }
    };
    if known.as_ref() != Some(&place) {
        folder.set_place(uid, &place).map_err(fail(&workspace))?;
    }
    Ok(())
}

fn check_source(path: &Path) -> Result<(), WorkspaceError> {
    let bad = |reason: String| WorkspaceError::Source { path: path.to_owned(), reason };
    if !path.is_absolute() {
        return Err(bad("its path must be absolute".to_owned()));
    }
    match std::fs::metadata(path) {
        Ok(meta) if meta.is_dir() => Ok(()),
        Ok(_) => Err(bad("it is no folder".to_owned())),
        Err(error) => Err(bad(error.to_string())),
    }
}

/// Copies into a folder beside the workspace, which becomes the workspace only when it is
/// whole and on disk.
fn fill(source: &Path, workspace: &Path, cancel: &CancellationToken) -> Result<(), WorkspaceError> {
    let part = workspace.with_file_name("workspace.part");
    let fail = |source| WorkspaceError::Io { path: workspace.to_owned(), source };
    make_private(&part).map_err(fail)?;
    remove::empty(&part).map_err(fail)?;
    copy::tree(source, &part, cancel).map_err(|error| WorkspaceError::Source {
        path: source.to_owned(),
        reason: error.to_string(),
    })?;
    std::fs::rename(&part, workspace)
        .and_then(|()| greenroom_shim::control::sync_parent(workspace))
        .map_err(fail)
}

/// Clones into a folder beside the workspace, which becomes the workspace only when it is
/// whole.
fn clone(
    url: &str,
    reference: Option<&str>,
    branch: &str,
    workspace: &Path,
    cancel: &CancellationToken,
) -> Result<git::Repository, WorkspaceError> {
    let part = workspace.with_file_name("workspace.part");
    let fail = |source| WorkspaceError::Io { path: workspace.to_owned(), source };
    make_private(&part).map_err(fail)?;
    remove::empty(&part).map_err(fail)?;
    let made = git::clone(url, reference, branch, &part, cancel).map_err(WorkspaceError::Git)?;
    std::fs::rename(&part, workspace)
        .and_then(|()| greenroom_shim::control::sync_parent(workspace))
        .map_err(fail)?;
    Ok(made)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    fn name() -> SessionId {
        "tidy".parse().unwrap()
    }

    fn fixture() -> (tempfile::TempDir, Folder, SessionUid) {
        let temp = tempfile::tempdir().unwrap();
        let folder = Folder::open(&temp.path().join("data")).unwrap();
        (temp, folder, SessionUid(uuid::Uuid::now_v7()))
    }

    fn dir(path: &Path, mode: DirMode) -> WorkspaceFrom {
        WorkspaceFrom::Dir { path: path.display().to_string(), mode }
    }

    #[test]
    fn a_copy_is_made_once_and_whole() {
        let (temp, folder, uid) = fixture();
        let source = temp.path().join("source");
        fs::create_dir_all(source.join("sub")).unwrap();
        fs::write(source.join("sub/file"), "text").unwrap();
        symlink("/etc/passwd", source.join("out")).unwrap();
        let from = dir(&source, DirMode::Copy);
        let token = CancellationToken::new();
        make(&folder, uid, &name(), &from, &token).unwrap();
        let workspace = folder.work(uid).join("workspace");
        assert_eq!(fs::read_to_string(workspace.join("sub/file")).unwrap(), "text");
        assert_eq!(fs::read_link(workspace.join("out")).unwrap(), Path::new("/etc/passwd"));
        fs::write(workspace.join("sub/file"), "mine").unwrap();
        make(&folder, uid, &name(), &from, &token).unwrap();
        assert_eq!(fs::read_to_string(workspace.join("sub/file")).unwrap(), "mine");
    }

    #[test]
    fn a_cancelled_copy_leaves_no_workspace() {
        let (temp, folder, uid) = fixture();
        let source = temp.path().join("source");
        fs::create_dir_all(&source).unwrap();
        fs::write(source.join("file"), "text").unwrap();
        let token = CancellationToken::new();
        token.cancel();
        assert!(make(&folder, uid, &name(), &dir(&source, DirMode::Copy), &token).is_err());
        assert!(!folder.work(uid).join("workspace").exists());
        assert_eq!(folder.place(uid).unwrap(), None);
        make(&folder, uid, &name(), &dir(&source, DirMode::Copy), &CancellationToken::new())
            .unwrap();
        assert!(folder.work(uid).join("workspace/file").exists());
    }

    #[test]
    fn in_place_is_remembered_and_never_removed() {
        let (temp, folder, uid) = fixture();
        let source = temp.path().join("source");
        fs::create_dir_all(&source).unwrap();
        fs::write(source.join("file"), "text").unwrap();
        make(&folder, uid, &name(), &dir(&source, DirMode::InPlace), &CancellationToken::new())
            .unwrap();
        let place = folder.place(uid).unwrap().unwrap();
        assert!(place.in_place && place.path == source);
        assert!(remove::session(&folder, uid).unwrap().is_nothing());
        assert!(source.join("file").exists() && !folder.work(uid).exists());
        let missing = dir(&temp.path().join("missing"), DirMode::InPlace);
        let error = make(&folder, uid, &name(), &missing, &CancellationToken::new()).unwrap_err();
        assert!(error.to_string().contains("missing"), "{error}");
    }
}
