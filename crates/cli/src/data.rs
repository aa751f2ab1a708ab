//! A data folder: who serves it, where its token is, what its files are called.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use greenroom_client::Secret;
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use crate::error::CliError;

/// A data folder, which may not exist yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DataDir {
    path: PathBuf,
}

/// What a server says of itself in `server.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ServerFile {
    /// Its process.
    pub(crate) pid: u32,
    /// Where it is reached.
    pub(crate) url: String,
    /// Its build.
    pub(crate) version: String,
}

/// The right to serve a data folder. Freed by the kernel, however its holder ends.
#[derive(Debug)]
pub(crate) struct ServerLock {
    _file: File,
}

/// Who serves a data folder.
#[derive(Debug)]
pub(crate) enum Server {
    /// Nobody.
    None,
    /// A server that has not said yet where it is reached.
    Starting,
    /// This one.
    Live(ServerFile),
}

impl DataDir {
    /// This folder, made absolute.
    pub(crate) fn at(path: &Path) -> Result<Self, CliError> {
        let path = std::path::absolute(path)
            .map_err(|error| CliError::io("use the data folder", path, &error))?;
        Ok(Self { path })
    }

    /// `$XDG_DATA_HOME/greenroom`, else `~/.local/share/greenroom`.
    pub(crate) fn default_place() -> Result<Self, CliError> {
        let absolute = |name: &str| {
            std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute())
        };
        let base = absolute("XDG_DATA_HOME")
            .or_else(|| absolute("HOME").map(|home| home.join(".local/share")));
        match base {
            Some(base) => Ok(Self { path: base.join("greenroom") }),
            None => Err(CliError::usage("there is no default data folder without HOME")
                .hint("name one with --data DIR")),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The database.
    pub(crate) fn database(&self) -> PathBuf {
        self.path.join("greenroom.db")
    }

    /// The admin token.
    pub(crate) fn token_file(&self) -> PathBuf {
        self.path.join("token")
    }

    /// The control folders of the computes.
    pub(crate) fn run(&self) -> PathBuf {
        self.path.join("run")
    }

    fn lock_file(&self) -> PathBuf {
        self.path.join("server.lock")
    }

    fn server_file(&self) -> PathBuf {
        self.path.join("server.json")
    }

    /// Makes the folder, for nobody but its owner.
    pub(crate) fn make(&self) -> Result<(), CliError> {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.path)
            .map_err(|error| CliError::io("make the data folder", &self.path, &error))
    }

    /// The admin token, if there is one to read.
    pub(crate) fn token(&self) -> Result<Option<Secret>, CliError> {
        let path = self.token_file();
        match fs::read_to_string(&path) {
            Ok(text) => Ok(Some(Secret::new(&text))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(CliError::io("read the token", &path, &error)),
        }
    }

    /// Whether the runner of this folder has a credential of its own.
    pub(crate) fn has_joined(&self) -> bool {
        let read = |text: Vec<u8>| serde_json::from_slice::<serde_json::Value>(&text).ok();
        let runner = fs::read(self.path.join("runner.json")).ok().and_then(read);
        runner.is_some_and(|runner| runner.get("joined").is_some_and(|joined| !joined.is_null()))
    }

    /// Takes the right to serve this folder. Waits up to a second for it: a command may be
    /// looking who has it, and of a server that was killed this moment a child may be left
    /// that has not yet become a shim.
    pub(crate) fn serve(&self) -> Result<ServerLock, CliError> {
        let mut taken = self.try_lock(true)?;
        for _ in 0..20 {
            if taken.is_some() {
                break;
            }
            std::thread::sleep(Duration::from_millis(50));
            taken = self.try_lock(true)?;
        }
        match taken {
            Some(lock) => Ok(lock),
            None => {
                let who = match self.server_said() {
                    Some(server) => format!("a server (pid {}, {})", server.pid, server.url),
                    None => "a server".to_owned(),
                };
                let place = self.path.display();
                Err(CliError::failed(format!("{who} already serves the data folder {place}")).hint(
                    format!("end it with `greenroom down --data {place}`, or use another folder with --data DIR"),
                ))
            }
        }
    }

    /// Who serves this folder now.
    pub(crate) fn server(&self) -> Result<Server, CliError> {
        if !self.lock_file().exists() || self.try_lock(false)?.is_some() {
            return Ok(Server::None);
        }
        Ok(self.server_said().map_or(Server::Starting, Server::Live))
    }

    fn try_lock(&self, make: bool) -> Result<Option<ServerLock>, CliError> {
        let path = self.lock_file();
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(make)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(|error| CliError::io("open", &path, &error))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(ServerLock { _file: file })),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(CliError::io("lock", &path, &error.into())),
        }
    }

    fn server_said(&self) -> Option<ServerFile> {
        serde_json::from_slice(&fs::read(self.server_file()).ok()?).ok()
    }

    /// Says where this folder's server is reached. Only the holder of the lock may.
    pub(crate) fn announce(&self, _lock: &ServerLock, server: &ServerFile) -> Result<(), CliError> {
        let (path, new) = (self.server_file(), self.path.join("server.json.new"));
        let write = || {
            let mut file = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(true)
                .mode(0o600)
                .open(&new)?;
            file.write_all(serde_json::to_string(server)?.as_bytes())?;
            fs::rename(&new, &path)
        };
        write().map_err(|error| CliError::io("write", &path, &error))
    }

    /// Unsays it.
    pub(crate) fn retract(&self, _lock: &ServerLock) {
        // The lock is what counts; this only keeps the folder tidy.
        let _ = fs::remove_file(self.server_file());
    }
}

/// All of standard input, as text.
pub(crate) fn read_stdin() -> Result<String, CliError> {
    let mut text = String::new();
    io::stdin()
        .lock()
        .read_to_string(&mut text)
        .map_err(|error| CliError::failed(format!("cannot read standard input: {error}")))?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dir() -> (tempfile::TempDir, DataDir) {
        let temp = tempfile::tempdir().expect("a folder");
        let data = DataDir::at(&temp.path().join("data")).expect("a path");
        (temp, data)
    }

    #[test]
    fn one_server_a_folder() {
        let (_temp, data) = dir();
        assert!(matches!(data.server(), Ok(Server::None)));
        data.make().expect("made");
        let lock = data.serve().expect("free");
        assert!(matches!(data.server(), Ok(Server::Starting)));
        let said = ServerFile { pid: 7, url: "http://127.0.0.1:1".into(), version: "1".into() };
        data.announce(&lock, &said).expect("written");
        assert!(matches!(data.server(), Ok(Server::Live(found)) if found == said));
        let refused = data.serve().expect_err("taken");
        assert!(matches!(refused, CliError::Told(told) if told.message.contains("pid 7")));
        drop(lock);
        assert!(matches!(data.server(), Ok(Server::None)));
    }

    #[test]
    fn a_token_is_read_without_its_line_end() {
        let (_temp, data) = dir();
        data.make().expect("made");
        assert!(data.token().expect("readable").is_none());
        fs::write(data.token_file(), "grt_x\n").expect("written");
        assert!(data.token().expect("readable").is_some());
    }
}
