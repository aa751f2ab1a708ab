//! Computes whose agent is spoken to by a driver: ready, asked, cancelled, stopped.

mod common;

use common::*;
use greenroom_core::agent::{AcpSpec, Driver, Preset, PresetSpec};
use greenroom_core::approval::{Answer, Decision, Mode, Policy};
use greenroom_core::receipt::{Action, EndReason};
use greenroom_core::record::{Outcome, OutputKind, RunError};
use greenroom_core::{ApprovalId, Ms, RecordBody, RunId, Settings};
use greenroom_shim::wire::ToShim;

/// The driver's part, in Python: `said` is the line that came, `say` says one.
fn driver(script: &str) -> Setup {
    let program = "import json, os, signal, sys, time\n\
        def say(**line): print(json.dumps(line), flush=True)\n\
        def lines():\n  for line in sys.stdin: yield json.loads(line)\n";
    let mut setup = Setup::new(&[]).with(|spec| {
        let command = vec!["agent".to_owned()];
        let (mode, config, auth) = (None, Default::default(), None);
        spec.driver = Driver::Acp(AcpSpec { command, mode, config, auth });
    });
    let path = setup.root.path().join("driver");
    std::fs::write(&path, format!("#!/usr/bin/env python3\n{program}{script}")).unwrap();
    let mut permissions = std::fs::metadata(&path).unwrap().permissions();
    std::os::unix::fs::PermissionsExt::set_mode(&mut permissions, 0o755);
    std::fs::set_permissions(&path, permissions).unwrap();
    setup.env.insert("TEST_DRIVER".to_owned(), path.to_str().unwrap().to_owned());
    setup
}

/// The same, for one run.
fn for_one_run(script: &str) -> Setup {
    driver(script).with(|spec| {
        let (preset, program, args) = (Preset::Claude, None, Vec::new());
        spec.driver = Driver::Preset(PresetSpec { preset, program, args });
    })
}

/// One that answers each run with its prompt.
const ECHO: &str = "
for said in lines():
  if said['do'] == 'open':
    say(type='conversation', id='c-%s' % said['session'])
    say(type='ready')
  if said['do'] == 'run':
    say(type='text', text='you said ')
    say(type='text', text=said['prompt'] + '\\n')
    say(type='tool_call', id='t', tool='write', input={'path': 'a'})
    say(type='ended', run=said['run'], outcome={'status': 'completed'})
";

/// One that is told to end its turn, and asks before it begins.
const ASKS: &str = "
run = None
for said in lines():
  if said['do'] == 'open': say(type='ready')
  if said['do'] == 'run':
    run = said['run']
    say(type='ask', ask={'id': '00000000-0000-0000-0000-0000000000aa',
        'kind': 'permission', 'title': 'write a', 'tool': 'write'})
  if said['do'] == 'answer':
    say(type='text', text=said['answer']['decision'] + '\\n')
    say(type='ended', run=run, outcome={'status': 'completed'})
  if said['do'] == 'cancel':
    say(type='ask_over', id='00000000-0000-0000-0000-0000000000aa', reason='cancelled')
    say(type='ended', run=run, outcome={'status': 'stopped'})
";

fn ask_id() -> ApprovalId {
    "00000000-0000-0000-0000-0000000000aa".parse().unwrap()
}

fn allow() -> Answer {
    let (option, content, reason) = (None, None, None);
    Answer { decision: Decision::Allow, option, always: false, content, reason }
}

fn until_asked(shim: &Shim) {
    shim.until_journal("the question", |body| matches!(body, RecordBody::Asked { .. }));
}

fn until_ready(shim: &Shim) {
    shim.until_journal("ready", |body| *body == RecordBody::Ready);
}

fn until_ended(shim: &Shim, run: RunId) -> Outcome {
    until("the run's end", || shim.outcome(run))
}

fn steps(receipt: &greenroom_core::Receipt) -> Vec<Action> {
    receipt.steps.iter().map(|step| step.action).collect()
}

#[test]
fn a_driver_says_when_its_agent_is_ready_and_serves_many_runs() {
    let (mut shim, mut talk) = driver(ECHO).start();
    until_ready(&shim);
    for prompt in ["one", "two"] {
        let run = talk.run(prompt);
        assert_eq!(until_ended(&shim, run), Outcome::Completed { result: None });
    }
    assert_eq!(shim.text(), "you said one\nyou said two\n");
    let named = RecordBody::Conversation { id: "c-test".to_owned() };
    assert!(shim.journal().contains(&named));
    let calls = shim.journal().into_iter().filter(|body| {
        matches!(body, RecordBody::Output { kind: OutputKind::ToolCall, run: Some(_), .. })
    });
    assert_eq!(calls.count(), 2);
    talk.stop(0);
    assert_eq!(talk.closed().survivors, 0);
    shim.wait();
}

