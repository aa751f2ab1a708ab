//! Removing trees that agents made: deep, locked, full of links and perhaps of mounts.
//!
//! Nothing is followed and no mount is crossed: a bind mount inside a workspace must not
//! cost the files behind it.

use std::ffi::{CStr, CString};
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, SystemTime};

use greenroom_core::SessionUid;
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, unlinkat};
use rustix::io::Errno;

use crate::beneath::open_beneath;
use crate::folder::{Folder, REPOSITORY};
use crate::worktree;

/// Deeper trees are taken apart, so that they need neither stack nor descriptors.
const DEPTH: usize = 64;

/// Says that a session is removed, and since when.
const REMOVED: &str = "removed";

/// The floor of a removed session stays for so long.
///
/// It refuses what would start an agent of that session. On the link itself such an order
/// cannot be late: one call follows the other, and an overtaken answer is not obeyed. It
/// can only come from a coordinator that was restored from a backup from before the
/// removal; so the floor stays as long as somebody may reasonably go back to one. Behind
/// that it goes, or every session that ever was would cost a folder.
const FLOOR_STAYS: Duration = Duration::from_secs(30 * 24 * 3600);

/// What could not be removed.
#[derive(Debug, Default)]
pub(crate) struct Left {
    /// Mounts: they and what is in them were not touched.
    pub(crate) mounts: u32,
    /// The first error.
    pub(crate) error: Option<io::Error>,
}

impl Left {
    /// Whether nothing could be looked at.
    pub(crate) fn from(error: io::Error) -> Self {
        Self { mounts: 0, error: Some(error) }
    }

    /// Whether everything is gone.
    pub(crate) fn is_nothing(&self) -> bool {
        self.mounts == 0 && self.error.is_none()
    }

    fn note(&mut self, error: Errno) {
        match error {
            Errno::BUSY | Errno::XDEV => self.mounts += 1,
            // What is left is said where it was met first.
            Errno::NOTEMPTY | Errno::EXIST => {}
            error => {
                self.error.get_or_insert(error.into());
            }
        }
    }
}

/// Removes `name` from the folder `top`, with everything beneath it.
pub(crate) fn remove_tree(top: BorrowedFd<'_>, name: &CStr) -> Left {
    let mut left = Left::default();
    let mut work = vec![name.to_owned()];
    while let Some(name) = work.pop() {
        remove_one(top, top, &name, 0, &mut work, &mut left);
    }
    left
}

fn remove_one(
    top: BorrowedFd<'_>,
    parent: BorrowedFd<'_>,
    name: &CStr,
    depth: usize,
    work: &mut Vec<CString>,
    left: &mut Left,
) {
    match unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return,
        // What Linux and POSIX say of a folder.
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(error) => return left.note(error),
    }
    let inside = match open_folder(parent, name) {
        Ok(inside) => inside,
        Err(error) => return left.note(error),
    };
    if depth >= DEPTH {
        // Brought up to the top, it begins at depth 0 again.
        let shallow = format!(".removing-{}", uuid::Uuid::now_v7().simple());
        let Ok(shallow) = CString::new(shallow) else { return };
        match rustix::fs::renameat(parent, name, top, &shallow) {
            Ok(()) => work.push(shallow),
            Err(error) => left.note(error),
        }
        return;
    }
    match entries(&inside) {
        Ok(names) => {
            for name in names {
                remove_one(top, inside.as_fd(), &name, depth + 1, work, left);
            }
        }
        Err(error) => left.note(error),
    }
    match unlinkat(parent, name, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(error) => left.note(error),
    }
}

/// Opens a folder that is no link and no mount. One that its owner may not read is made
/// readable first.
fn open_folder(parent: BorrowedFd<'_>, name: &CStr) -> rustix::io::Result<OwnedFd> {
    let restrict = ResolveFlags::NO_XDEV | ResolveFlags::NO_SYMLINKS;
    let open = |flags| {
        open_beneath(parent, name, flags | OFlags::DIRECTORY | OFlags::NOFOLLOW, restrict)
            .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
    };
    match open(OFlags::RDONLY) {
        Err(Errno::ACCESS) => {}
        Ok(folder) => {
            let mode = Mode::from_raw_mode(rustix::fs::fstat(&folder)?.st_mode);
            if !mode.contains(Mode::RWXU) {
                rustix::fs::fchmod(&folder, mode | Mode::RWXU)?;
            }
            return Ok(folder);
        }
        failed => return failed,
    }
    // Only now that it is known to be a folder of this very mount.
    let looked = open(OFlags::PATH)?;
    use std::os::fd::AsRawFd;
    rustix::fs::chmod(format!("/proc/self/fd/{}", looked.as_raw_fd()), Mode::RWXU)?;
    open(OFlags::RDONLY)
}

