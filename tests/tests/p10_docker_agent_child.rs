//! docker-agent as the agent of a session: its command line is driven, and its own events
//! reach docker-agent's clients as it said them. The program is a stand-in that writes what
//! docker-agent writes: the real one is in no registry.

use std::path::PathBuf;

use greenroom_tests::session::{id_of, uid_of};
use greenroom_tests::{Greenroom, Value, json, procs};

fn room() -> Greenroom {
    let room = Greenroom::up().start();
    let stand_in =
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tools/dockeragent/docker-agent.py");
    // A program of its own, as docker-agent is.
    let program = room.root.join("docker-agent");
    let script = format!("#!/bin/sh\nexec python3 '{}' \"$@\"\n", stand_in.display());
    std::fs::write(&program, script).expect("the program");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&program, mode).expect("its mode");
    room.write_agent(
        "team",
        json!({
            "driver": "command", "preset": "docker-agent", "command": [program],
            "args": ["team.yaml"], "approvals": { "mode": "autonomous" },
        }),
    );
    room.served("team");
    room
}

/// The events of a turn, as docker-agent's door streams them.
fn turn(room: &Greenroom, id: &str, prompt: &str) -> Vec<Value> {
    let request = room.api.request("POST", &format!("/docker-agent/api/sessions/{id}/agent/team"));
    let reply = request.json(&json!([{ "role": "user", "content": prompt }])).send();
    assert_eq!(reply.status, 200, "{}", reply.text());
    let text = reply.text();
    let frames = text.lines().filter_map(|line| line.strip_prefix("data: "));
    frames.map(|frame| serde_json::from_str(frame).expect("JSON")).collect()
}

fn of<'a>(events: &'a [Value], kind: &str) -> Vec<&'a Value> {
    events.iter().filter(|event| event["type"] == kind).collect()
}

fn types(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["type"].as_str().expect("a type")).collect()
}

/// Beginnings and ends of streams, each with its session.
fn streams(events: &[Value]) -> Vec<(&str, &str)> {
    events
        .iter()
        .map(|event| (event["type"].as_str().expect("a type"), event))
        .filter(|(kind, _)| kind.starts_with("stream_st"))
        .map(|(kind, event)| (kind, event["session_id"].as_str().expect("a session")))
        .collect()
}

/// The helper's stream within that of this session.
fn nested(id: &str) -> [(&str, &str); 4] {
    let [begun, over] = ["stream_started", "stream_stopped"];
    [(begun, id), (begun, "child"), (over, "child"), (over, id)]
}

fn made(room: &Greenroom) -> String {
    let request = room.api.request("POST", "/docker-agent/api/sessions");
    let reply = request.json(&json!({})).send();
    reply.json()["id"].as_str().expect("an id").to_owned()
}

#[test]
fn p10_docker_agent_as_a_child_says_its_events_unchanged() {
    let room = room();
    let id = made(&room);
    let events = turn(&room, &id, "HELP me");
    let text = |who: &str| -> String {
        let said =
            of(&events, "agent_choice").into_iter().filter(|event| event["agent_name"] == who);
        said.map(|event| event["content"].as_str().expect("text")).collect()
    };
    assert_eq!(text("root"), "You said 0 before. It helped.", "{events:#?}");
    assert_eq!(text("helper"), "I help.", "{events:#?}");
    // As they were said, with nothing put in or left out.
    let switched = json!({ "type": "agent_switching", "switching": true, "from_agent": "root",
        "to_agent": "helper" });
    assert_eq!(*of(&events, "agent_switching")[0], switched);
    let team = of(&events, "team_info");
    let members = json!([{ "name": "root" }, { "name": "helper" }]);
    assert!(team.iter().any(|team| team["available_agents"] == members), "{team:#?}");
    let [answered] = of(&events, "tool_call_response")[..] else { panic!("{events:#?}") };
    assert_eq!(answered["response"], "I help.");
    assert_eq!(answered["result"], json!({ "output": "I help.", "meta": { "kept": true } }));
    let [used] = of(&events, "token_usage")[..] else { panic!("{events:#?}") };
    assert_eq!(used["usage"]["context_limit"], 100);
    assert_eq!(used["session_id"], id.as_str());
    // The whole in its order, and its pairs nested in ours, which are of the session.
    let first = types(&events).iter().position(|kind| *kind == "agent_choice");
    let team = events.iter().position(|event| event["available_agents"] == members);
    assert!(team < first, "{events:#?}");
    assert_eq!(streams(&events), nested(&id));

    assert_eq!(types(&events).last(), Some(&"stream_stopped"));

    // It remembers, across a stop.
    assert_eq!(room.api.stop(&id)["receipt"]["survivors"], 0);
    let events = turn(&room, &id, "again");
    assert!(
        of(&events, "agent_choice")
            .iter()
            .any(|one| one["content"].as_str().expect("text").contains("1 before")),
        "{events:#?}"
    );
    let usage = room.api.events(&id, "usage");
    assert_eq!(usage[0]["data"]["input_tokens"], 15, "{usage:#?}");
    assert_eq!(usage[0]["data"]["cost_usd"], 0.5, "{usage:#?}");
    // A memory that is gone is said to be.
    let uid = room.api.session(&id)["uid"].as_str().expect("a uid").to_owned();
    let home = room.workspace(&uid).with_file_name("home");
    std::fs::remove_file(home.join(".cagent/session.json")).expect("its database");
    let events = turn(&room, &id, "and now");
    assert!(
        of(&events, "warning")
            .iter()
            .any(|one| one["message"].as_str().expect("words").contains("new conversation")),
        "{events:#?}"
    );
    room.api.check(&id);
}

#[test]
fn p10_docker_agent_as_a_child_that_breaks_off_leaves_no_stream_open() {
    let room = room();
    let id = made(&room);
    let events = turn(&room, &id, "HELP and BREAK");
    assert_eq!(streams(&events), nested(&id));
    let helped = of(&events, "agent_choice").into_iter().find(|one| one["agent_name"] == "helper");
    assert_eq!(helped.expect("what it said is there")["content"], "I help.");
    let [error] = of(&events, "error")[..] else { panic!("{events:#?}") };
    assert!(error["error"].as_str().expect("words").contains("all models failed"), "{error}");
    room.api.check(&id);
}

#[test]
fn p10_docker_agent_as_a_child_is_stopped_and_what_it_left_with_it() {
    let room = room();
    let session = room.api.create("team", json!({ "prompt": "HOLD it" }));
    let (id, uid) = (id_of(&session), uid_of(&session));
    room.api.wait_event(&id, 0, "tool_call");
    let stopped = room.api.stop(&id);
    assert_eq!(stopped["receipt"]["survivors"], 0, "{stopped:#}");
    assert!(procs::about(&room.workspace(&uid)).is_empty());
    room.api.check(&id);
}

#[test]
fn p10_docker_agent_as_a_child_fails_in_words() {
    let room = room();
    for (prompt, code, words) in [
        ("FAIL", "exit", "all models failed"),
        ("ASK", "agent_error", "docker-agent asks: Which one?"),
    ] {
        let session = room.api.create("team", json!({ "prompt": prompt }));
        let id = id_of(&session);
        let run = room.api.wait_run(&id, &session["run_id"]);
        assert_eq!(
            (&run["status"], &run["error"]["code"]),
            (&json!("failed"), &json!(code)),
            "{run:#}"
        );
        let message = run["error"]["message"].as_str().expect("a message");
        assert!(message.contains(words), "{message}");
        room.api.wait_rest(&id);
        room.api.check(&id);
    }
}
