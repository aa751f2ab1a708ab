//! `greenroom sessions send`.

use clap::ValueEnum;
use greenroom_protocol::v1::CreateRun;

use crate::commands::asking::Asked;
use crate::commands::attach::follow_run;
use crate::commands::sessions::Whose;
use crate::context::Context;
use crate::error::{CliError, Code};
use crate::human::count;
use crate::ui::Output;

/// Ask something of a session
#[derive(Debug, clap::Args)]
#[command(
    visible_alias = "prompt",
    after_help = "\
Examples:
  greenroom sessions send fix-1 'now the integration tests'
  greenroom sessions send fix-1 - < task.md
  greenroom sessions send fix-1 'stop that, do this' --mode interrupt --follow
  greenroom sessions send fix-1 --steer 'leave the docs alone'"
)]
pub(crate) struct Args {
    /// Session
    id: String,
    /// What to ask; - reads standard input
    #[arg(required_unless_present_any = ["input", "steer"])]
    prompt: Option<String>,
    /// What to ask, as a JSON document, or @FILE
    #[arg(long, value_name = "JSON", conflicts_with = "prompt")]
    input: Option<String>,
    /// What to do when the session is busy
    #[arg(long, value_enum, default_value_t, value_name = "MODE")]
    mode: Mode,
    /// Say this to the run in progress, before its agent goes on; - reads standard input.
    /// With none in progress it is a prompt like any other
    #[arg(long, value_name = "TEXT", conflicts_with_all = ["prompt", "input", "mode", "first"])]
    steer: Option<String>,
    /// Go to the head of the queue
    #[arg(long)]
    first: bool,
    /// Let the queue go on, even while a stop is under way
    #[arg(long)]
    resume: bool,
    /// Tell the parent session about the end of this run
    #[arg(long)]
    callback: bool,
    /// Follow the run to its end
    #[arg(long, short)]
    follow: bool,
}

/// What a run does when its session is busy.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
enum Mode {
    /// Wait for its turn
    #[default]
    Enqueue,
    /// End the run in progress, then go
    Interrupt,
    /// Be refused
    Reject,
    /// Become part of the run in progress
    Steer,
}

pub(crate) async fn run(context: &Context, whose: &Whose, args: Args) -> Result<Code, CliError> {
    let ui = &context.ui;
    let mode = if args.steer.is_some() { Mode::Steer } else { args.mode };
    let asked = Asked::read(args.prompt.or(args.steer), args.input.as_deref())?;
    let client = context.client()?;
    // Followed from here, so that nothing of the run is missed.
    let from = match args.follow {
        true => whose.session(&client, &args.id).await?.last_seq + 1,
        false => {
            whose.guard(&client, &args.id).await?;
            1
        }
    };
    let mode = match mode {
        Mode::Enqueue => None,
        Mode::Interrupt => Some("interrupt".to_owned()),
        Mode::Reject => Some("reject".to_owned()),
        Mode::Steer => Some("steer".to_owned()),
    };
    let body = CreateRun {
        prompt: asked.prompt,
        input: asked.input,
        mode,
        callback: args.callback.then_some(true),
        resume: args.resume.then_some(true),
        first: args.first.then_some(true),
    };
    let accepted = client.create_run(&args.id, &body).await?;
    let session = &args.id;
    if args.follow {
        let run = accepted.run.id;
        return follow_run(context, &client, session, run, from, accepted.held).await;
    }
    match ui.output {
        Output::Table => ui.line(accepted.run.id.to_string())?,
        Output::Json | Output::Jsonl => ui.line(accepted.json().get())?,
    }
    if accepted.held {
        ui.say(format!(
            "It waits: the queue of session \"{session}\" is held. `greenroom sessions resume {session}` lets it go on."
        ));
    } else if accepted.ahead > 0 {
        ui.aside(format!("{} before it.", count(accepted.ahead as usize, "run")));
    }
    Ok(Code::Done)
}
