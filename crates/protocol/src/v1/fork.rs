//! A session that begins with the conversation of another.

use std::collections::BTreeMap;

use greenroom_core::RunId;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Body of `POST /v1/sessions/{id}/fork`; may be absent. Without a place to cut at, all of the
/// conversation until now counts.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ForkSession {
    /// Cut before this run began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before_run: Option<RunId>,
    /// Cut before this message of the user, counted from 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before_message: Option<u32>,
    /// A name for the fork; made up if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// A line for people; that of the session with `(fork N)` behind it if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// Labels; those of the session if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<BTreeMap<String, String>>,
}
