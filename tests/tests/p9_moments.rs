//! Files as they were: what each run has left in a git workspace is kept at its end, and can
//! be looked at from then on.

use std::time::{Duration, Instant};

use greenroom_tests::builder::Builder;
use greenroom_tests::git::Repository;
use greenroom_tests::http::Reply;
use greenroom_tests::session::uid_of;
use greenroom_tests::{Greenroom, PATIENCE, Value, agents, json, procs};

/// Does what its prompt says, in a process of its own.
const DOES: &str = "set -e; eval \"$(cat)\"";
/// Does what its prompts say, one after the other, in one process.
const DOES_ALL: &str = r#"
while read -r line; do
  text=${line#*\"prompt\":\"}; eval "${text%%\"*}"
  echo '{"type":"result"}'
done"#;

fn doer(script: &str, workspace: Value) -> Value {
    let names = json!({
        "GIT_AUTHOR_NAME": "agent", "GIT_AUTHOR_EMAIL": "a@a",
        "GIT_COMMITTER_NAME": "agent", "GIT_COMMITTER_EMAIL": "a@a",
    });
    agents::with(agents::sh(script, &[]), json!({"workspace": workspace, "env": names}))
}

/// A room with a repository, an agent `doer` in clones of it, and others: `tree` in worktrees,
/// `stays` as one process, `plain` without git.
fn scene(builder: Builder) -> (Greenroom, Repository) {
    let room = builder.start();
    let source = Repository::make(&room.root.join("source"));
    let url = source.path.to_str().expect("UTF-8").to_owned();
    let clone = json!({"from": "git", "url": url});
    room.write_agent("doer", doer(DOES, clone.clone()));
    room.write_agent("tree", doer(DOES, agents::with(clone.clone(), json!({"mode": "worktree"}))));
    let persistent = json!({"lifecycle": "persistent", "stdout": "jsonl"});
    room.write_agent("stays", agents::with(doer(DOES_ALL, clone), persistent));
    room.write_agent("plain", doer(DOES, json!({"from": "empty"})));
    for agent in ["doer", "tree", "stays", "plain"] {
        room.served(agent);
    }
    (room, source)
}

/// What the log says of a run's files, when it says it.
#[track_caller]
fn told(room: &Greenroom, id: &str, run: &Value) -> Value {
    room.api.wait_session(id, "news of a run's files", |_| !room.api.run(run)["files"].is_null());
    let said = room.api.events(id, "run.files");
    let mut said = said.iter().filter(|event| event["run"] == *run);
    let first = said.next().unwrap_or_else(|| panic!("no entry of run {run}")).clone();
    assert!(said.next().is_none(), "it is said once");
    assert_eq!(room.api.run(run)["files"]["commit"], first["data"]["commit"]);
    first
}

/// Has a session do something, to its end, and gives the run.
#[track_caller]
fn act(room: &Greenroom, id: &str, script: &str) -> Value {
    let run = room.api.prompt(id, script)["id"].clone();
    let ended = room.api.wait_run(id, &run);
    assert_eq!(ended["status"], "completed", "{ended:#}");
    run
}

fn get(room: &Greenroom, id: &str, what: &str) -> Reply {
    room.api.get(&format!("/v1/sessions/{id}/{what}"))
}

/// The content of `file` at a moment.
#[track_caller]
fn file(room: &Greenroom, id: &str, moment: &str) -> String {
    let reply = get(room, id, &format!("files/content/file?{moment}"));
    assert_eq!(reply.status, 200, "{}", reply.text());
    reply.text()
}

fn text(value: &Value) -> &str {
    value.as_str().expect("a string")
}

#[test]
fn p9_any_moment_can_be_opened() {
    let (room, source) = scene(Greenroom::up());
    for (agent, id) in [("doer", "one"), ("tree", "two")] {
        let session = room.api.create(agent, json!({"id": id}));
        get(&room, id, "diff?seq=1").problem(404, "no_files_kept");
        let mut moments = Vec::new();
        for n in ["1", "2", "3"] {
            // Committed, and not committed; new, and gone again.
            let script = format!(
                "echo run {n} > file; echo {n} > new{n}; rm -f new2
                 test {n} = 1 && git add . && git commit -qm {n}; :"
            );
            let run = act(&room, id, &script);
            moments.push((n, run.clone(), told(&room, id, &run)));
        }
        let check = |room: &Greenroom| {
            for (n, run, said) in &moments {
                let (run, log) = (text(run), room.api.log(id));
                let end = log.iter().find(|e| e["run"] == *run && e["type"] == "run.completed");
                let end = end.expect("its end")["seq"].as_u64().expect("a number");
                assert!(said["seq"].as_u64().expect("a number") > end, "first the end: {said}");
                let kept = said["data"]["commit"].as_str().unwrap_or_default();
                assert_eq!(kept.len(), 40, "{said}");
                for moment in
                    [format!("run={run}"), format!("seq={end}"), format!("seq={}", end + 1)]
                {
                    assert_eq!(file(room, id, &moment), format!("run {n}\n"));
                    let patch = get(room, id, &format!("diff?{moment}"));
                    assert_eq!(patch.header("greenroom-run"), Some(run), "{moment}");
                    let patch = patch.text();
                    assert!(patch.contains(&format!("-two\n+run {n}\n")), "{patch}");
                    let list = get(room, id, &format!("files?{moment}")).expect(200);
                    let names: Vec<&str> = list["items"]
                        .as_array()
                        .expect("a list")
                        .iter()
                        .map(|i| text(&i["name"]))
                        .collect();
                    let wanted: &[&str] = match *n {
                        "3" => &["file", "new1", "new3"],
                        _ => &["file", "new1"],
                    };
                    assert_eq!(names, wanted, "{moment}");
                    let info = get(room, id, &format!("files/stat?path=file&{moment}")).expect(200);
                    assert_eq!((&info["kind"], &info["size"]), (&json!("file"), &json!(6)));
                }
                // Just before it, it was as another run had left it, or as nobody had.
                let before = get(room, id, &format!("files/content/file?seq={}", end - 1));
                match *n {
                    "1" => drop(before.problem(404, "no_files_kept")),
                    "2" => assert_eq!(before.text(), "run 1\n"),
                    _ => assert_eq!(before.text(), "run 2\n"),
                }
            }
            let (first, last) = (text(&moments[0].1), text(&moments[2].1));
            let between = get(room, id, &format!("diff?run={last}&since={first}")).text();
            assert!(between.contains("-run 1\n+run 3\n") && !between.contains("new1"), "{between}");
            // What is now is told from the outside, as ever.
            assert_eq!(
                get(room, id, "diff").text(),
                get(room, id, &format!("diff?run={last}")).text()
            );
        };
        check(&room);
        // The command line says the same.
        let (first, end) = (text(&moments[0].1), moments[1].2["seq"].to_string());
        let patch = get(&room, id, &format!("diff?run={first}")).text();
        assert_eq!(room.cli(&["sessions", "diff", id, "--run", first]).exits(0).out, patch);
        let cat = ["sessions", "files", "get", id, "file", "--seq", &end];
        assert_eq!(room.cli(&cat).exits(0).out, "run 2\n");
        let ls = ["sessions", "files", "ls", id, "--run", first, "--output", "json"];
        assert_eq!(room.cli(&ls).exits(0).json()["items"].as_array().map(Vec::len), Some(2));
        let none = room.cli(&["sessions", "diff", id, "--seq", "1"]).exits(1);
        assert!(none.err.contains("no run had ended") && none.err.contains(first), "{}", none.err);
        room.cli(&["sessions", "logs", id, "--events"]).exits(0).says("kept (");
        // What is refused.
        get(&room, id, "diff?run=nonsense").problem(422, "invalid");
        get(&room, id, &format!("diff?run={first}&seq=3")).problem(409, "two_moments");
        get(&room, id, &format!("diff?since={first}")).problem(409, "no_moment");
        get(&room, id, "files?seq=0").problem(422, "invalid");
        get(&room, id, "files?run=0198c0de-0000-7000-8000-000000000000")
            .problem(404, "run_not_found");
        get(&room, id, &format!("files/content/gone?run={first}")).problem(404, "file_not_found");
        get(&room, id, &format!("files?path=..&run={first}")).problem(422, "invalid");

        // Whatever the agent does to its repository, what was kept stays.
        let wipe = "git checkout -q --orphan x; git commit -qm x; rm -rf .git; echo later > file";
        act(&room, id, wipe);
        let held =
            room.api.prompt(id, "echo half > file; echo holding; exec sleep 600")["id"].clone();
        room.api.wait_text(id, "holding");
        get(&room, id, &format!("diff?run={}", text(&held))).problem(404, "no_files_kept");
        room.api.stop(id);
        told(&room, id, &held);
        assert_eq!(file(&room, id, &format!("run={}", text(&held))), "half\n");
        check_past(&room, id, &moments);
        act(&room, id, "cat file; echo more > file");
        check_past(&room, id, &moments);
        room.api.check(id);
        let shelf = room.run_folder(&uid_of(&session)).join("kept");
        assert!(shelf.exists());
        room.cli(&["sessions", "delete", id]).exits(0);
        assert!(!shelf.exists(), "it goes with its session");
    }
    let refs = source.git(&["for-each-ref", "--format=%(refname)"]);
    assert!(!refs.contains("refs/greenroom/"), "{refs}");
    // A workspace without git has none.
    room.api.create("plain", json!({"id": "plain"}));
    let run = act(&room, "plain", "echo x > file");
    let said =
        get(&room, "plain", &format!("files?run={}", text(&run))).problem(404, "no_files_kept");
    assert!(text(&said["hint"]).contains("git"), "{said}");
    assert!(room.api.events("plain", "run.files").is_empty());
}

#[track_caller]
fn check_past(room: &Greenroom, id: &str, moments: &[(&str, Value, Value)]) {
    for (n, run, _) in moments {
        assert_eq!(file(room, id, &format!("run={}", text(run))), format!("run {n}\n"));
    }
}

#[test]
fn p9_one_process_for_all_runs_leaves_the_files_of_each() {
    let (room, _source) = scene(Greenroom::up());
    let session = room.api.create("stays", json!({"id": "s", "prompt": "echo run 0 > file"}));
    // They wait in line, and follow at once.
    let mut runs = vec![session["run_id"].clone()];
    for n in 1..6 {
        runs.push(
            room.api.prompt("s", &format!("echo run {n} > file; rm -f new*; touch new{n}"))["id"]
                .clone(),
        );
    }
    for (n, run) in runs.iter().enumerate() {
        room.api.wait_run("s", run);
        told(&room, "s", run);
        assert_eq!(file(&room, "s", &format!("run={}", text(run))), format!("run {n}\n"));
    }
    assert_eq!(room.api.session("s")["status"], "idle", "it is one process still");
    room.api.stop("s");
    for (n, run) in runs.iter().enumerate() {
        assert_eq!(file(&room, "s", &format!("run={}", text(run))), format!("run {n}\n"));
    }
    assert_eq!(room.api.events("s", "run.files").len(), runs.len());
    room.api.check("s");
}

#[test]
fn p9_the_runner_dies_between_a_runs_end_and_its_report() {
    let (mut room, _source) = scene(Greenroom::serve());
    room.add_runner("one");
    let mut left = Vec::new();
    for (n, (point, agent)) in [
        ("runner_before_files", "doer"),
        ("runner_after_files", "doer"),
        ("runner_before_files", "stays"),
        ("runner_after_files", "stays"),
    ]
    .into_iter()
    .enumerate()
    {
        let id = format!("{agent}-{n}");
        room.builder.set_runner_failpoints(Some(&format!("{point}=return")));
        room.term_runner("one");
        room.restart_runner("one");
        room.wait_connected("one");
        let prompt = format!("echo run {n} > file");
        let session = room.api.create(agent, json!({"id": id, "prompt": prompt}));
        let pid = room.runner_pid("one");
        assert!(procs::wait_gone(pid, PATIENCE), "{point}: the runner was to die");
        room.builder.set_runner_failpoints(None);
        room.kill9_runner("one");
        room.restart_runner("one");
        room.wait_connected("one");
        let run = session["run_id"].clone();
        assert_eq!(room.api.wait_run(&id, &run)["status"], "completed", "{id}");
        left.push((id, run, format!("run {n}\n")));
        for (id, run, content) in &left {
            told(&room, id, run);
            assert_eq!(&file(&room, id, &format!("run={}", text(run))), content, "{id}");
        }
    }
    // They go on, and what was kept stays.
    for (id, run, content) in &left {
        let next = act(&room, id, "echo next > file");
        told(&room, id, &next);
        assert_eq!(file(&room, id, &format!("run={}", text(&next))), "next\n");
        assert_eq!(&file(&room, id, &format!("run={}", text(run))), content);
        room.api.check(id);
    }
}

#[test]
fn p9_a_stop_waits_for_no_files_and_the_next_start_does() {
    // So long a take lasts.
    const SLOW: Duration = Duration::from_secs(4);
    let slow = format!("runner_before_files=sleep({})", SLOW.as_millis());
    let (room, _source) = scene(Greenroom::up().env("FAILPOINTS", &slow));
    let prompt = "echo run 1 > file; echo holding; exec sleep 600";
    let session = room.api.create("doer", json!({"id": "s", "prompt": prompt}));
    let first = session["run_id"].clone();
    room.api.wait_text("s", "holding");
    let begun = Instant::now();
    let stopped = room.api.stop("s");
    assert!(begun.elapsed() < SLOW / 2, "the stop took {:?}", begun.elapsed());
    assert_eq!(stopped["receipt"]["survivors"], 0, "{stopped:#}");
    assert!(room.api.run(&first)["files"].is_null(), "it is on its way");
    // Whoever asks meanwhile is answered when it is there, and the next run does not spoil it.
    let next = room.api.prompt("s", "echo run 2 > file")["id"].clone();
    assert_eq!(file(&room, "s", &format!("run={}", text(&first))), "run 1\n");
    assert!(begun.elapsed() >= SLOW, "{:?}", begun.elapsed());
    room.api.wait_run("s", &next);
    told(&room, "s", &next);
    assert_eq!(file(&room, "s", &format!("run={}", text(&next))), "run 2\n");
    assert_eq!(file(&room, "s", &format!("run={}", text(&first))), "run 1\n");
    // A removal ends what is under way, and leaves nothing of it.
    act(&room, "s", "echo run 3 > file");
    let left = room.run_folder(&uid_of(&session)).join("kept");
    assert!(left.exists());
    room.cli(&["sessions", "delete", "s"]).exits(0);
    assert!(!left.exists());
}
