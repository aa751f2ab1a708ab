//! The client against a coordinator that says what a test wants.

mod fake;

use std::time::Duration;

use fake::{Fake, Reply};
use greenroom_client::{
    Bytes, Client, ClientError, Deletion, Live, Moment, Secret, SessionFilter, Upload,
};
use greenroom_protocol::v1::{CreateRun, CreateSession, StopRequest};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(5);

fn client(fake: &Fake) -> Client {
    Client::new(&fake.url, Some(&Secret::new("grt_x\n"))).expect("an address")
}

fn session(id: &str) -> Value {
    json!({
        "id": id, "uid": uuid::Uuid::nil(), "owner": "ann", "shared": false,
        "agent": {"name": "fixer", "version": 1, "source": "s", "digest": "d"},
        "title": null, "labels": {}, "status": "running", "status_reason": null, "wanted": "up",
        "hold": false, "epoch": 1, "runner_id": null, "parent_id": null, "run_id": null,
        "run_status": null, "last_seq": 3, "version": 1, "pending": {"runs": 0, "approvals": 0},
        "usage": {"input_tokens": 0, "output_tokens": 0, "cost_usd": 0.0}, "limits": {},
        "created_at": "2020-01-01T00:00:00Z", "updated_at": "2020-01-01T00:00:00Z",
        "last_active_at": "2020-01-01T00:00:00Z", "expires_at": null, "receipt": null,
        "news": "of a later version",
    })
}

fn event(seq: u64) -> String {
    let data =
        json!({"seq": seq, "at": "2020-01-01T00:00:00Z", "run": null, "type": "log", "data": {}});
    format!("id: {seq}\nevent: log\ndata: {data}\n\n")
}

#[tokio::test]
async fn odd_names_reach_every_verb_encoded() {
    let odd = "a/b c:d%e";
    let fake = Fake::start(|request, _| {
        match request.line.contains("/files?")
            || request.line.contains("/runs?")
            || request.line.contains("/events")
        {
            true => Reply::ok(json!({"items": [], "next_cursor": null})),
            false => Reply::Json(202, "{}".to_owned()),
        }
    });
    let client = client(&fake);
    // What is answered does not matter here.
    let _ = client.session(odd).await;
    let _ = client.stop_session(odd, &StopRequest::default(), Some(Duration::from_secs(1))).await;
    let _ = client.resume_session(odd).await;
    let _ = client.abandon_session(odd, "r").await;
    let _ = client.delete_session(odd, Duration::ZERO).await;
    let _ = client.create_run(odd, &CreateRun::default()).await;
    let _ = client.runs(odd, 5, Some("c=/")).await;
    let _ = client.events(odd, 1, 10).await;
    let _ = client.files(odd, "x y", &Moment::default()).await;
    let _ = client.file_stat(odd, "x&y", &Moment::default()).await;
    let _ = client.remove_file(odd, "x/y z", true).await;
    let _ = client.put_file(odd, "../x", Upload::Bytes(Bytes::from_static(b"data"))).await;
    let _ = client.agent(odd).await;
    let _ = client.runner(odd).await;
    let _ = client.run(odd).await;
    let _ = client.revoke_token(odd).await;
    let name = "a%2Fb%20c%3Ad%25e";
    let want = [
        format!("GET /v1/sessions/{name}"),
        format!("POST /v1/sessions/{name}/stop?wait=1000ms"),
        format!("POST /v1/sessions/{name}/resume"),
        format!("POST /v1/sessions/{name}/abandon"),
        format!("DELETE /v1/sessions/{name}?wait=0ms"),
        format!("POST /v1/sessions/{name}/runs"),
        format!("GET /v1/sessions/{name}/runs?limit=5&cursor=c%3D%2F"),
        format!("GET /v1/sessions/{name}/events?from=1&limit=10"),
        format!("GET /v1/sessions/{name}/files?path=x%20y"),
        format!("GET /v1/sessions/{name}/files/stat?path=x%26y"),
        format!("DELETE /v1/sessions/{name}/files/content/x/y%20z?recursive=true"),
        format!("PUT /v1/sessions/{name}/files/content/..%2Fx"),
        format!("GET /v1/agents/{name}"),
        format!("GET /v1/runners/{name}"),
        format!("GET /v1/runs/{name}"),
        format!("DELETE /v1/tokens/{name}"),
    ];
    assert_eq!(fake.lines(), want);
    assert!(
        fake.asked().iter().all(|request| request.header("authorization") == Some("Bearer grt_x"))
    );
}

