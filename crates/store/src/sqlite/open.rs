//! Opening the file: whose it is, what schema it has, and who else has it.

use std::fs::{File, OpenOptions, Permissions};
use std::io::Read;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use greenroom_core::StoreId;
use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{ConnectOptions, Row, SqliteConnection};
use tokio::sync::{Mutex, watch};
use uuid::Uuid;

use crate::{Result, SqliteStore, StoreError, StoreIdentity};

use super::fault::is_not_a_database;
use super::load::{damaged, id};
use super::now;
use super::writer::Writer;

/// Each takes the schema one step forward, and none is ever changed.
const MIGRATIONS: &[&str] = &[
    include_str!("migrations/0001_first.sql"),
    include_str!("migrations/0002_outbox_awaits.sql"),
    include_str!("migrations/0003_spans.sql"),
    include_str!("migrations/0004_source_copy.sql"),
    include_str!("migrations/0005_seen.sql"),
    include_str!("migrations/0006_door_record.sql"),
    include_str!("migrations/0007_files.sql"),
    include_str!("migrations/0008_agents_by_api.sql"),
    include_str!("migrations/0009_quotas_and_disuse.sql"),
];

/// Marks the file as ours.
const APPLICATION: i32 = 0x4752_4e52;

/// Pages the writer keeps in memory, in KiB with a minus. A flood fills them, and they are
/// not given back; behind them is the page cache of the machine.
const WRITER_CACHE: &str = "-8192";

const SELECT_IDENTITY: &str = "SELECT store_id, era, secret FROM identity";
const INSERT_IDENTITY: &str =
    "INSERT INTO identity (one, store_id, era, secret) VALUES (1, ?, 1, ?)";
const INSERT_SCHEMA: &str = "INSERT INTO schema (version, applied_at) VALUES (?, ?)";
/// Revisions leap, so that every runner is told everything again.
const RESTORE: &str = "UPDATE identity SET era = era + 1; \
    UPDATE revision SET rev = rev + 4294967296; \
    UPDATE assignment SET rev = rev + 4294967296;";
const LAST_SID: &str = "SELECT max(coalesce((SELECT max(sid) FROM session), 0), \
    coalesce((SELECT max(sid) FROM removed), 0)) AS last";

/// Connections for reading.
const READERS: u32 = 4;

impl SqliteStore {
    /// Opens the store in this file, or makes a new one where there is none.
    ///
    /// # Errors
    /// When the file is something else, is in use, or was written by a newer build.
    pub async fn open(path: &Path) -> Result<Self> {
        Self::open_as(path, false).await
    }

    /// Opens a store that was restored from a backup: cursors of the time after that backup
    /// are not understood any more.
    ///
    /// # Errors
    /// As [`SqliteStore::open`]; also when there is no such file.
    pub async fn open_restored(path: &Path) -> Result<Self> {
        Self::open_as(path, true).await
    }

    async fn open_as(path: &Path, restored: bool) -> Result<Self> {
        let lock = lock(path)?;
        prepare(path, restored)?;
        let options = options(path);
        let opened = open_checked(path, &options).await;
        let mut conn = opened.map_err(|error| refused(path, error))?;
        migrate(&mut conn).await?;
        let identity = identity(&mut conn, restored).await?;
        let last_sid = sqlx::query(LAST_SID).fetch_one(&mut conn).await?.try_get("last")?;
        let readers = SqlitePoolOptions::new()
            .max_connections(READERS)
            .connect_with(options.clone().read_only(true).pragma("query_only", "ON"))
            .await?;
        let sink = Arc::new(OnceLock::new());
        let (committed, seen) = watch::channel(None);
        let writer = Writer { conn, last_sid, sink: Arc::clone(&sink), committed };
        let (lanes, ended) = writer.start();
        Ok(Self {
            identity,
            lanes,
            writer: Mutex::new(Some(ended)),
            options,
            readers,
            sink,
            committed: seen,
            lock: Mutex::new(Some(lock)),
        })
    }
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

fn io(path: &Path, what: &str) -> impl Fn(std::io::Error) -> StoreError {
    let text = format!("{} cannot be {what}", path.display());
    move |error| StoreError::Database(format!("{text}: {error}"))
}

/// A lock file of its own: closing any other handle of the database file would drop
/// SQLite's locks on it.
fn lock(path: &Path) -> Result<File> {
    let path = beside(path, ".lock");
    let mut options = OpenOptions::new();
    let options = options.create(true).truncate(false).write(true).mode(0o600);
    let file = options.open(&path).map_err(io(&path, "opened"))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(StoreError::Database(format!(
            "{} is held by another process: stop that one, or use another data folder",
            path.display()
        ))),
        Err(std::fs::TryLockError::Error(error)) => Err(io(&path, "locked")(error)),
    }
}

