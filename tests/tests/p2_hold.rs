//! P2: a stop keeps what waits. What holds a queue, what lifts the hold, and in which order
//! it goes on.

use greenroom_tests::session::id_of;
use greenroom_tests::{Greenroom, Value, agents, json, procs};

/// An agent that says its prompt, and waits for ever if that begins with `/` (a marker).
fn worker() -> Value {
    let script = r#"case "$1" in
        /*) exec 9<"$1"; echo holding; while :; do sleep 1; done ;;
        *) echo "did $1" ;; esac"#;
    agents::with(agents::sh(script, &[]), json!({"prompt_via": "arg"}))
}

/// What the runs asked, in the order in which they began.
fn began(room: &Greenroom, id: &str) -> Vec<String> {
    let log = room.api.log(id);
    log.iter()
        .filter(|event| event["type"] == "run.started")
        .map(|event| {
            let run = room.api.run(&event["run"]);
            run["prompt"].as_str().unwrap_or_default().to_owned()
        })
        .collect()
}

/// A session that was stopped in the middle of its work with two prompts behind it.
fn held(room: &Greenroom) -> (String, String) {
    let (mark, prompt) = room.mark();
    let id = room.api.begin("worker", &prompt);
    room.api.wait_text(&id, "holding");
    for (n, text) in ["one", "two"].into_iter().enumerate() {
        let run = room.api.prompt(&id, text);
        assert_eq!(
            (run["held"].as_bool(), run["ahead"].as_u64()),
            (Some(false), Some(n as u64 + 1)),
            "{run:#}"
        );
    }
    let reply = room.api.stop(&id);
    assert_eq!(reply["status"], "stopped", "{reply:#}");
    assert_eq!(room.api.run(&reply["run_id"])["status"], "stopped");
    let session = room.api.session(&id);
    assert_eq!(session["hold"], true, "{session:#}");
    assert_eq!(session["pending"]["runs"], 2, "{session:#}");
    assert!(procs::holding(&mark).is_empty());
    (id, prompt)
}

fn all_done(session: &Value) -> bool {
    session["status"] == "finished" && session["pending"]["runs"] == 0
}

#[test]
fn p2_resume_lifts_the_hold_and_the_queue_goes_on_in_order() {
    let room = Greenroom::up().agent("worker", worker()).start();
    let (id, first) = held(&room);
    room.api.post(&format!("/v1/sessions/{id}/resume"), json!({})).granted();
    let session = room.api.wait_session(&id, "the queue's end", all_done);
    assert_eq!(session["hold"], false);
    assert_eq!(began(&room, &id), [first.as_str(), "one", "two"]);
    room.api.check(&id);
    room.api
        .post(&format!("/v1/sessions/{id}/resume"), json!({}))
        .problem(409, "nothing_to_resume");
}

#[test]
fn p2_a_prompt_after_the_receipt_lifts_the_hold() {
    let room = Greenroom::up().agent("worker", worker()).start();
    let (id, first) = held(&room);
    let run = room.api.prompt(&id, "three");
    assert_eq!((run["held"].as_bool(), run["ahead"].as_u64()), (Some(false), Some(2)), "{run:#}");
    room.api.wait_session(&id, "the queue's end", all_done);
    assert_eq!(began(&room, &id), [first.as_str(), "one", "two", "three"]);
    room.api.check(&id);
}

#[test]
fn p2_first_puts_a_prompt_at_the_head() {
    let room = Greenroom::up().agent("worker", worker()).start();
    let (id, first) = held(&room);
    let run = room.api.prompt_with(&id, "instead", json!({"first": true})).expect(202);
    assert_eq!(run["ahead"], 0, "{run:#}");
    room.api.wait_session(&id, "the queue's end", all_done);
    assert_eq!(began(&room, &id), [first.as_str(), "instead", "one", "two"]);
}

#[test]
fn p2_a_prompt_while_stopping_waits() {
    let worker = agents::with(worker(), json!({"stop": {"grace": "2s"}}));
    let script = format!("trap '' TERM; {}", worker["command"][2].as_str().expect("a script"));
    let stubborn = agents::with(worker, json!({"command": ["/bin/sh", "-c", script, "agent"]}));
    let room = Greenroom::up().agent("worker", stubborn).start();
    for (resume, goes_on) in [(false, false), (true, true)] {
        let (_, prompt) = room.mark();
        let id = room.api.begin("worker", &prompt);
        room.api.wait_text(&id, "holding");
        room.api.stop_with(&id, "", json!({})).expect(202);
        let run = room.api.prompt_with(&id, "next", json!({"resume": resume})).expect(202);
        assert_eq!(run["held"], !goes_on, "{run:#}");
        let session = room.api.wait_session(&id, "the receipt", |s| !s["receipt"].is_null());
        if goes_on {
            room.api.wait_session(&id, "the next run", all_done);
            assert_eq!(began(&room, &id), [prompt.as_str(), "next"]);
        } else {
            assert_eq!(session["status"], "stopped", "{session:#}");
            assert_eq!(session["hold"], true, "{session:#}");
            assert_eq!(room.api.run(&run["id"])["status"], "queued");
        }
        room.api.check(&id);
    }
}

#[test]
fn p2_discard_queue_withdraws_what_waits_in_the_open() {
    let room = Greenroom::up().agent("worker", worker()).start();
    let (_, prompt) = room.mark();
    let id = room.api.begin("worker", &prompt);
    room.api.wait_text(&id, "holding");
    let waiting: Vec<_> = ["one", "two"].iter().map(|text| room.api.prompt(&id, text)).collect();
    let reply = room.api.stop_with(&id, "30s", json!({"discard_queue": true})).expect(200);
    assert_eq!(room.api.run(&reply["run_id"])["status"], "stopped", "the head is stopped");
    for run in &waiting {
        assert_eq!(room.api.run(&run["id"])["status"], "withdrawn");
    }
    assert_eq!(room.api.events(&id, "run.withdrawn").len(), 2, "visibly");
    assert_eq!(room.api.session(&id)["pending"]["runs"], 0);
    let run = room.api.prompt(&id, "three");
    assert_eq!(room.api.wait_run(&id, &run["id"])["status"], "completed");
    assert_eq!(began(&room, &id), [prompt.as_str(), "three"]);
}

#[test]
fn p2_a_stop_at_rest_holds_the_queue_too() {
    // A failed start holds by itself; here the queue waits for a place.
    let room = Greenroom::up().agent("worker", worker()).slots(1).start();
    let (_, prompt) = room.mark();
    let busy = room.api.begin("worker", &prompt);
    room.api.wait_text(&busy, "holding");
    let id = room.api.begin("worker", "one");
    let second = room.api.prompt(&id, "two");
    let reply = room.api.stop_with(&id, "", json!({})).expect(200);
    assert_eq!(room.api.run(&reply["run_id"])["status"], "stopped", "{reply:#}");
    room.api.stop(&busy);
    let session = room.api.session(&id);
    assert_eq!(
        (session["status"].as_str(), session["hold"].as_bool()),
        (Some("stopped"), Some(true)),
        "{session:#}"
    );
    let again = room.api.stop_with(&id, "", json!({})).expect(200);
    assert_eq!(again["already_stopped"], true, "{again:#}");
    room.api.post(&format!("/v1/sessions/{id}/resume"), json!({})).granted();
    assert_eq!(room.api.wait_run(&id, &second["id"])["status"], "completed");
    assert_eq!(began(&room, &id), ["two"]);
}

#[test]
fn p2_a_start_that_timed_out_holds_the_queue() {
    let room = Greenroom::up()
        .agent("worker", agents::with(worker(), json!({"limits": {"start": "500ms"}})))
        .env("FAILPOINTS", "runner_after_spawn=1*sleep(3000)")
        .start();
    // Five prompts must not be burnt in a row by what does not come up.
    let first = room.api.create("worker", json!({"prompt": "one"}));
    let id = id_of(&first);
    let second = room.api.prompt(&id, "two");
    let session = room.api.wait_rest(&id);
    assert_eq!(session["status"], "failed", "{session:#}");
    assert_eq!(session["status_reason"], "start_timeout", "{session:#}");
    assert_eq!(session["hold"], true, "{session:#}");
    assert_eq!(room.api.run(&second["id"])["status"], "queued");
    room.api.post(&format!("/v1/sessions/{id}/resume"), json!({})).granted();
    assert_eq!(room.api.wait_run(&id, &second["id"])["status"], "completed");
    room.api.check(&id);
}

#[test]
fn p2_stopping_a_run_lets_the_next_one_go_on() {
    let room = Greenroom::up().agent("worker", worker()).start();
    let (mark, prompt) = room.mark();
    let session = room.api.create("worker", json!({"prompt": prompt}));
    let id = id_of(&session);
    room.api.wait_text(&id, "holding");
    let next = room.api.prompt(&id, "next");
    let run = session["run_id"].as_str().expect("a run").to_owned();
    room.api.post(&format!("/v1/runs/{run}/stop"), json!({})).granted();
    assert_eq!(room.api.wait_run(&id, &next["id"])["status"], "completed");
    assert_eq!(room.api.run(&session["run_id"])["status"], "stopped");
    assert_eq!(room.api.session(&id)["hold"], false);
    assert!(procs::holding(&mark).is_empty());
    room.api.check(&id);
}

#[test]
fn p2_withdraw_only_before_dispatch() {
    let room = Greenroom::up().agent("worker", worker()).start();
    let (_, prompt) = room.mark();
    let session = room.api.create("worker", json!({"prompt": prompt}));
    let id = id_of(&session);
    room.api.wait_text(&id, "holding");
    let next = room.api.prompt(&id, "next");
    let path = |run: &Value| format!("/v1/runs/{}/withdraw", run.as_str().expect("an id"));
    room.api.post(&path(&next["id"]), json!({})).granted();
    assert_eq!(room.api.run(&next["id"])["status"], "withdrawn");
    room.api.post(&path(&session["run_id"]), json!({})).problem(409, "run_started");
    room.api.stop(&id);
    room.api.post("/v1/runs/00000000-0000-7000-8000-000000000000/withdraw", json!({})).refused(404);
}

#[test]
fn p2_modes_interrupt_and_reject() {
    let room = Greenroom::up().agent("worker", worker()).start();
    let (mark, prompt) = room.mark();
    let session = room.api.create("worker", json!({"prompt": prompt}));
    let id = id_of(&session);
    room.api.wait_text(&id, "holding");
    room.api.prompt_with(&id, "no", json!({"mode": "reject"})).problem(409, "session_busy");
    room.api.prompt_with(&id, "no", json!({"mode": "steer"})).problem(409, "steer_unsupported");
    room.api.prompt_with(&id, "no", json!({"mode": "shout"})).refused(422);
    let later = room.api.prompt(&id, "later");
    let now = room.api.prompt_with(&id, "now", json!({"mode": "interrupt"})).expect(202);
    assert_eq!(room.api.wait_run(&id, &now["id"])["status"], "completed");
    assert_eq!(room.api.wait_run(&id, &later["id"])["status"], "completed");
    assert_eq!(room.api.run(&session["run_id"])["status"], "stopped");
    assert_eq!(began(&room, &id), [prompt.as_str(), "now", "later"]);
    assert!(procs::holding(&mark).is_empty());
    room.api.wait_rest(&id);
    let free = room.api.prompt_with(&id, "free", json!({"mode": "reject"})).expect(202);
    assert_eq!(room.api.wait_run(&id, &free["id"])["status"], "completed");
    room.api.check(&id);
}
