//! `greenroom runner`, and what it shares with `up`.

use std::path::PathBuf;
use std::time::Duration;

use greenroom_client::Client;
use greenroom_protocol::token::Role;
use greenroom_protocol::v1::CreateToken;
use greenroom_runner::{Runner, RunnerConfig, RunnerError};

use crate::args::Label;
use crate::commands::serving::{raise_file_limit, start_log};
use crate::context::Context;
use crate::data::DataDir;
use crate::ending::{OnExit, Signals, print_receipts, stops_agents};
use crate::error::{CliError, Code};

/// Time agents have between SIGTERM and the kill when they are stopped with their runner.
const GRACE: Duration = Duration::from_secs(10);

/// Options of a runner.
#[derive(Debug, clap::Args)]
#[group(skip)]
pub(crate) struct Options {
    /// Runs at once [default: unlimited]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) slots: Option<u32>,
    /// Label that agents may ask for; may be repeated
    #[arg(long = "label", value_name = "K=V", num_args = 1..)]
    pub(crate) labels: Vec<Label>,
    /// Variable of this environment that agent files may name; may be repeated
    #[arg(long, value_name = "NAME", num_args = 1..)]
    pub(crate) expose_env: Vec<String>,
    /// Folder beneath which clients may name one for a session to work in; may be repeated
    /// [default: none]
    #[arg(long = "working-dir-root", value_name = "DIR")]
    pub(crate) working_dir_roots: Vec<PathBuf>,
}

/// Host agents of a coordinator on this machine
///
/// The first time it needs a token of role runner, which it exchanges for a credential of
/// its own; on the coordinator's own machine the data folder's admin token gets it one.
/// SIGTERM and Ctrl-C end the runner and leave its agents running; the next one
/// on the same data folder goes on with them.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  greenroom token create --role runner                   on the coordinator's machine
  GREENROOM_TOKEN=… greenroom runner --coordinator https://greenroom.example --label gpu=yes")]
pub(crate) struct Args {
    /// Address of the coordinator
    #[arg(long, value_name = "URL")]
    coordinator: String,
    /// Name, for people [default: the machine's]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    #[command(flatten)]
    options: Options,
}

impl From<RunnerError> for CliError {
    fn from(error: RunnerError) -> Self {
        Self::failed(error.to_string()).or_hint(error.hint())
    }
}

pub(crate) async fn run(context: &Context, args: Args) -> Result<Code, CliError> {
    start_log();
    raise_file_limit();
    let mut signals = Signals::listen()?;
    let data = context.data_dir()?;
    data.make()?;
    let url = args.coordinator.trim_end_matches('/').to_owned();
    let token = match context.named_token() {
        Some(token) => Some(token.to_owned()),
        None => join_token(context, &data, &url).await?,
    };
    let config = RunnerConfig {
        coordinator: url.clone(),
        data: data.path().to_owned(),
        name: args.name,
        labels: Label::map(&args.options.labels),
        slots: args.options.slots,
        expose_env: args.options.expose_env,
        working_dir_roots: args.options.working_dir_roots,
        join_token: token,
        adopt_store: false,
    };
    let runner = greenroom_runner::start(config).await?;
    let connected = tokio::select! {
        connected = runner.connected() => Some(connected),
        _ = signals.next() => None,
    };
    match connected {
        Some(Ok(())) => context.ui.say(format!("Runner {} has joined {url}.", runner.id())),
        Some(Err(error)) => {
            runner.shutdown().await;
            return Err(error.into());
        }
        None => {
            runner.shutdown().await;
            return Ok(Code::Done);
        }
    }
    let data_words = format!(" --data {}", data.path().display());
    let adopt = format!("greenroom runner --coordinator {url}{}", context.data_words());
    end(context, &mut signals, runner, OnExit::Keep, &adopt, &data_words).await
}

/// A token to join with, from the admin token that the coordinator of this machine has
/// written into the same data folder. A runner that has joined already needs none.
async fn join_token(
    context: &Context,
    data: &DataDir,
    url: &str,
) -> Result<Option<String>, CliError> {
    if data.has_joined() {
        return Ok(None);
    }
    let Some(admin) = context.token_for(url)? else { return Ok(None) };
    let client = Client::new(url, Some(&admin))?;
    let token = CreateToken { role: Role::Runner, principal: Some("join".to_owned()) };
    Ok(Some(client.create_token(&token).await?.into_inner().secret))
}

/// Waits for the end of a runner, ends it, and stops its agents where that is wanted.
pub(crate) async fn end(
    context: &Context,
    signals: &mut Signals,
    runner: Runner,
    on_exit: OnExit,
    adopt: &str,
    data_words: &str,
) -> Result<Code, CliError> {
    let stop = format!("greenroom local stop{data_words}");
    let stops = stops_agents(&context.ui, signals, on_exit, || runner.live(), adopt, &stop).await;
    let mut said = Ok(());
    if stops {
        let receipts = runner.stop_all(GRACE).await;
        said = print_receipts(&context.ui, &receipts);
    }
    runner.shutdown().await;
    said.map(|()| Code::Done)
}
