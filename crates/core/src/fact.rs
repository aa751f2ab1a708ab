//! Facts: what has happened to a session. They are its log.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::agent::{AgentPin, AgentPolicy};
use crate::approval::{Answer, Ask, Policy, SessionPolicy};
use crate::assignment::StopOrder;
use crate::folder_path::SessionWorkspace;
use crate::ids::*;
use crate::limits::Limits;
use crate::receipt::Receipt;
use crate::record::{OutputKind, RecordBody, RunError, RunFiles};
use crate::run::PendingRun;
use crate::session::{AgentTraits, Blocked, Hold, HowEnded};
use crate::status::Status;
use crate::value::{Ms, Timestamp};

/// Something that has happened. The name of each is its event's `type`, its content the
/// event's `data`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", content = "data")]
#[allow(missing_docs, reason = "the event types are described in docs/data-model.md")]
pub enum Fact {
    #[serde(rename = "session.created")]
    Created(Box<Created>),
    /// An entry of the log that it was forked from, where the conversation until then is the
    /// fork's own.
    #[serde(rename = "session.inherited")]
    Inherited(Box<Event>),
    #[serde(rename = "session.updated")]
    Updated(Box<Changes>),
    /// Said after every change of status; it changes nothing itself.
    #[serde(rename = "session.status")]
    Status { status: Status, reason: Option<String>, from: Status },
    /// The next compute is of another description.
    #[serde(rename = "session.agent_changed")]
    AgentChanged(Box<AgentChanged>),
    #[serde(rename = "session.blocked")]
    Blocked { reason: Option<Blocked> },
    #[serde(rename = "session.placed")]
    Placed { epoch: Epoch, runner: RunnerId },
    #[serde(rename = "session.ready")]
    Ready { epoch: Epoch },
    /// Its agent works though it was given no run, or does no more.
    #[serde(rename = "session.busy")]
    Busy { epoch: Epoch, busy: bool },
    #[serde(rename = "session.closing")]
    Closing { epoch: Epoch, reason: crate::receipt::EndReason },
    #[serde(rename = "session.stopping")]
    Stopping {
        epoch: Epoch,
        stop: StopOrder,
        ends_run: bool,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
    },
    /// Another stop joined the one under way.
    #[serde(rename = "session.stop_joined")]
    StopJoined {
        epoch: Epoch,
        by: String,
        reason: crate::receipt::StopReason,
        grace_ms: Ms,
        ends_run: bool,
        again: bool,
    },
    #[serde(rename = "session.stop_unconfirmed")]
    StopUnconfirmed { epoch: Epoch, evidence: String },
    #[serde(rename = "session.stopped")]
    Stopped(Closed),
    #[serde(rename = "session.finished")]
    Finished(Closed),
    #[serde(rename = "session.failed")]
    Failed(Closed),
    #[serde(rename = "session.interrupted")]
    Interrupted(Closed),
    /// The receipt of an epoch that had been closed by a person's word.
    #[serde(rename = "session.late_receipt")]
    LateReceipt { receipt: Box<Receipt> },
    #[serde(rename = "session.held")]
    Held { why: Hold },
    #[serde(rename = "session.resumed")]
    Resumed { by: String },
    #[serde(rename = "session.compute_wanted")]
    ComputeWanted { by: String },
    #[serde(rename = "session.unreachable")]
    Unreachable { epoch: Epoch, runner: RunnerId },
    #[serde(rename = "session.reachable")]
    Reachable { epoch: Epoch, runner: RunnerId },
    /// The runner knows a later epoch than the log: a restore from an older backup.
    #[serde(rename = "session.epoch_adopted")]
    EpochAdopted { epoch: Epoch, runner: RunnerId },
    /// The runner's record goes further than the log: epochs up to this one are used up.
    #[serde(rename = "session.epochs_known")]
    EpochsKnown {
        epoch: Epoch,
        /// The runner, which has the session's files. Absent in old logs.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        runner: Option<RunnerId>,
    },
    #[serde(rename = "session.tree_stopped")]
    TreeStopped { by: String },
    #[serde(rename = "session.workspace_lost")]
    WorkspaceLost { runner: RunnerId },
    #[serde(rename = "session.expired")]
    Expired,
    #[serde(rename = "session.restored")]
    Restored { by: String },
    #[serde(rename = "session.deleting")]
    Deleting { by: String },
    #[serde(rename = "session.removed")]
    Removed,
    #[serde(rename = "run.queued")]
    RunQueued(Box<RunQueued>),
    #[serde(rename = "run.dispatched")]
    RunDispatched { run: RunId, epoch: Epoch },
    /// Its compute ended before it had begun: it is the head of the queue again.
    #[serde(rename = "run.requeued")]
    RunRequeued { run: RunId },
    #[serde(rename = "run.started")]
    RunStarted { run: RunId },
    #[serde(rename = "run.waiting")]
    RunWaiting { run: RunId },
    /// Nothing of it waits for a person any more.
    #[serde(rename = "run.resumed")]
    RunResumed { run: RunId },
    /// Its turn is to be ended; the compute stays, if the agent obeys in time.
    #[serde(rename = "run.stopping")]
    RunStopping { run: RunId, grace_ms: Ms, by: String },
    /// Its text has become part of that run, and with that it has ended.
    #[serde(rename = "run.steered")]
    RunSteered { run: RunId, into: RunId },
    #[serde(rename = "run.completed")]
    RunCompleted {
        run: RunId,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        result: Option<Value>,
    },
    #[serde(rename = "run.failed")]
    RunFailed { run: RunId, error: RunError },
    #[serde(rename = "run.stopped")]
    RunStopped {
        run: RunId,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        error: Option<RunError>,
    },
    /// What was kept of the files at its end.
    #[serde(rename = "run.files")]
    RunFiles {
        run: RunId,
        #[serde(flatten)]
        files: RunFiles,
    },
    #[serde(rename = "run.withdrawn")]
    RunWithdrawn { run: RunId, by: String },
    /// It asks something else now.
    #[serde(rename = "run.edited")]
    RunEdited {
        run: RunId,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        prompt: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        input: Option<Value>,
        by: String,
    },
    /// It has another place in the queue: so many runs wait before it.
    #[serde(rename = "run.moved")]
    RunMoved { run: RunId, position: u32, by: String },
    /// The agent's own name for the conversation.
    #[serde(rename = "session.conversation")]
    Conversation { epoch: Epoch, id: String },
    #[serde(rename = "approval.requested")]
    ApprovalRequested(Box<ApprovalRequested>),
    #[serde(rename = "approval.answered")]
    ApprovalAnswered(Box<ApprovalAnswered>),
    /// The answer has reached the agent's driver.
    #[serde(rename = "approval.delivered")]
    ApprovalDelivered { id: ApprovalId, epoch: Epoch },
    /// It needs no answer any more: the agent, its run or its compute has gone on or ended.
    #[serde(rename = "approval.withdrawn")]
    ApprovalWithdrawn { id: ApprovalId, epoch: Epoch, reason: String },
    #[serde(rename = "child.created")]
    ChildCreated { child: SessionUid, id: SessionId, agent: AgentName },
    #[serde(rename = "child.removed")]
    ChildRemoved { child: SessionUid },
    #[serde(rename = "child.completed")]
    ChildCompleted(Box<ChildCompleted>),
    /// Journal entries that are lost for good.
    #[serde(rename = "log_gap")]
    LogGap { epoch: Epoch, from: u64, to: u64 },
    /// A report that fits nothing the log knows. Kept, and without effect.
    #[serde(rename = "session.unmatched")]
    Unmatched { epoch: Epoch, body: Box<RecordBody> },
    #[serde(skip)]
    Output(Output),
}

