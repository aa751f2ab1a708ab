//! Files: through the runner that has them, and without one.

mod support;

use greenroom_core::{RunFiles, RunId, SessionUid};
use greenroom_protocol::link::{KeptFiles, Look, StreamKind, SyncReply};
use reqwest::Method;
use serde_json::json;
use support::*;

/// A session with a home on a runner.
async fn at_home(room: &Room) -> FakeRunner {
    let mut runner = room.runner().await;
    let made = room.create(json!({"agent": "shell", "id": "s", "prompt": "x"})).await;
    runner.wait_run(uid(&made)).await;
    runner
}

/// The next transfer the runner is asked to dial.
async fn next_open(runner: &mut FakeRunner) -> (String, StreamKind) {
    loop {
        let reply = runner.sync(5_000).await;
        if let Some(open) = reply.opens.into_iter().next() {
            return (format!("/v1/link/streams/{}", open.stream), open.kind);
        }
    }
}

#[tokio::test]
async fn bytes_go_through_in_both_directions() {
    let room = Room::open().await;
    let mut runner = at_home(&room).await;
    let path = "/v1/sessions/s/files/content/a%20b/c%3Ad%25e.bin";
    let reading = tokio::spawn(send(room.request(Method::GET, path)));
    let (stream, kind) = next_open(&mut runner).await;
    assert!(matches!(&kind, StreamKind::Read { path } if path == "a b/c:d%e.bin"), "{kind:?}");
    runner.post(&stream, "{\"length\":7}\nthe\nend").await.expect(204);
    let answer = reading.await.expect("an answer");
    assert_eq!(answer.headers["content-type"], "application/octet-stream");
    assert_eq!(answer.headers["content-length"], "7");
    assert_eq!(answer.expect(200), json!("the\nend"));
    // A megabyte up.
    let body = vec![b'x'; 1 << 20];
    let writing = tokio::spawn(send(room.request(Method::PUT, path).body(body)));
    let (stream, _) = next_open(&mut runner).await;
    let sent = runner.get(&stream).await;
    assert_eq!(sent.body.as_str().map(str::len), Some(1 << 20));
    let info = json!({"path": "a", "name": "a", "kind": "file", "size": 1 << 20, "mode": 420, "modified_at": null});
    runner.post(&stream, format!("{{}}\n{info}")).await.expect(204);
    assert_eq!(writing.await.expect("an answer").expect(200)["size"], 1 << 20);
    // A transfer is dialled once, by its own runner.
    runner.post(&stream, "{}\n").await.refused(404);
}

#[tokio::test]
async fn the_workspace_itself_is_a_folder_that_is_there() {
    let room = Room::open().await;
    let mut runner = at_home(&room).await;
    let path = "/v1/sessions/s/files/mkdir";
    assert_eq!(room.post(path, json!({"path": ""})).await.refused(422), "invalid");
    let making = tokio::spawn(send(room.request(Method::POST, path).json(&json!({"path": "."}))));
    let (stream, kind) = next_open(&mut runner).await;
    assert!(matches!(&kind, StreamKind::Stat { path } if path.is_empty()), "{kind:?}");
    let info =
        json!({"path": "", "name": "", "kind": "dir", "size": 0, "mode": 493, "modified_at": null});
    runner.post(&stream, format!("{{}}\n{info}")).await.expect(204);
    assert_eq!(making.await.expect("an answer").expect(201)["kind"], "dir");
}

#[tokio::test]
async fn what_the_runner_finds_wrong_is_passed_on() {
    let room = Room::open().await;
    let mut runner = at_home(&room).await;
    let removing = tokio::spawn(send(
        room.request(Method::DELETE, "/v1/sessions/s/files/content/d?recursive=false"),
    ));
    let (stream, _) = next_open(&mut runner).await;
    let problem = json!({"problem": {"status": 409, "code": "not_empty", "title": "Conflict", "detail": "it is not empty"}});
    runner.post(&stream, format!("{problem}\n")).await.expect(204);
    assert_eq!(removing.await.expect("an answer").refused(409), "not_empty");
}

