//! `greenroom sessions watch`.

use greenroom_core::Seq;

use crate::commands::attach::PATIENCE;
use crate::commands::sessions::Whose;
use crate::context::Context;
use crate::error::{CliError, Code};
use crate::ui::Output;
use crate::watch::Printer;

/// Follow a session live
///
/// Shows what it has said so far, then what it says. Text goes to standard output, the
/// rest to standard error. Ctrl-C ends the watching, not the session.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  greenroom sessions watch fix-1
  greenroom sessions watch fix-1 --from 120
  greenroom sessions watch fix-1 --output jsonl | jq .type")]
pub(crate) struct Args {
    /// Session
    id: String,
    /// First entry of the log to show
    #[arg(long, value_name = "SEQ", default_value_t = 1)]
    from: Seq,
}

pub(crate) async fn run(context: &Context, whose: &Whose, args: Args) -> Result<Code, CliError> {
    let client = context.client()?;
    whose.guard(&client, &args.id).await?;
    let mut ui = context.ui;
    if ui.output == Output::Json {
        // What has no end is no document.
        ui.output = Output::Jsonl;
    }
    let mut follow = client.follow(&args.id, args.from, PATIENCE);
    let mut printer = Printer::new(&ui, None);
    let interrupted = tokio::signal::ctrl_c();
    tokio::pin!(interrupted);
    loop {
        let live = tokio::select! {
            biased;
            _ = &mut interrupted => break,
            live = follow.next() => live?,
        };
        match live {
            Some(live) => printer.print(&live)?,
            None => {
                printer.finish()?;
                ui.aside(format!("Session \"{}\" was deleted.", args.id));
                return Ok(Code::Done);
            }
        }
    }
    printer.finish()?;
    Ok(Code::Done)
}
