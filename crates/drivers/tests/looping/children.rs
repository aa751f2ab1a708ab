//! Sub-agents are sessions of their own, made and followed through the coordinator.

use std::time::{Duration, Instant};

use greenroom_core::drive::ToDriver;
use greenroom_core::loop_spec::*;
use greenroom_core::record::Outcome;
use serde_json::{Value, json};

use crate::fixture::*;
use crate::stub::{Step, Stub, head, json as json_answer, stream};
use crate::wire;

fn script(input: &str) -> Vec<Vec<Step>> {
    let events = |said: &wire::Said<'_>| stream(&wire::events(Provider::Openai, said));
    vec![events(&wire::calls(&[("a", "delegate", input)])), events(&wire::text(&["Done."]))]
}

fn frame(seq: u64, kind: &str, data: Value) -> String {
    let event = json!({"seq": seq, "type": kind, "data": data});
    format!("id: {seq}\nevent: {kind}\ndata: {event}\n\n")
}

fn setup(stub: &Stub) -> Setup {
    let reviewer = "reviewer".parse().expect("a name");
    Setup::new(Provider::Openai, stub).with(|spec| spec.sub_agents = vec![reviewer])
}

const TASK: &str = r#"{"agent":"reviewer","task":"Look at it"}"#;

#[tokio::test]
async fn work_is_handed_over_and_its_answer_comes_back() {
    let stub = Stub::new(script(TASK));
    let begun = [
        frame(1, "run.queued", json!({"run": {"id": "r"}, "prompt": "Look at it"})),
        frame(2, "run.started", json!({"run": "r"})),
        ": a comment\n\n".to_owned(),
        "event: delta\ndata: {\"text\":\"It\"}\n\n".to_owned(),
        frame(3, "message", json!({"role": "agent", "text": "It is "})),
    ];
    let rest = [
        frame(4, "message", json!({"role": "agent", "text": "good."})),
        frame(5, "run.completed", json!({"run": "r"})),
    ];
    // The first stream breaks off; the second goes on after it.
    stub.route("/v1/sessions/kid/events?from=1", stream(&begun));
    stub.route("/v1/sessions/kid/events?from=4", stream(&rest));
    stub.route("/v1/sessions", json_answer(201, &json!({"id": "kid"})));
    let mut up = setup(&stub).up().await;
    let (outcome, lines) = up.run("Go").await;
    assert!(completed(&outcome), "{outcome:?}");
    let result = of(&lines, "tool_result")[0];
    assert_eq!((&result["output"], &result["is_error"]), (&json!("It is good."), &json!(false)));
    let made = stub.requests().into_iter().find(|r| r.path == "/v1/sessions").expect("made");
    assert_eq!(made.body["parent"], "s1");
    assert_eq!(
        (&made.body["agent"], &made.body["prompt"]),
        (&json!("reviewer"), &json!("Look at it"))
    );
    assert_eq!(made.header("authorization"), Some("Bearer gra_token"));
    assert!(made.header("idempotency-key").is_some_and(|key| key.contains("s1")));
}

#[tokio::test]
async fn how_a_child_failed_is_told() {
    let stub = Stub::new(script(TASK));
    let end =
        frame(1, "run.failed", json!({"run": "r", "error": {"code": "auth", "message": "no key"}}));
    stub.route("/v1/sessions/kid/events", stream(&[end]));
    stub.route("/v1/sessions", json_answer(201, &json!({"id": "kid"})));
    let (_, lines) = setup(&stub).up().await.run("Go").await;
    let result = of(&lines, "tool_result")[0];
    assert_eq!(result["is_error"], true);
    let output = result["output"].as_str().expect("text");
    assert!(output.contains("kid") && output.contains("failed: no key"), "{output}");
}

#[tokio::test]
async fn what_the_coordinator_refuses_is_told() {
    let stub = Stub::new(script(TASK));
    stub.route("/v1/sessions", json_answer(409, &json!({"detail": "its tree is being stopped"})));
    let (outcome, lines) = setup(&stub).up().await.run("Go").await;
    assert!(completed(&outcome), "{outcome:?}");
    let output = of(&lines, "tool_result")[0]["output"].as_str().expect("text").to_owned();
    assert!(output.contains("its tree is being stopped"), "{output}");
}

