//! Forks: sessions that begin with the conversation of another, up to a place in it.

use std::sync::Arc;

use greenroom_core::agent::Driver;
use greenroom_core::command::{Create, Mode};
use greenroom_core::fact::{Created, Event, Forked, ForkedConversation, ForkedWorkspace};
use greenroom_core::session::Life;
use greenroom_core::{RunId, Seq, Session, SessionId};
use greenroom_protocol::{Problem, v1};
use greenroom_store::{Idempotency, NewSession, Submitted};
use serde_json::Value;

use crate::app::{App, fresh};
use crate::auth::{Caller, Right};
use crate::error::ApiResult;
use crate::service::sessions::{self, Answered, BOUNDS};
use crate::service::{following, versions, views};

/// Entries of a log that are read at once.
const CHUNK: u32 = 1000;
/// So much of a conversation can be forked: entries, and bytes of them.
const MOST_ENTRIES: usize = 20_000;
const MOST_BYTES: usize = 64 << 20;

/// Forks a session.
pub(crate) async fn fork(
    app: &App,
    caller: &Caller,
    id: &str,
    request: v1::ForkSession,
    key: Option<String>,
) -> ApiResult<Answered<v1::Session>> {
    let from = sessions::find(app, caller, id).await?;
    // An agent's own token makes children, which stay within what it may do itself.
    caller.require(Right::Decide)?;
    if from.life == Life::Deleting {
        return Err(greenroom_core::Refusal::Deleting.into());
    }
    let body = sessions::digest(&request);
    let name: SessionId = match &request.id {
        Some(id) => id.parse().map_err(|e| Problem::invalid(format!("/id: {e}")).at("/id"))?,
        None => sessions::short_id(),
    };
    sessions::check_title(request.title.as_deref())?;
    let labels = request.labels.clone().unwrap_or_else(|| from.labels.clone());
    sessions::check_labels(&labels)?;
    let cut = Cut::of(&request)?;
    versions::refuse_disabled(app, &from.agent.name)?;
    let agent = following::pinned(app, &from).await?;
    let conversation = match agent.row.spec.driver {
        Driver::Loop(_) => ForkedConversation::Inherited,
        _ => ForkedConversation::Fresh,
    };
    let (mut inherited, seq) = conversation_until(app, &from, &cut).await?;
    if conversation == ForkedConversation::Fresh {
        inherited.clear();
    }
    let title = request.title.or_else(|| from.title.as_deref().map(forked_title));
    let created = Created {
        uid: fresh::session(),
        id: name,
        owner: caller.principal.clone(),
        user: from.user.clone(),
        shared: false,
        title: title.filter(|title| !title.is_empty()),
        labels,
        runner_labels: from.runner_labels.clone(),
        workspace: from.workspace.clone(),
        agent: from.agent.clone(),
        traits: from.traits,
        agent_policy: from.agent_policy,
        approvals: from.approvals.clone(),
        // What an agent's child may not do, a fork of it may not do either.
        within: from.within.clone(),
        model: from.model.clone(),
        models: from.models.clone(),
        limits: from.limits.clone(),
        parent: None,
        parent_id: None,
        depth: 0,
        callback: false,
        forked_from: Some(Forked {
            uid: from.uid,
            id: from.id.clone(),
            seq,
            before_run: cut.run(),
            conversation,
            workspace: ForkedWorkspace::Fresh,
        }),
    };
    let idempotency = key.map(|key| Idempotency {
        scope: format!("{} POST /v1/sessions/{}/fork", caller.scope(), from.uid),
        key,
        body,
        render: {
            let lives = Arc::clone(&app.lives);
            Box::new(move |session| sessions::answer(201, &views::session(session, &lives)))
        },
    });
    let new = NewSession {
        create: Create { created, inherited, prompt: None },
        mode: Mode::Enqueue,
        then: Vec::new(),
        bounds: BOUNDS,
        quotas: app.quotas,
        place: Vec::new(),
        idempotency,
        at: app.clock.wall(),
    };
    Ok(match app.store.create_session(new).await? {
        Submitted::Done { answer: Some(answer), .. } | Submitted::Replay(answer) => {
            Answered::Before(answer)
        }
        Submitted::Done { commit, answer: None } => {
            Answered::Now(views::session(&commit.session, &app.lives))
        }
    })
}

/// Where a conversation is cut.
enum Cut {
    /// Not at all.
    End,
    /// Before a run began.
    Run(RunId),
    /// Before a message of the user, counted from 0.
    Message(u32),
}

impl Cut {
    fn of(request: &v1::ForkSession) -> ApiResult<Self> {
        match (request.before_run, request.before_message) {
            (None, None) => Ok(Self::End),
            (Some(run), None) => Ok(Self::Run(run)),
            (None, Some(message)) => Ok(Self::Message(message)),
            (Some(_), Some(_)) => {
                let detail = "/before_run and /before_message cannot both be given";
                Err(Problem::invalid(detail).at("/before_message").into())
            }
        }
    }

