//! Sessions: creating, finding, listing, changing, removing them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use greenroom_core::agent::Driver;
use greenroom_core::command::{Command, Create, Mode, Prompt, TreeBounds};
use greenroom_core::fact::{Changes, Created};
use greenroom_core::run::PendingRun;
use greenroom_core::session::Life;
use greenroom_core::{Limits, Ms, RunId, Session, SessionId, SessionUid};
use greenroom_protocol::{Problem, v1};
use greenroom_store::{Answer, Idempotency, NewSession, Quotas, Submission, Submitted};

use crate::app::{App, fresh};
use crate::auth::{Caller, Right, Who};
use crate::error::ApiResult;
use crate::presence::Wants;
use crate::service::agents::Pinned;
use crate::service::wait::Waiter;
use crate::service::{following, models, policies, versions, views};

/// How far and wide a tree of sessions may grow.
pub(crate) const BOUNDS: TreeBounds = TreeBounds { depth: 8, children: 100 };

/// Labels of one session.
const MAX_LABELS: usize = 64;

/// A key that makes a repeated request answer the same.
pub(crate) struct IdempotencyKey {
    /// The caller's key.
    pub key: String,
    /// Principal and route.
    pub scope: String,
}

/// What was answered, now or to the same request before.
pub(crate) enum Answered<T> {
    /// Now.
    Now(T),
    /// To the same request before.
    Before(Answer),
}

/// Finds a session that the caller may see, by its name.
pub(crate) async fn find(app: &App, caller: &Caller, id: &str) -> ApiResult<Arc<Session>> {
    let found = match id.parse::<SessionId>() {
        Ok(id) => app.store.session_named(&id).await?,
        Err(_) => None,
    };
    match found.filter(|session| session.life != Life::Removed && caller.sees_session(session)) {
        Some(session) => Ok(session),
        None => Err(not_found(id).into()),
    }
}

/// What isn't there, or isn't the caller's.
pub(crate) fn not_found(id: &str) -> Problem {
    let shown: String = id.chars().take(140).collect();
    Problem::not_found("session", &shown).hint("greenroom sessions ls")
}

/// Finds a session by its inner identity, as its runner or its run knows it.
pub(crate) async fn by_uid(
    app: &App,
    caller: &Caller,
    uid: SessionUid,
) -> ApiResult<Option<Arc<Session>>> {
    let session = app.store.session(uid).await?;
    Ok(session.filter(|session| session.life != Life::Removed && caller.sees_session(session)))
}

/// Whose limits a new session has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LimitsOf {
    /// Its agent's, with those of the request over them.
    Agent,
    /// The same; where they let it stay for ever, it expires when it was not used for so long.
    AgentUntil {
        /// So long.
        unused: Ms,
    },
    /// Those of the request alone, where its agent is not settled yet.
    Request,
}

/// Which new sessions come up without a prompt, in the commit that creates them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ComesUp {
    /// None.
    No,
    /// Those of agents that take requests.
    Hosted,
    /// Those of every agent that can be up without a run.
    Persistent,
}

impl ComesUp {
    fn is_for(self, agent: &Pinned) -> bool {
        match self {
            Self::No => false,
            Self::Hosted => matches!(agent.row.spec.driver, Driver::Hosted(_)),
            Self::Persistent => agent.traits().persistent,
        }
    }
}

/// How a session is made, beside what is asked for. Identities are given for whoever must
/// write them down before.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Making {
    /// The session's identity.
    pub uid: SessionUid,
    /// Its first run's.
    pub run: RunId,
    /// Whose limits it has.
    pub limits_of: LimitsOf,
    /// Whether it comes up.
    pub comes_up: ComesUp,
    /// It was admitted together with something else: no quota refuses it.
    pub admitted: bool,
}

impl Making {
    /// With new identities.
    pub(crate) fn of(limits_of: LimitsOf) -> Self {
        let comes_up = ComesUp::No;
        Self { uid: fresh::session(), run: fresh::run(), limits_of, comes_up, admitted: false }
    }
}

/// Creates a session, with its first run where there is one.
pub(crate) async fn create(
    app: &App,
    caller: &Caller,
    request: v1::CreateSession,
    key: Option<IdempotencyKey>,
) -> ApiResult<Answered<v1::Session>> {
    create_with(app, caller, request, key, Making::of(LimitsOf::Agent)).await
}

/// Creates a session in the way that is meant.
pub(crate) async fn create_with(
    app: &App,
    caller: &Caller,
    request: v1::CreateSession,
    key: Option<IdempotencyKey>,
    making: Making,
) -> ApiResult<Answered<v1::Session>> {
    let (name, version) = (request.agent.clone(), request.agent_version);
    let agent = async {
        let agent = match version {
            Some(version) => versions::chosen(app, &name, version).await?,
            None => following::named(app, &name).await?,
        };
        versions::refuse_disabled(app, &agent.row.name)?;
        Ok(agent)
    };
    create_of(app, caller, request, agent, making, key).await
}

