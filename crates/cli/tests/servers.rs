//! Servers and runners as processes: what they print, and how they end.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use rustix::process::{Pid, Signal, kill_process};

/// A process that is ended with the test.
struct Server {
    child: Child,
    /// What it printed first.
    line: String,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn greenroom(data: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_greenroom"));
    command.args(args).arg("--data").arg(data);
    command.env_clear().env("PATH", "/usr/bin:/bin").env("HOME", data).stdin(Stdio::null());
    command
}

fn call(data: &Path, args: &[&str]) -> Output {
    greenroom(data, args).output().expect("the binary starts")
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Starts a server, and waits until it says that it is ready, on standard output or error.
fn start(data: &Path, args: &[&str], talks: bool) -> Server {
    let mut command = greenroom(data, args);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the binary starts");
    let mut line = String::new();
    let read = match talks {
        false => BufReader::new(child.stdout.as_mut().expect("a pipe")).read_line(&mut line),
        true => BufReader::new(child.stderr.as_mut().expect("a pipe")).read_line(&mut line),
    };
    read.expect("a line");
    Server { child, line }
}

impl Server {
    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id().cast_signed()).expect("a process");
        kill_process(pid, signal).expect("it is there");
    }

    fn code(&mut self) -> Option<i32> {
        self.child.wait().expect("its end").code()
    }
}

#[test]
fn a_server_says_where_it_is_and_goes_when_it_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path();
    let mut server = start(data, &["serve", "--listen", "127.0.0.1:0"], false);
    let address = server.line.strip_prefix("greenroom is up at http://127.0.0.1:");
    let port: u16 = address.and_then(|port| port.trim().parse().ok()).expect("a port");
    assert_ne!(port, 0);
    // Found by its folder, with its token.
    assert_eq!(out(&call(data, &["runners", "ls", "--quiet"])), "");
    // One server a folder.
    let second = call(data, &["serve", "--listen", "127.0.0.1:0"]);
    assert_eq!(second.status.code(), Some(1));
    assert!(err(&second).contains("already serves") && err(&second).contains("\nhint: "));
    // A backup while it serves, but no restore.
    let copy = data.join("copy.db").to_string_lossy().into_owned();
    assert!(call(data, &["admin", "backup", &copy]).status.success());
    assert_eq!(call(data, &["admin", "restore", &copy]).status.code(), Some(1));
    let down = call(data, &["down"]);
    assert!(err(&down).contains("has ended"), "{}", err(&down));
    assert_eq!(server.code(), Some(0));
    assert!(!data.join("server.json").exists());
    assert!(err(&call(data, &["down"])).starts_with("No server serves"));
}

#[test]
fn a_runner_on_the_same_machine_needs_no_token() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path();
    let mut server = start(data, &["serve", "--listen", "127.0.0.1:0"], false);
    let url = server.line.trim().rsplit(' ').next().expect("an address").to_owned();
    for _ in 0..2 {
        let mut runner = start(data, &["runner", "--coordinator", &url], true);
        assert!(runner.line.contains("has joined"), "{}", runner.line);
        assert_eq!(out(&call(data, &["runners", "ls", "--quiet"])).lines().count(), 1);
        runner.signal(Signal::TERM);
        assert_eq!(runner.code(), Some(0));
    }
    server.signal(Signal::INT);
    assert_eq!(server.code(), Some(0));
    // A folder without a token has to be given one.
    let other = tempfile::tempdir().expect("a folder");
    let refused = call(other.path(), &["runner", "--coordinator", &url]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(err(&refused).contains("hint: "), "{}", err(&refused));
}

/// Starts everything, with one agent that runs until it is stopped.
fn busy(data: &Path, args: &[&str]) -> Server {
    let mut all = vec!["up", "--listen", "127.0.0.1:0"];
    all.extend(args);
    let server = start(data, &all, false);
    let run = call(data, &["run", "shell", "exec sleep 1000", "--id", "busy", "--detach"]);
    assert!(run.status.success(), "{}", err(&run));
    // Followed until it runs.
    let mut watch = greenroom(data, &["sessions", "watch", "busy", "--output", "jsonl"]);
    let mut watch = watch.stdout(Stdio::piped()).spawn().expect("the binary starts");
    let lines = BufReader::new(watch.stdout.take().expect("a pipe")).lines();
    let begun = lines.map_while(Result::ok).any(|line| line.contains("\"run.started\""));
    assert!(begun, "the agent never began");
    let _ = watch.kill();
    let _ = watch.wait();
    server
}

/// Ends what a test has left running.
struct Cleanup<'a>(&'a Path);

impl Drop for Cleanup<'_> {
    fn drop(&mut self) {
        let _ = greenroom(self.0, &["local", "stop", "--grace", "0s"]).output();
    }
}

#[test]
fn the_first_interrupt_leaves_agents_and_the_second_stops_them() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path();
    let _cleanup = Cleanup(data);
    let mut server = busy(data, &[]);
    let mut talk = BufReader::new(server.child.stderr.take().expect("a pipe"));
    server.signal(Signal::INT);
    let mut said = String::new();
    while !said.contains("Ctrl-C again") {
        assert_ne!(talk.read_line(&mut said).expect("a line"), 0, "{said}");
    }
    assert!(said.contains("1 agent is left running."), "{said}");
    assert!(said.contains("greenroom up") && said.contains("greenroom local stop"), "{said}");
    server.signal(Signal::INT);
    assert_eq!(server.code(), Some(0));
    let mut rest = String::new();
    let mut lines = BufReader::new(server.child.stdout.take().expect("a pipe"));
    lines.read_line(&mut rest).expect("a line");
    assert!(rest.starts_with("Session \"busy\" stopped ("), "{rest}");
    assert_eq!(out(&call(data, &["local", "ls", "--quiet"])), "");
}

#[test]
fn a_term_leaves_agents_unless_told_otherwise() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path();
    let _cleanup = Cleanup(data);
    let mut server = busy(data, &[]);
    server.signal(Signal::TERM);
    assert_eq!(server.code(), Some(0));
    assert_eq!(out(&call(data, &["local", "ls", "--quiet"])), "busy\n");
    // The next one goes on with it, and stops it as it was told.
    let mut next = start(data, &["up", "--listen", "127.0.0.1:0", "--on-exit", "stop"], false);
    next.signal(Signal::TERM);
    assert_eq!(next.code(), Some(0));
    assert_eq!(out(&call(data, &["local", "ls", "--quiet"])), "");
}

#[test]
fn down_with_agents_prints_receipts() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path();
    let _cleanup = Cleanup(data);
    let mut server = busy(data, &[]);
    let down = call(data, &["down", "--agents"]);
    assert_eq!(down.status.code(), Some(0), "{}", err(&down));
    assert!(
        out(&down).starts_with("Session \"busy\" stopped for agent \"shell\" ("),
        "{}",
        out(&down)
    );
    assert_eq!(server.code(), Some(0));
    assert_eq!(out(&call(data, &["local", "ls", "--quiet"])), "");
}
