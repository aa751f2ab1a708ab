//! What the door keeps beside sessions and runs: what a foreign client has said of them.

use greenroom_core::{RunId, SessionUid, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::DOOR;
use super::hooks::Waiting;
use super::registry::blueprints::Hook;
use super::words::session_key;
use crate::app::App;
use crate::doors::records::Records;
use crate::error::ApiResult;

const SESSIONS: Records = Records::of(DOOR, "session");
const RUNS: Records = Records::of(DOOR, "run");
const CLAIMS: Records = Records::of(DOOR, "claim");

/// What was said of a session.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct KeptSession {
    pub agent_name: Option<String>,
    pub project_dir: Option<String>,
    pub last_resumed_at: Option<String>,
    pub executor_profile: Option<String>,
    pub hostname: Option<String>,
    /// Its agent takes no second run.
    pub procedural: bool,
    /// Placeholders' values that no model sees; inherited by children.
    pub scope: Option<Value>,
    /// It was created here: its parent is told in the words of this door.
    pub from_here: bool,
}

impl KeptSession {
    /// Of a session; nothing where it came in elsewhere.
    pub(super) async fn of(app: &App, uid: SessionUid) -> ApiResult<Self> {
        Ok(SESSIONS.get(app, &session_key(uid)).await?.unwrap_or_default())
    }

    pub(super) async fn keep(&self, app: &App, uid: SessionUid) -> ApiResult<()> {
        SESSIONS.put(app, &session_key(uid), self).await
    }

    pub(super) async fn forget(app: &App, uid: SessionUid) -> ApiResult<()> {
        SESSIONS.remove(app, &session_key(uid)).await?;
        Ok(())
    }

    /// Sessions that something is kept of.
    pub(super) async fn all(app: &App) -> ApiResult<Vec<SessionUid>> {
        let all: Vec<(String, Value)> = SESSIONS.all(app).await?;
        Ok(all.iter().filter_map(|(id, _)| id.parse().ok()).collect())
    }
}

/// What a run was asked with.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct KeptRun {
    pub session: Option<SessionUid>,
    /// `start_session` or `resume_session`.
    pub kind: String,
    pub execution_mode: String,
    pub agent_name: Option<String>,
    pub project_dir: Option<String>,
    pub scope: Option<Value>,
    pub demands: Option<Value>,
    /// It fails if nobody has taken it by then.
    pub timeout_at: Option<Timestamp>,
    /// The agent as its runner is given it.
    pub blueprint: Option<Value>,
    /// The newest `result` event.
    pub result: Option<RunResult>,
    /// It waits for the hook before it.
    pub waits: Option<Waiting>,
    /// The hook after it, while that has not begun.
    pub finish: Option<Hook>,
}

/// What a run came to.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct RunResult {
    pub result_text: Option<String>,
    pub result_data: Option<Value>,
}

impl KeptRun {
    pub(super) async fn of(app: &App, run: RunId) -> ApiResult<Option<Self>> {
        RUNS.get(app, &run.to_string()).await
    }

    pub(super) async fn keep(&self, app: &App, run: RunId) -> ApiResult<()> {
        RUNS.put(app, &run.to_string(), self).await
    }

    pub(super) async fn forget(app: &App, run: RunId) -> ApiResult<()> {
        RUNS.remove(app, &run.to_string()).await?;
        CLAIMS.remove(app, &run.to_string()).await?;
        Ok(())
    }

    /// All of them.
    pub(super) async fn all(app: &App) -> ApiResult<Vec<(RunId, Self)>> {
        let all: Vec<(String, Self)> = RUNS.all(app).await?;
        Ok(all.into_iter().filter_map(|(id, run)| Some((id.parse().ok()?, run))).collect())
    }
}

/// Whether a run was given to its runner. Written down before it is sent, and by whoever
/// comes first: so a run that was stopped before is never sent, and one that may have been
/// sent is never closed as if it had not been.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Claim {
    /// It may have been sent.
    Sent(Timestamp),
    /// It never will be.
    Never,
}

impl Claim {
    pub(super) async fn of(app: &App, run: RunId) -> ApiResult<Option<Self>> {
        CLAIMS.get(app, &run.to_string()).await
    }

    /// Whether this claim is the one that counts.
    pub(super) async fn make(self, app: &App, run: RunId) -> ApiResult<bool> {
        CLAIMS.add(app, &run.to_string(), &self).await
    }

    /// What was written down is not so any more: it was not sent after all.
    pub(super) async fn take_back(app: &App, run: RunId) -> ApiResult<()> {
        CLAIMS.put(app, &run.to_string(), &Self::Never).await
    }

    /// When it was sent.
    pub(super) fn sent_at(self) -> Option<Timestamp> {
        match self {
            Self::Sent(at) => Some(at),
            Self::Never => None,
        }
    }
}
