//! What goes before a conversation, how it is made shorter, and the form of its answers.

use greenroom_core::loop_spec::*;
use greenroom_core::record::Outcome;
use serde_json::{Value, json};

use crate::fixture::*;
use crate::stub::{Step, Stub, json as json_answer, stream};
use crate::wire;

fn said(provider: Provider, text: &str) -> Vec<Step> {
    stream(&wire::events(provider, &wire::text(&[text])))
}

/// What goes before the conversation.
fn system(provider: Provider, body: &Value) -> String {
    match provider {
        Provider::Openai => body["messages"][0].to_string(),
        Provider::OpenaiResponses => format!("{}{}", body["instructions"], body["input"][0]),
        Provider::Anthropic => body["system"].to_string(),
        Provider::Gemini => format!("{}{}", body["systemInstruction"], body["system_instruction"]),
    }
}

#[tokio::test]
async fn the_instruction_goes_before_with_what_is_added_to_it() {
    for provider in Provider::ALL {
        let stub = Stub::new([said(provider, "ok"), said(provider, "ok")]);
        let setup = Setup::new(provider, &stub).with(|spec| {
            spec.instruction = "Be brief.".to_owned();
            spec.add_date = true;
            spec.add_environment_info = true;
            spec.add_prompt_files = vec!["AGENTS.md".to_owned(), "none.md".to_owned()];
        });
        std::fs::write(setup.dir.path().join("AGENTS.md"), "House rules.").expect("written");
        let mut up = setup.up().await;
        let (_, lines) = up.run("Hi").await;
        assert!(of(&lines, "log").is_empty(), "{lines:?}");
        let system_of = |at: usize| system(provider, &stub.bodies()[at]);
        let today = jiff::Zoned::now().date().to_string();
        let folder = up.dir.path().to_str().expect("text").to_owned();
        for part in ["Be brief.", "House rules.", &today, &folder] {
            assert!(system_of(0).contains(part), "{provider:?}: {part} in {}", system_of(0));
        }
        let plain = Setup::new(provider, &stub).with(|spec| spec.instruction = "Be brief.".into());
        plain.up().await.run("Hi").await;
        for part in [&today, &folder, "House"] {
            assert!(!system_of(1).contains(part), "{provider:?}: {part} in {}", system_of(1));
        }
    }
}

#[tokio::test]
async fn options_of_the_model_are_sent() {
    for provider in Provider::ALL {
        let stub = Stub::new([said(provider, "ok")]);
        let setup = Setup::new(provider, &stub).with(|spec| {
            spec.models[0].max_tokens = Some(77);
            spec.models[0].temperature = serde_json::Number::from_f64(0.25);
        });
        setup.up().await.run("Hi").await;
        let body = stub.bodies()[0].to_string();
        assert!(body.contains("77") && body.contains("0.25"), "{provider:?}: {body}");
        assert!(body.contains("\"m\"") || stub.requests()[0].path.contains("/m:"), "{body}");
    }
}

#[tokio::test]
async fn older_turns_are_summed_up_at_the_threshold() {
    let provider = Provider::Openai;
    let long = "word ".repeat(2000);
    let script = || {
        [
            said(provider, &long),
            said(provider, "SUMMED UP"),
            said(provider, "short"),
            said(provider, "x"),
        ]
    };
    let stub = Stub::new(script());
    let setup = Setup::new(provider, &stub).with(|spec| spec.compact_at = Some(2000));
    let mut up = setup.up().await;
    up.run("FIRST").await;
    let (outcome, lines) = up.run("SECOND").await;
    assert!(completed(&outcome), "{outcome:?}");
    let info = of(&lines, "session.agent_info")[0];
    assert_eq!((&info["about"], &info["summary"]), (&json!("compacted"), &json!("SUMMED UP")));
    assert_eq!(text(&lines), "short", "a summary is not said");
    assert_eq!(of(&lines, "usage")[0]["purpose"], "compaction");
    let bodies = stub.bodies();
    assert!(bodies[1].to_string().contains("FIRST") && bodies[1].to_string().contains("word word"));
    let conversation = wire::conversation(provider, &bodies[2]);
    let after = Value::Array(conversation.clone()).to_string();
    assert!(after.contains("SUMMED UP") && after.contains("SECOND"), "{after}");
    assert!(!after.contains("word word"), "{after}");
    assert_eq!(conversation.len(), 1, "{after}");

    let stub = Stub::new(script());
    let mut up = Setup::new(provider, &stub).up().await;
    up.run("FIRST").await;
    let (_, lines) = up.run("SECOND").await;
    assert!(of(&lines, "session.agent_info").is_empty(), "{lines:?}");
}

