//! The shim's socket: any number of speakers, lines of JSON, nobody waited for.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use rustix::event::PollFlags;

use crate::sys;
use crate::wire::{FromShim, ToShim};

/// No message is longer: prompts come in one line.
const MAX_LINE: usize = 64 << 20;
/// Live text is dropped for whom so much is waiting.
const DELTA_LIMIT: usize = 256 << 10;
/// Who lets so much wait is let go; it can come back and read the journal.
const QUEUE_LIMIT: usize = 4 << 20;
/// Bytes taken from one connection before the others have their turn.
const READ_BUDGET: usize = 1 << 20;
/// More speakers than any use of it has.
const MAX_CONNECTIONS: usize = 64;

/// The socket of the control folder, which must be the working directory: a relative
/// name always fits into a socket address.
#[derive(Debug)]
pub(crate) struct Server {
    listener: UnixListener,
    identity: (u64, u64),
    /// What this process was born with as standard input, if that is a socket: the
    /// connection of the one that started it.
    birth: Option<UnixStream>,
    connections: Vec<Connection>,
}

#[derive(Debug)]
struct Connection {
    stream: UnixStream,
    input: Vec<u8>,
    searched: usize,
    output: Vec<u8>,
    sent: usize,
    /// Nobody hears us there any more. What was said before is still heard here: a stop
    /// counts also from who did not wait for an answer.
    mute: bool,
    ended: bool,
}

const NAME: &str = "sock";

fn bind() -> io::Result<(UnixListener, (u64, u64))> {
    match std::fs::remove_file(NAME) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = sys::privately(|| UnixListener::bind(NAME))?;
    listener.set_nonblocking(true)?;
    let meta = std::fs::metadata(NAME)?;
    Ok((listener, (meta.dev(), meta.ino())))
}

/// Takes the connection this process was born with, and leaves no standard input behind.
fn take_birth() -> io::Result<Option<UnixStream>> {
    let stdin = std::io::stdin();
    if rustix::net::sockopt::socket_type(&stdin).is_err() {
        return Ok(None);
    }
    // Copied CLOEXEC: no agent may have it.
    let birth = UnixStream::from(rustix::io::fcntl_dupfd_cloexec(&stdin, 3)?);
    rustix::stdio::dup2_stdin(std::fs::File::open("/dev/null")?)?;
    Ok(Some(birth))
}

impl Server {
    /// Binds `sock` in the working directory. Whoever holds the lock owns the name.
    pub(crate) fn bind() -> io::Result<Self> {
        let (listener, identity) = bind()?;
        let birth = take_birth()?;
        Ok(Self { listener, identity, birth, connections: Vec::new() })
    }

    /// Binds again if the name no longer leads here (things that clean up do that).
    pub(crate) fn rebind_if_lost(&mut self) -> io::Result<()> {
        let there = std::fs::metadata(Path::new(NAME)).ok().map(|m| (m.dev(), m.ino()));
        if there != Some(self.identity) {
            (self.listener, self.identity) = bind()?;
        }
        Ok(())
    }

    /// What to poll.
    pub(crate) fn interests(&self) -> impl Iterator<Item = (BorrowedFd<'_>, PollFlags)> {
        let connections = self.connections.iter().map(|connection| {
            let waits = connection.sent < connection.output.len();
            let out = if waits { PollFlags::OUT } else { PollFlags::empty() };
            (connection.stream.as_fd(), PollFlags::IN | out)
        });
        std::iter::once((self.listener.as_fd(), PollFlags::IN)).chain(connections)
    }

    /// Takes new connections, greets them with `hello`, and gives what everybody said.
    pub(crate) fn receive(&mut self, hello: impl Fn() -> FromShim) -> Vec<ToShim> {
        while self.connections.len() < MAX_CONNECTIONS
            && let Some(stream) = self.birth.take().or_else(|| Some(self.listener.accept().ok()?.0))
        {
            if stream.set_nonblocking(true).is_ok() {
                let mut connection = Connection::new(stream);
                connection.queue(&line(&hello()));
                self.connections.push(connection);
            }
        }
        let mut said = Vec::new();
        for connection in &mut self.connections {
            connection.read(&mut said);
        }
        self.connections.retain(|connection| !connection.ended);
        said
    }

    /// Says something to everybody.
    pub(crate) fn say(&mut self, message: &FromShim) {
        if self.connections.is_empty() {
            return;
        }
        let line = line(message);
        let may_drop = matches!(message, FromShim::Delta { .. });
        for connection in &mut self.connections {
            if !may_drop || connection.waiting() < DELTA_LIMIT {
                connection.queue(&line);
            }
        }
    }

    /// Whether anybody listens.
    pub(crate) fn has_listeners(&self) -> bool {
        !self.connections.is_empty()
    }

    /// Sends what can be sent without waiting. Says whether that was all.
    pub(crate) fn send(&mut self) -> bool {
        for connection in &mut self.connections {
            connection.write();
        }
        self.connections.iter().all(|connection| connection.waiting() == 0)
    }
}

fn line(message: &FromShim) -> Vec<u8> {
    let mut line = serde_json::to_vec(message).unwrap_or_default();
    line.push(b'\n');
    line
}

impl Connection {
    fn new(stream: UnixStream) -> Self {
        let (input, output) = (Vec::new(), Vec::new());
        Self { stream, input, searched: 0, output, sent: 0, mute: false, ended: false }
    }

    fn waiting(&self) -> usize {
        self.output.len() - self.sent
    }

    fn queue(&mut self, line: &[u8]) {
        if self.waiting() > QUEUE_LIMIT {
            self.hang_up();
        }
        if self.mute {
            return;
        }
        if self.sent > DELTA_LIMIT {
            self.output.drain(..self.sent);
            self.sent = 0;
        }
        self.output.extend_from_slice(line);
    }

    fn write(&mut self) {
        while self.waiting() > 0 {
            match self.stream.write(&self.output[self.sent..]) {
                Ok(n) => self.sent += n,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => self.hang_up(),
            }
        }
        self.output.clear();
        self.output.shrink_to(64 << 10);
        self.sent = 0;
    }

    fn hang_up(&mut self) {
        self.mute = true;
        self.output.clear();
        self.sent = 0;
        // What has arrived can still be read, and then comes the end.
        let _ = self.stream.shutdown(std::net::Shutdown::Both);
    }

    fn read(&mut self, said: &mut Vec<ToShim>) {
        let mut chunk = [0; 32 << 10];
        let mut taken = 0;
        while taken < READ_BUDGET && !self.ended {
            match self.stream.read(&mut chunk) {
                Ok(0) => self.ended = true,
                Ok(n) => {
                    taken += n;
                    self.input.extend_from_slice(&chunk[..n]);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => self.ended = true,
            }
        }
        self.take_lines(said);
    }

    fn take_lines(&mut self, said: &mut Vec<ToShim>) {
        let mut done = 0;
        while let Some(at) = self.input[self.searched..].iter().position(|b| *b == b'\n') {
            let end = self.searched + at;
            // What does not read is answered by nothing, as a kind we do not know.
            if let Ok(message) = serde_json::from_slice(&self.input[done..end]) {
                said.push(message);
            }
            done = end + 1;
            self.searched = done;
        }
        self.input.drain(..done);
        self.input.shrink_to(64 << 10);
        self.searched = self.input.len();
        if self.input.len() > MAX_LINE {
            self.ended = true;
        }
    }
}
