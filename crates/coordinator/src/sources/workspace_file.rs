//! The key `workspace` of an agent's file, and addresses of git repositories.

use greenroom_core::agent::{DirMode, WorkspaceFrom};
use serde::Deserialize;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WorkspaceFile {
    from: FromWord,
    path: Option<String>,
    mode: Option<ModeWord>,
    url: Option<String>,
    #[serde(rename = "ref")]
    reference: Option<String>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum FromWord {
    Empty,
    Dir,
    Git,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum ModeWord {
    Copy,
    InPlace,
    Clone,
    Worktree,
}

type Checked = Result<WorkspaceFrom, (String, String)>;

fn bad(key: &str, message: &str) -> Checked {
    Err((format!("workspace.{key}"), message.to_owned()))
}

impl WorkspaceFile {
    pub(super) fn check(self) -> Checked {
        match self.from {
            FromWord::Empty | FromWord::Git if self.path.is_some() => {
                bad("path", "belongs to from: dir")
            }
            FromWord::Git => git(self.url, self.mode, self.reference),
            _ if self.url.is_some() => bad("url", "belongs to from: git"),
            _ if self.reference.is_some() => bad("ref", "belongs to from: git"),
            FromWord::Empty if self.mode.is_some() => {
                bad("mode", "belongs to from: dir and from: git")
            }
            FromWord::Empty => Ok(WorkspaceFrom::Empty),
            FromWord::Dir => dir(self.path, self.mode),
        }
    }
}

fn dir(path: Option<String>, mode: Option<ModeWord>) -> Checked {
    let mode = match mode {
        None | Some(ModeWord::Copy) => DirMode::Copy,
        Some(ModeWord::InPlace) => DirMode::InPlace,
        Some(ModeWord::Clone | ModeWord::Worktree) => {
            return bad("mode", "is copy or in_place for from: dir");
        }
    };
    match path {
        Some(path) if path.starts_with('/') && !path.contains('\0') => {
            Ok(WorkspaceFrom::Dir { path, mode })
        }
        Some(_) => bad("path", "must be an absolute path on the runner's machine"),
        None => bad("path", "is required for from: dir"),
    }
}

fn git(url: Option<String>, mode: Option<ModeWord>, reference: Option<String>) -> Checked {
    let Some(url) = url else {
        return bad("url", "is required for from: git");
    };
    let local = url.starts_with('/') && is_plain(&url);
    if !local && let Err(message) = check_address(&url) {
        return bad("url", message);
    }
    if reference.as_deref().is_some_and(|reference| !is_plain(reference)) {
        return bad("ref", "is a branch, a tag or a commit");
    }
    match mode {
        Some(ModeWord::Copy | ModeWord::InPlace) => {
            bad("mode", "is clone or worktree for from: git")
        }
        Some(ModeWord::Clone | ModeWord::Worktree) if !local => {
            bad("mode", "needs the path of a repository on the runner's machine as url")
        }
        Some(ModeWord::Worktree) => Ok(WorkspaceFrom::Worktree { path: url, reference }),
        Some(ModeWord::Clone) | None => Ok(WorkspaceFrom::Git { url, reference }),
    }
}

/// Whether a word can be no option and hides nothing.
pub(crate) fn is_plain(text: &str) -> bool {
    !text.is_empty() && !text.starts_with('-') && !text.chars().any(char::is_control)
}

/// Refuses what is no address of a git repository, and one with a password in it.
pub(crate) fn check_address(url: &str) -> Result<(), &'static str> {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let by_ssh = scheme.is_empty()
        && url.split_once(':').is_some_and(|(host, _)| host.contains('@') && !host.contains('/'));
    let known = matches!(scheme, "https" | "http" | "ssh" | "git" | "file");
    if !is_plain(url) || !(known || by_ssh) {
        return Err(
            "is the address of a git repository, or its absolute path on the runner's machine",
        );
    }
    let authority = rest.split('/').next().unwrap_or_default();
    if authority.rsplit_once('@').is_some_and(|(user, _)| user.contains(':')) {
        return Err("must not hold a password: use the runner's git credential helper");
    }
    Ok(())
}
