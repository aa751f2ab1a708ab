//! Hooks of the orchestrator that take too long, fail, or find no place: what becomes of the
//! run that waits for them.

mod orchestrator;
mod support;

use greenroom_coordinator::{Door, Quotas};
use orchestrator::*;
use reqwest::Method;
use serde_json::{Value, json};
use support::*;

async fn agent(room: &Room, name: &str, hooks: Value) {
    let asked = json!({"name": name, "description": "d", "hooks": hooks});
    room.o_post("/agents", asked).await.expect(201);
}

/// An agent `main` whose runs wait for the agent `gate`.
async fn gated(room: &Room, on_error: &str, timeout: u64) {
    agent(room, "gate", json!({})).await;
    let hook = json!({"type": "agent", "agent_name": "gate", "on_error": on_error, "timeout_seconds": timeout});
    agent(room, "main", json!({"on_run_start": hook})).await;
}

/// How the run ends, with its session.
async fn fails(room: &Room, id: &str, run: &str) -> String {
    room.o_wait(id, "failed").await;
    // What it waited for is settled after it.
    let shown = eventually(async || {
        let shown = room.o_run(run).await;
        (shown["status"] == "failed").then_some(shown)
    })
    .await;
    shown["error"].as_str().expect("why").to_owned()
}

/// What was asked is given to a runner as it was asked, since nothing has changed it.
#[track_caller]
fn is_unchanged(given: &Value, run: &str) {
    let what = (&given["run_id"], &given["parameters"]["prompt"]);
    assert_eq!(what, (&json!(run), &json!("hello")), "{given}");
}

#[tokio::test]
async fn a_hook_that_takes_too_long_lets_the_run_go_on_or_ends_it() {
    for on_error in ["continue", "block"] {
        let room = open().await;
        let runner = Runner::register(&room, registration("coder")).await;
        gated(&room, on_error, 1).await;
        let (id, run) = room.o_start(json!({"agent_name": "main"})).await;
        let gate = runner.wait_run().await;
        runner.started(&gate).await;
        // It never answers, and is told to stop.
        let (mut stopped, mut given) = (Value::Null, Value::Null);
        while stopped.is_null() || (on_error == "continue" && given.is_null()) {
            let answer = runner.poll().await;
            assert!(answer.status == 200 || answer.status == 204, "{}", answer.body);
            let told = |key: &str| answer.body.get(key).cloned().unwrap_or_default();
            for (known, key) in [(&mut stopped, "stop_sessions"), (&mut given, "run")] {
                if known.is_null() {
                    *known = told(key);
                }
            }
        }
        assert_eq!(stopped, json!([gate["session_id"]]));
        assert_eq!(room.o_kinds(&id).await[..2], ["hook_start", "hook_timeout"], "{on_error}");
        match on_error {
            "continue" => {
                is_unchanged(&given, &run);
                runner.answers(&given, "the answer", "finished").await;
                assert_eq!(room.o_run(&run).await["status"], "completed");
            }
            _ => {
                let why = fails(&room, &id, &run).await;
                assert_eq!(why, "Blocked by on_run_start hook: timed out after 1 s");
            }
        }
    }
}

