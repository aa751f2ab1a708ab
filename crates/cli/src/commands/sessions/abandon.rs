//! `greenroom sessions abandon`.

use crate::commands::sessions::Whose;
use crate::context::Context;
use crate::error::{CliError, Code};

/// Vouch for the end of a compute that cannot be proven
///
/// The way out of `unreachable` and `stop_unconfirmed` when the machine is gone for good.
/// Your word goes on record in place of a proof. Should the runner come back, it is told
/// to end that compute.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  greenroom sessions abandon fix-1 --reason 'the laptop was wiped'")]
pub(crate) struct Args {
    /// Session
    id: String,
    /// Why you know that it is gone
    #[arg(long, value_name = "TEXT")]
    reason: String,
}

pub(crate) async fn run(context: &Context, whose: &Whose, args: Args) -> Result<Code, CliError> {
    let client = context.client()?;
    whose.guard(&client, &args.id).await?;
    let answer = client.abandon_session(&args.id, &args.reason).await?;
    context.ui.one(&answer, |_| {
        format!("Session \"{}\" is closed by your word, without proof.\n", args.id)
    })?;
    Ok(Code::Done)
}
