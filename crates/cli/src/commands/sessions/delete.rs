//! `greenroom sessions delete`.

use std::time::Duration;

use greenroom_client::Deletion;
use greenroom_core::Ms;

use crate::commands::each;
use crate::commands::sessions::Whose;
use crate::context::Context;
use crate::error::{CliError, Code};
use crate::ui::Spinner;

/// Remove sessions, with their log and files
///
/// A live session is stopped first, and proven stopped.
#[derive(Debug, clap::Args)]
#[command(
    visible_alias = "rm",
    after_help = "\
Examples:
  greenroom sessions delete fix-1
  greenroom sessions delete fix-1 fix-2 --no-wait"
)]
pub(crate) struct Args {
    /// Sessions
    #[arg(required = true, value_name = "ID")]
    ids: Vec<String>,
    /// How long to wait until they are gone
    #[arg(long, value_name = "TIME", default_value = "60s")]
    wait: Ms,
    /// Don't wait until they are gone
    #[arg(long, conflicts_with = "wait")]
    no_wait: bool,
}

pub(crate) async fn run(context: &Context, whose: &Whose, args: Args) -> Result<Code, CliError> {
    let (client, ui) = (context.client()?, &context.ui);
    let wait = if args.no_wait { Duration::ZERO } else { args.wait.into() };
    let delete = async |id: &str| {
        whose.guard(&client, id).await?;
        let mut spinner = Spinner::start(ui, format!("session {id} is being deleted"));
        let done = client.delete_session(id, wait).await;
        spinner.end();
        match done? {
            Deletion::Gone => ui.say(format!("Session \"{id}\" deleted.")),
            Deletion::UnderWay if args.no_wait => {
                ui.say(format!("Session \"{id}\" is being deleted."));
            }
            Deletion::UnderWay => {
                let late = format!("session \"{id}\" is not gone after {}", args.wait);
                return Err(CliError::new(Code::Unproven, late).hint(format!(
                    "it goes on by itself; greenroom sessions show {id} says how it stands"
                )));
            }
        }
        Ok(())
    };
    Ok(each(context, &args.ids, delete).await?.1)
}
