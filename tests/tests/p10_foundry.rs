//! The door `/foundry`, judged by the clients that it is for: as they are in their
//! registries, against real sessions.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;

use greenroom_tests::session::uid_of;
use greenroom_tests::web::Web;
use greenroom_tests::{Greenroom, Value, json, procs, tools, wait_for};

fn beside(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn text(path: &Path) -> String {
    path.to_str().expect("UTF-8").to_owned()
}

/// The program of `examples/hosted`.
fn program() -> [String; 2] {
    let path = fs::canonicalize(beside("../examples/hosted/agent.py")).expect("the example");
    ["python3".to_owned(), text(&path)]
}

/// Runs a script of `tests/tools/foundry` to its end, and gives what it has said.
fn judge(room: &Greenroom, script: &str, args: &[&str]) -> String {
    let mut command = Command::new(tools::foundry());
    command.arg(beside("tools/foundry").join(script)).args(args);
    said(room, command)
}

fn said(room: &Greenroom, mut command: Command) -> String {
    let command = command
        .env("URL", format!("http://{}", room.api.host))
        .env("TOKEN", room.api.token.as_deref().expect("a token"));
    let output = command.output().expect("the client runs");
    let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}\n{errors}\n{}", room.log_text("server"));
    // Clients hide what they repeat.
    let metrics = room.api.get("/metrics").text();
    let broken = metrics.lines().filter(|line| line.contains("status=\"5"));
    assert_eq!(broken.collect::<Vec<_>>(), Vec::<&str>::new());
    said
}

/// A room with the agent of `examples/hosted`, made by our own API.
fn room() -> Greenroom {
    let room = Greenroom::up().start();
    let description = json!({ "driver": "hosted", "command": program() });
    let made = room.api.post("/v1/agents/my-agent/versions", json!({ "description": description }));
    assert_eq!(made.expect(201)["version"], 1);
    room
}

#[test]
fn p10_python_does_every_operation_on_sessions_and_files() {
    let room = room();
    assert_eq!(judge(&room, "sessions.py", &["my-agent", "1"]), "every operation");
    // The same sessions are there for everybody else, with their receipts.
    let stopped = room.api.session("sess-2");
    assert_eq!(stopped["status"], "stopped");
    assert_eq!(stopped["receipt"]["survivors"], 0, "{stopped:#}");
    assert!(procs::about(&room.workspace(&uid_of(&stopped))).is_empty());
    assert_eq!(room.api.session("sess-5")["status"], "idle");
    assert_eq!(room.api.stop("sess-5")["receipt"]["survivors"], 0);
    for id in ["sess-2", "sess-5"] {
        room.api.check(id);
    }
}

#[test]
fn p10_python_makes_and_removes_agents() {
    let room = Greenroom::up().start();
    let program = program();
    let program: Vec<&str> = program.iter().map(String::as_str).collect();
    assert_eq!(judge(&room, "agents.py", &program), "every version");
    room.api.get("/v1/sessions/live").problem(404, "session_not_found");
}

#[test]
fn p10_javascript_does_every_operation_on_sessions_and_files() {
    let room = room();
    let mut command = Command::new(tools::node());
    command.arg(beside("tools/foundry-js/sessions.mjs")).args(["my-agent", "1"]);
    command.env("PACKAGE", tools::foundry_js("@azure/ai-projects/dist/esm/index.js"));
    assert_eq!(said(&room, command), "every operation");
    assert_eq!(room.api.stop("js-2")["receipt"]["survivors"], 0);
}

/// A room with one of the agents of `tests/tools/agentserver`, made through the door as a
/// definition.
fn served(name: &str, file: &str, protocol: &str) -> Greenroom {
    served_with(name, file, protocol, json!({}))
}

fn served_with(name: &str, file: &str, protocol: &str, environment: Value) -> Greenroom {
    let room = Greenroom::up().start();
    let program = text(&beside("tools/agentserver").join(file));
    let definition = json!({
        "kind": "hosted", "cpu": "1", "memory": "2Gi",
        "protocol_versions": [{ "protocol": protocol, "version": "2.0.0" }],
        "environment_variables": environment,
        "code_configuration": {
            "runtime": "python_3_11", "entry_point": [text(&tools::agentserver()), program],
        },
    });
    let body = json!({ "name": name, "definition": definition });
    let made = room.api.post("/foundry/api/projects/p/agents", body).expect(201);
    assert_eq!(made["versions"]["latest"]["status"], "active", "{made:#}");
    room
}

