//! What is asked of a person before it is done.

use greenroom_core::Ms;
use greenroom_core::approval::{Mode, Policy};
use greenroom_core::loop_spec::*;
use serde_json::{Value, json};

use crate::fixture::*;
use crate::stub::{Step, Stub, stream};
use crate::wire;

fn script(calls: &[(&str, &str, &str)]) -> Vec<Vec<Step>> {
    let events = |said: &wire::Said<'_>| stream(&wire::events(Provider::Openai, said));
    vec![events(&wire::calls(calls)), events(&wire::text(&["Done."]))]
}

async fn run(policy: Policy, calls: &[(&str, &str, &str)]) -> (Loop, Vec<Value>) {
    let stub = Stub::new(script(calls));
    let mut setup = Setup::new(Provider::Openai, &stub).tools(&LoopTool::ALL);
    setup.open.settings.approvals = policy;
    let mut up = setup.up().await;
    let (outcome, lines) = up.run("Go").await;
    assert!(completed(&outcome), "{outcome:?}");
    (up, lines)
}

const CHANGES: [(&str, &str, &str); 4] = [
    ("a", "shell", r#"{"command":"echo x > by-shell"}"#),
    ("b", "write_file", r#"{"path":"written","content":"x"}"#),
    ("c", "edit_file", r#"{"path":"there","old":"x","new":"y"}"#),
    ("d", "fetch", r#"{"url":"http://127.0.0.1:1/"}"#),
];

const READS: [(&str, &str, &str); 4] = [
    ("a", "read_file", r#"{"path":"x"}"#),
    ("b", "list", "{}"),
    ("c", "search", r#"{"pattern":"x"}"#),
    ("d", "todo", r#"{"items":[{"text":"x"}]}"#),
];

#[tokio::test]
async fn what_changes_something_is_asked_and_not_done_without_an_answer() {
    let policy = Policy { timeout_ms: Some(Ms(30)), ..Policy::default() };
    let (up, lines) = run(policy, &CHANGES).await;
    let asks = of(&lines, "ask");
    assert_eq!(asks.len(), 4, "{lines:?}");
    assert_eq!(asks[0]["ask"]["tool"], "shell");
    assert_eq!(asks[0]["ask"]["title"], "shell: echo x > by-shell");
    assert_eq!(asks[0]["ask"]["input"], json!({"command": "echo x > by-shell"}));
    for result in of(&lines, "tool_result") {
        assert_eq!(result["is_error"], true);
        let output = result["output"].as_str().expect("text");
        assert!(output.contains("was not allowed: nobody answered in time"), "{output}");
    }
    assert_eq!(std::fs::read_dir(up.dir.path()).expect("a folder").count(), 0);
}

#[tokio::test]
async fn what_only_reads_is_not_asked() {
    let (_, lines) = run(Policy::default(), &READS).await;
    assert_eq!(of(&lines, "ask").len() + of(&lines, "approval.decided").len(), 0, "{lines:?}");
    assert_eq!(of(&lines, "plan")[0]["entries"], json!([{"content": "x", "status": "pending"}]));
}

#[tokio::test]
async fn strict_asks_for_reads_too() {
    let policy = Policy { mode: Mode::Strict, timeout_ms: Some(Ms(30)), ..Policy::default() };
    let (_, lines) = run(policy, &READS).await;
    assert_eq!(of(&lines, "ask").len(), 4, "{lines:?}");
}

#[tokio::test]
async fn headless_is_told_no() {
    let policy = Policy { headless: true, ..Policy::default() };
    let (_, lines) = run(policy, &CHANGES[..1]).await;
    assert_eq!(of(&lines, "approval.decided")[0]["decision"], "deny");
    let output = of(&lines, "tool_result")[0]["output"].as_str().expect("text").to_owned();
    assert!(output.contains("headless"), "{output}");
}