/// Creates a session of an agent that is found only once everything else is in order.
pub(crate) async fn create_of(
    app: &App,
    caller: &Caller,
    request: v1::CreateSession,
    agent: impl Future<Output = ApiResult<Arc<Pinned>>>,
    Making { uid, run, limits_of, comes_up, admitted }: Making,
    key: Option<IdempotencyKey>,
) -> ApiResult<Answered<v1::Session>> {
    caller.require(Right::Use)?;
    let body = digest(&request);
    let id: SessionId = match &request.id {
        Some(id) => id.parse().map_err(|e| Problem::invalid(format!("/id: {e}")).at("/id"))?,
        None => short_id(),
    };
    let labels = request.labels.unwrap_or_default();
    check_labels(&labels)?;
    let runner_labels = request.runner_labels.unwrap_or_default();
    check_labels_at("/runner_labels", &runner_labels)?;
    check_title(request.title.as_deref())?;
    if request.prompt.is_some() && request.input.is_some() {
        return Err(both().into());
    }
    let agent = agent.await?;
    if let Some(input) = &request.input {
        agent.check_input(input)?;
    }
    let parent = parent(app, caller, request.parent.as_deref()).await?;
    let own = match limits_of {
        LimitsOf::Agent => agent.row.spec.limits.clone(),
        LimitsOf::AgentUntil { unused } => {
            let own = agent.row.spec.limits.clone();
            let unused_ms = if own.may_expire() { own.unused_ms } else { Some(unused) };
            Limits { unused_ms, ..own }
        }
        LimitsOf::Request => Limits::default(),
    };
    let limits = own.overlaid(request.limits.as_ref().unwrap_or(&Limits::default()));
    check_limits(&limits)?;
    let approvals = request.approvals.unwrap_or_default();
    policies::check(&approvals, &agent.row.spec)?;
    let within = policies::within(app, caller, parent.as_deref(), &approvals, &agent).await?;
    if limits_of == LimitsOf::Agent {
        models::check(request.model.as_deref(), request.models.as_ref(), &agent.row.spec)?;
    }
    // A member of a team works in a session of its own: what was chosen for it is handed on.
    let handed_on = || match (&caller.who, &parent) {
        (Who::Agent { .. }, Some(parent)) if parent.agent.name == agent.row.name => {
            parent.models.clone()
        }
        _ => BTreeMap::new(),
    };
    let models = request.models.unwrap_or_else(handed_on);
    let at = app.clock.wall();
    let callback = request.callback.unwrap_or(false);
    if callback && parent.is_none() {
        return Err(no_parent().into());
    }
    let asks = request.prompt.is_some() || request.input.is_some();
    let prompt = asks.then(|| Prompt {
        run: PendingRun { id: run, callback, created_at: at },
        prompt: request.prompt,
        input: request.input,
        by: caller.actor(),
        mode: Mode::Enqueue,
        resume: false,
        first: false,
        stop: fresh::stop(),
    });
    let owner = match &parent {
        Some(parent) => parent.owner.clone(),
        None => caller.principal.clone(),
    };
    let created = Created {
        uid,
        id,
        owner,
        user: match &parent {
            Some(parent) => parent.user.clone(),
            None => caller.user.clone(),
        },
        shared: request.shared.unwrap_or(false),
        title: request.title.filter(|title| !title.is_empty()),
        labels,
        runner_labels,
        workspace: request.workspace,
        agent: agent.pin(),
        traits: agent.traits(),
        agent_policy: request.agent_policy.unwrap_or_default(),
        approvals,
        within,
        model: request.model.filter(|model| !model.is_empty()),
        models,
        limits,
        parent: parent.as_ref().map(|parent| parent.uid),
        parent_id: parent.as_ref().map(|parent| parent.id.clone()),
        depth: parent.as_ref().map_or(0, |parent| parent.depth + 1),
        callback,
        forked_from: None,
    };
    let wants = Wants::of_new(&agent.row.spec, &created);
    check_folder(app, caller, &wants)?;
    let then = match comes_up.is_for(&agent) && !asks {
        true => vec![Command::Resume { by: caller.actor() }],
        false => Vec::new(),
    };
    let place =
        if asks || !then.is_empty() { app.runners.candidates(None, &wants) } else { Vec::new() };
    let idempotency = key.map(|key| Idempotency {
        scope: key.scope,
        key: key.key,
        body,
        render: {
            let lives = Arc::clone(&app.lives);
            Box::new(move |session| answer(201, &views::session(session, &lives)))
        },
    });
    let new = NewSession {
        create: Create { created, inherited: Vec::new(), prompt },
        mode: Mode::Enqueue,
        then,
        bounds: BOUNDS,
        quotas: if admitted { Quotas::default() } else { app.quotas },
        place,
        idempotency,
        at,
    };
    let submitted = app.store.create_session(new).await?;
    fail::fail_point!("coordinator_after_commit_before_reply");
    Ok(match submitted {
        Submitted::Done { answer: Some(answer), .. } | Submitted::Replay(answer) => {
            Answered::Before(answer)
        }
        Submitted::Done { commit, answer: None } => {
            Answered::Now(views::session(&commit.session, &app.lives))
        }
    })
}

