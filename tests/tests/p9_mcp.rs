//! Agents start, watch and stop sessions of their own through our MCP server: a real agent
//! with a scripted model, and the server by itself.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

use greenroom_tests::coding::Coding;
use greenroom_tests::endpoint::{self, Endpoint};
use greenroom_tests::session::id_of;
use greenroom_tests::{Greenroom, Value, agents, json};

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

/// The server as an outside client has it.
struct Server {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
    asked: u64,
}

impl Server {
    fn start(room: &Greenroom) -> Self {
        let mut command = room.command();
        command.env("GREENROOM_URL", format!("http://{}", room.api.host));
        command.env("GREENROOM_TOKEN", room.api.token.as_deref().expect("a token"));
        command.arg("mcp").stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("greenroom mcp starts");
        let stdin = child.stdin.take().expect("a pipe");
        let stdout = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut server = Self { child, stdin, stdout, asked: 0 };
        let hello = server.ask(
            "initialize",
            json!({ "protocolVersion": "2025-06-18", "capabilities": {},
                "clientInfo": { "name": "a test", "version": "1" } }),
        );
        assert_eq!(hello["serverInfo"]["name"], "greenroom", "{hello:#}");
        server.say(&json!({ "jsonrpc": "2.0", "method": "notifications/initialized" }));
        server
    }

    fn say(&mut self, message: &Value) {
        writeln!(self.stdin, "{message}").expect("it reads");
    }

    fn ask(&mut self, method: &str, params: Value) -> Value {
        self.asked += 1;
        let id = self.asked;
        self.say(&json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }));
        loop {
            let mut line = String::new();
            assert!(self.stdout.read_line(&mut line).expect("it answers") > 0, "it has ended");
            let answer: Value = serde_json::from_str(&line).expect("JSON");
            if answer["id"] == id {
                return answer["result"].clone();
            }
        }
    }

    /// What a tool answers; an error as its words.
    fn tool(&mut self, name: &str, arguments: Value) -> Result<Value, String> {
        let answer = self.ask("tools/call", json!({ "name": name, "arguments": arguments }));
        let text = answer["content"][0]["text"].as_str().expect("text").to_owned();
        match answer["isError"] == true {
            true => Err(text),
            false => Ok(serde_json::from_str(&text).expect("JSON")),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn p9_sessions_are_tools() {
    let room = Greenroom::up().agent("echo", agents::echo()).start();
    let mut server = Server::start(&room);
    let tools = server.ask("tools/list", json!({}));
    let names: Vec<_> = tools["tools"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|tool| tool["name"].clone())
        .collect();
    assert_eq!(names.len(), 7, "{names:?}");
    for tool in tools["tools"].as_array().expect("a list") {
        assert_eq!(tool["inputSchema"]["type"], "object", "{tool:#}");
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
