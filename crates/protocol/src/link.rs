//! The link between runner and coordinator: everything is started by the runner.
//!
//! | call | what |
//! |---|---|
//! | `POST /v1/link/enroll` | a join token becomes the runner's own credential, once |
//! | `POST /v1/link/sync` | long poll: heartbeat, acknowledgement, list and wake-up in one |
//! | `POST /v1/link/records` | NDJSON of journal records; idempotent |
//! | `GET /v1/link/computes/{uid}/{epoch}` | the body of an assignment: [`ComputeBody`] |
//! | `GET /v1/link/runs/{run}` | the body of a dispatched run: [`RunBody`] |
//! | `GET /v1/link/computes/{uid}/{epoch}/answers/{id}` | what was answered: [`AnswerBody`] |
//! | `GET /v1/link/computes/{uid}/{epoch}/settings` | the settings it goes by now: [`SettingsBody`] |
//! | `GET /v1/link/streams/{id}` | the bytes a client sends (an upload) |
//! | `POST /v1/link/streams/{id}` | the bytes a client gets; a [`StreamHead`] line first |
//!
//! Absence is never a command: what a reply does not name is left as it is.

use std::collections::BTreeMap;

use greenroom_core::agent::AgentSpec;
use greenroom_core::approval::{Answer, Policy};
use greenroom_core::record::Writer;
use greenroom_core::{
    Assignment, Epoch, FolderPath, Generation, Limits, Receipt, RunFiles, RunId, RunnerId,
    SessionId, SessionUid, SessionWorkspace, Settings, StoreId, StreamId,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::v1::PushRequest;

/// Body of `enroll`, sent with a join token as bearer.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct EnrollRequest {
    /// The runner's own id, made by it and kept with its data.
    pub runner_id: RunnerId,
    /// What it is.
    pub info: RunnerInfo,
}

/// Answer of `enroll`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct EnrollReply {
    /// The runner's own bearer from now on. Said once.
    pub credential: String,
    /// The only store it obeys.
    pub store_id: StoreId,
}

/// What a runner says of itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RunnerInfo {
    /// Its name, for people.
    pub name: String,
    /// Name of its machine.
    pub host: String,
    /// What it runs on: `linux x86_64`.
    pub platform: String,
    /// Its build.
    pub version: String,
    /// Labels for placement.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Runs it takes at once; unlimited where absent.
    #[serde(default)]
    pub slots: Option<u32>,
    /// How far a session is kept from everything else: `none`, `landlock`, `uid`.
    pub isolation: String,
    /// What its probe found, by doing.
    pub probe: Probe,
    /// Whether it keeps the files of each run's end, and can be asked for them.
    #[serde(default)]
    pub keeps_files: bool,
    /// Folders of its machine beneath which clients may name one for a session to work in.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub working_dir_roots: Vec<FolderPath>,
    /// Which other system it is of, where it is not one of ours.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub foreign: Option<ForeignRunner>,
}

/// A runner of another system: what came in by that system's door.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ForeignRunner {
    /// The system, by the name of its door. It takes agents of that system, and no others.
    pub system: String,
    /// Its name there.
    pub id: String,
    /// Whether it is registered now. One that has left is kept for the sessions it is home to.
    pub registered: bool,
    /// Whether it takes only what asks for at least one of its tags.
    #[serde(default)]
    pub only_tagged: bool,
    /// Who has registered it and speaks for it.
    pub principal: String,
    /// Whose sessions alone it takes: of somebody who may not see those of others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub only_of: Option<String>,
    /// What else it has said of itself, as it has said it.
    pub said: Value,
}

/// What a runner's probe found, by doing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Probe {
    /// Computes are put into a control group by `clone3` and ended by `cgroup.kill`.
    pub cgroup_kill: bool,
    /// By what memory limits are kept: `cgroup2`, `cgroup1`, `sampling`.
    pub memory: String,
    /// By what process limits are kept: `cgroup2`, `cgroup1`, `sampling`.
    pub pids: String,
    /// Where computes live.
    pub cgroup: Option<String>,
    /// Whether agents outlive this runner here.
    pub outlives_runner: bool,
    /// What is not as it should be, and why, for people.
    #[serde(default)]
    pub notes: Vec<String>,
}

