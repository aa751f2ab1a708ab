//! Gives a session the place it needs, in the commit that made it need one.

use greenroom_core::session::Need;
use greenroom_core::{Command, RunnerId, Timestamp};
use sqlx::Row;

use crate::Candidate;

use super::draft::Draft;
use super::fault::Do;
use super::unit::Unit;

const SLOTS_USED: &str = "SELECT count(*) AS used FROM session WHERE slot_runner = ? AND sid <> ?";

/// Grants the first candidate that fits and has room.
pub(super) async fn place(
    unit: &mut Unit<'_>,
    draft: &mut Draft,
    candidates: &[Candidate],
    at: Timestamp,
) -> Do<()> {
    let Some(need) = draft.session.need() else { return Ok(()) };
    let (home, takes_slot) = match need {
        Need::Place { home, with_run } => (home, with_run),
        Need::Turn { runner } => (Some(runner), true),
    };
    for candidate in candidates {
        if home.is_some_and(|home| home != candidate.runner) {
            continue;
        }
        if let Some(slots) = candidate.slots.filter(|_| takes_slot)
            && slots_used(unit, candidate.runner, draft.sid).await? >= i64::from(slots)
        {
            continue;
        }
        draft.decide(Command::Grant { runner: candidate.runner }, at)?;
        break;
    }
    Ok(())
}

/// Slots taken by other sessions, this batch included.
async fn slots_used(unit: &mut Unit<'_>, runner: RunnerId, sid: i64) -> Do<i64> {
    let query = sqlx::query(SLOTS_USED).bind(runner.0.as_bytes().as_slice()).bind(sid);
    Ok(query.fetch_one(unit.conn().await?).await?.try_get("used")?)
}