#[test]
fn a_driver_that_never_gets_ready_is_a_start_error_in_its_own_words() {
    let says = "
for said in lines():
  say(type='failed', error={'code': 'auth', 'message': 'log in first'})
  sys.exit(1)
";
    let (mut shim, mut talk) = driver(says).start();
    let receipt = talk.closed();
    assert_eq!(receipt.reason, EndReason::StartError);
    assert_eq!(receipt.detail.as_deref(), Some("log in first"));
    shim.wait();
    let (mut shim, mut talk) = driver("sys.exit(3)").start();
    assert_eq!(talk.closed().reason, EndReason::StartError);
    shim.wait();
}

#[test]
fn a_driver_that_dies_in_a_run_fails_it() {
    let (mut shim, mut talk) = driver(
        "for said in lines():\n  say(type='ready') if said['do'] == 'open' else os._exit(7)",
    )
    .start();
    until_ready(&shim);
    let run = talk.run("x");
    let receipt = talk.closed();
    assert_eq!(receipt.reason, EndReason::Exit);
    assert!(matches!(shim.outcome(run), Some(Outcome::Failed { .. })));
    shim.wait();
}

#[test]
fn what_is_asked_waits_and_is_answered_once() {
    let (mut shim, mut talk) = driver(ASKS).start();
    until_ready(&shim);
    let run = talk.run("x");
    until_asked(&shim);
    let answer = ToShim::Answer { id: ask_id(), answer: allow() };
    talk.say(&answer);
    talk.say(&answer);
    assert_eq!(until_ended(&shim, run), Outcome::Completed { result: None });
    let taken = shim.journal().into_iter().filter(|b| matches!(b, RecordBody::AnswerTaken { .. }));
    assert_eq!(taken.count(), 1, "the repetition changed nothing");
    assert_eq!(shim.text(), "allow\n");
    talk.stop(0);
    talk.closed();
    shim.wait();
}

/// One that says by which mode it goes, and how often it was told.
const SETTLED: &str = "
mode, told = None, 0
for said in lines():
  if said['do'] == 'open':
    mode = said['approvals']['mode']
    say(type='ready')
  if said['do'] == 'settings':
    mode, told = said['settings']['approvals']['mode'], told + 1
  if said['do'] == 'run':
    say(type='text', text='%s %d\\n' % (mode, told))
    say(type='ended', run=said['run'], outcome={'status': 'completed'})
";

#[test]
fn settings_are_passed_on_and_repeats_are_not() {
    let (mut shim, mut talk) = driver(SETTLED).start();
    until_ready(&shim);
    let settle = |talk: &mut Talk, mode| {
        let approvals = Policy { mode, ..Policy::default() };
        let settings = Box::new(Settings { approvals, ..Settings::default() });
        talk.say(&ToShim::Settings { settings });
        let run = talk.run("x");
        assert_eq!(until_ended(&shim, run), Outcome::Completed { result: None });
    };
    settle(&mut talk, Mode::Balanced);
    settle(&mut talk, Mode::Strict);
    settle(&mut talk, Mode::Strict);
    settle(&mut talk, Mode::Autonomous);
    let said = "balanced 0\nstrict 1\nstrict 1\nautonomous 2\n";
    assert_eq!(shim.text(), said, "what it began with, and each edit once");
    talk.stop(0);
    talk.closed();
    shim.wait();
}

#[test]
fn the_clock_of_a_run_stands_still_while_a_person_is_asked() {
    let (mut shim, mut talk) = driver(ASKS).with(|spec| spec.limits.run_ms = Some(Ms(150))).start();
    until_ready(&shim);
    let run = talk.run("x");
    until_asked(&shim);
    // Longer than its limit: another, begun after it and with the same limit, is ended by it.
    let waits = driver("[say(type='ready') for said in lines() if said['do'] == 'open']");
    let (mut other, mut other_talk) = waits.with(|spec| spec.limits.run_ms = Some(Ms(150))).start();
    until_ready(&other);
    other_talk.run("x");
    assert_eq!(other_talk.closed().reason, EndReason::Limit);
    other.wait();
    talk.say(&ToShim::Answer { id: ask_id(), answer: allow() });
    assert_eq!(until_ended(&shim, run), Outcome::Completed { result: None });
    talk.stop(0);
    talk.closed();
    shim.wait();
}

