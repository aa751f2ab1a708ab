//! Everything that can be put to a session, right or wrong, drawn at random.

use greenroom_core::approval::{Decision, SessionPolicy};
use greenroom_core::command::{Actor, Asks, Expiry, Mode, Prompt, Stop, TreeBounds};
use greenroom_core::fact::{Changes, Output};
use greenroom_core::receipt::{EndReason, LastRun, Means, Receipt, StopReason};
use greenroom_core::record::{Outcome, OutputKind};
use greenroom_core::run::RunStatus;
use greenroom_core::session::Blocked;
use greenroom_core::*;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::json;
use uuid::Uuid;

use crate::invariants::Watch;
use crate::scene::{self, ELSEWHERE, HOME, agent, at, completed, failed, run, user};

/// One of them. Epochs are given as offsets to the last one, runs as numbers.
#[derive(Debug, Clone)]
pub enum Happening {
    Prompt {
        mode: Mode,
        resume: bool,
        first: bool,
        person: bool,
    },
    Stop {
        reason: StopReason,
        grace: Option<u64>,
        discard: bool,
        tree: bool,
        by: u8,
    },
    StopRun {
        run: u128,
    },
    Withdraw {
        run: u128,
    },
    Revise {
        run: u128,
        position: Option<u32>,
    },
    Answer {
        ask: u128,
        allow: bool,
    },
    Resume {
        person: bool,
    },
    Abandon,
    Delete,
    Expire,
    FilesGone,
    HomeLost {
        home: bool,
    },
    Grant {
        home: bool,
    },
    Block,
    Overdue {
        epoch: i32,
        attempt: u32,
    },
    Record {
        epoch: i32,
        run: u128,
        which: u8,
    },
    Receipt {
        epoch: i32,
        reason: EndReason,
        means: Means,
        survivors: u32,
        last: Option<(u128, bool)>,
    },
    Unproven {
        epoch: i32,
    },
    Fenced {
        epoch: i32,
        floor: i32,
        home: bool,
    },
    EpochsKnown {
        floor: i32,
        home: bool,
    },
    Adopt {
        epoch: i32,
        home: bool,
    },
    Silent {
        home: bool,
    },
    Seen {
        home: bool,
    },
    Child {
        which: u8,
    },
    Update,
    Say,
    Lost,
    Kept {
        run: u128,
    },
}

const STOPS: [StopReason; 5] = [
    StopReason::User,
    StopReason::Idle,
    StopReason::Limit,
    StopReason::Shutdown,
    StopReason::Parent,
];

const ENDS: [EndReason; 16] = [
    EndReason::User,
    EndReason::Idle,
    EndReason::Limit,
    EndReason::Shutdown,
    EndReason::Parent,
    EndReason::Deleted,
    EndReason::Done,
    EndReason::Exit,
    EndReason::Signal,
    EndReason::Oom,
    EndReason::StartTimeout,
    EndReason::StartError,
    EndReason::Protocol,
    EndReason::Reboot,
    EndReason::Lost,
    EndReason::Abandoned,
];

const MEANS: [Means; 4] =
    [Means::NoChildLeft, Means::CgroupEmpty, Means::RunnerRecord, Means::None];

/// Mostly the current epoch.
fn epoch() -> impl Strategy<Value = i32> {
    prop_oneof![8 => Just(0), 1 => -2..3i32]
}

fn home() -> impl Strategy<Value = bool> {
    prop::bool::weighted(0.9)
}

/// `rare` one time in ten, else `common`.
fn or_rarely(common: Happening, rare: Happening) -> impl Strategy<Value = Happening> {
    prop_oneof![9 => Just(common), 1 => Just(rare)]
}

fn asked() -> impl Strategy<Value = Happening> {
    let mode = select(vec![
        Mode::Enqueue,
        Mode::Enqueue,
        Mode::Interrupt,
        Mode::Reject,
        Mode::Steer,
        Mode::Steer,
    ]);
    let prompt =
        (mode, any_bool(), any_bool(), home()).prop_map(|(mode, resume, first, person)| {
            Happening::Prompt { mode, resume, first, person }
        });
    let rarely = || prop::bool::weighted(0.2);
    let grace = prop::option::of(0u64..20_000);
    let stop = (select(STOPS.to_vec()), grace, rarely(), rarely(), 0u8..3).prop_map(
        |(reason, grace, discard, tree, by)| Happening::Stop { reason, grace, discard, tree, by },
    );
    prop_oneof![
        6 => prompt,
        4 => stop,
        1 => (1u128..8).prop_map(|run| Happening::StopRun { run }),
        1 => (1u128..8).prop_map(|run| Happening::Withdraw { run }),
        1 => (1u128..8, prop::option::of(0u32..8))
            .prop_map(|(run, position)| Happening::Revise { run, position }),
        2 => (1u128..4, any_bool()).prop_map(|(ask, allow)| Happening::Answer { ask, allow }),
        2 => any_bool().prop_map(|person| Happening::Resume { person }),
        1 => Just(Happening::Abandon),
        1 => or_rarely(Happening::Update, Happening::Delete),
        1 => (0u8..3).prop_map(|which| Happening::Child { which }),
    ]
}

