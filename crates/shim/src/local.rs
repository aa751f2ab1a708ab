//! Speaking to the shims of a data folder, from the outside: for the runner, and for
//! `greenroom local`, which needs neither runner nor coordinator.

use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use greenroom_core::Receipt;
use greenroom_core::assignment::StopOrder;

use crate::control::{Control, ControlError};
use crate::spec::{PROTOCOL, ShimSpec};
use crate::wire::{FromShim, ToShim};

/// A socket's path has no more bytes than this.
const MAX_SOCKET_PATH: usize = 107;
/// No shim says a longer line.
const MAX_LINE: usize = 128 << 20;

/// Connects to the socket of the compute whose control folder is `dir`, however long its
/// path is.
pub fn connect_stream(dir: &Path) -> io::Result<UnixStream> {
    let path = dir.join("sock");
    if path.as_os_str().len() <= MAX_SOCKET_PATH {
        return UnixStream::connect(path);
    }
    let handle = std::fs::File::open(dir)?;
    UnixStream::connect(format!("/proc/self/fd/{}/sock", handle.as_raw_fd()))
}

/// A conversation with one shim, blocking.
#[derive(Debug)]
pub struct Client {
    stream: UnixStream,
    buffer: Vec<u8>,
    /// How much of the buffer is known to have no line end.
    searched: usize,
}

/// Connects to the shim of the control folder `dir` and says hello. Its own hello is the
/// first thing [`Client::hear`] gives.
pub fn connect(dir: &Path) -> io::Result<Client> {
    let mut client = Client { stream: connect_stream(dir)?, buffer: Vec::new(), searched: 0 };
    client
        .say(&ToShim::Hello { protocol: PROTOCOL, build: env!("CARGO_PKG_VERSION").to_owned() })?;
    Ok(client)
}

impl Client {
    /// Says one thing.
    pub fn say(&mut self, message: &ToShim) -> io::Result<()> {
        let mut line = serde_json::to_vec(message)?;
        line.push(b'\n');
        self.stream.set_write_timeout(Some(Duration::from_secs(10)))?;
        self.stream.write_all(&line)
    }

    /// The next thing the shim says, or `None` if that takes longer than `limit`. The end
    /// of the connection is an error of kind `UnexpectedEof`.
    pub fn hear(&mut self, limit: Duration) -> io::Result<Option<FromShim>> {
        let begun = Instant::now();
        loop {
            if let Some(message) = self.buffered()? {
                return Ok(Some(message));
            }
            let Some(left) = limit.checked_sub(begun.elapsed()).filter(|left| !left.is_zero())
            else {
                return Ok(None);
            };
            self.stream.set_read_timeout(Some(left))?;
            let mut chunk = [0; 16 << 10];
            match self.stream.read(&mut chunk) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(n) => self.buffer.extend_from_slice(&chunk[..n]),
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::WouldBlock
                            | io::ErrorKind::TimedOut
                            | io::ErrorKind::Interrupted
                    ) => {}
                Err(error) => return Err(error),
            }
            if self.buffer.len() > MAX_LINE {
                return Err(io::Error::other("a shim said a line without end"));
            }
        }
    }

    /// The stream, and what was read of it and not heard yet.
    pub fn into_parts(self) -> (UnixStream, Vec<u8>) {
        (self.stream, self.buffer)
    }

    fn buffered(&mut self) -> io::Result<Option<FromShim>> {
        let found = self.buffer[self.searched..].iter().position(|byte| *byte == b'\n');
        let Some(at) = found else {
            self.searched = self.buffer.len();
            return Ok(None);
        };
        let end = self.searched + at;
        let message = serde_json::from_slice(&self.buffer[..end]);
        self.buffer.drain(..=end);
        self.searched = 0;
        Ok(Some(message?))
    }
}

/// How a compute of a data folder stands.
#[derive(Debug)]
pub enum Standing {
    /// Its shim answers, with its hello.
    Live(FromShim),
    /// Its shim lives and does not answer.
    Silent(String),
    /// It has its receipt.
    Closed(Box<Receipt>),
    /// No shim lives and there is no receipt: its runner will close it.
    Unsupervised,
}

