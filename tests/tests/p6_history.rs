//! P1, P3, P6: a coordinator from an older backup, and a machine that was started anew.

use std::fs;

use rustix::process::Signal;

use greenroom_tests::invariants::proves;
use greenroom_tests::session::{id_of, uid_of};
use greenroom_tests::{Greenroom, PATIENCE, Sse, Value, agents, json, procs};

#[test]
fn p6_restored_from_an_older_backup() {
    let mut room = Greenroom::serve()
        .agent("holder", agents::holder())
        .agent("echo", agents::echo())
        .runner("one")
        .start();
    let (mark, prompt) = room.mark();
    let held = room.api.begin("holder", &prompt);
    room.api.wait_text(&held, "holding");
    let again = room.api.begin("echo", "one");
    room.api.wait_status(&again, "finished");
    let backup = room.root.join("backup.db");
    let backup = backup.to_string_lossy();
    room.term_server();
    room.cli(&["admin", "backup", &backup]).exits(0);
    room.start_server();

    // What the backup does not know: more epochs, more log, a session of its own.
    for text in ["two", "three"] {
        let run = room.api.prompt(&again, text);
        room.api.wait_run(&again, &run["id"]);
        room.api.wait_rest(&again);
    }
    let (late_mark, prompt) = room.mark();
    let late = room.api.begin("holder", &prompt);
    room.api.wait_text(&late, "holding");
    let old = room.api.log(&again);
    let known = room.api.session(&again)["epoch"].as_u64().expect("an epoch");
    assert_eq!(known, 3);

    room.term_server();
    room.cli(&["admin", "restore", &backup]).exits(0);
    room.start_server();
    room.wait_connected("one");
    assert_eq!(procs::holding(&mark).len(), 1, "nothing dies of a restore");
    assert_eq!(procs::holding(&late_mark).len(), 1, "nothing dies of a restore");

    // An old cursor is told to begin anew; it is never served another history.
    let path = format!("/v1/sessions/{again}/events");
    let last = old.last().expect("a log")["seq"].to_string();
    let mut stream = Sse::after(&room.api, &path, &last);
    assert_eq!(stream.next_frame().event, "resync");
    let mut stream = Sse::open(&room.api, &path);
    let id = stream.until("the log anew", |frame| frame.id.is_some()).id.expect("a cursor");
    assert!(id.contains('.'), "cursors of a restored store carry its era: {id}");

    // No epoch is handed out twice, so the first prompt is answered: the runner, which was
    // never restarted, has said how far it has come.
    let run = room.api.prompt(&again, "four");
    let run = room.api.wait_run(&again, &run["id"]);
    assert_eq!(run["status"], "completed", "{run:#}");
    let session = room.api.wait_rest(&again);
    assert_eq!(session["epoch"].as_u64(), Some(known + 1), "{session:#}");
    room.api.log(&again);

    // What lived at the time of the backup is whole, and is stopped for certain.
    assert_eq!(room.api.wait_status(&held, "running")["epoch"], 1);
    assert_eq!(room.api.stop(&held)["receipt"]["survivors"], 0);
    assert!(procs::holding(&mark).is_empty());
    room.api.check(&held);

    // What the store does not know is kept, and said.
    room.api.get(&format!("/v1/sessions/{late}")).refused(404);
    let runner = room.api.wait_runner("one", |runner| {
        runner["unclaimed"].as_array().is_some_and(|all| !all.is_empty())
    });
    assert_eq!(runner["unclaimed"].as_array().map(Vec::len), Some(1), "{runner:#}");
    assert_eq!(procs::holding(&late_mark).len(), 1);
}

#[test]
fn p4_a_backup_is_taken_under_a_running_server() {
    let mut room = Greenroom::serve()
        .agent("ticker", agents::act(&["ticks", "3000", "500"]))
        .runner("one")
        .start();
    let id = room.api.begin("ticker", "go");
    room.api.wait_text(&id, "tick 1\n");
    let backup = room.root.join("backup.db");
    let backup = backup.to_string_lossy();
    room.cli(&["admin", "backup", &backup]).exits(0);
    let known = room.api.session(&id)["last_seq"].as_u64().expect("a position");
    assert_ne!(room.cli(&["admin", "backup", &backup]).code, Some(0), "nothing is overwritten");
    room.api.wait_status(&id, "finished");
    let whole = room.api.log(&id);
    room.term_server();
    // Its runner would tell the rest again.
    room.term_runner("one");
    room.cli(&["admin", "restore", &backup]).exits(0);
    room.start_server();
    let log = room.api.log(&id);
    assert!(log.len() as u64 <= known && log.len() > 5, "{} of {known}", log.len());
    assert_eq!(log[..5], whole[..5]);
}

