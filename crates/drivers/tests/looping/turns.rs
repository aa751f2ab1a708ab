//! Turns: streaming, tools, usage, limits, and how they are stopped.

use std::time::{Duration, Instant};

use greenroom_core::drive::ToDriver;
use greenroom_core::loop_spec::*;
use greenroom_core::record::Outcome;
use serde_json::json;

use crate::fixture::*;
use crate::stub::{Step, Stub, head, stream};
use crate::wire;

#[tokio::test]
async fn text_comes_in_pieces_as_it_is_said() {
    for provider in Provider::ALL {
        let said = wire::Said { tokens: (7, 3), ..wire::text(&["Hel", "lo ", "wörld"]) };
        let stub = Stub::new([stream(&wire::events(provider, &said))]);
        let mut up = Setup::new(provider, &stub).up().await;
        let (outcome, lines) = up.run("Hi").await;
        assert!(completed(&outcome), "{provider:?}: {outcome:?}");
        let pieces = of(&lines, "text");
        let pieces: Vec<_> = pieces.iter().map(|p| p["text"].as_str().expect("text")).collect();
        assert_eq!(pieces, ["Hel", "lo ", "wörld"], "{provider:?}");
        let usage = of(&lines, "usage");
        assert_eq!(usage.len(), 1, "{provider:?}");
        assert_eq!((&usage[0]["input_tokens"], &usage[0]["output_tokens"]), (&json!(7), &json!(3)));
        assert_eq!(usage[0]["model"], format!("{}/m", provider.as_str()));
        up.close().await;
    }
}

