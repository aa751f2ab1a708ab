//! Quotas, kept by the writer: whoever takes the last place is before everybody else.

use greenroom_core::Principal;
use greenroom_core::session::{Life, Session};
use sqlx::{Row, SqliteConnection};

use crate::{Quota, Quotas, StoreError, Used};

use super::draft::Draft;
use super::fault::Do;
use super::unit::Unit;

// The conditions are those of the indices, word for word: nothing else is read.
const ACTIVE: &str = "SELECT count(*) AS used FROM session INDEXED BY session_up \
    WHERE (live_runner IS NOT NULL OR needs_since IS NOT NULL) AND sid <> ?";
const ACTIVE_OF: &str = "SELECT count(*) AS used FROM session INDEXED BY session_up \
    WHERE (live_runner IS NOT NULL OR needs_since IS NOT NULL) AND sid <> ? \
    AND owner = ? AND user IS ?";
const KEPT_OF: &str = "SELECT count(*) AS used FROM session INDEXED BY session_kept \
    WHERE life = 0 AND sid <> ? AND owner = ? AND user IS ?";

/// Refuses what would be one session too many. What was there before is no news.
pub(super) async fn admit(unit: &mut Unit<'_>, draft: &Draft, quotas: Quotas) -> Do<()> {
    if quotas == Quotas::default() {
        return Ok(());
    }
    let (before, now) = (draft.before.as_deref(), &draft.session);
    let is_kept = |session: &Session| session.life == Life::Kept;
    let comes_up = now.is_active() && !before.is_some_and(Session::is_active);
    let comes_back = is_kept(now) && !before.is_some_and(is_kept);
    if !comes_up && !comes_back {
        return Ok(());
    }
    let used = used(unit.conn().await?, &now.owner, now.user.as_deref(), draft.sid).await?;
    let concerns = |quota| match quota {
        Quota::Active | Quota::ActivePerOwner => comes_up,
        Quota::SessionsPerOwner => comes_back,
    };
    let mut uses = quotas.uses(used);
    match uses.find(|of| concerns(of.quota) && of.used >= of.limit) {
        Some(exceeded) => Err(StoreError::QuotaExceeded(exceeded).into()),
        None => Ok(()),
    }
}

/// Sessions as quotas count them, all but one.
pub(super) async fn used(
    conn: &mut SqliteConnection,
    owner: &Principal,
    user: Option<&str>,
    but: i64,
) -> crate::Result<Used> {
    let all = sqlx::query(ACTIVE).bind(but).fetch_one(&mut *conn).await?;
    let of = sqlx::query(ACTIVE_OF).bind(but).bind(owner.0.as_str()).bind(user);
    let of = of.fetch_one(&mut *conn).await?;
    let kept = sqlx::query(KEPT_OF).bind(but).bind(owner.0.as_str()).bind(user);
    let kept = kept.fetch_one(conn).await?;
    Ok(Used {
        active: all.try_get("used")?,
        active_per_owner: of.try_get("used")?,
        sessions_per_owner: kept.try_get("used")?,
    })
}