#[tokio::test]
async fn names_that_are_steps_are_not_sent() {
    let fake = Fake::start(|_, _| Reply::Cut);
    for step in ["..", ".", ""] {
        let error = client(&fake).stop_session(step, &StopRequest::default(), None).await;
        let error = error.expect_err("no such session");
        assert_eq!(error.to_string(), format!("session {step:?} not found or has been deleted"));
        assert!(error.is_status(404));
    }
    assert!(fake.asked().is_empty());
}

#[tokio::test]
async fn an_answer_keeps_what_was_sent() {
    let fake = Fake::start(|request, _| match request.line.contains('?') {
        true => Reply::ok(json!({"items": [session("x")], "next_cursor": "c"})),
        false => Reply::ok(session("x")),
    });
    let client = client(&fake);
    let one = client.session("x").await.expect("a session");
    assert_eq!(one.id.as_str(), "x");
    assert!(one.json().get().contains("of a later version"));
    let page = client.sessions(&SessionFilter::default(), 10, None).await.expect("a page");
    assert!(page.items[0].json().get().contains("of a later version"));
    assert_eq!(page.next_cursor.as_deref(), Some("c"));
}

#[tokio::test]
async fn errors_are_typed() {
    let fake = Fake::start(|request, _| match request.line.as_str() {
        "GET /v1/sessions/gone" => Reply::no_session("gone"),
        "GET /v1/sessions/odd" => Reply::Json(502, "<html>Bad gateway".to_owned()),
        "GET /v1/sessions/strange" => Reply::ok("{\"id\": 7}"),
        _ => Reply::Json(302, String::new()),
    });
    let client = client(&fake);
    let gone = client.session("gone").await.expect_err("404");
    assert_eq!(gone.problem().map(|problem| problem.code.as_str()), Some("session_not_found"));
    let odd = client.session("odd").await.expect_err("no problem");
    assert!(
        matches!(odd, ClientError::Unexpected { status: 502, ref what, .. } if what.contains("html"))
    );
    let strange = client.session("strange").await.expect_err("no session");
    assert!(matches!(strange, ClientError::Unexpected { status: 200, .. }), "{strange}");
    let away = client.session("away").await.expect_err("redirects are not followed");
    assert!(matches!(away, ClientError::Unexpected { status: 302, .. }), "{away}");
}

#[tokio::test]
async fn nobody_there_is_said_at_once() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", port.local_addr().expect("an address"));
    drop(port);
    let client = Client::new(&url, None).expect("an address");
    let error = client.session("x").await.expect_err("nobody");
    assert!(matches!(error, ClientError::Unreachable { .. }), "{error}");
    assert!(Client::new("ftp://x", None).is_err());
    assert!(Client::new("nonsense", None).is_err());
}

#[tokio::test]
async fn a_broken_create_is_repeated_with_its_key() {
    let fake = Fake::start(|_, n| match n {
        0 | 1 => Reply::Cut,
        _ => Reply::Json(201, session("x").to_string()),
    });
    let body = CreateSession { agent: "fixer".to_owned(), ..CreateSession::default() };
    client(&fake).create_session(&body).await.expect("the third try");
    let asked = fake.asked();
    assert_eq!(asked.len(), 3);
    let keys: Vec<_> = asked.iter().map(|request| request.header("idempotency-key")).collect();
    assert!(keys[0].is_some() && keys.iter().all(|key| *key == keys[0]), "{keys:?}");
    assert!(asked.iter().all(|request| request.body == asked[0].body));
}

