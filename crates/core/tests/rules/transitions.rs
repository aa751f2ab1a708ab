//! The table of statuses and transitions, drawn from the code into the documents. With
//! `UPDATE=1` in the environment the document is rewritten; else it must not have drifted.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use greenroom_core::command::{Expiry, Mode, Now, Prompt};
use greenroom_core::receipt::{EndReason, StopReason};
use greenroom_core::record::RunError;
use greenroom_core::session::{Blocked, Life};
use greenroom_core::{Command, Epoch, Order, RecordBody, Session, Status, StopId, apply, decide};
use uuid::Uuid;

use crate::scene::*;

const DOCUMENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/data-model.md");
const BEGIN: &str = "<!-- transitions:begin -->";
const END: &str = "<!-- transitions:end -->";

/// From and to, as positions in `Status::ALL`, and what leads there.
type Table = BTreeMap<(usize, usize), BTreeSet<&'static str>>;

/// One more for what is no longer there.
const GONE: usize = Status::ALL.len();

fn word(index: usize) -> &'static str {
    Status::ALL.get(index).map_or("gone", |status| status.as_str())
}

fn index(session: &Session) -> usize {
    let here = |status: &Status| *status == session.status();
    match session.life {
        Life::Removed => GONE,
        _ => Status::ALL.iter().position(here).unwrap_or(GONE),
    }
}

/// Sessions that between them meet everything a status can be left by.
fn representatives() -> Vec<Scene> {
    let mut all = one_in_each_status();
    let warm = || persistent().answered();
    let waits = |scene: Scene| scene.prompted();
    all.extend([
        waits(session().prompted().placed()),
        waits(session().running()),
        persistent().running(),
        waits(persistent().running()),
        session().answered(),
        waits(session().answered()),
        waits(warm()),
        warm().stops_for(StopReason::Idle),
        waits(warm().stops_for(StopReason::Idle)),
        waits(session().running().stops()),
        session().running().stops().prompts_with(|prompt| prompt.resume = true),
        persistent().resumed(),
        persistent().resumed().placed(),
        warm().stops().closed(EndReason::User),
        persistent().running().closed(EndReason::Exit),
        warm().closed(EndReason::Done),
        warm().closed(EndReason::Reboot),
        waits(session().running().stops()).closed(EndReason::User),
        waits(session().running()).closed(EndReason::Protocol),
        session().prompted().placed().silent(),
        session().prompted().placed().stops().silent(),
        persistent().answered().silent(),
        session().answered().closed(EndReason::Done).deleted(),
        session().answered().closed(EndReason::Done).expired(),
    ]);
    all
}

fn receipt(scene: &Scene, reason: EndReason) -> Command {
    Command::Receipt(Box::new(proof(scene.session.last_epoch, reason)))
}

/// Everything that may happen to a session, in the words of the document.
fn happenings(scene: &Scene) -> Vec<(&'static str, Command)> {
    let epoch = scene.session.last_epoch;
    let stop = StopId(Uuid::from_u128(3));
    let head = scene.session.head_run().unwrap_or(run(1));
    let attempt = scene.stop_order().map_or(0, |order| order.attempt);
    let record = |body| Command::Records(vec![scene.record(epoch, body)]);
    let is_down = |order: &Order| matches!(order, Order::Down { .. });
    let asked = scene.session.assignments().iter().any(|(_, a)| is_down(&a.order));
    let interrupt = Prompt { mode: Mode::Interrupt, ..prompt(91) };
    let mut all = vec![
        ("prompt", Command::Prompt(prompt(90))),
        ("interrupting prompt", Command::Prompt(interrupt)),
        ("withdraw", Command::Withdraw { run: head, by: user() }),
        ("waited too long", Command::GiveUp { run: head, error: RunError::new("no_runner", "x") }),
        ("stop", Command::Stop(stop_for(StopReason::User))),
        ("stop of its run", Command::StopRun { run: head, stop, by: user(), grace: None }),
        ("resume", Command::Resume { by: user() }),
        ("abandon", Command::Abandon { by: user(), reason: "gone".into() }),
        ("delete", Command::Delete { stop, by: user() }),
        ("idle limit", Command::Stop(stop_for(StopReason::Idle))),
        ("shutdown", Command::Stop(stop_for(StopReason::Shutdown))),
        ("time to live", Command::Expire { stop, why: Expiry::Ttl }),
        ("place", Command::Grant { runner: HOME }),
        ("no place", Command::Block(Blocked::RunnersFull)),
        ("stop's deadline", Command::StopOverdue { epoch, attempt }),
        ("runner silent", Command::RunnerSilent { runner: HOME }),
        ("runner back", Command::RunnerSeen { runner: HOME }),
        ("runner removed by force", Command::HomeLost { runner: HOME, by: user() }),
        ("files gone", Command::FilesGone),
        ("ready", record(RecordBody::Ready)),
        ("end not provable", Command::Unproven { epoch, evidence: "pid 7".into() }),
        ("newer compute found", Command::Adopt { epoch: Epoch(epoch.0 + 1), runner: HOME }),
    ];
    if let Some(given) = scene.session.compute.as_ref().and_then(|c| c.head.as_ref()) {
        let (run, outcome) = (given.run.id, completed());
        all.push(("run begins", record(RecordBody::RunStarted { run })));
        all.push(("run answered", record(RecordBody::RunEnded { run, outcome })));
    }
    // An end has a reason of its own only where nobody asked for it.
    if asked {
        all.push(("receipt", receipt(scene, EndReason::User)));
    } else {
        all.extend([
            ("receipt: done", receipt(scene, EndReason::Done)),
            ("receipt: failure", receipt(scene, EndReason::Exit)),
            ("receipt: start or protocol failure", receipt(scene, EndReason::Protocol)),
            ("receipt: reboot or lost", receipt(scene, EndReason::Lost)),
            ("receipt: limit or local stop", receipt(scene, EndReason::Limit)),
        ]);
    }
    all
}

