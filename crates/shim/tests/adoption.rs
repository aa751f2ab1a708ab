//! Shims, runners that come and go, and shims that die.

mod common;

use std::time::Duration;

use common::*;
use greenroom_core::receipt::{EndReason, Means, Receipt};
use greenroom_core::record::Writer;
use greenroom_core::{Epoch, RecordBody};
use greenroom_shim::control::{Control, kill_holder};
use greenroom_shim::journal::Reader;
use greenroom_shim::local::{self, Standing};
use greenroom_shim::spec::HostIdentity;
use greenroom_shim::wire::{FromShim, ShimPhase, ToShim};
use greenroom_shim::{Unproven, close_unsupervised};

#[test]
fn another_runner_takes_over_in_the_middle() {
    let script = "echo up; touch begun; while [ ! -e go ]; do sleep 0.01; done; echo done";
    let (mut shim, talk, run) = sh(script).start_run("");
    until("the agent", || shim.workspace().join("begun").exists().then_some(()));
    drop(talk);
    let mut talk = shim.talk();
    let Some(FromShim::Hello { uid, epoch, pid, phase, run: given, durable, .. }) = talk.hello
    else {
        panic!("{:?}", talk.hello)
    };
    assert_eq!((uid, epoch), (shim.setup.spec.uid, shim.setup.spec.epoch));
    assert_eq!((pid as i32, phase, given), (shim.pid(), ShimPhase::Up, Some(run)));
    assert!(durable >= 2);
    let mut second = shim.talk();
    // What it was told before is told again, and changes nothing.
    talk.say(&ToShim::Env { env: Default::default(), secrets: Vec::new() });
    std::fs::write(shim.workspace().join("go"), "").unwrap();
    assert_eq!(talk.closed(), second.closed());
    shim.end();
    assert_eq!(shim.text(), "up\ndone\n");
}

#[test]
fn what_was_said_counts_though_the_speaker_left() {
    for _ in 0..20 {
        let mut shim = sh("sleep 100").spawn();
        let mut talk = shim.talk();
        talk.say(&ToShim::Env { env: shim.setup.env.clone(), secrets: Vec::new() });
        talk.run("");
        talk.stop(0);
        drop(talk);
        assert_eq!(shim.end().reason, EndReason::User);
    }
}

#[test]
fn a_second_shim_in_the_same_folder_leaves_at_once() {
    let (mut shim, mut talk, _) = sh("echo up; sleep 100").start_run("");
    let shim_binary = env!("CARGO_BIN_EXE_greenroom-shim");
    let status = std::process::Command::new(shim_binary).arg(shim.dir()).status().unwrap();
    assert!(status.success());
    talk.stop(0);
    let receipt = talk.closed();
    shim.end();
    // Nor does one start in a closed folder.
    let status = std::process::Command::new(shim_binary).arg(shim.dir()).status().unwrap();
    assert!(status.success());
    assert_eq!(shim.control.read_closed().unwrap(), Some(receipt));
}

fn close(shim: &mut Shim) -> Result<Receipt, Unproven> {
    close_on(shim, &HostIdentity::current())
}

fn close_on(shim: &mut Shim, host: &HostIdentity) -> Result<Receipt, Unproven> {
    let lock = until("the lock", || shim.control.take_lock().unwrap());
    close_unsupervised(&shim.control, &lock, host, None)
}

fn kill(shim: &mut Shim) {
    shim.process.kill().unwrap();
    shim.process.wait().unwrap();
}

#[test]
fn what_a_dead_shim_left_is_ended_through_its_group() {
    let mark = mark();
    let (mut shim, _talk, run) = Setup::new(&[AGENT, "daemons", "20", &mark]).start_run("");
    shim.until_text("ready");
    kill(&mut shim);
    assert_eq!(marked(&mark), 21);
    let receipt = close(&mut shim).unwrap();
    assert_none_marked(&mark);
    assert_eq!((receipt.reason, receipt.processes_seen), (EndReason::Lost, 21));
    assert_eq!(receipt.proof[0].means, Means::CgroupEmpty);
    let last_run = receipt.last_run.clone().unwrap();
    assert_eq!((last_run.run, last_run.outcome), (run, None));
    assert_eq!(shim.control.read_closed().unwrap(), Some(receipt.clone()));
    let mut reader = Reader::open(shim.dir(), Writer::Runner, 1);
    let entry = reader.next().unwrap().unwrap();
    assert_eq!(entry.body, RecordBody::Receipt { receipt: Box::new(receipt.clone()) });
    assert!(!shim.setup.spec.cgroups.kill.as_ref().unwrap().exists());
    // Said twice is said once.
    assert_eq!(close(&mut shim).unwrap(), receipt);
}

