//! A session as this door's clients read it. Times are whole seconds. What they have no
//! field for stands in fields of our own, which they pass over.

use greenroom_core::session::{HowEnded, Life};
use greenroom_core::{Session, Status, Timestamp};
use serde_json::{Value, json};

use crate::lives::Lives;

/// What these clients show as no time at all.
const NEVER: i64 = 0;

fn seconds(at: Timestamp) -> i64 {
    at.unix_ms().div_euclid(1000)
}

/// One of the eight words there are. Only what is proven down is `idle`.
fn status(session: &Session) -> &'static str {
    match session.life {
        Life::Expired => return "expired",
        Life::Deleting => return "deleting",
        Life::Removed => return "deleted",
        Life::Kept => {}
    }
    match session.status() {
        Status::Queued | Status::Starting => "creating",
        Status::Running | Status::Waiting | Status::Idle => "active",
        // Something may live, and nothing else is known.
        Status::Stopping | Status::Unreachable | Status::StopUnconfirmed => "active",
        Status::New | Status::Stopped | Status::Finished | Status::Interrupted => "idle",
        Status::Failed => "failed",
        Status::Deleting => "deleting",
    }
}

/// A session, as an object.
pub(super) fn session(session: &Session, lives: &Lives) -> Value {
    let standing = session.standing();
    let used = seconds(session.last_active_at);
    let version = session.agent.version.to_string();
    let mut value = json!({
        "agent_session_id": session.id.as_str(),
        "version_indicator": { "type": "version_ref", "agent_version": version },
        "status": status(session),
        "created_at": seconds(session.created_at),
        "last_accessed_at": used,
        "expires_at": lives.expires_at(session).map_or(NEVER, seconds),
        "agent_name": session.agent.name.as_str(),
        "owner": session.owner.0,
        "user_identity": session.user,
        "session_status": standing.status.as_str(),
        "session_status_reason": standing.reason,
        "epoch": session.last_epoch.0,
    });
    let Some(ended) = &session.ended else { return value };
    let receipt = &ended.receipt;
    let at = receipt.requested_at.unix_ms().saturating_add(receipt.duration_ms as i64);
    value["stopped_at"] = at.div_euclid(1000).into();
    match ended.how {
        HowEnded::Stopped(why) => value["stop_reason"] = json!(why),
        HowEnded::Failed(why) => {
            value["failure"] = json!({ "reason": why, "detail": receipt.detail });
        }
        HowEnded::Interrupted(why) => value["stop_reason"] = json!(why),
        HowEnded::Finished => value["stop_reason"] = "finished".into(),
    }
    value["receipt"] = json!(receipt);
    value
}
