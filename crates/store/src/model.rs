//! What goes into a store and comes out of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use greenroom_core::agent::AgentSpec;
use greenroom_core::command::{Command, Create, Mode, TreeBounds};
use greenroom_core::run::RunStatus;
use greenroom_core::{
    AgentName, Event, Principal, RunId, RunnerId, Session, SessionId, SessionUid, Status, StoreId,
    Timestamp, TokenId,
};
use greenroom_protocol::link::RunnerInfo;
use greenroom_protocol::token::Role;
use serde_json::Value;

/// Which store this is.
#[derive(Debug, Clone)]
pub struct StoreIdentity {
    /// Made once, with the database.
    pub store_id: StoreId,
    /// Changed by a restore from a backup: cursors of another era are not understood.
    pub era: u32,
    /// Key for the tokens of agents. Never leaves the coordinator.
    pub secret: [u8; 32],
}

/// A span of wall time in which a coordinator was up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Span {
    /// When it began.
    pub began: Timestamp,
    /// Up to when it is known to have lasted.
    pub ended: Timestamp,
}

/// What one commit did to one session.
#[derive(Debug)]
pub struct Commit {
    /// The session as it is now.
    pub session: Arc<Session>,
    /// What was appended to its log.
    pub events: Vec<Event>,
    /// Whether its state has a new version, as opposed to output alone.
    pub state_changed: bool,
    /// Runners whose assignments have changed.
    pub assigned: Vec<RunnerId>,
}

/// A session to create.
pub struct NewSession {
    /// What it begins with.
    pub create: Create,
    /// How its first run treats a busy session; kept with the run.
    pub mode: Mode,
    /// What is decided on it right away, in the same commit.
    pub then: Vec<Command>,
    /// Bounds its parent's consent is subject to, where it has a parent.
    pub bounds: TreeBounds,
    /// How many sessions there may be with it.
    pub quotas: Quotas,
    /// Places it may take in the same commit, the best first.
    pub place: Vec<Candidate>,
    /// Makes a repetition answer the same.
    pub idempotency: Option<Idempotency>,
    /// When.
    pub at: Timestamp,
}

/// Commands on one session.
pub struct Submission {
    /// The session.
    pub uid: SessionUid,
    /// What is asked or reported, in order.
    pub commands: Vec<Command>,
    /// The runner that reports, which must be the session's home.
    pub from: Option<RunnerId>,
    /// How a prompt among the commands treats a busy session; kept with the run.
    pub mode: Mode,
    /// How many sessions may be active, should this one become so by it; reports and what was
    /// admitted before are under none.
    pub quotas: Quotas,
    /// Places the session may take in the same commit, the best first.
    pub place: Vec<Candidate>,
    /// Makes a repetition answer the same.
    pub idempotency: Option<Idempotency>,
    /// When.
    pub at: Timestamp,
}

impl Submission {
    /// Commands without a reporting runner, place or key.
    pub fn new(uid: SessionUid, at: Timestamp, commands: Vec<Command>) -> Self {
        Self {
            uid,
            commands,
            from: None,
            mode: Mode::default(),
            quotas: Quotas::default(),
            place: Vec::new(),
            idempotency: None,
            at,
        }
    }
}

/// How many sessions there may be; unlimited where absent. An owner is each of the users that
/// a program of the owner's names, and the owner's own sessions beside them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Quotas {
    /// Active ones: with a compute, or waiting for one.
    pub active: Option<u32>,
    /// Active ones of one owner.
    pub active_per_owner: Option<u32>,
    /// Those of one owner that exist: neither expired nor being removed.
    pub sessions_per_owner: Option<u32>,
}

/// Sessions, as quotas count them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Used {
    /// Active ones.
    pub active: u32,
    /// Active ones of the owner.
    pub active_per_owner: u32,
    /// Those of the owner that exist.
    pub sessions_per_owner: u32,
}

/// A quota, and how much of it is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QuotaUse {
    /// The quota.
    pub quota: Quota,
    /// So many may be.
    pub limit: u32,
    /// So many are.
    pub used: u32,
}

/// One of the quotas.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quota {
    /// [`Quotas::active`].
    Active,
    /// [`Quotas::active_per_owner`].
    ActivePerOwner,
    /// [`Quotas::sessions_per_owner`].
    SessionsPerOwner,
}

impl Quota {
    /// In words: what there is so much of.
    pub fn counts(self) -> &'static str {
        match self {
            Self::Active => "active sessions in the whole Greenroom",
            Self::ActivePerOwner => "active sessions of their owner",
            Self::SessionsPerOwner => "sessions of their owner",
        }
    }
}

