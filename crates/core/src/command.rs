//! Commands: wishes and reports, before anything is decided about them.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::approval::Answer;
use crate::fact::{AgentChanged, Changes, Output};
use crate::ids::*;
use crate::receipt::{Receipt, StopReason};
use crate::record::{Record, RunError, RunFiles};
use crate::run::{PendingRun, RunStatus};
use crate::session::Blocked;
use crate::value::{Ms, Timestamp};

/// Who asks, and whether it is a person. Only a person's prompt lifts a hold.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Actor {
    /// Name of the principal, as it is shown.
    pub name: String,
    /// A person or a program that acts for one, as opposed to an agent or Greenroom itself.
    pub person: bool,
}

impl Actor {
    /// A person, or a program that acts for one.
    pub fn person(name: impl Into<String>) -> Self {
        Self { name: name.into(), person: true }
    }

    /// An agent, or Greenroom itself.
    pub fn machine(name: impl Into<String>) -> Self {
        Self { name: name.into(), person: false }
    }
}

/// What a run asks.
#[derive(Debug, Clone, PartialEq)]
pub enum Asks {
    /// Text.
    Prompt(String),
    /// A JSON document.
    Input(Value),
}

/// Why a session expires.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expiry {
    /// Its time to live has passed.
    Ttl,
    /// It was not used for too long. One that is used meanwhile does not expire.
    Unused {
        /// When it was last used.
        since: Timestamp,
    },
}

/// What is asked of a session, or reported about it.
#[derive(Debug, Clone, PartialEq)]
pub enum Command {
    /// Change title, labels, limits, sharing.
    Update(Changes),
    /// The next compute is to be of the description that the agent's source has now.
    Rebind(Rebind),
    /// Accept a run.
    Prompt(Prompt),
    /// A place is free: take it, if one is still needed. Refused as `NotNeeded` otherwise.
    Grant {
        /// Whose place.
        runner: RunnerId,
    },
    /// No place is free; say why the session waits.
    Block(Blocked),
    /// End the compute, or keep what waits from starting one.
    Stop(Stop),
    /// End one run; the queue goes on.
    StopRun {
        /// Which.
        run: RunId,
        /// Identity for the stop, should the compute have to end for it.
        stop: StopId,
        /// Who asks.
        by: Actor,
        /// Time from the first SIGTERM to the kill; the agent's own where absent.
        grace: Option<Ms>,
    },
    /// Answer what the agent asked. Once.
    Answer {
        /// What.
        id: ApprovalId,
        /// How.
        answer: Answer,
        /// Who.
        by: Actor,
    },
    /// Take back a run that was not dispatched.
    Withdraw {
        /// Which.
        run: RunId,
        /// Who asks.
        by: Actor,
    },
    /// Say something else in a run that was not dispatched, or give it another place.
    Revise {
        /// Which.
        run: RunId,
        /// What it asks now, where that is to change.
        asks: Option<Asks>,
        /// How many other runs wait before it, where that is to change. Beyond the end is last.
        position: Option<u32>,
        /// Who asks.
        by: Actor,
    },
    /// Lift the hold; bring a persistent agent up.
    Resume {
        /// Who asks.
        by: Actor,
    },
    /// Close the epoch by a person's word.
    Abandon {
        /// Who says so.
        by: Actor,
        /// Why they say so.
        reason: String,
    },
    /// Stop, then remove everything.
    Delete {
        /// Identity for the stop.
        stop: StopId,
        /// Who asks.
        by: Actor,
    },
    /// Its time to live has passed, or it was not used for too long.
    Expire {
        /// Identity for the stop.
        stop: StopId,
        /// Which of the two.
        why: Expiry,
    },
    /// The runner says that the files are gone, or no runner ever had any.
    FilesGone,
    /// Its home runner was removed by force: its workspace is lost.
    HomeLost {
        /// The runner.
        runner: RunnerId,
        /// Who removed it.
        by: Actor,
    },
    /// A stop's deadline has passed.
    StopOverdue {
        /// Of which compute.
        epoch: Epoch,
        /// Of which try.
        attempt: u32,
    },
    /// Journal records, in the order of their stream.
    Records(Vec<Record>),
    /// A receipt that came ahead of its journal.
    Receipt(Box<Receipt>),
    /// The runner cannot prove that a compute has ended.
    Unproven {
        /// Which.
        epoch: Epoch,
        /// What was found.
        evidence: String,
    },
    /// The runner has closed this epoch, or a later one, before, and holds no receipt of it.
    Fenced {
        /// The epoch it was told to start.
        epoch: Epoch,
        /// The highest epoch it has closed.
        floor: Epoch,
        /// Which runner.
        runner: RunnerId,
    },
    /// The runner has closed this epoch; it may be one that the log has never heard of.
    EpochsKnown {
        /// The highest epoch it has closed.
        floor: Epoch,
        /// Which runner.
        runner: RunnerId,
    },
    /// The runner has a live compute that is newer than the log.
    Adopt {
        /// Its epoch.
        epoch: Epoch,
        /// The runner.
        runner: RunnerId,
    },
    /// Journal entries the runner no longer has.
    Lost {
        /// Of which compute.
        epoch: Epoch,
        /// First index.
        from: u64,
        /// Last index.
        to: u64,
    },
    /// The runner says what it kept of the files at the end of a run.
    RunFiles {
        /// The run. It has ended, and nothing was said of its files yet.
        run: RunId,
        /// What was kept.
        files: RunFiles,
    },
    /// The runner of its compute has been silent for its whole time limit.
    RunnerSilent {
        /// Which runner.
        runner: RunnerId,
    },
    /// The runner of its compute has spoken again.
    RunnerSeen {
        /// Which runner.
        runner: RunnerId,
    },
    /// A session of its agent creates a child.
    SpawnChild {
        /// The child.
        child: SessionUid,
        /// Its name.
        id: SessionId,
        /// Its agent.
        agent: AgentName,
        /// How far and wide a tree may grow.
        bounds: TreeBounds,
    },
    /// A child is removed.
    ChildRemoved {
        /// The child.
        child: SessionUid,
    },
    /// A run of a child has ended; tell the agent by a run of its own.
    ChildEnded {
        /// The child.
        child: SessionUid,
        /// Its name.
        id: SessionId,
        /// Its run.
        run: RunId,
        /// How that ended.
        status: RunStatus,
        /// The run that carries the news.
        as_run: RunId,
        /// What it says.
        prompt: String,
    },
    /// Runs of children have ended; tell the agent of all of them by one run of its own.
    ChildrenEnded {
        /// What has ended.
        ended: Vec<ChildEnd>,
        /// The run that carries the news.
        as_run: RunId,
        /// What it says.
        prompt: String,
    },
    /// A run that waits has waited too long.
    GiveUp {
        /// Which.
        run: RunId,
        /// Why.
        error: RunError,
    },
    /// Something said in the session by Greenroom itself.
    Say(Output),
}

