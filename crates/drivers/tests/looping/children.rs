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
