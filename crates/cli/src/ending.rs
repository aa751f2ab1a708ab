//! How a server ends: which signals it hears, and what becomes of its agents.

use std::time::Duration;

use greenroom_core::{Receipt, SessionId};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::error::CliError;
use crate::human::count;
use crate::receipt::local_sentence;
use crate::ui::Ui;

/// Time for a second Ctrl-C.
pub(crate) const SECOND_THOUGHT: Duration = Duration::from_secs(3);

/// What a process was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Told {
    /// Ctrl-C.
    Interrupt,
    /// SIGTERM, or its terminal is gone.
    Terminate,
}

/// The signals that end a server.
#[derive(Debug)]
pub(crate) struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

impl Signals {
    /// Hears them from now on.
    pub(crate) fn listen() -> Result<Self, CliError> {
        let hear = |kind| {
            signal(kind).map_err(|error| CliError::failed(format!("cannot hear signals: {error}")))
        };
        Ok(Self {
            interrupt: hear(SignalKind::interrupt())?,
            terminate: hear(SignalKind::terminate())?,
            hangup: hear(SignalKind::hangup())?,
        })
    }

    /// The next one. May be dropped and called again.
    pub(crate) async fn next(&mut self) -> Told {
        tokio::select! {
            _ = self.interrupt.recv() => Told::Interrupt,
            _ = self.terminate.recv() => Told::Terminate,
            _ = self.hangup.recv() => Told::Terminate,
        }
    }
}

/// What becomes of the agents of a runner that ends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum OnExit {
    /// They go on.
    #[default]
    Keep,
    /// They are stopped.
    Stop,
}

/// Waits for the end of a runner, and says whether its agents are to be stopped.
/// `live` counts them; `adopt` and `stop` are the commands that take care of them later.
pub(crate) async fn stops_agents(
    ui: &Ui,
    signals: &mut Signals,
    on_exit: OnExit,
    live: impl Fn() -> usize,
    adopt: &str,
    stop: &str,
) -> bool {
    let told = signals.next().await;
    if on_exit == OnExit::Stop {
        return true;
    }
    let agents = live();
    if agents == 0 {
        return false;
    }
    let are = if agents == 1 { "is" } else { "are" };
    ui.say(format!("{} {are} left running.", count(agents, "agent")));
    ui.say(format!("  {adopt:<40}  goes on with them"));
    ui.say(format!("  {stop:<40}  stops them"));
    if told == Told::Terminate {
        return false;
    }
    ui.say("Press Ctrl-C again within 3 seconds to stop them now.");
    let again = tokio::time::timeout(SECOND_THOUGHT, signals.next()).await;
    matches!(again, Ok(Told::Interrupt))
}

/// Says what became of agents that were stopped.
pub(crate) fn print_receipts(ui: &Ui, receipts: &[(SessionId, Receipt)]) -> Result<(), CliError> {
    receipts
        .iter()
        .try_for_each(|(session, receipt)| ui.line(local_sentence(session.as_str(), receipt)))
}
