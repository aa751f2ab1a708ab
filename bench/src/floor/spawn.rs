//! Programs started and ended without any supervisor.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::stats::{between_ms, monotonic_ns, since};

/// From the call to the first byte that a program prints, in milliseconds.
pub(crate) fn first_byte(program: &Path, argument: &str) -> anyhow::Result<f64> {
    let started = Instant::now();
    let mut child = Command::new(program)
        .arg(argument)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let mut stdout = child.stdout.take().context("no standard output")?;
    stdout.read_exact(&mut [0])?;
    let took = since(started);
    stdout.read_to_end(&mut Vec::new())?;
    child.wait()?;
    Ok(took)
}

/// From the call to the first instruction of the agent's `main`, in milliseconds.
pub(crate) fn stamp(agent: &Path) -> anyhow::Result<f64> {
    let called = monotonic_ns();
    let output = Command::new(agent).arg("stamp").stdin(Stdio::null()).output()?;
    let text = String::from_utf8(output.stdout)?;
    let stamped = text.trim().parse().with_context(|| format!("{text:?} is no stamp"))?;
    Ok(between_ms(called, stamped))
}

/// From SIGTERM to the reaped end of an agent that honours it, in milliseconds.
pub(crate) fn kill_and_wait(agent: &Path) -> anyhow::Result<f64> {
    let mut child =
        Command::new(agent).arg("serve").stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
    let mut line = String::new();
    let stdout = child.stdout.take().context("no standard output")?;
    BufReader::new(stdout).read_line(&mut line)?;
    if !line.contains("ready") {
        bail!("the agent said {line:?}");
    }
    let started = Instant::now();
    kill_process(Pid::from_child(&child), Signal::TERM)?;
    child.wait()?;
    Ok(since(started))
}