#[tokio::test]
async fn a_hook_that_fails_lets_the_run_go_on_or_ends_it() {
    for on_error in ["continue", "block"] {
        let room = open().await;
        let runner = Runner::register(&room, registration("coder")).await;
        gated(&room, on_error, 60).await;
        // In three ways: its run fails, its answer is none, and it cannot begin.
        for (way, why) in [
            ("fails", "it broke"),
            ("says nothing", "its answer names no action"),
            ("is not there", "Agent not found: gate"),
        ] {
            if way == "is not there" {
                room.o_send(Method::DELETE, "/agents/gate", json!({})).await.expect(204);
            }
            let (id, run) = room.o_start(json!({"agent_name": "main"})).await;
            let mut kinds = vec!["hook_start", "hook_failed"];
            if way == "is not there" {
                kinds.remove(0);
            } else {
                let gate = runner.wait_run().await;
                assert_eq!(gate["agent_name"], "gate");
                if way == "fails" {
                    runner.started(&gate).await;
                    let report = json!({"error": "it broke"});
                    runner.report(&gate, "failed", report).await.expect(200);
                } else {
                    runner.answers(&gate, "nothing to say", "finished").await;
                }
            }
            match on_error {
                "continue" => {
                    let given = runner.wait_run().await;
                    is_unchanged(&given, &run);
                    assert_eq!(room.o_kinds(&id).await, kinds, "{way}");
                    runner.answers(&given, "the answer", "finished").await;
                }
                _ => {
                    let said = fails(&room, &id, &run).await;
                    assert_eq!(said, format!("Blocked by on_run_start hook: {why}"));
                    assert_eq!(room.o_kinds(&id).await[..kinds.len()], kinds, "{way}");
                }
            }
        }
    }
}

#[tokio::test]
async fn what_a_run_came_to_stands_whatever_the_hook_after_it_does() {
    let room = open().await;
    let runner = Runner::register(&room, registration("coder")).await;
    agent(&room, "after", json!({})).await;
    let hook = json!({"type": "agent", "agent_name": "after", "on_error": "block"});
    agent(&room, "main", json!({"on_run_finish": hook})).await;
    // One that fails.
    let (id, run) = room.o_start(json!({"agent_name": "main"})).await;
    runner.answers(&runner.wait_run().await, "the answer", "finished").await;
    let after = runner.wait_run().await;
    assert_eq!(after["agent_name"], "after");
    runner.started(&after).await;
    runner.report(&after, "failed", json!({"error": "it broke"})).await.expect(200);
    let after = after["session_id"].as_str().expect("an id");
    room.o_wait(after, "failed").await;
    assert_eq!(room.o_run(&run).await["status"], "completed");
    assert_eq!(room.o_session(&id).await["status"], "finished");
    // One that cannot begin.
    room.o_send(Method::DELETE, "/agents/after", json!({})).await.expect(204);
    let (id, run) = room.o_start(json!({"agent_name": "main"})).await;
    runner.answers(&runner.wait_run().await, "the answer", "finished").await;
    eventually(async || {
        let kinds = room.o_kinds(&id).await;
        kinds.iter().any(|kind| kind == "hook_failed").then_some(())
    })
    .await;
    assert_eq!(room.o_run(&run).await["status"], "completed");
    assert_eq!(room.o_session(&id).await["status"], "finished");
}

#[tokio::test]
async fn a_run_behind_a_hook_needs_a_place_of_its_own() {
    let room = Room::with(|config| {
        config.doors = [Door::Orchestrator].into();
        config.quotas = Quotas { active: Some(1), ..Quotas::default() };
    })
    .await;
    let runner = Runner::register(&room, registration("coder")).await;
    gated(&room, "block", 60).await;
    let (id, run) = room.o_start(json!({"agent_name": "main"})).await;
    let gate = runner.wait_run().await;
    // The hook has the only place, so nothing more is taken, with a hook or without.
    for agent in ["main", "gate"] {
        let asked =
            json!({"type": "start_session", "agent_name": agent, "parameters": {"prompt": "x"}});
        let refused = room.o_post("/runs", asked).await;
        assert_eq!(refused.headers["retry-after"], "5");
        let detail = refused.expect(429)["detail"].as_str().expect("words").to_owned();
        assert!(detail.contains("1 of 1 active sessions"), "{detail}");
    }
    let all = room.o_get("/sessions").await.expect(200);
    assert_eq!(all["sessions"].as_array().map(Vec::len), Some(2), "{all}");
    // Its process stays, and the run finds no place: it fails, and says so.
    runner.answers(&gate, "{\"action\": \"continue\"}", "idle").await;
    let why = fails(&room, &id, &run).await;
    assert!(why.contains("quota max_active"), "{why}");
}
