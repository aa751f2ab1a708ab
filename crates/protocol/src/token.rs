//! Tokens: who may do what.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What a token allows.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Everything.
    Admin,
    /// Own and shared sessions.
    Operator,
    /// To look at own and shared sessions.
    Viewer,
    /// To join a machine: exchanged once for the runner's own credential.
    Runner,
    /// A session's agent: its own session and its children.
    Agent,
}

impl Role {
    /// All of them.
    pub const ALL: [Role; 5] =
        [Self::Admin, Self::Operator, Self::Viewer, Self::Runner, Self::Agent];

    /// The word in API and CLI.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Operator => "operator",
            Self::Viewer => "viewer",
            Self::Runner => "runner",
            Self::Agent => "agent",
        }
    }
}

impl std::str::FromStr for Role {
    type Err = String;
    fn from_str(s: &str) -> Result<Self, String> {
        Self::ALL
            .into_iter()
            .find(|role| role.as_str() == s)
            .ok_or_else(|| format!("{s:?} is not a role: admin, operator, viewer, runner or agent"))
    }
}
