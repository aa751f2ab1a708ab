//! The agent's own process: how it is started, fed and listened to.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use greenroom_core::agent::{CommandSpec, PromptVia};
use greenroom_core::receipt::Exit;
use rustix::fs::{Access, Mode, OFlags, access, fcntl_setfl, open};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Signal, pidfd_send_signal};

use crate::clock::Moment;
use crate::sys::{self, Plan, Spawned, Stage};
use crate::tree::Tree;

/// Where programs are looked for if the agent's environment does not say.
const DEFAULT_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// Why an agent's process could not be started.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StartError {
    #[error("the agent's command is empty")]
    NoCommand,
    #[error("program {program:?} is not in the agent's PATH ({path})")]
    NotFound { program: String, path: String },
    #[error("program {program:?} cannot be executed: {error}")]
    Execute { program: String, error: io::Error },
    #[error(
        "program {program:?} cannot be executed: {error}; a long prompt needs prompt_via: stdin"
    )]
    TooLong { program: String, error: io::Error },
    #[error("the working directory {directory:?} cannot be entered: {error}")]
    Directory { directory: PathBuf, error: io::Error },
    #[error("{what} holds a NUL byte, which no process can be given")]
    Nul { what: &'static str },
    #[error("no process could be made: {0}")]
    Spawn(#[from] io::Error),
    #[error("the process could not join {group}: {error}")]
    Join { group: PathBuf, error: io::Error },
}

/// The agent's own process.
#[derive(Debug)]
pub(crate) struct Leader {
    pub(crate) pid: i32,
    pidfd: OwnedFd,
    /// Open until it is known whether the program runs.
    report: Option<OwnedFd>,
    /// How and when it ended.
    pub(crate) exit: Option<(Exit, Moment)>,
    pub(crate) program: String,
    directory: PathBuf,
}

/// Our ends of the agent's standard streams.
#[derive(Debug)]
pub(crate) struct Ends {
    pub(crate) stdin: Option<OwnedFd>,
    pub(crate) stdout: OwnedFd,
    pub(crate) stderr: OwnedFd,
}

/// What is started.
#[derive(Debug)]
pub(crate) struct Start<'a> {
    pub(crate) command: &'a CommandSpec,
    /// What is executed, where it is not what the command names.
    pub(crate) program: Option<&'a Path>,
    pub(crate) env: &'a BTreeMap<String, String>,
    pub(crate) workspace: &'a Path,
    pub(crate) home: &'a Path,
    /// The prompt, where it does not go through standard input.
    pub(crate) prompt: Option<&'a str>,
    /// Whether standard input is a pipe (else it is empty).
    pub(crate) feed: bool,
    /// Its priority.
    pub(crate) nice: i32,
}

fn c_string(bytes: &[u8], what: &'static str) -> Result<CString, StartError> {
    CString::new(bytes).map_err(|_| StartError::Nul { what })
}

/// Where the program is. Relative results are relative to the workspace.
fn look_up(program: &str, path: &str, workspace: &Path) -> Result<PathBuf, StartError> {
    if program.contains('/') {
        return Ok(PathBuf::from(program));
    }
    for dir in path.split(':') {
        let found = workspace.join(dir).join(program);
        if found.is_file() && access(&found, Access::EXEC_OK).is_ok() {
            return Ok(found);
        }
    }
    Err(StartError::NotFound { program: program.to_owned(), path: path.to_owned() })
}

