//! The workspace, seen by tools: nothing on the way to a file leads out of it.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, openat2};

/// A workspace.
#[derive(Debug)]
pub struct Place {
    root: OwnedFd,
    path: PathBuf,
}

/// Why a path was not served.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Denied {
    /// Nothing is there.
    #[error("{0:?} does not exist")]
    Missing(String),
    /// What it is, where it leads, or what the system says, in words.
    #[error("{0}")]
    Refused(String),
}

impl From<Denied> for String {
    fn from(denied: Denied) -> Self {
        denied.to_string()
    }
}

fn refused<T>(text: impl Into<String>) -> Result<T, Denied> {
    Err(Denied::Refused(text.into()))
}

/// One thing in a folder.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Entry {
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: Kind,
}

/// What something in a folder is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A folder.
    Folder,
    /// A file.
    File,
    /// A symbolic link.
    Link,
    /// Something else.
    Other,
}

impl Place {
    /// The workspace at this path.
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(path, flags, Mode::empty())?;
        Ok(Self { root, path: path.to_owned() })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A path as the model gave it, beneath the workspace. The workspace's own absolute
    /// path before it is taken off; `""` and `"."` are the workspace.
    pub fn relative(&self, path: &str) -> Result<String, Denied> {
        if path.contains('\0') || path.len() > 4096 {
            let shown: String = path.chars().take(100).collect();
            return refused(format!("{shown:?} is not a path"));
        }
        let given = Path::new(path);
        let given = given.strip_prefix(&self.path).unwrap_or(given);
        if given.is_absolute() {
            return Err(self.outside(path));
        }
        let mut names: Vec<&str> = Vec::new();
        for name in given.to_str().unwrap_or(path).split('/') {
            match name {
                "" | "." => {}
                ".." => {
                    names.pop().ok_or_else(|| self.outside(path))?;
                }
                name => names.push(name),
            }
        }
        Ok(names.join("/"))
    }

    fn outside(&self, path: &str) -> Denied {
        Denied::Refused(format!(
            "{path:?} is outside the workspace: give a path beneath it, such as \"notes.txt\""
        ))
    }

    fn say(&self, path: &str, error: io::Error) -> Denied {
        Denied::Refused(match error.raw_os_error().map(rustix::io::Errno::from_raw_os_error) {
            Some(rustix::io::Errno::XDEV) => {
                format!("{path:?} leads out of the workspace by a symbolic link")
            }
            Some(rustix::io::Errno::LOOP) => format!("{path:?} is a symbolic link"),
            Some(rustix::io::Errno::NOENT) => return Denied::Missing(path.to_owned()),
            Some(rustix::io::Errno::ISDIR) => format!("{path:?} is a folder"),
            Some(rustix::io::Errno::NOTDIR) => format!("{path:?} goes through what is no folder"),
            _ => format!("{path:?}: {error}"),
        })
    }

    fn beneath(&self, path: &str, flags: OFlags, mode: Mode) -> io::Result<OwnedFd> {
        let path = if path.is_empty() { "." } else { path };
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        // The kernel says EAGAIN where a rename elsewhere made it unsure.
        for _ in 0..100 {
            match openat2(&self.root, path, flags | OFlags::CLOEXEC, mode, resolve) {
                Err(rustix::io::Errno::AGAIN) => {}
                opened => return Ok(opened?),
            }
        }
        Err(rustix::io::Errno::AGAIN.into())
    }

