//! Runs: accepting, finding, stopping, taking them back.

use std::sync::Arc;
use std::time::Duration;

use greenroom_core::command::{Asks, Command, Mode, Prompt};
use greenroom_core::run::{PendingRun, RunStatus};
use greenroom_core::{Ms, Refusal, RunId, Session, Timestamp};
use greenroom_protocol::{Problem, v1};
use greenroom_store::{Idempotency, RunRow, StoreError, Submission, Submitted};

use crate::app::{App, fresh};
use crate::auth::{Caller, Right};
use crate::error::ApiResult;
use crate::presence::Wants;
use crate::service::agents::Pinned;
use crate::service::following::{Following, following};
use crate::service::sessions::{self, Answered};
use crate::service::wait::Waiter;
use crate::service::{versions, views};

/// Accepts a run.
pub(crate) async fn create(
    app: &App,
    caller: &Caller,
    id: &str,
    request: v1::CreateRun,
    key: Option<String>,
) -> ApiResult<Answered<v1::AcceptedRun>> {
    create_as(app, caller, id, request, fresh::run(), key).await
}

/// Accepts a run of this identity.
pub(crate) async fn create_as(
    app: &App,
    caller: &Caller,
    id: &str,
    request: v1::CreateRun,
    run: RunId,
    key: Option<String>,
) -> ApiResult<Answered<v1::AcceptedRun>> {
    let session = sessions::find(app, caller, id).await?;
    accept(app, caller, &session, request, run, key, None).await
}

/// What a session takes with the run, and what has to be decided before that.
pub(crate) struct Chosen {
    /// The description; none where the session goes on with what it would have anyway.
    pub(crate) agent: Option<Arc<Pinned>>,
    /// What has to be decided.
    pub(crate) commands: Vec<Command>,
}

/// Accepts a run of a session, which may take another description with it.
pub(crate) async fn accept(
    app: &App,
    caller: &Caller,
    session: &Session,
    request: v1::CreateRun,
    run: RunId,
    key: Option<String>,
    chosen: Option<Chosen>,
) -> ApiResult<Answered<v1::AcceptedRun>> {
    caller.require(Right::Use)?;
    let body = sessions::digest(&request);
    let mode = mode(request.mode.as_deref())?;
    sessions::check_asks(request.prompt.as_ref(), request.input.as_ref())?;
    let resume = request.resume.unwrap_or(false);
    if resume {
        // A hold is lifted by a person.
        caller.require(Right::Decide)?;
    }
    if request.callback == Some(true) && session.parent.is_none() {
        return Err(sessions::no_parent().into());
    }
    versions::refuse_disabled(app, &session.agent.name)?;
    let (next, first) = match chosen {
        Some(Chosen { agent: Some(agent), commands }) => (Following::as_it_is(agent), commands),
        other => {
            let commands = other.map(|chosen| chosen.commands).unwrap_or_default();
            (following(app, session, &caller.actor().name).await?, commands)
        }
    };
    if let (Some(input), Some(agent)) = (&request.input, &next.agent) {
        agent.check_input(input)?;
    }
    let at = app.clock.wall();
    let run = PendingRun {
        id: run,
        callback: request.callback.unwrap_or(session.callback),
        created_at: at,
    };
    let shown = Accepted {
        run: run.clone(),
        prompt: request.prompt.clone(),
        input: request.input.clone(),
        mode,
    };
    let prompt = Prompt {
        run,
        prompt: request.prompt,
        input: request.input,
        by: caller.actor(),
        mode,
        resume,
        first: request.first.unwrap_or(false),
        stop: fresh::stop(),
    };
    let wants = wants(session, next.agent.as_deref());
    let render = shown.clone();
    let then = [Some(Command::Prompt(prompt)), next.command.clone()];
    let commands = first.into_iter().chain(then.into_iter().flatten()).collect();
    let submission = Submission {
        mode,
        quotas: app.quotas,
        place: app.runners.candidates(session.home, &wants),
        idempotency: key.map(|key| Idempotency {
            scope: scope(caller, session),
            key,
            body,
            render: Box::new(move |session| sessions::answer(202, &render.view(session))),
        }),
        ..Submission::new(session.uid, at, commands)
    };
    let submitted = app.store.submit(submission).await.map_err(|error| next.refused(error))?;
    fail::fail_point!("coordinator_after_commit_before_reply");
    Ok(match submitted {
        Submitted::Replay(answer) => Answered::Before(answer),
        Submitted::Done { commit, .. } => Answered::Now(shown.view(&commit.session)),
    })
}

