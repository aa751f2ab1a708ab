//! What the model's state holds.

use std::collections::{BTreeMap, BTreeSet};

use greenroom_core::agent::{AgentPin, Graces};
use greenroom_core::assignment::StopOrder;
use greenroom_core::command::{Create, Now};
use greenroom_core::converge::{Local, LocalCompute};
use greenroom_core::decide::create;
use greenroom_core::fact::Created;
use greenroom_core::receipt::{EndReason, Means};
use greenroom_core::run::RunStatus;
use greenroom_core::session::AgentTraits;
use greenroom_core::*;
use uuid::Uuid;

/// The one clock reading of the model: the core compares no times.
pub fn now() -> Now {
    Now(Timestamp::from_unix_ms(0))
}

pub const RUNNER: RunnerId = RunnerId(Uuid::from_u128(7));

/// The n-th run.
pub fn run(n: usize) -> RunId {
    RunId(Uuid::from_u128(100 + n as u128))
}

/// Which run that was.
pub fn number(run: RunId) -> usize {
    (run.0.as_u128() - 100) as usize
}

/// What is modelled, and how much of it.
#[derive(Clone, Copy)]
pub struct System {
    /// One process serves all runs.
    pub persistent: bool,
    pub budget: Budget,
    pub fences: Fences,
}

/// The runner's three fences.
#[derive(Clone, Copy)]
pub struct Fences {
    /// What is closed is not started.
    pub epoch: bool,
    /// What is closed is known after a restart of the runner.
    pub record: bool,
    /// What is older than what was obeyed is not obeyed.
    pub generation: bool,
}

impl Fences {
    pub const ALL: Self = Self { epoch: true, record: true, generation: true };
}

/// How often each thing may still happen that nobody needs to happen.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Budget {
    pub prompts: u8,
    pub stops: u8,
    pub resumes: u8,
    pub idles: u8,
    pub abandons: u8,
    pub overdues: u8,
    pub silences: u8,
    pub runner_crashes: u8,
    pub shim_crashes: u8,
    pub exits: u8,
    pub deletes: u8,
    pub edits: u8,
}

impl Budget {
    /// Two prompts and nothing else.
    pub const QUIET: Self = Self {
        prompts: 2,
        stops: 1,
        resumes: 0,
        idles: 0,
        abandons: 0,
        overdues: 0,
        silences: 0,
        runner_crashes: 0,
        shim_crashes: 0,
        exits: 0,
        deletes: 0,
        edits: 0,
    };
    /// Two prompts with stop and resume, and what makes their ends hard to know.
    pub const CI: Self = Self {
        resumes: 1,
        runner_crashes: 1,
        shim_crashes: 1,
        abandons: 1,
        overdues: 1,
        ..Self::QUIET
    };
    /// One prompt, and all that can go wrong.
    pub const TROUBLE: Self =
        Self { prompts: 1, stops: 2, silences: 1, exits: 1, runner_crashes: 2, ..Self::CI };
    /// A session whose settings are edited while it works.
    pub const EDITS: Self = Self { edits: 2, runner_crashes: 1, ..Self::QUIET };
    /// A session that is removed while it works.
    pub const REMOVAL: Self = Self {
        prompts: 1,
        deletes: 1,
        abandons: 1,
        overdues: 1,
        runner_crashes: 1,
        shim_crashes: 1,
        ..Self::QUIET
    };
}

/// Everything there is.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct World {
    /// The coordinator's row. A crash of the coordinator loses what was not committed, which
    /// is what this model calls a message that was not delivered; so it is no step of its own.
    pub session: Session,
    /// Journal entries taken from the shim of each epoch that is not settled.
    pub marks: BTreeMap<u32, usize>,
    /// Assignments on their way down. They stay until the runner crashes, so that each may
    /// arrive late, never, or again and again, in any order.
    pub down: Vec<Assignment>,
    pub runner: Runner,
    pub left: Budget,
    pub ghost: Ghost,
}

/// A runner: what is on its disk and what is in its memory.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Runner {
    /// On disk: the highest closed epoch.
    pub floor: Epoch,
    /// In memory: the highest generation obeyed.
    pub seen: Generation,
    /// On disk: the session's files are removed.
    pub removed: bool,
    /// On disk: one folder an epoch.
    pub folders: BTreeMap<u32, Folder>,
}

