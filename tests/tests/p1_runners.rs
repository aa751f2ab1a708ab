//! P1, P5, P6: runners that are away, that come back, and that live side by side.

use std::process::Command;

use greenroom_tests::session::{id_of, uid_of};
use greenroom_tests::{Greenroom, agents, binary, cli, json, procs};

#[test]
fn p1_a_stop_while_the_runner_is_down_is_carried_out_when_it_returns() {
    let mut room = Greenroom::serve().agent("holder", agents::holder()).runner("one").start();
    let (mark, prompt) = room.mark();
    let id = room.api.begin("holder", &prompt);
    room.api.wait_text(&id, "holding");
    room.kill9_runner("one");
    let reply = room.api.stop_with(&id, "", json!({"grace_ms": 1000})).expect(202);
    assert_eq!(reply["status"], "stopping", "{reply:#}");
    assert_eq!(procs::holding(&mark).len(), 1);
    room.restart_runner("one");
    let session = room.api.wait_status(&id, "stopped");
    assert_eq!(session["receipt"]["survivors"], 0, "{session:#}");
    assert!(procs::holding(&mark).is_empty());
    room.api.check(&id);
}

#[test]
fn p1_a_stop_before_the_runner_has_seen_anything() {
    let mut room = Greenroom::serve().agent("holder", agents::holder()).runner("one").start();
    room.kill9_runner("one");
    let (mark, prompt) = room.mark();
    let id = room.api.begin("holder", &prompt);
    room.api.stop_with(&id, "", json!({}));
    room.restart_runner("one");
    let session = room.api.wait_status(&id, "stopped");
    assert_eq!(session["receipt"]["processes_seen"], 0, "{session:#}");
    assert!(procs::holding(&mark).is_empty());
    assert_eq!(room.api.runs(&id)[0]["status"], "stopped");
    room.api.check(&id);
}

#[test]
fn p6_two_runners_side_by_side_leave_each_other_alone() {
    let mut room = Greenroom::serve()
        .agent("holder", agents::holder())
        .agent("here", agents::with(agents::holder(), json!({"runner": {"labels": {"zone": "a"}}})))
        .start();
    room.builder.set_runner_args(&["--label", "zone=a"]);
    room.add_runner("a");
    room.builder.set_runner_args(&["--label", "zone=b"]);
    room.add_runner("b");
    let there = agents::with(agents::holder(), json!({"runner": {"labels": {"zone": "b"}}}));
    room.write_agent("there", there);
    room.served("there");
    let sessions: Vec<_> = ["here", "there"]
        .iter()
        .map(|agent| {
            let (mark, prompt) = room.mark();
            let id = room.api.begin(agent, &prompt);
            room.api.wait_text(&id, "holding");
            (id, mark)
        })
        .collect();
    let homes: Vec<_> =
        sessions.iter().map(|(id, _)| room.api.session(id)["runner_id"].clone()).collect();
    assert_ne!(homes[0], homes[1]);

    // One is killed, comes back and adopts its own; the other one's stays untouched.
    let before = procs::holding(&sessions[1].1);
    room.kill9_runner("a");
    room.restart_runner("a");
    room.wait_connected("a");
    let local = run_local(&room.runner("a").data, &["ls", "--output", "json"]).exits(0).json();
    let text = local.to_string();
    assert!(text.contains(&sessions[0].0) && !text.contains(&sessions[1].0), "{local:#}");
    assert_eq!(room.api.stop(&sessions[0].0)["receipt"]["survivors"], 0);
    assert_eq!(procs::holding(&sessions[1].1), before, "the neighbour's agent lives");
    run_local(&room.runner("a").data, &["stop"]).exits(0);
    assert_eq!(procs::holding(&sessions[1].1), before, "the neighbour's agent lives");
    assert_eq!(room.api.stop(&sessions[1].0)["receipt"]["survivors"], 0);
    assert!(procs::holding(&sessions[1].1).is_empty());
}

fn run_local(data: &std::path::Path, args: &[&str]) -> greenroom_tests::Ran {
    let mut command = Command::new(binary());
    command.env_clear().env("PATH", "/usr/bin:/bin").env("HOME", "/nonexistent");
    command.arg("local").args(args).arg("--data").arg(data);
    cli::run(command, "")
}

