//! Workspaces from git: clones and worktrees, what was changed in them, and what is left.

use std::fs;

use greenroom_tests::git::Repository;
use greenroom_tests::session::{id_of, uid_of};
use greenroom_tests::{Greenroom, Value, agents, json};

/// An agent that does what its prompt says, in this workspace.
fn doer(workspace: Value) -> Value {
    let names = json!({
        "GIT_AUTHOR_NAME": "agent", "GIT_AUTHOR_EMAIL": "a@a",
        "GIT_COMMITTER_NAME": "agent", "GIT_COMMITTER_EMAIL": "a@a",
    });
    agents::with(
        agents::sh("set -e; eval \"$(cat)\"", &[]),
        json!({"workspace": workspace, "env": names}),
    )
}

/// A room with a repository, and an agent `doer` with this workspace. `SOURCE` in its url
/// is that repository.
fn scene(workspace: Value) -> (Greenroom, Repository) {
    let room = Greenroom::up().start();
    let source = Repository::make(&room.root.join("source"));
    let mut workspace = workspace;
    if let Some(url) = workspace["url"].as_str() {
        let path = source.path.to_str().expect("UTF-8");
        workspace["url"] = url.replace("SOURCE", path).into();
    }
    room.write_agent("doer", doer(workspace));
    room.served("doer");
    (room, source)
}

/// Has a session do something, to its end.
#[track_caller]
fn act(room: &Greenroom, id: &str, script: &str) {
    let run = room.api.prompt(id, script);
    let run = room.api.wait_run(id, &run["id"]);
    assert_eq!(run["status"], "completed", "{run:#}");
}

/// A session that has done this.
#[track_caller]
fn begin(room: &Greenroom, name: &str, script: &str) -> Value {
    let session = room.api.create("doer", json!({"id": name, "prompt": script}));
    let run = room.api.wait_run(name, &session["run_id"]);
    assert_eq!(run["status"], "completed", "{run:#}");
    session
}

#[track_caller]
fn patch(room: &Greenroom, id: &str) -> String {
    let reply = room.api.get(&format!("/v1/sessions/{id}/diff"));
    assert_eq!(reply.status, 200, "{}", reply.text());
    assert_eq!(reply.header("content-type"), Some("text/x-diff"));
    reply.text()
}

/// Applies a patch to a fresh clone, and gives that.
#[track_caller]
fn applied(room: &Greenroom, source: &Repository, patch: &str, name: &str) -> Repository {
    let clone = source.clone_to(&room.root.join(name));
    let file = room.root.join(format!("{name}.patch"));
    fs::write(&file, patch).expect("a patch");
    clone.git(&["apply", file.to_str().expect("UTF-8")]);
    clone
}

#[test]
fn a_clone_shows_what_was_changed_in_it_as_a_patch() {
    let (room, source) = scene(json!({"from": "git", "url": "SOURCE"}));
    // What the agent has configured is not run by whoever looks.
    let trap = room.root.join("trap");
    let script = format!(
        "echo '*.c' > .gitignore; echo changed > file; git commit -qam change
         echo new > new; git add new; echo 'not added' > loose; printf '\\000\\001' > bytes
         git rm -q --cached file; echo object > ignored.c
         git config core.fsmonitor 'touch {trap};:'; git config diff.external 'touch {trap};:'
         git config filter.trap.clean 'touch {trap}; cat'; echo '* filter=trap' > .gitattributes
         git status > /dev/null",
        trap = trap.display()
    );
    let session = begin(&room, "tidy", &script);
    assert!(trap.exists(), "the trap works on the agent itself");
    fs::remove_file(&trap).expect("removed");

    let shown = patch(&room, "tidy");
    let clone = applied(&room, &source, &shown, "fresh");
    assert_eq!([clone.read("file"), clone.read("new"), clone.read("loose")].concat(), {
        "changed\nnew\nnot added\n"
    });
    assert_eq!(fs::read(clone.path.join("bytes")).expect("a file"), [0, 1]);
    let all = clone.git(&["status", "--porcelain", "--untracked-files=all"]);
    assert_eq!(all.lines().count(), 6, "and nothing else: {all}");
    assert_eq!(room.cli(&["sessions", "diff", "tidy"]).exits(0).out, shown);
    assert!(!trap.exists(), "nothing of the agent's was run");

    // It is on a branch of its own, and its source knows nothing of that.
    let workspace = Repository { path: room.workspace(&uid_of(&session)) };
    assert_eq!(workspace.git(&["branch", "--show-current"]), "greenroom/tidy");
    assert_eq!(source.git(&["branch", "--list"]), "* main");
    room.api.get("/v1/sessions/nobody/diff").problem(404, "session_not_found");
}

