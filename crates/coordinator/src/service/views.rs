//! From what is kept to what is shown.

use greenroom_core::agent::{AgentPin, Lifecycle};
use greenroom_core::run::RunStatus;
use greenroom_core::session::Wanted;
use greenroom_core::{AgentName, RunId, Session, Timestamp};
use greenroom_protocol::v1;
use greenroom_store::{AgentHealth, AgentRow, RunRow, RunnerRow, TokenRow};

use crate::config::Offered;
use crate::lives::Lives;
use crate::presence::Runner;
use crate::sources::keys::Identity;

/// A session as it is shown.
pub(crate) fn session(session: &Session, lives: &Lives) -> v1::Session {
    let standing = session.standing();
    let run = session.current_run();
    let wanted = session.compute.as_ref().map(|compute| match compute.wanted {
        Wanted::Up => "up".to_owned(),
        Wanted::Down(_) => "down".to_owned(),
    });
    v1::Session {
        id: session.id.clone(),
        uid: session.uid,
        owner: session.owner.0.clone(),
        user: session.user.clone(),
        shared: session.shared,
        agent: agent_ref(&session.agent),
        agent_policy: session.agent_policy,
        approvals: session.approvals.clone(),
        within: session.within.clone(),
        model: session.model.clone(),
        models: session.models.clone(),
        title: session.title.clone(),
        labels: session.labels.clone(),
        runner_labels: session.runner_labels.clone(),
        workspace: session.workspace.clone(),
        status: standing.status,
        status_reason: standing.reason.map(str::to_owned),
        wanted,
        hold: session.hold.is_some(),
        epoch: session.last_epoch,
        runner_id: session.home,
        parent_id: session.parent_id.clone(),
        forked_from: session.forked_from.clone(),
        run_id: run.map(|(id, _)| id),
        run_status: run.map(|(_, status)| status),
        last_seq: session.last_seq,
        version: session.version,
        pending: v1::Pending {
            runs: session.queue.len() as u32,
            approvals: session.compute.as_ref().map_or(0, |c| c.open_asks().count() as u32),
        },
        usage: usage(&session.usage),
        limits: session.limits.clone(),
        created_at: session.created_at,
        updated_at: session.updated_at,
        last_active_at: session.last_active_at,
        expires_at: lives.expires_at(session),
        receipt: session.ended.as_ref().map(|ended| (*ended.receipt).clone()),
        activity: None,
    }
}

/// The description that a session has.
pub(crate) fn agent_ref(pin: &AgentPin) -> v1::AgentRef {
    let identity = Identity::of_shown(&pin.source);
    v1::AgentRef {
        name: pin.name.clone(),
        version: pin.version,
        source: pin.source.clone(),
        source_key: identity.key,
        stable_key: identity.stable,
        digest: pin.digest.clone(),
    }
}

fn usage(usage: &greenroom_core::session::Usage) -> v1::Usage {
    v1::Usage {
        input_tokens: usage.input_tokens,
        output_tokens: usage.output_tokens,
        cost_usd: usage.cost_micro_usd as f64 / 1e6,
    }
}

/// A run as it is shown.
pub(crate) fn run(row: &RunRow) -> v1::Run {
    v1::Run {
        id: row.id,
        session_id: row.session_id.clone(),
        status: row.status,
        prompt: row.prompt.clone(),
        input: row.input.clone(),
        mode: row.mode,
        result: row.result.clone(),
        error: row.error.clone().map(|(code, message)| v1::RunError { code, message }),
        usage: usage(&row.usage),
        callback: row.callback,
        created_at: row.created_at,
        started_at: row.started_at,
        ended_at: row.ended_at,
        files: row.files.clone(),
    }
}

