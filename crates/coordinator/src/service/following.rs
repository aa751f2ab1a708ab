//! Which description a session goes on with, when it is asked something at rest.

use std::sync::Arc;

use greenroom_core::agent::AgentPolicy;
use greenroom_core::command::{Command, Rebind};
use greenroom_core::fact::{AgentChanged, Drift};
use greenroom_core::{AgentName, Refusal, Session};
use greenroom_protocol::Problem;
use greenroom_protocol::candidate::Candidate;
use greenroom_store::StoreError;

use crate::app::App;
use crate::error::{ApiError, ApiResult};
use crate::service::agents::{self, Pinned};
use crate::sources::drift::differences;
use crate::sources::is_remote;
use crate::sources::keys::Identity;
use crate::sources::resolve::{Live, Resolved};

/// What a session goes on with.
pub(crate) struct Following {
    /// The description that counts; none where the store has lost it.
    pub(crate) agent: Option<Arc<Pinned>>,
    /// What has to be decided with the request. It is decided in the same commit, so that a
    /// compute that came up meanwhile keeps what it has.
    pub(crate) command: Option<Command>,
    /// What to answer if that is refused.
    refusal: Option<Problem>,
}

impl Following {
    /// This description, with nothing to decide about it.
    pub(crate) fn as_it_is(agent: Arc<Pinned>) -> Self {
        Self { agent: Some(agent), command: None, refusal: None }
    }

    /// The answer to a request that the store has refused.
    pub(crate) fn refused(&self, error: StoreError) -> ApiError {
        match (&self.refusal, error) {
            (Some(problem), StoreError::Refused(Refusal::AgentUnresolved)) => {
                problem.clone().into()
            }
            (_, error) => error.into(),
        }
    }
}

/// The description that a session has.
pub(crate) async fn pinned(app: &App, session: &Session) -> ApiResult<Arc<Pinned>> {
    let pin = &session.agent;
    Ok(app.agents.pinned(&*app.store, pin).await?.ok_or_else(|| {
        Problem::not_found("agent", &format!("{} version {}", pin.name, pin.version))
    })?)
}

/// What a session goes on with, as its policy wants it.
pub(crate) async fn following(app: &App, session: &Session, by: &str) -> ApiResult<Following> {
    let pinned = app.agents.pinned(&*app.store, &session.agent).await?;
    let stays = |agent| Following { agent, command: None, refusal: None };
    let Some(before) = &pinned else { return Ok(stays(pinned)) };
    if session.compute.is_some() || session.agent_policy == AgentPolicy::Pin {
        return Ok(stays(pinned));
    }
    let found = match current(app, session, before).await? {
        Ok(found) => found,
        Err(problem) => {
            return Ok(Following {
                agent: pinned,
                command: Some(Command::Rebind(Rebind::Unresolved)),
                refusal: Some(problem),
            });
        }
    };
    let Some(after) = found.filter(|after| after.pin() != session.agent) else {
        return Ok(stays(pinned));
    };
    let changed = changed(before, &after, by);
    if session.agent_policy == AgentPolicy::Ask && changed.class == Drift::Content {
        let problem = drifted(app, session, &after, &changed).await?;
        return Ok(Following {
            agent: pinned,
            command: Some(Command::Rebind(Rebind::Unresolved)),
            refusal: Some(problem),
        });
    }
    let command = Command::Rebind(Rebind::Follow(Box::new(changed)));
    Ok(Following { agent: Some(after), command: Some(command), refusal: None })
}

/// The description that the session's source has now, or that of the source that stands for
/// it; none where what is on this machine is gone, which leaves the session what it has.
async fn current(
    app: &App,
    session: &Session,
    before: &Pinned,
) -> ApiResult<Result<Option<Arc<Pinned>>, Problem>> {
    let source = &before.row.source;
    if !is_remote(source) {
        let served = match app.sources.local(source) {
            Some((name, version)) => app.agents.version(&*app.store, &name, version).await?,
            None => app.agents.in_service(&*app.store, &before.row.name).await?,
        };
        return Ok(Ok(served.filter(|served| served.row.source == *source)));
    }
    Ok(match app.sources.of_session(source) {
        Resolved::One(live) => described(app, &live).await?.map(Some),
        Resolved::Many(live) => Err(ambiguous(app, &session.agent.source, live).await?),
        Resolved::None => {
            let detail = format!(
                "agent {:?} of session {:?} not found: no source serves {} or stands for it",
                session.agent.name.as_str(),
                session.id.as_str(),
                session.agent.source
            );
            Err(Problem::new(404, "agent_not_found", detail).hint(
                "start with --agents and that URL, or: greenroom sessions agent ID --policy pin goes on with the description it has, --to AGENT with another",
            ))
        }
    })
}