#[test]
fn p6_restore_refuses_under_a_running_server_and_what_is_no_backup() {
    let mut room = Greenroom::serve().agent("echo", agents::echo()).start();
    let backup = room.root.join("backup.db");
    let backup = backup.to_string_lossy();
    room.term_server();
    room.cli(&["admin", "backup", &backup]).exits(0);
    room.start_server();
    let ran = room.cli(&["admin", "restore", &backup]);
    assert_ne!(ran.code, Some(0), "{}", ran.out);
    assert!(ran.err.contains("hint:"), "{}", ran.err);
    room.term_server();
    let junk = room.root.join("junk.db");
    fs::write(&junk, "this is not a database").expect("written");
    let ran = room.cli(&["admin", "restore", &junk.to_string_lossy()]);
    assert_ne!(ran.code, Some(0), "{}", ran.out);
    room.start_server();
}

/// Writes another boot, or machine, into the spec of a session's first compute.
fn rewrite_spec(room: &Greenroom, uid: &str, key: &str, value: &str) {
    let path = room.run_folder(uid).join("1/spec");
    let text = fs::read(&path).expect("the spec");
    let mut spec: Value = serde_json::from_slice(&text).expect("JSON");
    assert!(spec["host"][key].is_string(), "{spec:#}");
    spec["host"][key] = json!(value);
    fs::write(&path, spec.to_string()).expect("written");
}

/// A session whose whole tree, shim and server were cut off, as by a loss of power.
fn cut_off(room: &mut Greenroom) -> (String, String) {
    let (mark, prompt) = room.mark();
    let session = room.api.create("holder", json!({"prompt": prompt}));
    let id = id_of(&session);
    let uid = uid_of(&session);
    room.api.wait_text(&id, "holding");
    let shim = room.shim_pid(&uid, 1);
    room.kill9_server();
    procs::signal(shim, Signal::KILL);
    assert!(procs::wait_gone(shim, PATIENCE));
    for proc in procs::holding(&mark) {
        procs::signal(proc.pid, Signal::KILL);
        assert!(procs::wait_gone(proc.pid, PATIENCE));
    }
    (id, uid)
}

#[test]
fn p1_a_reboot_is_a_proof() {
    let mut room = Greenroom::up().agent("holder", agents::holder()).start();
    let (id, uid) = cut_off(&mut room);
    rewrite_spec(&room, &uid, "boot_id", "00000000-1111-2222-3333-444444444444");
    room.start_server();
    let session = room.api.wait_rest(&id);
    assert_eq!(session["status"], "interrupted", "{session:#}");
    assert_eq!(session["status_reason"], "reboot", "{session:#}");
    assert!(proves(&session["receipt"], "rebooted"), "{session:#}");
    let run = room.api.runs(&id)[0].clone();
    assert_eq!(run["status"], "failed", "{run:#}");
    assert_eq!(run["error"]["code"], "interrupted", "{run:#}");
    let (_, prompt) = room.mark();
    room.api.prompt(&id, &prompt);
    room.api.wait_session(&id, "its return", |s| s["status"] == "running" && s["epoch"] == 2);
    room.api.stop(&id);
    room.api.check(&id);
}

#[test]
fn p1_another_machine_proves_nothing() {
    let mut room = Greenroom::up().agent("holder", agents::holder()).start();
    let (id, uid) = cut_off(&mut room);
    rewrite_spec(&room, &uid, "boot_id", "00000000-1111-2222-3333-444444444444");
    rewrite_spec(&room, &uid, "machine_id", "ffffffffffffffffffffffffffffffff");
    room.start_server();
    let session = room.api.wait_status(&id, "stop_unconfirmed");
    assert!(session["receipt"].is_null(), "{session:#}");
    // A person may vouch for it, and that is what the receipt says.
    let path = format!("/v1/sessions/{id}/abandon");
    room.api.post(&path, json!({"reason": "that disk was moved"})).granted();
    let session = room.api.wait_status(&id, "interrupted");
    assert!(proves(&session["receipt"], "none"), "{session:#}");
}
