//! P1, P5, P6: shims that hang, and shims that are killed beneath a living agent.

use greenroom_tests::invariants::proves;
use greenroom_tests::session::{id_of, uid_of};
use greenroom_tests::{Greenroom, PATIENCE, Value, agents, json, procs};
use rustix::process::Signal;

/// A session in the middle of its work: its id, the process of its shim, and its marker.
fn busy(room: &Greenroom, agent: &str) -> (String, i32, std::path::PathBuf) {
    let (mark, prompt) = room.mark();
    let session = room.api.create(agent, json!({"prompt": prompt}));
    let id = id_of(&session);
    room.api.wait_text(&id, "holding");
    let shim = room.shim_pid(&uid_of(&session), 1);
    (id, shim, mark)
}

/// In a mount namespace of its own, with no cgroup mounted in it.
const NO_GROUPS: [&str; 6] =
    ["unshare", "-m", "/bin/sh", "-c", "umount -R -l /sys/fs/cgroup && exec \"$@\"", "sh"];

#[test]
fn p1_a_hung_shim_is_ended_with_its_tree_by_its_runner() {
    let room = Greenroom::up().agent("stubborn", agents::stubborn()).start();
    let (id, shim, mark) = busy(&room, "stubborn");
    procs::signal(shim, Signal::STOP);
    let reply = room.api.stop_with(&id, "60s", json!({"grace_ms": 200})).expect(200);
    assert_eq!(reply["status"], "stopped", "{reply:#}");
    assert_eq!(reply["receipt"]["survivors"], 0, "{reply:#}");
    assert!(proves(&reply["receipt"], "cgroup_empty"), "{reply:#}");
    assert!(procs::holding(&mark).is_empty());
    assert!(procs::wait_gone(shim, PATIENCE), "the shim too");
    room.api.check(&id);
    // It goes on from there.
    let (_, prompt) = room.mark();
    room.api.prompt(&id, &prompt);
    room.api.wait_session(&id, "its return", |s| s["status"] == "running" && s["epoch"] == 2);
}

#[test]
fn p5_hung_shims_hold_up_nobody_but_themselves() {
    let mut room = Greenroom::up().agent("stubborn", agents::stubborn()).start();
    let hung: Vec<_> = (0..4).map(|_| busy(&room, "stubborn")).collect();
    let (well, _, mark) = busy(&room, "stubborn");
    for (_, shim, _) in &hung {
        procs::signal(*shim, Signal::STOP);
    }
    room.kill9_and_restart();
    let reply = room.api.stop_with(&well, "20s", json!({"grace_ms": 200})).expect(200);
    assert_eq!(reply["receipt"]["survivors"], 0, "{reply:#}");
    assert!(procs::holding(&mark).is_empty());
    // They are waited for, as long as nobody wants them gone.
    for (id, shim, mark) in &hung {
        assert_eq!(procs::holding(mark).len(), 1, "nothing was ended");
        procs::signal(*shim, Signal::CONT);
        let reply = room.api.stop_with(id, "30s", json!({"grace_ms": 200})).expect(200);
        assert_eq!(reply["status"], "stopped", "{reply:#}");
        assert_eq!(reply["receipt"]["epoch"], 1, "{reply:#}");
        assert!(procs::holding(mark).is_empty());
        room.api.check(id);
    }
}

#[test]
fn p1_an_agent_that_kills_its_shim_is_interrupted_and_gone() {
    let script = r#"trap '' TERM; exec 9<"$1"; (setsid sleep 1000 &); echo holding; kill -KILL $PPID;
        while :; do sleep 1; done"#;
    let killer = agents::with(agents::sh(script, &[]), json!({"prompt_via": "arg"}));
    let room = Greenroom::up().agent("killer", killer).start();
    let (mark, prompt) = room.mark();
    let id = room.api.begin("killer", &prompt);
    let session = room.api.wait_rest(&id);
    assert_eq!(
        (session["status"].as_str(), session["status_reason"].as_str()),
        (Some("interrupted"), Some("lost")),
        "{session:#}"
    );
    assert_eq!(session["receipt"]["survivors"], 0, "{session:#}");
    assert!(proves(&session["receipt"], "cgroup_empty"), "{session:#}");
    assert!(procs::holding(&mark).is_empty());
    // A stop at rest, of what nobody asked to end.
    let reply = room.api.stop_with(&id, "", json!({})).expect(200);
    assert_eq!(reply["already_stopped"], true, "{reply:#}");
    assert_eq!(reply["status"], "interrupted", "{reply:#}");
    room.api.check(&id);
}

#[test]
fn p1_without_control_groups_a_killed_shim_proves_nothing() {
    let room = Greenroom::up().agent("stubborn", agents::stubborn()).through(&NO_GROUPS).start();
    let (id, shim, mark) = busy(&room, "stubborn");
    procs::signal(shim, Signal::KILL);
    let session = room.api.wait_status(&id, "stop_unconfirmed");
    assert!(session["receipt"].is_null(), "{session:#}");
    assert_eq!(procs::holding(&mark).len(), 1, "nobody has the means to end it for certain");
    // A stop tries again, and claims no more than it knows.
    let reply = room.api.stop_with(&id, "1s", json!({"grace_ms": 0})).expect(202);
    assert!(reply["receipt"].is_null(), "{reply:#}");
    // Nor is a second compute put beside it.
    let run = room.api.prompt_with(&id, "more", json!({"resume": true})).expect(202);
    let lives = |session: &Value| session["epoch"] == 1 && session["receipt"].is_null();
    assert!(lives(&room.api.wait_status(&id, "stop_unconfirmed")));
    assert_eq!(room.api.run(&run["id"])["status"], "queued");
    // A person's word is on record as such.
    let path = format!("/v1/sessions/{id}/abandon");
    room.api.post(&path, json!({"reason": "I have looked"})).granted();
    let session = room.api.session(&id);
    assert_eq!(session["status"], "interrupted", "{session:#}");
    assert!(proves(&session["receipt"], "none"), "{session:#}");
    assert_eq!(session["hold"], true, "nothing starts beside it by itself: {session:#}");
    assert_eq!(room.api.run(&run["id"])["status"], "queued");
}
