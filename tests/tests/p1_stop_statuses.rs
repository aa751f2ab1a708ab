//! P1: a stop is legal in every status, idempotent, and says what it found.

use std::time::Duration;

use greenroom_tests::invariants::proves;
use greenroom_tests::session::id_of;
use greenroom_tests::{Greenroom, agents, json, procs};

#[test]
fn p1_stop_of_new_and_queued_needs_no_runner() {
    let elsewhere = json!({"command": ["/bin/cat"], "runner": {"labels": {"zone": "nowhere"}}});
    let room = Greenroom::up().agent("echo", agents::echo()).agent("elsewhere", elsewhere).start();

    let id = id_of(&room.api.create("echo", json!({})));
    assert_eq!(room.api.status(&id), "new");
    let reply = room.api.stop_with(&id, "", json!({})).expect(200);
    assert_eq!(reply["status"], "stopped", "{reply:#}");
    assert_eq!(reply["already_stopped"], false, "{reply:#}");
    assert_eq!(reply["receipt"]["processes_seen"], 0);
    assert!(proves(&reply["receipt"], "never_placed"), "{reply:#}");

    let id = room.api.begin("elsewhere", "go");
    let session = room.api.wait_session(&id, "a reason", |s| !s["status_reason"].is_null());
    assert_eq!(session["status"], "queued", "{session:#}");
    assert_eq!(session["status_reason"], "no_runner", "{session:#}");
    let second = room.api.prompt(&id, "later");
    let reply = room.api.stop_with(&id, "", json!({})).expect(200);
    assert_eq!(reply["status"], "stopped", "{reply:#}");
    assert_eq!(reply["receipt"]["processes_seen"], 0);
    assert!(proves(&reply["receipt"], "never_placed"), "{reply:#}");
    assert_eq!(room.api.run(&reply["run_id"])["status"], "stopped");
    assert_eq!(room.api.run(&second["id"])["status"], "queued", "what is behind waits");
    assert_eq!(room.api.session(&id)["hold"], true);
    room.api.check(&id);
}

#[test]
fn p1_stop_of_a_session_that_waits_for_a_place() {
    let room = Greenroom::up().agent("holder", agents::holder()).slots(1).start();
    let (_, first) = room.mark();
    let (mark, second) = room.mark();
    let busy = room.api.begin("holder", &first);
    room.api.wait_status(&busy, "running");
    let id = room.api.begin("holder", &second);
    let session = room.api.wait_session(&id, "a reason", |s| !s["status_reason"].is_null());
    assert_eq!(session["status"], "queued");
    assert_eq!(session["status_reason"], "runners_full", "{session:#}");
    let reply = room.api.stop_with(&id, "", json!({})).expect(200);
    assert_eq!(reply["status"], "stopped", "{reply:#}");
    // The place becomes free, and the stopped one does not take it.
    room.api.stop(&busy);
    let third = room.api.begin("holder", &first);
    room.api.wait_text(&third, "holding");
    assert_eq!(room.api.status(&id), "stopped");
    assert!(procs::holding(&mark).is_empty());
}

#[test]
fn p1_stop_while_it_is_starting() {
    let room = Greenroom::up()
        .agent("holder", agents::holder())
        .env("FAILPOINTS", "runner_after_spec=1*sleep(1500)")
        .start();
    let (mark, prompt) = room.mark();
    let id = room.api.begin("holder", &prompt);
    let session = room.api.wait_session(&id, "a compute", |s| s["epoch"] == 1);
    assert_eq!(session["status"], "starting", "{session:#}");
    let reply = room.api.stop(&id);
    assert_eq!(reply["status"], "stopped", "{reply:#}");
    assert_eq!(reply["receipt"]["survivors"], 0);
    assert!(procs::holding(&mark).is_empty());
    room.api.check(&id);
}

