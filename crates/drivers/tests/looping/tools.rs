//! Tools of our own, each by what it does and what it refuses.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use greenroom_core::loop_spec::LoopTool;
use greenroom_drivers::looping::tools::{self, Bench, place::Place};
use serde_json::{Value, json};

use crate::stub::{Stub, status};

struct Room {
    dir: tempfile::TempDir,
    bench: Bench,
}

fn room() -> Room {
    let dir = tempfile::tempdir().expect("a folder");
    let workspace = dir.path().join("work");
    std::fs::create_dir(&workspace).expect("made");
    std::fs::write(dir.path().join("secret"), "SECRET").expect("written");
    let place = Place::open(&workspace).expect("opened");
    let bench = Bench { place: Arc::new(place), hidden: Arc::new(vec!["HOME".to_owned()]) };
    Room { dir, bench }
}

impl Room {
    fn work(&self) -> &Path {
        self.bench.place.path()
    }

    fn write(&self, path: &str, text: &str) {
        std::fs::write(self.work().join(path), text).expect("written");
    }

    fn text(&self, path: &str) -> String {
        std::fs::read_to_string(self.work().join(path)).expect("text")
    }

    async fn run(&self, tool: LoopTool, input: Value) -> Result<String, String> {
        tools::run(&self.bench, tool, &input).await.output
    }

    async fn ok(&self, tool: LoopTool, input: Value) -> String {
        self.run(tool, input).await.expect("it goes well")
    }

    async fn no(&self, tool: LoopTool, input: Value) -> String {
        self.run(tool, input).await.expect_err("it does not go well")
    }
}

#[tokio::test]
async fn nothing_outside_the_workspace_is_reached() {
    let room = room();
    std::os::unix::fs::symlink(room.dir.path(), room.work().join("out")).expect("a link");
    std::os::unix::fs::symlink("../secret", room.work().join("link")).expect("a link");
    std::os::unix::fs::symlink("inside", room.work().join("fine")).expect("a link");
    room.write("inside", "here");
    let absolute = room.dir.path().join("secret").display().to_string();
    let outside = ["../secret", "out/secret", "link", &absolute, "a/../../secret", "/etc/passwd"];
    for path in outside {
        for (tool, input) in [
            (LoopTool::ReadFile, json!({"path": path})),
            (LoopTool::WriteFile, json!({"path": path, "content": "X"})),
            (LoopTool::EditFile, json!({"path": path, "old": "SECRET", "new": "X"})),
            (LoopTool::Search, json!({"path": path, "pattern": "SECRET"})),
            (LoopTool::List, json!({"path": path})),
        ] {
            let said = room.no(tool, input).await;
            assert!(!said.contains("SECRET"), "{tool:?} {path}: {said}");
        }
    }
    let secret = std::fs::read_to_string(room.dir.path().join("secret")).expect("text");
    assert_eq!(secret, "SECRET");
    // A search does not follow links either; one that stays inside can be read.
    assert_eq!(room.ok(LoopTool::Search, json!({"pattern": "SECRET"})).await, "(nothing)");
    assert_eq!(room.ok(LoopTool::ReadFile, json!({"path": "fine"})).await, "here");
    // The workspace's own path is as good as none.
    let own = room.work().join("inside").display().to_string();
    assert_eq!(room.ok(LoopTool::ReadFile, json!({"path": own})).await, "here");
}

#[tokio::test]
async fn files_are_read_in_parts() {
    let room = room();
    room.write("lines", &(1..=20_000).map(|n| format!("line {n}\n")).collect::<String>());
    room.write("bytes", "a\0b");
    let part = room.ok(LoopTool::ReadFile, json!({"path": "lines", "offset": 3, "limit": 2})).await;
    assert_eq!(part, "line 3\nline 4\n");
    let whole = room.ok(LoopTool::ReadFile, json!({"path": "lines"})).await;
    assert!(whole.contains("go on with offset") && whole.len() < 51_000, "{}", whole.len());
    assert!(
        room.no(LoopTool::ReadFile, json!({"path": "bytes"})).await.contains("not a text file")
    );
    assert!(room.no(LoopTool::ReadFile, json!({"path": "none"})).await.contains("does not exist"));
    assert!(room.no(LoopTool::ReadFile, json!({"path": ""})).await.contains("folder"));
    assert!(room.no(LoopTool::ReadFile, json!({"path": 1})).await.contains("does not fit"));
}

#[tokio::test]
async fn a_pipe_is_no_file_and_holds_nobody() {
    let room = room();
    let pipe = room.work().join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status().expect("mkfifo");
    assert!(made.success());
    assert!(room.no(LoopTool::ReadFile, json!({"path": "pipe"})).await.contains("no regular file"));
}

#[tokio::test]
async fn files_are_written_with_their_folders_and_keep_their_mode() {
    use std::os::unix::fs::PermissionsExt;
    let room = room();
    room.ok(LoopTool::WriteFile, json!({"path": "a/b/c.txt", "content": "hé"})).await;
    assert_eq!(room.text("a/b/c.txt"), "hé");
    let path = room.work().join("a/b/c.txt");
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("set");
    room.ok(LoopTool::WriteFile, json!({"path": "a/b/c.txt", "content": "x"})).await;
    assert_eq!(std::fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o755);
    assert!(
        room.no(LoopTool::WriteFile, json!({"path": "a", "content": "x"})).await.contains("folder")
    );
    let left = std::fs::read_dir(room.work().join("a/b")).expect("a folder").count();
    assert_eq!(left, 1, "nothing is left beside it");
}

