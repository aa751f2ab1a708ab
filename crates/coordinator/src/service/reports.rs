//! What runners report: of computes in the long poll, and of their journals.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use greenroom_core::command::Command;
use greenroom_core::record::{Outcome, Record, RecordBody, RunError, Writer};
use greenroom_core::{RunFiles, RunId, RunnerId, Session, SessionUid};
use greenroom_protocol::link::{
    Delta, Floor, KeptFiles, Mark, ObservedCompute, ObservedState, RecordLine, RecordsReply,
    SyncRequest,
};
use greenroom_store::{Candidate, StoreError, Submission, Told};
use serde::Deserialize;

use crate::app::App;
use crate::error::ApiResult;
use crate::presence::Runner;

/// What a runner is answered about the computes it named.
#[derive(Debug, Default)]
pub(crate) struct Reported {
    /// What of their journals is durable here.
    pub marks: Vec<Mark>,
    /// Those this store does not know.
    pub unclaimed: Vec<SessionUid>,
}

/// Takes what a runner knows further than a log that was restored from an older backup: the
/// epochs it has closed, and computes it has started since.
pub(crate) async fn learn(app: &App, runner: &Runner, request: &SyncRequest) -> ApiResult<()> {
    // What has ended there is used up as well, also where no floor says so yet.
    let ended = request.computes.iter().filter(|c| c.state != ObservedState::Live);
    let ended = ended.map(|compute| Floor { uid: compute.uid, epoch: compute.epoch });
    for Floor { uid, epoch } in request.floors.iter().copied().chain(ended) {
        let session = app.store.session(uid).await?;
        if session.is_some_and(|session| session.last_epoch < epoch) {
            let command = Command::EpochsKnown { floor: epoch, runner: runner.id };
            report(app, uid, None, runner.id, command).await?;
        }
    }
    for compute in request.computes.iter().filter(|c| c.state == ObservedState::Live) {
        let session = app.store.session(compute.uid).await?;
        if session.is_some_and(|session| session.last_epoch < compute.epoch) {
            let command = Command::Adopt { epoch: compute.epoch, runner: runner.id };
            report(app, compute.uid, None, runner.id, command).await?;
        }
    }
    Ok(())
}

/// Takes what a runner says of its computes.
pub(crate) async fn observed(
    app: &App,
    runner: &Runner,
    request: &SyncRequest,
) -> ApiResult<Reported> {
    let mut reported = Reported::default();
    let mut unclaimed = Vec::new();
    let mut known = Vec::new();
    let mut named = BTreeSet::new();
    for compute in &request.computes {
        let session = app.store.session(compute.uid).await?;
        let own = session.filter(|session| session.home == Some(runner.id));
        let Some(session) = own else {
            if compute.state == ObservedState::Live {
                unclaimed.push((compute.uid, compute.epoch));
            }
            continue;
        };
        known.push(compute.uid);
        // First what it is: a journal is kept of computes that are known.
        if let Some(command) = command(&session, runner.id, compute) {
            submit(app, runner.id, compute.uid, command).await?;
        }
        let marks = app.store.marks(compute.uid).await?;
        let lost = lost_records(app, compute, &marks);
        if !lost.is_empty() {
            app.store.append(runner.id, lost, places(app, runner.id)).await?;
        }
        if named.insert(compute.uid) {
            reported.marks.extend(app.store.marks(compute.uid).await?);
        }
    }
    for uid in &request.removed {
        submit(app, runner.id, *uid, Command::FilesGone).await?;
    }
    reported.unclaimed = unclaimed.iter().map(|(uid, _)| *uid).collect();
    runner.set_unclaimed(request.full, &unclaimed, &known);
    if !unclaimed.is_empty() {
        tracing::warn!(runner = %runner.id, computes = unclaimed.len(), "a runner has live computes that this store does not know; they are kept");
        app.runner_changed(runner.id);
    }
    Ok(reported)
}

/// No more of a runner's words goes into a log.
const MOST_WORDS: usize = 1000;

