//! Bringing what a session has committed to where others see it.
//!
//! Pushed from a repository of our own, with what this runner's user has configured: the
//! agent's hooks, credential helpers and ways to reach a remote have no part in it.

use std::path::Path;

use greenroom_protocol::Problem;
use greenroom_protocol::v1::{PushRequest, Pushed};
use tokio_util::sync::CancellationToken;

use crate::git::{self, GitError, Made, Repository, Scratch};

/// Why nothing was pushed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PushError {
    /// The branch has nothing that was not there before.
    #[error(
        "the session has committed nothing on its branch {branch:?} since it began; {uncommitted} \
         files are changed and not committed"
    )]
    Nothing { branch: String, uncommitted: u64 },
    /// The branch is in the repository already: the workspace is a working tree of it.
    #[error("the session works in a worktree of {place}: its branch {branch:?} is there already")]
    There { place: String, branch: String },
    /// The branch's name is none.
    #[error("{0:?} is no name for a branch")]
    Name(String),
    /// Git said no.
    #[error(transparent)]
    Git(#[from] GitError),
}

impl From<PushError> for Box<Problem> {
    fn from(error: PushError) -> Self {
        let text = error.to_string();
        Box::new(match error {
            PushError::Nothing { .. } => Problem::new(409, "nothing_to_push", text)
                .hint("greenroom sessions diff ID has what is not committed, too"),
            PushError::There { .. } => {
                Problem::new(409, "already_there", text).hint("name another remote")
            }
            PushError::Name(_) => Problem::new(422, "invalid", text).at("/branch"),
            PushError::Git(_) => Problem::new(409, "push_failed", text),
        })
    }
}

/// Pushes a session's own branch.
pub(crate) fn push(
    repository: &Repository,
    request: &PushRequest,
    workspace: &Path,
    folder: &Path,
    cancel: &CancellationToken,
) -> Result<Pushed, PushError> {
    let Repository { branch, base, made } = repository;
    let remote = match (&request.remote, made) {
        (Some(remote), _) | (None, Made::Clone(remote)) => remote.as_str(),
        (None, Made::Worktree(common)) => {
            let place = common.display().to_string();
            return Err(PushError::There { place, branch: branch.clone() });
        }
    };
    let to = request.branch.as_ref().unwrap_or(branch);
    let target = format!("refs/heads/{to}");
    let mut check = git::git(folder);
    check.args(["check-ref-format", "--branch", to]);
    git::run("name", &mut check, cancel).map_err(|error| match error {
        GitError::Said { .. } => PushError::Name(to.clone()),
        error => error.into(),
    })?;
    let git_dir = repository.git_dir(workspace);
    let own = Scratch::make(folder, workspace, &git_dir, base, cancel)?;
    let tip = repository.tip(workspace, cancel)?.unwrap_or_else(|| base.clone());
    let mut count = own.git();
    count.args(["rev-list", "--count", &tip, "--not", base]);
    let counted = git::text(&git::run("commits", &mut count, cancel)?);
    let commits = counted.parse().unwrap_or_default();
    own.take(&tip)?;
    let names = own.differ(&tip, &["--name-only", "--no-renames", "-z"])?;
    let uncommitted = names.iter().filter(|byte| **byte == 0).count() as u64;
    if commits == 0 {
        return Err(PushError::Nothing { branch: branch.clone(), uncommitted });
    }
    let mut push = own.git();
    push.args(["push", "--quiet", "--no-verify", "--no-signed", "--recurse-submodules=no", "--"]);
    push.arg(remote).arg(format!("{tip}:{target}"));
    git::run(&format!("push to {remote}"), &mut push, cancel)?;
    let remote = git::redacted(remote);
    Ok(Pushed { remote, branch: to.clone(), commit: tip, commits, uncommitted })
}
