//! P7: a session remembers its agent. Agent files as they are written, changed, broken, lost.

use std::fs;
use std::path::Path;

use greenroom_tests::{Greenroom, Value, agents, json};

fn says(word: &str) -> Value {
    agents::sh(&format!("echo {word}"), &[])
}

#[test]
fn p7_a_changed_file_is_served_and_sessions_follow_unless_they_are_pinned() {
    let room = Greenroom::up().agent("one", says("first")).start();
    let before = room.api.get("/v1/agents/one").expect(200);
    assert_eq!(before["version"], 1, "{before:#}");
    let old = room.api.begin("one", "go");
    room.api.wait_status(&old, "finished");
    let pinned = room.api.create("one", json!({"prompt": "go", "agent_policy": "pin"}));
    let pinned = pinned["id"].as_str().expect("an id").to_owned();
    room.api.wait_status(&pinned, "finished");

    room.write_agent("one", says("second"));
    let after = room.wait_agent("one", |agent| agent["version"] == 2);
    assert_ne!(before["digest"], after["digest"]);
    let fresh = room.api.begin("one", "go");
    room.api.wait_status(&fresh, "finished");
    assert_eq!(room.api.said(&fresh), "second\n");
    assert_eq!(room.api.session(&fresh)["agent"]["version"], 2);

    let run = room.api.prompt(&pinned, "again");
    room.api.wait_run(&pinned, &run["id"]);
    assert_eq!(room.api.said(&pinned), "first\nfirst\n", "its own description");
    let session = room.api.session(&pinned);
    assert_eq!(session["agent"]["version"], 1);
    assert_eq!(session["agent"]["digest"], before["digest"]);
    assert_eq!(session["agent_policy"], "pin");
    assert_eq!(room.api.events(&pinned, "session.agent_changed").len(), 0);

    assert_eq!(room.api.session(&old)["agent"]["version"], 1, "until it is asked");
    let run = room.api.prompt(&old, "again");
    room.api.wait_run(&old, &run["id"]);
    assert_eq!(room.api.said(&old), "first\nsecond\n");
    let session = room.api.session(&old);
    assert_eq!(
        (&session["agent"]["version"], &session["agent_policy"]),
        (&json!(2), &json!("follow"))
    );
    let changed = room.api.events(&old, "session.agent_changed");
    assert_eq!(changed.len(), 1);
    let data = &changed[0]["data"];
    assert_eq!(data["class"], "content");
    assert_eq!((&data["from"]["version"], &data["to"]["version"]), (&json!(1), &json!(2)));
    let diff = data["diff"].to_string();
    assert!(diff.contains("/driver/command/2") && diff.contains("echo second"), "{diff}");
}

#[test]
fn p7_a_session_outlives_its_agents_file() {
    let mut room =
        Greenroom::up().agent("one", says("still here")).agent("two", says("two")).start();
    let id = room.api.begin("one", "go");
    room.api.wait_status(&id, "finished");
    fs::remove_file(room.agent_file("one")).expect("removed");
    room.kill9_and_restart();
    let run = room.api.prompt(&id, "again");
    let run = room.api.wait_run(&id, &run["id"]);
    assert_eq!(run["status"], "completed", "{run:#}");
    assert_eq!(room.api.said(&id), "still here\nstill here\n");
    let agent = room.api.get("/v1/agents/one").expect(200);
    assert_eq!(agent["health"], "missing", "it is said: {agent:#}");
    room.api.get("/v1/agents/two").expect(200);
}

#[test]
fn p7_a_new_file_is_served_and_a_broken_one_keeps_the_last_good() {
    let room = Greenroom::up().start();
    room.write_agent("late", says("late"));
    let agent = room.wait_agent("late", |_| true);
    assert_eq!(agent["health"], "ok", "{agent:#}");
    assert_eq!(agent["driver"], "command");

    let path = room.agent_file("late");
    fs::write(&path, "name: late\ndriver: command\ncommand: [echo]\ncolour: red\n")
        .expect("written");
    let agent = room.wait_agent("late", |agent| agent["health"] != "ok");
    let error = agent["error"].as_str().expect("an error");
    for part in ["late.yaml", "4", "colour"] {
        assert!(error.contains(part), "file, line and key: {error}");
    }
    let id = room.api.begin("late", "go");
    room.api.wait_status(&id, "finished");
    assert_eq!(room.api.said(&id), "late\n", "the last good version");
    room.write_agent("late", says("mended"));
    room.wait_agent("late", |agent| agent["health"] == "ok" && agent["version"] == 2);
}

