//! Calling the command line.

use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::PATIENCE;
use crate::procs;
use crate::room::Greenroom;

/// What a command did.
#[derive(Debug)]
pub struct Ran {
    /// Its exit code; `None` after a signal.
    pub code: Option<i32>,
    /// What it said as data.
    pub out: String,
    /// What it said as talk.
    pub err: String,
}

impl Greenroom {
    /// Runs a command against this Greenroom, by its data folder.
    pub fn cli(&self, args: &[&str]) -> Ran {
        self.cli_in(args, "")
    }

    /// As [`Greenroom::cli`], with this on standard input.
    pub fn cli_in(&self, args: &[&str], input: &str) -> Ran {
        let mut command = self.command();
        command.args(args).arg("--data").arg(&self.data);
        run(command, input)
    }

    /// Runs a command that gets no data folder.
    pub fn bare_cli(&self, args: &[&str]) -> Ran {
        let mut command = self.command();
        command.args(args);
        run(command, "")
    }
}

/// Runs a command to its end; one that does not end fails the test.
pub fn run(mut command: Command, input: &str) -> Ran {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let what = format!("{command:?}");
    let mut child = command.spawn().expect("the binary starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    let input = input.to_owned();
    let feeder = std::thread::spawn(move || {
        let _ = stdin.write_all(input.as_bytes());
    });
    let pid = child.id() as i32;
    let watch = std::thread::spawn(move || {
        let ended = procs::wait_gone(pid, PATIENCE * 2);
        if !ended {
            procs::signal(pid, rustix::process::Signal::KILL);
        }
        ended
    });
    let output = child.wait_with_output().expect("its output");
    let _ = feeder.join();
    assert!(watch.join().unwrap_or(false), "it does not end: {what}");
    Ran {
        code: output.status.code(),
        out: String::from_utf8_lossy(&output.stdout).into_owned(),
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

impl Ran {
    /// Checks the exit code.
    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "stdout: {}\nstderr: {}", self.out, self.err);
        self
    }

    /// What it said as data, read as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out)
            .unwrap_or_else(|error| panic!("not JSON ({error}): {}\n{}", self.out, self.err))
    }

    /// Checks that stdout and stderr together contain these words.
    #[track_caller]
    pub fn says(self, words: &str) -> Self {
        assert!(
            self.out.contains(words) || self.err.contains(words),
            "{words:?} is not in\nstdout: {}\nstderr: {}",
            self.out,
            self.err
        );
        self
    }
}
