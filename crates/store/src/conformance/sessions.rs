//! Sessions, their logs and their runs.

use std::sync::{Arc, Mutex};

use greenroom_core::command::{Actor, Asks};
use greenroom_core::fact::Changes;
use greenroom_core::receipt::EndReason;
use greenroom_core::record::{Outcome, OutputKind, RunError};
use greenroom_core::run::RunStatus;
use greenroom_core::{Command, RecordBody, Refusal, RunId, SessionUid, Status};
use serde_json::json;

use super::fixtures::*;
use crate::{Answer, Exchanges, Idempotency, Store, StoreError, Submission, Submitted};

/// A session is found by both its names, with its log and its first run.
pub async fn creates_and_finds(store: Arc<dyn Store>) {
    let mut new = new_session("first");
    new.create.created.title = Some("A title".to_owned());
    new.create.prompt = Some(prompt("hello"));
    let session = create(&*store, new).await;
    assert_eq!(session.status(), Status::Queued);
    let by_uid = store.session(session.uid).await.expect("reads").expect("exists");
    let by_name = store.session_named(&session.id).await.expect("reads").expect("exists");
    assert_eq!(*by_uid, *session);
    assert_eq!(*by_name, *session);
    agrees(&*store, session.uid).await;

    let events = store.events(session.uid, 1, 100).await.expect("reads");
    let kinds: Vec<&str> = events.iter().map(|event| event.kind.as_str()).collect();
    assert_eq!(kinds, ["session.created", "run.queued", "session.status"]);
    assert_eq!(store.events(session.uid, 2, 1).await.expect("reads").len(), 1);
    assert!(store.events(session.uid, 4, 100).await.expect("reads").is_empty());
    assert!(store.events(SessionUid(fresh()), 1, 100).await.expect("reads").is_empty());

    let runs = store.runs(session.uid, 10, None).await.expect("reads").items;
    assert_eq!(runs.len(), 1);
    assert_eq!(runs[0].prompt.as_deref(), Some("hello"));
    assert_eq!(runs[0].session_id, session.id);
    assert_eq!(store.run(runs[0].id).await.expect("reads").as_ref(), Some(&runs[0]));
    assert!(store.run(RunId(fresh())).await.expect("reads").is_none());
    assert!(store.session(SessionUid(fresh())).await.expect("reads").is_none());
}

/// A name is taken while its session exists, also while that is being removed.
pub async fn names_are_unique_among_those_that_exist(store: Arc<dyn Store>) {
    let runner = join(&*store).await;
    let (_, placed) = running(&*store, "x", runner).await;
    let taken = store.create_session(new_session("x")).await;
    assert!(matches!(taken, Err(StoreError::NameTaken(name)) if name.as_str() == "x"));
    submit(&*store, placed.uid, vec![delete()]).await;
    let taken = store.create_session(new_session("x")).await;
    assert!(matches!(taken, Err(StoreError::NameTaken(_))), "it is being removed");
    assert!(!store.was_removed(&placed.id).await.expect("reads"));

    let records = vec![record(placed.uid, 1, 1, receipt(1, EndReason::Deleted))];
    store.append(runner, records, Vec::new()).await.expect("taken");
    submit(&*store, placed.uid, vec![Command::FilesGone]).await;
    assert!(store.session(placed.uid).await.expect("reads").is_none(), "it is gone");
    assert!(store.session_named(&placed.id).await.expect("reads").is_none());
    assert!(store.was_removed(&placed.id).await.expect("reads"));
    let again = create(&*store, new_session("x")).await;
    assert_ne!(again.uid, placed.uid);
    let gone = store.submit(Submission::new(placed.uid, at(2), vec![stop()])).await;
    assert!(matches!(gone, Err(StoreError::NoSession)));
}

/// One refusal among several commands undoes the others.
pub async fn decides_all_or_none(store: Arc<dyn Store>) {
    let session = create(&*store, new_session("x")).await;
    let changes = Changes { title: Some("changed".to_owned()), ..Changes::default() };
    let withdraw = Command::Withdraw { run: RunId(fresh()), by: Actor::person("ann") };
    let commands = vec![Command::Update(changes), withdraw];
    let refused = store.submit(Submission::new(session.uid, at(1), commands)).await;
    assert!(matches!(refused, Err(StoreError::Refused(Refusal::RunEnded { .. }))));
    let after = store.session(session.uid).await.expect("reads").expect("exists");
    assert_eq!(*after, *session);

    // A run's id that is taken is found out by the store only, and undone as well.
    let taken = prompt("one");
    submit(&*store, session.uid, vec![Command::Prompt(taken.clone())]).await;
    let other = create(&*store, new_session("y")).await;
    let (good, bad) = (Command::Prompt(prompt("two")), Command::Prompt(taken));
    let failed = store.submit(Submission::new(other.uid, at(1), vec![good, bad])).await;
    assert!(matches!(failed, Err(StoreError::Database(_))));
    assert!(store.runs(other.uid, 10, None).await.expect("reads").items.is_empty());
    let commit = submit(&*store, other.uid, vec![Command::Prompt(prompt("three"))]).await;
    assert_eq!(commit.events[0].seq, other.last_seq + 1, "the number was not used up");
    agrees(&*store, other.uid).await;
}

