//! The evidence that closes a compute.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::ids::{Epoch, RunId};
use crate::record::Outcome;
use crate::value::Timestamp;

/// Why a compute ended, as whoever closed it knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum EndReason {
    /// A person or a program of theirs asked.
    User,
    /// Nothing was asked of it for long enough.
    Idle,
    /// It reached a limit of the session.
    Limit,
    /// Its machine or runner was told to go down.
    Shutdown,
    /// A parent session was stopped with its tree.
    Parent,
    /// The session is being removed.
    Deleted,
    /// The agent ended by itself, with its work done.
    Done,
    /// The agent ended with an exit code other than 0, or before its answer.
    Exit,
    /// A signal that nobody here sent ended the agent.
    Signal,
    /// The agent used more memory than it may.
    Oom,
    /// The compute did not come up in time.
    StartTimeout,
    /// The agent could not be started at all.
    StartError,
    /// The agent broke its driver's protocol.
    Protocol,
    /// The machine was started anew.
    Reboot,
    /// The shim ended without a receipt of its own.
    Lost,
    /// A person said so, without proof.
    Abandoned,
}

/// Why a compute was told to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum StopReason {
    /// A person or a program of theirs asked.
    User,
    /// Nothing was asked of it for long enough.
    Idle,
    /// It reached a limit of the session.
    Limit,
    /// Its machine or runner was told to go down.
    Shutdown,
    /// A parent session was stopped with its tree.
    Parent,
    /// The session is being removed.
    Deleted,
}

impl StopReason {
    /// Whether this stop keeps the queue waiting for a person, and ends the head run.
    pub fn holds(self) -> bool {
        matches!(self, Self::User | Self::Limit | Self::Parent | Self::Deleted)
    }
}

impl From<StopReason> for EndReason {
    fn from(reason: StopReason) -> Self {
        match reason {
            StopReason::User => Self::User,
            StopReason::Idle => Self::Idle,
            StopReason::Limit => Self::Limit,
            StopReason::Shutdown => Self::Shutdown,
            StopReason::Parent => Self::Parent,
            StopReason::Deleted => Self::Deleted,
        }
    }
}

/// The evidence that closes a compute: what was done, when, to how many, and by what
/// means it is known that none is left.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
pub struct Receipt {
    /// The compute it closes.
    pub epoch: Epoch,
    /// Why it ended.
    pub reason: EndReason,
    /// When the end was asked for, or began, on the wall clock of whoever saw it.
    pub requested_at: Timestamp,
    /// What was done, in order.
    pub steps: Vec<Step>,
    /// From first sight of the stop to the proof, in milliseconds of the closer's own clock.
    pub duration_ms: u64,
    /// Distinct processes of the compute that were seen while it was ended.
    pub processes_seen: u32,
    /// Processes known to be alive at the end. 0 in every proven receipt.
    pub survivors: u32,
    /// Each means that was tried, with its result.
    pub proof: Vec<Proof>,
    /// What the proof does not cover, in words.
    pub scope: String,
    /// Isolation of the runner (`none`, `landlock`, `uid`).
    pub isolation: String,
    /// How the agent's own process ended, where there was one and it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit: Option<Exit>,
    /// Processes the agent had left behind when it ended by itself.
    pub leftovers: u32,
    /// Everybody who asked for the stop.
    #[serde(default)]
    pub requested_by: Vec<String>,
    /// Who vouches for the end, where nothing proves it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asserted_by: Option<String>,
    /// What happened to the run that was handed to this compute last, so that a receipt
    /// that overtakes the journal still says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_run: Option<LastRun>,
    /// More about an abnormal end, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

impl Receipt {
    /// Said of every receipt: what no means of ours can see.
    pub const SCOPE: &str = "processes of this compute; those started through other daemons \
        (docker, systemd, cron, ssh) are not covered";

    /// Said of a receipt of a runner of another system.
    pub const FOREIGN_SCOPE: &str = "what a runner of another system has reported; nothing here \
        has seen its processes, and nothing counts what they have left";

    /// Whether it says that nothing is left, and by what that is known. A person's word
    /// closes an epoch too, but it proves nothing. The word of a runner of another system is
    /// no proof either; it closes what was given to that runner and to nobody else.
    pub fn is_proven(&self) -> bool {
        self.survivors == 0
            && self.reason != EndReason::Abandoned
            && self.proof.iter().any(|proof| proof.means != Means::None)
    }

    /// A receipt about a compute that never had a process.
    pub fn without_process(
        epoch: Epoch,
        reason: EndReason,
        at: Timestamp,
        means: Means,
        result: &str,
    ) -> Self {
        Self {
            epoch,
            reason,
            requested_at: at,
            steps: Vec::new(),
            duration_ms: 0,
            processes_seen: 0,
            survivors: 0,
            proof: vec![Proof { means, result: result.to_owned() }],
            scope: Self::SCOPE.to_owned(),
            isolation: "none".to_owned(),
            exit: None,
            leftovers: 0,
            requested_by: Vec::new(),
            asserted_by: None,
            last_run: None,
            detail: None,
        }
    }
}

impl Receipt {
    /// A receipt by the word of a runner of another system.
    pub fn by_runner_word(
        epoch: Epoch,
        reason: EndReason,
        at: Timestamp,
        runner: &str,
        said: &str,
    ) -> Self {
        let means = Means::RunnerWord;
        Self {
            scope: Self::FOREIGN_SCOPE.to_owned(),
            isolation: "foreign".to_owned(),
            asserted_by: Some(format!("runner {runner}")),
            ..Self::without_process(epoch, reason, at, means, said)
        }
    }
}

/// One thing that was done to end a compute.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
pub struct Step {
    /// Milliseconds since the stop was first seen.
    pub after_ms: u64,
    /// What was done.
    pub action: Action,
    /// More, for people.
    #[serde(default)]
    pub detail: String,
}

/// What can be done to end a compute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// The stop, or the agent's own end, was seen.
    Seen,
    /// The driver's own cancel was sent.
    Cancel,
    /// SIGTERM and SIGCONT to the agent's own process.
    TermLeader,
    /// The agent's own process ended.
    LeaderExited,
    /// SIGTERM and SIGCONT to everything else.
    TermRest,
    /// The tree was frozen.
    Freeze,
    /// SIGKILL to everything.
    Kill,
    /// The proof was complete.
    Proven,
    /// Closed without acting: there was nothing to act on.
    Nothing,
}

/// One means by which an end is known, and what it said.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
pub struct Proof {
    /// By what it is known.
    pub means: Means,
    /// What it said.
    pub result: String,
}

/// By what an end can be known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Means {
    /// `waitpid(-1)` in the subreaper said that no child is left (ECHILD).
    NoChildLeft,
    /// The control group says `populated 0`.
    CgroupEmpty,
    /// The compute was never given to a runner.
    NeverPlaced,
    /// The runner closed the epoch before anything of it was started.
    NeverStarted,
    /// The same machine runs under another boot id.
    Rebooted,
    /// The runner's own durable record says this epoch is closed.
    RunnerRecord,
    /// The report of a runner of another system: its word, which nothing here can check.
    RunnerWord,
    /// No means: a person's word, on record.
    None,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Exit {
    /// With this exit code.
    Code(i32),
    /// By this signal.
    Signal(i32),
}

/// What happened to the last run that was handed to a compute.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
pub struct LastRun {
    /// The run.
    pub run: RunId,
    /// How it ended, where the compute saw its end. Without it the run had begun and
    /// has no answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Outcome>,
    /// Runs that have become part of it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub steered: Vec<RunId>,
}
