//! What can go wrong with a model, in every format: each ends in an error of a known kind,
//! and what may pass is tried again.

use std::time::{Duration, Instant};

use greenroom_core::Ms;
use greenroom_core::loop_spec::*;
use serde_json::json;

use crate::fixture::*;
use crate::stub::{Step, Stub, head, json as json_answer, status, stream};
use crate::wire;

const SECRET: &str = "sk-very-secret-1234";

fn answer(provider: Provider) -> Vec<Step> {
    stream(&wire::events(provider, &wire::text(&["Fine."])))
}

/// One run against one answer, without second tries.
async fn once(provider: Provider, answer: Vec<Step>) -> (greenroom_core::record::Outcome, Stub) {
    let stub = Stub::new([answer]);
    let setup = Setup::new(provider, &stub).with(|spec| spec.models[0].silence_ms = Ms(300));
    let mut up = setup.up().await;
    let (outcome, _) = up.run("Hi").await;
    (outcome, stub)
}

#[tokio::test]
async fn refusals_are_said_and_not_tried_again() {
    for provider in Provider::ALL {
        let body = json!({"error": {"message": "no such model", "type": "invalid_request_error"}});
        for (code, word) in
            [(400, "model_error"), (401, "auth"), (403, "auth"), (404, "model_error")]
        {
            let stub = Stub::new([json_answer(code, &body), answer(provider)]);
            let setup = Setup::new(provider, &stub).with(|spec| spec.retry_ms = Ms(60_000));
            let mut up = setup.up().await;
            let (outcome, _) = up.run("Hi").await;
            let (said, message) = failed(&outcome);
            assert_eq!(said, word, "{provider:?} {code}: {message}");
            assert!(message.contains("no such model"), "{provider:?} {code}: {message}");
            assert!(message.contains(&format!("{}/m", provider.as_str())), "{message}");
            assert_eq!(stub.bodies().len(), 1, "{provider:?} {code}");
        }
    }
}

#[tokio::test]
async fn what_may_pass_is_tried_again_until_the_deadline() {
    for provider in Provider::ALL {
        let bad: [Vec<Step>; 3] =
            [status(500, &[], "oops"), vec![Step::Reset], vec![head(), Step::Reset]];
        for first in bad {
            let stub = Stub::new([first.clone(), answer(provider)]);
            let setup = Setup::new(provider, &stub).with(|spec| spec.retry_ms = Ms(20_000));
            let mut up = setup.up().await;
            let (outcome, lines) = up.run("Hi").await;
            assert!(completed(&outcome), "{provider:?} {first:?}: {outcome:?}");
            assert_eq!(text(&lines), "Fine.", "{provider:?}");
            let info = of(&lines, "session.agent_info");
            assert_eq!(info[0]["next"], "retry", "{provider:?}: {info:?}");
            assert_eq!(stub.bodies().len(), 2);
        }
        let (outcome, stub) = once(provider, status(503, &[], "busy")).await;
        assert_eq!(failed(&outcome).0, "model_error", "{provider:?}");
        assert_eq!(stub.bodies().len(), 1, "{provider:?}: a deadline of 0 is over");
    }
}