/// Body of `sync`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct SyncRequest {
    /// The only store this runner obeys; another answers 409 `foreign_store`.
    pub store_id: StoreId,
    /// Counts starts of this runner, kept in its data folder. A lower one is refused.
    pub instance: u64,
    /// Everything up to this revision has been obeyed. 0 asks for all.
    pub since_rev: u64,
    /// How long to wait for news, in milliseconds; 15 000 at most.
    pub wait_ms: u64,
    /// On the first call, and when it has changed.
    #[serde(default)]
    pub info: Option<RunnerInfo>,
    /// Takes nothing new.
    #[serde(default)]
    pub draining: bool,
    /// Whether `computes` names all that this runner has. Never read as a command.
    #[serde(default)]
    pub full: bool,
    /// Computes that changed since the last answered call, or all.
    #[serde(default)]
    pub computes: Vec<ObservedCompute>,
    /// Sessions whose files are removed, on `gone`.
    #[serde(default)]
    pub removed: Vec<SessionUid>,
    /// The highest epoch closed here, for each session that has one. Said with `full`, so
    /// that a store restored from an older backup hands none of them out again.
    #[serde(default)]
    pub floors: Vec<Floor>,
    /// What was kept of the files at ends of runs. Said again until it is acknowledged.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<KeptFiles>,
}

/// What a runner has kept of the files at the end of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct KeptFiles {
    /// The session.
    pub uid: SessionUid,
    /// The run.
    pub run: RunId,
    /// What was kept.
    pub files: RunFiles,
}

/// How far a session has come on a runner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Floor {
    /// The session.
    pub uid: SessionUid,
    /// The highest epoch closed there.
    pub epoch: Epoch,
}

/// What a runner sees of one compute.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ObservedCompute {
    /// The session.
    pub uid: SessionUid,
    /// Its compute.
    pub epoch: Epoch,
    /// The generation this reflects.
    pub generation: Generation,
    /// How it is.
    pub state: ObservedState,
    /// The first journal index of the shim that is still here, where something is.
    #[serde(default)]
    pub first_index: Option<u64>,
}

/// How a compute is, as its runner sees it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum ObservedState {
    /// It lives, or is coming up.
    Live,
    /// It is closed, and this is why. Sent ahead of the journal when that is behind.
    Closed {
        /// The evidence.
        receipt: Box<Receipt>,
    },
    /// It is closed, or a later one is, and the receipt is no longer here.
    Fenced {
        /// The highest epoch closed here.
        floor: Epoch,
    },
    /// It may be gone, and it cannot be proven.
    Unproven {
        /// What was found.
        evidence: String,
    },
}

/// Answer of `sync`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct SyncReply {
    /// The store that speaks.
    pub store_id: StoreId,
    /// Which history of that store: a restore from a backup begins another, in which
    /// generations and revisions may be lower than they were.
    #[serde(default)]
    pub era: u32,
    /// The revision this brings the runner to.
    pub rev: u64,
    /// Assignments that changed since `since_rev`.
    #[serde(default)]
    pub assignments: Vec<Assignment>,
    /// Transfers to dial.
    #[serde(default)]
    pub opens: Vec<OpenStream>,
    /// Journal indexes that are durable here, for the computes the request named.
    #[serde(default)]
    pub marks: Vec<Mark>,
    /// Live computes the request named that this store does not know. They are kept.
    #[serde(default)]
    pub unclaimed: Vec<SessionUid>,
    /// The runner should take nothing new.
    #[serde(default)]
    pub drain: bool,
    /// The runs of whose files the request told and that need not be told again. Absent from
    /// a coordinator that does not listen to that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub files: Option<Vec<RunId>>,
}

/// A stream of a journal is durable at the coordinator up to an index.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Mark {
    /// The session.
    pub uid: SessionUid,
    /// Its compute.
    pub epoch: Epoch,
    /// Whose stream.
    pub writer: Writer,
    /// Contiguous from 1 up to here.
    pub index: u64,
}

/// Answer of `records`. A record at or below a mark is a double and is dropped; one that
/// leaves a hole is not taken, and the mark says where to go on.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct RecordsReply {
    /// The marks of every stream the request named.
    pub marks: Vec<Mark>,
}

/// A live frame, sent beside records as NDJSON lines of `{"delta": …}`. Never logged.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Delta {
    /// The session.
    pub uid: SessionUid,
    /// The run.
    pub run: RunId,
    /// Which of the run's texts.
    pub part: u32,
    /// Byte offset of `text` in that part.
    pub offset: u64,
    /// The text.
    pub text: String,
}

/// One line of `records`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RecordLine {
    /// A journal record.
    Record(Box<greenroom_core::Record>),
    /// A live frame.
    Delta(Delta),
}

