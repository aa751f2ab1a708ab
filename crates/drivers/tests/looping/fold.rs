//! The conversation is a fold of the log: who reads it back sends the very same bytes.

use greenroom_core::Ms;
use greenroom_core::drive::ToDriver;
use greenroom_core::loop_spec::*;
use serde_json::{Value, json};

use crate::fixture::*;
use crate::stub::{Step, Stub, json as json_answer, status, stream};
use crate::wire;

const LOG: &str = "/v1/sessions/s1/events";

fn setup(provider: Provider, stub: &Stub) -> Setup {
    Setup::new(provider, stub).tools(&[LoopTool::List, LoopTool::ReadFile]).with(|spec| {
        spec.instruction = "Be brief.".to_owned();
        spec.commands.insert("again".to_owned(), "Once more: ${args}".to_owned());
    })
}

/// A loop that takes up this log.
async fn resumed(provider: Provider, stub: &Stub, first: &Loop) -> Loop {
    stub.route(LOG, json_answer(200, &json!({"items": first.log, "next_cursor": null})));
    let mut setup = setup(provider, stub);
    setup.dir = first.dir.clone();
    setup.open.workspace = first.dir.path().to_owned();
    setup.open.resumed = true;
    setup.up().await
}

fn answer(provider: Provider, said: &wire::Said<'_>) -> Vec<Step> {
    stream(&wire::events(provider, said))
}

