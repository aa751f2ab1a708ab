//! P1: limits end what exceeds them, with proof, and nothing else.

use greenroom_tests::session::id_of;
use greenroom_tests::{Greenroom, Sse, agents, json, procs};

#[test]
fn p1_the_run_limit_holds_with_the_coordinator_away() {
    let mut room = Greenroom::serve()
        .agent(
            "stubborn",
            agents::with(
                agents::stubborn(),
                json!({"limits": {"run": "2s"}, "stop": {"grace": "200ms"}}),
            ),
        )
        .runner("one")
        .start();
    let (mark, prompt) = room.mark();
    let id = room.api.begin("stubborn", &prompt);
    room.api.wait_text(&id, "holding");
    let agents = procs::holding(&mark);
    room.kill9_server();
    assert!(procs::wait_all_gone(&agents, greenroom_tests::PATIENCE), "the shim ends it");
    room.start_server();
    let session = room.api.wait_rest(&id);
    assert_eq!(session["status"], "stopped", "{session:#}");
    assert_eq!(session["status_reason"], "limit", "{session:#}");
    assert_eq!(session["hold"], true, "a limit holds: {session:#}");
    let run = room.api.runs(&id)[0].clone();
    assert_eq!(run["status"], "stopped", "{run:#}");
    assert_eq!(run["error"]["code"], "limit", "{run:#}");
    assert_eq!(session["receipt"]["survivors"], 0);
    room.api.check(&id);
}

#[test]
fn p2_an_idle_agent_is_stopped_and_comes_back_with_a_prompt() {
    let room = Greenroom::up()
        .agent("loop", agents::with(agents::persistent(), json!({"limits": {"idle": "1s"}})))
        .start();
    let session = room.api.create("loop", json!({"prompt": "hello"}));
    let id = id_of(&session);
    let session = room.api.wait_status(&id, "stopped");
    assert_eq!(session["status_reason"], "idle", "{session:#}");
    assert_eq!(session["hold"], false, "an idle stop does not hold: {session:#}");
    let run = room.api.prompt(&id, "again");
    assert_eq!(room.api.wait_run(&id, &run["id"])["status"], "completed");
    assert_eq!(room.api.session(&id)["epoch"], 2);
    room.api.check(&id);
}

#[test]
fn p2_prompts_that_race_with_idle_stops_are_all_answered() {
    let room = Greenroom::up()
        .agent("loop", agents::with(agents::persistent(), json!({"limits": {"idle": "100ms"}})))
        .start();
    let id = id_of(&room.api.create("loop", json!({})));
    for turn in 0..15u64 {
        // Right at the moment at which it becomes idle too long, a little earlier or later.
        std::thread::sleep(std::time::Duration::from_millis(85 + turn * 2));
        let run = room.api.prompt(&id, "hello");
        let run = room.api.wait_run(&id, &run["id"]);
        assert_eq!(run["status"], "completed", "turn {turn}: {run:#}");
    }
    room.api.check(&id);
}

#[test]
fn p1_too_much_memory_is_a_typed_end_and_hurts_nobody_else() {
    let room = Greenroom::up()
        .agent(
            "hog",
            agents::with(
                agents::act(&["hog", "400000000"]),
                json!({"limits": {"memory": "64MiB"}}),
            ),
        )
        .agent("holder", agents::holder())
        .start();
    let (mark, prompt) = room.mark();
    let other = room.api.begin("holder", &prompt);
    room.api.wait_text(&other, "holding");
    let pid = room.server_pid();
    let id = room.api.begin("hog", "go");
    let session = room.api.wait_rest(&id);
    assert_eq!(session["status"], "failed", "{session:#}");
    assert_eq!(session["status_reason"], "oom", "{session:#}");
    assert_eq!(room.api.runs(&id)[0]["error"]["code"], "oom");
    assert_eq!(session["receipt"]["survivors"], 0);
    assert_eq!(room.server_pid(), pid);
    assert!(procs::look(pid).is_some(), "runner and coordinator live");
    assert_eq!(procs::holding(&mark).len(), 1);
    assert_eq!(room.api.status(&other), "running");
    room.api.check(&id);
}

#[test]
fn p1_a_child_that_uses_too_much_memory_counts_too() {
    let hog = greenroom_tests::room::actor();
    let script = r#""$0" hog 400000000; echo "child ended with $?"; exit 1"#;
    let agent = json!({"command": ["/bin/sh", "-c", script, hog.to_string_lossy()], "limits": {"memory": "64MiB"}});
    let room = Greenroom::up().agent("parent", agent).start();
    let id = room.api.begin("parent", "go");
    let session = room.api.wait_rest(&id);
    assert_eq!(session["status_reason"], "oom", "{session:#}\n{}", room.api.said(&id));
}

