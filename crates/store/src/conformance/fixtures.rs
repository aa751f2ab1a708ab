//! What the checks have in common.

use std::collections::BTreeMap;
use std::sync::Arc;

use greenroom_core::agent::{AgentPin, Graces};
use greenroom_core::command::{Actor, Create, Mode, Prompt, Stop, TreeBounds};
use greenroom_core::fact::Created;
use greenroom_core::receipt::{EndReason, Means, StopReason};
use greenroom_core::record::{OutputKind, Writer};
use greenroom_core::run::PendingRun;
use greenroom_core::session::AgentTraits;
use greenroom_core::{
    Command, Epoch, Fact, Limits, Principal, Receipt, Record, RecordBody, RunId, RunnerId, Session,
    SessionUid, StopId, Timestamp, apply,
};
use greenroom_protocol::link::{Probe, RunnerInfo};
use serde_json::json;
use uuid::Uuid;

use crate::{Candidate, Commit, NewRunner, NewSession, Store, Submission, Submitted};

/// A moment, so many milliseconds after another that is always the same.
pub fn at(ms: i64) -> Timestamp {
    Timestamp::from_unix_ms(1_800_000_000_000 + ms)
}

/// A new identity.
pub fn fresh() -> Uuid {
    Uuid::now_v7()
}

/// A runner with so many slots.
pub fn candidate(runner: RunnerId, slots: Option<u32>) -> Candidate {
    Candidate { runner, slots }
}

/// A session of this name, owned by `ann`, of an agent `fixer`.
pub fn new_session(name: &str) -> NewSession {
    NewSession {
        create: Create {
            created: Created {
                uid: SessionUid(fresh()),
                id: name.parse().expect("a name"),
                owner: Principal("ann".to_owned()),
                user: None,
                shared: false,
                title: None,
                labels: BTreeMap::new(),
                runner_labels: Default::default(),
                workspace: None,
                agent: AgentPin {
                    name: "fixer".parse().expect("a name"),
                    version: 1,
                    source: "file:/agents/fixer.yaml".to_owned(),
                    digest: "00".repeat(32),
                },
                traits: AgentTraits {
                    persistent: false,
                    keeps_leftovers: false,
                    graces: Graces::default(),
                    cancels: false,
                    steers: false,
                },
                agent_policy: Default::default(),
                approvals: Default::default(),
                within: Vec::new(),
                model: None,
                models: Default::default(),
                limits: Limits::default(),
                parent: None,
                parent_id: None,
                depth: 0,
                callback: false,
                forked_from: None,
            },
            inherited: Vec::new(),
            prompt: None,
        },
        mode: Mode::Enqueue,
        then: Vec::new(),
        bounds: TreeBounds { depth: 4, children: 8 },
        quotas: Default::default(),
        place: Vec::new(),
        idempotency: None,
        at: at(0),
    }
}

/// A prompt by a person.
pub fn prompt(text: &str) -> Prompt {
    Prompt {
        run: PendingRun { id: RunId(fresh()), callback: false, created_at: at(0) },
        prompt: Some(text.to_owned()),
        input: None,
        by: Actor::person("ann"),
        mode: Mode::Enqueue,
        resume: false,
        first: false,
        stop: StopId(fresh()),
    }
}

/// A stop by a person.
pub fn stop() -> Command {
    Command::Stop(Stop {
        id: StopId(fresh()),
        reason: StopReason::User,
        by: Actor::person("ann"),
        text: None,
        grace: None,
        discard_queue: false,
        tree: false,
    })
}

/// A deletion by a person.
pub fn delete() -> Command {
    Command::Delete { stop: StopId(fresh()), by: Actor::person("ann") }
}

/// A journal entry of a shim.
pub fn record(uid: SessionUid, epoch: u32, index: u64, body: RecordBody) -> Record {
    let at = at(index as i64);
    Record { uid, epoch: Epoch(epoch), writer: Writer::Shim, index, at, body }
}

