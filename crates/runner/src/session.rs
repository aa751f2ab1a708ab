//! One task for each session with something to do here. It alone decides about the
//! session's computes, one event after the other, so that a stop of one session never
//! waits behind anything of another.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use greenroom_core::approval::Answer;
use greenroom_core::assignment::StopOrder;
use greenroom_core::converge::{Action, Local, LocalCompute};
use greenroom_core::{
    ApprovalId, Assignment, Epoch, Ms, Receipt, RunId, SessionId, SessionUid, Settings, Timestamp,
    converge,
};
use greenroom_protocol::link::ComputeBody;
use greenroom_shim::control::Control;
use greenroom_shim::spec::ShimSpec;
use greenroom_shim::wire::{RunInput, ToShim};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::adopt::Left;
use crate::floor::Floor;
use crate::host::Host;
use crate::kept::Awaited;
use crate::shims::{Met, Talk};
use crate::tail::Durable;
use crate::workspace::Source;

/// Where events for a session go.
pub(crate) type Inbox = mpsc::UnboundedSender<Event>;
/// Where receipts go that somebody on this machine waits for.
pub(crate) type Watcher = mpsc::UnboundedSender<(SessionId, Receipt)>;

/// Something the disk refused is tried again after this.
pub(crate) const RETRY: Duration = Duration::from_secs(1);

/// What can happen to a session.
#[derive(Debug)]
pub(crate) enum Event {
    /// The coordinator says what should be.
    Orders(Vec<Assignment>),
    /// The coordinator has another history: what it said before is void.
    NewEra,
    /// The body of a compute came, and its control folder was made.
    Body { epoch: Epoch, body: Box<ComputeBody>, from: Source, made: std::io::Result<()> },
    /// The body of a run came.
    Input { epoch: Epoch, run: RunId, input: RunInput },
    /// An answer for the agent came, fetched while the settings were those of this edit.
    Answer { epoch: Epoch, edit: Option<u64>, id: ApprovalId, answer: Box<Answer> },
    /// Workspace and environment are there, or cannot be.
    Prepared { epoch: Epoch, start: ToShim },
    /// The text of a run that is to become part of another.
    Steer { epoch: Epoch, run: RunId, input: RunInput },
    /// The settings of its session, fetched for this edit.
    Settings { epoch: Epoch, edit: u64, settings: Box<Settings> },
    /// The shim answers.
    Met { epoch: Epoch, met: Box<Met> },
    /// There is no shim to answer.
    NoShim { epoch: Epoch },
    /// A conversation with the shim is over.
    TalkEnded { epoch: Epoch, talk: u64 },
    /// A receipt is on disk, in the journal or as the shim says.
    ReceiptSeen { epoch: Epoch, receipt: Box<Receipt> },
    /// The shim cannot prove the end, and goes on trying.
    Unproven { epoch: Epoch, evidence: String },
    /// The coordinator has everything of the journals of a closed compute.
    Uploaded { epoch: Epoch },
    /// The floor was put on disk, or could not be.
    Recorded(std::io::Result<()>),
    /// A run has its answer, or has ended without.
    RunEnded { epoch: Epoch, run: RunId, at: Timestamp },
    /// What there was to be kept of a run's files is kept, or not.
    FilesKept,
    /// Somebody on this machine wants everything to stop.
    StopAll { stop: StopOrder, watcher: Watcher },
}

/// A session of this runner.
pub(crate) struct Session {
    pub(crate) host: Arc<Host>,
    pub(crate) uid: SessionUid,
    pub(crate) inbox: Inbox,
    /// Highest epoch known as closed.
    pub(crate) floor: Epoch,
    /// The same on disk. As long as it is behind, a folder says for each epoch above it
    /// that it is closed, and stays.
    pub(crate) recorded: Floor,
    /// The latest order for each epoch: what was obeyed.
    pub(crate) orders: BTreeMap<Epoch, Assignment>,
    /// Computes that are not closed. More than one only where two were found at the start.
    pub(crate) computes: BTreeMap<Epoch, Compute>,
    /// Computes that are closed, as long as something of them is needed.
    pub(crate) ended: BTreeMap<Epoch, Ended>,
    pub(crate) watchers: Vec<Watcher>,
    /// The floor is being put on disk.
    pub(crate) recording: bool,
    /// Something is to be tried again.
    pub(crate) retry_at: Option<Instant>,
    pub(crate) talks: u64,
}

