//! Approvals and questions: what waits for a person, and the answer.

use std::sync::Arc;

use greenroom_core::approval::{Answer, AskKind, Decision};
use greenroom_core::session::{AskState, Asked};
use greenroom_core::{
    ApprovalId, Command, Epoch, Event, Fact, RunnerId, Seq, Session, SessionUid, Status,
};
use greenroom_protocol::link::AnswerBody;
use greenroom_protocol::{Problem, v1};
use greenroom_store::SessionQuery;

use crate::app::App;
use crate::auth::{Caller, Right};
use crate::error::ApiResult;
use crate::service::sessions;

/// A reason has so many characters at most.
const LONGEST_REASON: usize = 2000;

/// What the agent of a session asks, in order, answered or not.
pub(crate) async fn of_session(
    app: &App,
    caller: &Caller,
    id: &str,
) -> ApiResult<Vec<v1::Approval>> {
    caller.require(Right::Read)?;
    let session = sessions::find(app, caller, id).await?;
    all_of(app, &session, |_| true).await
}

/// What waits for a person, in all sessions the caller may see.
pub(crate) async fn waiting(app: &App, query: SessionQuery) -> ApiResult<v1::List<v1::Approval>> {
    let query = SessionQuery { statuses: vec![Status::Waiting], ..query };
    let page = app.store.sessions(query).await?;
    let mut items = Vec::new();
    for session in &page.items {
        items.extend(all_of(app, session, |asked| asked.state == AskState::Open).await?);
    }
    Ok(v1::List { items, next_cursor: page.next })
}

async fn all_of(
    app: &App,
    session: &Session,
    wanted: impl Fn(&Asked) -> bool,
) -> ApiResult<Vec<v1::Approval>> {
    let Some(compute) = &session.compute else { return Ok(Vec::new()) };
    let mut all = Vec::new();
    for asked in compute.asked.iter().filter(|asked| wanted(asked)) {
        if let Some(event) = entry(app, session.uid, asked.seq).await? {
            all.extend(shown(session, asked.state, &event));
        }
    }
    Ok(all)
}

async fn entry(app: &App, uid: SessionUid, seq: Seq) -> ApiResult<Option<Event>> {
    Ok(app.store.events(uid, seq, 1).await?.pop().filter(|event| event.seq == seq))
}

fn shown(session: &Session, state: AskState, event: &Event) -> Option<v1::Approval> {
    let Ok(Fact::ApprovalRequested(asked)) = Fact::from_event(event) else { return None };
    let ask = asked.ask;
    Some(v1::Approval {
        id: ask.id,
        session_id: session.id.clone(),
        run_id: asked.run,
        epoch: asked.epoch,
        status: match state {
            AskState::Open => v1::ApprovalStatus::Open,
            AskState::Answered { .. } => v1::ApprovalStatus::Answered,
            AskState::Delivered => v1::ApprovalStatus::Delivered,
        },
        kind: ask.kind,
        title: ask.title,
        tool: ask.tool,
        input: ask.input,
        options: ask.options,
        schema: ask.schema,
        url: ask.url,
        requested_at: event.at,
    })
}

/// Answers one, once. What has been answered, or is over, is refused.
pub(crate) async fn answer(
    app: &Arc<App>,
    caller: &Caller,
    id: &str,
    approval: &str,
    request: v1::AnswerRequest,
) -> ApiResult<v1::Approval> {
    answer_with(app, caller, id, approval, request, Vec::new()).await
}

