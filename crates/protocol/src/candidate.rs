//! What a caller may choose from, when a session's agent is not the only one it could be.

use greenroom_core::AgentName;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// A source that could be meant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Candidate {
    /// The source, as `kind:key`; without user and password.
    pub source: String,
    /// Its key; without user and password.
    pub source_key: String,
    /// Its agent, once it has answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<AgentName>,
    /// Which description of that name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u32>,
    /// SHA-256 of the description.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
}