/// Output moves the end of the log, and nothing else a reader of states would see.
pub async fn output_is_no_new_version(store: Arc<dyn Store>) {
    let runner = join(&*store).await;
    let (run, before) = running(&*store, "x", runner).await;
    let usage = json!({ "input_tokens": 3, "output_tokens": 5, "cost_usd": 0.25 });
    let usage = RecordBody::Output { run: Some(run), kind: OutputKind::Usage, data: usage };
    let records =
        vec![record(before.uid, 1, 1, message(Some(run), "hi\n")), record(before.uid, 1, 2, usage)];
    store.append(runner, records, Vec::new()).await.expect("taken");
    let after = store.session(before.uid).await.expect("reads").expect("exists");
    assert_eq!(after.version, before.version);
    assert_eq!(after.last_seq, before.last_seq + 2);
    assert_eq!(after.usage.output_tokens, 5);
    assert_eq!(after.usage.cost_micro_usd, 250_000);
    let row = store.run(run).await.expect("reads").expect("exists");
    assert_eq!(row.usage, after.usage);
    agrees(&*store, before.uid).await;
}

fn asked(key: &str, body: u8) -> Option<Idempotency> {
    let answer = format!("answer to {key} {body}").into_bytes();
    Some(Idempotency {
        scope: "ann POST /v1/sessions".to_owned(),
        key: key.to_owned(),
        body: [body; 32],
        render: Box::new(move |_| Answer { status: 201, body: answer }),
    })
}

/// A repeated key answers as before, and never another request.
pub async fn repeats_answer_the_same(store: Arc<dyn Store>) {
    let with = |name: &str, asked| {
        let mut new = new_session(name);
        new.idempotency = asked;
        new
    };
    let first = store.create_session(with("x", asked("k", 1))).await.expect("created");
    let Submitted::Done { answer: Some(answer), commit } = first else { panic!("not done") };
    let again = store.create_session(with("x", asked("k", 1))).await.expect("replayed");
    assert!(matches!(again, Submitted::Replay(replayed) if replayed == answer));
    let conflict = store.create_session(with("z", asked("k", 2))).await;
    assert!(matches!(conflict, Err(StoreError::IdempotencyConflict)));

    // A refusal is not kept: the key is still free.
    let refused = store.create_session(with("x", asked("other", 3))).await;
    assert!(matches!(refused, Err(StoreError::NameTaken(_))));
    done(store.create_session(with("y", asked("other", 3))).await.expect("created"));

    // Twins at the same time: one does it, the other is answered the same.
    let twin = || {
        let mut submission = Submission::new(commit.session.uid, at(1), Vec::new());
        submission.commands = vec![Command::Prompt(prompt("once"))];
        submission.idempotency = asked("twin", 4);
        store.submit(submission)
    };
    let (one, two) = tokio::join!(twin(), twin());
    let replays = [one, two].into_iter().map(|twin| twin.expect("answered"));
    assert_eq!(replays.filter(|twin| matches!(twin, Submitted::Replay(_))).count(), 1);
    assert_eq!(store.runs(commit.session.uid, 10, None).await.expect("reads").items.len(), 1);

    // After seven days the key means nothing any more.
    let mut late = with("w", asked("k", 2));
    late.at = at(7 * 24 * 3_600_000);
    done(store.create_session(late).await.expect("created"));
}