#[test]
fn p1_too_many_processes() {
    let room = Greenroom::up()
        .agent(
            "forks",
            agents::with(agents::act(&["forks", "200"]), json!({"limits": {"pids": 40}})),
        )
        .start();
    let runner = room.api.get("/v1/runners").expect(200)["items"][0].clone();
    let id = room.api.begin("forks", "go");
    if runner["probe"]["pids"] == "sampling" {
        // Without a control group for it, the whole tree is ended.
        let session = room.api.wait_rest(&id);
        assert_eq!(session["status_reason"], "limit", "{session:#}");
        return;
    }
    room.api.wait_text(&id, " children");
    let said = room.api.said(&id);
    let got: u64 = said.split(' ').next().and_then(|n| n.parse().ok()).expect("a count");
    assert!((10..40).contains(&got), "{said}");
    let receipt = room.api.stop(&id)["receipt"].clone();
    assert_eq!(receipt["survivors"], 0);
    assert!(receipt["processes_seen"].as_u64() >= Some(got), "{receipt:#}");
}

#[test]
fn p1_ttl_expires_and_can_be_restored() {
    let room =
        Greenroom::up().agent("holder", agents::holder()).agent("echo", agents::echo()).start();
    let (mark, prompt) = room.mark();
    let session = room.api.create("holder", json!({"prompt": prompt, "limits": {"ttl_ms": 1500}}));
    let id = id_of(&session);
    assert!(!session["expires_at"].is_null(), "{session:#}");
    let session = room.api.wait_rest(&id);
    assert_eq!(session["status"], "stopped", "{session:#}");
    assert!(procs::holding(&mark).is_empty());
    room.api.wait_event(&id, 1, "session.expired");
    // A prompt brings it back, with another whole time to live.
    let (mark, prompt) = room.mark();
    let run = room.api.prompt(&id, &prompt);
    let restored = room.api.session(&id);
    assert!(restored["expires_at"].as_str() > session["expires_at"].as_str(), "{restored:#}");
    room.api.wait_session(&id, "its return", |_| room.api.run(&run["id"])["status"] != "queued");
    let ended = room.api.wait_run(&id, &run["id"]);
    assert!(!ended["started_at"].is_null(), "it had its time: {ended:#}");
    room.api.wait_rest(&id);
    assert!(procs::holding(&mark).is_empty());
    room.api.check(&id);
}

#[test]
fn p1_what_nobody_uses_expires_and_can_be_restored() {
    let disused = agents::with(agents::persistent(), json!({"limits": {"unused": "1500ms"}}));
    let room = Greenroom::up().agent("holder", agents::holder()).agent("loop", disused).start();
    let (mark, prompt) = room.mark();
    // A run in progress is use, however long it is and however little it says.
    let busy = room.api.begin("holder", &prompt);
    room.api.wait_text(&busy, "holding");
    let limits = json!({"limits": {"unused_ms": 500}});
    room.api.request("PATCH", &format!("/v1/sessions/{busy}")).json(&limits).send().expect(200);
    let session = room.api.create("loop", json!({"prompt": "hello"}));
    let id = id_of(&session);
    assert_eq!(session["limits"]["unused_ms"], 1500, "{session:#}");
    // What is warm is stopped, with proof, like what is too old.
    room.api.wait_event(&id, 1, "session.expired");
    let expired = room.api.wait_rest(&id);
    assert_eq!(expired["status"], "stopped", "{expired:#}");
    assert_eq!(expired["receipt"]["survivors"], 0, "{expired:#}");
    assert!(expired["expires_at"].as_str() > session["expires_at"].as_str(), "it was used");
    assert_eq!(room.api.status(&busy), "running");
    assert_eq!(procs::holding(&mark).len(), 1);
    // A prompt brings it back, and that is use.
    let run = room.api.prompt(&id, "again");
    assert_eq!(room.api.wait_run(&id, &run["id"])["status"], "completed");
    let stopped = room.api.stop(&busy);
    assert_eq!(stopped["receipt"]["survivors"], 0, "{stopped:#}");
    room.api.wait_event(&busy, 1, "session.expired");
    room.api.check(&id);
    room.api.check(&busy);
}