    /// Opens a regular file to read it.
    pub fn file(&self, path: &str) -> Result<File, Denied> {
        // Not blocking, or a pipe of that name would hold the agent for ever.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = self.beneath(path, flags, Mode::empty()).map_err(|e| self.say(path, e))?;
        let stat = rustix::fs::fstat(&file).map_err(|e| self.say(path, e.into()))?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Ok(File::from(file)),
            FileType::Directory => refused(format!("{path:?} is a folder: use the tool \"list\"")),
            _ => refused(format!("{path:?} is no regular file")),
        }
    }

    /// Reads a file of at most so many bytes.
    pub fn read(&self, path: &str, most: u64) -> Result<Vec<u8>, Denied> {
        let file = self.file(path)?;
        let mut bytes = Vec::new();
        file.take(most + 1).read_to_end(&mut bytes).map_err(|e| self.say(path, e))?;
        if bytes.len() as u64 > most {
            return refused(format!("{path:?} has more than {most} bytes"));
        }
        Ok(bytes)
    }

    /// Writes a file, whole or not at all. Folders on the way are made.
    pub fn write(&self, path: &str, bytes: &[u8]) -> Result<(), Denied> {
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        if name.is_empty() {
            return refused("a file needs a name");
        }
        let folder = self.folders(folder)?;
        let mut mode = Mode::from_raw_mode(0o666);
        match rustix::fs::statat(&folder, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => match FileType::from_raw_mode(stat.st_mode) {
                FileType::RegularFile => mode = Mode::from_raw_mode(stat.st_mode & 0o7777),
                FileType::Directory => return refused(format!("{path:?} is a folder")),
                FileType::Symlink => return refused(format!("{path:?} is a symbolic link")),
                _ => return refused(format!("{path:?} is no regular file")),
            },
            Err(rustix::io::Errno::NOENT) => {}
            Err(error) => return Err(self.say(path, error.into())),
        }
        let beside = format!(".greenroom-{}", uuid::Uuid::now_v7().simple());
        let written = write_beside(folder.as_fd(), &beside, name, mode, bytes);
        written.map_err(|error| {
            let _ = rustix::fs::unlinkat(&folder, &beside, AtFlags::empty());
            self.say(path, error)
        })
    }

    /// Opens a folder and makes those on the way that are not there.
    fn folders(&self, path: &str) -> Result<OwnedFd, Denied> {
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        let ends = path.match_indices('/').map(|(at, _)| at).chain([path.len()]);
        let mut folder = self.beneath("", flags, Mode::empty()).map_err(|e| self.say("", e))?;
        for end in ends.filter(|end| *end > 0) {
            let here = &path[..end];
            folder = match self.beneath(here, flags, Mode::empty()) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    let name = here.rsplit('/').next().unwrap_or(here);
                    match rustix::fs::mkdirat(&folder, name, Mode::from_raw_mode(0o777)) {
                        Ok(()) | Err(rustix::io::Errno::EXIST) => {}
                        Err(error) => return Err(self.say(here, error.into())),
                    }
                    self.beneath(here, flags, Mode::empty())
                }
                opened => opened,
            }
            .map_err(|error| self.say(here, error))?;
        }
        Ok(folder)
    }

    /// What is in a folder, by name.
    pub fn list(&self, path: &str) -> Result<Vec<Entry>, Denied> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let folder = self.beneath(path, flags, Mode::empty()).map_err(|e| self.say(path, e))?;
        let mut entries = Vec::new();
        for entry in Dir::new(folder).map_err(|e| self.say(path, e.into()))? {
            let entry = entry.map_err(|e| self.say(path, e.into()))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if matches!(name.as_str(), "." | "..") {
                continue;
            }
            let kind = match entry.file_type() {
                FileType::Directory => Kind::Folder,
                FileType::RegularFile => Kind::File,
                FileType::Symlink => Kind::Link,
                _ => Kind::Other,
            };
            entries.push(Entry { name, kind });
        }
        entries.sort();
        Ok(entries)
    }
}

fn write_beside(
    folder: impl AsFd,
    beside: &str,
    name: &str,
    mode: Mode,
    bytes: &[u8],
) -> io::Result<()> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let fresh = rustix::fs::openat(&folder, beside, flags, mode)?;
    let mut file = File::from(fresh);
    file.write_all(bytes)?;
    drop(file);
    Ok(rustix::fs::renameat(&folder, beside, &folder, name)?)
}
