//! The binary against a coordinator that says what a test wants: what is printed where, and
//! with which exit code.

#[path = "../../client/tests/fake/mod.rs"]
mod fake;

use std::io::Write;
use std::process::{Command, Stdio};

use fake::{Fake, Reply, Request};
use serde_json::{Value, json};

const RUN: &str = "00000000-0000-0000-0000-000000000001";

/// What a command did.
#[derive(Debug, PartialEq, Eq)]
struct Ran {
    code: Option<i32>,
    out: String,
    err: String,
}

fn greenroom(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_greenroom"));
    command.args(args).env_clear().env("HOME", "/nonexistent").stdin(Stdio::null());
    command
}

fn ran(mut command: Command) -> Ran {
    let output = command.output().expect("the binary starts");
    Ran {
        code: output.status.code(),
        out: String::from_utf8(output.stdout).expect("text"),
        err: String::from_utf8(output.stderr).expect("text"),
    }
}

/// Runs a command against a fake coordinator.
fn against(fake: &Fake, args: &[&str]) -> Ran {
    let mut command = greenroom(args);
    command.env("GREENROOM_URL", &fake.url).env("GREENROOM_TOKEN", "grt_x");
    ran(command)
}

fn session(id: &str, agent: &str) -> Value {
    json!({
        "id": id, "uid": RUN, "owner": "ann", "shared": false,
        "agent": {"name": agent, "version": 1, "source": "s", "digest": "d"},
        "title": null, "labels": {}, "status": "running", "status_reason": null, "wanted": "up",
        "hold": false, "epoch": 1, "runner_id": null, "parent_id": null, "run_id": RUN,
        "run_status": "running", "last_seq": 3, "version": 1, "pending": {"runs": 0, "approvals": 0},
        "usage": {"input_tokens": 0, "output_tokens": 0, "cost_usd": 0.0}, "limits": {},
        "created_at": "2020-01-01T00:00:00Z", "updated_at": "2020-01-01T00:00:00Z",
        "last_active_at": "2020-01-01T00:00:00Z", "expires_at": null, "receipt": null,
    })
}

fn receipt() -> Value {
    json!({
        "epoch": 1, "reason": "user", "requested_at": "2020-01-01T00:00:00Z", "steps": [],
        "duration_ms": 412, "processes_seen": 7, "survivors": 0,
        "proof": [{"means": "no_child_left", "result": "ECHILD"}], "scope": "s",
        "isolation": "none", "leftovers": 0,
    })
}

fn stopped(id: &str, status: &str, already: bool) -> Value {
    let receipt = if status == "stopped" { receipt() } else { Value::Null };
    json!({"session_id": id, "run_id": null, "status": status, "already_stopped": already, "receipt": receipt})
}

/// The session's name in a request for a session or what is beneath it.
fn name(request: &Request) -> String {
    let path = request.line.split(' ').nth(1).unwrap_or_default();
    let path = path.split('?').next().unwrap_or_default();
    let name = path.split('/').nth(3).unwrap_or_default();
    percent_encoding::percent_decode_str(name).decode_utf8_lossy().into_owned()
}

/// A coordinator whose sessions are named after what their stop comes to.
fn stops() -> Fake {
    Fake::start(|request, _| {
        let id = name(request);
        if id == "gone" {
            return Reply::no_session(&id);
        }
        // No session has such a name; what it is asked by is what counts.
        let id = if id.contains('/') { "odd".to_owned() } else { id };
        if !request.line.contains("/stop") {
            return Reply::ok(session(&id, "A"));
        }
        match id.as_str() {
            "again" => Reply::ok(stopped(&id, "stopped", true)),
            "lost" => Reply::Json(202, stopped(&id, "stop_unconfirmed", false).to_string()),
            "slow" => Reply::Json(202, stopped(&id, "stopping", false).to_string()),
            _ => Reply::ok(stopped(&id, "stopped", false)),
        }
    })
}

