//! The bodies of `/v1`.

use std::collections::BTreeMap;

use greenroom_core::agent::AgentPolicy;
use greenroom_core::approval::{Policy, SessionPolicy};
use greenroom_core::command::Mode;
use greenroom_core::run::RunStatus;
use greenroom_core::{
    AgentName, Epoch, FolderPath, Limits, Ms, Receipt, RunFiles, RunId, RunnerId, SessionId,
    SessionWorkspace, Status, Timestamp,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

mod approval;
mod fork;
mod person;
mod push;
mod token;

pub use approval::*;
pub use fork::*;
pub use person::*;
pub use push::*;
pub use token::*;

use crate::link::Probe;

/// A page of a list.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct List<T> {
    /// The entries.
    pub items: Vec<T>,
    /// Where the next page begins; `null` on the last.
    pub next_cursor: Option<String>,
}

impl<T> List<T> {
    /// A list of one page.
    pub fn whole(items: Vec<T>) -> Self {
        Self { items, next_cursor: None }
    }
}

/// The description that a session has of its agent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AgentRef {
    /// Its name.
    pub name: AgentName,
    /// Which description of that name.
    pub version: u32,
    /// Where it came from, as `kind:key`; without user and password.
    pub source: String,
    /// Key of that source, as `greenroom agents key` prints it; without user and password.
    #[serde(default)]
    pub source_key: String,
    /// What stays of the key of a URL when its query changes; `null` for any other source,
    /// which is found by its key alone.
    #[serde(default)]
    pub stable_key: Option<String>,
    /// SHA-256 of the description.
    pub digest: String,
}

/// A session.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Session {
    /// The caller's name for it.
    pub id: SessionId,
    /// Its inner identity, never reused.
    pub uid: greenroom_core::SessionUid,
    /// Whose it is.
    pub owner: String,
    /// For whom of the owner's users it is, where it was created with `X-Greenroom-User`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Whether every operator may use it and every viewer see it.
    pub shared: bool,
    /// Its agent.
    pub agent: AgentRef,
    /// What a resume does when the agent's source says something else by then.
    #[serde(default)]
    pub agent_policy: AgentPolicy,
    /// What it lays over its agent's policy of approvals.
    #[serde(default)]
    pub approvals: SessionPolicy,
    /// The policies it stays within: those of the sessions above it, where the agent of one
    /// has created it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub within: Vec<Policy>,
    /// The model that was chosen for it; its agent's own where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The models that were chosen for members of its agent's team.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub models: BTreeMap<AgentName, String>,
    /// A line for people.
    pub title: Option<String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Labels its runner must have, beside those its agent asks for.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub runner_labels: BTreeMap<String, String>,
    /// What it works in, where that is not what its agent's description says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workspace: Option<SessionWorkspace>,
    /// How it stands.
    pub status: Status,
    /// Why, where there is a reason.
    pub status_reason: Option<String>,
    /// What is wanted of its compute: `up`, `down`, or `null` without one.
    pub wanted: Option<String>,
    /// Whether its queue waits for a person.
    pub hold: bool,
    /// Its latest compute; 0 before the first.
    pub epoch: Epoch,
    /// The runner that has its files.
    pub runner_id: Option<RunnerId>,
    /// The session that created it.
    pub parent_id: Option<SessionId>,
    /// What it was forked from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub forked_from: Option<greenroom_core::fact::Forked>,
    /// The head run.
    pub run_id: Option<RunId>,
    /// How the head run stands.
    pub run_status: Option<RunStatus>,
    /// Last entry of its log.
    pub last_seq: u64,
    /// Counts changes of its state.
    pub version: u64,
    /// What waits.
    pub pending: Pending,
    /// Tokens and cost, as its agent reports them.
    pub usage: Usage,
    /// Limits in force.
    pub limits: Limits,
    /// When it was created.
    pub created_at: Timestamp,
    /// When its state last changed.
    pub updated_at: Timestamp,
    /// When it last said or was asked anything.
    pub last_active_at: Timestamp,
    /// When it expires.
    pub expires_at: Option<Timestamp>,
    /// The evidence that closed its last compute.
    pub receipt: Option<Receipt>,
    /// What it is doing now, in a line, where it has said so: in lists and where one session is
    /// read, not in its past.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activity: Option<String>,
}

/// What waits in a session.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Pending {
    /// Runs that wait for their turn.
    pub runs: u32,
    /// Approvals that wait for a person.
    pub approvals: u32,
}

