//! What is left after a run, names as they are, lists, and clocks that jump.

use std::fs;

use greenroom_tests::session::{id_of, uid_of};
use greenroom_tests::{Greenroom, agents, json, procs};

#[test]
fn p1_leftovers_are_swept_and_counted() {
    let room = Greenroom::up().agent("leaky", agents::daemons(5, false)).start();
    let (mark, prompt) = room.mark();
    let id = room.api.begin("leaky", &prompt);
    let session = room.api.wait_rest(&id);
    assert_eq!(session["status"], "finished", "{session:#}");
    assert_eq!(room.api.runs(&id)[0]["status"], "completed");
    assert_eq!(session["receipt"]["leftovers"], 5, "{session:#}");
    assert_eq!(session["receipt"]["survivors"], 0);
    assert!(procs::holding(&mark).is_empty());
    room.api.check(&id);
}

#[test]
fn p1_leftovers_that_are_kept_end_with_a_stop() {
    let keeps = agents::with(agents::daemons(5, false), json!({"leftovers": "keep"}));
    let room = Greenroom::up().agent("keeps", keeps).start();
    let (mark, prompt) = room.mark();
    let session = room.api.create("keeps", json!({"prompt": prompt}));
    let id = id_of(&session);
    let run = room.api.wait_run(&id, &session["run_id"]);
    assert_eq!(run["status"], "completed", "{run:#}");
    assert_eq!(procs::holding(&mark).len(), 5, "they stay");
    let reply = room.api.stop_with(&id, "30s", json!({"grace_ms": 200})).expect(200);
    assert_eq!(reply["receipt"]["survivors"], 0, "{reply:#}");
    assert!(procs::holding(&mark).is_empty());
    room.api.check(&id);
}

#[test]
fn p2_a_persistent_agent_is_one_process() {
    let room = Greenroom::up().agent("loop", agents::persistent()).start();
    let id = id_of(&room.api.create("loop", json!({})));
    for _ in 0..3 {
        let run = room.api.prompt(&id, "pid");
        room.api.wait_run(&id, &run["id"]);
    }
    let said = room.api.said(&id);
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines.len(), 3);
    assert!(lines.iter().all(|line| *line == lines[0]), "{said}");
    assert_eq!(room.api.session(&id)["status"], "idle");
    // A run that hangs is stopped with its compute; the next one gets a new one.
    let hung = room.api.prompt(&id, "hang");
    room.api.wait_text(&id, "hanging");
    let next = room.api.prompt(&id, "pid");
    room.api
        .post(&format!("/v1/runs/{}/stop", hung["id"].as_str().expect("a run")), json!({}))
        .granted();
    assert_eq!(room.api.wait_run(&id, &next["id"])["status"], "completed");
    assert_eq!(room.api.session(&id)["epoch"], 2);
    room.api.check(&id);
}

#[test]
fn p2_a_warm_agent_gives_way() {
    let room = Greenroom::up()
        .agent("loop", agents::persistent())
        .agent("echo", agents::echo())
        .slots(1)
        .start();
    let warm = id_of(&room.api.create("loop", json!({"prompt": "hello"})));
    room.api.wait_status(&warm, "idle");
    let id = room.api.begin("echo", "a turn");
    room.api.wait_status(&id, "finished");
    let run = room.api.prompt(&warm, "again");
    assert_eq!(room.api.wait_run(&warm, &run["id"])["status"], "completed");
}

