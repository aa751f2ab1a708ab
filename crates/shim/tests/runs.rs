//! Runs: what goes in, what comes out, how they end.

mod common;

use common::*;
use greenroom_core::RecordBody;
use greenroom_core::agent::{Leftovers, PromptVia, Stdout};
use greenroom_core::receipt::{Action, EndReason, Exit, Means};
use greenroom_core::record::{Outcome, OutputKind};
use greenroom_shim::wire::{FromShim, RunInput, ShimPhase, ToShim};
use serde_json::json;

#[test]
fn a_run_from_prompt_to_receipt() {
    let (mut shim, mut talk, run) =
        sh("cat; echo; echo \"$HOME\"; pwd; echo bad >&2; env").start_run("hello, you");
    let heard = talk.closed();
    let receipt = shim.end();
    assert_eq!(heard, receipt);
    assert_eq!(receipt.reason, EndReason::Done);
    assert_eq!(receipt.survivors, 0);
    assert_eq!(receipt.processes_seen, 1);
    assert_eq!(receipt.leftovers, 0);
    assert_eq!(receipt.exit, Some(Exit::Code(0)));
    let means: Vec<_> = receipt.proof.iter().map(|proof| proof.means).collect();
    assert_eq!(means, [Means::NoChildLeft, Means::CgroupEmpty]);
    let completed = Outcome::Completed { result: None };
    assert_eq!(shim.outcome(run), Some(completed.clone()));
    assert_eq!(receipt.last_run.as_ref().unwrap().outcome, Some(completed));

    let (home, workspace) = (shim.setup.spec.home.clone(), shim.workspace().to_owned());
    let text = shim.text();
    let begin = format!("hello, you\n{}\n{}\n", home.display(), workspace.display());
    assert!(text.starts_with(&begin), "{text}");
    // Nothing of the shim's own environment is there.
    let environment = text.strip_prefix(&begin).unwrap();
    let names: Vec<_> = environment.lines().filter_map(|line| line.split('=').next()).collect();
    assert!(!names.contains(&"CARGO_MANIFEST_DIR"), "{names:?}");
    assert_eq!(shim.texts(OutputKind::Log), "bad\n");
    assert_eq!(talk.deltas, text);

    let journal = shim.journal();
    assert_eq!(journal[0], RecordBody::Ready);
    assert_eq!(journal[1], RecordBody::RunStarted { run });
    assert!(matches!(journal[journal.len() - 2], RecordBody::RunEnded { .. }));
    assert!(matches!(journal[journal.len() - 1], RecordBody::Receipt { .. }));
    assert!(!journal.iter().any(|body| matches!(body, RecordBody::Closing { .. })));
    // Nothing is left beside the journal and the receipt.
    assert!(!shim.setup.spec.cgroups.kill.as_ref().unwrap().exists());
    assert!(!shim.dir().join("closed.reserve").exists());
    assert!(!shim.dir().join("journal.shim.reserve").exists());
}

#[test]
fn the_agent_has_nothing_of_its_supervisor() {
    let script = "nice; ls /proc/$$/fd | tr '\n' ' '; echo; \
        grep -E '^(SigBlk|SigIgn)' /proc/self/status; cat /proc/$$/oom_score_adj; ulimit -n; umask";
    let (mut shim, mut talk, _) = Setup::new(&["/bin/bash", "-c", script]).start_run("");
    talk.closed();
    shim.end();
    let text = shim.text();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines[0], "0");
    // 255 is bash's own.
    assert_eq!(lines[1].trim_end_matches(" 255 ").trim(), "0 1 2", "{text}");
    let masks: Vec<_> = lines[2..4].iter().map(|line| line.split_once('\t').unwrap().1).collect();
    assert_eq!(masks, ["0000000000000000"; 2], "{text}");
    assert_eq!(lines[4], "300");
    assert_eq!(lines[6], "0022");
}

#[test]
fn prompts_by_argument_and_environment_and_input_as_json() {
    for (via, script) in
        [(PromptVia::Arg, "echo \"$0\"; cat"), (PromptVia::Env, "echo \"$GREENROOM_PROMPT\"; cat")]
    {
        let setup = sh(script).driven(|command| command.prompt_via = via);
        let (mut shim, mut talk) = setup.start();
        talk.run_input(RunInput::Input(json!({"n": 1})));
        assert_eq!(talk.closed().reason, EndReason::Done);
        shim.end();
        assert_eq!(shim.text(), "{\"n\":1}\n");
    }
}

#[test]
fn a_long_prompt_that_nobody_reads_harms_nobody() {
    let prompt = "x".repeat(3 << 20);
    let (mut shim, mut talk, run) = sh("echo done").start_run(&prompt);
    talk.closed();
    assert_eq!(shim.end().reason, EndReason::Done);
    assert_eq!(shim.outcome(run), Some(Outcome::Completed { result: None }));

    let (mut shim, mut talk, _) = sh("wc -c").start_run(&prompt);
    talk.closed();
    shim.end();
    assert_eq!(shim.text().trim(), "3145728");
}

