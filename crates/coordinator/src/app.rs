//! Everything the handlers and reconcilers share.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use greenroom_core::fact::Fact;
use greenroom_core::session::Life;
use greenroom_core::{RunId, SessionUid, StopId, StreamId, TokenId};
use greenroom_protocol::v1::Change;
use greenroom_store::{Commit, Quotas, Store, StoreIdentity};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::activity::Activities;
use crate::auth::Auth;
use crate::clock::SharedClock;
use crate::hub::Hub;
use crate::lives::Lives;
use crate::presence::{Runners, Wants};
use crate::service::agents::Agents;
use crate::service::streams::Streams;
use crate::sources::Sources;
use crate::timers::{Deadlines, Expiries, IdleLimits};

/// Everything the handlers and reconcilers share.
pub struct App {
    /// Where facts are kept.
    pub store: Arc<dyn Store>,
    /// Which store that is.
    pub identity: StoreIdentity,
    /// Where times come from.
    pub clock: SharedClock,
    /// For how long a coordinator was up.
    pub lives: Arc<Lives>,
    /// From commits to viewers.
    pub hub: Arc<Hub>,
    /// The runners as they are now.
    pub runners: Runners,
    /// Transfers under way.
    pub streams: Streams,
    /// What live sessions are doing.
    pub activities: Activities,
    /// Tokens that were looked up.
    pub auth: Auth,
    /// Agents, and what was compiled of them.
    pub agents: Agents,
    /// Where agents come from.
    pub sources: Sources,
    /// Deadlines of stops.
    pub deadlines: Deadlines,
    /// Idle sessions.
    pub idle: IdleLimits,
    /// Sessions that expire after a time.
    pub expiries: Expiries,
    /// What wakes the reconcilers.
    pub wakes: Wakes,
    /// No token is asked for.
    pub no_auth: bool,
    /// Where it listens.
    pub address: SocketAddr,
    /// How long a runner may be silent.
    pub runner_ttl: Duration,
    /// How many sessions there may be.
    pub quotas: Quotas,
    /// How often sources that are not on this machine are asked again.
    pub agents_refresh: Duration,
    /// Cancelled when it ends.
    pub ending: CancellationToken,
    /// The API's own description, as it is served.
    pub openapi: bytes::Bytes,
    /// Variables of this process that descriptions of a door may name.
    pub exposed_env: Vec<String>,
    /// What the orchestrator's door shares between requests.
    pub(crate) orchestrator: crate::doors::OrchestratorState,
    /// One enrolment at a time: a join token is worth one.
    pub enrolling: tokio::sync::Mutex<()>,
}

/// What wakes the reconcilers. A wake-up carries nothing: each looks for itself.
#[derive(Default)]
pub struct Wakes {
    /// Something waits for a place, or a place became free.
    pub place: Notify,
    /// A run of a child has ended, or the journal that tells its last text is in.
    pub completions: Notify,
    /// A session is gone.
    pub purge: Notify,
    /// A runner has come or gone.
    pub runners: Notify,
    /// References of agents, or files beneath them, have changed.
    pub sources: Notify,
    /// References of agents have changed.
    pub remotes: Notify,
}

impl App {
    /// Tells everybody of a commit. Runs on the store's writer, in commit order, and does
    /// not block. Runners first: they are what somebody waits for.
    pub fn committed(&self, commit: &Arc<Commit>) {
        let slot_free = self.runners.note(commit);
        self.activities.note(commit);
        self.hub.publish(commit);
        self.orchestrator.feed.note(commit, self.clock.wall().unix_ms());
        let session = &commit.session;
        if commit.state_changed {
            self.deadlines.note(session, Instant::now());
            if slot_free || session.need().is_some() {
                self.wakes.place.notify_one();
            }
            if session.life == Life::Removed {
                self.wakes.purge.notify_one();
            }
            let child_ended = |kind: &str| {
                matches!(kind, "run.completed" | "run.failed" | "run.stopped" | "run.withdrawn")
            };
            let ended = commit.events.iter().any(|event| child_ended(&event.kind));
            // A parent that was busy may be told now of what has gathered.
            if ended && (session.parent.is_some() || session.children > 0) {
                self.wakes.completions.notify_one();
            }
            if ended && !self.orchestrator.hooks.is_empty() {
                self.orchestrator.wake.notify_one();
            }
        }
        self.expiries.note(session, &self.lives);
        if session.limits.idle_ms.is_some() {
            self.idle.note(session, self.clock.boot());
        }
        metrics::counter!("greenroom_commits_total").increment(1);
        metrics::counter!("greenroom_events_total").increment(commit.events.len() as u64);
    }

    /// Tells the viewers of all sessions that a runner has changed.
    pub fn runner_changed(&self, id: greenroom_core::RunnerId) {
        self.hub.change(None, &Change::Runner { id });
    }

    /// Tells the viewers of all sessions that the agents have changed.
    pub fn agents_changed(&self) {
        self.hub.change(None, &Change::Agents);
    }

    /// What a session wants of a runner: what its agent asked for when it was pinned, and
    /// what the session asks for itself.
    pub async fn wants(&self, session: &greenroom_core::Session) -> Wants {
        match self.agents.pinned(&*self.store, &session.agent).await {
            Ok(Some(agent)) => Wants::of(&agent.row.spec, session),
            _ => Wants {
                system: None,
                labels: session.runner_labels.clone(),
                owner: Some(session.owner.clone()),
                folder: session.workspace.as_ref().map(|from| from.path().clone()),
            },
        }
    }

    /// Where it can be reached, as its own machine writes it.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

/// Whether a fact of this name closes a compute.
pub(crate) fn closes(kind: &str) -> bool {
    matches!(
        kind,
        "session.stopped" | "session.finished" | "session.failed" | "session.interrupted"
    )
}

/// A fact read back from its event, where it is one of a session's own.
pub(crate) fn fact(event: &greenroom_core::Event) -> Option<Fact> {
    Fact::from_event(event).ok()
}

/// New identities. They sort by the time they were made at.
pub(crate) mod fresh {
    use super::{RunId, SessionUid, StopId, StreamId, TokenId, Uuid};

    /// For a session.
    pub(crate) fn session() -> SessionUid {
        SessionUid(Uuid::now_v7())
    }

    /// For a run.
    pub(crate) fn run() -> RunId {
        RunId(Uuid::now_v7())
    }

    /// For a stop.
    pub(crate) fn stop() -> StopId {
        StopId(Uuid::now_v7())
    }

    /// For a transfer.
    pub(crate) fn stream() -> StreamId {
        StreamId(Uuid::now_v7())
    }

    /// For a token.
    pub(crate) fn token() -> TokenId {
        TokenId(Uuid::now_v7())
    }
}
