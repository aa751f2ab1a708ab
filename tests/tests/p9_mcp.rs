//! Agents start, watch and stop sessions of their own through our MCP server: a real agent
//! with a scripted model, and the server by itself.

use greenroom_tests::coding::Coding;
use greenroom_tests::endpoint::{self, Endpoint};
use greenroom_tests::mcp::Mcp;
use greenroom_tests::session::id_of;
use greenroom_tests::{Greenroom, agents, json};

/// A real agent is offered the server when its session begins, and its model uses it.
#[test]
fn p9_a_real_agent_starts_a_child_and_stops_it() {
    let room = Greenroom::up().agent("worker", agents::holder()).start();
    let (mark, prompt) = room.mark();
    let start = json!({ "agent": "worker", "prompt": prompt, "id": "child" });
    let mut fixtures =
        Vec::from(endpoint::uses("DELEGATE", "greenroom_start_session", start, "It is begun."));
    let stop = json!({ "session": "child", "reason": "enough" });
    fixtures.extend(endpoint::uses("ENOUGH", "greenroom_stop_session", stop, "It is ended."));
    // One that is nobody's child is none of its business.
    let foreign = json!({ "session": "foreign" });
    fixtures.extend(endpoint::uses("MEDDLE", "greenroom_stop_session", foreign, "It would not."));
    fixtures.push(endpoint::otherwise("A title."));
    let endpoint = Endpoint::start(&fixtures);
    let env: serde_json::Map<_, _> = Coding::Opencode
        .env(&endpoint)
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.into()))
        .collect();
    let program = Coding::Opencode.program();
    room.write_agent(
        "boss",
        json!({ "driver": "acp", "command": [program, "acp"], "env": env,
            "approvals": { "mode": "autonomous" } }),
    );
    room.served("boss");
    room.api.create("worker", json!({ "id": "foreign", "prompt": prompt }));
    room.api.wait_text("foreign", "holding");

    let session = room.api.create("boss", json!({ "id": "boss", "prompt": "DELEGATE it" }));
    let run = room.api.wait_run("boss", &session["run_id"]);
    assert_eq!(run["status"], "completed", "{run:#}\n{:#?}", room.api.log("boss"));
    let child = room.api.wait_status("child", "running");
    assert_eq!(child["parent_id"], "boss", "{child:#}");
    assert!(!greenroom_tests::procs::holding(&mark).is_empty());

    let run = room.api.prompt("boss", "MEDDLE with another");
    room.api.wait_run("boss", &run["id"]);
    assert_eq!(room.api.status("foreign"), "running");
    assert!(endpoint.last_asked("MEDDLE").contains("not found"), "the model is told");

    let run = room.api.prompt("boss", "ENOUGH of it");
    room.api.wait_run("boss", &run["id"]);
    let child = room.api.session("child");
    assert_eq!(child["status"], "stopped", "{child:#}");
    assert_eq!(child["receipt"]["survivors"], 0, "{child:#}");
    for id in ["boss", "foreign"] {
        room.api.stop(id);
        room.api.check(id);
    }
    room.api.check("child");
}

#[test]
fn p9_sessions_are_tools() {
    let room = Greenroom::up().agent("echo", agents::echo()).start();
    let mut server = Mcp::start(&room);
    let tools = server.ask("tools/list", json!({}));
    for tool in tools["tools"].as_array().expect("a list") {
        assert_eq!(tool["inputSchema"]["type"], "object", "{tool:#}");
        assert_eq!(tool["outputSchema"]["type"], "object", "{tool:#}");
    }
    let agents = server.tool("list_agents", json!({})).expect("a list").to_string();
    assert!(agents.contains("echo"), "{agents}");
    let started = server
        .tool("start_session", json!({ "agent": "echo", "prompt": "apple", "title": "a title" }))
        .expect("a session");
    let id = id_of(&json!({ "id": started["session"] }));
    let done = server.tool("wait_for_session", json!({ "session": id })).expect("its end");
    assert_eq!((&done["done"], &done["status"]), (&json!(true), &json!("finished")), "{done:#}");
    let read = server.tool("read_session", json!({ "session": id })).expect("its text");
    assert!(read["text"].as_str().expect("text").contains("apple"), "{read:#}");
    let next = read["next"].clone();
    server.tool("send_prompt", json!({ "session": id, "prompt": "pear" })).expect("a run");
    server.tool("wait_for_session", json!({ "session": id })).expect("its end");
    let read = server.tool("read_session", json!({ "session": id, "from": next })).expect("text");
    let text = read["text"].as_str().expect("text");
    assert!(text.contains("pear") && !text.contains("apple"), "{text}");
    let stopped = server.tool("stop_session", json!({ "session": id })).expect("a stop");
    assert_eq!(stopped["already_stopped"], true, "{stopped:#}");
    let listed = server.tool("list_sessions", json!({})).expect("a list").to_string();
    assert!(listed.contains(&id), "{listed}");
    // What does not fit is said, and the connection goes on.
    for (name, arguments, words) in [
        ("stop_session", json!({ "session": "nobody" }), "not found"),
        ("stop_session", json!({}), "missing field"),
        ("start_session", json!({ "agent": "echo", "prompt": "x", "colour": "red" }), "colour"),
        ("start_session", json!({ "agent": "nobody", "prompt": "x" }), "nobody"),
        ("fly", json!({}), "no tool"),
    ] {
        let error = server.tool(name, arguments).expect_err("an error");
        assert!(error.contains(words), "{name}: {error}");
    }
}