#[test]
fn abnormal_ends_have_their_names() {
    for (script, code, reason, exit) in [
        ("exit 3", "exit", EndReason::Exit, Exit::Code(3)),
        ("kill -SEGV $$", "signal", EndReason::Signal, Exit::Signal(libc::SIGSEGV)),
    ] {
        let (mut shim, mut talk, run) = sh(script).start_run("");
        talk.closed();
        let receipt = shim.end();
        assert_eq!((receipt.reason, receipt.exit), (reason, Some(exit)));
        let outcome = shim.outcome(run).unwrap();
        assert_eq!(code_of(&outcome), code);
    }
}

#[test]
fn what_cannot_be_executed_says_what_and_why() {
    for (program, words) in [
        ("no-such-program-anywhere", "is not in the agent's PATH"),
        ("/etc/passwd", "cannot be executed: Permission denied"),
        ("./missing", "cannot be executed: No such file"),
    ] {
        let (mut shim, mut talk, run) = Setup::new(&[program]).start_run("x");
        talk.closed();
        let receipt = shim.end();
        assert_eq!(receipt.reason, EndReason::StartError);
        let detail = receipt.detail.unwrap();
        assert!(detail.contains(words) && detail.contains(program), "{detail}");
        assert_eq!(code_of(&shim.outcome(run).unwrap()), "start_error");
        let closing = RecordBody::Closing { reason: EndReason::StartError };
        assert!(shim.journal().contains(&closing));
    }
    let setup = Setup::new(&["no-such-program-anywhere"]).persistent();
    let (mut shim, mut talk) = setup.start();
    assert_eq!(talk.closed().reason, EndReason::StartError);
    assert!(shim.end().last_run.is_none());
}

#[test]
fn bytes_that_are_no_text_stay_readable() {
    let script = "printf 'a\\377b\\303'; sleep 0.05; printf '\\251\\342\\202'; printf '\\nend'";
    let (mut shim, mut talk, _) = sh(script).start_run("");
    talk.closed();
    shim.end();
    assert_eq!(shim.text(), "a\u{fffd}bé\u{fffd}\nend");
    assert_eq!(talk.deltas, shim.text());
}

#[test]
fn json_lines_are_events_in_order() {
    let script = r#"echo before
        echo '{"type":"thought","text":"hm"}'
        echo '{"type":"tool_call","name":"ls","args":[1]}'
        echo '{"type":"message","text":"hi"}'
        echo '{"type":"unknown"}'
        echo '{"type":"result","result":{"ok":true}}'
        printf after"#;
    let setup = sh(script).driven(|command| command.stdout = Stdout::Jsonl);
    let (mut shim, mut talk, run) = setup.start_run("");
    talk.closed();
    shim.end();
    let outputs: Vec<_> = shim
        .journal()
        .into_iter()
        .filter_map(|body| match body {
            RecordBody::Output { run: of, kind, data } => {
                assert_eq!(of, Some(run));
                Some((kind, data))
            }
            _ => None,
        })
        .collect();
    let text = |text: &str, part: u32| {
        let data =
            json!({"role": "agent", "text": text, "part": part, "from": 0, "to": text.len()});
        (OutputKind::Message, data)
    };
    let expected = [
        text("before\n", 0),
        (OutputKind::Thought, json!({"text": "hm"})),
        (OutputKind::ToolCall, json!({"name": "ls", "args": [1]})),
        (OutputKind::Message, json!({"role": "agent", "text": "hi"})),
        text("{\"type\":\"unknown\"}\n", 1),
        text("after", 2),
    ];
    assert_eq!(outputs, expected);
    let result = Some(json!({"ok": true}));
    assert_eq!(shim.outcome(run), Some(Outcome::Completed { result }));
}

const ECHO: &str = r#"echo up
    while read -r line; do
        echo "got $line"
        echo complaint >&2
        case "$line" in
            *leave*) exit 0;;
            *crash*) exit 4;;
        esac
        printf '{"type":"result","result":%s}\n' "$line"
    done"#;

