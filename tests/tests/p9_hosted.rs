//! Agents that serve HTTP: runs and requests, while they are at rest, busy, or being ended;
//! and real agent servers, which go on with their work after a stop.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use greenroom_tests::session::{id_of, uid_of};
use greenroom_tests::{Greenroom, Value, json, procs, tools, wait_for};

fn beside(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// The agent of `examples/hosted.yaml`, with the folder it names where that is.
fn example(room: &Greenroom, limits: &str) {
    let text = fs::read_to_string(beside("../examples/hosted.yaml")).expect("the example");
    let folder = fs::canonicalize(beside("../examples/hosted")).expect("its folder");
    let text = text
        .replace("/path/to/examples/hosted", folder.to_str().expect("UTF-8"))
        .replace("limits: { idle: 15m }", limits);
    fs::write(room.agent_file("hosted"), text).expect("the agent's file");
    room.served("hosted");
}

/// One of the agents of `tests/tools/agentserver`, run by the packages that they are of.
fn server(file: &str, protocol: &str) -> Value {
    let program = beside("tools/agentserver").join(file);
    json!({
        "driver": "hosted", "protocol": protocol,
        "command": [tools::agentserver().to_str().expect("UTF-8"), program.to_str().expect("UTF-8")],
    })
}

fn at(id: &str, path: &str) -> String {
    format!("/v1/sessions/{id}/http{path}")
}

#[test]
fn p9_a_server_takes_runs() {
    let room = Greenroom::up().start();
    example(&room, "");
    let session = room.api.create("hosted", json!({ "prompt": "hello" }));
    let id = id_of(&session);
    let run = room.api.wait_run(&id, &session["run_id"]);
    assert_eq!(run["status"], "completed", "{run:#}");
    assert_eq!(run["result"]["output"], "you said hello");
    assert_eq!(room.api.said(&id), "you said hello\n");

    let ask = |how: &str| {
        let input = json!({ "input": { "how": how, "say": "one two" } });
        let run = room.api.post(&format!("/v1/sessions/{id}/runs"), input).expect(202);
        room.api.wait_run(&id, &run["id"])
    };
    assert_eq!(ask("stream")["status"], "completed");
    assert!(room.api.said(&id).contains("one two "), "{}", room.api.said(&id));
    let failed = ask("fail");
    assert_eq!(
        (&failed["status"], &failed["error"]["code"]),
        (&json!("failed"), &json!("agent_error"))
    );
    assert_eq!(failed["error"]["message"], "the agent answered 500: one two (broken)");

    // Its server goes on, in the same compute, and is stopped like everything.
    assert_eq!(room.api.wait_status(&id, "idle")["epoch"], 1);
    let receipt = room.api.stop(&id)["receipt"].clone();
    assert_eq!(receipt["survivors"], 0);
    let steps = receipt["steps"].as_array().expect("steps").iter().map(|step| &step["action"]);
    assert!(steps.clone().all(|step| *step != "cancel"), "{receipt:#}");
    assert!(procs::about(&room.workspace(&uid_of(&session))).is_empty());
    let asked = fs::read_to_string(room.workspace(&uid_of(&session)).join("asked.txt"));
    assert_eq!(asked.expect("its count"), "hello\none two\none two\n");
    room.api.check(&id);
}

#[test]
fn p9_a_turn_of_a_server_is_cancelled_and_the_server_stays() {
    let room = Greenroom::up().start();
    example(&room, "");
    let input = json!({ "input": { "how": "later", "say": "wait" } });
    let session = room.api.create("hosted", input.clone());
    let id = id_of(&session);
    let workspace = || room.workspace(&uid_of(&session));
    room.api.wait_status(&id, "running");
    wait_for("the request", || workspace().join("asked.txt").exists());
    let stop = format!("/v1/runs/{}/stop?wait=30s", session["run_id"].as_str().expect("a run"));
    room.api.post(&stop, json!({})).expect(200);
    assert_eq!(room.api.run(&session["run_id"])["status"], "stopped");
    // The next one in the same compute comes to its end.
    fs::write(workspace().join("go"), "").expect("a file");
    let run = room.api.post(&format!("/v1/sessions/{id}/runs"), input).expect(202);
    let run = room.api.wait_run(&id, &run["id"]);
    assert_eq!(
        (&run["status"], &run["result"]["output"]),
        (&json!("completed"), &json!("later: wait"))
    );
    assert_eq!(room.api.session(&id)["epoch"], 1);
}

#[test]
fn p9_a_request_brings_its_server_up_and_goes_through() {
    let room = Greenroom::up().agent("sh", greenroom_tests::agents::sh("cat", &[])).start();
    example(&room, "");
    let session = room.api.create("hosted", json!({}));
    let id = id_of(&session);
    let said = room.api.post(&at(&id, "/invocations"), json!({ "say": "hi" }));
    assert_eq!(said.expect(200)["output"], "you said hi");
    assert_eq!(said.header("x-greenroom-epoch"), Some("1"));
    assert_eq!(said.header("content-security-policy"), Some("sandbox"));

    // The agent's own errors are the agent's own.
    let missing = room.api.get(&at(&id, "/no/such?x=%2F"));
    assert_eq!(missing.expect(404)["error"]["message"], "nothing is at /no/such?x=%2F");
    assert_eq!(missing.header("x-greenroom-epoch"), Some("1"));

    // A stream comes as it is said.
    let mut stream = room
        .api
        .request("POST", &at(&id, "/invocations"))
        .json(&json!({ "how": "stream", "say": "a b" }))
        .open();
    let mut text = String::new();
    stream.body.read_to_string(&mut text).expect("the stream");
    assert_eq!(text, "data: {\"delta\": \"a \"}\n\ndata: {\"delta\": \"b \"}\n\ndata: [DONE]\n\n");

    // After a stop the next request resumes.
    assert_eq!(room.api.stop(&id)["receipt"]["survivors"], 0);
    let said = room.api.post(&at(&id, "/invocations"), json!({ "say": "again" }));
    assert_eq!(said.expect(200)["output"], "you said again");
    assert_eq!(said.header("x-greenroom-epoch"), Some("2"));
    let asked = fs::read_to_string(room.workspace(&uid_of(&session)).join("asked.txt"));
    assert_eq!(asked.expect("its count"), "hi\na b\nagain\n");
    let mut logged = Vec::new();
    wait_for("its log", || {
        logged = room.api.events(&id, "http_request");
        logged.len() == 3
    });
    assert_eq!(logged[0]["data"]["path"], "/invocations");
    assert_eq!(logged[0]["data"]["status"], 200);

    // Agents that serve nothing say so.
    let other = id_of(&room.api.create("sh", json!({})));
    room.api.get(&at(&other, "/x")).problem(409, "not_hosted");
    room.api.get(&at("nobody", "/x")).problem(404, "session_not_found");
}

#[test]
fn p9_what_a_client_says_to_greenroom_does_not_reach_a_server() {
    let room = Greenroom::up().agent("socket", server("says_back.py", "invocations")).start();
    let session = room.api.create("socket", json!({}));
    let id = id_of(&session);
    let asked = room
        .api
        .request("POST", &at(&id, "/invocations"))
        .header("cookie", "greenroom_session=s")
        .header("x-greenroom-csrf", "c")
        .header("x-client-mine", "m")
        .body("hello");
    let said = asked.send().expect(200);
    assert_eq!(said["said"], "hello");
    let names: Vec<_> = said["headers"].as_array().expect("names").iter().collect();
    for (name, there) in [
        ("authorization", false),
        ("cookie", false),
        ("x-greenroom-csrf", false),
        ("x-client-mine", true),
    ] {
        assert_eq!(names.contains(&&json!(name)), there, "{name}: {names:?}");
    }

    // Upgrades too: a client of another make talks with it.
    let url = format!("ws://{}{}", room.api.host, at(&id, "/invocations_ws"));
    let talk = Command::new(tools::agentserver())
        .arg(beside("tools/agentserver/talk.py"))
        .arg(url)
        .env("TOKEN", room.api.token.as_deref().expect("a token"))
        .output()
        .expect("the client runs");
    let said = String::from_utf8_lossy(&talk.stdout);
    assert_eq!(said.trim(), "closed CLOSE 1000", "{}", String::from_utf8_lossy(&talk.stderr));
}

#[test]
fn p9_a_busy_server_does_not_idle_out() {
    let room = Greenroom::up().start();
    example(&room, "limits: { idle: 1s }");
    let session = room.api.create("hosted", json!({}));
    let id = id_of(&session);
    let later = json!({ "how": "later", "say": "long" });
    room.api.post(&at(&id, "/invocations"), later).expect(202);
    let busy = room.api.wait_status(&id, "running");
    assert_eq!((&busy["status_reason"], &busy["run_id"]), (&json!("serving"), &Value::Null));
    // Three times its limit: nothing happens, and that is what is looked at.
    std::thread::sleep(Duration::from_secs(3));
    let still = room.api.session(&id);
    assert_eq!((&still["status"], &still["epoch"]), (&json!("running"), &json!(1)), "{still:#}");
    fs::write(room.workspace(&uid_of(&session)).join("go"), "").expect("a file");
    let rest = room.api.wait_status(&id, "stopped");
    assert_eq!(rest["status_reason"], "idle", "{rest:#}");
    assert_eq!(rest["receipt"]["survivors"], 0);
    room.api.check(&id);
}

#[test]
fn p9_a_server_that_does_not_come_up_says_why() {
    let room = Greenroom::up().start();
    let dies = json!({ "driver": "hosted", "command": ["sh", "-c", "echo no key; exit 3"] });
    room.write_agent("dies", dies);
    room.served("dies");
    let id = id_of(&room.api.create("dies", json!({})));
    let problem = room.api.get(&at(&id, "/x")).problem(502, "agent_failed");
    let detail = problem["detail"].as_str().unwrap_or_default();
    assert!(detail.contains("sh exited with code 3"), "{problem:#}");
    assert_eq!(room.api.session(&id)["status"], "failed");
}

/// A real agent server's work, asked for by a run or by a request, is stopped in the middle
/// and goes on after a resume.
fn finishes_its_work(by_run: bool, grace: u64) {
    let room = Greenroom::up().agent("steps", server("steps.py", "responses")).start();
    let session = room.api.create("steps", json!({}));
    let id = id_of(&session);
    let response = if by_run {
        room.api.prompt(&id, "the work");
        Value::Null
    } else {
        let body = json!({ "input": "the work", "background": true, "store": true });
        room.api.post(&at(&id, "/responses"), body).expect(200)["id"].clone()
    };
    let workspace = || room.workspace(&uid_of(&session));
    let steps = || fs::read_to_string(workspace().join("steps.txt")).unwrap_or_default();
    room.api.wait_status(&id, "running");
    fs::write(workspace().join("go-1"), "").expect("a file");
    wait_for("its first step", || steps() == "1\n");
    if by_run {
        // What is followed after the stop is what it has named before.
        room.api.wait_event(&id, 1, "session.conversation");
    }
    let stopped = room.api.stop_with(&id, "60s", json!({ "grace_ms": grace })).expect(200);
    assert_eq!(stopped["receipt"]["survivors"], 0, "{stopped:#}");
    if by_run {
        assert_eq!(room.api.run(&stopped["run_id"])["status"], "stopped", "{stopped:#}");
    }

    for step in 2..=3 {
        fs::write(workspace().join(format!("go-{step}")), "").expect("a file");
    }
    room.api.post(&format!("/v1/sessions/{id}/resume"), json!({})).expect(200);
    wait_for("the rest of its work", || steps() == "1\n2 again\n3 again\n");
    let response = match by_run {
        true => room.api.events(&id, "session.conversation")[0]["data"]["id"].clone(),
        false => response,
    };
    if let Some(response) = response.as_str() {
        let path = at(&id, &format!("/responses/{response}"));
        wait_for("its response", || room.api.get(&path).expect(200)["status"] == "completed");
    }
    if by_run {
        room.api.wait_text(&id, "step 3 again");
        // Its memory is its own, and goes on too.
        let run = room.api.prompt(&id, "how far");
        let run = room.api.wait_run(&id, &run["id"]);
        assert_eq!(run["status"], "completed", "{run:#}");
        assert!(room.api.said(&id).contains("3 steps, 2 items before"), "{}", room.api.said(&id));
        let fresh = room.api.events(&id, "session.context_fresh");
        assert!(fresh.is_empty(), "{fresh:#?}");
    }
    assert_eq!(room.api.wait_status(&id, "idle")["epoch"], 2);
    assert_eq!(room.api.stop(&id)["receipt"]["survivors"], 0);
    room.api.check(&id);
}

#[test]
fn p9_an_agent_server_finishes_its_run_after_a_stop() {
    finishes_its_work(true, 35_000);
}

#[test]
fn p9_an_agent_server_finishes_its_run_after_a_kill() {
    finishes_its_work(true, 0);
}

#[test]
fn p9_an_agent_server_finishes_a_background_response_after_a_stop() {
    finishes_its_work(false, 35_000);
}

#[test]
fn p9_a_response_is_cancelled_and_its_server_stays() {
    let room = Greenroom::up().agent("steps", server("steps.py", "responses")).start();
    let session = room.api.create("steps", json!({ "prompt": "the work" }));
    let id = id_of(&session);
    room.api.wait_event(&id, 1, "session.conversation");
    let stop = format!("/v1/runs/{}/stop?wait=30s", session["run_id"].as_str().expect("a run"));
    room.api.post(&stop, json!({})).expect(200);
    assert_eq!(room.api.run(&session["run_id"])["status"], "stopped");
    let run = room.api.prompt(&id, "how far");
    let run = room.api.wait_run(&id, &run["id"]);
    assert_eq!(run["status"], "completed", "{run:#}");
    assert_eq!(room.api.session(&id)["epoch"], 1);
}

#[test]
fn p9_agentcore_says_when_it_is_busy() {
    let mut agent = server("core.py", "agentcore");
    agent["limits"] = json!({ "idle": "1s" });
    let room = Greenroom::up().agent("core", agent).start();
    let session = room.api.create("core", json!({ "prompt": "hello" }));
    let id = id_of(&session);
    let run = room.api.wait_run(&id, &session["run_id"]);
    assert_eq!(run["result"]["result"], "you said hello", "{run:#}");
    let named = run["result"]["session"].as_str().unwrap_or_default();
    assert!(named.starts_with(&id) && named.len() >= 33, "{named:?}");
    let run = room.api.prompt(&id, "work");
    room.api.wait_run(&id, &run["id"]);
    let busy = room.api.wait_session(&id, "serving", |s| s["status_reason"] == "serving");
    assert_eq!(busy["epoch"], 1, "{busy:#}");
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(room.api.status(&id), "running");
    fs::remove_file(room.workspace(&uid_of(&session)).join("working")).expect("its mark");
    assert_eq!(room.api.wait_status(&id, "stopped")["status_reason"], "idle");
}
