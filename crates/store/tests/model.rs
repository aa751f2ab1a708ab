//! Whatever is asked and reported, in whatever order: the store is the fold of its logs.

use std::path::Path;

use greenroom_core::command::{Actor, Expiry, Mode};
use greenroom_core::receipt::{EndReason, StopReason};
use greenroom_core::record::{Outcome, OutputKind, RunError};
use greenroom_core::run::RunStatus;
use greenroom_core::{Command, Epoch, Ms, Order, RecordBody, RunId, RunnerId, SessionUid, StopId};
use greenroom_store::conformance::fixtures::*;
use greenroom_store::{SessionQuery, SqliteStore, Store, StoreError, Submission};
use proptest::prelude::*;
use serde_json::json;

/// Slots of each runner.
const SLOTS: u32 = 2;

/// Something that happens to one of the sessions.
#[derive(Debug, Clone)]
enum Op {
    Create { child: bool, prompt: bool, persistent: bool },
    Prompt { mode: Mode, first: bool, resume: bool, person: bool, callback: bool },
    Stop { tree: bool, discard: bool, reason: StopReason },
    StopRun,
    Withdraw,
    Resume,
    Delete,
    Expire,
    Overdue,
    Unproven,
    Abandon,
    Silent,
    Seen,
    FilesGone,
    HomeLost,
    Title(String),
    Place,
    Ready,
    Started,
    Ended(Outcome),
    Said(u8),
    Used(u32),
    Receipt(EndReason),
    LateReceipt,
    Lose(u8),
    Deliver,
    Acknowledge,
    Reopen,
}

fn op() -> impl Strategy<Value = Op> {
    let mode =
        prop_oneof![4 => Just(Mode::Enqueue), 1 => Just(Mode::Interrupt), 1 => Just(Mode::Reject)];
    let reason =
        prop_oneof![Just(StopReason::User), Just(StopReason::Idle), Just(StopReason::Limit)];
    let outcome = prop_oneof![
        Just(Outcome::Completed { result: Some(json!({ "n": 1 })) }),
        Just(Outcome::Completed { result: None }),
        Just(Outcome::Failed { error: RunError::new("exit", "it ended with 3") }),
        Just(Outcome::Stopped { error: None }),
    ];
    let end = prop_oneof![
        3 => Just(EndReason::Done), 1 => Just(EndReason::Exit), 1 => Just(EndReason::User),
        1 => Just(EndReason::StartTimeout), 1 => Just(EndReason::Reboot),
    ];
    prop_oneof![
        6 => any::<[bool; 3]>().prop_map(|[child, prompt, persistent]| Op::Create { child, prompt, persistent }),
        8 => (mode, any::<[bool; 4]>()).prop_map(|(mode, [first, resume, person, callback])| {
            Op::Prompt { mode, first, resume, person, callback }
        }),
        4 => (any::<[bool; 2]>(), reason).prop_map(|([tree, discard], reason)| Op::Stop { tree, discard, reason }),
        2 => Just(Op::StopRun),
        2 => Just(Op::Withdraw),
        2 => Just(Op::Resume),
        1 => Just(Op::Delete),
        1 => Just(Op::Expire),
        1 => Just(Op::Overdue),
        1 => Just(Op::Unproven),
        1 => Just(Op::Abandon),
        1 => Just(Op::Silent),
        1 => Just(Op::Seen),
        2 => Just(Op::FilesGone),
        1 => Just(Op::HomeLost),
        1 => ".{0,9}".prop_map(Op::Title),
        6 => Just(Op::Place),
        4 => Just(Op::Ready),
        8 => Just(Op::Started),
        6 => outcome.prop_map(Op::Ended),
        6 => any::<u8>().prop_map(Op::Said),
        2 => any::<u32>().prop_map(Op::Used),
        8 => end.prop_map(Op::Receipt),
        1 => Just(Op::LateReceipt),
        1 => (1..5u8).prop_map(Op::Lose),
        3 => Just(Op::Deliver),
        2 => Just(Op::Acknowledge),
        1 => Just(Op::Reopen),
    ]
}

struct World<'a> {
    path: &'a Path,
    store: SqliteStore,
    runners: Vec<RunnerId>,
    sessions: Vec<SessionUid>,
    clock: i64,
}

