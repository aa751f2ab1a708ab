//! P3: the log has no gaps and no doubles, whatever happens to viewers and coordinator.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use greenroom_tests::events::{said, ticks, whole};
use greenroom_tests::session::id_of;
use greenroom_tests::{Api, Greenroom, PATIENCE, Sse, Value, agents, json, scaled};

/// What a viewer has put together from all its connections, by position.
type Seen = BTreeMap<u64, Value>;

/// Follows a session, cutting its own connection every 50 ms, until the log says that the
/// run has ended.
fn cut_viewer(api: &Api, id: &str, done: &AtomicBool) -> (Seen, usize) {
    let path = format!("/v1/sessions/{id}/events");
    let (mut seen, mut cuts, mut last) = (Seen::new(), 0, None::<String>);
    let begun = Instant::now();
    loop {
        assert!(begun.elapsed() < PATIENCE * 5, "the viewer does not come to an end");
        let Ok(mut stream) = Sse::try_open(api, &path, last.as_deref()) else {
            // The coordinator is being killed: the port is dead until it is back.
            std::thread::yield_now();
            continue;
        };
        let opened = Instant::now();
        while opened.elapsed() < Duration::from_millis(50) {
            stream.within(Duration::from_millis(50));
            match stream.try_next() {
                Ok(Some(frame)) if frame.id.is_some() => {
                    assert_ne!(frame.event, "resync", "{frame:?}");
                    let seq = frame.seq().expect("a position");
                    let before = seen.insert(seq, frame.data.clone());
                    assert!(before.is_none(), "{seq} came twice");
                    let first = seen.keys().next_back().copied() == Some(seq);
                    assert!(first, "{seq} came after a later one");
                    last = frame.id;
                }
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => break,
            }
        }
        cuts += 1;
        if done.load(Ordering::SeqCst) && seen.values().any(|e| e["type"] == "run.completed") {
            return (seen, cuts);
        }
    }
}

#[test]
fn p3_cut_viewers_and_a_killed_coordinator() {
    let count = scaled(20_000, 100_000) as u64;
    let kills = scaled(5, 20);
    let mut room = Greenroom::serve()
        .agent("ticker", agents::act(&["ticks", &count.to_string(), "200"]))
        .runner("one")
        .start();
    let id = room.api.begin("ticker", "go");
    room.api.wait_text(&id, "tick 10\n");
    let api = room.api.clone();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let viewers: Vec<_> = (0..2)
            .map(|_| {
                let (api, id, done) = (&api, id.as_str(), &done);
                scope.spawn(move || cut_viewer(api, id, done))
            })
            .collect();
        for kill in 1..=kills as u64 {
            // One kill for each part of the output.
            let mark = format!("tick {}\n", kill * count / (kills as u64 + 1));
            room.api.wait_text(&id, &mark);
            room.kill9_and_restart();
        }
        room.api.wait_status(&id, "finished");
        done.store(true, Ordering::SeqCst);
        let log = room.api.log(&id);
        whole(&ticks(&said(&log)), count);
        for viewer in viewers {
            let (seen, cuts) = viewer.join().expect("no panic");
            assert!(cuts > 10, "the viewer was cut {cuts} times");
            for (at, (seq, event)) in seen.iter().enumerate() {
                assert_eq!(*seq, at as u64 + 1, "a gap");
                assert_eq!(event, &log[at], "a viewer saw something else than the log");
            }
        }
    });
    room.api.check(&id);
}

#[test]
fn p3_a_killed_runner_loses_nothing_that_was_said() {
    let count = scaled(3_000, 30_000) as u64;
    let mut room = Greenroom::serve()
        .agent("ticker", agents::act(&["ticks", &count.to_string(), "500"]))
        .runner("one")
        .start();
    let id = room.api.begin("ticker", "go");
    for part in 1..=4u64 {
        room.api.wait_text(&id, &format!("tick {}\n", part * count / 5));
        room.kill9_runner("one");
        room.restart_runner("one");
    }
    let session = room.api.wait_status(&id, "finished");
    whole(&ticks(&room.api.said(&id)), count);
    assert_eq!(session["epoch"], 1, "{session:#}");
    room.api.check(&id);
}