/// A compute of a data folder.
#[derive(Debug)]
pub struct Found {
    /// Its control folder.
    pub dir: PathBuf,
    /// What its shim was told, if it reads.
    pub spec: Result<ShimSpec, ControlError>,
    /// How it stands.
    pub standing: Standing,
}

/// Every control folder `<uid>/<epoch>` beneath `root` (a data folder's `run`).
pub fn folders(root: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for uid in std::fs::read_dir(root)? {
        let uid = uid?;
        if !uid.file_type()?.is_dir() {
            continue;
        }
        for epoch in std::fs::read_dir(uid.path())? {
            let path = epoch?.path();
            if path.join("spec").exists() {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Every compute beneath `root` (a data folder's `run`), asked in parallel, each for at
/// most `limit`.
pub fn list(root: &Path, limit: Duration) -> io::Result<Vec<Found>> {
    let folders = folders(root)?;
    let mut found = Vec::with_capacity(folders.len());
    for batch in folders.chunks(64) {
        std::thread::scope(|scope| {
            let asked: Vec<_> =
                batch.iter().map(|dir| scope.spawn(|| look(dir.clone(), limit))).collect();
            found.extend(asked.into_iter().filter_map(|thread| thread.join().ok()));
        });
    }
    Ok(found)
}

/// How the compute with the control folder `dir` stands, after at most `limit`.
pub fn look(dir: PathBuf, limit: Duration) -> Found {
    let control = Control::new(&dir);
    let spec = control.read_spec();
    let standing = match control.read_closed() {
        Ok(Some(receipt)) => Standing::Closed(Box::new(receipt)),
        Err(error) => Standing::Silent(error.to_string()),
        Ok(None) => match control.is_locked() {
            Ok(false) => Standing::Unsupervised,
            Err(error) => Standing::Silent(error.to_string()),
            Ok(true) => match connect(&dir).and_then(|mut client| client.hear(limit)) {
                Ok(Some(hello @ FromShim::Hello { .. })) => Standing::Live(hello),
                Ok(Some(other)) => Standing::Silent(format!("it said {other:?}")),
                Ok(None) => Standing::Silent(format!("no answer within {limit:?}")),
                Err(error) => Standing::Silent(error.to_string()),
            },
        },
    };
    Found { dir, spec, standing }
}

/// Why a stop gave no receipt.
#[derive(Debug, thiserror::Error)]
pub enum StopError {
    /// The shim could not be spoken to.
    #[error("the shim does not answer: {0}")]
    Io(#[from] io::Error),
    /// What is in the folder does not read.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// The time was up.
    #[error("not proven within {0:?}{1}")]
    Late(Duration, String),
}

/// Stops the compute with the control folder `dir`, and waits for its receipt.
pub fn stop(dir: &Path, order: StopOrder, wait: Duration) -> Result<Receipt, StopError> {
    let control = Control::new(dir);
    if let Some(receipt) = control.read_closed()? {
        return Ok(receipt);
    }
    let begun = Instant::now();
    let told = connect(dir).and_then(|mut client| {
        client.say(&ToShim::Stop { stop: order })?;
        Ok(client)
    });
    let mut client = match told {
        Ok(client) => client,
        // It may have closed between the look and the word.
        Err(error) => return control.read_closed()?.ok_or(StopError::Io(error)),
    };
    let mut evidence = String::new();
    loop {
        let left = wait.saturating_sub(begun.elapsed());
        match client.hear(left) {
            Ok(Some(FromShim::Closed { receipt })) => return Ok(*receipt),
            Ok(Some(FromShim::Unproven { evidence: found })) => evidence = format!(": {found}"),
            Ok(Some(_)) => {}
            Ok(None) => return Err(StopError::Late(wait, evidence)),
            Err(error) => return control.read_closed()?.ok_or(StopError::Io(error)),
        }
    }
}
