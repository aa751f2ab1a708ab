//! Settings that are edited in the middle of a turn.

use greenroom_core::Settings;
use greenroom_core::approval::{Mode, Policy, Rule};
use greenroom_core::loop_spec::*;
use serde_json::Value;

use crate::fixture::*;
use crate::stub::{Step, Stub, stream};
use crate::wire;

/// Calls of the shell, one a reply, and an answer at the end.
fn script(commands: &[&str]) -> Vec<Vec<Step>> {
    let events = |said: &wire::Said<'_>| stream(&wire::events(Provider::Openai, said));
    let call = |(at, command): (usize, &&str)| {
        let input = format!(r#"{{"command":"{command}"}}"#);
        let id = format!("c{at}");
        events(&wire::calls(&[(id.as_str(), "shell", input.as_str())]))
    };
    let mut script: Vec<_> = commands.iter().enumerate().map(call).collect();
    script.push(events(&wire::text(&["Done."])));
    script
}

/// A turn that waits for its first answer, and what is asked.
async fn asked(stub: &Stub, commands: usize) -> (Loop, Value) {
    let mut setup = Setup::new(Provider::Openai, stub).tools(&[LoopTool::Shell]);
    setup.open.settings.approvals = Policy::default();
    let mut up = setup.up().await;
    up.prompt("Go");
    let ask = up.until("ask").await.pop().expect("a question");
    assert!(commands > 0 && stub.bodies().len() == 1);
    (up, ask)
}

fn policy(mode: Mode, deny: &[&str]) -> Policy {
    let deny = deny.iter().map(|rule| Rule((*rule).to_owned())).collect();
    Policy { mode, deny, ..Policy::default() }
}

fn approvals(approvals: Policy) -> Settings {
    Settings { approvals, ..Settings::default() }
}

fn outputs(lines: &[Value]) -> Vec<&str> {
    of(lines, "tool_result").iter().map(|line| line["output"].as_str().expect("text")).collect()
}

#[tokio::test]
async fn a_policy_counts_from_the_next_use_of_a_tool_on() {
    let stub = Stub::new(script(&["echo one", "echo two", "echo three"]));
    let (mut up, ask) = asked(&stub, 3).await;
    up.settle(approvals(policy(Mode::Autonomous, &["shell(echo three*)"])));
    // What was open stays a person's to answer.
    up.answer(&ask, None);
    let (outcome, lines) = up.end().await;
    assert!(completed(&outcome), "{outcome:?}");
    assert_eq!(of(&lines, "ask").len(), 0, "nothing more was asked: {lines:#?}");
    let decided: Vec<&Value> =
        of(&lines, "approval.decided").iter().map(|line| &line["decision"]).collect();
    assert_eq!(decided, ["allow", "deny"]);
    let outputs = outputs(&lines);
    assert!(outputs[0].contains("one") && outputs[1].contains("two"), "{outputs:?}");
    assert!(outputs[2].contains("not allowed: denied by rule deny"), "{outputs:?}");
}

#[tokio::test]
async fn an_edit_is_the_later_word_and_a_repetition_is_none() {
    let stub = Stub::new(script(&["echo one", "echo two", "echo three"]));
    let (mut up, ask) = asked(&stub, 3).await;
    up.answer(&ask, Some("allow_tool"));
    up.until("tool_result").await;
    // Said again, as after a restart of the runner: what was allowed stays allowed.
    up.settle(approvals(Policy::default()));
    up.until("tool_result").await;
    let third = up.until("tool_result").await;
    assert_eq!(of(&third, "ask").len(), 0, "{third:#?}");
    assert!(completed(&up.end().await.0));
    // Another policy counts for what was allowed before it, too.
    script(&["echo four"]).into_iter().for_each(|answer| stub.push(answer));
    up.settle(approvals(policy(Mode::Strict, &[])));
    up.prompt("More");
    let ask = up.until("ask").await.pop().expect("a question");
    up.answer(&ask, None);
    assert!(completed(&up.end().await.0));
}

/// The agent goes on only once both are there, and the order in which they came counts.
#[tokio::test]
async fn of_an_answer_and_an_edit_the_later_one_counts() {
    let stub = Stub::new(script(&["echo one", "echo two", "echo three"]));
    let (mut up, ask) = asked(&stub, 3).await;
    up.answer(&ask, Some("allow_all"));
    up.settle(approvals(policy(Mode::Strict, &[])));
    let asked = loop {
        let line = up.next().await;
        assert_ne!(line["type"], "ended", "the edit is the later word");
        if line["type"] == "ask" {
            break line;
        }
    };
    up.settle(approvals(policy(Mode::Strict, &["fetch"])));
    up.answer(&asked, Some("allow_tool"));
    let (outcome, lines) = up.end().await;
    assert!(completed(&outcome), "{outcome:?}");
    assert_eq!(of(&lines, "ask").len(), 0, "the answer is the later word: {lines:#?}");
    assert_eq!(outputs(&lines).len(), 2);
}

#[tokio::test]
async fn a_model_counts_from_its_next_call_on() {
    let stub = Stub::new(script(&["echo one"]));
    let (mut up, ask) = asked(&stub, 1).await;
    let chosen = ModelSpec { model: "other".to_owned(), ..model(Provider::Openai, &stub) };
    up.settle(Settings { model: Some(chosen), ..Settings::default() });
    up.answer(&ask, None);
    let (outcome, lines) = up.end().await;
    assert!(completed(&outcome), "{outcome:?}");
    let asked: Vec<Value> = stub.bodies().iter().map(|body| body["model"].clone()).collect();
    assert_eq!(asked, ["m", "other"]);
    let used = of(&lines, "usage");
    assert_eq!(used.last().expect("usage")["model"], "openai/other");
    // Taken back, it is the description's own again.
    script(&[]).into_iter().for_each(|answer| stub.push(answer));
    up.settle(Settings::default());
    assert!(completed(&up.run("More").await.0));
    assert_eq!(stub.bodies().last().expect("a call")["model"], "m");
}

#[tokio::test]
async fn a_model_whose_key_is_not_there_is_said_and_not_taken() {
    let stub = Stub::new(script(&["echo one"]));
    let (mut up, ask) = asked(&stub, 1).await;
    let mut chosen = model(Provider::Openai, &stub);
    (chosen.model, chosen.key_env) = ("other".to_owned(), Some("NO_SUCH_KEY".to_owned()));
    up.settle(Settings { model: Some(chosen), ..Settings::default() });
    up.answer(&ask, None);
    let (outcome, lines) = up.end().await;
    assert!(completed(&outcome), "{outcome:?}");
    let warned: Vec<&str> =
        of(&lines, "log").iter().map(|line| line["text"].as_str().expect("text")).collect();
    assert_eq!(warned.len(), 1, "once: {warned:?}");
    assert!(warned[0].contains("stays what it is") && warned[0].contains("NO_SUCH_KEY"));
    assert_eq!(stub.bodies()[1]["model"], "m");
}

#[tokio::test]
async fn another_model_is_a_way_out_of_one_that_is_away() {
    let away = vec![Step::Bytes(b"HTTP/1.1 503 Away\r\ncontent-length: 0\r\n\r\n".to_vec())];
    let stub = Stub::new(std::iter::once(away).chain(script(&[])));
    let setup = Setup::new(Provider::Openai, &stub)
        .with(|spec| spec.retry_ms = greenroom_core::Ms::secs(600));
    let mut up = setup.up().await;
    up.prompt("Go");
    let tried = up.until("session.agent_info").await.pop().expect("it is tried again");
    assert_eq!((&tried["about"], &tried["next"]), (&"discard".into(), &"retry".into()));
    let chosen = ModelSpec { model: "other".to_owned(), ..model(Provider::Openai, &stub) };
    up.settle(Settings { model: Some(chosen), ..Settings::default() });
    assert!(completed(&up.end().await.0));
    assert_eq!(stub.bodies()[1]["model"], "other");
}

#[tokio::test]
async fn a_member_of_a_team_works_with_what_was_chosen_for_it() {
    let stub = Stub::new([script(&[]), script(&[]), script(&[])].concat());
    let own = |name: &str| ModelSpec { model: name.to_owned(), ..model(Provider::Openai, &stub) };
    let helper: greenroom_core::AgentName = "helper".parse().expect("a name");
    let mut setup = Setup::new(Provider::Openai, &stub).with(|spec| {
        let mate = LoopSpec { models: vec![own("mates")], ..spec.clone() };
        spec.team.insert(helper.clone(), mate);
    });
    setup.open.settings.models.insert(helper.clone(), own("chosen"));
    let mut up = setup.up().await;
    assert!(completed(&up.run(r#"{"agent":"helper","task":"do"}"#).await.0));
    up.settle(Settings { model: Some(own("all")), ..Settings::default() });
    assert!(completed(&up.run("More").await.0));
    up.settle(Settings::default());
    assert!(completed(&up.run("More").await.0));
    let asked: Vec<Value> = stub.bodies().iter().map(|body| body["model"].clone()).collect();
    assert_eq!(asked, ["chosen", "all", "mates"]);
}
