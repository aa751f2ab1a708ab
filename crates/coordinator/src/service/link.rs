//! The link with runners: joining, the long poll, and the bodies of what is assigned.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use greenroom_core::agent::{AgentSpec, Driver};
use greenroom_core::{Epoch, RunnerId, Session, SessionUid};
use greenroom_protocol::Problem;
use greenroom_protocol::link::{
    ComputeBody, EnrollReply, EnrollRequest, RunBody, SettingsBody, SyncReply, SyncRequest,
};
use greenroom_protocol::token::Role;
use greenroom_store::{NewRunner, RunnerUpdate};
use tokio::time::{Instant, timeout_at};

use crate::app::App;
use crate::error::ApiResult;
use crate::presence::Runner;
use crate::secret;
use crate::service::{following, models, reports};

/// A long poll waits this long at most.
const LONGEST_POLL: Duration = Duration::from_secs(15);

/// A runner joins: its join token becomes a credential of its own, once.
pub(crate) async fn enroll(
    app: &App,
    token: &str,
    request: EnrollRequest,
) -> ApiResult<EnrollReply> {
    // One at a time, so that a token cannot be spent twice in the same moment.
    let _one = app.enrolling.lock().await;
    let Some((row, _)) = app.auth.token(&*app.store, token).await? else {
        return Err(Problem::new(401, "unauthorized", "this join token is not known, or was used")
            .hint("make one with: greenroom token create --role runner")
            .into());
    };
    if row.role != Role::Runner {
        return Err(Problem::forbidden("a runner joins with a token of role runner").into());
    }
    let id = request.runner_id;
    if let Some(known) = app.store.runner(id).await?
        && known.instance > 0
        && known.sessions > 0
    {
        // A join token is worth a new runner, never the sessions of another.
        return Err(Problem::new(
            409,
            "runner_exists",
            format!("runner {id} has joined already and is home to {} sessions", known.sessions),
        )
        .hint("use its own credential, or remove it first: greenroom runners rm")
        .into());
    }
    let credential = secret::new_credential();
    let new = NewRunner {
        id,
        credential: secret::hash(&credential),
        info: request.info,
        at: app.clock.wall(),
    };
    app.store.enroll_runner(new).await?;
    if row.once {
        app.store.revoke_token(row.id).await?;
        app.auth.revoke(row.id);
    }
    app.auth.forget_runner(id);
    if let Some(row) = app.store.runner(id).await? {
        app.runners.join(&row);
    }
    app.runner_changed(id);
    tracing::info!(runner = %id, "a runner has joined");
    Ok(EnrollReply { credential, store_id: app.identity.store_id })
}

/// The runner of a credential, as it is now.
pub(crate) async fn known(app: &App, id: RunnerId) -> ApiResult<Arc<Runner>> {
    if let Some(runner) = app.runners.get(id) {
        return Ok(runner);
    }
    match app.store.runner(id).await? {
        Some(row) => Ok(app.runners.join(&row)),
        None => Err(removed().into()),
    }
}

fn removed() -> Problem {
    Problem::new(401, "unauthorized", "this runner was removed")
        .hint("let it join anew with a join token")
}

/// Heartbeat, acknowledgement, list and wake-up in one.
pub(crate) async fn sync(
    app: &Arc<App>,
    id: RunnerId,
    request: SyncRequest,
) -> ApiResult<SyncReply> {
    let runner = known(app, id).await?;
    if request.store_id != app.identity.store_id {
        let detail = format!(
            "this store is {}, and the runner obeys {}",
            app.identity.store_id, request.store_id
        );
        return Err(Problem::new(409, "foreign_store", detail)
            .hint(
                "point the runner at the coordinator it has joined, or give it another data folder",
            )
            .into());
    }
    // Subscribed first: what changes from here on is not missed.
    let mut wakes = runner.wakes();
    // Before it counts as connected: nothing is placed there by a log that is behind it.
    if request.full && !runner.is_known() {
        reports::learn(app, &runner, &request).await?;
        runner.set_known();
    }
    greet(app, &runner, &request).await?;
    let reported = reports::observed(app, &runner, &request).await?;
    if request.since_rev > 0 {
        app.store.acknowledge(id, request.since_rev).await?;
    }
    let files = reports::files(app, id, &request.files).await?;
    let said_something =
        !request.computes.is_empty() || !request.removed.is_empty() || !request.files.is_empty();
    let wait = Duration::from_millis(request.wait_ms).min(LONGEST_POLL).min(app.runner_ttl / 2);
    let deadline = Instant::now() + wait;
    loop {
        wakes.mark_unchanged();
        let (rev, assignments) = app.store.assignments(id, request.since_rev).await?;
        if runner.is_removed() {
            return Err(removed().into());
        }
        let opens = runner.take_opens();
        let (drain, drain_is_news) = runner.drain();
        let news = !assignments.is_empty()
            || !opens.is_empty()
            || drain_is_news
            || said_something
            // A store restored from a backup has an older count than the runner has seen.
            || rev < request.since_rev;
        let over = news || Instant::now() >= deadline || app.ending.is_cancelled();
        if over {
            runner.seen();
            runner.told_drain(drain);
            return Ok(SyncReply {
                store_id: app.identity.store_id,
                era: app.identity.era,
                rev,
                assignments,
                opens,
                marks: reported.marks,
                unclaimed: reported.unclaimed,
                drain,
                files: Some(files),
            });
        }
        tokio::select! {
            // What the wake is about is looked up, whatever it was.
            _ = timeout_at(deadline, wakes.changed()) => {}
            () = app.ending.cancelled() => {}
        }
    }
}

