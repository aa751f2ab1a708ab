//! Workspaces that are working trees of a repository on this machine.
//!
//! Such a repository is somebody's own, and agents of other sessions may work in it too:
//! its hooks and filters are not run here, neither when a tree is made nor when it goes.

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use greenroom_core::{SessionId, SessionUid};
use tokio_util::sync::CancellationToken;

use crate::folder::Folder;
use crate::git::{self, GitError, Made, Repository, Scratch};
use crate::remove;

/// Makes a working tree of the repository at `path`, on a branch of the session's own.
/// What an earlier attempt has left of it is removed first.
pub(crate) fn make(
    folder: &Folder,
    uid: SessionUid,
    session: &SessionId,
    path: &str,
    reference: Option<&str>,
    cancel: &CancellationToken,
) -> Result<(), GitError> {
    let workspace = folder.work(uid).join("workspace");
    let scratch = folder.run(uid);
    forget(folder, uid)?;
    if workspace.exists() {
        remove::empty(&workspace)?;
        fs::remove_dir(&workspace)?;
    }
    let common = common_dir(path, cancel)?;
    let base = git::begin_with(&common, "refs/heads/", path, reference, cancel)?;
    let branch = git::branch_name(&common, &format!("greenroom/{session}"), cancel);
    let branch = free_branch(&common, branch, uid, cancel)?;
    let made = Made::Worktree(common.clone());
    let repository = Repository { branch: branch.clone(), base: base.clone(), made };
    // First, so that nothing of it is left when this ends half-way.
    folder.set_repository(uid, &repository)?;
    let mut add = git::git(&common);
    add.env("GIT_ALLOW_PROTOCOL", "none");
    add.args(["-c", "worktree.useRelativePaths=false"]);
    // Locked: nobody's `git worktree prune` takes it while this folder is not mounted.
    add.args(["worktree", "add", "--quiet", "--no-checkout", "--lock", "--reason"]);
    add.arg(format!("the workspace of Greenroom's session {session}"));
    add.args(["-b", &branch]).arg(&workspace).arg(&base);
    git::run(&format!("worktree of {path}"), &mut add, cancel)?;
    // With the filters of this runner's user, and not with those of the repository.
    let own = Scratch::make(&scratch, &workspace, &common, &base, cancel)?;
    let registered = registration(&common, &registered_at(folder, uid)?)?;
    let index = registered.ok_or_else(|| io::Error::other("git has registered no worktree"))?;
    let mut checkout = own.in_workspace();
    checkout.env("GIT_INDEX_FILE", index.join("index")).args(["read-tree", "-u", "--reset", &base]);
    git::run("checkout", &mut checkout, cancel)?;
    Ok(())
}

/// The git folder of the repository at exactly this path.
fn common_dir(path: &str, cancel: &CancellationToken) -> Result<PathBuf, GitError> {
    let exact = fs::canonicalize(path).map_err(|error| GitError::Said {
        what: format!("worktree of {path}"),
        said: error.to_string(),
    })?;
    let mut parse = git::git(&exact);
    if let Some(above) = exact.parent() {
        parse.env("GIT_CEILING_DIRECTORIES", above);
    }
    parse.args(["rev-parse", "--path-format=absolute", "--git-common-dir"]);
    let found = git::run(&format!("worktree of {path}"), &mut parse, cancel)?;
    Ok(PathBuf::from(git::text(&found)))
}

/// The name of an earlier session may have a branch still.
fn free_branch(
    common: &Path,
    branch: String,
    uid: SessionUid,
    cancel: &CancellationToken,
) -> Result<String, GitError> {
    if state(common, &branch, cancel)?.is_none() {
        return Ok(branch);
    }
    let uid = uid.to_string();
    let tail = uid.rsplit('-').next().unwrap_or(&uid);
    Ok(format!("{branch}-{tail}"))
}

