//! The orchestrator's door of a real server: its dashboard's requests, a stream without a
//! browser, its MCP tools by the protocol's own client, and stops that are proven.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use greenroom_tests::sse::Sse;
use greenroom_tests::{Greenroom, Value, agents, json, procs, tools};

fn text(value: &Value) -> String {
    value.as_str().expect("text").to_owned()
}

/// Follows the stream until a session stands so.
fn until(stream: &mut Sse, id: &str, status: &str) -> Value {
    loop {
        let frame = stream.try_next().expect("it goes on").expect("a frame");
        let session = &frame.data["session"];
        if session["session_id"] == id && session["status"] == status {
            return session.clone();
        }
    }
}

/// What its dashboard does: one stream for all, start, stop, and the answer of the stop.
#[test]
fn p10_a_session_of_the_dashboard_is_stopped_for_certain() {
    let room = Greenroom::up().agent("worker", agents::daemons(50, true)).start();
    let token = room.api.token.clone().expect("a token");
    let path = format!("/orchestrator/sse/sessions?api_key={token}");
    let mut stream = Sse::open(&room.api.as_nobody(), &path);
    assert_eq!(stream.try_next().expect("a frame").expect("a frame").event, "init");
    let (mark, prompt) = room.mark();
    let asked = json!({"type": "start_session", "agent_name": "worker",
        "parameters": {"prompt": prompt}, "execution_mode": "sync"});
    let made = room.api.post("/orchestrator/runs", asked).expect(201);
    let (id, run) = (text(&made["session_id"]), text(&made["run_id"]));
    let running = until(&mut stream, &id, "running");
    assert_eq!(running["run_id"], run.as_str(), "{running:#}");
    room.api.wait_text(&id, "50 daemons");
    assert!(procs::holding(&mark).len() >= 50);

    let stop = room.api.post(&format!("/orchestrator/runs/{run}/stop"), json!({})).expect(200);
    assert_eq!((&stop["status"], &stop["run_id"]), (&json!("stopping"), &json!(run)), "{stop:#}");
    until(&mut stream, &id, "stopping");
    until(&mut stream, &id, "stopped");
    assert!(procs::holding(&mark).is_empty(), "none of them is left");
    let session = room.api.session(&id);
    assert_eq!(
        (&session["status"], &session["receipt"]["survivors"]),
        (&json!("stopped"), &json!(0))
    );
    let log = room.api.get(&format!("/orchestrator/sessions/{id}/events")).expect(200);
    let kinds: Vec<_> =
        log["events"].as_array().expect("events").iter().map(|e| &e["event_type"]).collect();
    assert!(
        kinds.contains(&&json!("run_start")) && kinds.contains(&&json!("run_stopped")),
        "{kinds:?}"
    );
    // The token of the query is nowhere.
    assert!(!room.log_text("server").contains(&token));
    room.api.check(&id);
}

/// The original's own SDK, unchanged.
#[test]
fn p10_its_sdk_starts_resumes_waits_and_stops() {
    let room =
        Greenroom::up().agent("echo", agents::echo()).agent("holder", agents::holder()).start();
    let (mark, prompt) = room.mark();
    let packages = tools::mcp("@rawe");
    let mut command = Command::new(tools::node());
    command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tools/mcp/sdk.mjs"));
    command.arg(packages.parent().expect("a folder"));
    command.arg(format!("http://{}/orchestrator", room.api.host));
    command.env("TOKEN", room.api.token.as_deref().expect("a token")).env("MARK", prompt);
    let ran = command.stderr(Stdio::inherit()).output().expect("it runs");
    assert!(ran.status.success(), "{:?}", ran.status);
    let seen: Value = serde_json::from_slice(&ran.stdout).expect("JSON");
    let completed = |text| json!({ "status": "completed", "resultText": text });
    assert_eq!((&seen["apple"], &seen["pear"]), (&completed("apple"), &completed("pear")));
    assert_eq!(seen["ids"][0], seen["ids"][1], "it is the same session");
    assert_eq!(seen["stopped"], json!({ "status": "stopped" }), "{seen:#}");
    assert!(procs::holding(&mark).is_empty());
    let held = text(&seen["ids"][2]);
    assert_eq!(room.api.session(&held)["receipt"]["survivors"], 0);
    for (refused, word) in [("nobody", "nobody"), ("bad", "prompt"), ("gone", "ses_not_there")] {
        assert!(seen[refused].as_str().is_some_and(|said| said.contains(word)), "{seen:#}");
    }
    room.api.check(&held);
}

/// The client of the protocol's own package.
struct Client {
    child: Child,
    stdin: ChildStdin,
    stdout: BufReader<ChildStdout>,
}