fn found() -> impl Strategy<Value = Happening> {
    prop_oneof![
        8 => home().prop_map(|home| Happening::Grant { home }),
        1 => Just(Happening::Block),
        2 => (epoch(), 0u32..2).prop_map(|(epoch, attempt)| Happening::Overdue { epoch, attempt }),
        1 => home().prop_map(|home| Happening::Silent { home }),
        1 => home().prop_map(|home| Happening::Seen { home }),
        1 => or_rarely(Happening::Say, Happening::Expire),
        1 => prop::bool::weighted(0.1).prop_map(|home| Happening::HomeLost { home }),
        1 => Just(Happening::FilesGone),
    ]
}

fn reported() -> impl Strategy<Value = Happening> {
    let survivors = prop_oneof![9 => Just(0u32), 1 => 1u32..3];
    let last = prop::option::of((1u128..8, any_bool()));
    let (reason, means) = (select(ENDS.to_vec()), select(MEANS.to_vec()));
    let receipt = (epoch(), reason, means, survivors, last).prop_map(
        |(epoch, reason, means, survivors, last)| Happening::Receipt {
            epoch,
            reason,
            means,
            survivors,
            last,
        },
    );
    let record = (epoch(), 1u128..8, 0u8..15).prop_map(|(epoch, run, which)| Happening::Record {
        epoch,
        run,
        which,
    });
    let fenced = (epoch(), epoch(), home()).prop_map(|(epoch, floor, home)| Happening::Fenced {
        epoch,
        floor,
        home,
    });
    prop_oneof![
        10 => record,
        5 => receipt,
        1 => epoch().prop_map(|epoch| Happening::Unproven { epoch }),
        1 => fenced,
        1 => (epoch(), home()).prop_map(|(floor, home)| Happening::EpochsKnown { floor, home }),
        1 => (0i32..3, home()).prop_map(|(epoch, home)| Happening::Adopt { epoch, home }),
        1 => Just(Happening::Lost),
        1 => (1u128..8).prop_map(|run| Happening::Kept { run }),
    ]
}

fn any_bool() -> impl Strategy<Value = bool> {
    proptest::bool::ANY
}

pub fn any() -> impl Strategy<Value = Happening> {
    prop_oneof![4 => asked(), 4 => found(), 6 => reported()]
}

/// What begins a run.
pub fn beginning() -> Vec<Happening> {
    let prompt =
        Happening::Prompt { mode: Mode::Enqueue, resume: false, first: false, person: true };
    let record = |which| Happening::Record { epoch: 0, run: 2, which };
    vec![prompt, Happening::Grant { home: true }, record(0), record(2)]
}

/// Questions, answers and edits.
pub fn asking() -> impl Strategy<Value = Happening> {
    let record =
        |which: u8| (1u128..8).prop_map(move |run| Happening::Record { epoch: 0, run, which });
    prop_oneof![
        3 => record(7),
        1 => record(9),
        1 => record(10),
        3 => (0u128..4, any_bool()).prop_map(|(ask, allow)| Happening::Answer { ask, allow }),
        2 => Just(Happening::Update),
    ]
}

fn runner(home: bool) -> RunnerId {
    if home { HOME } else { ELSEWHERE }
}

fn actor(person: bool) -> Actor {
    if person { user() } else { agent() }
}