    fn run(&self) -> Option<RunId> {
        match self {
            Self::Run(run) => Some(*run),
            Self::End | Self::Message(_) => None,
        }
    }

    /// Whether it is before what is asked here, of which so many came before.
    fn is_before(&self, asked: &str, before: u32) -> bool {
        match self {
            Self::End => false,
            Self::Run(run) => run.to_string() == asked,
            Self::Message(message) => *message == before,
        }
    }

    fn not_found(&self, id: &SessionId, messages: u32) -> Problem {
        match self {
            Self::Run(run) => Problem::new(
                404,
                "run_not_found",
                format!("no run {run} has begun in session {:?}", id.as_str()),
            )
            .at("/before_run"),
            _ => Problem::new(
                404,
                "message_not_found",
                format!(
                    "session {:?} has {messages} messages of its user, counted from 0",
                    id.as_str()
                ),
            )
            .at("/before_message"),
        }
    }
}

/// What an entry of a log says, also where that was inherited.
pub(crate) fn said(event: &Event) -> Option<Event> {
    if event.kind != "session.inherited" {
        return Some(event.clone());
    }
    serde_json::from_value(event.data.clone()).ok()
}

/// Whether an entry is part of a conversation, as a fold of the log sees it.
fn is_conversation(event: &Event) -> bool {
    if event.data.get("late").and_then(Value::as_bool) == Some(true) {
        return false;
    }
    match event.kind.as_str() {
        "run.queued" | "run.edited" | "run.started" | "run.steered" | "run.completed"
        | "run.failed" | "run.stopped" | "message" | "thought" | "tool_call" | "tool_result"
        | "plan" => true,
        "session.agent_info" => {
            let about = event.data.get("about").and_then(Value::as_str).unwrap_or_default();
            matches!(about, "prompt" | "correction" | "discard" | "compacted")
        }
        _ => false,
    }
}

/// The conversation of a session up to a place, and the last entry that counts.
async fn conversation_until(
    app: &App,
    session: &Session,
    cut: &Cut,
) -> ApiResult<(Vec<Event>, Seq)> {
    let (mut kept, mut bytes, mut asked): (Vec<Event>, usize, u32) = (Vec::new(), 0, 0);
    let mut last = 0;
    while last < session.last_seq {
        let events = app.store.events(session.uid, last + 1, CHUNK).await?;
        let Some(end) = events.last().map(|event| event.seq) else { break };
        for event in events.iter().take_while(|event| event.seq <= session.last_seq) {
            let Some(said) = said(event).filter(is_conversation) else {
                last = event.seq;
                continue;
            };
            if matches!(said.kind.as_str(), "run.started" | "run.steered") {
                let run = said.data.get("run").and_then(Value::as_str).unwrap_or_default();
                if cut.is_before(run, asked) {
                    return Ok((kept, last));
                }
                asked += 1;
            }
            last = event.seq;
            bytes += said.data.to_string().len();
            kept.push(said);
            if kept.len() > MOST_ENTRIES || bytes > MOST_BYTES {
                let detail = format!(
                    "the conversation of session {:?} is longer than can be forked: \
                     {MOST_ENTRIES} entries, {} MiB",
                    session.id.as_str(),
                    MOST_BYTES >> 20
                );
                return Err(Problem::new(409, "fork_too_large", detail)
                    .hint("fork it before an earlier message")
                    .into());
            }
        }
        last = last.max(end.min(session.last_seq));
    }
    match cut {
        Cut::End => Ok((kept, last)),
        _ => Err(cut.not_found(&session.id, asked).into()),
    }
}

/// The title of a fork: `X`, `X (fork 1)`, `X (fork 2)`, …
fn forked_title(title: &str) -> String {
    let forked = title.strip_suffix(')').and_then(|rest| rest.rsplit_once(" (fork "));
    let (base, number) = match forked.and_then(|(base, n)| Some((base, n.parse::<u32>().ok()?))) {
        Some((base, number)) => (base, number.saturating_add(1)),
        None => (title, 1),
    };
    // A title has 500 characters at most.
    let base: String = base.chars().take(480).collect();
    format!("{base} (fork {number})")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn titles_of_forks_are_counted() {
        for (title, forked) in [
            ("X", "X (fork 1)"),
            ("X (fork 1)", "X (fork 2)"),
            ("X (fork 1) (fork 9)", "X (fork 1) (fork 10)"),
            ("X (fork x)", "X (fork x) (fork 1)"),
            ("", " (fork 1)"),
        ] {
            assert_eq!(forked_title(title), forked);
        }
        assert!(forked_title(&"x".repeat(500)).chars().count() <= 500);
    }
}