#[tokio::test]
async fn text_is_replaced_exactly() {
    let room = room();
    room.write("f", "one two one");
    let edit = |old: &str, all: bool| json!({"path": "f", "old": old, "new": "$1", "all": all});
    assert!(room.no(LoopTool::EditFile, edit("one", false)).await.contains("2 times"));
    assert!(room.no(LoopTool::EditFile, edit("three", false)).await.contains("is not in f"));
    assert!(room.no(LoopTool::EditFile, edit("", true)).await.contains("is empty"));
    assert_eq!(room.text("f"), "one two one");
    room.ok(LoopTool::EditFile, edit("two", false)).await;
    room.ok(LoopTool::EditFile, edit("one", true)).await;
    assert_eq!(room.text("f"), "$1 $1 $1");
}

#[tokio::test]
async fn folders_are_listed_and_searched() {
    let room = room();
    std::fs::create_dir_all(room.work().join("d/.git")).expect("made");
    room.write("d/x.rs", "fn a() {}\nfn b() {}\n");
    room.write("d/.git/y", "fn hidden() {}");
    room.write("z", "no\0fn");
    assert_eq!(room.ok(LoopTool::List, json!({})).await, "d/\nz");
    assert_eq!(
        room.ok(LoopTool::List, json!({"depth": 3})).await,
        "d/\nd/.git/\nd/.git/y\nd/x.rs\nz"
    );
    let found = room.ok(LoopTool::Search, json!({"pattern": r"fn \w+\("})).await;
    assert_eq!(found, "d/x.rs:1: fn a() {}\nd/x.rs:2: fn b() {}");
    assert!(room.no(LoopTool::Search, json!({"pattern": "("})).await.contains("does not read"));
}

#[tokio::test]
async fn commands_say_their_output_and_how_they_ended() {
    let room = room();
    let shell = |command: &str| json!({"command": command});
    let both = room.ok(LoopTool::Shell, shell("pwd; echo err >&2")).await;
    assert_eq!(both, format!("{}\nerr\n", room.work().display()));
    assert_eq!(room.no(LoopTool::Shell, shell("echo out; exit 3")).await, "exit code 3\nout\n");
    assert!(room.no(LoopTool::Shell, shell("kill -9 $$")).await.contains("signal 9"));
    assert_eq!(room.ok(LoopTool::Shell, shell("echo ${HOME-unset}")).await, "unset\n");
    let much = room.ok(LoopTool::Shell, shell("/usr/bin/seq 100000; echo END")).await;
    assert!(much.starts_with("1\n2\n") && much.ends_with("END\n"), "{}", much.len());
    assert!(much.contains("bytes left out") && much.len() < 31_000, "{}", much.len());
}

#[tokio::test]
async fn a_command_has_no_more_time_than_it_may() {
    let room = room();
    let begun = Instant::now();
    let input = json!({"command": "echo a; /bin/sleep 300 & /bin/sleep 300", "timeout_s": 1});
    let said = room.no(LoopTool::Shell, input).await;
    assert!(said.contains("after 1 s") && said.contains('a'), "{said}");
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    // What stays in the background holds nobody.
    let begun = Instant::now();
    let input = json!({"command": "/bin/sleep 300 & echo $!"});
    let pid = room.ok(LoopTool::Shell, input).await;
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    assert!(std::process::Command::new("kill").arg(pid.trim()).status().expect("kill").success());
}

#[tokio::test]
async fn pages_are_fetched_within_bounds() {
    let room = room();
    let stub = Stub::new([]);
    stub.route("/page", status(200, &[("content-type", "text/plain")], "hello"));
    stub.route("/gone", status(404, &[], "not here"));
    stub.route("/there", status(302, &[("location", "/page")], ""));
    stub.route("/away", status(302, &[("location", "http://127.0.0.1:1/x")], ""));
    stub.route("/much", status(200, &[], &"x".repeat(300_000)));
    stub.route("/bytes", status(200, &[], "\0\0"));
    let url = |path: &str| json!({"url": format!("{}{path}", stub.url)});
    assert_eq!(room.ok(LoopTool::Fetch, url("/page")).await, "hello");
    assert_eq!(room.ok(LoopTool::Fetch, url("/there")).await, "hello");
    assert!(room.no(LoopTool::Fetch, url("/gone")).await.contains("404"));
    assert!(room.no(LoopTool::Fetch, url("/bytes")).await.contains("is not text"));
    let away = room.ok(LoopTool::Fetch, url("/away")).await;
    assert!(away.contains("is elsewhere now: http://127.0.0.1:1/x"), "{away}");
    let much = room.ok(LoopTool::Fetch, url("/much")).await;
    assert!(much.len() < 201_000 && much.ends_with("bytes]"), "{}", much.len());
    for bad in ["file:///etc/passwd", "ftp://x/", "x"] {
        room.no(LoopTool::Fetch, json!({"url": bad})).await;
    }
}

#[tokio::test]
async fn a_list_of_what_is_to_be_done_is_a_plan() {
    let room = room();
    let items = json!({"items": [
        {"text": "one", "status": "completed"}, {"text": "two", "status": "in_progress"}, {"text": "three"}]});
    let done = tools::run(&room.bench, LoopTool::Todo, &items).await;
    assert_eq!(done.output.as_deref(), Ok("1 of 3 done"));
    let plan = done.plan.expect("a plan");
    assert_eq!(plan["entries"][1], json!({"content": "two", "status": "in_progress"}));
    assert_eq!(plan["entries"][2]["status"], "pending");
}
