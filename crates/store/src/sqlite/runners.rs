//! Runners, and what they are told.

use async_trait::async_trait;
use greenroom_core::{Assignment, RunnerId, Timestamp};
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqlitePool};

use crate::{NewRunner, Result, RunnerRow, RunnerUpdate, StoreError};

use super::fault::Do;
use super::load::{count, damaged, id, maybe_time, time};
use super::settle::json;
use super::unit::Unit;
use super::writer::Work;

const ENROLL: &str = "INSERT INTO runner (id, credential, info, instance, draining, created_at) \
    VALUES (?, ?, ?, 0, 0, ?) ON CONFLICT (id) DO UPDATE SET credential = excluded.credential, \
    info = excluded.info";
const SELECT_ONE: &str = "SELECT info, instance, draining, seen_at FROM runner WHERE id = ?";
const UPDATE: &str =
    "UPDATE runner SET info = ?, instance = ?, draining = ?, seen_at = ? WHERE id = ?";
const DELETE: &str = "DELETE FROM runner WHERE id = ?";
const DELETE_ASSIGNMENTS: &str = "DELETE FROM assignment WHERE runner = ?";

const SELECT: &str = "SELECT r.id, r.info, r.instance, r.draining, r.seen_at, r.created_at, \
    (SELECT count(*) FROM session WHERE slot_runner = r.id) AS slots_used, \
    (SELECT count(*) FROM session WHERE home = r.id) AS sessions, \
    (SELECT count(*) FROM session WHERE live_runner = r.id) AS live FROM runner r ";
const BY_ID: &str = "WHERE r.id = ?";
const BY_CREDENTIAL: &str = "WHERE r.credential = ?";
const ALL: &str = "ORDER BY r.created_at, r.id";

const REV: &str = "SELECT rev FROM revision WHERE runner = ?";
const ASSIGNMENTS: &str = "SELECT body FROM assignment WHERE runner = ? AND rev > ? ORDER BY rev";
const OBEYED: &str =
    "SELECT 1 FROM assignment WHERE runner = ? AND rev <= ? AND closed = 1 LIMIT 1";
const FORGET: &str = "DELETE FROM assignment WHERE runner = ? AND rev <= ? AND closed = 1";

/// How much newer a sign of life must be to be written down, in milliseconds.
const COARSE: i64 = 10_000;

/// A runner joins.
pub(super) struct Enroll(pub(super) NewRunner);

#[async_trait]
impl Work for Enroll {
    type Output = ();

    async fn run(self, unit: &mut Unit<'_>) -> Do<()> {
        let NewRunner { id, credential, info, at } = self.0;
        let writes = unit.writes.sql(ENROLL).bind(id.0).bind(credential.to_vec());
        writes.bind(json(&info)?).bind(at);
        Ok(())
    }
}

/// A runner has changed.
pub(super) struct Update(pub(super) RunnerId, pub(super) RunnerUpdate);

#[async_trait]
impl Work for Update {
    type Output = ();

    async fn run(self, unit: &mut Unit<'_>) -> Do<()> {
        let Self(runner, update) = self;
        let query = sqlx::query(SELECT_ONE).bind(runner.0.as_bytes().to_vec());
        let row = query.fetch_optional(unit.conn().await?).await?;
        let row = row.ok_or(StoreError::NoRunner)?;
        let known = count(&row, "instance")?;
        let instance = update.instance.unwrap_or(known);
        if instance < known {
            return Err(StoreError::OldInstance.into());
        }
        let old: String = row.try_get("info")?;
        let info = update.info.as_ref().map(json).transpose()?.unwrap_or_else(|| old.clone());
        let was: bool = row.try_get("draining")?;
        let draining = update.draining.unwrap_or(was);
        let before: Option<i64> = row.try_get("seen_at")?;
        let seen = update.seen_at.map(Timestamp::unix_ms).or(before);
        let stale = match (before, seen) {
            (Some(before), Some(seen)) => seen.abs_diff(before) >= COARSE.unsigned_abs(),
            (before, seen) => before != seen,
        };
        if stale || instance != known || draining != was || info != old {
            let writes = unit.writes.sql(UPDATE).bind(info).bind(instance).bind(draining);
            writes.bind(seen).bind(runner.0);
        }
        Ok(())
    }
}

