//! How runs of real coding agents end: by the model, by a cancel, by a limit, by nobody.

use std::fs;
use std::path::Path;

use greenroom_tests::coding::Coding;
use greenroom_tests::endpoint::{self, Endpoint};
use greenroom_tests::session::{id_of, uid_of};
use greenroom_tests::{Greenroom, Value, json, procs};

const THREE: [Coding; 3] = [Coding::Claude, Coding::Codex, Coding::Opencode];

/// A room with this agent, for which HOLD runs a shell that waits, and FAIL is refused by
/// the model.
fn room(agent: Coding, more: &Value) -> (Greenroom, Endpoint) {
    let room = Greenroom::up().start();
    let begun = room.root.join("begun");
    let script = format!("echo > '{}'; sleep 300; echo over", begun.display());
    let (shell, held) = agent.shell(&script);
    let mut fixtures = Vec::from(endpoint::uses("HOLD", shell, held, "It is over."));
    fixtures.insert(0, endpoint::fails("FAIL", 400, "the model says no"));
    // What failed may be sent again together with the next prompt.
    fixtures.insert(0, endpoint::says("ANEW", "Another answer."));
    fixtures.push(endpoint::otherwise("An answer."));
    let endpoint = Endpoint::start(&fixtures);
    let mut description = agent.agent(&endpoint, "autonomous");
    for (key, value) in more.as_object().into_iter().flatten() {
        description[key] = value.clone();
    }
    room.write_agent(agent.word(), description);
    room.served(agent.word());
    (room, endpoint)
}

fn run_of(room: &Greenroom, agent: Coding, prompt: &str) -> (String, Value) {
    let session = room.api.create(agent.word(), json!({ "prompt": prompt }));
    let id = id_of(&session);
    let run = room.api.wait_run(&id, &session["run_id"]);
    (id, run)
}

#[test]
fn p9_an_error_of_the_model_fails_the_run() {
    for agent in THREE {
        let (room, _endpoint) = room(agent, &json!({}));
        let (id, run) = run_of(&room, agent, "FAIL please");
        assert_eq!(run["status"], "failed", "{agent:?}: {run:#}");
        assert_eq!(run["error"]["code"], "model_error", "{agent:?}: {run:#}");
        let message = run["error"]["message"].as_str().unwrap_or("");
        assert!(message.contains("the model says no"), "{agent:?}: {run:#}");
        room.api.wait_rest(&id);
        room.api.check(&id);
        // It is no end of the conversation.
        let run = room.api.prompt(&id, "ANEW: go on");
        let run = room.api.wait_run(&id, &run["id"]);
        assert_eq!(run["status"], "completed", "{agent:?}: {run:#}");
        assert!(room.api.events(&id, "session.context_fresh").is_empty(), "{agent:?}");
    }
}

#[test]
fn p9_a_run_is_stopped_and_its_shell_with_it() {
    for agent in THREE {
        let (room, _endpoint) = room(agent, &json!({}));
        let session = room.api.create(agent.word(), json!({ "prompt": "HOLD it" }));
        let (id, uid) = (id_of(&session), uid_of(&session));
        endpoint::wait_file(&room.root.join("begun"));
        let run = session["run_id"].as_str().expect("a run");
        room.api.post(&format!("/v1/runs/{run}/stop"), json!({})).granted();
        let run = room.api.wait_run(&id, &session["run_id"]);
        assert_eq!(run["status"], "stopped", "{agent:?}: {run:#}");
        let rest = room.api.wait_rest(&id);
        assert_eq!(rest["receipt"]["survivors"], 0, "{agent:?}: {rest:#}");
        assert!(procs::about(&room.workspace(&uid)).is_empty(), "{agent:?}");
        room.api.check(&id);
    }
}

#[test]
fn p9_a_run_that_reached_its_limit_says_so() {
    let (room, _endpoint) = room(Coding::Codex, &json!({ "limits": { "run": "3s" } }));
    let (id, run) = run_of(&room, Coding::Codex, "HOLD it");
    assert_eq!(run["status"], "stopped", "{run:#}");
    assert_eq!(run["error"]["code"], "limit", "its driver was told to cancel, and why: {run:#}");
    assert_eq!(room.api.wait_rest(&id)["status_reason"], "limit");
    room.api.check(&id);
}

#[test]
fn p9_codex_without_its_endpoint_is_stopped_as_ever() {
    let (mut room, endpoint) = room(Coding::Codex, &json!({}));
    drop(endpoint);
    let (mark, _) = room.mark();
    let session = room.api.create("codex", json!({ "prompt": format!("{}", mark.display()) }));
    let id = id_of(&session);
    // It has begun its conversation, and waits for the network.
    room.api.wait_event(&id, 1, "session.conversation");
    let receipt = room.api.stop(&id)["receipt"].clone();
    assert_eq!(receipt["survivors"], 0, "{receipt:#}");
    assert_eq!(room.api.run(&session["run_id"])["status"], "stopped");
    room.kill9_and_restart();
    room.api.check(&id);
}

