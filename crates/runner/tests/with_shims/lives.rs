//! Coming up, living on, and telling of it.

use std::time::{Duration, Instant};

use greenroom_core::agent::*;
use greenroom_core::receipt::EndReason;
use greenroom_core::record::Outcome;
use greenroom_core::*;
use greenroom_protocol::link::{Floor, ObservedState};
use greenroom_runner::{RunnerError, start};

use crate::fixture::{Fixture, agent, eventually, runner_process};

pub(crate) async fn a_run_goes_from_order_to_receipt() {
    let f = Fixture::new().await;
    let runner = f.runner().await;
    let session = f.session("read line; echo \"heard $line in $PWD\"; echo $HOME; cat < file; env");
    // The workspace of an epoch is what the one before has left.
    let warm = f.session("echo warm");
    warm.up(1, 1, "");
    warm.receipt(1).await;

    let begun = Instant::now();
    let run = session.up(1, 1, "hello\n");
    f.coordinator.until("the run to begin", |inner| inner.started(run)).await;
    eprintln!("order to run_started at the coordinator: {:?}", begun.elapsed());
    let receipt = session.receipt(1).await;
    eprintln!("order to receipt at the coordinator: {:?}", begun.elapsed());
    assert_eq!(receipt.reason, EndReason::Done, "{receipt:#?}");

    let (records, text) = {
        let inner = f.coordinator.lock();
        let of = |record: &&Record| record.uid == session.uid;
        (inner.records.iter().filter(of).cloned().collect::<Vec<_>>(), inner.text(session.uid, 1))
    };
    let workspace = f.work(session.uid).join("workspace");
    let workspace = workspace.display();
    assert!(text.contains(&format!("heard hello in {workspace}")), "{text}");
    assert!(text.contains(&f.work(session.uid).join("home").display().to_string()), "{text}");
    assert!(text.contains("GREENROOM_SESSION=the-session"), "{text}");
    assert!(!text.contains("CARGO"), "{text}");
    let indexes: Vec<u64> = records.iter().map(|record| record.index).collect();
    assert_eq!(indexes, (1..=records.len() as u64).collect::<Vec<_>>());
    let completed = |record: &Record| matches!(&record.body, RecordBody::RunEnded { run: ended, outcome: Outcome::Completed { .. } } if *ended == run);
    // What its last command says is the agent's exit code: `env` says 0.
    assert!(records.iter().any(completed), "{records:#?}");
    assert!(matches!(records.last().unwrap().body, RecordBody::Receipt { .. }));
    // The journal brought it: no report said so.
    let said = |inner: &crate::coordinator::Inner| {
        inner.syncs.iter().flat_map(|sync| &sync.computes).any(|compute| {
            compute.uid == session.uid && matches!(compute.state, ObservedState::Closed { .. })
        })
    };
    assert!(!said(&f.coordinator.lock()));

    session.order(1, 2, Order::Closed);
    let control = f.control(session.uid, 1);
    eventually("the control folder to go", || !control.exists()).await;
    // The journal says that the epoch is closed until the floor does.
    assert_eq!(f.floor(session.uid), 1);
    assert!(f.work(session.uid).join("workspace").exists());
    assert_eq!((f.floor(session.uid), runner.live()), (1, 0));
    runner.shutdown().await;
}

pub(crate) async fn a_persistent_agent_gets_one_run_after_the_other() {
    let f = Fixture::new().await;
    let runner = f.runner().await;
    let script = "while read line; do echo \"got $line\"; echo '{\"type\":\"result\"}'; done";
    let session = f.session_of(agent(CommandSpec {
        command: ["/bin/sh", "-c", script].map(str::to_owned).to_vec(),
        prompt_via: PromptVia::Stdin,
        stdout: Stdout::Jsonl,
        lifecycle: Lifecycle::Persistent,
    }));
    for (generation, prompt) in [(1, "one"), (2, "two"), (3, "three")] {
        let run = session.up(1, generation, prompt);
        f.coordinator
            .until("the run to end", |inner| {
                let ended = |body: &RecordBody| matches!(body, RecordBody::RunEnded { run: ended, .. } if *ended == run);
                inner.records.iter().any(|record| ended(&record.body))
            })
            .await;
        session.says(1, prompt).await;
    }
    assert_eq!(runner.live(), 1);
    session.down(1, 4, 500);
    assert_eq!(session.receipt(1).await.reason, EndReason::User);
    runner.shutdown().await;
}

pub(crate) async fn an_agent_outlives_its_runner() {
    let f = Fixture::new().await;
    let runner = f.runner().await;
    let session = f.session("echo begun; read x; sleep 1000");
    session.up(1, 1, "");
    session.says(1, "begun").await;
    let shims = f.shims();
    assert_eq!(shims.len(), 1);
    let id = runner.id();
    runner.shutdown().await;
    assert_eq!(f.shims(), shims);

    let runner = f.runner().await;
    assert_eq!((runner.id(), runner.live(), f.shims()), (id, 1, shims));
    let instances: Vec<u64> = f.coordinator.lock().syncs.iter().map(|sync| sync.instance).collect();
    assert!(instances.is_sorted() && instances.last() == Some(&2), "{instances:?}");
    session.down(1, 2, 200);
    let receipt = session.receipt(1).await;
    assert_eq!(receipt.reason, EndReason::User);
    runner.shutdown().await;
}

