//! Policies of approvals that sessions have of their own.

use greenroom_core::Ms;
use greenroom_core::Session;
use greenroom_core::agent::{AgentSpec, Driver};
use greenroom_core::approval::{Policy, SessionPolicy};
use greenroom_protocol::Problem;

use crate::app::App;
use crate::auth::{Caller, Who};
use crate::error::ApiResult;
use crate::service::agents::Pinned;
use crate::service::following;

/// Rules of one kind, and characters of a rule.
const MOST_RULES: usize = 200;
const LONGEST_RULE: usize = 1000;

fn wrong(place: &str, text: &str) -> Problem {
    Problem::invalid(format!("{place} {text}")).at(place)
}

/// Refuses what says nothing, and what nobody could keep.
pub(crate) fn check(policy: &SessionPolicy, agent: &AgentSpec) -> ApiResult<()> {
    if !policy.is_default() && matches!(agent.driver, Driver::Command(_) | Driver::Foreign(_)) {
        let detail = format!(
            "/approvals cannot be kept: agent {} has driver command, which asks nobody",
            agent.name
        );
        return Err(Problem::new(409, "approvals_unsupported", detail)
            .hint("leave approvals out, or take an agent of another driver")
            .at("/approvals")
            .into());
    }
    let kinds = [("allow", &policy.allow), ("ask", &policy.ask), ("deny", &policy.deny)];
    for (kind, rules) in kinds {
        let place = format!("/approvals/{kind}");
        if rules.len() > MOST_RULES {
            return Err(wrong(&place, &format!("has {MOST_RULES} rules at most")).into());
        }
        let odd = |rule: &str| rule.trim().is_empty() || rule.chars().count() > LONGEST_RULE;
        if let Some(at) = rules.iter().position(|rule| odd(&rule.0)) {
            let text = format!("is a rule of 1 to {LONGEST_RULE} characters");
            return Err(wrong(&format!("{place}/{at}"), &text).into());
        }
    }
    if policy.timeout_ms.is_some_and(|limit| limit > Ms::MAX) {
        return Err(wrong("/approvals/timeout_ms", "is more than ten years").into());
    }
    Ok(())
}

/// The policies that a new session stays within. What an agent creates gets no more than
/// the session of that agent has; and an agent answers nothing in advance, either.
pub(crate) async fn within(
    app: &App,
    caller: &Caller,
    parent: Option<&Session>,
    policy: &SessionPolicy,
    agent: &Pinned,
) -> ApiResult<Vec<Policy>> {
    let (Who::Agent { .. }, Some(parent)) = (&caller.who, parent) else { return Ok(Vec::new()) };
    if let Some(place) = policy.widens(&agent.row.spec.approvals) {
        let detail = format!("{place}: an agent can narrow what its child may do, not widen it");
        return Err(Problem::forbidden(&detail).at(place).into());
    }
    let above = following::pinned(app, parent).await?;
    let policies = parent.policies(&above.row.spec.approvals);
    Ok(match above.row.spec.driver {
        // It asks nobody, so it has no policy of its own.
        Driver::Command(_) | Driver::Foreign(_) => policies.within,
        _ => policies.for_children(),
    })
}