#[test]
fn p9_a_conversation_that_is_lost_begins_anew_and_says_so() {
    let transcripts = |home: &Path, agent| match agent {
        Coding::Claude => home.join(".claude"),
        Coding::Codex => home.join(".codex"),
        _ => home.join(".local/share/opencode"),
    };
    for agent in THREE {
        let (room, endpoint) = room(agent, &json!({}));
        let session = room.api.create(agent.word(), json!({ "prompt": "the first thing" }));
        let (id, uid) = (id_of(&session), uid_of(&session));
        room.api.wait_run(&id, &session["run_id"]);
        room.api.wait_rest(&id);
        let home = room.workspace(&uid).parent().expect("a folder").join("home");
        fs::remove_dir_all(transcripts(&home, agent)).expect("its transcripts");
        let run = room.api.prompt(&id, "the second thing");
        let run = room.api.wait_run(&id, &run["id"]);
        assert_eq!(run["status"], "completed", "{agent:?}: {run:#}");
        let fresh = room.api.events(&id, "session.context_fresh");
        assert_eq!(fresh.len(), 1, "{agent:?}: {fresh:#?}");
        let sent = endpoint.last_asked("the second thing");
        assert!(!sent.contains("the first thing"), "{agent:?}: {sent}");
        room.api.wait_rest(&id);
        room.api.check(&id);
    }
}

#[test]
fn p9_what_cannot_be_started_says_why() {
    let more = json!({ "command": ["/nowhere/codex"] });
    let (room, _endpoint) = room(Coding::Codex, &more);
    let (id, run) = run_of(&room, Coding::Codex, "hello");
    assert_eq!(run["error"]["code"], "start_error", "{run:#}");
    assert!(run["error"]["message"].as_str().unwrap_or("").contains("/nowhere/codex"), "{run:#}");
    let rest = room.api.wait_rest(&id);
    assert_eq!(
        (&rest["status"], &rest["status_reason"]),
        (&json!("failed"), &json!("start_error"))
    );

    let approvals = json!({ "mode": "autonomous", "deny": ["shell(rm *)"] });
    let (room, _endpoint) = self::room(Coding::Codex, &json!({ "approvals": approvals }));
    let (_, run) = run_of(&room, Coding::Codex, "hello");
    assert_eq!(run["error"]["code"], "start_error", "{run:#}");
    assert!(run["error"]["message"].as_str().unwrap_or("").contains("approvals.deny"), "{run:#}");
}

#[test]
fn p9_what_nobody_can_be_asked_about_is_not_done() {
    for agent in [Coding::Codex, Coding::Opencode] {
        for (mode, done) in [("balanced", false), ("strict", false), ("autonomous", true)] {
            let room = Greenroom::up().start();
            let file = room.root.join("out.txt");
            let (write, written) = agent.write(&file, "hello from a tool");
            let mut fixtures = Vec::from(endpoint::uses("WRITE", write, written, "So it went."));
            fixtures.push(endpoint::otherwise("A title."));
            let endpoint = Endpoint::start(&fixtures);
            room.write_agent(agent.word(), agent.agent(&endpoint, mode));
            room.served(agent.word());
            let (id, run) = run_of(&room, agent, "WRITE the file");
            assert_eq!(file.exists(), done, "{agent:?} {mode}");
            // opencode goes no further after a refusal.
            let given_up = agent == Coding::Opencode && !done;
            let (status, code) =
                if given_up { ("failed", json!("refused")) } else { ("completed", Value::Null) };
            assert_eq!(run["status"], status, "{agent:?} {mode}: {run:#}");
            assert_eq!(run["error"]["code"], code, "{agent:?} {mode}: {run:#}");
            // codex does not tell of a command that its sandbox refused at once.
            if agent == Coding::Opencode {
                let results = room.api.events(&id, "tool_result");
                assert_eq!(results[0]["data"]["is_error"], !done, "{mode}: {results:#?}");
            }
            if agent == Coding::Codex {
                let told = endpoint.last_asked("WRITE").contains("Read-only file system");
                assert_eq!(told, !done, "{mode}: the model is told");
            }
        }
    }
}

#[test]
fn p9_the_examples_are_agents() {
    let room = Greenroom::up().start();
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    let mut names = Vec::new();
    for entry in fs::read_dir(&examples).expect("the folder of examples") {
        let path = entry.expect("an entry").path();
        if path.extension().is_none_or(|kind| kind != "yaml") {
            continue;
        }
        let text = fs::read_to_string(&path).expect("an example");
        let name = text.lines().find_map(|line| line.strip_prefix("name: "));
        let name = name.unwrap_or_else(|| panic!("{} has no name", path.display())).to_owned();
        fs::copy(&path, room.agent_file(&name)).expect("a copy");
        let agent = room.wait_agent(&name, |_| true);
        assert_eq!(agent["name"], name.as_str(), "{agent:#}");
        assert!(agent["error"].is_null(), "{agent:#}");
        names.push(name);
    }
    for preset in Coding::ALL.into_iter().filter(|agent| *agent != Coding::Cline) {
        assert!(names.iter().any(|name| name == preset.word()), "{preset:?} has an example");
    }
}
