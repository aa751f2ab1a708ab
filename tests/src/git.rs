//! Repositories for the tests, made and looked at with git itself.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::cli::{Ran, run};

/// A repository, or a working tree of one.
#[derive(Debug, Clone)]
pub struct Repository {
    /// Where it is.
    pub path: PathBuf,
}

impl Repository {
    /// A new one with `file` committed twice: `one` (tagged `v1`), then `two`.
    pub fn make(path: &Path) -> Self {
        let made = Self { path: path.to_owned() };
        fs::create_dir_all(path).expect("a folder");
        made.git(&["init", "--quiet", "--initial-branch=main"]);
        for (text, tag) in [("one\n", "v1"), ("two\n", "v2")] {
            fs::write(path.join("file"), text).expect("a file");
            made.git(&["add", "file"]);
            made.git(&["commit", "--quiet", "-m", text.trim()]);
            made.git(&["tag", tag]);
        }
        made
    }

    /// One without a working tree, that has what `source` has.
    pub fn bare(path: &Path, source: &Self) -> Self {
        source.git(&["clone", "--quiet", "--bare", ".", text(path)]);
        Self { path: path.to_owned() }
    }

    /// A fresh clone of it.
    pub fn clone_to(&self, path: &Path) -> Self {
        self.git(&["clone", "--quiet", ".", text(path)]);
        Self { path: path.to_owned() }
    }

    /// What git says there; it must succeed.
    #[track_caller]
    pub fn git(&self, args: &[&str]) -> String {
        self.try_git(args).exits(0).out.trim().to_owned()
    }

    /// What git does there, with no settings but the test's own.
    pub fn try_git(&self, args: &[&str]) -> Ran {
        let mut command = Command::new("git");
        command.arg("-C").arg(&self.path).args(["-c", "user.name=test", "-c", "user.email=t@t"]);
        command.args(args).env_clear().env("PATH", "/usr/local/bin:/usr/bin:/bin");
        command.env("GIT_CONFIG_NOSYSTEM", "1").env("HOME", "/nonexistent").stderr(Stdio::piped());
        run(command, "")
    }

    /// The text of a file there.
    #[track_caller]
    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path.join(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path of UTF-8")
}