impl Leader {
    /// Starts the agent's process in the tree's groups. That the program really runs is
    /// known a moment later, by [`started`](Self::started).
    pub(crate) fn start(start: &Start<'_>, tree: &Tree) -> Result<(Self, Ends), StartError> {
        let command = &start.command.command;
        let name = command.first().filter(|name| !name.is_empty()).ok_or(StartError::NoCommand)?;
        let path = start.env.get("PATH").map_or(DEFAULT_PATH, String::as_str);
        let program = match start.program {
            Some(program) => program.to_owned(),
            None => look_up(name, path, start.workspace)?,
        };

        let by_arg = start.prompt.filter(|_| start.command.prompt_via == PromptVia::Arg);
        let by_env = start.prompt.filter(|_| start.command.prompt_via == PromptVia::Env);
        let argv: Vec<_> = command
            .iter()
            .map(|arg| c_string(arg.as_bytes(), "the command"))
            .chain(by_arg.map(|prompt| c_string(prompt.as_bytes(), "the prompt")))
            .collect::<Result<_, _>>()?;
        let mut envp = Vec::with_capacity(start.env.len() + 2);
        for (name, value) in start.env {
            let what = "the agent's environment";
            envp.push(c_string(format!("{name}={value}").as_bytes(), what)?);
        }
        if !start.env.contains_key("HOME") {
            let home = [b"HOME=", start.home.as_os_str().as_bytes()].concat();
            envp.push(c_string(&home, "HOME")?);
        }
        if let Some(prompt) = by_env {
            envp.push(c_string(format!("GREENROOM_PROMPT={prompt}").as_bytes(), "the prompt")?);
        }

        let (stdin, feed) = match start.feed {
            true => {
                let (read, write) = pipe_with(PipeFlags::CLOEXEC).map_err(io::Error::from)?;
                fcntl_setfl(&write, OFlags::NONBLOCK).map_err(io::Error::from)?;
                (read, Some(write))
            }
            false => {
                let flags = OFlags::RDONLY | OFlags::CLOEXEC;
                (open("/dev/null", flags, Mode::empty()).map_err(io::Error::from)?, None)
            }
        };
        let ((stdout, stdout_child), (stderr, stderr_child)) = (output_pipe()?, output_pipe()?);
        let joins: Vec<_> = tree.groups_to_join().collect();
        let mut spawned = sys::spawn(&Plan {
            program: &c_string(program.as_os_str().as_bytes(), "the command")?,
            argv: &argv,
            envp: &envp,
            directory: &c_string(start.workspace.as_os_str().as_bytes(), "the workspace")?,
            stdio: [stdin.as_fd(), stdout_child.as_fd(), stderr_child.as_fd()],
            cgroup: tree.birth_group().map(|group| group.fd()),
            held: !joins.is_empty(),
            nice: start.nice,
        })?;
        let pid = spawned.pid.as_raw_pid();
        for group in joins {
            if let Err(error) = group.join(pid) {
                return Err(abandon(spawned, group.path(), error));
            }
        }
        spawned.go()?;
        let Spawned { pidfd, report, .. } = spawned;
        let leader = Self {
            pid,
            pidfd,
            report: Some(report),
            exit: None,
            program: name.clone(),
            directory: start.workspace.to_owned(),
        };
        Ok((leader, Ends { stdin: feed, stdout, stderr }))
    }

    /// Whether it has not been reaped yet.
    pub(crate) fn is_alive(&self) -> bool {
        self.exit.is_none()
    }

    /// Sends it a signal, and to nobody else.
    pub(crate) fn send(&self, signal: Signal) -> bool {
        self.is_alive() && pidfd_send_signal(&self.pidfd, signal).is_ok()
    }

    /// What to poll until it is known whether the program runs.
    pub(crate) fn report(&self) -> Option<&OwnedFd> {
        self.report.as_ref()
    }

    /// Whether the program runs: `None` as long as that is not known, once `Some`.
    pub(crate) fn started(&mut self) -> Option<Result<(), StartError>> {
        let read = sys::read_report(self.report.as_ref()?);
        let outcome = match read {
            Ok(None) => return None,
            Ok(Some(None)) => Ok(()),
            Ok(Some(Some((stage, error)))) => Err(self.explain(stage, error)),
            Err(error) => Err(StartError::Spawn(error)),
        };
        self.report = None;
        Some(outcome)
    }

    fn explain(&self, stage: Stage, error: io::Error) -> StartError {
        let program = self.program.clone();
        match stage {
            Stage::Directory => StartError::Directory { directory: self.directory.clone(), error },
            Stage::Streams => StartError::Spawn(error),
            Stage::Execute if error.raw_os_error() == Some(libc::E2BIG) => {
                StartError::TooLong { program, error }
            }
            Stage::Execute => StartError::Execute { program, error },
        }
    }
}

fn output_pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
    fcntl_setfl(&read, OFlags::NONBLOCK)?;
    Ok((read, write))
}

/// A held process that must not go on: it has executed nothing yet.
fn abandon(spawned: Spawned, group: &Path, error: io::Error) -> StartError {
    let _ = pidfd_send_signal(&spawned.pidfd, Signal::KILL);
    StartError::Join { group: group.to_owned(), error }
}