impl Quotas {
    /// Those that are set, with how much of each is used.
    pub fn uses(self, used: Used) -> impl Iterator<Item = QuotaUse> {
        let all = [
            (Quota::Active, self.active, used.active),
            (Quota::ActivePerOwner, self.active_per_owner, used.active_per_owner),
            (Quota::SessionsPerOwner, self.sessions_per_owner, used.sessions_per_owner),
        ];
        all.into_iter()
            .filter_map(|(quota, limit, used)| Some(QuotaUse { quota, limit: limit?, used }))
    }
}

/// A runner that could take a compute or a run.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// The runner.
    pub runner: RunnerId,
    /// Runs it takes at once; unlimited where absent. Checked inside the commit.
    pub slots: Option<u32>,
}

/// What makes a repeated request answer the same.
pub struct Idempotency {
    /// Principal and route: keys of others are others.
    pub scope: String,
    /// The caller's key.
    pub key: String,
    /// SHA-256 of the canonical body.
    pub body: [u8; 32],
    /// Renders the answer that is kept, from the session as committed.
    pub render: Box<dyn FnOnce(&Session) -> Answer + Send>,
}

/// An answer that is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Its HTTP status, a 2xx.
    pub status: u16,
    /// Its body.
    pub body: Vec<u8>,
}

/// What became of a submission.
#[derive(Debug)]
pub enum Submitted {
    /// It is on disk.
    Done {
        /// What it did.
        commit: Arc<Commit>,
        /// The answer that was kept, where there was a key.
        answer: Option<Answer>,
    },
    /// The key was used before, with the same body: this was answered.
    Replay(Answer),
}

/// A page.
#[derive(Debug, Clone)]
pub struct Page<T> {
    /// Entries.
    pub items: Vec<T>,
    /// Where the next page begins.
    pub next: Option<String>,
}

/// Which sessions.
#[derive(Debug, Clone, Default)]
pub struct SessionQuery {
    /// Any of these statuses; all where empty.
    pub statuses: Vec<Status>,
    /// Of this agent.
    pub agent: Option<String>,
    /// With these labels.
    pub labels: BTreeMap<String, String>,
    /// At home on this runner.
    pub runner: Option<RunnerId>,
    /// Children of this session.
    pub parent: Option<SessionUid>,
    /// Only those whose parent is not among what can be listed: none, gone, or another's.
    pub roots: bool,
    /// This session and its children: all that its agent may see.
    pub family: Option<SessionUid>,
    /// With this text in id, title or agent.
    pub text: Option<String>,
    /// In this order.
    pub sort: Sort,
    /// For this user of the owner's; whoever they are for where absent.
    pub user: Option<String>,
    /// Only this side of a session, in a list in order of creation.
    pub beyond: Option<Beyond>,
    /// Only what this principal owns, or what is shared; all where absent.
    pub visible_to: Option<Principal>,
    /// Also those that have expired.
    pub expired: bool,
    /// So many, 1 to 1000.
    pub limit: u32,
    /// From here.
    pub cursor: Option<String>,
}

/// A part of a list of sessions, as one that has been seen of it cuts it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Beyond {
    /// What comes after it.
    After(SessionId),
    /// The nearest of what comes before it, in the list's order.
    Before(SessionId),
}

/// In which order.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Sort {
    /// Newest first.
    #[default]
    Created,
    /// Oldest first.
    Oldest,
    /// Last active first.
    Active,
    /// By name.
    Id,
}

/// What a reconciler looks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scan {
    /// Sessions that need a place.
    NeedPlace,
    /// Sessions with a stop under way.
    Stopping,
    /// Sessions with a compute on this runner.
    LiveOn(RunnerId),
    /// Sessions at home on this runner.
    HomeOn(RunnerId),
    /// Sessions being removed.
    Deleting,
    /// Idle sessions with an idle limit.
    IdleLimited,
    /// Sessions that expire after a time.
    TtlLimited,
    /// Sessions that have expired.
    Expired,
}

/// A run as it is kept.
#[derive(Debug, Clone, PartialEq)]
pub struct RunRow {
    /// Its identity.
    pub id: RunId,
    /// Its session.
    pub uid: SessionUid,
    /// Name of its session.
    pub session_id: SessionId,
    /// How it stands.
    pub status: RunStatus,
    /// What it asks, as text.
    pub prompt: Option<String>,
    /// What it asks, as a document.
    pub input: Option<Value>,
    /// What it did when the session was busy.
    pub mode: Mode,
    /// Its structured answer.
    pub result: Option<Value>,
    /// Why it did not complete: code and message.
    pub error: Option<(String, String)>,
    /// Tokens and cost.
    pub usage: greenroom_core::session::Usage,
    /// Whether its end is told to the parent.
    pub callback: bool,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// When its agent saw it.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// What was kept of the files at its end, as far as that is known.
    pub files: Option<greenroom_core::RunFiles>,
}

/// What became of what a runner has told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// It need not be told again: it is in the log, or there is no place for it there.
    Over,
    /// The run has not ended in the log yet.
    Early,
    /// The session is none of this runner's.
    Nobody,
}

