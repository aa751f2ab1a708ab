//! Tokens, as they are asked for and shown.

use greenroom_core::{Timestamp, TokenId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::token::Role;

/// Body of `POST /v1/tokens`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateToken {
    /// What it allows.
    pub role: Role,
    /// Who it speaks for; the token's own id where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub principal: Option<String>,
}

/// A token, without its secret.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Token {
    /// Its identity.
    pub id: TokenId,
    /// What it allows.
    pub role: Role,
    /// Who it speaks for.
    pub principal: String,
    /// When it was made.
    pub created_at: Timestamp,
}

/// A token that was just made.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct NewToken {
    /// What it is.
    #[serde(flatten)]
    pub token: Token,
    /// The secret itself. Said once.
    pub secret: String,
}