/// What a session of this description wants of a runner.
fn wants(session: &Session, agent: Option<&Pinned>) -> Wants {
    agent.map(|agent| Wants::of(&agent.row.spec, session)).unwrap_or_default()
}

fn scope(caller: &Caller, session: &Session) -> String {
    format!("{} POST /v1/sessions/{}/runs", caller.scope(), session.uid)
}

fn mode(word: Option<&str>) -> ApiResult<Mode> {
    match word {
        None | Some("enqueue") => Ok(Mode::Enqueue),
        Some("interrupt") => Ok(Mode::Interrupt),
        Some("reject") => Ok(Mode::Reject),
        Some("steer") => Ok(Mode::Steer),
        Some(_) => {
            let detail = "/mode is one of enqueue, interrupt, reject, steer";
            Err(Problem::invalid(detail).at("/mode").into())
        }
    }
}

/// A run that was just accepted.
#[derive(Clone)]
struct Accepted {
    run: PendingRun,
    prompt: Option<String>,
    input: Option<serde_json::Value>,
    mode: Mode,
}

impl Accepted {
    fn view(&self, session: &Session) -> v1::AcceptedRun {
        let none: Option<Timestamp> = None;
        v1::AcceptedRun {
            run: v1::Run {
                id: self.run.id,
                session_id: session.id.clone(),
                status: views::run_status(session, self.run.id),
                prompt: self.prompt.clone(),
                input: self.input.clone(),
                mode: self.mode,
                result: None,
                error: None,
                usage: v1::Usage::default(),
                callback: self.run.callback,
                created_at: self.run.created_at,
                started_at: none,
                ended_at: none,
                files: None,
            },
            held: session.hold.is_some(),
            ahead: views::ahead(session, self.run.id),
        }
    }
}

/// A session's runs, newest first.
pub(crate) async fn list(
    app: &App,
    caller: &Caller,
    id: &str,
    limit: u32,
    cursor: Option<String>,
) -> ApiResult<v1::List<v1::Run>> {
    caller.require(Right::Read)?;
    let session = sessions::find(app, caller, id).await?;
    let page = app.store.runs(session.uid, limit, cursor).await?;
    Ok(v1::List { items: page.items.iter().map(views::run).collect(), next_cursor: page.next })
}

/// A run of a session that the caller may see.
pub(crate) async fn find(
    app: &App,
    caller: &Caller,
    id: &str,
) -> ApiResult<(RunRow, Arc<Session>)> {
    let not_found = || Problem::not_found("run", &id.chars().take(80).collect::<String>());
    let run: RunId = id.parse().map_err(|_| not_found())?;
    let row = app.store.run(run).await?.ok_or_else(not_found)?;
    let session = sessions::by_uid(app, caller, row.uid).await?.ok_or_else(not_found)?;
    Ok((row, session))
}

/// Stops one run; the queue goes on. `true` once it has ended.
pub(crate) async fn stop(
    app: &App,
    caller: &Caller,
    id: &str,
    grace: Option<Ms>,
    wait: Option<Duration>,
) -> ApiResult<(v1::Run, bool)> {
    let (row, session) = find(app, caller, id).await?;
    caller.require(Right::Use)?;
    if row.status.is_final() {
        return Ok((views::run(&row), true));
    }
    let waiter = Waiter::new(app, session.uid, wait.unwrap_or_default());
    let command = Command::StopRun { run: row.id, stop: fresh::stop(), by: caller.actor(), grace };
    match app.store.submit(Submission::new(session.uid, app.clock.wall(), vec![command])).await {
        // It ended between the look and the wish.
        Ok(_) | Err(StoreError::Refused(Refusal::RunEnded { .. })) => {}
        Err(error) => return Err(error.into()),
    }
    let over = |session: Option<&Arc<Session>>| {
        session.is_none_or(|session| {
            session.current_run().is_none_or(|(head, _)| head != row.id)
                && session.queue.iter().all(|waiting| waiting.id != row.id)
        })
    };
    waiter.until(app, |session, _| over(session).then_some(())).await?;
    let row = app.store.run(row.id).await?.unwrap_or(row);
    Ok((views::run(&row), row.status.is_final()))
}

