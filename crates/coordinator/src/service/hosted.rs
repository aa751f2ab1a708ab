//! Requests for an agent that serves HTTP: its compute is brought up where there is none,
//! and then they go through, both ways, as they are.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use greenroom_core::session::{Hold, Wanted};
use greenroom_core::{Epoch, Session};
use greenroom_protocol::Problem;
use greenroom_protocol::link::{HttpRequest, StreamKind};

use crate::app::App;
use crate::auth::{Caller, Right};
use crate::error::ApiResult;
use crate::service::files::{self, Access};
use crate::service::runs;
use crate::service::sessions;
use crate::service::streams::{self, Reply};
use crate::service::versions;
use crate::service::wait::Waiter;

/// A compute may take so long to come up, whatever its limit `start` says.
const COMES_UP: Duration = Duration::from_secs(120);

/// So long a new session may wait for a place before who has created it is told so.
const PLACED: Duration = Duration::from_secs(15);

/// Passes a request on. `request` makes it for the compute that is up; one that `begins`
/// something is not for a disabled agent.
pub(crate) async fn pass(
    app: &App,
    caller: &Caller,
    id: &str,
    begins: bool,
    request: impl FnOnce(Epoch) -> HttpRequest,
    upload: Option<Body>,
) -> ApiResult<(Epoch, Reply)> {
    let session = files::find(app, caller, id, Access::Write).await?;
    if begins {
        versions::refuse_disabled(app, &session.agent.name)?;
    }
    let (session, epoch) = up(app, caller, session).await?;
    let runner = session.compute.as_ref().and_then(|compute| app.runners.get(compute.runner));
    let Some(runner) = runner else {
        return Err(unreachable(&session).into());
    };
    let kind = StreamKind::Http(request(epoch));
    let mut reply = streams::transfer(app, &runner, session.uid, kind, upload).await?;
    match reply.head.problem.take() {
        Some(mut problem) => {
            problem.retry_after = (problem.code == "not_serving").then_some(1);
            Err(files::passed_on(problem).into())
        }
        None => Ok((epoch, reply)),
    }
}

/// How a session that comes up stands once it is up, or has failed, or has no place for a
/// while.
pub(crate) async fn start(app: &App, session: Arc<Session>) -> ApiResult<Arc<Session>> {
    if !session.traits.persistent {
        return Ok(session);
    }
    let placed = Waiter::new(app, session.uid, PLACED);
    let up = Waiter::new(app, session.uid, COMES_UP);
    let mut latest = Arc::clone(&session);
    let mut settled = |now: Option<&Arc<Session>>, placed_is_enough: bool| {
        let Some(now) = now else { return Some(()) };
        latest = Arc::clone(now);
        let comes = matches!(stands(now), Stands::Comes | Stands::Goes);
        (!comes || placed_is_enough && now.compute.is_some()).then_some(())
    };
    if placed.until(app, |now, _| settled(now, true)).await?.is_some() {
        up.until(app, |now, _| settled(now, false)).await?;
    }
    Ok(latest)
}

/// How a session stands to a request.
enum Stands {
    /// Its compute takes requests.
    Up(Epoch),
    /// Its compute comes up, or its place does.
    Comes,
    /// Its compute is on its way down, and nobody holds what comes after.
    Goes,
    /// Nothing is live.
    AtRest,
    /// It does not take requests now, and will not by itself.
    Not(Problem),
}

fn stands(session: &Session) -> Stands {
    let refuse = |code: &str, detail: String, hint: &str| {
        Stands::Not(Problem::new(409, code, detail).hint(hint))
    };
    let name = session.id.as_str();
    let Some(compute) = &session.compute else {
        return match session.need() {
            Some(_) => Stands::Comes,
            None => Stands::AtRest,
        };
    };
    if compute.unconfirmed {
        let detail = format!("it is not certain that the last compute of {name:?} has ended");
        return refuse("stop_unconfirmed", detail, "stop it again, or abandon it");
    }
    if compute.silent {
        return Stands::Not(unreachable(session));
    }
    match (&compute.wanted, session.hold) {
        (Wanted::Down(_), Some(Hold::Stop)) => {
            let detail = format!("session {name:?} is being stopped");
            refuse("session_stopping", detail, "send it again when it has stopped")
        }
        (Wanted::Down(_), _) => Stands::Goes,
        (Wanted::Up, _) if compute.closing => Stands::Goes,
        (Wanted::Up, _) if compute.ready => Stands::Up(compute.epoch),
        (Wanted::Up, _) => Stands::Comes,
    }
}