#[test]
fn a_group_that_somebody_removed_was_empty() {
    let (mut shim, _talk, _) = sh("echo up; sleep 100").start_run("");
    shim.until_text("up");
    kill(&mut shim);
    let group = shim.setup.spec.cgroups.kill.clone().unwrap();
    std::fs::write(group.join("cgroup.kill"), "1").unwrap();
    until("an empty group", || greenroom_shim::cgroup::remove_tree(&group).ok());
    let receipt = close(&mut shim).unwrap();
    assert_eq!((receipt.reason, receipt.processes_seen), (EndReason::Lost, 0));
    assert_eq!(receipt.proof[0].means, Means::CgroupEmpty);
}

#[test]
fn without_a_group_a_dead_shim_is_no_proof() {
    let mark = mark();
    let setup = Setup::new(&[AGENT, "daemons", "3", &mark]).without_groups();
    let (mut shim, _talk, _) = setup.start_run("");
    shim.until_text("ready");
    kill(&mut shim);
    let error = close(&mut shim).unwrap_err();
    assert!(error.to_string().contains("greenroom-test"), "{error}");
    assert!(shim.control.read_closed().unwrap().is_none());
    // Another boot of the same machine is one; the same boot of another is none.
    let mut host = HostIdentity::current();
    host.machine_id = "another".to_owned();
    assert!(close_on(&mut shim, &host).is_err());
    host = HostIdentity { boot_id: "another".to_owned(), ..HostIdentity::current() };
    let receipt = close_on(&mut shim, &host).unwrap();
    assert_eq!((receipt.reason, receipt.proof[0].means), (EndReason::Reboot, Means::Rebooted));
    end_marked(&mark);
}

fn end_marked(mark: &str) {
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let arguments = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        if arguments.split(|byte| *byte == 0).any(|word| word == mark.as_bytes()) {
            let pid = entry.file_name().to_str().unwrap().parse().unwrap();
            let pid = rustix::process::Pid::from_raw(pid).unwrap();
            rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
        }
    }
}

#[test]
fn what_never_started_is_known_never_to_have() {
    // No shim at all.
    let mut shim = sh("true").without_groups().spawn();
    shim.talk();
    kill(&mut shim);
    let receipt = close(&mut shim).unwrap();
    assert_eq!(receipt.proof[0].means, Means::NeverStarted);
    // Up, and without a run.
    let (mut shim, _talk) = sh("true").without_groups().start();
    shim.until_journal("ready", |body| *body == RecordBody::Ready);
    kill(&mut shim);
    let lock = until("the lock", || shim.control.take_lock().unwrap());
    let stop = order(0, "somebody");
    let host = HostIdentity::current();
    let receipt = close_unsupervised(&shim.control, &lock, &host, Some(&stop)).unwrap();
    assert_eq!(receipt.proof[0].means, Means::NeverStarted);
    assert_eq!((receipt.reason, receipt.requested_by), (EndReason::User, stop.requested_by));
    // One process for all runs is there before any run is.
    let (mut shim, _talk) = sh("sleep 100").persistent().without_groups().start();
    shim.until_journal("ready", |body| *body == RecordBody::Ready);
    kill(&mut shim);
    assert!(matches!(close(&mut shim), Err(Unproven::Evidence { .. })));
    end_in(shim.workspace());
}

fn end_in(folder: &std::path::Path) {
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        if std::fs::read_link(entry.path().join("cwd")).is_ok_and(|cwd| cwd == folder) {
            let pid = entry.file_name().to_str().unwrap().parse().unwrap();
            let pid = rustix::process::Pid::from_raw(pid).unwrap();
            rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
        }
    }
}

