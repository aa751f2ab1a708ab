//! `greenroom run`.

use crate::commands::asking::{Asked, Traits};
use crate::commands::attach::{follow_run, say_blocked};
use crate::context::Context;
use crate::error::{CliError, Code};
use crate::ui::Output;

/// Start a session and follow its first run to the end
///
/// The agent's text goes to standard output as it comes; its complaints, tools and status
/// go to standard error. Ctrl-C detaches: the agent goes on.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  greenroom run fixer 'fix the failing test'
  git diff | greenroom run reviewer -
  greenroom run fixer 'fix it' --id fix-1 --label team=web --limit run=30m
  id=$(greenroom run fixer 'fix it' --detach)

Exit codes: 0 the run completed, 1 it failed, 3 it was stopped, 5 no coordinator.")]
pub(crate) struct Args {
    /// Name of the agent
    agent: String,
    /// What to ask; - reads standard input
    prompt: Option<String>,
    /// What to ask, as a JSON document, or @FILE
    #[arg(long, value_name = "JSON", conflicts_with = "prompt")]
    input: Option<String>,
    #[command(flatten)]
    traits: Traits,
    /// Print the session's id and leave
    #[arg(long, short)]
    detach: bool,
}

pub(crate) async fn run(context: &Context, args: Args) -> Result<Code, CliError> {
    let ui = &context.ui;
    let mut asked = Asked::read(args.prompt, args.input.as_deref())?;
    if asked.is_empty() {
        // Some agents need no words to begin.
        asked.prompt = Some(String::new());
    }
    let client = context.client()?;
    let session = client.create_session(&args.traits.create(args.agent, asked)).await?;
    let id = session.id.as_str();
    if args.detach {
        match ui.output {
            Output::Table => ui.line(id)?,
            Output::Json | Output::Jsonl => ui.line(session.json().get())?,
        }
        return Ok(Code::Done);
    }
    ui.aside(format!("session {id}"));
    say_blocked(context, session.status_reason.as_deref());
    let Some(run) = session.run_id else {
        return Err(CliError::failed(format!("session \"{id}\" was created without a run")));
    };
    follow_run(context, &client, id, run, 1, false).await
}
