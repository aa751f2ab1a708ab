//! Quotas: how many sessions there may be. The store keeps them, where it is exact; here they
//! are put into words.

use greenroom_core::Principal;
use greenroom_protocol::Problem;
use greenroom_protocol::problem::QuotaUse;
use greenroom_store::{Quota, StoreError};

use crate::app::App;
use crate::auth::Caller;
use crate::error::ApiResult;

fn name(quota: Quota) -> &'static str {
    match quota {
        Quota::Active => "max_active",
        Quota::ActivePerOwner => "max_active_per_owner",
        Quota::SessionsPerOwner => "max_sessions_per_owner",
    }
}

fn view(used: greenroom_store::QuotaUse) -> QuotaUse {
    QuotaUse { quota: name(used.quota).to_owned(), limit: used.limit, used: used.used }
}

/// Why one session more is refused.
pub(crate) fn exceeded(used: greenroom_store::QuotaUse) -> Problem {
    let detail = StoreError::QuotaExceeded(used).to_string();
    let detail = format!("{detail}: quota {}", name(used.quota));
    // What is at work ends by itself; what exists stays until somebody removes it.
    let (hint, seconds) = match used.quota {
        Quota::Active | Quota::ActivePerOwner => {
            ("stop a session that is not needed, or wait until one ends", 5)
        }
        Quota::SessionsPerOwner => ("delete a session that is not needed any more", 60),
    };
    let mut problem = Problem::new(429, "quota_exceeded", detail).hint(hint);
    problem.retry_after = Some(seconds);
    problem.quota = Some(view(used));
    problem
}

/// The quotas that are set, as they stand for a caller.
pub(crate) async fn of(app: &App, caller: &Caller) -> ApiResult<Vec<QuotaUse>> {
    if app.quotas == greenroom_store::Quotas::default() {
        return Ok(Vec::new());
    }
    let used = app.store.used(&caller.principal, caller.user.as_deref()).await?;
    Ok(app.quotas.uses(used).map(view).collect())
}

/// Refuses what would become active later, where nothing of this owner may now. Whether it may
/// then is decided then.
pub(crate) async fn check_active(
    app: &App,
    owner: &Principal,
    user: Option<&str>,
) -> ApiResult<()> {
    let used = app.store.used(owner, user).await?;
    let mut uses = app.quotas.uses(used);
    match uses.find(|of| of.quota != Quota::SessionsPerOwner && of.used >= of.limit) {
        Some(used) => Err(exceeded(used).into()),
        None => Ok(()),
    }
}
