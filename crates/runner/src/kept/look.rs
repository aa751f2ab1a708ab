//! Looking at files that were kept. All that is looked at are trees of our own repository:
//! nothing of a workspace is opened, and no link is followed.

use greenroom_core::{RunFiles, RunId, SessionUid};
use greenroom_protocol::Problem;
use greenroom_protocol::link::Look;
use greenroom_protocol::v1::{FileInfo, List};
use rustix::io::Errno;
use tokio::process::{Child, Command};
use tokio_util::sync::CancellationToken;

use super::record;
use super::repository::Shelf;
use crate::beneath::RelPath;
use crate::files::{self, Files};
use crate::folder::Folder;
use crate::git::{self, GitError};

/// The stable word for what is not there.
pub(crate) const NOT_KEPT: &str = "no_files_kept";

/// What there is to be seen.
pub(crate) enum Seen {
    /// A folder's entries.
    List(List<FileInfo>),
    /// One entry.
    Stat(FileInfo),
    /// A file that git prints, and its length.
    File(Box<Child>, u64),
    /// A patch.
    Diff(Vec<u8>),
}

/// An entry of a tree.
struct Entry {
    mode: u32,
    object: String,
    size: u64,
    name: String,
}

/// Git's numbers for kinds of entries.
const DIR: u32 = 0o040_000;
const FILE: u32 = 0o100_000;
const LINK: u32 = 0o120_000;
const KIND: u32 = 0o170_000;

/// Looks at what was kept of a session's files at the end of a run. Blocks; must be called
/// within the runtime.
pub(crate) fn look(
    folder: &Folder,
    uid: SessionUid,
    run: RunId,
    look: &Look,
    cancel: &CancellationToken,
) -> Files<Seen> {
    let shelf = Shelf::of(&folder.run(uid));
    let commit = kept(&shelf, run, cancel)?;
    let at = Moment { shelf: &shelf, commit: &commit, cancel };
    Ok(match look {
        Look::List { path } => Seen::List(at.list(&RelPath::parse(path)?)?),
        Look::Stat { path } => Seen::Stat(at.stat(&RelPath::parse(path)?)?),
        Look::Read { path } => {
            let (child, length) = at.read(&RelPath::parse(path)?)?;
            Seen::File(Box::new(child), length)
        }
        Look::Diff { since } => Seen::Diff(at.diff(*since)?),
    })
}

fn broken(error: GitError) -> Box<Problem> {
    Problem::new(409, "diff_failed", format!("the kept files cannot be read: {error}")).into()
}

fn kept(shelf: &Shelf, run: RunId, cancel: &CancellationToken) -> Files<String> {
    if let Some(commit) = shelf.of_run(run, cancel).map_err(broken)? {
        return Ok(commit);
    }
    let why = match record::read(shelf, run) {
        Ok(Some(RunFiles::Reason { message, .. })) => {
            format!("the files at the end of run {run} were not kept: {message}")
        }
        _ => format!("the runner has kept no files of the end of run {run}"),
    };
    Err(Problem::new(404, NOT_KEPT, why).into())
}

struct Moment<'a> {
    shelf: &'a Shelf,
    commit: &'a str,
    cancel: &'a CancellationToken,
}

impl Moment<'_> {
    fn tree(&self, args: &[&str]) -> Files<Vec<Entry>> {
        let mut tree = self.shelf.git();
        tree.args(["--literal-pathspecs", "ls-tree", "-z", "--long"]).args(args);
        let listed = git::run("ls-tree", &mut tree, self.cancel).map_err(broken)?.stdout;
        let lines = listed.split(|byte| *byte == 0).filter(|line| !line.is_empty());
        Ok(lines.filter_map(entry).collect())
    }

    /// The entry of a path. No part of the path is followed.
    fn entry(&self, path: &RelPath) -> Files<Entry> {
        if path.is_root() {
            let object = self.commit.to_owned();
            return Ok(Entry { mode: DIR, object, size: 0, name: String::new() });
        }
        let found = self.tree(&[self.commit, "--", path.as_str()])?.into_iter().next();
        found.ok_or_else(|| files::problem(&Errno::NOENT.into(), path))
    }

    fn list(&self, path: &RelPath) -> Files<List<FileInfo>> {
        let folder = self.entry(path)?;
        if folder.mode & KIND != DIR {
            return Err(files::problem(&Errno::NOTDIR.into(), path));
        }
        let entries = self.tree(&[&folder.object])?;
        let mut items: Vec<FileInfo> =
            entries.into_iter().map(|entry| info(path.join(&entry.name), entry)).collect();
        items.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(List::whole(items))
    }

    fn stat(&self, path: &RelPath) -> Files<FileInfo> {
        let entry = self.entry(path)?;
        let name = path.name().to_owned();
        Ok(info(path.as_str().to_owned(), Entry { name, ..entry }))
    }

    fn read(&self, path: &RelPath) -> Files<(Child, u64)> {
        let entry = self.entry(path)?;
        match entry.mode & KIND {
            FILE => {}
            DIR => return Err(files::problem(&Errno::ISDIR.into(), path)),
            LINK => return Err(files::problem(&Errno::LOOP.into(), path)),
            _ => {
                let text = format!("{:?} is a submodule", path.as_str());
                return Err(Problem::new(409, "not_a_file", text).at("path").into());
            }
        }
        let mut print = self.shelf.git();
        print.args(["cat-file", "blob", &entry.object]).stderr(std::process::Stdio::null());
        let child = Command::from(print)
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| broken(GitError::Start(error)))?;
        Ok((child, entry.size))
    }

    fn diff(&self, since: Option<RunId>) -> Files<Vec<u8>> {
        let from = match since {
            Some(run) => kept(self.shelf, run, self.cancel)?,
            None => self.shelf.base(self.cancel).map_err(broken)?.unwrap_or_default(),
        };
        let mut diff = self.shelf.git();
        // What the files themselves say of how they are compared.
        diff.env("GIT_ATTR_SOURCE", self.commit);
        diff.args(["diff", "--no-ext-diff", "--no-textconv", "--no-color", "--binary"]);
        diff.args([from.as_str(), self.commit]);
        Ok(git::run("diff", &mut diff, self.cancel).map_err(broken)?.stdout)
    }
}

/// `mode type object size TAB name`
fn entry(line: &[u8]) -> Option<Entry> {
    let tab = line.iter().position(|byte| *byte == b'\t')?;
    let head = std::str::from_utf8(&line[..tab]).ok()?;
    let mut parts = head.split_ascii_whitespace();
    let mode = u32::from_str_radix(parts.next()?, 8).ok()?;
    let object = parts.nth(1)?.to_owned();
    let size = parts.next()?.parse().unwrap_or(0);
    let name = String::from_utf8_lossy(&line[tab + 1..]).into_owned();
    Some(Entry { mode, object, size, name })
}

fn info(path: String, entry: Entry) -> FileInfo {
    let Entry { mode, size, name, .. } = entry;
    // Git keeps of permissions only whether a file can be run, and no times.
    let (kind, mode, size) = match mode & KIND {
        DIR => ("dir", 0o755, 0),
        FILE => ("file", mode & 0o777, size),
        LINK => ("symlink", 0o777, 0),
        _ => ("other", 0o755, 0),
    };
    FileInfo { path, name, kind: kind.to_owned(), size, mode, modified_at: None }
}
