//! Errors as `application/problem+json` (RFC 9457) with a stable `code`.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::candidate::Candidate;

/// What went wrong, with what, and what to do about it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema, thiserror::Error)]
#[error("{detail}")]
pub struct Problem {
    /// The HTTP status, repeated.
    pub status: u16,
    /// A stable word for programs.
    pub code: String,
    /// The status in words.
    pub title: String,
    /// What happened, to what.
    pub detail: String,
    /// What to do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Where in the request the fault is, as a JSON pointer or a parameter's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Seconds after which a retry can help.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<u32>,
    /// The quota that is used up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quota: Option<QuotaUse>,
    /// What could have been meant, where that is not one thing alone.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub candidates: Vec<Candidate>,
}

/// A quota, and how much of it is used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct QuotaUse {
    /// Which: `max_active`, `max_active_per_owner` or `max_sessions_per_owner`.
    pub quota: String,
    /// So many sessions may be.
    pub limit: u32,
    /// So many are.
    pub used: u32,
}

impl Problem {
    /// A problem of this status and code.
    pub fn new(status: u16, code: &str, detail: impl Into<String>) -> Self {
        let title = match status {
            400 => "Bad request",
            401 => "No valid token",
            403 => "Not allowed",
            404 => "Not found",
            405 => "Method not allowed",
            406 => "Not acceptable",
            409 => "Conflict",
            411 => "Length required",
            413 => "Too large",
            415 => "Unsupported media type",
            421 => "Foreign host",
            422 => "Does not parse",
            429 => "Too many requests",
            503 => "Not ready",
            504 => "No answer in time",
            507 => "No space left",
            _ => "Internal error",
        };
        Self {
            status,
            code: code.to_owned(),
            title: title.to_owned(),
            detail: detail.into(),
            hint: None,
            path: None,
            retry_after: None,
            quota: None,
            candidates: Vec::new(),
        }
    }

    /// With what to do.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// With where the fault is.
    #[must_use]
    pub fn at(mut self, path: impl Into<String>) -> Self {
        self.path = Some(path.into());
        self
    }

    /// What isn't there, or isn't the caller's.
    pub fn not_found(kind: &str, name: &str) -> Self {
        Self::new(
            404,
            &format!("{kind}_not_found"),
            format!("{kind} {name:?} not found or has been deleted"),
        )
    }

    /// A missing right.
    pub fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(403, "forbidden", detail)
    }

    /// What does not parse or does not fit.
    pub fn invalid(detail: impl Into<String>) -> Self {
        Self::new(422, "invalid", detail)
    }
}
