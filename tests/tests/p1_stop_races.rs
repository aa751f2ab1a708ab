//! P1, P6: stop, prompt and delete at the same moment, in every pairing. Whoever wins, the
//! log tells one story and nothing is left alive.

use std::sync::Barrier;

use greenroom_tests::http::Reply;
use greenroom_tests::{Greenroom, agents, json, procs, scaled};

#[derive(Debug, Clone, Copy, PartialEq)]
enum Act {
    Stop,
    Prompt,
    PromptAndResume,
    Delete,
}

fn act(room: &Greenroom, id: &str, act: Act, prompt: &str) -> Reply {
    match act {
        Act::Stop => room.api.stop_with(id, "40s", json!({"grace_ms": 1000})),
        Act::Prompt => room.api.prompt_with(id, prompt, json!({})),
        Act::PromptAndResume => room.api.prompt_with(id, prompt, json!({"resume": true})),
        Act::Delete => room.api.delete(&format!("/v1/sessions/{id}?wait=40s")),
    }
}

/// Starts a session, lets two acts race, stops it at last, and checks what is left.
fn race(room: &Greenroom, pair: [Act; 2], warm: bool) {
    let (mark, prompt) = room.mark();
    let id = room.api.begin("holder", &prompt);
    if warm {
        room.api.wait_text(&id, "holding");
    }
    let gate = Barrier::new(2);
    let replies = std::thread::scope(|scope| {
        let both = pair.map(|one| {
            let (gate, id, prompt) = (&gate, id.as_str(), prompt.as_str());
            scope.spawn(move || {
                gate.wait();
                act(room, id, one, prompt)
            })
        });
        both.map(|thread| thread.join().expect("no panic"))
    });
    for (one, reply) in pair.iter().zip(&replies) {
        let fine: &[u16] = match one {
            Act::Stop => &[200, 404, 409],
            Act::Prompt | Act::PromptAndResume => &[202, 404, 409],
            Act::Delete => &[204, 404],
        };
        assert!(
            fine.contains(&reply.status),
            "{one:?} of {pair:?}: {} {}",
            reply.status,
            reply.text()
        );
    }
    if pair.contains(&Act::Delete) {
        room.api.get(&format!("/v1/sessions/{id}")).refused(404);
    } else {
        // A prompt that came after the receipt runs by right; now it is stopped as well.
        let last = room.api.stop_with(&id, "40s", json!({"grace_ms": 1000, "discard_queue": true}));
        assert!(last.expect(200)["receipt"]["survivors"] == 0, "{}", last.text());
        let open: Vec<_> = room
            .api
            .runs(&id)
            .into_iter()
            .filter(|run| {
                !matches!(run["status"].as_str(), Some("stopped" | "withdrawn" | "failed"))
            })
            .collect();
        assert!(open.is_empty(), "{pair:?}: runs without an end: {open:#?}");
        room.api.check(&id);
    }
    let left = procs::holding(&mark);
    assert!(left.is_empty(), "{pair:?}: survivors {left:?}");
}

fn races(pairs: &[[Act; 2]]) {
    let room = Greenroom::up().agent("holder", agents::holder()).start();
    for pair in pairs {
        for turn in 0..scaled(6, 60) {
            race(&room, *pair, turn % 2 == 0);
        }
    }
}

#[test]
fn p1_stop_against_stop() {
    races(&[[Act::Stop, Act::Stop]]);
}

#[test]
fn p1_stop_against_prompt() {
    races(&[[Act::Stop, Act::Prompt], [Act::Stop, Act::PromptAndResume]]);
}

#[test]
fn p1_stop_against_delete() {
    races(&[[Act::Stop, Act::Delete]]);
}

#[test]
fn p1_prompt_against_delete() {
    races(&[[Act::Prompt, Act::Delete], [Act::PromptAndResume, Act::Delete]]);
}

#[test]
fn p1_prompt_against_prompt_and_delete_against_delete() {
    races(&[[Act::Prompt, Act::Prompt], [Act::Delete, Act::Delete]]);
}

#[test]
fn p6_many_prompts_at_once_give_one_compute() {
    let room = Greenroom::up().agent("loop", agents::persistent()).start();
    let id = room.api.create("loop", json!({}))["id"].as_str().expect("an id").to_owned();
    const PROMPTS: usize = 24;
    std::thread::scope(|scope| {
        for n in 0..PROMPTS {
            let (room, id) = (&room, id.as_str());
            scope.spawn(move || room.api.prompt(id, &format!("word-{n}")));
        }
    });
    room.api.wait_session(&id, "all answers", |session| {
        session["status"] == "idle" && session["pending"]["runs"] == 0
    });
    let runs = room.api.runs(&id);
    assert_eq!(runs.len(), PROMPTS);
    assert!(runs.iter().all(|run| run["status"] == "completed"), "{runs:#?}");
    let log = room.api.check(&id);
    let placed = log.iter().filter(|event| event["type"] == "session.placed").count();
    assert_eq!(placed, 1, "one compute served them all");
    // They were answered in the order in which they were accepted.
    let queued: Vec<_> =
        log.iter().filter(|e| e["type"] == "run.queued").map(|e| e["run"].clone()).collect();
    let ended: Vec<_> =
        log.iter().filter(|e| e["type"] == "run.completed").map(|e| e["run"].clone()).collect();
    assert_eq!(queued, ended);
}

#[test]
fn p2_a_withdrawal_wins_or_loses_against_the_dispatch() {
    let room = Greenroom::up().agent("loop", agents::persistent()).start();
    let id = room.api.create("loop", json!({}))["id"].as_str().expect("an id").to_owned();
    let (mut executed, mut withdrawn) = (0, 0);
    for turn in 0..scaled(30, 300) {
        let head = room.api.prompt(&id, "ticks 2000");
        let next = room.api.prompt(&id, "pid");
        // The moment is what is tested: from at once until the head has long been answered.
        std::thread::sleep(std::time::Duration::from_millis(turn as u64 % 15 * 2));
        let path = format!("/v1/runs/{}/withdraw", next["id"].as_str().expect("a run"));
        let reply = room.api.post(&path, json!({}));
        let head = room.api.wait_run(&id, &head["id"]);
        let next = room.api.wait_run(&id, &next["id"]);
        executed += 1;
        assert_eq!(head["result"]["count"], executed, "turn {turn}: {head:#}");
        if reply.status == 200 {
            withdrawn += 1;
            assert_eq!(next["status"], "withdrawn", "turn {turn}: {next:#}");
        } else {
            reply.problem(409, "run_started");
            executed += 1;
            assert_eq!(next["result"]["count"], executed, "turn {turn}: {next:#}");
        }
    }
    assert!(withdrawn > 0, "none was early enough");
    room.api.check(&id);
}
