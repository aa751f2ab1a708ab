//! A shim that dies at any point leaves a compute that can be closed, for certain.
//! Run with `--features failpoints`.
#![cfg(feature = "failpoints")]

mod common;

use common::*;
use greenroom_core::RecordBody;
use greenroom_core::receipt::EndReason;
use greenroom_shim::close_unsupervised;
use greenroom_shim::spec::HostIdentity;
use greenroom_shim::wire::ToShim;

const POINTS: [&str; 10] = [
    "after_lock",
    "after_socket",
    "before_run_started",
    "after_run_started",
    "after_spawn",
    "before_term",
    "after_kill",
    "before_receipt",
    "after_receipt",
    "after_closed",
];

#[test]
fn a_death_at_any_point_is_closed_from_outside() {
    for point in POINTS {
        eprintln!("{point}");
        let mark = mark();
        let setup = Setup::new(&[AGENT, "daemons", "5", &mark]);
        let mut shim = setup.failing(&format!("shim_{point}=panic")).spawn();
        if !["after_lock", "after_socket"].contains(&point) {
            let mut talk = shim.talk();
            talk.say(&ToShim::Env { env: shim.setup.env.clone(), secrets: Vec::new() });
            talk.run("");
            if !["before_run_started", "after_run_started", "after_spawn"].contains(&point) {
                until("daemons", || (marked(&mark) == 6).then_some(()));
                talk.stop(100);
            }
        }
        shim.wait();
        assert!(shim.errors().contains("panicked"), "{point}: {}", shim.errors());
        let lock = until("the lock", || shim.control.take_lock().unwrap());
        let host = HostIdentity::current();
        let receipt = close_unsupervised(&shim.control, &lock, &host, None).unwrap();
        drop(lock);
        assert_none_marked(&mark);
        assert_eq!(receipt.survivors, 0, "{point}");
        assert!(!receipt.proof.is_empty(), "{point}");
        assert_eq!(shim.control.read_closed().unwrap(), Some(receipt.clone()));
        let started = |body: &RecordBody| matches!(body, RecordBody::RunStarted { .. });
        assert_eq!(receipt.last_run.is_some(), shim.journal().iter().any(started), "{point}");
        // Its own word, where it came so far; else that it was lost.
        let own = ["after_receipt", "after_closed"].contains(&point);
        let reason = if own { EndReason::User } else { EndReason::Lost };
        assert_eq!(receipt.reason, reason, "{point}");
    }
}

#[test]
fn a_disk_that_refuses_the_receipt_is_asked_again() {
    let setup = sh("true").failing("shim_before_receipt=2*return");
    let (mut shim, mut talk, _) = setup.start_run("");
    let receipt = talk.closed();
    assert_eq!(shim.end(), receipt);
    assert_eq!(talk.unproven.len(), 1);
    assert!(talk.unproven[0].contains("could not be written"));
}
