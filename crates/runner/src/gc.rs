//! What nothing needs any more in a runner's data folder: found, and removed, without a
//! coordinator. A runner does most of it by itself; this is for when there is none.
//!
//! A workspace is never among it: whether its session may still exist is known to the
//! coordinator alone. Neither is anything of a compute whose lock is held.

use std::ffi::CString;
use std::fs::{self, File};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use greenroom_core::{RunnerId, SessionUid};
use rustix::fs::{FlockOperation, flock};
use serde::Serialize;

use crate::error::RunnerError;
use crate::files::is_part;
use crate::folder::Folder;
use crate::git::SCRATCH;
use crate::kept::repository::{Shelf, TAKE};
use crate::{remove, worktree};

/// Another runner's control groups must have been left alone for so long.
const ABANDONED: Duration = Duration::from_secs(3600);

/// A kind of thing that is left behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Files of a removed session.
    Trash,
    /// A control folder without a compute.
    Control,
    /// A working tree that a repository still knows.
    Worktree,
    /// A file whose upload was cut.
    Upload,
    /// What was being made when its maker died.
    Part,
    /// A control group of a runner that is gone.
    Cgroup,
}

impl Kind {
    /// As people read it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Trash => "trash",
            Self::Control => "control",
            Self::Worktree => "worktree",
            Self::Upload => "upload",
            Self::Part => "part",
            Self::Cgroup => "cgroup",
        }
    }
}

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// It would go.
    Found,
    /// It is gone.
    Removed,
    /// It could not be removed.
    Failed(String),
}

/// Something that nothing needs any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Item {
    /// What it is.
    pub kind: Kind,
    /// Where.
    pub path: PathBuf,
    /// What it takes on disk.
    pub bytes: u64,
    /// Why nothing needs it.
    pub why: String,
    /// What became of it.
    pub fate: Fate,
    #[serde(skip)]
    session: Option<SessionUid>,
}

/// What a look at a data folder has found.
#[derive(Debug, Serialize)]
pub struct Found {
    /// A runner has the folder: nothing was removed, it will do so itself.
    pub runner_lives: bool,
    /// What nothing needs any more.
    pub items: Vec<Item>,
}

/// Finds what nothing needs any more, and, unless it is only to look or a runner has the
/// folder, removes it.
pub fn collect(data: &Path, only_look: bool) -> Result<Found, RunnerError> {
    let fail = |source| RunnerError::Io { what: "could not look into", path: data.into(), source };
    // Never made by looking.
    fs::metadata(data.join("run")).map_err(fail)?;
    let folder = Folder::open(data)?;
    let lock = match folder.lock() {
        Ok(lock) => Some(lock),
        Err(RunnerError::Locked(_)) => None,
        Err(error) => return Err(error),
    };
    let runner_lives = lock.is_none();
    // A runner that starts now must find its folder free.
    let lock = lock.filter(|_| !only_look);
    let mut items = look(&folder, runner_lives).map_err(fail)?;
    if lock.is_some() {
        for item in &mut items {
            item.fate = match discard(&folder, item) {
                Ok(()) => Fate::Removed,
                Err(error) => Fate::Failed(error.to_string()),
            };
        }
    }
    Ok(Found { runner_lives, items })
}

struct Look {
    items: Vec<Item>,
}

impl Look {
    fn add(&mut self, kind: Kind, path: PathBuf, why: impl Into<String>) -> &mut Item {
        let bytes = if kind == Kind::Cgroup { 0 } else { size(&path) };
        let (why, fate) = (why.into(), Fate::Found);
        self.items.push(Item { kind, path, bytes, why, fate, session: None });
        let last = self.items.len() - 1;
        &mut self.items[last]
    }
}

/// With a runner alive, only what no runner comes back to is certain to be of no use.
fn look(folder: &Folder, runner_lives: bool) -> io::Result<Vec<Item>> {
    let mut look = Look { items: Vec::new() };
    for path in children(&folder.trash())? {
        look.add(Kind::Trash, path, "files of a removed session");
    }
    let removed = remove::removed(folder)?;
    for uid in &removed {
        if let Some(repository) = worktree::registered(folder, *uid)? {
            let why = format!("worktree of a removed session ({uid})");
            look.add(Kind::Worktree, repository, why).session = Some(*uid);
        }
    }
    if !runner_lives {
        for (uid, epochs) in folder.sessions()? {
            let computes = || epochs.iter().map(|epoch| folder.compute(uid, *epoch));
            if computes().any(|control| !matches!(control.is_locked(), Ok(false))) {
                continue;
            }
            let is_removed = removed.contains(&uid);
            if is_removed && remove::is_old(&folder.run(uid), SystemTime::now()) {
                look.add(Kind::Control, folder.run(uid), "its session was removed a month ago");
                continue;
            }
            for control in computes() {
                // Both are written before a shim is started.
                let unused = !control.spec_path().exists() && !control.closed_path().exists();
                if is_removed || unused {
                    let why = if is_removed { "its session is removed" } else { "never started" };
                    look.add(Kind::Control, control.dir().to_owned(), why);
                }
            }
            look.parts(folder, uid)?;
            look.uploads(&folder.work(uid).join("workspace"))?;
        }
    }
    look.cgroups();
    Ok(look.items)
}