/// Makes an empty file that only its owner reads, or checks the one that is there.
fn prepare(path: &Path, must_exist: bool) -> Result<()> {
    let mut head = Vec::new();
    match File::open(path) {
        Ok(file) => {
            file.take(16).read_to_end(&mut head).map_err(io(path, "read"))?;
            std::fs::set_permissions(path, Permissions::from_mode(0o600))
                .map_err(io(path, "made private"))?;
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && !must_exist => {
            let mut options = OpenOptions::new();
            options
                .create_new(true)
                .write(true)
                .mode(0o600)
                .open(path)
                .map_err(io(path, "made"))?;
        }
        Err(error) => return Err(io(path, "opened")(error)),
    }
    if !head.is_empty() && head != b"SQLite format 3\0" {
        return Err(foreign(path));
    }
    Ok(())
}

fn foreign(path: &Path) -> StoreError {
    StoreError::Database(format!(
        "{} is not a Greenroom database, and was left as it is: use another data folder",
        path.display()
    ))
}

fn refused(path: &Path, error: Unopened) -> StoreError {
    match error {
        Unopened::Store(error) => error,
        Unopened::Sql(error) if is_not_a_database(&error) => foreign(path),
        Unopened::Sql(error) => error.into(),
    }
}

enum Unopened {
    Store(StoreError),
    Sql(sqlx::Error),
}

impl From<sqlx::Error> for Unopened {
    fn from(error: sqlx::Error) -> Self {
        Self::Sql(error)
    }
}

fn options(path: &Path) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(path)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(Duration::from_secs(5))
        .statement_cache_capacity(256)
        .pragma("temp_store", "MEMORY")
        .disable_statement_logging()
}

/// Connects for writing, and changes nothing before it is known that the file is ours.
async fn open_checked(
    path: &Path,
    options: &SqliteConnectOptions,
) -> std::result::Result<SqliteConnection, Unopened> {
    let mut conn = options.clone().pragma("cache_size", WRITER_CACHE).connect().await?;
    let row = sqlx::query("PRAGMA application_id").fetch_one(&mut conn).await?;
    let application: i32 = row.try_get(0)?;
    let row = sqlx::query("SELECT count(*) FROM sqlite_schema").fetch_one(&mut conn).await?;
    let empty = row.try_get::<i64, _>(0)? == 0;
    if application != APPLICATION && !(empty && application == 0) {
        return Err(Unopened::Store(foreign(path)));
    }
    sqlx::query("PRAGMA journal_mode = WAL").execute(&mut conn).await?;
    sqlx::query("PRAGMA journal_size_limit = 67108864").execute(&mut conn).await?;
    Ok(conn)
}

/// Brings the schema to the newest this build knows. Never backwards.
async fn migrate(conn: &mut SqliteConnection) -> Result<()> {
    let known = MIGRATIONS.len() as i64;
    let found = schema(conn).await?;
    if found > known {
        return Err(StoreError::Newer { found, known });
    }
    for (number, sql) in (1..).zip(MIGRATIONS.iter().copied()) {
        if number <= found {
            continue;
        }
        sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut *conn).await?;
        sqlx::raw_sql(sql).execute(&mut *conn).await?;
        let done = sqlx::query(INSERT_SCHEMA).bind(number).bind(now().unix_ms());
        done.execute(&mut *conn).await?;
        sqlx::raw_sql("COMMIT").execute(&mut *conn).await?;
    }
    Ok(())
}

/// The newest step that was applied; 0 in an empty file.
async fn schema(conn: &mut SqliteConnection) -> Result<i64> {
    let table = "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'schema'";
    if sqlx::query(table).fetch_optional(&mut *conn).await?.is_none() {
        return Ok(0);
    }
    let row = sqlx::query("SELECT max(version) FROM schema").fetch_one(conn).await?;
    Ok(row.try_get::<Option<i64>, _>(0)?.unwrap_or(0))
}

async fn identity(conn: &mut SqliteConnection, restored: bool) -> Result<StoreIdentity> {
    let found = sqlx::query(SELECT_IDENTITY).fetch_optional(&mut *conn).await?;
    if found.is_none() {
        let insert = sqlx::query(INSERT_IDENTITY).bind(Uuid::now_v7().as_bytes().to_vec());
        insert.bind(secret()?).execute(&mut *conn).await?;
    }
    if restored {
        sqlx::raw_sql("BEGIN IMMEDIATE").execute(&mut *conn).await?;
        sqlx::raw_sql(RESTORE).execute(&mut *conn).await?;
        sqlx::raw_sql("COMMIT").execute(&mut *conn).await?;
    }
    let row = sqlx::query(SELECT_IDENTITY).fetch_one(conn).await?;
    let secret: &[u8] = row.try_get("secret")?;
    Ok(StoreIdentity {
        store_id: StoreId(id(&row, "store_id")?),
        era: row.try_get("era")?,
        secret: secret.try_into().map_err(|error| damaged("the store's secret", error))?,
    })
}

/// 32 bytes from the kernel.
fn secret() -> Result<Vec<u8>> {
    let path = Path::new("/dev/urandom");
    let mut bytes = vec![0; 32];
    let read = File::open(path).and_then(|mut file| file.read_exact(&mut bytes));
    read.map_err(io(path, "read"))?;
    Ok(bytes)
}
