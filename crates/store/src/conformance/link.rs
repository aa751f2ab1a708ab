//! Places, assignments, and what runners report.

use std::sync::Arc;

use greenroom_core::receipt::EndReason;
use greenroom_core::record::{Outcome, Writer};
use greenroom_core::{
    Command, Epoch, Order, Record, RecordBody, RunFiles, RunId, RunnerId, SessionUid, Status,
};
use greenroom_protocol::link::Mark;

use super::fixtures::*;
use crate::{Store, StoreError, Submission, Told};

/// A prompt that finds a place is dispatched in its own commit.
pub async fn a_place_is_committed_with_the_prompt(store: Arc<dyn Store>) {
    let runner = join(&*store).await;
    let session = create(&*store, new_session("x")).await;
    let sent = prompt("go");
    let run = sent.run.id;
    let mut submission = Submission::new(session.uid, at(1), vec![Command::Prompt(sent)]);
    submission.place = vec![candidate(runner, Some(1))];
    let commit = done(store.submit(submission).await.expect("accepted"));
    assert_eq!(commit.session.status(), Status::Starting);
    assert_eq!(commit.session.slot(), Some(runner));
    assert_eq!(commit.assigned, [runner]);
    let (_, assignments) = store.assignments(runner, 0).await.expect("reads");
    assert_eq!(assignments.len(), 1);
    let up = Order::Up {
        run: Some(run),
        cancel: None,
        answers: Vec::new(),
        steers: Vec::new(),
        settings: Some(0),
    };
    assert_eq!(assignments[0].order, up);
    let row = store.runner(runner).await.expect("reads").expect("exists");
    assert_eq!((row.slots_used, row.sessions, row.live), (1, 1, 1));
    agrees(&*store, session.uid).await;
}

/// A session with a home is placed there or not at all.
pub async fn a_home_is_kept(store: Arc<dyn Store>) {
    let (home, other) = (join(&*store).await, join(&*store).await);
    let (_, session) = running(&*store, "x", home).await;
    let records = vec![record(session.uid, 1, 1, receipt(1, EndReason::Exit))];
    store.append(home, records, Vec::new()).await.expect("taken");
    let again = |place| {
        let mut submission =
            Submission::new(session.uid, at(9), vec![Command::Prompt(prompt("again"))]);
        submission.place = place;
        store.submit(submission)
    };
    let commit = done(again(vec![candidate(other, None)]).await.expect("accepted"));
    assert_eq!(commit.session.status(), Status::Queued);
    let places = vec![candidate(other, None), candidate(home, Some(1))];
    let commit = done(again(places).await.expect("accepted"));
    assert_eq!(
        commit.session.compute.as_ref().map(|c| (c.runner, c.epoch)),
        Some((home, Epoch(2)))
    );
}

/// However many ask at once, a runner gets no more runs than it has slots.
pub async fn slots_are_never_exceeded(store: Arc<dyn Store>) {
    let (small, large) = (join(&*store).await, join(&*store).await);
    let mut tasks = Vec::new();
    for n in 0..40 {
        let store = Arc::clone(&store);
        tasks.push(tokio::spawn(async move {
            let mut new = new_session(&format!("s{n}"));
            new.create.prompt = Some(prompt("go"));
            new.place = vec![candidate(small, Some(3)), candidate(large, Some(11))];
            create(&*store, new).await
        }));
    }
    let mut queued = 0;
    for task in tasks {
        queued += u32::from(task.await.expect("a task ends").status() == Status::Queued);
    }
    let used =
        async |runner| store.runner(runner).await.expect("reads").expect("exists").slots_used;
    assert_eq!((used(small).await, used(large).await, queued), (3, 11, 26));
}

