//! Sessions through the API: the way of a prompt, idempotency, lists, stops, removal.

mod support;

use greenroom_core::receipt::EndReason;
use greenroom_core::record::Outcome;
use greenroom_core::{Order, RecordBody, Status};
use greenroom_protocol::link::{ObservedCompute, ObservedState};
use reqwest::Method;
use serde_json::{Value, json};
use support::*;

#[tokio::test]
async fn a_prompt_goes_to_its_runner_and_its_answer_comes_back() {
    let room = Room::open().await;
    let mut runner = room.runner().await;
    let made = room.create(json!({"agent": "shell", "prompt": "echo hi", "id": "one"})).await;
    assert_eq!(made["status"], "starting");
    assert_eq!(made["run_status"], "dispatched");
    let uid = uid(&made);
    let (epoch, run) = runner.wait_run(uid).await;
    let body = runner.get(&format!("/v1/link/runs/{run}")).await.expect(200);
    assert_eq!(body["prompt"], "echo hi");
    let compute = runner.get(&format!("/v1/link/computes/{uid}/{epoch}")).await.expect(200);
    assert_eq!(compute["session"], "one");
    assert!(compute["env"]["GREENROOM_TOKEN"].as_str().expect("a token").starts_with("gra_"));
    runner.complete(uid, epoch, run, "hi\n").await;
    let session = room.wait_status("one", "finished").await;
    assert_eq!(session["receipt"]["survivors"], 0);
    let run = room.get(&format!("/v1/runs/{run}")).await.expect(200);
    assert_eq!(run["status"], "completed");
    let seqs: Vec<u64> =
        room.events("one").await.iter().map(|e| e["seq"].as_u64().expect("seq")).collect();
    assert_eq!(seqs, (1..=session["last_seq"].as_u64().expect("seq")).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_repeated_key_answers_the_same_also_after_a_restart() {
    let room = Room::open().await;
    let ask = async |room: &Room, key: &str, body: Value| {
        send(room.request(Method::POST, "/v1/sessions").header("idempotency-key", key).json(&body))
            .await
    };
    let body = json!({"agent": "shell", "prompt": "x"});
    let first = ask(&room, "k1", body.clone()).await.expect(201);
    assert_eq!(ask(&room, "k1", body.clone()).await.expect(201), first);
    let other = json!({"agent": "shell", "prompt": "y"});
    assert_eq!(ask(&room, "k1", other.clone()).await.refused(409), "idempotency_conflict");
    assert_ne!(ask(&room, "k2", body.clone()).await.expect(201)["id"], first["id"]);
    // The key of somebody else is another key.
    let theirs = room.new_token("operator", "eve").await;
    let request = room.http.post(room.url("/v1/sessions")).bearer_auth(&theirs);
    let stranger = send(request.header("idempotency-key", "k1").json(&other)).await.expect(201);
    assert_eq!(stranger["owner"], "eve");
    let room = room.restart().await;
    assert_eq!(ask(&room, "k1", body).await.expect(201), first);
    // The same for runs.
    let path = format!("/v1/sessions/{}/runs", first["id"].as_str().expect("an id"));
    let prompt = async |body: Value| {
        send(room.request(Method::POST, &path).header("idempotency-key", "k1").json(&body)).await
    };
    let run = prompt(json!({"prompt": "again"})).await.expect(202);
    assert_eq!(prompt(json!({"prompt": "again"})).await.expect(202), run);
    assert_eq!(prompt(json!({"prompt": "other"})).await.refused(409), "idempotency_conflict");
}

#[tokio::test]
async fn what_does_not_parse_says_where() {
    let room = Room::open().await;
    for (body, path) in [
        (json!({}), "/"),
        (json!({"agent": "shell", "id": "-bad"}), "/id"),
        (json!({"agent": "shell", "limits": {"idle_ms": "5s"}}), "/limits/idle_ms"),
        (json!({"agent": "shell", "limits": {"ttl_ms": u64::MAX}}), "/limits/ttl_ms"),
        (json!({"agent": "shell", "prompt": "a", "input": {}}), "/prompt"),
        (json!({"agent": "shell", "colour": "red"}), "/colour"),
        (json!({"agent": "shell", "labels": {"a=b": "c"}}), "/labels"),
    ] {
        let answer = room.post("/v1/sessions", body.clone()).await;
        assert_eq!(answer.body["path"], path, "{body}");
        assert_eq!(answer.refused(422), "invalid");
    }
    let not_json = room.request(Method::POST, "/v1/sessions").body("{nonsense");
    assert_eq!(send(not_json).await.refused(422), "invalid");
    assert_eq!(
        room.post("/v1/sessions", json!({"agent": "nobody"})).await.refused(404),
        "agent_not_found"
    );
    for query in [
        "limit=0",
        "limit=x",
        "limit=-1",
        "status=happy",
        "cursor=junk",
        "sort=up",
        "label=x",
        "label=%3Dx",
        "runner=x",
    ] {
        let answer = room.get(&format!("/v1/sessions?{query}")).await;
        assert_eq!(answer.body["path"], query.split('=').next().expect("a name"), "{query}");
        answer.refused(422);
    }
    let large = vec![b' '; 5 << 20];
    assert_eq!(
        send(room.request(Method::POST, "/v1/sessions").body(large)).await.refused(413),
        "too_large"
    );
    assert_eq!(room.get("/v1/nothing").await.refused(404), "route_not_found");
    let wrong = send(room.request(Method::PUT, "/v1/sessions")).await;
    assert!(wrong.headers.contains_key("allow"));
    assert_eq!(wrong.refused(405), "method_not_allowed");
    for odd in ["a%2Fb", "..%2F..", "%FF", "a%00b"] {
        room.get(&format!("/v1/sessions/{odd}")).await.refused(404);
    }
}

#[tokio::test]
async fn lists_filter_and_page() {
    let room = Room::open().await;
    for n in 0..5 {
        let colour = if n % 2 == 0 { "red" } else { "blue" };
        room.create(json!({"agent": "shell", "id": format!("s{n}"), "labels": {"colour": colour, "n": n.to_string()}, "title": format!("number {n}")})).await;
    }
    let ids = async |query: &str| {
        let page = room.get(&format!("/v1/sessions?{query}")).await.expect(200);
        let items = page["items"].as_array().expect("items").clone();
        items.iter().map(|s| s["id"].as_str().expect("an id").to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(ids("").await, ["s4", "s3", "s2", "s1", "s0"]);
    assert_eq!(ids("sort=id").await, ["s0", "s1", "s2", "s3", "s4"]);
    assert_eq!(ids("label=colour%3Dblue").await, ["s3", "s1"]);
    assert_eq!(ids("label=colour=red&label=n=2").await, ["s2"]);
    assert_eq!(ids("q=number+3").await, ["s3"]);
    assert_eq!(ids("status=new,running&limit=99999").await.len(), 5);
    assert_eq!(ids("status=running").await.len(), 0);
    assert_eq!(ids("parent=s0").await.len(), 0);
    room.create(json!({"agent": "shell", "id": "below", "parent": "s0"})).await;
    assert_eq!(ids("parent=s0").await, ["below"]);
    assert_eq!(ids("roots=true").await, ["s4", "s3", "s2", "s1", "s0"]);
    room.delete("/v1/sessions/s0?wait=5s").await.expect(204);
    assert_eq!(ids("roots=true").await, ["below", "s4", "s3", "s2", "s1"]);
    room.delete("/v1/sessions/below?wait=5s").await.expect(204);
    room.create(json!({"agent": "shell", "id": "s0"})).await;
    let mut seen = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = room.get(&format!("/v1/sessions?limit=2&cursor={cursor}")).await.expect(200);
        seen.extend(page["items"].as_array().expect("items").iter().map(|s| s["id"].clone()));
        match page["next_cursor"].as_str() {
            Some(next) => cursor = next.to_owned(),
            None => break,
        }
    }
    assert_eq!(seen.len(), 5);
}

#[tokio::test]
async fn a_stop_is_answered_with_its_receipt() {
    let room = Room::open().await;
    // Never placed.
    room.create(json!({"agent": "shell", "id": "new"})).await;
    let reply = room.post("/v1/sessions/new/stop", json!({})).await.expect(200);
    assert_eq!((&reply["status"], &reply["already_stopped"]), (&json!("stopped"), &json!(false)));
    assert_eq!(reply["receipt"]["proof"][0]["means"], "never_placed");
    let again = room.post("/v1/sessions/new/stop", json!({})).await.expect(200);
    assert_eq!(again["already_stopped"], true);
    // With a compute.
    let mut runner = room.runner().await;
    let made = room.create(json!({"agent": "shell", "id": "live", "prompt": "sleep"})).await;
    let uid = uid(&made);
    let (epoch, run) = runner.wait_run(uid).await;
    runner.tell(uid, epoch, vec![RecordBody::Ready, RecordBody::RunStarted { run }]).await;
    room.post("/v1/sessions/live/runs", json!({"prompt": "behind"})).await.expect(202);
    let no_wait = room.post("/v1/sessions/live/stop", json!({"grace_ms": 100})).await.expect(202);
    assert_eq!(no_wait["status"], "stopping");
    assert_eq!(no_wait["run_id"], json!(run));
    let short = room.post("/v1/sessions/live/stop?wait=10ms", json!({})).await.expect(202);
    assert_eq!(short["receipt"], Value::Null);
    let down = runner.wait_for(uid, |order| matches!(order, Order::Down { .. })).await;
    let Order::Down { stop } = down.order else { unreachable!("chosen above") };
    assert_eq!(stop.grace_ms, ms(100));
    let request = room.request(Method::POST, "/v1/sessions/live/stop?wait=20s");
    let waiting = tokio::spawn(send(request.json(&json!({"grace_ms": 50}))));
    // A shorter grace is news, so the log says when it is there.
    eventually(async || {
        let types = room.types("live").await;
        types.iter().any(|kind| kind == "session.stop_joined").then_some(())
    })
    .await;
    let receipt = RecordBody::Receipt { receipt: Box::new(receipt(epoch, EndReason::User)) };
    runner.tell(uid, epoch, vec![receipt]).await;
    let reply = waiting.await.expect("an answer").expect(200);
    assert_eq!((&reply["status"], &reply["already_stopped"]), (&json!("stopped"), &json!(false)));
    assert_eq!(reply["receipt"]["epoch"], 1);
    let session = room.get("/v1/sessions/live").await.expect(200);
    assert_eq!((&session["hold"], &session["pending"]["runs"]), (&json!(true), &json!(1)));
    let held = room.post("/v1/sessions/live/resume", json!({})).await.expect(200);
    assert_eq!(held["hold"], false);
    let (second, _) = runner.wait_run(uid).await;
    assert_eq!(second.0, 2);
    assert_eq!(
        room.post("/v1/sessions/live/resume", json!({})).await.refused(409),
        "nothing_to_resume"
    );
}

#[tokio::test]
async fn a_receipt_may_overtake_its_journal() {
    let room = Room::open().await;
    let mut runner = room.runner().await;
    let made = room.create(json!({"agent": "shell", "id": "s", "prompt": "x"})).await;
    let uid = uid(&made);
    let (epoch, run) = runner.wait_run(uid).await;
    runner.tell(uid, epoch, vec![RecordBody::Ready, RecordBody::RunStarted { run }]).await;
    room.post("/v1/sessions/s/stop", json!({})).await.expect(202);
    let state = ObservedState::Closed { receipt: Box::new(receipt(epoch, EndReason::User)) };
    let generation = greenroom_core::Generation(9);
    let seen = ObservedCompute { uid, epoch, generation, state, first_index: Some(1) };
    let reply = runner.sync_with(|request| request.computes = vec![seen.clone()]).await;
    assert_eq!(reply.marks.iter().map(|mark| mark.index).max(), Some(2));
    room.wait_status("s", "stopped").await;
    // The journal's own copy, and a repetition, change nothing; the tail is kept as late.
    let before = room.types("s").await.len();
    runner.sync_with(|request| request.computes = vec![seen]).await;
    let tail = vec![
        message(run, "tail"),
        RecordBody::Receipt { receipt: Box::new(receipt(epoch, EndReason::User)) },
    ];
    runner.tell(uid, epoch, tail).await;
    let events = room.events("s").await;
    assert_eq!(events.len(), before + 1);
    assert_eq!(events.last().expect("an event")["data"]["late"], true);
}

#[tokio::test]
async fn runs_are_stopped_and_withdrawn() {
    let room = Room::open().await;
    let mut runner = room.runner().await;
    let made = room.create(json!({"agent": "shell", "id": "s", "prompt": "first"})).await;
    let uid = uid(&made);
    let (epoch, first) = runner.wait_run(uid).await;
    let prompt = async |body: Value| room.post("/v1/sessions/s/runs", body).await;
    let second = prompt(json!({"prompt": "second"})).await.expect(202);
    let third = prompt(json!({"prompt": "third"})).await.expect(202);
    assert_eq!(
        (&second["ahead"], &third["ahead"], &third["held"]),
        (&json!(1), &json!(2), &json!(false))
    );
    assert_eq!(prompt(json!({"prompt": "x", "mode": "reject"})).await.refused(409), "session_busy");
    let steer = prompt(json!({"prompt": "x", "mode": "steer"})).await;
    assert_eq!(steer.refused(409), "steer_unsupported");
    assert_eq!(prompt(json!({})).await.refused(422), "invalid");
    assert_eq!(prompt(json!({"prompt": "x", "callback": true})).await.refused(409), "no_parent");
    let run =
        |run: &Value, verb: &str| format!("/v1/runs/{}/{verb}", run["id"].as_str().expect("an id"));
    assert_eq!(
        room.post(&run(&second, "withdraw"), json!({})).await.expect(200)["status"],
        "withdrawn"
    );
    assert_eq!(
        room.post(&run(&second, "withdraw"), json!({})).await.expect(200)["status"],
        "withdrawn"
    );
    assert_eq!(
        room.post(&format!("/v1/runs/{first}/withdraw"), json!({})).await.refused(409),
        "run_started"
    );
    let stopping = room.post(&format!("/v1/runs/{first}/stop"), json!({})).await.expect(202);
    assert_eq!(stopping["status"], "dispatched");
    runner.wait_for(uid, |order| matches!(order, Order::Down { .. })).await;
    runner
        .tell(
            uid,
            epoch,
            vec![RecordBody::Receipt { receipt: Box::new(receipt(epoch, EndReason::User)) }],
        )
        .await;
    assert_eq!(
        room.post(&format!("/v1/runs/{first}/stop?wait=5s"), json!({})).await.expect(200)["status"],
        "stopped"
    );
    // The queue goes on by itself.
    let (_, next) = runner.wait_run(uid).await;
    assert_eq!(json!(next), third["id"]);
    assert_eq!(
        room.post(&format!("/v1/runs/{first}/withdraw"), json!({})).await.refused(409),
        "run_started"
    );
    let list = room.get("/v1/sessions/s/runs").await.expect(200);
    assert_eq!(list["items"].as_array().map(Vec::len), Some(3));
    assert_eq!(room.get("/v1/runs/nonsense").await.refused(404), "run_not_found");
}

#[tokio::test]
async fn a_session_is_removed_everywhere() {
    let room = Room::open().await;
    assert_eq!(room.delete("/v1/sessions/never").await.refused(404), "session_not_found");
    room.create(json!({"agent": "shell", "id": "idle"})).await;
    room.delete("/v1/sessions/idle").await.expect(204);
    room.get("/v1/sessions/idle").await.refused(404);
    let mut runner = room.runner().await;
    let made = room.create(json!({"agent": "shell", "id": "live", "prompt": "x"})).await;
    let uid = uid(&made);
    let (epoch, _) = runner.wait_run(uid).await;
    assert_eq!(room.delete("/v1/sessions/live?wait=10ms").await.status, 202);
    assert_eq!(room.get("/v1/sessions/live").await.expect(200)["status"], "deleting");
    assert_eq!(
        room.post("/v1/sessions/live/runs", json!({"prompt": "x"})).await.refused(409),
        "session_deleting"
    );
    let waiting = tokio::spawn(send(room.request(Method::DELETE, "/v1/sessions/live")));
    runner.wait_for(uid, |order| matches!(order, Order::Down { .. })).await;
    runner
        .tell(
            uid,
            epoch,
            vec![RecordBody::Receipt { receipt: Box::new(receipt(epoch, EndReason::Deleted)) }],
        )
        .await;
    runner.wait_for(uid, |order| matches!(order, Order::Gone { .. })).await;
    runner.sync_with(|request| request.removed = vec![uid]).await;
    waiting.await.expect("an answer").expect(204);
    room.delete("/v1/sessions/live").await.refused(404);
    // The name is free again.
    room.create(json!({"agent": "shell", "id": "live"})).await;
}

#[tokio::test]
async fn a_result_that_does_not_fit_is_a_failure() {
    let room = Room::open().await;
    let file = room.folder.path().join("typed.yaml");
    let text = "name: typed\ndriver: command\ncommand: [x]\nstdout: jsonl\ninput_schema: {type: object, required: [n]}\noutput_schema: {type: object, required: [answer]}\n";
    std::fs::write(&file, text).expect("a file");
    room.post("/v1/agents", json!({"source": file})).await.expect(201);
    let bad = room.post("/v1/sessions", json!({"agent": "typed", "input": {"m": 1}})).await;
    assert_eq!(bad.body["path"], "/input");
    bad.refused(422);
    let mut runner = room.runner().await;
    for (result, status) in
        [(json!({"answer": 1}), "completed"), (json!({"question": 1}), "failed")]
    {
        let made = room.create(json!({"agent": "typed", "input": {"n": 1}})).await;
        let uid = uid(&made);
        let (epoch, run) = runner.wait_run(uid).await;
        runner
            .tell(
                uid,
                epoch,
                vec![
                    RecordBody::RunStarted { run },
                    RecordBody::RunEnded {
                        run,
                        outcome: Outcome::Completed { result: Some(result) },
                    },
                ],
            )
            .await;
        let run = room.get(&format!("/v1/runs/{run}")).await.expect(200);
        assert_eq!(run["status"], status);
        if status == "failed" {
            assert_eq!(run["error"]["code"], "output_schema");
        }
    }
}

#[tokio::test]
async fn a_tree_is_stopped_from_the_top() {
    let room = Room::open().await;
    room.create(json!({"agent": "shell", "id": "top"})).await;
    room.create(json!({"agent": "shell", "id": "mid", "parent": "top"})).await;
    room.create(json!({"agent": "shell", "id": "low", "parent": "mid", "callback": true})).await;
    room.post("/v1/sessions/top/stop", json!({"tree": true})).await.expect(200);
    for id in ["top", "mid", "low"] {
        assert_eq!(room.get(&format!("/v1/sessions/{id}")).await.expect(200)["status"], "stopped");
    }
    let late = room.post("/v1/sessions", json!({"agent": "shell", "parent": "mid"})).await;
    assert_eq!(late.refused(409), "parent_stopping");
    let mut parent = "deep0".to_owned();
    room.create(json!({"agent": "shell", "id": parent})).await;
    for depth in 1..=8 {
        let id = format!("deep{depth}");
        room.create(json!({"agent": "shell", "id": id, "parent": parent})).await;
        parent = id;
    }
    let ninth = room.post("/v1/sessions", json!({"agent": "shell", "parent": parent})).await;
    assert_eq!(ninth.refused(409), "tree_too_deep");
}

#[tokio::test]
async fn completions_reach_the_parent_once() {
    let room = Room::open().await;
    let mut runner = room.runner().await;
    let parent = room.create(json!({"agent": "shell", "id": "parent"})).await;
    let child = room.create(json!({"agent": "shell", "id": "child", "parent": "parent", "callback": true, "prompt": "x"})).await;
    let (epoch, run) = runner.wait_run(uid(&child)).await;
    runner.complete(uid(&child), epoch, run, "the answer").await;
    let (_, news) = runner.wait_run(uid(&parent)).await;
    let body = runner.get(&format!("/v1/link/runs/{news}")).await.expect(200);
    assert!(body["prompt"].as_str().expect("a prompt").contains("the answer"), "{body}");
    let told = room.types("parent").await.iter().filter(|kind| *kind == "child.completed").count();
    assert_eq!(told, 1);
}

#[tokio::test]
async fn an_idle_compute_is_stopped_and_an_old_session_expires() {
    let room = Room::open().await;
    let mut runner = room.runner().await;
    let file = room.folder.path().join("warm.yaml");
    let text = "name: warm\ndriver: command\ncommand: [x]\nstdout: jsonl\nlifecycle: persistent\n";
    std::fs::write(&file, text).expect("a file");
    room.post("/v1/agents", json!({"source": file})).await.expect(201);
    let made = room.create(json!({"agent": "warm", "id": "w", "limits": {"idle_ms": 50}})).await;
    room.post("/v1/sessions/w/resume", json!({})).await.expect(200);
    let up = runner.wait_for(uid(&made), |order| matches!(order, Order::Up { .. })).await;
    runner.tell(uid(&made), up.epoch, vec![RecordBody::Ready]).await;
    let down = runner.wait_for(uid(&made), |order| matches!(order, Order::Down { .. })).await;
    runner
        .tell(
            uid(&made),
            down.epoch,
            vec![RecordBody::Receipt { receipt: Box::new(receipt(down.epoch, EndReason::Idle)) }],
        )
        .await;
    let session = room.wait_status("w", Status::Stopped.as_str()).await;
    assert_eq!((&session["status_reason"], &session["hold"]), (&json!("idle"), &json!(false)));
    room.create(json!({"agent": "shell", "id": "old", "limits": {"ttl_ms": 1}})).await;
    let old = room.wait_status("old", "stopped").await;
    assert_eq!(old["status_reason"], "expired");
    let list = room.get("/v1/sessions?q=old").await.expect(200);
    assert_eq!(list["items"], json!([]));
}

#[tokio::test]
async fn whole_numbers_may_be_written_with_a_point() {
    let room = Room::open().await;
    let body = r#"{"agent": "shell", "limits": {"run_ms": 5000.0, "pids": 7.0}}"#;
    let made = send(room.request(Method::POST, "/v1/sessions").body(body)).await.expect(201);
    assert_eq!((&made["limits"]["run_ms"], &made["limits"]["pids"]), (&json!(5000), &json!(7)));
    let body = r#"{"agent": "shell", "limits": {"run_ms": 0.5}}"#;
    let refused = send(room.request(Method::POST, "/v1/sessions").body(body)).await;
    assert_eq!(refused.body["path"], "/limits/run_ms");
    refused.refused(422);
}
