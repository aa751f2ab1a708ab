//! The driver `loop` from end to end: a session's own policy, text for a turn in progress,
//! MCP servers with questions of their own, and a model that is not well.

use std::process::{Child, Command, Stdio};

use greenroom_tests::endpoint::{self, Endpoint};
use greenroom_tests::session::id_of;
use greenroom_tests::{Greenroom, Value, agents, json, tools};

/// An agent of ours at this endpoint, free to do as it likes.
fn looping(endpoint: &Endpoint, more: Value) -> Value {
    let agent = json!({
        "driver": "loop", "model": "openai/m", "base_url": format!("{}/v1", endpoint.url()),
        "approvals": { "mode": "autonomous" },
    });
    agents::with(agent, more)
}

fn room(endpoint: &Endpoint, more: Value) -> Greenroom {
    let room = Greenroom::up().start();
    room.write_agent("loop", looping(endpoint, more));
    room.served("loop");
    room
}

fn ended(room: &Greenroom, id: &str, run: &Value) -> Value {
    room.api.wait_run(id, run)
}

/// What the log has of this type.
fn of(room: &Greenroom, id: &str, kind: &str) -> Vec<Value> {
    room.api.events(id, kind).into_iter().map(|event| event["data"].clone()).collect()
}

fn results(room: &Greenroom, id: &str) -> Vec<String> {
    let all = of(room, id, "tool_result").into_iter();
    all.map(|data| data["output"].as_str().unwrap_or_default().to_owned()).collect()
}

#[test]
fn p9_a_sessions_own_policy_counts_on_disk() {
    let write = json!({ "path": "out.txt", "content": "hello" });
    let endpoint = Endpoint::start(&endpoint::uses("WRITE", "write_file", write, "So be it."));
    let room = room(&endpoint, json!({}));
    for (flags, written) in [
        (&[][..], true),
        (&["--deny", "write_file(out*)"], false),
        (&["--approvals-mode", "strict", "--headless"], false),
        (&["--approvals-mode", "strict", "--headless", "--allow", "write_file"], true),
    ] {
        let made = room.cli(&[&["sessions", "create", "loop", "WRITE it"], flags].concat());
        assert_eq!(made.code, Some(0), "{made:?}");
        let id = made.out.trim().to_owned();
        let session = room.api.session(&id);
        ended(&room, &id, &session["run_id"]);
        let file = room.workspace(session["uid"].as_str().expect("a uid")).join("out.txt");
        assert_eq!(file.exists(), written, "{flags:?}: {:#?}", room.api.log(&id));
    }
    // From its next compute on, a session may do what it is given then.
    let session = room
        .api
        .create("loop", json!({ "prompt": "WRITE it", "approvals": { "deny": ["write_file"] } }));
    let id = id_of(&session);
    ended(&room, &id, &session["run_id"]);
    room.api.stop(&id);
    let update = |flags: &[&str]| {
        let updated = room.cli(&[&["sessions", "update", &id], flags].concat());
        assert_eq!(updated.code, Some(0), "{updated:?}");
        room.api.session(&id)["approvals"].clone()
    };
    let narrow = ["--approvals-mode", "strict", "--deny", "shell(rm *)"];
    assert_eq!(update(&narrow), json!({ "mode": "strict", "deny": ["shell(rm *)"] }));
    assert_eq!(update(&["--clear-approvals"]), json!({}));
    let run = room.api.prompt(&id, "WRITE it");
    ended(&room, &id, &run["id"]);
    let file = room.workspace(session["uid"].as_str().expect("a uid")).join("out.txt");
    assert_eq!(std::fs::read_to_string(file).expect("it is written"), "hello");
}