impl Look {
    /// What was being made for a session. Only its runner does so, and there is none.
    fn parts(&mut self, folder: &Folder, uid: SessionUid) -> io::Result<()> {
        let scratch = |path: &PathBuf| {
            path.file_name().is_some_and(|name| name.as_bytes().starts_with(SCRATCH.as_bytes()))
        };
        for path in children(&folder.run(uid))?.into_iter().filter(scratch) {
            self.add(Kind::Part, path, "a look at a repository was cut");
        }
        let cut = |path: &PathBuf| {
            path.file_name().is_some_and(|name| name.as_bytes().starts_with(TAKE.as_bytes()))
        };
        let shelf = Shelf::of(&folder.run(uid));
        for path in children(shelf.root())?.into_iter().filter(cut) {
            self.add(Kind::Part, path, "the keeping of a run's files was cut");
        }
        let part = folder.work(uid).join("workspace.part");
        if part.exists() {
            self.add(Kind::Part, part, "the making of a workspace was cut");
        }
        Ok(())
    }

    /// Files whose upload was cut, in a workspace in which nothing runs.
    fn uploads(&mut self, workspace: &Path) -> io::Result<()> {
        let Ok(top) = fs::symlink_metadata(workspace) else { return Ok(()) };
        let mut folders = vec![workspace.to_owned()];
        while let Some(folder) = folders.pop() {
            for path in children(&folder)? {
                let Ok(meta) = fs::symlink_metadata(&path) else { continue };
                if meta.is_dir() && meta.dev() == top.dev() {
                    folders.push(path);
                } else if meta.is_file() && is_upload(&path) && lock_of(&path)?.is_some() {
                    self.add(Kind::Upload, path, "its upload was cut");
                }
            }
        }
        Ok(())
    }

    /// Control groups of runners that are gone. Where they are is found by making some.
    fn cgroups(&mut self) {
        let id = RunnerId(uuid::Uuid::now_v7());
        let capabilities = greenroom_shim::cgroup::probe(id);
        let own: Vec<PathBuf> = [&capabilities.kill, &capabilities.memory, &capabilities.pids]
            .into_iter()
            .flatten()
            .cloned()
            .collect();
        let mut seen = Vec::new();
        for dir in &own {
            let name = dir.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let Some(prefix) = name.strip_suffix(&id.to_string()) else { continue };
            for path in dir.parent().and_then(|dir| children(dir).ok()).unwrap_or_default() {
                let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
                let other =
                    name.strip_prefix(prefix).is_some_and(|id| id.parse::<RunnerId>().is_ok());
                if other && !own.contains(&path) && !seen.contains(&path) && is_abandoned(&path) {
                    seen.push(path);
                }
            }
        }
        capabilities.remove();
        for path in seen {
            self.add(Kind::Cgroup, path, "its runner is gone");
        }
    }
}

fn is_abandoned(dir: &Path) -> bool {
    let Ok(folder) = File::open(dir) else { return false };
    let touched = folder.metadata().and_then(|meta| meta.modified());
    let rests = touched.is_ok_and(|at| at.elapsed().is_ok_and(|since| since >= ABANDONED));
    let groups = |dir: &Path| children(dir).is_ok_and(|all| all.iter().any(|path| path.is_dir()));
    rests && !groups(dir) && flock(&folder, FlockOperation::NonBlockingLockExclusive).is_ok()
}

fn is_upload(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| CString::new(name.as_bytes()).ok());
    name.is_some_and(|name| is_part(&name))
}

/// The lock of a file that nobody writes.
fn lock_of(path: &Path) -> io::Result<Option<File>> {
    let flags = rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK;
    let flags = i32::try_from(flags.bits()).map_err(io::Error::other)?;
    let file = File::options().read(true).custom_flags(flags).open(path)?;
    let free = flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok();
    Ok(free.then_some(file))
}

/// Removes it, if it still is what it was.
fn discard(folder: &Folder, item: &Item) -> io::Result<()> {
    match (item.kind, item.session) {
        (Kind::Worktree, Some(uid)) => worktree::forget(folder, uid).map_err(io::Error::other),
        (Kind::Upload, _) => match lock_of(&item.path)? {
            Some(_lock) => fs::remove_file(&item.path),
            None => Err(io::Error::other("it is being written again")),
        },
        (Kind::Cgroup, _) => fs::remove_dir(&item.path),
        _ => {
            let (Some(parent), Some(name)) = (item.path.parent(), item.path.file_name()) else {
                return Err(io::Error::other("it has no name"));
            };
            let name = CString::new(name.as_bytes()).map_err(io::Error::other)?;
            let left = remove::remove_in(parent, &name)?;
            match (left.error, left.mounts) {
                (Some(error), _) => Err(error),
                (None, 0) => Ok(()),
                (None, mounts) => {
                    Err(io::Error::other(format!("it holds {mounts} mounts: unmount them first")))
                }
            }
        }
    }
}

