//! Sessions that expire when nobody uses them: by the time in which a coordinator was up.

mod support;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use greenroom_coordinator::clock::{Clock, SystemClock};
use greenroom_coordinator::{Coordinator, Door};
use greenroom_core::receipt::EndReason;
use greenroom_core::record::Outcome;
use greenroom_core::{RecordBody, Timestamp};
use greenroom_protocol::link::RecordLine;
use greenroom_store::{SqliteStore, Store};
use serde_json::{Value, json};
use support::*;

const HOUR: i64 = 3_600_000;
const YEAR: i64 = 365 * 24 * HOUR;

/// The system's clocks, so many milliseconds ahead: of the wall, and since boot.
#[derive(Clone, Default)]
struct Ahead(Arc<Mutex<(i64, i64)>>);

impl Ahead {
    fn set(&self, wall: i64, boot: i64) {
        *self.0.lock().expect("a clock") = (wall, boot);
    }
}

impl Clock for Ahead {
    fn wall(&self) -> Timestamp {
        let ahead = self.0.lock().expect("a clock").0;
        Timestamp::from_unix_ms(SystemClock.wall().unix_ms() + ahead)
    }

    fn boot(&self) -> Duration {
        let ahead = self.0.lock().expect("a clock").1;
        SystemClock.boot() + Duration::from_millis(u64::try_from(ahead).expect("ahead"))
    }
}

async fn begin(folder: &tempfile::TempDir, clock: &Ahead) -> (Coordinator, Arc<SqliteStore>) {
    let store = SqliteStore::open(&folder.path().join("greenroom.db")).await.expect("a store");
    let store = Arc::new(store);
    let shared: Arc<dyn Store> = Arc::clone(&store) as Arc<dyn Store>;
    let mut config = config(folder.path());
    config.doors = [Door::Foundry].into();
    let clock = Arc::new(clock.clone());
    let started = greenroom_coordinator::start_with(config, shared, clock).await;
    (started.expect("a coordinator"), store)
}

async fn room(clock: &Ahead) -> Room {
    let folder = tempfile::tempdir().expect("a folder");
    let (coordinator, store) = begin(&folder, clock).await;
    let token = coordinator.admin_token().to_owned();
    Room { coordinator, store, folder, http: client(), token }
}

async fn again(room: Room, clock: &Ahead) -> Room {
    let Room { coordinator, store, folder, http, token } = room;
    coordinator.shutdown().await;
    store.close().await;
    drop(store);
    let (coordinator, store) = begin(&folder, clock).await;
    Room { coordinator, store, folder, http, token }
}

/// Has the reconciler look at everything: what is due then has expired. It does so twice, since
/// the first look may not be over when what it has found is seen.
async fn look(room: &Room, id: &str) {
    for time in ["first", "second"] {
        let id = format!("{id}-{time}");
        room.create(json!({"agent": "shell", "id": id, "limits": {"unused_ms": 1}})).await;
        expired(room, &id).await;
    }
}

async fn expired(room: &Room, id: &str) {
    eventually(async || {
        let types = room.types(id).await;
        types.iter().any(|kind| kind == "session.expired").then_some(())
    })
    .await;
}

fn millis(session: &Value, field: &str) -> i64 {
    let at: Timestamp = serde_json::from_value(session[field].clone()).expect("a time");
    at.unix_ms()
}

async fn session(room: &Room, id: &str) -> Value {
    room.get(&format!("/v1/sessions/{id}")).await.expect(200)
}

#[tokio::test]
async fn no_clock_that_jumps_makes_a_session_unused() {
    let clock = Ahead::default();
    let room = room(&clock).await;
    let made =
        room.create(json!({"agent": "shell", "id": "s", "limits": {"unused_ms": HOUR}})).await;
    assert_eq!(millis(&made, "expires_at"), millis(&made, "created_at") + HOUR);
    // It comes up a year ahead, and jumps by another while it is up.
    clock.set(YEAR, 0);
    let room = again(room, &clock).await;
    look(&room, "one").await;
    assert_eq!(room.types("s").await, ["session.created"]);
    clock.set(2 * YEAR, 0);
    look(&room, "two").await;
    assert_eq!(room.types("s").await, ["session.created"]);
    let left = millis(&session(&room, "s").await, "expires_at") - clock.wall().unix_ms();
    assert!((1..=HOUR).contains(&left), "what is left of its hour: {left}");
    // An hour in which it is up is one.
    clock.set(2 * YEAR + HOUR, HOUR);
    look(&room, "three").await;
    expired(&room, "s").await;
    let s = session(&room, "s").await;
    assert_eq!((&s["status"], &s["status_reason"]), (&json!("stopped"), &json!("expired")));
    // It is brought back by what uses it.
    room.post("/v1/sessions/s/runs", json!({"prompt": "x"})).await.expect(202);
    look(&room, "four").await;
    assert_eq!(session(&room, "s").await["status"], "queued");
}

#[tokio::test]
async fn a_runner_whose_clock_is_wrong_makes_no_session_older() {
    let room = room(&Ahead::default()).await;
    let mut runner = room.runner().await;
    let made = json!({"agent": "shell", "id": "s", "prompt": "x", "limits": {"unused_ms": HOUR}});
    let uid = uid(&room.create(made).await);
    let (epoch, run) = runner.wait_run(uid).await;
    let outcome = Outcome::Completed { result: None };
    let bodies = vec![
        RecordBody::Ready,
        RecordBody::RunStarted { run },
        message(run, "hello\n"),
        RecordBody::RunEnded { run, outcome },
        RecordBody::Closing { reason: EndReason::Done },
        RecordBody::Receipt { receipt: Box::new(receipt(epoch, EndReason::Done)) },
    ];
    let lines: Vec<RecordLine> = bodies
        .into_iter()
        .map(|body| {
            let mut record = runner.record(uid, epoch, body);
            record.at = Timestamp::from_unix_ms(1);
            RecordLine::Record(Box::new(record))
        })
        .collect();
    runner.upload(&lines).await;
    room.wait_status("s", "finished").await;
    let room = again(room, &Ahead::default()).await;
    look(&room, "other").await;
    let s = session(&room, "s").await;
    assert_eq!(s["status"], "finished", "{s}");
    let left = millis(&s, "expires_at") - SystemClock.wall().unix_ms();
    assert!((HOUR - 60_000..=HOUR).contains(&left), "its hour began when it ended: {left}");
}

