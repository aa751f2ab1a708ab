//! What only callers of this machine have: folders of its own to work in.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use greenroom_tests::git::Repository;
use greenroom_tests::{Greenroom, Value, agents, json};

/// An agent that does what its prompt says.
fn doer() -> Value {
    agents::sh("set -e; eval \"$(cat)\"", &[])
}

/// A folder beside the room to come, with `app` in it, and `out`, a link that leads out.
struct Beside(PathBuf);

impl Beside {
    fn make() -> Self {
        let name = uuid::Uuid::now_v7().simple().to_string();
        let root = PathBuf::from(format!("/tmp/gr-beside-{}", &name[20..]));
        fs::create_dir_all(root.join("allowed/app")).expect("a folder");
        fs::create_dir_all(root.join("other")).expect("a folder");
        symlink(root.join("other"), root.join("allowed/out")).expect("a link");
        symlink("app", root.join("allowed/within")).expect("a link");
        Self(root)
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn p10_a_session_works_in_a_folder_that_its_client_has_named() {
    let beside = Beside::make();
    let root = beside.path("allowed");
    let room = Greenroom::up().agent("doer", doer()).args(&["--working-dir-root", &root]).start();
    let runners = room.api.get("/v1/runners").json();
    assert_eq!(runners["items"][0]["working_dir_roots"], json!([root]));
    let app = beside.path("allowed/app");
    let prompt = "echo one > made; pwd";
    room.cli(&["sessions", "create", "doer", prompt, "--id", "s", "--working-dir", &app]).exits(0);
    let run = room.api.get("/v1/sessions/s").json()["run_id"].clone();
    assert_eq!(room.api.wait_run("s", &run)["status"], "completed");
    assert_eq!(room.api.said("s"), format!("{app}\n"));
    assert_eq!(read(&beside.0.join("allowed/app/made")), "one\n");
    let shown = room.api.get("/v1/sessions/s").json();
    let workspace = json!({ "from": "dir", "path": app, "mode": "in_place" });
    assert_eq!(shown["workspace"], workspace);
    // Its files are those of the folder, both ways.
    let file = room.api.get("/v1/sessions/s/files/content/made");
    assert_eq!((file.status, file.text()), (200, "one\n".to_owned()));
    fs::write(beside.0.join("allowed/app/yours"), "two\n").expect("written");
    let run = room.api.prompt("s", "cat yours");
    assert_eq!(room.api.wait_run("s", &run["id"])["status"], "completed");
    assert!(room.api.said("s").ends_with("two\n"));
    // There is no repository of the session's own, as for an agent's file that names a folder.
    assert_eq!(room.api.get("/v1/sessions/s/diff").status, 409);
    // What goes with the session is the session.
    assert_eq!(room.api.request("DELETE", "/v1/sessions/s").send().status, 204);
    assert_eq!(read(&beside.0.join("allowed/app/made")), "one\n");
    assert_eq!(read(&beside.0.join("allowed/app/yours")), "two\n");
}

#[test]
fn p10_a_folder_that_leads_out_is_a_start_error_and_nothing_is_done_there() {
    let beside = Beside::make();
    let root = beside.path("allowed");
    let room = Greenroom::up().agent("doer", doer()).args(&["--working-dir-root", &root]).start();
    // What is seen to be outside by its name is refused at once, with what to do.
    let other = beside.path("other");
    room.cli(&["sessions", "create", "doer", "touch x", "--working-dir", &other])
        .exits(1)
        .says("--working-dir-root");
    for (id, folder, why) in [
        ("out", "allowed/out", "a link leads out"),
        ("missing", "allowed/missing", "no such folder"),
    ] {
        let folder = beside.path(folder);
        let workspace = json!({ "from": "dir", "path": folder });
        let body = json!({ "id": id, "prompt": "touch x", "workspace": workspace });
        let made = room.api.create("doer", body);
        let run = room.api.wait_run(id, &made["run_id"]);
        assert_eq!(run["status"], "failed", "{run:#}");
        assert_eq!(run["error"]["code"], "start_error", "{run:#}");
        let message = run["error"]["message"].as_str().expect("words");
        assert!(message.contains(why) && message.contains(&folder), "{message}");
    }
    assert_eq!(fs::read_dir(beside.0.join("other")).expect("a folder").count(), 0);
    // A folder that is made by then does.
    fs::create_dir(beside.0.join("allowed/missing")).expect("made");
    let again = room.api.prompt("missing", "touch x");
    // What failed at its start waits for a person, who has just asked.
    assert_eq!(room.api.wait_run("missing", &again["id"])["status"], "completed");
    assert!(beside.0.join("allowed/missing/x").exists());
}

#[test]
fn p10_moments_of_a_folder_of_git_are_as_those_of_an_agents_file() {
    let beside = Beside::make();
    let source = Repository::make(&beside.0.join("allowed/repo"));
    let folder = source.path.display().to_string();
    let root = beside.path("allowed");
    let room = Greenroom::up().agent("doer", doer()).args(&["--working-dir-root", &root]).start();
    let by_file = agents::with(
        doer(),
        json!({ "workspace": { "from": "dir", "path": folder, "mode": "in_place" } }),
    );
    room.write_agent("filed", by_file);
    room.served("filed");
    let workspace = json!({ "from": "dir", "path": folder });
    let named = room.api.create("doer", json!({ "prompt": "echo", "workspace": workspace }));
    let filed = room.api.create("filed", json!({ "prompt": "echo" }));
    let answers = [&named, &filed].map(|session| {
        let id = session["id"].as_str().expect("an id");
        let run = room.api.wait_run(id, &session["run_id"]);
        assert_eq!(run["status"], "completed", "{run:#}");
        let of_run = format!("run={}", session["run_id"].as_str().expect("an id"));
        let ask = |path: &str| {
            let reply = room.api.get(&format!("/v1/sessions/{id}/{path}"));
            (reply.status, reply.json()["code"].clone())
        };
        [ask("diff"), ask(&format!("diff?{of_run}")), ask(&format!("files?path=&{of_run}"))]
    });
    assert_eq!(answers[0], answers[1]);
    assert_eq!(answers[0][1], (404, json!("no_files_kept")));
}
