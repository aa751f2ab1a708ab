//! The command line, as people and scripts see it.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use greenroom_tests::session::id_of;
use greenroom_tests::{Greenroom, PATIENCE, agents, json, procs};

fn room() -> Greenroom {
    Greenroom::up()
        .agent("echo", agents::echo())
        .agent("holder", agents::holder())
        .agent("stubborn", agents::stubborn())
        .agent("fails", agents::sh("echo no >&2; exit 3", &[]))
        .start()
}

#[test]
fn p1_stop_says_what_it_did() {
    let room = room();
    let (_, prompt) = room.mark();
    room.api.create("holder", json!({"id": "one", "prompt": prompt}));
    room.api.wait_text("one", "holding");
    let ran = room.cli(&["sessions", "stop", "one"]).exits(0);
    let line = ran
        .out
        .lines()
        .chain(ran.err.lines())
        .find(|l| l.contains("stopped"))
        .unwrap_or_default()
        .to_owned();
    assert!(line.starts_with("Session \"one\" stopped for agent \"holder\" ("), "{line:?}");
    assert!(
        line.contains(" processes, 0 survivors, ") || line.contains(" process, 0 survivors, "),
        "{line:?}"
    );
    assert!(line.ends_with(" ms).") || line.ends_with(" s)."), "{line:?}");
    room.cli(&["sessions", "stop", "one"])
        .exits(0)
        .says("Session \"one\" is already stopped for agent \"holder\".");
    let ran = room.cli(&["sessions", "stop", "nope"]).exits(1);
    assert!(
        ran.err.contains("error: session \"nope\" not found or has been deleted"),
        "{}",
        ran.err
    );
    assert!(ran.err.contains("hint:") && ran.err.contains("greenroom sessions ls"), "{}", ran.err);
    assert!(ran.out.is_empty(), "stdout is data: {}", ran.out);
    let ran = room.cli(&["sessions", "stop", "one", "-n", "echo"]).exits(1);
    assert!(ran.err.contains("holder"), "{}", ran.err);
    room.cli(&["sessions", "show", "one"]).exits(0).says("stopped");
}

#[test]
fn p1_stop_all_by_label_and_discard() {
    let room = room();
    let mut marks = Vec::new();
    for (id, team) in [("a", "blue"), ("b", "blue"), ("c", "red")] {
        let (mark, prompt) = room.mark();
        room.api.create("stubborn", json!({"id": id, "prompt": prompt, "labels": {"team": team}}));
        room.api.wait_text(id, "holding");
        marks.push(mark);
    }
    room.api.prompt("a", "later");
    room.cli(&[
        "sessions",
        "stop",
        "--all",
        "--label",
        "team=blue",
        "--grace",
        "200ms",
        "--discard-queue",
        "--reason",
        "tea",
    ])
    .exits(0);
    assert!(procs::holding(&marks[0]).is_empty() && procs::holding(&marks[1]).is_empty());
    assert_eq!(procs::holding(&marks[2]).len(), 1);
    assert_eq!(room.api.session("a")["pending"]["runs"], 0);
    let ran = room.cli(&["sessions", "stop", "c", "--grace", "0s", "--no-wait"]);
    assert!(matches!(ran.code, Some(0)), "{ran:?}");
    room.api.wait_status("c", "stopped");
}

#[test]
fn p1_exit_codes() {
    let room = room();
    assert_eq!(room.cli(&["run", "echo", "hello"]).exits(0).out, "hello");
    assert_eq!(room.cli_in(&["run", "echo", "-"], "from a pipe").exits(0).out, "from a pipe");
    room.cli(&["run", "fails", "x"]).exits(1);
    room.cli(&["sessions", "frobnicate"]).exits(2);
    room.cli(&["sessions", "stop", "x", "--grace", "soon"]).exits(2);
    room.cli(&["run", "no-such-agent", "x"]).exits(1);

    // 3: the run was stopped.
    let (_, prompt) = room.mark();
    let mut command = room.command();
    command.args(["run", "holder", &prompt, "--id", "three", "--data"]).arg(&room.data);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("a pipe")).read_line(&mut line).expect("a line");
    assert_eq!(line, "holding\n", "it comes as it is said");
    room.api.stop("three");
    assert!(procs::wait_gone(child.id() as i32, PATIENCE));
    assert_eq!(child.wait().expect("its status").code(), Some(3));

    // 5: no coordinator. With several ids, the highest.
    room.cli(&["sessions", "stop", "three", "nope"]).exits(1);
    let ran =
        room.bare_cli(&["sessions", "ls", "--url", "http://127.0.0.1:9", "--token", "x"]).exits(5);
    assert!(ran.err.contains("error:") && ran.err.contains("hint:"), "{}", ran.err);
    room.bare_cli(&[
        "sessions",
        "ls",
        "--url",
        &format!("http://{}", room.api.host),
        "--token",
        "wrong",
    ])
    .exits(1);
}