/// Changes what a run asks that was not dispatched, or its place.
pub(crate) async fn revise(
    app: &App,
    caller: &Caller,
    id: &str,
    request: v1::ReviseRun,
) -> ApiResult<v1::Run> {
    let (row, session) = find(app, caller, id).await?;
    caller.require(Right::Use)?;
    let v1::ReviseRun { prompt, input, position } = request;
    if prompt.is_some() || input.is_some() {
        sessions::check_asks(prompt.as_ref(), input.as_ref())?;
    } else if position.is_none() {
        return Err(Problem::invalid("/prompt, /input or /position is required")
            .at("/position")
            .into());
    }
    if let Some(input) = &input
        && let Some(agent) = app.agents.pinned(&*app.store, &session.agent).await?
    {
        agent.check_input(input)?;
    }
    let asks = prompt.map(Asks::Prompt).or(input.map(Asks::Input));
    let command = Command::Revise { run: row.id, asks, position, by: caller.actor() };
    match app.store.submit(Submission::new(session.uid, app.clock.wall(), vec![command])).await {
        Ok(_) => {}
        Err(StoreError::Refused(Refusal::RunEnded { .. })) => {
            return Err(not_waiting(app, &row, "changed").await.into());
        }
        Err(error) => return Err(error.into()),
    }
    let row = app.store.run(row.id).await?.unwrap_or(row);
    Ok(views::run(&row))
}

/// Only a run that waits can be taken back or changed.
async fn not_waiting(app: &App, row: &RunRow, what: &str) -> Problem {
    let now = app.store.run(row.id).await.ok().flatten().map_or(row.status, |row| row.status);
    let detail =
        format!("the run has ended already ({}): only one that waits can be {what}", now.as_str());
    Problem::new(409, "run_started", detail)
}

/// Takes back a run that was not dispatched.
pub(crate) async fn withdraw(app: &App, caller: &Caller, id: &str) -> ApiResult<v1::Run> {
    let (row, session) = find(app, caller, id).await?;
    caller.require(Right::Use)?;
    if row.status == RunStatus::Withdrawn {
        return Ok(views::run(&row));
    }
    let command = Command::Withdraw { run: row.id, by: caller.actor() };
    match app.store.submit(Submission::new(session.uid, app.clock.wall(), vec![command])).await {
        Ok(_) => {}
        Err(StoreError::Refused(Refusal::RunEnded { .. })) => {
            let now = app.store.run(row.id).await?.map_or(row.status, |row| row.status);
            if now != RunStatus::Withdrawn {
                return Err(not_waiting(app, &row, "withdrawn").await.into());
            }
        }
        Err(error) => return Err(error.into()),
    }
    let row = app.store.run(row.id).await?.unwrap_or(row);
    Ok(views::run(&row))
}

/// Lifts the hold; brings a persistent agent up.
pub(crate) async fn resume(app: &App, caller: &Caller, id: &str) -> ApiResult<v1::Session> {
    let session = sessions::find(app, caller, id).await?;
    caller.require(Right::Decide)?;
    let session = bring_up(app, caller, &session).await?;
    Ok(views::session(&session, &app.lives))
}

/// Has a session go on, whoever may ask for that.
pub(crate) async fn bring_up(
    app: &App,
    caller: &Caller,
    session: &Session,
) -> ApiResult<Arc<Session>> {
    versions::refuse_disabled(app, &session.agent.name)?;
    let next = following(app, session, &caller.actor().name).await?;
    let wants = wants(session, next.agent.as_deref());
    // What is to resume depends on the agent.
    let commands = [next.command.clone(), Some(Command::Resume { by: caller.actor() })];
    let submission = Submission {
        quotas: app.quotas,
        place: app.runners.candidates(session.home, &wants),
        ..Submission::new(session.uid, app.clock.wall(), commands.into_iter().flatten().collect())
    };
    match app.store.submit(submission).await.map_err(|error| next.refused(error))? {
        Submitted::Done { commit, .. } => Ok(Arc::clone(&commit.session)),
        Submitted::Replay(_) => unreachable!("a submission without a key replays nothing"),
    }
}

/// Closes an epoch by a person's word.
pub(crate) async fn abandon(
    app: &App,
    caller: &Caller,
    id: &str,
    reason: String,
) -> ApiResult<v1::Session> {
    let session = sessions::find(app, caller, id).await?;
    caller.require(Right::Decide)?;
    if reason.trim().is_empty() || reason.chars().count() > 2000 {
        return Err(Problem::invalid("/reason is required, with 2000 characters at most: why is it certain that nothing is left?").at("/reason").into());
    }
    let command = Command::Abandon { by: caller.actor(), reason };
    let session = sessions::submit(app, session.uid, vec![command]).await?;
    Ok(views::session(&session, &app.lives))
}