#[test]
fn p6_two_runners_on_one_folder_are_refused() {
    let room = Greenroom::serve().agent("echo", agents::echo()).runner("one").start();
    let mut twin = room.spawn_runner(room.runner("one"), None);
    assert!(procs::wait_gone(twin.id() as i32, greenroom_tests::PATIENCE), "the second one exits");
    assert_ne!(twin.wait().expect("its status").code(), Some(0));
    let log = room.log_text("runner-one");
    assert!(log.contains("hint:"), "it says what to do: {log}");
    let id = room.api.begin("echo", "still here");
    room.api.wait_status(&id, "finished");
}

#[test]
fn p1_local_stop_needs_neither_coordinator_nor_runner() {
    let mut room = Greenroom::up().agent("stubborn", agents::stubborn()).start();
    let sessions: Vec<_> = (0..3)
        .map(|_| {
            let (mark, prompt) = room.mark();
            let id = room.api.begin("stubborn", &prompt);
            room.api.wait_text(&id, "holding");
            (id, mark)
        })
        .collect();
    room.kill9_server();
    for (_, mark) in &sessions {
        assert_eq!(procs::holding(mark).len(), 1, "agents outlive us");
    }
    let ran = room.cli(&["local", "ls"]).exits(0);
    for (id, _) in &sessions {
        assert!(ran.out.contains(id.as_str()), "{}", ran.out);
    }
    room.cli(&["local", "stop", "--grace", "300ms"]).exits(0);
    for (_, mark) in &sessions {
        assert!(procs::holding(mark).is_empty());
    }
    // The server hears of it when it is back.
    room.start_server();
    for (id, _) in &sessions {
        let session = room.api.wait_rest(id);
        assert_eq!(session["status"], "stopped", "{session:#}");
        assert_eq!(session["receipt"]["survivors"], 0);
        room.api.check(id);
    }
}

#[test]
fn p6_a_home_runner_is_not_deleted_by_the_way() {
    let room = Greenroom::serve().agent("echo", agents::echo()).runner("one").start();
    let session = room.api.create("echo", json!({"prompt": "hello"}));
    let id = id_of(&session);
    room.api.wait_status(&id, "finished");
    let runner = room.api.session(&id)["runner_id"].as_str().expect("a home").to_owned();
    let path = format!("/v1/runners/{runner}");
    room.api.delete(&path).refused(409);
    assert!(room.workspace(&uid_of(&session)).exists());
    room.api.delete(&format!("{path}?force=true")).granted();
    let lost = room.api.wait_event(&id, 1, "session.workspace_lost");
    assert_eq!(lost["data"]["runner"], runner.as_str(), "{lost:#}");
}

#[test]
fn p2_a_drained_runner_takes_nothing_new_and_keeps_what_it_has() {
    let mut room = Greenroom::serve()
        .agent("holder", agents::holder())
        .agent("echo", agents::echo())
        .runner("one")
        .start();
    let (mark, prompt) = room.mark();
    let busy = room.api.begin("holder", &prompt);
    room.api.wait_text(&busy, "holding");
    let rested = room.api.begin("echo", "one");
    room.api.wait_status(&rested, "finished");
    let runner = room.api.session(&busy)["runner_id"].as_str().expect("a home").to_owned();
    room.api.post(&format!("/v1/runners/{runner}/drain"), json!({})).granted();
    assert_eq!(procs::holding(&mark).len(), 1);
    let fresh = room.api.begin("echo", "hello");
    assert_eq!(room.api.status(&fresh), "queued");
    room.api.prompt(&rested, "two");
    let session = room.api.wait_session(&rested, "a reason", |s| !s["status_reason"].is_null());
    assert_eq!(session["status"], "queued", "{session:#}");
    assert_eq!(session["status_reason"], "home_draining", "{session:#}");
    room.add_runner("two");
    room.api.wait_status(&fresh, "finished");
    assert_eq!(room.api.status(&rested), "queued", "its files are elsewhere");
    let lift = format!("/v1/runners/{runner}/drain?lift=true");
    assert_eq!(room.api.post(&lift, json!({})).expect(200)["draining"], false);
    room.api.wait_status(&rested, "finished");
}

