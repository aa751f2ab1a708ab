//! The verbs: what writes goes to the writer, what reads to a connection of its own.

use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use greenroom_core::{
    AgentName, Assignment, Event, Principal, Record, RunFiles, RunId, RunnerId, Seq, Session,
    SessionId, SessionUid, Timestamp, TokenId,
};
use greenroom_protocol::link::Mark;

use crate::*;

use super::list::Reader;
use super::writer::{Lane, Probe};
use super::{
    agents, append, copies, doors, files, list, outbox, purge, quotas, runners, runs, seen,
    sessions, spans, tokens, upkeep,
};

impl SqliteStore {
    fn reader(&self) -> Reader<'_> {
        Reader { pool: &self.readers, lanes: &self.lanes }
    }
}

#[async_trait]
impl Store for SqliteStore {
    fn identity(&self) -> StoreIdentity {
        self.identity.clone()
    }

    fn on_commit(&self, sink: CommitSink) {
        if self.sink.set(sink).is_err() {
            tracing::warn!("commits are published to the first sink that was named");
        }
    }

    async fn ready(&self) -> Result<()> {
        self.lanes.ask(Lane::Control, Probe(self.committed.clone())).await
    }

    async fn backup(&self, to: &Path) -> Result<()> {
        upkeep::backup(&self.options, to).await
    }

    async fn create_session(&self, new: NewSession) -> Result<Submitted> {
        self.lanes.ask(Lane::Control, sessions::CreateSession(new)).await
    }

    async fn submit(&self, submission: Submission) -> Result<Submitted> {
        self.lanes.ask(Lane::Control, sessions::Submit(submission)).await
    }

    async fn session(&self, uid: SessionUid) -> Result<Option<Arc<Session>>> {
        self.reader().session(uid).await
    }

    async fn session_named(&self, id: &SessionId) -> Result<Option<Arc<Session>>> {
        self.reader().named(id).await
    }

    async fn sessions(&self, query: SessionQuery) -> Result<Page<Arc<Session>>> {
        self.reader().page(query).await
    }

    async fn scan(&self, scan: Scan) -> Result<Vec<SessionUid>> {
        list::scan(&self.readers, scan).await
    }

    async fn used(&self, owner: &Principal, user: Option<&str>) -> Result<Used> {
        quotas::used(&mut *self.readers.acquire().await?, owner, user, -1).await
    }

    async fn was_removed(&self, id: &SessionId) -> Result<bool> {
        list::was_removed(&self.readers, id).await
    }

    async fn events(&self, uid: SessionUid, from: Seq, limit: u32) -> Result<Vec<Event>> {
        list::events(&self.readers, uid, from, limit).await
    }

    async fn purge(&self) -> Result<bool> {
        self.lanes.ask(Lane::Bulk, purge::Purge).await
    }

    async fn run(&self, run: RunId) -> Result<Option<RunRow>> {
        runs::one(&self.readers, run).await
    }

    async fn runs(
        &self,
        uid: SessionUid,
        limit: u32,
        cursor: Option<String>,
    ) -> Result<Page<RunRow>> {
        runs::page(&self.readers, uid, limit, cursor).await
    }

    async fn last_ended(&self, uid: SessionUid, seq: Seq) -> Result<Option<RunId>> {
        files::last_ended(&self.readers, uid, seq).await
    }

    async fn take_files(
        &self,
        runner: RunnerId,
        uid: SessionUid,
        run: RunId,
        files: RunFiles,
    ) -> Result<Told> {
        self.lanes.ask(Lane::Bulk, files::Take { runner, uid, run, files }).await
    }

    async fn exchanges(&self, uids: &[SessionUid]) -> Result<Vec<Exchanges>> {
        runs::exchanges(&self.readers, uids).await
    }

    async fn enroll_runner(&self, runner: NewRunner) -> Result<()> {
        self.lanes.ask(Lane::Control, runners::Enroll(runner)).await
    }

    async fn update_runner(&self, runner: RunnerId, update: RunnerUpdate) -> Result<()> {
        self.lanes.ask(Lane::Control, runners::Update(runner, update)).await
    }

