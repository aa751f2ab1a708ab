//! The agent's process: piped, asked to end when its driver is, and never killed here.
//! Force is the shim's, which sees the whole tree.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use rustix::process::{Pid, Signal};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};

use crate::Failure;

/// An agent's process.
#[derive(Debug)]
pub struct Agent {
    child: Child,
    name: String,
}

/// What is started.
#[derive(Debug)]
pub struct Start<'a> {
    /// The program and its arguments.
    pub command: &'a [String],
    /// Variables beside this process's own.
    pub env: &'a [(String, String)],
    /// The working directory.
    pub workspace: &'a Path,
}

impl Agent {
    /// Starts it with pipes for its input and answer; its complaints are this process's own.
    pub fn start(start: &Start<'_>) -> Result<(Self, ChildStdin, ChildStdout), Failure> {
        let mut agent = Self::spawn(start, Stdio::inherit())?;
        match (agent.child.stdin.take(), agent.child.stdout.take()) {
            (Some(stdin), Some(stdout)) => Ok((agent, stdin, stdout)),
            _ => Err(agent.without_pipes()),
        }
    }

    /// As [`start`](Self::start), with a pipe for its complaints too: who takes it must
    /// pass them on.
    pub fn start_heard(
        start: &Start<'_>,
    ) -> Result<(Self, ChildStdin, ChildStdout, ChildStderr), Failure> {
        let mut agent = Self::spawn(start, Stdio::piped())?;
        let child = &mut agent.child;
        match (child.stdin.take(), child.stdout.take(), child.stderr.take()) {
            (Some(stdin), Some(stdout), Some(stderr)) => Ok((agent, stdin, stdout, stderr)),
            _ => Err(agent.without_pipes()),
        }
    }

    /// Starts one that is neither fed nor listened to: what it prints is a complaint, too.
    pub fn start_server(start: &Start<'_>) -> Result<Self, Failure> {
        use std::os::fd::AsFd;
        let own = std::io::stderr().as_fd().try_clone_to_owned().map_err(|error| {
            Failure::new("start_error", format!("its output leads nowhere: {error}"))
        })?;
        Self::spawn_with(start, [Stdio::null(), own.into(), Stdio::inherit()])
    }

    fn spawn(start: &Start<'_>, stderr: Stdio) -> Result<Self, Failure> {
        Self::spawn_with(start, [Stdio::piped(), Stdio::piped(), stderr])
    }

    fn spawn_with(start: &Start<'_>, stdio: [Stdio; 3]) -> Result<Self, Failure> {
        let [name, args @ ..] = start.command else {
            return Err(Failure::new("start_error", "the agent's command is empty"));
        };
        let program = look_up(name, start.workspace).ok_or_else(|| {
            let path = std::env::var("PATH").unwrap_or_default();
            let text = format!("program {name:?} is not in the agent's PATH ({path})");
            Failure::new("start_error", text)
        })?;
        let [stdin, stdout, stderr] = stdio;
        let spawned = Command::new(&program)
            .arg0(name)
            .args(args)
            .envs(start.env.iter().map(|(name, value)| (name, value)))
            .current_dir(start.workspace)
            .stdin(stdin)
            .stdout(stdout)
            .stderr(stderr)
            .kill_on_drop(false)
            .spawn();
        let child = spawned.map_err(|error| {
            Failure::new("start_error", format!("program {name:?} cannot be executed: {error}"))
        })?;
        Ok(Self { child, name: name.clone() })
    }

    fn without_pipes(&self) -> Failure {
        Failure::new("start_error", format!("program {:?} has no pipes", self.name))
    }

    /// Asks it to end.
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Sends it a signal, and to nobody else.
    pub fn signal(&self, signal: Signal) {
        let pid = self.child.id().and_then(|pid| Pid::from_raw(pid as i32));
        if let Some(pid) = pid {
            // It is not reaped yet, so its number is its own.
            let _ = rustix::process::kill_process(pid, signal);
        }
    }

    /// Waits until it has ended, and says how: `Ok` for exit code 0, else in words.
    pub async fn ended(&mut self) -> Result<(), String> {
        use std::os::unix::process::ExitStatusExt;
        match self.child.wait().await {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(match (status.code(), status.signal()) {
                (Some(code), _) => format!("{} exited with code {code}", self.name),
                (None, Some(signal)) => format!("{} was ended by signal {signal}", self.name),
                (None, None) => format!("{} ended: {status}", self.name),
            }),
            Err(error) => Err(format!("{}: {error}", self.name)),
        }
    }
}

/// Where the program is. A relative entry of PATH is relative to the workspace.
fn look_up(program: &str, workspace: &Path) -> Option<PathBuf> {
    if program.contains('/') {
        return Some(workspace.join(program));
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| workspace.join(dir).join(program)).find(|found| {
        found.is_file() && rustix::fs::access(found, rustix::fs::Access::EXEC_OK).is_ok()
    })
}
