//! What became of a take, on disk until the coordinator has heard of it.

use std::fs;
use std::io;
use std::path::PathBuf;

use greenroom_core::{RunFiles, RunId, SessionUid};
use greenroom_protocol::link::KeptFiles;
use greenroom_shim::control::{sync_parent, write_durable};

use super::repository::Shelf;
use crate::folder::{Folder, make_private};

fn dir(shelf: &Shelf) -> PathBuf {
    shelf.root().join("unsaid")
}

/// What became of a run's, if the coordinator has not heard of it.
pub(crate) fn read(shelf: &Shelf, run: RunId) -> io::Result<Option<RunFiles>> {
    match fs::read(dir(shelf).join(run.to_string())) {
        Ok(bytes) => Ok(Some(serde_json::from_slice(&bytes)?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Puts on disk what became of a run's.
pub(crate) fn write(shelf: &Shelf, run: RunId, files: &RunFiles) -> io::Result<()> {
    make_private(shelf.root())?;
    let dir = dir(shelf);
    make_private(&dir)?;
    sync_parent(&dir)?;
    write_durable(&dir.join(run.to_string()), &serde_json::to_vec(files)?)
}

/// The coordinator has heard of it.
pub(crate) fn said(shelf: &Shelf, run: RunId) -> io::Result<()> {
    match fs::remove_file(dir(shelf).join(run.to_string())) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// What the coordinator has not heard of a session.
pub(crate) fn unsaid(folder: &Folder, uid: SessionUid) -> io::Result<Vec<KeptFiles>> {
    let shelf = Shelf::of(&folder.run(uid));
    let entries = match fs::read_dir(dir(&shelf)) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut all = Vec::new();
    for entry in entries {
        let name = entry?.file_name();
        // Others are files that were being written.
        let Some(run) = name.to_str().and_then(|name| name.parse().ok()) else { continue };
        match read(&shelf, run) {
            Ok(Some(files)) => all.push(KeptFiles { uid, run, files }),
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(%uid, %run, %error, "a record of kept files is unreadable")
            }
        }
    }
    Ok(all)
}