/// Tokens and cost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Usage {
    /// Tokens read.
    pub input_tokens: u64,
    /// Tokens written.
    pub output_tokens: u64,
    /// Cost in US dollars.
    pub cost_usd: f64,
}

/// A run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Run {
    /// Its identity.
    pub id: RunId,
    /// Its session.
    pub session_id: SessionId,
    /// How it stands.
    pub status: RunStatus,
    /// What it asks, as text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
    /// What it asks, as a document.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<Value>,
    /// What it did when the session was busy.
    pub mode: Mode,
    /// The structured answer, where its agent gives one.
    pub result: Option<Value>,
    /// Why it did not complete.
    pub error: Option<RunError>,
    /// Tokens and cost, as its agent reports them.
    pub usage: Usage,
    /// Whether its end is told to the parent session.
    pub callback: bool,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// When its agent saw it.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// What was kept of the files at its end, in a workspace of git; absent until that is
    /// known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files: Option<RunFiles>,
}

/// Why a run did not complete.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RunError {
    /// A stable word.
    pub code: String,
    /// What happened.
    pub message: String,
}

/// Answer to a prompt: the run, and what is before it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AcceptedRun {
    /// The run.
    #[serde(flatten)]
    pub run: Run,
    /// The queue waits for a person: nothing starts until a resume.
    pub held: bool,
    /// Runs that come first.
    pub ahead: u32,
}

/// Body of `POST /v1/sessions`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateSession {
    /// Name of the agent, the key of its source, or its URL.
    pub agent: String,
    /// A version of that agent which is not the one in service. Its first compute is of that
    /// one; what a resume takes is `agent_policy`'s to say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_version: Option<u32>,
    /// A name for the session; made up if absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// A line for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// Labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<BTreeMap<String, String>>,
    /// The first run's text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
    /// The first run's document.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<Value>,
    /// The session that creates it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
    /// Tell the parent about the end of each run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub callback: Option<bool>,
    /// Limits, over the agent's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<Limits>,
    /// Every operator may use it, every viewer see it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shared: Option<bool>,
    /// What a resume does when the agent's source says something else by then: `follow`
    /// (default), `pin`, `ask`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_policy: Option<AgentPolicy>,
    /// Approvals: what is laid over the agent's policy. An agent may only narrow it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approvals: Option<SessionPolicy>,
    /// The model it is to use: for `loop` a name of its agent's file, or another model of a
    /// provider that is named there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The same for members of its agent's team, by name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub models: Option<BTreeMap<AgentName, String>>,
    /// Labels its runner must have, beside those its agent asks for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub runner_labels: Option<BTreeMap<String, String>>,
    /// What it works in instead of the agent's workspace: a folder beneath one that the
    /// operator of a runner has allowed with `--working-dir-root`. For people, not for agents.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workspace: Option<SessionWorkspace>,
}

/// Body of `PATCH /v1/sessions/{id}`; what is absent stays.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PatchSession {
    /// A line for people; empty removes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// All labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<BTreeMap<String, String>>,
    /// Limits to change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<Limits>,
    /// Every operator may use it, every viewer see it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shared: Option<bool>,
    /// What a resume does when the agent's source says something else by then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_policy: Option<AgentPolicy>,
    /// Approvals: all that is laid over the agent's policy, also in the turn in progress, from
    /// its next use of a tool on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approvals: Option<SessionPolicy>,
    /// The model it is to use; empty for its agent's own. In the turn in progress for `loop`,
    /// from the next compute on for others that take one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// All models that are chosen for members of its agent's team, by name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub models: Option<BTreeMap<AgentName, String>>,
    /// Go on with this agent: a name, the key of a source, or a URL. Not while a compute is up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
}

/// Body of `POST /v1/sessions/{id}/runs`: one of `prompt` and `input`.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateRun {
    /// Text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
    /// A document that fits the agent's `input_schema`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<Value>,
    /// `enqueue` (default), `interrupt`, `reject`, or `steer`: to become part of the run in
    /// progress, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// Tell the parent session about its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub callback: Option<bool>,
    /// Lift the hold even while the stop is under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resume: Option<bool>,
    /// Go to the head of the queue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first: Option<bool>,
}

/// Body of a stop; may be absent.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct StopRequest {
    /// From the first SIGTERM to the kill; the agent's own where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub grace_ms: Option<Ms>,
    /// Words for the log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Withdraw what waits behind the head run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub discard_queue: Option<bool>,
    /// The children too, top down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tree: Option<bool>,
}

