//! The process tree of a compute: its control groups, what lives in it, and the two
//! means by which it is known to be gone.

use std::collections::HashSet;
use std::fs::File;
use std::os::unix::fs::FileExt;

use greenroom_core::Limits;
use greenroom_core::receipt::{Means, Proof};
use rustix::process::Signal;

use crate::cgroup::{KillGroup, LimitGroup};
use crate::proc::{self, Census, Process};
use crate::spec::Cgroups;

/// Everything below the shim.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    kill: Option<KillGroup>,
    /// Says `populated`, and polls when that changes.
    events: Option<File>,
    memory: Option<LimitGroup>,
    pids: Option<LimitGroup>,
    oom_kills: u64,
    /// The last reaping said that there is no child.
    pub(crate) childless: bool,
    /// Who was there while it was ended.
    pub(crate) census: Census,
}

impl Tree {
    /// Makes the groups the spec names and sets their limits. What the spec names must
    /// work: a compute never starts outside the group it was promised, and so a group
    /// that is gone later is known to be empty.
    pub(crate) fn make(groups: &Cgroups, limits: &Limits) -> Result<Self, String> {
        let mut tree = Self::default();
        tree.fill(groups, limits).inspect_err(|_| tree.remove())?;
        Ok(tree)
    }

    fn fill(&mut self, groups: &Cgroups, limits: &Limits) -> Result<(), String> {
        let failed = |what: &str, path: &std::path::Path, error: std::io::Error| {
            format!("the control group {} could not be {what}: {error}", path.display())
        };
        if let Some(path) = &groups.kill {
            let group = KillGroup::make(path).map_err(|e| failed("made", path, e))?;
            self.events = Some(group.events().map_err(|e| failed("watched", path, e))?);
            self.kill = Some(group);
        }
        if let (Some(path), Some(bytes)) = (&groups.memory, limits.memory_bytes) {
            let group = LimitGroup::make(path).map_err(|e| failed("made", path, e))?;
            let group = self.memory.insert(group);
            group.set_memory(bytes.0).map_err(|e| failed("limited", path, e))?;
            self.oom_kills = group.oom_kills();
        }
        if let (Some(path), Some(count)) = (&groups.pids, limits.pids) {
            let group = LimitGroup::make(path).map_err(|e| failed("made", path, e))?;
            let group = self.pids.insert(group);
            group.set_pids(count).map_err(|e| failed("limited", path, e))?;
        }
        Ok(())
    }

    /// The group to be born in.
    pub(crate) fn birth_group(&self) -> Option<&KillGroup> {
        self.kill.as_ref()
    }

    /// The groups that must be joined before anything is executed.
    pub(crate) fn groups_to_join(&self) -> impl Iterator<Item = &LimitGroup> {
        let born_in = self.kill.as_ref().map(KillGroup::path);
        let limits = [&self.memory, &self.pids].into_iter().flatten();
        limits.filter(move |group| Some(group.path()) != born_in)
    }

    /// Whether the kernel enforces a memory limit for us.
    pub(crate) fn limits_memory(&self) -> bool {
        self.memory.is_some()
    }

    /// Whether the kernel killed something here for want of memory since the last look.
    pub(crate) fn had_oom(&mut self) -> bool {
        let now = self.memory.as_ref().map_or(0, LimitGroup::oom_kills);
        std::mem::replace(&mut self.oom_kills, now) < now
    }

    /// Memory of the whole tree, by adding up.
    pub(crate) fn sampled_memory(&self) -> u64 {
        self.members().iter().map(|process| proc::own_memory(process.pid)).sum()
    }

    /// Every living process that a walk or the group shows.
    pub(crate) fn members(&self) -> Vec<Process> {
        let mut found = proc::descendants();
        let known: HashSet<_> = found.iter().map(|process| process.pid).collect();
        let group = self.kill.as_ref().map(KillGroup::procs).unwrap_or_default();
        found.extend(group.into_iter().filter(|pid| !known.contains(pid)).filter_map(proc::find));
        found.retain(|process| process.is_alive());
        found
    }

    /// Counts who is there.
    pub(crate) fn count(&mut self) -> Vec<Process> {
        let members = self.members();
        self.census.saw(&members);
        members
    }

    /// Counts who is there as far as that costs nothing: what the group shows, where
    /// there is one. Others come to light when they are signalled.
    pub(crate) fn count_quickly(&mut self) {
        let Some(group) = &self.kill else {
            self.count();
            return;
        };
        let members: Vec<_> = group.procs().into_iter().filter_map(proc::find).collect();
        self.census.saw(&members);
    }