#[test]
fn a_stop_says_what_it_came_to() {
    let fake = stops();
    let done = against(&fake, &["sessions", "stop", "X"]);
    assert_eq!(
        done.out,
        "Session \"X\" stopped for agent \"A\" (7 processes, 0 survivors, 412 ms).\n"
    );
    assert_eq!((done.code, done.err.as_str()), (Some(0), ""));
    let again = against(&fake, &["sessions", "stop", "again"]);
    assert_eq!(again.out, "Session \"again\" is already stopped for agent \"A\".\n");
    assert_eq!(again.code, Some(0));
    let gone = against(&fake, &["sessions", "stop", "gone"]);
    assert_eq!(
        gone.err,
        "error: session \"gone\" not found or has been deleted\nhint: greenroom sessions ls\n"
    );
    assert_eq!((gone.code, gone.out.as_str()), (Some(1), ""));
    let lost = against(&fake, &["sessions", "stop", "lost"]);
    assert_eq!((lost.code, lost.out.as_str()), (Some(4), ""));
    assert!(lost.err.starts_with("error: ") && lost.err.contains("\nhint: "), "{}", lost.err);
    let slow = against(&fake, &["sessions", "stop", "slow", "--no-wait"]);
    assert_eq!(slow.out, "Session \"slow\" is stopping for agent \"A\".\n");
    assert_eq!(slow.code, Some(0));
}

#[test]
fn several_stops_end_with_the_highest_code() {
    let fake = stops();
    let all = against(&fake, &["sessions", "stop", "a", "gone", "lost", "again"]);
    assert_eq!(all.code, Some(4));
    assert_eq!(all.out.lines().count(), 2);
    let json = against(&fake, &["sessions", "stop", "a", "again", "--output", "json"]);
    let json: Value = serde_json::from_str(&json.out).expect("JSON");
    assert_eq!(json["items"][0]["session_id"], "a");
    assert_eq!(json["items"][1]["already_stopped"], true);
    let one = against(&fake, &["sessions", "stop", "a", "-o", "json"]);
    assert_eq!(one.out.trim_end(), stopped("a", "stopped", false).to_string(), "exactly the API's");
}

#[test]
fn a_stop_sends_what_was_said() {
    let fake = stops();
    let args = [
        "sessions",
        "stop",
        "a/b c:d%e",
        "--grace",
        "1500ms",
        "--reason",
        "R",
        "--tree",
        "--discard-queue",
    ];
    assert_eq!(against(&fake, &args).code, Some(0));
    let asked = fake.asked();
    let stop = asked.iter().find(|request| request.line.starts_with("POST")).expect("a stop");
    assert_eq!(stop.line, "POST /v1/sessions/a%2Fb%20c%3Ad%25e/stop?wait=36500ms");
    let body: Value = serde_json::from_str(&stop.body).expect("JSON");
    assert_eq!(body, json!({"grace_ms": 1500, "reason": "R", "discard_queue": true, "tree": true}));
    assert_eq!(stop.header("authorization"), Some("Bearer grt_x"));
}

#[test]
fn another_agents_session_is_refused_before_anything_happens() {
    let fake = stops();
    for args in [&["sessions", "stop", "x", "-n", "B"][..], &["sessions", "-n", "B", "delete", "x"]]
    {
        let refused = against(&fake, args);
        assert_eq!(refused.code, Some(1));
        assert!(refused.err.contains("belongs to agent \"A\", not to \"B\""), "{}", refused.err);
    }
    assert!(fake.lines().iter().all(|line| line.starts_with("GET")), "{:?}", fake.lines());
    assert_eq!(against(&fake, &["sessions", "stop", "x", "-n", "A"]).code, Some(0));
}

