//! Answers to what an agent asks: each to one question, and the first one counts.

use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use greenroom_core::approval::{AskKind, Decision, Mode, Rule, SessionPolicy};
use greenroom_core::command::Command;
use greenroom_core::fact::Changes;
use greenroom_protocol::{Problem, v1};
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use super::asked::{Body, bad};
use super::names::Segments;
use crate::api::json as answer;
use crate::app::App;
use crate::auth::{Allowed, ToDecide};
use crate::error::ApiResult;
use crate::service::{approvals, sessions};

#[derive(Debug, Deserialize)]
pub(super) struct Resume {
    confirmation: String,
    #[serde(default)]
    reason: Option<String>,
    #[serde(default)]
    tool_name: Option<String>,
    /// Which question, as it was said with it.
    #[serde(default)]
    confirmation_id: Option<String>,
}

/// What a confirmation says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verb {
    /// This once.
    Once,
    /// This, and all that a mode allows from now on.
    Mode(Mode),
    /// This, and this tool from now on.
    Tool,
    /// No.
    Reject,
}

impl Verb {
    /// Also by the names it had.
    fn of(word: &str) -> Result<Self, Box<Problem>> {
        Ok(match word {
            "approve" => Self::Once,
            "approve-session" | "approve-autonomous" => Self::Mode(Mode::Autonomous),
            "approve-balanced" | "approve-safe" | "approve-safer" => Self::Mode(Mode::Balanced),
            "approve-tool" => Self::Tool,
            "reject" => Self::Reject,
            _ => {
                let shown: String = word.chars().take(40).collect();
                return Err(bad(format!(
                    "confirmation {shown:?} is none: approve, approve-balanced, \
                     approve-autonomous, approve-tool, reject"
                )));
            }
        })
    }

    /// What it lets the session do from now on, beside the one thing that was asked.
    fn policy(self, before: &SessionPolicy, tool: &str) -> Option<SessionPolicy> {
        let mut policy = before.clone();
        match self {
            Self::Once | Self::Reject => return None,
            Self::Mode(mode) => {
                policy.mode = Some(mode);
                policy.headless = policy.headless.map(|_| false);
            }
            Self::Tool if tool.is_empty() => return None,
            Self::Tool => {
                let rule = Rule(tool.to_owned());
                if !policy.allow.contains(&rule) {
                    policy.allow.push(rule);
                }
            }
        }
        Some(policy)
    }

    /// The agent's own option for it, where it offers one.
    fn option(self) -> Option<&'static str> {
        match self {
            Self::Once | Self::Reject => None,
            Self::Mode(Mode::Autonomous) => Some("allow_all"),
            Self::Mode(_) => Some("allow_reads"),
            Self::Tool => Some("allow_tool"),
        }
    }
}

/// `POST /api/sessions/{id}/resume`
pub(super) async fn resume(
    State(app): State<Arc<App>>,
    Allowed { caller, .. }: Allowed<ToDecide>,
    path: Segments,
    Body(request): Body<Resume>,
) -> ApiResult<Response> {
    let verb = Verb::of(&request.confirmation)?;
    let session = sessions::find(&app, &caller, &path.session()).await?;
    let id = session.id.to_string();
    let open = approvals::of_session(&app, &caller, &id).await?;
    let permissions = open.into_iter().filter(|ask| ask.kind == AskKind::Permission);
    let tool = request.tool_name.as_deref().filter(|tool| !tool.is_empty());
    let ask = one(permissions.collect(), request.confirmation_id.as_deref(), tool)?;
    let asked_tool = ask.tool.clone().unwrap_or_default();
    let policy = verb.policy(&session.approvals, tool.unwrap_or(&asked_tool));
    let offered = |id: &str| ask.options.iter().any(|option| option.id == id);
    let option = verb.option().filter(|id| offered(id)).map(str::to_owned);
    let request = v1::AnswerRequest {
        decision: if verb == Verb::Reject { Decision::Deny } else { Decision::Allow },
        always: (policy.is_some() && option.is_none()).then_some(true),
        option,
        content: None,
        reason: request.reason.filter(|reason| !reason.is_empty()),
    };
    // What it may do from now on is decided with the answer, or neither is.
    let update =
        |approvals| Command::Update(Changes { approvals: Some(approvals), ..Changes::default() });
    let with: Vec<Command> = policy.map(update).into_iter().collect();
    approvals::answer_with(&app, &caller, &id, &ask.id.to_string(), request, with).await?;
    Ok(answer(StatusCode::OK, &json!({ "message": "session resumed" })))
}