/// Edited by people while its agent waits, and after everything but the agent was killed.
#[test]
fn p9_edits_count_in_the_turn_in_progress_also_after_a_crash() {
    let call = |text: &str| {
        let arguments = json!({ "command": format!("touch {text}") });
        json!({ "name": "shell", "arguments": arguments })
    };
    let mut first = endpoint::says("WRITE", "I will.");
    first["match"]["hasToolResult"] = json!(false);
    first["response"]["toolCalls"] = json!([call("one"), call("two"), call("three")]);
    let mut then = endpoint::says("WRITE", "All of it.");
    then["match"]["hasToolResult"] = json!(true);
    let endpoint = Endpoint::start(&[first, then]);
    let mut room = room(&endpoint, json!({ "approvals": { "mode": "strict" } }));
    let session = room.api.create("loop", json!({ "id": "s", "prompt": "WRITE it" }));
    room.api.wait_status("s", "waiting");
    room.kill9_and_restart();
    let cli = |args: &[&str]| {
        let done = room.cli(args);
        assert_eq!(done.code, Some(0), "{done:?}");
    };
    let mode = ["--approvals-mode", "autonomous", "--deny", "shell(touch two)"];
    cli(&[&["sessions", "update", "s", "--model", "openai/other"], &mode[..]].concat());
    // What was open is still a person's to answer.
    assert_eq!(room.api.session("s")["pending"]["approvals"], 1);
    cli(&["approvals", "allow", "s"]);
    let run = ended(&room, "s", &session["run_id"]);
    assert_eq!(run["status"], "completed", "{run:#}\n{:#?}", room.api.log("s"));
    assert_eq!(of(&room, "s", "approval.requested").len(), 1, "nothing more was asked");
    let decided = of(&room, "s", "approval.decided");
    let decided: Vec<&Value> = decided.iter().map(|data| &data["decision"]).collect();
    assert_eq!(decided, ["deny", "allow"]);
    let folder = room.workspace(session["uid"].as_str().expect("a uid"));
    let made = ["one", "two", "three"].map(|name| folder.join(name).exists());
    assert_eq!(made, [true, false, true], "what was answered, denied, allowed");
    let journal = endpoint.journal();
    let models: Vec<&Value> = journal.iter().map(|entry| &entry["body"]["model"]).collect();
    assert_eq!(models, ["m", "other"]);
    assert_eq!(room.api.session("s")["epoch"], 1, "all in one compute");
    let unknown = room.cli(&["sessions", "update", "s", "--model", "anthropic/x"]);
    assert_eq!(unknown.code, Some(1), "{unknown:?}");
    assert!(unknown.err.contains("openai/*, openai/m"), "{unknown:?}");
}

/// A turn that goes on with its tool until it is told something.
fn until_told() -> Endpoint {
    let call = json!([{ "name": "shell", "arguments": { "command": "sleep 0.05" } }]);
    let work = json!({ "match": { "userMessage": "WORK" }, "response": { "toolCalls": call } });
    let told = endpoint::says("ENOUGH", "As you like.");
    Endpoint::start(&[told, work, endpoint::otherwise("What?")])
}

#[test]
fn p9_text_becomes_part_of_the_turn_in_progress_also_after_a_crash() {
    let endpoint = until_told();
    let mut room = room(&endpoint, json!({ "max_iterations": 0 }));
    let session = room.api.create("loop", json!({ "id": "s", "prompt": "WORK on" }));
    let head = session["run_id"].clone();
    room.api.wait_event("s", 1, "tool_result");
    let later = room.api.prompt("s", "and what now?");
    let steer = room.api.prompt_with("s", "ENOUGH of it", json!({ "mode": "steer" })).expect(202);
    room.kill9_and_restart();
    assert_eq!((&steer["mode"], &steer["ahead"]), (&json!("steer"), &json!(0)), "{steer:#}");
    let run = ended(&room, "s", &head);
    assert_eq!(run["status"], "completed", "{run:#}\n{:#?}", room.api.log("s"));
    let steered = of(&room, "s", "run.steered");
    assert_eq!(steered, [json!({ "run": steer["id"], "into": head })]);
    let path = format!("/v1/runs/{}", steer["id"].as_str().expect("an id"));
    assert_eq!(room.api.get(&path).expect(200)["status"], "completed");
    ended(&room, "s", &later["id"]);
    let started = of(&room, "s", "run.started");
    assert!(started.iter().all(|data| data["run"] != steer["id"]), "it is no turn of its own");
    let asked = endpoint.last_asked("what now");
    assert_eq!(asked.matches("ENOUGH").count(), 1, "{asked}");
    assert!(asked.find("ENOUGH") < asked.find("what now"), "{asked}");
    room.api.check("s");
}

