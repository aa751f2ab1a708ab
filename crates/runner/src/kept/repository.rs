//! The repository in which a session's files are kept: a bare one of our own beside the
//! control folders. It has every object it needs, whatever becomes of the session's.

use std::ffi::OsString;
use std::fs;
use std::io::{ErrorKind, Write};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use greenroom_core::{RunId, Timestamp};
use tokio_util::sync::CancellationToken;

use crate::git::{self, Files, GitError, Repository};

/// What the names of takes under way begin with. A UUID follows.
pub(crate) const TAKE: &str = "take.";
/// No take brings more, as git stores it.
const LARGEST: u64 = 2 << 30;
/// With more packs than this they are made one.
const PACKS: usize = 50;

/// The files the session began with.
const BASE: &str = "refs/greenroom/base";
/// What was kept last.
const LAST: &str = "refs/greenroom/last";
/// What was kept of each run.
const RUNS: &str = "refs/greenroom/runs/";

/// Why nothing was kept.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeepError {
    /// More than is kept of one run.
    #[error("what is new in it takes {} MiB, and {} MiB of one run are kept at most", .0 >> 20, LARGEST >> 20)]
    TooLarge(u64),
    /// Git or the disk said no.
    #[error(transparent)]
    Git(#[from] GitError),
}

impl From<std::io::Error> for KeepError {
    fn from(error: std::io::Error) -> Self {
        Self::Git(error.into())
    }
}

/// Where a session's files are kept.
#[derive(Debug, Clone)]
pub(crate) struct Shelf {
    root: PathBuf,
}

/// Something that was kept.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Commit {
    id: String,
    tree: String,
}

impl Shelf {
    /// Of the session with these control folders.
    pub(crate) fn of(run: &Path) -> Self {
        Self { root: run.join("kept") }
    }

    /// The folder itself.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    fn dir(&self) -> PathBuf {
        self.root.join("git")
    }

    /// What git knows of the files since the last look.
    fn index(&self) -> PathBuf {
        self.root.join("index")
    }

    /// Git in it.
    pub(crate) fn git(&self) -> Command {
        let dir = self.dir();
        let mut command = git::git(&dir);
        command.args(["-c", "pack.threads=1", "-c", "core.fsync=committed,reference"]);
        command.env("GIT_DIR", dir);
        command
    }

    fn find(&self, name: &str, cancel: &CancellationToken) -> Result<Option<Commit>, GitError> {
        if !self.dir().exists() {
            return Ok(None);
        }
        let mut refs = self.git();
        refs.args(["for-each-ref", "--format=%(refname) %(objectname) %(tree)", name]);
        let found = git::text(&git::run("kept files", &mut refs, cancel)?);
        let commit = found.lines().find_map(|line| {
            let (id, tree) = line.strip_prefix(name)?.strip_prefix(' ')?.split_once(' ')?;
            Some(Commit { id: id.to_owned(), tree: tree.to_owned() })
        });
        Ok(commit)
    }

    /// What was kept at the end of a run.
    pub(crate) fn of_run(
        &self,
        run: RunId,
        cancel: &CancellationToken,
    ) -> Result<Option<String>, GitError> {
        Ok(self.find(&format!("{RUNS}{run}"), cancel)?.map(|commit| commit.id))
    }

    /// What the session began with.
    pub(crate) fn base(&self, cancel: &CancellationToken) -> Result<Option<String>, GitError> {
        Ok(self.find(BASE, cancel)?.map(|commit| commit.id))
    }

    /// Keeps all files as they are now, as those of a run's end.
    pub(crate) fn keep(
        &self,
        repository: &Repository,
        workspace: &Path,
        run: RunId,
        at: Timestamp,
        cancel: &CancellationToken,
    ) -> Result<String, KeepError> {
        crate::folder::make_private(&self.root)?;
        // Whoever began these is dead: one at a time is at work here.
        for entry in fs::read_dir(&self.root)? {
            let entry = entry?;
            if entry.file_name().as_bytes().starts_with(TAKE.as_bytes()) {
                fs::remove_dir_all(entry.path())?;
            }
        }
        if !self.dir().exists() {
            let part = self.root.join(format!("{TAKE}{}", uuid::Uuid::now_v7()));
            git::init(&part, &repository.base, cancel)?;
            for name in ["HEAD", "config"] {
                fs::File::open(part.join(name))?.sync_all()?;
            }
            fs::rename(&part, self.dir())?;
            greenroom_shim::control::sync_parent(&self.dir())?;
        }
        let keep = || Take::begin(self, repository, workspace, cancel)?.keep(run, at);
        let commit = match keep() {
            Err(KeepError::Git(GitError::Said { .. })) if self.mend() => keep()?,
            done => done?,
        };
        self.tidy(cancel);
        Ok(commit)
    }

    /// Removes what a power cut may have left half written, and all can do without: locks of
    /// the dead, and the index. Says whether there was any.
    fn mend(&self) -> bool {
        let dir = self.dir();
        let places = [dir.clone(), dir.join("refs/greenroom"), dir.join("refs/greenroom/runs")];
        let entries = places.iter().filter_map(|place| fs::read_dir(place).ok()).flatten();
        let files = entries.flatten().map(|entry| entry.path());
        let locks = files.filter(|path| path.extension().is_some_and(|end| end == "lock"));
        // Each of them, not only the first.
        locks.chain([self.index()]).filter(|path| fs::remove_file(path).is_ok()).count() > 0
    }

    /// One pack for many. What does not succeed is tried with the next run.
    fn tidy(&self, cancel: &CancellationToken) {
        let is_pack = |entry: &fs::DirEntry| entry.path().extension().is_some_and(|e| e == "pack");
        let packs = fs::read_dir(self.dir().join("objects/pack"));
        let packs = packs.map_or(0, |all| all.flatten().filter(is_pack).count());
        if packs <= PACKS {
            return;
        }
        let mut repack = self.git();
        repack.args(["repack", "-a", "-d", "-q"]);
        if let Err(error) = git::run("repack", &mut repack, cancel) {
            tracing::debug!(dir = %self.root.display(), %error, "kept files stay in many packs");
        }
    }
}

