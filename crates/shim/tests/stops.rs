//! Stops: whatever the agent is and does, nothing of it is left, and that is proven.

mod common;

use std::time::{Duration, Instant};

use common::*;
use greenroom_core::RecordBody;
use greenroom_core::receipt::{Action, EndReason, Exit, Means, Receipt};
use greenroom_core::record::Outcome;
use greenroom_shim::wire::ToShim;

fn actions(receipt: &Receipt) -> Vec<Action> {
    receipt.steps.iter().map(|step| step.action).collect()
}

#[test]
fn an_agent_that_honours_term_ends_by_it() {
    let script = "trap 'echo bye; exit 7' TERM; echo up; while :; do sleep 0.01; done";
    let (mut shim, mut talk, run) = sh(script).start_run("");
    shim.until_text("up");
    let begun = Instant::now();
    talk.stop(10_000);
    let receipt = talk.closed();
    assert!(begun.elapsed() < Duration::from_secs(2));
    assert_eq!((receipt.reason, receipt.exit), (EndReason::User, Some(Exit::Code(7))));
    assert_eq!(receipt.requested_by, ["somebody"]);
    assert_eq!(actions(&receipt)[..3], [Action::Seen, Action::TermLeader, Action::LeaderExited]);
    assert!(!actions(&receipt).contains(&Action::Kill));
    shim.end();
    assert_eq!(shim.text(), "up\nbye\n");
    assert_eq!(shim.outcome(run), Some(Outcome::Stopped { error: None }));
}

/// Time on a processor, in milliseconds.
fn worked(shim: &Shim) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/schedstat", shim.pid())).unwrap();
    stat.split(' ').next().unwrap().parse::<u64>().unwrap() / 1_000_000
}

/// A shim that is busy takes the time from those it waits for, and there may be many.
#[test]
fn a_shim_sleeps_while_an_agent_takes_its_time_to_end() {
    let script = "trap 'echo bye; sleep 1; echo later; sleep 100' TERM; echo up; sleep 100 & wait";
    let (mut shim, mut talk, _) = sh(script).start_run("");
    shim.until_text("up");
    talk.stop(60_000);
    shim.until_text("bye");
    let before = worked(&shim);
    shim.until_text("later");
    let while_it_slept = worked(&shim) - before;
    assert!(while_it_slept < 200, "{while_it_slept} ms of a second");
    talk.stop(0);
    assert_eq!(talk.closed().survivors, 0);
    shim.end();
}

#[test]
fn two_hundred_daemons_leave_none() {
    let mark = mark();
    let (mut shim, mut talk, _) = Setup::new(&[AGENT, "daemons", "200", &mark]).start_run("");
    shim.until_text("ready");
    // The leader, and those it left.
    until("all daemons", || (marked(&mark) == 201).then_some(()));
    talk.stop(1500);
    let receipt = talk.closed();
    assert_none_marked(&mark);
    assert_eq!(receipt.survivors, 0);
    assert_eq!(receipt.processes_seen, 201);
    let expected = [
        Action::Seen,
        Action::TermLeader,
        Action::TermRest,
        Action::Freeze,
        Action::Kill,
        Action::LeaderExited,
        Action::Proven,
    ];
    assert_eq!(actions(&receipt), expected);
    let means: Vec<_> = receipt.proof.iter().map(|proof| proof.means).collect();
    assert_eq!(means, [Means::NoChildLeft, Means::CgroupEmpty]);
    shim.end();
    eprintln!("200 daemons: {} ms, of which grace 1500", receipt.duration_ms);
}

#[test]
fn without_a_control_group_daemons_leave_none_either() {
    let mark = mark();
    let setup = Setup::new(&[AGENT, "daemons", "200", &mark]).without_groups();
    let (mut shim, mut talk, _) = setup.start_run("");
    shim.until_text("ready");
    until("all daemons", || (marked(&mark) == 201).then_some(()));
    talk.stop(200);
    let receipt = talk.closed();
    assert_none_marked(&mark);
    assert_eq!((receipt.survivors, receipt.processes_seen), (0, 201));
    let means: Vec<_> = receipt.proof.iter().map(|proof| proof.means).collect();
    assert_eq!(means, [Means::NoChildLeft]);
    shim.end();
    eprintln!("200 daemons, no cgroup: {} ms, of which grace 200", receipt.duration_ms);
}

#[test]
fn processes_that_never_stand_still_are_caught() {
    for groups in [true, false] {
        let mark = mark();
        let setup = Setup::new(&[AGENT, "movers", "20", &mark]);
        let setup = if groups { setup } else { setup.without_groups() };
        let (mut shim, mut talk, _) = setup.start_run("");
        shim.until_text("ready");
        talk.stop(0);
        let receipt = talk.closed();
        assert_none_marked(&mark);
        assert_eq!(receipt.survivors, 0);
        shim.end();
        eprintln!("20 movers, cgroup {groups}: {} ms", receipt.duration_ms);
    }
}

