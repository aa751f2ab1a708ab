//! Control groups of one compute: made, joined, frozen, killed, asked, removed.
//!
//! Killing and limiting are separate powers. Killing is cgroup v2 (`cgroup.kill`);
//! limits are where the machine has their controllers, v2 or v1.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

mod abandoned;
mod probe;

pub use abandoned::Claim;
pub use probe::{Capabilities, own_position, probe};

/// Writes one value into a file of the control filesystem. Such files are never made.
pub(crate) fn put(path: &Path, value: &str) -> io::Result<()> {
    OpenOptions::new().write(true).open(path)?.write_all(value.as_bytes())
}

fn get(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.read_to_string(&mut text)?;
    Ok(text)
}

/// The number after `key` in a file of lines `key number`.
fn field(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.trim().parse().ok())
}

/// Whether a path is, or if it is gone would have been, on cgroup v2: the nearest
/// folder above it that is still there says so.
pub fn is_on_v2(path: &Path) -> bool {
    let existing = path.ancestors().find(|p| p.exists());
    existing
        .and_then(|p| rustix::fs::statfs(p).ok())
        .is_some_and(|fs| fs.f_type == libc::CGROUP2_SUPER_MAGIC)
}

/// A cgroup v2 that can be cloned into and killed.
#[derive(Debug)]
pub struct KillGroup {
    path: PathBuf,
    dir: File,
}

impl KillGroup {
    /// Makes the group; one that is there already is used.
    pub fn make(path: &Path) -> io::Result<Self> {
        match fs::create_dir(path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
            _ => Self::open(path),
        }
    }

    /// The group that is there.
    pub fn open(path: &Path) -> io::Result<Self> {
        let dir = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_DIRECTORY | libc::O_CLOEXEC)
            .open(path)?;
        Ok(Self { path: path.to_owned(), dir })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What `clone3` wants.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }

    /// Stops every member where it stands, those still to be born too.
    pub fn freeze(&self) -> io::Result<()> {
        put(&self.path.join("cgroup.freeze"), "1")
    }

    /// Kills every member, those being born too.
    pub fn kill(&self) -> io::Result<()> {
        put(&self.path.join("cgroup.kill"), "1")
    }

    /// Whether it, or a group below it, has a process. A group that is gone has none:
    /// the kernel removes only empty ones, and clones nothing into a removed one.
    pub fn populated(&self) -> io::Result<bool> {
        match get(&self.path.join("cgroup.events")) {
            Ok(text) => Ok(field(&text, "populated") != Some(0)),
            Err(error) if gone(&error) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// A file that polls PRI whenever `populated` changes.
    pub fn events(&self) -> io::Result<File> {
        File::open(self.path.join("cgroup.events"))
    }

    /// Every member of it and of the groups below.
    pub fn procs(&self) -> Vec<i32> {
        let mut found = Vec::new();
        collect_procs(&self.path, &mut found, 0);
        found
    }

    /// Removes it and the groups below. Only empty ones go.
    pub fn remove(&self) -> io::Result<()> {
        remove_tree(&self.path)
    }
}

fn gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::ENODEV)
}

/// Agents may nest groups; no sane one nests deeper.
const MAX_DEPTH: u32 = 64;

fn collect_procs(dir: &Path, found: &mut Vec<i32>, depth: u32) {
    if let Ok(text) = get(&dir.join("cgroup.procs")) {
        found.extend(text.lines().filter_map(|line| line.parse::<i32>().ok()));
    }
    if depth < MAX_DEPTH {
        for child in subgroups(dir) {
            collect_procs(&child, found, depth + 1);
        }
    }
}

fn subgroups(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.filter(|e| e.file_type().is_ok_and(|t| t.is_dir())).map(|e| e.path()).collect()
}

/// Removes a group and the groups below it, deepest first. Gone already is fine.
pub fn remove_tree(dir: &Path) -> io::Result<()> {
    fn remove(dir: &Path, depth: u32) -> io::Result<()> {
        match fs::remove_dir(dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(_) if depth < MAX_DEPTH => {}
            done => return done,
        }
        for child in subgroups(dir) {
            remove(&child, depth + 1)?;
        }
        fs::remove_dir(dir)
    }
    remove(dir, 0)
}

/// A group that limits, v2 or v1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitGroup {
    path: PathBuf,
}

impl LimitGroup {
    /// Makes the group; one that is there already is used.
    pub fn make(path: &Path) -> io::Result<Self> {
        match fs::create_dir(path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
            _ => Ok(Self { path: path.to_owned() }),
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn is_v1(&self) -> bool {
        self.path.join("memory.limit_in_bytes").exists() || !is_on_v2(&self.path)
    }

    /// No more memory than this, swap included.
    pub fn set_memory(&self, bytes: u64) -> io::Result<()> {
        let set = |name: &str, value: &str| put(&self.path.join(name), value);
        let value = bytes.to_string();
        if self.is_v1() {
            set("memory.limit_in_bytes", &value)?;
            // Not every kernel accounts swap; where it does, swap is no way around.
            if self.path.join("memory.memsw.limit_in_bytes").exists() {
                set("memory.memsw.limit_in_bytes", &value)?;
            }
            return Ok(());
        }
        set("memory.max", &value)?;
        if self.path.join("memory.swap.max").exists() {
            set("memory.swap.max", "0")?;
        }
        Ok(())
    }

    /// No more processes and threads than this.
    pub fn set_pids(&self, count: u32) -> io::Result<()> {
        put(&self.path.join("pids.max"), &count.to_string())
    }

    /// Puts a process into it. What the process starts later is born there.
    pub fn join(&self, pid: i32) -> io::Result<()> {
        put(&self.path.join("cgroup.procs"), &pid.to_string())
    }

    /// How many processes the kernel killed here for want of memory.
    pub fn oom_kills(&self) -> u64 {
        ["memory.events", "memory.oom_control"]
            .iter()
            .find_map(|name| field(&get(&self.path.join(name)).ok()?, "oom_kill"))
            .unwrap_or(0)
    }

    /// Removes it and the groups below. Only empty ones go.
    pub fn remove(&self) -> io::Result<()> {
        remove_tree(&self.path)
    }
}
