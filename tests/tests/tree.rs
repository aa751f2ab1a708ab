//! Parents and children: every end is told exactly once, a tree stops from the top, and it
//! grows neither too deep nor too wide.

use greenroom_tests::session::id_of;
use greenroom_tests::{Greenroom, Value, agents, json, procs};

/// Repeats its prompt, or waits on a marker.
fn worker() -> Value {
    let script = r#"case "$1" in
        /*) exec 9<"$1"; echo holding; while :; do sleep 1; done ;;
        fail) exit 3 ;;
        *) echo "did $1" ;; esac"#;
    agents::with(agents::sh(script, &[]), json!({"prompt_via": "arg"}))
}

/// What the parent was told of its children's runs: child and status.
fn told(room: &Greenroom, parent: &str) -> Vec<(String, String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    room.api
        .events(parent, "child.completed")
        .iter()
        .map(|event| {
            let data = &event["data"];
            (text(&data["id"]), text(&data["run"]), text(&data["status"]))
        })
        .collect()
}

#[test]
fn p4_every_childs_end_is_told_once_over_kills() {
    const CHILDREN: usize = 12;
    let mut room = Greenroom::serve().agent("worker", worker()).runner("one").start();
    let parent = id_of(&room.api.create("worker", json!({})));
    let mut runs = Vec::new();
    for n in 0..CHILDREN {
        let prompt = if n % 3 == 0 { "fail".to_owned() } else { format!("part {n}") };
        let body = json!({"parent": parent, "callback": true, "prompt": prompt, "id": format!("child-{n}")});
        let child = room.api.create("worker", body);
        assert_eq!(child["parent_id"], parent.as_str());
        runs.push(child["run_id"].as_str().expect("a run").to_owned());
        // The coordinator dies while ends are being told.
        if n % 2 == 0 {
            room.kill9_and_restart();
        }
    }
    for (n, run) in runs.iter().enumerate() {
        room.api.wait_run(&format!("child-{n}"), &json!(run));
    }
    room.kill9_and_restart();
    let session = room.api.wait_session(&parent, "all ends", |session| {
        told(&room, &parent).len() >= CHILDREN
            && session["pending"]["runs"] == 0
            && session["run_id"].is_null()
    });
    let mut heard: Vec<String> = told(&room, &parent).into_iter().map(|(_, run, _)| run).collect();
    heard.sort();
    runs.sort();
    assert_eq!(heard, runs, "each once: {session:#}");
    // The parent's agent got each as a prompt with the text it needs.
    let said = room.api.said(&parent);
    for n in (0..CHILDREN).filter(|n| n % 3 != 0) {
        assert!(said.contains(&format!("did part {n}")), "{n}: {said}");
    }
    room.api.check(&parent);
}

#[test]
fn p4_every_kind_of_end_counts() {
    let room = Greenroom::up().agent("worker", worker()).start();
    let parent = id_of(&room.api.create("worker", json!({})));
    let child = |id: &str, prompt: &str| {
        let body = json!({"parent": parent, "callback": true, "prompt": prompt, "id": id});
        room.api.create("worker", body)
    };
    child("good", "x");
    child("bad", "fail");
    let (_, prompt) = room.mark();
    child("stopped", &prompt);
    let (_, prompt) = room.mark();
    child("deleted", &prompt);
    let (_, prompt) = room.mark();
    child("waiting", &prompt);
    for id in ["stopped", "deleted", "waiting"] {
        room.api.wait_text(id, "holding");
    }
    let behind = room.api.prompt_with("waiting", "behind", json!({"callback": true})).expect(202);
    let withdraw = format!("/v1/runs/{}/withdraw", behind["id"].as_str().expect("a run"));
    room.api.post(&withdraw, json!({})).granted();
    room.api.stop("stopped");
    assert_eq!(room.api.delete("/v1/sessions/deleted").status, 204);
    room.api.wait_session(&parent, "five ends", |_| told(&room, &parent).len() >= 5);
    let mut heard: Vec<(String, String)> =
        told(&room, &parent).into_iter().map(|(id, _, status)| (id, status)).collect();
    heard.sort();
    let expected = [
        ("bad", "failed"),
        ("deleted", "stopped"),
        ("good", "completed"),
        ("stopped", "stopped"),
        ("waiting", "withdrawn"),
    ];
    assert_eq!(heard, expected.map(|(id, status)| (id.to_owned(), status.to_owned())));
    room.api.stop("waiting");
}

#[test]
fn p2_completions_wait_while_the_parent_is_held() {
    let room = Greenroom::up().agent("worker", worker()).start();
    let (mark, prompt) = room.mark();
    let parent = room.api.begin("worker", &prompt);
    room.api.wait_text(&parent, "holding");
    room.api.stop(&parent);
    room.api
        .create("worker", json!({"parent": parent, "callback": true, "prompt": "x", "id": "kid"}));
    room.api.wait_event(&parent, 1, "child.completed");
    let session = room.api.session(&parent);
    assert_eq!(session["status"], "stopped", "a child does not wake it: {session:#}");
    assert_eq!(session["pending"]["runs"], 1, "{session:#}");
    room.api.post(&format!("/v1/sessions/{parent}/resume"), json!({})).granted();
    room.api.wait_text(&parent, "did x");
    assert!(procs::holding(&mark).is_empty());
}

#[test]
fn p1_a_tree_stops_from_the_top() {
    let room = Greenroom::up().agent("worker", worker()).start();
    let mut marks = Vec::new();
    let mut make = |id: &str, parent: Option<&str>| {
        let (mark, prompt) = room.mark();
        let mut body = json!({"id": id, "prompt": prompt});
        if let Some(parent) = parent {
            body["parent"] = json!(parent);
        }
        room.api.create("worker", body);
        room.api.wait_text(id, "holding");
        marks.push(mark);
    };
    make("top", None);
    make("left", Some("top"));
    make("right", Some("top"));
    make("leaf", Some("left"));
    make("apart", None);
    let apart = marks.pop().expect("five");

    let reply = room.api.stop_with("top", "40s", json!({"tree": true})).expect(200);
    assert_eq!(reply["status"], "stopped", "{reply:#}");
    for id in ["left", "right", "leaf"] {
        let session = room.api.wait_rest(id);
        assert_eq!(session["status"], "stopped", "{session:#}");
        assert_eq!(session["status_reason"], "parent", "{session:#}");
        room.api.check(id);
    }
    for mark in &marks {
        assert!(procs::holding(mark).is_empty());
    }
    assert!(!procs::holding(&apart).is_empty(), "it is no child");
    let late = room.api.post("/v1/sessions", json!({"agent": "worker", "parent": "top"}));
    late.problem(409, "parent_stopping");
    room.api.prompt("top", "x");
    room.api.wait_text("top", "did x");
    room.api.create("worker", json!({"parent": "top"}));
}

#[test]
fn p1_a_tree_that_grows_while_it_is_stopped_is_stopped_whole() {
    let room = Greenroom::up().agent("worker", worker()).start();
    let (mark, prompt) = room.mark();
    room.api.create("worker", json!({"id": "root", "prompt": prompt}));
    room.api.wait_text("root", "holding");
    let created = std::thread::scope(|scope| {
        let growers: Vec<_> = (0..4)
            .map(|thread| {
                let (room, prompt) = (&room, prompt.as_str());
                scope.spawn(move || {
                    let mut made = Vec::new();
                    for n in 0..40 {
                        let body = json!({"agent": "worker", "parent": "root", "prompt": prompt, "id": format!("g{thread}-{n}")});
                        let reply = room.api.post("/v1/sessions", body);
                        if reply.status != 201 {
                            assert_eq!(reply.status, 409, "{}", reply.text());
                            break;
                        }
                        made.push(id_of(&reply.json()));
                    }
                    made
                })
            })
            .collect();
        let reply = room.api.stop_with("root", "50s", json!({"tree": true, "grace_ms": 500}));
        assert_eq!(reply.status, 200, "{}", reply.text());
        growers.into_iter().flat_map(|g| g.join().expect("no panic")).collect::<Vec<_>>()
    });
    for id in &created {
        assert_eq!(room.api.wait_rest(id)["status"], "stopped", "{id}");
    }
    assert!(procs::holding(&mark).is_empty(), "{} children", created.len());
}

#[test]
fn p8_a_tree_is_neither_too_deep_nor_too_wide() {
    let room = Greenroom::up().agent("worker", worker()).start();
    let mut parent = id_of(&room.api.create("worker", json!({})));
    let mut depth = 0;
    let refused = loop {
        let reply = room.api.post("/v1/sessions", json!({"agent": "worker", "parent": parent}));
        if reply.status != 201 {
            break reply;
        }
        parent = id_of(&reply.json());
        depth += 1;
        assert!(depth < 50, "there is no bound");
    };
    refused.problem(409, "tree_too_deep");
    let wide = id_of(&room.api.create("worker", json!({})));
    let mut children = 0;
    let refused = loop {
        let reply = room.api.post("/v1/sessions", json!({"agent": "worker", "parent": wide}));
        if reply.status != 201 {
            break reply;
        }
        children += 1;
        assert!(children < 2000, "there is no bound");
    };
    refused.problem(409, "too_many_children");
    room.api.post("/v1/sessions", json!({"agent": "worker", "parent": "never-was"})).refused(404);
}

#[test]
fn p2_parents_and_children_share_a_single_place() {
    let room = Greenroom::up()
        .agent("worker", worker())
        .agent("loop", agents::persistent())
        .slots(1)
        .start();
    // A parent that stays warm while it has nothing to do, and two that end.
    let warm = id_of(&room.api.create("loop", json!({"prompt": "hello"})));
    room.api.wait_status(&warm, "idle");
    let mut parents = vec![warm];
    parents.extend((0..2).map(|_| id_of(&room.api.create("worker", json!({"prompt": "p"})))));
    for (n, parent) in parents.iter().enumerate() {
        let body = json!({"parent": parent, "callback": true, "prompt": format!("part {n}")});
        room.api.create("worker", body);
    }
    for (n, parent) in parents.iter().enumerate() {
        room.api.wait_session(parent, "its child's end", |session| {
            told(&room, parent).len() == 1
                && session["pending"]["runs"] == 0
                && session["run_id"].is_null()
        });
        // What it says may come to the log behind its end.
        room.api.wait_text(parent, &format!("did part {n}"));
        room.api.check(parent);
    }
}
