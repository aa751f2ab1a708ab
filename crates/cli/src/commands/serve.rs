//! `greenroom serve`.

use greenroom_coordinator::Doors;

use crate::commands::serving::{Options, Serving};
use crate::context::Context;
use crate::ending::Signals;
use crate::error::{CliError, Code};

/// Start the coordinator alone
///
/// Runners on this or other machines join it with `greenroom runner`. SIGTERM and Ctrl-C
/// end it and leave every agent running.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  greenroom serve --agents ./agents
  greenroom serve --listen 0.0.0.0:7070 --allowed-host greenroom.example")]
pub(crate) struct Args {
    #[command(flatten)]
    options: Options,
}

pub(crate) async fn run(context: &Context, args: Args) -> Result<Code, CliError> {
    let mut signals = Signals::listen()?;
    let serving = Serving::start(context, args.options, Vec::new(), Doors::new()).await?;
    serving.say_ready(context).await?;
    signals.next().await;
    serving.end().await;
    Ok(Code::Done)
}