#[tokio::test]
async fn without_a_home_there_is_nothing_and_without_a_runner_no_answer() {
    let room = Room::with(|config| config.runner_ttl = ms(200)).await;
    room.create(json!({"agent": "shell", "id": "new"})).await;
    let list = room.get("/v1/sessions/new/files").await.expect(200);
    assert_eq!(list, json!({"items": [], "next_cursor": null}));
    room.get("/v1/sessions/new/files/content/a").await.refused(404);
    for bad in ["..", "%2Fetc/passwd", "a/..%2F..%2Fb", "a%00b"] {
        room.get(&format!("/v1/sessions/new/files/content/{bad}")).await;
        let answer = room.get(&format!("/v1/sessions/new/files?path={bad}")).await;
        answer.refused(422);
    }
    let runner = at_home(&room).await;
    room.wait_status("s", "unreachable").await;
    let gone = room.get("/v1/sessions/s/files").await;
    assert!(gone.headers.contains_key("retry-after"));
    assert_eq!(gone.refused(504), "runner_unreachable");
    drop(runner);
}

/// Tells what was kept, and gives what the coordinator has heard.
async fn tell(
    runner: &mut FakeRunner,
    uid: SessionUid,
    run: RunId,
    files: &RunFiles,
) -> Vec<RunId> {
    let files = vec![KeptFiles { uid, run, files: files.clone() }];
    let reply: SyncReply = runner.sync_with(|request| request.files = files).await;
    reply.files.expect("it listens")
}

fn commit() -> RunFiles {
    RunFiles::Commit("c0ffee".repeat(6) + "0000")
}

#[tokio::test]
async fn what_was_kept_is_said_once_and_behind_its_end() {
    let room = Room::open().await;
    let mut runner = room.runner().await;
    let mut other = room.runner().await;
    let uid = uid(&room.create(json!({"agent": "shell", "id": "s", "prompt": "x"})).await);
    if room.get("/v1/sessions/s").await.expect(200)["runner_id"] != json!(runner.id) {
        std::mem::swap(&mut runner, &mut other);
    }
    let (epoch, run) = runner.wait_run(uid).await;
    assert!(tell(&mut runner, uid, run, &commit()).await.is_empty(), "it has not ended");
    runner.complete(uid, epoch, run, "done").await;
    assert!(tell(&mut other, uid, run, &commit()).await.is_empty(), "it is not its own");
    for _ in 0..2 {
        assert_eq!(tell(&mut runner, uid, run, &commit()).await, [run]);
    }
    // What is no commit is not written down.
    let odd = RunFiles::Commit("--output=x".to_owned());
    assert_eq!(tell(&mut runner, uid, run, &odd).await, [run]);
    let log = room.get("/v1/sessions/s/events?limit=1000").await.expect(200);
    let log = log["items"].as_array().expect("a log").clone();
    let said: Vec<_> = log.iter().filter(|event| event["type"] == "run.files").collect();
    assert_eq!(said.len(), 1, "{log:#?}");
    assert_eq!(said[0]["run"], json!(run));
    assert_eq!(said[0]["data"], json!({"run": run, "commit": "c0ffee".repeat(6) + "0000"}));
    assert_eq!(log.last(), Some(said[0]), "behind its end");
    let shown = room.get(&format!("/v1/runs/{run}")).await.expect(200);
    assert_eq!(shown["files"], json!({"commit": "c0ffee".repeat(6) + "0000"}));
}

