//! Answers and edits of what an agent may do, on their way to it.

use std::process::ExitCode;

use greenroom_core::agent::{AcpSpec, Driver};
use greenroom_core::approval::{Answer, Decision, Mode, Policy};
use greenroom_core::*;
use serde_json::{Value, json};

use crate::fixture::Fixture;

const ASK: &str = "00000000-0000-0000-0000-0000000000aa";

/// A driver that asks in each run, and says what comes then: modes and answers.
pub(crate) fn drive() -> ExitCode {
    let say = |line: Value| println!("{line}");
    let mut run = Value::Null;
    for line in std::io::stdin().lines() {
        let Ok(line) = line else { return ExitCode::FAILURE };
        let said: Value = serde_json::from_str(&line).expect("JSON");
        let text = |text: &str| say(json!({ "type": "text", "text": format!("{text}\n") }));
        match said["do"].as_str().expect("what to do") {
            "open" => say(json!({ "type": "ready" })),
            "run" => {
                run = said["run"].clone();
                let ask = json!({ "id": ASK, "kind": "permission", "title": "x", "tool": "x" });
                say(json!({ "type": "ask", "ask": ask }));
            }
            "settings" => text(said["settings"]["approvals"]["mode"].as_str().expect("a mode")),
            "answer" => {
                let always = said["answer"]["always"] == true;
                text(if always { "always" } else { "once" });
                let outcome = json!({ "status": "completed" });
                say(json!({ "type": "ended", "run": run, "outcome": outcome }));
            }
            _ => {}
        }
    }
    ExitCode::SUCCESS
}

fn answer(always: bool) -> Answer {
    Answer { decision: Decision::Allow, option: None, always, content: None, reason: None }
}

/// One that was fetched before an edit is not handed over after it.
pub(crate) async fn an_answer_that_an_edit_overtakes_is_fetched_anew() {
    let fixture = Fixture::new().await;
    let _runner = fixture.runner().await;
    let mut session = fixture.session("exit");
    let (mode, config, auth) = (None, Default::default(), None);
    let command = vec!["x".to_owned()];
    session.agent.driver = Driver::Acp(AcpSpec { command, mode, config, auth });
    let id: ApprovalId = ASK.parse().unwrap();
    let run = session.prepared(1, "x");
    let up = |answers: &[ApprovalId], settings| Order::Up {
        run: Some(run),
        cancel: None,
        answers: answers.to_vec(),
        steers: Vec::new(),
        settings: Some(settings),
    };
    let coordinator = &fixture.coordinator;
    let recorded = async |what: &str, is: fn(&RecordBody) -> bool| {
        coordinator.until(what, |inner| inner.records.iter().any(|record| is(&record.body))).await;
    };
    session.order(1, 1, up(&[], 0));
    recorded("a question", |body| matches!(body, RecordBody::Asked { .. })).await;

    coordinator.change(|inner| {
        inner.given.insert(id, answer(true));
        inner.given_held = true;
    });
    session.order(1, 2, up(&[id], 0));
    coordinator.until("that it asks for the answer", |inner| inner.given_asked > 0).await;

    let approvals = Policy { mode: Mode::Strict, ..Policy::default() };
    let strict = Settings { approvals, ..Settings::default() };
    coordinator.change(|inner| {
        inner.given.insert(id, answer(false));
        inner.settings.insert((session.uid, Epoch(1)), strict);
    });
    session.order(1, 3, up(&[id], 1));
    coordinator.until("that it asks for the settings", |inner| inner.settings_asked > 0).await;
    coordinator.change(|inner| inner.given_held = false);
    recorded("the end", |body| matches!(body, RecordBody::RunEnded { .. })).await;
    assert_eq!(coordinator.lock().text(session.uid, 1), "strict\nonce\n");
}
