//! Files: through the runner that has them, and without one.

mod support;

use greenroom_protocol::link::StreamKind;
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