fn at(agent: &str, rest: &str) -> String {
    format!("/foundry/api/projects/p/agents/{agent}/endpoint/{rest}")
}

#[test]
fn p10_openai_streams_polls_replays_and_cancels_responses() {
    let room = served("steps", "steps.py", "responses");
    assert_eq!(judge(&room, "responses.py", &["steps", "1"]), "every response");
    assert_eq!(room.api.session("resp-a")["epoch"], 2);
    assert_eq!(room.api.stop("resp-a")["receipt"]["survivors"], 0);
}

#[test]
fn p10_an_agent_server_finishes_its_work_after_a_stop_through_the_door() {
    let room = served("steps", "steps.py", "responses");
    let created = room.api.post(&at("steps", "sessions"), json!({ "agent_session_id": "w" }));
    assert_eq!(created.expect(201)["status"], "active");
    let session = room.api.session("w");
    let body = json!({ "input": "the work", "background": true, "store": true, "session_id": "w" });
    let asked = room.api.post(&at("steps", "protocols/openai/responses?api-version=v1"), body);
    assert_eq!(asked.header("x-agent-session-id"), Some("w"));
    let response = asked.expect(200)["id"].as_str().expect("an id").to_owned();
    let workspace = room.workspace(&uid_of(&session));
    let steps = || fs::read_to_string(workspace.join("steps.txt")).unwrap_or_default();
    fs::write(workspace.join("go-1"), "").expect("a file");
    wait_for("its first step", || steps() == "1\n");

    let stop = || room.api.request("POST", &at("steps", "sessions/w:stop?api-version=v1")).send();
    assert_eq!(stop().status, 204);
    assert!(procs::about(&workspace).is_empty(), "204 is said when nothing is left");
    let receipt = room.api.session("w")["receipt"].clone();
    assert_eq!((&receipt["survivors"], &receipt["reason"]), (&json!(0), &json!("user")));
    assert_eq!(stop().expect(409)["error"]["code"], "session_already_stopped");

    // Whoever asks for it again brings it up, and it goes on where it was.
    for step in 2..=3 {
        fs::write(workspace.join(format!("go-{step}")), "").expect("a file");
    }
    let path = at("steps", &format!("protocols/openai/responses/{response}?api-version=v1"));
    wait_for("its response", || room.api.get(&path).expect(200)["status"] == "completed");
    assert_eq!(steps(), "1\n2 again\n3 again\n");
    assert_eq!(room.api.session("w")["epoch"], 2);
    assert_eq!(stop().status, 204);
    room.api.check("w");
}