/// A run of a child that has ended.
#[derive(Debug, Clone, PartialEq)]
pub struct ChildEnd {
    /// The child.
    pub child: SessionUid,
    /// Its name.
    pub id: SessionId,
    /// Its run.
    pub run: RunId,
    /// How that ended.
    pub status: RunStatus,
}

/// What has become of the source of a session's agent.
#[derive(Debug, Clone, PartialEq)]
pub enum Rebind {
    /// It has this description. A compute that is up goes on with the one it has.
    Follow(Box<AgentChanged>),
    /// A person has chosen this one; refused while a compute is up.
    Choose(Box<AgentChanged>),
    /// It is not known which it is. Refused, unless a compute is up, which has its own.
    Unresolved,
}

/// A run to accept.
#[derive(Debug, Clone, PartialEq)]
pub struct Prompt {
    /// Its identity.
    pub run: PendingRun,
    /// What it asks, as text.
    pub prompt: Option<String>,
    /// What it asks, as a document.
    pub input: Option<Value>,
    /// Who asks.
    pub by: Actor,
    /// What happens when the session is busy.
    pub mode: Mode,
    /// Lift a hold even while the stop is under way.
    pub resume: bool,
    /// Go to the head of the queue.
    pub first: bool,
    /// Identity for the stop of the run it interrupts.
    pub stop: StopId,
}

/// What a prompt does when the session is busy.
#[derive(
    Debug,
    Clone,
    Copy,
    Default,
    PartialEq,
    Eq,
    serde::Serialize,
    serde::Deserialize,
    utoipa::ToSchema,
)]
#[serde(rename_all = "snake_case")]
#[schema(as = RunMode)]
pub enum Mode {
    /// Wait in line.
    #[default]
    Enqueue,
    /// Stop the run in progress and go first.
    Interrupt,
    /// Be refused.
    Reject,
    /// Become part of the run in progress, where there is one.
    Steer,
}