/// The parent a new session has: the one it names, or the agent's own that creates it.
async fn parent(
    app: &App,
    caller: &Caller,
    named: Option<&str>,
) -> ApiResult<Option<Arc<Session>>> {
    let parent = match (&caller.who, named) {
        (Who::Agent { id, .. }, None) => Some(find(app, caller, id.as_str()).await?),
        (_, None) => None,
        (_, Some(name)) => Some(find(app, caller, name).await?),
    };
    if let (Who::Agent { uid, .. }, Some(parent)) = (&caller.who, &parent)
        && parent.uid != *uid
    {
        return Err(Problem::forbidden("an agent creates children of its own session only").into());
    }
    Ok(parent)
}

/// Refuses a folder that its caller may not name, or that no operator of a runner has allowed.
fn check_folder(app: &App, caller: &Caller, wants: &Wants) -> ApiResult<()> {
    let Some(folder) = &wants.folder else { return Ok(()) };
    // An agent would reach what its own session does not work in.
    caller.require(Right::Decide)?;
    if app.runners.allow(wants) {
        return Ok(());
    }
    let detail = format!(
        "no runner allows sessions to work in {:?}: it is beneath no folder that a runner's \
         operator has allowed",
        folder.as_str()
    );
    Err(Problem::new(403, "working_dir_not_allowed", detail)
        .at("/workspace/path")
        .hint("start the runner with --working-dir-root DIR, or choose a folder beneath those it has: greenroom runners show ID")
        .into())
}

/// A short name that can be read aloud: the time it was made at, and four random letters.
pub(crate) fn short_id() -> SessionId {
    const LETTERS: &[u8; 32] = b"abcdefghjkmnpqrstuvwxyz023456789";
    let bits = fresh::session().0.as_u128();
    // 40 bits of milliseconds repeat after 35 years; 25 random bits keep one millisecond apart.
    let (time, chance) = ((bits >> 80) & ((1 << 40) - 1), bits & ((1 << 25) - 1));
    let all = (time << 25) | chance;
    let text: String =
        (0..13).rev().map(|i| LETTERS[(all >> (i * 5)) as usize & 31] as char).collect();
    match text.parse() {
        Ok(id) => id,
        Err(_) => unreachable!("letters and digits make a valid name"),
    }
}

/// Changes title, labels, limits, sharing, approvals, models, agent.
pub(crate) async fn update(
    app: &App,
    caller: &Caller,
    id: &str,
    patch: v1::PatchSession,
) -> ApiResult<v1::Session> {
    let session = find(app, caller, id).await?;
    caller.require(Right::Decide)?;
    check_title(patch.title.as_deref())?;
    if let Some(labels) = &patch.labels {
        check_labels(labels)?;
    }
    if let Some(limits) = &patch.limits {
        check_limits(limits)?;
    }
    if let Some(approvals) = &patch.approvals {
        let agent = following::pinned(app, &session).await?;
        policies::check(approvals, &agent.row.spec)?;
    }
    if patch.model.is_some() || patch.models.is_some() {
        let agent = following::pinned(app, &session).await?;
        models::check(patch.model.as_deref(), patch.models.as_ref(), &agent.row.spec)?;
    }
    let changes = Changes {
        title: patch.title,
        labels: patch.labels,
        limits: patch.limits,
        shared: patch.shared,
        agent_policy: patch.agent_policy,
        approvals: patch.approvals,
        model: patch.model,
        models: patch.models,
    };
    let mut commands = Vec::new();
    if changes != Changes::default() {
        commands.push(Command::Update(changes));
    }
    if let Some(name) = &patch.agent {
        commands.push(following::chosen(app, &session, name, &caller.actor().name).await?);
    }
    if commands.is_empty() {
        return Ok(views::session(&session, &app.lives));
    }
    let session = submit(app, session.uid, commands).await?;
    Ok(views::session(&session, &app.lives))
}

/// Submits commands that need no place, and answers the session as it is then.
pub(crate) async fn submit(
    app: &App,
    uid: SessionUid,
    commands: Vec<Command>,
) -> ApiResult<Arc<Session>> {
    let submission = Submission::new(uid, app.clock.wall(), commands);
    match app.store.submit(submission).await? {
        Submitted::Done { commit, .. } => Ok(Arc::clone(&commit.session)),
        Submitted::Replay(_) => unreachable!("a submission without a key replays nothing"),
    }
}