/// A compute that is not closed.
pub(crate) struct Compute {
    pub(crate) control: Control,
    pub(crate) stage: Stage,
    pub(crate) run: Run,
    pub(crate) stop: Option<StopOrder>,
    /// The run whose turn it was told to end, and how long that may take.
    pub(crate) cancelled: Option<(RunId, Ms)>,
    /// Answers for its agent; absent as long as they are being fetched. Each was asked for
    /// after the settings came that are said before it.
    pub(crate) answers: BTreeMap<ApprovalId, Option<Answer>>,
    /// Runs that are to become part of another, in order.
    pub(crate) steers: Vec<Steer>,
    pub(crate) settings: Edited,
    pub(crate) force: Option<Force>,
    /// The last run whose end was seen while it lived.
    pub(crate) over: Option<RunId>,
    /// The files of that run are to be kept when its compute is closed.
    pub(crate) awaited: Option<Awaited>,
    /// Ends what brings it up: body, workspace, run.
    pub(crate) starting: CancellationToken,
    /// Ends whatever is done for it.
    pub(crate) efforts: CancellationToken,
    pub(crate) _efforts_guard: DropGuard,
}

/// How far a compute has come.
pub(crate) enum Stage {
    /// Its body is being fetched. Nothing of it is on disk.
    Fetching,
    /// It has a spec, and a shim is or was started for it.
    Supervised(Box<Supervised>),
}

/// A compute with a shim.
pub(crate) struct Supervised {
    /// What the shim was told, if that reads.
    pub(crate) spec: Option<ShimSpec>,
    pub(crate) durable: Durable,
    pub(crate) talk: Option<Talk>,
    /// The shim has answered at least once.
    pub(crate) met: bool,
    pub(crate) start: Start,
    /// What the shim found when it could not prove the end.
    pub(crate) evidence: Option<String>,
}

/// The agent's environment on its way to the shim.
pub(crate) enum Start {
    /// Not being prepared: said, or not known to be needed.
    Rest,
    /// Being prepared.
    Preparing,
    /// To be said as soon as the shim answers.
    Ready(ToShim),
}

/// The run on its way to the shim.
#[derive(Debug, PartialEq)]
pub(crate) enum Run {
    None,
    Fetching(RunId),
    Ready(RunId, RunInput),
    Given(RunId),
}

impl Run {
    pub(crate) fn id(&self) -> Option<RunId> {
        match self {
            Self::None => None,
            Self::Fetching(run) | Self::Ready(run, _) | Self::Given(run) => Some(*run),
        }
    }
}

/// A run that is to become part of another.
pub(crate) struct Steer {
    pub(crate) run: RunId,
    pub(crate) into: RunId,
    /// Absent as long as it is being fetched.
    pub(crate) input: Option<RunInput>,
}

/// The settings of a session, on their way to the shim.
#[derive(Default)]
pub(crate) struct Edited {
    /// Which edit the compute is told of, or began with.
    pub(crate) edit: Option<u64>,
    /// They are being fetched. What was asked or answered since waits for them.
    pub(crate) fetching: bool,
    /// The last that were fetched.
    pub(crate) last: Option<Box<Settings>>,
}

/// The runner's own deadline for a stop.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Force {
    pub(crate) at: Instant,
    /// The control group was killed already; next is the shim.
    pub(crate) killed: bool,
}

/// A compute that is closed.
#[derive(Debug)]
pub(crate) struct Ended {
    /// The receipt, or what was found where there is none.
    pub(crate) how: Result<Box<Receipt>, String>,
    /// The coordinator has all of its journals.
    pub(crate) uploaded: bool,
    /// The coordinator needs nothing of it any more.
    pub(crate) forget: bool,
}