/// A run's row says what the log says of it.
pub async fn runs_follow_the_log(store: Arc<dyn Store>) {
    let runner = join(&*store).await;
    let (run, session) = running(&*store, "x", runner).await;
    let uid = session.uid;
    let status = async |run| {
        let row = store.run(run).await.expect("reads").expect("exists");
        (row.status, row.started_at.is_some(), row.ended_at.is_some())
    };
    assert_eq!(status(run).await, (RunStatus::Dispatched, false, false));
    let take = async |index, body| {
        let records = vec![record(uid, 1, index, body)];
        store.append(runner, records, Vec::new()).await.expect("taken");
    };
    take(1, RecordBody::RunStarted { run }).await;
    assert_eq!(status(run).await, (RunStatus::Running, true, false));
    let (second, third) = (prompt("second"), prompt("third"));
    let (second_run, third_run) = (second.run.id, third.run.id);
    submit(&*store, uid, vec![Command::Prompt(second), Command::Prompt(third)]).await;
    let outcome = Outcome::Completed { result: Some(json!({ "answer": 42 })) };
    take(2, RecordBody::RunEnded { run, outcome }).await;
    assert_eq!(status(run).await, (RunStatus::Completed, true, true));
    let row = store.run(run).await.expect("reads").expect("exists");
    assert_eq!(row.result, Some(json!({ "answer": 42 })));
    assert_eq!(row.ended_at, Some(at(2)), "the time of the record");

    let by = Actor::person("ann");
    submit(&*store, uid, vec![Command::Withdraw { run: third_run, by }]).await;
    assert_eq!(status(third_run).await, (RunStatus::Withdrawn, false, true));
    let mut place = Submission::new(uid, at(5), Vec::new());
    place.place = vec![candidate(runner, None)];
    take(3, receipt(1, EndReason::Done)).await;
    done(store.submit(place).await.expect("placed"));
    let error = RunError::new("exit", "it ended with 3");
    let records = vec![
        record(uid, 2, 1, RecordBody::RunStarted { run: second_run }),
        record(
            uid,
            2,
            2,
            RecordBody::RunEnded { run: second_run, outcome: Outcome::Failed { error } },
        ),
    ];
    store.append(runner, records, Vec::new()).await.expect("taken");
    let row = store.run(second_run).await.expect("reads").expect("exists");
    assert_eq!(row.error, Some(("exit".to_owned(), "it ended with 3".to_owned())));
    let counted = store.exchanges(&[uid, SessionUid(fresh())]).await.expect("reads");
    assert_eq!(counted, [Exchanges { asked: 2, answered: 1 }, Exchanges::default()]);

    let mut seen = Vec::new();
    let mut cursor = None;
    loop {
        let page = store.runs(uid, 2, cursor).await.expect("reads");
        seen.extend(page.items.iter().map(|row| row.id));
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(seen, [third_run, second_run, run], "newest first");
    agrees(&*store, uid).await;
}

/// Each commit is published once, after it is on disk and before it is answered, and
/// together they are the log.
pub async fn commits_are_published_in_order(store: Arc<dyn Store>) {
    let seen: Arc<Mutex<Vec<(SessionUid, u64)>>> = Arc::default();
    let sink = Arc::clone(&seen);
    store.on_commit(Arc::new(move |commit| {
        let mut seen = sink.lock().expect("not poisoned");
        seen.extend(commit.events.iter().map(|event| (commit.session.uid, event.seq)));
    }));
    let mut tasks = Vec::new();
    for n in 0..8 {
        let store = Arc::clone(&store);
        tasks.push(tokio::spawn(async move {
            let session = create(&*store, new_session(&format!("s{n}"))).await;
            for _ in 0..10 {
                submit(&*store, session.uid, vec![Command::Prompt(prompt("go"))]).await;
            }
            session.uid
        }));
    }
    for task in tasks {
        let uid = task.await.expect("a task ends");
        let last = store.session(uid).await.expect("reads").expect("exists").last_seq;
        let seen = seen.lock().expect("not poisoned");
        let of: Vec<u64> = seen.iter().filter(|(s, _)| *s == uid).map(|(_, seq)| *seq).collect();
        assert_eq!(of, (1..=last).collect::<Vec<_>>());
    }
    // What changes nothing is not news.
    let before = seen.lock().expect("not poisoned").len();
    let idle = create(&*store, new_session("idle")).await;
    submit(&*store, idle.uid, Vec::new()).await;
    assert_eq!(seen.lock().expect("not poisoned").len(), before + 1);
}

/// What ended each compute is found without reading the log.
pub async fn receipts_are_found_in_the_log(store: Arc<dyn Store>) {
    let runner = join(&*store).await;
    let (run, session) = running(&*store, "x", runner).await;
    let uid = session.uid;
    let outcome = Outcome::Completed { result: None };
    let records = vec![
        record(uid, 1, 1, RecordBody::RunStarted { run }),
        record(uid, 1, 2, message(Some(run), "hello")),
        record(uid, 1, 3, RecordBody::RunEnded { run, outcome }),
        record(uid, 1, 4, receipt(1, EndReason::Done)),
    ];
    store.append(runner, records, Vec::new()).await.expect("taken");
    let found = store.receipts(uid, 0, 10).await.expect("reads");
    let kinds: Vec<&str> = found.iter().map(|event| event.kind.as_str()).collect();
    assert_eq!(kinds, ["session.finished"]);
    let same = store.events(uid, found[0].seq, 1).await.expect("reads");
    assert_eq!(found, same);
    assert!(store.receipts(uid, found[0].seq, 10).await.expect("reads").is_empty());
    assert!(store.receipts(SessionUid(fresh()), 0, 10).await.expect("reads").is_empty());
}

/// A run that waits asks what it was last given, and the queue is in the order it was given.
pub async fn runs_that_wait_are_revised(store: Arc<dyn Store>) {
    let runner = join(&*store).await;
    let (_, session) = running(&*store, "x", runner).await;
    let (second, third) = (prompt("second"), prompt("third"));
    let (second_run, third_run) = (second.run.id, third.run.id);
    submit(&*store, session.uid, vec![Command::Prompt(second), Command::Prompt(third)]).await;
    let by = Actor::person("ann");
    let asks = Some(Asks::Input(json!({ "n": 1 })));
    let revise = Command::Revise { run: third_run, asks, position: Some(0), by };
    let session = &submit(&*store, session.uid, vec![revise]).await.session;
    let order: Vec<RunId> = session.queue.iter().map(|run| run.id).collect();
    assert_eq!(order, [third_run, second_run]);
    let row = store.run(third_run).await.expect("reads").expect("exists");
    assert_eq!((row.prompt, row.input), (None, Some(json!({ "n": 1 }))));
    agrees(&*store, session.uid).await;
}
