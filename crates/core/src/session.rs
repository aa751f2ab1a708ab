//! The folded state of one session.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};

use crate::agent::{AgentPin, AgentPolicy, Graces};
use crate::approval::{Policies, Policy, SessionPolicy};
use crate::assignment::{Assignment, Order, StopOrder};
use crate::fact::Forked;
use crate::folder_path::SessionWorkspace;
use crate::ids::*;
use crate::limits::Limits;
use crate::receipt::{Receipt, StopReason};
use crate::run::{Head, HeadState, PendingRun, RunStatus};
use crate::value::Timestamp;

/// Number of the folded form. A stored session of another number is folded anew.
pub const FORMAT: u32 = 5;

/// One piece of work by one agent, as its log says it is.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Session {
    /// Inner identity.
    pub uid: SessionUid,
    /// The caller's name for it.
    pub id: SessionId,
    /// Whose it is.
    pub owner: Principal,
    /// For whom of the owner's users it is, where a program of the owner's serves several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Whether every operator may use it and every viewer see it.
    pub shared: bool,
    /// A line for people.
    pub title: Option<String>,
    /// Labels for people and filters.
    pub labels: BTreeMap<String, String>,
    /// Labels its runner must have, beside those its agent asks for.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub runner_labels: BTreeMap<String, String>,
    /// What it works in, where that is not what its agent's description says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workspace: Option<SessionWorkspace>,
    /// The description its next compute is of: the one it was created with, until a resume
    /// has taken another.
    pub agent: AgentPin,
    /// What a resume does when its source says something else.
    #[serde(default)]
    pub agent_policy: AgentPolicy,
    /// What it lays over its agent's policy of approvals.
    #[serde(default, skip_serializing_if = "SessionPolicy::is_default")]
    pub approvals: SessionPolicy,
    /// The policies it stays within, whatever its own are.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub within: Vec<Policy>,
    /// The model of whoever works on it, where that is not its description's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Models of members of its agent's team, where they are not their descriptions'.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub models: BTreeMap<AgentName, String>,
    /// Counts edits of what its compute goes by: approvals and models.
    #[serde(default)]
    pub settings: u64,
    /// What of that description decides the session's life.
    pub traits: AgentTraits,
    /// Limits in force.
    pub limits: Limits,
    /// The session that created it.
    pub parent: Option<SessionUid>,
    /// The name that session had.
    #[serde(default)]
    pub parent_id: Option<SessionId>,
    /// What it was forked from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forked_from: Option<Forked>,
    /// How many parents are above it.
    pub depth: u32,
    /// Children that exist.
    pub children: u32,
    /// Whether ends of its runs are told to the parent unless a run says otherwise.
    pub callback: bool,
    /// When it was created.
    pub created_at: Timestamp,
    /// When its time to live began: when it was created, or restored.
    pub lives_from: Timestamp,
    /// When its state last changed.
    pub updated_at: Timestamp,
    /// When it last said or was asked anything.
    pub last_active_at: Timestamp,
    /// When it was last used, by the clock of whoever keeps it, who says so: entries of the
    /// log have the time of their origin.
    #[serde(skip)]
    pub used_at: Timestamp,
    /// Whether it exists for its users.
    pub life: Life,
    /// The compute that is not proven ended, if any.
    pub compute: Option<Compute>,
    /// How the last compute ended.
    pub ended: Option<Ended>,
    /// The highest epoch ever given out.
    pub last_epoch: Epoch,
    /// Counts what its runner has been told.
    pub generation: Generation,
    /// The runner that has its files.
    pub home: Option<RunnerId>,
    /// Epochs closed by a person's word only; when their runner returns it is told `down`.
    pub abandoned: Vec<Epoch>,
    /// Why the queue waits for a person, if it does.
    pub hold: Option<Hold>,
    /// A person asked for a compute without a prompt.
    pub wants_compute: bool,
    /// Why the queue waits for a place, where that has been said.
    pub blocked: Option<Blocked>,
    /// Runs that wait, in order.
    pub queue: VecDeque<PendingRun>,
    /// A tree stop is committed: no child may be created until a person resumes.
    pub tree_stopped: bool,
    /// What it has used.
    pub usage: Usage,
    /// The agent's own conversation id.
    pub conversation: Option<String>,
    /// Last entry of its log.
    pub last_seq: Seq,
    /// Counts changes of state; output does not count.
    pub version: u64,
}

