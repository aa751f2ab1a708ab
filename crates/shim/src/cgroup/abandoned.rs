//! Folders for control groups whose runner is gone, and will not come back to remove them.

use std::fs::{self, File};
use std::path::PathBuf;
use std::time::Duration;

use greenroom_core::RunnerId;
use rustix::fs::{FlockOperation, flock};

use super::Capabilities;
use super::probe::PREFIX;

/// Keeps a living runner's folders from being taken for those of a dead one.
#[derive(Debug)]
pub struct Claim {
    _folders: Vec<File>,
}

impl Capabilities {
    fn folders(&self) -> impl Iterator<Item = &PathBuf> {
        [&self.kill, &self.memory, &self.pids].into_iter().flatten()
    }

    /// Claims the runner's folders. Ends with the process that holds it.
    pub fn claim(&self) -> Claim {
        let claim = |dir: &PathBuf| {
            let folder = File::open(dir).ok()?;
            flock(&folder, FlockOperation::NonBlockingLockShared).ok()?;
            Some(folder)
        };
        Claim { _folders: self.folders().filter_map(claim).collect() }
    }

    /// Removes the folders of other runners, beside this one's, that are empty, claimed by
    /// nobody and were not touched for `idle`: between the making of a folder and its
    /// claim there is a moment. Says how many.
    ///
    /// A folder that still has a group stays: the group's shim may live, and have no
    /// process yet.
    pub fn remove_abandoned(&self, idle: Duration) -> usize {
        let own: Vec<_> = self.folders().collect();
        let mut positions: Vec<_> = own.iter().filter_map(|dir| dir.parent()).collect();
        positions.sort_unstable();
        positions.dedup();
        let entries = positions.into_iter().filter_map(|dir| fs::read_dir(dir).ok()).flatten();
        let abandoned = entries.flatten().filter(|entry| {
            let name = entry.file_name();
            let runner = name.to_str().and_then(|name| name.strip_prefix(PREFIX));
            runner.is_some_and(|id| id.parse::<RunnerId>().is_ok()) && !own.contains(&&entry.path())
        });
        abandoned.filter(|entry| remove_if_abandoned(&entry.path(), idle)).count()
    }
}

fn remove_if_abandoned(dir: &PathBuf, idle: Duration) -> bool {
    let Ok(folder) = File::open(dir) else { return false };
    let touched = folder.metadata().and_then(|meta| meta.modified());
    // A clock that was set back makes it look younger than it is, and so it stays.
    let rests = touched.is_ok_and(|at| at.elapsed().is_ok_and(|since| since >= idle));
    rests
        && flock(&folder, FlockOperation::NonBlockingLockExclusive).is_ok()
        && fs::remove_dir(dir).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn only_empty_and_unclaimed_folders_of_runners_go() {
        let temp = tempfile::tempdir().unwrap();
        let make = |name: &str| {
            let path = temp.path().join(name);
            fs::create_dir(&path).unwrap();
            path
        };
        let runner = || make(&format!("{PREFIX}{}", RunnerId(uuid::Uuid::now_v7())));
        let capabilities = |dir: &Path| {
            let kill = Some(dir.to_owned());
            Capabilities { kill: kill.clone(), memory: kill, ..Capabilities::default() }
        };
        let (own, dead, living, busy) = (runner(), runner(), runner(), runner());
        fs::create_dir(busy.join("compute.1")).unwrap();
        let other = make(&format!("{PREFIX}mine"));
        let claim = capabilities(&living).claim();
        let ours = capabilities(&own);
        assert_eq!(ours.remove_abandoned(Duration::from_secs(3600)), 0);
        assert_eq!(ours.remove_abandoned(Duration::ZERO), 1);
        assert!(!dead.exists());
        assert!([&own, &living, &busy, &other].iter().all(|path| path.exists()));
        drop(claim);
        assert_eq!(ours.remove_abandoned(Duration::ZERO), 1);
        assert!(!living.exists());
    }
}