/// Answer to a stop.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct StopReply {
    /// The session.
    pub session_id: SessionId,
    /// The run that was its head.
    pub run_id: Option<RunId>,
    /// How the session stands.
    pub status: Status,
    /// Nothing was live.
    pub already_stopped: bool,
    /// The evidence, once there is some.
    pub receipt: Option<Receipt>,
}

/// Body of `abandon`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AbandonRequest {
    /// Why the caller vouches for the end.
    pub reason: String,
}

/// An agent as it is known.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Agent {
    /// Its name.
    pub name: AgentName,
    /// One line for people.
    pub description: Option<String>,
    /// How it is spoken to.
    pub driver: String,
    /// `per_run` or `persistent`.
    pub lifecycle: String,
    /// Where its description comes from, as `kind:key`; without user and password.
    pub source: String,
    /// Key of that source, as `greenroom agents key` prints it; without user and password.
    #[serde(default)]
    pub source_key: String,
    /// What stays of the key of a URL when its query changes; `null` for any other source.
    #[serde(default)]
    pub stable_key: Option<String>,
    /// Which description of that name.
    pub version: u32,
    /// SHA-256 of the description.
    pub digest: String,
    /// `ok`, `stale` (the source is broken; the last good version serves) or `missing`.
    pub health: String,
    /// Error of the last load.
    pub error: Option<String>,
    /// JSON Schema of a run's `input`.
    pub input_schema: Option<Value>,
    /// When this version was first seen.
    pub updated_at: Timestamp,
    /// When a source that is not on the coordinator's machine last said so.
    #[serde(default)]
    pub fetched_at: Option<Timestamp>,
    /// What it lacks to work, where that is known.
    #[serde(default)]
    pub needs: Option<String>,
    /// The version of its program, where that is known.
    #[serde(default)]
    pub program_version: Option<String>,
    /// It takes no new session and no new run; what is under way goes on to its end.
    #[serde(default)]
    pub disabled: bool,
}

/// Body of `POST /v1/agents`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AddAgent {
    /// A file or folder on the coordinator's machine, a URL, or `oci://IMAGE`;
    /// `with-query:URL` where the query is part of what the source is.
    pub source: String,
}

/// A runner as it is known.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Runner {
    /// Its identity.
    pub id: RunnerId,
    /// Its name.
    pub name: String,
    /// `connected`, `unreachable`.
    pub status: String,
    /// Takes nothing new.
    pub draining: bool,
    /// Its machine.
    pub host: String,
    /// What it runs on.
    pub platform: String,
    /// Its build.
    pub version: String,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Runs it takes at once; `null` is unlimited.
    pub slots: Option<u32>,
    /// Runs it has.
    pub slots_used: u32,
    /// Sessions whose files it has.
    pub sessions: u32,
    /// Of those, with a live compute.
    pub live: u32,
    /// How far a session is kept from everything else.
    pub isolation: String,
    /// Folders of its machine beneath which clients may name one for a session to work in.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub working_dir_roots: Vec<FolderPath>,
    /// What its probe found.
    pub probe: Probe,
    /// Live computes that this coordinator does not know. They are kept.
    pub unclaimed: Vec<String>,
    /// When it was last heard of.
    pub last_seen_at: Option<Timestamp>,
    /// When it joined.
    pub created_at: Timestamp,
}

/// One entry of a workspace.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct FileInfo {
    /// Path beneath the workspace, with `/` between names.
    pub path: String,
    /// Last part of the path.
    pub name: String,
    /// `file`, `dir`, `symlink`, `other`.
    pub kind: String,
    /// Bytes of a file.
    pub size: u64,
    /// Permission bits.
    pub mode: u32,
    /// When it was last changed.
    pub modified_at: Option<Timestamp>,
}

/// Body of `mkdir`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Mkdir {
    /// Path beneath the workspace.
    pub path: String,
}

/// A change in the feed over all sessions: list again what it names.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "of", rename_all = "snake_case")]
pub enum Change {
    /// A session has a new version of its state.
    Session {
        /// Its name.
        id: SessionId,
        /// Its inner identity.
        uid: greenroom_core::SessionUid,
        /// Counts changes of its state.
        version: u64,
        /// How it stands.
        status: Status,
        /// Last entry of its log.
        last_seq: u64,
    },
    /// A runner has changed.
    Runner {
        /// Which.
        id: RunnerId,
    },
    /// The agents have changed.
    Agents,
}

/// `GET /healthz` and `/readyz`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Health {
    /// `ok` or what is wrong.
    pub status: String,
    /// Build of the coordinator.
    pub version: String,
}