#[tokio::test]
async fn what_must_not_be_repeated_is_not() {
    let fake = Fake::start(|_, _| Reply::Cut);
    let error = client(&fake).resume_session("x").await.expect_err("cut");
    assert!(matches!(error, ClientError::Broken { .. }), "{error}");
    assert_eq!(fake.asked().len(), 1);
}

#[tokio::test]
async fn a_deletion_is_done_or_under_way() {
    let fake = Fake::start(|_, n| Reply::Json(if n == 0 { 202 } else { 204 }, "{}".to_owned()));
    let client = client(&fake);
    let wait = Duration::from_millis(1);
    assert_eq!(client.delete_session("x", wait).await.expect("202"), Deletion::UnderWay);
    assert_eq!(client.delete_session("x", wait).await.expect("204"), Deletion::Gone);
}

#[tokio::test]
async fn a_follower_goes_on_where_it_was_cut() {
    let delta = "event: delta\ndata: {\"run\":\"00000000-0000-0000-0000-000000000000\",\"part\":0,\"offset\":0,\"text\":\"x\"}\n\n";
    let fake = Fake::start(move |_, n| match n {
        // Cut in the middle of a frame.
        0 => Reply::Events(format!(": hi\n\n{}{}{delta}id: 3\nevent: lo", event(1), event(2))),
        1 => Reply::Cut,
        // An entry again, and one from long before.
        2 => Reply::Events(format!("{}{}{}", event(2), event(3), event(1))),
        3 => Reply::Events(event(4)),
        _ => Reply::no_session("x"),
    });
    let mut follow = client(&fake).follow("x", 1, PATIENCE);
    let mut got = Vec::new();
    while let Some(live) = follow.next().await.expect("no error") {
        got.push(match live {
            Live::Event(event) => event.seq.to_string(),
            Live::Delta(delta) => delta.text,
            Live::Resync => "resync".to_owned(),
        });
    }
    assert_eq!(got, ["1", "2", "x", "3", "4"]);
    let asked = fake.asked();
    assert_eq!(asked[0].line, "GET /v1/sessions/x/events?from=1");
    assert_eq!(asked[0].header("last-event-id"), None);
    assert_eq!(asked[0].header("accept"), Some("text/event-stream"));
    let cursors: Vec<_> =
        asked[1..].iter().map(|request| request.header("last-event-id")).collect();
    assert_eq!(cursors, [Some("2"), Some("2"), Some("3"), Some("4")]);
}

#[tokio::test]
async fn a_follower_hears_of_a_restore() {
    let fake = Fake::start(|_, n| match n {
        0 => Reply::Events(event(5).replace("id: 5", "id: 1.5")),
        1 => Reply::Events(format!(
            "event: resync\ndata: {{}}\n\n{}",
            event(1).replace("id: 1", "id: 2.1")
        )),
        _ => Reply::no_session("x"),
    });
    let mut follow = client(&fake).follow("x", 5, PATIENCE);
    let mut got = Vec::new();
    while let Some(live) = follow.next().await.expect("no error") {
        got.push(match live {
            Live::Event(event) => event.seq,
            Live::Delta(_) => 0,
            Live::Resync => 99,
        });
    }
    assert_eq!(got, [5, 99, 1]);
    let asked = fake.asked();
    assert_eq!(asked[1].header("last-event-id"), Some("1.5"));
    assert_eq!(asked[2].header("last-event-id"), Some("2.1"));
}

#[tokio::test]
async fn a_follower_of_nothing_is_told() {
    let fake = Fake::start(|_, _| Reply::no_session("x"));
    let error = client(&fake).follow("x", 1, PATIENCE).next().await.expect_err("404");
    assert!(error.is_status(404));
    let fake = Fake::start(|_, n| if n == 0 { Reply::Events(event(1)) } else { Reply::Cut });
    let mut follow = client(&fake).follow("x", 1, Duration::from_millis(300));
    assert!(matches!(follow.next().await, Ok(Some(Live::Event(_)))));
    let error = follow.next().await.expect_err("away for too long");
    assert!(error.is_no_coordinator(), "{error}");
}
