//! Approvals and questions.

use greenroom_core::approval::{AskKind, AskOption, Decision};
use greenroom_core::{ApprovalId, Epoch, RunId, SessionId, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What an agent asks of a person.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Approval {
    /// Its identity.
    pub id: ApprovalId,
    /// The session whose agent asks.
    pub session_id: SessionId,
    /// The run that waits.
    pub run_id: RunId,
    /// The compute that asks. The answer is good for no other.
    pub epoch: Epoch,
    /// How far it is.
    pub status: ApprovalStatus,
    /// What kind of answer it needs.
    pub kind: AskKind,
    /// One line for people.
    pub title: String,
    /// The tool that would be used.
    pub tool: Option<String>,
    /// What the tool would be given.
    pub input: Option<serde_json::Value>,
    /// What can be chosen, where the agent offers a choice.
    #[serde(default)]
    pub options: Vec<AskOption>,
    /// JSON Schema of what is to be filled in.
    pub schema: Option<serde_json::Value>,
    /// The page where it is answered.
    pub url: Option<String>,
    /// When it was asked.
    pub requested_at: Timestamp,
}

/// How far an approval is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ApprovalStatus {
    /// It waits for a person.
    Open,
    /// It is answered, and the agent may not know yet.
    Answered,
    /// The agent has the answer.
    Delivered,
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AnswerRequest {
    /// Yes or no.
    pub decision: Decision,
    /// One of its `options`; where absent, the narrowest that fits the decision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub option: Option<String>,
    /// Let the agent remember it for the rest of the conversation, where it offers that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub always: Option<bool>,
    /// What was filled in, for a form.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<serde_json::Value>,
    /// Why. The agent is told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}