impl Happening {
    /// The command it is, for a session as it stands.
    pub fn command(&self, watch: &Watch) -> Command {
        let last = watch.session.last_epoch;
        let of = |offset: i32| Epoch(last.0.saturating_add_signed(offset));
        let stop = StopId(Uuid::from_u128(5));
        match self.clone() {
            Self::Prompt { mode, resume, first, person } => Command::Prompt(Prompt {
                mode,
                resume,
                first,
                by: actor(person),
                ..scene::prompt(watch.next_run())
            }),
            Self::Stop { reason, grace, discard, tree, by } => Command::Stop(Stop {
                grace: grace.map(Ms),
                discard_queue: discard,
                tree,
                by: Actor::person(format!("user {by}")),
                ..scene::stop_for(reason)
            }),
            Self::StopRun { run: n } => {
                Command::StopRun { run: run(n), stop, by: user(), grace: None }
            }
            Self::Answer { ask: n, allow } => Command::Answer {
                id: scene::ask(n).id,
                answer: scene::answer(if allow { Decision::Allow } else { Decision::Deny }),
                by: user(),
            },
            Self::Revise { run: n, position } => Command::Revise {
                run: run(n),
                asks: position.is_none().then(|| Asks::Prompt("else".to_owned())),
                position,
                by: user(),
            },
            Self::Withdraw { run: n } => Command::Withdraw { run: run(n), by: user() },
            Self::Resume { person } => Command::Resume { by: actor(person) },
            Self::Abandon => Command::Abandon { by: user(), reason: "gone".into() },
            Self::Delete => Command::Delete { stop, by: user() },
            Self::Expire => Command::Expire { stop, why: Expiry::Ttl },
            Self::FilesGone => Command::FilesGone,
            Self::HomeLost { home } => Command::HomeLost { runner: runner(home), by: user() },
            Self::Grant { home } => Command::Grant { runner: runner(home) },
            Self::Block => Command::Block(Blocked::RunnersFull),
            Self::Overdue { epoch, attempt } => Command::StopOverdue { epoch: of(epoch), attempt },
            Self::Record { epoch, run, which } => record(watch, of(epoch), run, which),
            Self::Receipt { epoch, reason, means, survivors, last } => {
                let mut receipt = Receipt::without_process(of(epoch), reason, at(), means, "");
                receipt.survivors = survivors;
                receipt.last_run = last.map(|(n, ended)| LastRun {
                    run: watch.head_or(n),
                    outcome: ended.then_some(Outcome::Stopped { error: None }),
                    steered: vec![watch.steer_or(n)],
                });
                Command::Receipt(Box::new(receipt))
            }
            Self::Unproven { epoch } => {
                Command::Unproven { epoch: of(epoch), evidence: "pid 7".into() }
            }
            Self::Fenced { epoch, floor, home } => {
                Command::Fenced { epoch: of(epoch), floor: of(floor), runner: runner(home) }
            }
            Self::EpochsKnown { floor, home } => {
                Command::EpochsKnown { floor: of(floor), runner: runner(home) }
            }
            Self::Adopt { epoch, home } => {
                Command::Adopt { epoch: of(epoch), runner: runner(home) }
            }
            Self::Silent { home } => Command::RunnerSilent { runner: runner(home) },
            Self::Seen { home } => Command::RunnerSeen { runner: runner(home) },
            Self::Child { which } => child(which, watch.next_run()),
            Self::Update => Command::Update(Changes {
                title: Some("a title".into()),
                limits: Some(Limits { idle_ms: Some(Ms(1)), ..Limits::default() }),
                // Another one each time, so that every edit is one.
                model: Some(format!("openai/m{}", watch.session.settings)),
                approvals: Some(SessionPolicy {
                    timeout_ms: Some(Ms(1 + watch.session.settings / 2)),
                    ..SessionPolicy::default()
                }),
                ..Changes::default()
            }),
            Self::Say => Command::Say(Output {
                kind: OutputKind::Log,
                run: None,
                data: json!({ "stream": "greenroom", "text": "…" }),
                late: false,
            }),
            Self::Kept { run: n } => {
                Command::RunFiles { run: run(n), files: RunFiles::Commit("c".repeat(40)) }
            }
            Self::Lost => Command::Lost { epoch: last, from: 1, to: 2 },
        }
    }
}

fn record(watch: &Watch, epoch: Epoch, n: u128, which: u8) -> Command {
    let outcome = if n.is_multiple_of(3) { failed() } else { completed() };
    let data = json!({ "text": "…", "cost_usd": 0.1, "input_tokens": n as u64 });
    let body = match which {
        0 | 1 => RecordBody::Ready,
        2 | 3 => RecordBody::RunStarted { run: watch.head_or(n) },
        4 => RecordBody::RunEnded { run: watch.head_or(n), outcome },
        5 => RecordBody::Closing { reason: EndReason::Exit },
        6 => RecordBody::Conversation { id: format!("conversation {n}") },
        7 | 8 => RecordBody::Asked { run: watch.head_or(n), ask: Box::new(scene::ask(n % 4)) },
        9 => RecordBody::AnswerTaken { id: scene::ask(n % 4).id },
        11 | 12 => RecordBody::Steered { run: watch.steer_or(n), into: watch.head_or(n) },
        10 => RecordBody::AskOver { id: scene::ask(n % 4).id, reason: "…".into() },
        _ => RecordBody::Output { run: Some(run(n)), kind: OutputKind::Usage, data },
    };
    Command::Records(vec![scene::session().record(epoch, body)])
}

fn child(which: u8, as_run: u128) -> Command {
    let child = SessionUid(Uuid::from_u128(2));
    let id: SessionId = "child".parse().expect("a name");
    match which {
        0 => Command::SpawnChild {
            child,
            id,
            agent: "fixer".parse().expect("a name"),
            bounds: TreeBounds { depth: 3, children: 2 },
        },
        1 => Command::ChildRemoved { child },
        _ => Command::ChildEnded {
            child,
            id,
            run: run(700),
            status: RunStatus::Stopped,
            as_run: run(as_run),
            prompt: "your child has ended".into(),
        },
    }
}