/// Text of an agent.
pub fn message(run: Option<RunId>, text: &str) -> RecordBody {
    let data = json!({ "role": "agent", "text": text });
    RecordBody::Output { run, kind: OutputKind::Message, data }
}

/// A receipt of an agent that ended by itself.
pub fn receipt(epoch: u32, reason: EndReason) -> RecordBody {
    let receipt = Receipt::without_process(
        Epoch(epoch),
        reason,
        at(0),
        Means::NoChildLeft,
        "no child is left",
    );
    RecordBody::Receipt { receipt: Box::new(receipt) }
}

/// What a runner says of itself.
pub fn runner_info(name: &str) -> RunnerInfo {
    RunnerInfo {
        name: name.to_owned(),
        host: "host".to_owned(),
        platform: "linux x86_64".to_owned(),
        version: "0".to_owned(),
        labels: BTreeMap::new(),
        slots: None,
        isolation: "none".to_owned(),
        probe: Probe::default(),
        keeps_files: true,
        working_dir_roots: Vec::new(),
        foreign: None,
    }
}

/// A runner that joins.
pub fn new_runner(name: &str) -> NewRunner {
    let id = RunnerId(fresh());
    let mut credential = [0; 32];
    credential[..16].copy_from_slice(id.0.as_bytes());
    NewRunner { id, credential, info: runner_info(name), at: at(0) }
}

/// A runner that has joined.
pub async fn join(store: &dyn Store) -> RunnerId {
    let runner = new_runner("a");
    let id = runner.id;
    store.enroll_runner(runner).await.expect("a runner joins");
    id
}

/// The commit of something that was done.
pub fn done(submitted: Submitted) -> Arc<Commit> {
    match submitted {
        Submitted::Done { commit, .. } => commit,
        Submitted::Replay(answer) => panic!("replayed {answer:?}"),
    }
}

/// Creates a session.
pub async fn create(store: &dyn Store, new: NewSession) -> Arc<Session> {
    let commit = done(store.create_session(new).await.expect("a session is created"));
    Arc::clone(&commit.session)
}

/// Has commands decided.
pub async fn submit(store: &dyn Store, uid: SessionUid, commands: Vec<Command>) -> Arc<Commit> {
    let submission = Submission::new(uid, at(1), commands);
    done(store.submit(submission).await.expect("the commands are accepted"))
}

/// A session whose run is dispatched on this runner: the run, and the session.
pub async fn running(store: &dyn Store, name: &str, runner: RunnerId) -> (RunId, Arc<Session>) {
    let mut new = new_session(name);
    let prompt = prompt("go");
    let run = prompt.run.id;
    new.create.prompt = Some(prompt);
    new.place = vec![candidate(runner, None)];
    let session = create(store, new).await;
    assert_eq!(session.slot(), Some(runner), "the run is dispatched");
    (run, session)
}

/// Folds a session's whole log, and checks that its sequence has no gap.
pub async fn fold(store: &dyn Store, uid: SessionUid) -> Session {
    let mut folded: Option<Session> = None;
    loop {
        let from = folded.as_ref().map_or(1, |session| session.last_seq + 1);
        let events = store.events(uid, from, 100).await.expect("a log");
        if events.is_empty() {
            return folded.expect("a log has a beginning");
        }
        for (event, seq) in events.iter().zip(from..) {
            assert_eq!(event.seq, seq, "the log has no gap");
            let fact = Fact::from_event(event).expect("an event is a fact");
            match &mut folded {
                Some(session) => apply(session, &fact, event.at),
                None => match &fact {
                    Fact::Created(created) => folded = Some(Session::begin(created, event.at)),
                    other => panic!("the log begins with {other:?}"),
                },
            }
        }
    }
}

/// Checks that a session is what its log says it is.
pub async fn agrees(store: &dyn Store, uid: SessionUid) {
    let stored = store.session(uid).await.expect("a session").expect("it exists");
    // No entry says when it was used.
    let folded = Session { used_at: stored.used_at, ..fold(store, uid).await };
    assert_eq!(*stored, folded, "the row is the fold of the log");
}