#[test]
fn a_persistent_agent_answers_one_run_after_another() {
    let (mut shim, mut talk) = sh(ECHO).persistent().start();
    shim.until_journal("ready", |body| *body == RecordBody::Ready);
    let mut runs = Vec::new();
    for n in 0..3 {
        let run = match n {
            2 => talk.run_input(RunInput::Input(json!([n]))),
            _ => talk.run(&format!("prompt {n}")),
        };
        shim.until_journal(
            "the end of the run",
            |body| matches!(body, RecordBody::RunEnded { run: ended, .. } if *ended == run),
        );
        runs.push(run);
    }
    let result = json!({"run": runs[2], "input": [2]});
    let completed = Outcome::Completed { result: Some(result) };
    assert_eq!(shim.outcome(runs[2]), Some(completed.clone()));
    let logs = shim.journal().into_iter().filter(|body| match body {
        RecordBody::Output { run, kind: OutputKind::Log, .. } => run.is_some(),
        _ => false,
    });
    assert_eq!(logs.count(), 3);

    // A repeated run is no new run.
    talk.say(&ToShim::Run { run: runs[2], input: RunInput::Input(json!([2])) });
    talk.stop(5000);
    let receipt = talk.closed();
    assert_eq!(receipt.reason, EndReason::User);
    assert_eq!(receipt.last_run.unwrap().outcome, Some(completed));
    shim.end();
    let starts = |body: &&RecordBody| matches!(body, RecordBody::RunStarted { .. });
    assert_eq!(shim.journal().iter().filter(starts).count(), 3);
}

#[test]
fn a_persistent_agent_that_ends_without_an_answer_has_failed() {
    for (prompt, reason) in [("leave", EndReason::Exit), ("crash", EndReason::Exit)] {
        let (mut shim, mut talk, run) = sh(ECHO).persistent().start_run(prompt);
        assert_eq!(talk.closed().reason, reason);
        shim.end();
        let outcome = shim.outcome(run).unwrap();
        assert_eq!(code_of(&outcome), "exit");
        assert!(format!("{outcome:?}").contains("without a result"), "{outcome:?}");
    }
    // An answer on the way out counts.
    let script = "read -r line; echo '{\"type\":\"result\",\"result\":1}'";
    let (mut shim, mut talk, run) = sh(script).persistent().start_run("x");
    assert_eq!(talk.closed().reason, EndReason::Done);
    shim.end();
    let result = Some(json!(1));
    assert_eq!(shim.outcome(run), Some(Outcome::Completed { result }));
}

#[test]
fn a_persistent_agent_that_leaves_while_idle_is_done() {
    let (mut shim, mut talk) = sh("exit 0").persistent().start();
    assert_eq!(talk.closed().reason, EndReason::Done);
    assert!(shim.end().last_run.is_none());
}

#[test]
fn the_end_of_a_run_does_not_wait_for_what_it_left_behind() {
    let mark = mark();
    let script = format!("echo answer; (exec {AGENT} wait {mark}) & exit 0");
    let (mut shim, mut talk, run) = sh(&script).start_run("");
    let receipt = talk.closed();
    assert_eq!(receipt.reason, EndReason::Done);
    assert_eq!(receipt.leftovers, 1);
    assert_eq!(receipt.survivors, 0);
    assert_none_marked(&mark);
    shim.end();
    assert_eq!(shim.text(), "answer\n");
    let journal = shim.journal();
    let at = |wanted: &dyn Fn(&RecordBody) -> bool| journal.iter().position(wanted).unwrap();
    let ended = at(&|body| matches!(body, RecordBody::RunEnded { .. }));
    let closing = at(&|body| *body == RecordBody::Closing { reason: EndReason::Done });
    assert!(ended < closing);
    assert_eq!(shim.outcome(run), Some(Outcome::Completed { result: None }));
}

#[test]
fn leftovers_can_be_kept_and_the_compute_with_them() {
    let mark = mark();
    let script = format!("read -r line; echo \"$line\"; (exec {AGENT} wait {mark}) & exit 0");
    let setup = sh(&script).with(|spec| spec.leftovers = Leftovers::Keep);
    let (mut shim, mut talk, first) = setup.start_run("one\n");
    let ended = |run| move |body: &RecordBody| matches!(body, RecordBody::RunEnded { run: r, .. } if *r == run);
    shim.until_journal("the first end", ended(first));
    let second = talk.run("two\n");
    shim.until_journal("the second end", ended(second));
    assert_eq!(shim.text(), "one\ntwo\n");
    assert_eq!(marked(&mark), 2);
    let phase = shim.talk().hello;
    assert!(matches!(phase, Some(FromShim::Hello { phase: ShimPhase::Up, .. })));
    talk.stop(300);
    let receipt = talk.closed();
    assert_eq!((receipt.reason, receipt.survivors), (EndReason::User, 0));
    assert_none_marked(&mark);
    shim.end();
}

#[test]
fn steps_of_a_natural_end_are_in_order() {
    let (mut shim, mut talk, _) = sh("true").start_run("");
    talk.closed();
    let steps: Vec<_> = shim.end().steps.iter().map(|step| step.action).collect();
    assert_eq!(steps, [Action::Seen, Action::LeaderExited, Action::Proven]);
}