/// What of an agent's description decides a session's life.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct AgentTraits {
    /// One process serves many runs.
    pub persistent: bool,
    /// Processes left behind stay, and with them the compute.
    pub keeps_leftovers: bool,
    /// Graces of a stop that names none.
    pub graces: Graces,
    /// Its driver can end a turn and keep the compute.
    #[serde(default)]
    pub cancels: bool,
    /// Its driver can give text to a run in progress.
    #[serde(default)]
    pub steers: bool,
}

/// Whether a session exists for its users.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Life {
    /// It does.
    Kept,
    /// Its time to live has passed: hidden, restorable, removed later.
    Expired,
    /// It is being removed.
    Deleting,
    /// It is gone; only its uid is remembered.
    Removed,
}

/// A compute that is not proven ended.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Compute {
    /// Its number.
    pub epoch: Epoch,
    /// Where it was placed.
    pub runner: RunnerId,
    /// Whether it has come up.
    pub ready: bool,
    /// The run it was given.
    pub head: Option<Head>,
    /// Whether its agent has seen any run at all.
    #[serde(default)]
    pub began: bool,
    /// What is wanted of it. Goes from up to down once.
    pub wanted: Wanted,
    /// It is ending though nobody asked.
    pub closing: bool,
    /// Its runner has been silent for its whole time limit.
    pub silent: bool,
    /// Its end cannot be proven, or was not in time.
    pub unconfirmed: bool,
    /// Its agent works though it was given no run.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub busy: bool,
    /// What its agent has asked of a person, in order, answered or not.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub asked: Vec<Asked>,
}

/// Something an agent has asked of a person.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Asked {
    /// Its identity.
    pub id: ApprovalId,
    /// The run that waits.
    pub run: RunId,
    /// The log's entry that says what.
    pub seq: Seq,
    /// How far it is.
    pub state: AskState,
}

/// How far a question is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AskState {
    /// Nobody has answered.
    Open,
    /// It is answered by that entry of the log, and the agent may not know yet.
    Answered {
        /// The entry.
        seq: Seq,
        /// The approvals were edited since: for whatever it was meant, it is good for once.
        once: bool,
    },
    /// The agent has its answer.
    Delivered,
}

/// What is wanted of a compute.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Wanted {
    /// It should live.
    Up,
    /// It should be ended.
    Down(Stopping),
}

/// A stop under way.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Stopping {
    /// What the runner is told.
    pub order: StopOrder,
    /// When it was asked for: first, or again after a deadline had passed.
    pub requested_at: Timestamp,
    /// Whether the run that was its head ends stopped. An idle stop ends none.
    pub ends_run: bool,
}

/// How the last compute ended.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Ended {
    /// In one word.
    pub how: HowEnded,
    /// The evidence.
    pub receipt: Box<Receipt>,
}

/// How a compute ended, in the words of a session's status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "as", content = "reason", rename_all = "snake_case")]
pub enum HowEnded {
    /// Proven down by request.
    Stopped(StopReason),
    /// By itself, after its answer.
    Finished,
    /// Abnormally.
    Failed(FailReason),
    /// Gone, and nobody asked.
    Interrupted(InterruptReason),
}

/// How a compute can fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailReason {
    /// With an exit code other than 0, or before its answer.
    Exit,
    /// By a signal nobody here sent.
    Signal,
    /// By using too much memory.
    Oom,
    /// It did not come up in time.
    StartTimeout,
    /// It could not be started.
    StartError,
    /// It broke its driver's protocol.
    Protocol,
}

