//! Starting a runner, and what its owner can do with it.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use greenroom_core::assignment::StopOrder;
use greenroom_core::receipt::StopReason;
use greenroom_core::{Ms, Receipt, RunnerId, SessionId, StopId};
use greenroom_shim::spec::HostIdentity;
use tokio::sync::{mpsc, watch};

use crate::board::Board;
use crate::error::RunnerError;
use crate::folder::Folder;
use crate::host::{Host, Parts, unbroken};
use crate::http::Api;
use crate::identity::Identity;
use crate::link::{Link, LinkState};
use crate::roots::Roots;
use crate::session::Event;
use crate::{adopt, delta, probe, tidy, upload};

/// What a runner is told.
#[derive(Clone)]
pub struct RunnerConfig {
    /// The coordinator's address, like `http://127.0.0.1:7070`.
    pub coordinator: String,
    /// The data folder. Made where it isn't there.
    pub data: PathBuf,
    /// Its name, for people; the machine's where absent.
    pub name: Option<String>,
    /// Labels for placement.
    pub labels: BTreeMap<String, String>,
    /// Runs it takes at once; unlimited where absent.
    pub slots: Option<u32>,
    /// Variables of its own environment that agent files may read.
    pub expose_env: Vec<String>,
    /// Folders beneath which clients may name one for a session to work in.
    pub working_dir_roots: Vec<PathBuf>,
    /// The token to join with, where it has not joined yet. A secret.
    pub join_token: Option<String>,
    /// Join the coordinator's store even if another was joined before. What runs stays,
    /// unclaimed.
    pub adopt_store: bool,
}

impl std::fmt::Debug for RunnerConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RunnerConfig")
            .field("coordinator", &self.coordinator)
            .field("data", &self.data)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// Time a receipt has to reach the coordinator when everything is stopped here.
const DELIVERY: Duration = Duration::from_secs(2);
/// More than any stop takes beyond its graces: the runner's own deadline and its means.
const STOP_ALLOWANCE: Duration = Duration::from_secs(20);

/// A running runner. Dropping it is like killing it: agents live on.
#[derive(Debug)]
pub struct Runner {
    host: Arc<Host>,
    state: watch::Receiver<LinkState>,
    lock: Mutex<Option<File>>,
}

/// Starts a runner. Resolves once the data folder is locked and what was left in it is
/// being taken over; the link comes up in the background, for ever.
pub async fn start(config: RunnerConfig) -> Result<Runner, RunnerError> {
    let (data, named) = (config.data.clone(), config.working_dir_roots.clone());
    let opened = tokio::task::spawn_blocking(move || {
        let folder = Folder::open(&data)?;
        let roots = Roots::open(&named, folder.root())?;
        let lock = folder.lock()?;
        let machine = HostIdentity::current().machine_id;
        let identity = Arc::new(Identity::open(&folder, &machine)?);
        let found = probe::look(identity.id());
        Ok::<_, RunnerError>((Arc::new(folder), roots, lock, identity, found))
    });
    let (folder, roots, lock, identity, found) = unbroken(opened).await?;
    if identity.joined().is_none() && config.join_token.is_none() {
        return Err(RunnerError::NoToken);
    }
    let api = Api::new(&config.coordinator, identity.clone())?;
    let board = Arc::new(Board::default());
    let (online, is_online) = watch::channel(false);
    let (state, is_state) = watch::channel(LinkState::Trying);
    let (uploads, lane) = upload::lane(api.clone(), board.clone(), is_online.clone());
    let (deltas, frames) = delta::lane();
    let parts = Parts {
        config,
        folder: folder.clone(),
        roots,
        identity,
        found,
        api: api.clone(),
        board,
        uploads,
        deltas,
    };
    let host = Arc::new(Host::new(parts));
    let runner = Runner { host: host.clone(), state: is_state, lock: Mutex::new(Some(lock)) };
    let adopted = adopt::all(&host).await.map_err(|source| RunnerError::Io {
        what: "could not read",
        path: folder.runs(),
        source,
    })?;
    if adopted > 0 {
        tracing::info!(adopted, "taking over what an earlier runner has left");
    }
    host.spawn(tidy::run(host.clone()));
    host.spawn(lane.run());
    host.spawn(delta::run(api, frames, is_online));
    host.spawn(Link::new(host.clone(), state, online).run());
    Ok(runner)
}

impl Runner {
    /// Its id, for as long as its data folder lives.
    pub fn id(&self) -> RunnerId {
        self.host.identity.id()
    }

    /// Waits until the coordinator has answered for the first time. An error where it does
    /// not take this runner; the runner goes on trying all the same.
    pub async fn connected(&self) -> Result<(), RunnerError> {
        let mut state = self.state.clone();
        let decided = state.wait_for(|state| *state != LinkState::Trying).await;
        match decided.as_deref() {
            Ok(LinkState::Refused(problem)) => Err(RunnerError::Refused(problem.clone())),
            Ok(_) => Ok(()),
            Err(_) => Err(RunnerError::ShutDown),
        }
    }

    /// How many computes are not proven ended.
    pub fn live(&self) -> usize {
        self.host.board.live_count()
    }

    /// Stops every compute of this runner through its shim, with or without a coordinator,
    /// and gives the receipts. What could not be proven in time is not among them. Nothing
    /// is started by this runner any more.
    pub async fn stop_all(&self, grace: Duration) -> Vec<(SessionId, Receipt)> {
        let millis = u64::try_from(grace.as_millis()).unwrap_or(Ms::MAX.0);
        let stop = StopOrder {
            id: StopId(uuid::Uuid::now_v7()),
            reason: StopReason::Shutdown,
            cancel_grace_ms: Ms(0),
            grace_ms: Ms(millis),
            requested_by: vec!["local".to_owned()],
            attempt: 0,
        };
        self.host.stopping.store(true, Ordering::Release);
        let (watcher, mut receipts) = mpsc::unbounded_channel();
        for inbox in self.host.inboxes() {
            let _ = inbox.send(Event::StopAll { stop: stop.clone(), watcher: watcher.clone() });
        }
        drop(watcher);
        let mut all = Vec::new();
        let collect = async {
            while let Some(receipt) = receipts.recv().await {
                all.push(receipt);
            }
        };
        if tokio::time::timeout(grace + STOP_ALLOWANCE, collect).await.is_err() {
            tracing::warn!(left = self.live(), "not everything was proven stopped in time");
        }
        all.sort_by(|(a, _), (b, _)| a.cmp(b));
        all
    }

    /// Ends the runner. Agents and their shims live on; receipts get a moment to reach the
    /// coordinator.
    pub async fn shutdown(self) {
        if *self.state.borrow() == LinkState::Up {
            let _ = tokio::time::timeout(DELIVERY, self.host.board.settled()).await;
        }
        self.host.cancel.cancel();
        self.host.tasks.close();
        self.host.tasks.wait().await;
        // Not under a shim that was just started and has yet to make its group in there.
        if self.live() == 0 {
            self.host.found.capabilities.remove();
        }
        // Last, so that the next runner of this folder finds nobody at work in it.
        self.lock.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}

impl Drop for Runner {
    fn drop(&mut self) {
        self.host.cancel.cancel();
    }
}
