//! Coming down, for certain.

use std::time::{Duration, Instant};

use greenroom_core::receipt::{EndReason, Means};
use greenroom_core::record::{Outcome, Writer};
use greenroom_core::*;
use greenroom_protocol::link::{ObservedState, SyncRequest};
use rustix::mount::UnmountFlags;
use rustix::process::{Pid, Signal, kill_process};

use crate::coordinator::Inner;
use crate::fixture::{Fixture, eventually, stop};

const STUBBORN: &str = "trap '' TERM HUP INT; \
    for n in 1 2 3; do (setsid sh -c 'trap \"\" TERM; sleep 1000' &) & done; echo begun; \
    while :; do sleep 1000; done";

pub(crate) async fn a_stop_ends_a_tree_that_does_not_want_to() {
    let f = Fixture::new().await;
    let runner = f.runner().await;
    let session = f.session(STUBBORN);
    session.up(1, 1, "");
    session.says(1, "begun").await;
    let begun = Instant::now();
    session.down(1, 2, 100);
    let receipt = session.receipt(1).await;
    eprintln!("stop with 100 ms of grace to receipt at the coordinator: {:?}", begun.elapsed());
    assert_eq!(receipt.reason, EndReason::User);
    assert_eq!(receipt.requested_by, ["tester"]);
    assert!(receipt.processes_seen >= 4, "{receipt:#?}");
    assert!(receipt.proof.iter().any(|proof| proof.means == Means::NoChildLeft), "{receipt:#?}");

    let willing = f.session("echo begun; read x; sleep 1000");
    willing.up(1, 1, "");
    willing.says(1, "begun").await;
    let begun = Instant::now();
    willing.down(1, 2, 5000);
    willing.receipt(1).await;
    eprintln!("stop of a willing agent to receipt at the coordinator: {:?}", begun.elapsed());
    runner.shutdown().await;
}

pub(crate) async fn a_stop_at_any_moment_of_a_start_is_kept() {
    let f = Fixture::new().await;
    let runner = f.runner().await;
    let mut sessions = Vec::new();
    for n in 0..24u64 {
        let session = f.session("sleep 1000");
        session.up(1, 1, "");
        // The one place where time itself is what is tested.
        tokio::time::sleep(Duration::from_micros(n * 700)).await;
        session.down(1, 2, 0);
        sessions.push(session);
    }
    for session in &sessions {
        assert_eq!(session.receipt(1).await.reason, EndReason::User);
    }
    eventually("every shim to go", || f.shims().is_empty()).await;
    assert_eq!(runner.live(), 0);
    runner.shutdown().await;
}

/// The run's end is asked for while its text is still being fetched.
pub(crate) async fn a_turn_that_is_stopped_before_it_was_handed_over_does_not_run() {
    let f = Fixture::new().await;
    let runner = f.runner().await;
    let session = f.session("read x; echo \"got $x\"; sleep 1000");
    let run = session.prepared(1, "text");
    let cancel = Order::Up {
        run: Some(run),
        cancel: Some(Ms(0)),
        answers: Vec::new(),
        steers: Vec::new(),
        settings: None,
    };
    session.order(1, 1, cancel);
    let stopped = f.coordinator.find("the run's end", |inner| {
        let records = inner.records.iter();
        records.rev().find_map(|record| match &record.body {
            RecordBody::RunEnded { outcome, .. } => Some(outcome.clone()),
            _ => None,
        })
    });
    assert!(matches!(stopped.await, Outcome::Stopped { .. }));
    session.down(1, 2, 0);
    assert_eq!(session.receipt(1).await.survivors, 0);
    assert_eq!(f.coordinator.lock().text(session.uid, 1), "");
    runner.shutdown().await;
}