pub(crate) async fn a_killed_runner_loses_nothing() {
    let f = Fixture::new().await;
    let mut process = runner_process(&f, "");
    let busy =
        f.session("n=0; while [ $n -lt 300 ]; do echo line $n; n=$((n+1)); sleep 0.01; done");
    let ending = f.session("read x; sleep 0.5; echo end");
    busy.up(1, 1, "");
    ending.up(1, 1, "");
    busy.says(1, "line 20\n").await;
    process.kill().unwrap();
    process.wait().unwrap();
    // One of the two comes to its end while nobody is there.
    eventually("the agent to end", || f.control(ending.uid, 1).join("closed").exists()).await;
    let runner = f.runner().await;
    assert_eq!(ending.receipt(1).await.reason, EndReason::Done);
    assert_eq!(busy.receipt(1).await.reason, EndReason::Done);
    let wanted: String = (0..300).map(|n| format!("line {n}\n")).collect();
    assert_eq!(f.coordinator.lock().text(busy.uid, 1), wanted);
    runner.shutdown().await;
}

pub(crate) async fn a_second_runner_is_refused() {
    let f = Fixture::new().await;
    let runner = f.runner().await;
    let error = start(f.config()).await.unwrap_err();
    assert!(matches!(error, RunnerError::Locked(_)), "{error}");
    runner.shutdown().await;
    f.runner().await.shutdown().await;
    let mut config = f.config();
    config.data = f.outside("fresh");
    config.join_token = None;
    assert!(matches!(start(config.clone()).await.unwrap_err(), RunnerError::NoToken));
    config.join_token = Some("wrong".into());
    let runner = start(config).await.unwrap();
    assert!(matches!(runner.connected().await.unwrap_err(), RunnerError::Refused(_)));
    runner.shutdown().await;
}

pub(crate) async fn another_store_is_not_obeyed() {
    let f = Fixture::new().await;
    let runner = f.runner().await;
    let session = f.session("echo begun; read x; sleep 1000");
    session.up(1, 1, "");
    session.says(1, "begun").await;
    runner.shutdown().await;
    let ours = f.coordinator.change(|inner| inner.store.replace(StoreId(uuid::Uuid::now_v7())));
    session.down(1, 2, 0);
    let runner = start(f.config()).await.unwrap();
    assert!(matches!(runner.connected().await.unwrap_err(), RunnerError::Refused(_)));
    assert_eq!((runner.live(), f.shims().len()), (1, 1));
    runner.shutdown().await;
    f.coordinator.change(|inner| inner.store = ours);
    let runner = f.runner().await;
    assert_eq!(session.receipt(1).await.reason, EndReason::User);
    runner.shutdown().await;
}

pub(crate) async fn a_new_store_is_adopted_on_request() {
    let f = Fixture::new().await;
    let runner = f.runner().await;
    let session = f.session("echo begun; read x; sleep 1000");
    session.up(1, 1, "");
    session.says(1, "begun").await;
    runner.shutdown().await;
    f.coordinator.change(|inner| {
        inner.store = Some(StoreId(uuid::Uuid::now_v7()));
        inner.assignments.clear();
        inner.records.clear();
        inner.marks.clear();
        inner.unknown.insert(session.uid);
    });
    let mut config = f.config();
    config.adopt_store = true;
    let runner = start(config).await.unwrap();
    f.coordinator
        .until("the unclaimed compute to be named", |inner| {
            let named = |sync: &greenroom_protocol::link::SyncRequest| {
                Some(sync.store_id) == inner.store
                    && sync.computes.iter().any(|compute| compute.uid == session.uid)
            };
            inner.syncs.iter().any(named)
        })
        .await;
    assert_eq!((runner.live(), f.shims().len(), f.coordinator.lock().enrolled), (1, 1, 2));
    let receipts = runner.stop_all(Duration::from_millis(100)).await;
    assert_eq!(receipts.len(), 1);
    assert_eq!(
        (receipts[0].0.as_str(), receipts[0].1.reason),
        ("the-session", EndReason::Shutdown)
    );
    runner.shutdown().await;
}

/// Its generations are lower than those from before, and the runner goes on meanwhile.
pub(crate) async fn a_restored_store_is_obeyed_and_told_what_it_lacks() {
    let f = Fixture::new().await;
    let runner = f.runner().await;
    let ended = f.session("echo done");
    ended.up(3, 9, "");
    ended.receipt(3).await;
    ended.order(3, 10, Order::Closed);
    let control = f.control(ended.uid, 3);
    eventually("the floor to be all there is", || !control.exists()).await;
    let session = f.session("echo up; exec sleep 1000");
    session.up(1, 7, "");
    session.says(1, "up").await;

    f.coordinator.change(|inner| inner.era += 1);
    session.down(1, 2, 500);
    let receipt = session.receipt(1).await;
    assert_eq!((receipt.reason, receipt.survivors), (EndReason::User, 0));
    let told = |inner: &crate::coordinator::Inner| {
        let floor = Floor { uid: ended.uid, epoch: Epoch(3) };
        inner.syncs.iter().filter(|sync| sync.full && sync.floors.contains(&floor)).count()
    };
    // At the first word nothing had been closed yet.
    assert_eq!(told(&f.coordinator.lock()), 1);
    runner.shutdown().await;
}

