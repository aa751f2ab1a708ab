//! `greenroom gc`: what nothing needs any more in a data folder, without any coordinator.

use greenroom_runner::gc::{self, Fate, Found, Item};

use crate::context::Context;
use crate::error::{CliError, Code};
use crate::human;
use crate::ui::{Output, Row, Table, Tone};

/// Remove what nothing needs any more from a runner's data folder
///
/// What deletions have left, worktrees of removed sessions that their repositories still
/// know, uploads that were cut, control groups of runners that are gone. Never a workspace
/// of a session that may still exist, and nothing of a live agent. With a runner alive on
/// the folder it only lists: the runner removes that itself.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  greenroom gc --dry-run
  greenroom gc --data ./data")]
pub(crate) struct Args {
    /// Only show what would go
    #[arg(long)]
    dry_run: bool,
}

pub(crate) async fn run(context: &Context, args: Args) -> Result<Code, CliError> {
    let (data, ui) = (context.data_dir()?, &context.ui);
    let path = data.path().to_owned();
    let found = tokio::task::spawn_blocking(move || gc::collect(&path, args.dry_run));
    let found = found.await.map_err(|error| CliError::failed(error.to_string()))??;
    match ui.output {
        Output::Table if ui.quiet => {
            found.items.iter().try_for_each(|item| ui.line(item.path.display().to_string()))?;
        }
        Output::Table => ui.data(table(&found.items).render(ui.paint))?,
        Output::Json => ui.line(serde_json::json!(found).to_string())?,
        Output::Jsonl => {
            found.items.iter().try_for_each(|item| ui.line(serde_json::json!(item).to_string()))?;
        }
    }
    say(context, &found, args.dry_run);
    let failed = found.items.iter().any(|item| matches!(item.fate, Fate::Failed(_)));
    Ok(if failed { Code::Failed } else { Code::Done })
}

fn say(context: &Context, found: &Found, dry_run: bool) {
    let gone = found.items.iter().filter(|item| item.fate == Fate::Removed);
    let (mut count, mut bytes) = (0, 0);
    gone.for_each(|item| (count, bytes) = (count + 1, bytes + item.bytes));
    if count > 0 {
        let things = human::count(count, "thing");
        context.ui.say(format!("{things} removed, {} freed.", human::bytes(bytes)));
    } else if found.runner_lives && !dry_run && !found.items.is_empty() {
        context.ui.say("A runner has this folder: nothing was removed, it does that itself.");
    }
}

fn table(items: &[Item]) -> Table {
    let row = |item: &Item| {
        let (tone, fate) = match &item.fate {
            Fate::Found => (Tone::Plain, "would go".to_owned()),
            Fate::Removed => (Tone::Dim, "removed".to_owned()),
            Fate::Failed(error) => (Tone::Bad, format!("stays: {error}")),
        };
        let kind = item.kind.as_str().to_owned();
        let path = item.path.display().to_string();
        Row::new(tone, [kind, fate, human::bytes(item.bytes), item.why.clone(), path])
    };
    let head = &["KIND", "STATE", "SIZE", "WHY", "PATH"];
    Table::new(head, items.iter().map(row), "Everything here is needed.")
}
