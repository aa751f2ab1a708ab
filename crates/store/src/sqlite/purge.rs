//! Removes what is not needed any more, a little at a time.

use async_trait::async_trait;
use sqlx::Row;

use super::fault::Do;
use super::sessions::ANSWERS_KEPT;
use super::unit::Unit;
use super::writer::Work;

/// Rows that go at once, so that nothing waits long behind it.
const CHUNK: i64 = 1000;

const NEXT: &str = "SELECT sid FROM removed WHERE purged = 0 ORDER BY sid LIMIT 1";
const DELETE_EVENTS: &str = "DELETE FROM event WHERE sid = ? AND seq IN \
    (SELECT seq FROM event WHERE sid = ? ORDER BY seq LIMIT ?)";
const DELETE_RUNS: &str =
    "DELETE FROM run WHERE rid IN (SELECT rid FROM run WHERE sid = ? LIMIT ?)";
const LEFT: &str = "SELECT EXISTS (SELECT 1 FROM event WHERE sid = ?) \
    OR EXISTS (SELECT 1 FROM run WHERE sid = ?) AS anything";
const PURGED: &str = "UPDATE removed SET purged = 1 WHERE sid = ?";
/// An answer goes once a later one is younger by the time it is kept.
const DELETE_ANSWERS: &str = "DELETE FROM idempotency WHERE rowid IN \
    (SELECT rowid FROM idempotency WHERE at <= (SELECT max(at) FROM idempotency) - ? LIMIT ?)";
const OLD_ANSWERS: &str = "SELECT EXISTS (SELECT 1 FROM idempotency \
    WHERE at <= (SELECT max(at) FROM idempotency) - ?) AS anything";

/// Removes some rows; answers whether there are more.
pub(super) struct Purge;

#[async_trait]
impl Work for Purge {
    type Output = bool;

    async fn run(self, unit: &mut Unit<'_>) -> Do<bool> {
        unit.writes.sql(DELETE_ANSWERS).bind(ANSWERS_KEPT).bind(CHUNK);
        let next = sqlx::query(NEXT).fetch_optional(unit.conn().await?).await?;
        if let Some(row) = next {
            let sid: i64 = row.try_get("sid")?;
            unit.writes.sql(DELETE_EVENTS).bind(sid).bind(sid).bind(CHUNK);
            unit.writes.sql(DELETE_RUNS).bind(sid).bind(CHUNK);
            let left = sqlx::query(LEFT).bind(sid).bind(sid);
            let left: bool = left.fetch_one(unit.conn().await?).await?.try_get("anything")?;
            if !left {
                unit.writes.sql(PURGED).bind(sid);
            }
        }
        let sessions = sqlx::query(NEXT).fetch_optional(unit.conn().await?).await?;
        let answers = sqlx::query(OLD_ANSWERS).bind(ANSWERS_KEPT);
        let answers: bool = answers.fetch_one(unit.conn().await?).await?.try_get("anything")?;
        Ok(sessions.is_some() || answers)
    }
}
