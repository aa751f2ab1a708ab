//! What runs inside a compute beside an agent: a driver, which knows how one kind of
//! agent is spoken to.
//!
//! A driver is a process of the compute, `greenroom drive KIND`, and its leader. It talks
//! with the shim in the lines of [`greenroom_core::drive`], and with the agent in the
//! agent's own words. It keeps nothing: what must last it says, and the shim journals it.
//! It is stopped, killed and counted like every process of the compute.
//!
//! * [`shim`]: the other end of its standard streams
//! * [`policy`]: what may be done without asking anybody
//! * [`process`]: the agent's process
//! * [`acp`], [`hosted`], [`looping`], [`preset`]: the kinds

#![forbid(unsafe_code)]

pub mod acp;
pub mod hosted;
pub mod looping;
pub mod policy;
pub mod preset;
pub mod process;
pub mod shim;

use std::process::ExitCode;

use greenroom_core::agent::Driver;
use greenroom_core::record::RunError;

use crate::shim::{Shim, Wishes};

/// Why a driver cannot go on.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{}", .0.message)]
pub struct Failure(pub RunError);

impl Failure {
    /// A failure from its parts. `code` as in [`RunError`].
    pub fn new(code: &str, message: impl Into<String>) -> Self {
        Self(RunError::new(code, message))
    }
}

/// Drives the agent that the shim names on standard input, from beginning to end.
pub fn main() -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("greenroom drive: no runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    let done = runtime.block_on(async {
        let (shim, mut wishes) = shim::connect();
        let Some(open) = wishes.open().await else {
            eprintln!("greenroom drive: started by a shim, never by hand");
            return ExitCode::from(2);
        };
        match drive(shim.clone(), wishes, open).await {
            Ok(()) => ExitCode::SUCCESS,
            Err(Failure(error)) => {
                shim.failed(error);
                ExitCode::FAILURE
            }
        }
    });
    // What still reads standard input is not waited for.
    runtime.shutdown_background();
    done
}

async fn drive(
    shim: Shim,
    wishes: Wishes,
    open: greenroom_core::drive::Open,
) -> Result<(), Failure> {
    shim.begin(&open);
    match open.driver.clone() {
        Driver::Acp(spec) => acp::drive(shim, wishes, open, spec).await,
        Driver::Hosted(spec) => hosted::drive(shim, wishes, open, spec).await,
        Driver::Loop(spec) => looping::drive(shim, wishes, open, spec).await,
        Driver::Preset(spec) => preset::drive(shim, wishes, open, spec).await,
        driver @ (Driver::Command(_) | Driver::Image(_) | Driver::Foreign(_)) => {
            let word = driver.word();
            let text = format!("an agent of driver {word:?} has no driver process");
            Err(Failure::new("start_error", text))
        }
    }
}
