//! P1: a stop is proven. Whatever an agent has started ends with it, and a receipt says so.

use std::sync::Mutex;
use std::time::Duration;

use greenroom_tests::invariants::{assert_proven, proves};
use greenroom_tests::session::{id_of, uid_of};
use greenroom_tests::{Greenroom, Value, agents, json, procs};

/// Stops a session of 200 daemons and checks that none is left, by the receipt and by a
/// search of the test's own.
fn two_hundred_daemons(room: &Greenroom) -> Value {
    let (mark, prompt) = room.mark();
    let id = room.api.begin("daemons", &prompt);
    room.api.wait_text(&id, "200 daemons");
    let alive = procs::holding(&mark);
    assert_eq!(alive.len(), 200, "the daemons live");

    let reply = room.api.stop_with(&id, "30s", json!({"grace_ms": 300})).expect(200);
    let left = procs::holding(&mark);
    assert!(left.is_empty(), "survivors: {left:?}\n{reply:#}");
    assert_eq!(reply["status"], "stopped", "{reply:#}");
    assert_eq!(reply["already_stopped"], false);
    let receipt = &reply["receipt"];
    assert_eq!(receipt["survivors"], 0, "{receipt:#}");
    assert!(receipt["processes_seen"].as_u64() >= Some(201), "{receipt:#}");
    assert_eq!(receipt["reason"], "user");
    assert_proven(&id, receipt);
    room.api.check(&id);
    receipt.clone()
}

#[test]
fn p1_two_hundred_stubborn_daemons_leave_none() {
    let room = Greenroom::up().agent("daemons", agents::daemons(200, true)).start();
    let receipt = two_hundred_daemons(&room);
    assert!(proves(&receipt, "no_child_left"), "{receipt:#}");
    let runners = room.api.get("/v1/runners").expect(200);
    if runners["items"][0]["probe"]["cgroup_kill"] == true {
        assert!(proves(&receipt, "cgroup_empty"), "{receipt:#}");
    }
    let actions: Vec<&str> = receipt["steps"]
        .as_array()
        .expect("steps")
        .iter()
        .filter_map(|s| s["action"].as_str())
        .collect();
    assert!(!actions.contains(&"cancel"), "a command agent has no cancel: {actions:?}");
    assert!(actions.contains(&"kill") && actions.contains(&"proven"), "{actions:?}");
}

#[test]
fn p1_without_control_groups_none_are_left_either() {
    // Its own mount namespace, with no cgroup mounted in it.
    let script = "umount -R -l /sys/fs/cgroup && exec \"$@\"";
    let room = Greenroom::up()
        .agent("daemons", agents::daemons(200, true))
        .through(&["unshare", "-m", "/bin/sh", "-c", script, "sh"])
        .start();
    let runners = room.api.get("/v1/runners").expect(200);
    assert_eq!(runners["items"][0]["probe"]["cgroup_kill"], false, "{runners:#}");
    let receipt = two_hundred_daemons(&room);
    assert!(proves(&receipt, "no_child_left"), "{receipt:#}");
    assert!(!proves(&receipt, "cgroup_empty"), "{receipt:#}");
}

#[test]
fn p1_a_stop_right_after_create_is_never_lost() {
    const THREADS: usize = 20;
    const EACH: usize = 10;
    let room = Greenroom::up().agent("holder", agents::holder()).start();
    let all = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (room, all) = (&room, &all);
            scope.spawn(move || {
                for turn in 0..EACH {
                    let (mark, prompt) = room.mark();
                    let id = room.api.begin("holder", &prompt);
                    // The moment is what is tested: 0 to 50 ms, every one of them.
                    let after = (thread * EACH + turn) * 50 / (THREADS * EACH - 1);
                    std::thread::sleep(Duration::from_millis(after as u64));
                    let reply =
                        room.api.stop_with(&id, "60s", json!({"grace_ms": 2000})).expect(200);
                    assert_eq!(reply["status"], "stopped", "{reply:#}");
                    assert_eq!(reply["receipt"]["survivors"], 0, "{reply:#}");
                    assert!(procs::holding(&mark).is_empty(), "it lives after the receipt: {id}");
                    all.lock().expect("no poison").push((id, mark));
                }
            });
        }
    });
    let all = all.into_inner().expect("no poison");
    assert_eq!(all.len(), THREADS * EACH);
    for (id, mark) in &all {
        let session = room.api.session(id);
        assert_eq!(session["status"], "stopped", "{session:#}");
        assert!(procs::holding(mark).is_empty(), "it came back: {id}");
        let runs = room.api.runs(id);
        assert_eq!(runs.len(), 1);
        assert_eq!(runs[0]["status"], "stopped", "{:#}", runs[0]);
        room.api.check(id);
    }
}

#[test]
fn p1_twenty_at_once_are_as_certain_as_one() {
    let room = Greenroom::up().agent("stubborn", agents::stubborn()).start();
    let all: Vec<_> = (0..20)
        .map(|_| {
            let (mark, prompt) = room.mark();
            (room.api.begin("stubborn", &prompt), mark)
        })
        .collect();
    for (id, _) in &all {
        room.api.wait_text(id, "holding");
    }
    let ids: Vec<&str> = all.iter().map(|(id, _)| id.as_str()).collect();
    let mut args = vec!["sessions", "stop", "--grace", "300ms", "--output", "json"];
    args.extend(&ids);
    let ran = room.cli(&args).exits(0);
    let items = ran.json()["items"].as_array().cloned().unwrap_or_default();
    assert_eq!(items.len(), 20, "{}", ran.out);
    for item in items {
        assert_eq!(item["receipt"]["survivors"], 0, "{item:#}");
    }
    for (id, mark) in &all {
        assert_eq!(room.api.status(id), "stopped");
        assert!(procs::holding(mark).is_empty(), "{id}");
    }
}