/// How a session begins.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "as in `Session`")]
pub struct Created {
    pub uid: SessionUid,
    pub id: SessionId,
    pub owner: Principal,
    /// For whom of the owner's users it is, where a program of the owner's serves several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    #[serde(default)]
    pub shared: bool,
    #[serde(default)]
    pub title: Option<String>,
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Labels a runner must have, beside those its agent asks for.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub runner_labels: BTreeMap<String, String>,
    /// What it works in, where that is not what its agent's description says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workspace: Option<SessionWorkspace>,
    pub agent: AgentPin,
    pub traits: AgentTraits,
    #[serde(default, skip_serializing_if = "AgentPolicy::is_default")]
    pub agent_policy: AgentPolicy,
    #[serde(default, skip_serializing_if = "SessionPolicy::is_default")]
    pub approvals: SessionPolicy,
    /// Policies of the sessions above, where the agent of one of them has created it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub within: Vec<Policy>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub models: BTreeMap<AgentName, String>,
    #[serde(default)]
    pub limits: Limits,
    #[serde(default)]
    pub parent: Option<SessionUid>,
    /// The name the parent had when this was created.
    #[serde(default)]
    pub parent_id: Option<SessionId>,
    #[serde(default)]
    pub depth: u32,
    #[serde(default)]
    pub callback: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forked_from: Option<Forked>,
}