/// The session with a compute that takes requests, brought up where there is none.
async fn up(app: &App, caller: &Caller, session: Arc<Session>) -> ApiResult<(Arc<Session>, Epoch)> {
    let agent = app.agents.pinned(&*app.store, &session.agent).await?;
    if let Some(agent) = &agent
        && !matches!(agent.row.spec.driver, greenroom_core::agent::Driver::Hosted(_))
    {
        let detail = format!(
            "agent {:?} of session {:?} does not serve HTTP: its driver is {:?}",
            session.agent.name.as_str(),
            session.id.as_str(),
            agent.row.spec.driver.word()
        );
        return Err(Problem::new(409, "not_hosted", detail)
            .hint("only agents with driver: hosted take requests; prompt it instead")
            .into());
    }
    let uid = session.uid;
    let mut session = session;
    let mut woken = None;
    let deadline = tokio::time::Instant::now() + COMES_UP;
    loop {
        match stands(&session) {
            Stands::Up(epoch) => return Ok((session, epoch)),
            Stands::Not(problem) => return Err(problem.into()),
            Stands::AtRest if woken.is_some() => return Err(ended(&session).into()),
            Stands::AtRest => {
                wake(app, caller, &session).await?;
                woken = Some(session.last_epoch);
            }
            Stands::Goes | Stands::Comes => {}
        }
        let left = deadline.saturating_duration_since(tokio::time::Instant::now());
        let waiter = Waiter::new(app, uid, left);
        let came = waiter
            .until(app, |now, _| {
                let Some(now) = now else { return Some(None) };
                let comes = match stands(now) {
                    Stands::Comes | Stands::Goes => true,
                    // Until the wish for it is heard of.
                    Stands::AtRest => woken.is_some_and(|before| now.last_epoch <= before),
                    Stands::Up(_) | Stands::Not(_) => false,
                };
                (!comes).then(|| Some(Arc::clone(now)))
            })
            .await?;
        session = match came {
            Some(Some(now)) => now,
            Some(None) => return Err(sessions::not_found(session.id.as_str()).into()),
            None => return Err(late(app, &session).await.into()),
        };
    }
}

/// What was asked of a session at rest brings it up. A hold is lifted by a person.
async fn wake(app: &App, caller: &Caller, session: &Session) -> ApiResult<()> {
    if session.hold.is_some() && caller.require(Right::Decide).is_err() {
        let name = session.id.as_str();
        let detail = format!("session {name:?} was stopped, and waits for a person");
        let hint = format!("greenroom sessions resume {name}");
        return Err(Problem::new(409, "session_held", detail).hint(hint).into());
    }
    runs::bring_up(app, caller, session).await.map(drop)
}

fn unreachable(session: &Session) -> Problem {
    let detail = format!("the runner of session {:?} does not answer", session.id.as_str());
    let mut problem =
        Problem::new(504, "runner_unreachable", detail).hint("see: greenroom runners ls");
    problem.retry_after = Some(5);
    problem
}

fn ended(session: &Session) -> Problem {
    let why = session.ended.as_ref().and_then(|ended| ended.receipt.detail.clone());
    let why = why.unwrap_or_else(|| session.status().as_str().to_owned());
    let name = session.id.as_str();
    let detail = format!("the agent of session {name:?} did not come up: {why}");
    Problem::new(502, "agent_failed", detail).hint(format!("greenroom sessions logs {name}"))
}

async fn late(app: &App, session: &Session) -> Problem {
    let now = app.store.session(session.uid).await.ok().flatten();
    let standing = now.as_deref().unwrap_or(session).standing();
    let reason = standing.reason.map(|reason| format!(", {reason}")).unwrap_or_default();
    let detail = format!(
        "session {:?} did not come up in time: it is {}{reason}",
        session.id.as_str(),
        standing.status.as_str()
    );
    let mut problem = Problem::new(503, "not_up", detail);
    problem.retry_after = Some(5);
    problem
}