/// Notes that a runner speaks, and what it says of itself.
async fn greet(app: &App, runner: &Runner, request: &SyncRequest) -> ApiResult<()> {
    let Some(newer) = runner.instance(request.instance) else {
        return Err(Problem::new(
            409,
            "old_instance",
            "a newer process of this runner is connected",
        )
        .hint("end this one: two runners cannot share a data folder")
        .into());
    };
    let drains = runner.says_draining(request.draining);
    let info = request.info.clone();
    let came = runner.seen();
    let changed = newer || drains || info.is_some() || came;
    if changed {
        let update = RunnerUpdate {
            info: info.clone(),
            instance: Some(request.instance),
            draining: None,
            seen_at: Some(app.clock.wall()),
        };
        app.store.update_runner(runner.id, update).await?;
        if let Some(info) = info {
            runner.set_info(info);
        }
        app.runner_changed(runner.id);
        app.wakes.runners.notify_one();
        app.wakes.place.notify_one();
    }
    Ok(())
}

/// The session of a compute that this runner has.
async fn assigned(
    app: &App,
    runner: RunnerId,
    uid: SessionUid,
    epoch: Epoch,
) -> ApiResult<Arc<Session>> {
    let session = app.store.session(uid).await?;
    let assigned = session.filter(|session| {
        session
            .compute
            .as_ref()
            .is_some_and(|compute| compute.epoch == epoch && compute.runner == runner)
    });
    Ok(assigned.ok_or_else(|| {
        let detail = format!("no compute {uid}/{epoch} is assigned to this runner");
        Problem::new(404, "compute_not_found", detail)
    })?)
}

/// What a compute goes by now, for the runner that has it.
pub(crate) async fn settings_body(
    app: &App,
    runner: RunnerId,
    uid: SessionUid,
    epoch: Epoch,
) -> ApiResult<SettingsBody> {
    let session = assigned(app, runner, uid, epoch).await?;
    let agent = following::pinned(app, &session).await?;
    Ok(SettingsBody { settings: models::settings(&session, &agent.row.spec) })
}

/// The body of an assignment, for the runner that has it.
pub(crate) async fn compute_body(
    app: &App,
    runner: RunnerId,
    uid: SessionUid,
    epoch: Epoch,
    host: &str,
) -> ApiResult<ComputeBody> {
    let session = assigned(app, runner, uid, epoch).await?;
    let agent = following::pinned(app, &session).await?;
    let settings = models::settings(&session, &agent.row.spec);
    let policies = session.policies(&agent.row.spec.approvals);
    // A fork's first compute takes up the conversation that its log begins with.
    let inherits = session.forked_from.as_ref().is_some_and(|forked| {
        forked.conversation == greenroom_core::fact::ForkedConversation::Inherited
    });
    let mut agent = AgentSpec { approvals: policies.own, ..(*agent.row.spec).clone() };
    if let (Some(most), Driver::Loop(spec)) = (session.limits.iterations, &mut agent.driver) {
        spec.max_iterations = most;
        spec.team.values_mut().for_each(|member| member.max_iterations = most);
    }
    models::work_in(&session, &mut agent);
    let url = if host.is_empty() { app.url() } else { format!("http://{host}") };
    let env = BTreeMap::from([
        ("GREENROOM_URL".to_owned(), url),
        ("GREENROOM_SESSION".to_owned(), session.id.to_string()),
        ("GREENROOM_AGENT".to_owned(), session.agent.name.to_string()),
        ("GREENROOM_AGENT_VERSION".to_owned(), session.agent.version.to_string()),
        ("GREENROOM_EPOCH".to_owned(), epoch.to_string()),
        ("GREENROOM_TOKEN".to_owned(), secret::agent_token(&app.identity.secret, uid, epoch)),
    ]);
    Ok(ComputeBody {
        session: session.id.clone(),
        agent,
        workspace: session.workspace.clone(),
        limits: session.limits.clone(),
        settings: Some(settings),
        within: policies.within,
        env,
        conversation: session.conversation.clone(),
        resumed: inherits || (epoch > Epoch(1) && session.ended.is_some()),
    })
}

/// The body of a run, for the runner it was dispatched to.
pub(crate) async fn run_body(app: &App, runner: RunnerId, id: &str) -> ApiResult<RunBody> {
    let not_found =
        || Problem::new(404, "run_not_found", "no such run is dispatched to this runner");
    let run = id.parse().map_err(|_| not_found())?;
    let row = app.store.run(run).await?.ok_or_else(not_found)?;
    let session = app.store.session(row.uid).await?.ok_or_else(not_found)?;
    let dispatched = session.compute.as_ref().is_some_and(|compute| {
        compute.runner == runner
            && compute
                .head
                .as_ref()
                .is_some_and(|head| head.run.id == run || head.steers.contains(&run))
    });
    if !dispatched {
        return Err(not_found().into());
    }
    Ok(RunBody { prompt: row.prompt, input: row.input })
}