/// Names in a folder.
pub(crate) fn entries(folder: &OwnedFd) -> rustix::io::Result<Vec<CString>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(folder)? {
        let name = entry?.file_name().to_owned();
        if !matches!(name.to_bytes(), b"." | b"..") {
            names.push(name);
        }
    }
    Ok(names)
}

/// Whether a name in a folder is a folder itself.
pub(crate) fn is_folder(parent: impl AsFd, name: &CStr) -> rustix::io::Result<bool> {
    let stat = rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
}

fn open_dir(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    Ok(rustix::fs::open(path, flags, Mode::empty())?)
}

/// Removes `name` from this folder, with everything beneath it.
pub(crate) fn remove_in(parent: &Path, name: &CStr) -> io::Result<Left> {
    Ok(remove_tree(open_dir(parent)?.as_fd(), name))
}

/// Removes everything in a folder of the runner's own, and lets the folder be.
pub(crate) fn empty(path: &Path) -> io::Result<Left> {
    let folder = open_dir(path)?;
    let mut all = Left::default();
    for name in entries(&folder)? {
        let left = remove_tree(folder.as_fd(), &name);
        all.mounts += left.mounts;
        all.error = all.error.or(left.error);
    }
    Ok(all)
}

/// Removes the control folder of a compute.
pub(crate) fn control(
    folder: &Folder,
    uid: SessionUid,
    epoch: greenroom_core::Epoch,
) -> io::Result<Left> {
    let name = CString::new(epoch.to_string()).map_err(io::Error::other)?;
    match open_dir(&folder.run(uid)) {
        Ok(parent) => Ok(remove_tree(parent.as_fd(), &name)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Left::default()),
        Err(error) => Err(error),
    }
}