impl FailReason {
    /// Whether a queue behind it would only fail in the same way, one by one.
    pub fn holds(self) -> bool {
        matches!(self, Self::StartTimeout | Self::StartError | Self::Protocol)
    }
}

/// How a compute can be interrupted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum InterruptReason {
    /// Its machine was started anew.
    Reboot,
    /// Its supervisor is gone.
    Lost,
    /// A person said it is gone.
    Abandoned,
}

/// Why a queue waits for a person.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Hold {
    /// The session was stopped.
    Stop,
    /// It failed in a way the next prompt would repeat.
    Failure,
}

/// Why a queue waits for a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Blocked {
    /// No runner has the labels the agent asks for.
    NoRunner,
    /// No runner that is connected allows the folder that the session is to work in.
    NoWorkingDir,
    /// The runner that has the files is silent.
    HomeUnreachable,
    /// The runner that has the files takes nothing new.
    HomeDraining,
    /// The runner that has the files has no slot free.
    HomeFull,
    /// Every runner that fits is full.
    RunnersFull,
    /// Its agent is disabled: nothing of it is started.
    AgentDisabled,
}

/// Tokens and cost used, as the agent reports them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Usage {
    /// Tokens read.
    pub input_tokens: u64,
    /// Tokens written.
    pub output_tokens: u64,
    /// Cost in millionths of a US dollar.
    pub cost_micro_usd: u64,
}

/// What a session needs of a runner now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// A compute; at home, where it has one.
    Place {
        /// The runner that has its files.
        home: Option<RunnerId>,
        /// Whether the compute would take a run at once, which takes a slot.
        with_run: bool,
    },
    /// Its warm compute could take the next run.
    Turn {
        /// Where the compute is.
        runner: RunnerId,
    },
}

impl Session {
    /// What judges its next compute, whose agent has this policy.
    pub fn policies(&self, agent: &Policy) -> Policies {
        Policies { own: self.approvals.over(agent), within: self.within.clone() }
    }

    /// What it needs of a runner now. `None` while it is held, busy, or has nothing to do.
    pub fn need(&self) -> Option<Need> {
        if self.life != Life::Kept || self.hold.is_some() {
            return None;
        }
        let waiting = !self.queue.is_empty();
        match &self.compute {
            None if waiting || self.wants_compute => {
                Some(Need::Place { home: self.home, with_run: waiting })
            }
            Some(compute) if waiting && compute.takes_run() => {
                Some(Need::Turn { runner: compute.runner })
            }
            _ => None,
        }
    }

    /// What its runners should do, one for each compute that is not forgotten.
    pub fn assignments(&self) -> Vec<(RunnerId, Assignment)> {
        let Some(home) = self.home.filter(|_| self.life != Life::Removed) else {
            return Vec::new();
        };
        let assign =
            |epoch, order| Assignment { uid: self.uid, epoch, generation: self.generation, order };
        // One order for each epoch: what removes the files ends its compute, too.
        let going = self.compute.is_none() && self.life == Life::Deleting;
        let mut all: Vec<_> = self
            .abandoned
            .iter()
            .filter(|epoch| !(going && **epoch == self.last_epoch))
            .map(|&epoch| (home, assign(epoch, Order::Down { stop: self.late_stop(epoch) })))
            .collect();
        let last = match &self.compute {
            Some(compute) => {
                let order = match &compute.wanted {
                    Wanted::Up => compute.order_up(self.settings),
                    Wanted::Down(stopping) => Order::Down { stop: stopping.order.clone() },
                };
                Some((compute.runner, assign(compute.epoch, order)))
            }
            None if going => {
                let unproven = self.abandoned.contains(&self.last_epoch);
                let stop = unproven.then(|| self.late_stop(self.last_epoch));
                Some((home, assign(self.last_epoch, Order::Gone { stop })))
            }
            None if self.abandoned.contains(&self.last_epoch) => None,
            None if self.last_epoch > Epoch(0) => {
                Some((home, assign(self.last_epoch, Order::Closed)))
            }
            None => None,
        };
        all.extend(last);
        all
    }

