//! Parents and children.

use std::sync::Arc;

use greenroom_core::command::{Actor, TreeBounds};
use greenroom_core::receipt::{EndReason, LastRun};
use greenroom_core::record::{Outcome, RunError};
use greenroom_core::run::RunStatus;
use greenroom_core::{Command, RecordBody, Refusal, RunId, RunnerId, Session, SessionUid};
use serde_json::json;

use super::fixtures::*;
use crate::{NewSession, Store, StoreError};

fn child_of(parent: &Session, name: &str) -> NewSession {
    let mut new = new_session(name);
    new.create.created.parent = Some(parent.uid);
    let mut prompt = prompt("work");
    prompt.run.callback = true;
    new.create.prompt = Some(prompt);
    new
}

async fn look(store: &dyn Store, uid: SessionUid) -> Arc<Session> {
    store.session(uid).await.expect("reads").expect("exists")
}

/// A child and its parent's consent are one commit.
pub async fn a_parent_consents(store: Arc<dyn Store>) {
    let parent = create(&*store, new_session("parent")).await;
    let child = create(&*store, child_of(&parent, "child")).await;
    assert_eq!((child.depth, child.parent), (1, Some(parent.uid)));
    assert_eq!(child.parent_id.as_ref(), Some(&parent.id));
    assert_eq!(look(&*store, parent.uid).await.children, 1);

    let mut wide = child_of(&parent, "second");
    wide.bounds = TreeBounds { depth: 4, children: 1 };
    let refused = store.create_session(wide).await;
    assert!(matches!(refused, Err(StoreError::Refused(Refusal::TooManyChildren(1)))));
    let taken = store.create_session(child_of(&parent, "child")).await;
    assert!(matches!(taken, Err(StoreError::NameTaken(_))));
    let mut orphan = child_of(&parent, "orphan");
    orphan.create.created.parent = Some(SessionUid(fresh()));
    assert!(matches!(store.create_session(orphan).await, Err(StoreError::NoSession)));
    assert_eq!(look(&*store, parent.uid).await.children, 1, "a refusal leaves no trace");

    // Never placed, so the child is gone at once, and its parent has room again.
    submit(&*store, child.uid, vec![delete()]).await;
    assert!(store.session(child.uid).await.expect("reads").is_none());
    assert_eq!(look(&*store, parent.uid).await.children, 0);
    agrees(&*store, parent.uid).await;
}

async fn end(
    store: &dyn Store,
    runner: RunnerId,
    child: &Session,
    said: &[&str],
    outcome: Outcome,
) {
    let (run, _) = child.current_run().expect("a run is dispatched");
    let mut bodies = vec![RecordBody::RunStarted { run }];
    bodies.extend(said.iter().map(|text| message(Some(run), text)));
    bodies.push(RecordBody::RunEnded { run, outcome });
    bodies.push(receipt(1, EndReason::Done));
    let records = bodies.into_iter().zip(1..).map(|(body, n)| record(child.uid, 1, n, body));
    store.append(runner, records.collect(), Vec::new()).await.expect("taken");
}