#[tokio::test]
async fn a_moment_is_asked_of_the_runner_that_has_it() {
    let room = Room::open().await;
    let mut runner = room.runner().await;
    let uid = uid(&room.create(json!({"agent": "shell", "id": "s", "prompt": "x"})).await);
    let (epoch, run) = runner.wait_run(uid).await;
    room.get(&format!("/v1/sessions/s/diff?run={run}")).await.refused(404);
    runner.complete(uid, epoch, run, "done").await;
    tell(&mut runner, uid, run, &commit()).await;
    let last = room.get("/v1/sessions/s").await.expect(200)["last_seq"].clone();
    for (path, wanted, body) in [
        (format!("diff?run={run}"), Look::Diff { since: None }, json!("a patch")),
        (format!("diff?seq={last}&since={run}"), Look::Diff { since: Some(run) }, json!("x")),
        (
            format!("files/content/a%20b?seq={last}"),
            Look::Read { path: "a b".into() },
            json!("text"),
        ),
        (
            format!("files?path=a/&run={run}"),
            Look::List { path: "a".into() },
            json!({"items": [], "next_cursor": null}),
        ),
        (
            format!("files/stat?path=a&seq={last}"),
            Look::Stat { path: "a".into() },
            json!({"path": "a", "name": "a", "kind": "symlink", "size": 0, "mode": 511, "modified_at": null}),
        ),
    ] {
        let path = format!("/v1/sessions/s/{path}");
        let asking = tokio::spawn(send(room.request(Method::GET, &path)));
        let (stream, kind) = next_open(&mut runner).await;
        match kind {
            StreamKind::Kept { run: asked, look } => assert_eq!((asked, look), (run, wanted)),
            other => panic!("{path}: {other:?}"),
        }
        let bytes = body.as_str().map_or_else(|| body.to_string(), str::to_owned);
        runner.post(&stream, format!("{{}}\n{bytes}")).await.expect(204);
        let answer = asking.await.expect("an answer");
        assert_eq!(answer.headers["greenroom-run"], run.to_string().as_str());
        assert_eq!(answer.expect(200), body, "{path}");
    }
    // What its runner has not, after all, is not there; and it is said what is.
    let path = format!("/v1/sessions/s/diff?run={run}");
    let asking = tokio::spawn(send(room.request(Method::GET, &path)));
    let (stream, _) = next_open(&mut runner).await;
    let problem = json!({"problem": {"status": 404, "code": "no_files_kept", "title": "Not found", "detail": "it is lost"}});
    runner.post(&stream, format!("{problem}\n")).await.expect(204);
    let answer = asking.await.expect("an answer").expect(404);
    assert_eq!(
        (&answer["code"], &answer["detail"]),
        (&json!("no_files_kept"), &json!("it is lost"))
    );
    assert!(
        answer["hint"].as_str().is_some_and(|hint| hint.contains(&run.to_string())),
        "{answer}"
    );
    // A run of another session is none of this one's.
    let else_uid =
        self::uid(&room.create(json!({"agent": "shell", "id": "else", "prompt": "x"})).await);
    let (_, foreign) = runner.wait_run(else_uid).await;
    let path = format!("/v1/sessions/s/files?run={foreign}");
    assert_eq!(room.get(&path).await.refused(404), "run_not_found");
}

#[tokio::test]
async fn where_nothing_was_kept_it_is_said_why() {
    let room = Room::open().await;
    let mut runner = room.runner().await;
    let uid = uid(&room.create(json!({"agent": "shell", "id": "s", "prompt": "x"})).await);
    let (epoch, run) = runner.wait_run(uid).await;
    runner.complete(uid, epoch, run, "done").await;
    // Nothing is asked of a runner that would not understand it.
    runner
        .sync_with(|request| {
            request.info.as_mut().expect("what it is").keeps_files = false;
        })
        .await;
    let path = format!("/v1/sessions/s/diff?run={run}");
    let answer = room.get(&path).await.expect(404);
    assert_eq!(answer["code"], "no_files_kept");
    assert!(answer["detail"].as_str().is_some_and(|text| text.contains("build")), "{answer}");
    runner.sync(0).await;
    let why = RunFiles::Reason { code: "too_slow".into(), message: "it took too long".into() };
    assert_eq!(tell(&mut runner, uid, run, &why).await, [run]);
    for moment in [format!("run={run}"), "seq=1000".to_owned()] {
        let answer = room.get(&format!("/v1/sessions/s/files?{moment}")).await.expect(404);
        assert_eq!(answer["code"], "no_files_kept");
        let detail = answer["detail"].as_str().expect("words");
        assert!(
            detail.contains("it took too long") && detail.contains(&run.to_string()),
            "{answer}"
        );
    }
    let answer = room.get("/v1/sessions/s/diff?seq=1").await.expect(404);
    assert!(answer["detail"].as_str().is_some_and(|text| text.contains("entry 1")), "{answer}");
    for bad in ["diff?seq=0", "diff?seq=x", "diff?run=x", "files?run=x", "files/stat?seq=-1"] {
        room.get(&format!("/v1/sessions/s/{bad}")).await.refused(422);
    }
    let diff = async |query: &str| room.get(&format!("/v1/sessions/s/diff?{query}")).await;
    assert_eq!(diff("seq=1&since=x").await.refused(422), "invalid");
    assert_eq!(diff(&format!("run={run}&seq=1")).await.refused(409), "two_moments");
    assert_eq!(diff(&format!("since={run}")).await.refused(409), "no_moment");
    assert_eq!(diff(&format!("run={run}&seq=")).await.refused(404), "no_files_kept");
}