/// The body of an assignment. It never changes for its epoch.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ComputeBody {
    /// The session's name.
    pub session: SessionId,
    /// The agent as it was pinned.
    pub agent: AgentSpec,
    /// What the session works in instead of the agent's workspace: its client has named it,
    /// so the runner checks it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub workspace: Option<SessionWorkspace>,
    /// Limits in force when it was placed.
    pub limits: Limits,
    /// What it goes by until there is an edit. Absent from a coordinator that edits none of a
    /// live compute; its agent says all there is then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settings: Option<Settings>,
    /// The policies of approvals it stays within, beside its agent's, into which the
    /// session's own is worked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub within: Vec<Policy>,
    /// Greenroom's own variables for the agent: `GREENROOM_URL`, `GREENROOM_SESSION`,
    /// `GREENROOM_TOKEN` (of role `agent`) and others. A secret: never written to disk.
    pub env: BTreeMap<String, String>,
    /// The agent's own name for the conversation, from an earlier compute.
    #[serde(default)]
    pub conversation: Option<String>,
    /// Whether an earlier compute has begun a run.
    #[serde(default)]
    pub resumed: bool,
}

/// The settings of a session, as they are now.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct SettingsBody {
    /// All of them.
    pub settings: Settings,
}

/// The answer to what an agent asked.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct AnswerBody {
    /// The answer.
    pub answer: Answer,
}

/// The body of a run.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct RunBody {
    /// What it asks, as text.
    #[serde(default)]
    pub prompt: Option<String>,
    /// What it asks, as a document.
    #[serde(default)]
    pub input: Option<Value>,
}

/// A transfer to dial. Forgotten 30 s after it was asked for.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct OpenStream {
    /// Its identity.
    pub stream: StreamId,
    /// The session whose files it is about.
    pub uid: SessionUid,
    /// Where to dial; the coordinator's own address where absent.
    #[serde(default)]
    pub reply_to: Option<String>,
    /// What to do.
    pub kind: StreamKind,
}

/// What a transfer does, beneath the session's workspace or with its agent.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum StreamKind {
    /// List a folder: answers JSON `FileList`.
    List {
        /// Path beneath the workspace.
        path: String,
    },
    /// One entry: answers JSON `FileInfo`.
    Stat {
        /// Path beneath the workspace.
        path: String,
    },
    /// Read a regular file: answers its bytes.
    Read {
        /// Path beneath the workspace.
        path: String,
    },
    /// Write a regular file from the bytes of `GET …/streams/{id}`: answers JSON `FileInfo`.
    Write {
        /// Path beneath the workspace.
        path: String,
    },
    /// Make a folder and those above it: answers JSON `FileInfo`.
    Mkdir {
        /// Path beneath the workspace.
        path: String,
    },
    /// What the session has changed in its clone: answers a patch.
    Diff,
    /// Push what the session has committed: answers JSON `Pushed`.
    Push(PushRequest),
    /// A request for the session's agent, which serves HTTP: answers its head, in
    /// [`StreamHead::http`], and its bytes.
    Http(HttpRequest),
    /// Look at the files as they were at the end of a run. Asked only of a runner that
    /// `keeps_files`.
    Kept {
        /// The run.
        run: RunId,
        /// What to look at.
        look: Look,
    },
    /// Remove a file or folder.
    Remove {
        /// Path beneath the workspace.
        path: String,
        /// Also a folder that is not empty.
        recursive: bool,
    },
}

/// What to look at of files as they were.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Look {
    /// A folder: answers JSON `FileList`.
    List {
        /// Path beneath the workspace.
        path: String,
    },
    /// One entry: answers JSON `FileInfo`.
    Stat {
        /// Path beneath the workspace.
        path: String,
    },
    /// A regular file: answers its bytes.
    Read {
        /// Path beneath the workspace.
        path: String,
    },
    /// What was changed until then: answers a patch.
    Diff {
        /// Since the end of this run; since the session began where absent.
        #[serde(default)]
        since: Option<RunId>,
    },
}

/// A request on its way to an agent that serves HTTP.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct HttpRequest {
    /// The compute it is for, and no other.
    pub epoch: Epoch,
    /// Its method.
    pub method: String,
    /// Path and query, as they stand in the request's first line.
    pub target: String,
    /// Its headers, but for those of one connection.
    pub headers: Vec<(String, String)>,
    /// Whether bytes follow, from `GET …/streams/{id}`. They are the request's body; of a
    /// request for an upgrade, what its client says once that is granted.
    pub body: bool,
}

/// The head of an agent's answer.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct HttpReply {
    /// Its status.
    pub status: u16,
    /// Its headers, but for those of one connection.
    pub headers: Vec<(String, String)>,
}

/// First line of what a runner posts to a stream; the bytes follow.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
pub struct StreamHead {
    /// What went wrong, where something did.
    #[serde(default)]
    pub problem: Option<crate::Problem>,
    /// How many bytes follow, where that is known.
    #[serde(default)]
    pub length: Option<u64>,
    /// What the agent answered, where it was asked over HTTP.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<HttpReply>,
}
