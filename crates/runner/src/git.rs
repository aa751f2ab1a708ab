//! Git, as a program: workspaces that are clones, and what a session has changed in its own.
//!
//! A session's repository is its agent's, and so is what is configured in it: filters,
//! hooks, external diffs. None of that is ever run here: what has changed is found with a
//! repository of our own, which only borrows the agent's objects.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

/// Beside the workspace: the commit a session began with.
const BASE: &str = "base";
/// How often a clone is asked whether it is done.
const PAUSE: Duration = Duration::from_millis(20);

/// Why git could not do it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GitError {
    /// There is no git, or it could not be started.
    #[error("git could not be started ({0}): install it on the runner's machine")]
    Start(std::io::Error),
    /// What it said.
    #[error("{what}: {said}")]
    Said {
        /// What it was to do.
        what: String,
        /// Its last words.
        said: String,
    },
    /// It is not wanted any more.
    #[error("it was cancelled")]
    Cancelled,
}

fn git(folder: &Path) -> Command {
    let mut command = Command::new("git");
    command
        .arg("-C")
        .arg(folder)
        .args(["-c", "core.hooksPath=/dev/null", "-c", "core.fsmonitor=false"])
        .args(["-c", "protocol.ext.allow=never", "-c", "gc.auto=0"])
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("GIT_OPTIONAL_LOCKS", "0")
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    for name in ["GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_EXTERNAL_DIFF"] {
        command.env_remove(name);
    }
    command
}

/// Runs it to its end, or until it is cancelled.
fn run(what: &str, command: &mut Command, cancel: &CancellationToken) -> Result<Output, GitError> {
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
    let said = String::from_utf8_lossy(&output.stderr);
    let words = said.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("no reason");
    Err(GitError::Said { what: what.to_owned(), said: words.trim().to_owned() })
}