#[test]
fn p1_stop_while_running_answers_202_until_it_is_proven() {
    let room = Greenroom::up().agent("stubborn", agents::stubborn()).start();
    let (mark, prompt) = room.mark();
    let id = room.api.begin("stubborn", &prompt);
    room.api.wait_text(&id, "holding");

    let reply = room.api.stop_with(&id, "", json!({"grace_ms": 60_000})).expect(202);
    assert_eq!(reply["status"], "stopping", "{reply:#}");
    assert!(reply["receipt"].is_null(), "no proof yet: {reply:#}");
    let reply = room.api.stop_with(&id, "100ms", json!({"grace_ms": 60_000})).expect(202);
    assert_eq!(reply["status"], "stopping", "it ran out: {reply:#}");
    assert_eq!(procs::holding(&mark).len(), 1, "a minute of grace is a minute");

    // Another can only shorten it, and there is one receipt for all of them.
    let reply = room.api.stop_with(&id, "30s", json!({"grace_ms": 0})).expect(200);
    assert_eq!(reply["status"], "stopped", "{reply:#}");
    assert!(procs::holding(&mark).is_empty());
    let log = room.api.check(&id);
    let receipts = log.iter().filter(|event| event["type"] == "session.stopped").count();
    assert_eq!(receipts, 1);
}

#[test]
fn p1_a_longer_grace_does_not_lengthen_a_stop() {
    let room = Greenroom::up().agent("stubborn", agents::stubborn()).start();
    let (_, prompt) = room.mark();
    let id = room.api.begin("stubborn", &prompt);
    room.api.wait_text(&id, "holding");
    room.api.stop_with(&id, "", json!({"grace_ms": 1500})).expect(202);
    let reply = room.api.stop_with(&id, "30s", json!({"grace_ms": 50_000})).expect(200);
    assert!(reply["receipt"]["duration_ms"].as_u64() < Some(6000), "{reply:#}");
}

#[test]
fn p1_stop_at_rest_says_so_and_holds_what_waits() {
    let room = Greenroom::up()
        .agent("echo", agents::echo())
        .agent("fails", agents::sh("exit 1", &[]))
        .agent("holder", agents::holder())
        .start();
    let finished = room.api.begin("echo", "hello");
    room.api.wait_status(&finished, "finished");
    let failed = room.api.begin("fails", "go");
    room.api.wait_status(&failed, "failed");
    let (_, prompt) = room.mark();
    let stopped = room.api.begin("holder", &prompt);
    room.api.wait_text(&stopped, "holding");
    room.api.stop(&stopped);
    for (id, status) in [(&finished, "finished"), (&failed, "failed"), (&stopped, "stopped")] {
        for wait in ["", "5s"] {
            let reply = room.api.stop_with(id, wait, json!({})).expect(200);
            assert_eq!(reply["already_stopped"], true, "{reply:#}");
            assert_eq!(reply["status"], status, "{reply:#}");
            assert_eq!(reply["session_id"], id.as_str());
            assert_eq!(reply["receipt"]["survivors"], 0, "{reply:#}");
        }
        room.api.check(id);
    }
    room.api.stop_with("never-was", "", json!({})).refused(404);
}

#[test]
fn p1_stop_of_an_idle_persistent_agent() {
    let room = Greenroom::up().agent("loop", agents::persistent()).start();
    let session = room.api.create("loop", json!({"prompt": "hello"}));
    let id = id_of(&session);
    room.api.wait_status(&id, "idle");
    let reply = room.api.stop(&id);
    assert_eq!(reply["status"], "stopped");
    assert_eq!(reply["receipt"]["survivors"], 0);
    assert_eq!(room.api.run(&session["run_id"])["status"], "completed", "its answer stays");
    room.api.check(&id);
}