#[test]
fn p1_exit_code_4_is_not_proven_in_time() {
    let mut room = Greenroom::serve().agent("holder", agents::holder()).runner("one").start();
    let (mark, prompt) = room.mark();
    let id = room.api.begin("holder", &prompt);
    room.api.wait_text(&id, "holding");
    room.kill9_runner("one");
    let ran = room.cli(&["sessions", "stop", &id, "--grace", "0s"]).exits(4);
    assert!(!ran.out.contains("0 survivors") && !ran.err.contains("0 survivors"), "{ran:?}");
    assert_eq!(procs::holding(&mark).len(), 1);
}

#[test]
fn p3_json_output_is_the_apis() {
    let room = room();
    let id = room.api.begin("echo", "hello");
    room.api.wait_status(&id, "finished");
    let shown = room.cli(&["sessions", "show", &id, "--output", "json"]).exits(0).json();
    assert_eq!(shown, room.api.session(&id));
    let list = room.cli(&["sessions", "ls", "--output", "json"]).exits(0).json();
    assert_eq!(list["items"][0]["id"], id.as_str());
    let lines = room.cli(&["sessions", "ls", "--output", "jsonl"]).exits(0);
    assert_eq!(lines.out.lines().count(), 1);
    let runs = room.cli(&["runs", "ls", &id, "--output", "json"]).exits(0).json();
    assert_eq!(runs["items"][0]["status"], "completed");
    let run = runs["items"][0]["id"].as_str().expect("a run").to_owned();
    assert_eq!(
        room.cli(&["runs", "show", &run, "--output", "json"]).exits(0).json(),
        room.api.run(&json!(run))
    );
    let events = room.cli(&["sessions", "logs", &id, "--output", "jsonl"]).exits(0);
    let events: Vec<greenroom_tests::Value> =
        events.out.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(events, room.api.log(&id));
    for args in [["agents", "ls"], ["runners", "ls"], ["token", "ls"]] {
        let ran = room.cli(&[args[0], args[1], "--output", "json"]).exits(0).json();
        assert!(ran["items"].is_array(), "{ran}");
    }
    let two = room.cli(&["sessions", "show", &id, &id, "--output", "json"]).exits(0);
    assert_eq!(two.json()["items"].as_array().map(Vec::len), Some(2));
}

#[test]
fn p3_no_colour_no_spinner_and_a_closed_pipe() {
    let room = room();
    let id = room.api.begin("echo", "hello");
    room.api.wait_status(&id, "finished");
    for args in [
        &["sessions", "ls"][..],
        &["sessions", "show", &id],
        &["agents", "ls"],
        &["runners", "ls"],
        &["doctor"],
    ] {
        let ran = room.cli(args);
        assert!(!ran.out.contains('\u{1b}') && !ran.err.contains('\u{1b}'), "{args:?}: {ran:?}");
        assert!(!ran.out.is_empty(), "{args:?}: {ran:?}");
    }
    for n in 0..200 {
        room.api.create("echo", json!({"title": format!("{n} {}", "long ".repeat(90))}));
    }
    let mut command = room.command();
    command.args(["sessions", "ls", "--output", "json", "--data"]).arg(&room.data);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it starts");
    drop(child.stdout.take());
    assert!(procs::wait_gone(child.id() as i32, PATIENCE));
    let output = child.wait_with_output().expect("its end");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!said.contains("panicked") && !said.contains("error"), "{said}");
}

