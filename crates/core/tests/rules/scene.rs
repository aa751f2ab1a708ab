//! A session in the middle of its life, built in the order things happen:
//! `session().prompted().placed().ready().running().stopped()`.

use std::collections::BTreeMap;

use greenroom_core::agent::{AgentPin, Graces};
use greenroom_core::approval::{Answer, Ask, AskKind, Decision};
use greenroom_core::command::{Actor, Create, Expiry, Mode, Now, Prompt, Stop};
use greenroom_core::decide::create;
use greenroom_core::fact::Created;
use greenroom_core::receipt::{EndReason, LastRun, Means, Receipt, StopReason};
use greenroom_core::record::{Outcome, RunError, Writer};
use greenroom_core::run::PendingRun;
use greenroom_core::session::AgentTraits;
use greenroom_core::*;
use uuid::Uuid;

pub const HOME: RunnerId = RunnerId(Uuid::from_u128(0xA));
pub const ELSEWHERE: RunnerId = RunnerId(Uuid::from_u128(0xB));

/// A session with its log.
#[derive(Clone)]
pub struct Scene {
    pub session: Session,
    /// Everything that has happened.
    pub log: Vec<Fact>,
    /// What the last command brought about.
    pub news: Vec<Fact>,
    prompts: u128,
    records: u64,
}

pub fn at() -> Timestamp {
    Timestamp::from_unix_ms(0)
}

pub fn run(n: u128) -> RunId {
    RunId(Uuid::from_u128(n))
}

pub fn user() -> Actor {
    Actor::person("user")
}

pub fn agent() -> Actor {
    Actor::machine("agent")
}

/// A session whose agent is one process a run.
pub fn session() -> Scene {
    begin(false, false)
}

/// A session whose agent is one process for all runs.
pub fn persistent() -> Scene {
    begin(true, false)
}

/// A session whose agent may leave processes behind.
pub fn keeping() -> Scene {
    begin(false, true)
}

