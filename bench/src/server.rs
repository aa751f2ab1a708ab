//! A Greenroom of one's own: the real binary on a data folder of its own.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use anyhow::{Context, bail};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::http::{Connection, Events, Frame};
use crate::stats::since;

/// A server that is up, with its runner. Dropping it ends it and its agents.
pub(crate) struct Server {
    greenroom: PathBuf,
    data: PathBuf,
    child: Child,
    address: SocketAddr,
    token: String,
    /// From the start of its process to its ready line, in milliseconds.
    pub(crate) ready_ms: f64,
}

impl Server {
    /// Name of the database in a data folder.
    pub(crate) const DATABASE: &str = "greenroom.db";

    /// Starts `greenroom up` on a data folder, with the agents that are measured.
    pub(crate) fn start(greenroom: &Path, data: &Path) -> anyhow::Result<Self> {
        fs::create_dir_all(data)?;
        let agents = data.join("bench-agents");
        write_agents(&agents)?;
        let log_path = data.join("server.log");
        let log = File::options().create(true).append(true).open(&log_path)?;
        let started = Instant::now();
        let mut child = Command::new(greenroom)
            .args(["up", "--listen", "127.0.0.1:0", "--on-exit", "stop", "--data"])
            .arg(data)
            .arg("--agents")
            .arg(&agents)
            .env_remove("GREENROOM_URL")
            .env_remove("GREENROOM_TOKEN")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .with_context(|| format!("failed to start {greenroom:?}"))?;
        let stdout = child.stdout.take().context("the server has no standard output")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        let ready_ms = since(started);
        let address = line.trim().rsplit("http://").next().and_then(|a| a.parse().ok());
        let Some(address) = address else {
            let _ = child.kill();
            let _ = child.wait();
            let log = fs::read_to_string(&log_path).unwrap_or_default();
            bail!("greenroom up did not become ready; it said {line:?} and:\n{log}");
        };
        let token = fs::read_to_string(data.join("token")).context("failed to read the token")?;
        Ok(Self {
            greenroom: greenroom.to_owned(),
            data: data.to_owned(),
            child,
            address,
            token: token.trim().to_owned(),
            ready_ms,
        })
    }

    /// Its process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// A new connection to it.
    pub(crate) async fn connect(&self) -> anyhow::Result<Connection> {
        Connection::open(self.address, &self.token).await
    }

    /// The log of a session from its first entry, then live.
    pub(crate) async fn follow(&self, session: &str) -> anyhow::Result<Events> {
        let path = format!("/v1/sessions/{session}/events?from=1");
        self.connect().await?.events(&path).await
    }

    /// Creates a session, without a prompt.
    pub(crate) async fn create(&self, agent: &str, session: &str) -> anyhow::Result<()> {
        let body = json!({ "agent": agent, "id": session });
        self.connect().await?.json("POST", "/v1/sessions", Some(&body)).await?;
        Ok(())
    }

    /// Creates a session with a prompt and waits until its agent has said that it is ready.
    pub(crate) async fn create_ready(&self, agent: &str, session: &str) -> anyhow::Result<()> {
        let body = json!({ "agent": agent, "id": session, "prompt": "begin" });
        self.connect().await?.json("POST", "/v1/sessions", Some(&body)).await?;
        let mut events = self.follow(session).await?;
        until(&mut events, |frame| frame.event == "tool_call").await?;
        Ok(())
    }

    /// Prompts a session over a connection that is open already.
    pub(crate) async fn prompt(over: &mut Connection, session: &str) -> anyhow::Result<Value> {
        let path = format!("/v1/sessions/{session}/runs");
        over.json("POST", &path, Some(&json!({ "prompt": "begin" }))).await
    }

    /// Stops a session over a connection that is open already, and waits for the receipt.
    pub(crate) async fn stop(
        over: &mut Connection,
        session: &str,
        grace_ms: u64,
    ) -> anyhow::Result<Value> {
        let path = format!("/v1/sessions/{session}/stop?wait=60s");
        let reply = over.json("POST", &path, Some(&json!({ "grace_ms": grace_ms }))).await?;
        if reply["receipt"].is_null() {
            bail!("the stop of {session} brought no receipt: {reply}");
        }
        Ok(reply)
    }

    /// Processes of the shims of its data folder.
    pub(crate) fn shims(&self) -> Vec<u32> {
        let folder = self.data.join("run").to_string_lossy().into_owned();
        processes_with(&["shim", &folder])
    }

    /// Ends it, its agents first.
    pub(crate) fn end(mut self) -> anyhow::Result<()> {
        self.finish()
    }

    fn finish(&mut self) -> anyhow::Result<()> {
        if self.child.try_wait()?.is_none() {
            let pid = Pid::from_child(&self.child);
            kill_process(pid, Signal::TERM)?;
            self.child.wait()?;
        }
        // What a server that died early has left.
        Command::new(&self.greenroom)
            .args(["local", "stop", "--data"])
            .arg(&self.data)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()?;
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Err(error) = self.finish() {
            eprintln!("error: failed to end the server of {:?}: {error}", self.data);
        }
    }
}

/// Reads a stream up to the frame that is looked for.
pub(crate) async fn until(
    events: &mut Events,
    mut wanted: impl FnMut(&Frame) -> bool,
) -> anyhow::Result<Frame> {
    while let Some(frame) = events.next().await? {
        if wanted(&frame) {
            return Ok(frame);
        }
        if frame.event == "run.failed" {
            bail!("the run failed: {}", frame.data);
        }
    }
    bail!("the stream ended before what was waited for")
}

/// Processes with all these words in their arguments.
pub(crate) fn processes_with(words: &[&str]) -> Vec<u32> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        let Ok(arguments) = fs::read(entry.path().join("cmdline")) else { continue };
        let arguments = String::from_utf8_lossy(&arguments);
        if words.iter().all(|word| arguments.contains(word)) {
            found.push(pid);
        }
    }
    found
}

/// The program that is measured: it lies beside this one.
pub(crate) fn agent_program() -> anyhow::Result<PathBuf> {
    let path = std::env::current_exe()?.with_file_name("bench-agent");
    if !path.exists() {
        bail!("{path:?} is not there: cargo build --release -p greenroom-bench");
    }
    Ok(path)
}

/// How many daemons a stubborn agent has.
pub(crate) const DAEMONS: usize = 200;
/// How many stamped events the viewers see, and how often.
pub(crate) const TICKS: usize = 200;
const TICK_EVERY_MS: u64 = 50;

fn write_agents(folder: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(folder)?;
    let program = agent_program()?;
    let daemons = format!("daemons, \"{DAEMONS}\", {}", mark());
    let ticks = format!("ticks, \"{TICKS}\", \"{TICK_EVERY_MS}\"");
    let agents = [
        ("stamp", "stamp", ""),
        ("serve", "serve", "stdout: jsonl\n"),
        ("daemons", daemons.as_str(), "stdout: jsonl\n"),
        ("ticks", ticks.as_str(), "stdout: jsonl\n"),
        ("persistent", "persistent", "stdout: jsonl\nlifecycle: persistent\n"),
    ];
    for (name, words, more) in agents {
        let command = format!("[{}, {words}]", serde_json::to_string(&program)?);
        let text = format!("name: {name}\ndriver: command\ncommand: {command}\n{more}");
        fs::write(folder.join(format!("{name}.yaml")), text)?;
    }
    Ok(())
}

/// A word that only the processes of this run have among their arguments.
pub(crate) fn mark() -> String {
    format!("mark-{}", std::process::id())
}