#[test]
fn p9_with_nothing_in_progress_a_steer_is_a_prompt_and_some_agents_take_none() {
    let endpoint = until_told();
    let room = room(&endpoint, json!({}));
    room.write_agent("holder", agents::holder());
    room.served("holder");
    room.api.create("loop", json!({ "id": "s" }));
    let sent = room.cli(&["sessions", "send", "s", "--follow", "--steer", "ENOUGH"]);
    assert_eq!(sent.code, Some(0), "{sent:?}");
    assert!(sent.out.contains("As you like."), "{sent:?}");
    assert_eq!(of(&room, "s", "run.steered").len(), 0);

    let (_, prompt) = room.mark();
    let busy = room.api.begin("holder", &prompt);
    room.api.wait_text(&busy, "holding");
    let steer = room.api.prompt_with(&busy, "x", json!({ "mode": "steer" }));
    steer.problem(409, "steer_unsupported");
    room.api.stop(&busy);
}

/// The server that has a bit of everything, over HTTP. It ends with this value.
struct Everything(Child, String);

impl Everything {
    const FILE: &str = "@modelcontextprotocol/server-everything/dist/index.js";

    fn command() -> Value {
        json!([tools::node(), tools::mcp(Self::FILE), "stdio"])
    }

    fn over_http() -> Self {
        // The server has no way to choose a port itself; this one was free a moment ago.
        let port = std::net::TcpListener::bind("127.0.0.1:0")
            .and_then(|listener| listener.local_addr())
            .expect("a port")
            .port();
        let mut child = Command::new(tools::node())
            .arg(tools::mcp(Self::FILE))
            .arg("streamableHttp")
            .env("PORT", port.to_string())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the server starts");
        let stderr = std::io::BufReader::new(child.stderr.take().expect("a pipe"));
        let mut lines = std::io::BufRead::lines(stderr).map_while(Result::ok);
        let listens = lines.find(|line| line.contains("listening"));
        assert!(listens.is_some(), "it listens");
        Self(child, format!("http://127.0.0.1:{port}/mcp"))
    }
}