#[test]
fn a_clone_lasts_through_a_stop() {
    let (room, source) = scene(json!({"from": "git", "url": "SOURCE", "ref": "v1"}));
    let session = room.api.create(
        "doer",
        json!({"id": "long", "prompt":
        "cat file; echo half > half; echo holding; exec sleep 600"}),
    );
    room.api.wait_text("long", "one");
    room.api.wait_text("long", "holding");
    let before = patch(&room, "long");
    room.api.stop("long");
    assert_eq!(patch(&room, "long"), before, "a stop changes nothing");
    source.git(&["commit", "--quiet", "--allow-empty", "-m", "later"]);
    act(&room, "long", "cat half; echo whole > whole; git add .; git commit -qm both");
    room.api.wait_text("long", "half");
    let after = patch(&room, "long");
    let clone = source.clone_to(&room.root.join("fresh"));
    clone.git(&["checkout", "--quiet", "v1"]);
    fs::write(room.root.join("patch"), &after).expect("a patch");
    clone.git(&["apply", room.root.join("patch").to_str().expect("UTF-8")]);
    assert_eq!([clone.read("half"), clone.read("whole"), clone.read("file")].concat(), {
        "half\nwhole\none\n"
    });
    let uid = uid_of(&session);
    let workspace = room.workspace(&uid);
    room.cli(&["sessions", "delete", "long"]).exits(0);
    assert!(!workspace.exists() && source.path.exists());
}

#[test]
fn what_cannot_be_cloned_is_said() {
    let (room, source) = scene(json!({"from": "empty"}));
    let source = source.path.to_str().expect("UTF-8");
    for (name, workspace, words) in [
        (
            "no-ref",
            json!({"url": source, "ref": "no-such-ref"}),
            ["no-such-ref", "no branch, tag or commit"],
        ),
        ("no-path", json!({"url": "/nowhere/at/all"}), ["clone", "/nowhere/at/all"]),
        // Nobody listens there.
        ("no-host", json!({"url": "http://127.0.0.1:1/x.git"}), ["clone", "127.0.0.1"]),
        ("no-tree", json!({"url": "/nowhere", "mode": "worktree"}), ["worktree", "/nowhere"]),
    ] {
        room.write_agent(name, doer(agents::with(workspace, json!({"from": "git"}))));
        room.served(name);
        room.api.create(name, json!({"id": name, "prompt": "true"}));
        let session = room.api.wait_rest(name);
        assert_eq!(session["status"], "failed", "{session:#}");
        let said = session["receipt"]["detail"].as_str().unwrap_or_default();
        assert!(words.iter().all(|word| said.contains(word)), "{words:?}: {session:#}");
        room.api.get(&format!("/v1/sessions/{name}/diff")).problem(404, "workspace_not_found");
    }
    begin(&room, "plain", "true");
    room.api.get("/v1/sessions/plain/diff").problem(409, "no_repository");
    room.api.post("/v1/sessions/plain/push", json!({})).problem(409, "no_repository");
}

#[test]
fn a_worktree_is_on_a_branch_of_its_own_and_goes_with_its_session() {
    let (room, source) =
        scene(json!({"from": "git", "url": "SOURCE", "mode": "worktree", "ref": "main"}));
    // Two at once, and a commit in one of them.
    let [one, two] = ["one", "two"].map(|id| {
        let script = format!("echo {id} > {id}; git add .; test {id} = one || git commit -qm {id}");
        room.api.create("doer", json!({"id": id, "prompt": script}))
    });
    for session in [&one, &two] {
        let run = room.api.wait_run(&id_of(session), &session["run_id"]);
        assert_eq!(run["status"], "completed", "{run:#}");
    }
    let branches = || source.git(&["branch", "--list", "--format=%(refname:short)"]);
    assert_eq!(branches(), "greenroom/one\ngreenroom/two\nmain");
    assert_eq!(source.git(&["show", "greenroom/two:two"]), "two");
    assert_eq!(source.git(&["status", "--porcelain"]), "", "nothing changed where it comes from");
    for (id, name) in [("one", "fresh-1"), ("two", "fresh-2")] {
        assert_eq!(applied(&room, &source, &patch(&room, id), name).read(id).trim(), id);
    }
    room.api.post("/v1/sessions/two/push", json!({})).problem(409, "already_there");
    // It lasts, and is gone with the session; what it committed is not.
    act(&room, "one", "test -f one; git branch --show-current");
    room.api.wait_text("one", "greenroom/one");
    let workspaces = [&one, &two].map(|session| room.workspace(&uid_of(session)));
    room.cli(&["sessions", "delete", "one", "two"]).exits(0);
    assert!(workspaces.iter().all(|workspace| !workspace.exists()));
    assert_eq!(branches(), "greenroom/two\nmain");
    assert_eq!(source.git(&["worktree", "list"]).lines().count(), 1);
}

