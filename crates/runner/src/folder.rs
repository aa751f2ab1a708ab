//! The runner's data folder: what is where, and who owns it.
//!
//! ```text
//! DATA/lock                  held by the one runner of this folder
//! DATA/runner.json           who this runner is (0600)
//! DATA/run/<uid>/floor       highest closed epoch; outlives everything else of a session
//! DATA/run/<uid>/place       where the session's workspace is
//! DATA/run/<uid>/repository  what is known of it, where it is one of git
//! DATA/run/<uid>/kept/       files as they were at ends of runs
//! DATA/run/<uid>/<epoch>/    control folder of one compute
//! DATA/work/<uid>/           workspace and home
//! DATA/trash/                what is being removed
//! DATA/secrets/              what `${secret:X}` reads
//! ```

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use greenroom_core::{Epoch, SessionUid};
use greenroom_protocol::link::Floor;
use greenroom_shim::control::{Control, sync_parent, write_durable};
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use crate::error::RunnerError;
use crate::git::Repository;

/// The file that says what a session's repository is.
pub(crate) const REPOSITORY: &str = "repository";

/// The runner's data folder. Its path is absolute.
#[derive(Debug, Clone)]
pub(crate) struct Folder {
    root: PathBuf,
}

/// Where a session's workspace is, once it has been made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Place {
    /// The workspace.
    pub(crate) path: PathBuf,
    /// It is somebody's own folder, and is never removed.
    pub(crate) in_place: bool,
}

/// Makes a folder that only its owner may enter. One that is there already is fine.
pub(crate) fn make_private(path: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
        done => done,
    }
}

impl Folder {
    /// Opens the folder, and makes it where it isn't there.
    pub(crate) fn open(root: &Path) -> Result<Self, RunnerError> {
        let fail = |source| RunnerError::Io {
            what: "could not make the data folder",
            path: root.to_owned(),
            source,
        };
        let root = std::path::absolute(root).map_err(fail)?;
        if let Some(parent) = root.parent() {
            fs::create_dir_all(parent).map_err(fail)?;
        }
        let folder = Self { root };
        for path in
            [folder.root.clone(), folder.runs(), folder.works(), folder.trash(), folder.secrets()]
        {
            make_private(&path).map_err(|source| RunnerError::Io {
                what: "could not make the data folder",
                path,
                source,
            })?;
        }
        Ok(folder)
    }

