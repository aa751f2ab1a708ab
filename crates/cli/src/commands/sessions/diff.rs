//! `greenroom sessions diff`.

use super::Whose;
use crate::context::Context;
use crate::error::{CliError, Code};

/// Print what a session has changed in its git repository since it began, as a patch
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  greenroom sessions diff fix-1
  greenroom sessions diff fix-1 | git apply")]
pub(crate) struct Args {
    /// Session
    id: String,
}

pub(crate) async fn run(context: &Context, whose: &Whose, args: Args) -> Result<Code, CliError> {
    let client = context.client()?;
    whose.guard(&client, &args.id).await?;
    let mut patch = client.diff(&args.id).await?;
    while let Some(chunk) = patch.chunk().await? {
        context.ui.data(&chunk)?;
    }
    Ok(Code::Done)
}