/// Removes a session's files and control folders. Its floor stays for a while. What was
/// moved into the trash and could not be removed there is tried again.
pub(crate) fn session(folder: &Folder, uid: SessionUid) -> io::Result<Left> {
    // First out of the way at once, so that nothing that comes late finds it there.
    let doomed = format!("{uid}.{}", uuid::Uuid::now_v7().simple());
    let moved = match std::fs::rename(folder.work(uid), folder.trash().join(&doomed)) {
        Ok(()) => true,
        Err(error) if error.kind() == io::ErrorKind::NotFound => false,
        Err(error) => return Err(error),
    };
    let mut left = Left::default();
    if moved {
        let trash = open_dir(&folder.trash())?;
        let doomed = CString::new(doomed).map_err(io::Error::other)?;
        left = remove_tree(trash.as_fd(), &doomed);
    }
    match open_dir(&folder.run(uid)) {
        Ok(run) => {
            mark_removed(folder, uid)?;
            // A worktree that could not be taken off its repository is tried again.
            if let Err(error) = worktree::forget(folder, uid) {
                tracing::warn!(%uid, %error, "a removed session's worktree stays registered");
            }
            let stay = [b"floor".as_slice(), REMOVED.as_bytes(), REPOSITORY.as_bytes()];
            for name in entries(&run)?.into_iter().filter(|name| !stay.contains(&name.to_bytes())) {
                let more = remove_tree(run.as_fd(), &name);
                left.mounts += more.mounts;
                left.error = left.error.or(more.error);
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    Ok(left)
}

/// Sessions that were removed, of which something is left to be seen to.
pub(crate) fn removed(folder: &Folder) -> io::Result<Vec<SessionUid>> {
    let sessions = folder.sessions()?.into_iter().map(|(uid, _)| uid);
    Ok(sessions.filter(|uid| folder.run(*uid).join(REMOVED).exists()).collect())
}

/// Takes worktrees of removed sessions off their repositories, where that failed before.
pub(crate) fn old_worktrees(folder: &Folder) -> io::Result<()> {
    for uid in removed(folder)? {
        worktree::forget(folder, uid).map_err(io::Error::other)?;
    }
    Ok(())
}

fn mark_removed(folder: &Folder, uid: SessionUid) -> io::Result<()> {
    match File::create_new(folder.run(uid).join(REMOVED)) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made.map(drop),
    }
}

/// Whether the session with these control folders was removed long before `now`.
pub(crate) fn is_old(run: &Path, now: SystemTime) -> bool {
    let removed = fs::metadata(run.join(REMOVED)).and_then(|meta| meta.modified());
    let since = removed.map(|removed| now.duration_since(removed));
    matches!(since, Ok(Ok(since)) if since > FLOOR_STAYS)
}

/// Removes the floors of sessions that were removed long before `now`.
pub(crate) fn old_floors(folder: &Folder, now: SystemTime) -> io::Result<()> {
    let runs = open_dir(&folder.runs())?;
    for entry in fs::read_dir(folder.runs())? {
        let entry = entry?;
        if is_old(&entry.path(), now) {
            use std::os::unix::ffi::OsStrExt;
            let name = CString::new(entry.file_name().as_bytes()).map_err(io::Error::other)?;
            let left = remove_tree(runs.as_fd(), &name);
            left.error.map_or(Ok(()), Err)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    #[test]
    fn removes_deep_and_locked_trees_and_follows_nothing() {
        let temp = tempfile::tempdir().unwrap();
        let outside = temp.path().join("outside");
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("keep"), "me").unwrap();
        let top = temp.path().join("top");
        let tree = top.join("tree");
        fs::create_dir_all(tree.join("locked")).unwrap();
        fs::write(tree.join("locked/file"), "x").unwrap();
        fs::set_permissions(tree.join("locked"), fs::Permissions::from_mode(0o0)).unwrap();
        symlink(&outside, tree.join("link")).unwrap();
        symlink("..", tree.join("up")).unwrap();
        // Deeper than a path can be long.
        let mut at = open_dir(&tree).unwrap();
        for _ in 0..3000 {
            rustix::fs::mkdirat(&at, c"d", Mode::RWXU).unwrap();
            at = open_beneath(&at, c"d", OFlags::DIRECTORY, ResolveFlags::empty()).unwrap();
        }
        let left = empty(&top).unwrap();
        assert!(left.is_nothing(), "{left:?}");
        assert_eq!(fs::read_dir(&top).unwrap().count(), 0);
        assert_eq!(fs::read_to_string(outside.join("keep")).unwrap(), "me");
    }

    #[test]
    fn a_floor_outlives_its_session_for_a_month() {
        let temp = tempfile::tempdir().unwrap();
        let folder = Folder::open(&temp.path().join("data")).unwrap();
        let [removed, kept] = [(); 2].map(|()| SessionUid(uuid::Uuid::now_v7()));
        for uid in [removed, kept] {
            folder.make_compute(uid, greenroom_core::Epoch(1)).unwrap();
            folder.raise_floor(uid, greenroom_core::Epoch(1)).unwrap();
        }
        assert!(session(&folder, removed).unwrap().is_nothing());
        assert!(!folder.compute(removed, greenroom_core::Epoch(1)).dir().exists());
        let floor = |uid| folder.floor(uid).unwrap().0;
        let in_days =
            |days: u64| old_floors(&folder, SystemTime::now() + Duration::from_secs(days * 86400));
        in_days(29).unwrap();
        assert_eq!([removed, kept].map(floor), [1, 1]);
        // It is told that it is gone again, which makes it no younger.
        assert!(session(&folder, removed).unwrap().is_nothing());
        in_days(31).unwrap();
        assert_eq!([removed, kept].map(floor), [0, 1]);
        assert!(!folder.run(removed).exists());
        assert!(folder.compute(kept, greenroom_core::Epoch(1)).dir().exists());
    }

    #[test]
    fn stops_at_mounts() {
        let temp = tempfile::tempdir().unwrap();
        let (outside, inside) = (temp.path().join("outside"), temp.path().join("top/tree/inside"));
        fs::create_dir_all(&inside).unwrap();
        fs::create_dir(&outside).unwrap();
        fs::write(outside.join("keep"), "me").unwrap();
        fs::write(temp.path().join("top/tree/file"), "x").unwrap();
        if let Err(error) = rustix::mount::mount_bind(&outside, &inside) {
            eprintln!("nothing to test where one may not mount: {error}");
            return;
        }
        let left = empty(&temp.path().join("top"));
        rustix::mount::unmount(&inside, rustix::mount::UnmountFlags::DETACH).unwrap();
        assert!(left.unwrap().mounts > 0);
        assert_eq!(fs::read_to_string(outside.join("keep")).unwrap(), "me");
        assert!(!temp.path().join("top/tree/file").exists());
        assert!(empty(&temp.path().join("top")).unwrap().is_nothing());
    }
}