impl World<'_> {
    fn place(&self) -> Vec<greenroom_store::Candidate> {
        self.runners.iter().map(|runner| candidate(*runner, Some(SLOTS))).collect()
    }

    async fn submit(&self, uid: SessionUid, command: Command, place: bool) {
        let mut submission = Submission::new(uid, at(self.clock), vec![command]);
        if place {
            submission.place = self.place();
        }
        match self.store.submit(submission).await {
            Ok(_) | Err(StoreError::Refused(_) | StoreError::NoSession) => {}
            Err(other) => panic!("{other}"),
        }
    }

    /// Reports the next entry of the journal of a session's current, or its last, compute.
    async fn report(
        &self,
        uid: SessionUid,
        body: impl FnOnce(Epoch, Option<RunId>) -> (RecordBody, u64),
    ) {
        let Some(session) = self.store.session(uid).await.expect("reads") else { return };
        let (Some(home), epoch) = (session.home, session.last_epoch) else { return };
        let head = session.compute.as_ref().and_then(|compute| compute.head.as_ref());
        let (body, skipped) = body(epoch, head.map(|head| head.run.id));
        let marks = self.store.marks(uid).await.expect("reads");
        let top = marks.iter().find(|mark| mark.epoch == epoch).map_or(0, |mark| mark.index);
        let mut sent = record(uid, epoch.0, top + 1 + skipped, body);
        sent.at = at(self.clock);
        if let RecordBody::Gap { from, to } = &mut sent.body {
            (*from, *to) = (top + 1, sent.index);
        }
        self.store.append(home, vec![sent], self.place()).await.expect("taken");
    }

    async fn create(&mut self, on: usize, child: bool, with_prompt: bool, persistent: bool) {
        let mut new = new_session(&format!("s{}", self.sessions.len()));
        new.at = at(self.clock);
        new.create.created.traits.persistent = persistent;
        new.create.created.limits.idle_ms = persistent.then(|| Ms::secs(5));
        new.create.created.labels.insert("n".into(), self.sessions.len().to_string());
        new.create.created.callback = child;
        if child && !self.sessions.is_empty() {
            new.create.created.parent = Some(self.sessions[on % self.sessions.len()]);
        }
        if with_prompt {
            let mut prompt = prompt("go");
            prompt.run.callback = child;
            new.create.prompt = Some(prompt);
            new.place = self.place();
        }
        let uid = new.create.created.uid;
        match self.store.create_session(new).await {
            Ok(_) => self.sessions.push(uid),
            Err(StoreError::Refused(_) | StoreError::NoSession) => {}
            Err(other) => panic!("{other}"),
        }
    }

    async fn happen(&mut self, on: usize, op: Op) {
        self.clock += 7;
        if let Op::Create { child, prompt, persistent } = op {
            return self.create(on, child, prompt, persistent).await;
        }
        if self.sessions.is_empty() {
            return;
        }
        let uid = self.sessions[on % self.sessions.len()];
        let session = self.store.session(uid).await.expect("reads");
        let epoch = session.as_ref().map_or(Epoch(0), |session| session.last_epoch);
        let run = session.as_ref().and_then(|session| session.current_run()).map(|(run, _)| run);
        let home = session.as_ref().and_then(|session| session.home).unwrap_or(self.runners[0]);
        let by = Actor::person("ann");
        let command = match op {
            Op::Create { .. } => return,
            Op::Prompt { mode, first, resume, person, callback } => {
                let mut sent = prompt("go on");
                (sent.mode, sent.first, sent.resume, sent.by.person) =
                    (mode, first, resume, person);
                sent.run.callback = callback;
                return self.submit(uid, Command::Prompt(sent), true).await;
            }
            Op::Stop { tree, discard, reason } => match stop() {
                Command::Stop(stop) => Command::Stop(greenroom_core::command::Stop {
                    tree,
                    discard_queue: discard,
                    reason,
                    ..stop
                }),
                other => other,
            },
            Op::StopRun => match run {
                Some(run) => Command::StopRun { run, stop: StopId(fresh()), by, grace: None },
                None => return,
            },
            Op::Withdraw => match run {
                Some(run) => Command::Withdraw { run, by },
                None => return,
            },
            Op::Resume => Command::Resume { by },
            Op::Delete => delete(),
            Op::Expire => Command::Expire { stop: StopId(fresh()), why: Expiry::Ttl },
            Op::Overdue => Command::StopOverdue { epoch, attempt: 0 },
            Op::Unproven => Command::Unproven { epoch, evidence: "hung".to_owned() },
            Op::Abandon => Command::Abandon { by, reason: "it burned".to_owned() },
            Op::Silent => Command::RunnerSilent { runner: home },
            Op::Seen => Command::RunnerSeen { runner: home },
            Op::FilesGone => Command::FilesGone,
            Op::HomeLost => Command::HomeLost { runner: home, by },
            Op::Title(title) => Command::Update(greenroom_core::fact::Changes {
                title: Some(title),
                ..Default::default()
            }),
            Op::Place => {
                let mut submission = Submission::new(uid, at(self.clock), Vec::new());
                submission.place = self.place();
                let placed = self.store.submit(submission).await;
                assert!(matches!(placed, Ok(_) | Err(StoreError::NoSession)));
                return;
            }
            Op::Ready => return self.report(uid, |_, _| (RecordBody::Ready, 0)).await,
            Op::Started => {
                let run = |run: Option<RunId>| run.unwrap_or(RunId(fresh()));
                return self.report(uid, |_, r| (RecordBody::RunStarted { run: run(r) }, 0)).await;
            }
            Op::Ended(outcome) => {
                let run = |run: Option<RunId>| run.unwrap_or(RunId(fresh()));
                return self
                    .report(uid, |_, r| (RecordBody::RunEnded { run: run(r), outcome }, 0))
                    .await;
            }
            Op::Said(n) => {
                return self.report(uid, |_, r| (message(r, &format!("{n}\n")), 0)).await;
            }
            Op::Used(n) => {
                let data = json!({ "input_tokens": n, "output_tokens": 1 });
                let kind = OutputKind::Usage;
                return self
                    .report(uid, |_, run| (RecordBody::Output { run, kind, data }, 0))
                    .await;
            }
            Op::Receipt(end) => return self.report(uid, |e, _| (receipt(e.0, end), 0)).await,
            Op::LateReceipt => {
                let old = epoch.0.saturating_sub(1);
                return self.report(uid, |_, _| (receipt(old, EndReason::Lost), 0)).await;
            }
            Op::Lose(n) => {
                let gap = RecordBody::Gap { from: 0, to: 0 };
                return self.report(uid, |_, _| (gap, n.into())).await;
            }
            Op::Deliver => {
                for completion in self.store.completions(3).await.expect("reads") {
                    let as_run = RunId(fresh());
                    let delivered = self.store.deliver(completion.clone(), as_run, self.place());
                    delivered.await.expect("delivered");
                    let again = self.store.deliver(completion, RunId(fresh()), self.place());
                    again.await.expect("a repetition is harmless");
                }
                return;
            }
            Op::Acknowledge => {
                for runner in &self.runners {
                    let (rev, _) = self.store.assignments(*runner, 0).await.expect("reads");
                    self.store.acknowledge(*runner, rev).await.expect("noted");
                }
                return;
            }
            Op::Reopen => {
                self.store.close().await;
                self.store = SqliteStore::open(self.path).await.expect("opens");
                return;
            }
        };
        self.submit(uid, command, false).await;
    }

    /// Everything the store shows is what the logs say.
    async fn check(&self) {
        let mut told = Vec::new();
        for runner in &self.runners {
            let row = self.store.runner(*runner).await.expect("reads").expect("exists");
            assert!(row.slots_used <= SLOTS, "{} slots are used", row.slots_used);
            told.extend(self.store.assignments(*runner, 0).await.expect("reads").1);
        }
        let mut listed = 0;
        for uid in &self.sessions {
            let Some(session) = self.store.session(*uid).await.expect("reads") else { continue };
            listed += 1;
            agrees(&self.store, *uid).await;
            let one = SessionQuery {
                statuses: vec![session.status()],
                labels: session.labels.clone(),
                limit: 1,
                expired: true,
                ..SessionQuery::default()
            };
            let found = self.store.sessions(one).await.expect("reads").items;
            assert_eq!(found.first(), Some(&session), "it is listed under its status");

            let head = session.compute.as_ref().and_then(|compute| compute.head.as_ref());
            let mut pending: Vec<(RunId, RunStatus)> =
                session.queue.iter().map(|run| (run.id, RunStatus::Queued)).collect();
            pending.extend(head.map(|head| (head.run.id, RunStatus::from(head.state))));
            let runs = self.store.runs(*uid, 1000, None).await.expect("reads").items;
            let mut open: Vec<_> = runs.iter().filter(|run| !run.status.is_final()).collect();
            open.sort_by_key(|run| run.id);
            pending.sort_by_key(|(run, _)| *run);
            assert_eq!(open.iter().map(|run| (run.id, run.status)).collect::<Vec<_>>(), pending);
            assert!(runs.iter().all(|run| run.status.is_final() == run.ended_at.is_some()));

            let wanted = session.assignments();
            for (_, assignment) in &wanted {
                let known = told.iter().any(|told| told == assignment);
                assert!(known || assignment.order == Order::Closed, "{assignment:?} was not told");
            }
            for told in told.iter().filter(|told| told.uid == *uid) {
                assert!(wanted.iter().any(|(_, a)| a == told), "{told:?} is out of date");
            }
        }
        let all = SessionQuery { limit: 1000, expired: true, ..SessionQuery::default() };
        assert_eq!(self.store.sessions(all).await.expect("reads").items.len(), listed);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, max_shrink_iters: 1000, ..ProptestConfig::default() })]

    #[test]
    fn the_store_is_the_fold_of_its_logs(ops in prop::collection::vec((0..4usize, op()), 1..80)) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        runtime.expect("a runtime").block_on(async {
            let folder = tempfile::tempdir().expect("a folder");
            let path = folder.path().join("db");
            let store = SqliteStore::open(&path).await.expect("is made");
            let runners = vec![join(&store).await, join(&store).await];
            let mut world = World { path: &path, store, runners, sessions: Vec::new(), clock: 0 };
            for (on, op) in ops {
                world.happen(on, op).await;
            }
            world.check().await;
            world.happen(0, Op::Reopen).await;
            world.check().await;
            world.store.close().await;
        });
    }
}