impl Drop for Everything {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn p9_a_server_with_everything_is_listed_and_used_over_both_transports() {
    let server = Everything::over_http();
    for (name, at) in [
        ("stdio", json!({ "command": Everything::command() })),
        ("http", json!({ "url": server.1 })),
    ] {
        let echo = endpoint::uses("ECHO", "all__echo", json!({ "message": "ahoy" }), "Heard.");
        let sum = endpoint::uses("SUM", "all__get-sum", json!({ "a": 40, "b": 2 }), "Summed.");
        let wrong = endpoint::uses("WRONG", "all__get-sum", json!({ "a": "x" }), "It cannot.");
        let endpoint = Endpoint::start(&[echo, sum, wrong].concat());
        let room = room(&endpoint, json!({ "tools": [], "mcp": { "all": at } }));
        let session = room.api.create("loop", json!({ "id": "s", "prompt": "ECHO" }));
        ended(&room, "s", &session["run_id"]);
        for word in ["SUM", "WRONG"] {
            let run = room.api.prompt("s", word);
            let run = ended(&room, "s", &run["id"]);
            assert_eq!(run["status"], "completed", "{name}: {:#?}", room.api.log("s"));
        }
        let said = results(&room, "s");
        let [echo, sum, wrong] = &said[..] else { panic!("{name}: {said:?}") };
        assert!(echo.contains("ahoy") && sum.contains("42"), "{name}: {said:?}");
        let errors = of(&room, "s", "tool_result");
        assert_eq!(errors[2]["is_error"], true, "{name}: {wrong}");
        let asked = endpoint.last_asked("ECHO");
        for tool in ["all__echo", "all__get-tiny-image", "all__trigger-long-running-operation"] {
            assert!(asked.contains(tool), "{name}: the model is told of {tool}");
        }
        room.api.stop("s");
        assert_eq!(room.api.session("s")["receipt"]["survivors"], 0);
    }
}

#[test]
fn p9_a_form_of_an_mcp_server_is_a_question_that_a_person_answers() {
    let tool = "all__trigger-elicitation-request";
    let endpoint = Endpoint::start(&endpoint::uses("FORM", tool, json!({}), "Thank you."));
    let mcp = json!({ "all": { "command": Everything::command() } });
    let room = room(&endpoint, json!({ "tools": [], "mcp": mcp }));
    let ask = |id: &str| {
        let list = room.api.get(&format!("/v1/sessions/{id}/approvals")).expect(200);
        let open = list["items"].as_array().expect("a list").iter().find(|a| a["status"] == "open");
        open.unwrap_or_else(|| panic!("{list:#}")).clone()
    };
    let answer = |id: &str, asked: &Value, body: Value| {
        let approval = asked["id"].as_str().expect("an id");
        room.api.post(&format!("/v1/sessions/{id}/approvals/{approval}"), body)
    };
    let session = room.api.create("loop", json!({ "id": "s", "prompt": "FORM" }));
    room.api.wait_status("s", "waiting");
    let asked = ask("s");
    assert_eq!(asked["kind"], "form", "{asked:#}");
    assert_eq!(asked["schema"]["properties"]["name"]["type"], "string", "{asked:#}");
    let odd = answer("s", &asked, json!({ "decision": "allow", "content": { "integer": "x" } }));
    odd.refused(422);
    let form = json!({ "name": "Ada", "check": true, "integer": 7 });
    answer("s", &asked, json!({ "decision": "allow", "content": form })).granted();
    let run = ended(&room, "s", &session["run_id"]);
    assert_eq!(run["status"], "completed", "{:#?}", room.api.log("s"));
    let said = results(&room, "s").concat();
    assert!(said.contains("Ada") && said.contains("accept"), "{said}");

    let run = room.api.prompt("s", "FORM again");
    room.api.wait_status("s", "waiting");
    answer("s", &ask("s"), json!({ "decision": "deny" })).granted();
    ended(&room, "s", &run["id"]);
    let said = results(&room, "s").pop().expect("a result");
    assert!(said.contains("declined") || said.contains("decline"), "{said}");

    // With nobody there, the server is told no at once.
    let alone = json!({ "id": "t", "prompt": "FORM", "approvals": { "headless": true } });
    let session = room.api.create("loop", alone);
    ended(&room, "t", &session["run_id"]);
    assert!(results(&room, "t").concat().contains("decline"), "{:?}", results(&room, "t"));
    room.api.check("s");
}

/// Both ways of a server to send a person to a page: asking, and refusing until it was done.
#[test]
fn p9_a_page_of_an_mcp_server_is_a_question_that_a_person_answers() {
    let tool = "all__trigger-url-elicitation";
    let page = |refuses: bool| json!({ "url": "https://example.com/sign", "errorPath": refuses });
    let asks = endpoint::uses("ASK", tool, page(false), "Thank you.");
    let refuses = endpoint::uses("REFUSE", tool, page(true), "Thank you.");
    let endpoint = Endpoint::start(&[asks, refuses].concat());
    let mcp = json!({ "all": { "command": Everything::command() } });
    let room = room(&endpoint, json!({ "tools": [], "mcp": mcp }));
    let mut seen = 0;
    let mut answer = |url: &str, decision: &str| {
        let event = room.api.wait_event("s", seen + 1, "approval.requested");
        seen = event["seq"].as_u64().expect("a position");
        let asked = &event["data"];
        assert_eq!((&asked["kind"], &asked["url"]), (&json!("url"), &json!(url)), "{asked:#}");
        let id = asked["id"].as_str().expect("an id");
        let path = format!("/v1/sessions/s/approvals/{id}");
        room.api.post(&path, json!({ "decision": decision })).granted();
    };
    let last = || results(&room, "s").pop().expect("a result");
    let session = room.api.create("loop", json!({ "id": "s", "prompt": "ASK" }));
    answer("https://example.com/sign", "allow");
    ended(&room, "s", &session["run_id"]);
    assert!(last().contains("completed the URL elicitation"), "{}", last());

    let run = room.api.prompt("s", "ASK again");
    answer("https://example.com/sign", "deny");
    ended(&room, "s", &run["id"]);
    assert!(last().contains("declined to open"), "{}", last());

    let run = room.api.prompt("s", "REFUSE");
    answer("https://modelcontextprotocol.io", "allow");
    answer("https://example.com/sign", "allow");
    ended(&room, "s", &run["id"]);
    assert!(last().contains("completed the URL elicitation"), "{}", last());

    let run = room.api.prompt("s", "REFUSE again");
    answer("https://modelcontextprotocol.io", "deny");
    ended(&room, "s", &run["id"]);
    assert!(last().contains("and that was declined"), "{}", last());
}

/// Each fault of a model ends its run with a word for it, and the session goes on.
#[test]
fn p9_a_model_that_is_not_well_leaves_no_session_running() {
    let broken = |word: &str, chaos: Value| {
        let mut fixture = endpoint::says(word, "never said");
        fixture["chaos"] = chaos;
        fixture
    };
    let endpoint = Endpoint::start(&[
        endpoint::says("WELL", "I am well."),
        endpoint::fails("REFUSED", 400, "scripted bad request"),
        broken("LIMITED", json!({ "rateLimitRate": 1 })),
        broken("ERROR", json!({ "dropRate": 1 })),
        broken("GARBAGE", json!({ "malformedRate": 1 })),
        broken("RESET", json!({ "disconnectRate": 1 })),
        broken("HANG", json!({ "latencyMs": 30_000 })),
    ]);
    let room = room(&endpoint, json!({ "retry": "2500ms", "silence": "500ms" }));
    for (word, code, retried) in [
        ("REFUSED", "model_error", false),
        ("LIMITED", "model_error", true),
        ("ERROR", "model_error", true),
        ("GARBAGE", "model_error", true),
        ("RESET", "model_error", true),
        ("HANG", "model_timeout", true),
    ] {
        let session = room.api.create("loop", json!({ "prompt": word }));
        let s = id_of(&session);
        let run = ended(&room, &s, &session["run_id"]);
        assert_eq!(run["status"], "failed", "{word}: {run:#}");
        assert_eq!(run["error"]["code"], code, "{word}: {run:#}");
        assert_eq!(room.api.wait_status(&s, "idle")["status"], "idle", "{word}");
        let id = run["id"].as_str().expect("an id");
        let tries: Vec<Value> = room
            .api
            .events(&s, "session.agent_info")
            .into_iter()
            .filter(|event| event["run"] == id && event["data"]["about"] == "discard")
            .map(|event| event["data"].clone())
            .collect();
        let again = tries.iter().filter(|data| data["next"] == "retry").count();
        assert_eq!(again > 0, retried, "{word}: {tries:#?}");
        assert_eq!(tries.last().map(|data| &data["next"]), Some(&json!("give_up")), "{word}");
        if word == "LIMITED" {
            // As long as the server said with Retry-After.
            assert!(tries[0]["wait_ms"].as_u64() >= Some(1000), "{tries:#?}");
        }
        let run = room.api.prompt(&s, "Are you WELL?");
        assert_eq!(ended(&room, &s, &run["id"])["status"], "completed", "{word}");
        room.api.stop(&s);
        room.api.check(&s);
    }
}
