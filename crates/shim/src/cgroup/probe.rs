//! What control groups can do here, found out by doing it: make one, clone into it, kill
//! it, see it empty, remove it. Asking for permission says nothing (`access` lies).

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use greenroom_core::{Epoch, RunnerId, SessionUid};

use super::{KillGroup, LimitGroup, put};
use crate::spec::Cgroups;
use crate::sys;

/// Where the groups of a runner's computes go, each found by doing. The folders named
/// here exist, beneath the runner's own position, so that a Greenroom inside a session
/// cannot put its computes outside of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// cgroup v2 in which computes can be started, frozen and killed.
    pub kill: Option<PathBuf>,
    /// Where memory can be limited.
    pub memory: Option<PathBuf>,
    /// Where the number of processes can be limited.
    pub pids: Option<PathBuf>,
    /// What was tried and did not work, for `doctor`.
    pub notes: Vec<String>,
}

impl Capabilities {
    /// The groups of one compute, to be made by its shim.
    pub fn for_compute(&self, uid: SessionUid, epoch: Epoch) -> Cgroups {
        let leaf = |parent: &Option<PathBuf>| {
            parent.as_ref().map(|parent| parent.join(format!("{uid}.{epoch}")))
        };
        Cgroups { kill: leaf(&self.kill), memory: leaf(&self.memory), pids: leaf(&self.pids) }
    }

    /// Removes the runner's own (empty) folders again.
    pub fn remove(&self) {
        for parent in [&self.kill, &self.memory, &self.pids].into_iter().flatten() {
            let _ = fs::remove_dir(parent);
        }
    }
}

/// What the names of runners' folders begin with.
pub(super) const PREFIX: &str = "greenroom-";

/// A mounted hierarchy, as `/proc/self/mountinfo` tells.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Mount {
    root: PathBuf,
    point: PathBuf,
    /// `None` for v2; the controllers of a v1 hierarchy else.
    controllers: Option<Vec<String>>,
}

fn mounts(mountinfo: &str) -> Vec<Mount> {
    let read = |line: &str| {
        let (head, tail) = line.split_once(" - ")?;
        let mut head = head.split(' ').skip(3);
        let (root, point) = (unescape(head.next()?), unescape(head.next()?));
        let mut tail = tail.split(' ');
        let controllers = match tail.next()? {
            "cgroup2" => None,
            "cgroup" => Some(tail.nth(1)?.split(',').map(str::to_owned).collect()),
            _ => return None,
        };
        Some(Mount { root, point, controllers })
    };
    mountinfo.lines().filter_map(read).collect()
}

/// Paths in mountinfo have blanks as `\040`.
fn unescape(text: &str) -> PathBuf {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        let octal = (byte == b'\\')
            .then(|| std::str::from_utf8(tail.get(..3)?).ok())
            .flatten()
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match octal {
            Some(value) => {
                out.push(value);
                rest = &tail[3..];
            }
            None => {
                out.push(byte);
                rest = tail;
            }
        }
    }
    use std::os::unix::ffi::OsStringExt;
    std::ffi::OsString::from_vec(out).into()
}

/// The own position in the hierarchy of `controller` (`None` is v2), in
/// `/proc/self/cgroup`'s words.
fn position(table: &str, controller: Option<&str>) -> Option<String> {
    table.lines().find_map(|line| {
        let mut parts = line.splitn(3, ':');
        let (id, names, path) = (parts.next()?, parts.next()?, parts.next()?);
        let here = match controller {
            None => id == "0" && names.is_empty(),
            Some(wanted) => names.split(',').any(|name| name == wanted),
        };
        here.then(|| path.to_owned())
    })
}

/// The folder of this process's own group in the hierarchy of `controller` (`None` is v2).
pub fn own_position(controller: Option<&str>) -> Option<PathBuf> {
    let mountinfo = fs::read_to_string("/proc/self/mountinfo").ok()?;
    let table = fs::read_to_string("/proc/self/cgroup").ok()?;
    locate(&mountinfo, &table, controller).filter(|dir| dir.join("cgroup.procs").exists())
}

fn locate(mountinfo: &str, table: &str, controller: Option<&str>) -> Option<PathBuf> {
    let position = PathBuf::from(position(table, controller)?);
    mounts(mountinfo).into_iter().find_map(|mount| {
        let right = match (&mount.controllers, controller) {
            (None, None) => true,
            (Some(has), Some(wanted)) => has.iter().any(|name| name == wanted),
            _ => false,
        };
        let below = position.strip_prefix(&mount.root).ok().filter(|_| right)?;
        Some(mount.point.join(below))
    })
}

