//! The tool `shell`: a command, run by `sh` in the workspace.

use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal};
use serde::Deserialize;
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe::Receiver;
use tokio::process::Command;

/// Of its output, so much is kept: the beginning and the end.
const MOST_OUTPUT: usize = 30_000;
/// How long a command may take, unless it is said otherwise.
const DEFAULT_TIMEOUT: u64 = 120;
/// How long it may take at most.
const LONGEST_TIMEOUT: u64 = 3600;
/// After the command has ended, what it left behind may say so much longer what it has to.
const LAST_WORDS: Duration = Duration::from_millis(250);

#[derive(Debug, Deserialize)]
pub(super) struct Input {
    command: String,
    timeout_s: Option<u64>,
}

/// What a command has written so far, without the middle of what is too much.
#[derive(Debug, Default)]
struct Output {
    head: Vec<u8>,
    tail: std::collections::VecDeque<u8>,
    dropped: usize,
}

impl Output {
    fn push(&mut self, bytes: &[u8]) {
        let room = (MOST_OUTPUT / 2).saturating_sub(self.head.len()).min(bytes.len());
        let (head, rest) = bytes.split_at(room);
        self.head.extend_from_slice(head);
        self.tail.extend(rest);
        let over = self.tail.len().saturating_sub(MOST_OUTPUT / 2);
        self.tail.drain(..over);
        self.dropped += over;
    }

    fn text(mut self) -> String {
        let tail = self.tail.make_contiguous();
        if self.dropped == 0 {
            self.head.extend_from_slice(tail);
            return String::from_utf8_lossy(&self.head).into_owned();
        }
        format!(
            "{}\n[{} bytes left out]\n{}",
            String::from_utf8_lossy(&self.head),
            self.dropped,
            String::from_utf8_lossy(tail)
        )
    }
}

/// The processes of a command. Dropped before its end, they are ended.
struct Group(Option<Pid>);

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(pid) = self.0 {
            let _ = rustix::process::kill_process_group(pid, Signal::KILL);
        }
    }
}

/// Runs it. `hidden` variables are not passed on.
pub(super) async fn run(
    workspace: &Path,
    hidden: &[String],
    input: Input,
) -> Result<String, String> {
    let limit = input.timeout_s.unwrap_or(DEFAULT_TIMEOUT).clamp(1, LONGEST_TIMEOUT);
    let (reader, writer) = std::io::pipe().map_err(|error| format!("no pipe: {error}"))?;
    let also = writer.try_clone().map_err(|error| format!("no pipe: {error}"))?;
    let mut command = Command::new("/bin/sh");
    command
        .arg("-c")
        .arg(&input.command)
        .current_dir(workspace)
        .stdin(Stdio::null())
        .stdout(Stdio::from(OwnedFd::from(writer)))
        .stderr(Stdio::from(OwnedFd::from(also)))
        .process_group(0);
    for name in hidden {
        command.env_remove(name);
    }
    let mut child = command.spawn().map_err(|error| format!("sh cannot be started: {error}"))?;
    // The writing ends are the command's alone now, or its output would have no end.
    drop(command);
    let mut group = Group(child.id().and_then(|pid| Pid::from_raw(pid.cast_signed())));
    let mut reader = Receiver::from_owned_fd(OwnedFd::from(reader))
        .map_err(|error| format!("no pipe: {error}"))?;
    let mut output = Output::default();
    let ended = {
        let run = until_end(&mut child, &mut reader, &mut output);
        tokio::time::timeout(Duration::from_secs(limit), run).await
    };
    match ended {
        Ok(Ok(status)) => {
            group.0 = None;
            report(status, output)
        }
        Ok(Err(error)) => Err(format!("the command was lost: {error}")),
        Err(_) => {
            drop(group);
            let text = output.text();
            Err(format!("the command was ended after {limit} s, which is its limit\n{text}"))
        }
    }
}

async fn until_end(
    child: &mut tokio::process::Child,
    reader: &mut Receiver,
    output: &mut Output,
) -> std::io::Result<ExitStatus> {
    let mut buffer = vec![0; 16 << 10];
    let mut open = true;
    let status = loop {
        tokio::select! {
            status = child.wait() => break status?,
            read = reader.read(&mut buffer), if open => match read? {
                0 => open = false,
                n => output.push(&buffer[..n]),
            },
        }
    };
    while open {
        match tokio::time::timeout(LAST_WORDS, reader.read(&mut buffer)).await {
            Ok(Ok(n)) if n > 0 => output.push(&buffer[..n]),
            _ => open = false,
        }
    }
    Ok(status)
}

fn report(status: ExitStatus, output: Output) -> Result<String, String> {
    use std::os::unix::process::ExitStatusExt;
    let text = output.text();
    match (status.code(), status.signal()) {
        (Some(0), _) => Ok(text),
        (Some(code), _) => Err(format!("exit code {code}\n{text}")),
        (None, signal) => Err(format!("ended by signal {}\n{text}", signal.unwrap_or_default())),
    }
}