#[test]
fn a_cancelled_turn_ends_and_the_compute_stays() {
    let (mut shim, mut talk) = driver(ASKS).start();
    until_ready(&shim);
    let run = talk.run("x");
    until_asked(&shim);
    talk.say(&ToShim::Cancel { run, grace_ms: Ms(60_000) });
    assert_eq!(until_ended(&shim, run), Outcome::Stopped { error: None });
    // It takes the next one.
    let next = talk.run("y");
    shim.until_journal("its start", |body| *body == RecordBody::RunStarted { run: next });
    talk.stop(0);
    talk.closed();
    shim.wait();
}

#[test]
fn a_turn_that_does_not_end_in_time_takes_the_compute_with_it() {
    let deaf = "
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
for said in lines():
  if said['do'] == 'open': say(type='ready')
";
    let (mut shim, mut talk) = driver(deaf).start();
    until_ready(&shim);
    let run = talk.run("x");
    shim.until_journal("its start", |body| *body == RecordBody::RunStarted { run });
    talk.say(&ToShim::Cancel { run, grace_ms: Ms(50) });
    let receipt = talk.closed();
    assert_eq!(receipt.reason, EndReason::User);
    assert!(matches!(shim.outcome(run), Some(Outcome::Stopped { .. })));
    shim.wait();
}

#[test]
fn a_stop_cancels_the_turn_first_and_then_goes_down_the_ladder() {
    let (mut shim, mut talk) = driver(ASKS).start();
    until_ready(&shim);
    let run = talk.run("x");
    until_asked(&shim);
    talk.stop(60_000);
    let receipt = talk.closed();
    let steps = steps(&receipt);
    let at = |action| steps.iter().position(|step| *step == action);
    assert!(at(Action::Cancel) < at(Action::TermLeader), "{steps:?}");
    assert!(at(Action::Cancel).is_some());
    assert!(receipt.duration_ms < 2000, "the cancel was obeyed, and not waited for");
    assert_eq!(shim.outcome(run), Some(Outcome::Stopped { error: None }));
    shim.wait();
}

#[test]
fn a_stop_of_a_warm_agent_cancels_nothing() {
    let (mut shim, mut talk) = driver(ECHO).start();
    until_ready(&shim);
    talk.stop(60_000);
    assert!(!steps(&talk.closed()).contains(&Action::Cancel));
    shim.wait();
}

#[test]
fn a_driver_for_one_run_ends_with_it() {
    let (mut shim, mut talk) = for_one_run(ECHO).start();
    let run = talk.run("one");
    let receipt = talk.closed();
    assert_eq!(receipt.reason, EndReason::Done);
    assert_eq!(shim.outcome(run), Some(Outcome::Completed { result: None }));
    assert_eq!(shim.text(), "you said one\n");
    shim.wait();
}

#[test]
fn a_driver_for_one_run_that_failed_ends_a_failed_compute() {
    let fails = "
for said in lines():
  if said['do'] == 'run':
    say(type='ended', run=said['run'], outcome={'status': 'failed',
      'error': {'code': 'model_error', 'message': 'no answer'}})
";
    let (mut shim, mut talk) = for_one_run(fails).start();
    let run = talk.run("one");
    let receipt = talk.closed();
    assert_eq!(receipt.reason, EndReason::Exit);
    assert_eq!(receipt.detail.as_deref(), Some("no answer"));
    let error = RunError::new("model_error", "no answer");
    assert_eq!(shim.outcome(run), Some(Outcome::Failed { error }));
    shim.wait();
}

#[test]
fn a_secret_in_a_drivers_words_is_not_kept() {
    let says = "
for said in lines():
  if said['do'] == 'open': say(type='ready')
  if said['do'] == 'run':
    secret = os.environ['API_KEY']
    say(type='text', text=secret[:4]); say(type='text', text=secret[4:] + '\\n')
    say(type='conversation', id='x' + secret)
    say(type='ask', ask={'id': '00000000-0000-0000-0000-0000000000aa', 'kind': 'permission',
        'title': 'use ' + secret, 'tool': 'x', 'input': {'k': [secret]}})
    say(type='ended', run=said['run'], outcome={'status': 'failed', 'error': {'code': 'x', 'message': secret}})
";
    let (mut shim, mut talk) = driver(says).secret("API_KEY", "hush-hush-hush").start();
    until_ready(&shim);
    let run = talk.run("x");
    let named = "[secret api_key]".to_owned();
    let error = RunError::new("x", named.clone());
    assert_eq!(until_ended(&shim, run), Outcome::Failed { error });
    let journal = format!("{:?}", shim.journal());
    assert!(!journal.contains("hush-hush-hush"), "{journal}");
    assert_eq!(shim.text(), format!("{named}\n"));
    talk.stop(0);
    talk.closed();
    shim.wait();
}