/// The end of a run waits in the outbox until it is delivered, and is delivered once.
pub async fn an_end_is_told_once(store: Arc<dyn Store>) {
    let runner = join(&*store).await;
    let parent = create(&*store, new_session("parent")).await;
    let mut new = child_of(&parent, "child");
    new.place = vec![candidate(runner, None)];
    let child = create(&*store, new).await;
    assert!(store.completions(10).await.expect("reads").is_empty());
    let done = Outcome::Completed { result: None };
    end(&*store, runner, &child, &["one\n", "two\n"], done).await;

    let told = store.completions(10).await.expect("reads");
    assert_eq!(told.len(), 1);
    let completion = told[0].clone();
    assert_eq!((completion.parent, completion.child), (parent.uid, child.uid));
    assert_eq!((completion.status, completion.text.as_str()), (RunStatus::Completed, "one\ntwo"));
    let as_run = RunId(fresh());
    let place = vec![candidate(runner, None)];
    store.deliver(completion.clone(), as_run, place.clone()).await.expect("delivered");
    assert!(store.completions(10).await.expect("reads").is_empty());
    store.deliver(completion, RunId(fresh()), place).await.expect("a repetition is harmless");
    let runs = store.runs(parent.uid, 10, None).await.expect("reads").items;
    assert_eq!(runs.iter().map(|run| run.id).collect::<Vec<_>>(), [as_run]);
    assert_eq!(runs[0].status, RunStatus::Dispatched, "it took the place that was free");
    let prompt = runs[0].prompt.clone().unwrap_or_default();
    assert!(prompt.contains("child") && prompt.contains("one\ntwo"), "{prompt}");
    agrees(&*store, parent.uid).await;
}

/// Several ends are told by one run, once, or not at all.
pub async fn several_ends_are_told_together(store: Arc<dyn Store>) {
    let runner = join(&*store).await;
    let parent = create(&*store, new_session("parent")).await;
    for name in ["one", "two"] {
        let mut new = child_of(&parent, name);
        new.place = vec![candidate(runner, None)];
        let child = create(&*store, new).await;
        end(&*store, runner, &child, &[name], Outcome::Completed { result: None }).await;
    }
    let told = store.completions(10).await.expect("reads");
    assert_eq!(told.len(), 2);
    let as_run = RunId(fresh());
    let both = store.deliver_together(told.clone(), "both".to_owned(), as_run, Vec::new());
    assert!(both.await.expect("delivered"));
    let again = store.deliver_together(told, "again".to_owned(), RunId(fresh()), Vec::new());
    assert!(!again.await.expect("answers"), "nothing is told twice");
    let runs = store.runs(parent.uid, 10, None).await.expect("reads").items;
    let runs: Vec<_> = runs.iter().map(|run| (run.id, run.prompt.as_deref())).collect();
    assert_eq!(runs, [(as_run, Some("both"))]);
    let events = store.events(parent.uid, 1, 100).await.expect("reads");
    assert_eq!(events.iter().filter(|event| event.kind == "child.completed").count(), 2);
    agrees(&*store, parent.uid).await;
}

/// A receipt that overtakes its journal ends the run; what the run has said last is told
/// with it all the same, once the journal is in.
pub async fn text_behind_a_receipt_is_awaited(store: Arc<dyn Store>) {
    let runner = join(&*store).await;
    let parent = create(&*store, new_session("parent")).await;
    for answer in [None, Some(json!(7))] {
        let mut new = child_of(&parent, if answer.is_some() { "result" } else { "text" });
        new.place = vec![candidate(runner, None)];
        let child = create(&*store, new).await;
        let (run, _) = child.current_run().expect("a run is dispatched");
        let RecordBody::Receipt { mut receipt } = receipt(1, EndReason::Done) else {
            unreachable!("made as one")
        };
        let outcome = Outcome::Completed { result: answer.clone() };
        receipt.last_run =
            Some(LastRun { run, outcome: Some(outcome.clone()), steered: Vec::new() });
        submit(&*store, child.uid, vec![Command::Receipt(receipt.clone())]).await;
        assert!(look(&*store, child.uid).await.compute.is_none(), "the proof does not wait");
        let told = store.completions(10).await.expect("reads");
        let end = told.iter().find(|told| told.child == child.uid).expect("it is told");
        assert_eq!(end.awaited, answer.is_none(), "a result says all there is to say");
        if answer.is_some() {
            assert_eq!(end.text, "7");
            continue;
        }
        let bodies = [
            RecordBody::RunStarted { run },
            message(Some(run), "the answer\n"),
            RecordBody::RunEnded { run, outcome },
            RecordBody::Receipt { receipt },
        ];
        for (body, n) in bodies.into_iter().zip(1..) {
            assert!(store.completions(1).await.expect("reads")[0].awaited, "before record {n}");
            let record = record(child.uid, 1, n, body);
            store.append(runner, vec![record], Vec::new()).await.expect("taken");
        }
        let told = store.completions(1).await.expect("reads");
        assert_eq!((told[0].awaited, told[0].text.as_str()), (false, "the answer"));
        // Whoever has read it before the journal came tells the whole text too.
        store.deliver(end.clone(), RunId(fresh()), Vec::new()).await.expect("delivered");
        let runs = store.runs(parent.uid, 10, None).await.expect("reads").items;
        assert!(runs[0].prompt.as_ref().is_some_and(|text| text.contains("the answer")));
        agrees(&*store, child.uid).await;
    }
}