fn children(dir: &Path) -> io::Result<Vec<PathBuf>> {
    match fs::read_dir(dir) {
        Ok(entries) => entries.map(|entry| entry.map(|entry| entry.path())).collect(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// What a tree takes on disk. Nothing is followed, and no mount is crossed.
fn size(path: &Path) -> u64 {
    let Ok(top) = fs::symlink_metadata(path) else { return 0 };
    let mut bytes = 0;
    let mut work = vec![path.to_owned()];
    while let Some(path) = work.pop() {
        let Ok(meta) = fs::symlink_metadata(&path) else { continue };
        if meta.dev() != top.dev() {
            continue;
        }
        bytes += meta.blocks() * 512;
        if meta.is_dir() {
            work.extend(children(&path).unwrap_or_default());
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::folder::Place;
    use greenroom_core::Epoch;

    fn kinds(found: &Found) -> Vec<Kind> {
        let mut kinds: Vec<Kind> = found.items.iter().map(|item| item.kind).collect();
        kinds.retain(|kind| *kind != Kind::Cgroup);
        kinds.sort();
        kinds
    }

    fn session(folder: &Folder) -> SessionUid {
        let uid = SessionUid(uuid::Uuid::now_v7());
        folder.make_compute(uid, Epoch(1)).unwrap();
        fs::write(folder.compute(uid, Epoch(1)).spec_path(), "{}").unwrap();
        let workspace = folder.work(uid).join("workspace");
        fs::create_dir_all(workspace.join("sub")).unwrap();
        fs::write(workspace.join("mine"), "x").unwrap();
        folder.set_place(uid, &Place { path: workspace, in_place: false }).unwrap();
        uid
    }

    #[test]
    fn only_what_nothing_needs_goes() {
        let temp = tempfile::tempdir().unwrap();
        let folder = Folder::open(&temp.path().join("data")).unwrap();
        let [idle, live, gone] = [(); 3].map(|()| session(&folder));
        let upload = format!(".greenroom-upload-{}", uuid::Uuid::now_v7().simple());
        for uid in [idle, live] {
            fs::write(folder.work(uid).join("workspace/sub").join(&upload), "half").unwrap();
            fs::create_dir(folder.work(uid).join("workspace.part")).unwrap();
            fs::create_dir(folder.run(uid).join(format!("{SCRATCH}x"))).unwrap();
        }
        let live_lock = folder.compute(live, Epoch(1)).take_lock().unwrap().expect("free");
        remove::session(&folder, gone).unwrap();
        folder.make_compute(gone, Epoch(1)).unwrap();
        fs::create_dir(folder.trash().join("x")).unwrap();
        fs::write(folder.trash().join("x/file"), [7; 9000]).unwrap();
        folder.make_compute(idle, Epoch(2)).unwrap();
        let wanted =
            [Kind::Trash, Kind::Control, Kind::Control, Kind::Upload, Kind::Part, Kind::Part];

        let found = collect(folder.root(), true).unwrap();
        assert_eq!(kinds(&found), wanted, "{found:#?}");
        assert!(!found.runner_lives);
        assert!(found.items.iter().all(|item| item.fate == Fate::Found && item.path.exists()));
        assert!(found.items.iter().any(|item| item.kind == Kind::Trash && item.bytes >= 9000));

        // A runner has it: nothing is touched, and only what is certain is named.
        let runner = folder.lock().unwrap();
        let found = collect(folder.root(), false).unwrap();
        assert_eq!((kinds(&found), found.runner_lives), (vec![Kind::Trash], true));
        assert!(found.items.iter().all(|item| item.fate == Fate::Found && item.path.exists()));
        drop(runner);

        let found = collect(folder.root(), false).unwrap();
        assert_eq!(kinds(&found), wanted);
        for item in found.items.iter().filter(|item| item.kind != Kind::Cgroup) {
            assert_eq!((&item.fate, item.path.exists()), (&Fate::Removed, false), "{item:?}");
        }
        assert_eq!(kinds(&collect(folder.root(), false).unwrap()), []);
        for uid in [idle, live] {
            assert!(folder.work(uid).join("workspace/mine").exists());
            assert!(folder.compute(uid, Epoch(1)).spec_path().exists());
        }
        assert!(folder.work(live).join("workspace/sub").join(&upload).exists());
        assert!(folder.work(live).join("workspace.part").exists());
        drop(live_lock);
        assert_eq!(kinds(&collect(folder.root(), true).unwrap()).len(), 3);
        assert!(collect(&temp.path().join("none"), false).is_err());
        assert!(!temp.path().join("none").exists());
    }
}
