//! Sessions, as their clients read them.

use greenroom_core::{Session, SessionUid};
use serde_json::{Value, json};

use super::policy;
use super::transcript::Transcript;
use crate::app::App;
use crate::error::ApiResult;

/// Entries of a log that are read at once.
const CHUNK: u32 = 1000;
/// The label of a session whose agent is chosen with its first run.
pub(super) const AGENT: &str = "docker-agent.agent";
/// What that label says.
pub(super) const UNCHOSEN: &str = "unchosen";
/// The label that says which member of a team a session is of.
pub(super) const MEMBER: &str = "docker-agent.member";
/// The label that says of which source a session's agent is.
pub(super) const SOURCE: &str = "docker-agent.actor.source";
/// The label of what somebody has starred.
pub(super) const STARRED: &str = "starred";

/// A session's conversation until now.
pub(super) async fn transcript(app: &App, session: &Session) -> ApiResult<Transcript> {
    let name = session.labels.get(MEMBER).map_or(session.agent.name.as_str(), String::as_str);
    let mut transcript = Transcript::of(name);
    let mut from = 1;
    while from <= session.last_seq {
        let events = app.store.events(session.uid, from, CHUNK).await?;
        let Some(last) = events.last() else { break };
        from = last.seq + 1;
        // What has come since the session was looked at is not part of it.
        let known = events.iter().take_while(|event| event.seq <= session.last_seq);
        known.for_each(|event| transcript.event(event));
    }
    Ok(transcript)
}

/// How many messages sessions have: what was asked, and what was answered. No log is read.
pub(super) async fn counts(app: &App, uids: &[SessionUid]) -> ApiResult<Vec<u32>> {
    let counted = app.store.exchanges(uids).await?;
    Ok(counted.iter().map(|one| one.asked + one.answered).collect())
}

/// What is the same in all views.
fn base(session: &Session) -> Value {
    let mut view = json!({
        "id": session.id,
        "title": session.title.clone().unwrap_or_default(),
        "created_at": session.created_at,
        "input_tokens": session.usage.input_tokens,
        "output_tokens": session.usage.output_tokens,
    });
    if let Some(workspace) = &session.workspace {
        view["working_dir"] = workspace.path().as_str().into();
    }
    view
}

fn cost(session: &Session) -> f64 {
    session.usage.cost_micro_usd as f64 / 1e6
}

/// An entry of the list.
pub(super) fn listed(session: &Session, messages: u32) -> Value {
    let mut view = base(session);
    view["num_messages"] = messages.into();
    view["agent"] = json!(session.agent.name);
    view["status"] = json!(session.status());
    view["starred"] = is_starred(session).into();
    view
}

/// Whether somebody has starred it.
pub(super) fn is_starred(session: &Session) -> bool {
    session.labels.get(STARRED).is_some_and(|value| value == "true")
}

/// With what a session may do.
fn with_policy(mut view: Value, session: &Session) -> Value {
    view["tools_approved"] = policy::is_approved(&session.approvals).into();
    view["safety_policy"] = policy::word(&session.approvals).into();
    if let Some(permissions) = policy::permissions(&session.approvals) {
        view["permissions"] = permissions;
    }
    view
}

/// `GET /api/sessions/{id}`
pub(super) fn session(session: &Session, transcript: &mut Transcript) -> Value {
    let mut view = with_policy(base(session), session);
    view["thinking"] = false.into();
    view["starred"] = is_starred(session).into();
    view["messages"] = transcript.messages().into();
    view
}

/// A whole session: the answer to its creation, and exports.
pub(super) fn whole(session: &Session, items: &[Value]) -> Value {
    let mut view = with_policy(base(session), session);
    let more = json!({
        "messages": items,
        "thinking": false,
        "hide_tool_results": false,
        "SendUserMessage": true,
        "max_iterations": 0,
        "starred": is_starred(session),
        "cost": cost(session),
        "agent": session.agent.name,
        "attributes": session.labels,
    });
    if let (Value::Object(view), Value::Object(more)) = (&mut view, more) {
        view.extend(more);
    }
    view
}

/// Whether a run of it is in progress.
pub(super) fn is_streaming(session: &Session) -> bool {
    session.compute.as_ref().is_some_and(|compute| compute.head.is_some())
}

/// `GET /api/sessions/{id}/status`
pub(super) fn status(session: &Session, messages: u32) -> Value {
    let mut view = base(session);
    view["streaming"] = is_streaming(session).into();
    view["agent"] = json!(session.agent.name);
    view["num_messages"] = messages.into();
    view["status"] = json!(session.status());
    view
}

/// Which log a position in it is of: another one after a restore from a backup, or under the
/// name of a session that is gone.
pub(super) fn epoch(app: &App, session: &Session) -> String {
    format!("{}-{}", app.hub.era(), session.uid.0.simple())
}

/// `GET /api/sessions/{id}/snapshot`
pub(super) fn snapshot(
    app: &App,
    session: &Session,
    transcript: &mut Transcript,
    pending: Vec<Value>,
) -> Value {
    let mut view = self::session(session, transcript);
    let more = json!({
        "streaming": is_streaming(session),
        "agent": session.agent.name,
        "last_event_seq": session.last_seq,
        "event_epoch": epoch(app, session),
        "cost": cost(session),
        "status": session.status(),
        "pending": pending,
    });
    if let (Value::Object(view), Value::Object(more)) = (&mut view, more) {
        view.extend(more);
    }
    view
}