#[test]
fn a_receipt_that_is_only_in_the_journal_is_enough() {
    let (mut shim, mut talk, _) = sh("true").start_run("");
    let receipt = talk.closed();
    shim.end();
    let closed = std::fs::read(shim.control.closed_path()).unwrap();
    // Nothing, or what a power cut leaves of a file that was not synced.
    for left in [None, Some(&closed[..40]), Some(&[0; 400][..])] {
        match left {
            None => std::fs::remove_file(shim.control.closed_path()).unwrap(),
            Some(left) => std::fs::write(shim.control.closed_path(), left).unwrap(),
        }
        assert_eq!(close(&mut shim).unwrap(), receipt);
        assert_eq!(shim.control.read_closed().unwrap(), Some(receipt.clone()));
    }
}

#[test]
fn a_spec_that_a_power_cut_has_taken_was_never_obeyed() {
    let temp = tempfile::tempdir().unwrap();
    for (epoch, spec) in [(7, None), (8, Some("{\"protocol\":1,"))] {
        let control = Control::new(temp.path().join(epoch.to_string()));
        std::fs::create_dir(control.dir()).unwrap();
        if let Some(spec) = spec {
            std::fs::write(control.spec_path(), spec).unwrap();
        }
        let lock = control.take_lock().unwrap().unwrap();
        let close = || close_unsupervised(&control, &lock, &HostIdentity::current(), None);
        let receipt = close().unwrap();
        assert_eq!((receipt.epoch, receipt.reason), (Epoch(epoch), EndReason::Lost));
        assert_eq!(receipt.proof[0].means, Means::NeverStarted);
        assert_eq!(close().unwrap(), receipt);
        // Once there may have been a process, it takes more than that.
        std::fs::remove_file(control.closed_path()).unwrap();
        for journal in std::fs::read_dir(control.dir()).unwrap().flatten() {
            if journal.file_name().to_string_lossy().starts_with("journal") {
                std::fs::remove_file(journal.path()).unwrap();
            }
        }
        control.mark_begun().unwrap();
        assert!(close().is_err());
    }
}

#[test]
fn a_shim_that_hangs_can_be_killed_by_who_needs_its_lock() {
    let mark = mark();
    let (mut shim, _talk, _) = Setup::new(&[AGENT, "daemons", "3", &mark]).start_run("");
    shim.until_text("ready");
    let pid = rustix::process::Pid::from_raw(shim.pid()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::STOP).unwrap();
    let found = local::look(shim.dir().to_owned(), Duration::from_millis(200));
    assert!(matches!(found.standing, Standing::Silent(_)), "{found:?}");
    assert!(kill_holder(&shim.control, Duration::from_secs(5)).unwrap());
    assert!(!kill_holder(&shim.control, Duration::from_secs(5)).unwrap());
    shim.process.wait().unwrap();
    assert_eq!(close(&mut shim).unwrap().reason, EndReason::Lost);
    assert_none_marked(&mark);
}

#[test]
fn computes_of_a_data_folder_are_listed_and_stopped() {
    let (mut shim, _talk, _) = sh("echo up; sleep 100").start_run("");
    let root = shim.setup.root.path().join("run");
    let found = local::list(&root, Duration::from_secs(2)).unwrap();
    assert_eq!(found.len(), 1);
    assert!(matches!(found[0].standing, Standing::Live(_)), "{found:?}");
    let stop = order(0, "somebody");
    let receipt = local::stop(shim.dir(), stop.clone(), LONG).unwrap();
    assert_eq!(shim.end(), receipt);
    assert_eq!(local::stop(shim.dir(), stop, LONG).unwrap(), receipt);
    let found = local::list(&root, Duration::from_secs(2)).unwrap();
    assert!(matches!(found[0].standing, Standing::Closed(_)), "{found:?}");
}

#[test]
fn a_control_folder_may_have_a_long_path() {
    let long = tempfile::tempdir().unwrap();
    let dir = long.path().join("x".repeat(100)).join("y".repeat(100));
    let (mut shim, mut talk, _) = sh("echo ok").in_folder(&dir).start_run("");
    talk.closed();
    shim.end();
    assert!(!Control::new(&dir).is_locked().unwrap());
}
