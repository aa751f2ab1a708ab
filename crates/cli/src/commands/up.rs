//! `greenroom up`.

use greenroom_coordinator::Door;
use greenroom_runner::RunnerConfig;

use crate::args::Label;
use crate::commands::{runner, serving};
use crate::context::Context;
use crate::ending::{OnExit, Signals};
use crate::error::{CliError, Code};
use crate::found;

/// Start everything on this machine: a coordinator and a runner
///
/// The first Ctrl-C ends it and leaves the agents running; a second within 3 seconds stops
/// them too. SIGTERM leaves them running. The next `up` goes on with them.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  greenroom up
  greenroom up --agents ./agents ~/more/fixer.yaml --slots 4
  greenroom up --agents 'https://example.com/fixer.yaml?tag=v1'
  greenroom up --listen 127.0.0.1:0 --data ./data --on-exit stop")]
pub(crate) struct Args {
    #[command(flatten)]
    options: serving::Options,
    #[command(flatten)]
    runner: runner::Options,
    /// What becomes of the agents when this ends
    #[arg(long, value_enum, default_value_t, value_name = "WHAT")]
    on_exit: OnExit,
}

pub(crate) async fn run(context: &Context, args: Args) -> Result<Code, CliError> {
    let mut signals = Signals::listen()?;
    let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let here = found::all(std::env::var_os("PATH").as_deref());
    let offered = here.iter().filter_map(|agent| agent.offer(&args.runner.expose_env, is_set));
    let doors = Door::ALL.into_iter().collect();
    let serving = serving::Serving::start(context, args.options, offered.collect(), doors).await?;
    let done = host(context, &mut signals, &serving, args.runner, args.on_exit).await;
    serving.end().await;
    done
}

async fn host(
    context: &Context,
    signals: &mut Signals,
    serving: &serving::Serving,
    options: runner::Options,
    on_exit: OnExit,
) -> Result<Code, CliError> {
    let token = serving.coordinator.join_token().await?;
    let config = RunnerConfig {
        coordinator: serving.url(),
        data: serving.data().path().to_owned(),
        name: None,
        labels: Label::map(&options.labels),
        slots: options.slots,
        expose_env: options.expose_env,
        working_dir_roots: options.working_dir_roots,
        join_token: Some(token),
        adopt_store: true,
    };
    let runner = greenroom_runner::start(config).await?;
    let connected = tokio::select! {
        connected = runner.connected() => connected.map(Some),
        _ = signals.next() => Ok(None),
    };
    match connected {
        Ok(Some(())) => {}
        Ok(None) => {
            runner.shutdown().await;
            return Ok(Code::Done);
        }
        Err(error) => {
            runner.shutdown().await;
            return Err(error.into());
        }
    }
    if let Err(error) = serving.say_ready(context).await {
        runner.shutdown().await;
        return Err(error);
    }
    let data_words = context.data_words();
    let adopt = format!("greenroom up{data_words}");
    runner::end(context, signals, runner, on_exit, &adopt, &data_words).await
}
