//! `greenroom sessions push`.

use greenroom_protocol::v1::{PushRequest, Pushed};

use super::Whose;
use crate::context::Context;
use crate::error::{CliError, Code};

/// Push what a session has committed, as a branch of the repository it was cloned from
///
/// The commits on the session's own branch, with the git credentials of its runner's user,
/// and never by force. What is not committed stays where it is, and is counted; `sessions
/// diff` has that too.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  greenroom sessions push fix-1
  greenroom sessions push fix-1 --branch fix/tests
  greenroom sessions push fix-1 --remote git@git.example.com:me/app.git")]
pub(crate) struct Args {
    /// Session
    id: String,
    /// The branch to push to [default: the session's own]
    #[arg(long, value_name = "NAME")]
    branch: Option<String>,
    /// The repository to push to [default: the one it was cloned from]
    #[arg(long, value_name = "URL")]
    remote: Option<String>,
}

pub(crate) async fn run(context: &Context, whose: &Whose, args: Args) -> Result<Code, CliError> {
    let client = context.client()?;
    whose.guard(&client, &args.id).await?;
    let request = PushRequest { branch: args.branch, remote: args.remote };
    let pushed = client.push(&args.id, &request).await?;
    context.ui.one(&pushed, |pushed| sentence(&args.id, pushed))?;
    if pushed.uncommitted > 0 {
        context.ui.warn(&format!("{} changed files are not committed", pushed.uncommitted));
    }
    Ok(Code::Done)
}

fn sentence(id: &str, pushed: &Pushed) -> String {
    let Pushed { remote, branch, commit, commits, .. } = pushed;
    let noun = if *commits == 1 { "commit" } else { "commits" };
    let short = commit.get(..10).unwrap_or(commit);
    format!("{commits} {noun} of session \"{id}\" pushed to {branch} of {remote} ({short}).\n")
}
