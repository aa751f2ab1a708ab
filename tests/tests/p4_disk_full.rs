//! P1, P3, P4 on a full disk: nothing is acknowledged that is not on disk, a stop is proven
//! all the same, and all goes on when there is room again.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use greenroom_tests::events::{said, ticks};
use greenroom_tests::session::id_of;
use greenroom_tests::{Greenroom, agents, json, procs};

/// A small disk of its own.
struct Disk(PathBuf);

impl Disk {
    fn mount(mib: u32) -> Self {
        let path = PathBuf::from(format!("/tmp/gd-{}", uuid::Uuid::now_v7().simple()));
        fs::create_dir(&path).expect("a folder");
        let size = format!("size={mib}m");
        let done =
            Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(&path).status();
        assert!(
            done.is_ok_and(|status| status.success()),
            "the suite's disk-full tests mount a tmpfs: run as root"
        );
        Self(path)
    }

    /// Fills it to the last byte.
    fn fill(&self) -> PathBuf {
        let path = self.0.join("ballast");
        let mut file = File::create(&path).expect("a file");
        for size in [1 << 20, 1 << 16, 4096, 512, 1] {
            let chunk = vec![1u8; size];
            while file.write_all(&chunk).is_ok() {}
        }
        path
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
        let _ = fs::remove_dir(&self.0);
    }
}

fn first_bytes(path: &Path) -> Vec<u8> {
    let mut bytes = vec![0; 16];
    let n = File::open(path).and_then(|mut file| file.read(&mut bytes)).unwrap_or(0);
    bytes.truncate(n);
    bytes
}

#[test]
fn p4_disk_full_refuses_keeps_and_recovers() {
    let disk = Disk::mount(48);
    let room = Greenroom::up()
        .agent("echo", agents::echo())
        .agent(
            "parked",
            agents::with(agents::echo(), json!({"runner": {"labels": {"zone": "none"}}})),
        )
        .agent("stubborn", agents::stubborn())
        .agent("ticker", agents::act(&["ticks", "100000", "1000"]))
        .data(&disk.0.join("data"))
        .start();
    let (mark, prompt) = room.mark();
    let busy = room.api.begin("stubborn", &prompt);
    room.api.wait_text(&busy, "holding");
    let chatty = room.api.begin("ticker", "go");
    room.api.wait_text(&chatty, "tick 10\n");
    let ballast = disk.fill();
    assert!(!first_bytes(&ballast).is_empty());

    // What can't be kept is not accepted, and it is said as what it is.
    let mut refused = None;
    for n in 0..400 {
        let body =
            json!({"agent": "parked", "id": format!("full-{n}"), "prompt": "x".repeat(50_000)});
        let reply = room.api.post("/v1/sessions", body);
        if reply.status != 201 {
            refused = Some((n, reply));
            break;
        }
    }
    let (accepted, reply) = refused.expect("a full disk is noticed");
    assert!(matches!(reply.status, 503 | 507), "{} {}", reply.status, reply.text());
    reply.refused(reply.status);
    assert_eq!(room.api.get("/healthz").status, 200, "the process itself is well");
    // The agents go on.
    assert_eq!(procs::holding(&mark).len(), 1);

    fs::remove_file(&ballast).expect("room again");
    for n in 0..accepted {
        room.api.session(&format!("full-{n}"));
    }
    room.api.get(&format!("/v1/sessions/full-{accepted}")).refused(404);
    let id = id_of(&room.api.create("echo", json!({"prompt": "all is well"})));
    room.api.wait_status(&id, "finished");
    let reply = room.api.stop_with(&busy, "30s", json!({"grace_ms": 300})).expect(200);
    assert_eq!(reply["receipt"]["survivors"], 0);
    assert!(procs::holding(&mark).is_empty());
    room.api.stop(&chatty);
    let log = room.api.check(&chatty);
    let heard = ticks(&said(&log));
    assert!(heard.windows(2).all(|pair| pair[0] < pair[1]), "in order, each once");
    let gaps = log.iter().filter(|event| event["type"] == "output_gap").count();
    assert!(gaps > 0 || heard.windows(2).all(|pair| pair[1] == pair[0] + 1), "a loss is said");
}

#[test]
fn p1_a_stop_on_a_full_disk_has_its_receipt() {
    let disk = Disk::mount(48);
    let mut room = Greenroom::serve().agent("stubborn", agents::stubborn()).start();
    // The runner's disk is the full one; the coordinator's is not.
    let data = room.root.join("runner-one");
    fs::create_dir(&data).expect("a folder");
    let bound = Command::new("mount").arg("--bind").arg(&disk.0).arg(&data).status();
    assert!(bound.is_ok_and(|status| status.success()));
    let unbind = Unbind(data);
    room.add_runner("one");
    let (mark, prompt) = room.mark();
    let id = room.api.begin("stubborn", &prompt);
    room.api.wait_text(&id, "holding");
    let ballast = disk.fill();
    let reply = room.api.stop_with(&id, "30s", json!({"grace_ms": 300})).expect(200);
    assert_eq!(reply["status"], "stopped", "{reply:#}");
    assert_eq!(reply["receipt"]["survivors"], 0, "{reply:#}");
    assert!(procs::holding(&mark).is_empty());
    room.api.check(&id);
    fs::remove_file(&ballast).expect("room again");
    let root = room.root.clone();
    drop(room);
    drop(unbind);
    // What was beneath the mount could not go while it was there.
    let _ = fs::remove_dir_all(root);
}

struct Unbind(PathBuf);

impl Drop for Unbind {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn p4_a_disk_that_fails_takes_back_nothing() {
    // No file may grow beyond four mebibytes, and a write beyond is an error like any other.
    let script = "trap '' XFSZ; ulimit -f 8192; exec \"$@\"";
    let mut room = Greenroom::serve()
        .agent("echo", agents::echo())
        .through(&["/bin/sh", "-c", script, "sh"])
        .start();
    let mut accepted = Vec::new();
    let failed = (0..400).find(|n| {
        let body = json!({"agent": "echo", "id": format!("s{n}"), "prompt": "x".repeat(50_000)});
        let request = room.api.request("POST", "/v1/sessions").json(&body);
        match request.try_send() {
            Ok(reply) if reply.status == 201 => {
                accepted.push(format!("s{n}"));
                false
            }
            // It says so, or it ends: what it must not do is to accept.
            Ok(reply) => {
                assert!(matches!(reply.status, 500 | 503 | 507), "{}", reply.text());
                reply.refused(reply.status);
                true
            }
            Err(_) => true,
        }
    });
    let failed = failed.expect("a disk that fails is noticed");
    assert!(accepted.len() >= 5, "{accepted:?}");
    room.kill9_server();
    room.builder.set_through(&[]);
    room.start_server();
    for id in &accepted {
        room.api.check(id);
        assert_eq!(room.api.runs(id).len(), 1, "{id}");
    }
    // The one whose fate was not said, or refused, is whole or not there at all.
    let last = room.api.get(&format!("/v1/sessions/s{failed}"));
    assert!(matches!(last.status, 200 | 404), "{}", last.text());
    if last.status == 200 {
        room.api.check(&format!("s{failed}"));
    }
    room.api.create("echo", json!({"id": "after"}));
}