    async fn runner(&self, runner: RunnerId) -> Result<Option<RunnerRow>> {
        runners::one(&self.readers, runner).await
    }

    async fn runner_by_credential(&self, hash: [u8; 32]) -> Result<Option<RunnerRow>> {
        runners::by_credential(&self.readers, hash).await
    }

    async fn runners(&self) -> Result<Vec<RunnerRow>> {
        runners::all(&self.readers).await
    }

    async fn remove_runner(&self, runner: RunnerId) -> Result<()> {
        self.lanes.ask(Lane::Control, runners::Remove(runner)).await
    }

    async fn assignments(&self, runner: RunnerId, since: u64) -> Result<(u64, Vec<Assignment>)> {
        runners::assignments(&self.readers, runner, since).await
    }

    async fn acknowledge(&self, runner: RunnerId, rev: u64) -> Result<()> {
        if runners::has_obeyed(&self.readers, runner, rev).await? {
            self.lanes.ask(Lane::Control, runners::Acknowledge(runner, rev)).await?;
        }
        Ok(())
    }

    async fn append(
        &self,
        runner: RunnerId,
        records: Vec<Record>,
        place: Vec<Candidate>,
    ) -> Result<Vec<Mark>> {
        self.lanes.ask(Lane::Bulk, append::Append { runner, records, place }).await
    }

    async fn marks(&self, uid: SessionUid) -> Result<Vec<Mark>> {
        list::marks(&self.readers, uid).await
    }

    async fn completions(&self, limit: u32) -> Result<Vec<Completion>> {
        outbox::pending(&self.readers, limit).await
    }

    async fn deliver(
        &self,
        completion: Completion,
        as_run: RunId,
        place: Vec<Candidate>,
    ) -> Result<()> {
        self.lanes.ask(Lane::Control, outbox::Deliver { completion, as_run, place }).await
    }

    async fn deliver_together(
        &self,
        completions: Vec<Completion>,
        prompt: String,
        as_run: RunId,
        place: Vec<Candidate>,
    ) -> Result<bool> {
        let work = outbox::DeliverTogether { completions, prompt, as_run, place };
        self.lanes.ask(Lane::Control, work).await
    }

    async fn keep_agent(&self, agent: NewAgent) -> Result<AgentRow> {
        self.lanes.ask(Lane::Control, agents::Keep(agent)).await
    }

    async fn source_copy(&self, source: &str) -> Result<Option<SourceCopy>> {
        copies::one(&self.readers, source).await
    }

    async fn keep_source_copy(&self, copy: SourceCopy) -> Result<()> {
        self.lanes.ask(Lane::Control, copies::Keep(copy)).await
    }

    async fn put_agent(&self, agent: NewAgent) -> Result<AgentRow> {
        self.lanes.ask(Lane::Control, agents::Put(agent)).await
    }

    async fn agent_health(
        &self,
        name: &AgentName,
        health: AgentHealth,
        error: Option<String>,
    ) -> Result<()> {
        self.lanes.ask(Lane::Control, agents::SetHealth(name.clone(), health, error)).await
    }

    async fn agents(&self) -> Result<Vec<AgentRow>> {
        agents::all(&self.readers).await
    }

    async fn agent(&self, name: &AgentName) -> Result<Option<AgentRow>> {
        agents::one(&self.readers, name).await
    }

    async fn agent_version(&self, name: &AgentName, version: u32) -> Result<Option<AgentRow>> {
        agents::version(&self.readers, name, version).await
    }

    async fn retire_agent(&self, name: &AgentName) -> Result<bool> {
        self.lanes.ask(Lane::Control, agents::Retire(name.clone())).await
    }

    async fn serve_agent(&self, name: &AgentName, version: u32) -> Result<()> {
        let change = agents::Change::Serve(version);
        self.lanes.ask(Lane::Control, agents::SetAgent(name.clone(), change)).await
    }

