//! Who this runner is, as its data folder remembers.

use std::fs;
use std::io;
use std::sync::Mutex;

use greenroom_core::{RunnerId, StoreId};
use greenroom_shim::control::write_durable;
use serde::{Deserialize, Serialize};

use crate::error::RunnerError;
use crate::folder::Folder;

/// What `runner.json` holds.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Saved {
    runner_id: RunnerId,
    /// The machine it was made on; empty where machines have no id.
    machine_id: String,
    /// Counts starts. Synced before anything else is done.
    instance: u64,
    #[serde(default)]
    joined: Option<Joined>,
}

/// The coordinator's store this runner has joined.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Joined {
    /// The only store it obeys.
    pub(crate) store_id: StoreId,
    /// Its own bearer. A secret.
    pub(crate) credential: String,
}

impl std::fmt::Debug for Joined {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Joined").field("store_id", &self.store_id).finish_non_exhaustive()
    }
}

/// Who this runner is.
#[derive(Debug)]
pub(crate) struct Identity {
    folder: Folder,
    saved: Mutex<Saved>,
}

impl Identity {
    /// Reads who this runner is, or makes it up, and counts this start. The folder's lock
    /// must be held.
    pub(crate) fn open(folder: &Folder, machine_id: &str) -> Result<Self, RunnerError> {
        let path = folder.identity();
        let mut saved = match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice::<Saved>(&bytes)
                .map_err(|source| RunnerError::Unreadable { path: path.clone(), source })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Saved {
                runner_id: RunnerId(uuid::Uuid::now_v7()),
                machine_id: machine_id.to_owned(),
                instance: 0,
                joined: None,
            },
            Err(source) => return Err(RunnerError::Io { what: "could not read", path, source }),
        };
        if saved.machine_id != machine_id {
            return Err(RunnerError::OtherMachine(folder.root().to_owned()));
        }
        saved.instance += 1;
        let identity = Self { folder: folder.clone(), saved: Mutex::new(saved.clone()) };
        identity.save(&saved).map_err(|source| RunnerError::Io {
            what: "could not write",
            path,
            source,
        })?;
        Ok(identity)
    }

    /// Its id, for as long as the folder lives.
    pub(crate) fn id(&self) -> RunnerId {
        self.lock().runner_id
    }

    /// Which start this is, counted from 1.
    pub(crate) fn instance(&self) -> u64 {
        self.lock().instance
    }

    /// What it has joined.
    pub(crate) fn joined(&self) -> Option<Joined> {
        self.lock().joined.clone()
    }

    /// It has joined a store, durably.
    pub(crate) fn join(&self, joined: Joined) -> io::Result<()> {
        let saved = Saved { joined: Some(joined), ..self.lock().clone() };
        self.save(&saved)?;
        *self.lock() = saved;
        Ok(())
    }

    fn save(&self, saved: &Saved) -> io::Result<()> {
        write_durable(&self.folder.identity(), &serde_json::to_vec_pretty(saved)?)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Saved> {
        self.saved.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn counts_starts_keeps_its_id_and_refuses_another_machine() {
        let temp = tempfile::tempdir().unwrap();
        let folder = Folder::open(temp.path()).unwrap();
        let first = Identity::open(&folder, "here").unwrap();
        assert_eq!(first.instance(), 1);
        let store_id = StoreId(uuid::Uuid::now_v7());
        first.join(Joined { store_id, credential: "geheim".into() }).unwrap();
        let second = Identity::open(&folder, "here").unwrap();
        assert_eq!((second.id(), second.instance()), (first.id(), 2));
        assert_eq!(second.joined().map(|joined| joined.store_id), Some(store_id));
        assert!(!format!("{second:?}").contains("geheim"));
        let mode = fs::metadata(folder.identity()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(matches!(Identity::open(&folder, "there"), Err(RunnerError::OtherMachine(_))));
    }
}
