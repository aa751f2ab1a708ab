//! What a session has committed, on its way to where others see it.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Body of a push.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PushRequest {
    /// The branch to push to; the session's own name for it where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branch: Option<String>,
    /// The address of the repository to push to; the one it was cloned from where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remote: Option<String>,
}

/// What was pushed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Pushed {
    /// Where to.
    pub remote: String,
    /// The branch there.
    pub branch: String,
    /// The commit it is at now.
    pub commit: String,
    /// Commits that the session has made on it since it began.
    pub commits: u64,
    /// Files that differ from that commit, new ones too: they were not pushed.
    pub uncommitted: u64,
}
