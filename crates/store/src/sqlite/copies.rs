//! Copies of what sources elsewhere said last.

use async_trait::async_trait;
use sqlx::{Row, SqlitePool};

use crate::{Result, SourceCopy};

use super::fault::Do;
use super::load::time;
use super::unit::Unit;
use super::writer::Work;

const KEEP: &str = "INSERT INTO source_copy (source, tag, text, fetched_at) VALUES (?, ?, ?, ?) \
    ON CONFLICT (source) DO UPDATE SET tag = excluded.tag, text = excluded.text, \
    fetched_at = excluded.fetched_at";
const ONE: &str = "SELECT source, tag, text, fetched_at FROM source_copy WHERE source = ?";

/// Keeps a copy in the place of the one before.
pub(super) struct Keep(pub(super) SourceCopy);

#[async_trait]
impl Work for Keep {
    type Output = ();

    async fn run(self, unit: &mut Unit<'_>) -> Do<()> {
        let SourceCopy { source, tag, text, fetched_at } = self.0;
        unit.writes.sql(KEEP).bind(source).bind(tag).bind(text).bind(fetched_at);
        Ok(())
    }
}

/// The copy of a source.
pub(super) async fn one(pool: &SqlitePool, source: &str) -> Result<Option<SourceCopy>> {
    let row = sqlx::query(ONE).bind(source).fetch_optional(pool).await?;
    row.map(|row| {
        Ok(SourceCopy {
            source: row.try_get("source")?,
            tag: row.try_get("tag")?,
            text: row.try_get("text")?,
            fetched_at: time(&row, "fetched_at")?,
        })
    })
    .transpose()
}