#[test]
fn p1_the_grace_is_the_time_from_term_to_kill() {
    let polite =
        r#"trap 'echo cleaned > cleaned; exit 0' TERM; echo ready; while :; do sleep 0.05; done"#;
    let room = Greenroom::up()
        .agent("polite", agents::sh(polite, &[]))
        .agent("stubborn", agents::stubborn())
        .start();

    let id = room.api.begin("polite", "go");
    room.api.wait_text(&id, "ready");
    let receipt = room.api.stop(&id)["receipt"].clone();
    assert!(receipt["duration_ms"].as_u64() < Some(5000), "it honours TERM: {receipt:#}");
    let uid = uid_of(&room.api.session(&id));
    let cleaned = std::fs::read_to_string(room.workspace(&uid).join("cleaned"));
    assert_eq!(cleaned.expect("what it wrote on TERM").trim(), "cleaned");

    let (mark, prompt) = room.mark();
    let id = room.api.begin("stubborn", &prompt);
    room.api.wait_text(&id, "holding");
    let reply =
        room.api.stop_with(&id, "30s", json!({"grace_ms": 1000, "reason": "enough"})).expect(200);
    let steps = reply["receipt"]["steps"].as_array().cloned().unwrap_or_default();
    let at = |action: &str| {
        steps
            .iter()
            .find(|step| step["action"] == action)
            .and_then(|step| step["after_ms"].as_u64())
    };
    let (term, kill) = (at("term_leader").expect("TERM"), at("kill").expect("KILL"));
    assert!((900..2500).contains(&(kill - term)), "{steps:#?}");
    assert!(procs::holding(&mark).is_empty());
}

#[test]
fn p1_a_frozen_tree_is_stopped_too() {
    let script = r#"exec 9<"$1"; echo frozen; kill -STOP $$; echo thawed; sleep 1000"#;
    let frozen = agents::with(agents::sh(script, &[]), json!({"prompt_via": "arg"}));
    let room = Greenroom::up().agent("frozen", frozen).start();
    let (mark, prompt) = room.mark();
    let id = room.api.begin("frozen", &prompt);
    room.api.wait_text(&id, "frozen");
    let reply = room.api.stop_with(&id, "30s", json!({"grace_ms": 1000})).expect(200);
    assert_eq!(reply["receipt"]["survivors"], 0, "{reply:#}");
    assert!(procs::holding(&mark).is_empty());
}

#[test]
fn p1_a_fork_bomb_is_caught() {
    // Two movers that fork and end all the time: a scan would miss them again and again.
    let script = r#"exec 9<"$1"; mover() { (mover &) ; exit; }; spin() { while :; do /bin/true & done; };
        trap '' TERM; spin & spin & echo moving; wait; sleep 1000"#;
    let mover = agents::with(agents::sh(script, &[]), json!({"prompt_via": "arg"}));
    let room = Greenroom::up().agent("mover", mover).start();
    let (mark, prompt) = room.mark();
    let id = room.api.begin("mover", &prompt);
    room.api.wait_text(&id, "moving");
    let reply = room.api.stop_with(&id, "60s", json!({"grace_ms": 200})).expect(200);
    assert_eq!(reply["receipt"]["survivors"], 0, "{reply:#}");
    assert!(procs::holding(&mark).is_empty());
}

#[test]
fn p1_every_end_has_a_receipt() {
    let room = Greenroom::up()
        .agent("echo", agents::echo())
        .agent("fails", agents::sh("exit 3", &[]))
        .agent("dies", agents::sh("kill -KILL $$", &[]))
        .agent("missing", json!({"command": ["/nonexistent/program"]}))
        .start();
    let cases = [
        ("echo", "finished", Value::Null, "completed", Value::Null),
        ("fails", "failed", json!("exit"), "failed", json!({"code": 3})),
        ("dies", "failed", json!("signal"), "failed", json!({"signal": 9})),
        ("missing", "failed", json!("start_error"), "failed", Value::Null),
    ];
    for (agent, status, reason, run, exit) in cases {
        let session = room.api.create(agent, json!({"prompt": "go"}));
        let id = id_of(&session);
        let session = room.api.wait_rest(&id);
        assert_eq!(session["status"], status, "{agent}: {session:#}");
        if !reason.is_null() {
            assert_eq!(session["status_reason"], reason, "{agent}: {session:#}");
        }
        let receipt = &session["receipt"];
        assert_eq!(receipt["survivors"], 0, "{agent}: {session:#}");
        assert_eq!(receipt["epoch"], 1, "{agent}: {receipt:#}");
        assert_proven(agent, receipt);
        if !exit.is_null() {
            assert_eq!(receipt["exit"], exit, "{agent}: {receipt:#}");
        }
        assert_eq!(room.api.runs(&id)[0]["status"], run, "{agent}");
        room.api.check(&id);
    }
}
