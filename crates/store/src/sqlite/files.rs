//! What was kept of the files at ends of runs, said once of each.

use async_trait::async_trait;
use greenroom_core::command::Mode;
use greenroom_core::{Command, RunFiles, RunId, RunnerId, Seq, SessionUid};
use sqlx::{Row, SqlitePool};

use crate::{Result, Told};

use super::draft::Draft;
use super::fault::Do;
use super::load::maybe_id;
use super::now;
use super::settle::settle;
use super::unit::Unit;
use super::writer::Work;

const SELECT: &str = "SELECT started_at, ended_at, files FROM run WHERE id = ? AND sid = ?";
const LAST_ENDED: &str = "SELECT e.run FROM session s JOIN event e ON e.sid = s.sid \
    JOIN run r ON r.id = e.run \
    WHERE s.uid = ? AND e.seq <= ? AND r.started_at IS NOT NULL \
    AND e.type IN ('run.completed', 'run.failed', 'run.stopped') ORDER BY e.seq DESC LIMIT 1";

/// Takes what a runner says of the files at a run's end.
pub(super) struct Take {
    pub(super) runner: RunnerId,
    pub(super) uid: SessionUid,
    pub(super) run: RunId,
    pub(super) files: RunFiles,
}

#[async_trait]
impl Work for Take {
    type Output = Told;

    async fn run(self, unit: &mut Unit<'_>) -> Do<Told> {
        let entry = unit.entry(self.uid).await?;
        let Some(entry) = entry.filter(|entry| entry.session.home == Some(self.runner)) else {
            return Ok(Told::Nobody);
        };
        let query = sqlx::query(SELECT).bind(self.run.0.as_bytes().as_slice()).bind(entry.sid);
        let Some(row) = query.fetch_optional(unit.conn().await?).await? else {
            return Ok(Told::Over);
        };
        if row.try_get::<Option<i64>, _>("ended_at")?.is_none() {
            return Ok(Told::Early);
        }
        // It was said before; or the run has ended without having begun, here at least.
        if row.try_get::<Option<&str>, _>("files")?.is_some()
            || row.try_get::<Option<i64>, _>("started_at")?.is_none()
        {
            return Ok(Told::Over);
        }
        let mut draft = Draft::of(&entry);
        draft.decide(Command::RunFiles { run: self.run, files: self.files }, now())?;
        settle(unit, draft, Mode::Enqueue, now()).await?;
        Ok(Told::Over)
    }
}

/// The run that has begun and was the last to end, up to this entry of the log.
pub(super) async fn last_ended(
    pool: &SqlitePool,
    uid: SessionUid,
    seq: Seq,
) -> Result<Option<RunId>> {
    let seq = i64::try_from(seq).unwrap_or(i64::MAX);
    let query = sqlx::query(LAST_ENDED).bind(uid.0.as_bytes().as_slice()).bind(seq);
    let row = query.fetch_optional(pool).await?;
    Ok(row.map(|row| maybe_id(&row, "run")).transpose()?.flatten().map(RunId))
}
