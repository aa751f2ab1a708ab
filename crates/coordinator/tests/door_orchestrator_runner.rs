//! The orchestrator's runner joins: its protocol, by a scripted one.

mod orchestrator;
mod support;

use greenroom_coordinator::Door;
use orchestrator::*;
use reqwest::Method;
use serde_json::{Value, json};
use support::*;

#[tokio::test]
async fn a_runner_joins_runs_and_stops() {
    let room = open().await;
    let runner = Runner::register(&room, registration("coder")).await;
    assert!(runner.id.starts_with("lnch_") && runner.id.len() == 17);
    let (id, run) = room.o_start(json!({"project_dir": "/work", "scope": {"k": "v"}})).await;
    assert_eq!(room.o_run(&run).await["status"], "pending");
    let given = runner.wait_run().await;
    assert_eq!((&given["run_id"], &given["session_id"]), (&json!(run), &json!(id)));
    assert_eq!((&given["type"], &given["status"]), (&json!("start_session"), &json!("claimed")));
    assert_eq!(given["parameters"], json!({"prompt": "hello"}));
    assert_eq!(
        (&given["scope"], &given["resolved_agent_blueprint"]),
        (&json!({"k": "v"}), &Value::Null)
    );
    assert_eq!(room.o_run(&run).await["runner_id"], runner.id.as_str());
    assert!(room.o_run(&run).await.get("scope").is_none());
    runner.answers(&given, "hi there", "idle").await;
    let session = room.o_wait(&id, "idle").await;
    assert_eq!(
        (&session["executor_session_id"], &session["hostname"]),
        (&json!("exec-1"), &json!("build-1"))
    );
    let result = room.o_get(&format!("/sessions/{id}/result")).await.expect(200);
    assert_eq!(result, json!({"result_text": "hi there", "result_data": null}));
    assert_eq!(room.o_kinds(&id).await, ["run_start", "message", "result", "run_completed"]);
    let affinity = room.o_get(&format!("/sessions/{id}/affinity")).await.expect(200);
    assert_eq!(affinity["affinity"]["executor_profile"], "coder");

    // It goes on in the process that is there.
    let more =
        json!({"type": "resume_session", "session_id": id, "parameters": {"prompt": "more"}});
    let run = room.o_post("/runs", more).await.expect(201)["run_id"].clone();
    let given = runner.wait_run().await;
    assert_eq!((&given["run_id"], &given["type"]), (&run, &json!("resume_session")));
    runner.started(&given).await;
    let stop = room.o_post(&format!("/sessions/{id}/stop"), json!({})).await.expect(200);
    assert_eq!((&stop["status"], &stop["run_id"]), (&json!("stopping"), &run), "the active run");
    let told = runner.wait("stop_sessions").await;
    assert_eq!(told, json!({"stop_sessions": [id], "stop_runs": [run]}));
    runner.report(&given, "stopped", json!({"signal": "SIGTERM"})).await.expect(200);
    assert_eq!(room.o_session(&id).await["status"], "stopped");
    let v1 = room.get(&format!("/v1/sessions/{id}")).await.expect(200);
    assert_eq!(v1["status"], "stopped", "{v1:#}");
    assert_eq!(v1["receipt"]["proof"][0]["means"], "runner_word");
    assert_eq!(v1["receipt"]["asserted_by"], format!("runner {}", runner.id));
    // What comes late changes nothing.
    runner.report(&given, "stopped", json!({})).await.expect(200);
    runner.report(&given, "completed", json!({})).await.expect(409);
    runner.bind(&given).await.expect(409);
    assert_eq!(room.o_session(&id).await["status"], "stopped");
    // And an end of the process is no end of the session: another one is started for it.
    let more =
        json!({"type": "resume_session", "session_id": id, "parameters": {"prompt": "again"}});
    room.o_post("/runs", more).await.expect(201);
    let given = runner.wait_run().await;
    assert_eq!(given["type"], "start_session");
    runner.answers(&given, "afresh", "finished").await;
    assert_eq!(room.o_session(&id).await["status"], "finished");
}