    /// Takes the lock that says which runner this folder has.
    pub(crate) fn lock(&self) -> Result<File, RunnerError> {
        let path = self.root.join("lock");
        let taken = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .and_then(|file| {
                // One that was killed this moment may not have let go of it yet.
                for _ in 0..20 {
                    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                        Ok(()) => return Ok(Some(file)),
                        Err(rustix::io::Errno::WOULDBLOCK) => {}
                        Err(error) => return Err(error.into()),
                    }
                    std::thread::sleep(std::time::Duration::from_millis(50));
                }
                Ok(None)
            });
        match taken {
            Ok(Some(file)) => Ok(file),
            Ok(None) => Err(RunnerError::Locked(self.root.clone())),
            Err(source) => Err(RunnerError::Io { what: "could not lock", path, source }),
        }
    }

    /// The folder itself.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Who this runner is.
    pub(crate) fn identity(&self) -> PathBuf {
        self.root.join("runner.json")
    }

    /// Control folders of all sessions.
    pub(crate) fn runs(&self) -> PathBuf {
        self.root.join("run")
    }

    /// Control folders of one session.
    pub(crate) fn run(&self, uid: SessionUid) -> PathBuf {
        self.runs().join(uid.to_string())
    }

    /// Control folder of one compute.
    pub(crate) fn compute(&self, uid: SessionUid, epoch: Epoch) -> Control {
        Control::new(self.run(uid).join(epoch.to_string()))
    }

    /// Files of all sessions.
    pub(crate) fn works(&self) -> PathBuf {
        self.root.join("work")
    }

    /// Files of one session.
    pub(crate) fn work(&self, uid: SessionUid) -> PathBuf {
        self.works().join(uid.to_string())
    }

    /// What is being removed.
    pub(crate) fn trash(&self) -> PathBuf {
        self.root.join("trash")
    }

    /// What `${secret:X}` reads.
    pub(crate) fn secrets(&self) -> PathBuf {
        self.root.join("secrets")
    }

    /// The highest epoch recorded as closed; 0 for none.
    pub(crate) fn floor(&self, uid: SessionUid) -> io::Result<Epoch> {
        let text = match fs::read_to_string(self.run(uid).join("floor")) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Epoch(0)),
            Err(error) => return Err(error),
        };
        text.trim().parse().map(Epoch).map_err(|_| {
            io::Error::other(format!("the floor of session {uid} reads {text:?}, not a number"))
        })
    }

    /// Records an epoch as closed, durably. It is never started from then on.
    pub(crate) fn raise_floor(&self, uid: SessionUid, epoch: Epoch) -> io::Result<()> {
        let dir = self.run(uid);
        if !dir.is_dir() {
            make_private(&dir)?;
            sync_parent(&dir)?;
        }
        write_durable(&dir.join("floor"), epoch.to_string().as_bytes())
    }

    /// Makes the control folder of a compute. It outlives a power cut only after
    /// [`Control::sync`] and [`sync_session`](Self::sync_session).
    pub(crate) fn make_compute(&self, uid: SessionUid, epoch: Epoch) -> io::Result<()> {
        make_private(&self.run(uid))?;
        make_private(self.compute(uid, epoch).dir())
    }

    /// Makes the name of a session's folder durable.
    pub(crate) fn sync_session(&self, uid: SessionUid) -> io::Result<()> {
        sync_parent(&self.run(uid))
    }

    /// Where the session's workspace is, if it has been made.
    pub(crate) fn place(&self, uid: SessionUid) -> io::Result<Option<Place>> {
        match fs::read(self.run(uid).join("place")) {
            Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Says durably that the session's workspace has been made.
    pub(crate) fn set_place(&self, uid: SessionUid, place: &Place) -> io::Result<()> {
        make_private(&self.run(uid))?;
        write_durable(&self.run(uid).join("place"), &serde_json::to_vec(place)?)
    }

    /// What is known of a session's repository, if it has one.
    pub(crate) fn repository(&self, uid: SessionUid) -> io::Result<Option<Repository>> {
        match fs::read(self.run(uid).join(REPOSITORY)) {
            Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Says durably what the session's repository is.
    pub(crate) fn set_repository(
        &self,
        uid: SessionUid,
        repository: &Repository,
    ) -> io::Result<()> {
        make_private(&self.run(uid))?;
        write_durable(&self.run(uid).join(REPOSITORY), &serde_json::to_vec(repository)?)
    }

    /// The session has no repository any more.
    pub(crate) fn forget_repository(&self, uid: SessionUid) -> io::Result<()> {
        match fs::remove_file(self.run(uid).join(REPOSITORY)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// The highest closed epoch of each session that has one.
    pub(crate) fn floors(&self) -> io::Result<Vec<Floor>> {
        let mut floors = Vec::new();
        for entry in fs::read_dir(self.runs())? {
            let name = entry?.file_name();
            let Some(uid) = name.to_str().and_then(|name| name.parse().ok()) else { continue };
            match self.floor(uid) {
                Ok(Epoch(0)) => {}
                Ok(epoch) => floors.push(Floor { uid, epoch }),
                Err(error) => tracing::warn!(%uid, %error, "a session's floor cannot be read"),
            }
        }
        Ok(floors)
    }

    /// Every session with a control folder, and its epochs.
    pub(crate) fn sessions(&self) -> io::Result<Vec<(SessionUid, Vec<Epoch>)>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(self.runs())? {
            let entry = entry?;
            let Some(uid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
                continue;
            };
            let mut epochs: Vec<Epoch> = fs::read_dir(entry.path())?
                .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok().map(Epoch))
                .collect();
            epochs.sort_unstable();
            found.push((uid, epochs));
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_floor_is_kept_and_a_second_lock_is_refused() {
        let temp = tempfile::tempdir().unwrap();
        let folder = Folder::open(&temp.path().join("a/b")).unwrap();
        let uid = SessionUid(uuid::Uuid::now_v7());
        assert_eq!(folder.floor(uid).unwrap(), Epoch(0));
        folder.raise_floor(uid, Epoch(7)).unwrap();
        assert_eq!(folder.floor(uid).unwrap(), Epoch(7));
        assert_eq!(folder.floors().unwrap(), [Floor { uid, epoch: Epoch(7) }]);
        fs::write(folder.run(uid).join("floor"), "x").unwrap();
        assert!(folder.floor(uid).is_err());

        let held = folder.lock().unwrap();
        let refused = folder.lock().unwrap_err();
        assert!(matches!(refused, RunnerError::Locked(_)) && refused.hint().is_some());
        drop(held);
        folder.lock().unwrap();
    }
}
