//! What `/proc` shows of our processes. It tells what to signal and what to count, and
//! is never a proof: a process that forks and exits can be missed by every walk.

use std::collections::{HashMap, HashSet};
use std::fs;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// A process at one moment. The pid with the time it was started is its identity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Process {
    pub(crate) pid: i32,
    pub(crate) parent: i32,
    /// `R`, `S`, `D`, `T`, `Z` and so on.
    pub(crate) state: u8,
    /// When it was started, in the kernel's ticks.
    pub(crate) start: u64,
}

impl Process {
    /// Whether it can still do anything.
    pub(crate) fn is_alive(self) -> bool {
        !matches!(self.state, b'Z' | b'X' | b'x')
    }
}

fn parse(pid: i32, stat: &str) -> Option<Process> {
    // The name stands in parentheses and may hold anything, these included.
    let rest = stat.get(stat.rfind(')')? + 2..)?;
    let mut words = rest.split(' ');
    let state = *words.next()?.as_bytes().first()?;
    let parent = words.next()?.parse().ok()?;
    // Field 22; the state was the third.
    let start = words.nth(17)?.parse().ok()?;
    Some(Process { pid, parent, state, start })
}

/// The process with this number now.
pub(crate) fn find(pid: i32) -> Option<Process> {
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    parse(pid, &String::from_utf8_lossy(&stat))
}

/// Every descendant of ours that one walk finds, zombies too.
pub(crate) fn descendants() -> Vec<Process> {
    let own = std::process::id() as i32;
    // The machine may have many processes, and our tree few; not every kernel tells.
    if fs::metadata(format!("/proc/{own}/task/{own}/children")).is_err() {
        return descendants_by_parent(own);
    }
    let mut found = Vec::new();
    let mut seen = HashSet::from([own]);
    let mut open = own_children();
    while let Some(pid) = open.pop() {
        // The walk is no snapshot: a reused number must not make a circle.
        if let Some(process) = find(pid).filter(|_| seen.insert(pid)) {
            if process.is_alive() {
                open.extend(children(pid));
            }
            found.push(process);
        }
    }
    found
}

/// The same by a look at every process of the machine.
fn descendants_by_parent(root: i32) -> Vec<Process> {
    let mut children: HashMap<i32, Vec<Process>> = HashMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let pid = entry.file_name().to_str().and_then(|name| name.parse().ok());
        if let Some(process) = pid.and_then(find) {
            children.entry(process.parent).or_default().push(process);
        }
    }
    let mut found = Vec::new();
    let mut seen = HashSet::from([root]);
    let mut open = vec![root];
    while let Some(parent) = open.pop() {
        for process in children.remove(&parent).unwrap_or_default() {
            if seen.insert(process.pid) {
                open.push(process.pid);
                found.push(process);
            }
        }
    }
    found
}

/// Children of all threads of a process.
fn children(pid: i32) -> Vec<i32> {
    let mut found = Vec::new();
    for thread in fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten() {
        let list = fs::read_to_string(thread.path().join("children")).unwrap_or_default();
        found.extend(list.split_ascii_whitespace().filter_map(|pid| pid.parse::<i32>().ok()));
    }
    found
}

/// Our own children, zombies too, without looking at the whole machine. Empty where the
/// kernel does not tell.
pub(crate) fn own_children() -> Vec<i32> {
    children(std::process::id() as i32)
}

/// Sends a signal to a child of ours that was not reaped since it was listed: until it
/// is, nobody else can have its number.
pub(crate) fn send_to_child(pid: i32, signal: Signal) {
    if let Some(pid) = Pid::from_raw(pid) {
        let _ = rustix::process::kill_process(pid, signal);
    }
}

/// Sends a signal to exactly this process, or to none.
pub(crate) fn send(process: Process, signals: &[Signal]) -> bool {
    let Some(pid) = Pid::from_raw(process.pid) else { return false };
    let Ok(handle) = pidfd_open(pid, PidfdFlags::empty()) else { return false };
    // The handle holds whoever had the number when it was opened: is it still the same?
    if find(process.pid).is_none_or(|now| now.start != process.start) {
        return false;
    }
    signals.iter().all(|signal| pidfd_send_signal(&handle, *signal).is_ok())
}

/// Memory of its own that a process has resident, in bytes.
pub(crate) fn own_memory(pid: i32) -> u64 {
    let Ok(statm) = fs::read_to_string(format!("/proc/{pid}/statm")) else { return 0 };
    let mut words = statm.split(' ').skip(1).map(|word| word.trim().parse::<u64>().unwrap_or(0));
    let (resident, shared) = (words.next().unwrap_or(0), words.next().unwrap_or(0));
    resident.saturating_sub(shared) * rustix::param::page_size() as u64
}

/// A process in words, for evidence: what it is, and in what it hangs.
pub(crate) fn describe(process: Process) -> String {
    let read = |name: &str| {
        let text = fs::read_to_string(format!("/proc/{}/{name}", process.pid));
        text.map(|text| text.trim().to_owned()).unwrap_or_default()
    };
    let state = char::from(process.state);
    format!("pid {} ({}) state {state} wchan {}", process.pid, read("comm"), read("wchan"))
}

/// Counts distinct processes, some of which are seen alive and some only when reaped.
#[derive(Debug, Default)]
pub(crate) struct Census {
    alive: HashMap<i32, u64>,
    seen: u32,
}

impl Census {
    /// These are there.
    pub(crate) fn saw(&mut self, processes: &[Process]) {
        for process in processes {
            if self.alive.insert(process.pid, process.start) != Some(process.start) {
                self.seen += 1;
            }
        }
    }

    /// This one was reaped.
    pub(crate) fn reaped(&mut self, pid: i32) {
        if self.alive.remove(&pid).is_none() {
            self.seen += 1;
        }
    }

    /// How many there were.
    pub(crate) fn seen(&self) -> u32 {
        self.seen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_stat_whatever_the_name_is() {
        let stat = "42 (a) b) R) S 7 42 42 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 123456 1 1";
        let process = parse(42, stat).unwrap();
        assert_eq!((process.parent, process.state, process.start), (7, b'S', 123456));
        assert!(parse(1, "1 (x").is_none());
    }

    #[test]
    fn both_walks_see_the_same_tree() {
        let mut child = std::process::Command::new("/bin/sh")
            .args(["-c", "sleep 100 & sleep 100 & echo; wait"])
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = [0];
        std::io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut line).unwrap();
        let own = std::process::id() as i32;
        let pids = |found: Vec<Process>| {
            let mut pids: Vec<_> = found.into_iter().map(|p| (p.pid, p.start)).collect();
            pids.sort_unstable();
            pids
        };
        let found = descendants();
        assert_eq!(pids(found.clone()), pids(descendants_by_parent(own)));
        assert_eq!(found.len(), 3);
        assert!(found.iter().all(|process| send(*process, &[Signal::KILL])));
        child.wait().unwrap();
    }

    #[test]
    fn counts_each_process_once() {
        let process = |pid, start| Process { pid, parent: 1, state: b'S', start };
        let mut census = Census::default();
        census.saw(&[process(1, 10), process(2, 10)]);
        census.saw(&[process(1, 10), process(2, 99)]);
        census.reaped(1);
        census.reaped(3);
        assert_eq!(census.seen(), 4);
    }
}
