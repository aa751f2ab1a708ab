//! The door `/docker-agent` from end to end: a team as docker-agent writes one, real processes,
//! a scripted model, and a client whose HTTP and SSE are not ours.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};

use greenroom_tests::endpoint::{self, Endpoint};
use greenroom_tests::http::encode;
use greenroom_tests::web::Web;
use greenroom_tests::{Greenroom, PATIENCE, Value, agents, json, tools};

/// A room with this team, served by its file.
fn room(endpoint: &Endpoint, safety: &str) -> Greenroom {
    let room = Greenroom::up().start();
    let text = format!(
        r#"
version: "2"
providers:
  scripted: {{ base_url: "{}/v1", api_type: openai_chatcompletions }}
agents:
  root:
    model: scripted/m
    description: Leads
    instruction: Be brief.
    safety: {safety}
    toolsets: [{{ type: filesystem }}, {{ type: shell }}]
"#,
        endpoint.url()
    );
    std::fs::write(room.agent_file("lead"), text).expect("the agent's file");
    room.served("lead");
    room
}

fn door(room: &Greenroom, method: &str, path: &str, body: Value) -> Value {
    let request = room.api.request(method, &format!("/docker-agent{path}"));
    let reply = if body.is_null() { request.send() } else { request.json(&body).send() };
    assert!(
        (200..300).contains(&reply.status),
        "{method} {path}: {} {}",
        reply.status,
        reply.text()
    );
    reply.json()
}

fn session(room: &Greenroom, template: Value) -> String {
    let made = door(room, "POST", "/api/sessions", template);
    made["id"].as_str().expect("an id").to_owned()
}

/// The client by others' hands. It ends with this value.
struct Client {
    child: Child,
    lines: Receiver<Value>,
    /// Positions it was told, in order.
    ids: Vec<u64>,
}