/// Waits until a poll of this runner has come that was sent after `since`.
async fn is_polling(room: &Room, runner: &Runner, since: std::time::Instant) {
    eventually(async || {
        let all = room.o_get("/runners").await.expect(200)["runners"].clone();
        let all = all.as_array().expect("a list").clone();
        let shown = all.iter().find(|shown| shown["runner_id"] == runner.id)?;
        let ago = shown["seconds_since_heartbeat"].as_f64().expect("seconds");
        (ago < since.elapsed().as_secs_f64()).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_poll_wakes_at_once_for_runs_and_stops() {
    let room = open().await;
    let runner = Runner::register(&room, registration("coder")).await;
    let quick = std::time::Duration::from_secs(8);
    let since = std::time::Instant::now();
    let (given, _) = tokio::join!(runner.wait_run(), async {
        is_polling(&room, &runner, since).await;
        room.o_start(json!({})).await
    });
    assert!(since.elapsed() < quick, "{:?}", since.elapsed());
    runner.started(&given).await;
    let id = given["session_id"].as_str().expect("an id");
    let path = format!("/sessions/{id}/stop");
    let since = std::time::Instant::now();
    let (told, _) = tokio::join!(runner.wait("stop_sessions"), async {
        is_polling(&room, &runner, since).await;
        room.o_post(&path, json!({})).await.expect(200)
    });
    assert_eq!(told["stop_sessions"], json!([id]));
    assert!(since.elapsed() < quick, "{:?}", since.elapsed());
}

#[tokio::test]
async fn what_nobody_has_come_for_is_never_sent() {
    let room = open().await;
    let runner = Runner::register(&room, registration("coder")).await;
    let (id, run) = room.o_start(json!({})).await;
    let stop = room.o_post(&format!("/sessions/{id}/stop"), json!({})).await.expect(200);
    assert_eq!(
        (&stop["status"], &stop["message"]),
        (&json!("stopped"), &json!("Run cancelled before execution"))
    );
    assert_eq!(room.o_run(&run).await["status"], "stopped");
    let v1 = room.get(&format!("/v1/sessions/{id}")).await.expect(200);
    assert_eq!(v1["receipt"]["proof"][0]["means"], "never_started");
    let (next, _) = room.o_start(json!({})).await;
    assert_eq!(runner.wait_run().await["session_id"], next.as_str(), "and not the stopped one");
}

#[tokio::test]
async fn reports_are_checked() {
    let room = open().await;
    let runner = Runner::register(&room, registration("coder")).await;
    let mut other = registration("other");
    other["hostname"] = "build-2".into();
    let other = Runner::register(&room, other).await;
    let (_, run) = room.o_start(json!({"additional_demands": {"executor_profile": "coder"}})).await;
    runner.report(&json!(run), "started", json!({})).await.expect(409);
    let given = runner.wait_run().await;
    let foreign = other.report(&given, "completed", json!({})).await.expect(404);
    assert_eq!(foreign["detail"], "Run not found");
    let nobody = json!({"runner_id": "lnch_000000000000"});
    let refused = runner.post(&format!("/runner/runs/{run}/completed"), nobody).await.expect(401);
    assert_eq!(refused["detail"], "Runner not registered");
    // The end overtakes the beginning.
    runner.report(&given, "completed", json!({"session_status": "idle"})).await.expect(200);
    runner.report(&given, "started", json!({})).await.expect(200);
    assert_eq!(room.o_run(&run).await["status"], "completed");
    runner.report(&given, "failed", json!({"error": "no"})).await.expect(409);
    assert_eq!(
        room.o_session(given["session_id"].as_str().expect("an id")).await["status"],
        "idle"
    );
    // An operator who is somebody else does not speak for it.
    let stranger = room.new_token("operator", "stranger").await;
    let body = json!({"runner_id": runner.id});
    let path = "/orchestrator/runner/heartbeat";
    room.call_as(&stranger, Method::POST, path, Some(body.clone())).await.expect(401);
    room.call_as(&room.token, Method::POST, path, Some(body)).await.expect(200);
    // A failure says why.
    let (id, run) = room.o_start(json!({"additional_demands": {"tags": ["gpu"]}})).await;
    let given = match room.o_run(&run).await["runner_id"].as_str() {
        _ if runner.id.is_empty() => unreachable!("it has a name"),
        _ => {
            tokio::select! { run = runner.wait_run() => (run, &runner), run = other.wait_run() => (run, &other) }
        }
    };
    let (given, by) = given;
    by.started(&given).await;
    by.report(&given, "failed", json!({"error": "exit code 3"})).await.expect(200);
    let failed = room.o_run(&run).await;
    assert_eq!((&failed["status"], &failed["error"]), (&json!("failed"), &json!("exit code 3")));
    assert_eq!(room.o_session(&id).await["status"], "failed");
}

#[tokio::test]
async fn demands_and_tags_decide_who_takes_a_run() {
    let room = open().await;
    let mut ours = room.runner().await;
    let mut tagged = registration("tagged");
    tagged["require_matching_tags"] = true.into();
    let tagged = Runner::register(&room, tagged).await;
    // Asks for no tag: not for a runner that takes only what asks for one of its own; and our
    // own runner cannot run it either.
    let (id, run) = room.o_start(json!({})).await;
    assert_eq!(room.o_run(&run).await["status"], "pending");
    eventually(async || {
        let v1 = room.get(&format!("/v1/sessions/{id}")).await.expect(200);
        assert_eq!(v1["status"], "queued");
        (v1["status_reason"] == "no_runner").then_some(())
    })
    .await;
    let (with, run) = room.o_start(json!({"additional_demands": {"tags": ["gpu"]}})).await;
    assert_eq!(tagged.wait_run().await["session_id"], with.as_str());
    let demands = room.o_run(&run).await["demands"].clone();
    assert_eq!(demands, json!({"executor_type": "autonomous", "tags": ["gpu"]}));
    for demands in [
        json!({"tags": ["gpu", "rust"]}),
        json!({"hostname": "elsewhere"}),
        json!({"executor_profile": "x", "tags": ["gpu"]}),
    ] {
        let (id, _) = room.o_start(json!({"additional_demands": demands})).await;
        let v1 = room.get(&format!("/v1/sessions/{id}")).await.expect(200);
        assert_eq!(v1["status"], "queued", "{v1:#}");
    }
    // A runner of the other system takes none of our agents.
    room.o_start(json!({"agent_name": "shell", "session_id": "ours"})).await;
    let v1 = room.get("/v1/sessions/ours").await.expect(200);
    ours.wait_run(uid(&v1)).await;
    let runners = room.o_get("/runners").await.expect(200)["runners"].clone();
    let shown = runners.as_array().expect("a list").iter().find(|r| r["runner_id"] == tagged.id);
    let shown = shown.expect("it is shown");
    assert_eq!((&shown["status"], &shown["tags"]), (&json!("online"), &json!(["gpu", "python"])));
}

#[tokio::test]
async fn a_runner_leaves_and_nothing_runs_on() {
    let room = open().await;
    let runner = Runner::register(&room, registration("coder")).await;
    let twice = runner.post("/runner/register", registration("coder")).await.expect(409);
    assert_eq!(twice["detail"]["error"], "duplicate_runner");
    assert_eq!(twice["detail"]["runner_id"], runner.id.as_str());
    let (idle, _) = room.o_start(json!({})).await;
    let given = runner.wait_run().await;
    runner.answers(&given, "x", "idle").await;
    let (busy, run) = room.o_start(json!({})).await;
    runner.started(&runner.wait_run().await).await;
    let path = format!("/runners/{}?self=true", runner.id);
    let left = room.o_send(Method::DELETE, &path, json!({})).await.expect(200);
    assert_eq!(
        (&left["message"], &left["initiated_by"]),
        (&json!("Runner deregistered"), &json!("self"))
    );
    assert_eq!(room.o_session(&idle).await["status"], "finished");
    assert_eq!(room.o_session(&busy).await["status"], "failed");
    assert_eq!(room.o_run(&run).await["error"], "Runner deregistered");
    runner.poll().await.expect(401);
    assert_eq!(room.o_get("/runners").await.expect(200), json!({"runners": []}));
    room.o_send(Method::DELETE, &path, json!({})).await.expect(404);

    // It comes back, and an operator lets it go.
    let runner = Runner::register(&room, registration("coder")).await;
    let (id, _) = room.o_start(json!({})).await;
    let given = runner.wait_run().await;
    runner.started(&given).await;
    let path = format!("/runners/{}", runner.id);
    let marked = room.o_send(Method::DELETE, &path, json!({})).await.expect(200);
    assert_eq!(marked["message"], "Runner marked for deregistration");
    runner.wait("deregistered").await;
    assert_eq!(room.o_session(&id).await["status"], "stopping");
    runner.poll().await.expect(401);
    // It is still heard when it says how its sessions have ended.
    runner.report(&given, "stopped", json!({"signal": "SIGKILL"})).await.expect(200);
    assert_eq!(room.o_session(&id).await["status"], "stopped");
}

#[tokio::test]
async fn a_restart_ends_nothing_and_a_new_process_has_nothing() {
    let room = open().await;
    let mut runner = Runner::register(&room, registration("coder")).await;
    let (id, run) = room.o_start(json!({})).await;
    let given = runner.wait_run().await;
    runner.started(&given).await;
    let room = reopen(room).await;
    runner.moves_to(&room);
    let beat = json!({"runner_id": runner.id});
    runner.post("/runner/heartbeat", beat).await.expect(200);
    assert_eq!(room.o_session(&id).await["status"], "running");
    runner.report(&given, "completed", json!({"session_status": "idle"})).await.expect(200);
    assert_eq!(room.o_run(&run).await["status"], "completed");
    assert_eq!(room.o_session(&id).await["status"], "idle");
}

#[tokio::test]
async fn a_join_token_becomes_the_runners_own() {
    let room = open().await;
    let token = room.new_token("runner", "join").await;
    let runner = Runner::register_as(&room, &token, registration("coder")).await;
    let (id, _) = room.o_start(json!({})).await;
    let given = runner.wait_run().await;
    runner.answers(&given, "x", "idle").await;
    assert_eq!(room.o_session(&id).await["status"], "idle");
    // It is worth that one runner, and sees that runner's sessions alone.
    let mut other = registration("other");
    other["hostname"] = "build-2".into();
    runner.post("/runner/register", other).await.expect(403);
    room.call_as(&token, Method::GET, "/orchestrator/sessions", None).await.expect(403);
    room.create(json!({"agent": "shell", "id": "others"})).await;
    room.call_as(&token, Method::GET, "/orchestrator/sessions/others", None).await.expect(404);
    let own = format!("/orchestrator/sessions/{id}");
    room.call_as(&token, Method::GET, &own, None).await.expect(200);
    let asks = json!({"type": "start_session", "parameters": {"prompt": "x"}});
    room.call_as(&token, Method::POST, "/orchestrator/runs", Some(asks)).await.expect(403);
    let child = json!({"type": "start_session", "parameters": {"prompt": "x"},
        "parent_session_id": id});
    let made =
        room.call_as(&token, Method::POST, "/orchestrator/runs", Some(child)).await.expect(201);
    let child = made["session_id"].as_str().expect("an id");
    assert_eq!(room.o_session(child).await["parent_session_id"], id.as_str());
}

/// Whoever sees only their own sessions gets no others by a runner of theirs.
#[tokio::test]
async fn a_runner_of_an_operator_takes_that_operators_sessions() {
    let room = open().await;
    let ada = room.new_token("operator", "ada").await;
    let runner = Runner::register_as(&room, &ada, registration("coder")).await;
    let (others, _) = room.o_start(json!({})).await;
    let asked = json!({"type": "start_session", "parameters": {"prompt": "mine"}});
    let path = "/orchestrator/runs";
    let made = room.call_as(&ada, Method::POST, path, Some(asked)).await.expect(201);
    assert_eq!(runner.wait_run().await["session_id"], made["session_id"]);
    assert_eq!(room.get(&format!("/v1/sessions/{others}")).await.expect(200)["status"], "queued");
    let shown = format!("/orchestrator/sessions/{others}");
    room.call_as(&ada, Method::GET, &shown, None).await.expect(404);
}

#[tokio::test]
async fn what_was_given_up_is_stopped_when_its_runner_comes_back() {
    let room = Room::with(|config| {
        config.doors = [Door::Orchestrator].into();
        config.runner_ttl = greenroom_core::Ms(300);
    })
    .await;
    let runner = Runner::register(&room, registration("coder")).await;
    let given_up = async || {
        let (id, _) = room.o_start(json!({})).await;
        let given = runner.wait_run().await;
        runner.started(&given).await;
        // Its machine is away, and a person vouches for its end.
        let path = format!("/v1/sessions/{id}");
        room.wait_status(&id, "unreachable").await;
        let why = json!({"reason": "the machine is gone"});
        room.post(&format!("{path}/abandon"), why).await.expect(200);
        (id, path)
    };
    // A session that goes does not wait for its runner, which is told all the same.
    let (id, path) = given_up().await;
    room.delete(&path).await;
    eventually(async || (room.get(&path).await.status == 404).then_some(())).await;
    for _ in 0..2 {
        assert_eq!(runner.wait("stop_sessions").await["stop_sessions"], json!([id]));
    }
    // What it is to have next waits until that was said: it would be stopped for it, or be
    // taken for what ends then.
    let (id, _) = given_up().await;
    let more =
        json!({"type": "resume_session", "session_id": id, "parameters": {"prompt": "more"}});
    room.o_post("/runs", more).await.expect(201);
    let told = std::time::Instant::now();
    assert_eq!(runner.wait("stop_sessions").await["stop_sessions"], json!([id]));
    let ended = json!({"runner_id": runner.id, "status": "stopped"});
    runner.post(&format!("/runner/sessions/{id}/status"), ended).await.expect(200);
    let given = runner.wait_run().await;
    assert!(told.elapsed() > std::time::Duration::from_secs(5), "{:?}", told.elapsed());
    assert_eq!(given["type"], "start_session");
    runner.answers(&given, "afresh", "finished").await;
    assert_eq!(room.o_session(&id).await["status"], "finished");
}
