//! `greenroom sessions fork`.

use greenroom_core::RunId;
use greenroom_protocol::v1::ForkSession;

use crate::commands::sessions::Whose;
use crate::context::Context;
use crate::error::{CliError, Code};
use crate::ui::Output;

/// Begin a session with the conversation of another
///
/// A session of the same agent, with the conversation until the end or until the place that is
/// named. Agents that keep their conversation themselves begin a fresh one, and the log says
/// so. The files stay with the other session.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  greenroom sessions fork fix-1
  greenroom sessions fork fix-1 --id fix-2 --before-message 3
  greenroom sessions send \"$(greenroom sessions fork fix-1)\" 'try it another way'")]
pub(crate) struct Args {
    /// Session
    #[arg(value_name = "ID")]
    session: String,
    /// Cut before this run began
    #[arg(long, value_name = "RUN", conflicts_with = "before_message")]
    before_run: Option<RunId>,
    /// Cut before this message of the user, counted from 0
    #[arg(long, value_name = "N")]
    before_message: Option<u32>,
    /// A name for the fork; made up if absent
    #[arg(long, value_name = "ID")]
    id: Option<String>,
    /// A line for people
    #[arg(long, value_name = "TEXT")]
    title: Option<String>,
}

pub(crate) async fn run(context: &Context, whose: &Whose, args: Args) -> Result<Code, CliError> {
    let client = context.client()?;
    whose.guard(&client, &args.session).await?;
    let body = ForkSession {
        before_run: args.before_run,
        before_message: args.before_message,
        id: args.id,
        title: args.title,
        labels: None,
    };
    let fork = client.fork_session(&args.session, &body).await?;
    match context.ui.output {
        Output::Table => context.ui.line(fork.id.as_str())?,
        Output::Json | Output::Jsonl => context.ui.line(fork.json().get())?,
    }
    Ok(Code::Done)
}
