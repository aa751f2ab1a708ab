//! P1, P3, P4, P6: `kill -9` of every part at every stage of a run and of a stop. Each row is
//! known to have happened, because the process is seen dead; then the session goes on.

use std::time::Duration;

use greenroom_tests::http::Reply;
use greenroom_tests::session::{id_of, uid_of};
use greenroom_tests::{Greenroom, PATIENCE, Value, agents, json, procs, scaled};

/// What the session is doing when the part dies.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Stage {
    /// It is coming up, or has just begun its run.
    Run,
    /// It is being stopped.
    Stop,
    /// It ends by itself.
    End,
}

/// Holds a marker open for ever if its prompt is one, deaf to TERM; else repeats the prompt.
fn worker() -> Value {
    let script = r#"trap '' TERM; case "$1" in
        /*) exec 9<"$1"; echo holding; while :; do sleep 1; done ;;
        *) echo "did $1" ;; esac"#;
    agents::with(agents::sh(script, &[]), json!({"prompt_via": "arg", "stop": {"grace": "300ms"}}))
}

fn room() -> Greenroom {
    Greenroom::serve().agent("worker", worker()).start()
}

/// After the crash: the session comes to rest with proof, nothing of it is left, it resumes,
/// and its log tells one story.
fn settle_and_resume(room: &Greenroom, id: &str, mark: &std::path::Path, what: &str) {
    let stopped = room.api.stop_with(id, "45s", json!({}));
    assert_eq!(stopped.status, 200, "{what}: {}", stopped.text());
    assert_eq!(stopped.json()["receipt"]["survivors"], 0, "{what}: {}", stopped.text());
    let left = procs::holding(mark);
    assert!(left.is_empty(), "{what}: survivors {left:?}");
    let run = room.api.prompt(id, "again");
    let run = room.api.wait_run(id, &run["id"]);
    assert_eq!(run["status"], "completed", "{what}: {run:#}");
    assert!(room.api.said(id).contains("did again"), "{what}");
    room.api.wait_rest(id);
    room.api.check(id);
}

/// One row for the runner: it dies at this point, and comes back.
fn runner_dies(room: &mut Greenroom, point: &str, stage: Stage) {
    let what = format!("{point} at {stage:?}");
    let (mark, prompt) = room.mark();
    let prompt = if stage == Stage::End { "short".to_owned() } else { prompt };
    let armed = |room: &mut Greenroom| {
        room.term_runner("one");
        room.builder.set_runner_failpoints(Some(&format!("{point}=return")));
        room.restart_runner("one");
        room.builder.set_runner_failpoints(None);
        room.wait_connected("one");
    };
    let id = if stage == Stage::Stop {
        let id = room.api.begin("worker", &prompt);
        room.api.wait_text(&id, "holding");
        armed(room);
        room.api.stop_with(&id, "", json!({}));
        id
    } else {
        armed(room);
        room.api.begin("worker", &prompt)
    };
    let pid = room.runner_pid("one");
    assert!(procs::wait_gone(pid, PATIENCE), "{what}: the runner was to die");
    room.kill9_runner("one");
    room.restart_runner("one");
    settle_and_resume(room, &id, &mark, &what);
}

#[test]
fn p6_the_runner_dies_at_every_point() {
    let mut room = room();
    room.add_runner("one");
    for (point, stage) in [
        ("runner_after_spec", Stage::Run),
        ("runner_after_spawn", Stage::Run),
        ("runner_after_stop_sent", Stage::Stop),
        ("runner_before_floor", Stage::Stop),
        ("runner_after_floor", Stage::Stop),
        ("runner_before_report", Stage::Stop),
        ("runner_before_floor", Stage::End),
        ("runner_after_floor", Stage::End),
        ("runner_before_report", Stage::End),
    ] {
        runner_dies(&mut room, point, stage);
    }
}

/// One row for the shim: it dies at this point, and the runner closes what it leaves.
fn shim_dies(room: &mut Greenroom, point: &str, stage: Stage) {
    let what = format!("{point} at {stage:?}");
    let (mark, prompt) = room.mark();
    let prompt = if stage == Stage::End { "short".to_owned() } else { prompt };
    room.builder.set_runner_failpoints(Some(&format!("{point}=panic")));
    room.term_runner("one");
    room.restart_runner("one");
    room.wait_connected("one");
    let session = room.api.create("worker", json!({"prompt": prompt}));
    let id = id_of(&session);
    if stage == Stage::Stop {
        room.api.wait_text(&id, "holding");
        let shim = room.shim_pid(&uid_of(&session), 1);
        room.api.stop_with(&id, "", json!({}));
        assert!(procs::wait_gone(shim, PATIENCE), "{what}: the shim was to die");
    } else {
        // Its death is what closes the first epoch.
        room.api.wait_session(&id, &format!("{what}: an end of epoch 1"), |session| {
            session["receipt"]["epoch"].as_u64() >= Some(1)
        });
    }
    room.builder.set_runner_failpoints(None);
    room.kill9_runner("one");
    room.restart_runner("one");
    settle_and_resume(room, &id, &mark, &what);
}

#[test]
fn p6_the_shim_dies_at_every_point() {
    let mut room = room();
    room.add_runner("one");
    for (point, stage) in [
        ("shim_after_lock", Stage::Run),
        ("shim_after_socket", Stage::Run),
        ("shim_before_run_started", Stage::Run),
        ("shim_after_run_started", Stage::Run),
        ("shim_after_spawn", Stage::Run),
        ("shim_before_term", Stage::Stop),
        ("shim_after_kill", Stage::Stop),
        ("shim_before_receipt", Stage::Stop),
        ("shim_after_receipt", Stage::Stop),
        ("shim_after_closed", Stage::Stop),
        ("shim_before_receipt", Stage::End),
        ("shim_after_receipt", Stage::End),
    ] {
        shim_dies(&mut room, point, stage);
    }
}

#[test]
fn p6_the_prompt_is_executed_once_whenever_the_shim_dies() {
    let mut room = room();
    // The agent itself counts how often it was given the prompt.
    let counter = r#"echo "$1" >> "$HOME/../seen"; echo "did $1""#;
    let counter = agents::with(agents::sh(counter, &[]), json!({"prompt_via": "arg"}));
    room.write_agent("counter", counter);
    room.add_runner("one");
    room.served("counter");
    for point in ["shim_before_run_started", "shim_after_run_started", "shim_after_spawn"] {
        room.builder.set_runner_failpoints(Some(&format!("{point}=panic")));
        room.term_runner("one");
        room.restart_runner("one");
        room.wait_connected("one");
        let session = room.api.create("counter", json!({"prompt": "pay"}));
        let id = id_of(&session);
        room.api
            .wait_session(&id, "an end of epoch 1", |s| s["receipt"]["epoch"].as_u64() >= Some(1));
        room.builder.set_runner_failpoints(None);
        room.kill9_runner("one");
        room.restart_runner("one");
        let run = room.api.wait_run(&id, &session["run_id"]);
        let seen = room.workspace(&uid_of(&session)).parent().expect("beside").join("seen");
        let seen = std::fs::read_to_string(seen).unwrap_or_default().lines().count();
        if point == "shim_before_run_started" {
            assert_eq!(
                run["status"], "completed",
                "it had not begun, so it is given again: {run:#}"
            );
            assert_eq!(seen, 1);
        } else {
            assert_eq!(run["status"], "failed", "{point}: {run:#}");
            assert_eq!(run["error"]["code"], "interrupted", "{run:#}");
            assert!(seen <= 1, "{point}: seen {seen} times");
        }
        room.api.check(&id);
    }
}

/// Does one thing again and again, over the coordinator's death, until there is an answer.
fn steadily(
    room: &mut Greenroom,
    deaths: &mut usize,
    mut act: impl FnMut(&Greenroom) -> std::io::Result<Reply>,
) -> Reply {
    for _ in 0..50 {
        match act(room) {
            Ok(reply) if reply.status < 500 => return reply,
            other => {
                let pid_is_dead = room.server_is_dead() || {
                    let pid = room.server_pid();
                    procs::wait_gone(pid, Duration::from_secs(5))
                };
                assert!(pid_is_dead, "no answer from a living coordinator: {other:?}");
                *deaths += 1;
                room.builder.set_failpoints(None);
                room.kill9_server();
                room.start_server();
            }
        }
    }
    panic!("no answer after 50 tries");
}

/// One row for the coordinator: it dies at the `nth` passing of this point.
fn coordinator_dies(room: &mut Greenroom, point: &str, nth: usize) -> bool {
    let what = format!("{point}, passing {nth}");
    room.term_server();
    room.builder.set_failpoints(Some(&format!("{point}={nth}*off->panic")));
    let server = room.spawn_server();
    let mut deaths = 0;
    if !room.take_server(server) {
        // It died while it was starting.
        deaths += 1;
        room.builder.set_failpoints(None);
        room.start_server();
    }
    let (mark, prompt) = room.mark();
    let key = format!("{point}-{nth}");
    let body = json!({"agent": "worker", "prompt": prompt});
    let created = steadily(room, &mut deaths, |room| {
        room.api
            .request("POST", "/v1/sessions")
            .header("idempotency-key", &key)
            .json(&body)
            .try_send()
    });
    let id = id_of(&created.expect(201));
    let begun = std::time::Instant::now();
    while procs::holding(&mark).is_empty() {
        assert!(begun.elapsed() < PATIENCE, "{what}: the agent does not come up");
        steadily(room, &mut deaths, |room| {
            room.api.request("GET", &format!("/v1/sessions/{id}")).try_send()
        });
    }
    let path = format!("/v1/sessions/{id}/stop?wait=30s");
    let stopped = steadily(room, &mut deaths, |room| {
        room.api.request("POST", &path).json(&json!({})).try_send()
    });
    let stopped = stopped.expect(200);
    assert_eq!(stopped["receipt"]["survivors"], 0, "{what}: {stopped:#}");
    assert!(procs::holding(&mark).is_empty(), "{what}");
    let path = format!("/v1/sessions/{id}/runs");
    let run = steadily(room, &mut deaths, |room| {
        let body = json!({"prompt": "again"});
        room.api.request("POST", &path).header("idempotency-key", &key).json(&body).try_send()
    });
    let run = run.expect(202)["id"].as_str().expect("a run").to_owned();
    while !matches!(
        steadily(room, &mut deaths, |room| room
            .api
            .request("GET", &format!("/v1/runs/{run}"))
            .try_send())
        .expect(200)["status"]
            .as_str(),
        Some("completed")
    ) {
        assert!(begun.elapsed() < PATIENCE * 2, "{what}: the second run does not complete");
    }
    // What is looked at now is looked at in peace.
    deaths += usize::from(room.server_is_dead());
    room.builder.set_failpoints(None);
    room.kill9_and_restart();
    assert_eq!(room.api.runs(&id).len(), 2, "{what}");
    room.api.wait_rest(&id);
    room.api.check(&id);
    assert!(deaths <= 1, "{what}: {deaths} deaths");
    deaths == 1
}

/// Lets the coordinator die at each of its commits, one after another.
fn at_each_commit(point: &str) {
    let mut room = room();
    room.add_runner("one");
    let mut rows = 0;
    for nth in (0..60).step_by(if greenroom_tests::soak() { 1 } else { 3 }) {
        if !coordinator_dies(&mut room, point, nth) {
            break;
        }
        rows += 1;
    }
    assert!(rows >= scaled(4, 12), "{point}: only {rows} rows were reached");
}

#[test]
fn p6_the_coordinator_dies_before_each_commit() {
    at_each_commit("store_before_commit");
}

#[test]
fn p6_the_coordinator_dies_after_each_commit() {
    at_each_commit("store_after_commit");
}

#[test]
fn p6_the_coordinator_dies_between_commit_and_answer() {
    let mut room = room();
    room.add_runner("one");
    for nth in 0..2 {
        assert!(
            coordinator_dies(&mut room, "coordinator_after_commit_before_reply", nth),
            "passing {nth}"
        );
    }
}

#[test]
fn p6_the_agent_dies_at_every_stage() {
    let mut room = room();
    room.add_runner("one");
    let (mark, prompt) = room.mark();
    let session = room.api.create("worker", json!({"prompt": prompt}));
    let id = id_of(&session);
    room.api.wait_text(&id, "holding");
    for proc in procs::holding(&mark) {
        procs::signal(proc.pid, rustix::process::Signal::KILL);
    }
    let session = room.api.wait_rest(&id);
    assert_eq!(session["status"], "failed", "{session:#}");
    assert_eq!(session["status_reason"], "signal", "{session:#}");
    assert_eq!(session["receipt"]["exit"], json!({"signal": 9}));
    settle_and_resume(&room, &id, &mark, "the agent is killed while it runs");

    let (mark, prompt) = room.mark();
    let id = room.api.begin("worker", &prompt);
    room.api.wait_text(&id, "holding");
    room.api.stop_with(&id, "", json!({"grace_ms": 50_000})).expect(202);
    for proc in procs::holding(&mark) {
        procs::signal(proc.pid, rustix::process::Signal::KILL);
    }
    let session = room.api.wait_rest(&id);
    assert_eq!(session["status"], "stopped", "{session:#}");
    settle_and_resume(&room, &id, &mark, "the agent is killed while it is stopped");
}

#[test]
fn p6_everything_is_killed_at_once() {
    let mut room = Greenroom::up().agent("worker", worker()).start();
    for with_shim in [false, true] {
        let (mark, prompt) = room.mark();
        let session = room.api.create("worker", json!({"prompt": prompt}));
        let id = id_of(&session);
        room.api.wait_text(&id, "holding");
        let shim = room.shim_pid(&uid_of(&session), 1);
        room.kill9_server();
        if with_shim {
            procs::signal(shim, rustix::process::Signal::KILL);
            assert!(procs::wait_gone(shim, PATIENCE));
        }
        room.start_server();
        if with_shim {
            let session = room.api.wait_rest(&id);
            assert_eq!(session["status"], "interrupted", "{session:#}");
            assert_eq!(session["receipt"]["survivors"], 0, "{session:#}");
        } else {
            assert_eq!(room.api.wait_status(&id, "running")["epoch"], 1);
        }
        settle_and_resume(&room, &id, &mark, "everything is killed");
    }
}