/// Begins the task of a session, with what was left of it, if anything.
pub(crate) fn spawn(host: Arc<Host>, uid: SessionUid, left: Option<Left>) -> Inbox {
    let (inbox, events) = mpsc::unbounded_channel();
    let task = {
        let (host, inbox) = (host.clone(), inbox.clone());
        async move {
            let recorded = read_floor(&host, uid).await;
            let session = Session {
                host,
                uid,
                inbox,
                floor: recorded.on_disk(),
                recorded,
                orders: BTreeMap::new(),
                computes: BTreeMap::new(),
                ended: BTreeMap::new(),
                watchers: Vec::new(),
                recording: false,
                retry_at: None,
                talks: 0,
            };
            session.run(events, left).await;
        }
    };
    host.spawn(task);
    inbox
}

/// An unreadable floor must not look like none: everything would be started again.
async fn read_floor(host: &Host, uid: SessionUid) -> Floor {
    loop {
        let folder = host.folder.clone();
        match host.blocking(move || Floor::read(folder, uid)).await {
            Ok(floor) => return floor,
            Err(error) => {
                tracing::error!(%uid, %error, "the session's floor cannot be read; nothing of it is started");
                tokio::time::sleep(RETRY).await;
            }
        }
    }
}

impl Session {
    async fn run(mut self, mut events: mpsc::UnboundedReceiver<Event>, left: Option<Left>) {
        if let Some(left) = left {
            self.adopt(left).await;
        }
        loop {
            if self.is_idle() && self.host.retire(self.uid, &events) {
                return;
            }
            let wake = self.next_wake();
            tokio::select! {
                biased;
                event = events.recv() => match event {
                    Some(event) => self.hear(event).await,
                    None => return,
                },
                () = sleep_until(wake) => self.wake().await,
            }
        }
    }

    fn is_idle(&self) -> bool {
        self.computes.is_empty() && self.ended.is_empty() && self.retry_at.is_none()
    }

    fn next_wake(&self) -> Option<Instant> {
        let forces = self.computes.values().filter_map(|compute| Some(compute.force?.at));
        forces.chain(self.retry_at).min()
    }

    async fn hear(&mut self, event: Event) {
        match event {
            Event::Orders(orders) => self.obey(orders).await,
            Event::NewEra => self.new_era(),
            Event::Body { epoch, body, from, made } => {
                self.body(epoch, *body, from, made).await;
            }
            Event::Input { epoch, run, input } => self.input(epoch, run, input),
            Event::Answer { epoch, edit, id, answer } => self.answer(epoch, edit, id, *answer),
            Event::Steer { epoch, run, input } => self.steer(epoch, run, input),
            Event::Settings { epoch, edit, settings } => self.settings(epoch, edit, settings),
            Event::Prepared { epoch, start } => self.prepared(epoch, start),
            Event::Met { epoch, met } => self.met(epoch, *met).await,
            Event::NoShim { epoch } => self.settle(epoch).await,
            Event::TalkEnded { epoch, talk } => self.talk_ended(epoch, talk).await,
            Event::ReceiptSeen { epoch, receipt } => self.close(epoch, receipt).await,
            Event::Unproven { epoch, evidence } => self.in_doubt(epoch, evidence),
            Event::Uploaded { epoch } => self.uploaded(epoch),
            Event::Recorded(done) => self.floor_recorded(done),
            Event::RunEnded { epoch, run, at } => self.run_ended(epoch, run, at),
            Event::FilesKept => self.drop_what_is_done(),
            Event::StopAll { stop, watcher } => self.stop_all(stop, watcher).await,
        }
    }

    /// Edits are counted anew there, too, and what was answered may not have been.
    fn new_era(&mut self) {
        self.orders.clear();
        for compute in self.computes.values_mut() {
            (compute.settings.edit, compute.settings.fetching) = (None, false);
            compute.answers.clear();
        }
    }

