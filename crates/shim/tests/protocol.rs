//! Protocol 1, as it was written: `spec`, socket and journal. Shims run for weeks beneath
//! builds that come and go, so these texts are never changed; a later protocol adds its own.

mod common;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};

use common::until;
use greenroom_core::RecordBody;
use greenroom_core::record::Writer;
use greenroom_shim::control::Control;
use greenroom_shim::journal::Reader;
use serde_json::{Value, json};

/// A spec of protocol 1 for a compute in `root`, with something that a later build may add.
fn spec(root: &Path) -> Value {
    json!({
        "protocol": 1, "uid": "01a1feb4-b09d-707c-8334-d47ff54d4b13", "session": "a", "epoch": 1,
        "runner": "01a1feb4-afbd-7230-ad60-fad04bc3a9cc",
        "host": {"machine_id": "m", "boot_id": "b", "pid_namespace": "pid:[1]", "later": 1},
        "driver": {"kind": "command", "command": ["sh", "-c"], "prompt_via": "arg", "stdout": "text",
            "lifecycle": "per_run", "later": {"a": 1}},
        "leftovers": "sweep", "limits": {"run_ms": 60_000},
        "graces": {"cancel_grace_ms": 2000, "grace_ms": 10_000},
        "workspace": root.join("workspace"), "home": root.join("home"),
        "cgroups": {"kill": null, "memory": null, "pids": null},
        "isolation": "none", "later": ["x"],
    })
}

const RUN: &str = "01a1feb4-b09d-707c-8334-d480f1149447";

#[test]
fn a_runner_of_protocol_1_is_understood() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("run");
    for folder in ["run", "workspace", "home"] {
        fs::create_dir(root.path().join(folder)).unwrap();
    }
    fs::write(dir.join("spec"), spec(root.path()).to_string()).unwrap();
    let mut shim = Command::new(env!("CARGO_BIN_EXE_greenroom-shim"))
        .arg(&dir)
        .stdin(Stdio::null())
        .stderr(fs::File::create(root.path().join("shim.log")).unwrap())
        .spawn()
        .unwrap();
    let mut socket = until("the socket", || {
        let log = fs::read_to_string(root.path().join("shim.log")).unwrap();
        assert!(shim.try_wait().unwrap().is_none(), "the shim left: {log}");
        UnixStream::connect(dir.join("sock")).ok()
    });
    let prompt = "echo \"got $WORD\"; sleep 1000";
    for line in [
        json!({"say": "hello", "protocol": 1, "build": "0.1.0"}),
        json!({"say": "teleport", "to": "another machine"}),
        json!({"say": "env", "env": {"PATH": "/usr/bin:/bin", "WORD": "it"}, "later": true}),
        json!({"say": "run", "run": RUN, "input": {"prompt": prompt}}),
    ] {
        writeln!(socket, "{line}").unwrap();
    }
    let mut lines = BufReader::new(socket.try_clone().unwrap()).lines();
    let mut hear = |wanted: &str| loop {
        let said: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
        if said["say"] == wanted {
            return said;
        }
    };
    let hello = hear("hello");
    assert_eq!((&hello["epoch"], &hello["phase"]), (&json!(1), &json!("awaiting_env")), "{hello}");
    assert!(hello["protocol"].as_u64() >= Some(1) && hello["durable"].is_u64(), "{hello}");
    assert!(hello["uid"].is_string() && hello["pid"].is_u64() && hello["build"].is_string());
    let delta = hear("delta");
    assert_eq!(
        (&delta["run"], &delta["part"], &delta["offset"]),
        (&json!(RUN), &json!(0), &json!(0)),
        "{delta}"
    );
    assert!("got it\n".starts_with(delta["text"].as_str().unwrap()), "{delta}");
    let stop = json!({"say": "stop", "stop": {
        "id": "01a1feb4-c0f1-7350-8abc-459d662b3fbb", "reason": "user", "cancel_grace_ms": 2000,
        "grace_ms": 100, "requested_by": ["ann"], "attempt": 0,
    }});
    writeln!(socket, "{stop}").unwrap();
    let closed = hear("closed");
    let receipt = &closed["receipt"];
    assert_eq!((&receipt["reason"], &receipt["survivors"]), (&json!("user"), &json!(0)));
    assert_eq!(receipt["requested_by"], json!(["ann"]), "{receipt}");
    until("the shim's end", || shim.try_wait().unwrap());
    let record: Value = serde_json::from_slice(&fs::read(dir.join("closed")).unwrap()).unwrap();
    assert_eq!(&record, receipt);
}

/// What a shim of protocol 1 leaves, from first to last.
fn journal() -> Vec<Value> {
    let receipt = json!({
        "epoch": 1, "reason": "done", "requested_at": "2026-11-21T15:24:22.198977647Z",
        "steps": [
            {"after_ms": 0, "action": "seen", "detail": "the agent ended by itself"},
            {"after_ms": 0, "action": "leader_exited", "detail": "exited with code 0"},
            {"after_ms": 0, "action": "proven", "detail": ""},
        ],
        "duration_ms": 0, "processes_seen": 1, "survivors": 0,
        "proof": [{"means": "no_child_left", "result": "waitpid(-1) in the subreaper: ECHILD"}],
        "scope": "processes of this compute", "isolation": "none", "exit": {"code": 0},
        "leftovers": 0, "requested_by": [],
        "last_run": {"run": RUN, "outcome": {"status": "completed"}},
    });
    vec![
        json!({"is": "ready"}),
        json!({"is": "run_started", "run": RUN}),
        json!({"is": "output", "run": RUN, "kind": "log", "data": {"stream": "stderr", "text": "no\n"}}),
        json!({"is": "output", "run": RUN, "kind": "message",
            "data": {"from": 0, "part": 0, "role": "agent", "text": "hi\n", "to": 3}}),
        json!({"is": "run_ended", "run": RUN, "outcome": {"status": "completed"}}),
        json!({"is": "closing", "reason": "done"}),
        json!({"is": "receipt", "receipt": receipt}),
    ]
}

#[test]
fn a_journal_of_protocol_1_is_read_whole() {
    let root = tempfile::tempdir().unwrap();
    let mut bytes = Vec::new();
    for (at, body) in journal().iter().enumerate() {
        let entry =
            json!({"v": 1, "index": at + 1, "at": "2026-11-21T15:24:21.857925059Z", "body": body});
        let payload = entry.to_string().into_bytes();
        let length = (payload.len() as u32).to_le_bytes();
        let sum = crc32c::crc32c_append(crc32c::crc32c(&length), &payload);
        bytes.extend_from_slice(&length);
        bytes.extend_from_slice(&sum.to_le_bytes());
        bytes.extend_from_slice(&payload);
    }
    fs::write(root.path().join("journal.shim.00000000000000000001"), bytes).unwrap();
    let mut reader = Reader::open(root.path(), Writer::Shim, 1);
    for (at, written) in journal().into_iter().enumerate() {
        let entry = reader.next().unwrap().unwrap();
        assert_eq!(entry.index, at as u64 + 1);
        assert_ne!(entry.body, RecordBody::Unknown, "{written}");
        assert_eq!(serde_json::to_value(&entry.body).unwrap(), written, "nothing is lost of it");
    }
    assert_eq!(reader.next().unwrap(), None);
    // The receipt alone, as the file `closed` has it.
    let receipt = journal().pop().unwrap()["receipt"].to_string();
    fs::write(root.path().join("closed"), receipt).unwrap();
    let closed = Control::new(root.path()).read_closed().unwrap().unwrap();
    assert_eq!(closed.survivors, 0);
}