    async fn withdraw_agent_version(&self, name: &AgentName, version: u32) -> Result<()> {
        let change = agents::Change::Withdraw(version);
        self.lanes.ask(Lane::Control, agents::SetAgent(name.clone(), change)).await
    }

    async fn agents_of(&self, source_prefix: &str) -> Result<Vec<AgentName>> {
        agents::of_source(&self.readers, source_prefix).await
    }

    async fn disable_agent(&self, name: &AgentName, disabled: bool, at: Timestamp) -> Result<()> {
        let change = if disabled { agents::Change::Disable(at) } else { agents::Change::Enable };
        self.lanes.ask(Lane::Control, agents::SetAgent(name.clone(), change)).await
    }

    async fn disabled_agents(&self) -> Result<Vec<AgentName>> {
        agents::disabled(&self.readers).await
    }

    async fn sources(&self) -> Result<Vec<String>> {
        agents::sources(&self.readers).await
    }

    async fn add_source(&self, reference: &str) -> Result<()> {
        self.lanes.ask(Lane::Control, agents::Source::Add(reference.to_owned())).await
    }

    async fn remove_source(&self, reference: &str) -> Result<()> {
        self.lanes.ask(Lane::Control, agents::Source::Remove(reference.to_owned())).await
    }

    async fn put_token(&self, token: TokenRow) -> Result<()> {
        self.lanes.ask(Lane::Control, tokens::Put(token)).await
    }

    async fn token_by_hash(&self, hash: [u8; 32]) -> Result<Option<TokenRow>> {
        tokens::by_hash(&self.readers, hash).await
    }

    async fn tokens(&self) -> Result<Vec<TokenRow>> {
        tokens::all(&self.readers).await
    }

    async fn revoke_token(&self, id: TokenId) -> Result<bool> {
        self.lanes.ask(Lane::Control, tokens::Revoke(id)).await
    }

    async fn receipts(&self, uid: SessionUid, after: Seq, limit: u32) -> Result<Vec<Event>> {
        list::receipts(&self.readers, uid, after, limit).await
    }

    async fn see(&self, principal: Principal, uid: SessionUid, seq: Seq) -> Result<()> {
        self.lanes.ask(Lane::Control, seen::Put { principal, uid, seq }).await
    }

    async fn seen(&self, principal: &Principal) -> Result<Vec<(SessionId, Seq)>> {
        seen::all(&self.readers, principal).await
    }

    async fn agent_versions(&self, name: &AgentName) -> Result<Vec<AgentRow>> {
        agents::versions(&self.readers, name).await
    }

    async fn put_door_record(
        &self,
        key: DoorKey,
        body: String,
        at: Timestamp,
        new: bool,
    ) -> Result<bool> {
        self.lanes.ask(Lane::Control, doors::Put { key, body, at, new }).await
    }

    async fn replace_door_records(
        &self,
        door: &'static str,
        kinds: Vec<(&'static str, Vec<(String, String)>)>,
        at: Timestamp,
    ) -> Result<()> {
        self.lanes.ask(Lane::Control, doors::Replace { door, kinds, at }).await
    }

    async fn door_record(&self, key: &DoorKey) -> Result<Option<DoorRecord>> {
        doors::one(&self.readers, key).await
    }

    async fn door_records(&self, door: &str, kind: &str) -> Result<Vec<DoorRecord>> {
        doors::all(&self.readers, door, kind).await
    }

    async fn remove_door_record(&self, key: DoorKey) -> Result<bool> {
        self.lanes.ask(Lane::Control, doors::Remove(key)).await
    }

    async fn spans(&self) -> Result<Vec<Span>> {
        spans::all(&self.readers).await
    }

    async fn put_span(&self, place: u32, span: Span) -> Result<()> {
        self.lanes.ask(Lane::Control, spans::Put { place, span }).await
    }

    async fn close(&self) {
        self.lanes.close().await;
        if let Some(writer) = self.writer.lock().await.take()
            && let Err(error) = writer.await
        {
            tracing::error!(%error, "the writer had ended before it was told to");
        }
        self.readers.close().await;
        self.lock.lock().await.take();
    }
}