#[test]
fn all_stops_are_those_of_live_sessions() {
    let fake = Fake::start(|request, _| match request.line.starts_with("GET /v1/sessions?") {
        true => {
            Reply::ok(json!({"items": [session("p", "A"), session("q", "A")], "next_cursor": null}))
        }
        false if request.line.starts_with("POST") => {
            Reply::ok(stopped(&name(request), "stopped", false))
        }
        false => Reply::ok(session(&name(request), "A")),
    });
    let all = against(&fake, &["sessions", "stop", "--all", "--label", "team=a b"]);
    assert_eq!((all.code, all.out.lines().count()), (Some(0), 2));
    let list = &fake.lines()[0];
    assert!(list.contains("label=team%3Da%20b") && list.contains("running"), "{list}");
    assert!(!list.contains("finished"), "{list}");
    let both = against(&fake, &["sessions", "stop", "x", "--all"]);
    assert_eq!(both.code, Some(2));
}

#[test]
fn nobody_there_is_5_and_a_wrong_line_is_2() {
    let closed = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", closed.local_addr().expect("an address"));
    drop(closed);
    let nobody = ran(greenroom(&["sessions", "ls", "--url", &url]));
    assert_eq!((nobody.code, nobody.out.as_str()), (Some(5), ""));
    assert!(nobody.err.starts_with("error: no coordinator answers at "), "{}", nobody.err);
    assert!(nobody.err.contains("\nhint: "), "{}", nobody.err);
    for wrong in [
        &["sessions", "frob"][..],
        &["sessions", "stop"],
        &["run"],
        &["sessions", "stop", "x", "--grace", "5"],
        &["--url", "x", "agents", "ls"],
    ] {
        assert_eq!(ran(greenroom(wrong)).code, Some(2), "{wrong:?}");
    }
}

/// The log of a run, as a stream.
fn course(end: &str, data: Value) -> String {
    let event = |seq: u64, kind: &str, data: Value| {
        let json = json!({"seq": seq, "at": "2020-01-01T00:00:00Z", "run": RUN, "type": kind, "data": data});
        format!("id: {seq}\nevent: {kind}\ndata: {json}\n\n")
    };
    let delta = |offset: u64, text: &str| {
        let json = json!({"run": RUN, "part": 0, "offset": offset, "text": text});
        format!("event: delta\ndata: {json}\n\n")
    };
    let message = |seq: u64, from: usize, text: &str| {
        let data = json!({"role": "agent", "text": text, "part": 0, "from": from, "to": from + text.len()});
        event(seq, "message", data)
    };
    [
        event(1, "run.queued", json!({"prompt": "p"})),
        event(2, "run.started", json!({})),
        delta(0, "hel"),
        delta(3, "lo\n"),
        event(3, "log", json!({"stream": "stderr", "text": "careful\n"})),
        message(4, 0, "hello\n"),
        delta(9, "lost before it"),
        message(5, 6, "you\n"),
        event(6, end, data),
    ]
    .concat()
}

fn runs(end: &'static str, data: Value) -> Fake {
    Fake::start(move |request, _| match request.line.split(' ').next() {
        Some("POST") => Reply::Json(201, session("s-1", "A").to_string()),
        _ if request.line.contains("/events") => Reply::Events(course(end, data.clone())),
        _ => Reply::no_session("s-1"),
    })
}

#[test]
fn a_run_is_shown_once_and_ends_as_it_ended() {
    let fake = runs("run.completed", json!({}));
    let done = against(&fake, &["run", "A", "do it", "--id", "s-1", "--label", "k=v"]);
    assert_eq!((done.code, done.out.as_str()), (Some(0), "hello\nyou\n"));
    assert_eq!(done.err, "session s-1\ncareful\n");
    let body: Value = serde_json::from_str(&fake.asked()[0].body).expect("JSON");
    assert_eq!(body, json!({"agent": "A", "id": "s-1", "labels": {"k": "v"}, "prompt": "do it"}));
    assert!(fake.asked()[0].header("idempotency-key").is_some());

    let failed =
        runs("run.failed", json!({"error": {"code": "exit", "message": "sh exited with code 7"}}));
    let failed = against(&failed, &["run", "A", "x", "--quiet"]);
    assert_eq!((failed.code, failed.out.as_str()), (Some(1), "hello\nyou\n"));
    assert!(
        failed.err.starts_with("error: the run failed: sh exited with code 7\nhint: "),
        "{}",
        failed.err
    );

    let stopped = against(&runs("run.stopped", json!({})), &["run", "A", "x"]);
    assert_eq!(stopped.code, Some(3));
}

