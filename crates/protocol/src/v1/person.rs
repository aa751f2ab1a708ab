//! What a person's page asks for: who one is, what one has seen, how it came to be.

use std::collections::BTreeMap;

use greenroom_core::{Receipt, Seq, SessionId, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::problem::QuotaUse;
use crate::token::Role;

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Login {
    /// For whom.
    pub principal: String,
    /// With which rights.
    pub role: Role,
    /// The quotas that are set, and how much of each is used: of the whole Greenroom, or of
    /// this owner, and this user of theirs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub quotas: Vec<QuotaUse>,
}

/// Body of `POST /v1/login`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LoginRequest {
    /// A token, or the code of a one-time link.
    pub token: String,
}

/// How far the caller has seen sessions. What is not named was never seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Seen {
    /// By the session's name: the last entry of its log that was seen.
    pub items: BTreeMap<SessionId, Seq>,
}

/// Body of `PUT /v1/sessions/{id}/seen`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SeenRequest {
    /// The last entry of its log that was seen. A mark never goes back, and never beyond the
    /// log's end.
    #[serde(deserialize_with = "greenroom_core::integer::whole")]
    #[schema(minimum = 0)]
    pub seq: Seq,
}

/// A receipt and where it stands in the log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ReceiptAt {
    /// The entry of the log.
    pub seq: Seq,
    /// When that was written.
    pub at: Timestamp,
    /// How the session stood by it: `stopped`, `finished`, `failed`, `interrupted`; `late` for the
    /// receipt of a compute that a person had closed before.
    pub how: String,
    /// The evidence.
    pub receipt: Receipt,
}

/// Body of `PATCH /v1/runs/{id}`. What is absent stays.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReviseRun {
    /// What it asks, as text. Not beside `input`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
    /// What it asks, as a document. Not beside `prompt`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<Value>,
    /// How many other runs wait before it. Beyond the end is last.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "greenroom_core::integer::optional"
    )]
    pub position: Option<u32>,
}

/// A description that an agent has had.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AgentVersion {
    /// Counted from 1.
    pub version: u32,
    /// Where it came from.
    pub source: String,
    /// SHA-256 of the description, hexadecimal.
    pub digest: String,
    /// When it was first read.
    pub at: Timestamp,
    /// Whether it is the one in service.
    pub current: bool,
    /// Why nothing can be started of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
    /// The description.
    pub description: Value,
}

/// Body of `POST /v1/agents/{name}/versions`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateAgentVersion {
    /// What an agent file says, as an object; its `name` may be left out.
    #[schema(value_type = Object)]
    pub description: serde_json::Map<String, Value>,
    /// Put it in service; `true` where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub serve: Option<bool>,
}
