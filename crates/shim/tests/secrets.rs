//! An agent that says its secrets: nobody keeps or hears them.

mod common;

use common::*;
use greenroom_core::RecordBody;
use greenroom_core::agent::Stdout;
use greenroom_core::receipt::EndReason;
use greenroom_core::record::{Outcome, OutputKind};
use greenroom_shim::wire::FromShim;
use serde_json::json;

const KEY: &str = "s3cr3t \"qu0t3d\"/\\é-0123456789";

/// `$quoted` is `$KEY` as JSON has it; `say` is an `echo` that lets backslashes be.
const QUOTE: &str =
    r#"say() { printf '%s\n' "$1"; }; quoted=$(printf %s "$KEY" | sed 's/[\\"]/\\&/g')"#;

/// Everything that is on disk of a compute.
fn on_disk(shim: &Shim) -> Vec<u8> {
    let files = std::fs::read_dir(shim.dir()).unwrap().flatten();
    let files = files.filter(|entry| entry.file_type().unwrap().is_file());
    files.flat_map(|entry| std::fs::read(entry.path()).unwrap()).collect()
}

fn assert_unsaid(bytes: &[u8], what: &str) {
    for part in ["s3cr3t", "qu0t3d", "0123456789"] {
        let found = bytes.windows(part.len()).any(|window| window == part.as_bytes());
        assert!(!found, "{part} in {what}");
    }
}

#[test]
fn text_is_kept_and_told_live_without_secrets() {
    // The second one comes in two reads, the first part of which is awaited.
    let script = format!(
        r#"{QUOTE}; mkfifo go; say "one $KEY!"; printf 'two %.9s' "$KEY"; read -r word < go
        say "${{KEY#?????????}} and more"; say "three $KEY" >&2; say "{{\"k\":\"$quoted\"}}""#
    );
    let (mut shim, mut talk, run) = sh(&script).secret("KEY", KEY).start_run("");
    while !talk.deltas.contains("two ") {
        if let FromShim::Delta { offset, text, .. } = talk.hear() {
            assert_eq!(offset, talk.deltas.len() as u64);
            talk.deltas.push_str(&text);
        }
    }
    std::fs::write(shim.workspace().join("go"), "go\n").unwrap();
    let receipt = talk.closed();
    shim.end();
    let label = "[secret key]";
    let text = format!("one {label}!\ntwo {label} and more\n{{\"k\":\"{label}\"}}\n");
    assert_eq!(shim.text(), text);
    assert!(text.starts_with(&talk.deltas), "{:?}", talk.deltas);
    assert_eq!(shim.texts(OutputKind::Log), format!("three {label}\n"));
    assert_eq!(shim.outcome(run), Some(Outcome::Completed { result: None }));
    assert_unsaid(&on_disk(&shim), "the control folder");
    assert_unsaid(format!("{receipt:?}").as_bytes(), "the receipt");
}

#[test]
fn events_and_results_are_cleaned_and_stay_what_they_are() {
    let script = format!(
        r#"{QUOTE}
        say "{{\"type\":\"tool_call\",\"name\":\"curl\",\"args\":[\"-H\",\"Key: $quoted\"],\"pin\":$PIN}}"
        say "not an event: $KEY"
        say "{{\"type\":\"result\",\"result\":{{\"$quoted\":\"$quoted $quoted\"}}}}""#
    );
    let setup = sh(&script).driven(|command| command.stdout = Stdout::Jsonl);
    let setup = setup.secret("KEY", KEY).secret("PIN", "87654321");
    let (mut shim, mut talk, run) = setup.start_run("");
    talk.closed();
    shim.end();
    let events: Vec<_> = shim
        .journal()
        .into_iter()
        .filter_map(|body| match body {
            RecordBody::Output { kind: OutputKind::ToolCall, data, .. } => Some(data),
            _ => None,
        })
        .collect();
    let label = "[secret key]";
    let args = json!(["-H", format!("Key: {label}")]);
    assert_eq!(events, [json!({"name": "curl", "args": args, "pin": "[secret pin]"})]);
    assert_eq!(shim.text(), format!("not an event: {label}\n"));
    let result = Some(json!({label: format!("{label} {label}")}));
    assert_eq!(shim.outcome(run), Some(Outcome::Completed { result }));
    assert_unsaid(&on_disk(&shim), "the control folder");
}

#[test]
fn what_could_not_be_started_is_said_without_secrets() {
    let setup = Setup::new(&["no-such-program"]).secret("PATH", "/nowhere/s3cr3t-0123456789");
    let (mut shim, mut talk, _run) = setup.start_run("");
    let receipt = talk.closed();
    shim.end();
    assert_eq!(receipt.reason, EndReason::StartError);
    let detail = "program \"no-such-program\" is not in the agent's PATH ([secret path])";
    assert_eq!(receipt.detail.as_deref(), Some(detail));
    assert_unsaid(&on_disk(&shim), "the control folder");
}

#[test]
fn a_secret_that_was_only_begun_is_said_at_the_end() {
    let (mut shim, mut talk, _run) = sh("printf 's3cr3t '").secret("KEY", KEY).start_run("");
    talk.closed();
    shim.end();
    assert_eq!(shim.text(), "s3cr3t ");
}
