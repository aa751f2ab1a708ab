//! Where facts are kept. The trait speaks the domain; SQLite is behind it, and one
//! conformance suite says what any other store must do.
#![forbid(unsafe_code)]

#[cfg(feature = "conformance")]
pub mod conformance;
pub mod model;
pub mod sqlite;

use std::sync::Arc;

use async_trait::async_trait;
use greenroom_core::{
    AgentName, Assignment, Event, Principal, Record, Refusal, RunFiles, RunId, RunnerId, Seq,
    Session, SessionId, SessionUid, Timestamp, TokenId,
};
use greenroom_protocol::link::Mark;

pub use model::*;
pub use sqlite::SqliteStore;

/// What can go wrong with a store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The core refuses the command. Nothing has changed.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// There is no such session, or it is not the reporting runner's.
    #[error("no such session")]
    NoSession,
    /// The name is taken by a session that exists.
    #[error("a session {0:?} exists already")]
    NameTaken(SessionId),
    /// No more sessions may be active, or exist. Nothing has changed.
    #[error("{} of {} {} are used", .0.used, .0.limit, .0.quota.counts())]
    QuotaExceeded(QuotaUse),
    /// The idempotency key was used with another body.
    #[error("this idempotency key was used with another request")]
    IdempotencyConflict,
    /// The disk is full. Nothing has changed, and what was there is whole.
    #[error("no space is left for the database; nothing of this request was kept")]
    Full,
    /// The database was written by a newer build.
    #[error(
        "the database has schema {found}, and this build knows {known} at most: use a newer greenroom, or another data folder"
    )]
    Newer {
        /// Schema of the file.
        found: i64,
        /// Newest schema of this build.
        known: i64,
    },
    /// There is no such runner.
    #[error("no such runner")]
    NoRunner,
    /// The cursor was not made by this list.
    #[error("the cursor does not belong to this list: begin again without one")]
    BadCursor,
    /// The runner's instance counter is below the newest: an older process speaks.
    #[error("a newer process of this runner is connected")]
    OldInstance,
    /// Something else, in the database's words.
    #[error("the database failed: {0}")]
    Database(String),
}

/// Short for what a store answers.
pub type Result<T> = std::result::Result<T, StoreError>;

/// Called in commit order, after each commit, on the writer. Must not block.
pub type CommitSink = Arc<dyn Fn(&Arc<Commit>) + Send + Sync>;

