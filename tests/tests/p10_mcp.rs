//! `greenroom mcp` for whoever is outside: judged by the MCP inspector over both transports,
//! and by who may come in.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};

use greenroom_tests::cli::run;
use greenroom_tests::endpoint::{self, Endpoint};
use greenroom_tests::http::Api;
use greenroom_tests::mcp::Mcp;
use greenroom_tests::session::uid_of;
use greenroom_tests::{Greenroom, Value, agents, json, tools};

const INSPECTOR: &str = "@modelcontextprotocol/inspector/clients/launcher/build/index.js";

/// The server over HTTP. It ends with this value.
struct Door {
    child: Child,
    /// Where it is.
    host: String,
}

impl Door {
    fn start(room: &Greenroom) -> Self {
        let mut command = room.command();
        // It has no token of its own: each caller brings theirs.
        command.env("GREENROOM_URL", format!("http://{}", room.api.host));
        command.args(["mcp", "--listen", "127.0.0.1:0"]).stdout(Stdio::piped());
        let mut child = command.spawn().expect("greenroom mcp starts");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("a pipe");
        BufReader::new(stdout).read_line(&mut line).expect("its address");
        let at = line.trim().strip_prefix("greenroom mcp is up at http://").expect("its address");
        let host = at.strip_suffix("/mcp").expect("its path").to_owned();
        Self { child, host }
    }

    fn url(&self) -> String {
        format!("http://{}/mcp", self.host)
    }

