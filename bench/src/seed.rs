//! A store filled by its own verbs: as many sessions and events as a figure needs.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context, bail};
use greenroom_core::agent::{AgentPin, Graces};
use greenroom_core::command::{Actor, Create, Mode, Prompt, TreeBounds};
use greenroom_core::fact::Created;
use greenroom_core::receipt::{EndReason, Means};
use greenroom_core::record::{Outcome, OutputKind, RecordBody, Writer};
use greenroom_core::run::PendingRun;
use greenroom_core::session::AgentTraits;
use greenroom_core::{
    Epoch, Limits, Principal, Receipt, Record, RunId, RunnerId, SessionUid, StopId, Timestamp,
};
use greenroom_protocol::link::{Probe, RunnerInfo};
use greenroom_store::{Candidate, NewRunner, NewSession, SqliteStore, Store};
use serde_json::json;
use uuid::Uuid;

/// A line of text as agents write them.
pub(crate) const LINE: &str = "reading src/main.rs, 214 lines; the parser drops its last token when the file has no newline\n";

/// A store with a runner that is never connected.
pub(crate) struct Seeded {
    /// The store.
    pub(crate) store: Arc<SqliteStore>,
    runner: RunnerId,
}

/// A session whose compute is up and whose run has begun.
pub(crate) struct Running {
    uid: SessionUid,
    run: RunId,
    next: u64,
}

fn now() -> Timestamp {
    Timestamp(jiff::Timestamp::now())
}

impl Seeded {
    /// With its runner enrolled.
    pub(crate) async fn new(store: SqliteStore) -> anyhow::Result<Self> {
        let runner = RunnerId(Uuid::now_v7());
        let info = RunnerInfo {
            name: "elsewhere".into(),
            host: "elsewhere".into(),
            platform: "linux x86_64".into(),
            version: "0".into(),
            labels: BTreeMap::new(),
            slots: None,
            isolation: "none".into(),
            probe: Probe::default(),
            keeps_files: false,
            working_dir_roots: Vec::new(),
            foreign: None,
        };
        store.enroll_runner(NewRunner { id: runner, credential: [7; 32], info, at: now() }).await?;
        Ok(Self { store: Arc::new(store), runner })
    }

    fn place(&self) -> Vec<Candidate> {
        vec![Candidate { runner: self.runner, slots: None }]
    }

    /// A new session with a run in progress.
    pub(crate) async fn begin(&self, id: &str, agent: &str) -> anyhow::Result<Running> {
        let (uid, run) = (SessionUid(Uuid::now_v7()), RunId(Uuid::now_v7()));
        let created = Created {
            uid,
            id: id.parse()?,
            owner: Principal("admin".into()),
            user: None,
            shared: false,
            title: Some(format!("Work of {id}")),
            labels: BTreeMap::from([("team".into(), "bench".into())]),
            runner_labels: Default::default(),
            workspace: None,
            agent: AgentPin {
                name: agent.parse()?,
                version: 1,
                source: "file:/etc/agents/bench.yaml".into(),
                digest: "0".repeat(64),
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
        };
        let prompt = Prompt {
            run: PendingRun { id: run, callback: false, created_at: now() },
            prompt: Some("begin".into()),
            input: None,
            by: Actor::person("admin"),
            mode: Mode::Enqueue,
            resume: false,
            first: false,
            stop: StopId(Uuid::now_v7()),
        };
        let new = NewSession {
            create: Create { created, inherited: Vec::new(), prompt: Some(prompt) },
            mode: Mode::Enqueue,
            then: Vec::new(),
            bounds: TreeBounds { depth: 8, children: 100 },
            quotas: Default::default(),
            place: self.place(),
            idempotency: None,
            at: now(),
        };
        self.store.create_session(new).await?;
        let mut running = Running { uid, run, next: 1 };
        self.append(&mut running, vec![RecordBody::Ready, RecordBody::RunStarted { run }]).await?;
        Ok(running)
    }

    /// Records of a session, durably.
    pub(crate) async fn append(
        &self,
        to: &mut Running,
        bodies: Vec<RecordBody>,
    ) -> anyhow::Result<()> {
        let from = to.next;
        to.next += bodies.len() as u64;
        let records = bodies.into_iter().zip(from..).map(|(body, index)| Record {
            uid: to.uid,
            epoch: Epoch(1),
            writer: Writer::Shim,
            index,
            at: now(),
            body,
        });
        let marks = self.store.append(self.runner, records.collect(), Vec::new()).await?;
        match marks.iter().find(|mark| mark.uid == to.uid) {
            Some(mark) if mark.index + 1 == to.next => Ok(()),
            other => bail!("records up to {} were sent, and the mark is {other:?}", to.next - 1),
        }
    }

    /// So many lines of text, durably.
    pub(crate) async fn say(&self, to: &mut Running, lines: usize) -> anyhow::Result<()> {
        let line = RecordBody::Output {
            run: Some(to.run),
            kind: OutputKind::Message,
            data: json!({ "role": "assistant", "text": LINE, "part": 0, "from": 0, "to": LINE.len() }),
        };
        self.append(to, vec![line; lines]).await
    }

    /// The answer, and the receipt; says how long the log has become.
    pub(crate) async fn finish(&self, mut running: Running) -> anyhow::Result<u64> {
        let receipt = Receipt::without_process(
            Epoch(1),
            EndReason::Done,
            now(),
            Means::NoChildLeft,
            "no child left",
        );
        let bodies = vec![
            RecordBody::RunEnded { run: running.run, outcome: Outcome::Completed { result: None } },
            RecordBody::Closing { reason: EndReason::Done },
            RecordBody::Receipt { receipt: Box::new(receipt) },
        ];
        self.append(&mut running, bodies).await?;
        let session = self.store.session(running.uid).await?;
        session.map(|session| session.last_seq).context("a session that was filled is not there")
    }
}