impl Client {
    fn start(room: &Greenroom) -> Self {
        let packages = tools::mcp("@modelcontextprotocol");
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tools/mcp/orchestrator.mjs");
        let mut command = Command::new(tools::node());
        command.arg(script).arg(packages.parent().expect("a folder"));
        command.arg(format!("http://{}/orchestrator/mcp", room.api.host));
        command.arg(room.api.token.as_deref().expect("a token"));
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it starts");
        let stdin = child.stdin.take().expect("a pipe");
        let stdout = BufReader::new(child.stdout.take().expect("a pipe"));
        Self { child, stdin, stdout }
    }

    fn ask(&mut self, asked: Value) -> Value {
        writeln!(self.stdin, "{asked}").expect("it reads");
        let mut line = String::new();
        assert!(self.stdout.read_line(&mut line).expect("it answers") > 0, "it has ended");
        serde_json::from_str(&line).expect("JSON")
    }

    fn tool(&mut self, tool: &str, arguments: Value) -> Value {
        self.ask(json!({"tool": tool, "arguments": arguments}))
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn p10_the_seven_tools_are_served() {
    let room =
        Greenroom::up().agent("echo", agents::echo()).agent("holder", agents::holder()).start();
    let mut client = Client::start(&room);
    let listed = client.ask(json!({}));
    assert_eq!(listed.as_array().expect("a list").len(), 7, "{listed:#}");
    let blueprints = client.tool("list_agent_blueprints", json!({}));
    let names: Vec<_> = blueprints.as_array().expect("a list").iter().map(|b| &b["name"]).collect();
    assert!(names.contains(&&json!("echo")) && names.contains(&&json!("holder")), "{names:?}");

    let start = json!({"agent_name": "echo", "parameters": {"prompt": "apple"}});
    let done = client.tool("start_agent_session", start);
    assert_eq!(
        (&done["result_text"], &done["result_data"]),
        (&json!("apple"), &Value::Null),
        "{done:#}"
    );
    let id = done["session_id"].clone();
    let more = json!({"session_id": id, "parameters": {"prompt": "pear"}});
    let done = client.tool("resume_agent_session", more);
    assert_eq!(done["result_text"], "pear", "{done:#}");
    let one = json!({"session_id": id});
    assert_eq!(client.tool("get_agent_session_status", one.clone()), json!({"status": "finished"}));
    assert_eq!(client.tool("get_agent_session_result", one)["result_text"], "pear");

    let (mark, prompt) = room.mark();
    let start =
        json!({"agent_name": "holder", "parameters": {"prompt": prompt}, "mode": "async_poll"});
    let held = client.tool("start_agent_session", start);
    assert_eq!(held["status"], "pending", "{held:#}");
    let held = text(&held["session_id"]);
    room.api.wait_text(&held, "holding");
    let sessions = client.tool("list_agent_sessions", json!({}));
    assert_eq!(sessions.as_array().expect("a list").len(), 2, "{sessions:#}");
    let all = client.tool("delete_all_agent_sessions", json!({}));
    assert_eq!(all, json!({"deleted_count": 1, "kept": [held]}));
    // What cannot be done is said, and the connection goes on.
    for (tool, arguments, words) in [
        (
            "start_agent_session",
            json!({"agent_name": "nobody", "parameters": {"prompt": "x"}}),
            "Agent not found",
        ),
        (
            "start_agent_session",
            json!({"agent_name": "echo", "parameters": {}}),
            "Parameters do not match",
        ),
        ("get_agent_session_result", json!({"session_id": held}), "not finished or idle"),
        (
            "start_agent_session",
            json!({"agent_name": "echo", "parameters": {"prompt": "x"}, "mode": "async_callback"}),
            "X-Agent-Session-Id",
        ),
    ] {
        let error = text(&client.tool(tool, arguments)["error"]);
        assert!(error.contains(words), "{tool}: {error}");
    }
    // The calling session is told of the end, in a run of its own.
    let parent = text(
        &client.tool(
            "start_agent_session",
            json!({"agent_name": "echo", "parameters": {"prompt": "parent"}}),
        )["session_id"],
    );
    let child = client.ask(json!({"tool": "start_agent_session", "headers": {"x-agent-session-id": parent},
        "arguments": {"agent_name": "echo", "parameters": {"prompt": "child"}, "mode": "async_callback"}}));
    let child = text(&child["session_id"]);
    room.api
        .wait_text(&parent, &format!("<agent-callback session=\"{child}\" status=\"completed\">"));
    room.api.stop(&held);
    assert!(procs::holding(&mark).is_empty());
    for id in [&held, &parent, &child] {
        room.api.check(id);
    }
}
