//! `greenroom down`.

use std::os::fd::OwnedFd;
use std::time::Duration;

use greenroom_client::Client;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::commands::local;
use crate::commands::sessions::Whose;
use crate::commands::sessions::stop::{Plan, stop_all};
use crate::context::Context;
use crate::data::{DataDir, Server, ServerFile};
use crate::error::{CliError, Code};

/// Time a server has to end.
const END: Duration = Duration::from_secs(30);

/// End the server of a data folder
///
/// Its agents go on, unless --agents says otherwise; `greenroom up` goes on with them.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  greenroom down
  greenroom down --agents
  greenroom down --data ./data")]
pub(crate) struct Args {
    /// Stop its agents too, and print receipts
    #[arg(long)]
    agents: bool,
}

pub(crate) async fn run(context: &Context, args: Args) -> Result<Code, CliError> {
    let (data, ui) = (context.data_dir()?, &context.ui);
    let mut code = Code::Done;
    match data.server()? {
        Server::None => ui.say(format!("No server serves {}.", data.path().display())),
        Server::Starting => {
            return Err(CliError::failed(format!(
                "the server of {} is just starting",
                data.path().display()
            ))
            .hint("try again in a moment"));
        }
        Server::Live(server) => {
            if args.agents {
                code = code.max(stop_through(context, &data, &server).await?);
            }
            end(&data, &server).await?;
            ui.say(format!("The server at {} (pid {}) has ended.", server.url, server.pid));
        }
    }
    if args.agents {
        // What no coordinator answers for: strays of another one, or all if there was none.
        let found = local::find(&data).await?;
        let live = found.into_iter().filter(local::is_live).collect();
        code = code.max(local::stop_found(context, live, None).await?);
    }
    Ok(code)
}

/// Stops the agents through their coordinator, so that its sessions know who asked.
async fn stop_through(
    context: &Context,
    data: &DataDir,
    server: &ServerFile,
) -> Result<Code, CliError> {
    let token = data.token()?;
    let client = Client::new(&server.url, token.as_ref())?;
    match stop_all(&context.ui, &client, &Whose::default(), &[], &Plan::default()).await {
        Err(CliError::ClosedPipe) => Err(CliError::ClosedPipe),
        // What is left is stopped through its supervisors, once the server has ended.
        Err(error) => {
            context.ui.complain(&error);
            Ok(Code::Done)
        }
        Ok(code) => Ok(code),
    }
}

/// Ends the process that holds the folder's lock, and waits until the lock is free.
async fn end(data: &DataDir, server: &ServerFile) -> Result<(), CliError> {
    let failed = |what: &str, error: rustix::io::Errno| {
        CliError::failed(format!("cannot {what} the server (pid {}): {error}", server.pid))
    };
    let pid = i32::try_from(server.pid).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or_else(|| CliError::failed(format!("{} is no process", server.pid)))?;
    let process = match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(process) => process,
        // It has ended since.
        Err(rustix::io::Errno::SRCH) => return free(data),
        Err(error) => return Err(failed("reach", error)),
    };
    // The number is only this server's as long as it holds the lock: from here on the
    // handle stands for one process, and it is looked at again.
    match data.server()? {
        Server::Live(now) if now == *server => {}
        Server::None => return Ok(()),
        _ => {
            return Err(CliError::failed("another server has taken the data folder meanwhile")
                .hint("run `greenroom down` again to end that one"));
        }
    }
    pidfd_send_signal(&process, Signal::TERM).map_err(|error| failed("signal", error))?;
    let ended = tokio::task::spawn_blocking(move || wait_for(&process)).await;
    match ended {
        Ok(Ok(true)) => free(data),
        Ok(Ok(false)) => Err(CliError::new(
            Code::Unproven,
            format!("the server (pid {}) has not ended within {END:?}", server.pid),
        )
        .hint("look at its log; its agents are not in danger")),
        Ok(Err(error)) => Err(failed("wait for", error)),
        Err(error) => Err(CliError::failed(format!("cannot wait for the server: {error}"))),
    }
}

fn free(data: &DataDir) -> Result<(), CliError> {
    match data.server()? {
        Server::None => Ok(()),
        _ => Err(CliError::failed("another server has taken the data folder meanwhile")),
    }
}

/// Whether a process ends in time.
fn wait_for(process: &OwnedFd) -> Result<bool, rustix::io::Errno> {
    let limit = Timespec { tv_sec: END.as_secs().cast_signed(), tv_nsec: 0 };
    let begun = std::time::Instant::now();
    loop {
        match poll(&mut [PollFd::new(process, PollFlags::IN)], Some(&limit)) {
            Ok(0) => return Ok(false),
            Ok(_) => return Ok(true),
            Err(rustix::io::Errno::INTR) if begun.elapsed() < END => {}
            Err(error) => return Err(error),
        }
    }
}