/// Answers one, with what else is decided by it: all of that, or nothing. Edits among that
/// come before the answer, which is then given under what they say.
pub(crate) async fn answer_with(
    app: &Arc<App>,
    caller: &Caller,
    id: &str,
    approval: &str,
    request: v1::AnswerRequest,
    with: Vec<Command>,
) -> ApiResult<v1::Approval> {
    let session = sessions::find(app, caller, id).await?;
    caller.require(Right::Decide)?;
    let not_found = || {
        Problem::not_found("approval", &approval.chars().take(80).collect::<String>())
            .hint("greenroom approvals ls")
    };
    let approval: ApprovalId = approval.parse().map_err(|_| not_found())?;
    let asked = session
        .compute
        .iter()
        .flat_map(|compute| &compute.asked)
        .find(|asked| asked.id == approval)
        .cloned()
        .ok_or_else(not_found)?;
    let event = entry(app, session.uid, asked.seq).await?.ok_or_else(not_found)?;
    let ask = shown(&session, asked.state, &event).ok_or_else(not_found)?;
    check(&ask, &request)?;
    let answer = Answer {
        decision: request.decision,
        option: request.option,
        always: request.always.unwrap_or(false),
        content: request.content,
        reason: request.reason.filter(|reason| !reason.is_empty()),
    };
    let command = Command::Answer { id: approval, answer, by: caller.actor() };
    let commands = with.into_iter().chain([command]).collect();
    sessions::submit(app, session.uid, commands).await?;
    Ok(v1::Approval { status: v1::ApprovalStatus::Answered, ..ask })
}

fn check(ask: &v1::Approval, request: &v1::AnswerRequest) -> ApiResult<()> {
    let wrong =
        |at: &str, text: String| Err(Problem::invalid(format!("{at} {text}")).at(at).into());
    if request.reason.as_ref().is_some_and(|reason| reason.chars().count() > LONGEST_REASON) {
        return wrong("/reason", format!("has {LONGEST_REASON} characters at most"));
    }
    if let Some(id) = &request.option {
        let Some(option) = ask.options.iter().find(|offered| offered.id == *id) else {
            let offered: Vec<_> = ask.options.iter().map(|offered| offered.id.as_str()).collect();
            return wrong("/option", format!("is not offered; there is {}", offered.join(", ")));
        };
        // Its agent goes by the option alone.
        let other = match request.decision {
            Decision::Allow => "reject_",
            Decision::Deny => "allow_",
        };
        if option.kind.starts_with(other) {
            let text = format!("is of kind {}, which is not what /decision says", option.kind);
            return wrong("/option", text);
        }
    }
    if request.content.is_some() && ask.kind != AskKind::Form {
        return wrong("/content", "answers a question of kind form only".to_owned());
    }
    let (Some(schema), Some(content)) = (&ask.schema, &request.content) else { return Ok(()) };
    let Ok(validator) = crate::schema::compile(schema) else { return Ok(()) };
    match crate::schema::check(&validator, content) {
        Ok(()) => Ok(()),
        Err(misfit) => {
            let at = format!("/content{}", misfit.path);
            let text = format!("{at} does not fit what was asked: {}", misfit.message);
            Err(Problem::invalid(text).at(at).into())
        }
    }
}

/// The answer, for the runner whose compute asked: as it counts now.
pub(crate) async fn body(
    app: &App,
    runner: RunnerId,
    uid: SessionUid,
    epoch: Epoch,
    id: ApprovalId,
) -> ApiResult<AnswerBody> {
    let not_found = || Problem::new(404, "approval_not_found", "no such answer is for this runner");
    let session = app.store.session(uid).await?.ok_or_else(not_found)?;
    let compute = session.compute.as_ref();
    let compute = compute.filter(|c| c.epoch == epoch && c.runner == runner);
    let asked = compute.and_then(|c| c.asked.iter().find(|a| a.id == id)).ok_or_else(not_found)?;
    let AskState::Answered { seq, once } = asked.state else { return Err(not_found().into()) };
    let fact = async |seq| match entry(app, uid, seq).await? {
        Some(event) => Ok(Fact::from_event(&event).ok()),
        None => ApiResult::Ok(None),
    };
    let Some(Fact::ApprovalAnswered(answered)) = fact(seq).await? else {
        return Err(not_found().into());
    };
    if !once {
        return Ok(AnswerBody { answer: answered.answer });
    }
    let Some(Fact::ApprovalRequested(requested)) = fact(asked.seq).await? else {
        return Err(not_found().into());
    };
    Ok(AnswerBody { answer: answered.answer.once(&requested.ask.options) })
}