/// Stops a session, proves it, and removes it. `true` once it is gone.
pub(crate) async fn delete(
    app: &App,
    caller: &Caller,
    id: &str,
    wait: Duration,
) -> ApiResult<bool> {
    let session = find(app, caller, id).await?;
    caller.require(Right::Use)?;
    if let Who::Agent { uid, .. } = &caller.who
        && *uid == session.uid
    {
        return Err(Problem::forbidden("an agent cannot remove its own session").into());
    }
    let waiter = Waiter::new(app, session.uid, wait);
    let command = Command::Delete { stop: fresh::stop(), by: caller.actor() };
    match submit(app, session.uid, vec![command]).await {
        Ok(session) if session.life == Life::Removed => return Ok(true),
        Ok(_) => {}
        // It went between the look and the wish.
        Err(error) if error.0.code == "session_not_found" => return Ok(true),
        Err(error) => return Err(error),
    }
    let gone = waiter.until(app, |session, _| {
        session.is_none_or(|session| session.life == Life::Removed).then_some(())
    });
    Ok(gone.await?.is_some())
}

/// A callback where nobody is to be called.
pub(crate) fn no_parent() -> Problem {
    Problem::new(409, "no_parent", "a session without a parent has nobody to tell")
        .at("/callback")
        .hint("leave callback out, or create the session with a parent")
}

fn both() -> Problem {
    Problem::invalid(
        "/prompt and /input cannot both be given: a run is asked by text or by document",
    )
    .at("/prompt")
}

/// Refuses a run that is asked by both, or by nothing.
pub(crate) fn check_asks(
    prompt: Option<&String>,
    input: Option<&serde_json::Value>,
) -> ApiResult<()> {
    match (prompt, input) {
        (Some(_), Some(_)) => Err(both().into()),
        (None, None) => Err(Problem::invalid("/prompt or /input is required").at("/prompt").into()),
        _ => Ok(()),
    }
}

pub(crate) fn check_title(title: Option<&str>) -> ApiResult<()> {
    if title.is_some_and(|title| title.chars().count() > 500) {
        return Err(Problem::invalid("/title has 500 characters at most").at("/title").into());
    }
    Ok(())
}

pub(crate) fn check_labels(labels: &BTreeMap<String, String>) -> ApiResult<()> {
    check_labels_at("/labels", labels)
}

fn check_labels_at(place: &str, labels: &BTreeMap<String, String>) -> ApiResult<()> {
    if labels.len() > MAX_LABELS {
        return Err(Problem::invalid(format!("{place} has {MAX_LABELS} entries at most"))
            .at(place)
            .into());
    }
    for (key, value) in labels {
        let odd = key.is_empty()
            || key.chars().count() > 100
            || value.chars().count() > 500
            || key.contains('=');
        if odd {
            let detail =
                format!("{place}: a key has 1 to 100 characters and no '=', a value 500 at most");
            return Err(Problem::invalid(detail).at(place).into());
        }
    }
    Ok(())
}

fn check_limits(limits: &Limits) -> ApiResult<()> {
    let spans = [
        ("idle_ms", limits.idle_ms),
        ("run_ms", limits.run_ms),
        ("start_ms", limits.start_ms),
        ("ttl_ms", limits.ttl_ms),
        ("unused_ms", limits.unused_ms),
    ];
    for (name, span) in spans {
        if span.is_some_and(|span| span > Ms::MAX) {
            let place = format!("/limits/{name}");
            return Err(Problem::invalid(format!("{place} is more than ten years"))
                .at(place)
                .into());
        }
    }
    if limits.iterations == Some(0) {
        let detail = "/limits/iterations must be at least 1";
        return Err(Problem::invalid(detail).at("/limits/iterations").into());
    }
    if limits.pids == Some(0) {
        return Err(Problem::invalid("/limits/pids must be at least 1").at("/limits/pids").into());
    }
    Ok(())
}

/// SHA-256 of a request, whatever the order of its keys.
pub(crate) fn digest<T: serde::Serialize>(request: &T) -> [u8; 32] {
    crate::schema::digest(&serde_json::to_value(request).unwrap_or_default())
}

/// An answer to keep.
pub(crate) fn answer<T: serde::Serialize>(status: u16, body: &T) -> Answer {
    Answer { status, body: serde_json::to_vec(body).unwrap_or_default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn made_up_names_are_short_and_differ() {
        let names: std::collections::HashSet<String> =
            (0..1000).map(|_| short_id().as_str().to_owned()).collect();
        assert_eq!(names.len(), 1000);
        assert!(names.iter().all(|name| name.len() == 13));
    }
}