    /// Asks everybody but `except` to end, the stopped ones too.
    pub(crate) fn term_all_but(&mut self, except: Option<i32>) -> usize {
        let members = self.count();
        let others = members.iter().filter(|process| Some(process.pid) != except);
        others.filter(|process| proc::send(**process, &[Signal::TERM, Signal::CONT])).count()
    }

    /// Stops everything where it stands. Says what was done.
    pub(crate) fn freeze(&mut self) -> Option<String> {
        let result = self.kill.as_ref()?.freeze();
        self.count_quickly();
        Some(match result {
            Ok(()) => "cgroup.freeze".to_owned(),
            Err(error) => format!("cgroup.freeze: {error}"),
        })
    }

    /// Kills through the group, where there is one. Says what was done.
    pub(crate) fn kill_group(&mut self) -> Option<String> {
        Some(match self.kill.as_ref()?.kill() {
            Ok(()) => "cgroup.kill".to_owned(),
            Err(error) => format!("cgroup.kill: {error}"),
        })
    }

    /// Stops our own children where they stand; says whether one was new. A process that
    /// forks and exits for ever is always one of them, and too quick for a walk. What was
    /// listed and not reaped since is still who it was.
    pub(crate) fn stop_children(&mut self, stopped: &mut HashSet<i32>) -> bool {
        let children = proc::own_children();
        let before = stopped.len();
        // The youngest come last in the list, and are those that still live.
        for pid in children.into_iter().rev() {
            if stopped.insert(pid) {
                proc::send_to_child(pid, Signal::STOP);
            }
        }
        stopped.len() > before
    }

    /// Stops all that a walk finds; says whether one was new.
    pub(crate) fn stop_members(&mut self, stopped: &mut HashSet<i32>) -> bool {
        let mut any = false;
        for process in self.count() {
            if stopped.insert(process.pid) {
                proc::send(process, &[Signal::STOP]);
                any = true;
            }
        }
        any
    }

    /// Kills all that a walk finds; says how many.
    pub(crate) fn kill_members(&mut self) -> usize {
        self.count().iter().filter(|process| proc::send(**process, &[Signal::KILL])).count()
    }

    /// The file that polls PRI when `populated` changes.
    pub(crate) fn events(&self) -> Option<&File> {
        self.events.as_ref()
    }

    /// Whether the group is empty; without one there is nothing it could hold.
    pub(crate) fn group_is_empty(&self) -> bool {
        if let Some(events) = &self.events {
            // Read through the polled handle, so that it polls for the next change.
            let _ = events.read_at(&mut [0; 256], 0);
        }
        self.kill.as_ref().is_none_or(|group| group.populated().is_ok_and(|populated| !populated))
    }

    /// Whether both means say that nothing is left. Reap first.
    pub(crate) fn is_gone(&self) -> bool {
        self.childless && self.group_is_empty()
    }

    /// The means, as a receipt has them.
    pub(crate) fn proof(&self) -> Vec<Proof> {
        let mut proof = vec![Proof {
            means: Means::NoChildLeft,
            result: "waitpid(-1) in the subreaper: ECHILD".to_owned(),
        }];
        if let Some(group) = &self.kill {
            proof.push(Proof {
                means: Means::CgroupEmpty,
                result: format!("{}: populated 0", group.path().display()),
            });
        }
        proof
    }

    /// What is left, in words.
    pub(crate) fn evidence(&self) -> String {
        let members = self.members();
        let group = match self.group_is_empty() {
            true => "",
            false => "; the control group is populated",
        };
        let words: Vec<_> = members.iter().take(20).map(|p| proc::describe(*p)).collect();
        format!("{} processes are left{group}: {}", members.len(), words.join("; "))
    }

    /// Removes the groups. They are empty, or this does nothing.
    pub(crate) fn remove(&mut self) {
        self.events = None;
        let kill = self.kill.take().map(|group| (group.path().to_owned(), group.remove()));
        let limits = [self.memory.take(), self.pids.take()].into_iter().flatten();
        let limits = limits.map(|group| (group.path().to_owned(), group.remove()));
        for (path, result) in kill.into_iter().chain(limits) {
            if let Err(error) = result {
                eprintln!("greenroom shim: {} stays: {error}", path.display());
            }
        }
    }
}