/// What a session was forked from.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Forked {
    /// The session. It may be gone by now.
    pub uid: SessionUid,
    /// The name it had.
    pub id: SessionId,
    /// The last entry of its log that counts for the fork; 0 for none.
    pub seq: Seq,
    /// The run before which it was cut, where one was named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before_run: Option<RunId>,
    /// What became of the conversation until there.
    pub conversation: ForkedConversation,
    /// What became of the files.
    pub workspace: ForkedWorkspace,
}

/// What a fork has of the conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ForkedConversation {
    /// It is the fork's own: its log has it, as `session.inherited`.
    Inherited,
    /// The agent keeps its conversation itself, and begins another.
    Fresh,
}

/// What a fork has of the files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ForkedWorkspace {
    /// None of them: its workspace begins as its agent's description says, or is the folder
    /// that the session had been given.
    Fresh,
}

/// What a PATCH changes; what is absent stays.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "as in `Session`")]
pub struct Changes {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<BTreeMap<String, String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<Limits>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shared: Option<bool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_policy: Option<AgentPolicy>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approvals: Option<SessionPolicy>,
    /// Empty takes it back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// All of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub models: Option<BTreeMap<AgentName, String>>,
}

/// A session goes on with another description than it had.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AgentChanged {
    /// The description it had.
    pub from: AgentPin,
    /// The one it has now.
    pub to: AgentPin,
    /// Key of the source it had.
    pub old_key: String,
    /// Key of the source it has now.
    pub new_key: String,
    /// What of the new description decides its life.
    pub traits: AgentTraits,
    /// What kind of change it is.
    pub class: Drift,
    /// What is different in the description.
    pub diff: Vec<Difference>,
    /// Who asked for the run or the resume that it came with.
    pub by: String,
}

/// What kind of change a description went through.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Drift {
    /// It comes from elsewhere, and says the same.
    Mechanical,
    /// It says something else.
    Content,
}

/// One place of a description that is different.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// Where, as a JSON pointer.
    pub path: String,
    /// What was there, as JSON, shortened; absent where nothing was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// What is there, as JSON, shortened; absent where nothing is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
}

/// A compute is over, and this is the evidence.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Closed {
    /// How it ended, in a word.
    pub how: HowEnded,
    /// The evidence.
    pub receipt: Box<Receipt>,
}

/// A run was accepted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunQueued {
    /// The run.
    pub run: PendingRun,
    /// What it asks, as text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
    /// What it asks, as a document.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<Value>,
    /// Who asked.
    pub by: String,
    /// Whether it went to the head of the queue.
    #[serde(default)]
    pub first: bool,
    /// The run in progress that it is to become part of. Ends that first, it is a run like
    /// any other.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub into: Option<RunId>,
}

/// The agent asks something of a person.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ApprovalRequested {
    /// The compute whose agent asks.
    pub epoch: Epoch,
    /// The run that waits.
    pub run: RunId,
    /// What is asked.
    #[serde(flatten)]
    pub ask: Ask,
}

/// A person has answered, once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ApprovalAnswered {
    /// What was answered.
    pub id: ApprovalId,
    /// The compute whose agent asked.
    pub epoch: Epoch,
    /// The run that waited.
    pub run: RunId,
    /// Who answered.
    pub by: String,
    /// How.
    #[serde(flatten)]
    pub answer: Answer,
}

/// A child's run has ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChildCompleted {
    /// The child.
    pub child: SessionUid,
    /// Its name.
    pub id: SessionId,
    /// Its run.
    pub run: RunId,
    /// `completed`, `failed`, `stopped`, `withdrawn`.
    pub status: crate::run::RunStatus,
    /// The run of the parent that carries the news to its agent.
    pub as_run: RunId,
}