#[test]
fn what_was_committed_is_pushed_and_nothing_else() {
    let (room, source) = scene(json!({"from": "git", "url": "SOURCE"}));
    let script = "echo new > new; git add new; git commit -qm new; echo more > more; echo x > file";
    begin(&room, "fix", script);
    let push = |body: Value| room.api.post("/v1/sessions/fix/push", body);
    let pushed = push(json!({})).expect(200);
    assert_eq!((&pushed["commits"], &pushed["uncommitted"]), (&json!(1), &json!(2)), "{pushed}");
    assert_eq!(
        source.git(&["rev-parse", "greenroom/fix"]),
        pushed["commit"].as_str().unwrap_or("")
    );
    assert_eq!(source.git(&["ls-tree", "--name-only", "greenroom/fix"]), "file\nnew");
    assert_eq!(source.git(&["show", "greenroom/fix:file"]), "two");

    // By another name, with the command line, which says what was left.
    let ran = room.cli(&["sessions", "push", "fix", "--branch", "by/hand"]).exits(0);
    assert!(ran.err.contains("2 changed files"), "{}", ran.err);
    assert_eq!(source.git(&["show", "by/hand:new"]), "new");
    ran.says("1 commit of session \"fix\" pushed to by/hand");

    // Git's own words, where it says no: what is checked out, and what has gone on.
    let refused = push(json!({"branch": "main"})).problem(409, "push_failed");
    assert!(
        refused["detail"].as_str().is_some_and(|text| text.contains("checked out")),
        "{refused}"
    );
    let nowhere = json!({"remote": "http://me@127.0.0.1:1/x.git"});
    let refused = push(nowhere).problem(409, "push_failed");
    let text = refused["detail"].as_str().unwrap_or_default();
    assert!(text.contains("127.0.0.1") && !text.contains("me@"), "{refused}");
    for remote in ["/srv/other", "file:///srv/other", "ext::sh -c x", "-x", "http://a:b@h/x"] {
        push(json!({"remote": remote})).problem(422, "invalid");
    }
    push(json!({"branch": "a..b"})).problem(422, "invalid");
    begin(&room, "lazy", "echo x > new");
    room.api.post("/v1/sessions/lazy/push", json!({})).problem(409, "nothing_to_push");
}

#[test]
fn what_nothing_needs_goes_and_workspaces_stay() {
    let (mut room, _source) = scene(json!({"from": "git", "url": "SOURCE", "mode": "worktree"}));
    let session = begin(&room, "kept", "echo mine > mine");
    let workspace = room.workspace(&uid_of(&session));
    let trash = room.data.join("trash/x");
    let gc = |room: &Greenroom, more: &[&str]| {
        let found = room.cli(&[&["gc", "--output", "json"], more].concat()).exits(0).json();
        let items = found["items"].as_array().cloned().unwrap_or_default();
        let ours = |item: &&Value| item["path"].as_str() == trash.to_str();
        (found["runner_lives"] == true, items.iter().find(ours).map(|item| item["fate"].clone()))
    };
    assert_eq!(gc(&room, &[]), (true, None), "a runner has it");
    room.term_server();
    fs::create_dir(&trash).expect("a folder");
    fs::write(trash.join("file"), [7; 9000]).expect("a file");
    assert_eq!(gc(&room, &["--dry-run"]), (false, Some("found".into())));
    assert!(trash.exists());
    assert_eq!(gc(&room, &[]), (false, Some("removed".into())));
    assert!(!trash.exists());
    room.cli(&["gc"]).exits(0);
    room.start_server();
    act(&room, "kept", "cat mine; git status > /dev/null");
    assert!(workspace.join("mine").exists());
}
