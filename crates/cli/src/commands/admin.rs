//! `greenroom admin`.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Subcommand;
use greenroom_store::{SqliteStore, Store};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions, Connection};

use crate::context::Context;
use crate::data::DataDir;
use crate::error::{CliError, Code};

/// Back up and restore the state of a coordinator
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  greenroom admin backup /backups/greenroom-monday.db
  greenroom admin restore /backups/greenroom-monday.db --data ./data

A copied database file is no backup: part of it may still be in the log beside it.
Files of sessions and journals of runners are not part of it.")]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Write a whole, consistent copy of the database, also while a server has it open
    Backup {
        /// File to write; it must not exist
        file: PathBuf,
    },
    /// Put a backup in the place of the database
    ///
    /// Nobody may serve the data folder. The database that was there is kept beside it.
    /// Whoever follows a log is told that it begins anew; agents that run go on running.
    Restore {
        /// Backup to restore
        file: PathBuf,
    },
}

pub(crate) async fn run(context: &Context, args: Args) -> Result<Code, CliError> {
    let data = context.data_dir()?;
    match args.command {
        Command::Backup { file } => backup(&data, &file).await?,
        Command::Restore { file } => {
            if let Some(kept) = restore(&data, &file).await? {
                context.ui.say(format!("What was there is kept as {}.", kept.display()));
            }
        }
    }
    context.ui.say("Done.");
    Ok(Code::Done)
}

/// Copies the database, whether or not a server has it open.
async fn backup(data: &DataDir, file: &Path) -> Result<(), CliError> {
    let database = data.database();
    if !database.exists() {
        let place = data.path().display();
        return Err(CliError::failed(format!("there is no database in {place}"))
            .hint("name the data folder with --data DIR"));
    }
    // Made first, so that nobody else can read what is in it, not even for a moment.
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(file).map_err(|error| {
        CliError::io("make", file, &error).hint("name a file that does not exist yet")
    })?;
    let copied = match vacuum(&database, file).await {
        Ok(()) => sync(file),
        Err(error) => Err(CliError::failed(format!("the backup failed: {error}"))
            .hint("see that there is space, and that the data folder is yours")),
    };
    if copied.is_err() {
        // Half a file must not be taken for a backup.
        let _ = fs::remove_file(file);
    }
    copied
}

/// One consistent copy, as of one moment. Readers do not disturb the server that writes.
async fn vacuum(database: &Path, file: &Path) -> Result<(), sqlx::Error> {
    let options = SqliteConnectOptions::new()
        .filename(database)
        .read_only(true)
        .busy_timeout(Duration::from_secs(30));
    let mut connection = options.connect().await?;
    let name = file.as_os_str().to_string_lossy();
    let copied = sqlx::query("VACUUM INTO ?").bind(&*name).execute(&mut connection).await;
    connection.close().await?;
    copied.map(drop)
}

/// Puts a backup in place; answers where the database is kept that was there.
async fn restore(data: &DataDir, file: &Path) -> Result<Option<PathBuf>, CliError> {
    data.make()?;
    let _lock = data.serve()?;
    let database = data.database();
    let new = data.path().join("greenroom.db.restoring");
    remove_with_logs(&new)?;
    copy(file, &new)?;
    // Opened before it is in place: what is no backup never gets there.
    let opened = SqliteStore::open_restored(&new).await;
    match opened {
        Ok(store) => store.close().await,
        Err(error) => {
            remove_with_logs(&new)?;
            return Err(CliError::failed(error.to_string()).hint(format!(
                "nothing was changed; is {} a backup of `greenroom admin backup`?",
                file.display()
            )));
        }
    }
    let kept = match database.exists() {
        true => Some(keep(&database)?),
        false => None,
    };
    // What its log still holds belongs to it.
    let log = beside(&new, "-wal");
    if log.exists() {
        rename(&log, &beside(&database, "-wal"))?;
    }
    rename(&new, &database)?;
    remove_with_logs(&new)?;
    sync(data.path())?;
    Ok(kept)
}

fn copy(from: &Path, to: &Path) -> Result<(), CliError> {
    fs::copy(from, to).map_err(|error| CliError::io("copy", from, &error))?;
    sync(to)
}

fn sync(path: &Path) -> Result<(), CliError> {
    File::open(path)
        .and_then(|file| file.sync_all())
        .map_err(|error| CliError::io("write", path, &error))
}

fn rename(from: &Path, to: &Path) -> Result<(), CliError> {
    fs::rename(from, to).map_err(|error| CliError::io("put in place", to, &error))
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// The files that SQLite and the store keep beside a database.
const BESIDE: [&str; 3] = ["-wal", "-shm", ".lock"];

/// Moves a database aside, with what belongs to it.
fn keep(database: &Path) -> Result<PathBuf, CliError> {
    let now = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%SZ");
    let kept = beside(database, &format!(".before-{now}"));
    for suffix in ["-wal", "-shm"] {
        let file = beside(database, suffix);
        if file.exists() {
            rename(&file, &beside(&kept, suffix))?;
        }
    }
    rename(database, &kept)?;
    Ok(kept)
}

fn remove_with_logs(database: &Path) -> Result<(), CliError> {
    let all = BESIDE.iter().map(|suffix| beside(database, suffix)).chain([database.to_owned()]);
    for file in all {
        match fs::remove_file(&file) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(CliError::io("remove", &file, &error));
            }
            _ => {}
        }
    }
    Ok(())
}