/// What was said between a session's users and its agent, counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Exchanges {
    /// Runs that its agent has seen.
    pub asked: u32,
    /// Of those, the ones that were answered.
    pub answered: u32,
}

/// A runner that joins.
#[derive(Debug, Clone)]
pub struct NewRunner {
    /// Its own id.
    pub id: RunnerId,
    /// SHA-256 of its credential.
    pub credential: [u8; 32],
    /// What it says of itself.
    pub info: RunnerInfo,
    /// When.
    pub at: Timestamp,
}

/// What changed about a runner.
#[derive(Debug, Clone, Default)]
pub struct RunnerUpdate {
    /// What it says of itself.
    pub info: Option<RunnerInfo>,
    /// Its start counter. A lower one than the newest is refused as `OldInstance`.
    pub instance: Option<u64>,
    /// Whether it takes nothing new.
    pub draining: Option<bool>,
    /// When it was last heard of. Kept coarsely; who is connected now is not the store's.
    pub seen_at: Option<Timestamp>,
}

/// A runner as it is kept.
#[derive(Debug, Clone)]
pub struct RunnerRow {
    /// Its identity.
    pub id: RunnerId,
    /// What it says of itself.
    pub info: RunnerInfo,
    /// Its newest start counter.
    pub instance: u64,
    /// Whether it takes nothing new.
    pub draining: bool,
    /// Runs it has.
    pub slots_used: u32,
    /// Sessions at home on it.
    pub sessions: u32,
    /// Of those, with a live compute.
    pub live: u32,
    /// When it was last heard of.
    pub seen_at: Option<Timestamp>,
    /// When it joined.
    pub created_at: Timestamp,
}

/// An end of a child's run that its parent is to be told.
#[derive(Debug, Clone)]
pub struct Completion {
    /// Position in the outbox.
    pub id: i64,
    /// Who is told.
    pub parent: SessionUid,
    /// The child.
    pub child: SessionUid,
    /// Its name.
    pub child_id: SessionId,
    /// Its run.
    pub run: RunId,
    /// How that ended.
    pub status: RunStatus,
    /// What to say: the child's last text or result, shortened.
    pub text: String,
    /// Its text may still be under way: the receipt has overtaken the journal.
    pub awaited: bool,
}

/// How an agent's source is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AgentHealth {
    /// The version in service is what the source says.
    Ok,
    /// The source is broken; the last good version serves.
    Stale,
    /// The source is gone; the last good version serves.
    Missing,
}

/// A description to keep.
#[derive(Debug, Clone)]
pub struct NewAgent {
    /// The checked description.
    pub spec: AgentSpec,
    /// Where it came from, as `kind:key`.
    pub source: String,
    /// SHA-256 of the description, hexadecimal.
    pub digest: String,
    /// Why nothing can be started of it. Such a version is kept, and never put in service.
    pub failure: Option<String>,
    /// When.
    pub at: Timestamp,
}

/// What a source elsewhere said when it was last reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceCopy {
    /// The source, as `kind:key`.
    pub source: String,
    /// How it names this state of itself: an ETag, a digest.
    pub tag: Option<String>,
    /// What it said.
    pub text: String,
    /// When it was last reached and said so.
    pub fetched_at: Timestamp,
}

/// What names a record of a door.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DoorKey {
    /// The door.
    pub door: &'static str,
    /// What kind of record.
    pub kind: &'static str,
    /// Its name among those of its kind.
    pub id: String,
}

/// What a door keeps for itself: registries, hooks. What a session, an agent or a run *is*
/// stands in their own facts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DoorRecord {
    /// Its name among those of its kind.
    pub id: String,
    /// What the door has written.
    pub body: String,
    /// When it was first kept.
    pub created_at: Timestamp,
    /// When it was last kept.
    pub updated_at: Timestamp,
}

/// A version of an agent as it is kept.
#[derive(Debug, Clone)]
pub struct AgentRow {
    /// The description.
    pub spec: Arc<AgentSpec>,
    /// Its name.
    pub name: AgentName,
    /// Which description of that name.
    pub version: u32,
    /// Where it came from.
    pub source: String,
    /// SHA-256 of the description.
    pub digest: String,
    /// How its source is.
    pub health: AgentHealth,
    /// What is wrong with it.
    pub error: Option<String>,
    /// Why nothing can be started of this version.
    pub failure: Option<String>,
    /// It was taken back. It stays for the sessions that have it.
    pub withdrawn: bool,
    /// When this version was first seen.
    pub updated_at: Timestamp,
}

/// A token as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRow {
    /// Its identity.
    pub id: TokenId,
    /// SHA-256 of its secret.
    pub hash: [u8; 32],
    /// What it allows.
    pub role: Role,
    /// Who it speaks for.
    pub principal: Principal,
    /// Whether it is void after its first use (a one-time login link).
    pub once: bool,
    /// When it was made.
    pub created_at: Timestamp,
}
