//! One durable commit: SQLite as Greenroom sets it up, and a file that is synced.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::time::Instant;

use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{Connection, SqliteConnection};

use crate::stats::since;

/// A table as wide as the log.
pub(crate) const CREATE: &str = "CREATE TABLE events (
    sid INTEGER NOT NULL, seq INTEGER NOT NULL, at INTEGER NOT NULL,
    run TEXT, type TEXT NOT NULL, data TEXT NOT NULL,
    PRIMARY KEY (sid, seq)) WITHOUT ROWID";

/// Opens a database that keeps what it has promised.
pub(crate) async fn open(path: &Path) -> sqlx::Result<SqliteConnection> {
    let options = SqliteConnectOptions::new()
        .filename(path)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full);
    let mut connection = SqliteConnection::connect_with(&options).await?;
    sqlx::query(CREATE).execute(&mut connection).await?;
    Ok(connection)
}

/// A database and a file to write to.
pub(crate) struct Disk {
    database: SqliteConnection,
    journal: File,
    seq: i64,
}

impl Disk {
    /// Both in this folder.
    pub(crate) async fn open(folder: &Path) -> anyhow::Result<Self> {
        std::fs::create_dir_all(folder)?;
        let database = open(&folder.join("floor.db")).await?;
        let journal = File::options().create(true).append(true).open(folder.join("journal"))?;
        Ok(Self { database, journal, seq: 0 })
    }

    /// One row, durably, in milliseconds.
    pub(crate) async fn commit(&mut self) -> anyhow::Result<f64> {
        let started = Instant::now();
        self.seq += 1;
        sqlx::query("INSERT INTO events VALUES (1, ?, 0, NULL, 'run.queued', ?)")
            .bind(self.seq)
            .bind("{\"prompt\":\"begin\"}")
            .execute(&mut self.database)
            .await?;
        Ok(since(started))
    }

    /// One record at the end of a file, durably, in milliseconds.
    pub(crate) fn append(&mut self) -> anyhow::Result<f64> {
        let started = Instant::now();
        self.journal.write_all(&[b'x'; 400])?;
        self.journal.sync_data()?;
        Ok(since(started))
    }
}
