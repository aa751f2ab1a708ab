//! What keeps a runner from starting.

use std::io;
use std::path::PathBuf;

use greenroom_protocol::Problem;

/// What keeps a runner from starting, or from joining.
#[derive(Debug, thiserror::Error)]
pub enum RunnerError {
    /// Another runner has this data folder.
    #[error("another runner uses the data folder {}", .0.display())]
    Locked(PathBuf),
    /// The data folder was made on another machine.
    #[error("the data folder {} belongs to another machine", .0.display())]
    OtherMachine(PathBuf),
    /// The disk said no.
    #[error("{what} {}: {source}", path.display())]
    Io {
        /// What was tried, as a phrase that goes before the path.
        what: &'static str,
        /// With what.
        path: PathBuf,
        /// What the disk said.
        source: io::Error,
    },
    /// A file of the data folder makes no sense.
    #[error("{} does not read: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the parser said.
        source: serde_json::Error,
    },
    /// A folder that clients may work beneath is none.
    #[error("--working-dir-root {}: {reason}", path.display())]
    BadRoot {
        /// What was named.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// This data folder has joined no coordinator, and no token to join with was given.
    #[error("this runner has not joined a coordinator yet, and there is no token to join with")]
    NoToken,
    /// The coordinator's address does not read.
    #[error("{url:?} is not the address of a coordinator: {reason}")]
    BadAddress {
        /// What was given.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The HTTP client could not be made.
    #[error("the HTTP client could not be made: {0}")]
    Http(reqwest::Error),
    /// The coordinator does not take this runner.
    #[error("the coordinator does not take this runner: {0}")]
    Refused(Box<Problem>),
    /// The runner was shut down first.
    #[error("the runner was shut down before it had joined")]
    ShutDown,
}

impl RunnerError {
    /// What to do about it.
    pub fn hint(&self) -> Option<&'static str> {
        Some(match self {
            Self::Locked(_) => {
                "stop the other one (`greenroom down`), or give this one a folder of its own with --data"
            }
            Self::OtherMachine(_) => {
                "give this machine a data folder of its own with --data; sessions cannot be moved by copying it"
            }
            Self::BadRoot { .. } => "name a folder of this machine that exists",
            Self::NoToken => {
                "make one with `greenroom token create --role runner` and give it with --token or GREENROOM_TOKEN"
            }
            Self::BadAddress { .. } => "write it like http://127.0.0.1:7070",
            Self::Unreadable { .. } => {
                "give the runner another data folder with --data, and keep this one for a look"
            }
            Self::Refused(problem) if problem.status == 401 || problem.status == 403 => {
                "give it a token of role runner: `greenroom token create --role runner`"
            }
            Self::Io { .. } | Self::Http(_) | Self::Refused(_) | Self::ShutDown => return None,
        })
    }
}
