//! Git, as a program: workspaces that are clones, and what a session has changed in its own.
//!
//! A session's repository is its agent's, and so is what is configured in it: filters,
//! hooks, external diffs, how to reach a remote. None of that is ever run here: what is to
//! be known of it is found with a repository of our own, which only borrows its objects.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

mod files;
#[cfg(test)]
mod tests;

pub(crate) use files::Files;

/// How often git is asked whether it is done: at first, and at last.
const PAUSES: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(20));
/// What the names of our own repositories begin with. A UUID follows.
pub(crate) const SCRATCH: &str = "look.";
/// No more of what git says is passed on.
const MAX_WORDS: usize = 1000;

/// Why git could not do it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GitError {
    /// There is no git, or it could not be started.
    #[error("git could not be started ({0}): install it on the runner's machine")]
    Start(std::io::Error),
    /// What is beside the repository could not be read or written.
    #[error("the runner's own files: {0}")]
    Io(#[from] std::io::Error),
    /// What it said.
    #[error("{what}: {said}")]
    Said {
        /// What it was to do.
        what: String,
        /// Its own words.
        said: String,
    },
    /// It is not wanted any more.
    #[error("it was cancelled")]
    Cancelled,
}

/// A session's repository as it was made: beside the control folders, where no agent works.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Repository {
    /// The session's own branch.
    pub(crate) branch: String,
    /// The commit it began with.
    pub(crate) base: String,
    /// How it came about.
    pub(crate) made: Made,
}

/// How a session's repository came about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Made {
    /// Cloned from this address.
    Clone(String),
    /// A working tree of the repository whose git folder this is.
    Worktree(PathBuf),
}

impl Repository {
    /// Where refs and objects are.
    pub(crate) fn git_dir(&self, workspace: &Path) -> PathBuf {
        match &self.made {
            Made::Clone(_) => workspace.join(".git"),
            Made::Worktree(common) => common.clone(),
        }
    }

    /// The commit its branch is at. Reads refs, and runs nothing.
    pub(crate) fn tip(
        &self,
        workspace: &Path,
        cancel: &CancellationToken,
    ) -> Result<Option<String>, GitError> {
        let name = format!("refs/heads/{}", self.branch);
        let mut refs = git(workspace.parent().unwrap_or(workspace));
        refs.env("GIT_DIR", self.git_dir(workspace)).env("GIT_ALLOW_PROTOCOL", "none");
        refs.args(["for-each-ref", "--format=%(refname) %(objectname)", &name]);
        let found = text(&run("branch", &mut refs, cancel)?);
        let tip = found.lines().find_map(|line| line.strip_prefix(&name)?.strip_prefix(' '));
        Ok(tip.map(str::to_owned))
    }
}

/// Git in a folder, with nothing of the caller's terminal and no hooks.
pub(crate) fn git(folder: &Path) -> Command {
    let mut command = Command::new("git");
    command
        .arg("-C")
        .arg(folder)
        .args(["-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false"])
        .args(["-c", "protocol.ext.allow=never", "-c", "gc.auto=0", "-c", "maintenance.auto=false"])
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("GIT_OPTIONAL_LOCKS", "0")
        .env("GIT_NO_LAZY_FETCH", "1")
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    for name in [
        "GIT_DIR",
        "GIT_WORK_TREE",
        "GIT_INDEX_FILE",
        "GIT_COMMON_DIR",
        "GIT_OBJECT_DIRECTORY",
        "GIT_ALTERNATE_OBJECT_DIRECTORIES",
        "GIT_NAMESPACE",
        "GIT_EXTERNAL_DIFF",
    ] {
        command.env_remove(name);
    }
    command
}

/// Runs it to its end, or until it is cancelled.
pub(crate) fn run(
    what: &str,
    command: &mut Command,
    cancel: &CancellationToken,
) -> Result<Output, GitError> {
    let mut child = command.spawn().map_err(GitError::Start)?;
    let (stdout, stderr) = (reader(child.stdout.take()), reader(child.stderr.take()));
    let status = wait(&mut child, cancel)?;
    let output = Output {
        status,
        stdout: stdout.join().unwrap_or_default(),
        stderr: stderr.join().unwrap_or_default(),
    };
    if output.status.success() {
        return Ok(output);
    }
    let said = words(&String::from_utf8_lossy(&output.stderr));
    Err(GitError::Said { what: redacted(what), said })
}

