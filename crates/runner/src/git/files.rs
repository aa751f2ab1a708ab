//! A session's files as a repository of our own sees them.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::Command;

use tokio_util::sync::CancellationToken;

use super::{GitError, git, run};

/// A session's files, with a repository and an index that are not the session's.
pub(crate) struct Files<'a> {
    pub(crate) workspace: &'a Path,
    pub(crate) git_dir: &'a Path,
    /// Where what git is to read is written down.
    pub(crate) notes: &'a Path,
    /// What else git is told: where index and objects are.
    pub(crate) env: Vec<(&'static str, OsString)>,
    pub(crate) cancel: &'a CancellationToken,
}

impl Files<'_> {
    /// Git with these files as its working tree.
    pub(crate) fn git(&self) -> Command {
        let mut command = git(self.workspace);
        command.args(["-c", "core.bare=false", "-c", "advice.addEmbeddedRepo=false"]);
        command.args(["-c", "submodule.recurse=false", "-c", "core.splitIndex=false"]);
        command.env("GIT_DIR", self.git_dir).env("GIT_WORK_TREE", self.workspace);
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        command
    }

    fn said(&self, what: &str, args: &[&str]) -> Result<Vec<u8>, GitError> {
        Ok(run(what, self.git().args(args), self.cancel)?.stdout)
    }

    /// Takes all files into the index, but those that are ignored and not in it.
    pub(crate) fn add(&self) -> Result<(), GitError> {
        // Of a submodule that it knows, git asks the state by running itself in there, with
        // what is configured there. Of one that it does not, it takes the commit.
        let submodules = self.submodules()?;
        let gone = submodules.iter().map(|(path, commit)| (commit.len(), path.as_slice()));
        self.leave_out(gone)?;
        self.said("add", &["add", "--all", "--", "."])?;
        // One that was never filled is an empty folder, and as it was.
        let filled = self.submodules()?;
        let empty = submodules.iter().filter(|(path, _)| {
            !filled.iter().any(|(known, _)| known == path)
                && std::fs::read_dir(self.workspace.join(OsStr::from_bytes(path)))
                    .is_ok_and(|mut entries| entries.next().is_none())
        });
        self.set_index(empty.map(|(path, commit)| ("160000", commit.clone(), path.as_slice())))
    }

    /// Takes out of the index what is ignored by now, but for what this commit has.
    pub(crate) fn forget_ignored(&self, base: &str) -> Result<(), GitError> {
        let args = ["ls-files", "--cached", "--ignored", "--exclude-standard", "-z"];
        let ignored = self.said("ls-files", &args)?;
        if ignored.is_empty() {
            return Ok(());
        }
        let known = self.said("ls-tree", &["ls-tree", "-r", "-z", "--name-only", base])?;
        let known: std::collections::HashSet<&[u8]> = names(&known).collect();
        let gone = names(&ignored).filter(|name| !known.contains(name));
        self.leave_out(gone.map(|name| (base.len(), name)))
    }

    /// Submodules in the index, and their commits.
    fn submodules(&self) -> Result<Vec<(Vec<u8>, String)>, GitError> {
        let listed = self.said("ls-files", &["ls-files", "--stage", "-z"])?;
        Ok(names(&listed)
            .filter_map(|entry| {
                let tab = entry.iter().position(|byte| *byte == b'\t')?;
                let head = std::str::from_utf8(&entry[..tab]).ok()?;
                let commit = head.strip_prefix("160000 ")?.split(' ').next()?;
                Some((entry[tab + 1..].to_vec(), commit.to_owned()))
            })
            .collect())
    }

    /// Takes paths out of the index. Before each is the length of an object's name.
    fn leave_out<'b>(
        &self,
        entries: impl Iterator<Item = (usize, &'b [u8])>,
    ) -> Result<(), GitError> {
        self.set_index(entries.map(|(length, path)| ("0", "0".repeat(length), path)))
    }

    /// Puts entries (mode, object, path) into the index; those of mode 0 are taken out.
    fn set_index<'b>(
        &self,
        entries: impl Iterator<Item = (&'b str, String, &'b [u8])>,
    ) -> Result<(), GitError> {
        let mut lines = Vec::new();
        for (mode, object, path) in entries {
            lines.extend_from_slice(format!("{mode} {object}\t").as_bytes());
            lines.extend_from_slice(path);
            lines.push(0);
        }
        if lines.is_empty() {
            return Ok(());
        }
        let file = self.notes.join("entries");
        std::fs::write(&file, &lines)?;
        let mut update = self.git();
        update.args(["update-index", "-z", "--index-info"]).stdin(std::fs::File::open(&file)?);
        run("update-index", &mut update, self.cancel)?;
        Ok(())
    }
}

/// Names that end with NUL each.
fn names(listed: &[u8]) -> impl Iterator<Item = &[u8]> {
    listed.split(|byte| *byte == 0).filter(|name| !name.is_empty())
}
