//! Registering, being seen, being shown, and leaving.

use std::sync::Arc;

use axum::extract::{FromRequestParts, State};
use axum::routing::{delete, get, post};
use axum::{Json, Router};
use greenroom_core::command::{Actor, Command, Stop};
use greenroom_core::receipt::StopReason;
use greenroom_core::{RunnerId, Session};
use greenroom_protocol::link::{ForeignRunner, Probe, RunnerInfo};
use greenroom_protocol::token::Role;
use greenroom_store::{NewRunner, RunnerUpdate, Scan};
use http::request::Parts;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::super::demands::Demands;
use super::super::fault::{Done, Fault, stored};
use super::super::registry::{blueprints, scripts};
use super::super::{DOOR, SYSTEM, words};
use super::{Adapter, known, named, seen};
use crate::app::{App, fresh};
use crate::auth::{Allowed, Caller, JoinToken, Right, ToOperate, Who};
use crate::doors::records::Records;
use crate::error::ApiError;
use crate::extract::{Body, Path, Query};
use crate::presence::Runner;
use crate::secret;
use crate::service::sessions;

/// Runners that are to go, by the name of who said so.
const LEAVING: Records = Records::of(DOOR, "leaving");

pub(super) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/runner/register", post(register))
        .route("/runner/heartbeat", post(heartbeat))
        .route("/runners", get(list))
        .route("/runners/{id}", delete(deregister))
}

/// What a runner says of itself.
#[derive(Debug, Clone, Deserialize, Serialize)]
struct Registration {
    hostname: String,
    project_dir: String,
    executor_profile: String,
    #[serde(default)]
    executor: Option<Value>,
    #[serde(default)]
    tags: Option<Vec<String>>,
    #[serde(default)]
    require_matching_tags: Option<bool>,
    #[serde(default)]
    agents: Option<Vec<Value>>,
}

impl Registration {
    fn executor(&self, key: &str) -> Option<&str> {
        self.executor.as_ref()?.get(key)?.as_str()
    }

    fn name(&self) -> String {
        let command = self.executor("command").unwrap_or_default();
        words::runner_name(&self.hostname, &self.project_dir, &self.executor_profile, command)
    }

    /// What it has, in the words of what is asked for.
    fn offers(&self) -> Demands {
        Demands {
            hostname: Some(self.hostname.clone()),
            project_dir: Some(self.project_dir.clone()),
            executor_profile: Some(self.executor_profile.clone()),
            executor_type: Some(self.executor("type").unwrap_or("autonomous").to_owned()),
            tags: self.tags.clone().unwrap_or_default(),
            runner: Some(self.name()),
        }
    }

    fn info(&self, principal: &str, only_of: Option<String>, at: String) -> RunnerInfo {
        let mut said = serde_json::to_value(self).unwrap_or_default();
        said["registered_at"] = at.into();
        RunnerInfo {
            name: format!("{} ({})", self.hostname, self.executor_profile),
            host: self.hostname.clone(),
            platform: "of another system".to_owned(),
            version: SYSTEM.to_owned(),
            labels: self.offers().labels(true),
            slots: None,
            isolation: "foreign".to_owned(),
            keeps_files: false,
            working_dir_roots: Vec::new(),
            probe: Probe {
                notes: vec![
                    "a runner of the agent orchestrator: its receipts are its word".to_owned(),
                ],
                ..Probe::default()
            },
            foreign: Some(ForeignRunner {
                system: SYSTEM.to_owned(),
                id: self.name(),
                registered: true,
                only_tagged: self.require_matching_tags.unwrap_or(false),
                principal: principal.to_owned(),
                only_of,
                said,
            }),
        }
    }
}

/// Who registers a runner: somebody with a join token, which becomes its credential, or
/// somebody who may use sessions, who speaks for it from then on.
enum Registrar {
    Join(String),
    Caller(Caller),
}

impl FromRequestParts<Arc<App>> for Registrar {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, ApiError> {
        if let Ok(JoinToken(token)) = JoinToken::from_request_parts(parts, app).await {
            return Ok(Self::Join(token));
        }
        Ok(Self::Caller(Caller::from_request_parts(parts, app).await?))
    }
}