/// The control folder of a compute, with the processes that go with it.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Folder {
    pub shim: Shim,
    /// Processes of the compute, other than the shim.
    pub agent: bool,
    /// Which edit of the settings it goes by; a shim knows this, and its driver.
    pub settings: u64,
    /// Which edit the runner remembers to have handed over.
    pub told: Option<u64>,
    /// The run handed over last.
    pub handed: Option<RunId>,
    /// How far that one is.
    pub turn: Turn,
    pub stop: Option<StopOrder>,
    /// Durable entries of the shim's stream.
    pub journal: Vec<RecordBody>,
    /// The receipt, in the stream of shim or runner.
    pub receipt: Option<Receipt>,
    /// Recorded as closed: the runner answers for it from now on, with the receipt or with
    /// what it found. That answer may arrive at any time, and any number of times.
    pub closed: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Shim {
    /// Spawned; it has not taken its lock.
    Coming,
    /// Holds its lock.
    Alive,
    /// Ended with a receipt in its journal.
    Ended,
    /// Died. With a control group its tree is ended for certain.
    Crashed { proven: bool },
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Turn {
    #[default]
    Handed,
    Begun,
    Answered,
}

/// What the properties remember; nothing in the system can see it.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct Ghost {
    /// How often each run was given to an agent.
    pub executed: [u8; 2],
    /// Runs whose answer the coordinator has acknowledged.
    pub acknowledged: [bool; 2],
    /// Facts that ended each run.
    pub ended: [Option<RunStatus>; 2],
    /// Facts that ended a run that had ended.
    pub ended_twice: bool,
    /// The highest epoch that a fact has closed.
    pub closed: u32,
    /// A fact closed an epoch that was closed.
    pub closed_twice: bool,
    /// Epochs that a person has vouched for.
    pub vouched: BTreeSet<u32>,
    /// Epochs that were ever wanted down.
    pub wanted_down: BTreeSet<u32>,
    /// The highest epoch whose shim has come up.
    pub started: u32,
    /// A shim came up for an epoch a second time, after a later one, or after its end.
    pub again: bool,
    /// A compute was ended by its supervisor though nobody wanted it down.
    pub unasked: bool,
    /// An epoch called stopped without proof.
    pub unproven_stop: bool,
    /// A run was given back.
    pub requeued: bool,
    /// Which edit each run was dispatched under last.
    pub under: [u64; 2],
    /// A run began under settings that were older than its dispatch.
    pub stale: bool,
    /// A run began under settings that were edited while its compute was up.
    pub edited: bool,
}

impl World {
    pub fn new(system: &System) -> Self {
        let created = Created {
            uid: SessionUid(Uuid::from_u128(1)),
            id: "s".parse().expect("a name"),
            owner: Principal("p".into()),
            user: None,
            shared: false,
            title: None,
            labels: BTreeMap::new(),
            runner_labels: Default::default(),
            workspace: None,
            agent: AgentPin {
                name: "a".parse().expect("a name"),
                version: 1,
                source: "file:a".into(),
                digest: String::new(),
            },
            traits: AgentTraits {
                persistent: system.persistent,
                keeps_leftovers: false,
                graces: Graces::default(),
                cancels: false,
                steers: false,
            },
            agent_policy: Default::default(),
            approvals: Default::default(),
            within: Vec::new(),
            model: None,
            models: Default::default(),
            limits: Limits::default(),
            parent: None,
            parent_id: None,
            depth: 0,
            callback: false,
            forked_from: None,
        };
        let new = Create { created: created.clone(), inherited: Vec::new(), prompt: None };
        let (first, rest) = create(new, now()).expect("created");
        assert!(matches!(first, Fact::Created(_)) && rest.is_empty());
        let mut session = Session::begin(&created, now().0);
        canonicalise(&mut session);
        Self {
            session,
            marks: BTreeMap::new(),
            down: Vec::new(),
            runner: Runner::default(),
            left: system.budget,
            ghost: Ghost::default(),
        }
    }
}

/// Takes away the counters that only ever count, and the words of the last receipt: nothing
/// is decided by them.
pub fn canonicalise(session: &mut Session) {
    session.last_seq = 0;
    session.version = 0;
    if let Some(ended) = &mut session.ended {
        let (epoch, means) = (ended.receipt.epoch, Means::NeverPlaced);
        *ended.receipt = Receipt::without_process(epoch, EndReason::Done, now().0, means, "");
    }
}

impl Runner {
    /// What the runner knows when it decides what to do.
    pub fn local(&self, fences: Fences) -> Local {
        let live = self.folders.iter().rev().find(|(_, folder)| !folder.closed);
        Local {
            floor: if fences.epoch { self.floor } else { Epoch(0) },
            seen: if fences.generation { self.seen } else { Generation(0) },
            live: live.map(|(epoch, folder)| LocalCompute {
                epoch: Epoch(*epoch),
                run: folder.handed,
                stop: folder.stop.clone(),
                cancelled: None,
                answered: Default::default(),
                steered: Default::default(),
                settings: folder.told,
            }),
        }
    }
}

impl Folder {
    /// As a runner makes it, before it spawns the shim.
    pub fn new(settings: Option<u64>) -> Self {
        Self {
            settings: settings.unwrap_or(0),
            told: settings,
            shim: Shim::Coming,
            agent: false,
            handed: None,
            turn: Turn::Handed,
            stop: None,
            journal: Vec::new(),
            receipt: None,
            closed: false,
        }
    }

    /// Something of the compute is alive.
    pub fn lives(&self) -> bool {
        self.shim == Shim::Alive || self.agent
    }
}