/// The end of one run, and the next one's place, are one commit.
pub async fn records_free_a_slot_for_the_next_run(store: Arc<dyn Store>) {
    let runner = join(&*store).await;
    let mut new = new_session("x");
    new.create.created.traits.persistent = true;
    let (one, two) = (prompt("one"), prompt("two"));
    let (first, second) = (one.run.id, two.run.id);
    new.create.prompt = Some(one);
    new.place = vec![candidate(runner, Some(1))];
    let session = create(&*store, new).await;
    submit(&*store, session.uid, vec![Command::Prompt(two)]).await;
    let outcome = Outcome::Completed { result: None };
    let records = vec![
        record(session.uid, 1, 1, RecordBody::Ready),
        record(session.uid, 1, 2, RecordBody::RunStarted { run: first }),
        record(session.uid, 1, 3, RecordBody::RunEnded { run: first, outcome }),
    ];
    let place = vec![candidate(runner, Some(1))];
    store.append(runner, records, place).await.expect("taken");
    let after = store.session(session.uid).await.expect("reads").expect("exists");
    assert_eq!(after.current_run().map(|(run, _)| run), Some(second));
    assert_eq!(after.slot(), Some(runner));
    agrees(&*store, session.uid).await;
}

/// A runner is told each change once, under a number that only grows; what it has obeyed
/// is forgotten.
pub async fn assignments_have_revisions(store: Arc<dyn Store>) {
    let runner = join(&*store).await;
    assert_eq!(store.assignments(runner, 0).await.expect("reads"), (0, Vec::new()));
    let (_, one) = running(&*store, "one", runner).await;
    let (first, told) = store.assignments(runner, 0).await.expect("reads");
    assert_eq!(told.len(), 1);
    let (_, two) = running(&*store, "two", runner).await;
    let (second, told) = store.assignments(runner, first).await.expect("reads");
    assert!(second > first);
    assert_eq!(told.iter().map(|a| a.uid).collect::<Vec<_>>(), [two.uid], "only what is new");

    // Output is no news for a runner.
    let output = vec![record(one.uid, 1, 1, message(None, "hi\n"))];
    store.append(runner, output, Vec::new()).await.expect("taken");
    assert_eq!(store.assignments(runner, second).await.expect("reads"), (second, Vec::new()));

    submit(&*store, one.uid, vec![stop()]).await;
    let (third, told) = store.assignments(runner, second).await.expect("reads");
    assert!(matches!(told[0].order, Order::Down { .. }));
    let closed = vec![record(one.uid, 1, 2, receipt(1, EndReason::User))];
    store.append(runner, closed, Vec::new()).await.expect("taken");
    let (fourth, told) = store.assignments(runner, third).await.expect("reads");
    assert_eq!(told[0].order, Order::Closed);
    store.acknowledge(runner, third).await.expect("noted");
    assert_eq!(store.assignments(runner, 0).await.expect("reads").1.len(), 2, "not obeyed yet");
    store.acknowledge(runner, fourth).await.expect("noted");
    let (rev, left) = store.assignments(runner, 0).await.expect("reads");
    assert_eq!(left.iter().map(|a| a.uid).collect::<Vec<_>>(), [two.uid]);
    assert_eq!(rev, fourth);

    // It is told of the session again when there is something to tell.
    let mut again = Submission::new(one.uid, at(9), vec![Command::Prompt(prompt("again"))]);
    again.place = vec![candidate(runner, None)];
    done(store.submit(again).await.expect("accepted"));
    let (_, told) = store.assignments(runner, fourth).await.expect("reads");
    assert_eq!(told.iter().map(|a| (a.uid, a.epoch)).collect::<Vec<_>>(), [(one.uid, Epoch(2))]);
    // A number that was never given out asks for everything.
    assert_eq!(store.assignments(runner, 1 << 40).await.expect("reads").1.len(), 2);
}

fn texts(uid: SessionUid, from: u64, to: u64) -> Vec<Record> {
    (from..=to).map(|index| record(uid, 1, index, message(None, &format!("{index}\n")))).collect()
}

async fn append(store: &dyn Store, runner: RunnerId, records: Vec<Record>) -> Vec<u64> {
    let marks = store.append(runner, records, Vec::new()).await.expect("taken");
    marks.iter().map(|mark| mark.index).collect()
}