async fn register(
    State(app): State<Arc<App>>,
    registrar: Registrar,
    Body(asked): Body<Registration>,
) -> Done<Json<Value>> {
    let name = asked.name();
    let id = words::runner_of(&name);
    check(&asked)?;
    // One at a time: two of the same identity cannot both be the first.
    let _one = app.enrolling.lock().await;
    let principal = match &registrar {
        Registrar::Join(_) => format!("runner {id}"),
        Registrar::Caller(caller) => match &caller.who {
            Who::Runner(own) if *own == id => format!("runner {id}"),
            Who::Person => {
                caller.require(Right::Use)?;
                caller.principal.0.clone()
            }
            _ => return Err(Fault::new(403, "this credential is of another runner")),
        },
    };
    let duplicate = |why: &str| {
        Fault::Detail(
            409,
            json!({ "error": "duplicate_runner", "runner_id": name,
            "message": format!("A runner with this identity {why}: {} in {} with profile {}", asked.hostname, asked.project_dir, asked.executor_profile),
            "hostname": asked.hostname, "project_dir": asked.project_dir,
            "executor_profile": asked.executor_profile }),
        )
    };
    let before = named(&app, &name);
    if let Some((runner, foreign)) = &before {
        if foreign.registered && runner.is_connected() {
            return Err(duplicate("is already registered and online"));
        }
        let row = stored(app.store.runner(id).await)?;
        let has_sessions = row.is_some_and(|row| row.sessions > 0);
        let admin = matches!(&registrar, Registrar::Caller(caller) if caller.role == Role::Admin);
        if foreign.principal != principal && has_sessions && !admin {
            return Err(duplicate("is another's, and has sessions"));
        }
    }
    check_agents(&app, &asked, &name).await?;
    // Whoever may see only their own sessions gets no others by a runner of theirs.
    let own = matches!(&registrar, Registrar::Caller(caller)
        if matches!(caller.who, Who::Person) && caller.role != Role::Admin);
    let only_of = own.then(|| principal.clone());
    let info = asked.info(&principal, only_of, words::time(app.clock.wall()));
    enroll(&app, registrar, id, info.clone()).await?;
    let row = stored(app.store.runner(id).await)?;
    let Some(row) = row else { return Err(Fault::new(500, "the runner was not kept")) };
    let runner = app.runners.join(&row);
    let instance = row.instance + 1;
    let update = RunnerUpdate {
        info: Some(info.clone()),
        instance: Some(instance),
        draining: Some(false),
        seen_at: Some(app.clock.wall()),
    };
    stored(app.store.update_runner(id, update).await)?;
    let _ = runner.instance(instance);
    runner.set_info(info);
    runner.set_draining(false);
    LEAVING.remove(&app, &name).await?;
    scripts::forget_told(&app, &name).await?;
    // A process that registers has none of what an earlier one had.
    let adapter = Adapter::new(&app, id, &name);
    for session in live(&app, id).await? {
        adapter
            .let_go(&session, "the runner has registered anew and has nothing of it", true)
            .await?;
    }
    runner.set_known();
    seen(&app, &runner).await?;
    app.runner_changed(id);
    app.wakes.place.notify_one();
    tracing::info!(runner = %id, %name, "a runner of the agent orchestrator has registered");
    let wait = super::poll::longest(&app);
    Ok(Json(json!({
        "runner_id": name,
        "poll_endpoint": "/runner/runs",
        "poll_timeout_seconds": wait.as_secs().max(1),
        "heartbeat_interval_seconds": 60,
    })))
}

fn check(asked: &Registration) -> Done<()> {
    let texts = [
        ("hostname", &asked.hostname),
        ("project_dir", &asked.project_dir),
        ("executor_profile", &asked.executor_profile),
    ];
    for (name, text) in texts {
        if text.is_empty() || text.chars().any(char::is_control) {
            return Err(Fault::new(
                422,
                format!("{name} is required, in characters that can be printed"),
            ));
        }
    }
    asked.offers().check()
}

