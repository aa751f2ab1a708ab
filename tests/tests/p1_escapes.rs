//! P1: agents that try to get out of reach, and what a stop says of them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use greenroom_tests::invariants::proves;
use greenroom_tests::session::{id_of, uid_of};
use greenroom_tests::{Greenroom, Value, agents, binary, json, procs};

/// A shell script whose first argument is its marker.
fn script(text: &str) -> Value {
    agents::with(agents::sh(text, &[]), json!({"prompt_via": "arg"}))
}

/// Lets the agent come up, shows what of it lives to `look`, stops it, and gives the receipt.
/// Nothing of it is left.
fn stopped(room: &Greenroom, agent: &str, look: impl Fn(&[procs::Proc])) -> Value {
    let (mark, prompt) = room.mark();
    let id = room.api.begin(agent, &prompt);
    room.api.wait_text(&id, "holding");
    look(&procs::holding(&mark));
    let reply = room.api.stop_with(&id, "40s", json!({"grace_ms": 500})).expect(200);
    assert_eq!(reply["status"], "stopped", "{reply:#}");
    assert_eq!(reply["receipt"]["survivors"], 0, "{reply:#}");
    let left = procs::holding(&mark);
    assert!(left.is_empty(), "{left:?}\n{reply:#}");
    room.api.check(&id);
    reply["receipt"].clone()
}

#[test]
fn p1_an_agent_that_leaves_its_control_group_is_ended_all_the_same() {
    let leaver = r#"trap '' TERM; exec 9<"$1"
        top=$(awk '/ - cgroup2 / { print $5; exit }' /proc/self/mountinfo)
        (setsid sh -c 'echo $$ > "$0/cgroup.procs"; trap "" TERM; echo holding; while :; do sleep 1; done' "$top" &)
        while :; do sleep 1; done"#;
    let room = Greenroom::up().agent("leaver", script(leaver)).start();
    let receipt = stopped(&room, "leaver", |alive| {
        let groups = alive.iter().map(|proc| {
            let text = fs::read_to_string(format!("/proc/{}/cgroup", proc.pid)).unwrap_or_default();
            text.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or("").to_owned()
        });
        let groups: Vec<String> = groups.collect();
        assert!(groups.iter().any(|group| group == "/"), "one has left: {groups:?}");
    });
    assert!(proves(&receipt, "no_child_left"), "{receipt:#}");
}

#[test]
fn p1_processes_in_namespaces_of_their_own_are_ended_too() {
    let spaced = r#"trap '' TERM; exec 9<"$1"
        unshare -Urpf --mount-proc /bin/sh -c 'trap "" TERM; (setsid sleep 1000 &); echo holding
            while :; do sleep 1; done'"#;
    let room = Greenroom::up().agent("spaced", script(spaced)).start();
    stopped(&room, "spaced", |alive| assert!(alive.len() >= 4, "{alive:?}"));
}

#[test]
fn p1_a_greenroom_inside_a_session_does_not_escape_it() {
    // The inner one is given nothing of the outer one's, and has computes of its own.
    let nested = r#"exec 9<"$2"; unset GREENROOM_URL GREENROOM_TOKEN
        "$1" up --listen 127.0.0.1:0 --data "$PWD/inner" > up.txt &
        until grep -q 'is up at' up.txt; do sleep 0.05; done
        "$1" run shell "exec 9<'$2'; trap '' TERM; (setsid sleep 1000 &) ; echo holding; while :; do sleep 1; done" \
            --data "$PWD/inner"
        wait"#;
    let bin = binary().to_string_lossy().into_owned();
    let nested = agents::with(agents::sh(nested, &[&bin]), json!({"prompt_via": "arg"}));
    let room = Greenroom::up().agent("nested", nested).start();
    let own = room.server_pid();
    stopped(&room, "nested", |alive| {
        let inner = alive.iter().filter(|proc| !proc.line.contains("is up at")).count();
        assert!(inner >= 4, "agent, inner server, inner agent and what that started: {alive:?}");
    });
    // Shims and server of the inner one stand in its folder.
    let inside: Vec<_> =
        procs::about(&room.data.join("work")).into_iter().filter(|proc| proc.pid != own).collect();
    assert!(inside.is_empty(), "{inside:?}");
}

