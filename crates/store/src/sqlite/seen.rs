//! How far people have seen sessions.

use async_trait::async_trait;
use greenroom_core::{Principal, Seq, SessionId, SessionUid};
use sqlx::{Row, SqlitePool};

use crate::Result;

use super::fault::Do;
use super::load::damaged;
use super::unit::Unit;
use super::writer::Work;

/// A mark only moves on, and never beyond the log.
const PUT: &str = "INSERT INTO seen (sid, principal, seq) \
    SELECT sid, ?, min(?, last_seq) FROM session WHERE uid = ? \
    ON CONFLICT (principal, sid) DO UPDATE SET seq = max(seq, excluded.seq)";
const ALL: &str = "SELECT s.name, n.seq FROM seen n JOIN session s ON s.sid = n.sid \
    WHERE n.principal = ? ORDER BY s.name";

/// Marks a session as seen up to there.
pub(super) struct Put {
    pub(super) principal: Principal,
    pub(super) uid: SessionUid,
    pub(super) seq: Seq,
}

#[async_trait]
impl Work for Put {
    type Output = ();

    async fn run(self, unit: &mut Unit<'_>) -> Do<()> {
        unit.writes.sql(PUT).bind(self.principal.0.as_str()).bind(self.seq).bind(self.uid.0);
        Ok(())
    }
}

/// All marks of a person.
pub(super) async fn all(pool: &SqlitePool, principal: &Principal) -> Result<Vec<(SessionId, Seq)>> {
    let rows = sqlx::query(ALL).bind(principal.0.as_str()).fetch_all(pool).await?;
    let read = |row: &sqlx::sqlite::SqliteRow| {
        let name: &str = row.try_get("name")?;
        let name = name.parse().map_err(|error| damaged("a name", error))?;
        Ok((name, super::load::count(row, "seq")?))
    };
    rows.iter().map(read).collect()
}