fn table() -> Table {
    let mut table = Table::new();
    for scene in representatives() {
        for (what, command) in happenings(&scene) {
            let Ok(facts) = decide(&scene.session, command, Now(at())) else { continue };
            let mut after = scene.session.clone();
            facts.iter().for_each(|fact| apply(&mut after, fact, at()));
            let (from, to) = (index(&scene.session), index(&after));
            if from != to {
                table.entry((from, to)).or_default().insert(what);
            }
        }
    }
    table
}

fn render(table: &Table) -> String {
    let mut text = String::from("| from | to | by |\n|---|---|---|\n");
    for ((from, to), by) in table {
        let by = by.iter().copied().collect::<Vec<_>>().join(", ");
        let _ = writeln!(text, "| `{}` | `{}` | {by} |", word(*from), word(*to));
    }
    text + &picture(table)
}

const LIVE: [Status; 4] = [Status::Starting, Status::Running, Status::Waiting, Status::Idle];
const REST: [Status; 4] = [Status::Stopped, Status::Finished, Status::Failed, Status::Interrupted];

/// The table as a picture, with what is alike in one box. Removal, and what is found only
/// after a restore or a removal by force, are left to the table.
fn picture(table: &Table) -> String {
    let rare = ["newer compute found", "runner removed by force"];
    let mut within = BTreeSet::new();
    let mut between = BTreeSet::new();
    for ((from, to), by) in table {
        let ends = (Status::ALL.get(*from), Status::ALL.get(*to));
        let (Some(from), Some(to)) = ends else { continue };
        if *to == Status::Deleting || by.iter().all(|what| rare.contains(what)) {
            continue;
        }
        if LIVE.contains(from) && LIVE.contains(to) {
            within.insert((from.as_str(), to.as_str()));
        } else {
            between.insert((boxed(*from), boxed(*to)));
        }
    }
    let mut text = String::from("\n```mermaid\nstateDiagram-v2\n    [*] --> new\n");
    text += "    state live {\n        waiting\n";
    within.iter().for_each(|(from, to)| text += &format!("        {from} --> {to}\n"));
    text += "    }\n    state at_rest {\n";
    REST.iter().for_each(|status| text += &format!("        {}\n", status.as_str()));
    text += "    }\n";
    between.iter().for_each(|(from, to)| text += &format!("    {from} --> {to}\n"));
    text + "```\n"
}

fn boxed(status: Status) -> &'static str {
    match status {
        _ if LIVE.contains(&status) => "live",
        _ if REST.contains(&status) => "at_rest",
        other => other.as_str(),
    }
}

#[test]
fn the_document_shows_the_transitions_of_the_code() {
    let document = std::fs::read_to_string(DOCUMENT).expect("docs/data-model.md");
    let (before, rest) = document.split_once(BEGIN).expect("a marker where the table begins");
    let (shown, after) = rest.split_once(END).expect("a marker where the table ends");
    let drawn = format!("\n{}", render(&table()));
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(DOCUMENT, format!("{before}{BEGIN}{drawn}{END}{after}")).expect("written");
    } else {
        assert_eq!(shown, drawn, "run this test with UPDATE=1 to draw the table again");
    }
}

#[test]
fn every_status_is_reached_and_left() {
    let table = table();
    for (index, status) in Status::ALL.iter().enumerate() {
        assert!(table.keys().any(|(from, _)| *from == index), "{status:?} is a dead end");
        let reached = table.keys().any(|(_, to)| *to == index);
        // Waiting begins with an approval, which no report asks for yet.
        let begins = matches!(status, Status::New | Status::Waiting);
        assert!(reached || begins, "{status:?} is never reached");
    }
}