/// Something an agent said or did.
#[derive(Debug, Clone, PartialEq)]
pub struct Output {
    /// What kind.
    pub kind: OutputKind,
    /// The run it belongs to.
    pub run: Option<RunId>,
    /// The event's data.
    pub data: Value,
    /// It arrived after its epoch was closed.
    pub late: bool,
}

/// One entry of a session's log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Event {
    /// Its position: the only order there is.
    pub seq: Seq,
    /// The wall clock of its origin.
    pub at: Timestamp,
    /// The run it belongs to.
    pub run: Option<RunId>,
    /// Its type.
    #[serde(rename = "type")]
    pub kind: String,
    /// What it says.
    pub data: Value,
}

/// An event that does not read as a fact.
#[derive(Debug, thiserror::Error)]
#[error("event {seq} of type {kind:?} does not read as a fact: {source}")]
pub struct NotAFact {
    seq: Seq,
    kind: String,
    source: serde_json::Error,
}

impl Fact {
    /// The run it is about.
    pub fn run(&self) -> Option<RunId> {
        match self {
            Self::Output(output) => output.run,
            Self::RunQueued(queued) => Some(queued.run.id),
            Self::ApprovalRequested(asked) => Some(asked.run),
            Self::ApprovalAnswered(answered) => Some(answered.run),
            Self::RunDispatched { run, .. }
            | Self::RunRequeued { run }
            | Self::RunStarted { run }
            | Self::RunWaiting { run }
            | Self::RunResumed { run }
            | Self::RunStopping { run, .. }
            | Self::RunSteered { run, .. }
            | Self::RunCompleted { run, .. }
            | Self::RunFailed { run, .. }
            | Self::RunStopped { run, .. }
            | Self::RunFiles { run, .. }
            | Self::RunWithdrawn { run, .. }
            | Self::RunEdited { run, .. }
            | Self::RunMoved { run, .. } => Some(*run),
            _ => None,
        }
    }

    /// Whether it is output: it advances the log but not the state's version.
    pub fn is_output(&self) -> bool {
        matches!(self, Self::Output(_))
    }

    /// The fact that says how a compute ended.
    pub fn closed(closed: Closed) -> Self {
        match closed.how {
            HowEnded::Stopped(_) => Self::Stopped(closed),
            HowEnded::Finished => Self::Finished(closed),
            HowEnded::Failed(_) => Self::Failed(closed),
            HowEnded::Interrupted(_) => Self::Interrupted(closed),
        }
    }

    /// The log entry of this fact.
    pub fn to_event(&self, seq: Seq, at: Timestamp) -> Event {
        if let Self::Output(output) = self {
            let mut data = output.data.clone();
            if output.late
                && let Value::Object(fields) = &mut data
            {
                fields.insert("late".into(), Value::Bool(true));
            }
            let kind = output.kind.event_type().to_owned();
            return Event { seq, at, run: output.run, kind, data };
        }
        let mut tagged = serde_json::to_value(self).unwrap_or_default();
        let kind = match tagged.get("type").and_then(Value::as_str) {
            Some(kind) => kind.to_owned(),
            None => unreachable!("every fact but output has a type of its own"),
        };
        let data = tagged
            .get_mut("data")
            .map(Value::take)
            .unwrap_or_else(|| Value::Object(Default::default()));
        Event { seq, at, run: self.run(), kind, data }
    }

    /// The fact of a log entry.
    pub fn from_event(event: &Event) -> Result<Self, NotAFact> {
        if let Some(kind) = OutputKind::of(&event.kind) {
            let late = event.data.get("late").and_then(Value::as_bool).unwrap_or(false);
            let mut data = event.data.clone();
            if late && let Value::Object(fields) = &mut data {
                fields.remove("late");
            }
            return Ok(Self::Output(Output { kind, run: event.run, data, late }));
        }
        let unit = matches!(event.kind.as_str(), "session.expired" | "session.removed");
        let tagged = if unit {
            serde_json::json!({ "type": event.kind })
        } else {
            serde_json::json!({ "type": event.kind, "data": event.data })
        };
        serde_json::from_value(tagged).map_err(|source| NotAFact {
            seq: event.seq,
            kind: event.kind.clone(),
            source,
        })
    }
}
