//! The commands, one file each.

pub(crate) mod acp;
pub(crate) mod admin;
pub(crate) mod agent_key;
pub(crate) mod agents;
pub(crate) mod approvals;
pub(crate) mod asking;
pub(crate) mod attach;
pub(crate) mod completions;
pub(crate) mod doctor;
pub(crate) mod down;
pub(crate) mod gc;
pub(crate) mod local;
pub(crate) mod mcp;
pub(crate) mod run;
pub(crate) mod runner;
pub(crate) mod runners;
pub(crate) mod runs;
pub(crate) mod serve;
pub(crate) mod serving;
pub(crate) mod sessions;
pub(crate) mod shim;
pub(crate) mod token;
pub(crate) mod up;

use crate::args::Command;
use crate::context::Context;
use crate::error::{CliError, Code};

/// Does what the command line says.
pub(crate) async fn run(context: &Context, command: Command) -> Result<Code, CliError> {
    match command {
        Command::Up(args) => up::run(context, args).await,
        Command::Serve(args) => serve::run(context, args).await,
        Command::Runner(args) => runner::run(context, args).await,
        Command::Run(args) => run::run(context, args).await,
        Command::Sessions(args) => sessions::run(context, args).await,
        Command::Runs(args) => runs::run(context, args).await,
        Command::Approvals(args) => approvals::run(context, args).await,
        Command::Agents(args) => agents::run(context, args).await,
        Command::Runners(args) => runners::run(context, args).await,
        Command::Token(args) => token::run(context, args).await,
        Command::Acp(args) => acp::run(context, args).await,
        Command::Mcp(args) => mcp::run(context, args).await,
        Command::Local(args) => local::run(context, args).await,
        Command::Gc(args) => gc::run(context, args).await,
        Command::Down(args) => down::run(context, args).await,
        Command::Doctor(args) => doctor::run(context, args).await,
        Command::Completions(args) => completions::run(context, args),
        Command::Admin(args) => admin::run(context, args).await,
        Command::Shim(args) => Ok(shim::run(args)),
    }
}

/// The gravest of several codes.
pub(crate) fn gravest(codes: impl IntoIterator<Item = Code>) -> Code {
    codes.into_iter().max().unwrap_or(Code::Done)
}

/// Does the same with each of several names, says what goes wrong with each, and keeps
/// what came of the others.
pub(crate) async fn each<T>(
    context: &Context,
    names: &[String],
    mut act: impl AsyncFnMut(&str) -> Result<T, CliError>,
) -> Result<(Vec<T>, Code), CliError> {
    let (mut done, mut code) = (Vec::new(), Code::Done);
    for name in names {
        match act(name).await {
            Ok(result) => done.push(result),
            Err(CliError::ClosedPipe) => return Err(CliError::ClosedPipe),
            Err(error) => {
                context.ui.complain(&error);
                code = code.max(error.code());
            }
        }
    }
    Ok((done, code))
}