#[test]
fn p7_agent_files_are_checked() {
    let room = Greenroom::up().start();
    let check = |text: &str| {
        let path = room.root.join("check.yaml");
        fs::write(&path, text).expect("written");
        room.cli(&["agents", "check", &path.to_string_lossy()])
    };
    let good = "name: fixer\ndescription: Fixes\ndriver: command\ncommand: [python3, fix.py]\n\
        prompt_via: stdin\nstdout: text\nlifecycle: per_run\n\
        env: { RUST_LOG: info, API_KEY: \"${secret:api-key}\" }\n\
        workspace: { from: empty }\nstop: { cancel_grace: 2s, grace: 10s }\nleftovers: sweep\n\
        limits: { idle: 15m, run: 1h, start: 60s, ttl: 30d, memory: 512MiB, pids: 100, output: 64MiB }\n\
        runner: { labels: {} }\ninput_schema: {}\n";
    check(good).exits(0);
    let bad = [
        ("name: x\ndriver: command\n", "command"),
        ("name: x\ncommand: [a]\n", "driver"),
        ("driver: command\ncommand: [a]\n", "name"),
        ("name: x\ndriver: command\ncommand: echo hi\n", "command"),
        ("name: x\ndriver: command\ncommand: []\n", "command"),
        ("name: x\ndriver: teleport\ncommand: [a]\n", "driver"),
        ("name: a b\ndriver: command\ncommand: [a]\n", "name"),
        ("name: x\ndriver: command\ncommand: [a]\nunknown: 1\n", "unknown"),
        ("name: x\ndriver: command\ncommand: [a]\nlimits: { idle: fast }\n", "idle"),
        ("name: x\ndriver: command\ncommand: [a]\nlimits: { colour: 1 }\n", "colour"),
        ("name: x\ndriver: command\ncommand: [a]\nlifecycle: persistent\n", "stdout"),
        ("name: x\ndriver: command\ncommand: [a]\nenv: { A: \"${magic:b}\" }\n", "magic"),
        ("name: x\ndriver: command\ncommand: [a]\nprompt_via: pigeon\n", "prompt_via"),
        ("name: x\nname: y\ndriver: command\ncommand: [a]\n", "name"),
        ("- not\n- a map\n", ""),
        ("name: [unclosed\n", ""),
    ];
    for (text, key) in bad {
        let ran = check(text);
        assert_eq!(ran.code, Some(1), "{text}: {} {}", ran.out, ran.err);
        let said = format!("{}{}", ran.out, ran.err);
        assert!(said.contains("check.yaml") && said.contains(key), "{text}: {said}");
    }
}

#[test]
fn p7_agents_are_added_and_removed() {
    let room = Greenroom::up().start();
    let path = room.root.join("extra.yaml");
    fs::write(&path, agents::file("extra", says("extra"))).expect("written");
    let source = path.to_string_lossy();
    room.api.post("/v1/agents", json!({"source": source})).granted();
    room.served("extra");
    let id = room.api.begin("extra", "go");
    room.api.wait_status(&id, "finished");
    let list = room.cli(&["agents", "ls", "--output", "json"]).exits(0).json();
    assert!(list.to_string().contains("extra"), "{list:#}");
    room.cli(&["agents", "show", "extra"]).exits(0).says("extra");
    assert!(matches!(room.api.delete("/v1/agents/extra").status, 200 | 204));
    room.api.get("/v1/agents/extra").refused(404);
    room.api.delete("/v1/agents/extra").refused(404);
    room.api.post("/v1/agents", json!({"source": "/nonexistent.yaml"})).refused(404);
    room.api.post("/v1/agents", json!({"source": "git://example/agent"})).refused(422);
    // Its sessions go on.
    let run = room.api.prompt(&id, "again");
    assert_eq!(room.api.wait_run(&id, &run["id"])["status"], "completed");
}

