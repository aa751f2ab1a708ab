//! `greenroom local`: the shims of a data folder, without any coordinator or runner.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Subcommand;
use greenroom_core::assignment::StopOrder;
use greenroom_core::receipt::StopReason;
use greenroom_core::{Ms, Receipt, StopId};
use greenroom_shim::local::{self, Found, Standing, StopError};
use greenroom_shim::wire::FromShim;
use serde::Serialize;
use uuid::Uuid;

use crate::commands::gravest;
use crate::context::Context;
use crate::data::DataDir;
use crate::error::{CliError, Code};
use crate::receipt::local_sentence;
use crate::ui::{Output, Row, Table, Tone};

/// Time a shim has to answer.
const ANSWER: Duration = Duration::from_secs(2);
/// What a shim may take on top of its graces to kill and prove.
const PROOF: Duration = Duration::from_secs(20);

/// List and stop the agents of a data folder, without any coordinator
///
/// Speaks to the supervisors of this machine directly: for when coordinator and runner are
/// gone, and agents are not.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  greenroom local ls
  greenroom local stop
  greenroom local stop fix-1 --grace 2s --data ./data")]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the live computes
    #[command(visible_alias = "list")]
    Ls {
        /// Closed ones too
        #[arg(long, short)]
        all: bool,
    },
    /// Stop all computes, or those of some sessions, and print receipts
    Stop {
        /// Sessions; all where none is named
        #[arg(value_name = "ID")]
        ids: Vec<String>,
        /// From the first SIGTERM to the kill [default: the agent's own]
        #[arg(long, value_name = "TIME")]
        grace: Option<Ms>,
    },
}

pub(crate) async fn run(context: &Context, args: Args) -> Result<Code, CliError> {
    let data = context.data_dir()?;
    match args.command {
        Command::Ls { all } => ls(context, &data, all).await,
        Command::Stop { ids, grace } => stop(context, &data, &ids, grace).await,
    }
}

/// What is in the data folder.
pub(crate) async fn find(data: &DataDir) -> Result<Vec<Found>, CliError> {
    let root = data.run();
    let failed = |error: &std::io::Error| CliError::io("look into", &data.run(), error);
    let found = tokio::task::spawn_blocking(move || match root.exists() {
        true => local::list(&root, ANSWER),
        false => Ok(Vec::new()),
    });
    match found.await {
        Ok(found) => found.map_err(|error| failed(&error)),
        Err(error) => Err(failed(&error.into())),
    }
}

/// Whether a compute is not known to be over.
pub(crate) fn is_live(found: &Found) -> bool {
    !matches!(found.standing, Standing::Closed(_))
}

/// A compute of a data folder, for people and programs.
#[derive(Debug, Serialize)]
struct Compute {
    session: String,
    state: &'static str,
    epoch: Option<u32>,
    uid: Option<String>,
    pid: Option<u32>,
    run: Option<String>,
    detail: Option<String>,
    dir: PathBuf,
}

fn describe(found: &Found) -> Compute {
    let spec = found.spec.as_ref().ok();
    let mut compute = Compute {
        session: name(found),
        state: "closed",
        epoch: spec.map(|spec| spec.epoch.0),
        uid: spec.map(|spec| spec.uid.to_string()),
        pid: None,
        run: None,
        detail: found.spec.as_ref().err().map(ToString::to_string),
        dir: found.dir.clone(),
    };
    match &found.standing {
        Standing::Live(hello) => {
            compute.state = "live";
            if let FromShim::Hello { pid, run, .. } = hello {
                compute.pid = Some(*pid);
                compute.run = run.map(|run| run.to_string());
            }
        }
        Standing::Silent(why) => {
            compute.state = "silent";
            compute.detail = Some(why.clone());
        }
        Standing::Unsupervised => compute.state = "unsupervised",
        Standing::Closed(_) => {}
    }
    compute
}

/// The session's name; where `spec` does not read, that of the folder.
fn name(found: &Found) -> String {
    match &found.spec {
        Ok(spec) => spec.session.to_string(),
        Err(_) => found.dir.display().to_string(),
    }
}