#[test]
fn p3_a_whole_life_by_hand() {
    let room = room();
    let id = id_of(
        &room
            .cli(&[
                "sessions", "create", "echo", "--id", "by-hand", "--title", "T", "--label", "a=b",
                "--output", "json",
            ])
            .exits(0)
            .json(),
    );
    assert_eq!(id, "by-hand");
    room.cli(&["sessions", "send", &id, "one"]).exits(0);
    room.api.wait_status(&id, "finished");
    room.cli(&["sessions", "logs", &id]).exits(0).says("one");
    let detached = room.cli(&["run", "echo", "two", "--detach"]).exits(0);
    let other = detached.out.trim().to_owned();
    room.api.wait_status(&other, "finished");
    room.cli(&["sessions", "resume", &id]).exits(1).says("hint:");
    room.cli(&["sessions", "delete", &id, &other]).exits(0);
    room.cli(&["sessions", "show", &id]).exits(1);
    for args in [
        &["completions", "bash"][..],
        &["completions", "zsh"],
        &["completions", "fish"],
        &["--help"],
        &["--version"],
    ] {
        assert!(!room.bare_cli(args).exits(0).out.is_empty(), "{args:?}");
    }
}

#[test]
fn p1_port_0_says_the_real_port_and_one_line() {
    let root = std::path::PathBuf::from(format!("/tmp/gp-{}", uuid::Uuid::now_v7().simple()));
    std::fs::create_dir(&root).expect("a folder");
    let mut command = std::process::Command::new(greenroom_tests::binary());
    command
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("HOME", &root)
        .env("XDG_DATA_HOME", root.join("xdg"));
    command
        .args(["up", "--listen", "127.0.0.1:0"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let mut child = command.spawn().expect("it starts");
    let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    let line = lines.next().expect("a line").expect("text");
    let host = line.strip_prefix("greenroom is up at http://").expect("the ready line").to_owned();
    let port: u16 = host.rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
    assert_ne!(port, 0);
    assert!(root.join("xdg/greenroom/token").exists(), "the default data folder");
    // A second server on the same folder says so; the CLI finds the first by itself.
    let call = |args: &[&str]| {
        let mut command = std::process::Command::new(greenroom_tests::binary());
        command
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("HOME", &root)
            .env("XDG_DATA_HOME", root.join("xdg"));
        command.args(args);
        greenroom_tests::cli::run(command, "")
    };
    let second = call(&["up", "--listen", "127.0.0.1:0"]).exits(1);
    assert!(second.err.contains("hint:"), "{}", second.err);
    call(&["sessions", "ls"]).exits(0);
    call(&["doctor"]).exits(0).says(&host);
    call(&["down", "--agents"]).exits(0);
    assert!(procs::wait_gone(child.id() as i32, PATIENCE));
    child.wait().expect("its status");
    assert_eq!(lines.count(), 0, "one line and no more");
    let _ = std::fs::remove_dir_all(root);
}

/// What is not named stays as it is, also of the labels.
#[test]
fn p3_sessions_are_updated_by_hand() {
    let room = room();
    let body = json!({ "id": "one", "title": "old", "labels": { "team": "blue", "week": "7" } });
    room.api.create("echo", body);
    let update = |flags: &[&str]| room.cli(&[&["sessions", "update", "one"], flags].concat());
    update(&[
        "--title",
        "new",
        "--label",
        "team=red",
        "--remove-label",
        "week",
        "--limit",
        "run=1h",
    ])
    .exits(0)
    .says("Session \"one\" is updated.");
    let session = room.api.session("one");
    assert_eq!(session["title"], "new", "{session:#}");
    assert_eq!(session["labels"], json!({ "team": "red" }));
    assert_eq!(session["limits"]["run_ms"], 3_600_000);
    update(&["--shared", "true"]).exits(0);
    let session = room.api.session("one");
    assert_eq!((&session["shared"], &session["title"]), (&json!(true), &json!("new")));
    let ran = update(&[]).exits(2);
    assert!(ran.err.contains("error: there is nothing to change"), "{}", ran.err);
    let ran = update(&["--headless"]).exits(1);
    assert!(ran.err.contains("agent echo has driver command, which asks nobody"), "{}", ran.err);
}