pub(crate) async fn down_before_start_closes_and_stays_closed() {
    let f = Fixture::new().await;
    let runner = f.runner().await;
    let session = f.session("echo must not run");
    session.down(1, 5, 0);
    let receipt = session.receipt(1).await;
    assert_eq!(receipt.proof[0].means, Means::NeverStarted);
    assert_eq!((receipt.processes_seen, f.floor(session.uid)), (0, 1));
    // A message from before, and one that claims to be new: neither starts it.
    session.up(1, 3, "");
    let other = f.session("echo other");
    other.up(1, 1, "");
    other.receipt(1).await;
    session.up(1, 9, "");
    let said = |is: fn(&ObservedState) -> bool| {
        move |inner: &crate::coordinator::Inner| {
            let computes = inner.syncs.iter().flat_map(|sync| &sync.computes);
            let mut mine = computes.filter(|compute| compute.uid == session.uid);
            mine.any(|compute| compute.generation == Generation(9) && is(&compute.state))
        }
    };
    let closed = said(|state| matches!(state, ObservedState::Closed { .. }));
    f.coordinator.until("the receipt to be said again", closed).await;
    // With the folder gone, the floor alone still fences, also after a restart.
    session.order(1, 10, Order::Closed);
    eventually("the folder to go", || !f.control(session.uid, 1).exists()).await;
    runner.shutdown().await;
    f.coordinator.change(|inner| inner.syncs.clear());
    session.up(1, 11, "");
    let runner = f.runner().await;
    let fenced = |inner: &crate::coordinator::Inner| {
        let computes = inner.syncs.iter().flat_map(|sync| &sync.computes);
        let mut mine = computes.filter(|compute| compute.uid == session.uid);
        mine.any(|compute| compute.state == ObservedState::Fenced { floor: Epoch(1) })
    };
    f.coordinator.until("the floor to be said", fenced).await;
    assert!(f.shims().is_empty());
    assert_eq!(f.coordinator.lock().text(session.uid, 1), "");
    runner.shutdown().await;
}

pub(crate) async fn gone_removes_files_but_never_under_a_live_compute() {
    let f = Fixture::new().await;
    let runner = f.runner().await;
    let session = f.session("echo text > file; echo begun; read x; sleep 1000");
    session.up(1, 1, "");
    session.says(1, "begun").await;
    session.order(1, 2, Order::Gone { stop: None });
    let other = f.session("echo other");
    other.up(1, 1, "");
    other.receipt(1).await;
    assert!(f.work(session.uid).join("workspace/file").exists());
    assert_eq!(runner.live(), 1);
    session.down(1, 3, 0);
    session.receipt(1).await;
    session.order(1, 4, Order::Gone { stop: None });
    let removed = |sync: &SyncRequest| sync.removed.contains(&session.uid);
    f.coordinator.until("the removal to be said", |inner| inner.syncs.iter().any(removed)).await;
    assert!(!f.work(session.uid).exists() && !f.control(session.uid, 1).exists());
    assert_eq!(f.floor(session.uid), 1);
    assert_eq!(std::fs::read_dir(f.data().join("trash")).unwrap().count(), 0);
    runner.shutdown().await;
}

pub(crate) async fn what_was_abandoned_and_deleted_ends_before_its_files_go() {
    let f = Fixture::new().await;
    let runner = f.runner().await;
    let session = f.session("echo text > file; echo begun; sleep 1000");
    session.up(1, 1, "");
    session.says(1, "begun").await;
    session.order(1, 2, Order::Gone { stop: Some(stop(0)) });
    let removed = |sync: &SyncRequest| sync.removed.contains(&session.uid);
    f.coordinator.until("the removal to be said", |inner| inner.syncs.iter().any(removed)).await;
    assert_eq!(runner.live(), 0);
    assert!(f.shims().is_empty() && !f.work(session.uid).exists());
    assert_eq!(f.floor(session.uid), 1);
    // An epoch that never came here is closed all the same, so that it never starts.
    let unseen = f.session("echo never");
    unseen.order(1, 2, Order::Gone { stop: Some(stop(0)) });
    // Its receipt goes with the session: whether it is sent before that is open.
    let removed = |sync: &SyncRequest| sync.removed.contains(&unseen.uid);
    f.coordinator.until("the removal to be said", |inner| inner.syncs.iter().any(removed)).await;
    assert_eq!(f.floor(unseen.uid), 1);
    runner.shutdown().await;
}