#[test]
fn p3_cursors() {
    let room = Greenroom::up().agent("ticker", agents::act(&["ticks", "100", "0"])).start();
    let id = room.api.begin("ticker", "go");
    room.api.wait_status(&id, "finished");
    let log = room.api.log(&id);
    let end = log.len() as u64;
    let path = format!("/v1/sessions/{id}/events");
    let page = |query: &str| room.api.get(&format!("{path}{query}"));

    // `from` is inclusive, and begins at 1.
    assert_eq!(page("?limit=2").expect(200)["items"], json!(log[..2]));
    assert_eq!(page("?from=3&limit=1").expect(200)["items"], json!(log[2..3]));
    assert_eq!(
        page(&format!("?from={end}")).expect(200)["items"].as_array().map(Vec::len),
        Some(1)
    );
    for past in [end + 1, end + 1000] {
        assert_eq!(page(&format!("?from={past}")).expect(200)["items"], json!([]));
    }
    for wrong in ["?from=x", "?from=-1", "?limit=0", "?limit=x"] {
        page(wrong).refused(422);
    }
    assert!(page("?limit=5000").expect(200)["items"].is_array(), "larger is clamped");

    // `Last-Event-ID` is exclusive and stronger.
    let mut stream = Sse::open(&room.api, &format!("{path}?from=4"));
    assert_eq!(stream.next_frame().seq(), Some(4));
    let last = log[5]["seq"].to_string();
    let mut stream = Sse::after(&room.api, &format!("{path}?from=1"), &last);
    let frame = stream.next_frame();
    assert_eq!(frame.seq(), Some(7));
    assert_eq!(frame.data, log[6]);
    assert_eq!(frame.event, log[6]["type"].as_str().expect("a type"));
    for key in ["seq", "at", "run", "type", "data"] {
        assert!(frame.data.get(key).is_some(), "{key}: {}", frame.data);
    }
    // What is not a cursor, or is beyond the end, is said and not guessed.
    let mut stream = Sse::after(&room.api, &path, &(end + 500).to_string());
    assert_eq!(stream.next_frame().event, "resync");
}

#[test]
fn p3_the_stream_ends_after_a_delete() {
    let room = Greenroom::up().agent("holder", agents::holder()).start();
    let (_, prompt) = room.mark();
    let id = room.api.begin("holder", &prompt);
    room.api.wait_text(&id, "holding");
    let mut stream = Sse::open(&room.api, &format!("/v1/sessions/{id}/events"));
    assert_eq!(room.api.delete(&format!("/v1/sessions/{id}")).status, 204);
    let mut last = 0;
    while let Some(frame) = stream.try_next().expect("a clean end") {
        if let Some(seq) = frame.seq() {
            assert_eq!(seq, last + 1);
            last = seq;
        }
    }
    assert!(last > 0);
    // The name is free again, and its new bearer has a log of its own.
    let again = room.api.create("holder", json!({"id": id}));
    assert_eq!(id_of(&again), id);
    assert_eq!(room.api.log(&id)[0]["type"], "session.created");
}