/// A look at the files under way: what it writes before all is there goes with it.
struct Take<'a> {
    shelf: &'a Shelf,
    repository: &'a Repository,
    workspace: &'a Path,
    dir: PathBuf,
    shelf_dir: PathBuf,
    cancel: &'a CancellationToken,
}

impl Drop for Take<'_> {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.dir);
    }
}

impl<'a> Take<'a> {
    fn begin(
        shelf: &'a Shelf,
        repository: &'a Repository,
        workspace: &'a Path,
        cancel: &'a CancellationToken,
    ) -> Result<Self, KeepError> {
        let dir = shelf.root.join(format!("{TAKE}{}", uuid::Uuid::now_v7()));
        fs::create_dir(&dir)?;
        let take = Self { shelf, repository, workspace, dir, shelf_dir: shelf.dir(), cancel };
        fs::create_dir(take.dir.join("objects"))?;
        // Linked, not copied: by its own time git knows which files may have changed in the
        // moment it was written. It is never written to, only replaced.
        match fs::hard_link(shelf.index(), take.dir.join("index")) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error.into()),
            _ => Ok(take),
        }
    }

    /// New objects go into the take; ours and the session's are there to be read.
    fn files(&self) -> Files<'_> {
        let own = self.shelf_dir.join("objects");
        let theirs = self.repository.git_dir(self.workspace).join("objects");
        let mut alternates = quoted(&own);
        alternates.push(":");
        alternates.push(quoted(&theirs));
        Files {
            workspace: self.workspace,
            git_dir: &self.shelf_dir,
            notes: &self.dir,
            env: vec![
                ("GIT_INDEX_FILE", self.dir.join("index").into()),
                ("GIT_OBJECT_DIRECTORY", self.dir.join("objects").into()),
                ("GIT_ALTERNATE_OBJECT_DIRECTORIES", alternates),
            ],
            cancel: self.cancel,
        }
    }

    fn keep(&self, run: RunId, at: Timestamp) -> Result<String, KeepError> {
        let base = match self.shelf.find(BASE, self.cancel)? {
            Some(base) => base,
            None => self.keep_base(at)?,
        };
        let last = self.shelf.find(LAST, self.cancel)?.unwrap_or_else(|| base.clone());
        let files = self.files();
        if !self.dir.join("index").exists() {
            git::run("read-tree", files.git().args(["read-tree", &base.id]), self.cancel)?;
        }
        files.add()?;
        files.forget_ignored(&base.id)?;
        let new = size(&self.dir.join("objects"));
        if new > LARGEST {
            return Err(KeepError::TooLarge(new));
        }
        let tree = git::text(&git::run("write-tree", files.git().arg("write-tree"), self.cancel)?);
        let commit = match tree == last.tree {
            true => last.id,
            false => {
                let commit = self.commit(&tree, Some(&last.id), &format!("run {run}"), at)?;
                self.pack(&commit, Some(&last.id))?;
                commit
            }
        };
        self.refer(&format!("update {RUNS}{run} {commit}\nupdate {LAST} {commit}\n"))?;
        fs::rename(self.dir.join("index"), self.shelf.index())?;
        Ok(commit)
    }

    /// The files the session began with, without the history before: that may be long, and
    /// is nothing of the session's.
    fn keep_base(&self, at: Timestamp) -> Result<Commit, KeepError> {
        let name = format!("{}^{{tree}}", self.repository.base);
        let mut parse = self.files().git();
        parse.args(["rev-parse", "--verify", "--quiet", "--end-of-options", &name]);
        let tree = git::text(&git::run("the first commit", &mut parse, self.cancel)?);
        let id = self.commit(&tree, None, "the beginning", at)?;
        self.pack(&id, None)?;
        self.refer(&format!("update {BASE} {id}\n"))?;
        Ok(Commit { id, tree })
    }

    fn commit(
        &self,
        tree: &str,
        parent: Option<&str>,
        text: &str,
        at: Timestamp,
    ) -> Result<String, GitError> {
        let mut commit = self.files().git();
        commit.args(["commit-tree", tree, "-m", text]);
        commit.args(parent.iter().flat_map(|parent| ["-p", parent]));
        let date = format!("@{} +0000", at.unix_ms() / 1000);
        for who in ["AUTHOR", "COMMITTER"] {
            commit.env(format!("GIT_{who}_NAME"), "greenroom");
            commit.env(format!("GIT_{who}_EMAIL"), "greenroom@localhost");
            commit.env(format!("GIT_{who}_DATE"), &date);
        }
        Ok(git::text(&git::run("commit-tree", &mut commit, self.cancel)?))
    }

    /// Brings everything of a commit over that an earlier one of ours has not, and sees that
    /// it is there without anything of the session's.
    fn pack(&self, commit: &str, but: Option<&str>) -> Result<(), GitError> {
        let but = but.map(|but| format!("^{but}\n")).unwrap_or_default();
        let wanted = format!("{commit}\n{but}");
        let mut pack = self.files().git();
        pack.args(["-c", "pack.threads=1", "-c", "core.fsync=committed,reference"]);
        pack.args(["pack-objects", "--revs", "--quiet", "--delta-base-offset"]);
        pack.arg(self.shelf_dir.join("objects/pack/pack"));
        pack.stdin(self.note("wanted", &wanted)?);
        git::run("pack-objects", &mut pack, self.cancel)?;
        let mut check = self.shelf.git();
        check.args(["rev-list", "--objects", "--quiet", "--stdin"]);
        check.stdin(self.note("wanted", &wanted)?);
        git::run("kept files", &mut check, self.cancel)?;
        Ok(())
    }

    fn refer(&self, updates: &str) -> Result<(), GitError> {
        let mut update = self.shelf.git();
        update.args(["update-ref", "--stdin"]).stdin(self.note("refs", updates)?);
        git::run("update-ref", &mut update, self.cancel)?;
        Ok(())
    }

    /// What git is to read.
    fn note(&self, name: &str, text: &str) -> std::io::Result<fs::File> {
        let path = self.dir.join(name);
        fs::File::create(&path)?.write_all(text.as_bytes())?;
        fs::File::open(&path)
    }
}

/// A path in a list whose parts are divided by colons.
fn quoted(path: &Path) -> OsString {
    let mut text = vec![b'"'];
    for byte in path.as_os_str().as_bytes() {
        if matches!(byte, b'"' | b'\\') {
            text.push(b'\\');
        }
        text.push(*byte);
    }
    text.push(b'"');
    OsString::from_vec(text)
}

fn size(dir: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(dir) else { return 0 };
    let sizes = entries.flatten().map(|entry| match entry.metadata() {
        Ok(meta) if meta.is_dir() => size(&entry.path()),
        Ok(meta) => meta.len(),
        Err(_) => 0,
    });
    sizes.sum()
}
