//! `greenroom runs`.

use clap::Subcommand;
use greenroom_client::{Answer, Listing};
use greenroom_protocol::v1::Run;

use crate::commands::each;
use crate::context::Context;
use crate::error::{CliError, Code};
use crate::human::{ago, short, span};
use crate::show;
use crate::ui::{Output, Row, Table};

/// List, show, stop and withdraw runs
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  greenroom runs ls fix-1
  greenroom runs show 0198a3c4-…
  greenroom runs stop 0198a3c4-…
  greenroom runs withdraw 0198a3c4-…")]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the runs of a session, newest first
    #[command(visible_alias = "list")]
    Ls {
        /// Session
        session: String,
        /// At most so many
        #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1000))]
        limit: u32,
        /// Go on where an earlier list ended
        #[arg(long, value_name = "CURSOR")]
        cursor: Option<String>,
    },
    /// Show runs
    #[command(visible_alias = "get")]
    Show {
        /// Runs
        #[arg(required = true, value_name = "RUN")]
        runs: Vec<String>,
    },
    /// Stop runs; the next waiting prompt goes on
    Stop {
        /// Runs
        #[arg(required = true, value_name = "RUN")]
        runs: Vec<String>,
    },
    /// Take runs back that have not begun
    Withdraw {
        /// Runs
        #[arg(required = true, value_name = "RUN")]
        runs: Vec<String>,
    },
}

pub(crate) async fn run(context: &Context, args: Args) -> Result<Code, CliError> {
    let (client, ui) = (context.client()?, &context.ui);
    match args.command {
        Command::Ls { session, limit, cursor } => {
            let list: Listing<Run> = client.runs(&session, limit, cursor.as_deref()).await?;
            ui.list(&list, |run| run.id.to_string(), table)?;
            if let Some(cursor) = list.next_cursor.filter(|_| ui.output == Output::Table) {
                ui.aside(format!("There are more: --cursor {cursor}"));
            }
            Ok(Code::Done)
        }
        Command::Show { runs } => {
            let (found, code) = each(context, &runs, async |id| Ok(client.run(id).await?)).await?;
            ui.several(&found, runs.len() == 1, |run| show::run(run, ui.paint))?;
            Ok(code)
        }
        Command::Stop { runs } => {
            let (done, code) =
                each(context, &runs, async |id| Ok(client.stop_run(id).await?)).await?;
            told(context, &runs, &done, "is being stopped", code)
        }
        Command::Withdraw { runs } => {
            let (done, code) =
                each(context, &runs, async |id| Ok(client.withdraw_run(id).await?)).await?;
            told(context, &runs, &done, "is withdrawn", code)
        }
    }
}

/// Says what the coordinator made of each run.
fn told(
    context: &Context,
    asked: &[String],
    done: &[Answer<serde_json::Value>],
    otherwise: &str,
    code: Code,
) -> Result<Code, CliError> {
    context.ui.several(done, asked.len() == 1, |answer| {
        let word = |key: &str| answer.get(key).and_then(serde_json::Value::as_str);
        let id = word("id").or(word("run_id")).unwrap_or_default();
        match word("status").filter(|_| word("id").is_some()) {
            Some(status) => format!("Run {id}: {status}.\n"),
            None => format!("Run {id} {otherwise}.\n"),
        }
    })?;
    Ok(code)
}

fn table(runs: &[Answer<Run>]) -> Table {
    let row = |run: &Answer<Run>| {
        let took = match (run.started_at, run.ended_at) {
            (Some(from), Some(to)) => {
                span(to.unix_ms().saturating_sub(from.unix_ms()).max(0).unsigned_abs())
            }
            (Some(from), None) => ago(from),
            _ => String::new(),
        };
        let asked = match (&run.prompt, &run.input) {
            (Some(prompt), _) => short(prompt, 60),
            (None, Some(input)) => short(&input.to_string(), 60),
            (None, None) => String::new(),
        };
        Row::new(
            show::run_tone(run),
            [run.id.to_string(), run.status.as_str().to_owned(), ago(run.created_at), took, asked],
        )
    };
    Table::new(&["RUN", "STATUS", "AGE", "TOOK", "ASKED"], runs.iter().map(row), "No runs.")
}
