//! `greenroom sessions resume`.

use crate::commands::each;
use crate::commands::sessions::Whose;
use crate::context::Context;
use crate::error::{CliError, Code};

/// Let the queue of a session go on
///
/// Lifts the hold that a stop has set, and brings a persistent agent up.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  greenroom sessions resume fix-1")]
pub(crate) struct Args {
    /// Sessions
    #[arg(required = true, value_name = "ID")]
    ids: Vec<String>,
}

pub(crate) async fn run(context: &Context, whose: &Whose, args: Args) -> Result<Code, CliError> {
    let client = context.client()?;
    let resume = async |id: &str| {
        whose.guard(&client, id).await?;
        Ok((id.to_owned(), client.resume_session(id).await?))
    };
    let (resumed, code) = each(context, &args.ids, resume).await?;
    let (names, answers): (Vec<_>, Vec<_>) = resumed.into_iter().unzip();
    match context.ui.output {
        crate::ui::Output::Table => {
            names
                .iter()
                .try_for_each(|id| context.ui.line(format!("Session \"{id}\" resumed.")))?;
        }
        _ => context.ui.several(&answers, args.ids.len() == 1, |_| String::new())?,
    }
    Ok(code)
}
