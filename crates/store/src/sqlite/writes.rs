//! Statements gathered to go to the database in one round trip.
//!
//! SQL comes in constants only; what varies is bound. Statements of one flush are sent as
//! one text, so a unit of work usually costs a single exchange with the connection.

use std::sync::LazyLock;

use greenroom_core::{Event, Timestamp};
use sqlx::Arguments;
use sqlx::sqlite::SqliteArguments;
use uuid::Uuid;

/// A bound value.
pub(super) enum Value {
    Null,
    Int(i64),
    Text(String),
    Blob(Vec<u8>),
}

impl From<i64> for Value {
    fn from(n: i64) -> Self {
        Self::Int(n)
    }
}

/// Counters keep all their bits.
impl From<u64> for Value {
    fn from(n: u64) -> Self {
        Self::Int(n as i64)
    }
}

impl From<u32> for Value {
    fn from(n: u32) -> Self {
        Self::Int(n.into())
    }
}

impl From<bool> for Value {
    fn from(yes: bool) -> Self {
        Self::Int(yes.into())
    }
}

impl From<Timestamp> for Value {
    fn from(at: Timestamp) -> Self {
        Self::Int(at.unix_ms())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<Uuid> for Value {
    fn from(id: Uuid) -> Self {
        Self::Blob(id.as_bytes().to_vec())
    }
}

impl From<Vec<u8>> for Value {
    fn from(bytes: Vec<u8>) -> Self {
        Self::Blob(bytes)
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

/// Statements with their values.
#[derive(Default)]
pub(super) struct Writes {
    sql: String,
    args: SqliteArguments,
    bytes: usize,
    failed: Option<sqlx::error::BoxDynError>,
}

impl Writes {
    /// Whether nothing was gathered.
    pub(super) fn is_empty(&self) -> bool {
        self.sql.is_empty()
    }

    /// Another statement.
    pub(super) fn sql(&mut self, sql: &'static str) -> &mut Self {
        self.sql.push_str(sql);
        self.sql.push(';');
        self
    }

    /// The next value of the statements so far.
    pub(super) fn bind(&mut self, value: impl Into<Value>) -> &mut Self {
        let added = match value.into() {
            Value::Null => self.args.add(None::<i64>),
            Value::Int(n) => self.args.add(n),
            Value::Text(text) => {
                self.bytes += text.len();
                self.args.add(text)
            }
            Value::Blob(bytes) => {
                self.bytes += bytes.len();
                self.args.add(bytes)
            }
        };
        if let Err(error) = added {
            self.failed.get_or_insert(error);
        }
        self
    }

    /// Entries of a session's log, as few statements with many rows.
    pub(super) fn events(&mut self, sid: i64, events: &[Event]) {
        for chunk in events.chunks(INSERT_EVENTS.last().map_or(1, |(rows, _)| *rows)) {
            let Some((rows, sql)) = INSERT_EVENTS.iter().find(|(rows, _)| *rows >= chunk.len())
            else {
                continue;
            };
            self.sql(sql);
            for event in chunk {
                self.bind(sid)
                    .bind(event.seq)
                    .bind(event.at)
                    .bind(event.run.map(|run| run.0))
                    .bind(event.kind.as_str())
                    .bind(event.data.to_string());
            }
            for _ in 0..(rows - chunk.len()) * 6 {
                self.bind(None::<i64>);
            }
        }
    }

    /// The text, the values, and how many bytes those have.
    pub(super) fn take(&mut self) -> sqlx::Result<(String, SqliteArguments, usize)> {
        let taken = std::mem::take(self);
        match taken.failed {
            Some(error) => Err(sqlx::Error::Encode(error)),
            None => Ok((taken.sql, taken.args, taken.bytes)),
        }
    }
}

/// Inserts of 1, 2, 4 … rows; a chunk is filled up with rows of nulls, which are left out,
/// so that few texts serve all sizes and each stays prepared.
static INSERT_EVENTS: LazyLock<Vec<(usize, &'static str)>> = LazyLock::new(|| {
    (0..8).map(|power| 1usize << power).map(|rows| (rows, insert_events(rows))).collect()
});

fn insert_events(rows: usize) -> &'static str {
    const ROW: &str = "(?,?,?,?,?,?)";
    let rows = vec![ROW; rows].join(",");
    let sql = format!(
        "INSERT INTO event (sid, seq, at, run, type, data) \
         SELECT column1, column2, column3, column4, column5, column6 \
         FROM (VALUES {rows}) WHERE column1 IS NOT NULL"
    );
    Box::leak(sql.into_boxed_str())
}