/// Takes what a runner has kept of files, and answers what need not be said again.
pub(crate) async fn files(
    app: &App,
    runner: RunnerId,
    kept: &[KeptFiles],
) -> ApiResult<Vec<RunId>> {
    let mut over = Vec::new();
    for KeptFiles { uid, run, files } in kept {
        let files = match files {
            RunFiles::Commit(commit) if !is_commit(commit) => {
                tracing::warn!(%uid, %run, "a runner names a commit that is none");
                over.push(*run);
                continue;
            }
            RunFiles::Commit(commit) => RunFiles::Commit(commit.clone()),
            RunFiles::Reason { code, message } => RunFiles::Reason {
                code: code.chars().take(64).collect(),
                message: message.chars().take(MOST_WORDS).collect(),
            },
        };
        if app.store.take_files(runner, *uid, *run, files).await? == Told::Over {
            over.push(*run);
        }
    }
    Ok(over)
}

fn is_commit(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Journal entries that its runner no longer has and this store never got: a gap in the
/// log, which also lets the journal go on behind it.
fn lost_records(app: &App, compute: &ObservedCompute, marks: &[Mark]) -> Vec<Record> {
    let Some(first) = compute.first_index else { return Vec::new() };
    let mark = marks
        .iter()
        .find(|mark| mark.epoch == compute.epoch && mark.writer == Writer::Shim)
        .map_or(0, |mark| mark.index);
    if first <= mark.saturating_add(1) {
        return Vec::new();
    }
    let (from, to) = (mark + 1, first - 1);
    vec![Record {
        uid: compute.uid,
        epoch: compute.epoch,
        writer: Writer::Shim,
        index: to,
        at: app.clock.wall(),
        body: RecordBody::Gap { from, to },
    }]
}

/// What a report means, where it is news.
fn command(session: &Session, runner: RunnerId, compute: &ObservedCompute) -> Option<Command> {
    let epoch = compute.epoch;
    let current = session.compute.as_ref().is_some_and(|c| c.epoch == epoch);
    match &compute.state {
        ObservedState::Live => {
            (epoch > session.last_epoch).then_some(Command::Adopt { epoch, runner })
        }
        ObservedState::Closed { receipt } => {
            let news = current || session.abandoned.contains(&epoch);
            // A receipt closes the compute it is reported for, and no other.
            (news && receipt.epoch == epoch).then(|| Command::Receipt(receipt.clone()))
        }
        ObservedState::Fenced { floor } => {
            let news = current || session.abandoned.contains(&epoch) || *floor > session.last_epoch;
            news.then_some(Command::Fenced { epoch, floor: *floor, runner })
        }
        ObservedState::Unproven { evidence } => {
            let evidence = evidence.chars().take(4000).collect();
            current.then_some(Command::Unproven { epoch, evidence })
        }
    }
}

async fn submit(app: &App, runner: RunnerId, uid: SessionUid, command: Command) -> ApiResult<()> {
    report(app, uid, Some(runner), runner, command).await
}

/// Submits what a runner reports. `from` is the home that the session must have; where that
/// is absent the command itself says what it takes.
async fn report(
    app: &App,
    uid: SessionUid,
    from: Option<RunnerId>,
    runner: RunnerId,
    command: Command,
) -> ApiResult<()> {
    let submission = Submission {
        from,
        place: places(app, runner),
        ..Submission::new(uid, app.clock.wall(), vec![command])
    };
    match app.store.submit(submission).await {
        // What is gone, or was never its own, needs no report; what is refused is so already.
        Ok(_) | Err(StoreError::NoSession | StoreError::Refused(_)) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Where a session may go on after a report of its home runner: there, unless it drains.
fn places(app: &App, runner: RunnerId) -> Vec<Candidate> {
    app.runners.candidates(Some(runner), &Default::default())
}

/// One line of an upload.
pub(crate) enum Line {
    /// A journal record.
    Record(Box<Record>),
    /// A live frame.
    Delta(Delta),
}

/// Reads one line. A record is never refused for its content: what this build cannot read
/// is kept as unknown, so that nothing behind it has to wait. A line of a kind that only
/// newer builds have says nothing here.
pub(crate) fn read_line(line: &[u8]) -> Option<Line> {
    let reason = match serde_json::from_slice(line) {
        Ok(RecordLine::Record(record)) => return Some(Line::Record(record)),
        Ok(RecordLine::Delta(delta)) => return Some(Line::Delta(delta)),
        Err(error) => error,
    };
    #[derive(Deserialize)]
    struct Envelope {
        record: Head,
    }
    #[derive(Deserialize)]
    struct Head {
        uid: SessionUid,
        epoch: greenroom_core::Epoch,
        writer: Writer,
        index: u64,
        at: greenroom_core::Timestamp,
    }
    match serde_json::from_slice::<Envelope>(line) {
        Ok(Envelope { record: Head { uid, epoch, writer, index, at } }) => {
            tracing::warn!(%uid, %epoch, index, %reason, "a journal record does not read; it is kept as unknown");
            let body = RecordBody::Unknown;
            Some(Line::Record(Box::new(Record { uid, epoch, writer, index, at, body })))
        }
        Err(_) => {
            tracing::warn!(%reason, "a line of an upload is neither a record nor a delta; it is left out");
            None
        }
    }
}

/// An upload under way: what it has named, and what is known of that.
pub(crate) struct Upload<'a> {
    app: &'a App,
    runner: RunnerId,
    sessions: HashMap<SessionUid, Option<Arc<Session>>>,
    marks: HashMap<(SessionUid, greenroom_core::Epoch, Writer), Mark>,
}

impl<'a> Upload<'a> {
    /// An upload of a runner.
    pub(crate) fn new(app: &'a App, runner: RunnerId) -> Self {
        Self { app, runner, sessions: HashMap::new(), marks: HashMap::new() }
    }

    /// A session of this runner.
    async fn session(&mut self, uid: SessionUid) -> ApiResult<Option<Arc<Session>>> {
        if let Some(known) = self.sessions.get(&uid) {
            return Ok(known.clone());
        }
        let session = self.app.store.session(uid).await?;
        let own = session.filter(|session| session.home == Some(self.runner));
        self.sessions.insert(uid, own.clone());
        Ok(own)
    }

    /// Shows a live frame to those who watch. It is never kept.
    pub(crate) async fn delta(&mut self, delta: &Delta) -> ApiResult<()> {
        if !self.app.hub.is_watched(delta.uid) {
            return Ok(());
        }
        if let Some(session) = self.session(delta.uid).await? {
            self.app.hub.delta(&session.id, delta);
        }
        Ok(())
    }

    /// Appends records.
    pub(crate) async fn records(&mut self, mut records: Vec<Record>) -> ApiResult<()> {
        if records.is_empty() {
            return Ok(());
        }
        for record in &mut records {
            self.check_output(record).await?;
        }
        let places = places(self.app, self.runner);
        let ended = records.iter().any(|record| matches!(record.body, RecordBody::Receipt { .. }));
        for mark in self.app.store.append(self.runner, records, places).await? {
            self.marks.insert((mark.uid, mark.epoch, mark.writer), mark);
        }
        if ended {
            self.app.wakes.completions.notify_one();
        }
        Ok(())
    }

    /// An answer that does not fit what its agent has promised is a failure.
    async fn check_output(&mut self, record: &mut Record) -> ApiResult<()> {
        let uid = record.uid;
        let outcome = match &mut record.body {
            RecordBody::RunEnded { outcome, .. } => outcome,
            RecordBody::Receipt { receipt } => {
                match receipt.last_run.as_mut().and_then(|last| last.outcome.as_mut()) {
                    Some(outcome) => outcome,
                    None => return Ok(()),
                }
            }
            _ => return Ok(()),
        };
        let Outcome::Completed { result } = outcome else { return Ok(()) };
        let Some(session) = self.session(uid).await? else { return Ok(()) };
        let agent = self.app.agents.pinned(&*self.app.store, &session.agent).await?;
        if let Some(message) = agent.and_then(|agent| agent.output_misfit(result.as_ref())) {
            *outcome = Outcome::Failed { error: RunError::new("output_schema", message) };
        }
        Ok(())
    }

    /// What is durable of every stream that was named.
    pub(crate) fn reply(self) -> RecordsReply {
        RecordsReply { marks: self.marks.into_values().collect() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_of_newer_builds_are_kept_as_unknown() {
        let uid = crate::app::fresh::session();
        let odd = format!(
            r#"{{"record":{{"uid":"{uid}","epoch":1,"writer":"shim","index":7,"at":"2026-01-01T00:00:00Z","body":{{"is":"output","kind":"hologram","data":{{}}}}}}}}"#
        );
        match read_line(odd.as_bytes()) {
            Some(Line::Record(record)) => {
                assert_eq!((record.index, record.body), (7, RecordBody::Unknown));
            }
            _ => panic!("not a record"),
        }
        for nothing in ["{}", "nonsense", r#"{"hologram":{}}"#] {
            assert!(read_line(nothing.as_bytes()).is_none());
        }
    }
}
