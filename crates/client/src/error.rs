//! What can go wrong with a call.

use std::time::Duration;

use greenroom_protocol::Problem;

/// Why a call has no answer, or not the one that was hoped for.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The address of the coordinator does not read as one.
    #[error("{url:?} is not the address of a coordinator: {why}")]
    BadUrl {
        /// What was given.
        url: String,
        /// What is wrong with it.
        why: String,
    },
    /// Nobody answers at that address.
    #[error("no coordinator answers at {url}: {why}")]
    Unreachable {
        /// The coordinator's address.
        url: String,
        /// Why, in the system's words.
        why: String,
    },
    /// It took the call and did not answer in time.
    #[error("the coordinator at {url} has not answered within {after:?}")]
    Silent {
        /// The coordinator's address.
        url: String,
        /// How long it was waited for.
        after: Duration,
    },
    /// The connection broke before the answer was whole.
    #[error("the connection to the coordinator at {url} broke: {why}")]
    Broken {
        /// The coordinator's address.
        url: String,
        /// Why, in the system's words.
        why: String,
    },
    /// The coordinator refuses, and says why.
    #[error(transparent)]
    Problem(Box<Problem>),
    /// Something answered that does not speak this API.
    #[error("{url} answered {status} with something that is not Greenroom's: {what}")]
    Unexpected {
        /// Address of the call.
        url: String,
        /// HTTP status.
        status: u16,
        /// The beginning of what it said, or what does not fit.
        what: String,
    },
}

impl ClientError {
    /// The problem the coordinator names, where it does.
    pub fn problem(&self) -> Option<&Problem> {
        match self {
            Self::Problem(problem) => Some(problem),
            _ => None,
        }
    }

    /// Whether there is no coordinator to speak to, as opposed to one that refuses.
    pub fn is_no_coordinator(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Silent { .. } | Self::Broken { .. })
    }

    /// Whether this is an answer of that HTTP status.
    pub fn is_status(&self, status: u16) -> bool {
        match self {
            Self::Problem(problem) => problem.status == status,
            Self::Unexpected { status: found, .. } => *found == status,
            _ => false,
        }
    }
}

/// The innermost cause: what the system said.
pub(crate) fn innermost(error: &dyn std::error::Error) -> String {
    let mut at = error;
    while let Some(source) = at.source() {
        at = source;
    }
    at.to_string()
}