pub(crate) async fn what_cannot_be_resolved_is_a_start_error() {
    let f = Fixture::new().await;
    let runner = f.runner().await;
    let mut secret = f.session("echo never");
    secret.agent.env.insert("KEY".into(), "${secret:api-key}".into());
    let mut folder = f.session("echo never");
    let path = f.outside("nowhere").display().to_string();
    folder.agent.workspace = WorkspaceFrom::Dir { path: path.clone(), mode: DirMode::InPlace };
    secret.up(1, 1, "");
    folder.up(1, 1, "");
    for (session, word) in [(&secret, "KEY"), (&folder, path.as_str())] {
        let receipt = session.receipt(1).await;
        assert_eq!(receipt.reason, EndReason::StartError, "{receipt:#?}");
        assert!(receipt.detail.as_ref().unwrap().contains(word), "{receipt:#?}");
    }
    runner.shutdown().await;
}

pub(crate) async fn a_folder_of_a_client_is_checked_at_the_start() {
    let f = Fixture::new().await;
    for folder in ["allowed/app", "other"] {
        std::fs::create_dir_all(f.outside(folder)).unwrap();
    }
    std::os::unix::fs::symlink(f.outside("other"), f.outside("allowed/out")).unwrap();
    std::os::unix::fs::symlink("app", f.outside("allowed/within")).unwrap();
    let mut config = f.config();
    config.working_dir_roots = vec![f.outside("allowed")];
    let runner = start(config).await.unwrap();
    runner.connected().await.unwrap();
    let told = |inner: &crate::coordinator::Inner| inner.syncs[0].info.clone();
    let roots = told(&f.coordinator.lock()).expect("it says what it is").working_dir_roots;
    assert_eq!(roots[0].as_str(), f.outside("allowed").to_str().unwrap());
    let working_in = |path: &str, mode| {
        let path = f.outside(path).to_str().unwrap().parse().unwrap();
        let mut session = f.session("pwd; echo here > made");
        session.workspace = Some(SessionWorkspace::Dir { path, mode });
        session
    };
    for (path, why) in [
        ("other", "beneath no folder that is allowed"),
        ("allowed/out", "a link leads out"),
        ("allowed/missing", "no such folder"),
    ] {
        for (n, mode) in [DirMode::InPlace, DirMode::Copy].into_iter().enumerate() {
            let session = working_in(path, mode);
            session.up(1, 1, "");
            let receipt = session.receipt(1).await;
            assert_eq!(receipt.reason, EndReason::StartError, "{n}: {receipt:#?}");
            let detail = receipt.detail.as_deref().unwrap();
            assert!(detail.contains(why) && detail.contains(path), "{detail}");
        }
    }
    assert!(!f.outside("other/made").exists());
    let session = working_in("allowed/within", DirMode::InPlace);
    session.up(1, 1, "");
    assert_eq!(session.receipt(1).await.reason, EndReason::Done);
    let real = f.outside("allowed/app").canonicalize().unwrap();
    let text = f.coordinator.lock().text(session.uid, 1);
    assert_eq!(text.trim(), real.to_str().unwrap());
    assert!(real.join("made").exists());
    // A copy is of what was there, and is the session's own from then on.
    let copy = working_in("allowed/app", DirMode::Copy);
    copy.up(1, 1, "");
    assert_eq!(copy.receipt(1).await.reason, EndReason::Done);
    std::fs::rename(f.outside("allowed/app"), f.outside("allowed/gone")).unwrap();
    copy.up(2, 2, "");
    assert_eq!(copy.receipt(2).await.reason, EndReason::Done);
    let own = f.work(copy.uid).join("workspace");
    assert_eq!(f.coordinator.lock().text(copy.uid, 2).trim(), own.to_str().unwrap());
    runner.shutdown().await;
}

pub(crate) async fn output_arrives_once_and_in_order_through_failures() {
    let f = Fixture::new().await;
    f.coordinator.change(|inner| inner.records_flap = true);
    let runner = f.runner().await;
    let lines = 60_000;
    let script = format!("seq 1 {lines}; echo end");
    let sessions: Vec<_> = (0..3).map(|_| f.session(&script)).collect();
    for session in &sessions {
        session.up(1, 1, "");
    }
    let wanted: String = (1..=lines).map(|n| format!("{n}\n")).chain(["end\n".into()]).collect();
    for session in &sessions {
        session.receipt(1).await;
        let inner = f.coordinator.lock();
        assert_eq!(inner.text(session.uid, 1), wanted);
        let mine = inner.records.iter().filter(|record| record.uid == session.uid);
        assert!(mine.enumerate().all(|(n, record)| record.index == n as u64 + 1));
    }
    runner.shutdown().await;
}
