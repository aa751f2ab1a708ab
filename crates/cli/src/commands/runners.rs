//! `greenroom runners`.

use clap::Subcommand;
use greenroom_client::Answer;
use greenroom_protocol::v1::Runner;

use crate::commands::each;
use crate::context::Context;
use crate::error::{CliError, Code};
use crate::human::{ago, clean, moment};
use crate::ui::{Row, Table, Tone};

/// List, show, drain and remove runners
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  greenroom runners ls
  greenroom runners show 0198a3c4-…
  greenroom runners drain 0198a3c4-…
  greenroom runners rm 0198a3c4-… --force")]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List runners
    #[command(visible_alias = "list")]
    Ls,
    /// Show runners, with what they can and cannot do
    #[command(visible_alias = "get")]
    Show {
        /// Runners
        #[arg(required = true, value_name = "ID")]
        ids: Vec<String>,
    },
    /// Give runners nothing new; what they have goes on
    Drain {
        /// Runners
        #[arg(required = true, value_name = "ID")]
        ids: Vec<String>,
    },
    /// Forget runners
    Rm {
        /// Runners
        #[arg(required = true, value_name = "ID")]
        ids: Vec<String>,
        /// Also one that has the files of sessions: they are lost
        #[arg(long)]
        force: bool,
    },
}

pub(crate) async fn run(context: &Context, args: Args) -> Result<Code, CliError> {
    let (client, ui) = (context.client()?, &context.ui);
    match args.command {
        Command::Ls => {
            ui.list(&client.runners().await?, |runner| runner.id.to_string(), table)?;
            Ok(Code::Done)
        }
        Command::Show { ids } => {
            let (found, code) =
                each(context, &ids, async |id| Ok(client.runner(id).await?)).await?;
            ui.several(&found, ids.len() == 1, show)?;
            Ok(code)
        }
        Command::Drain { ids } => {
            let drain = async |id: &str| {
                client.drain_runner(id).await?;
                ui.say(format!("Runner {id} takes nothing new."));
                Ok(())
            };
            Ok(each(context, &ids, drain).await?.1)
        }
        Command::Rm { ids, force } => {
            let remove = async |id: &str| {
                client.remove_runner(id, force).await?;
                ui.say(format!("Runner {id} is forgotten."));
                Ok(())
            };
            Ok(each(context, &ids, remove).await?.1)
        }
    }
}

fn standing(runner: &Runner) -> String {
    match runner.draining {
        true => format!("{}, draining", runner.status),
        false => runner.status.clone(),
    }
}

/// When a runner was last heard of. The moment is kept coarsely, so that it says little
/// about one that is connected.
fn seen(runner: &Runner) -> String {
    match (runner.status.as_str(), runner.last_seen_at) {
        ("connected", _) => "now".to_owned(),
        (_, Some(at)) => format!("{} ago", ago(at)),
        (_, None) => "never".to_owned(),
    }
}

fn slots(runner: &Runner) -> String {
    match runner.slots {
        Some(slots) => format!("{}/{slots}", runner.slots_used),
        None => format!("{}/∞", runner.slots_used),
    }
}

fn table(runners: &[Answer<Runner>]) -> Table {
    let row = |runner: &Answer<Runner>| {
        let tone = match (runner.status.as_str(), runner.draining) {
            ("connected", false) => Tone::Live,
            ("connected", true) => Tone::Warn,
            _ => Tone::Bad,
        };
        Row::new(
            tone,
            [
                runner.id.to_string(),
                standing(runner),
                runner.name.clone(),
                slots(runner),
                runner.live.to_string(),
                runner.sessions.to_string(),
                runner.isolation.clone(),
                seen(runner),
            ],
        )
    };
    let head = &["ID", "STATUS", "NAME", "RUNS", "LIVE", "SESSIONS", "ISOLATION", "SEEN"];
    Table::new(
        head,
        runners.iter().map(row),
        "No runners. `greenroom runner --coordinator URL` joins one.",
    )
}

fn show(runner: &Runner) -> String {
    let mut text = String::new();
    let mut add =
        |name: &str, value: String| text.push_str(&format!("{name:<12}  {}\n", clean(&value)));
    add("Runner", runner.id.to_string());
    add("Name", runner.name.clone());
    add("Status", standing(runner));
    add("Machine", format!("{}, {}, greenroom {}", runner.host, runner.platform, runner.version));
    let labels: Vec<_> =
        runner.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
    if !labels.is_empty() {
        add("Labels", labels.join(", "));
    }
    add("Runs", slots(runner));
    add("Sessions", format!("{}, {} of them live", runner.sessions, runner.live));
    add("Isolation", runner.isolation.clone());
    for root in &runner.working_dir_roots {
        add("Work beneath", root.to_string());
    }
    let probe = &runner.probe;
    add(
        "Kill",
        if probe.cgroup_kill { "control group and supervisor" } else { "supervisor only" }
            .to_owned(),
    );
    add("Limits", format!("memory by {}, processes by {}", probe.memory, probe.pids));
    add(
        "Outlived",
        match probe.outlives_runner {
            true => "agents outlive the runner".to_owned(),
            false => "agents end with the runner".to_owned(),
        },
    );
    for note in &probe.notes {
        add("Note", note.clone());
    }
    for unclaimed in &runner.unclaimed {
        add("Unclaimed", format!("{unclaimed}: live, and unknown to this coordinator; kept"));
    }
    add("Seen", seen(runner));
    add("Joined", moment(runner.created_at));
    text
}
