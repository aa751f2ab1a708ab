//! P1, P3, P6: messages between runner and coordinator are lost, repeated, answered from the
//! past, or held up. A prompt is done once, a stop arrives, and there are never two computes.

use std::collections::BTreeMap;
use std::time::Duration;

use greenroom_tests::events::{said, ticks, whole};
use greenroom_tests::proxy::Passed;
use greenroom_tests::session::{id_of, uid_of};
use greenroom_tests::{Fate, Greenroom, Proxy, Value, agents, json, procs};
use rustix::process::Signal;

/// Notes each prompt it is given where a next life finds it. One that begins with `/` is a
/// marker, and is held for ever.
fn counter() -> Value {
    let script = r#"echo "$1" >> "$HOME/../seen"; case "$1" in
        /*) exec 9<"$1"; echo holding; while :; do sleep 1; done ;;
        *) echo "did $1" ;; esac"#;
    agents::with(agents::sh(script, &[]), json!({"prompt_via": "arg", "stop": {"grace": "500ms"}}))
}

/// A coordinator and a runner with a network between them.
fn room() -> (Greenroom, Proxy) {
    let mut room = Greenroom::serve()
        .agent("counter", counter())
        .agent("loop", agents::persistent())
        .agent("ticker", agents::act(&["ticks", "1000000", "500"]))
        .start();
    let proxy = Proxy::to(&room.api.host);
    room.link = Some(proxy.host.clone());
    room.add_runner("one");
    (room, proxy)
}

/// Prompts, stops, holds, resumes; then looks at what the agent saw and at what the log says.
fn a_whole_life(room: &Greenroom, what: &str) {
    let session = room.api.create("counter", json!({"prompt": "one"}));
    let id = id_of(&session);
    assert_eq!(room.api.wait_run(&id, &session["run_id"])["status"], "completed", "{what}");
    let (mark, prompt) = room.mark();
    room.api.prompt(&id, &prompt);
    room.api.wait_text(&id, "holding");
    let behind = room.api.prompt(&id, "two");
    let reply = room.api.stop_with(&id, "60s", json!({})).expect(200);
    assert_eq!(reply["receipt"]["survivors"], 0, "{what}: {reply:#}");
    assert!(procs::holding(&mark).is_empty(), "{what}");
    assert_eq!(room.api.run(&behind["id"])["status"], "queued", "{what}: it is held");
    room.api.post(&format!("/v1/sessions/{id}/resume"), json!({})).granted();
    assert_eq!(room.api.wait_run(&id, &behind["id"])["status"], "completed", "{what}");
    let last = room.api.prompt(&id, "three");
    assert_eq!(room.api.wait_run(&id, &last["id"])["status"], "completed", "{what}");
    room.api.wait_rest(&id);
    // A receipt may come before the last words of its compute.
    room.api.wait_text(&id, "did three");
    room.api.check(&id);
    let seen = room.workspace(&uid_of(&session)).parent().expect("beside").join("seen");
    let seen = std::fs::read_to_string(seen).expect("what it saw");
    assert_eq!(seen.lines().collect::<Vec<_>>(), ["one", &prompt, "two", "three"], "{what}");
    assert_eq!(room.api.said(&id), "did one\nholding\ndid two\ndid three\n", "{what}");

    // One process that counts what it is asked.
    let id = id_of(&room.api.create("loop", json!({})));
    for (epoch, count) in [(1, 1), (1, 2), (1, 3), (2, 1), (2, 2)] {
        if (epoch, count) == (2, 1) {
            assert_eq!(room.api.stop_with(&id, "60s", json!({})).expect(200)["status"], "stopped");
        }
        let run = room.api.prompt(&id, &format!("{epoch}.{count}"));
        let run = room.api.wait_run(&id, &run["id"]);
        assert_eq!(run["result"]["count"], count, "{what}: {run:#}");
        assert_eq!(room.api.session(&id)["epoch"], epoch, "{what}");
    }
    room.api.check(&id);
}

/// How often each call was made.
#[derive(Default)]
struct Counts(BTreeMap<String, usize>);

impl Counts {
    fn nth(&mut self, call: &str) -> usize {
        let count = self.0.entry(call.to_owned()).or_default();
        *count += 1;
        *count
    }
}

#[test]
fn p6_every_message_arrives_twice() {
    let (room, proxy) = room();
    proxy.rule(|_, _| Fate::Twice);
    a_whole_life(&room, "twice");
}

#[test]
fn p6_every_second_message_is_lost() {
    let (room, proxy) = room();
    let mut counts = Counts::default();
    proxy.rule(move |call, _| if counts.nth(call) % 2 == 1 { Fate::Lose } else { Fate::Pass });
    a_whole_life(&room, "lost");
}

#[test]
fn p6_every_second_answer_is_lost() {
    let (room, proxy) = room();
    let mut counts = Counts::default();
    proxy
        .rule(move |call, _| if counts.nth(call) % 2 == 1 { Fate::LoseAnswer } else { Fate::Pass });
    a_whole_life(&room, "answers lost");
}

/// Of three polls one is lost, so that the runner asks anew, and the next is answered with
/// something from the past: any earlier answer, in turn.
#[test]
fn p6_answers_from_the_past_start_nothing_again() {
    let (room, proxy) = room();
    let (mut counts, mut stale) = (Counts::default(), 0);
    proxy.rule(move |call, passed: &[Passed]| {
        if call != "sync" {
            return Fate::Pass;
        }
        // The past is slow, or the runner would ask for it all the time.
        std::thread::sleep(Duration::from_millis(5));
        match counts.nth(call) % 3 {
            1 => Fate::Lose,
            2 => {
                let polls: Vec<_> = passed.iter().filter(|one| one.call == "sync").collect();
                stale += 1;
                Fate::Stale(polls[stale * 7 % polls.len()].answer.clone())
            }
            _ => Fate::Pass,
        }
    });
    a_whole_life(&room, "from the past");
}

/// The runner is killed at its `nth` message of a life with a run, a stop and another run:
/// before that arrives, or before it has the answer. Says whether it came so far.
fn runner_dies_at(room: &mut Greenroom, proxy: &Proxy, nth: usize) -> bool {
    let (mark, prompt) = room.mark();
    let (mut pid, mut count) = (room.runner_pid("one"), 0);
    let victim = pid;
    proxy.rule(move |_, _| {
        count += 1;
        if count != nth {
            return Fate::Pass;
        }
        procs::signal(victim, Signal::KILL);
        if nth.is_multiple_of(2) { Fate::Lose } else { Fate::LoseAnswer }
    });
    let api = room.api.clone();
    let life = std::thread::spawn(move || {
        let session = api.create("counter", json!({"prompt": prompt}));
        let id = id_of(&session);
        api.wait_text(&id, "holding");
        let stopped = api.stop_with(&id, "60s", json!({})).expect(200);
        assert_eq!(stopped["receipt"]["survivors"], 0, "message {nth}: {stopped:#}");
        let run = api.prompt(&id, "again");
        assert_eq!(api.wait_run(&id, &run["id"])["status"], "completed", "message {nth}");
        api.wait_rest(&id);
        (session, prompt)
    });
    let mut died = false;
    loop {
        let done = life.is_finished();
        if procs::wait_gone(pid, Duration::from_millis(50)) {
            died = true;
            room.kill9_runner("one");
            room.restart_runner("one");
            pid = room.runner_pid("one");
        }
        if done {
            break;
        }
    }
    let (session, prompt) = life.join().expect("no panic");
    let id = id_of(&session);
    assert!(procs::holding(&mark).is_empty(), "message {nth}");
    let seen = room.workspace(&uid_of(&session)).parent().expect("beside").join("seen");
    let seen = std::fs::read_to_string(seen).expect("what it saw");
    assert_eq!(seen.lines().collect::<Vec<_>>(), [&prompt, "again"], "message {nth}");
    room.api.check(&id);
    died
}

#[test]
fn p6_the_runner_dies_at_each_of_its_messages() {
    let (mut room, proxy) = room();
    let step = if greenroom_tests::soak() { 1 } else { 3 };
    let rows = (1..60).step_by(step).take_while(|nth| runner_dies_at(&mut room, &proxy, *nth));
    let rows = rows.count();
    assert!(rows >= 3, "only {rows} rows were reached");
}

#[test]
fn p6_a_stop_and_a_prompt_during_a_partition_keep_their_order() {
    let (room, proxy) = room();
    let (mark, prompt) = room.mark();
    let id = room.api.begin("counter", &prompt);
    room.api.wait_text(&id, "holding");
    proxy.cut(true);
    let reply = room.api.stop_with(&id, "", json!({})).expect(202);
    assert_eq!(reply["status"], "stopping", "{reply:#}");
    let run = room.api.prompt_with(&id, "after", json!({"resume": true})).expect(202);
    assert_eq!(run["held"], false, "{run:#}");
    assert!(!procs::holding(&mark).is_empty(), "nobody has told it");
    assert_eq!(room.api.session(&id)["epoch"], 1, "and nothing is beside it");
    proxy.cut(false);
    assert_eq!(room.api.wait_run(&id, &run["id"])["status"], "completed");
    assert!(procs::holding(&mark).is_empty());
    assert_eq!(room.api.wait_rest(&id)["epoch"], 2);
    room.api.check(&id);
}

#[test]
fn p1_a_receipt_does_not_wait_for_the_journal() {
    let (room, proxy) = room();
    let id = room.api.begin("ticker", "go");
    room.api.wait_text(&id, "tick 10\n");
    proxy.rule(|call, _| if call == "records" { Fate::Lose } else { Fate::Pass });
    let reply = room.api.stop_with(&id, "30s", json!({"grace_ms": 2000})).expect(200);
    assert_eq!(reply["receipt"]["survivors"], 0, "{reply:#}");
    let before = room.api.log(&id);
    // What it said until its end comes later, and changes no state.
    proxy.rule(|_, _| Fate::Pass);
    let seq = before.len() as u64 + 1;
    let late = room.api.wait_event(&id, seq, "message");
    assert_eq!(late["data"]["late"], true, "{late:#}");
    let run = room.api.prompt(&id, "again");
    room.api.wait_session(&id, "the next epoch", |s| s["epoch"] == 2 && s["status"] == "running");
    room.api.stop(&id);
    assert_eq!(room.api.run(&run["id"])["status"], "stopped");
    let log = room.api.check(&id);
    assert_eq!(log[..before.len()], before[..], "nothing is rewritten");
    let first = log.iter().filter(|event| event["run"] == before_run(&before)).cloned();
    let heard = ticks(&said(&first.collect::<Vec<_>>()));
    whole(&heard, heard.len() as u64);
}

/// The first run of a log.
fn before_run(log: &[Value]) -> Value {
    let queued = log.iter().find(|event| event["type"] == "run.queued");
    queued.expect("a run")["run"].clone()
}

#[test]
fn p6_an_assignment_is_small_whatever_it_is_about() {
    let (room, proxy) = room();
    let big = agents::with(
        agents::sh("cat > /dev/null; echo done; while :; do sleep 1; done", &[]),
        json!({"env": {"LONG": "x".repeat(20_000)}, "description": "y".repeat(900)}),
    );
    room.write_agent("big", big);
    room.served("big");
    let session = room.api.create("big", json!({
        "prompt": "p".repeat(1 << 20), "title": "t".repeat(200), "labels": {"a": "l".repeat(200)},
    }));
    let id = id_of(&session);
    room.api.wait_text(&id, "done");
    room.api.stop_with(&id, "30s", json!({"reason": "r".repeat(2000)})).expect(200);
    let mut orders = 0;
    for poll in proxy.passed().iter().filter(|one| one.call == "sync") {
        let reply: Value = serde_json::from_slice(poll.body()).expect("JSON");
        for assignment in reply["assignments"].as_array().into_iter().flatten() {
            orders += 1;
            assert!(assignment.to_string().len() <= 1024, "{assignment:#}");
        }
    }
    assert!(orders >= 2, "up and down were told");
}
