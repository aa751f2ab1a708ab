//! The control folder of one compute, `run/<uid>/<epoch>/`: what is in it, and who owns it.
//!
//! Whether a shim lives is told by the lock on `lock` and by nothing else: not by a pid,
//! not by the socket file, not by `kill(pid, 0)`.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use greenroom_core::Receipt;
use rustix::fs::{FlockOperation, flock};

use crate::spec::ShimSpec;

/// A file of the control folder that is there and makes no sense.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The disk said no.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the disk said.
        source: io::Error,
    },
    /// It is not what it should be.
    #[error("{path} does not read: {source}")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the parser said.
        source: serde_json::Error,
    },
}

/// The control folder of one compute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Control {
    dir: PathBuf,
}

/// The right to act for a compute. Held by its shim, or by whoever closes in its place.
/// Ends when it is dropped, or when the process that took it dies.
#[derive(Debug)]
pub struct Lock {
    file: File,
}

impl Lock {
    /// Device and inode of the lock file, to see whether the path still leads to it.
    pub fn identity(&self) -> io::Result<(u64, u64)> {
        let meta = self.file.metadata()?;
        Ok((meta.dev(), meta.ino()))
    }
}

impl Control {
    /// The control folder at this path. Nothing is touched.
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        Self { dir: dir.into() }
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// What the shim was told.
    pub fn spec_path(&self) -> PathBuf {
        self.dir.join("spec")
    }

    /// Whose lock says that a shim lives.
    pub fn lock_path(&self) -> PathBuf {
        self.dir.join("lock")
    }

    /// Where the shim listens.
    pub fn sock_path(&self) -> PathBuf {
        self.dir.join("sock")
    }

    /// Where a driver that passes HTTP on to its agent listens.
    pub fn door_path(&self) -> PathBuf {
        self.dir.join("http")
    }

    /// The receipt, once there is one, for whoever looks: a folder with it is never started
    /// again. The journal says the same, and is synced before anybody is told.
    pub fn closed_path(&self) -> PathBuf {
        self.dir.join("closed")
    }

    /// Durable before a process exists of which the journal does not tell yet.
    pub fn begun_path(&self) -> PathBuf {
        self.dir.join("begun")
    }

    /// Writes `spec`, whole. The folder must exist. It outlives a power cut only after
    /// [`sync`](Self::sync), which must be before the agent's environment is sent.
    pub fn write_spec(&self, spec: &ShimSpec) -> Result<(), ControlError> {
        let path = self.spec_path();
        let bytes = serde_json::to_vec(spec)
            .map_err(|source| ControlError::Unreadable { path: path.clone(), source })?;
        replace(&path, &bytes).map_err(|source| ControlError::Io { path, source })
    }

    /// Makes `spec` and the folder's own name durable.
    pub fn sync(&self) -> io::Result<()> {
        File::open(self.spec_path())?.sync_all()?;
        File::open(&self.dir)?.sync_all()?;
        sync_parent(&self.dir)
    }

    /// Reads `spec`.
    pub fn read_spec(&self) -> Result<ShimSpec, ControlError> {
        let path = self.spec_path();
        let bytes =
            fs::read(&path).map_err(|source| ControlError::Io { path: path.clone(), source })?;
        serde_json::from_slice(&bytes).map_err(|source| ControlError::Unreadable { path, source })
    }

    /// Reads the receipt in `closed`, if there is one. What a power cut has left of one is
    /// none: the journal has it.
    pub fn read_closed(&self) -> Result<Option<Receipt>, ControlError> {
        let path = self.closed_path();
        match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(ControlError::Io { path, source }),
            Ok(bytes) => Ok(serde_json::from_slice(&bytes).ok()),
        }
    }

    /// Writes the receipt into `closed`, durably.
    pub fn write_closed(&self, receipt: &Receipt) -> Result<(), ControlError> {
        let path = self.closed_path();
        let bytes = serde_json::to_vec(receipt)
            .map_err(|source| ControlError::Unreadable { path: path.clone(), source })?;
        write_durable(&path, &bytes).map_err(|source| ControlError::Io { path, source })
    }

    /// Says durably that from now on there may be a process.
    pub fn mark_begun(&self) -> io::Result<()> {
        write_durable(&self.begun_path(), b"")
    }

    /// Whether it was said that there may be a process.
    pub fn has_begun(&self) -> bool {
        self.begun_path().exists()
    }

    /// Takes the lock, or says `None` if another has it.
    pub fn take_lock(&self) -> io::Result<Option<Lock>> {
        // Opened CLOEXEC (as std always does): an inheritable lock would live on in
        // every child and say for ever that the shim is alive.
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(self.lock_path())?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(Lock { file })),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether somebody holds the lock now. To act on a free one, take it.
    pub fn is_locked(&self) -> io::Result<bool> {
        let file = match File::open(self.lock_path()) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(error),
        };
        // Held for a moment only; a starting shim tries more than once for that reason.
        match flock(&file, FlockOperation::NonBlockingLockShared) {
            Ok(()) => Ok(false),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(true),
            Err(error) => Err(error.into()),
        }
    }
}