/// An agent's name is one agent's.
async fn check_agents(app: &App, asked: &Registration, name: &str) -> Done<()> {
    let taken = |agent: &str, by: &str| {
        Fault::Detail(
            409,
            json!({ "error": "agent_name_collision", "agent_name": agent,
            "message": format!("Agent '{agent}' is already registered by {by}"),
            "existing_runner_id": by }),
        )
    };
    let brought = blueprints::of_runners(app);
    for agent in asked.agents.iter().flatten() {
        let agent = agent.get("name").and_then(Value::as_str).unwrap_or_default();
        let Ok(parsed) = agent.parse() else {
            return Err(Fault::new(422, format!("agents: {agent:?} is no name of an agent")));
        };
        if let Some((by, _)) = brought.iter().find(|(by, one)| by != name && one["name"] == agent) {
            return Err(taken(agent, by));
        }
        let ours = stored(app.store.agent(&parsed).await)?.is_some();
        if ours || blueprints::get(app, agent).await?.is_some() {
            return Err(taken(agent, "coordinator"));
        }
    }
    Ok(())
}

/// Makes it a runner of this store. A join token becomes its credential, and is worth
/// nothing else from then on.
async fn enroll(app: &App, registrar: Registrar, id: RunnerId, info: RunnerInfo) -> Done<()> {
    let at = app.clock.wall();
    match registrar {
        Registrar::Join(token) => {
            let new = NewRunner { id, credential: secret::hash(&token), info, at };
            stored(app.store.enroll_runner(new).await)?;
            if let Some((row, _)) = app.auth.token(&*app.store, &token).await? {
                stored(app.store.revoke_token(row.id).await)?;
                app.auth.revoke(row.id);
            }
            app.auth.forget_runner(id);
        }
        Registrar::Caller(Caller { who: Who::Runner(_), .. }) => {}
        Registrar::Caller(_) => {
            // Nobody has its credential: whoever registered it speaks for it.
            let credential = secret::hash(&secret::new_credential());
            stored(app.store.enroll_runner(NewRunner { id, credential, info, at }).await)?;
            app.auth.forget_runner(id);
        }
    }
    Ok(())
}

/// Sessions with a compute on this runner.
pub(super) async fn live(app: &App, runner: RunnerId) -> Done<Vec<Arc<Session>>> {
    let mut all = Vec::new();
    for uid in stored(app.store.scan(Scan::LiveOn(runner)).await)? {
        all.extend(stored(app.store.session(uid).await)?);
    }
    Ok(all)
}

#[derive(Debug, Deserialize)]
struct Beat {
    runner_id: String,
}

async fn heartbeat(
    State(app): State<Arc<App>>,
    caller: Caller,
    Body(Beat { runner_id }): Body<Beat>,
) -> Done<Json<Value>> {
    let (runner, _) = super::registered(&app, &caller, &runner_id)?;
    seen(&app, &runner).await?;
    Ok(Json(json!({ "ok": true })))
}

async fn list(
    State(app): State<Arc<App>>,
    Allowed { .. }: Allowed<ToOperate>,
) -> Done<Json<Value>> {
    let mut all = Vec::new();
    for row in stored(app.store.runners().await)? {
        let Some(runner) = app.runners.get(row.id) else { continue };
        let foreign = row.info.foreign.as_ref();
        if foreign.is_some_and(|foreign| !foreign.registered) {
            continue;
        }
        let silence = runner.silence();
        let ago = silence.map_or(0, |silence| silence.as_millis() as i64);
        let heard = app.clock.wall().unix_ms() - ago;
        let heard = words::time(greenroom_core::Timestamp::from_unix_ms(heard));
        let tags: Vec<&str> = row
            .info
            .labels
            .keys()
            .filter_map(|label| label.strip_prefix(crate::presence::TAG))
            .collect();
        let said = |key: &str| foreign.and_then(|foreign| foreign.said.get(key)).cloned();
        all.push(json!({
            "runner_id": foreign.map_or_else(|| row.id.to_string(), |foreign| foreign.id.clone()),
            "registered_at": said("registered_at").unwrap_or_else(|| words::time(row.created_at).into()),
            "last_heartbeat": heard,
            "hostname": row.info.host,
            "project_dir": said("project_dir"),
            "executor_profile": said("executor_profile").unwrap_or_else(|| "greenroom".into()),
            "executor": said("executor").unwrap_or_else(|| json!({ "type": "greenroom", "command": "", "config": {} })),
            "tags": tags,
            "require_matching_tags": foreign.is_some_and(|foreign| foreign.only_tagged),
            "status": if runner.is_connected() { "online" } else { "stale" },
            "seconds_since_heartbeat": ago as f64 / 1000.0,
        }));
    }
    Ok(Json(json!({ "runners": all })))
}