#[tokio::test]
async fn a_run_in_progress_is_use() {
    let clock = Ahead::default();
    let room = room(&clock).await;
    let mut runner = room.runner().await;
    let made = json!({"agent": "shell", "id": "s", "prompt": "x", "limits": {"unused_ms": HOUR}});
    let made = room.create(made).await;
    let (epoch, run) = runner.wait_run(uid(&made)).await;
    runner.tell(uid(&made), epoch, vec![RecordBody::Ready, RecordBody::RunStarted { run }]).await;
    clock.set(3 * HOUR, 3 * HOUR);
    look(&room, "one").await;
    let s = session(&room, "s").await;
    assert_eq!(s["status"], "running", "{s}");
    let left = millis(&s, "expires_at") - clock.wall().unix_ms();
    assert!((HOUR - 60_000..=HOUR).contains(&left), "an hour from its end: {left}");
}

/// Its runner may be away for longer than that. What a stop holds back waits for a person.
#[tokio::test]
async fn a_run_that_waits_for_a_place_is_use_and_one_that_is_held_is_none() {
    let clock = Ahead::default();
    let room = room(&clock).await;
    for id in ["waits", "held"] {
        let limits = json!({"unused_ms": HOUR});
        room.create(json!({"agent": "shell", "id": id, "prompt": "x", "limits": limits})).await;
    }
    room.post("/v1/sessions/held/runs", json!({"prompt": "later"})).await.expect(202);
    room.post("/v1/sessions/held/stop", json!({})).await.expect(200);
    clock.set(3 * HOUR, 3 * HOUR);
    look(&room, "one").await;
    expired(&room, "held").await;
    assert_eq!(session(&room, "waits").await["status"], "queued");
}

/// `/foundry` says when a session expires, and then it does.
#[tokio::test]
async fn the_door_foundry_says_when_a_session_expires() {
    const DAY: i64 = 24 * HOUR;
    let clock = Ahead::default();
    let room = room(&clock).await;
    for (name, limits) in
        [("plain", json!({})), ("short", json!({"unused": "2h"})), ("mortal", json!({"ttl": "1h"}))]
    {
        let description = json!({"driver": "command", "command": ["x"], "limits": limits});
        let body = json!({"description": description});
        room.post(&format!("/v1/agents/{name}/versions"), body).await.expect(201);
    }
    let sessions =
        |agent: &str| format!("/foundry/api/projects/p/agents/{agent}/endpoint/sessions");
    for (agent, limits, lives) in [
        ("plain", json!({"unused_ms": 30 * DAY}), 30 * DAY),
        ("short", json!({"unused_ms": 2 * HOUR}), 2 * HOUR),
        ("mortal", json!({"ttl_ms": HOUR}), HOUR),
    ] {
        let made = room.post(&sessions(agent), json!({"agent_session_id": agent})).await;
        let made = made.expect(201);
        let at = |field: &str| made[field].as_i64().expect("whole seconds");
        assert_eq!(at("expires_at"), at("last_accessed_at") + lives / 1000, "{made}");
        let v1 = session(&room, agent).await;
        assert_eq!(v1["limits"], limits);
        assert_eq!(millis(&v1, "expires_at") / 1000, at("expires_at"));
    }
    // What came in elsewhere has no end, unless it says so.
    room.create(json!({"agent": "plain", "id": "elsewhere"})).await;
    let shown = room.get(&format!("{}/elsewhere", sessions("plain"))).await.expect(200);
    assert_eq!(shown["expires_at"], 0, "{shown}");

    clock.set(30 * DAY - HOUR, 30 * DAY - HOUR);
    look(&room, "one").await;
    for (agent, status) in [("plain", "idle"), ("short", "expired"), ("mortal", "expired")] {
        let shown = room.get(&format!("{}/{agent}", sessions(agent))).await.expect(200);
        assert_eq!(shown["status"], status, "{shown}");
    }
    room.post("/v1/sessions/plain/runs", json!({"prompt": "x"})).await.expect(202);
    clock.set(31 * DAY, 31 * DAY);
    look(&room, "two").await;
    let shown = room.get(&format!("{}/plain", sessions("plain"))).await.expect(200);
    assert_eq!(shown["status"], "creating", "it was used: {shown}");
    let left = shown["expires_at"].as_i64().expect("seconds") - clock.wall().unix_ms() / 1000;
    let whole = 30 * DAY / 1000;
    assert!((whole - 60..=whole).contains(&left), "it is in use until it has a place: {left}");
    room.post("/v1/sessions/plain/stop", json!({})).await.expect(200);
    clock.set(62 * DAY, 62 * DAY);
    look(&room, "three").await;
    let shown = room.get(&format!("{}/plain", sessions("plain"))).await.expect(200);
    assert_eq!(shown["status"], "expired", "{shown}");
    let shown = room.get(&format!("{}/elsewhere", sessions("plain"))).await.expect(200);
    assert_eq!(shown["status"], "idle", "{shown}");
}