#[test]
fn p3_ids_are_names_and_lists_are_pages() {
    let room = Greenroom::up().agent("echo", agents::echo()).start();
    for id in ["a", "A.b_c-9", &"x".repeat(128)] {
        room.api.create("echo", json!({"id": id}));
        assert_eq!(room.api.session(id)["id"], id);
        assert_eq!(
            room.cli(&["sessions", "show", id, "--output", "json"]).exits(0).json()["id"],
            id
        );
    }
    for id in ["", ".", "..", "-a", "a/b", "a b", "ä", &"x".repeat(129), "a\n"] {
        room.api.post("/v1/sessions", json!({"agent": "echo", "id": id})).refused(422);
    }
    for id in ["..", "a/b c:d%e", "%2e%2e", "x y", "é"] {
        let path = format!("/v1/sessions/{}", greenroom_tests::http::encode(id));
        let reply = room.api.get(&path);
        assert!(matches!(reply.status, 404 | 422), "{id}: {}", reply.text());
        assert!(room.cli(&["sessions", "show", id]).code == Some(1), "{id}");
        assert!(room.cli(&["sessions", "stop", id]).code == Some(1), "{id}");
        assert!(room.cli(&["sessions", "delete", id]).code == Some(1), "{id}");
    }
    room.api
        .post("/v1/sessions", json!({"agent": "echo", "id": "a"}))
        .problem(409, "session_exists");
    room.api.post("/v1/sessions", json!({"agent": "nope"})).refused(404);
    for n in 0..25 {
        room.api.create("echo", json!({"id": format!("n{n:02}"), "labels": {"parity": (n % 2).to_string()}, "title": format!("Title {n}")}));
    }
    let mut seen = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = room.api.get(&format!("/v1/sessions?limit=7{cursor}")).expect(200);
        let items = page["items"].as_array().cloned().unwrap_or_default();
        seen.extend(items.iter().map(id_of));
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={}", greenroom_tests::http::encode(next)),
            None => break,
        }
    }
    assert_eq!(seen.len(), 28);
    assert_eq!((seen[0].as_str(), seen[24].as_str()), ("n24", "n00"), "newest first");
    let count = |query: &str| {
        room.api.get(&format!("/v1/sessions?limit=1000&{query}")).expect(200)["items"]
            .as_array()
            .map_or(0, Vec::len)
    };
    assert_eq!(count("label=parity%3D0"), 13);
    assert_eq!(count("status=new"), 28);
    assert_eq!(count("status=running"), 0);
    assert_eq!(count("agent=echo"), 28);
    assert_eq!(count("agent=other"), 0);
    assert_eq!(count("q=Title%2024"), 1);
    assert_eq!(count("q=%25"), 0, "a percent sign is a percent sign");
    for wrong in ["limit=0", "limit=x", "status=happy"] {
        room.api.get(&format!("/v1/sessions?{wrong}")).refused(422);
    }
    let junk = room.api.get("/v1/sessions?cursor=junk");
    assert!(matches!(junk.status, 404 | 409 | 422), "{}", junk.text());
    assert!(room.api.get("/v1/sessions?limit=100000").status == 200, "larger is clamped");
}

#[test]
fn p3_mistakes_are_answered_and_never_5xx() {
    let room = Greenroom::up().agent("echo", agents::echo()).start();
    let id = id_of(&room.api.create("echo", json!({})));
    let raw = |method: &str, path: &str, kind: &str, body: &str| {
        room.api.request(method, path).header("content-type", kind).body(body).send()
    };
    for (reply, status) in [
        (raw("POST", "/v1/sessions", "application/json", "{"), 422),
        (raw("POST", "/v1/sessions", "application/json", "[]"), 422),
        (raw("POST", "/v1/sessions", "application/json", "{\"agent\":\"echo\",\"colour\":1}"), 422),
        (raw("POST", "/v1/sessions", "application/json", "{\"agent\":5}"), 422),
        (raw("GET", "/v1/nothing", "application/json", ""), 404),
        (raw("PUT", "/v1/sessions", "application/json", "{}"), 405),
        (raw("POST", &format!("/v1/sessions/{id}/stop?wait=soon"), "application/json", "{}"), 422),
        (
            raw(
                "POST",
                &format!("/v1/sessions/{id}/stop"),
                "application/json",
                "{\"grace_ms\":-1}",
            ),
            422,
        ),
        (
            raw(
                "POST",
                &format!("/v1/sessions/{id}/stop"),
                "application/json",
                "{\"grace_ms\":\"1s\"}",
            ),
            422,
        ),
    ] {
        reply.refused(status);
    }
    let huge = "x".repeat(64 << 20);
    let reply = raw(
        "POST",
        &format!("/v1/sessions/{id}/runs"),
        "application/json",
        &json!({"prompt": huge}).to_string(),
    );
    assert_eq!(reply.status, 413, "{}", reply.status);
    // A stop needs no body at all.
    room.api.request("POST", &format!("/v1/sessions/{id}/stop")).send().expect(200);
    let spec = room.api.get("/openapi.json").expect(200);
    assert!(
        spec["paths"]["/v1/sessions/{id}/stop"]["post"].is_object(),
        "{:?}",
        spec["paths"].as_object().map(|p| p.len())
    );
    assert_eq!(room.api.get("/metrics").status, 200);
}

