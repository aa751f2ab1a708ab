//! `greenroom shim`: the supervisor of one compute. Started by a runner, never by hand.

use std::path::PathBuf;

use crate::error::Code;

/// Supervise the compute of one control folder
#[derive(Debug, clap::Args)]
#[command(hide = true)]
pub(crate) struct Args {
    /// Control folder
    dir: PathBuf,
}

/// Only reached where the folder's name looks like an option; the way in is in `main`.
pub(crate) fn run(args: Args) -> Code {
    match greenroom_shim::main(&args.dir) == std::process::ExitCode::SUCCESS {
        true => Code::Done,
        false => Code::Failed,
    }
}
