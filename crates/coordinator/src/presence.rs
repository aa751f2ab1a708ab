//! Who is connected: the runners as they are now, and what they have to do.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use greenroom_core::command::labels_fit;
use greenroom_core::fact::Created;
use greenroom_core::{
    AgentSpec, Epoch, FolderPath, Principal, RunnerId, Session, SessionUid, SessionWorkspace,
    StreamId,
};
use greenroom_protocol::link::{ForeignRunner, OpenStream, RunnerInfo};
use greenroom_store::{Candidate, Commit, RunnerRow};
use tokio::sync::watch;

use crate::hub::lock;

/// What a session wants of a runner that has nothing of it yet.
#[derive(Debug, Clone, Default)]
pub struct Wants {
    /// The system whose runners alone can run its agent; none for ours.
    pub system: Option<String>,
    /// Labels the runner must have.
    pub labels: BTreeMap<String, String>,
    /// Whose session it is.
    pub owner: Option<Principal>,
    /// The folder it is to work in, where its client has named one.
    pub folder: Option<FolderPath>,
}

impl Wants {
    /// Of a session of this description.
    pub fn of(spec: &AgentSpec, session: &Session) -> Self {
        let own = (&session.runner_labels, &session.owner, &session.workspace);
        Self::from_parts(spec, own)
    }

    /// Of a session that is about to be created.
    pub fn of_new(spec: &AgentSpec, created: &Created) -> Self {
        let own = (&created.runner_labels, &created.owner, &created.workspace);
        Self::from_parts(spec, own)
    }

    fn from_parts(
        spec: &AgentSpec,
        (own, owner, workspace): (&BTreeMap<String, String>, &Principal, &Option<SessionWorkspace>),
    ) -> Self {
        let mut labels = own.clone();
        // What the description asks for goes before what the session adds.
        labels.extend(spec.runner_labels.clone());
        let system = spec.driver.system().map(str::to_owned);
        let folder = workspace.as_ref().map(|from| from.path().clone());
        Self { system, labels, owner: Some(owner.clone()), folder }
    }

    /// Whether a runner's operator allows the folder, where one is named.
    fn is_allowed(&self, info: &RunnerInfo) -> bool {
        let beneath =
            |folder: &FolderPath| info.working_dir_roots.iter().any(|root| folder.is_beneath(root));
        self.folder.as_ref().is_none_or(beneath)
    }

    fn fits(&self, info: &RunnerInfo) -> bool {
        let foreign = info.foreign.as_ref();
        let tagged =
            || self.labels.keys().any(|key| key.starts_with(TAG) && info.labels.contains_key(key));
        self.system.as_deref() == foreign.map(|foreign| foreign.system.as_str())
            && labels_fit(&self.labels, &info.labels)
            && self.is_allowed(info)
            && foreign.is_none_or(|foreign| {
                let owner = self.owner.as_ref().map(|owner| owner.0.as_str());
                foreign.registered
                    && (!foreign.only_tagged || tagged())
                    && foreign.only_of.as_deref().is_none_or(|only| owner == Some(only))
            })
    }
}

/// What the label of a tag begins with.
pub(crate) const TAG: &str = "tag:";
/// A runner of another system says that it lives once in so many of our time limits.
const FOREIGN_PATIENCE: u32 = 6;

/// An undialled transfer is named again after this time, in case the reply was lost.
const OPEN_AGAIN: Duration = Duration::from_secs(3);

/// All runners of this process's time.
pub struct Runners {
    all: Mutex<HashMap<RunnerId, Arc<Runner>>>,
    slots: Mutex<Slots>,
    /// When this coordinator started: nobody is called silent before one time limit later.
    pub started: Instant,
}

/// Who has a slot of which runner. For the order of candidates; the commit counts itself.
#[derive(Default)]
struct Slots {
    by_session: HashMap<SessionUid, RunnerId>,
    used: HashMap<RunnerId, u32>,
}

impl Slots {
    /// Notes where a session is. Answers the runner that has a slot more than before.
    fn note(&mut self, uid: SessionUid, slot: Option<RunnerId>) -> Option<RunnerId> {
        let before = match slot {
            Some(runner) => self.by_session.insert(uid, runner),
            None => self.by_session.remove(&uid),
        };
        if before == slot {
            return None;
        }
        if let Some(runner) = slot {
            *self.used.entry(runner).or_default() += 1;
        }
        if let Some(count) = before.and_then(|runner| self.used.get_mut(&runner)) {
            *count = count.saturating_sub(1);
        }
        before
    }
}

/// A runner as it is now.
pub struct Runner {
    /// Which.
    pub id: RunnerId,
    wake: watch::Sender<()>,
    state: Mutex<State>,
}