#[test]
fn p3_an_agent_that_deletes_everything_around_itself_keeps_its_log() {
    let script = r#"echo before; rm -rf "$(dirname "$HOME")"; cd /; exec 9<"$1"; echo holding
        while :; do sleep 1; done"#;
    let wiper = agents::with(agents::sh(script, &[]), json!({"prompt_via": "arg"}));
    let mut room = Greenroom::up().agent("wiper", wiper).start();
    let (mark, prompt) = room.mark();
    let session = room.api.create("wiper", json!({"prompt": prompt}));
    let id = id_of(&session);
    room.api.wait_text(&id, "holding");
    assert!(!room.data.join("work").join(uid_of(&session)).exists(), "it has done so");
    room.kill9_and_restart();
    assert_eq!(room.api.wait_status(&id, "running")["epoch"], 1);
    assert_eq!(room.api.stop(&id)["receipt"]["survivors"], 0);
    assert!(procs::holding(&mark).is_empty());
    assert_eq!(room.api.said(&id), "before\nholding\n");
    room.api.check(&id);
}

#[test]
fn p3_a_data_folder_of_any_name() {
    let root = std::env::temp_dir().join(format!("gn-{}", uuid::Uuid::now_v7().simple()));
    let real = root.join("a b c:d%e 'ü' $(id)").join("y".repeat(150));
    fs::create_dir_all(&real).expect("a folder");
    std::os::unix::fs::symlink(&real, root.join("link")).expect("a link");
    for data in [real.join("data"), root.join("link").join("other data")] {
        let mut room = Greenroom::up()
            .agent("holder", agents::holder())
            .agent("echo", agents::sh("pwd; cat", &[]))
            .data(&data)
            .start();
        let id = room.api.begin("echo", "hello");
        room.api.wait_status(&id, "finished");
        assert!(room.api.said(&id).ends_with("/workspace\nhello"), "{}", room.api.said(&id));
        let path =
            format!("/v1/sessions/{id}/files/content/{}", greenroom_tests::http::encode("a b:%"));
        room.api.request("PUT", &path).body("text").send().granted();
        assert_eq!(room.api.get(&path).text(), "text");
        let (mark, prompt) = room.mark();
        let id = room.api.begin("holder", &prompt);
        room.api.wait_text(&id, "holding");
        // Found again, by the server and without one.
        room.kill9_and_restart();
        assert_eq!(room.api.wait_status(&id, "running")["epoch"], 1);
        assert!(room.cli(&["local", "ls"]).exits(0).out.contains(&id));
        assert_eq!(room.api.stop(&id)["receipt"]["survivors"], 0);
        assert!(procs::holding(&mark).is_empty());
        assert_eq!(room.api.delete(&format!("/v1/sessions/{id}")).status, 204);
    }
    fs::remove_dir_all(root).expect("removed");
}

