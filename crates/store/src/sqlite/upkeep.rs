//! Backups.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection};

use crate::{Result, StoreError};

const VACUUM: &str = "VACUUM INTO ?";

/// Writes a whole, consistent copy to a new file that only its owner reads. What is
/// committed while it runs is not in it.
pub(super) async fn backup(options: &SqliteConnectOptions, to: &Path) -> Result<()> {
    let said = |error: std::io::Error| {
        StoreError::Database(format!("the backup {} cannot be written: {error}", to.display()))
    };
    let name = to.to_str().ok_or_else(|| said(std::io::ErrorKind::InvalidFilename.into()))?;
    OpenOptions::new().create_new(true).write(true).mode(0o600).open(to).map_err(said)?;
    let copied = match copy(options, name).await {
        Ok(()) => sync(to.to_owned()).await.map_err(said),
        Err(error) => Err(error.into()),
    };
    if copied.is_err() {
        // A half-written file must not be taken for a backup.
        let _ = std::fs::remove_file(to);
    }
    copied
}

/// On a connection of its own: one that may not write at all may not write a copy either.
async fn copy(options: &SqliteConnectOptions, name: &str) -> sqlx::Result<()> {
    let mut conn = options.connect().await?;
    sqlx::query(VACUUM).bind(name).execute(&mut conn).await?;
    conn.close().await
}

async fn sync(path: PathBuf) -> std::io::Result<()> {
    tokio::task::spawn_blocking(move || {
        File::open(&path)?.sync_all()?;
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
    })
    .await?
}