/// What git has said, without its hints, or its last words where nothing stands out.
fn words(said: &str) -> String {
    let lines = || said.lines().map(str::trim).filter(|line| !line.is_empty());
    let telling = ["fatal:", "error:", "remote:", "ssh:", "!"];
    let told: Vec<&str> =
        lines().filter(|line| telling.iter().any(|word| line.starts_with(word))).collect();
    let mut text = match told.is_empty() {
        true => lines().next_back().unwrap_or("no reason").to_owned(),
        false => told.join("; "),
    };
    if let Some((end, _)) = text.char_indices().nth(MAX_WORDS) {
        text.truncate(end);
    }
    redacted(&text)
}

/// The text without what stands before the host in the addresses it names.
pub(crate) fn redacted(text: &str) -> String {
    let mut parts = text.split("://");
    let mut whole = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let end = part.find(['/', ' ', '\'', '"', '\n']).unwrap_or(part.len());
        let host = part[..end].rfind('@').map_or(0, |at| at + 1);
        whole.push_str("://");
        whole.push_str(&part[host..]);
    }
    whole
}

fn wait(
    child: &mut Child,
    cancel: &CancellationToken,
) -> Result<std::process::ExitStatus, GitError> {
    let (mut pause, longest) = PAUSES;
    loop {
        if let Some(status) = child.try_wait().map_err(GitError::Start)? {
            return Ok(status);
        }
        if cancel.is_cancelled() {
            let _ = child.kill();
            let _ = child.wait();
            return Err(GitError::Cancelled);
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(longest);
    }
}

fn reader(pipe: Option<impl Read + Send + 'static>) -> std::thread::JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut pipe) = pipe {
            let _ = pipe.read_to_end(&mut bytes);
        }
        bytes
    })
}

/// What it said on stdout, as text.
pub(crate) fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// Clones into an empty folder, on a branch of its own.
pub(crate) fn clone(
    url: &str,
    reference: Option<&str>,
    branch: &str,
    folder: &Path,
    cancel: &CancellationToken,
) -> Result<Repository, GitError> {
    // Nothing is shared with the source: what an agent does to its clone stays there.
    let mut clone = git(folder);
    clone.args(["clone", "--quiet", "--no-hardlinks", "--no-checkout", "--", url, "."]);
    run(&format!("clone of {url}"), &mut clone, cancel)?;
    let base = begin_with(folder, "refs/remotes/origin/", url, reference, cancel)?;
    let branch = branch_name(folder, branch, cancel);
    let mut checkout = git(folder);
    checkout.args(["checkout", "--quiet", "--no-track", "-b", &branch, &base]);
    run("checkout", &mut checkout, cancel)?;
    Ok(Repository { branch, base, made: Made::Clone(url.to_owned()) })
}

/// A session's name may be none for a branch.
pub(crate) fn branch_name(folder: &Path, wanted: &str, cancel: &CancellationToken) -> String {
    let good = run("name", git(folder).args(["check-ref-format", "--branch", wanted]), cancel);
    if good.is_ok() { wanted.to_owned() } else { "greenroom/session".to_owned() }
}

/// The commit that a branch, a tag or an id of a commit means; without one, HEAD's.
/// `branches`: where the branches one may name are.
pub(crate) fn begin_with(
    folder: &Path,
    branches: &str,
    url: &str,
    reference: Option<&str>,
    cancel: &CancellationToken,
) -> Result<String, GitError> {
    let base = match reference {
        None => commit(folder, "HEAD", cancel),
        Some(name) => commit(folder, &format!("{branches}{name}"), cancel)
            .or_else(|_| commit(folder, &format!("refs/tags/{name}"), cancel))
            .or_else(|_| commit(folder, name, cancel)),
    };
    base.map_err(|error| match error {
        GitError::Said { .. } => GitError::Said {
            what: format!("ref of {}", redacted(url)),
            said: match reference {
                Some(name) => format!("there is no branch, tag or commit {name:?}"),
                None => "it has no commit to begin with".to_owned(),
            },
        },
        error => error,
    })
}