#[test]
fn p10_invocations_are_answered_streamed_polled_and_cancelled() {
    let room = room();
    let invocations = at("my-agent", "protocols/invocations");
    let selected = |rest: &str, session: &str| {
        format!("{invocations}{rest}?api-version=v1&agent_session_id={session}")
    };
    // The first one makes a session, and says which.
    let first = room.api.post(&format!("{invocations}?api-version=v1"), json!({ "say": "hi" }));
    assert_eq!(first.expect(200)["output"], "you said hi");
    let session = first.header("x-agent-session-id").expect("a session").to_owned();
    let next = room.api.post(&selected("", &session), json!({ "say": "again" }));
    assert_eq!(next.expect(200)["output"], "you said again");
    assert_eq!(room.api.session(&session)["epoch"], 1);

    let body = json!({ "how": "stream", "say": "a b" });
    let mut stream = room.api.request("POST", &selected("", &session)).json(&body).open();
    let mut text = String::new();
    stream.body.read_to_string(&mut text).expect("the stream");
    assert_eq!(text, "data: {\"delta\": \"a \"}\n\ndata: {\"delta\": \"b \"}\n\ndata: [DONE]\n\n");

    // What takes longer is found again by its id alone.
    let later = json!({ "how": "later", "say": "long" });
    let begin = || {
        let begun = room.api.post(&selected("", &session), later.clone());
        begun.expect(202);
        begun.header("x-agent-invocation-id").expect("an id").to_owned()
    };
    let (one, two) = (begin(), begin());
    let poll = |id: &str| room.api.get(&format!("{invocations}/{id}?api-version=v1")).expect(200);
    assert_eq!(poll(&one)["status"], "running");
    let cancel = format!("{invocations}/{one}/cancel?api-version=v1");
    assert_eq!(room.api.post(&cancel, json!({})).expect(200)["status"], "cancelled");
    let workspace = room.workspace(&uid_of(&room.api.session(&session)));
    fs::write(workspace.join("go"), "").expect("a file");
    wait_for("its answer", || poll(&two)["status"] == "completed");

    // What is of no session, or of no protocol, says so.
    let refused = |reply: greenroom_tests::http::Reply, code: &str| {
        let body = reply.expect(404);
        assert_eq!(body["error"]["code"], code, "{body:#}");
        assert_eq!(reply.header("x-ms-error-code"), Some(code));
    };
    refused(room.api.get(&format!("{invocations}/inv_none?api-version=v1")), "not_found");
    refused(room.api.get(&at("my-agent", "protocols/voice")), "protocol_not_found");
    let gone = room.api.post(&selected("", "gone"), json!({}));
    assert_eq!(gone.header("x-adc-response-details"), Some("SandboxNotFound"));
    refused(gone, "session_not_found");
}

#[test]
fn p10_an_agent_hears_from_the_platform_and_over_a_socket() {
    let room = served("socket", "says_back.py", "invocations");
    let made =
        room.api.request("POST", &at("socket", "sessions")).header("x-ms-user-identity", "u");
    let made = made.json(&json!({ "agent_session_id": "s" })).send();
    assert_eq!(made.expect(201)["user_identity"], "u");
    let asked = room
        .api
        .request("POST", &at("socket", "protocols/invocations?agent_session_id=s"))
        .header("x-ms-user-identity", "u")
        .header("x-agent-foundry-call-id", "forged")
        .header("x-client-mine", "m")
        .body("hello");
    let said = asked.send();
    assert_eq!(said.header("x-agent-session-id"), Some("s"));
    assert!(said.header("x-agent-invocation-id").is_some_and(|id| id.starts_with("inv_")));
    let said = said.expect(200);
    let names: Vec<_> = said["headers"].as_array().expect("names").iter().collect();
    for (name, there) in [
        ("x-agent-user-id", true),
        ("x-agent-foundry-call-id", true),
        ("x-client-mine", true),
        ("x-ms-user-identity", false),
        ("authorization", false),
    ] {
        assert_eq!(names.contains(&&json!(name)), there, "{name}: {names:?}");
    }
    // Without its user it is nobody else's, and with another it is not there.
    let other = room.api.request("POST", &at("socket", "protocols/invocations?agent_session_id=s"));
    assert_eq!(other.header("x-ms-user-identity", "v").body("x").send().status, 404);

    let url = format!(
        "ws://{}{}",
        room.api.host,
        at("socket", "protocols/invocations_ws?agent_session_id=s")
    );
    let talk = Command::new(tools::agentserver())
        .arg(beside("tools/agentserver/talk.py"))
        .arg(url)
        .env("TOKEN", room.api.token.as_deref().expect("a token"))
        .output()
        .expect("the client runs");
    let said = String::from_utf8_lossy(&talk.stdout);
    assert_eq!(said.trim(), "closed CLOSE 1000", "{}", String::from_utf8_lossy(&talk.stderr));
}