#[test]
fn p7_the_environment_is_built_from_nothing() {
    let shown = json!({"env": {"COLOUR": "blue", "HAIR": "${env:GIVEN}"}});
    let by_env = agents::sh("echo \"got $GREENROOM_PROMPT\"", &[]);
    let room = Greenroom::up()
        .agent("env", agents::with(agents::sh("env | sort; pwd", &[]), shown))
        .agent("hidden", agents::with(agents::echo(), json!({"env": {"X": "${env:CLOUD_KEY}"}})))
        .agent("nothing", agents::with(agents::echo(), json!({"env": {"X": "${secret:absent}"}})))
        .agent("prompt", agents::with(by_env, json!({"prompt_via": "env"})))
        .env("CLOUD_KEY", "a-key-of-the-user")
        .env("GIVEN", "red")
        .args(&["--expose-env", "GIVEN"])
        .start();
    let id = room.api.begin("env", "go");
    room.api.wait_status(&id, "finished");
    let said = room.api.said(&id);
    let allowed =
        ["PATH", "LANG", "TERM", "TMPDIR", "HOME", "COLOUR", "HAIR", "PWD", "SHLVL", "_", "OLDPWD"];
    for name in said.lines().filter_map(|line| line.split_once('=')).map(|(name, _)| name) {
        let own = name.starts_with("GREENROOM_");
        assert!(own || allowed.contains(&name), "{name} is not of the agent's: {said}");
    }
    assert!(said.contains("COLOUR=blue") && said.contains("HAIR=red"), "{said}");
    assert!(said.contains(&format!("GREENROOM_SESSION={id}")), "{said}");
    assert!(!said.contains("a-key-of-the-user"), "{said}");
    for (agent, name) in [("hidden", "CLOUD_KEY"), ("nothing", "absent")] {
        let id = room.api.begin(agent, "go");
        let session = room.api.wait_rest(&id);
        assert_eq!(session["status_reason"], "start_error", "{agent}: {session:#}");
        let run = room.api.runs(&id)[0].clone();
        let message = run["error"]["message"].as_str().unwrap_or("");
        assert!(message.contains(name), "{run:#}");
        let log = json!(room.api.log(&id)).to_string();
        assert!(!log.contains("a-key-of-the-user"), "{log}");
    }
    let id = room.api.begin("prompt", "by variable");
    room.api.wait_status(&id, "finished");
    assert_eq!(room.api.said(&id), "got by variable\n");
}

/// The agents of `examples/command*.yaml`, with the folder they name where that is.
fn example(room: &Greenroom, name: &str) {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    let text = fs::read_to_string(examples.join(format!("{name}.yaml"))).expect("the example");
    let folder = fs::canonicalize(examples.join("command")).expect("its folder");
    let text = text.replace("/path/to/examples/command", folder.to_str().expect("UTF-8"));
    fs::write(room.agent_file(name), text).expect("the agent's file");
    room.served(name);
}

#[test]
fn p7_the_example_of_a_program_keeps_its_notes() {
    let room = Greenroom::up().start();
    example(&room, "command");
    room.cli(&["run", "command", "milk", "--id", "shopping"]).exits(0).says("That makes 1: milk");
    let run = room.api.prompt("shopping", "bread");
    let run = room.api.wait_run("shopping", &run["id"]);
    assert_eq!(run["result"], json!({ "notes": 2 }), "{run:#}");
    assert!(room.api.said("shopping").ends_with("That makes 2: milk, bread\n"));
    assert_eq!(room.api.events("shopping", "plan").len(), 2);
    room.api.check("shopping");
}

#[test]
fn p7_the_example_of_a_program_that_stays_up_counts() {
    let room = Greenroom::up().start();
    example(&room, "persistent");
    let id = room.api.begin("persistent", "one");
    room.api.wait_status(&id, "idle");
    let input = json!({ "input": { "two": 2 } });
    let run = room.api.post(&format!("/v1/sessions/{id}/runs"), input).expect(202);
    let run = room.api.wait_run(&id, &run["id"]);
    assert_eq!(run["result"], json!({ "count": 2 }), "{run:#}");
    assert_eq!(room.api.said(&id), "You said one\nYou said {\"two\": 2}\n");
    assert_eq!(room.api.session(&id)["epoch"], 1, "one process for both");
    room.api.stop(&id);
    room.api.check(&id);
}