/// Debian's library that fakes the wall clock, and nothing but it; the Makefile installs it.
fn faketime() -> String {
    let known = ["x86_64", "aarch64"]
        .map(|machine| format!("/usr/lib/{machine}-linux-gnu/faketime/libfaketime.so.1"));
    let found = known.into_iter().find(|path| fs::exists(path).unwrap_or(false));
    found.expect("libfaketime is missing: make test-tools")
}

#[test]
fn p3_clocks_that_jump_delete_nothing_and_stop_nothing() {
    let clock = std::env::temp_dir().join(format!("gc-{}", uuid::Uuid::now_v7().simple()));
    fs::write(&clock, "+0").expect("a clock");
    let mut room = Greenroom::up()
        .agent("holder", agents::with(agents::holder(), json!({"limits": {"ttl": "30d"}})))
        .agent("loop", agents::with(agents::persistent(), json!({"limits": {"idle": "10m"}})))
        .env("LD_PRELOAD", &faketime())
        .env("FAKETIME_TIMESTAMP_FILE", &clock.to_string_lossy())
        .env("FAKETIME_NO_CACHE", "1")
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
        .env("DONT_FAKE_MONOTONIC", "1")
        .start();
    let (mark, prompt) = room.mark();
    let session = room.api.create("holder", json!({"prompt": prompt}));
    let id = id_of(&session);
    room.api.wait_text(&id, "holding");
    let warm = id_of(&room.api.create("loop", json!({"prompt": "hello"})));
    room.api.wait_status(&warm, "idle");
    let all_is_well = |room: &Greenroom, when: &str| {
        // Something of its own happens in between, so that its timers have been through.
        let other = id_of(&room.api.create("loop", json!({"prompt": "tick"})));
        room.api.wait_status(&other, "idle");
        room.api.stop(&other);
        assert_eq!(procs::holding(&mark).len(), 1, "{when}");
        assert_eq!(room.api.status(&id), "running", "{when}");
        assert_eq!(room.api.status(&warm), "idle", "{when}");
        assert!(room.workspace(&uid_of(&session)).exists());
    };
    for jump in ["+1y", "-1y", "+3h", "+0"] {
        fs::write(&clock, jump).expect("a clock");
        all_is_well(&room, jump);
    }
    // A start under a clock that is behind what the log has seen.
    fs::write(&clock, "-2y").expect("a clock");
    room.kill9_and_restart();
    all_is_well(&room, "after a start in the past");
    let reply = room.api.stop(&id);
    assert_eq!(reply["receipt"]["survivors"], 0);
    assert!(
        reply["receipt"]["duration_ms"].as_u64() < Some(20_000),
        "no wall clock in it: {reply:#}"
    );
    room.api.check(&id);
    let _ = fs::remove_file(clock);
}

#[test]
fn p3_a_start_under_a_clock_a_year_ahead_ends_nothing() {
    let mut room = Greenroom::up()
        .agent("echo", agents::with(agents::echo(), json!({"limits": {"ttl": "30d"}})))
        .start();
    let session = room.api.create("echo", json!({"prompt": "hello"}));
    let id = id_of(&session);
    room.api.wait_status(&id, "finished");
    room.kill9_server();
    room.builder = room.builder.clone().env("LD_PRELOAD", &faketime()).env("FAKETIME", "+1y");
    room.start_server();
    let other = id_of(&room.api.create("echo", json!({"prompt": "tick"})));
    room.api.wait_status(&other, "finished");
    assert_eq!(room.api.said(&id), "hello");
    assert!(room.workspace(&uid_of(&session)).exists());
    // A year has not passed while a coordinator was up.
    assert!(room.api.events(&id, "session.expired").is_empty());
    let left = |id: &str| room.api.session(id)["expires_at"].as_str().map(str::to_owned);
    assert_eq!(left(&id).map(|at| at[..4].to_owned()), left(&other).map(|at| at[..4].to_owned()));
    let run = room.api.prompt(&id, "again");
    assert_eq!(room.api.wait_run(&id, &run["id"])["status"], "completed");
}