/// A stop to decide on.
#[derive(Debug, Clone, PartialEq)]
pub struct Stop {
    /// Its identity, should it be the first.
    pub id: StopId,
    /// Why.
    pub reason: StopReason,
    /// Who asks.
    pub by: Actor,
    /// Their words.
    pub text: Option<String>,
    /// Time from the first SIGTERM to the kill; the agent's own where absent.
    pub grace: Option<Ms>,
    /// Withdraw what waits.
    pub discard_queue: bool,
    /// Children are stopped too, and none may be created.
    pub tree: bool,
}

/// How far and wide a tree of sessions may grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TreeBounds {
    /// Levels below the topmost session.
    pub depth: u32,
    /// Children of one session that exist at once.
    pub children: u32,
}

/// What a session is created with.
#[derive(Debug, Clone, PartialEq)]
pub struct Create {
    /// Its first fact.
    pub created: crate::fact::Created,
    /// Entries of the log it was forked from, which are its own conversation.
    pub inherited: Vec<crate::fact::Event>,
    /// Its first run, if any.
    pub prompt: Option<Prompt>,
}

/// When it is decided. The core compares no times; it only writes them down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Now(pub Timestamp);

/// Why a command is refused. Nothing has changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// A prompt of mode `reject` met a busy session.
    #[error("the session is busy ({status})")]
    SessionBusy {
        /// How it stands.
        status: &'static str,
    },
    /// Nothing is held and nothing can be brought up.
    #[error(
        "there is nothing to resume: the session is not held, and its agent starts with a prompt"
    )]
    NothingToResume,
    /// The run was dispatched already.
    #[error("the run was handed to its agent already and can only be stopped")]
    RunStarted,
    /// The run has ended.
    #[error("the run has ended ({status})")]
    RunEnded {
        /// How it ended, or `ended`.
        status: &'static str,
    },
    /// The session is being removed.
    #[error("the session is being removed")]
    Deleting,
    /// No compute is in doubt.
    #[error("there is no compute in doubt to abandon: the session is {status}")]
    NothingToAbandon {
        /// How it stands.
        status: &'static str,
    },
    /// It was answered before.
    #[error("this was answered already; the first answer counts")]
    ApprovalAnswered,
    /// Nobody waits for it any more.
    #[error(
        "nobody waits for this answer any more: the compute that asked has ended or is being stopped"
    )]
    ApprovalOver,
    /// A tree stop is committed here.
    #[error("the parent session is stopped with its tree; resume it before it creates children")]
    ParentStopping,
    /// The tree is deep enough.
    #[error("a session tree may be {0} levels deep at most")]
    TooDeep(u32),
    /// The tree is wide enough.
    #[error("a session may have {0} children at most; delete some first")]
    TooManyChildren(u32),
    /// The driver cannot give text to a run in progress.
    #[error(
        "this agent takes no text into a run in progress; send it with mode \"enqueue\" to wait in line, or \"interrupt\" to end that run first"
    )]
    SteerUnsupported,
    /// The place is not needed any more.
    #[error("no place is needed")]
    NotNeeded,
    /// Nobody knows which description to go on with.
    #[error("the session's agent cannot be found by its source")]
    AgentUnresolved,
    /// A compute goes on with the description it has.
    #[error("the session has a live compute of its agent; stop it before you choose another")]
    AgentInUse,
}

impl Refusal {
    /// The stable word of the API.
    pub fn code(&self) -> &'static str {
        match self {
            Self::SessionBusy { .. } => "session_busy",
            Self::NothingToResume => "nothing_to_resume",
            Self::RunStarted => "run_started",
            Self::RunEnded { .. } => "run_ended",
            Self::Deleting => "session_deleting",
            Self::NothingToAbandon { .. } => "nothing_to_abandon",
            Self::ApprovalAnswered => "approval_answered",
            Self::ApprovalOver => "approval_over",
            Self::ParentStopping => "parent_stopping",
            Self::TooDeep(_) => "tree_too_deep",
            Self::TooManyChildren(_) => "too_many_children",
            Self::SteerUnsupported => "steer_unsupported",
            Self::NotNeeded => "not_needed",
            Self::AgentUnresolved => "agent_unresolved",
            Self::AgentInUse => "agent_in_use",
        }
    }
}

/// Labels a runner has, against labels an agent asks for.
pub fn labels_fit(asked: &BTreeMap<String, String>, have: &BTreeMap<String, String>) -> bool {
    asked.iter().all(|(key, value)| have.get(key) == Some(value))
}
