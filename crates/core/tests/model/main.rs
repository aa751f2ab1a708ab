//! One session, its coordinator, its runner, its shims and a link that delays, repeats,
//! reorders and drops, explored to exhaustion. The coordinator here *is* `decide` and
//! `apply`, and the runner's mind *is* `converge`: what is checked is what runs.
//!
//! `GREENROOM_MODEL=deep` explores further (minutes and gigabytes instead of seconds).

#![allow(unreachable_pub, reason = "the modules of a test are its own")]

mod link;
mod properties;
mod steps;
mod world;

use std::time::Instant;

use greenroom_core::Assignment;
use stateright::{Checker, HasDiscoveries, Model};

use steps::Step;
use world::{Budget, Fences, System, World};

/// A system whose troubles are those of `budget`.
fn system(persistent: bool, budget: Budget) -> System {
    System { persistent, budget, fences: Fences::ALL }
}

/// Explores all of it; every promise must hold, every witness must be reached.
fn explore(name: &str, system: System) {
    let began = Instant::now();
    let checker = system.checker().threads(2).spawn_bfs().join();
    println!(
        "{name}: {} unique states of {}, depth {}, {:.1} s",
        checker.unique_state_count(),
        checker.state_count(),
        checker.max_depth(),
        began.elapsed().as_secs_f64(),
    );
    for (property, path) in checker.discoveries() {
        if checker.model().property(property).expectation.discovery_is_failure() {
            println!("{}", story(property, path.into_vec()));
        }
    }
    checker.assert_properties();
}

/// Takes one fence away; the model must find what it was for.
fn must_break(name: &str, system: System, expected: &'static str) {
    let until = HasDiscoveries::AnyOf([expected].into());
    let checker = system.checker().finish_when(until).spawn_bfs().join();
    let path = checker.discovery(expected);
    let path =
        path.unwrap_or_else(|| panic!("{name}: nothing broke, so nothing shows what it is for"));
    println!("{name}: {}", story(expected, path.into_vec()));
}

/// A path in words, one step a line.
fn story(property: &str, path: Vec<(World, Option<Step>)>) -> String {
    let mut text = format!("violated: {property}\n");
    for (index, (world, step)) in path.into_iter().enumerate() {
        let standing = world.session.standing();
        let Some(step) = step else {
            text += &format!("  then {} {:?}\n", standing.status.as_str(), world.ghost);
            break;
        };
        let detail = match step {
            Step::Deliver { at } => format!(" {}", told(&world.down[at])),
            _ => String::new(),
        };
        let status = standing.status.as_str();
        text += &format!("  {:>2}. [{status}] {step:?}{detail}\n", index + 1);
    }
    text
}

fn told(assignment: &Assignment) -> String {
    let Assignment { epoch, generation, order, .. } = assignment;
    format!("epoch {epoch}, generation {}: {order:?}", generation.0)
}

#[test]
fn one_process_a_run() {
    explore("one process a run", system(false, Budget::CI));
}

#[test]
fn one_process_for_all_runs() {
    let budget = Budget { resumes: 0, idles: 1, ..Budget::CI };
    explore("one process for all runs", system(true, budget));
    let budget = Budget { idles: 1, abandons: 0, overdues: 0, ..Budget::CI };
    explore("one process for all runs, resumed", system(true, budget));
}

/// What CI cannot afford beside a second run.
#[test]
fn a_single_run_in_all_kinds_of_trouble() {
    explore("a single run", system(false, Budget::TROUBLE));
}

#[test]
fn removal_under_way() {
    explore("removal, one process a run", system(false, Budget::REMOVAL));
    explore("removal, one process for all runs", system(true, Budget::REMOVAL));
}

/// Settings that are edited at any moment, by any order of frames.
#[test]
fn edits_while_it_works() {
    explore("edits, one process for all runs", system(true, Budget::EDITS));
    explore("edits, one process a run", system(false, Budget::EDITS));
}

/// Two runs with more at once: `GREENROOM_MODEL=deep`.
#[test]
fn deep() {
    if std::env::var("GREENROOM_MODEL").is_ok_and(|word| word == "deep") {
        let budget = Budget { idles: 1, ..Budget::CI };
        explore("deep, one process for all runs", system(true, budget));
        let budget = Budget { runner_crashes: 2, ..Budget::CI };
        explore("deep, two restarts of the runner", system(false, budget));
        let budget = Budget { stops: 2, shim_crashes: 0, ..Budget::CI };
        explore("deep, two stops", system(false, budget));
        let budget = Budget { silences: 1, overdues: 0, runner_crashes: 0, ..Budget::CI };
        explore("deep, a silence", system(false, budget));
        let budget = Budget { exits: 1, abandons: 0, overdues: 0, ..Budget::CI };
        explore("deep, an agent that ends by itself", system(false, budget));
    }
}

/// A runner that starts what it has closed: a frame that was under way while a stop was
/// proven starts the agent again.
#[test]
fn without_the_epoch_fence_a_stopped_agent_starts_again() {
    let fences = Fences { epoch: false, ..Fences::ALL };
    let system = System { fences, ..system(false, Budget::QUIET) };
    must_break("no epoch fence", system, properties::NEVER_AGAIN);
}

/// A runner that forgets what it has closed: it comes back before its receipt is through,
/// is told to have the compute up, and runs the same prompt again.
#[test]
fn without_the_closed_record_a_restarted_runner_repeats_a_run() {
    let fences = Fences { record: false, ..Fences::ALL };
    let budget = Budget { runner_crashes: 1, ..Budget::QUIET };
    let system = System { fences, ..system(false, budget) };
    must_break("no closed record", system, properties::AT_MOST_ONCE);
}

/// A runner that obeys frames in any order: one that names the first run arrives after the
/// second was answered, and the same process is handed the first again. The epoch fence
/// cannot help: it is one epoch all along.
#[test]
fn without_the_generation_a_late_frame_repeats_a_run() {
    let fences = Fences { generation: false, ..Fences::ALL };
    let system = System { fences, ..system(true, Budget::QUIET) };
    must_break("no generation", system, properties::AT_MOST_ONCE);
}