#[test]
fn p1_an_unreachable_runner_and_the_way_out() {
    let mut room = Greenroom::serve().agent("holder", agents::holder()).runner("one").start();
    let (mark, prompt) = room.mark();
    let id = room.api.begin("holder", &prompt);
    room.api.wait_text(&id, "holding");
    room.kill9_runner("one");
    let session = room.api.wait_status(&id, "unreachable");
    assert_eq!(procs::holding(&mark).len(), 1, "it lives on without its runner: {session:#}");

    // Nothing is known, so nothing is claimed.
    let reply = room.api.stop_with(&id, "500ms", json!({"grace_ms": 0})).expect(202);
    assert_eq!(reply["status"], "stopping", "{reply:#}");
    let reply = room.api.wait_status(&id, "stop_unconfirmed");
    assert!(reply["receipt"].is_null(), "{reply:#}");
    assert_eq!(procs::holding(&mark).len(), 1);

    // The wish stays: the runner comes back and carries it out.
    room.restart_runner("one");
    let session = room.api.wait_status(&id, "stopped");
    assert_eq!(session["receipt"]["survivors"], 0, "{session:#}");
    assert!(procs::holding(&mark).is_empty());
    room.api.check(&id);
}

#[test]
fn p1_abandon_is_a_persons_word_and_says_so() {
    let mut room = Greenroom::serve().agent("holder", agents::holder()).runner("one").start();
    let (mark, prompt) = room.mark();
    let id = room.api.begin("holder", &prompt);
    room.api.wait_text(&id, "holding");
    let path = format!("/v1/sessions/{id}/abandon");
    room.api.post(&path, json!({"reason": "no need"})).problem(409, "nothing_to_abandon");
    room.kill9_runner("one");
    room.api.wait_status(&id, "unreachable");
    room.api.post(&path, json!({"reason": "the machine burnt down"})).granted();
    let session = room.api.wait_status(&id, "interrupted");
    let receipt = &session["receipt"];
    assert!(proves(receipt, "none"), "a word is no proof: {receipt:#}");
    assert!(!receipt["asserted_by"].is_null(), "{receipt:#}");
    assert_eq!(procs::holding(&mark).len(), 1, "it is alive all the same");

    // It was not burnt at all. The late return is told to end.
    room.restart_runner("one");
    let late = room.api.wait_event(&id, 1, "session.late_receipt");
    assert_eq!(late["data"]["receipt"]["survivors"], 0, "{late:#}");
    assert!(procs::holding(&mark).is_empty());
}

#[test]
fn p1_what_was_abandoned_and_deleted_ends_when_its_runner_returns() {
    let mut room = Greenroom::serve().agent("holder", agents::holder()).runner("one").start();
    let (mark, prompt) = room.mark();
    let id = room.api.begin("holder", &prompt);
    room.api.wait_text(&id, "holding");
    room.kill9_runner("one");
    room.api.wait_status(&id, "unreachable");
    let path = format!("/v1/sessions/{id}");
    room.api.post(&format!("{path}/abandon"), json!({"reason": "it burnt"})).granted();
    room.api.wait_status(&id, "interrupted");
    room.api.request("DELETE", &format!("{path}?wait=1ms")).send().expect(202);
    assert_eq!(room.api.status(&id), "deleting");
    assert_eq!(procs::holding(&mark).len(), 1, "it is alive all the same");

    room.restart_runner("one");
    let gone = room.api.request("DELETE", &path).within(Duration::from_secs(40)).send();
    assert_eq!(gone.status, 204, "{}", gone.text());
    room.api.get(&path).refused(404);
    assert!(procs::holding(&mark).is_empty());
}

#[test]
fn p1_stop_while_it_is_being_deleted() {
    let room = Greenroom::up().agent("stubborn", agents::stubborn()).start();
    let (mark, prompt) = room.mark();
    let id = room.api.begin("stubborn", &prompt);
    room.api.wait_text(&id, "holding");
    let path = format!("/v1/sessions/{id}");
    room.api.request("DELETE", &format!("{path}?wait=1ms")).send().expect(202);
    assert_eq!(room.api.status(&id), "deleting");
    let reply = room.api.stop_with(&id, "", json!({"grace_ms": 0}));
    assert!(matches!(reply.status, 200 | 202), "{}", reply.text());
    let gone = room.api.request("DELETE", &path).within(Duration::from_secs(40)).send();
    assert_eq!(gone.status, 204, "{}", gone.text());
    room.api.get(&path).refused(404);
    room.api.delete(&path).refused(404);
    assert!(procs::holding(&mark).is_empty());
}