async fn said(store: &dyn Store, uid: SessionUid) -> Vec<String> {
    let events = store.events(uid, 1, 1000).await.expect("reads");
    let messages = events.iter().filter(|event| event.kind == "message");
    messages.map(|event| event.data["text"].as_str().unwrap_or_default().to_owned()).collect()
}

/// Doubles are dropped, a hole is not jumped, and each stream has its own mark.
pub async fn records_are_taken_once(store: Arc<dyn Store>) {
    let runner = join(&*store).await;
    let (_, session) = running(&*store, "x", runner).await;
    let uid = session.uid;
    assert_eq!(append(&*store, runner, texts(uid, 1, 3)).await, [3]);
    assert_eq!(append(&*store, runner, texts(uid, 1, 3)).await, [3], "all doubles");
    assert_eq!(append(&*store, runner, texts(uid, 2, 5)).await, [5], "half doubles");
    assert_eq!(append(&*store, runner, texts(uid, 8, 9)).await, [5], "a hole");
    let mut other = record(uid, 1, 1, message(None, "from the runner\n"));
    other.writer = Writer::Runner;
    assert_eq!(append(&*store, runner, vec![other]).await, [1]);
    assert_eq!(said(&*store, uid).await, ["1\n", "2\n", "3\n", "4\n", "5\n", "from the runner\n"]);
    let events = store.events(uid, 1, 1000).await.expect("reads");
    let third = events.iter().find(|event| event.data["text"] == "3\n").expect("is there");
    assert_eq!(third.at, at(3), "an entry keeps the time of its record");
    let mut marks = store.marks(uid).await.expect("reads");
    marks.sort_by_key(|mark| mark.writer);
    let mark = |writer, index| Mark { uid, epoch: Epoch(1), writer, index };
    assert_eq!(marks, [mark(Writer::Shim, 5), mark(Writer::Runner, 1)]);
    agrees(&*store, uid).await;
}

/// Entries that are lost for good are said to be, and the stream goes on behind them.
pub async fn a_gap_bridges_a_hole(store: Arc<dyn Store>) {
    let runner = join(&*store).await;
    let (_, session) = running(&*store, "x", runner).await;
    let uid = session.uid;
    append(&*store, runner, texts(uid, 1, 2)).await;
    let gap = |from, to| record(uid, 1, to, RecordBody::Gap { from, to });
    assert_eq!(append(&*store, runner, vec![gap(5, 6)]).await, [2], "the gap leaves a hole itself");
    let mut records = vec![gap(2, 6)];
    records.extend(texts(uid, 7, 8));
    assert_eq!(append(&*store, runner, records.clone()).await, [8]);
    assert_eq!(append(&*store, runner, records).await, [8], "all doubles");
    assert_eq!(said(&*store, uid).await, ["1\n", "2\n", "7\n", "8\n"]);
    let events = store.events(uid, 1, 1000).await.expect("reads");
    let gaps: Vec<_> = events.iter().filter(|event| event.kind == "log_gap").collect();
    assert_eq!(gaps.len(), 1);
    assert_eq!((&gaps[0].data["from"], &gaps[0].data["to"]), (&3.into(), &6.into()));
    agrees(&*store, uid).await;
}

/// What another runner says of a session, or of one that is unknown, is not taken.
pub async fn only_the_home_runner_reports(store: Arc<dyn Store>) {
    let (home, foreign) = (join(&*store).await, join(&*store).await);
    let (_, session) = running(&*store, "x", home).await;
    let uid = session.uid;
    assert!(append(&*store, foreign, texts(uid, 1, 3)).await.is_empty());
    assert!(append(&*store, home, texts(SessionUid(fresh()), 1, 3)).await.is_empty());
    let early = record(uid, 2, 1, RecordBody::Ready);
    assert!(append(&*store, home, vec![early]).await.is_empty(), "not assigned yet");
    assert!(said(&*store, uid).await.is_empty());
    let report = |from| {
        let command = Command::RunnerSilent { runner: home };
        let mut submission = Submission::new(uid, at(2), vec![command]);
        submission.from = Some(from);
        store.submit(submission)
    };
    assert!(matches!(report(foreign).await, Err(StoreError::NoSession)));
    assert_eq!(done(report(home).await.expect("accepted")).session.status(), Status::Unreachable);
    assert_eq!(append(&*store, home, texts(uid, 1, 3)).await, [3]);
}