impl Client {
    fn start(room: &Greenroom, args: &[&str]) -> Self {
        let [python, script] = tools::docker_client();
        let base = format!("http://{}/docker-agent", room.api.host);
        let mut child = Command::new(python)
            .arg(script)
            .args([&base, room.api.token.as_deref().expect("a token")])
            .args(args)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the client starts");
        let stdout = BufReader::new(child.stdout.take().expect("a pipe"));
        let (say, lines) = channel();
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                let _ = say.send(serde_json::from_str(&line).expect("JSON"));
            }
        });
        Self { child, lines, ids: Vec::new() }
    }

    /// The next event, or why there is none.
    fn next(&mut self) -> Result<Value, String> {
        let line = self.lines.recv_timeout(PATIENCE).expect("the client says more");
        if let Some(why) = line["closed"].as_str() {
            return Err(why.to_owned());
        }
        assert_eq!(line["event"], "message", "frames have no name: {line}");
        if let Some(id) = line["id"].as_str().filter(|id| !id.is_empty()) {
            self.ids.push(id.parse().expect("a number"));
        }
        Ok(line["data"].clone())
    }

    fn until(&mut self, kind: &str) -> Value {
        loop {
            let event = self.next().unwrap_or_else(|why| panic!("{kind} comes: {why}"));
            if event["type"] == kind {
                return event;
            }
        }
    }

    /// All that is left, and why it ended.
    fn rest(&mut self) -> (Vec<Value>, String) {
        let mut all = Vec::new();
        loop {
            match self.next() {
                Ok(event) => all.push(event),
                Err(why) => return (all, why),
            }
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn types(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["type"].as_str().expect("a type")).collect()
}

fn said(events: &[Value]) -> String {
    let choices = events.iter().filter(|event| event["type"] == "agent_choice");
    choices.map(|event| event["content"].as_str().expect("text")).collect()
}

#[test]
fn p10_docker_agent_a_turn_is_approved_after_a_crash_and_nothing_of_it_is_missed() {
    let write = json!({ "command": "echo hi > out.txt" });
    let endpoint = Endpoint::start(&endpoint::uses("WRITE", "shell", write, "So be it."));
    let mut room = room(&endpoint, "balanced");
    let id = session(&room, json!({ "title": "T" }));
    let mut client = Client::start(&room, &["run", &id, "lead", "WRITE it"]);
    let question = client.until("tool_call_confirmation");
    assert_eq!(question["tool_call"]["function"]["name"], "shell", "{question:#}");
    // It is a session like any other.
    let ours = room.api.wait_status(&id, "waiting");
    assert_eq!(ours["agent"]["name"], "lead");
    assert_eq!(room.api.runs(&id)[0]["prompt"], "WRITE it");
    let snapshot = door(&room, "GET", &format!("/api/sessions/{id}/snapshot"), Value::Null);
    let epoch = snapshot["event_epoch"].as_str().expect("an epoch").to_owned();

    room.kill9_and_restart();
    let (_, why) = client.rest();
    assert_ne!(why, "end", "the connection broke");
    let seen = *client.ids.last().expect("positions");

    let mut client = Client::start(&room, &["events", &id, &seen.to_string(), &epoch]);
    assert_eq!(client.until("stream_epoch")["epoch"], epoch.as_str());
    let answer =
        json!({ "confirmation": "approve", "confirmation_id": question["confirmation_id"] });
    let path = format!("/api/sessions/{id}/resume");
    // Its agent asks on; its runner has to be back before it is told.
    door(&room, "POST", &path, answer.clone());
    let again = room.api.request("POST", &format!("/docker-agent{path}")).json(&answer).send();
    assert_eq!(again.status, 409, "{}", again.text());
    let mut events = Vec::new();
    while types(&events).last() != Some(&"stream_stopped") {
        events.push(client.next().expect("more"));
    }
    assert!(!types(&events).contains(&"gap"), "{events:#?}");
    assert!(types(&events).contains(&"tool_call_response"), "{events:#?}");
    assert!(said(&events).ends_with("So be it."), "{events:#?}");
    let sorted = client.ids.windows(2).all(|two| two[0] < two[1]);
    assert!(sorted && client.ids[0] > seen, "{:?} after {seen}", client.ids);
    let uid = ours["uid"].as_str().expect("a uid");
    let file = std::fs::read_to_string(room.workspace(uid).join("out.txt"));
    assert_eq!(file.expect("it is written"), "hi\n");

    // Stopped elsewhere, with the proof; removed here.
    let stopped = room.api.stop(&id);
    assert_eq!(stopped["receipt"]["survivors"], 0, "{stopped:#}");
    room.api.check(&id);
    door(&room, "DELETE", &format!("/api/sessions/{id}"), Value::Null);
    client.until("session_exited");
    assert_eq!(client.rest(), (Vec::new(), "end".to_owned()));
    room.api.get(&format!("/v1/sessions/{id}")).refused(404);
}

#[test]
fn p10_docker_agent_a_turn_is_streamed_and_ends_and_another_is_refused_meanwhile() {
    let sleep = json!({ "command": "sleep 30" });
    let endpoint = Endpoint::start(
        &[
            vec![endpoint::says("HELLO", "Hello there, all of you.")],
            endpoint::uses("WAIT", "shell", sleep, "Waited.").to_vec(),
        ]
        .concat(),
    );
    let room = room(&endpoint, "autonomous");
    let id = session(&room, json!({}));
    let mut client = Client::start(&room, &["named", &id, "lead", "HELLO"]);
    let (events, why) = client.rest();
    assert_eq!(why, "end");
    assert_eq!(said(&events), "Hello there, all of you.", "{events:#?}");
    assert_eq!(
        types(&events)[..5],
        ["agent_info", "team_info", "toolset_info", "user_message", "stream_started"]
    );
    assert_eq!(types(&events).last(), Some(&"stream_stopped"));
    assert!(types(&events).contains(&"token_usage"), "{events:#?}");

    let mut client = Client::start(&room, &["run", &id, "lead", "WAIT"]);
    client.until("tool_call");
    let busy = room.api.request("POST", &format!("/docker-agent/api/sessions/{id}/agent/lead"));
    let busy = busy.json(&json!([{ "role": "user", "content": "HELLO" }])).send();
    assert_eq!(busy.status, 409, "{}", busy.text());
    let stopped = room.api.stop(&id);
    assert_eq!(stopped["receipt"]["survivors"], 0, "{stopped:#}");
    let (events, why) = client.rest();
    assert_eq!(
        (types(&events).last(), why.as_str()),
        (Some(&"stream_stopped"), "end"),
        "{events:#?}"
    );
    let log = door(&room, "GET", &format!("/api/sessions/{id}"), Value::Null);
    let roles: Vec<&str> = log["messages"]
        .as_array()
        .expect("messages")
        .iter()
        .map(|m| m["message"]["role"].as_str().expect("a role"))
        .collect();
    assert_eq!(roles[..4], ["user", "assistant", "user", "assistant"], "{log:#}");
    room.api.check(&id);
}

#[test]
fn p10_docker_agent_what_is_approved_for_the_session_is_not_asked_again() {
    let call = |name: &str, text: &str| json!({ "name": name, "arguments": { "command": format!("echo {text} >> out.txt") } });
    let mut first = endpoint::says("WRITE", "I will.");
    first["match"]["hasToolResult"] = json!(false);
    first["response"]["toolCalls"] = json!([call("shell", "one"), call("shell", "two")]);
    let mut then = endpoint::says("WRITE", "Both.");
    then["match"]["hasToolResult"] = json!(true);
    let endpoint = Endpoint::start(&[first, then]);
    let room = room(&endpoint, "strict");
    for (verb, asked) in [("approve-session", 1), ("approve-tool", 1), ("approve", 2)] {
        let id = session(&room, json!({}));
        let mut client = Client::start(&room, &["run", &id, "lead", "WRITE"]);
        for _ in 0..asked {
            client.until("tool_call_confirmation");
            let path = format!("/api/sessions/{id}/resume");
            door(&room, "POST", &path, json!({ "confirmation": verb }));
        }
        let (events, _) = client.rest();
        assert!(!types(&events).contains(&"tool_call_confirmation"), "{verb}: {events:#?}");
        assert!(said(&events).ends_with("Both."), "{verb}: {events:#?}");
        let uid = room.api.session(&id)["uid"].as_str().expect("a uid").to_owned();
        let file = std::fs::read_to_string(room.workspace(&uid).join("out.txt"));
        assert_eq!(file.expect("it is written"), "one\ntwo\n", "{verb}");
        room.api.stop(&id);
    }
}

/// Which models were asked, in order.
fn models(endpoint: &Endpoint) -> Vec<String> {
    let journal = endpoint.journal();
    let all = journal.iter().map(|entry| entry["body"]["model"].as_str().expect("a model"));
    all.map(str::to_owned).collect()
}

#[test]
fn p10_docker_agent_edits_count_in_the_turn_in_progress() {
    let call = |text: &str| json!({ "name": "shell", "arguments": { "command": format!("echo {text} >> out.txt") } });
    let mut first = endpoint::says("WRITE", "I will.");
    first["match"]["hasToolResult"] = json!(false);
    first["response"]["toolCalls"] = json!([call("one"), call("two")]);
    let mut then = endpoint::says("WRITE", "Both.");
    then["match"]["hasToolResult"] = json!(true);
    let endpoint = Endpoint::start(&[first, then, endpoint::says("NEXT", "Next.")]);
    let room = room(&endpoint, "strict");
    let deny = json!({ "permissions": { "deny": ["shell:cmd=echo two*"] } });
    for (edit, body, written) in [
        ("safety-policy", json!({ "safety_policy": "autonomous" }), "one\ntwo\n"),
        ("permissions", deny, "one\n"),
    ] {
        let before = models(&endpoint).len();
        let id = session(&room, json!({}));
        let path = format!("/api/sessions/{id}");
        let mut client = Client::start(&room, &["run", &id, "lead", "WRITE"]);
        // In the middle of the turn: the first call is asked about, and the second is to come.
        client.until("tool_call_confirmation");
        door(&room, "PATCH", &format!("{path}/{edit}"), body);
        door(&room, "PATCH", &format!("{path}/model"), json!({ "model": "scripted/other" }));
        assert_eq!(client.until("agent_info")["model"], "scripted/other");
        door(&room, "POST", &format!("{path}/resume"), json!({ "confirmation": "approve" }));
        let (events, why) = client.rest();
        assert_eq!(why, "end");
        assert!(!types(&events).contains(&"tool_call_confirmation"), "{edit}: {events:#?}");
        assert!(said(&events).ends_with("Both."), "{edit}: {events:#?}");
        let ours = room.api.session(&id);
        let file = room.workspace(ours["uid"].as_str().expect("a uid")).join("out.txt");
        assert_eq!(std::fs::read_to_string(file).expect("it is written"), written, "{edit}");
        assert_eq!(models(&endpoint)[before..], ["m", "other"], "{edit}");
        let shown = door(&room, "GET", &path, Value::Null);
        assert_eq!(shown["agent_model_overrides"], json!({ "root": "scripted/other" }));

        // A turn that names a model, in the same compute.
        let turn = json!({ "messages": [{ "role": "user", "content": "NEXT" }], "model": "scripted/third" });
        let asked = room.api.request("POST", &format!("/docker-agent{path}/agent/lead"));
        let streamed = asked.json(&turn).send();
        assert!(streamed.text().contains("Next."), "{}", streamed.text());
        assert_eq!(models(&endpoint).last().map(String::as_str), Some("third"));
        assert_eq!(room.api.session(&id)["epoch"], 1, "all in one compute");
        room.api.stop(&id);
        room.api.check(&id);
    }
}

#[test]
fn p10_docker_agent_a_fork_goes_on_from_its_place_in_the_conversation() {
    let endpoint = Endpoint::start(&[
        endpoint::says("THIRD", "Three."),
        endpoint::says("SECOND", "Two."),
        endpoint::says("FIRST", "One."),
    ]);
    let room = room(&endpoint, "balanced");
    let id = session(&room, json!({ "title": "T" }));
    for word in ["FIRST", "SECOND"] {
        Client::start(&room, &["run", &id, "lead", word]).rest();
    }
    let forked = door(
        &room,
        "POST",
        &format!("/api/sessions/{id}/fork"),
        json!({ "user_message_index": 1 }),
    );
    let fork = forked["id"].as_str().expect("an id").to_owned();
    // What the other one was is not needed any more.
    door(&room, "DELETE", &format!("/api/sessions/{id}"), Value::Null);
    let (events, _) = Client::start(&room, &["run", &fork, "lead", "THIRD"]).rest();
    assert_eq!(said(&events), "Three.", "{events:#?}");
    let asked = endpoint.last_asked("THIRD");
    assert!(
        asked.find("FIRST") < asked.find("One.") && asked.find("One.") < asked.find("THIRD"),
        "{asked}"
    );
    assert!(!asked.contains("SECOND"), "{asked}");
    // And by the command line, from the end.
    let made = room.cli(&["sessions", "fork", &fork, "--title", "again"]);
    assert_eq!(made.code, Some(0), "{made:?}");
    let run = room.api.prompt(made.out.trim(), "SECOND");
    room.api.wait_run(made.out.trim(), &run["id"]);
    let asked = endpoint.last_asked("SECOND");
    assert!(asked.contains("THIRD") && asked.contains("Three."), "{asked}");
}

/// Agents of URLs, by their keys as clients escape them.
#[test]
fn p10_docker_agent_keys_are_exact_else_of_one_identity_else_not_found() {
    let web = Web::start();
    let url = |tag: &str| web.url(&format!("/a.yaml?t={tag}"));
    for tag in ["light", "dev"] {
        let file = agents::file("a", agents::sh(&format!("echo {tag}"), &[]));
        web.body(&format!("/a.yaml?t={tag}"), file);
    }
    let key = |tag: &str| encode(&url(tag));
    let (light, dev, away) = (url("light"), url("dev"), web.url("/away.yaml"));
    let both = Greenroom::up().args(&["--agents", &light, "--agents", &dev, "--agents", &away]);
    let both = both.start();
    let ask = |room: &Greenroom, segment: &str| {
        let id = session(room, json!({}));
        let path = format!("/docker-agent/api/sessions/{id}/agent/{segment}");
        let body = json!([{ "role": "user", "content": "go" }]);
        room.api.request("POST", &path).json(&body).send()
    };
    let served = |room: &Greenroom, key: &str| {
        room.wait_agent("a", |_| {
            let all = room.api.get("/v1/agents").expect(200);
            let all = all["items"].as_array().expect("a list").clone();
            all.iter().any(|agent| agent["source_key"] == key && agent["health"] == "ok")
        });
    };
    for tag in ["light", "dev"] {
        served(&both, &key(tag));
        // As Go's client escapes it, and once less.
        for segment in [encode(&key(tag)), key(tag)] {
            let said = ask(&both, &segment);
            assert_eq!(said.status, 200, "{segment}: {}", said.text());
            assert!(said.text().contains(&format!("\"content\":\"{tag}\\n\"")), "{}", said.text());
        }
    }
    let lost = ask(&both, &encode(&key("canary")));
    assert_eq!(lost.status, 404);
    let text = lost.json()["error"].as_str().expect("text").to_owned();
    assert!(text.starts_with("agent not found: http"), "{text}");
    assert!(text.contains(&key("light")) && text.contains(&key("dev")), "{text}");
    assert_eq!(ask(&both, &encode(&encode(&away))).status, 502);
    drop(both);

    let one = Greenroom::up().args(&["--agents", &dev]).start();
    served(&one, &key("dev"));
    for segment in [encode(&key("light")), key("light"), encode(&encode(&web.url("/a.yaml#s")))] {
        let said = ask(&one, &segment);
        assert_eq!(said.status, 200, "{segment}: {}", said.text());
        assert!(said.text().contains("\"content\":\"dev\\n\""), "{}", said.text());
    }
    assert_eq!(ask(&one, &encode(&encode(&web.url("/b.yaml")))).status, 404);
}

#[test]
fn p10_docker_agent_what_was_started_is_started_once_whatever_happens_to_the_server() {
    let endpoint = Endpoint::start(&[endpoint::otherwise("So be it.")]);
    let mut room = room(&endpoint, "autonomous");
    let key = room.api.get("/v1/agents/lead").json()["source_key"].clone();
    let request = |content: &str| {
        json!({
            "session_id": "begun", "agent_name": key, "title": "T",
            "input": { "request_id": "r-1", "content": content },
        })
    };
    let start = "/docker-agent/api/v2/sessions/start";
    let first = room.api.post(start, request("begin")).expect(202);
    assert_eq!(room.api.post(start, request("begin")).expect(202), first);
    room.kill9_and_restart();
    assert_eq!(room.api.post(start, request("begin")).expect(202), first);
    let refused = room.api.post(start, request("something else"));
    assert_eq!((refused.status, &refused.json()["reason"]), (409, &json!("conflict")));
    let run = room.api.wait_run("begun", &first["turn_id"]);
    assert_eq!((&run["status"], &run["prompt"]), (&json!("completed"), &json!("begin")));
    assert_eq!(room.api.said("begun"), "So be it.");
    assert_eq!(room.api.runs("begun").len(), 1);
}

#[test]
fn p10_docker_agent_a_team_works_in_the_folder_that_its_client_has_named() {
    let write = json!({ "path": "made.txt", "content": "hi" });
    let endpoint = Endpoint::start(&endpoint::uses("WRITE", "write_file", write, "Done."));
    let mut room = room(&endpoint, "autonomous");
    let folder = room.root.join("projects/app");
    std::fs::create_dir_all(&folder).expect("a folder");
    let folder = folder.to_str().expect("text").to_owned();
    let template = json!({ "id": "w", "working_dir": folder });
    let refused = room.api.post("/docker-agent/api/sessions", template.clone());
    assert_eq!(refused.status, 400, "{}", refused.text());
    assert!(refused.text().contains(&folder), "{}", refused.text());
    room.term_server();
    let root = room.root.join("projects").display().to_string();
    room.builder.set_args(&["--working-dir-root", &root]);
    room.start_server();
    session(&room, template);
    let mut client = Client::start(&room, &["run", "w", "lead", "WRITE it"]);
    let (events, why) = client.rest();
    assert!(said(&events).ends_with("Done."), "{events:#?} {why}");
    let text = std::fs::read_to_string(format!("{folder}/made.txt")).expect("the file");
    assert_eq!(text, "hi");
    let shown = door(&room, "GET", "/api/sessions/w", Value::Null);
    assert_eq!(shown["working_dir"], folder.as_str());
    door(&room, "DELETE", "/api/sessions/w", Value::Null);
    assert!(std::path::Path::new(&folder).join("made.txt").exists());
}
