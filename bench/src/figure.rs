//! The figures. Each measures itself and its floor, in turns where both take long.

pub(crate) mod append;
pub(crate) mod idle;
pub(crate) mod many;
pub(crate) mod start;
pub(crate) mod stop;
pub(crate) mod viewers;

use std::path::{Path, PathBuf};

use tempfile::TempDir;

/// Where figures find what they need.
pub(crate) struct Lab {
    /// A copy of the binary that no build replaces under our feet.
    pub(crate) greenroom: PathBuf,
    /// The agent.
    pub(crate) agent: PathBuf,
    /// Everything of this run lies beneath it, on a real disk.
    folder: TempDir,
    /// A tenth of the counts, to see whether everything works.
    pub(crate) quick: bool,
}

impl Lab {
    /// A folder beneath `parent`, with a copy of the binary.
    pub(crate) fn open(
        greenroom: &Path,
        agent: PathBuf,
        parent: &Path,
        quick: bool,
    ) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("grb").tempdir_in(parent)?;
        let copy = folder.path().join("greenroom");
        std::fs::copy(greenroom, &copy)?;
        Ok(Self { greenroom: copy, agent, folder, quick })
    }

    /// A folder of this run.
    pub(crate) fn folder(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// So many, or a tenth in a quick run.
    pub(crate) fn count(&self, full: usize) -> usize {
        if self.quick { (full / 10).max(3) } else { full }
    }
}