    /// The stop that a runner is told when it returns with an epoch a person has closed.
    pub(crate) fn late_stop(&self, epoch: Epoch) -> StopOrder {
        StopOrder {
            // Derived, so that every repetition names the same stop.
            id: StopId(uuid::Uuid::from_u128(self.uid.0.as_u128() ^ u128::from(epoch.0))),
            reason: StopReason::User,
            cancel_grace_ms: self.traits.graces.cancel_grace_ms,
            grace_ms: self.traits.graces.grace_ms,
            requested_by: Vec::new(),
            attempt: 0,
        }
    }

    /// The run a stop would end: the one its compute has, else the first of a queue that
    /// goes on by itself. What is held is behind a stop already.
    pub fn head_run(&self) -> Option<RunId> {
        let given = self.compute.as_ref().and_then(|c| c.head.as_ref()).map(|head| head.run.id);
        let goes_on = self.hold.is_none() && self.life == Life::Kept;
        given.or_else(|| self.queue.front().filter(|_| goes_on).map(|run| run.id))
    }

    /// The run to show: the one its compute has, else the first that waits, held or not.
    pub fn current_run(&self) -> Option<(RunId, RunStatus)> {
        match self.compute.as_ref().and_then(|c| c.head.as_ref()) {
            Some(head) => Some((head.run.id, head.state.into())),
            None => self.queue.front().map(|run| (run.id, RunStatus::Queued)),
        }
    }

    /// Whether it takes one of its runner's slots: a run is dispatched or running, or its
    /// agent works without one.
    pub fn slot(&self) -> Option<RunnerId> {
        let compute = self.compute.as_ref()?;
        let runs = compute.head.as_ref().is_some_and(|h| h.state != HeadState::Waiting);
        (runs || compute.busy).then_some(compute.runner)
    }

    /// Whether it has a compute, or waits for one: it is not at rest.
    pub fn is_active(&self) -> bool {
        self.compute.is_some() || self.need().is_some()
    }

    /// Whether a stop would find something live, or something that will be.
    pub fn is_live(&self) -> bool {
        self.compute.is_some()
    }
}

impl Compute {
    fn order_up(&self, settings: u64) -> Order {
        let answers =
            self.asked.iter().filter(|asked| matches!(asked.state, AskState::Answered { .. }));
        Order::Up {
            run: self.head.as_ref().map(|head| head.run.id),
            cancel: self.head.as_ref().and_then(|head| head.cancel),
            answers: answers.map(|asked| asked.id).collect(),
            steers: self.head.as_ref().map(|head| head.steers.clone()).unwrap_or_default(),
            settings: Some(settings),
        }
    }

    /// The run in progress whose agent could be given more text; none while its turn, or
    /// the compute, is being ended.
    pub fn turn_in_progress(&self) -> Option<RunId> {
        let goes_on = self.wanted == Wanted::Up && !self.closing;
        let head = self.head.as_ref().filter(|head| goes_on && head.cancel.is_none());
        head.map(|head| head.run.id)
    }

    /// Whether this run is on its way into the one in progress.
    pub fn has_steer(&self, run: RunId) -> bool {
        self.head.as_ref().is_some_and(|head| head.steers.contains(&run))
    }

    /// What waits for a person.
    pub fn open_asks(&self) -> impl Iterator<Item = &Asked> {
        self.asked.iter().filter(|asked| asked.state == AskState::Open)
    }

    /// Whether it could be given a run.
    pub fn takes_run(&self) -> bool {
        self.ready
            && self.head.is_none()
            && self.wanted == Wanted::Up
            && !self.closing
            && !self.silent
            && !self.unconfirmed
    }
}