/// 64 sessions write at once: no log has a gap or a double.
pub async fn many_sessions_append_at_once(store: Arc<dyn Store>) {
    let runner = join(&*store).await;
    let mut tasks = Vec::new();
    for n in 0..64 {
        let store = Arc::clone(&store);
        tasks.push(tokio::spawn(async move {
            let (_, session) = running(&*store, &format!("s{n}"), runner).await;
            for chunk in 0..10 {
                let from = chunk * 7 + 1;
                append(&*store, runner, texts(session.uid, from, from + 6)).await;
            }
            session.uid
        }));
    }
    for task in tasks {
        let uid = task.await.expect("a task ends");
        assert_eq!(said(&*store, uid).await.len(), 70);
        agrees(&*store, uid).await;
    }
}

/// What was kept of files is taken behind the end of its run, once, and from its home alone.
pub async fn files_are_told_once(store: Arc<dyn Store>) {
    let (home, foreign) = (join(&*store).await, join(&*store).await);
    let (run, session) = running(&*store, "x", home).await;
    let uid = session.uid;
    let commit = RunFiles::Commit("c".repeat(40));
    let told = |runner, run, files: &RunFiles| store.take_files(runner, uid, run, files.clone());
    assert_eq!(told(home, run, &commit).await.expect("answers"), Told::Early);
    let outcome = Outcome::Completed { result: None };
    let records = vec![
        record(uid, 1, 1, RecordBody::RunStarted { run }),
        record(uid, 1, 2, RecordBody::RunEnded { run, outcome }),
        record(uid, 1, 3, receipt(1, EndReason::Done)),
    ];
    store.append(home, records, Vec::new()).await.expect("taken");
    assert_eq!(told(foreign, run, &commit).await.expect("answers"), Told::Nobody);
    assert_eq!(told(home, RunId(fresh()), &commit).await.expect("answers"), Told::Over);
    let other = RunFiles::Reason { code: "too_slow".into(), message: "it took too long".into() };
    for files in [&commit, &commit, &other] {
        assert_eq!(told(home, run, files).await.expect("answers"), Told::Over);
    }
    let row = store.run(run).await.expect("reads").expect("exists");
    assert_eq!(row.files, Some(commit));
    let events = store.events(uid, 1, 1000).await.expect("reads");
    let said: Vec<_> = events.iter().filter(|event| event.kind == "run.files").collect();
    assert_eq!(said.len(), 1);
    assert_eq!((said[0].run, &said[0].data["commit"]), (Some(run), &"c".repeat(40).into()));
    agrees(&*store, uid).await;

    // The last that had ended is found by any entry from its end on.
    let end = events.iter().find(|event| event.kind == "run.completed").expect("an end").seq;
    let found = async |seq| store.last_ended(uid, seq).await.expect("reads");
    assert_eq!([found(1).await, found(end - 1).await], [None, None]);
    assert_eq!([found(end).await, found(u64::MAX).await], [Some(run), Some(run)]);
    // One that never began has no files.
    let waiting = prompt("never");
    let never = waiting.run.id;
    submit(&*store, uid, vec![Command::Prompt(waiting), stop()]).await;
    let row = store.run(never).await.expect("reads").expect("exists");
    assert!(row.started_at.is_none() && row.ended_at.is_some(), "{row:?}");
    assert_eq!(told(home, never, &other).await.expect("answers"), Told::Over);
    assert_eq!(found(u64::MAX).await, Some(run));
    assert_eq!(store.run(never).await.expect("reads").expect("exists").files, None);
}