struct State {
    info: RunnerInfo,
    /// An operator has said so.
    draining: bool,
    /// The runner says so itself.
    says_draining: bool,
    /// What the runner was told of `draining` last.
    told_draining: bool,
    instance: u64,
    last_seen: Option<Instant>,
    connected: bool,
    /// It has said how far its sessions have come on it. A store is restored only while no
    /// coordinator serves it, so once is enough.
    known: bool,
    /// Computes whose sessions this store does not know, by the highest epoch.
    unclaimed: BTreeMap<SessionUid, Epoch>,
    opens: Vec<Open>,
    removed: bool,
}

struct Open {
    open: OpenStream,
    said: Option<Instant>,
}

impl Runners {
    /// The runners the store knows, none connected yet.
    pub fn new(rows: Vec<RunnerRow>) -> Self {
        let runners =
            Self { all: Mutex::default(), slots: Mutex::default(), started: Instant::now() };
        for row in rows {
            runners.join(&row);
        }
        runners
    }

    /// The runner of this row, known from now on.
    pub fn join(&self, row: &RunnerRow) -> Arc<Runner> {
        let mut all = lock(&self.all);
        let runner = all.entry(row.id).or_insert_with(|| {
            Arc::new(Runner {
                id: row.id,
                wake: watch::Sender::new(()),
                state: Mutex::new(State {
                    info: row.info.clone(),
                    draining: row.draining,
                    says_draining: false,
                    told_draining: false,
                    instance: row.instance,
                    last_seen: None,
                    connected: false,
                    known: false,
                    unclaimed: BTreeMap::new(),
                    opens: Vec::new(),
                    removed: false,
                }),
            })
        });
        Arc::clone(runner)
    }

    /// A runner, where it is known.
    pub fn get(&self, id: RunnerId) -> Option<Arc<Runner>> {
        lock(&self.all).get(&id).cloned()
    }

    /// All of them.
    pub fn list(&self) -> Vec<Arc<Runner>> {
        lock(&self.all).values().cloned().collect()
    }

    /// Forgets a runner, and wakes whoever waits for it.
    pub fn leave(&self, id: RunnerId) {
        let gone = lock(&self.all).remove(&id);
        if let Some(runner) = gone {
            lock(&runner.state).removed = true;
            runner.wake();
        }
    }

    /// Notes a commit: wakes the runners it concerns. Answers whether a slot became free.
    pub fn note(&self, commit: &Commit) -> bool {
        for id in &commit.assigned {
            if let Some(runner) = self.get(*id) {
                runner.wake();
            }
        }
        self.note_slot(&commit.session).is_some()
    }

    /// Notes which slot a session has.
    pub fn note_slot(&self, session: &Session) -> Option<RunnerId> {
        lock(&self.slots).note(session.uid, session.slot())
    }

    /// Whether any runner that is known, connected or not, allows the folder that is named.
    pub fn allow(&self, wants: &Wants) -> bool {
        let foreign = wants.system.is_some();
        wants.folder.is_none()
            || !foreign
                && self.list().iter().any(|runner| wants.is_allowed(&lock(&runner.state).info))
    }

    /// Places a session could take, the best first: at home where it has one, else on the
    /// connected runner that fits and has the least to do.
    pub fn candidates(&self, home: Option<RunnerId>, wants: &Wants) -> Vec<Candidate> {
        if let Some(home) = home {
            return self.get(home).and_then(|runner| runner.candidate()).into_iter().collect();
        }
        let mut fitting: Vec<Candidate> = self
            .list()
            .iter()
            .filter(|runner| wants.fits(&lock(&runner.state).info))
            .filter_map(|runner| runner.candidate())
            .collect();
        let slots = lock(&self.slots);
        fitting.sort_by_key(|candidate| {
            let used = slots.used.get(&candidate.runner).copied().unwrap_or(0);
            let full = candidate.slots.is_some_and(|all| used >= all);
            (full, used, candidate.runner)
        });
        fitting
    }
}

impl State {
    fn is_open(&self) -> bool {
        self.connected && !self.draining && !self.says_draining && !self.removed
    }
}

impl Runner {
    fn candidate(&self) -> Option<Candidate> {
        let state = lock(&self.state);
        state.is_open().then_some(Candidate { runner: self.id, slots: state.info.slots })
    }

    /// Wakes its long poll.
    pub fn wake(&self) {
        self.wake.send_replace(());
    }

    /// Hears of wake-ups from now on.
    pub fn wakes(&self) -> watch::Receiver<()> {
        let mut wakes = self.wake.subscribe();
        wakes.mark_unchanged();
        wakes
    }

    /// Notes that it has spoken. Answers whether it was not connected before.
    pub fn seen(&self) -> bool {
        let mut state = lock(&self.state);
        state.last_seen = Some(Instant::now());
        !std::mem::replace(&mut state.connected, true)
    }