pub fn created(persistent: bool, keeps_leftovers: bool) -> Created {
    Created {
        uid: SessionUid(Uuid::from_u128(1)),
        id: "tidy".parse().expect("a name"),
        owner: Principal("user".into()),
        user: None,
        shared: false,
        title: None,
        labels: BTreeMap::new(),
        runner_labels: Default::default(),
        workspace: None,
        agent: AgentPin {
            name: "fixer".parse().expect("a name"),
            version: 1,
            source: "file:/fixer.yaml".into(),
            digest: "0".into(),
        },
        traits: AgentTraits {
            persistent,
            keeps_leftovers,
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
    }
}

fn begin(persistent: bool, keeps_leftovers: bool) -> Scene {
    let created = created(persistent, keeps_leftovers);
    let create_with = Create { created, inherited: Vec::new(), prompt: None };
    let (first, rest) = create(create_with, Now(at())).expect("created");
    assert!(rest.is_empty());
    let Fact::Created(made) = &first else { panic!("the first fact is {first:?}") };
    let session = Session::begin(made, at());
    Scene { session, log: vec![first], news: Vec::new(), prompts: 0, records: 0 }
}

/// A stop of this reason, as a person asks for it.
pub fn stop_for(reason: StopReason) -> Stop {
    Stop {
        id: StopId(Uuid::from_u128(0x5)),
        reason,
        by: user(),
        text: None,
        grace: None,
        discard_queue: false,
        tree: false,
    }
}

/// A prompt with this number, as a person sends it.
pub fn prompt(n: u128) -> Prompt {
    Prompt {
        run: PendingRun { id: run(n), callback: false, created_at: at() },
        prompt: Some(format!("do {n}")),
        input: None,
        by: user(),
        mode: Mode::Enqueue,
        resume: false,
        first: false,
        stop: StopId(Uuid::from_u128(0x6)),
    }
}

/// What an agent asks, with this number.
pub fn ask(n: u128) -> Ask {
    Ask {
        id: ApprovalId(Uuid::from_u128(0xa00 + n)),
        kind: AskKind::Permission,
        title: format!("write file {n}"),
        tool: Some("write".into()),
        input: None,
        options: Vec::new(),
        schema: None,
        url: None,
    }
}

pub fn answer(decision: Decision) -> Answer {
    Answer { decision, option: None, always: false, content: None, reason: None }
}

pub fn completed() -> Outcome {
    Outcome::Completed { result: None }
}

pub fn failed() -> Outcome {
    Outcome::Failed { error: RunError::new("exit", "exit code 1") }
}

impl Scene {
    /// Puts a command; it must be accepted.
    pub fn does(mut self, command: Command) -> Self {
        let told = format!("{command:?}");
        let facts = decide(&self.session, command, Now(at()));
        let facts = facts.unwrap_or_else(|refusal| panic!("{told} was refused: {refusal}"));
        for fact in &facts {
            apply(&mut self.session, fact, at());
        }
        self.log.extend(facts.iter().cloned());
        self.news = facts;
        self
    }

    /// Puts a command that must be refused, and says with which code.
    pub fn refuses(&self, command: Command) -> &'static str {
        match decide(&self.session, command, Now(at())) {
            Err(refusal) => refusal.code(),
            Ok(facts) => panic!("accepted with {facts:?}"),
        }
    }

    // What people do.

    pub fn prompted(self) -> Self {
        self.prompts_with(|_| {})
    }

    pub fn prompts_with(mut self, change: impl FnOnce(&mut Prompt)) -> Self {
        self.prompts += 1;
        let mut prompt = prompt(self.prompts);
        change(&mut prompt);
        self.does(Command::Prompt(prompt))
    }

    pub fn stops(self) -> Self {
        self.stops_with(StopReason::User, |_| {})
    }

    pub fn stops_for(self, reason: StopReason) -> Self {
        self.stops_with(reason, |_| {})
    }

    pub fn stops_with(self, reason: StopReason, change: impl FnOnce(&mut Stop)) -> Self {
        let mut stop = stop_for(reason);
        change(&mut stop);
        self.does(Command::Stop(stop))
    }

    pub fn stops_run(self, n: u128) -> Self {
        let stop = StopId(Uuid::from_u128(0x7));
        self.does(Command::StopRun { run: run(n), stop, by: user(), grace: None })
    }

    pub fn resumed(self) -> Self {
        self.does(Command::Resume { by: user() })
    }

    pub fn abandoned(self) -> Self {
        self.does(Command::Abandon { by: user(), reason: "it burnt".into() })
    }

    pub fn deleted(self) -> Self {
        self.does(Command::Delete { stop: StopId(Uuid::from_u128(0x8)), by: user() })
    }

    pub fn expired(self) -> Self {
        self.does(Command::Expire { stop: StopId(Uuid::from_u128(0x9)), why: Expiry::Ttl })
    }

    // What the coordinator finds.

    pub fn placed(self) -> Self {
        self.does(Command::Grant { runner: HOME })
    }

    pub fn silent(self) -> Self {
        self.does(Command::RunnerSilent { runner: HOME })
    }

    pub fn overdue(self) -> Self {
        let epoch = self.session.last_epoch;
        let attempt = self.attempt();
        self.does(Command::StopOverdue { epoch, attempt })
    }

    fn attempt(&self) -> u32 {
        self.stop_order().map_or(0, |order| order.attempt)
    }

    /// The stop its runner is told, where there is one.
    pub fn stop_order(&self) -> Option<greenroom_core::assignment::StopOrder> {
        self.session.assignments().into_iter().find_map(|(_, assignment)| match assignment.order {
            Order::Down { stop } => Some(stop),
            _ => None,
        })
    }

    // What the compute reports.

    /// The epoch of the current compute, else of the last.
    fn epoch(&self) -> Epoch {
        self.session.compute.as_ref().map_or(self.session.last_epoch, |compute| compute.epoch)
    }

    pub fn records(mut self, body: RecordBody) -> Self {
        self.records += 1;
        let record = self.record(self.epoch(), body);
        self.does(Command::Records(vec![record]))
    }

    /// A journal entry of this epoch.
    pub fn record(&self, epoch: Epoch, body: RecordBody) -> Record {
        let (uid, writer, index) = (self.session.uid, Writer::Shim, self.records);
        Record { uid, epoch, writer, index, at: at(), body }
    }

    pub fn asks(self, of: u128, n: u128) -> Self {
        self.records(RecordBody::Asked { run: run(of), ask: Box::new(ask(n)) })
    }

    pub fn answers(self, n: u128, decision: Decision) -> Self {
        self.does(Command::Answer { id: ask(n).id, answer: answer(decision), by: user() })
    }

    pub fn ready(self) -> Self {
        self.records(RecordBody::Ready)
    }

    pub fn begins(self, n: u128) -> Self {
        self.records(RecordBody::RunStarted { run: run(n) })
    }

    pub fn ends(self, n: u128, outcome: Outcome) -> Self {
        self.records(RecordBody::RunEnded { run: run(n), outcome })
    }

    /// From its first prompt to its first run's beginning.
    pub fn running(self) -> Self {
        self.prompted().placed().ready().begins(1)
    }

    /// From its first prompt to its answer.
    pub fn answered(self) -> Self {
        self.running().ends(1, completed())
    }

    /// The current compute is proven ended.
    pub fn closed(self, reason: EndReason) -> Self {
        self.closed_with(reason, |_| {})
    }

    pub fn closed_with(self, reason: EndReason, change: impl FnOnce(&mut Receipt)) -> Self {
        let mut receipt = proof(self.epoch(), reason);
        change(&mut receipt);
        self.does(Command::Receipt(Box::new(receipt)))
    }

    // How it stands.

    /// `status` or `status reason`.
    pub fn stands(&self) -> String {
        let standing = self.session.standing();
        match standing.reason {
            Some(reason) => format!("{} {reason}", standing.status.as_str()),
            None => standing.status.as_str().to_owned(),
        }
    }

    pub fn held(&self) -> bool {
        self.session.hold.is_some()
    }

    /// Where each run is, for example `1 stopped, 2 queued`.
    pub fn runs(&self) -> String {
        let mut runs: BTreeMap<RunId, &str> = BTreeMap::new();
        for fact in &self.log {
            let now = match fact {
                Fact::RunQueued(_) | Fact::RunRequeued { .. } => "queued",
                Fact::RunDispatched { .. } => "dispatched",
                Fact::RunStarted { .. } | Fact::RunResumed { .. } => "running",
                Fact::RunWaiting { .. } => "waiting",
                Fact::RunSteered { .. } => "steered",
                Fact::RunCompleted { .. } => "completed",
                Fact::RunFailed { .. } => "failed",
                Fact::RunStopped { .. } => "stopped",
                Fact::RunWithdrawn { .. } => "withdrawn",
                _ => continue,
            };
            runs.insert(fact.run().expect("it is about a run"), now);
        }
        let told = runs.iter().map(|(run, now)| format!("{} {now}", run.0.as_u128()));
        told.collect::<Vec<_>>().join(", ")
    }

    /// The order of what waits.
    pub fn queue(&self) -> Vec<u128> {
        self.session.queue.iter().map(|run| run.id.0.as_u128()).collect()
    }

    /// Types of what the last command brought about.
    pub fn told(&self) -> Vec<String> {
        self.news.iter().map(|fact| fact.to_event(1, at()).kind).collect()
    }

    /// The receipt of the last compute that ended.
    pub fn receipt(&self) -> &Receipt {
        &self.session.ended.as_ref().expect("something has ended").receipt
    }

    /// The error of a run that failed, or was stopped with one.
    pub fn error(&self, n: u128) -> &str {
        let found = self.log.iter().rev().find_map(|fact| match fact {
            Fact::RunFailed { run: of, error }
            | Fact::RunStopped { run: of, error: Some(error) } => {
                (*of == run(n)).then_some(error.code.as_str())
            }
            _ => None,
        });
        found.expect("the run has an error")
    }
}