/// As `azd ai agent invoke --protocol a2a` sends it.
#[test]
fn p10_a2a_reaches_the_session_that_is_named() {
    let room = Greenroom::up().start();
    let program = text(&beside("tools/foundry/a2a.py"));
    let description = json!({ "driver": "hosted", "command": ["python3", program] });
    let made = room.api.post("/v1/agents/speaker/versions", json!({ "description": description }));
    made.expect(201);
    let asked = |session: &str, id: u32| {
        let path = at("speaker", "protocols/a2a?api-version=v1") + session;
        let part = json!({ "kind": "text", "text": "hello" });
        let message = json!({ "role": "user", "messageId": "m", "parts": [part] });
        let params = json!({ "message": message });
        let body = json!({
            "jsonrpc": "2.0", "id": id, "method": "message/send", "params": params,
        });
        let request = room.api.request("POST", &path).header("A2A-Version", "0.3").json(&body);
        let said = request.send();
        assert_eq!(said.expect(200)["id"], id);
        let text = said.expect(200)["result"]["parts"][0]["text"].clone();
        assert_eq!(text, "message/send 0.3: hello");
        said.header("x-agent-session-id").expect("a session").to_owned()
    };
    let session = asked("", 1);
    assert_eq!(asked(&format!("&agent_session_id={session}"), 2), session);
    assert_eq!(room.api.session(&session)["epoch"], 1);
    assert_eq!(room.api.stop(&session)["receipt"]["survivors"], 0);
    // The next one resumes it.
    assert_eq!(asked(&format!("&agent_session_id={session}"), 3), session);
    assert_eq!(room.api.session(&session)["epoch"], 2);
}

