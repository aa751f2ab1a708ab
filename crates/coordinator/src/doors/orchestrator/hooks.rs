//! Hooks: agents that run before and after the runs of another. A run that waits for its
//! first hook is on record and not asked of its session yet: so no runner is kept waiting
//! with it, and a single runner can serve both.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use greenroom_core::command::{Actor, Command, Mode, Prompt};
use greenroom_core::fact::Output;
use greenroom_core::record::{OutputKind, RunError};
use greenroom_core::run::{PendingRun, RunStatus};
use greenroom_core::{RunId, Session, SessionId, Timestamp};
use greenroom_protocol::token::Role;
use greenroom_protocol::v1;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio_util::sync::CancellationToken;

use super::fault::{Done, Fault, stored};
use super::kept::{KeptRun, KeptSession};
use super::registry::blueprints::{self, Hook, Hooks, OnError};
use super::start::{self, Kind, RunCreate};
use super::{agents, check, sessions};
use crate::app::{App, fresh};
use crate::auth::{Caller, Who};
use crate::hub::lock;
use crate::service::{runs, sessions as service, stop};

/// A run that waits for the hook before it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Waiting {
    pub hook: Hook,
    pub parameters: Value,
    pub since: Timestamp,
    pub callback: bool,
}

/// Runs that a hook is to be looked at for.
#[derive(Default)]
pub(crate) struct Pending(Mutex<BTreeSet<RunId>>);

impl Pending {
    pub(super) fn add(&self, run: RunId) {
        lock(&self.0).insert(run);
    }

    fn remove(&self, run: RunId) {
        lock(&self.0).remove(&run);
    }

    /// Whether there is any.
    pub(crate) fn is_empty(&self) -> bool {
        lock(&self.0).is_empty()
    }

    pub(super) fn all(&self) -> Vec<RunId> {
        lock(&self.0).iter().copied().collect()
    }
}

/// The hooks of the agent that a session is of.
pub(super) async fn of_session(app: &App, kept: &KeptSession) -> Done<Hooks> {
    let Some(name) = kept.agent_name.as_deref().filter(|_| kept.from_here) else {
        return Ok(Hooks::default());
    };
    let blueprint = blueprints::get(app, name).await?;
    Ok(blueprint.and_then(|blueprint| blueprint.hooks).unwrap_or_default())
}

/// Whether a run waits for a hook.
pub(super) async fn is_waiting(app: &App, run: RunId) -> Done<bool> {
    Ok(KeptRun::of(app, run).await?.is_some_and(|kept| kept.waits.is_some()))
}

/// The name of a hook's session: it follows from the run, so that no hook runs twice.
fn name_of(run: RunId, which: &str) -> String {
    let hash = Sha256::digest(format!("{which} {run}").as_bytes());
    let hex: String = hash[..6].iter().map(|byte| format!("{byte:02x}")).collect();
    format!("hook_{hex}")
}

/// Whoever has asked for a session, for what is done on their behalf later.
fn owner(session: &Session) -> Caller {
    Caller {
        principal: session.owner.clone(),
        role: Role::Operator,
        who: Who::Person,
        user: session.user.clone(),
        revoked: CancellationToken::new(),
    }
}

/// Looks at every run that a hook is to run for, or has run for.
pub(super) async fn look(app: &Arc<App>) -> Done<()> {
    for run in app.orchestrator.hooks.all() {
        let Some(kept) = KeptRun::of(app, run).await? else {
            app.orchestrator.hooks.remove(run);
            continue;
        };
        let session = match kept.session {
            Some(uid) => stored(app.store.session(uid).await)?,
            None => None,
        };
        let Some(session) = session else {
            app.orchestrator.hooks.remove(run);
            continue;
        };
        match kept.waits.clone() {
            Some(waiting) => before(app, &session, run, kept, waiting).await?,
            None => after(app, &session, run, kept).await?,
        }
    }
    Ok(())
}

/// An entry of the log about a hook.
async fn note(
    app: &App,
    session: &Session,
    kind: &str,
    which: &str,
    hook: &Hook,
    more: Value,
) -> Done<()> {
    let tool = format!("hook:{which}:{}", hook.agent_name);
    let data = json!({ "stream": "orchestrator", "text": format!("{kind} {tool}"),
        "orchestrator": { "event_type": kind, "tool_name": tool, "tool_output": more } });
    let output = Output { kind: OutputKind::Log, run: None, data, late: false };
    service::submit(app, session.uid, vec![Command::Say(output)]).await?;
    Ok(())
}

