//! Finding processes independently of what the product says of them.
//!
//! An agent's descendants may leave its session and process group, wipe their environment
//! and change their name. What they cannot do unnoticed is to close a file they do not know
//! they hold: the tests hand every such process an open file with an unguessable path.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};

/// A process, as `/proc` shows it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Proc {
    /// Its id.
    pub pid: i32,
    /// When it was started, in clock ticks since boot: with the id, an identity.
    pub started: u64,
    /// Its arguments, joined by blanks.
    pub line: String,
}

/// State and start of a process, or `None` when it is gone or a zombie.
fn stat(pid: i32) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let rest = &text[text.rfind(')')? + 2..];
    let fields: Vec<&str> = rest.split(' ').collect();
    if matches!(fields.first(), Some(&"Z" | &"X")) {
        return None;
    }
    fields.get(19)?.parse().ok()
}

/// All processes but this one.
fn pids() -> Vec<i32> {
    let own = std::process::id() as i32;
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|pid| *pid != own)
        .collect()
}

/// The process of this id, unless it is gone or a zombie.
pub fn look(pid: i32) -> Option<Proc> {
    let started = stat(pid)?;
    let raw = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let line = String::from_utf8_lossy(&raw).replace('\0', " ").trim().to_owned();
    Some(Proc { pid, started, line })
}

fn holds(pid: i32, path: &Path) -> bool {
    let Ok(entries) = fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    entries
        .flatten()
        .any(|entry| fs::read_link(entry.path()).is_ok_and(|target| target.starts_with(path)))
}

/// Living processes that hold `path`, or something beneath it, open.
pub fn holding(path: &Path) -> Vec<Proc> {
    pids().into_iter().filter(|pid| holds(*pid, path)).filter_map(look).collect()
}

fn contains(hay: &[u8], needle: &[u8]) -> bool {
    hay.windows(needle.len()).any(|window| window == needle)
}

/// Living processes that have to do with `root` in any way: by an open file, working
/// directory, argument, variable or executable.
pub fn about(root: &Path) -> Vec<Proc> {
    let needle = root.as_os_str().as_bytes();
    pids()
        .into_iter()
        .filter(|pid| {
            let read = |what: &str| fs::read(format!("/proc/{pid}/{what}")).unwrap_or_default();
            let link = |what: &str| fs::read_link(format!("/proc/{pid}/{what}"));
            link("cwd").is_ok_and(|cwd| cwd.starts_with(root))
                || link("exe").is_ok_and(|exe| exe.starts_with(root))
                || contains(&read("cmdline"), needle)
                || contains(&read("environ"), needle)
                || holds(*pid, root)
        })
        .filter_map(look)
        .collect()
}

/// Living processes whose control group's path contains `part`.
pub fn in_cgroup(part: &str) -> Vec<Proc> {
    pids()
        .into_iter()
        .filter(|pid| {
            fs::read_to_string(format!("/proc/{pid}/cgroup")).is_ok_and(|text| text.contains(part))
        })
        .filter_map(look)
        .collect()
}

/// Resident memory of a process, in KiB.
pub fn rss_kib(pid: i32) -> u64 {
    status_field(pid, "VmRSS:")
}

fn status_field(pid: i32, field: &str) -> u64 {
    fs::read_to_string(format!("/proc/{pid}/status"))
        .ok()
        .and_then(|text| {
            let line = text.lines().find(|line| line.starts_with(field))?;
            line.split_whitespace().nth(1)?.parse().ok()
        })
        .unwrap_or(0)
}

/// Sends a signal; a process that is gone is no error.
pub fn signal(pid: i32, signal: Signal) {
    if let Some(pid) = Pid::from_raw(pid) {
        let _ = kill_process(pid, signal);
    }
}

/// Waits until the process has ended (a zombie has). Says whether it did in time.
pub fn wait_gone(pid: i32, limit: Duration) -> bool {
    let Some(id) = Pid::from_raw(pid) else { return true };
    let Ok(fd) = pidfd_open(id, PidfdFlags::empty()) else { return true };
    let mut fds = [PollFd::new(&fd, PollFlags::IN)];
    let begun = Instant::now();
    loop {
        let Some(left) = limit.checked_sub(begun.elapsed()) else { return false };
        let left = Timespec::try_from(left).unwrap_or(Timespec { tv_sec: 60, tv_nsec: 0 });
        match poll(&mut fds, Some(&left)) {
            Ok(0) => return false,
            Ok(_) => return true,
            Err(_) => {}
        }
    }
}

/// Waits until none of these processes lives any more.
pub fn wait_all_gone(procs: &[Proc], limit: Duration) -> bool {
    procs.iter().all(|proc| {
        look(proc.pid).is_none_or(|now| now.started != proc.started) || wait_gone(proc.pid, limit)
    })
}

/// Kills everything that has to do with `root`, or lives in a control group named after one
/// of `runners`, and says how many scans that took. For the end of a test only.
pub fn sweep(root: &Path, runners: &[String]) -> usize {
    for round in 1..200 {
        for runner in runners {
            for group in cgroups_of(runner) {
                let _ = fs::write(group.join("cgroup.kill"), "1");
            }
        }
        let mut found: BTreeMap<i32, Proc> =
            about(root).into_iter().map(|proc| (proc.pid, proc)).collect();
        for runner in runners {
            found.extend(in_cgroup(runner).into_iter().map(|proc| (proc.pid, proc)));
        }
        if found.is_empty() {
            for runner in runners {
                for group in cgroups_of(runner) {
                    let _ = fs::remove_dir(group);
                }
            }
            return round;
        }
        // Shims first: one that sees its tree end would otherwise go on and sweep it, which
        // is right and slow.
        for pid in found.keys() {
            signal(*pid, Signal::KILL);
        }
        for pid in found.keys() {
            wait_gone(*pid, Duration::from_secs(2));
        }
    }
    panic!("processes of {} cannot be ended: {:?}", root.display(), about(root));
}

/// Control groups whose path contains `part`, the deepest first.
fn cgroups_of(part: &str) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![std::path::PathBuf::from("/sys/fs/cgroup")];
    while let Some(dir) = open.pop() {
        let Ok(entries) = fs::read_dir(&dir) else { continue };
        for entry in entries.flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                let path = entry.path();
                if path.to_string_lossy().contains(part) {
                    found.push(path.clone());
                }
                open.push(path);
            }
        }
    }
    found.sort_by_key(|path| std::cmp::Reverse(path.components().count()));
    found
}