/// A runner is forgotten.
pub(super) struct Remove(pub(super) RunnerId);

#[async_trait]
impl Work for Remove {
    type Output = ();

    async fn run(self, unit: &mut Unit<'_>) -> Do<()> {
        unit.writes.sql(DELETE_ASSIGNMENTS).bind(self.0.0).sql(DELETE).bind(self.0.0);
        Ok(())
    }
}

/// Closed assignments that were obeyed are forgotten.
pub(super) struct Acknowledge(pub(super) RunnerId, pub(super) u64);

#[async_trait]
impl Work for Acknowledge {
    type Output = ();

    async fn run(self, unit: &mut Unit<'_>) -> Do<()> {
        unit.writes.sql(FORGET).bind(self.0.0).bind(rev(self.1));
        Ok(())
    }
}

/// Whether there is anything to forget: a runner says what it has obeyed with each poll.
pub(super) async fn has_obeyed(pool: &SqlitePool, runner: RunnerId, upto: u64) -> Result<bool> {
    let query = sqlx::query(OBEYED).bind(runner.0.as_bytes().to_vec()).bind(rev(upto));
    Ok(query.fetch_optional(pool).await?.is_some())
}

fn rev(rev: u64) -> i64 {
    i64::try_from(rev).unwrap_or(i64::MAX)
}

fn row(row: &SqliteRow) -> Result<RunnerRow> {
    let info: &str = row.try_get("info")?;
    Ok(RunnerRow {
        id: RunnerId(id(row, "id")?),
        info: serde_json::from_str(info).map_err(|error| damaged("a runner's info", error))?,
        instance: count(row, "instance")?,
        draining: row.try_get("draining")?,
        slots_used: row.try_get("slots_used")?,
        sessions: row.try_get("sessions")?,
        live: row.try_get("live")?,
        seen_at: maybe_time(row, "seen_at")?,
        created_at: time(row, "created_at")?,
    })
}

async fn select(
    pool: &SqlitePool,
    which: &'static str,
    value: Option<Vec<u8>>,
) -> Result<Vec<RunnerRow>> {
    let mut query = sqlx::QueryBuilder::new(SELECT);
    query.push(which);
    let mut query = query.build();
    if let Some(value) = value {
        query = query.bind(value);
    }
    query.fetch_all(pool).await?.iter().map(row).collect()
}

/// One runner.
pub(super) async fn one(pool: &SqlitePool, runner: RunnerId) -> Result<Option<RunnerRow>> {
    let rows = select(pool, BY_ID, Some(runner.0.as_bytes().to_vec())).await?;
    Ok(rows.into_iter().next())
}

/// The runner of a credential.
pub(super) async fn by_credential(pool: &SqlitePool, hash: [u8; 32]) -> Result<Option<RunnerRow>> {
    Ok(select(pool, BY_CREDENTIAL, Some(hash.to_vec())).await?.into_iter().next())
}

/// All runners.
pub(super) async fn all(pool: &SqlitePool) -> Result<Vec<RunnerRow>> {
    select(pool, ALL, None).await
}

/// What has changed for a runner. The revision is read first, so a change that comes in
/// between is said twice, never left out.
pub(super) async fn assignments(
    pool: &SqlitePool,
    runner: RunnerId,
    since: u64,
) -> Result<(u64, Vec<Assignment>)> {
    let id = runner.0.as_bytes().to_vec();
    let found = sqlx::query(REV).bind(id.clone()).fetch_optional(pool).await?;
    let newest = found.map_or(Ok(0), |row| count(&row, "rev"))?;
    // A number from a future that was restored away means nothing here.
    let since = if since > newest { 0 } else { since };
    let query = sqlx::query(ASSIGNMENTS).bind(id).bind(rev(since));
    let rows = query.fetch_all(pool).await?;
    let assignment = |row: &SqliteRow| -> Result<Assignment> {
        let body: &str = row.try_get("body")?;
        serde_json::from_str(body).map_err(|error| damaged("an assignment", error))
    };
    Ok((newest, rows.iter().map(assignment).collect::<Result<_>>()?))
}