fn commit(folder: &Path, name: &str, cancel: &CancellationToken) -> Result<String, GitError> {
    let name = format!("{name}^{{commit}}");
    let mut parse = git(folder);
    parse.env("GIT_ALLOW_PROTOCOL", "none");
    parse.args(["rev-parse", "--verify", "--quiet", "--end-of-options", &name]);
    Ok(text(&run("ref", &mut parse, cancel)?))
}

/// A repository of our own that borrows the objects of a session's, and looks at its
/// workspace through an index of its own. It is removed with this value.
pub(crate) struct Scratch<'a> {
    dir: PathBuf,
    workspace: &'a Path,
    cancel: &'a CancellationToken,
}

/// Makes a bare repository in this folder, for objects like that commit.
pub(crate) fn init(dir: &Path, commit: &str, cancel: &CancellationToken) -> Result<(), GitError> {
    std::fs::create_dir(dir)?;
    let format = if commit.len() == 64 { "sha256" } else { "sha1" };
    let format = format!("--object-format={format}");
    // A template of the user's may have hooks.
    run("init", git(dir).args(["init", "--quiet", "--bare", "--template=", &format]), cancel)?;
    Ok(())
}

impl<'a> Scratch<'a> {
    /// Makes one in `folder`, for a repository with this commit.
    pub(crate) fn make(
        folder: &Path,
        workspace: &'a Path,
        git_dir: &Path,
        commit: &str,
        cancel: &'a CancellationToken,
    ) -> Result<Self, GitError> {
        let dir = folder.join(format!("{SCRATCH}{}", uuid::Uuid::now_v7()));
        let own = Self { dir, workspace, cancel };
        init(&own.dir, commit, cancel)?;
        let objects = git_dir.join("objects");
        std::fs::create_dir_all(own.dir.join("objects/info"))?;
        std::fs::write(
            own.dir.join("objects/info/alternates"),
            objects.as_os_str().as_encoded_bytes(),
        )?;
        Ok(own)
    }

    /// Git in that repository.
    pub(crate) fn git(&self) -> Command {
        let mut command = git(&self.dir);
        command.env("GIT_DIR", &self.dir);
        command
    }

    /// The session's files, seen from there.
    fn files(&self) -> Files<'_> {
        Files {
            workspace: self.workspace,
            git_dir: &self.dir,
            notes: &self.dir,
            env: Vec::new(),
            cancel: self.cancel,
        }
    }

    /// Git in that repository, with the session's files as its working tree.
    pub(crate) fn in_workspace(&self) -> Command {
        self.files().git()
    }

    /// Takes all files into the index, but those that are ignored.
    pub(crate) fn take(&self, from: &str) -> Result<(), GitError> {
        run("read-tree", self.in_workspace().args(["read-tree", from]), self.cancel)?;
        self.files().add()
    }

    /// How the files that were taken differ from a commit.
    pub(crate) fn differ(&self, from: &str, form: &[&str]) -> Result<Vec<u8>, GitError> {
        let args = ["diff", "--cached", "--no-ext-diff", "--no-textconv", "--no-color"];
        let mut diff = self.in_workspace();
        diff.args(args).args(form).arg(from);
        Ok(run("diff", &mut diff, self.cancel)?.stdout)
    }
}

impl Drop for Scratch<'_> {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// What a session has changed since it began, as a patch: committed or not, new files too.
pub(crate) fn diff(
    repository: &Repository,
    workspace: &Path,
    folder: &Path,
    cancel: &CancellationToken,
) -> Result<Vec<u8>, GitError> {
    let base = &repository.base;
    let own = Scratch::make(folder, workspace, &repository.git_dir(workspace), base, cancel)?;
    own.take(base)?;
    own.differ(base, &["--binary"])
}
