//! What a statement's failure means for the transaction it happened in.

use greenroom_core::Refusal;

use crate::StoreError;

/// Why a unit of work did not succeed.
#[derive(Debug)]
pub(super) enum Fault {
    /// It is refused. Only this unit is undone.
    Refused(StoreError),
    /// A statement failed.
    Sql(sqlx::Error),
}

/// Short for what a unit answers.
pub(super) type Do<T> = Result<T, Fault>;

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        Self::Refused(error)
    }
}

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(StoreError::Refused(refusal))
    }
}

impl From<sqlx::Error> for Fault {
    fn from(error: sqlx::Error) -> Self {
        Self::Sql(error)
    }
}

impl From<Fault> for StoreError {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::Refused(error) => error,
            Fault::Sql(error) => error.into(),
        }
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        if is_full(&error) { Self::Full } else { Self::Database(error.to_string()) }
    }
}

const ERROR: i32 = 1;
const IOERR: i32 = 10;
const CORRUPT: i32 = 11;
const FULL: i32 = 13;
const CONSTRAINT: i32 = 19;
const TOO_BIG: i32 = 18;
const MISMATCH: i32 = 20;
const NOT_A_DB: i32 = 26;
/// The shared memory beside the log could not grow.
const IOERR_SHMSIZE: i32 = IOERR | (19 << 8);

fn code(error: &sqlx::Error) -> Option<i32> {
    error.as_database_error()?.code()?.parse().ok()
}

/// Whether the disk is full.
pub(super) fn is_full(error: &sqlx::Error) -> bool {
    code(error).is_some_and(|code| code & 0xff == FULL || code == IOERR_SHMSIZE)
}

/// Whether a failure undoes its own statement only. After any other, SQLite may have
/// rolled the whole transaction back by itself, so the batch is lost.
pub(super) fn is_local(error: &sqlx::Error) -> bool {
    match code(error) {
        Some(code) => matches!(code & 0xff, ERROR | CONSTRAINT | TOO_BIG | MISMATCH),
        None => !matches!(error, sqlx::Error::WorkerCrashed | sqlx::Error::Io(_)),
    }
}

/// Whether the file is damaged or not a database at all, in SQLite's words.
pub(super) fn is_not_a_database(error: &sqlx::Error) -> bool {
    code(error).is_some_and(|code| matches!(code & 0xff, CORRUPT | NOT_A_DB))
}