#[tokio::test]
async fn a_conversation_too_long_for_the_model_is_made_shorter_once() {
    let provider = Provider::Openai;
    let long = json_answer(400, &json!({"error": {"message": "maximum context length exceeded"}}));
    let stub = Stub::new([
        said(provider, &"word ".repeat(500)),
        long.clone(),
        said(provider, "SUMMED UP"),
        said(provider, "fine"),
        long.clone(),
        said(provider, "SUMMED UP AGAIN"),
        long,
    ]);
    let mut up = Setup::new(provider, &stub).up().await;
    up.run("FIRST").await;
    assert!(completed(&up.run("SECOND").await.0));
    // Where that does not help, it is said, and not tried for ever.
    let (outcome, _) = up.run("THIRD").await;
    let (code, message) = failed(&outcome);
    assert_eq!(code, "model_error");
    assert!(message.contains("maximum context length"), "{message}");
    assert_eq!(stub.bodies().len(), 7);
}

fn form() -> Value {
    json!({"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"],
        "additionalProperties": false})
}

#[tokio::test]
async fn a_result_has_its_form() {
    for provider in Provider::ALL {
        let stub = Stub::new([said(provider, "{\"n\": 4}"), said(provider, "{\"n\": 4}")]);
        let mut setup = Setup::new(provider, &stub);
        setup.open.output_schema = Some(form());
        let mut up = setup.up().await;
        let (outcome, _) = up.run("2+2?").await;
        assert_eq!(outcome, Outcome::Completed { result: Some(json!({"n": 4})) }, "{provider:?}");
        // The provider is asked for it, in its own way.
        let body = &stub.bodies()[0];
        let asked = match provider {
            Provider::Openai => &body["response_format"]["json_schema"]["schema"],
            Provider::OpenaiResponses => &body["text"]["format"]["schema"],
            Provider::Anthropic => &body["output_config"]["format"]["schema"],
            Provider::Gemini => &body["generationConfig"],
        };
        assert!(asked.to_string().contains("\"n\""), "{provider:?}: {body}");
        let mut plain = Setup::new(provider, &stub).up().await;
        let (outcome, _) = plain.run("2+2?").await;
        assert_eq!(outcome, Outcome::Completed { result: None }, "{provider:?}");
    }
}

#[tokio::test]
async fn an_answer_of_another_form_is_corrected_or_an_error() {
    let provider = Provider::Openai;
    let fenced = "```json\n{\"n\": 5}\n```";
    let stub =
        Stub::new([said(provider, "four"), said(provider, r#"{"n":"4"}"#), said(provider, fenced)]);
    let setup = || {
        let mut setup = Setup::new(provider, &stub);
        setup.open.output_schema = Some(form());
        setup
    };
    let mut up = setup().up().await;
    let (outcome, lines) = up.run("2+3?").await;
    assert_eq!(outcome, Outcome::Completed { result: Some(json!({"n": 5})) });
    let corrections: Vec<_> =
        of(&lines, "session.agent_info").iter().map(|i| i["text"].to_string()).collect();
    assert!(corrections[0].contains("is not JSON"), "{corrections:?}");
    assert!(corrections[1].contains("at /n"), "{corrections:?}");
    let last = stub.bodies()[2].to_string();
    assert!(last.contains("Your answer is not JSON"), "{last}");

    for _ in 0..3 {
        stub.push(said(provider, "four"));
    }
    let (outcome, _) = up.run("2+2?").await;
    assert_eq!(failed(&outcome).0, "output_schema");
    assert_eq!(stub.bodies().len(), 6);
}