pub(crate) async fn what_cannot_be_removed_is_said() {
    let f = Fixture::new().await;
    let runner = f.runner().await;
    let session = f.session("mkdir inside; echo begun");
    session.up(1, 1, "");
    session.receipt(1).await;
    let outside = f.outside("outside");
    std::fs::create_dir(&outside).unwrap();
    std::fs::write(outside.join("keep"), "me").unwrap();
    let inside = f.work(session.uid).join("workspace/inside");
    if let Err(error) = rustix::mount::mount_bind(&outside, &inside) {
        eprintln!("nothing to test where one may not mount: {error}");
        return runner.shutdown().await;
    }
    session.order(1, 2, Order::Gone { stop: None });
    let notes = |inner: &Inner| {
        let info = inner.syncs.iter().rev().find_map(|sync| sync.info.as_ref());
        info.map(|info| info.probe.notes.join("\n")).unwrap_or_default()
    };
    let trash = f.data().join("trash");
    let said = |inner: &Inner| notes(inner).contains("they hold 1 mount");
    f.coordinator.until("the note", said).await;
    let left = std::fs::read_dir(&trash).unwrap().next().unwrap().unwrap().path();
    assert!(left.join("workspace/inside/keep").exists() && !left.join("home").exists());
    rustix::mount::unmount(left.join("workspace/inside"), UnmountFlags::DETACH).unwrap();
    // The next removal that leaves something takes this along; so does the next start.
    runner.shutdown().await;
    let runner = f.runner().await;
    eventually("the trash is empty", || std::fs::read_dir(&trash).unwrap().count() == 0).await;
    f.coordinator.until("no note", |inner| !notes(inner).contains("mount")).await;
    assert!(outside.join("keep").exists());
    runner.shutdown().await;
}

pub(crate) async fn the_groups_of_a_runner_go_with_its_last_compute() {
    let f = Fixture::new().await;
    let runner = f.runner().await;
    let session = f.session("echo begun; sleep 1000");
    session.up(1, 1, "");
    session.says(1, "begun").await;
    let group = f.coordinator.find("the probe", |inner| {
        inner.syncs.iter().find_map(|sync| sync.info.clone()?.probe.cgroup)
    });
    let group = std::path::PathBuf::from(group.await);
    runner.shutdown().await;
    assert!(group.is_dir(), "its compute lives on in it");
    let runner = f.runner().await;
    session.down(1, 2, 0);
    session.receipt(1).await;
    runner.shutdown().await;
    assert!(!group.exists());
}

fn signal(f: &Fixture, signal: Signal) {
    let shims = f.shims();
    assert_eq!(shims.len(), 1);
    kill_process(Pid::from_raw(shims[0].cast_signed()).unwrap(), signal).unwrap();
}

pub(crate) async fn a_killed_shim_is_closed_by_the_runner() {
    let f = Fixture::new().await;
    let runner = f.runner().await;
    let session = f.session(STUBBORN);
    let run = session.up(1, 1, "");
    session.says(1, "begun").await;
    signal(&f, Signal::KILL);
    let cgroup = f.coordinator.find("the probe", |inner| {
        inner.syncs.iter().find_map(|sync| Some(sync.info.as_ref()?.probe.cgroup_kill))
    });
    if cgroup.await {
        let receipt = session.receipt(1).await;
        assert_eq!(receipt.reason, EndReason::Lost);
        assert_eq!(receipt.proof[0].means, Means::CgroupEmpty);
        assert_eq!(receipt.last_run.unwrap().run, run);
        let inner = f.coordinator.lock();
        let writer = inner.records.iter().find(|r| matches!(r.body, RecordBody::Receipt { .. }));
        assert_eq!(writer.unwrap().writer, Writer::Runner);
    } else {
        let unproven = |sync: &SyncRequest| {
            sync.computes
                .iter()
                .any(|compute| matches!(compute.state, ObservedState::Unproven { .. }))
        };
        f.coordinator.until("the doubt", |inner| inner.syncs.iter().any(unproven)).await;
    }
    assert_eq!(runner.live(), 0);
    runner.shutdown().await;
}