/// Puts `bytes` at `path` so that after a power cut there is the old content or the new,
/// whole: a temporary file, synced, renamed, and the folder synced.
pub fn write_durable(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let (mut file, temporary) = create_beside(path)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&temporary, path)?;
    sync_parent(path)
}

/// The same without a power cut in mind: whoever looks finds the old content or the new.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let (mut file, temporary) = create_beside(path)?;
    file.write_all(bytes)?;
    fs::rename(&temporary, path)
}

fn create_beside(path: &Path) -> io::Result<(File, PathBuf)> {
    let mut name = std::ffi::OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(".tmp");
    let temporary = path.with_file_name(name);
    let file =
        OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&temporary)?;
    Ok((file, temporary))
}

/// Syncs the folder a path is in, so that its name outlives a power cut.
pub fn sync_parent(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => File::open(parent)?.sync_all(),
        _ => File::open(".")?.sync_all(),
    }
}

/// A file that already has its blocks, so that one small thing can be written to a full disk.
#[derive(Debug)]
pub struct Reserved {
    file: File,
    path: PathBuf,
}

impl Reserved {
    /// Sets `size` bytes of disk aside at `path`.
    pub fn set_aside(path: PathBuf, size: u64) -> io::Result<Self> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&path)?;
        if let Err(error) = allocate(&file, size) {
            let _ = fs::remove_file(&path);
            return Err(error);
        }
        Ok(Self { file, path })
    }

    /// Writes `bytes` into it, and gives it its real name. Nothing is synced.
    pub fn become_file(self, target: &Path, bytes: &[u8]) -> io::Result<()> {
        use std::os::unix::fs::FileExt;
        self.file.write_all_at(bytes, 0)?;
        self.file.set_len(bytes.len() as u64)?;
        fs::rename(&self.path, target)
    }

    /// Gives it its real name, and the still empty file to the caller.
    pub fn into_file(self, target: &Path) -> io::Result<File> {
        fs::rename(&self.path, target)?;
        sync_parent(target)?;
        Ok(self.file)
    }

    /// Gives the disk back.
    pub fn release(self) {
        let _ = fs::remove_file(&self.path);
    }
}

fn allocate(file: &File, size: u64) -> io::Result<()> {
    use rustix::fs::FallocateFlags;
    match rustix::fs::fallocate(file, FallocateFlags::KEEP_SIZE, 0, size) {
        Ok(()) => Ok(()),
        // Where blocks cannot be promised, written ones do the same.
        Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => {
            use std::os::unix::fs::FileExt;
            file.write_all_at(&vec![0; size as usize], 0)?;
            file.sync_all()
        }
        Err(error) => Err(error.into()),
    }
}

/// The process that holds the lock of this folder, as far as the kernel's table of locks
/// tells. A hint, to be used with a pidfd and a second look.
fn lock_holder(control: &Control) -> io::Result<Option<i32>> {
    let meta = fs::metadata(control.lock_path())?;
    let (major, minor) = (rustix::fs::major(meta.dev()), rustix::fs::minor(meta.dev()));
    let wanted = format!("{major:02x}:{minor:02x}:{}", meta.ino());
    let mut table = String::new();
    File::open("/proc/locks")?.read_to_string(&mut table)?;
    let holder = table.lines().find_map(|line| {
        // "1: FLOCK  ADVISORY  WRITE 1234 fe:00:5678 0 EOF"
        let mut words = line.split_whitespace().skip(1);
        (words.next()? == "FLOCK").then_some(())?;
        let pid = words.nth(2)?.parse().ok()?;
        (words.next()? == wanted).then_some(pid)
    });
    Ok(holder)
}

/// Kills the shim that holds this folder's lock and answers no more, and waits (up to
/// `wait`) until it is dead. Says whether one was killed. Its tree is *not* ended by
/// that: take the lock and close what is left.
pub fn kill_holder(control: &Control, wait: std::time::Duration) -> io::Result<bool> {
    use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
    let find = || -> io::Result<Option<Pid>> {
        if let Some(pid) = lock_holder(control)?.and_then(Pid::from_raw) {
            return Ok(Some(pid));
        }
        // Some filesystems show another device in the table than in stat.
        let peer = crate::local::connect_stream(control.dir())
            .and_then(|stream| Ok(rustix::net::sockopt::socket_peercred(&stream)?));
        Ok(peer.ok().map(|credentials| credentials.pid))
    };
    if !control.is_locked()? {
        return Ok(false);
    }
    let Some(pid) = find()? else { return Ok(false) };
    let handle = pidfd_open(pid, PidfdFlags::empty())?;
    // The pid may have changed hands before the handle was open; not after.
    if !control.is_locked()? || find()? != Some(pid) {
        return Ok(false);
    }
    pidfd_send_signal(&handle, Signal::KILL)?;
    let timeout = rustix::time::Timespec::try_from(wait).ok();
    let mut fds = [rustix::event::PollFd::new(&handle, rustix::event::PollFlags::IN)];
    Ok(rustix::event::poll(&mut fds, timeout.as_ref())? == 1)
}