/// A result goes before text, text before an error; text is cut to its end.
pub async fn what_is_told(store: Arc<dyn Store>) {
    let runner = join(&*store).await;
    let parent = create(&*store, new_session("parent")).await;
    let long = "ä".repeat(3000) + "end\n";
    let failed = Outcome::Failed { error: RunError::new("exit", "it ended with 3") };
    let cases: [(&str, &[&str], Outcome); 4] = [
        ("result", &["text\n"], Outcome::Completed { result: Some(json!({ "n": 1 })) }),
        ("text", &["text\n"], failed.clone()),
        ("error", &[], failed),
        ("long", &["first\n", &long], Outcome::Completed { result: None }),
    ];
    for (name, said, outcome) in cases {
        let mut new = child_of(&parent, name);
        new.place = vec![candidate(runner, None)];
        let child = create(&*store, new).await;
        end(&*store, runner, &child, said, outcome).await;
    }
    let mut new = child_of(&parent, "withdrawn");
    new.create.prompt.iter_mut().for_each(|prompt| prompt.run.callback = true);
    let child = create(&*store, new).await;
    let (run, _) = child.current_run().expect("a run waits");
    submit(&*store, child.uid, vec![Command::Withdraw { run, by: Actor::person("ann") }]).await;
    let mut quiet = child_of(&parent, "quiet");
    quiet.create.prompt.iter_mut().for_each(|prompt| prompt.run.callback = false);
    let child = create(&*store, quiet).await;
    submit(&*store, child.uid, vec![stop()]).await;

    let told = store.completions(10).await.expect("reads");
    let of = |name: &str| told.iter().find(|c| c.child_id.as_str() == name).expect("is told");
    assert_eq!(told.len(), 5, "one that asked for no callback is not told");
    assert_eq!(of("result").text, r#"{"n":1}"#);
    assert_eq!(of("text").text, "text");
    assert_eq!(of("error").text, "it ended with 3");
    assert!(of("long").text.len() <= 4096 && of("long").text.ends_with("ääend"));
    assert_eq!((of("withdrawn").status, of("withdrawn").text.as_str()), (RunStatus::Withdrawn, ""));
}

/// What nobody is there to hear is dropped.
pub async fn a_parent_that_is_gone_is_told_nothing(store: Arc<dyn Store>) {
    let parent = create(&*store, new_session("parent")).await;
    let child = create(&*store, child_of(&parent, "child")).await;
    submit(&*store, child.uid, vec![stop()]).await;
    submit(&*store, parent.uid, vec![delete()]).await;
    assert!(store.session(parent.uid).await.expect("reads").is_none());
    let told = store.completions(10).await.expect("reads");
    assert_eq!((told.len(), told[0].status), (1, RunStatus::Stopped));
    store.deliver(told[0].clone(), RunId(fresh()), Vec::new()).await.expect("dropped");
    assert!(store.completions(10).await.expect("reads").is_empty());
    // A child outlives its parent, and its own removal finds nobody either.
    submit(&*store, child.uid, vec![delete()]).await;
    assert!(store.session(child.uid).await.expect("reads").is_none());
}
