//! `greenroom sessions show`.

use crate::commands::each;
use crate::commands::sessions::Whose;
use crate::context::Context;
use crate::error::{CliError, Code};
use crate::show;

/// Show sessions, with the receipt of the last compute
#[derive(Debug, clap::Args)]
#[command(
    visible_alias = "get",
    after_help = "\
Examples:
  greenroom sessions show fix-1
  greenroom sessions show fix-1 --output json"
)]
pub(crate) struct Args {
    /// Sessions
    #[arg(required = true, value_name = "ID")]
    ids: Vec<String>,
}

pub(crate) async fn run(context: &Context, whose: &Whose, args: Args) -> Result<Code, CliError> {
    let client = context.client()?;
    let (sessions, code) =
        each(context, &args.ids, async |id| whose.session(&client, id).await).await?;
    let paint = context.ui.paint;
    context.ui.several(&sessions, args.ids.len() == 1, |session| show::session(session, paint))?;
    Ok(code)
}
