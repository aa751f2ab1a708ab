//! P2: a stop keeps everything else, and the next run goes on from there.

use std::fs;

use greenroom_tests::session::{id_of, uid_of};
use greenroom_tests::{Greenroom, agents, json, procs};

/// Works in its folders, starts daemons in the middle, and goes on from what it finds.
const WORKER: &str = r#"
    echo "started with: $1" >> journal.txt
    echo "note of $1" >> "$HOME/memory"
    if [ -e half-done ]; then
        echo "going on from: $(cat half-done)"; rm half-done; exit 0
    fi
    exec 9<"$1"
    echo "tool call 7" > half-done
    (sleep 1000 &) ; echo working; while :; do sleep 1; done"#;

#[test]
fn p2_stop_in_the_middle_of_work_and_resume() {
    let worker = agents::with(agents::sh(WORKER, &[]), json!({"prompt_via": "arg"}));
    let mut room = Greenroom::up().agent("worker", worker).start();
    let (mark, prompt) = room.mark();
    let session = room.api.create(
        "worker",
        json!({"prompt": prompt, "title": "a title", "labels": {"team": "blue"}}),
    );
    let id = id_of(&session);
    let uid = uid_of(&session);
    room.api.wait_text(&id, "working");
    let receipt = room.api.stop(&id)["receipt"].clone();
    assert_eq!(receipt["survivors"], 0);
    assert!(procs::holding(&mark).is_empty());
    let before = room.api.log(&id);

    // All of it is still there, also for another server.
    room.kill9_and_restart();
    let after = room.api.log(&id);
    assert_eq!(after[..before.len()], before[..], "the log is the same");
    let session = room.api.session(&id);
    assert_eq!(session["receipt"], receipt);
    assert_eq!(
        (session["title"].as_str(), session["labels"]["team"].as_str()),
        (Some("a title"), Some("blue"))
    );
    assert_eq!(
        fs::read_to_string(room.workspace(&uid).join("half-done")).expect("the file").trim(),
        "tool call 7"
    );

    let run = room.api.prompt(&id, "what were you doing");
    let run = room.api.wait_run(&id, &run["id"]);
    assert_eq!(run["status"], "completed", "{run:#}");
    assert!(room.api.said(&id).contains("going on from: tool call 7"), "{}", room.api.said(&id));
    let session = room.api.wait_rest(&id);
    assert_eq!(session["epoch"], 2, "a resume is a new epoch: {session:#}");
    let journal = fs::read_to_string(room.workspace(&uid).join("journal.txt")).expect("the file");
    assert_eq!(journal.lines().count(), 2, "{journal}");
    let home = room.workspace(&uid).parent().expect("beside").join("home/memory");
    assert_eq!(fs::read_to_string(home).expect("its HOME").lines().count(), 2);
    room.api.check(&id);
}

#[test]
fn p2_files_are_reached_while_stopped_and_changed_for_the_next_run() {
    let script = r#"if [ -e task ]; then echo "task: $(cat task)"; else echo nothing; fi"#;
    let room = Greenroom::up().agent("reader", agents::sh(script, &[])).start();
    let id = room.api.begin("reader", "go");
    room.api.wait_status(&id, "finished");
    let path = format!("/v1/sessions/{id}/files/content/task");
    room.api.request("PUT", &path).body("paint it blue").send().granted();
    let run = room.api.prompt(&id, "again");
    room.api.wait_run(&id, &run["id"]);
    assert!(room.api.said(&id).contains("task: paint it blue"), "{}", room.api.said(&id));
}

#[test]
fn p2_a_persistent_agent_comes_back_without_a_prompt() {
    let room = Greenroom::up().agent("loop", agents::persistent()).start();
    let session = room.api.create("loop", json!({}));
    let id = id_of(&session);
    assert_eq!(session["status"], "new");
    let resume = format!("/v1/sessions/{id}/resume");
    room.api.post(&resume, json!({})).granted();
    room.api.wait_status(&id, "idle");
    room.api.post(&resume, json!({})).problem(409, "nothing_to_resume");
    let run = room.api.prompt(&id, "hello");
    let run = room.api.wait_run(&id, &run["id"]);
    assert_eq!(run["result"], json!({"text": "hello", "count": 1}), "{run:#}");
    let run = room.api.prompt(&id, "again");
    assert_eq!(room.api.wait_run(&id, &run["id"])["result"]["count"], 2, "one process serves both");
    room.api.stop(&id);
    room.api.post(&resume, json!({})).granted();
    let session = room.api.wait_status(&id, "idle");
    assert_eq!(session["epoch"], 2, "{session:#}");
    room.api.check(&id);
}

#[test]
fn p2_the_ends_of_a_persistent_agent() {
    let room = Greenroom::up().agent("loop", agents::persistent()).start();
    // Code 0 before the answer is still no answer.
    for (prompt, reason) in [("exit 0", "exit"), ("exit 7", "exit")] {
        let session = room.api.create("loop", json!({"prompt": prompt}));
        let id = id_of(&session);
        let ended = room.api.wait_rest(&id);
        let run = room.api.run(&session["run_id"]);
        assert_eq!(run["status"], "failed", "{prompt}: {run:#}");
        assert_eq!(run["error"]["code"], reason, "{prompt}: {run:#}");
        assert_eq!(ended["status"], "failed", "{ended:#}");
        assert_eq!(ended["status_reason"], reason, "{ended:#}");
        assert_eq!(ended["receipt"]["survivors"], 0);
        let next = room.api.prompt(&id, "hello");
        assert_eq!(room.api.wait_run(&id, &next["id"])["status"], "completed");
        room.api.check(&id);
    }
}

#[test]
fn p2_input_reaches_the_agent_as_a_document() {
    let schema = json!({"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"], "additionalProperties": false});
    let room = Greenroom::up()
        .agent("loop", agents::with(agents::persistent(), json!({"input_schema": schema})))
        .start();
    let session = room.api.create("loop", json!({"input": {"n": 5}}));
    let id = id_of(&session);
    let run = room.api.wait_run(&id, &session["run_id"]);
    assert_eq!(run["input"], json!({"n": 5}));
    assert_eq!(run["result"]["text"], json!({"n": 5}).to_string());
    let path = format!("/v1/sessions/{id}/runs");
    room.api.post(&path, json!({"input": {"n": "five"}})).refused(422);
    room.api.post(&path, json!({"input": {"n": 1}, "prompt": "both"})).refused(422);
    room.api.post(&path, json!({})).refused(422);
    room.api.post("/v1/sessions", json!({"agent": "loop", "input": {}})).refused(422);
}
