//! The writer: what shares a batch, and what a crash around the commit leaves.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};

use fail::FailScenario;
use greenroom_core::Command;
use greenroom_store::conformance::fixtures::*;
use greenroom_store::{
    Answer, Idempotency, NewSession, SqliteStore, Store, StoreError, Submission, Submitted,
};

async fn open(folder: &Path) -> SqliteStore {
    SqliteStore::open(&folder.join("db")).await.expect("opens")
}

/// A commit that is held, and how many there were.
struct Held {
    reached: tokio::sync::mpsc::UnboundedReceiver<()>,
    release: mpsc::Sender<()>,
    commits: Arc<AtomicUsize>,
}

/// Holds the next commit until told otherwise, and counts all.
fn hold_commit() -> Held {
    let (release, held) = mpsc::channel();
    let held = Mutex::new(held);
    let (say, reached) = tokio::sync::mpsc::unbounded_channel();
    let commits = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&commits);
    fail::cfg_callback("store_before_commit", move || {
        if count.fetch_add(1, Ordering::SeqCst) == 0 {
            say.send(()).expect("is waited for");
            held.lock().expect("not poisoned").recv().expect("is released");
        }
    })
    .expect("a point");
    Held { reached, release, commits }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bad_submission_leaves_the_others_of_its_batch() {
    let scenario = FailScenario::setup();
    let folder = tempfile::tempdir().expect("a folder");
    let store = open(folder.path()).await;
    let one = create(&store, new_session("one")).await;
    let two = create(&store, new_session("two")).await;
    let taken = prompt("taken");
    submit(&store, one.uid, vec![Command::Prompt(taken.clone())]).await;
    let send =
        |uid, prompt| store.submit(Submission::new(uid, at(1), vec![Command::Prompt(prompt)]));

    let mut hold = hold_commit();
    let rest = async {
        hold.reached.recv().await.expect("is reached");
        let mut new = new_session("child");
        new.create.created.parent = Some(one.uid);
        // Polled in this order: all are in line before the writer may go on.
        let (first, bad, name, second, child, ()) = tokio::join!(
            send(one.uid, prompt("first")),
            send(two.uid, taken),
            store.create_session(new_session("one")),
            send(two.uid, prompt("second")),
            store.create_session(new),
            async { hold.release.send(()).expect("is released") },
        );
        (first, bad, name, second, child)
    };
    let (held, (first, bad, name, second, child)) =
        tokio::join!(send(one.uid, prompt("held")), rest);
    scenario.teardown();
    done(held.expect("accepted"));
    done(first.expect("accepted"));
    assert!(matches!(bad, Err(StoreError::Database(_))), "a run's id was taken");
    assert!(matches!(name, Err(StoreError::NameTaken(_))));
    done(second.expect("accepted"));
    done(child.expect("accepted"));
    assert_eq!(hold.commits.load(Ordering::SeqCst), 2, "one batch held, one with all the rest");
    for (uid, runs) in [(one.uid, 3), (two.uid, 1)] {
        assert_eq!(store.runs(uid, 10, None).await.expect("reads").items.len(), runs);
        agrees(&store, uid).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_published_before_the_commit() {
    let scenario = FailScenario::setup();
    let folder = tempfile::tempdir().expect("a folder");
    let store = open(folder.path()).await;
    let published = Arc::new(AtomicUsize::new(0));
    let sink = Arc::clone(&published);
    store.on_commit(Arc::new(move |_| {
        sink.fetch_add(1, Ordering::SeqCst);
    }));
    let seen = Arc::new(Mutex::new(Vec::new()));
    for point in ["store_before_commit", "store_after_commit"] {
        let (published, seen) = (Arc::clone(&published), Arc::clone(&seen));
        fail::cfg_callback(point, move || {
            seen.lock().expect("not poisoned").push((point, published.load(Ordering::SeqCst)));
        })
        .expect("a point");
    }
    create(&store, new_session("x")).await;
    scenario.teardown();
    let seen = seen.lock().expect("not poisoned").clone();
    assert_eq!(seen, [("store_before_commit", 0), ("store_after_commit", 0)]);
    assert_eq!(published.load(Ordering::SeqCst), 1);
}

fn with_key(name: &str) -> NewSession {
    let mut new = new_session(name);
    new.idempotency = Some(Idempotency {
        scope: "ann".to_owned(),
        key: "k".to_owned(),
        body: [1; 32],
        render: Box::new(|session| Answer { status: 201, body: session.id.as_str().into() }),
    });
    new
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_around_the_commit_leaves_all_or_nothing() {
    for (point, kept) in [("store_before_commit", false), ("store_after_commit", true)] {
        let scenario = FailScenario::setup();
        let folder = tempfile::tempdir().expect("a folder");
        let store = open(folder.path()).await;
        create(&store, new_session("before")).await;
        fail::cfg(point, "panic").expect("a point");
        assert!(store.create_session(with_key("x")).await.is_err(), "nobody knows yet");
        scenario.teardown();
        assert!(store.ready().await.is_err(), "a store without its writer is not ready");
        store.close().await;

        let store = open(folder.path()).await;
        let found = store.session_named(&"x".parse().expect("a name")).await.expect("reads");
        assert_eq!(found.is_some(), kept, "{point}");
        // The caller asks again with its key, and is answered the same either way.
        let again = store.create_session(with_key("x")).await.expect("answered");
        let answer = match again {
            Submitted::Replay(answer) => Some(answer),
            Submitted::Done { answer, .. } => answer,
        };
        assert_eq!(answer, Some(Answer { status: 201, body: b"x".to_vec() }));
        store.close().await;
    }
}