    fn api(&self, token: Option<&str>) -> Api {
        Api { host: self.host.clone(), token: token.map(str::to_owned) }
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// How the inspector reaches a server.
enum Way<'a> {
    Stdio,
    Http(&'a Door),
}

/// What the inspector says to these arguments, and its exit code.
#[track_caller]
fn inspect(room: &Greenroom, way: &Way<'_>, args: &[&str]) -> (Option<i32>, Value) {
    let token = room.api.token.as_deref().expect("a token");
    let mut command = Command::new(tools::node());
    command.arg(tools::outward(INSPECTOR)).arg("--cli");
    command.env_clear().env("HOME", room.root.join("home")).env("PATH", "/usr/bin:/bin");
    match way {
        Way::Stdio => {
            command.arg(room.command().get_program()).arg("mcp");
            command.args(["-e", &format!("GREENROOM_URL=http://{}", room.api.host)]);
            command.args(["-e", &format!("GREENROOM_TOKEN={token}")]);
        }
        Way::Http(door) => {
            command.arg(door.url()).args(["--transport", "http"]);
            command.args(["--header", &format!("Authorization: Bearer {token}")]);
        }
    }
    command.args(args);
    let ran = run(command, "");
    assert!(!ran.err.contains("Warning: tool"), "every client can take its schemas: {}", ran.err);
    let said = serde_json::from_str(&ran.out);
    (ran.code, said.unwrap_or_else(|error| panic!("{args:?}: {error}: {ran:#?}")))
}

/// What a tool answers by way of the inspector, which checks it against its schema.
#[track_caller]
fn call(room: &Greenroom, way: &Way<'_>, tool: &str, given: &[(&str, &str)]) -> Value {
    let pairs: Vec<String> = given.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let mut args = vec!["--method", "tools/call", "--tool-name", tool];
    for pair in &pairs {
        args.extend(["--tool-arg", pair]);
    }
    inspect(room, way, &args).1
}

#[test]
fn p10_the_inspector_lists_and_uses_every_tool_over_both_transports() {
    let write = json!({ "path": "out.txt", "content": "hello" });
    let endpoint = Endpoint::start(&endpoint::uses("WRITE", "write_file", write, "It is written."));
    let room = Greenroom::up().agent("echo", agents::echo()).start();
    room.write_agent(
        "writer",
        json!({ "driver": "loop", "model": "openai/m", "base_url": format!("{}/v1", endpoint.url()) }),
    );
    room.served("writer");
    let door = Door::start(&room);
    for (n, way) in [Way::Stdio, Way::Http(&door)].iter().enumerate() {
        let (code, list) = inspect(&room, way, &["--method", "tools/list", "--strict"]);
        assert_eq!(code, Some(0), "its schemas are as every client wants them: {list:#}");
        assert_eq!(list["tools"].as_array().expect("a list").len(), 11, "{list:#}");
        let good = |tool: &str, given: &[(&str, &str)]| {
            let answer = call(&room, way, tool, given);
            assert_ne!(answer["isError"], true, "{tool}: {answer:#}");
            answer["structuredContent"].clone()
        };
        let agents = good("list_agents", &[]);
        let name = |agent: &Value| agent["name"].as_str().expect("a name").to_owned();
        let names: Vec<_> = agents["agents"].as_array().expect("a list").iter().map(name).collect();
        assert!(["echo", "writer"].iter().all(|agent| names.contains(&(*agent).to_owned())));
        let id = format!("s{n}");
        let begun =
            good("start_session", &[("agent", "writer"), ("prompt", "WRITE it"), ("id", &id)]);
        let run = begun["run"].as_str().expect("a run");
        let waits = good("wait_for_session", &[("session", &id), ("run", run), ("seconds", "60")]);
        assert_eq!(waits["waits_for_a_person"], true, "{waits:#}");
        let asked = waits["questions"][0]["approval"].as_str().expect("a question").to_owned();
        let open = good("list_approvals", &[]);
        assert_eq!(open["questions"][0]["approval"], json!(asked), "{open:#}");
        let yes = [("session", &id[..]), ("approval", &asked), ("decision", "allow")];
        good("answer_approval", &yes);
        let ended = good("wait_for_session", &[("session", &id), ("run", run), ("seconds", "60")]);
        assert_eq!(
            (&ended["done"], &ended["ended"]["status"]),
            (&json!(true), &json!("completed"))
        );
        let read = good("read_session", &[("session", &id)]);
        assert!(read["text"].as_str().expect("text").contains("It is written."), "{read:#}");
        let stopped = good("stop_session", &[("session", &id), ("reason", "enough")]);
        assert_eq!((&stopped["status"], &stopped["survivors"]), (&json!("stopped"), &json!(0)));
        let shown = good("show_session", &[("session", &id)]);
        assert_eq!(shown["receipt"]["survivors"], 0, "{shown:#}");
        let sent = good("send_prompt", &[("session", &id), ("prompt", "WRITE again")]);
        assert_eq!(sent["held"], false, "a person's prompt after the receipt goes on");
        good("stop_session", &[("session", &id)]);
        // What is waiting behind a stop goes on with a resume.
        let listed = good("list_sessions", &[("agent", "writer"), ("limit", "1")]);
        assert_eq!(listed["sessions"][0]["session"], json!(id), "{listed:#}");
        let none = call(&room, way, "stop_session", &[("session", "nobody")]);
        let problem = &none["_meta"]["greenroom/problem"];
        assert_eq!(
            (&none["isError"], &problem["code"]),
            (&json!(true), &json!("session_not_found"))
        );
        let words = none["content"][0]["text"].as_str().expect("words");
        assert!(words.contains("not found") && words.contains("hint: list_sessions"), "{words}");
        room.api.check(&id);
    }
}

#[test]
fn p10_a_hold_is_lifted_by_a_person_and_a_watch_says_what_happens() {
    let room =
        Greenroom::up().agent("holder", agents::holder()).agent("echo", agents::echo()).start();
    let (_, prompt) = room.mark();
    let mut server = Mcp::start(&room);
    let begin =
        json!({ "agent": "holder", "prompt": prompt, "id": "s", "labels": { "team": "web" } });
    server.tool("start_session", begin).expect("a session");
    room.api.wait_text("s", "holding");
    let later =
        server.tool("send_prompt", json!({ "session": "s", "prompt": "x" })).expect("a run");
    assert_eq!(later["ahead"], 1, "{later:#}");
    let soon = json!({ "session": "s", "seconds": 0 });
    assert_eq!(server.tool("wait_for_session", soon).expect("how it stands")["done"], false);
    server.tool("stop_session", json!({ "session": "s" })).expect("a stop");
    let held = server.tool("show_session", json!({ "session": "s" })).expect("it");
    assert_eq!((&held["held"], &held["labels"]["team"]), (&json!(true), &json!("web")), "{held:#}");
    let on = server.tool("resume_session", json!({ "session": "s" })).expect("a resume");
    assert_eq!(on["held"], false, "{on:#}");
    let error = server.tool("resume_session", json!({ "session": "s" })).expect_err("nothing");
    assert!(error.contains("hint: send_prompt"), "{error}");
    server.tool("stop_session", json!({ "session": "s" })).expect("a stop");

    // Progress goes to whoever asks for it, before the answer.
    server
        .tool("start_session", json!({ "agent": "echo", "prompt": "x", "id": "t" }))
        .expect("one");
    let watch = json!({ "name": "wait_for_session", "arguments": { "session": "t" },
        "_meta": { "progressToken": "p1" } });
    server.told.clear();
    let done = server.ask("tools/call", watch);
    assert_eq!(done["structuredContent"]["done"], true, "{done:#}");
    let told = &server.told;
    assert!(!told.is_empty(), "it says how far it is");
    let mut last = -1.0;
    for step in told {
        assert_eq!(step["method"], "notifications/progress", "{step:#}");
        assert_eq!(step["params"]["progressToken"], "p1", "{step:#}");
        let now = step["params"]["progress"].as_f64().expect("a number");
        assert!(now > last, "{told:#?}");
        last = now;
    }
}

#[test]
fn p10_over_http_only_a_known_caller_comes_in_and_with_their_own_rights() {
    let room = Greenroom::up().agent("holder", agents::holder()).start();
    let door = Door::start(&room);
    let admin = room.api.token.clone().expect("a token");
    let list = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/list" });
    let post = |token: Option<&str>, more: &[(&str, &str)]| {
        let mut request = door.api(token).request("POST", "/mcp").json(&list);
        request = request.header("accept", "application/json, text/event-stream");
        for (name, value) in more {
            request = request.without(name).header(name, value);
        }
        request.send()
    };
    assert_eq!(post(Some(&admin), &[]).status, 200);
    let reply = post(None, &[]);
    assert_eq!(reply.header("www-authenticate"), Some("Bearer"));
    reply.problem(401, "unauthorized");
    post(Some("grt_nonsense"), &[]).refused(401);
    post(Some(&admin), &[("host", "evil.example")]).problem(421, "foreign_host");
    post(Some(&admin), &[("origin", "http://evil.example")]).problem(403, "foreign_origin");
    let own = format!("http://{}", door.host);
    assert_eq!(post(Some(&admin), &[("origin", &own)]).status, 200);

    // A watch says what happens over the same answer, for whoever asks for that.
    room.api.create("holder", json!({ "id": "s" }));
    let watch = json!({ "jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": {
        "name": "wait_for_session", "arguments": { "session": "s" },
        "_meta": { "progressToken": "p" } } });
    let request = door.api(Some(&admin)).request("POST", "/mcp").json(&watch);
    let said = request.header("accept", "application/json, text/event-stream").send().text();
    let (progress, answer) = (said.find("notifications/progress"), said.find("structuredContent"));
    assert!(progress.is_some() && progress < answer, "{said}");

    // A viewer sees and does nothing; one that is revoked does not come in again.
    let made = room.api.post("/v1/tokens", json!({ "role": "viewer" })).expect(201);
    let viewer = made["secret"].as_str().expect("a secret").to_owned();
    let offered = post(Some(&viewer), &[]).text();
    assert!(offered.contains("read_session") && !offered.contains("stop_session"), "{offered}");
    let id = made["id"].as_str().expect("an id");
    room.api.delete(&format!("/v1/tokens/{id}")).granted();
    post(Some(&viewer), &[]).refused(401);

    let beyond = room.bare_cli(&["mcp", "--listen", "0.0.0.0:0"]).exits(2);
    assert!(beyond.err.contains("loopback"), "{beyond:?}");
}

#[test]
fn p10_an_agents_token_reaches_its_own_children_and_answers_nothing() {
    let room = Greenroom::up().agent("holder", agents::holder()).start();
    // Through a file: what an agent says has names in the place of secrets.
    let script = "printf %s \"$GREENROOM_TOKEN\" > token; echo written; exec sleep 600";
    room.write_agent("teller", agents::sh(script, &[]));
    room.served("teller");
    let parent = room.api.create("teller", json!({ "id": "boss", "prompt": "x" }));
    room.api.wait_text("boss", "written");
    let file = room.workspace(&uid_of(&parent)).join("token");
    let token = std::fs::read_to_string(file).expect("its token");
    let (_, prompt) = room.mark();
    room.api.create("holder", json!({ "id": "foreign", "prompt": prompt }));

    let mut server = Mcp::with(&room, &token, Some("boss"));
    let names = server.names();
    assert_eq!(names.len(), 8, "{names:?}");
    assert!(!names.iter().any(|name| name.contains("approval") || name == "resume_session"));
    let child = json!({ "agent": "holder", "prompt": prompt, "id": "child" });
    assert_eq!(server.tool("start_session", child).expect("a child")["parent"], "boss");
    let listed = server.tool("list_sessions", json!({})).expect("its children");
    let listed: Vec<_> = listed["sessions"].as_array().expect("a list").iter().collect();
    assert_eq!((listed.len(), &listed[0]["session"]), (1, &json!("child")), "{listed:#?}");
    for (tool, arguments, words) in [
        ("show_session", json!({ "session": "foreign" }), "not found"),
        ("stop_session", json!({ "session": "foreign" }), "not found"),
        ("wait_for_session", json!({ "session": "foreign" }), "not found"),
        ("resume_session", json!({ "session": "child" }), "may not do this"),
        (
            "answer_approval",
            json!({ "session": "child", "approval": uuid(), "decision": "allow" }),
            "may not do this",
        ),
    ] {
        let error = server.tool(tool, arguments).expect_err(tool);
        assert!(error.contains(words), "{tool}: {error}");
    }
    let stopped = server.tool("stop_session", json!({ "session": "child" })).expect("a stop");
    assert_eq!(stopped["survivors"], 0, "{stopped:#}");
    // Over HTTP the same token has the same reach.
    let door = Door::start(&room);
    let list = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call",
        "params": { "name": "stop_session", "arguments": { "session": "foreign" } } });
    let request = door.api(Some(&token)).request("POST", "/mcp").json(&list);
    let reply = request.header("accept", "application/json, text/event-stream").send();
    assert!(reply.text().contains("not found"), "{}", reply.text());
    assert_eq!(room.api.status("foreign"), "running");
    room.api.stop("boss");
    room.api.stop("foreign");
}

fn uuid() -> &'static str {
    "01890a5d-ac96-774b-bcce-b302099a8057"
}