/// The commit a branch is at, and where it is checked out.
fn state(
    common: &Path,
    branch: &str,
    cancel: &CancellationToken,
) -> Result<Option<(String, String)>, GitError> {
    let name = format!("refs/heads/{branch}");
    let mut refs = git::git(common);
    refs.env("GIT_DIR", common).env("GIT_ALLOW_PROTOCOL", "none");
    refs.args(["for-each-ref", "--format=%(refname) %(objectname) %(worktreepath)", &name]);
    let found = git::text(&git::run("branch", &mut refs, cancel)?);
    let mut found = found.lines().filter_map(|line| line.strip_prefix(&name)?.strip_prefix(' '));
    let found = found.next().map(|line| line.split_once(' ').unwrap_or((line, "")));
    Ok(found.map(|(commit, place)| (commit.to_owned(), place.trim().to_owned())))
}

/// What git knows a session's working tree by, also when that is gone.
fn registered_at(folder: &Folder, uid: SessionUid) -> io::Result<PathBuf> {
    Ok(fs::canonicalize(folder.works())?.join(uid.to_string()).join("workspace/.git"))
}

/// Git's own folder for the working tree that is registered as this.
fn registration(common: &Path, wanted: &Path) -> io::Result<Option<PathBuf>> {
    let entries = match fs::read_dir(common.join("worktrees")) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    for entry in entries {
        let dir = entry?.path();
        let said = fs::read(dir.join("gitdir")).unwrap_or_default();
        if said.trim_ascii_end() == wanted.as_os_str().as_bytes() {
            return Ok(Some(dir));
        }
    }
    Ok(None)
}

/// Whether something of a session's working tree is registered still, and where.
pub(crate) fn registered(folder: &Folder, uid: SessionUid) -> io::Result<Option<PathBuf>> {
    match folder.repository(uid)? {
        Some(Repository { made: Made::Worktree(common), .. }) => Ok(Some(common)),
        _ => Ok(None),
    }
}

/// Forgets a session's working tree: its registration, its branch unless that has commits
/// that are nowhere else, and then that there was one. The files are not touched.
pub(crate) fn forget(folder: &Folder, uid: SessionUid) -> Result<(), GitError> {
    let Some(repository) = folder.repository(uid)? else { return Ok(()) };
    if let Made::Worktree(common) = &repository.made
        && common.is_dir()
    {
        if let Some(dir) = registration(common, &registered_at(folder, uid)?)? {
            unregister(&dir)?;
        }
        drop_branch(common, &repository)?;
    }
    Ok(folder.forget_repository(uid)?)
}

fn unregister(dir: &Path) -> io::Result<()> {
    let (Some(parent), Some(name)) = (dir.parent(), dir.file_name()) else { return Ok(()) };
    let name = CString::new(name.as_bytes()).map_err(io::Error::other)?;
    let left = remove::remove_in(parent, &name)?;
    match left.error {
        Some(error) => Err(error),
        // As git does with the last one.
        None => match fs::remove_dir(parent) {
            Err(error) if error.kind() != io::ErrorKind::DirectoryNotEmpty => Err(error),
            _ => Ok(()),
        },
    }
}

fn drop_branch(common: &Path, repository: &Repository) -> Result<(), GitError> {
    let cancel = CancellationToken::new();
    let branch = &repository.branch;
    let Some((commit, place)) = state(common, branch, &cancel)? else { return Ok(()) };
    if !place.is_empty() {
        return Ok(());
    }
    let in_repository = || {
        let mut command = git::git(common);
        command.env("GIT_DIR", common).env("GIT_ALLOW_PROTOCOL", "none");
        command
    };
    let (name, exclude) =
        (format!("refs/heads/{branch}"), format!("--exclude=refs/heads/{branch}"));
    let mut alone = in_repository();
    alone.args(["rev-list", "--max-count=1", &commit, "--not"]);
    alone.args([exclude.as_str(), "--glob=refs/heads/*", "--tags", "--remotes"]);
    if git::text(&git::run("commits of the branch", &mut alone, &cancel)?).is_empty() {
        // Only as it was just seen.
        let delete = ["update-ref", "-d", &name, &commit];
        git::run("end of the branch", in_repository().args(delete), &cancel)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