/// How many runs come before one, as its session knows it.
pub(crate) fn ahead(session: &Session, run: RunId) -> u32 {
    let head = session.compute.as_ref().and_then(|compute| compute.head.as_ref());
    if head.is_some_and(|head| head.run.id == run || head.steers.contains(&run)) {
        return 0;
    }
    let waiting = session.queue.iter().position(|waiting| waiting.id == run).unwrap_or(0);
    waiting as u32 + u32::from(head.is_some())
}

/// How a run stands that was just accepted, as its session knows it.
pub(crate) fn run_status(session: &Session, run: RunId) -> RunStatus {
    match session.current_run() {
        Some((head, status)) if head == run => status,
        _ => RunStatus::Queued,
    }
}

/// An agent whose source never had a good description of it.
pub(crate) fn broken_agent(name: AgentName, source: &str, error: String) -> v1::Agent {
    let identity = Identity::of(source);
    let shown = Identity::of_shown(source);
    v1::Agent {
        name,
        description: None,
        driver: "unknown".to_owned(),
        lifecycle: "unknown".to_owned(),
        source: identity.shown,
        source_key: shown.key,
        stable_key: shown.stable,
        version: 0,
        digest: String::new(),
        health: "broken".to_owned(),
        error: Some(error),
        input_schema: None,
        updated_at: Timestamp::from_unix_ms(0),
        fetched_at: None,
        needs: None,
        program_version: None,
        disabled: false,
    }
}

/// An agent as it is shown.
pub(crate) fn agent(
    row: &AgentRow,
    fetched_at: Option<Timestamp>,
    offered: Option<&Offered>,
) -> v1::Agent {
    let shown = Identity::of_shown(&row.source);
    let driver = row.spec.driver.word();
    let lifecycle = match row.spec.lifecycle() {
        Lifecycle::PerRun => "per_run",
        Lifecycle::Persistent => "persistent",
    };
    let health = match row.health {
        AgentHealth::Ok => "ok",
        AgentHealth::Stale => "stale",
        AgentHealth::Missing => "missing",
    };
    v1::Agent {
        name: row.name.clone(),
        description: row.spec.description.clone(),
        driver: driver.to_owned(),
        lifecycle: lifecycle.to_owned(),
        source: shown.shown,
        source_key: shown.key,
        stable_key: shown.stable,
        version: row.version,
        digest: row.digest.clone(),
        health: health.to_owned(),
        error: row.error.clone(),
        input_schema: row.spec.input_schema.clone(),
        updated_at: row.updated_at,
        fetched_at,
        needs: offered.and_then(|offered| offered.needs.clone()),
        program_version: offered.and_then(|offered| offered.version.get().cloned()),
        disabled: false,
    }
}

/// A runner as it is shown: what is kept of it, and how it is now.
pub(crate) fn runner(row: &RunnerRow, now: Option<&Runner>) -> v1::Runner {
    let connected = now.is_some_and(Runner::is_connected);
    let unclaimed = now.map(Runner::unclaimed).unwrap_or_default();
    v1::Runner {
        id: row.id,
        name: row.info.name.clone(),
        status: if connected { "connected" } else { "unreachable" }.to_owned(),
        draining: now.map_or(row.draining, Runner::is_draining),
        host: row.info.host.clone(),
        platform: row.info.platform.clone(),
        version: row.info.version.clone(),
        labels: row.info.labels.clone(),
        slots: row.info.slots,
        slots_used: row.slots_used,
        sessions: row.sessions,
        live: row.live,
        isolation: row.info.isolation.clone(),
        working_dir_roots: row.info.working_dir_roots.clone(),
        probe: row.info.probe.clone(),
        unclaimed: unclaimed.iter().map(|(uid, epoch)| format!("{uid}/{epoch}")).collect(),
        last_seen_at: row.seen_at,
        created_at: row.created_at,
    }
}

/// A token as it is shown, without its secret.
pub(crate) fn token(row: &TokenRow) -> v1::Token {
    v1::Token {
        id: row.id,
        role: row.role,
        principal: row.principal.0.clone(),
        created_at: row.created_at,
    }
}
