//! SQLite: one file, one writer, any number of readers.

mod agents;
mod append;
mod cache;
mod copies;
mod cursor;
mod doors;
mod draft;
mod fault;
mod files;
mod list;
mod load;
mod open;
mod outbox;
mod place;
mod purge;
mod quotas;
mod runners;
mod runs;
mod seen;
mod sessions;
mod settle;
mod spans;
mod store;
mod tokens;
mod unit;
mod upkeep;
mod writer;
mod writes;

use std::fs::File;
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use greenroom_core::Timestamp;
use sqlx::SqlitePool;
use sqlx::sqlite::SqliteConnectOptions;
use tokio::sync::{Mutex, watch};
use tokio::task::JoinHandle;

use crate::{CommitSink, StoreIdentity};

/// The store in one SQLite file.
pub struct SqliteStore {
    identity: StoreIdentity,
    lanes: writer::Lanes,
    writer: Mutex<Option<JoinHandle<()>>>,
    options: SqliteConnectOptions,
    readers: SqlitePool,
    sink: Arc<OnceLock<CommitSink>>,
    committed: watch::Receiver<Option<Instant>>,
    /// Held while the file is open, against a second process. Let go when the store is
    /// closed or the process ends, however it ends.
    lock: Mutex<Option<File>>,
}

/// The time, for what nobody outside has given one: places found while records are taken,
/// and news told to a parent.
fn now() -> Timestamp {
    Timestamp::from_unix_ms(jiff::Timestamp::now().as_millisecond())
}