#[test]
fn a_run_that_nothing_will_start_is_a_failure_with_a_hint() {
    let event = |seq: u64, kind: &str, run: Value, data: Value| {
        let json = json!({"seq": seq, "at": "2020-01-01T00:00:00Z", "run": run, "type": kind, "data": data});
        format!("id: {seq}\nevent: {kind}\ndata: {json}\n\n")
    };
    let log = [
        event(1, "run.queued", json!(RUN), json!({})),
        event(2, "run.dispatched", json!(RUN), json!({})),
        event(
            3,
            "session.failed",
            Value::Null,
            json!({"receipt": {"reason": "start_error", "detail": "no such program"}}),
        ),
        event(4, "run.requeued", json!(RUN), json!({})),
        event(5, "session.held", Value::Null, json!({"why": "failure"})),
    ]
    .concat();
    let fake = Fake::start(move |request, _| match request.line.starts_with("POST") {
        true => Reply::Json(201, session("s-1", "A").to_string()),
        false => Reply::Events(log.clone()),
    });
    let held = against(&fake, &["run", "A", "x"]);
    assert_eq!(held.code, Some(1));
    assert!(held.err.contains("start_error: no such program"), "{}", held.err);
    assert!(held.err.contains("hint: greenroom sessions resume s-1"), "{}", held.err);
}

#[test]
fn a_detached_run_prints_its_session() {
    let fake = runs("run.completed", json!({}));
    let text = against(&fake, &["run", "A", "x", "--detach"]);
    assert_eq!((text.code, text.out.as_str(), text.err.as_str()), (Some(0), "s-1\n", ""));
    let json = against(&fake, &["run", "A", "x", "--detach", "--output", "json"]);
    assert_eq!(json.out.trim_end(), session("s-1", "A").to_string());
}

#[test]
fn a_prompt_may_come_from_a_pipe() {
    let fake = runs("run.completed", json!({}));
    let mut command = greenroom(&["run", "A", "-"]);
    command
        .env("GREENROOM_URL", &fake.url)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let mut child = command.spawn().expect("the binary starts");
    child.stdin.take().expect("a pipe").write_all(b"two\nlines\n").expect("taken");
    assert!(child.wait().expect("its end").success());
    let body: Value = serde_json::from_str(&fake.asked()[0].body).expect("JSON");
    assert_eq!(body["prompt"], "two\nlines\n");
}

#[test]
fn lists_and_logs_in_every_form() {
    let fake = Fake::start(|request, _| match request.line.contains("/events") {
        true => {
            let event = |seq: u64| {
                let data = json!({"text": format!("line {seq}\n"), "part": 0, "from": seq * 7 - 7, "to": seq * 7});
                json!({"seq": seq, "at": "2020-01-01T00:00:00Z", "run": RUN, "type": "message", "data": data})
            };
            match request.line.contains("from=1&") {
                true => Reply::ok(json!({"items": [event(1), event(2)], "next_cursor": "3"})),
                false => Reply::ok(json!({"items": [event(3)], "next_cursor": null})),
            }
        }
        false => {
            Reply::ok(json!({"items": [session("x", "A"), session("y", "A")], "next_cursor": null}))
        }
    });
    let table = against(&fake, &["sessions", "ls"]);
    assert!(table.out.starts_with("ID  STATUS   AGENT"), "{}", table.out);
    assert!(!table.out.contains('\u{1b}'), "no colours in a pipe");
    assert_eq!(against(&fake, &["sessions", "ls", "-q"]).out, "x\ny\n");
    let json: Value =
        serde_json::from_str(&against(&fake, &["sessions", "ls", "-o", "json"]).out).expect("JSON");
    assert_eq!(json, json!({"items": [session("x", "A"), session("y", "A")], "next_cursor": null}));
    let jsonl = against(&fake, &["sessions", "ls", "-o", "jsonl"]);
    assert_eq!(jsonl.out.lines().count(), 2);
    assert_eq!(against(&fake, &["sessions", "logs", "x"]).out, "line 1\nline 2\nline 3\n");
    let entries = against(&fake, &["sessions", "logs", "x", "--events"]).out;
    assert_eq!(entries.lines().count(), 3);
    let log: Value =
        serde_json::from_str(&against(&fake, &["sessions", "logs", "x", "-o", "json"]).out)
            .expect("JSON");
    assert_eq!(log["items"].as_array().map(Vec::len), Some(3));
    assert_eq!(log["next_cursor"], Value::Null);
}