#[tokio::test]
async fn only_the_agents_that_are_named_get_work() {
    let stub = Stub::new(script(r#"{"agent":"stranger","task":"x"}"#));
    let (_, lines) = setup(&stub).up().await.run("Go").await;
    assert_eq!(of(&lines, "tool_result")[0]["output"], "there is no sub-agent \"stranger\"");
    let stub = Stub::new(script(TASK));
    let (_, lines) = Setup::new(Provider::Openai, &stub).up().await.run("Go").await;
    let output = of(&lines, "tool_result")[0]["output"].as_str().expect("text").to_owned();
    assert!(output.contains("there is no tool \"delegate\""), "{output}");
    assert!(stub.requests().iter().all(|r| !r.path.starts_with("/v1/sessions")));
}

#[tokio::test]
async fn a_cancel_stops_the_child() {
    let stub = Stub::new(script(TASK));
    stub.route("/v1/sessions/kid/events", vec![head(), Step::Hang]);
    stub.route("/v1/sessions/kid/stop", json_answer(200, &json!({})));
    stub.route("/v1/sessions", json_answer(201, &json!({"id": "kid"})));
    let mut up = setup(&stub).up().await;
    up.prompt("Go");
    up.until("usage").await;
    // It is followed as soon as somebody asked for its events.
    while !stub.requests().iter().any(|r| r.path.contains("/kid/events")) {
        tokio::task::yield_now().await;
    }
    let asked = Instant::now();
    up.tell(ToDriver::Cancel);
    let (outcome, _) = up.end().await;
    assert_eq!(outcome, Outcome::Stopped { error: None });
    assert!(asked.elapsed() < Duration::from_millis(500), "{:?}", asked.elapsed());
    up.close().await;
    assert!(stub.requests().iter().any(|r| r.path == "/v1/sessions/kid/stop"));
}

/// An agent with a team of one.
fn with_team(stub: &Stub) -> Setup {
    Setup::new(Provider::Openai, stub).tools(&[LoopTool::List]).with(|spec| {
        let mut critic = LoopSpec::of(spec.models[0].clone());
        critic.instruction = "Criticise.".to_owned();
        spec.instruction = "Lead.".to_owned();
        spec.sub_agents = vec!["reviewer".parse().expect("a name")];
        spec.team.insert("reviewer".parse().expect("a name"), critic);
    })
}

#[tokio::test]
async fn a_member_of_the_team_works_in_a_session_of_the_same_agent() {
    let stub = Stub::new(script(TASK));
    let end = frame(1, "run.completed", json!({"run": "r", "result": {"good": true}}));
    stub.route("/v1/sessions/kid/events", stream(&[end]));
    stub.route(
        "/v1/sessions/s1",
        json_answer(200, &json!({"id": "s1", "agent": {"name": "crew"}})),
    );
    stub.route("/v1/sessions", json_answer(201, &json!({"id": "kid"})));
    let (_, lines) = with_team(&stub).up().await.run("Go").await;
    assert_eq!(of(&lines, "tool_result")[0]["output"], r#"{"good":true}"#);
    let made = stub.requests().into_iter().find(|r| r.path == "/v1/sessions").expect("made");
    assert_eq!(made.body["agent"], "crew");
    assert_eq!(made.body["input"], json!({"agent": "reviewer", "task": "Look at it"}));
}

#[tokio::test]
async fn a_task_for_a_member_makes_the_session_that_member_s() {
    let answer = stream(&wire::events(Provider::Openai, &wire::text(&["Bad."])));
    let stub = Stub::new([answer.clone(), answer.clone(), answer]);
    let mut first = with_team(&stub).up().await;
    first.run(TASK).await;
    first.run("Sure?").await;
    stub.route(
        "/v1/sessions/s1/events",
        json_answer(200, &json!({"items": first.log, "next_cursor": null})),
    );
    let mut setup = with_team(&stub);
    setup.open.resumed = true;
    setup.up().await.run("Still?").await;
    for body in stub.bodies() {
        assert_eq!(body["messages"][0]["content"], "Criticise.");
        assert_eq!(body["messages"][1]["content"], "Look at it");
        assert_eq!(body.get("tools"), None, "it has its own tools, which are none");
    }
}