/// A receipt that proves an end.
pub fn proof(epoch: Epoch, reason: EndReason) -> Receipt {
    Receipt::without_process(epoch, reason, at(), Means::NoChildLeft, "ECHILD")
}

/// What a receipt says of the run that was begun last.
pub fn last_run(n: u128, outcome: Option<Outcome>) -> Option<LastRun> {
    Some(LastRun { run: run(n), outcome, steered: Vec::new() })
}

/// One session in each status, in the order of the documents.
pub fn one_in_each_status() -> Vec<Scene> {
    let waiting = |scene: Scene| {
        let mut scene = scene;
        let fact = Fact::RunWaiting { run: run(1) };
        apply(&mut scene.session, &fact, at());
        scene.log.push(fact);
        scene
    };
    let all = vec![
        session(),
        session().prompted(),
        session().prompted().placed(),
        session().running(),
        waiting(session().running()),
        persistent().answered(),
        session().running().stops(),
        session().running().stops().closed(EndReason::User),
        session().answered().closed(EndReason::Done),
        session().running().closed(EndReason::Exit),
        session().running().closed(EndReason::Reboot),
        session().running().silent(),
        session().running().stops().overdue(),
        session().running().deleted(),
    ];
    for (scene, status) in all.iter().zip(Status::ALL) {
        assert_eq!(scene.session.status(), status);
    }
    all
}