#[test]
fn a_closed_pipe_ends_quietly() {
    let many: Vec<Value> = (0..500).map(|n| session(&format!("s{n}"), "A")).collect();
    let fake = Fake::start(move |_, _| Reply::ok(json!({"items": many, "next_cursor": null})));
    let mut command = greenroom(&["sessions", "ls", "-o", "jsonl", "--url", &fake.url]);
    let mut child =
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("the binary starts");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("its end");
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

#[test]
fn a_token_comes_from_the_named_folder() {
    let fake = stops();
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("token"), "grt_of_folder\n").expect("written");
    let place = folder.path().to_string_lossy().into_owned();
    let done = ran(greenroom(&["sessions", "show", "x", "--url", &fake.url, "--data", &place]));
    assert_eq!(done.code, Some(0), "{}", done.err);
    assert_eq!(fake.asked()[0].header("authorization"), Some("Bearer grt_of_folder"));
    let none = ran(greenroom(&["sessions", "show", "x", "--url", &fake.url]));
    assert_eq!(none.code, Some(0), "{}", none.err);
    assert_eq!(fake.asked()[1].header("authorization"), None);
}

#[test]
fn folders_without_a_server_need_none() {
    let folder = tempfile::tempdir().expect("a folder");
    let place = folder.path().join("data").to_string_lossy().into_owned();
    let down = ran(greenroom(&["down", "--data", &place]));
    assert_eq!((down.code, down.out.as_str()), (Some(0), ""));
    let local = ran(greenroom(&["local", "ls", "--data", &place, "-o", "json"]));
    assert_eq!((local.code, local.out.as_str()), (Some(0), "{\"items\":[]}\n"));
    let made = ran(greenroom(&[
        "token",
        "create",
        "--role",
        "operator",
        "--principal",
        "ann",
        "--data",
        &place,
    ]));
    assert_eq!(made.code, Some(0), "{}", made.err);
    assert!(made.out.starts_with("grt_"), "{}", made.out);
    let list = ran(greenroom(&["token", "ls", "--data", &place, "-o", "json"]));
    let list: Value = serde_json::from_str(&list.out).expect("JSON");
    assert_eq!(list["items"][0]["principal"], "ann");
    let id = list["items"][0]["id"].as_str().expect("an id").to_owned();
    assert_eq!(ran(greenroom(&["token", "revoke", &id, "--data", &place])).code, Some(0));
    assert_eq!(ran(greenroom(&["token", "revoke", &id, "--data", &place])).code, Some(1));
    let backup = folder.path().join("copy.db").to_string_lossy().into_owned();
    let copied = ran(greenroom(&["admin", "backup", &backup, "--data", &place]));
    assert_eq!(copied.code, Some(0), "{}", copied.err);
    assert_eq!(ran(greenroom(&["admin", "backup", &backup, "--data", &place])).code, Some(1));
    let restored = ran(greenroom(&["admin", "restore", &backup, "--data", &place]));
    assert_eq!(restored.code, Some(0), "{}", restored.err);
    assert_eq!(ran(greenroom(&["token", "ls", "--data", &place])).out, "No tokens.\n");
}

#[test]
fn completions_and_versions_need_nothing() {
    for shell in ["bash", "zsh", "fish"] {
        let script = ran(greenroom(&["completions", shell]));
        assert_eq!(script.code, Some(0));
        assert!(script.out.contains("greenroom"), "{shell}");
    }
    assert!(ran(greenroom(&["--version"])).out.starts_with("greenroom "));
}
