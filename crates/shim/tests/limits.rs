//! Limits, floods and full disks: enforced and survived by the shim alone.

mod common;

use std::time::{Duration, Instant};

use common::*;
use greenroom_core::RecordBody;
use greenroom_core::receipt::{Action, EndReason};
use greenroom_core::record::{Outcome, OutputKind, RunError};
use greenroom_core::value::{Bytes, Ms};
use greenroom_shim::wire::{FromShim, ToShim};

#[test]
fn a_run_that_takes_too_long_is_stopped() {
    let setup = sh("sleep 1000").with(|spec| spec.limits.run_ms = Some(Ms(300)));
    let (mut shim, mut talk, run) = setup.start_run("");
    let receipt = talk.closed();
    shim.end();
    assert_eq!(receipt.reason, EndReason::Limit);
    let error = Some(RunError::new("limit", "run limit 300ms reached"));
    assert_eq!(shim.outcome(run), Some(Outcome::Stopped { error }));
    assert!(shim.journal().contains(&RecordBody::Closing { reason: EndReason::Limit }));
}

#[test]
fn a_compute_that_gets_no_environment_ends() {
    let setup = sh("true").with(|spec| spec.limits.start_ms = Some(Ms(200)));
    let mut shim = setup.spawn();
    let mut talk = shim.talk();
    let receipt = talk.closed();
    assert_eq!(receipt.reason, EndReason::StartTimeout);
    assert_eq!(receipt.detail.as_deref(), Some("start limit 200ms reached"));
    shim.end();
}

#[test]
fn a_compute_that_cannot_start_says_why() {
    let mut shim = sh("true").spawn();
    let mut talk = shim.talk();
    talk.say(&ToShim::CannotStart { error: "secret api-key is not there".to_owned() });
    let receipt = talk.closed();
    assert_eq!(receipt.reason, EndReason::StartError);
    assert_eq!(receipt.detail.as_deref(), Some("secret api-key is not there"));
    shim.end();
    let journal = shim.journal();
    assert_eq!(journal[0], RecordBody::Closing { reason: EndReason::StartError });
    assert!(matches!(journal[1], RecordBody::Receipt { .. }));
}

#[test]
fn too_much_memory_is_oom_by_control_group_and_by_counting() {
    for groups in [true, false] {
        let setup = Setup::new(&[AGENT, "eat", &(300 << 20).to_string()])
            .with(|spec| spec.limits.memory_bytes = Some(Bytes(64 << 20)));
        let setup = if groups { setup } else { setup.without_groups() };
        assert!(!groups || setup.spec.cgroups.memory.is_some(), "no memory control here");
        let (mut shim, mut talk, run) = setup.start_run("");
        let receipt = talk.closed();
        shim.end();
        assert_eq!(receipt.reason, EndReason::Oom, "{receipt:?}");
        assert_eq!(code_of(&shim.outcome(run).unwrap()), "oom");
    }
}

#[test]
fn a_killed_child_of_the_agent_is_oom_too() {
    let script = format!("{AGENT} eat {}; echo went on; sleep 100", 300 << 20);
    let setup = sh(&script).with(|spec| spec.limits.memory_bytes = Some(Bytes(64 << 20)));
    let (mut shim, mut talk, run) = setup.start_run("");
    assert_eq!(talk.closed().reason, EndReason::Oom);
    shim.end();
    assert_eq!(code_of(&shim.outcome(run).unwrap()), "oom");
}

#[test]
fn there_are_no_more_processes_than_allowed() {
    let script = "for n in 1 2 3 4 5 6 7 8 9; do sleep 100 & done; echo all of them";
    let setup = sh(script).with(|spec| spec.limits.pids = Some(4));
    assert!(setup.spec.cgroups.pids.is_some(), "no pids control here");
    let (mut shim, mut talk, _) = setup.start_run("");
    let receipt = talk.closed();
    assert!(receipt.leftovers <= 4, "{receipt:?}");
    shim.end();
    assert!(!shim.text().contains("all of them"));
}