#[derive(Debug, Default, Deserialize)]
struct Leave {
    #[serde(rename = "self")]
    by_itself: Option<String>,
}

async fn deregister(
    State(app): State<Arc<App>>,
    caller: Caller,
    Path(id): Path<String>,
    Query(leave): Query<Leave>,
) -> Done<Json<Value>> {
    let by_itself =
        leave.by_itself.is_some_and(|word| word.eq_ignore_ascii_case("true") || word == "1");
    let Some((runner, foreign)) = named(&app, &id) else {
        let ours = id.parse().ok().and_then(|id| app.runners.get(id));
        return Err(match ours {
            Some(_) if caller.require(Right::Operate).is_ok() => Fault::new(
                409,
                "this runner is Greenroom's own and would join again by itself: greenroom runners drain, or rm",
            ),
            _ => Fault::new(404, "Runner not found"),
        });
    };
    if by_itself {
        known(&app, &caller, &id)?;
        if !foreign.registered {
            return Err(Fault::new(404, "Runner not found"));
        }
        leaves(&app, &runner, foreign).await?;
        return Ok(Json(json!({ "ok": true, "message": "Runner deregistered",
            "initiated_by": "self" })));
    }
    caller.require(Right::Operate)?;
    caller.require(Right::Administer)?;
    if !foreign.registered {
        return Err(Fault::new(404, "Runner not found"));
    }
    LEAVING.put(&app, &id, &caller.actor().name).await?;
    // Nothing new is placed there while it is told.
    runner.set_draining(true);
    runner.wake();
    Ok(Json(json!({ "ok": true, "message": "Runner marked for deregistration",
        "initiated_by": "external" })))
}

/// It goes by itself, and has ended all it had.
async fn leaves(app: &App, runner: &Runner, foreign: ForeignRunner) -> Done<()> {
    let adapter = Adapter::new(app, runner.id, &foreign.id);
    unregister(app, runner).await?;
    for session in live(app, runner.id).await? {
        adapter.let_go(&session, "Runner deregistered", false).await?;
    }
    LEAVING.remove(app, &foreign.id).await?;
    Ok(())
}

async fn unregister(app: &App, runner: &Runner) -> Done<()> {
    let mut info = runner.info();
    if let Some(foreign) = &mut info.foreign {
        foreign.registered = false;
    }
    let update = RunnerUpdate { info: Some(info.clone()), ..Default::default() };
    stored(app.store.update_runner(runner.id, update).await)?;
    runner.set_info(info);
    runner.goes();
    app.runner_changed(runner.id);
    Ok(())
}

/// Whether it is to be told that it has to go. What it has is stopped: it will end all of
/// it, and is still heard when it says so.
pub(super) async fn is_dismissed(
    app: &App,
    runner: &Runner,
    foreign: &ForeignRunner,
) -> Done<bool> {
    let Some(by) = LEAVING.get::<String>(app, &foreign.id).await? else { return Ok(false) };
    let adapter = Adapter::new(app, runner.id, &foreign.id);
    unregister(app, runner).await?;
    for session in live(app, runner.id).await? {
        if adapter.keep_back(&session).await? {
            adapter.let_go(&session, "Runner deregistered", false).await?;
            continue;
        }
        let stop = Stop {
            id: fresh::stop(),
            reason: StopReason::User,
            by: Actor::machine(by.clone()),
            text: Some("its runner was deregistered".to_owned()),
            grace: None,
            discard_queue: false,
            tree: false,
        };
        sessions::submit(app, session.uid, vec![Command::Stop(stop)]).await?;
    }
    LEAVING.remove(app, &foreign.id).await?;
    Ok(true)
}