#[test]
fn p1_a_stop_does_not_wait_behind_output() {
    let room =
        Greenroom::up().agent("flood", agents::act(&["flood", &(1u64 << 44).to_string()])).start();
    let id = room.api.begin("flood", "go");
    room.api.wait_text(&id, "xxx");
    // An admin's look at the log does not hurry it; the stop is decided beside all of it.
    let reply = room.api.stop_with(&id, "20s", json!({"grace_ms": 5000})).expect(200);
    assert_eq!(reply["status"], "stopped", "{reply:#}");
    let receipt = &reply["receipt"];
    assert!(receipt["duration_ms"].as_u64() < Some(5000), "TERM was enough: {receipt:#}");
    room.api.check(&id);
}

/// A freezer of the old kind: what it has frozen survives SIGKILL until it is thawed, as a
/// process does that waits for a device.
struct Freezer {
    mount: PathBuf,
    group: PathBuf,
}

impl Freezer {
    fn new() -> Self {
        let name = uuid::Uuid::now_v7().simple().to_string();
        let mount = PathBuf::from(format!("/tmp/gf-{name}"));
        fs::create_dir(&mount).expect("a folder");
        let done = Command::new("mount")
            .args(["-t", "cgroup", "-o", "freezer", "freezer"])
            .arg(&mount)
            .status();
        assert!(done.is_ok_and(|status| status.success()), "mounts a freezer: run as root");
        let group = mount.join(format!("gr-{name}"));
        fs::create_dir(&group).expect("a group");
        Self { mount, group }
    }

    fn freeze(&self, pid: i32) {
        fs::write(self.group.join("cgroup.procs"), pid.to_string()).expect("moved");
        self.set("FROZEN");
        while !fs::read_to_string(self.group.join("freezer.state")).is_ok_and(|s| s == "FROZEN\n") {
            std::thread::yield_now();
        }
    }

    fn set(&self, state: &str) {
        fs::write(self.group.join("freezer.state"), state).expect("the state");
    }
}

impl Drop for Freezer {
    fn drop(&mut self) {
        let _ = fs::write(self.group.join("freezer.state"), "THAWED");
        let top: &Path = &self.mount;
        let pids = fs::read_to_string(self.group.join("cgroup.procs")).unwrap_or_default();
        for pid in pids.lines() {
            let _ = fs::write(top.join("cgroup.procs"), pid);
        }
        let _ = fs::remove_dir(&self.group);
        let _ = Command::new("umount").arg("-l").arg(top).status();
        let _ = fs::remove_dir(top);
    }
}

#[test]
fn p1_what_cannot_be_killed_is_never_called_stopped() {
    let room = Greenroom::up().agent("stubborn", agents::stubborn()).start();
    let (mark, prompt) = room.mark();
    let session = room.api.create("stubborn", json!({"prompt": prompt}));
    let id = id_of(&session);
    room.api.wait_text(&id, "holding");
    let agent = procs::holding(&mark)[0].clone();
    let shim = room.shim_pid(&uid_of(&session), 1);
    let freezer = Freezer::new();
    freezer.freeze(agent.pid);
    let reply = room.api.stop_with(&id, "3s", json!({"grace_ms": 100})).expect(202);
    assert_eq!(reply["status"], "stopping", "{reply:#}");
    assert!(reply["receipt"].is_null(), "{reply:#}");
    let session = room.api.wait_status(&id, "stop_unconfirmed");
    assert!(session["receipt"].is_null(), "{session:#}");
    assert!(procs::look(agent.pid).is_some(), "it lives");
    assert!(procs::look(shim).is_some(), "and so does who can prove its end");
    // The wish stays: as soon as it can die, that is proven, and nobody has to ask again.
    freezer.set("THAWED");
    let session = room.api.wait_status(&id, "stopped");
    assert_eq!(session["receipt"]["survivors"], 0, "{session:#}");
    assert!(proves(&session["receipt"], "no_child_left"), "{session:#}");
    assert!(procs::holding(&mark).is_empty());
    room.api.check(&id);
}
