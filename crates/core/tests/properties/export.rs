//! Logs for the dashboard, whose own fold must say the same of a session as this one: its
//! tests read them. `UPDATE=1` writes them anew.

use std::path::Path;

use greenroom_core::command::Now;
use greenroom_core::fact::Fact;
use greenroom_core::session::Wanted;
use greenroom_core::{Event, Session, apply, decide};
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde_json::{Value, json};

use crate::happenings;
use crate::invariants::Watch;
use crate::scene::{self, at};

const FILE: &str = "../../dashboard/src/fold/fixtures/walks.json";
const WALKS: u8 = 40;
const STEPS: usize = 45;

/// What the API says of a session, as far as a log tells it.
fn state(session: &Session) -> Value {
    let standing = session.standing();
    let run = session.current_run();
    let wanted = session.compute.as_ref().map(|compute| match compute.wanted {
        Wanted::Up => "up",
        Wanted::Down(_) => "down",
    });
    let open = session.compute.as_ref().map_or(0, |compute| compute.open_asks().count());
    json!({
        "seq": session.last_seq,
        "status": standing.status,
        "status_reason": standing.reason,
        "wanted": wanted,
        "hold": session.hold.is_some(),
        "epoch": session.last_epoch,
        "runner_id": session.home,
        "run_id": run.map(|(id, _)| id),
        "run_status": run.map(|(_, status)| status),
        "title": session.title,
        "labels": session.labels,
        "last_seq": session.last_seq,
        "version": session.version,
        "pending": { "runs": session.queue.len(), "approvals": open },
    })
}

/// One walk through whatever can happen, the same for the same number.
fn walk(number: u8) -> Value {
    let seed = [number; 32];
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &seed);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let mut draw = || {
        let tree = happenings::any().new_tree(&mut runner).expect("nothing is rejected");
        tree.current()
    };
    let mut created = scene::created(number & 1 == 0, number & 2 == 0);
    created.traits.cancels = number & 4 == 0;
    created.traits.steers = number & 8 == 0;
    let mut watch = Watch::new(created);
    let mut states = vec![state(&watch.session)];
    for _ in 0..STEPS {
        let command = draw().command(&watch);
        if let Ok(facts) = decide(&watch.session, command, Now(at()))
            && !facts.is_empty()
        {
            watch.accept(&facts);
            states.push(state(&watch.session));
        }
    }
    let events: Vec<Event> = watch.events();
    json!({ "name": format!("walk {number}"), "events": events, "states": states })
}

#[test]
fn the_dashboard_folds_the_same_logs() {
    let walks: Vec<Value> = (0..WALKS).map(walk).collect();
    let lines: Vec<String> = walks.iter().map(Value::to_string).collect();
    let made = format!("[\n{}\n]\n", lines.join(",\n"));
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(FILE);
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(&path, &made).expect("it is written");
    }
    let kept = std::fs::read_to_string(&path).expect("the dashboard's logs");
    let same = kept == made;
    assert!(same, "{FILE} is not what the core says now: UPDATE=1 writes it, then npm test");
}

/// The other logs there are of real coordinators, with what those have said.
#[test]
fn this_fold_says_what_coordinators_have_said() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(FILE).with_file_name("");
    let mut compared = 0;
    for entry in std::fs::read_dir(&folder).expect("the dashboard's logs") {
        let path = entry.expect("an entry").path();
        if path.ends_with("walks.json") {
            continue;
        }
        let text = std::fs::read_to_string(&path).expect("a log");
        let log: Value = serde_json::from_str(&text).expect("JSON");
        let events: Vec<Event> = serde_json::from_value(log["events"].clone()).expect("events");
        let mut states = vec![Value::Null];
        let mut folded: Option<Session> = None;
        for event in &events {
            let fact = Fact::from_event(event).expect("a fact");
            match (&mut folded, &fact) {
                (Some(folded), fact) => apply(folded, fact, event.at),
                (none, Fact::Created(created)) => *none = Some(Session::begin(created, event.at)),
                _ => panic!("{}: entry {} comes too early", path.display(), event.seq),
            }
            states.push(folded.as_ref().map_or(Value::Null, state));
        }
        for said in log["states"].as_array().expect("states") {
            let seq = said["seq"].as_u64().expect("a position");
            for (key, value) in states[seq as usize].as_object().expect("a state") {
                assert_eq!(value, &said[key], "{}: {key} after {seq}", path.display());
                compared += 1;
            }
        }
    }
    assert!(compared > 100, "{compared}");
}
