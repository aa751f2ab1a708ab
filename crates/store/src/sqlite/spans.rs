//! Spans of wall time in which a coordinator was up.

use async_trait::async_trait;
use greenroom_core::Timestamp;
use sqlx::{Row, SqlitePool};

use crate::{Result, Span};

use super::fault::Do;
use super::unit::Unit;
use super::writer::Work;

const ALL: &str = "SELECT began, ended FROM span ORDER BY id";
const PUT: &str = "INSERT INTO span (id, began, ended) VALUES (?, ?, ?) \
    ON CONFLICT (id) DO UPDATE SET began = excluded.began, ended = excluded.ended";

/// All of them, in the order in which they were.
pub(super) async fn all(pool: &SqlitePool) -> Result<Vec<Span>> {
    let rows = sqlx::query(ALL).fetch_all(pool).await?;
    let read = |row: &sqlx::sqlite::SqliteRow| {
        Ok(Span {
            began: Timestamp::from_unix_ms(row.try_get("began")?),
            ended: Timestamp::from_unix_ms(row.try_get("ended")?),
        })
    };
    rows.iter().map(read).collect()
}

/// Puts one in its place.
pub(super) struct Put {
    pub(super) place: u32,
    pub(super) span: Span,
}

#[async_trait]
impl Work for Put {
    type Output = ();

    async fn run(self, unit: &mut Unit<'_>) -> Do<()> {
        let Span { began, ended } = self.span;
        unit.writes.sql(PUT).bind(i64::from(self.place));
        unit.writes.bind(began.unix_ms()).bind(ended.unix_ms());
        Ok(())
    }
}