/// The one open question that is meant.
fn one(
    asks: Vec<v1::Approval>,
    id: Option<&str>,
    tool: Option<&str>,
) -> Result<v1::Approval, Box<Problem>> {
    if let Some(id) = id.filter(|id| !id.is_empty()) {
        let shown: String = id.chars().take(80).collect();
        let found = asks.into_iter().find(|ask| ask.id.to_string() == id);
        // One that was answered is refused by whoever knows that it was.
        return found.ok_or_else(|| nothing_waits(&format!("question {shown:?} is not open")));
    }
    let open = |ask: &v1::Approval| ask.status == v1::ApprovalStatus::Open;
    let mut open: Vec<v1::Approval> = asks.into_iter().filter(open).collect();
    if open.len() > 1
        && let Some(tool) = tool
    {
        open.retain(|ask| ask.tool.as_deref() == Some(tool));
    }
    match open.len() {
        0 => Err(nothing_waits("nothing waits for an answer in this session")),
        1 => Ok(open.remove(0)),
        _ => {
            let ids: Vec<String> = open.iter().map(|ask| ask.id.to_string()).collect();
            let detail = format!(
                "{} questions wait for an answer; say which with confirmation_id (or \
                 elicitation_id): {}",
                ids.len(),
                ids.join(", ")
            );
            Err(Box::new(Problem::new(409, "several_wait", detail)))
        }
    }
}

fn nothing_waits(detail: &str) -> Box<Problem> {
    Box::new(Problem::new(409, "nothing_waits", detail))
}

#[derive(Debug, Deserialize)]
pub(super) struct Elicitation {
    action: String,
    #[serde(default)]
    content: Option<Value>,
    #[serde(default)]
    elicitation_id: Option<String>,
}

/// `POST /api/sessions/{id}/elicitation`
pub(super) async fn elicitation(
    State(app): State<Arc<App>>,
    Allowed { caller, .. }: Allowed<ToDecide>,
    path: Segments,
    Body(request): Body<Elicitation>,
) -> ApiResult<Response> {
    let (decision, reason) = match request.action.as_str() {
        "accept" => (Decision::Allow, None),
        "decline" => (Decision::Deny, Some("declined")),
        "cancel" => (Decision::Deny, Some("cancelled")),
        _ => return Err(bad("action is one of accept, decline, cancel").into()),
    };
    let id = sessions::find(&app, &caller, &path.session()).await?.id.to_string();
    let open = approvals::of_session(&app, &caller, &id).await?;
    let forms = open.into_iter().filter(|ask| ask.kind != AskKind::Permission);
    let ask = one(forms.collect(), request.elicitation_id.as_deref(), None)?;
    let fills_in = decision == Decision::Allow && ask.kind == AskKind::Form;
    let request = v1::AnswerRequest {
        decision,
        option: None,
        always: None,
        content: request.content.filter(|content| fills_in && !content.is_null()),
        reason: reason.map(str::to_owned),
    };
    approvals::answer(&app, &caller, &id, &ask.id.to_string(), request).await?;
    Ok(answer(StatusCode::OK, &Value::Null))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verbs_go_by_their_old_names_too() {
        for (word, verb) in [
            ("approve", Verb::Once),
            ("approve-session", Verb::Mode(Mode::Autonomous)),
            ("approve-autonomous", Verb::Mode(Mode::Autonomous)),
            ("approve-balanced", Verb::Mode(Mode::Balanced)),
            ("approve-safe", Verb::Mode(Mode::Balanced)),
            ("approve-safer", Verb::Mode(Mode::Balanced)),
            ("approve-tool", Verb::Tool),
            ("reject", Verb::Reject),
        ] {
            assert_eq!(Verb::of(word), Ok(verb), "{word}");
        }
        for word in ["", "yes", "Approve"] {
            assert_eq!(Verb::of(word).expect_err("no verb").status, 400, "{word}");
        }
    }

    #[test]
    fn what_is_approved_for_good_leaves_what_is_denied() {
        let before = SessionPolicy {
            deny: vec![Rule("rm".to_owned())],
            headless: Some(true),
            ..SessionPolicy::default()
        };
        let all = Verb::Mode(Mode::Autonomous).policy(&before, "shell").expect("a policy");
        assert_eq!((all.mode, all.headless), (Some(Mode::Autonomous), Some(false)));
        assert_eq!(all.deny, before.deny, "deny is final");
        let tool = Verb::Tool.policy(&before, "shell").expect("a policy");
        assert_eq!(tool.allow, [Rule("shell".to_owned())]);
        assert_eq!(Verb::Tool.policy(&tool, "shell"), Some(tool.clone()), "once");
        assert_eq!(Verb::Once.policy(&before, "shell"), None);
        assert_eq!(Verb::Reject.policy(&before, "shell"), None);
    }
}