#[test]
fn a_second_stop_shortens_the_first() {
    let mark = mark();
    let (mut shim, mut talk, _) = Setup::new(&[AGENT, "daemons", "3", &mark]).start_run("");
    shim.until_text("ready");
    talk.stop(60_000);
    shim.talk().say(&ToShim::Stop { stop: order(90_000, "somebody") });
    let stop = order(0, "impatient");
    let mut other = shim.talk();
    other.say(&ToShim::Stop { stop: stop.clone() });
    other.say(&ToShim::Stop { stop });
    let receipt = talk.closed();
    assert_eq!(other.closed(), receipt);
    assert!(receipt.duration_ms < 10_000);
    assert_eq!(receipt.requested_by, ["somebody", "impatient"]);
    shim.end();
    assert_none_marked(&mark);
}

#[test]
fn a_stopped_agent_is_woken_to_hear_it() {
    let script = "trap 'echo woken; exit 0' TERM; echo up; kill -STOP $$; sleep 100";
    let (mut shim, mut talk, _) = sh(script).start_run("");
    shim.until_text("up");
    talk.stop(20_000);
    let receipt = talk.closed();
    assert_eq!(receipt.exit, Some(Exit::Code(0)));
    shim.end();
    assert!(shim.text().ends_with("woken\n"));
}

#[test]
fn a_stop_before_anything_has_begun() {
    let mut shim = sh("echo never").spawn();
    let mut talk = shim.talk();
    talk.stop(1000);
    let receipt = talk.closed();
    assert_eq!(receipt.processes_seen, 0);
    assert_eq!(actions(&receipt), [Action::Seen, Action::Nothing, Action::Proven]);
    shim.end();

    // Said in one breath with the start of everything.
    for wait_us in [0, 200, 1000, 3000, 10_000] {
        let mark = mark();
        let (mut shim, mut talk, _) = Setup::new(&[AGENT, "daemons", "5", &mark]).start_run("");
        std::thread::sleep(Duration::from_micros(wait_us));
        talk.stop(50);
        let receipt = talk.closed();
        assert_eq!((receipt.survivors, receipt.reason), (0, EndReason::User));
        assert_none_marked(&mark);
        shim.end();
    }
}

#[test]
fn a_stop_that_comes_after_the_answer_leaves_it() {
    // The agent has ended; what it left keeps its output open.
    let (mut shim, mut talk, run) =
        sh("trap '' TERM; echo answer; sleep 100 & exit 0").start_run("");
    shim.until_journal("the answer", |body| matches!(body, RecordBody::Closing { .. }));
    talk.stop(0);
    let receipt = talk.closed();
    assert_eq!((receipt.reason, receipt.leftovers), (EndReason::Done, 1));
    assert_eq!(receipt.requested_by, ["somebody"]);
    shim.end();
    assert_eq!(shim.outcome(run), Some(Outcome::Completed { result: None }));
}

#[test]
fn term_to_the_shim_is_a_shutdown() {
    let (mut shim, mut talk, run) = sh("echo up; sleep 1000").start_run("");
    shim.until_text("up");
    signal(shim.pid(), rustix::process::Signal::TERM);
    // None of these means anything to it.
    for other in [rustix::process::Signal::HUP, rustix::process::Signal::INT] {
        signal(shim.pid(), other);
    }
    let receipt = talk.closed();
    assert_eq!(receipt.reason, EndReason::Shutdown);
    assert_eq!(shim.end(), receipt);
    assert_eq!(code_of(&shim.outcome(run).unwrap()), "interrupted");
    let closing = RecordBody::Closing { reason: EndReason::Shutdown };
    assert!(shim.journal().contains(&closing));
}

#[test]
fn a_shim_without_a_folder_ends_its_tree() {
    let mark = mark();
    let (mut shim, _talk, _) = Setup::new(&[AGENT, "daemons", "5", &mark]).start_run("");
    shim.until_text("ready");
    let group = shim.setup.spec.cgroups.kill.clone().unwrap();
    std::fs::remove_dir_all(shim.dir()).unwrap();
    shim.wait();
    assert_none_marked(&mark);
    assert!(!group.exists());
}

#[test]
fn a_lost_socket_is_bound_again() {
    let (mut shim, mut talk, _) = sh("echo up; sleep 1000").start_run("");
    shim.until_text("up");
    std::fs::remove_file(shim.control.sock_path()).unwrap();
    shim.talk().stop(0);
    talk.closed();
    shim.end();
}

fn signal(pid: i32, signal: rustix::process::Signal) {
    rustix::process::kill_process(rustix::process::Pid::from_raw(pid).unwrap(), signal).unwrap();
}