/// What a hook before a run came to.
enum Verdict {
    Waits,
    Go(Value),
    Block(String),
    /// It failed, and so: an event, and why.
    Failed(&'static str, String),
}

async fn before(
    app: &Arc<App>,
    session: &Arc<Session>,
    run: RunId,
    kept: KeptRun,
    waiting: Waiting,
) -> Done<()> {
    if stored(app.store.run(run).await)?.is_some() {
        // It went on, and what says so was not written any more.
        return settled(app, run, kept).await;
    }
    let verdict = verdict(app, session, run, &waiting).await?;
    let (hook, which) = (&waiting.hook, "on_run_start");
    match verdict {
        Verdict::Waits => Ok(()),
        Verdict::Go(parameters) => {
            note(app, session, "hook_complete", which, hook, Value::Null).await?;
            go_on(app, session, run, kept, &waiting, parameters).await
        }
        Verdict::Block(reason) => {
            note(app, session, "hook_blocked", which, hook, json!({ "block_reason": reason }))
                .await?;
            let why = format!("Blocked by on_run_start hook: {reason}");
            fail(app, session, run, kept, &waiting, why).await
        }
        Verdict::Failed(event, why) => {
            note(app, session, event, which, hook, json!({ "error": why })).await?;
            match hook.on_error {
                OnError::Continue => {
                    let parameters = waiting.parameters.clone();
                    go_on(app, session, run, kept, &waiting, parameters).await
                }
                OnError::Block => {
                    let why = format!("Blocked by on_run_start hook: {why}");
                    fail(app, session, run, kept, &waiting, why).await
                }
            }
        }
    }
}

async fn verdict(
    app: &Arc<App>,
    session: &Arc<Session>,
    run: RunId,
    waiting: &Waiting,
) -> Done<Verdict> {
    let name = name_of(run, "start");
    let id: SessionId = name.parse().map_err(|error| Fault::new(500, format!("{error}")))?;
    let Some(hook_session) = stored(app.store.session_named(&id).await)? else {
        return match begin(app, session, &name, &waiting.hook, &waiting.parameters).await {
            Ok(()) => {
                let hook = &waiting.hook;
                note(app, session, "hook_start", "on_run_start", hook, Value::Null).await?;
                Ok(Verdict::Waits)
            }
            Err(fault) => Ok(Verdict::Failed("hook_failed", fault.text())),
        };
    };
    let row = stored(app.store.runs(hook_session.uid, 1, None).await)?.items.into_iter().next();
    let Some(row) = row else { return Ok(Verdict::Waits) };
    if !row.status.is_final() {
        let waited = app.clock.wall().unix_ms() - waiting.since.unix_ms();
        let most = i64::try_from(waiting.hook.timeout_seconds).unwrap_or(300) * 1000;
        if waited < most {
            return Ok(Verdict::Waits);
        }
        let request = v1::StopRequest::default();
        stop::stop(app, &owner(session), &name, request, None, None).await?;
        let why = format!("timed out after {} s", waiting.hook.timeout_seconds);
        return Ok(Verdict::Failed("hook_timeout", why));
    }
    if row.status != RunStatus::Completed {
        let error = row.error.map(|(_, message)| message);
        let why = error.unwrap_or_else(|| row.status.as_str().to_owned());
        return Ok(Verdict::Failed("hook_failed", why));
    }
    let found = sessions::result_of_run(app, &hook_session, &row).await?;
    let said = found.result_data.or_else(|| {
        let text = found.result_text.as_deref()?;
        serde_json::from_str(text.trim()).ok()
    });
    Ok(match said.as_ref().and_then(|said| said["action"].as_str()) {
        Some("continue") => {
            let changed = said.as_ref().map(|said| said["parameters"].clone());
            let changed = changed.filter(Value::is_object);
            Verdict::Go(changed.unwrap_or_else(|| waiting.parameters.clone()))
        }
        Some("block") => {
            let reason = said.as_ref().and_then(|said| said["block_reason"].as_str());
            Verdict::Block(reason.unwrap_or("no reason given").to_owned())
        }
        _ => Verdict::Failed("hook_failed", "its answer names no action".to_owned()),
    })
}

/// Starts the session of a hook, beneath that of the run.
async fn begin(
    app: &Arc<App>,
    session: &Session,
    name: &str,
    hook: &Hook,
    parameters: &Value,
) -> Done<()> {
    let asked = RunCreate {
        kind: Kind::StartSession,
        parameters: parameters.as_object().cloned().unwrap_or_default(),
        session_id: Some(name.to_owned()),
        agent_name: Some(hook.agent_name.clone()),
        project_dir: None,
        parent_session_id: Some(session.id.to_string()),
        execution_mode: None,
        additional_demands: None,
        scope: None,
    };
    // A hook has no hooks of its own: two that name each other would never end.
    start::create_bare(app, &owner(session), asked).await?;
    Ok(())
}

/// The run is asked of its session, with what the hook has made of its parameters.
async fn go_on(
    app: &Arc<App>,
    session: &Arc<Session>,
    run: RunId,
    mut kept: KeptRun,
    waiting: &Waiting,
    parameters: Value,
) -> Done<()> {
    let caller = owner(session);
    let asked = async {
        let resumes = kept.kind == "resume_session";
        let found = agents::find(app, &caller, kept.agent_name.as_deref()).await?;
        let schema = found.schema.as_ref().filter(|_| !resumes);
        check::parameters(kept.agent_name.as_deref(), schema, &parameters)?;
        let blueprint = found.for_runner(app, &parameters, &kept.scope, &session.id, run).await?;
        Done::Ok((start::asks(schema.is_some(), parameters.clone()), blueprint))
    };
    let ((prompt, input), blueprint) = match asked.await {
        Ok(asked) => asked,
        Err(fault) => return fail(app, session, run, kept, waiting, fault.text()).await,
    };
    kept.blueprint = blueprint;
    kept.keep(app, run).await?;
    let request =
        v1::CreateRun { prompt, input, callback: Some(waiting.callback), ..Default::default() };
    match runs::create_as(app, &caller, session.id.as_str(), request, run, None).await {
        Ok(_) => {}
        Err(error) if error.0.status < 500 => {
            return fail(app, session, run, kept, waiting, error.0.detail.clone()).await;
        }
        Err(error) => return Err(error.into()),
    }
    settled(app, run, kept).await
}

/// The run is on record, and has failed.
async fn fail(
    app: &Arc<App>,
    session: &Session,
    run: RunId,
    kept: KeptRun,
    waiting: &Waiting,
    why: String,
) -> Done<()> {
    let prompt = asked_by_nobody(app, run, waiting);
    let error = RunError::new("hook", why);
    let commands = vec![Command::Prompt(prompt), Command::GiveUp { run, error }];
    match service::submit(app, session.uid, commands).await {
        Ok(_) => {}
        // Its session is gone, and with it whoever would be told.
        Err(error) if error.0.status < 500 => {}
        Err(error) => return Err(error.into()),
    }
    settled(app, run, KeptRun { finish: None, ..kept }).await
}

fn asked_by_nobody(app: &App, run: RunId, waiting: &Waiting) -> Prompt {
    let (prompt, input) = start::asks(false, waiting.parameters.clone());
    Prompt {
        run: PendingRun { id: run, callback: waiting.callback, created_at: app.clock.wall() },
        prompt,
        input,
        by: Actor::machine("hook"),
        mode: Mode::Enqueue,
        resume: false,
        first: false,
        stop: fresh::stop(),
    }
}

/// The first hook is done with.
async fn settled(app: &App, run: RunId, mut kept: KeptRun) -> Done<()> {
    kept.waits = None;
    kept.keep(app, run).await?;
    if kept.finish.is_none() {
        app.orchestrator.hooks.remove(run);
    }
    app.orchestrator.wake.notify_one();
    Ok(())
}

/// The hook after a run: it is begun, and nobody waits for it.
async fn after(app: &Arc<App>, session: &Session, run: RunId, mut kept: KeptRun) -> Done<()> {
    let Some(hook) = kept.finish.clone() else {
        app.orchestrator.hooks.remove(run);
        return Ok(());
    };
    let Some(row) = stored(app.store.run(run).await)? else { return Ok(()) };
    if !row.status.is_final() {
        return Ok(());
    }
    if row.status == RunStatus::Completed {
        let found = sessions::result_of_run(app, session, &row).await?;
        let parameters = match found.result_data.filter(Value::is_object) {
            Some(data) => data,
            None => {
                json!({ "prompt": found.result_text.unwrap_or_else(|| "(No result available)".to_owned()) })
            }
        };
        let name = name_of(run, "finish");
        match begin(app, session, &name, &hook, &parameters).await {
            Ok(()) | Err(Fault::Detail(409, _)) => {}
            Err(fault) => {
                let more = json!({ "error": fault.text() });
                note(app, session, "hook_failed", "on_run_finish", &hook, more).await?;
            }
        }
    }
    kept.finish = None;
    kept.keep(app, run).await?;
    app.orchestrator.hooks.remove(run);
    Ok(())
}

/// Takes back the runs of a session that wait for a hook: the session is stopped. Answers
/// the run that was.
pub(super) async fn cancel(app: &Arc<App>, session: &Session) -> Done<Option<RunId>> {
    for run in app.orchestrator.hooks.all() {
        let Some(kept) = KeptRun::of(app, run).await? else { continue };
        let Some(waiting) = kept.waits.clone().filter(|_| kept.session == Some(session.uid)) else {
            continue;
        };
        let prompt = asked_by_nobody(app, run, &waiting);
        let by = Actor::machine("hook");
        let stop_run = Command::StopRun { run, stop: fresh::stop(), by, grace: None };
        service::submit(app, session.uid, vec![Command::Prompt(prompt), stop_run]).await?;
        settled(app, run, KeptRun { finish: None, ..kept }).await?;
        let name = name_of(run, "start");
        match stop::stop(app, &owner(session), &name, v1::StopRequest::default(), None, None).await
        {
            Ok(_) => {}
            Err(error) if error.0.status == 404 => {}
            Err(error) => return Err(error.into()),
        }
        return Ok(Some(run));
    }
    Ok(None)
}