/// Telemetry is the agent's own: it is told where to, and which trace a request belongs to.
#[test]
fn p10_an_agents_telemetry_belongs_to_the_trace_of_its_client() {
    let collector = Web::start();
    for signal in ["traces", "metrics", "logs"] {
        collector.body(&format!("/v1/{signal}"), String::new());
    }
    let environment = json!({ "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url("") });
    let room = served_with("traced", "says_back.py", "invocations", environment);
    let made = room.api.post(&at("traced", "sessions"), json!({ "agent_session_id": "t" }));
    made.expect(201);
    let asked = |trace: &str| {
        let parent = format!("00-{trace}-b7ad6b7169203331-01");
        let path = at("traced", "protocols/invocations?agent_session_id=t");
        let asked = room.api.request("POST", &path).header("traceparent", &parent);
        let said = asked.header("baggage", "who=ann").body("hello").send().expect(200);
        let names: Vec<_> = said["headers"].as_array().expect("names").clone();
        assert!(names.contains(&json!("traceparent")) && names.contains(&json!("baggage")));
    };
    let trace = 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c_u128;
    asked(&format!("{trace:032x}"));
    let trace = trace.to_be_bytes();
    collector.wait(0, 1, |asked| {
        asked.path == "/v1/logs" && asked.body.windows(16).any(|bytes| bytes == trace)
    });
    assert_eq!(room.api.stop("t")["receipt"]["survivors"], 0);
}

#[test]
fn p10_an_agent_that_does_not_come_up_is_a_session_that_has_failed() {
    let room = Greenroom::up().start();
    let description = json!({ "driver": "hosted", "command": ["sh", "-c", "echo no key; exit 3"] });
    let body = json!({ "description": description });
    room.api.post("/v1/agents/dies/versions", body).expect(201);
    let created = room.api.post(&at("dies", "sessions"), json!({ "agent_session_id": "d" }));
    let created = created.expect(201);
    assert_eq!(created["status"], "failed", "{created:#}");
    assert!(created["failure"].to_string().contains("code 3"), "{created:#}");
    let asked = room.api.post(&at("dies", "protocols/invocations?agent_session_id=d"), json!({}));
    assert_eq!(asked.expect(502)["error"]["code"], "agent_failed");
    assert_eq!(asked.header("x-adc-response-details"), Some("ReadinessTimeout"));
    let stop = || room.api.request("POST", &at("dies", "sessions/d:stop")).send();
    assert_eq!(stop().status, 204, "nobody has stopped it before");
    assert_eq!(stop().expect(409)["error"]["code"], "session_already_stopped");
}

#[test]
fn p10_what_an_agent_says_of_itself_is_passed_on() {
    let room = served("talks", "says_back.py", "invocations");
    let docs = |query: &str| {
        let path = format!("protocols/invocations/docs/openapi.json?api-version=v1{query}");
        room.api.get(&at("talks", &path))
    };
    // Nobody is up to be asked, and no session is made for it.
    assert_eq!(docs("").expect(404)["error"]["code"], "not_found");
    assert_eq!(docs("&agent_session_id=s").expect(404)["error"]["code"], "session_not_found");
    assert_eq!(room.api.get("/v1/sessions").expect(200)["items"], json!([]));
    let made = room.api.post(&at("talks", "sessions"), json!({ "agent_session_id": "s" }));
    made.expect(201);
    for query in ["", "&agent_session_id=s"] {
        let said = docs(query);
        assert_eq!(said.header("x-agent-session-id"), Some("s"));
        assert_eq!(said.expect(200)["info"]["title"], "Says back");
    }
    // What the agent has not is the agent's to say.
    for other in ["asyncapi.json", "asyncapi.yaml"] {
        let path = format!("protocols/invocations/docs/{other}?agent_session_id=s");
        let said = room.api.get(&at("talks", &path));
        assert_eq!((said.status, said.header("x-greenroom-epoch")), (404, Some("1")));
    }
    assert_eq!(room.api.stop("s")["receipt"]["survivors"], 0);
    // With the session named, it comes up to be asked.
    assert_eq!(docs("&agent_session_id=s").expect(200)["openapi"], "3.1.0");
    assert_eq!(room.api.session("s")["epoch"], 2);
    assert_eq!(room.api.stop("s")["receipt"]["survivors"], 0);
    room.api.check("s");
}

#[test]
fn p10_the_command_line_acts_for_one_user() {
    let room = room();
    let cli = |args: &[&str]| room.cli(&[&["sessions"], args].concat());
    cli(&["create", "my-agent", "--id", "a", "--user-identity", "u-1"]).exits(0);
    cli(&["create", "my-agent", "--id", "b"]).exits(0);
    let mine = cli(&["ls", "--user-identity", "u-1", "--output", "json"]).exits(0).json();
    assert_eq!(mine["items"].as_array().expect("items").len(), 1);
    assert_eq!(mine["items"][0]["user"], "u-1");
    for verb in ["show", "stop", "delete"] {
        let words = "session \"a\" not found or has been deleted";
        cli(&[verb, "a", "--user-identity", "u-2"]).exits(1).says(words);
    }
    let foundry = |id: &str| room.api.get(&at("my-agent", &format!("sessions/{id}"))).expect(200);
    assert_eq!(foundry("a")["user_identity"], "u-1");
    cli(&["resume", "a", "--user-identity", "u-1"]).exits(0);
    room.api.wait_status("a", "idle");
    let stop = ["stop", "a", "-n", "my-agent", "--user-identity", "u-1"];
    cli(&stop).exits(0).says("Session \"a\" stopped for agent \"my-agent\"");
    cli(&stop).exits(0).says("Session \"a\" is already stopped for agent \"my-agent\".");
    // Stopped on the command line is stopped through the door.
    let again = room.api.request("POST", &at("my-agent", "sessions/a:stop")).send();
    assert_eq!(again.expect(409)["error"]["code"], "session_already_stopped");
    room.cli(&["agents", "disable", "my-agent"]).exits(0).says("takes nothing new");
    cli(&["create", "my-agent"]).exits(1).says("agent \"my-agent\" is disabled");
    room.cli(&["agents", "enable", "my-agent"]).exits(0);
    cli(&["create", "my-agent", "--id", "c"]).exits(0);
    // A version that is not in service is one's own choice.
    let description = json!({ "driver": "hosted", "command": program(), "env": { "A": "2" } });
    let made = room.api.post("/v1/agents/my-agent/versions", json!({ "description": description }));
    assert_eq!(made.expect(201)["version"], 2);
    cli(&["create", "my-agent", "--id", "old", "--agent-version", "1"]).exits(0);
    cli(&["create", "my-agent", "--id", "new"]).exits(0);
    let version = |id: &str| room.api.session(id)["agent"]["version"].clone();
    assert_eq!((version("old"), version("new")), (json!(1), json!(2)));
    cli(&["create", "my-agent", "--agent-version", "9"]).exits(1);
}