async fn ls(context: &Context, data: &DataDir, all: bool) -> Result<Code, CliError> {
    let ui = &context.ui;
    let found = find(data).await?;
    let computes: Vec<Compute> =
        found.iter().filter(|found| all || is_live(found)).map(describe).collect();
    match ui.output {
        Output::Table if ui.quiet => computes.iter().try_for_each(|c| ui.line(&c.session))?,
        Output::Table => ui.data(table(&computes, data.path()).render(ui.paint))?,
        Output::Json => ui.line(serde_json::json!({ "items": computes }).to_string())?,
        Output::Jsonl => computes
            .iter()
            .try_for_each(|compute| ui.line(serde_json::json!(compute).to_string()))?,
    }
    Ok(Code::Done)
}

fn table(computes: &[Compute], data: &Path) -> Table {
    let row = |compute: &Compute| {
        let tone = match compute.state {
            "live" => Tone::Live,
            "closed" => Tone::Dim,
            _ => Tone::Bad,
        };
        let text = |value: &Option<String>| value.clone().unwrap_or_default();
        Row::new(
            tone,
            [
                compute.session.clone(),
                compute.state.to_owned(),
                compute.epoch.map(|epoch| epoch.to_string()).unwrap_or_default(),
                compute.pid.map(|pid| pid.to_string()).unwrap_or_default(),
                text(&compute.run),
                text(&compute.detail),
            ],
        )
    };
    let head = &["SESSION", "STATE", "EPOCH", "SHIM", "RUN", "DETAIL"];
    Table::new(head, computes.iter().map(row), &format!("No agents run from {}.", data.display()))
}

async fn stop(
    context: &Context,
    data: &DataDir,
    ids: &[String],
    grace: Option<Ms>,
) -> Result<Code, CliError> {
    let found = find(data).await?;
    let mut code = Code::Done;
    for id in ids.iter().filter(|id| !found.iter().any(|found| name(found) == **id)) {
        let error = CliError::failed(format!(
            "no compute of session \"{id}\" is in {}",
            data.path().display()
        ))
        .hint("greenroom local ls --all");
        context.ui.complain(&error);
        code = code.max(error.code());
    }
    let named = |found: &Found| ids.is_empty() || ids.contains(&name(found));
    let live: Vec<Found> =
        found.into_iter().filter(|found| is_live(found) && named(found)).collect();
    if live.is_empty() && code == Code::Done {
        context.ui.say("Nothing to stop.");
    }
    Ok(code.max(stop_found(context, live, grace).await?))
}

/// Stops computes through their shims, in parallel, and prints what came of each.
pub(crate) async fn stop_found(
    context: &Context,
    live: Vec<Found>,
    grace: Option<Ms>,
) -> Result<Code, CliError> {
    let ui = &context.ui;
    let mut stops = tokio::task::JoinSet::new();
    for found in live {
        stops.spawn_blocking(move || {
            let stopped = stop_one(&found, grace);
            (name(&found), stopped)
        });
    }
    let mut codes = Vec::new();
    while let Some(stopped) = stops.join_next().await {
        let (session, stopped) = stopped
            .map_err(|error| CliError::failed(format!("a stop did not come back: {error}")))?;
        match stopped {
            Ok(receipt) => match ui.output {
                Output::Table => ui.line(local_sentence(&session, &receipt))?,
                Output::Json | Output::Jsonl => {
                    let json = serde_json::json!({"session_id": session, "receipt": receipt});
                    ui.line(json.to_string())?;
                }
            },
            Err(why) => {
                let error = CliError::new(
                    Code::Unproven,
                    format!("session \"{session}\" is not proven stopped: {why}"),
                )
                .hint("start its runner again: it ends and closes what no supervisor has");
                ui.complain(&error);
                codes.push(error.code());
            }
        }
    }
    Ok(gravest(codes))
}

fn stop_one(found: &Found, grace: Option<Ms>) -> Result<Receipt, String> {
    if matches!(found.standing, Standing::Unsupervised) {
        return Err("its supervisor is gone".to_owned());
    }
    let graces = found.spec.as_ref().map(|spec| spec.graces).unwrap_or_default();
    let order = StopOrder {
        id: StopId(Uuid::now_v7()),
        reason: StopReason::User,
        cancel_grace_ms: graces.cancel_grace_ms,
        grace_ms: grace.unwrap_or(graces.grace_ms),
        requested_by: vec!["local".to_owned()],
        attempt: 0,
    };
    let wait = Duration::from(order.cancel_grace_ms) + Duration::from(order.grace_ms) + PROOF;
    local::stop(&found.dir, order, wait).map_err(|error: StopError| error.to_string())
}
