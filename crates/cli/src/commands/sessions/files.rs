//! `greenroom sessions files`.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Subcommand;
use greenroom_client::{Answer, FileBody, Upload};
use greenroom_protocol::v1::FileInfo;
use tokio_util::io::ReaderStream;

use crate::commands::sessions::Whose;
use crate::commands::sessions::moment::At;
use crate::context::Context;
use crate::error::{CliError, Code};
use crate::human::{ago, bytes, moment};
use crate::ui::{Row, Table, Tone, Ui};

/// Look at and change the files of a session, live or stopped
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  greenroom sessions files ls fix-1
  greenroom sessions files get fix-1 report.md > report.md
  greenroom sessions files get fix-1 report.md --run 0198c0de-… > before.md
  greenroom sessions files put fix-1 notes/task.md < task.md
  greenroom sessions files rm fix-1 build --recursive")]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List a folder
    #[command(visible_alias = "list")]
    Ls {
        /// Session
        id: String,
        /// Folder beneath the workspace
        #[arg(default_value = "")]
        path: String,
        #[command(flatten)]
        at: At,
    },
    /// Print a file, or save it
    Get {
        /// Session
        id: String,
        /// File beneath the workspace
        path: String,
        /// Where to save it; standard output if absent or -
        to: Option<PathBuf>,
        #[command(flatten)]
        at: At,
    },
    /// Write a file
    Put {
        /// Session
        id: String,
        /// File beneath the workspace
        path: String,
        /// What to write; standard input if absent or -
        from: Option<PathBuf>,
    },
    /// Remove a file or folder
    Rm {
        /// Session
        id: String,
        /// File or folder beneath the workspace
        path: String,
        /// Also a folder that is not empty
        #[arg(long, short)]
        recursive: bool,
    },
    /// Make a folder, and those above it
    Mkdir {
        /// Session
        id: String,
        /// Folder beneath the workspace
        path: String,
    },
    /// Show what a path is
    Stat {
        /// Session
        id: String,
        /// Path beneath the workspace
        path: String,
        #[command(flatten)]
        at: At,
    },
}

impl Command {
    fn id(&self) -> &str {
        match self {
            Self::Ls { id, .. }
            | Self::Get { id, .. }
            | Self::Put { id, .. }
            | Self::Rm { id, .. }
            | Self::Mkdir { id, .. }
            | Self::Stat { id, .. } => id,
        }
    }
}

pub(crate) async fn run(context: &Context, whose: &Whose, args: Args) -> Result<Code, CliError> {
    let (client, ui) = (context.client()?, &context.ui);
    whose.guard(&client, args.command.id()).await?;
    match args.command {
        Command::Ls { id, path, at } => {
            ui.list(&client.files(&id, &path, &at.into()).await?, |file| file.path.clone(), table)?;
        }
        Command::Get { id, path, to, at } => {
            let body = client.file(&id, &path, &at.into()).await?;
            get(ui, body, to.as_deref()).await?;
        }
        Command::Put { id, path, from } => {
            let upload = upload(from.as_deref()).await?;
            client.put_file(&id, &path, upload).await?;
            ui.say(format!("Wrote {path}."));
        }
        Command::Rm { id, path, recursive } => {
            client.remove_file(&id, &path, recursive).await.map_err(|error| {
                let full = !recursive && error.is_status(409);
                let error = CliError::from(error);
                if full { error.hint("--recursive removes what is in it, too") } else { error }
            })?;
            ui.say(format!("Removed {path}."));
        }
        Command::Mkdir { id, path } => {
            client.make_dir(&id, &path).await?;
            ui.say(format!("Made {path}."));
        }
        Command::Stat { id, path, at } => {
            ui.one(&client.file_stat(&id, &path, &at.into()).await?, stat)?;
        }
    }
    Ok(Code::Done)
}

fn table(files: &[Answer<FileInfo>]) -> Table {
    let row = |file: &Answer<FileInfo>| {
        let size = if file.kind == "file" { bytes(file.size) } else { String::new() };
        let age = file.modified_at.map(ago).unwrap_or_default();
        let tone = if file.kind == "dir" { Tone::Live } else { Tone::Plain };
        Row::new(tone, [mode(file), file.name.clone(), file.kind.clone(), size, age])
    };
    Table::new(&["MODE", "NAME", "KIND", "SIZE", "AGE"], files.iter().map(row), "Empty.")
}

fn mode(file: &FileInfo) -> String {
    format!("{:04o}", file.mode & 0o7777)
}

fn stat(file: &FileInfo) -> String {
    let changed = file.modified_at.map(moment).unwrap_or_default();
    let path = crate::human::clean(&file.path);
    format!(
        "Path      {path}\nKind      {}\nSize      {} bytes\nMode      {}\nChanged   {changed}\n",
        file.kind,
        file.size,
        mode(file)
    )
}

async fn get(ui: &Ui, mut body: FileBody, to: Option<&Path>) -> Result<(), CliError> {
    let Some(to) = to.filter(|to| *to != Path::new("-")) else {
        while let Some(chunk) = body.chunk().await? {
            ui.data(chunk)?;
        }
        return Ok(());
    };
    let failed = |error: &std::io::Error| CliError::io("write", to, error);
    // Saved beside and moved: what is there is never half a file.
    let mut name = to.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.part", std::process::id()));
    let part = to.with_file_name(name);
    let mut file = std::fs::File::create(&part).map_err(|e| failed(&e))?;
    let mut save = async || {
        while let Some(chunk) = body.chunk().await? {
            file.write_all(&chunk).map_err(|e| failed(&e))?;
        }
        std::fs::rename(&part, to).map_err(|e| failed(&e))
    };
    let saved = save().await;
    if saved.is_err() {
        let _ = std::fs::remove_file(&part);
    }
    saved
}

async fn upload(from: Option<&Path>) -> Result<Upload, CliError> {
    match from.filter(|from| *from != Path::new("-")) {
        None => Ok(Upload::stream(ReaderStream::new(tokio::io::stdin()))),
        Some(path) => {
            let file = tokio::fs::File::open(path)
                .await
                .map_err(|error| CliError::io("read", path, &error))?;
            Ok(Upload::stream(ReaderStream::new(file)))
        }
    }
}
