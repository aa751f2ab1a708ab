//! What doors keep for themselves.

use async_trait::async_trait;
use greenroom_core::Timestamp;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqlitePool};

use crate::{DoorKey, DoorRecord, Result};

use super::fault::Do;
use super::load::time;
use super::unit::Unit;
use super::writer::Work;

const PUT: &str = "INSERT INTO door_record (door, kind, id, body, created_at, updated_at) \
    VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (door, kind, id) \
    DO UPDATE SET body = excluded.body, updated_at = excluded.updated_at";
const REMOVE: &str = "DELETE FROM door_record WHERE door = ? AND kind = ? AND id = ?";
const REMOVE_ALL: &str = "DELETE FROM door_record WHERE door = ? AND kind = ?";
const IS_THERE: &str = "SELECT 1 FROM door_record WHERE door = ? AND kind = ? AND id = ?";
const ONE: &str = "SELECT id, body, created_at, updated_at FROM door_record \
    WHERE door = ? AND kind = ? AND id = ?";
const ALL: &str = "SELECT id, body, created_at, updated_at FROM door_record \
    WHERE door = ? AND kind = ? ORDER BY created_at, id";

async fn is_there(unit: &mut Unit<'_>, key: &DoorKey) -> Do<bool> {
    let DoorKey { door, kind, id } = key;
    let query = sqlx::query(IS_THERE).bind(*door).bind(*kind).bind(id.as_str());
    Ok(query.fetch_optional(unit.conn().await?).await?.is_some())
}

/// Keeps a record, in the place of one of the same key.
pub(super) struct Put {
    pub(super) key: DoorKey,
    pub(super) body: String,
    pub(super) at: Timestamp,
    /// Only where there is none of this key.
    pub(super) new: bool,
}

#[async_trait]
impl Work for Put {
    /// Whether it was kept.
    type Output = bool;

    async fn run(self, unit: &mut Unit<'_>) -> Do<bool> {
        if self.new && is_there(unit, &self.key).await? {
            return Ok(false);
        }
        let DoorKey { door, kind, id } = self.key;
        let writes = unit.writes.sql(PUT).bind(door).bind(kind).bind(id);
        writes.bind(self.body).bind(self.at).bind(self.at);
        Ok(true)
    }
}

/// Removes a record.
pub(super) struct Remove(pub(super) DoorKey);

#[async_trait]
impl Work for Remove {
    /// Whether there was one.
    type Output = bool;

    async fn run(self, unit: &mut Unit<'_>) -> Do<bool> {
        let there = is_there(unit, &self.0).await?;
        let DoorKey { door, kind, id } = self.0;
        unit.writes.sql(REMOVE).bind(door).bind(kind).bind(id);
        Ok(there)
    }
}

/// Replaces all records of some kinds.
pub(super) struct Replace {
    pub(super) door: &'static str,
    pub(super) kinds: Vec<(&'static str, Vec<(String, String)>)>,
    pub(super) at: Timestamp,
}

#[async_trait]
impl Work for Replace {
    type Output = ();

    async fn run(self, unit: &mut Unit<'_>) -> Do<()> {
        for (kind, records) in self.kinds {
            unit.writes.sql(REMOVE_ALL).bind(self.door).bind(kind);
            for (id, body) in records {
                let writes = unit.writes.sql(PUT).bind(self.door).bind(kind).bind(id);
                writes.bind(body).bind(self.at).bind(self.at);
            }
        }
        Ok(())
    }
}

fn record(row: &SqliteRow) -> Result<DoorRecord> {
    Ok(DoorRecord {
        id: row.try_get("id")?,
        body: row.try_get("body")?,
        created_at: time(row, "created_at")?,
        updated_at: time(row, "updated_at")?,
    })
}

/// One record.
pub(super) async fn one(pool: &SqlitePool, key: &DoorKey) -> Result<Option<DoorRecord>> {
    let DoorKey { door, kind, id } = key;
    let query = sqlx::query(ONE).bind(*door).bind(*kind).bind(id.as_str());
    query.fetch_optional(pool).await?.as_ref().map(record).transpose()
}

/// All records of a kind, oldest first.
pub(super) async fn all(pool: &SqlitePool, door: &str, kind: &str) -> Result<Vec<DoorRecord>> {
    let query = sqlx::query(ALL).bind(door).bind(kind);
    query.fetch_all(pool).await?.iter().map(record).collect()
}
