//! Approvals and questions: what an agent asks of a person before it goes on.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::ids::ApprovalId;
use crate::value::Ms;

/// What an agent asks. It is bound to the session, the epoch and the one action it
/// describes: an answer to it authorises nothing else.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
pub struct Ask {
    /// Its identity.
    pub id: ApprovalId,
    /// What kind of answer it needs.
    pub kind: AskKind,
    /// One line for people.
    pub title: String,
    /// The tool that would be used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool: Option<String>,
    /// What the tool would be given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<Value>,
    /// What can be chosen, where the agent offers a choice.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub options: Vec<AskOption>,
    /// JSON Schema of what is to be filled in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schema: Option<Value>,
    /// The page where it is answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
}

/// What kind of answer is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum AskKind {
    /// May it use this tool in this way?
    Permission,
    /// Something to fill in.
    Form,
    /// Something to do on a page.
    Url,
}

/// One choice.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
pub struct AskOption {
    /// The agent's name for it.
    pub id: String,
    /// The agent's words for it.
    pub name: String,
    /// What it means: `allow_once`, `allow_always`, `reject_once`, `reject_always`.
    pub kind: String,
}

/// What was answered.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
pub struct Answer {
    /// Yes or no.
    pub decision: Decision,
    /// The choice, where one was named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub option: Option<String>,
    /// Let the agent remember it, where it can.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub always: bool,
    /// What was filled in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<Value>,
    /// Why, in the words of who answered. The agent is told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Yes or no.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// It may; or, here is what was asked for.
    Allow,
    /// It may not.
    Deny,
}

/// What an agent may do without being asked. Rules come before the mode; of the rules,
/// `deny` is final, then `ask`, then `allow`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// What happens to what no rule names.
    #[serde(default)]
    pub mode: Mode,
    /// Nobody is there: what would be asked is denied, and the log says so.
    #[serde(default)]
    pub headless: bool,
    /// What may be done.
    #[serde(default)]
    pub allow: Vec<Rule>,
    /// What is asked.
    #[serde(default)]
    pub ask: Vec<Rule>,
    /// What may never be done.
    #[serde(default)]
    pub deny: Vec<Rule>,
    /// How long a question waits before it counts as denied; for ever where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<Ms>,
}

impl Policy {
    /// Whether it says nothing.
    pub fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// What happens to what no rule names.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// All of it is asked.
    Strict,
    /// What only reads is allowed, the rest is asked.
    #[default]
    Balanced,
    /// All of it is allowed.
    Autonomous,
}

/// Which uses of which tools: `TOOL`, or `TOOL(ARGUMENT)`; `*` stands for anything.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(transparent)]
pub struct Rule(pub String);