#[tokio::test]
async fn a_resumed_conversation_is_the_same_to_the_byte() {
    for provider in Provider::ALL {
        let two = [("c1", "list", "{}"), ("c2", "read_file", r#"{"path":"none","offset":2}"#)];
        let said = wire::Said { text: &["I will ", "look.\n"], calls: &two, tokens: (1, 2) };
        let stub = Stub::new([
            answer(provider, &said),
            // Some servers use the same ids over and over.
            answer(provider, &wire::calls(&two[..1])),
            answer(provider, &wire::text(&["Nothing is there."])),
            status(400, &[], "{}"),
            answer(provider, &wire::text(&["Truly."])),
            answer(provider, &wire::text(&["the end"])),
        ]);
        let mut first = setup(provider, &stub).up().await;
        assert!(completed(&first.run("Look").await.0), "{provider:?}");
        assert!(!completed(&first.run("This fails").await.0), "{provider:?}");
        assert!(completed(&first.run("/again really?").await.0), "{provider:?}");
        let mut second = resumed(provider, &stub, &first).await;
        assert!(completed(&first.run("And?").await.0), "{provider:?}");
        stub.push(answer(provider, &wire::text(&["the end"])));
        assert!(completed(&second.run("And?").await.0), "{provider:?}");
        let bodies = stub.bodies();
        let [.., live, read] = bodies.as_slice() else { panic!("no bodies") };
        assert_eq!(live.to_string(), read.to_string(), "{provider:?}");
        let length = wire::conversation(provider, live).len();
        assert!(length >= 8, "{provider:?}: {length}");
    }
}

#[tokio::test]
async fn killed_in_a_tool_call_its_call_is_answered_as_interrupted() {
    for provider in Provider::ALL {
        let command = r#"{"command":"sleep 300"}"#;
        let two = [("c1", "list", "{}"), ("c2", "shell", command)];
        let stub = Stub::new([answer(provider, &wire::calls(&two))]);
        let shell = |setup: Setup| setup.with(|spec| spec.tools.push(LoopTool::Shell));
        let mut first = shell(setup(provider, &stub)).up().await;
        first.prompt("Wait");
        // The command runs; nobody answers its call any more.
        first.until("approval.decided").await;
        stub.push(answer(provider, &wire::text(&["I see."])));
        let mut second = resumed(provider, &stub, &first).await;
        let (outcome, _) = second.run("What were you doing?").await;
        assert!(completed(&outcome), "{provider:?}: {outcome:?}");
        let body = stub.bodies().pop().expect("a body");
        let conversation = wire::conversation(provider, &body);
        let text = Value::Array(conversation.clone()).to_string();
        assert!(text.contains("interrupted: the agent was stopped"), "{provider:?}: {text}");
        assert!(text.contains("sleep 300"), "{provider:?}: {text}");
        // The log is closed, too.
        let closed = second.log.iter().filter(|e| e["type"] == "tool_result").count();
        assert_eq!(closed, 1, "{provider:?}: {:?}", second.log);
    }
}

#[tokio::test]
async fn a_compacted_conversation_is_taken_up_compacted() {
    let provider = Provider::Openai;
    let long = "long ".repeat(2000);
    let stub = Stub::new([
        answer(provider, &wire::text(&[&long])),
        answer(provider, &wire::text(&["SUMMED UP"])),
        answer(provider, &wire::text(&["short"])),
        answer(provider, &wire::text(&["live"])),
        answer(provider, &wire::text(&["read"])),
    ]);
    let at = |setup: Setup| setup.with(|spec| spec.compact_at = Some(2000));
    let mut first = at(setup(provider, &stub)).up().await;
    first.run("Tell me much").await;
    first.run("And now little").await;
    let mut second = resumed(provider, &stub, &first).await;
    first.run("Now?").await;
    second.run("Now?").await;
    let bodies = stub.bodies();
    assert_eq!(bodies.len(), 5);
    assert_eq!(bodies[3].to_string(), bodies[4].to_string());
    assert!(bodies[4].to_string().contains("SUMMED UP"), "{}", bodies[4]);
    assert!(!bodies[4].to_string().contains("long long"), "{}", bodies[4]);
}

#[tokio::test]
async fn a_log_of_many_pages_is_read_to_its_end() {
    let provider = Provider::Openai;
    let stub = Stub::new([answer(provider, &wire::text(&["ok"]))]);
    let event = |seq: u64, kind: &str, data: Value| json!({"seq": seq, "type": kind, "data": data});
    let asked = |seq, text: &str| {
        vec![
            event(seq, "run.queued", json!({"run": {"id": text}, "prompt": text})),
            event(seq + 1, "run.started", json!({"run": text})),
            event(seq + 2, "message", json!({"role": "agent", "text": format!("to {text}")})),
        ]
    };
    let page = |items: Vec<Value>, next: Value| {
        json_answer(200, &json!({"items": items, "next_cursor": next}))
    };
    stub.route(&format!("{LOG}?from=1&"), page(asked(1, "one"), json!("4")));
    stub.route(&format!("{LOG}?from=4&"), page(asked(4, "two"), Value::Null));
    let mut setup = setup(provider, &stub);
    setup.open.resumed = true;
    let mut up = setup.up().await;
    up.run("three").await;
    let conversation = wire::conversation(provider, &stub.bodies()[0]);
    let said: Vec<_> = conversation.iter().map(|m| m["content"].as_str().expect("text")).collect();
    assert_eq!(said, ["one", "to one", "two", "to two", "three"]);
    let token = stub.requests()[0].header("authorization").map(str::to_owned);
    assert_eq!(token.as_deref(), Some("Bearer gra_token"));
}

#[tokio::test]
async fn a_log_that_cannot_be_read_is_no_empty_conversation() {
    let stub = Stub::new([]);
    stub.route(LOG, json_answer(404, &json!({"detail": "no such session"})));
    let mut setup = setup(Provider::Openai, &stub);
    setup.open.resumed = true;
    let error = setup.start().await.err().expect("a failure").0;
    assert_eq!(error.code, "start_error");
    assert!(error.message.contains("no such session"), "{}", error.message);
}

#[tokio::test]
async fn a_retried_stream_counts_once() {
    let provider = Provider::Openai;
    let mut cut = wire::events(provider, &wire::text(&["HALF"]));
    cut.truncate(cut.len() - 2);
    let stub = Stub::new([
        stream(&cut),
        answer(provider, &wire::text(&["WHOLE"])),
        answer(provider, &wire::text(&["x"])),
        answer(provider, &wire::text(&["x"])),
    ]);
    let mut first = setup(provider, &stub).with(|spec| spec.retry_ms = Ms(20_000)).up().await;
    first.run("Hi").await;
    let mut second = resumed(provider, &stub, &first).await;
    first.run("And?").await;
    second.run("And?").await;
    let bodies = stub.bodies();
    assert_eq!(bodies[2].to_string(), bodies[3].to_string());
    assert!(!bodies[3].to_string().contains("HALF"), "{}", bodies[3]);
    first.tell(ToDriver::Cancel);
}

/// A turn whose first call of a tool waits for a line in a pipe, with text for it meanwhile.
async fn steered(provider: Provider, stub: &Stub, texts: &[&str]) -> (Loop, Vec<Value>) {
    let wait = [("c1", "shell", r#"{"command":"read -r x < go"}"#)];
    stub.push(answer(provider, &wire::calls(&wait)));
    stub.push(answer(provider, &wire::text(&["As you like."])));
    let shell = setup(provider, stub).with(|spec| spec.tools.push(LoopTool::Shell));
    let go = shell.dir.path().join("go");
    let made = std::process::Command::new("mkfifo").arg(&go).status();
    assert!(made.expect("mkfifo runs").success());
    let mut up = shell.up().await;
    up.prompt("Wait");
    up.until("approval.decided").await;
    for text in texts {
        up.steer(text);
    }
    // Opened for writing, it waits for the reader.
    tokio::task::spawn_blocking(move || std::fs::write(go, "x\n")).await.unwrap().expect("a line");
    let (outcome, lines) = up.end().await;
    assert!(completed(&outcome), "{provider:?}: {outcome:?}");
    (up, lines)
}

#[tokio::test]
async fn text_for_a_turn_comes_before_the_next_call_and_is_read_back_the_same() {
    for provider in Provider::ALL {
        let stub = Stub::new([]);
        let (mut first, lines) = steered(provider, &stub, &["MIND THIS", "and that"]).await;
        let kinds: Vec<_> = lines.iter().map(|line| line["type"].as_str().unwrap_or("")).collect();
        let at = |kind: &str| kinds.iter().position(|k| *k == kind).expect("it is said");
        assert!(at("tool_result") < at("steered") && at("steered") < at("text"), "{kinds:?}");
        assert_eq!(of(&lines, "steered").len(), 2);
        let [before, after] = stub.bodies().try_into().expect("two calls");
        assert!(!before.to_string().contains("MIND THIS"), "{provider:?}");
        assert!(after.to_string().contains("MIND THIS"), "{provider:?}: {after}");
        let mut second = resumed(provider, &stub, &first).await;
        for up in [&mut first, &mut second] {
            stub.push(answer(provider, &wire::text(&["Done."])));
            assert!(completed(&up.run("And?").await.0), "{provider:?}");
        }
        let bodies = stub.bodies();
        let [.., live, read] = bodies.as_slice() else { panic!("no bodies") };
        assert_eq!(live["messages"].to_string(), read["messages"].to_string(), "{provider:?}");
    }
}

#[tokio::test]
async fn text_for_a_turn_that_is_over_is_given_to_no_other() {
    let stub = Stub::new([]);
    let (mut up, _) = steered(Provider::Openai, &stub, &[]).await;
    up.steer("TOO LATE");
    stub.push(answer(Provider::Openai, &wire::text(&["Done."])));
    let (_, lines) = up.run("And?").await;
    assert_eq!(of(&lines, "steered").len(), 0);
    assert!(!stub.bodies().pop().expect("a body").to_string().contains("TOO LATE"));
    up.close().await;
}