    /// What it says of itself.
    pub fn info(&self) -> RunnerInfo {
        lock(&self.state).info.clone()
    }

    /// What it has said of itself as a runner of another system, where it is one.
    pub fn foreign(&self) -> Option<ForeignRunner> {
        lock(&self.state).info.foreign.clone()
    }

    /// For how long it has been silent, where it has spoken since the start.
    pub fn silence(&self) -> Option<Duration> {
        lock(&self.state).last_seen.map(|seen| seen.elapsed())
    }

    /// It has said that it goes.
    pub fn goes(&self) {
        lock(&self.state).connected = false;
    }

    /// Notes that its time limit has passed, if it has. Answers whether that is news.
    pub fn silent_after(&self, ttl: Duration, started: Instant) -> bool {
        let mut state = lock(&self.state);
        let ttl = if state.info.foreign.is_some() { ttl * FOREIGN_PATIENCE } else { ttl };
        let since = state.last_seen.unwrap_or(started).max(started);
        if since.elapsed() < ttl {
            return false;
        }
        // One that never spoke is news once, and is told apart by its own clock.
        let news = state.connected || state.last_seen.is_none();
        state.connected = false;
        if news {
            state.last_seen = Some(since);
        }
        news
    }

    /// Whether it has spoken within its time limit.
    pub fn is_connected(&self) -> bool {
        let state = lock(&self.state);
        state.connected && !state.removed
    }

    /// Whether it can be asked for files as they were at ends of runs.
    pub fn keeps_files(&self) -> bool {
        lock(&self.state).info.keeps_files
    }

    /// Whether it has said how far its sessions have come on it.
    pub fn is_known(&self) -> bool {
        lock(&self.state).known
    }

    /// It has said how far its sessions have come on it.
    pub fn set_known(&self) {
        lock(&self.state).known = true;
    }

    /// Whether it was removed.
    pub fn is_removed(&self) -> bool {
        lock(&self.state).removed
    }

    /// Whether it takes nothing new.
    pub fn is_draining(&self) -> bool {
        let state = lock(&self.state);
        state.draining || state.says_draining
    }

    /// An operator says whether it takes anything new.
    pub fn set_draining(&self, draining: bool) {
        lock(&self.state).draining = draining;
    }

    /// The runner says whether it takes anything new. Answers whether that is news.
    pub fn says_draining(&self, draining: bool) -> bool {
        std::mem::replace(&mut lock(&self.state).says_draining, draining) != draining
    }

    /// What an operator has said of draining, and whether the runner does not know it yet.
    pub fn drain(&self) -> (bool, bool) {
        let state = lock(&self.state);
        (state.draining, state.draining != state.told_draining)
    }

    /// Notes what the runner is told of draining.
    pub fn told_drain(&self, draining: bool) {
        lock(&self.state).told_draining = draining;
    }

    /// Checks and keeps the start counter. `None` for that of an older process, else whether
    /// it is a newer one.
    pub fn instance(&self, instance: u64) -> Option<bool> {
        let mut state = lock(&self.state);
        if instance < state.instance {
            return None;
        }
        let newer = instance > state.instance;
        state.instance = instance;
        if newer {
            state.told_draining = false;
        }
        Some(newer)
    }

    /// Keeps what it says of itself.
    pub fn set_info(&self, info: RunnerInfo) {
        lock(&self.state).info = info;
    }

    /// Keeps which computes it has that the store does not know. `full` forgets the others.
    pub fn set_unclaimed(&self, full: bool, found: &[(SessionUid, Epoch)], known: &[SessionUid]) {
        let mut state = lock(&self.state);
        if full {
            state.unclaimed.clear();
        }
        for uid in known {
            state.unclaimed.remove(uid);
        }
        state.unclaimed.extend(found.iter().copied());
    }

    /// Computes it has that the store does not know.
    pub fn unclaimed(&self) -> Vec<(SessionUid, Epoch)> {
        lock(&self.state).unclaimed.iter().map(|(uid, epoch)| (*uid, *epoch)).collect()
    }

    /// Asks it to dial a transfer.
    pub fn open(&self, open: OpenStream) {
        lock(&self.state).opens.push(Open { open, said: None });
        self.wake();
    }

    /// A transfer was dialled, or is not wanted any more.
    pub fn close_open(&self, stream: StreamId) {
        lock(&self.state).opens.retain(|open| open.open.stream != stream);
    }

    /// Transfers to name in a reply now.
    pub fn take_opens(&self) -> Vec<OpenStream> {
        let now = Instant::now();
        let mut state = lock(&self.state);
        let due = state
            .opens
            .iter_mut()
            .filter(|open| open.said.is_none_or(|said| now - said >= OPEN_AGAIN));
        due.map(|open| {
            open.said = Some(now);
            open.open.clone()
        })
        .collect()
    }
}