#[tokio::test]
async fn a_limit_is_waited_for_as_long_as_it_says() {
    for provider in Provider::ALL {
        let limited = status(429, &[("retry-after", "1")], r#"{"error":{"message":"slow down"}}"#);
        let stub = Stub::new([limited, answer(provider)]);
        let setup = Setup::new(provider, &stub).with(|spec| spec.retry_ms = Ms(20_000));
        let mut up = setup.up().await;
        let begun = Instant::now();
        let (outcome, lines) = up.run("Hi").await;
        assert!(completed(&outcome), "{provider:?}: {outcome:?}");
        assert!(begun.elapsed() >= Duration::from_secs(1), "{provider:?}: {:?}", begun.elapsed());
        assert_eq!(of(&lines, "session.agent_info")[0]["wait_ms"], 1000, "{provider:?}");
    }
}

#[tokio::test]
async fn a_limit_beyond_the_deadline_is_not_waited_for() {
    let limited = status(429, &[("retry-after", "3600")], r#"{"error":{"message":"slow down"}}"#);
    let stub = Stub::new([limited]);
    let setup = Setup::new(Provider::Openai, &stub).with(|spec| spec.retry_ms = Ms(20_000));
    let mut up = setup.up().await;
    let (outcome, _) = up.run("Hi").await;
    let (code, message) = failed(&outcome);
    assert_eq!(code, "model_error");
    assert!(message.contains("slow down") && message.contains("429"), "{message}");
}

#[tokio::test]
async fn silence_has_an_end() {
    for provider in Provider::ALL {
        let events = wire::events(provider, &wire::text(&["Fi", "ne."]));
        let mut begun = stream(&events[..1]);
        begun.push(Step::Hang);
        for answer in [vec![Step::Hang], vec![head(), Step::Hang], begun] {
            let (outcome, stub) = once(provider, answer.clone()).await;
            assert_eq!(failed(&outcome).0, "model_timeout", "{provider:?} {answer:?}");
            assert!(stub.hung_up(), "{provider:?}");
        }
    }
}

#[tokio::test]
async fn an_answer_without_its_end_is_none() {
    for provider in Provider::ALL {
        let said = wire::text(&["Half of ", "it"]);
        let events = wire::events(provider, &said);
        let cut = stream(&events[..events.len() - wire::ending(provider)]);
        let stub = Stub::new([cut, answer(provider)]);
        let setup = Setup::new(provider, &stub).with(|spec| spec.retry_ms = Ms(20_000));
        let mut up = setup.up().await;
        let (outcome, lines) = up.run("Hi").await;
        assert!(completed(&outcome), "{provider:?}: {outcome:?}");
        let info = of(&lines, "session.agent_info");
        assert_eq!(info[0]["about"], "discard", "{provider:?}");
        assert!(completed(&{
            stub.push(answer(provider));
            up.run("And?").await.0
        }));
        // What was half said is no part of the conversation.
        let last = stub.bodies().pop().expect("a body");
        let conversation = wire::conversation(provider, &last);
        let said = conversation[1].to_string();
        assert!(said.contains("Fine.") && !said.contains("Half"), "{provider:?}: {said}");
    }
}

#[tokio::test]
async fn an_error_in_the_middle_of_a_stream_is_one() {
    for provider in Provider::ALL {
        let mut events = wire::events(provider, &wire::text(&["Half of ", "it"]));
        let ending = events.split_off(events.len() - wire::ending(provider));
        events.push(wire::error(provider));
        // Also when the provider goes on as if nothing had been.
        events.extend(ending);
        let (outcome, _) = once(provider, stream(&events)).await;
        let (code, message) = failed(&outcome);
        assert_eq!(code, "model_error", "{provider:?}: {message}");
        assert!(message.contains("overflowed"), "{provider:?}: {message}");
    }
}

#[tokio::test]
async fn letters_may_be_cut_anywhere() {
    for provider in Provider::ALL {
        let said = ["Grüße ", "ꙮ", " 🦀🦀", " done"];
        let bytes = wire::events(provider, &wire::text(&said)).concat().into_bytes();
        for size in [1, 2, 3, 7] {
            let mut answer = vec![head()];
            answer.extend(bytes.chunks(size).map(|chunk| Step::Bytes(chunk.to_vec())));
            let stub = Stub::new([answer]);
            let mut up = Setup::new(provider, &stub).up().await;
            let (outcome, lines) = up.run("Hi").await;
            assert!(completed(&outcome), "{provider:?} {size}: {outcome:?}");
            assert_eq!(text(&lines), said.concat(), "{provider:?} {size}");
        }
    }
}

#[tokio::test]
async fn bytes_that_are_no_text_are_an_error() {
    for provider in Provider::ALL {
        let answers = [
            vec![head(), Step::Bytes(b"data: \xff\xfe\n\n".to_vec())],
            vec![head(), Step::Bytes(b"event: message_start\ndata: {broken\n\n".to_vec())],
            vec![head()],
            status(200, &[("content-type", "text/html")], "<html>hello</html>"),
        ];
        for answer in answers {
            let (outcome, _) = once(provider, answer.clone()).await;
            assert_eq!(failed(&outcome).0, "model_error", "{provider:?}: {answer:?}");
        }
    }
}

#[tokio::test]
async fn the_next_model_is_tried_where_one_fails() {
    for (first, word) in [(401, "auth"), (400, "model_error"), (500, "model_error")] {
        let stub = Stub::new([
            json_answer(first, &json!({"error": {"message": "no"}})),
            stream(&wire::events(Provider::Anthropic, &wire::calls(&[("a", "list", "{}")]))),
            answer(Provider::Anthropic),
            answer(Provider::Openai),
        ]);
        let other = model(Provider::Anthropic, &stub);
        let setup = Setup::new(Provider::Openai, &stub).tools(&[LoopTool::List]);
        let mut up = setup.with(|spec| spec.models.push(other)).up().await;
        let (outcome, lines) = up.run("Hi").await;
        assert!(completed(&outcome), "{outcome:?}");
        let info = of(&lines, "session.agent_info")[0];
        assert_eq!((&info["next"], &info["error"]["code"]), (&json!("fallback"), &json!(word)));
        let models: Vec<_> = of(&lines, "usage").iter().map(|u| u["model"].clone()).collect();
        assert_eq!(models, ["anthropic/m", "anthropic/m"], "it stays for the run");
        assert!(completed(&up.run("Hi").await.0));
        assert!(stub.requests()[3].path.ends_with("/chat/completions"), "the next run begins anew");
    }
    let stub = Stub::new([json_answer(400, &json!({"error": {"message": "no"}}))]);
    let mut up = Setup::new(Provider::Openai, &stub).up().await;
    assert_eq!(failed(&up.run("Hi").await.0).0, "model_error");
}

#[tokio::test]
async fn keys_go_where_they_belong_and_nowhere_else() {
    for provider in Provider::ALL {
        let echo = json!({"error": {"message": format!("bad key {SECRET}")}});
        let stub = Stub::new([json_answer(401, &echo), answer(provider)]);
        let mut setup = Setup::new(provider, &stub);
        setup.vars.push(("LOOP_MODEL_KEY_0".to_owned(), SECRET.to_owned()));
        let setup = setup.with(|spec| spec.models[0].key_env = Some("LOOP_MODEL_KEY_0".into()));
        let mut up = setup.up().await;
        let (outcome, lines) = up.run("Hi").await;
        assert_eq!(failed(&outcome).0, "auth");
        assert!(!format!("{outcome:?}{lines:?}").contains(SECRET), "{provider:?}: {outcome:?}");
        let request = &stub.requests()[0];
        let header = match provider {
            Provider::Openai | Provider::OpenaiResponses => "authorization",
            Provider::Anthropic => "x-api-key",
            Provider::Gemini => "x-goog-api-key",
        };
        let sent = request.header(header).unwrap_or_default();
        assert!(sent.ends_with(SECRET), "{provider:?}: {:?}", request.headers);
        assert!(!request.path.contains(SECRET), "{provider:?}: {}", request.path);

        let mut up = Setup::new(provider, &stub).up().await;
        assert!(completed(&up.run("Hi").await.0), "{provider:?}");
        let request = &stub.requests()[1];
        assert_eq!(request.header(header), None, "{provider:?}: no key is no header");
    }
}

#[tokio::test]
async fn a_missing_key_is_said_at_the_start() {
    let stub = Stub::new([]);
    let setup = Setup::new(Provider::Openai, &stub)
        .with(|spec| spec.models[0].key_env = Some("LOOP_MODEL_KEY_0".into()));
    let error = setup.start().await.err().expect("a failure").0;
    assert_eq!(error.code, "auth");
    assert!(error.message.contains("LOOP_MODEL_KEY_0"), "{}", error.message);
}