#[test]
fn a_flood_neither_hangs_the_agent_nor_fills_memory() {
    let bytes: u64 = 1 << 30;
    let setup = Setup::new(&[AGENT, "flood", &bytes.to_string()]);
    let shim = setup.spawn();
    let mut talk = shim.talk();
    let idle = shim.rss_kib();
    let begun = Instant::now();
    talk.say(&ToShim::Env { env: shim.setup.env.clone(), secrets: Vec::new() });
    let run = talk.run("");
    // A second listener that never listens must not matter.
    let deaf = shim.talk();
    let mut peak = 0;
    let receipt = loop {
        match talk.hear_for(Duration::from_millis(200)).unwrap() {
            Some(FromShim::Closed { receipt }) => break receipt,
            _ => {
                let _ = std::panic::catch_unwind(|| shim.peak_rss_kib()).map(|rss| peak = rss);
            }
        }
    };
    let took = begun.elapsed();
    drop(deaf);
    let mut shim = shim;
    shim.end();
    eprintln!("1 GiB in {took:?}; idle {idle} KiB, peak {peak} KiB");
    assert_eq!(receipt.reason, EndReason::Done);
    assert_eq!(shim.outcome(run), Some(Outcome::Completed { result: None }));
    assert!(idle < 8 << 10, "{idle}");
    assert!(peak < 24 << 10, "{peak}");
    let kept = shim.text().len() as u64;
    let dropped: u64 = shim
        .journal()
        .into_iter()
        .filter_map(|body| match body {
            RecordBody::Output { kind: OutputKind::OutputGap, data, .. } => data["bytes"].as_u64(),
            _ => None,
        })
        .sum();
    assert_eq!(kept + dropped, bytes);
    assert!(kept <= 64 << 20 && kept > 63 << 20);
}

#[test]
fn a_stop_does_not_wait_behind_a_flood() {
    let setup = Setup::new(&[AGENT, "flood", &(1u64 << 40).to_string()]);
    let (mut shim, mut talk, _) = setup.start_run("");
    shim.until_text("fff");
    let begun = Instant::now();
    talk.stop(5000);
    let receipt = talk.closed();
    let took = begun.elapsed();
    eprintln!("stopped in a flood after {took:?}, {} ms by the receipt", receipt.duration_ms);
    assert!(took < Duration::from_secs(3), "{took:?}");
    assert!(!receipt.steps.iter().any(|step| step.action == Action::Kill));
    shim.end();
}

#[test]
fn a_full_disk_still_gets_its_receipt() {
    let mount = tempfile::tempdir().unwrap();
    let mounted = rustix::mount::mount(
        "tmpfs",
        mount.path(),
        "tmpfs",
        rustix::mount::MountFlags::empty(),
        Some(c"size=1m"),
    );
    mounted.unwrap();
    let dir = mount.path().join("run");
    let begun = Instant::now();
    let outcome = std::panic::catch_unwind(|| {
        // More output than the disk holds, an event of state after it, and an answer.
        let script = format!(
            "{AGENT} flood 4000000; echo '{{\"type\":\"tool_call\",\"name\":\"late\"}}'; \
             echo '{{\"type\":\"result\",\"result\":\"answer\"}}'"
        );
        let setup = sh(&script)
            .driven(|command| command.stdout = greenroom_core::agent::Stdout::Jsonl)
            .in_folder(&dir);
        let (mut shim, mut talk, run) = setup.start_run("");
        let receipt = talk.closed();
        assert_eq!(receipt.reason, EndReason::Done);
        assert_eq!(shim.end(), receipt);
        let result = Some("answer".into());
        assert_eq!(shim.outcome(run), Some(Outcome::Completed { result }));
        let journal = shim.journal();
        let has = |wanted: OutputKind| {
            journal.iter().any(|b| matches!(b, RecordBody::Output { kind, .. } if *kind == wanted))
        };
        assert!(has(OutputKind::ToolCall));
        assert!(has(OutputKind::OutputGap));
        assert!(matches!(journal.last(), Some(RecordBody::Receipt { .. })));
        assert_eq!(talk.unproven, Vec::<String>::new());
    });
    eprintln!("full disk: {:?}", begun.elapsed());
    rustix::mount::unmount(mount.path(), rustix::mount::UnmountFlags::DETACH).unwrap();
    outcome.unwrap();
}
