//! Streams: replay then live without gaps or doubles, and when they end.

mod support;

use greenroom_core::{RecordBody, RunId};
use greenroom_protocol::link::{Delta, RecordLine};
use reqwest::Method;
use serde_json::json;
use support::*;

/// Reads up to a position, and checks that nothing is missing and nothing comes twice.
async fn read_all(sse: &mut Sse, first: u64, last: u64) {
    for expected in first..=last {
        let frame = loop {
            let frame = sse.next().await.expect("the stream goes on");
            if frame.event != "delta" {
                break frame;
            }
        };
        assert_eq!(frame.id.as_deref(), Some(expected.to_string().as_str()));
        assert_eq!(frame.data["seq"], expected);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn viewers_see_every_event_once_while_others_write() {
    const EVENTS: u64 = 3000;
    let room = Room::open().await;
    let mut runner = room.runner().await;
    let made = room.create(json!({"agent": "shell", "id": "s", "prompt": "x"})).await;
    let uid = uid(&made);
    let (epoch, run) = runner.wait_run(uid).await;
    runner.tell(uid, epoch, vec![RecordBody::Ready, RecordBody::RunStarted { run }]).await;
    let begin = room.get("/v1/sessions/s").await.expect(200)["last_seq"].as_u64().expect("seq");
    let last = begin + EVENTS;
    let mut viewers = Vec::new();
    for viewer in 0..8 {
        let request =
            room.request(Method::GET, &format!("/v1/sessions/s/events?from={}", 1 + viewer % 3));
        let from = 1 + viewer % 3;
        viewers.push(tokio::spawn(async move {
            let mut sse = Sse::open(request).await;
            read_all(&mut sse, from, last).await;
        }));
    }
    // One that is cut again and again, and goes on by its cursor.
    let cut = {
        let (http, url, token) =
            (room.http.clone(), room.url("/v1/sessions/s/events"), room.token.clone());
        tokio::spawn(async move {
            let mut position = 0;
            while position < last {
                let mut request = http.get(&url).bearer_auth(&token);
                if position > 0 {
                    request = request.header("last-event-id", position.to_string());
                }
                let mut sse = Sse::open(request).await;
                let until = (position + 97).min(last);
                read_all(&mut sse, position + 1, until).await;
                position = until;
            }
        })
    };
    for batch in 0..EVENTS / 10 {
        let bodies = (0..10).map(|n| message(run, &format!("line {batch}.{n}\n"))).collect();
        runner.tell(uid, epoch, bodies).await;
    }
    for viewer in viewers {
        viewer.await.expect("a viewer that saw everything");
    }
    cut.await.expect("a viewer that saw everything");
}

#[tokio::test]
async fn pages_begin_where_they_are_told() {
    let room = Room::open().await;
    room.create(json!({"agent": "shell", "id": "s"})).await;
    room.post("/v1/sessions/s/stop", json!({})).await.expect(200);
    let last = room.get("/v1/sessions/s").await.expect(200)["last_seq"].as_u64().expect("seq");
    let page =
        async |query: &str| room.get(&format!("/v1/sessions/s/events?{query}")).await.expect(200);
    assert_eq!(page("").await["items"][0]["seq"], 1);
    let two = page("from=2&limit=1").await;
    assert_eq!((&two["items"][0]["seq"], &two["next_cursor"]), (&json!(2), &json!("3")));
    let end = page(&format!("from={last}")).await;
    assert_eq!(
        (end["items"].as_array().map(Vec::len), &end["next_cursor"]),
        (Some(1), &json!(null))
    );
    for past in [last + 1, 1 << 40, u64::MAX] {
        assert_eq!(page(&format!("from={past}")).await["items"], json!([]));
    }
    room.get("/v1/sessions/s/events?from=x").await.refused(422);
}

#[tokio::test]
async fn a_cursor_that_is_not_understood_is_told_so() {
    let room = Room::open().await;
    room.create(json!({"agent": "shell", "id": "s"})).await;
    for (cursor, reason, next) in [("7.1", "era", 1), ("999", "beyond_end", 0)] {
        let request =
            room.request(Method::GET, "/v1/sessions/s/events").header("last-event-id", cursor);
        let mut sse = Sse::open(request).await;
        let resync = sse.next().await.expect("a frame");
        assert_eq!(
            (resync.event.as_str(), &resync.data["reason"], resync.id),
            ("resync", &json!(reason), None)
        );
        if next > 0 {
            assert_eq!(sse.next().await.expect("a frame").data["seq"], next);
        }
    }
    let bad =
        room.request(Method::GET, "/v1/sessions/s/events").header("last-event-id", "nonsense");
    send(bad.header("accept", "text/event-stream")).await.refused(422);
}

#[tokio::test]
async fn deltas_are_live_and_never_logged() {
    let room = Room::open().await;
    let mut runner = room.runner().await;
    let made = room.create(json!({"agent": "shell", "id": "s", "prompt": "x"})).await;
    let uid = uid(&made);
    let (_, run) = runner.wait_run(uid).await;
    let before = room.types("s").await;
    let mut one = Sse::of(&room, &format!("/v1/sessions/s/events?from={}", before.len() + 1)).await;
    let mut all = Sse::of(&room, &format!("/v1/events?watch=s@{}", before.len())).await;
    let delta = Delta { uid, run, part: 0, offset: 4, text: "tok".into() };
    runner.upload(&[RecordLine::Delta(delta)]).await;
    let frame = one.until("delta").await;
    assert_eq!(frame.id, None);
    assert_eq!(frame.data, json!({"run": run, "part": 0, "offset": 4, "text": "tok"}));
    assert_eq!(all.until("delta").await.data["session_id"], "s");
    assert_eq!(room.types("s").await, before);
    // Of a session that is not its own, a runner shows nothing.
    let mut other = room.runner().await;
    let forged =
        Delta { uid, run: RunId(uuid::Uuid::nil()), part: 0, offset: 0, text: "forged".into() };
    other.upload(&[RecordLine::Delta(forged)]).await;
    other.sync(0).await;
    runner
        .upload(&[RecordLine::Delta(Delta { uid, run, part: 1, offset: 0, text: "own".into() })])
        .await;
    assert_eq!(one.until("delta").await.data["text"], "own");
}

#[tokio::test]
async fn a_stream_ends_with_its_session_its_token_and_its_server() {
    let room = Room::open().await;
    room.create(json!({"agent": "shell", "id": "gone"})).await;
    let mut sse = Sse::of(&room, "/v1/sessions/gone/events").await;
    sse.until("session.created").await;
    room.delete("/v1/sessions/gone").await.expect(204);
    sse.until("session.removed").await;
    assert_eq!(sse.next().await.map(|frame| frame.event), Some("session.status".to_owned()));
    assert_eq!(sse.next().await, None);

    let made = room.post("/v1/tokens", json!({"role": "admin"})).await.expect(201);
    room.create(json!({"agent": "shell", "id": "s"})).await;
    let request = room
        .http
        .get(room.url("/v1/sessions/s/events"))
        .bearer_auth(made["secret"].as_str().expect("a secret"));
    let mut sse = Sse::open(request).await;
    sse.until("session.created").await;
    room.delete(&format!("/v1/tokens/{}", made["id"].as_str().expect("an id"))).await.expect(204);
    assert_eq!(sse.next().await, None);

    let mut sse = Sse::of(&room, "/v1/sessions/s/events").await;
    let mut all = Sse::of(&room, "/v1/events").await;
    sse.until("session.created").await;
    let begin = std::time::Instant::now();
    room.coordinator.shutdown().await;
    assert_eq!(sse.next().await, None);
    assert_eq!(all.next().await, None);
    assert!(begin.elapsed() < std::time::Duration::from_secs(3));
}

#[tokio::test]
async fn changes_say_what_to_list_again() {
    let room = Room::open().await;
    let eve = room.new_token("operator", "eve").await;
    let mut admin = Sse::of(&room, "/v1/events").await;
    let mut stranger = Sse::open(room.http.get(room.url("/v1/events")).bearer_auth(&eve)).await;
    room.create(json!({"agent": "shell", "id": "mine"})).await;
    let change = admin.until("session").await;
    assert_eq!((&change.data["id"], &change.data["status"]), (&json!("mine"), &json!("new")));
    room.create(json!({"agent": "shell", "id": "shared", "shared": true})).await;
    // The first thing a stranger hears of is the first thing that is theirs to see.
    assert_eq!(stranger.until("session").await.data["id"], "shared");
    room.runner().await;
    admin.until("runner").await;
    // Watched events carry the name of their session, and no id.
    let mut watching = Sse::of(&room, "/v1/events?watch=mine@0,shared@1").await;
    let event = watching.until("session.created").await;
    assert_eq!((&event.data["session_id"], event.id), (&json!("mine"), None));
    room.post("/v1/sessions/shared/runs", json!({"prompt": "x"})).await.expect(202);
    assert_eq!(watching.until("run.queued").await.data["session_id"], "shared");
    let hidden = room.call_as(&eve, Method::GET, "/v1/events?watch=mine@0", None).await;
    assert_eq!(hidden.refused(404), "session_not_found");
}

#[tokio::test]
async fn a_foreign_viewers_stream_ends_when_it_is_unshared() {
    let room = Room::open().await;
    let eve = room.new_token("viewer", "eve").await;
    room.create(json!({"agent": "shell", "id": "s", "shared": true})).await;
    let mut sse =
        Sse::open(room.http.get(room.url("/v1/sessions/s/events")).bearer_auth(&eve)).await;
    sse.until("session.created").await;
    send(room.request(Method::PATCH, "/v1/sessions/s").json(&json!({"shared": false})))
        .await
        .expect(200);
    assert_eq!(sse.next().await, None);
}