/// Where facts are kept. Every verb that writes answers only after its facts are on disk.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Which store this is.
    fn identity(&self) -> StoreIdentity;
    /// Names who is told of each commit. Called once, before anything is written.
    fn on_commit(&self, sink: CommitSink);
    /// Whether a write would succeed now.
    async fn ready(&self) -> Result<()>;
    /// Writes a whole, consistent copy to a file that does not exist yet.
    async fn backup(&self, to: &std::path::Path) -> Result<()>;

    // Sessions.

    /// Creates a session, with its first run and, where there is a parent, the parent's
    /// consent: all of it or nothing.
    async fn create_session(&self, new: NewSession) -> Result<Submitted>;
    /// Decides commands on one session, in order: all of them or none.
    async fn submit(&self, submission: Submission) -> Result<Submitted>;
    /// The session of this identity; also one that is being removed, not one that is gone.
    async fn session(&self, uid: SessionUid) -> Result<Option<Arc<Session>>>;
    /// The session of this name; also one that is being removed.
    async fn session_named(&self, id: &SessionId) -> Result<Option<Arc<Session>>>;
    /// A page of sessions. Never reads logs.
    async fn sessions(&self, query: SessionQuery) -> Result<Page<Arc<Session>>>;
    /// Sessions a reconciler has work with.
    async fn scan(&self, scan: Scan) -> Result<Vec<SessionUid>>;
    /// How many sessions there are, as quotas count them for this owner, and this user of
    /// theirs. Never reads the sessions.
    async fn used(&self, owner: &Principal, user: Option<&str>) -> Result<Used>;
    /// Whether a session of this name existed once and was removed.
    async fn was_removed(&self, id: &SessionId) -> Result<bool>;
    /// Entries of a session's log from `from`, `limit` at most.
    async fn events(&self, uid: SessionUid, from: Seq, limit: u32) -> Result<Vec<Event>>;
    /// Entries of a session's log that hold a receipt, after `after`, `limit` at most.
    async fn receipts(&self, uid: SessionUid, after: Seq, limit: u32) -> Result<Vec<Event>>;
    /// A person has seen a session up to this entry of its log. A mark never goes back.
    async fn see(&self, principal: Principal, uid: SessionUid, seq: Seq) -> Result<()>;
    /// How far a person has seen each session.
    async fn seen(&self, principal: &Principal) -> Result<Vec<(SessionId, Seq)>>;
    /// Removes some rows of sessions that are gone. `false` when there is nothing left to do.
    async fn purge(&self) -> Result<bool>;

    // Runs.

    /// A run, also of a session that is being removed.
    async fn run(&self, run: RunId) -> Result<Option<RunRow>>;
    /// A session's runs, newest first.
    async fn runs(
        &self,
        uid: SessionUid,
        limit: u32,
        cursor: Option<String>,
    ) -> Result<Page<RunRow>>;

    /// The run that has begun and was the last to end, up to this entry of a session's log.
    async fn last_ended(&self, uid: SessionUid, seq: Seq) -> Result<Option<RunId>>;
    /// Of each of these sessions how often its agent was asked something, and how often it has
    /// answered. Never reads logs.
    async fn exchanges(&self, uids: &[SessionUid]) -> Result<Vec<Exchanges>>;

    // The link.

    /// A runner joins, or joins anew with the same id.
    async fn enroll_runner(&self, runner: NewRunner) -> Result<()>;
    /// What a runner says of itself has changed, or it has restarted.
    async fn update_runner(&self, runner: RunnerId, update: RunnerUpdate) -> Result<()>;
    /// One runner.
    async fn runner(&self, runner: RunnerId) -> Result<Option<RunnerRow>>;
    /// The runner of this credential.
    async fn runner_by_credential(&self, hash: [u8; 32]) -> Result<Option<RunnerRow>>;
    /// All runners, with what they have.
    async fn runners(&self) -> Result<Vec<RunnerRow>>;
    /// Forgets a runner. What it has must have been settled before.
    async fn remove_runner(&self, runner: RunnerId) -> Result<()>;
    /// Assignments of a runner changed after `since`, with the newest revision.
    async fn assignments(&self, runner: RunnerId, since: u64) -> Result<(u64, Vec<Assignment>)>;
    /// The runner has obeyed everything up to `rev`: closed assignments may be forgotten.
    async fn acknowledge(&self, runner: RunnerId, rev: u64) -> Result<()>;
    /// Journal records of a runner. Doubles are dropped; what leaves a hole is not taken;
    /// what is of a session not assigned to this runner is not taken either.
    async fn append(
        &self,
        runner: RunnerId,
        records: Vec<Record>,
        place: Vec<Candidate>,
    ) -> Result<Vec<Mark>>;
    /// What a runner kept of the files at the end of a run. Taken once of each run, behind
    /// its end.
    async fn take_files(
        &self,
        runner: RunnerId,
        uid: SessionUid,
        run: RunId,
        files: RunFiles,
    ) -> Result<Told>;
    /// The marks of a session's journals.
    async fn marks(&self, uid: SessionUid) -> Result<Vec<Mark>>;

    // Parents.

    /// Ends of children's runs that were not told to their parents yet.
    async fn completions(&self, limit: u32) -> Result<Vec<Completion>>;
    /// Tells one to its parent, exactly once, or drops it where the parent is gone.
    async fn deliver(
        &self,
        completion: Completion,
        as_run: RunId,
        place: Vec<Candidate>,
    ) -> Result<()>;

    /// Tells several ends to the one parent they have, by one run that says `prompt`: all of
    /// them, or none where one was told before. Answers whether it was done.
    async fn deliver_together(
        &self,
        completions: Vec<Completion>,
        prompt: String,
        as_run: RunId,
        place: Vec<Candidate>,
    ) -> Result<bool>;

    // Agents.

    /// Keeps a description. The same digest from the same source is the same version.
    async fn put_agent(&self, agent: NewAgent) -> Result<AgentRow>;
    /// Keeps a description without putting it in service: another one has its name.
    async fn keep_agent(&self, agent: NewAgent) -> Result<AgentRow>;
    /// What is wrong with the source of an agent, or that nothing is.
    async fn agent_health(
        &self,
        name: &AgentName,
        health: AgentHealth,
        error: Option<String>,
    ) -> Result<()>;
    /// All agents in service.
    async fn agents(&self) -> Result<Vec<AgentRow>>;
    /// An agent in service.
    async fn agent(&self, name: &AgentName) -> Result<Option<AgentRow>>;
    /// A version of an agent, in service or not.
    async fn agent_version(&self, name: &AgentName, version: u32) -> Result<Option<AgentRow>>;
    /// All versions of an agent, newest first.
    async fn agent_versions(&self, name: &AgentName) -> Result<Vec<AgentRow>>;
    /// Takes an agent out of service. Its versions stay for the sessions that have them.
    async fn retire_agent(&self, name: &AgentName) -> Result<bool>;
    /// Puts a version in service that is kept.
    async fn serve_agent(&self, name: &AgentName, version: u32) -> Result<()>;
    /// Takes a version back: it is no choice any more, and stays for the sessions that have it.
    async fn withdraw_agent_version(&self, name: &AgentName, version: u32) -> Result<()>;
    /// Agents of this source that have a version, in service or not.
    async fn agents_of(&self, source_prefix: &str) -> Result<Vec<AgentName>>;
    /// An agent takes nothing new, or does again.
    async fn disable_agent(&self, name: &AgentName, disabled: bool, at: Timestamp) -> Result<()>;
    /// Agents that take nothing new.
    async fn disabled_agents(&self) -> Result<Vec<AgentName>>;
    /// References added by the API.
    async fn sources(&self) -> Result<Vec<String>>;
    /// Adds a reference.
    async fn add_source(&self, reference: &str) -> Result<()>;
    /// Removes a reference.
    async fn remove_source(&self, reference: &str) -> Result<()>;

    /// What a source elsewhere said when it was last reached.
    async fn source_copy(&self, source: &str) -> Result<Option<SourceCopy>>;
    /// Keeps what it says now, in the place of what it said before.
    async fn keep_source_copy(&self, copy: SourceCopy) -> Result<()>;

    // Doors.

    /// Keeps a record of a door, in the place of one of the same key; with `new`, only where
    /// there is none. Answers whether it was kept.
    async fn put_door_record(
        &self,
        key: DoorKey,
        body: String,
        at: Timestamp,
        new: bool,
    ) -> Result<bool>;
    /// Replaces all records of these kinds by others (names and bodies): all of it or nothing.
    async fn replace_door_records(
        &self,
        door: &'static str,
        kinds: Vec<(&'static str, Vec<(String, String)>)>,
        at: Timestamp,
    ) -> Result<()>;
    /// A record of a door.
    async fn door_record(&self, key: &DoorKey) -> Result<Option<DoorRecord>>;
    /// All records of a kind, oldest first.
    async fn door_records(&self, door: &str, kind: &str) -> Result<Vec<DoorRecord>>;
    /// Removes a record. Answers whether there was one.
    async fn remove_door_record(&self, key: DoorKey) -> Result<bool>;

    // Tokens. Only hashes are kept.

    /// Keeps a token.
    async fn put_token(&self, token: TokenRow) -> Result<()>;
    /// The token of this hash.
    async fn token_by_hash(&self, hash: [u8; 32]) -> Result<Option<TokenRow>>;
    /// All tokens.
    async fn tokens(&self) -> Result<Vec<TokenRow>>;
    /// Revokes a token.
    async fn revoke_token(&self, id: TokenId) -> Result<bool>;

    // Time.

    /// The spans of wall time in which a coordinator was up, in the order in which they were.
    async fn spans(&self) -> Result<Vec<Span>>;
    /// Puts a span in its place among them, counted from 0: a new one behind the last, or the
    /// last one as it is now.
    async fn put_span(&self, place: u32, span: Span) -> Result<()>;

    /// Ends the writer after what it has. Nothing can be written afterwards.
    async fn close(&self);
}
