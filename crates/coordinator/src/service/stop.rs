//! Stops: of a session, and of the tree beneath it.

use std::sync::Arc;
use std::time::Duration;

use greenroom_core::command::{Actor, Command, Stop};
use greenroom_core::fact::Fact;
use greenroom_core::receipt::StopReason;
use greenroom_core::{Epoch, Event, Ms, Receipt, RunId, Session, SessionUid, Status};
use greenroom_protocol::{Problem, v1};
use greenroom_store::{Commit, Idempotency, SessionQuery, Submission, Submitted};
use serde::{Deserialize, Serialize};

use crate::app::{App, closes, fact, fresh};
use crate::auth::{Caller, Right};
use crate::error::{ApiError, ApiResult};
use crate::service::sessions::{self, IdempotencyKey};
use crate::service::wait::Waiter;

/// What a stop has come to.
pub(crate) struct Stopped {
    /// The answer.
    pub reply: v1::StopReply,
    /// Whether everything that was asked for is at rest.
    pub at_rest: bool,
}

/// Stops a session, with its tree where that is asked for. With a key, a repetition joins
/// the same stop and is answered like it.
pub(crate) async fn stop(
    app: &Arc<App>,
    caller: &Caller,
    id: &str,
    request: v1::StopRequest,
    wait: Option<Duration>,
    key: Option<IdempotencyKey>,
) -> ApiResult<Stopped> {
    let session = sessions::find(app, caller, id).await?;
    caller.require(Right::Use)?;
    check(&request)?;
    let body = sessions::digest(&request);
    let tree = request.tree.unwrap_or(false);
    let command = Stop {
        id: fresh::stop(),
        reason: StopReason::User,
        by: caller.actor(),
        text: request.reason.filter(|text| !text.is_empty()),
        grace: request.grace_ms,
        discard_queue: request.discard_queue.unwrap_or(false),
        tree,
    };
    let waiter = wait.map(|wait| Waiter::new(app, session.uid, wait));
    let ended = session.ended.as_ref().map(|ended| ended.receipt.epoch);
    let idempotency = key.map(|key| Idempotency {
        scope: key.scope,
        key: key.key,
        body,
        render: Box::new(move |session| sessions::answer(200, &Kept::of(session, ended))),
    });
    let (latest, seen) = match submit(app, session.uid, command.clone(), idempotency).await? {
        Submitted::Done { commit, .. } => {
            (Arc::clone(&commit.session), Seen::of(&session, &commit))
        }
        Submitted::Replay(answer) => {
            let session = app.store.session(session.uid).await?;
            let session = session.ok_or_else(|| sessions::not_found(id))?;
            let seen = Seen::before(&session, kept(&answer.body)?);
            (session, seen)
        }
    };
    let below = if tree { walk(app, session.uid, command).await? } else { Vec::new() };
    let Some(waiter) = waiter else {
        let at_rest = seen.rest.is_some() && below.is_empty();
        return Ok(Stopped { reply: seen.reply(&latest), at_rest });
    };
    let deadline = tokio::time::Instant::now() + wait.unwrap_or_default();
    let (session, rest) = match seen.rest.clone() {
        Some(rest) => (latest, Some(rest)),
        None => wait_for(app, waiter, &seen, &latest).await?,
    };
    let mut at_rest = rest.is_some();
    for (uid, epoch) in below {
        let left = deadline.saturating_duration_since(tokio::time::Instant::now());
        let waiter = Waiter::new(app, uid, left);
        at_rest &= waiter
            .until(app, |child, _| child.is_none_or(|child| has_closed(child, epoch)).then_some(()))
            .await?
            .is_some();
    }
    let seen = Seen { rest, ..seen };
    Ok(Stopped { reply: seen.reply(&session), at_rest })
}

fn check(request: &v1::StopRequest) -> ApiResult<()> {
    if request.grace_ms.is_some_and(|grace| grace > Ms::MAX) {
        return Err(Problem::invalid("/grace_ms is more than ten years").at("/grace_ms").into());
    }
    if request.reason.as_ref().is_some_and(|reason| reason.chars().count() > 2000) {
        return Err(Problem::invalid("/reason has 2000 characters at most").at("/reason").into());
    }
    Ok(())
}

async fn submit(
    app: &App,
    uid: SessionUid,
    stop: Stop,
    idempotency: Option<Idempotency>,
) -> ApiResult<Submitted> {
    let submission = Submission {
        idempotency,
        ..Submission::new(uid, app.clock.wall(), vec![Command::Stop(stop)])
    };
    Ok(app.store.submit(submission).await?)
}

/// What is kept of a stop with a key.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    epoch: Option<Epoch>,
    already: bool,
}

fn kept(body: &[u8]) -> ApiResult<Kept> {
    Ok(serde_json::from_slice(body).map_err(|error| {
        Problem::new(500, "internal", format!("what is kept of this stop cannot be read: {error}"))
    })?)
}

impl Kept {
    /// Of a stop that was just decided. `ended` is the compute that had ended before.
    fn of(session: &Session, ended: Option<Epoch>) -> Self {
        let epoch = session.compute.as_ref().map(|compute| compute.epoch);
        let now = session.ended.as_ref().map(|ended| ended.receipt.epoch);
        Self { epoch, already: epoch.is_none() && now == ended }
    }
}

/// What a stop has found.
#[derive(Clone)]
struct Seen {
    /// The compute it is about.
    epoch: Option<Epoch>,
    run: Option<RunId>,
    already: bool,
    /// The status and the evidence, once nothing is live.
    rest: Option<(Status, Option<Receipt>)>,
}

