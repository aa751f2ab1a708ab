//! The agents that are measured. Each stamps its own moments with CLOCK_MONOTONIC, which
//! is the same for every process of a machine.
#![forbid(unsafe_code)]

use std::env;
use std::fs;
use std::io::{self, BufRead, Read, Write};
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// An event of a kind that is told at once, unlike text, which waits for more of it.
const READY: &str = "{\"type\":\"tool_call\",\"name\":\"ready\"}\n";

fn now_ns() -> i128 {
    let time = clock_gettime(ClockId::Monotonic);
    i128::from(time.tv_sec) * 1_000_000_000 + i128::from(time.tv_nsec)
}

fn main() -> ExitCode {
    let started = now_ns();
    let args: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let done = match words.as_slice() {
        ["stamp"] => say(&format!("{started}\n")),
        ["serve"] => say(READY).map(|()| rest()),
        ["persistent"] => persistent(),
        ["ticks", count, every_ms] => ticks(count, every_ms),
        ["daemons", count, mark] => daemons(count, mark),
        ["daemon", _mark] => daemon(),
        ["between", mark] => between(mark),
        ["join", group, rest @ ..] => join(group, rest),
        _ => Err(io::Error::other("see bench/src/bin/agent.rs for what it does")),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: bench-agent {}: {error}", args.join(" "));
            ExitCode::FAILURE
        }
    }
}

fn say(text: &str) -> io::Result<()> {
    let mut out = io::stdout();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// Does nothing until a signal ends it.
fn rest() {
    loop {
        thread::park();
    }
}

/// One process for many runs: answers each line at once, with when it saw it.
fn persistent() -> io::Result<()> {
    for line in io::stdin().lock().lines() {
        line?;
        let seen = now_ns();
        say(&format!("{{\"type\":\"result\",\"result\":{{\"seen\":\"{seen}\"}}}}\n"))?;
    }
    Ok(())
}

/// Stamped events of a kind that is never held back to be joined with others.
fn ticks(count: &str, every_ms: &str) -> io::Result<()> {
    let count: u32 = count.parse().map_err(io::Error::other)?;
    let every = Duration::from_millis(every_ms.parse().map_err(io::Error::other)?);
    // The prompt is sent once all viewers are there.
    io::stdin().read_to_end(&mut Vec::new())?;
    for tick in 0..count {
        let stamp = now_ns();
        say(&format!("{{\"type\":\"tool_call\",\"tick\":{tick},\"stamp\":\"{stamp}\"}}\n"))?;
        thread::sleep(every);
    }
    Ok(())
}

/// Signals that ask: none of them is answered.
fn ignore_polite_signals() -> io::Result<()> {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
    for signal in [SIGTERM, SIGINT, SIGHUP] {
        signal_hook::flag::register(signal, Arc::new(AtomicBool::new(false)))?;
    }
    Ok(())
}

/// Starts stubborn daemons, says that it is ready once all of them are deaf, and stays as deaf.
fn daemons(count: &str, mark: &str) -> io::Result<()> {
    ignore_polite_signals()?;
    let count: usize = count.parse().map_err(io::Error::other)?;
    let (mut reader, writer) = io::pipe()?;
    for _ in 0..count {
        let mut child = Command::new(env::current_exe()?)
            .args(["between", mark])
            .stdin(Stdio::null())
            .stdout(writer.try_clone()?)
            .spawn()?;
        child.wait()?;
    }
    drop(writer);
    // Each daemon says one byte when it no longer listens to signals.
    let mut said = vec![0; count];
    reader.read_exact(&mut said)?;
    say(READY)?;
    rest();
    Ok(())
}

/// The middle of a double fork: a session of its own, then gone.
fn between(mark: &str) -> io::Result<()> {
    rustix::process::setsid()?;
    Command::new(env::current_exe()?).args(["daemon", mark]).env_clear().spawn()?;
    Ok(())
}

fn daemon() -> io::Result<()> {
    ignore_polite_signals()?;
    rustix::process::setsid()?;
    say("!")?;
    rest();
    Ok(())
}

/// Goes into a control group, then does what follows.
fn join(group: &str, rest: &[&str]) -> io::Result<()> {
    fs::write(format!("{group}/cgroup.procs"), "0")?;
    match rest {
        ["daemons", count, mark] => daemons(count, mark),
        _ => Err(io::Error::other("only daemons join a group")),
    }
}