    async fn wake(&mut self) {
        let now = Instant::now();
        let due = |force: &Option<Force>| force.is_some_and(|force| force.at <= now);
        let late: Vec<Epoch> = self
            .computes
            .iter()
            .filter(|(_, compute)| due(&compute.force))
            .map(|(epoch, _)| *epoch)
            .collect();
        for epoch in late {
            self.use_force(epoch).await;
        }
        if self.retry_at.is_some_and(|at| at <= now) {
            self.retry_at = None;
            self.try_again().await;
        }
    }

    /// What the disk or the machine refused is tried again soon.
    pub(crate) fn retry_soon(&mut self) {
        self.retry_at.get_or_insert(Instant::now() + RETRY);
    }

    async fn try_again(&mut self) {
        self.record_floor();
        let epochs: Vec<Epoch> = self.computes.keys().copied().collect();
        for epoch in epochs {
            let shim = self.computes.get_mut(&epoch).and_then(|compute| compute.supervised());
            if shim.is_some_and(|shim| shim.talk.is_none()) {
                self.settle(epoch).await;
            }
        }
        self.drop_what_is_done();
        self.converge_all().await;
    }

    async fn obey(&mut self, orders: Vec<Assignment>) {
        self.host.uploads.claimed(self.uid);
        for order in orders {
            let epoch = order.epoch;
            let seen = self.orders.get(&epoch).map(|seen| seen.generation);
            if seen.is_some_and(|seen| order.generation < seen) {
                continue;
            }
            let generation = order.generation;
            self.orders.insert(epoch, order);
            self.converge(epoch, true).await;
            self.host.board.reflects(self.uid, epoch, generation);
        }
    }

    pub(crate) async fn converge_all(&mut self) {
        let epochs: Vec<Epoch> = self.orders.keys().copied().collect();
        for epoch in epochs {
            self.converge(epoch, false).await;
        }
    }

    fn local(&self, epoch: Epoch) -> Local {
        let any = || self.computes.iter().next();
        let live = self.computes.get_key_value(&epoch).or_else(any);
        Local {
            floor: self.floor,
            // Each epoch has its own fence: an order for one says nothing about another.
            seen: self.orders.get(&epoch).map(|order| order.generation).unwrap_or_default(),
            live: live.map(|(epoch, compute)| LocalCompute {
                epoch: *epoch,
                run: compute.run.id(),
                stop: compute.stop.clone(),
                cancelled: compute.cancelled.map(|(run, _)| run),
                answered: compute.answers.keys().copied().collect(),
                steered: compute.steers.iter().map(|steer| steer.run).collect(),
                settings: compute.settings.edit,
            }),
        }
    }

    /// Does what the latest order for an epoch asks for. `fresh`: it has just come, and what
    /// it asks is answered again.
    async fn converge(&mut self, epoch: Epoch, fresh: bool) {
        // A start is followed by its run, and that by what was decided about it.
        for _ in 0..100 {
            let Some(order) = self.orders.get(&epoch) else { return };
            let action = converge(&self.local(epoch), order);
            match action {
                Action::Nothing => return,
                Action::Start { .. } if self.host.stopping.load(Ordering::Acquire) => return,
                Action::Start { epoch, settings } => self.start(epoch, settings),
                Action::HandSettings { settings } => self.hand_settings(epoch, settings),
                Action::HandRun { run } => self.hand_run(epoch, run),
                Action::Cancel { run, grace } => self.cancel(epoch, run, grace),
                Action::HandAnswer { id } => self.hand_answer(epoch, id),
                Action::HandSteer { run, into } => self.hand_steer(epoch, run, into),
                Action::Stop { stop } => self.stop(epoch, stop).await,
                Action::CloseUnstarted { epoch, stop } => {
                    return self.close_unstarted(epoch, Err(stop)).await;
                }
                Action::AnswerClosed { epoch } => {
                    if fresh {
                        self.answer_closed(epoch).await;
                    }
                    return;
                }
                Action::Forget { epoch } => return self.forget_through(epoch),
                Action::RemoveFiles => return self.remove_files().await,
            }
        }
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
