//! The runner dies at its most awkward moments, and the next one makes it good.

use greenroom_core::receipt::EndReason;
use greenroom_core::*;

use crate::fixture::{Fixture, eventually, runner_process};

/// How a session comes out whose runner died at a point: exactly one receipt, at most one
/// start of its run, nothing left alive.
pub(crate) async fn a_runner_may_die_anywhere() {
    for point in [
        "runner_after_spec",
        "runner_after_spawn",
        "runner_after_stop_sent",
        "runner_before_floor",
        "runner_after_floor",
    ] {
        dies_at(point).await;
    }
    dies_before_reporting().await;
}

async fn dies_at(point: &str) {
    let f = Fixture::new().await;
    let mut process = runner_process(&f, &format!("{point}=return"));
    let session = f.session("echo started; echo x >> starts; read x; sleep 1000");
    let run = session.up(1, 1, "");
    let stops = !matches!(point, "runner_after_spec" | "runner_after_spawn");
    if stops {
        session.says(1, "started").await;
        session.down(1, 2, 0);
    }
    if point.ends_with("_floor") {
        // The floor is raised when the journal is not needed any more.
        session.receipt(1).await;
        session.order(1, 3, Order::Closed);
    }
    let died = tokio::task::spawn_blocking(move || process.wait().unwrap());
    assert!(!died.await.unwrap().success(), "{point}");

    let runner = f.runner().await;
    if !stops {
        // Whether it is closed or lives on, a stop ends it, and the receipt says how far it was.
        session.down(1, 2, 0);
    }
    let receipt = session.receipt(1).await;
    let began = f.coordinator.lock().started(run);
    assert!(stops == began || !stops, "{point}: {receipt:#?}");
    assert!(matches!(receipt.reason, EndReason::User | EndReason::Lost), "{point}: {receipt:#?}");
    let starts = std::fs::read_to_string(f.work(session.uid).join("workspace/starts"));
    assert!(starts.unwrap_or_default().len() <= 2, "{point}");
    eventually("every shim to go", || f.shims().is_empty()).await;
    let receipts = |inner: &crate::coordinator::Inner| {
        let is = |record: &&Record| matches!(record.body, RecordBody::Receipt { .. });
        inner.records.iter().filter(is).count()
    };
    assert_eq!(receipts(&f.coordinator.lock()), 1, "{point}");
    session.order(1, 3, Order::Closed);
    let control = f.control(session.uid, 1);
    eventually("the control folder to go", || !control.exists()).await;
    assert_eq!(runner.live(), 0, "{point}");
    assert_eq!(f.floor(session.uid), 1, "{point}");
    runner.shutdown().await;
}

async fn dies_before_reporting() {
    let f = Fixture::new().await;
    let mut process = runner_process(&f, "runner_before_report=return");
    let died = tokio::task::spawn_blocking(move || process.wait().unwrap());
    assert!(!died.await.unwrap().success());
    let session = f.session("echo fine");
    session.up(1, 1, "");
    let runner = f.runner().await;
    assert_eq!(session.receipt(1).await.reason, EndReason::Done);
    runner.shutdown().await;
}