#[tokio::test]
async fn a_tool_is_used_and_its_result_goes_back() {
    for provider in Provider::ALL {
        let stub = Stub::new([
            stream(&wire::events(
                provider,
                &wire::calls(&[("c1", "read_file", r#"{"path":"a.txt"}"#)]),
            )),
            stream(&wire::events(provider, &wire::text(&["It says: 42"]))),
        ]);
        let setup = Setup::new(provider, &stub).tools(&[LoopTool::ReadFile]);
        std::fs::write(setup.dir.path().join("a.txt"), "the answer is 42").expect("written");
        let mut up = setup.up().await;
        let (outcome, lines) = up.run("What does a.txt say?").await;
        assert!(completed(&outcome), "{provider:?}: {outcome:?}");
        let (call, result) = (of(&lines, "tool_call")[0], of(&lines, "tool_result")[0]);
        assert_eq!(
            (&call["tool"], &call["input"]),
            (&json!("read_file"), &json!({"path": "a.txt"}))
        );
        assert_eq!(result["id"], call["id"], "{provider:?}");
        assert_eq!(
            (&result["output"], &result["is_error"]),
            (&json!("the answer is 42"), &json!(false))
        );
        let bodies = stub.bodies();
        assert!(
            bodies[0]["tools"].to_string().contains("read_file"),
            "{provider:?}: {}",
            bodies[0]
        );
        let again = wire::conversation(provider, &bodies[1]);
        assert_eq!(again.len(), 3, "{provider:?}: {again:?}");
        assert!(again[1].to_string().contains("a.txt"), "{provider:?}: {}", again[1]);
        assert!(again[2].to_string().contains("the answer is 42"), "{provider:?}: {}", again[2]);
        assert_eq!(text(&lines), "It says: 42");
    }
}

#[tokio::test]
async fn only_the_tools_that_are_named_are_there() {
    let provider = Provider::Openai;
    let stub = Stub::new([
        stream(&wire::events(
            provider,
            &wire::calls(&[("c1", "shell", r#"{"command":"touch made"}"#)]),
        )),
        stream(&wire::events(provider, &wire::text(&["No."]))),
    ]);
    let mut up = Setup::new(provider, &stub).tools(&[LoopTool::List]).up().await;
    let (_, lines) = up.run("Make it").await;
    let result = of(&lines, "tool_result")[0];
    assert_eq!(result["is_error"], true);
    assert!(result["output"].as_str().expect("text").contains("there are: list"), "{result}");
    assert!(!up.dir.path().join("made").exists());
}

#[tokio::test]
async fn thoughts_are_told_apart_from_words() {
    let chunk = |delta: serde_json::Value| {
        format!("data: {}\n\n", json!({"choices": [{"index": 0, "delta": delta}]}))
    };
    let mut events = vec![
        chunk(json!({"reasoning_content": "Let me "})),
        chunk(json!({"reasoning_content": "see."})),
    ];
    events.extend(wire::events(Provider::Openai, &wire::text(&["Four."])));
    let stub = Stub::new([stream(&events)]);
    let mut up = Setup::new(Provider::Openai, &stub).up().await;
    let (_, lines) = up.run("2+2?").await;
    assert_eq!(of(&lines, "thought")[0]["text"], "Let me see.");
    assert_eq!(text(&lines), "Four.");
}

#[tokio::test]
async fn cost_is_said_for_each_call_where_prices_are_known() {
    let said = wire::Said { tokens: (1_000_000, 500_000), ..wire::text(&["x"]) };
    let events = wire::events(Provider::Openai, &said);
    let stub = Stub::new([stream(&events), stream(&events)]);
    let price = Price { input: 2.into(), output: serde_json::from_str("3.5").expect("a number") };
    let setup = Setup::new(Provider::Openai, &stub);
    let mut up = setup.with(|spec| spec.models[0].price = Some(price)).up().await;
    let (_, lines) = up.run("Hi").await;
    assert_eq!(of(&lines, "usage")[0]["cost_usd"], json!(3.75));
    let mut up = Setup::new(Provider::Openai, &stub).up().await;
    let (_, lines) = up.run("Hi").await;
    assert_eq!(of(&lines, "usage")[0].get("cost_usd"), None);
}

#[tokio::test]
async fn a_run_takes_no_more_calls_than_it_may() {
    let call = |id| {
        let list = [(id, "list", "{}")];
        stream(&wire::events(Provider::Openai, &wire::calls(&list)))
    };
    let answer = stream(&wire::events(Provider::Openai, &wire::text(&["Done."])));
    let script = || [call("a"), call("b"), call("c"), answer.clone()];
    let stub = Stub::new(script());
    let setup = || Setup::new(Provider::Openai, &stub).tools(&[LoopTool::List]);
    let mut up = setup().with(|spec| spec.max_iterations = 2).up().await;
    let (outcome, _) = up.run("Go").await;
    let (code, message) = failed(&outcome);
    assert_eq!(code, "max_iterations");
    assert!(message.contains("2 times"), "{message}");
    assert_eq!(stub.bodies().len(), 2);
    // The conversation is sound: the next run goes on from there.
    let (outcome, _) = up.run("Go on").await;
    assert!(completed(&outcome), "{outcome:?}");

    let stub = Stub::new(script());
    let setup = Setup::new(Provider::Openai, &stub).tools(&[LoopTool::List]);
    let mut up = setup.with(|spec| spec.max_iterations = 0).up().await;
    assert!(completed(&up.run("Go").await.0));
    assert_eq!(stub.bodies().len(), 4);
}

#[tokio::test]
async fn a_cancel_ends_a_call_of_the_model_at_once() {
    for provider in Provider::ALL {
        let events = wire::events(provider, &wire::text(&["Once upon ", "a time"]));
        let begun = &events[..events.len() - wire::ending(provider) - 1];
        let mut answer = stream(begun);
        answer.push(Step::Hang);
        let stub = Stub::new([answer, stream(&wire::events(provider, &wire::text(&["Yes."])))]);
        let mut up = Setup::new(provider, &stub).up().await;
        up.prompt("Tell me a story");
        up.until("text").await;
        let asked = Instant::now();
        up.tell(ToDriver::Cancel);
        let (outcome, _) = up.end().await;
        let took = asked.elapsed();
        assert_eq!(outcome, Outcome::Stopped { error: None }, "{provider:?}");
        assert!(took < Duration::from_millis(500), "{provider:?}: {took:?}");
        assert!(stub.hung_up(), "{provider:?}: the call was not given up");
        // What was said is said; the next run goes on after it.
        assert!(completed(&up.run("And?").await.0), "{provider:?}");
        let again = wire::conversation(provider, &stub.bodies()[1]);
        assert!(again[1].to_string().contains("Once upon "), "{provider:?}: {again:?}");
    }
}

#[tokio::test]
async fn a_cancel_ends_a_command_at_once_and_its_call_is_answered() {
    let provider = Provider::Openai;
    let command = r#"{"command":"echo begun > begun; sleep 300 & sleep 300; echo over"}"#;
    let stub = Stub::new([
        stream(&wire::events(
            provider,
            &wire::calls(&[("a", "shell", command), ("b", "list", "{}")]),
        )),
        stream(&wire::events(provider, &wire::text(&["Yes."]))),
    ]);
    let mut up = Setup::new(provider, &stub).tools(&[LoopTool::Shell, LoopTool::List]).up().await;
    up.prompt("Wait");
    up.until("approval.decided").await;
    let asked = Instant::now();
    up.tell(ToDriver::Cancel);
    let (outcome, lines) = up.end().await;
    let took = asked.elapsed();
    assert_eq!(outcome, Outcome::Stopped { error: None });
    assert!(took < Duration::from_millis(500), "{took:?}");
    let results = of(&lines, "tool_result");
    assert_eq!(results.len(), 2, "{lines:?}");
    assert!(results.iter().all(|r| r["is_error"] == true), "{results:?}");
    assert!(completed(&up.run("And?").await.0));
    let again = wire::conversation(provider, &stub.bodies()[1]);
    let roles: Vec<_> = again.iter().map(|m| m["role"].as_str().expect("a role")).collect();
    assert_eq!(roles, ["user", "assistant", "tool", "tool", "user"]);
}

#[tokio::test]
async fn the_end_of_its_input_ends_it_in_the_middle_of_a_call() {
    let stub = Stub::new([vec![head(), Step::Hang]]);
    let mut up = Setup::new(Provider::Openai, &stub).up().await;
    up.prompt("Hi");
    up.close().await;
}

#[tokio::test]
async fn a_command_stands_for_its_prompt() {
    let answer = stream(&wire::events(Provider::Openai, &wire::text(&["ok"])));
    let stub = Stub::new([answer.clone(), answer]);
    let setup = Setup::new(Provider::Openai, &stub).with(|spec| {
        spec.commands.insert("fix".to_owned(), "Fix the test $1.".to_owned());
    });
    let mut up = setup.up().await;
    up.run("/fix alpha").await;
    up.run("/other beta").await;
    let bodies = stub.bodies();
    assert_eq!(
        wire::conversation(Provider::Openai, &bodies[0])[0]["content"],
        "Fix the test alpha."
    );
    assert_eq!(wire::conversation(Provider::Openai, &bodies[1])[2]["content"], "/other beta");
}