impl Seen {
    fn of(before: &Session, commit: &Commit) -> Self {
        let session = &commit.session;
        let compute = session.compute.as_ref();
        let closed_now = commit.events.iter().any(|event| closes(&event.kind));
        let stopped_run = commit.events.iter().find_map(|event| match fact(event) {
            Some(Fact::RunStopped { run, .. }) => Some(run),
            _ => None,
        });
        let head = compute.and_then(|c| c.head.as_ref()).map(|head| head.run.id);
        let rest = compute.is_none().then(|| {
            (session.status(), session.ended.as_ref().map(|ended| (*ended.receipt).clone()))
        });
        Self {
            epoch: compute.map(|compute| compute.epoch),
            run: stopped_run.or(head).or_else(|| before.current_run().map(|(run, _)| run)),
            already: compute.is_none() && !closed_now,
            rest,
        }
    }

    /// What a stop has found that was asked for before.
    fn before(session: &Session, kept: Kept) -> Self {
        let rest = (kept.epoch.is_none() || has_closed(session, kept.epoch)).then(|| {
            let receipt = session.ended.as_ref().map(|ended| (*ended.receipt).clone());
            (session.status(), receipt)
        });
        Self { epoch: kept.epoch, run: None, already: kept.already, rest }
    }

    fn reply(self, session: &Session) -> v1::StopReply {
        let (status, receipt) = self.rest.unwrap_or((session.status(), None));
        v1::StopReply {
            session_id: session.id.clone(),
            run_id: self.run,
            status,
            already_stopped: self.already,
            receipt,
        }
    }
}

type Rest = Option<(Status, Option<Receipt>)>;

/// Waits for the receipt of the compute that was stopped. It answers early when the stop's
/// own deadline has passed without proof: nothing more is to be expected.
async fn wait_for(
    app: &App,
    waiter: Waiter,
    seen: &Seen,
    last: &Arc<Session>,
) -> ApiResult<(Arc<Session>, Rest)> {
    let mut latest = Arc::clone(last);
    let rest = waiter
        .until(app, |session, events| {
            let Some(session) = session else { return Some(None) };
            latest = Arc::clone(session);
            if let Some(rest) = closing(session, events, seen.epoch) {
                return Some(Some(rest));
            }
            let unconfirmed = session
                .compute
                .as_ref()
                .is_some_and(|compute| Some(compute.epoch) == seen.epoch && compute.unconfirmed);
            unconfirmed.then_some(None)
        })
        .await?;
    Ok((latest, rest.flatten()))
}

/// How the session stood when the compute of this epoch was closed. The queue may have gone
/// on in the very same commit, so what the closing fact says comes first.
fn closing(session: &Session, events: &[Event], epoch: Option<Epoch>) -> Rest {
    let closed = events.iter().filter(|event| closes(&event.kind)).find_map(|event| {
        let (status, closed) = match fact(event)? {
            Fact::Stopped(closed) => (Status::Stopped, closed),
            Fact::Finished(closed) => (Status::Finished, closed),
            Fact::Failed(closed) => (Status::Failed, closed),
            Fact::Interrupted(closed) => (Status::Interrupted, closed),
            _ => return None,
        };
        (Some(closed.receipt.epoch) == epoch).then_some((status, Some(*closed.receipt)))
    });
    if closed.is_some() {
        return closed;
    }
    if !has_closed(session, epoch) {
        return None;
    }
    Some((session.status(), session.ended.as_ref().map(|ended| (*ended.receipt).clone())))
}

/// Whether the compute of this epoch is closed.
fn has_closed(session: &Session, epoch: Option<Epoch>) -> bool {
    session.compute.as_ref().is_none_or(|compute| Some(compute.epoch) > epoch)
}

/// Stops everything beneath a session, top-down: a level is committed before its children
/// are listed, so no child can slip in behind the walk. Goes on when its caller has gone.
async fn walk(
    app: &Arc<App>,
    root: SessionUid,
    stop: Stop,
) -> ApiResult<Vec<(SessionUid, Option<Epoch>)>> {
    let app = Arc::clone(app);
    let walk = tokio::spawn(async move { walk_levels(&app, root, &stop).await });
    walk.await.unwrap_or_else(|error| {
        Err(ApiError::from(
            Problem::new(500, "internal", format!("the tree was not stopped whole: {error}"))
                .hint("stop it again"),
        ))
    })
}

async fn walk_levels(
    app: &App,
    root: SessionUid,
    stop: &Stop,
) -> ApiResult<Vec<(SessionUid, Option<Epoch>)>> {
    let mut live = Vec::new();
    let mut level = vec![root];
    while !level.is_empty() {
        let mut next = Vec::new();
        for parent in level {
            for child in children(app, parent).await? {
                let command = Stop {
                    id: fresh::stop(),
                    reason: StopReason::Parent,
                    by: Actor::machine(stop.by.name.clone()),
                    ..stop.clone()
                };
                match submit(app, child, command, None).await {
                    Ok(Submitted::Replay(_)) => {}
                    Ok(Submitted::Done { commit, .. }) => {
                        if let Some(compute) = &commit.session.compute {
                            live.push((child, Some(compute.epoch)));
                        }
                        next.push(child);
                    }
                    // It was removed in the meantime, which is more than was asked.
                    Err(error) if error.0.status == 404 => {}
                    Err(error) => return Err(error),
                }
            }
        }
        level = next;
    }
    Ok(live)
}

async fn children(app: &App, parent: SessionUid) -> ApiResult<Vec<SessionUid>> {
    let mut all = Vec::new();
    let mut query =
        SessionQuery { parent: Some(parent), expired: true, limit: 1000, ..Default::default() };
    loop {
        let page = app.store.sessions(query.clone()).await?;
        all.extend(page.items.iter().map(|session| session.uid));
        match page.next {
            Some(next) => query.cursor = Some(next),
            None => return Ok(all),
        }
    }
}
