//! `greenroom`: coordinator, runner, shim and command line in one binary.
#![forbid(unsafe_code)]

mod alias;
mod args;
mod commands;
mod context;
mod data;
mod ending;
mod error;
mod found;
mod human;
mod receipt;
mod show;
mod ui;
mod watch;

use std::ffi::OsStr;
use std::path::Path;
use std::process::ExitCode;

use clap::Parser;

use args::{Cli, Command};
use context::Context;

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    let word = args.next();
    // Before anything else: a shim has one thread, no runtime, and no time to lose.
    if word.as_deref() == Some(OsStr::new("shim"))
        && let Some(dir) = args.next()
        && !dir.as_encoded_bytes().starts_with(b"-")
    {
        return greenroom_shim::main(Path::new(&dir));
    }
    // Started by a shim, never by hand, and no command of anybody's.
    if word.as_deref() == Some(OsStr::new("drive")) {
        return greenroom_drivers::main();
    }
    let cli = Cli::parse();
    let context = Context::new(cli.global);
    match run(&context, cli.command) {
        Ok(code) => code.into(),
        Err(error) => {
            context.ui.complain(&error);
            error.code().into()
        }
    }
}

fn run(context: &Context, command: Command) -> Result<error::Code, error::CliError> {
    let serves = matches!(command, Command::Up(_) | Command::Serve(_) | Command::Runner(_));
    if serves {
        greenroom_shim::share_heaps();
    }
    let mut builder = match serves {
        true => tokio::runtime::Builder::new_multi_thread(),
        // A client waits for one thing at a time.
        false => tokio::runtime::Builder::new_current_thread(),
    };
    let runtime = builder
        .enable_all()
        .build()
        .map_err(|error| error::CliError::failed(format!("cannot start a runtime: {error}")))?;
    if serves {
        die_of_any_panic();
    }
    #[cfg(feature = "failpoints")]
    let _scenario = serves.then(fail::FailScenario::setup);
    let done = runtime.block_on(commands::run(context, command));
    // A blocking read of standard input must not keep the process.
    runtime.shutdown_background();
    done
}

/// A server of which one part has died silently would accept what it never does. Agents
/// outlive it, so it ends as a whole and is started again.
fn die_of_any_panic() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        report(panic);
        std::process::abort();
    }));
}
