//! Copying a folder: links stay links, mounts beneath it are not entered, and what is
//! neither file nor folder nor link stays behind.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, Timestamps};
use tokio_util::sync::CancellationToken;

use crate::beneath::open_beneath;
use crate::remove::entries;

/// Deeper trees are not copied; nobody has them on purpose.
const MAX_DEPTH: u32 = 256;

/// Copies what is in `source` into the folder `target`, and syncs it. Blocks; ends with an
/// error when it is cancelled.
pub(crate) fn tree(source: &Path, target: &Path, cancel: &CancellationToken) -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let from = rustix::fs::open(source, flags, Mode::empty())?;
    let to = rustix::fs::open(target, flags | OFlags::NOFOLLOW, Mode::empty())?;
    folder(&from, &to, cancel, 0)?;
    rustix::fs::syncfs(&to)?;
    Ok(())
}

fn folder(from: &OwnedFd, to: &OwnedFd, cancel: &CancellationToken, depth: u32) -> io::Result<()> {
    if depth > MAX_DEPTH {
        return Err(io::Error::other(format!("it is deeper than {MAX_DEPTH} folders")));
    }
    for name in entries(from)? {
        if cancel.is_cancelled() {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let stat = rustix::fs::statat(from, &name, AtFlags::SYMLINK_NOFOLLOW)?;
        let mode = Mode::from_raw_mode(stat.st_mode);
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Symlink => {
                let link = rustix::fs::readlinkat(from, &name, Vec::new())?;
                rustix::fs::symlinkat(&link, to, &name)?;
            }
            FileType::Directory => {
                let restrict = ResolveFlags::NO_XDEV | ResolveFlags::NO_SYMLINKS;
                let flags = OFlags::RDONLY | OFlags::DIRECTORY;
                rustix::fs::mkdirat(to, &name, Mode::RWXU)?;
                // A mount stays an empty folder.
                match open_beneath(from, name.as_c_str(), flags, restrict) {
                    Ok(inside) => {
                        let copied = open_beneath(to, name.as_c_str(), flags, restrict)?;
                        folder(&inside, &copied, cancel, depth + 1)?;
                        rustix::fs::fchmod(&copied, mode | Mode::RWXU)?;
                    }
                    Err(error)
                        if error.raw_os_error() == Some(rustix::io::Errno::XDEV.raw_os_error()) => {
                    }
                    Err(error) => return Err(error),
                }
            }
            FileType::RegularFile => file(from.as_fd(), to.as_fd(), &name, mode)?,
            _ => {}
        }
    }
    Ok(())
}

fn file(
    from: BorrowedFd<'_>,
    to: BorrowedFd<'_>,
    name: &std::ffi::CStr,
    mode: Mode,
) -> io::Result<()> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK;
    let mut source = File::from(open_beneath(from, name, flags, ResolveFlags::empty())?);
    let create = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let target = rustix::fs::openat(to, name, create, Mode::RUSR | Mode::WUSR)?;
    let mut target = File::from(target);
    io::copy(&mut source, &mut target)?;
    rustix::fs::fchmod(&target, mode)?;
    // Build tools and git compare times: a copy should look unchanged to them.
    let stat = rustix::fs::fstat(&source)?;
    let time = |sec, nsec| rustix::fs::Timespec { tv_sec: sec, tv_nsec: nsec };
    rustix::fs::futimens(
        &target,
        &Timestamps {
            last_access: time(stat.st_atime, stat.st_atime_nsec as _),
            last_modification: time(stat.st_mtime, stat.st_mtime_nsec as _),
        },
    )?;
    Ok(())
}