/// Tries everything, makes the folders for this runner's computes, and says what works.
pub fn probe(runner: RunnerId) -> Capabilities {
    let mut found = Capabilities::default();
    let name = format!("{PREFIX}{runner}");
    match own_position(None) {
        None => found.notes.push("no cgroup v2 is mounted".to_owned()),
        Some(own) => match kill_works(&own.join(&name)) {
            Ok(parent) => found.kill = Some(parent),
            Err(error) => found.notes.push(format!("cgroup v2 at {}: {error}", own.display())),
        },
    }
    for (controller, limit) in [("memory", "67108864"), ("pids", "64")] {
        let mut tried = Vec::new();
        let dir = limit_parent(controller, &name, found.kill.as_deref(), limit, &mut tried);
        if dir.is_none() {
            found.notes.push(format!("no {controller} limit: {}", tried.join("; ")));
        }
        match controller {
            "memory" => found.memory = dir,
            _ => found.pids = dir,
        }
    }
    found
}

fn limit_parent(
    controller: &str,
    name: &str,
    kill: Option<&Path>,
    limit: &str,
    tried: &mut Vec<String>,
) -> Option<PathBuf> {
    if let Some(parent) = kill {
        let file = if controller == "memory" { "memory.max" } else { "pids.max" };
        let enabled = [parent.parent(), Some(parent)].into_iter().flatten().try_for_each(|dir| {
            put(&dir.join("cgroup.subtree_control"), &format!("+{controller}"))
        });
        match enabled.and_then(|()| limit_works(parent, file, limit)) {
            Ok(()) => return Some(parent.to_owned()),
            Err(error) => tried.push(format!("v2: {error}")),
        }
    }
    let Some(own) = own_position(Some(controller)) else {
        tried.push("v1: not mounted".to_owned());
        return None;
    };
    let file = if controller == "memory" { "memory.limit_in_bytes" } else { "pids.max" };
    let parent = own.join(name);
    match make_dir(&parent).and_then(|()| limit_works(&parent, file, limit)) {
        Ok(()) => Some(parent),
        Err(error) => {
            tried.push(format!("v1 at {}: {error}", own.display()));
            let _ = fs::remove_dir(&parent);
            None
        }
    }
}

fn make_dir(dir: &Path) -> io::Result<()> {
    match fs::create_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        done => done,
    }
}

/// Time the kernel has to do what it was told.
const PATIENCE: Duration = Duration::from_secs(2);

fn wait_until(mut done: impl FnMut() -> io::Result<bool>, what: &str) -> io::Result<()> {
    let begun = Instant::now();
    while !done()? {
        if begun.elapsed() > PATIENCE {
            return Err(io::Error::other(format!("{what} took too long")));
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// A name that no compute and no other probe has.
fn probe_name() -> String {
    format!("probe-{}-{}", std::process::id(), crate::clock::now())
}

fn kill_works(parent: &Path) -> io::Result<PathBuf> {
    make_dir(parent)?;
    let tried = kill_works_in(&parent.join(probe_name()));
    if tried.is_err() {
        let _ = fs::remove_dir(parent);
    }
    tried.map(|()| parent.to_owned())
}

fn kill_works_in(leaf: &Path) -> io::Result<()> {
    let group = KillGroup::make(leaf)?;
    let tried = (|| {
        let child = sys::paused_child(Some(group.fd()))?;
        let killed = (|| {
            if !group.populated()? {
                return Err(io::Error::other("a child cloned into it is not in it"));
            }
            group.freeze()?;
            group.kill()?;
            wait_until(|| child.has_ended(), "cgroup.kill")
        })();
        // Whatever happened, the child must not stay.
        child.end();
        killed?;
        wait_until(|| Ok(!group.populated()?), "populated 0")
    })();
    let removed = group.remove();
    tried.and(removed)
}

fn limit_works(parent: &Path, file: &str, limit: &str) -> io::Result<()> {
    let group = LimitGroup::make(&parent.join(probe_name()))?;
    let tried = (|| {
        put(&group.path().join(file), limit)?;
        let child = sys::paused_child(None)?;
        let joined = (|| {
            group.join(child.pid())?;
            let members = fs::read_to_string(group.path().join("cgroup.procs"))?;
            match members.lines().any(|line| line == child.pid().to_string()) {
                true => Ok(()),
                false => Err(io::Error::other("a child that joined it is not in it")),
            }
        })();
        child.end();
        joined
    })();
    // The dead leave their group a moment after they were reaped.
    let removed = wait_until(|| Ok(group.remove().is_ok()), "removing a group");
    tried.and(removed)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n\
        35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n\
        36 31 0:33 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct\n\
        41 31 0:38 /box /sys/fs/cgroup/with\\040blank rw,relatime - cgroup2 cgroup2 rw\n";
    const TABLE: &str = "4:memory:/process_api/f1\n3:cpu,cpuacct:/\n0::/box/inner\n";

    #[test]
    fn finds_own_position_wherever_it_is_mounted() {
        let at = |controller| locate(MOUNTS, TABLE, controller);
        assert_eq!(at(None), Some("/sys/fs/cgroup/with blank/inner".into()));
        assert_eq!(at(Some("memory")), Some("/sys/fs/cgroup/memory/process_api/f1".into()));
        assert_eq!(at(Some("cpuacct")), Some("/sys/fs/cgroup/cpu,cpuacct".into()));
        assert_eq!(at(Some("pids")), None);
    }
}