pub(crate) async fn a_hung_shim_is_killed_at_the_deadline() {
    let f = Fixture::new().await;
    let runner = f.runner().await;
    let session = f.session(STUBBORN);
    session.up(1, 1, "");
    session.says(1, "begun").await;
    signal(&f, Signal::STOP);
    let begun = Instant::now();
    session.down(1, 2, 100);
    let proof = |inner: &crate::coordinator::Inner| {
        let unproven = |sync: &SyncRequest| {
            sync.computes
                .iter()
                .any(|compute| matches!(compute.state, ObservedState::Unproven { .. }))
        };
        inner.receipt(session.uid, Epoch(1)).is_some() || inner.syncs.iter().any(unproven)
    };
    f.coordinator.until("an answer without the shim", proof).await;
    assert!(begun.elapsed() > Duration::from_secs(5));
    eprintln!("hung shim: {:?}", begun.elapsed());
    assert_eq!((runner.live(), f.shims().len()), (0, 0));
    runner.shutdown().await;
}

pub(crate) async fn a_receipt_overtakes_records_that_are_not_taken() {
    let f = Fixture::new().await;
    let runner = f.runner().await;
    let session = f.session("echo begun; read x; sleep 1000");
    session.up(1, 1, "");
    session.says(1, "begun").await;
    f.coordinator.change(|inner| inner.records_fail = true);
    session.down(1, 2, 1000);
    let closed = |sync: &SyncRequest| {
        sync.computes.iter().any(|compute| matches!(compute.state, ObservedState::Closed { .. }))
    };
    f.coordinator.until("the receipt in a report", |inner| inner.syncs.iter().any(closed)).await;
    // It is settled there; the journal still comes, whole, and only then the folder goes.
    session.order(1, 3, Order::Closed);
    f.coordinator
        .until("the order to be obeyed", |inner| {
            inner.syncs.last().is_some_and(|sync| sync.since_rev == inner.rev)
        })
        .await;
    assert!(f.control(session.uid, 1).exists());
    f.coordinator.change(|inner| inner.records_fail = false);
    session.receipt(1).await;
    eventually("the folder to go", || !f.control(session.uid, 1).exists()).await;
    runner.shutdown().await;
}

pub(crate) async fn everything_stops_without_a_coordinator() {
    let f = Fixture::new().await;
    let runner = f.runner().await;
    let sessions: Vec<_> = (0..5).map(|_| f.session(STUBBORN)).collect();
    for session in &sessions {
        session.up(1, 1, "");
    }
    for session in &sessions {
        session.says(1, "begun").await;
    }
    runner.shutdown().await;
    let mut config = f.config();
    config.coordinator = "http://127.0.0.1:1".into();
    let runner = greenroom_runner::start(config).await.unwrap();
    assert_eq!(runner.live(), 5);
    let receipts = runner.stop_all(Duration::from_millis(200)).await;
    assert_eq!(receipts.len(), 5);
    assert!(
        receipts.iter().all(|(_, receipt)| receipt.survivors == 0 && receipt.processes_seen >= 4)
    );
    assert_eq!((runner.live(), f.shims().len()), (0, 0));
    assert!(runner.stop_all(Duration::ZERO).await.is_empty());
    runner.shutdown().await;
    // The receipts are kept for when it returns.
    let runner = f.runner().await;
    for session in &sessions {
        assert_eq!(session.receipt(1).await.reason, EndReason::Shutdown);
    }
    runner.shutdown().await;
}
