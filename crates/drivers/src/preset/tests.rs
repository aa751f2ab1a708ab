//! Each parser against what its agent really wrote, and against what none would write.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use greenroom_core::agent::{Preset as Name, PresetSpec};
use greenroom_core::approval::{Mode, Policy, Rule};
use greenroom_core::record::OutputKind;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::stream::Answered;
use super::{Said, Which, command, keeps, of};

/// Those of which there are records. docker-agent's stream is tested in its own file.
fn recorded() -> impl Iterator<Item = Name> {
    Name::ALL.into_iter().filter(|preset| *preset != Name::DockerAgent)
}

fn folder(preset: Name) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/recorded").join(preset.as_str())
}

fn record(preset: Name, name: &str) -> String {
    let path = folder(preset).join(format!("{name}.jsonl"));
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn read(preset: Name, name: &str) -> Vec<Said> {
    let mut stream = (of(preset).stream)();
    record(preset, name).lines().flat_map(|line| stream.line(line)).collect()
}

fn said_text(said: &[Said]) -> String {
    said.iter()
        .filter_map(|one| if let Said::Text(text) = one { Some(&**text) } else { None })
        .collect()
}

fn events(said: &[Said], kind: OutputKind) -> Vec<Value> {
    said.iter()
        .filter_map(|one| match one {
            Said::Event(of, data) if *of == kind => Some(data.clone()),
            _ => None,
        })
        .collect()
}

fn conversations(said: &[Said]) -> Vec<&str> {
    let names = said.iter().filter_map(|one| match one {
        Said::Conversation(id) => Some(&**id),
        _ => None,
    });
    let mut names: Vec<_> = names.collect();
    names.dedup();
    names
}

fn failures(said: &[Said]) -> Vec<(&str, &str)> {
    said.iter()
        .filter_map(|one| match one {
            Said::Failed(error) => Some((&*error.code, &*error.message)),
            _ => None,
        })
        .collect()
}

#[test]
fn a_run_with_a_tool_reads() {
    let tools = BTreeMap::from([
        (Name::Claude, "Write"),
        (Name::Codex, "shell"),
        (Name::Opencode, "write"),
        (Name::Pi, "write"),
        (Name::Qwen, "write_file"),
        (Name::Gemini, "write_file"),
        (Name::Copilot, "create"),
    ]);
    for preset in recorded() {
        let said = read(preset, "tool");
        let text = said_text(&said);
        assert_eq!(
            text, "I will do it now.Done: it is written.\nThat was all.",
            "{preset:?}: what came in pieces is said once"
        );
        let calls = events(&said, OutputKind::ToolCall);
        let [call] = &calls[..] else { panic!("{preset:?}: {calls:?}") };
        assert_eq!(call["tool"], tools[&preset], "{preset:?}");
        let input = call["input"].to_string();
        assert!(input.contains(&format!("hello from {}", preset.as_str())), "{preset:?}: {input}");
        let results = events(&said, OutputKind::ToolResult);
        let [result] = &results[..] else { panic!("{preset:?}: {results:?}") };
        assert_eq!(result["id"], call["id"], "{preset:?}");
        assert_eq!(result["is_error"], false, "{preset:?}");
        assert_eq!(conversations(&said).len(), 1, "{preset:?}: {said:?}");
        assert_eq!(failures(&said), [], "{preset:?}");
        assert_eq!(said.last(), Some(&Said::Done), "{preset:?}");
        assert_eq!(said.iter().filter(|one| **one == Said::Done).count(), 1, "{preset:?}");
    }
}

#[test]
fn usage_is_what_the_endpoint_counted() {
    for preset in recorded() {
        let usage = events(&read(preset, "tool"), OutputKind::Usage);
        let sum = |field: &str| usage.iter().filter_map(|one| one[field].as_u64()).sum::<u64>();
        // Copilot tells no tokens.
        let expected = if preset == Name::Copilot { (0, 0) } else { (270, 46) };
        assert_eq!((sum("input_tokens"), sum("output_tokens")), expected, "{preset:?}");
    }
}

#[test]
fn a_resumed_conversation_has_the_same_name() {
    for preset in recorded() {
        let (first, second) = (read(preset, "tool"), read(preset, "resume"));
        assert_eq!(conversations(&first), conversations(&second), "{preset:?}");
        assert_eq!(said_text(&second), "I remember what came before.", "{preset:?}");
        assert_eq!(second.last(), Some(&Said::Done), "{preset:?}");
    }
}

#[test]
fn an_error_of_the_model_is_one() {
    for preset in recorded() {
        let said = read(preset, "error");
        let failed = failures(&said);
        let [(code, message)] = failed[..] else { panic!("{preset:?}: {said:?}") };
        assert_eq!(code, "model_error", "{preset:?}");
        assert!(message.contains("scripted bad request"), "{preset:?}: {message}");
        // Qwen streams the error as its answer, too.
        if preset != Name::Qwen {
            assert_eq!(said_text(&said), "", "{preset:?}: an error is no answer");
        }
    }
}

#[test]
fn thoughts_are_no_answer() {
    for preset in [Name::Claude, Name::Codex, Name::Opencode, Name::Pi] {
        let said = read(preset, "think");
        assert_eq!(said_text(&said), "It is 42.", "{preset:?}");
        let thoughts = events(&said, OutputKind::Thought);
        assert_eq!(thoughts, [json!({"text": "Let me think about it."})], "{preset:?}");
    }
}

#[test]
fn what_was_refused_is_an_error_of_the_tool() {
    for (preset, name) in [
        (Name::Claude, "deny"),
        (Name::Claude, "interrupt"),
        (Name::Opencode, "refused"),
        (Name::Qwen, "refused"),
        (Name::Gemini, "refused"),
        (Name::Copilot, "refused"),
    ] {
        let results = events(&read(preset, name), OutputKind::ToolResult);
        assert_eq!(results.len(), 1, "{preset:?} {name}");
        assert_eq!(results[0]["is_error"], true, "{preset:?} {name}: {results:?}");
    }
}

#[test]
fn opencode_goes_no_further_after_a_refusal() {
    let unsaid = |name| {
        let mut stream = (of(Name::Opencode).stream)();
        let said: Vec<_> =
            record(Name::Opencode, name).lines().flat_map(|line| stream.line(line)).collect();
        (said.contains(&Said::Done), stream.unsaid().map(|error| error.code))
    };
    assert_eq!(unsaid("refused"), (false, Some("refused".to_owned())));
    assert_eq!(unsaid("tool"), (true, None));
}

#[test]
fn claude_asks_about_every_use_and_takes_answers() {
    let mut stream = (of(Name::Claude).stream)();
    let said: Vec<_> =
        record(Name::Claude, "tool").lines().flat_map(|line| stream.line(line)).collect();
    let Some(Said::Reply(reply)) = said.iter().find(|one| matches!(one, Said::Reply(_))) else {
        panic!("the hook is answered: {said:?}")
    };
    assert_eq!(reply["response"]["response"]["hookSpecificOutput"]["permissionDecision"], "ask");
    let question = said.iter().find_map(|one| match one {
        Said::Ask(question) => Some(question),
        _ => None,
    });
    let question = question.expect("it asks");
    assert_eq!((question.tool.as_str(), question.reads), ("Write", false));
    let answer = |stream: &mut dyn super::Stream, answered| {
        let line = stream.answer(question, answered).expect("a line");
        assert_eq!(line["response"]["request_id"], question.request);
        line["response"]["response"].clone()
    };
    let allow = answer(&mut *stream, Answered::Allow);
    assert_eq!(allow, json!({"behavior": "allow", "updatedInput": question.input}));
    let deny = answer(&mut *stream, Answered::Deny { reason: "no".into() });
    assert_eq!(deny, json!({"behavior": "deny", "message": "no"}));

    let over = read(Name::Claude, "interrupt");
    assert!(over.iter().any(|one| matches!(one, Said::AskOver(_))), "{over:?}");
    let unknown = read(Name::Claude, "unknown");
    let words = of(Name::Claude).unknown;
    assert!(failures(&unknown)[0].1.contains(words[0]), "{unknown:?}");
}

#[test]
fn commands_are_whole() {
    let line = |preset, mode, which| {
        let spec = PresetSpec {
            preset,
            program: Some("/opt/x".into()),
            args: vec!["-m".into(), "big".into()],
        };
        command(of(preset), &spec, mode, which).join(" ")
    };
    let fresh = Which::Fresh { id: "new" };
    let resume = Which::Resume { id: "old" };
    assert_eq!(
        line(Name::Codex, Mode::Autonomous, resume),
        "/opt/x exec --json --skip-git-repo-check --dangerously-bypass-approvals-and-sandbox \
         -m big resume old -"
    );
    assert_eq!(
        line(Name::Codex, Mode::Balanced, fresh),
        "/opt/x exec --json --skip-git-repo-check -c sandbox_mode=\"read-only\" -m big -"
    );
    assert_eq!(
        line(Name::DockerAgent, Mode::Autonomous, resume),
        "/opt/x run --exec --json --yolo default -m big --session old -"
    );
    let copilot = line(Name::Copilot, Mode::Strict, fresh);
    assert_eq!(copilot, "/opt/x --output-format json -m big --session-id=new");
    for preset in Name::ALL {
        assert!(line(preset, Mode::Balanced, resume).contains("old"), "{preset:?}");
        let bold = ["dangerously", "yolo", "allow-all", "auto"];
        for mode in [Mode::Strict, Mode::Balanced] {
            let line = line(preset, mode, fresh);
            assert!(!bold.iter().any(|word| line.contains(word)), "{preset:?}: {line}");
        }
    }
}

#[test]
fn rules_that_nobody_keeps_are_refused() {
    let mut policy = Policy { mode: Mode::Autonomous, ..Policy::default() };
    for preset in Name::ALL {
        assert!(keeps(of(preset), preset.as_str(), &policy).is_ok(), "{preset:?}");
    }
    policy.deny.push(Rule("Bash(rm *)".into()));
    for preset in Name::ALL {
        let kept = keeps(of(preset), preset.as_str(), &policy);
        assert_eq!(kept.is_ok(), preset == Name::Claude, "{preset:?}");
        if let Err(super::Failure(error)) = kept {
            assert_eq!(error.code, "start_error");
            assert!(error.message.contains("approvals.deny"), "{}", error.message);
        }
    }
}

#[test]
fn a_line_that_is_no_object_is_a_log() {
    for preset in Name::ALL {
        let mut stream = (of(preset).stream)();
        for line in ["plain words", "[1,2]", "\"text\"", "{broken"] {
            let log = json!({"stream": "stdout", "text": line});
            assert_eq!(stream.line(line), [Said::Event(OutputKind::Log, log)], "{preset:?}");
        }
        assert_eq!(stream.line("  "), []);
        assert_eq!(stream.line(r#"{"type":"a kind of next year"}"#), []);
    }
}

/// A line that was written, with something of it changed.
fn bent() -> impl Strategy<Value = (Name, String)> {
    let lines: Vec<(Name, String)> = recorded()
        .flat_map(|preset| {
            let record = format!("{}{}", record(preset, "tool"), record(preset, "error"));
            record.lines().map(|line| (preset, line.to_owned())).collect::<Vec<_>>()
        })
        .collect();
    let junk =
        prop::sample::select(vec!["null", "[]", "{}", "7", "\"x\"", "-1e400", "[{}]", "\"\""]);
    (prop::sample::select(lines), any::<prop::sample::Index>(), junk).prop_map(
        |((preset, line), at, junk)| {
            let colons: Vec<usize> = line.match_indices(':').map(|(at, _)| at + 1).collect();
            if colons.is_empty() {
                return (preset, line);
            }
            let at = colons[at.index(colons.len())];
            // The value there, as far as a glance tells.
            let end = line[at..].find([',', '}']).map_or(line.len(), |end| at + end);
            (preset, format!("{}{junk}{}", &line[..at], &line[end..]))
        },
    )
}

proptest! {
    #[test]
    fn no_line_is_too_strange((preset, line) in bent(), any in "\\PC*") {
        let mut stream = (of(preset).stream)();
        stream.line(&line);
        stream.line(&any);
        stream.line(&line);
    }
}