/// The description of a source, once it has given one.
async fn described(app: &App, live: &Live) -> ApiResult<Result<Arc<Pinned>, Problem>> {
    let found = match &live.agent {
        Some((name, version)) => app.agents.version(&*app.store, name, *version).await?,
        None => None,
    };
    Ok(found.ok_or_else(|| {
        let why = app.sources.waits_for(&live.source);
        let detail = format!("{} has no agent to offer yet: {why}", live.identity.shown);
        let mut problem = Problem::new(503, "source_unavailable", detail);
        problem.retry_after = Some(2);
        problem
    }))
}

/// The agent that a client names: by its name, else by the key of its source, else by a URL.
pub(crate) async fn named(app: &App, named: &str) -> ApiResult<Arc<Pinned>> {
    if let Ok(name) = named.parse::<AgentName>()
        && let Some(found) = app.agents.in_service(&*app.store, &name).await?
    {
        return Ok(found);
    }
    match app.sources.of_client(named) {
        Resolved::One(live) => Ok(described(app, &live).await??),
        Resolved::Many(live) => {
            let shown = greenroom_core::source_key::redacted(named);
            Err(ambiguous(app, &shown, live).await?.into())
        }
        Resolved::None => Err(agents::not_found(named).into()),
    }
}

/// A person's choice for a session.
pub(crate) async fn chosen(
    app: &App,
    session: &Session,
    name: &str,
    by: &str,
) -> ApiResult<Command> {
    let after = named(app, name).await.map_err(|mut error| {
        error.0.path.get_or_insert_with(|| "/agent".to_owned());
        error
    })?;
    taken(app, session, &after, by).await
}

/// A session takes this description.
pub(crate) async fn taken(
    app: &App,
    session: &Session,
    after: &Pinned,
    by: &str,
) -> ApiResult<Command> {
    let before = app.agents.pinned(&*app.store, &session.agent).await?;
    let before = before.ok_or_else(|| agents::not_found(session.agent.name.as_str()))?;
    Ok(Command::Rebind(Rebind::Choose(Box::new(changed(&before, after, by)))))
}

fn changed(before: &Pinned, after: &Pinned, by: &str) -> AgentChanged {
    let (from, to) = (before.pin(), after.pin());
    let class = if from.digest == to.digest { Drift::Mechanical } else { Drift::Content };
    AgentChanged {
        old_key: Identity::of_shown(&from.source).key,
        new_key: Identity::of_shown(&to.source).key,
        from,
        to,
        traits: after.traits(),
        class,
        diff: differences(&before.row.spec, &after.row.spec),
        by: by.to_owned(),
    }
}

async fn ambiguous(app: &App, asked: &str, live: Vec<Live>) -> ApiResult<Problem> {
    let shown: Vec<&str> = live.iter().map(|one| one.identity.shown.as_str()).collect();
    let detail = format!("{asked} is not served, and several stand for it: {}", shown.join(", "));
    let mut problem = Problem::new(409, "agent_ambiguous", detail)
        .hint("greenroom sessions agent ID --to KEY chooses one");
    problem.candidates = candidates(app, live).await?;
    Ok(problem)
}

async fn drifted(
    app: &App,
    session: &Session,
    after: &Pinned,
    changed: &AgentChanged,
) -> ApiResult<Problem> {
    let paths: Vec<&str> = changed.diff.iter().map(|one| one.path.as_str()).collect();
    let detail = format!(
        "the agent of session {:?} says something else by now, at {}",
        session.id.as_str(),
        paths.join(", ")
    );
    let mut problem = Problem::new(409, "agent_drifted", detail)
        .hint("greenroom sessions agent ID --to KEY takes it, --policy pin keeps what it has");
    let live = Live {
        source: after.row.source.clone(),
        identity: Identity::of(&after.row.source),
        agent: Some((after.row.name.clone(), after.row.version)),
    };
    problem.candidates = candidates(app, vec![live]).await?;
    Ok(problem)
}

async fn candidates(app: &App, live: Vec<Live>) -> ApiResult<Vec<Candidate>> {
    let mut all = Vec::new();
    for one in live {
        let found = match &one.agent {
            Some((name, version)) => app.agents.version(&*app.store, name, *version).await?,
            None => None,
        };
        all.push(Candidate {
            source_key: Identity::of_shown(&one.source).key,
            source: one.identity.shown,
            agent: found.as_ref().map(|found| found.row.name.clone()),
            version: found.as_ref().map(|found| found.row.version),
            digest: found.map(|found| found.row.digest.clone()),
        });
    }
    Ok(all)
}
