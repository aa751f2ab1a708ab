//! Claude Code asks before each use of a tool, and what is answered counts on disk.

use std::path::{Path, PathBuf};

use greenroom_tests::coding::Coding;
use greenroom_tests::endpoint::{self, Endpoint};
use greenroom_tests::session::id_of;
use greenroom_tests::{Greenroom, Value, json};

struct Asked {
    room: Greenroom,
    endpoint: Endpoint,
    file: PathBuf,
}

/// A room in which WRITE writes a file, and LIST lists the workspace.
fn asked(mode: &str, more: &Value) -> Asked {
    let room = Greenroom::up().start();
    let file = room.root.join("out.txt");
    let (write, written) = Coding::Claude.write(&file, "hello from a tool");
    let (shell, listed) = Coding::Claude.shell("ls");
    let call = |name: &str| {
        let (write, written) = Coding::Claude.write(&room.root.join(name), "hello from a tool");
        json!({ "name": write, "arguments": written })
    };
    let mut both = endpoint::uses("BOTH", write, written.clone(), "Those were both.");
    both[0]["response"]["toolCalls"] = json!([call("one.txt"), call("two.txt")]);
    let mut fixtures = Vec::from(both);
    fixtures.extend(endpoint::uses("WRITE", write, written, "That was the file."));
    fixtures.extend(endpoint::uses("LIST", shell, listed, "That was the list."));
    fixtures.push(endpoint::otherwise("Something else."));
    let endpoint = Endpoint::start(&fixtures);
    let mut agent = Coding::Claude.agent(&endpoint, mode);
    for (key, value) in more.as_object().into_iter().flatten() {
        agent["approvals"][key] = value.clone();
    }
    room.write_agent("claude", agent);
    room.served("claude");
    Asked { room, endpoint, file }
}

fn approvals(room: &Greenroom, id: &str) -> Vec<Value> {
    let list = room.api.get(&format!("/v1/sessions/{id}/approvals")).expect(200);
    list["items"].as_array().unwrap_or_else(|| panic!("{list:#}")).clone()
}

/// Has the file written, and answers what is asked about it.
fn write(asked: &Asked, decision: &str) -> (String, Value) {
    let Asked { room, file, .. } = asked;
    let session = room.api.create("claude", json!({ "prompt": "WRITE the file" }));
    let id = id_of(&session);
    let waiting = room.api.wait_status(&id, "waiting");
    assert!(!Path::new(file).exists(), "nothing is done before the answer: {waiting:#}");
    let open = approvals(room, &id);
    let [one] = &open[..] else { panic!("one question: {open:#?}") };
    assert_eq!(one["tool"], "Write", "{one:#}");
    assert_eq!(one["input"]["content"], "hello from a tool", "{one:#}");
    let path = format!("/v1/sessions/{id}/approvals/{}", one["id"].as_str().expect("an id"));
    room.api.post(&path, json!({ "decision": decision, "reason": "because" })).granted();
    let run = room.api.wait_run(&id, &session["run_id"]);
    (id, run)
}

#[test]
fn p9_what_is_allowed_is_done() {
    let asked = asked("balanced", &json!({}));
    let (id, run) = write(&asked, "allow");
    assert_eq!(run["status"], "completed", "{run:#}");
    let written = std::fs::read_to_string(&asked.file).expect("the tool's file");
    assert_eq!(written, "hello from a tool");
    asked.room.api.wait_rest(&id);
    asked.room.api.check(&id);
}

#[test]
fn p9_what_is_denied_is_not_done_and_the_model_is_told() {
    let asked = asked("balanced", &json!({}));
    let (id, run) = write(&asked, "deny");
    assert_eq!(run["status"], "completed", "{run:#}");
    assert!(!asked.file.exists());
    let results = asked.room.api.events(&id, "tool_result");
    assert_eq!(results[0]["data"]["is_error"], true, "{results:#?}");
    assert!(asked.endpoint.last_asked("WRITE").contains("because"), "the reason is passed on");
    asked.room.api.wait_rest(&id);
    asked.room.api.check(&id);
}

#[test]
fn p9_an_edit_of_the_policy_counts_in_the_turn_in_progress() {
    let asked = asked("strict", &json!({}));
    let Asked { room, .. } = &asked;
    let session = room.api.create("claude", json!({ "prompt": "BOTH files" }));
    let id = id_of(&session);
    room.api.wait_status(&id, "waiting");
    let one = approvals(room, &id)[0]["id"].as_str().expect("an id").to_owned();
    let edit = json!({ "approvals": { "mode": "autonomous" } });
    room.api.request("PATCH", &format!("/v1/sessions/{id}")).json(&edit).send().granted();
    let path = format!("/v1/sessions/{id}/approvals/{one}");
    room.api.post(&path, json!({ "decision": "allow" })).granted();
    let run = room.api.wait_run(&id, &session["run_id"]);
    assert_eq!(run["status"], "completed", "{run:#}\n{:#?}", room.api.log(&id));
    assert_eq!(room.api.events(&id, "approval.requested").len(), 1, "nothing more was asked");
    let decided = room.api.events(&id, "approval.decided");
    assert_eq!(decided[0]["data"]["by"], "mode autonomous", "{decided:#?}");
    assert!(room.root.join("one.txt").exists() && room.root.join("two.txt").exists());
}

#[test]
fn p9_where_nobody_is_there_what_would_be_asked_is_denied() {
    let asked = asked("balanced", &json!({ "headless": true }));
    let session = asked.room.api.create("claude", json!({ "prompt": "WRITE the file" }));
    let id = id_of(&session);
    let run = asked.room.api.wait_run(&id, &session["run_id"]);
    assert_eq!(run["status"], "completed", "{run:#}");
    assert!(!asked.file.exists());
    let decided = asked.room.api.events(&id, "approval.decided");
    assert_eq!(decided[0]["data"]["decision"], "deny", "{decided:#?}");
}

#[test]
fn p9_also_what_claude_finds_harmless_is_asked() {
    let asked = asked("strict", &json!({}));
    let session = asked.room.api.create("claude", json!({ "prompt": "LIST the files" }));
    let id = id_of(&session);
    asked.room.api.wait_status(&id, "waiting");
    let open = approvals(&asked.room, &id);
    assert_eq!(open[0]["tool"], "Bash", "{open:#?}");
    // A stop does not wait for the answer.
    let receipt = asked.room.api.stop(&id)["receipt"].clone();
    assert_eq!(receipt["survivors"], 0, "{receipt:#}");
    assert_eq!(asked.room.api.run(&session["run_id"])["status"], "stopped");
    assert!(approvals(&asked.room, &id).is_empty());
    asked.room.api.check(&id);
}
