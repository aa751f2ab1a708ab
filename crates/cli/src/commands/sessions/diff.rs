//! `greenroom sessions diff`.

use super::Whose;
use super::moment::At;
use crate::context::Context;
use crate::error::{CliError, Code};

/// Print what a session has changed in its git repository since it began, as a patch
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  greenroom sessions diff fix-1
  greenroom sessions diff fix-1 | git apply
  greenroom sessions diff fix-1 --run 0198c0de-…")]
pub(crate) struct Args {
    /// Session
    id: String,
    #[command(flatten)]
    at: At,
    /// Only what was changed after the end of this run
    #[arg(long, value_name = "RUN")]
    since: Option<String>,
}

pub(crate) async fn run(context: &Context, whose: &Whose, args: Args) -> Result<Code, CliError> {
    let client = context.client()?;
    whose.guard(&client, &args.id).await?;
    let mut patch = client.diff(&args.id, &args.at.into(), args.since.as_deref()).await?;
    while let Some(chunk) = patch.chunk().await? {
        context.ui.data(&chunk)?;
    }
    Ok(Code::Done)
}