fn wait(
    child: &mut Child,
    cancel: &CancellationToken,
) -> Result<std::process::ExitStatus, GitError> {
    loop {
        if let Some(status) = child.try_wait().map_err(GitError::Start)? {
            return Ok(status);
        }
        if cancel.is_cancelled() {
            let _ = child.kill();
            let _ = child.wait();
            return Err(GitError::Cancelled);
        }
        std::thread::sleep(PAUSE);
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

/// Clones into an empty folder, on a branch of its own, and remembers where that began.
pub(crate) fn clone(
    url: &str,
    reference: Option<&str>,
    branch: &str,
    folder: &Path,
    cancel: &CancellationToken,
) -> Result<(), GitError> {
    // Nothing is shared with the source: what an agent does to its clone stays there.
    let mut clone = git(folder);
    clone.args(["clone", "--quiet", "--no-hardlinks", "--no-checkout", "--", url, "."]);
    run(&format!("clone of {url}"), &mut clone, cancel)?;
    let base = match reference {
        None => commit(folder, "HEAD", cancel),
        Some(name) => commit(folder, &format!("refs/remotes/origin/{name}"), cancel)
            .or_else(|_| commit(folder, &format!("refs/tags/{name}"), cancel))
            .or_else(|_| commit(folder, name, cancel)),
    };
    let base = base.map_err(|_| GitError::Said {
        what: format!("ref of {url}"),
        said: match reference {
            Some(name) => format!("there is no branch, tag or commit {name:?}"),
            None => "it has no commit to begin with".to_owned(),
        },
    })?;
    // A session's name may be none for a branch.
    let good = run("name", git(folder).args(["check-ref-format", "--branch", branch]), cancel);
    let branch = if good.is_ok() { branch } else { "greenroom/session" };
    let mut checkout = git(folder);
    checkout.args(["checkout", "--quiet", "--no-track", "-b", branch, &base]);
    run("checkout", &mut checkout, cancel)?;
    std::fs::write(folder.with_file_name(BASE), &base).map_err(GitError::Start)
}

fn commit(folder: &Path, name: &str, cancel: &CancellationToken) -> Result<String, GitError> {
    let name = format!("{name}^{{commit}}");
    let found = run("ref", git(folder).args(["rev-parse", "--verify", "--quiet", &name]), cancel)?;
    Ok(String::from_utf8_lossy(&found.stdout).trim().to_owned())
}

/// What a session has changed since it began, as a patch: committed or not, new files too.
/// `None` where its workspace is no clone that was made here.
pub(crate) fn diff(
    workspace: &Path,
    cancel: &CancellationToken,
) -> Result<Option<Vec<u8>>, GitError> {
    let base = match std::fs::read_to_string(workspace.with_file_name(BASE)) {
        Ok(base) => base.trim().to_owned(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(GitError::Start(error)),
    };
    let own = Own(workspace.with_file_name(format!("diff.{}", uuid::Uuid::now_v7())));
    std::fs::create_dir(&own.0).map_err(GitError::Start)?;
    run("init", git(&own.0).args(["init", "--quiet", "--bare"]), cancel)?;
    let objects = workspace.join(".git/objects");
    std::fs::write(own.0.join("objects/info/alternates"), objects.as_os_str().as_encoded_bytes())
        .map_err(GitError::Start)?;
    let with_own = |args: &[&str]| {
        let mut command = git(workspace);
        command.args(["-c", "core.bare=false", "-c", "advice.addEmbeddedRepo=false"]);
        command.args(args).env("GIT_DIR", &own.0).env("GIT_WORK_TREE", workspace);
        command
    };
    run("read-tree", &mut with_own(&["read-tree", &base]), cancel)?;
    run("add", &mut with_own(&["add", "--all", "--", "."]), cancel)?;
    let args = ["diff", "--cached", "--binary", "--no-ext-diff", "--no-textconv", "--no-color"];
    let args = [&args[..], &[&base]].concat();
    Ok(Some(run("diff", &mut with_own(&args), cancel)?.stdout))
}

/// A repository that is removed with this value.
struct Own(PathBuf);

impl Drop for Own {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn in_repository(folder: &Path, args: &[&str]) -> String {
        let names = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "init.defaultBranch=main"];
        let output = git(folder).args(names).args(args).output().expect("git");
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// A repository with `file` in two versions, the older one tagged `v1`, and a place for
    /// a clone of it.
    fn scene() -> (tempfile::TempDir, PathBuf, PathBuf) {
        let dir = tempfile::tempdir().expect("a folder");
        let (source, target) = (dir.path().join("source"), dir.path().join("work/workspace"));
        fs::create_dir_all(&source).expect("a folder");
        fs::create_dir_all(&target).expect("a folder");
        in_repository(&source, &["init", "--quiet"]);
        for (text, tag) in [("one\n", "v1"), ("two\n", "v2")] {
            fs::write(source.join("file"), text).expect("a file");
            in_repository(&source, &["add", "file"]);
            in_repository(&source, &["commit", "--quiet", "-m", text.trim()]);
            in_repository(&source, &["tag", tag]);
        }
        (dir, source, target)
    }

    fn try_clone(
        source: &Path,
        reference: Option<&str>,
        branch: &str,
        to: &Path,
    ) -> Result<(), GitError> {
        clone(source.to_str().expect("UTF-8"), reference, branch, to, &CancellationToken::new())
    }

    fn text(folder: &Path) -> String {
        fs::read_to_string(folder.join("file")).expect("a file")
    }

    #[test]
    fn a_clone_is_on_a_branch_of_its_own() {
        for (reference, wanted) in [(None, "two\n"), (Some("main"), "two\n"), (Some("v1"), "one\n")]
        {
            let (_dir, source, target) = scene();
            try_clone(&source, reference, "greenroom/tidy", &target).expect("a clone");
            assert_eq!(text(&target), wanted);
            let branch = in_repository(&target, &["branch", "--show-current"]);
            assert_eq!(branch, "greenroom/tidy");
        }
        let (_dir, source, target) = scene();
        try_clone(&source, None, "greenroom/a..b.lock", &target).expect("a clone");
        assert_eq!(in_repository(&target, &["branch", "--show-current"]), "greenroom/session");
    }

    #[test]
    fn a_patch_has_all_that_changed_and_applies() {
        let (_dir, source, target) = scene();
        try_clone(&source, None, "greenroom/tidy", &target).expect("a clone");
        let token = CancellationToken::new();
        assert_eq!(diff(&target, &token).expect("a diff").as_deref(), Some(&b""[..]));
        fs::write(target.join("file"), "committed\n").expect("a file");
        in_repository(&target, &["commit", "--quiet", "-am", "x"]);
        fs::write(target.join("new"), "not even added\n").expect("a file");
        // What the agent has configured there is not run.
        for key in ["diff.external", "filter.trap.clean", "core.fsmonitor", "diff.trap.textconv"] {
            in_repository(&target, &["config", key, "touch ../was-here; cat"]);
        }
        fs::write(target.join(".gitattributes"), "* filter=trap diff=trap\n").expect("a file");
        let index = fs::read(target.join(".git/index")).expect("its index");
        let patch = diff(&target, &token).expect("a diff").expect("a clone");
        assert!(!target.with_file_name("was-here").exists());
        assert_eq!(fs::read(target.join(".git/index")).expect("its index"), index);
        let file = target.with_file_name("patch");
        fs::write(&file, &patch).expect("a file");
        in_repository(&source, &["apply", file.to_str().expect("UTF-8")]);
        assert_eq!(text(&source), "committed\n");
        assert!(source.join("new").exists());
        let left: Vec<_> = fs::read_dir(target.parent().expect("a folder")).expect("it").collect();
        assert_eq!(left.len(), 3, "workspace, base and patch: {left:?}");
    }

    #[test]
    fn what_is_not_there_is_said() {
        let (_dir, source, target) = scene();
        let error = try_clone(Path::new("/no/such/place"), None, "b", &target).expect_err("none");
        assert!(error.to_string().contains("/no/such/place"), "{error}");
        let error = try_clone(&source, Some("v9"), "b", &target).expect_err("none");
        assert!(error.to_string().contains("v9"), "{error}");
        let none = diff(&source, &CancellationToken::new()).expect("no clone of ours");
        assert_eq!(none, None);
    }

    #[test]
    fn a_clone_that_is_not_wanted_any_more_ends() {
        let (_dir, source, target) = scene();
        let token = CancellationToken::new();
        token.cancel();
        let done = clone(source.to_str().expect("UTF-8"), None, "b", &target, &token);
        assert!(matches!(done, Err(GitError::Cancelled)), "{done:?}");
    }
}