#[test]
fn p3_live_frames_carry_no_id_and_the_log_has_their_text() {
    let script = r#"printf 'half of '; sleep 0.3; printf 'a line\nnext\n'"#;
    let room = Greenroom::up().agent("talker", agents::sh(script, &[])).start();
    let id = id_of(&room.api.create("talker", json!({})));
    let mut stream = Sse::open(&room.api, &format!("/v1/sessions/{id}/events"));
    room.api.prompt(&id, "go");
    let (mut live, mut logged) = (String::new(), String::new());
    stream.until("the end", |frame| {
        if frame.event == "delta" {
            assert!(frame.id.is_none(), "{frame:?}");
            live.push_str(
                frame.data["text"].as_str().or(frame.data["data"]["text"].as_str()).unwrap_or(""),
            );
        } else if frame.event == "message" {
            logged.push_str(frame.data["data"]["text"].as_str().unwrap_or(""));
        }
        frame.event == "session.finished"
    });
    assert_eq!(logged, "half of a line\nnext\n");
    assert!(logged.starts_with(&live) || live == logged, "{live:?}");
    let text_elsewhere: Vec<_> = room
        .api
        .log(&id)
        .into_iter()
        .filter(|event| event["type"] != "message" && event.to_string().contains("half of"))
        .collect();
    assert!(text_elsewhere.is_empty(), "said twice: {text_elsewhere:#?}");
}

#[test]
fn p3_the_feed_over_all_sessions() {
    let room = Greenroom::up().agent("echo", agents::echo()).start();
    let old = room.api.begin("echo", "hello");
    room.api.wait_status(&old, "finished");
    let seq = room.api.session(&old)["last_seq"].as_u64().expect("a position");
    let mut feed = Sse::open(&room.api, &format!("/v1/events?watch={old}@{}", seq - 2));
    let mut watched = Vec::new();
    feed.until("what was missed", |frame| {
        if frame.id.is_some() || frame.data["seq"].is_u64() {
            watched.push(frame.data["seq"].as_u64().unwrap_or(0));
        }
        watched.len() == 2
    });
    assert_eq!(watched, [seq - 1, seq], "the events after the cursor");
    let fresh = room.api.begin("echo", "hello");
    feed.until("the new session", |frame| {
        frame.event == "session" && frame.data["id"] == fresh.as_str()
    });
    room.api.prompt(&old, "more");
    feed.until("the watched session's event", |frame| frame.event == "run.queued");
}

/// Lets an agent say so many bytes, and waits until the log has all of them.
fn flooded(room: &Greenroom, id: &str, bytes: usize) {
    room.api.prompt(id, "go");
    let mut heard = 0;
    let path = format!("/v1/sessions/{id}/events");
    Sse::open(&room.api, &path).until("all that was said", |frame| {
        if frame.event == "message" {
            heard += frame.data["data"]["text"].as_str().map_or(0, str::len);
        }
        heard == bytes
    });
    room.api.wait_status(id, "finished");
}

#[test]
fn p3_a_slow_reader_costs_no_memory_and_loses_nothing() {
    let bytes = scaled(24, 60) << 20;
    let room = Greenroom::up().agent("flood", agents::act(&["flood", &bytes.to_string()])).start();
    // What a flood costs by itself is there from now on.
    flooded(&room, &id_of(&room.api.create("flood", json!({}))), bytes);
    let id = id_of(&room.api.create("flood", json!({})));
    let path = format!("/v1/sessions/{id}/events");
    // They open the stream and read nothing while all of it is said.
    let slow: Vec<_> = (0..40).map(|_| Sse::open(&room.api, &path)).collect();
    let before = greenroom_tests::procs::rss_kib(room.server_pid());
    flooded(&room, &id, bytes);
    let after = greenroom_tests::procs::rss_kib(room.server_pid());
    // Kept for each of them, it would be forty times what was said.
    let limit = bytes * slow.len() / 8 / 1024;
    assert!(after < before + limit as u64, "from {before} to {after} KiB for {bytes} bytes said");
    let log = room.api.log(&id);
    assert_eq!(said(&log).len(), bytes);
    for mut stream in slow.into_iter().step_by(10) {
        for (at, event) in log.iter().enumerate() {
            let frame = loop {
                let frame = stream.next_frame();
                if frame.id.is_some() {
                    break frame;
                }
            };
            assert_eq!(frame.seq(), Some(at as u64 + 1), "a gap for a slow reader");
            assert_eq!(&frame.data, event);
        }
    }
}