#[test]
fn p1_the_command_line_says_which_quota_is_used_up() {
    let room = Greenroom::up()
        .agent("holder", agents::holder())
        .args(&["--max-active", "1", "--max-sessions-per-owner", "2"])
        .start();
    let (_, prompt) = room.mark();
    let id = room.api.begin("holder", &prompt);
    room.api.wait_text(&id, "holding");
    room.cli(&["run", "holder", "more"])
        .exits(1)
        .says("1 of 1 active sessions in the whole Greenroom are used: quota max_active")
        .says("hint: stop a session that is not needed");
    room.cli(&["sessions", "create", "holder", "--id", "rest"]).exits(0);
    room.cli(&["sessions", "send", "rest", "go"]).exits(1).says("quota max_active");
    room.cli(&["sessions", "create", "holder"]).exits(1).says("quota max_sessions_per_owner");
    assert_eq!(room.api.runs("rest"), Vec::<greenroom_tests::Value>::new());
    room.cli(&["sessions", "stop", &id]).exits(0);
    room.cli(&["sessions", "send", "rest", "go"]).exits(0);
    for options in [["--max-active", "0"], ["--max-active-per-owner", "many"]] {
        room.cli(&["serve", options[0], options[1]]).exits(2);
    }
}

#[test]
fn p3_output_beyond_its_quota_is_counted_and_said() {
    let room = Greenroom::up()
        .agent(
            "flood",
            agents::with(agents::act(&["flood", "8388608"]), json!({"limits": {"output": "1MiB"}})),
        )
        .start();
    let id = room.api.begin("flood", "go");
    room.api.wait_status(&id, "finished");
    let log = room.api.check(&id);
    let said = greenroom_tests::events::said(&log).len() as u64;
    let dropped: u64 = log
        .iter()
        .filter(|event| event["type"] == "output_gap")
        .filter_map(|event| event["data"]["bytes"].as_u64())
        .sum();
    assert!(said <= 1 << 20, "{said}");
    assert_eq!(said + dropped, 8_388_608, "every byte is said or counted");
}

#[test]
fn p3_a_gigabyte_neither_hangs_nor_grows_memory() {
    let bytes = 1_073_741_824_u64;
    let room = Greenroom::up().agent("flood", agents::act(&["flood", &bytes.to_string()])).start();
    let session = room.api.create("flood", json!({}));
    let id = id_of(&session);
    let before = procs::rss_kib(room.server_pid());
    let viewer = Sse::open(&room.api, &format!("/v1/sessions/{id}/events"));
    let run = room.api.prompt(&id, "go");
    room.api.wait_session(&id, "a start", |s| s["status"] == "running");
    let shim = room.shim_pid(session["uid"].as_str().expect("a uid"), 1);
    let mut peak = 0;
    let mut events = Sse::open(&room.api, &format!("/v1/sessions/{id}/events"));
    // A receipt may overtake the journal, whose last words of this run are the gap.
    let mut missing = vec!["run.completed", "output_gap"];
    events.until("the end and all of the log", |frame| {
        peak = peak.max(procs::rss_kib(shim));
        missing.retain(|event| frame.event != *event);
        missing.is_empty() || frame.event == "run.failed"
    });
    assert_eq!(room.api.run(&run["id"])["status"], "completed");
    let after = procs::rss_kib(room.server_pid());
    // What is kept is 64 MiB; neither the gigabyte nor the viewer who reads nothing adds much.
    assert!(after < before + 128 * 1024, "the server: from {before} to {after} KiB");
    assert!(peak < 32 * 1024, "the shim: {peak} KiB");
    drop(viewer);
    let said = room.api.said(&id).len() as u64;
    let dropped: u64 =
        room.api.events(&id, "output_gap").iter().filter_map(|e| e["data"]["bytes"].as_u64()).sum();
    assert!((60 << 20..=64 << 20).contains(&said), "the default quota is 64 MiB: {said}");
    assert_eq!(said + dropped, bytes);
}

#[test]
fn p3_limits_of_a_session_stand_over_its_agents() {
    let room = Greenroom::up()
        .agent(
            "holder",
            agents::with(agents::holder(), json!({"limits": {"run": "1h", "idle": "5m"}})),
        )
        .start();
    let session = room.api.create("holder", json!({"limits": {"run_ms": 500}}));
    assert_eq!(session["limits"]["run_ms"], 500, "{session:#}");
    assert_eq!(session["limits"]["idle_ms"], 300_000, "{session:#}");
    let id = id_of(&session);
    let patched = room
        .api
        .request("PATCH", &format!("/v1/sessions/{id}"))
        .json(&json!({"limits": {"run_ms": 700}, "title": "new", "labels": {"a": "b"}}))
        .send()
        .expect(200);
    assert_eq!(patched["limits"]["run_ms"], 700, "{patched:#}");
    assert_eq!((&patched["title"], &patched["labels"]), (&json!("new"), &json!({"a": "b"})));
    let (_, prompt) = room.mark();
    room.api.prompt(&id, &prompt);
    assert_eq!(room.api.wait_rest(&id)["status_reason"], "limit");
    for wrong in [json!({"run_ms": "1s"}), json!({"run_ms": -1}), json!({"colour": 1})] {
        room.api.post("/v1/sessions", json!({"agent": "holder", "limits": wrong})).refused(422);
    }
}