#[test]
fn p2_a_session_waits_for_its_home_and_silence_is_judged_after_a_whole_time_limit() {
    let notes = agents::sh(r#"cat >> notes; echo >> notes; tr '\n' ' ' < notes"#, &[]);
    let mut room = Greenroom::serve()
        .agent("notes", notes)
        .agent("holder", agents::holder())
        .runner("one")
        .start();
    let id = room.api.begin("notes", "one");
    let home = room.api.wait_status(&id, "finished")["runner_id"].clone();
    let (mark, prompt) = room.mark();
    let busy = room.api.begin("holder", &prompt);
    room.api.wait_text(&busy, "holding");
    room.add_runner("two");
    room.kill9_runner("one");
    // A coordinator that has just come up has heard of nobody, and calls nobody silent.
    room.kill9_and_restart();
    let up = std::time::Instant::now();
    let run = room.api.prompt(&id, "two");
    let session = room.api.wait_session(&id, "a reason", |s| !s["status_reason"].is_null());
    assert_eq!(session["status"], "queued", "{session:#}");
    assert_eq!(session["status_reason"], "home_unreachable", "{session:#}");
    room.api.wait_status(&busy, "unreachable");
    assert!(up.elapsed() > std::time::Duration::from_secs(15), "after {:?}", up.elapsed());
    assert_eq!(room.api.run(&run["id"])["status"], "queued", "another runner has no files of it");
    assert_eq!(procs::holding(&mark).len(), 1, "silence ends nothing");

    room.restart_runner("one");
    assert_eq!(room.api.wait_run(&id, &run["id"])["status"], "completed");
    room.api.wait_text(&id, "one two ");
    assert_eq!(room.api.session(&id)["runner_id"], home);
    assert_eq!(room.api.wait_status(&busy, "running")["epoch"], 1);
    assert_eq!(room.api.stop(&busy)["receipt"]["survivors"], 0);
    for id in [&id, &busy] {
        room.api.check(id);
    }
}

#[test]
fn p6_a_name_that_is_used_again_is_another_session() {
    let mut room = Greenroom::serve().agent("holder", agents::holder()).runner("one").start();
    let (old_mark, prompt) = room.mark();
    let old = room.api.create("holder", json!({"id": "x", "prompt": prompt}));
    room.api.wait_text("x", "holding");
    let home = room.api.session("x")["runner_id"].as_str().expect("a home").to_owned();
    room.kill9_runner("one");
    room.add_runner("two");
    assert_eq!(room.api.delete("/v1/sessions/x?wait=1ms").status, 202);
    let body = json!({"agent": "holder", "id": "x"});
    room.api.post("/v1/sessions", body).problem(409, "session_exists");
    // Nobody waits for that machine any longer.
    room.api.delete(&format!("/v1/runners/{home}?force=true")).granted();
    room.api.get("/v1/sessions/x").refused(404);
    let (mark, prompt) = room.mark();
    let new = room.api.create("holder", json!({"id": "x", "prompt": prompt}));
    assert_ne!(uid_of(&old), uid_of(&new));
    room.api.wait_text("x", "holding");

    // It is back all the same. It has no say in the new one, and keeps what it has.
    room.restart_runner("one");
    room.wait_log("runner-one", "refuses this runner");
    assert_eq!(procs::holding(&old_mark).len(), 1, "nobody with a right to has ended it");
    assert_eq!(room.api.status("x"), "running");
    assert_eq!(procs::holding(&mark).len(), 1);
    run_local(&room.runner("one").data, &["stop"]).exits(0);
    assert!(procs::holding(&old_mark).is_empty());
    assert_eq!(procs::holding(&mark).len(), 1, "its namesake lives");
    assert!(room.workspace(&uid_of(&new)).exists());
    assert_eq!(room.api.stop("x")["receipt"]["survivors"], 0);
    let log = room.api.check("x");
    let created = log.iter().filter(|event| event["type"] == "session.created").count();
    assert_eq!(created, 1, "one session's log");
    assert_eq!(room.api.said("x"), "holding\n");
}
