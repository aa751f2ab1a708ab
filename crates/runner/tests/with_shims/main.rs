//! The runner with real shims and real agents, and a coordinator of a few lines.
//!
//! A runner starts its shims through `/proc/self/exe`, which here is this test: called as
//! `shim DIR` it is a shim, called as `runner URL DATA` a runner that can be killed, called as
//! `drive KIND` a driver.

mod answers;
mod coordinator;
mod ends;
mod fixture;
mod lives;
#[cfg(feature = "failpoints")]
mod points;
mod transfers;

use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::pin::Pin;
use std::process::ExitCode;
use std::time::Duration;

use futures::FutureExt;

type Test = (&'static str, fn() -> Pin<Box<dyn Future<Output = ()>>>);

macro_rules! tests {
    ($($(#[$on:meta])* $module:ident::$name:ident),* $(,)?) => {
        &[$($(#[$on])* (
            concat!(stringify!($module), "::", stringify!($name)),
            || Box::pin($module::$name()),
        )),*]
    };
}

const TESTS: &[Test] = tests![
    lives::a_run_goes_from_order_to_receipt,
    lives::a_persistent_agent_gets_one_run_after_the_other,
    lives::an_agent_outlives_its_runner,
    lives::a_killed_runner_loses_nothing,
    lives::a_second_runner_is_refused,
    lives::another_store_is_not_obeyed,
    lives::a_new_store_is_adopted_on_request,
    lives::a_restored_store_is_obeyed_and_told_what_it_lacks,
    lives::what_cannot_be_resolved_is_a_start_error,
    lives::a_folder_of_a_client_is_checked_at_the_start,
    lives::output_arrives_once_and_in_order_through_failures,
    ends::a_stop_ends_a_tree_that_does_not_want_to,
    ends::a_stop_at_any_moment_of_a_start_is_kept,
    ends::a_turn_that_is_stopped_before_it_was_handed_over_does_not_run,
    ends::down_before_start_closes_and_stays_closed,
    ends::gone_removes_files_but_never_under_a_live_compute,
    ends::what_was_abandoned_and_deleted_ends_before_its_files_go,
    ends::what_cannot_be_removed_is_said,
    ends::the_groups_of_a_runner_go_with_its_last_compute,
    ends::a_killed_shim_is_closed_by_the_runner,
    ends::a_hung_shim_is_killed_at_the_deadline,
    ends::a_receipt_overtakes_records_that_are_not_taken,
    ends::everything_stops_without_a_coordinator,
    transfers::files_of_a_stopped_session,
    answers::an_answer_that_an_edit_overtakes_is_fetched_anew,
    #[cfg(feature = "failpoints")]
    points::a_runner_may_die_anywhere,
];

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["shim", dir] => return greenroom_shim::main(Path::new(dir)),
        ["drive", _] => return answers::drive(),
        ["runner", url, data] => return fixture::be_a_runner(url, Path::new(data)),
        _ => {}
    }
    let has = |flag: &str| args.iter().any(|arg| arg == flag);
    if has("--list") {
        if !has("--ignored") {
            TESTS.iter().for_each(|(name, _)| println!("{name}: test"));
        }
        return ExitCode::SUCCESS;
    }
    let wanted: Vec<_> = args.iter().filter(|arg| !arg.starts_with('-')).collect();
    let is_wanted = |name: &str| {
        let fits =
            |word: &&String| if has("--exact") { name == *word } else { name.contains(*word) };
        wanted.is_empty() || wanted.iter().any(fits)
    };
    let mut failed = 0;
    for (name, test) in TESTS.iter().filter(|(name, _)| is_wanted(name)) {
        let good = run(*test);
        println!("test {name} ... {}", if good { "ok" } else { "FAILED" });
        failed += u8::from(!good);
    }
    ExitCode::from(failed)
}

fn run(test: fn() -> Pin<Box<dyn Future<Output = ()>>>) -> bool {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let Ok(runtime) = runtime else { return false };
    let limit = Duration::from_secs(100);
    let guarded =
        async { tokio::time::timeout(limit, AssertUnwindSafe(test()).catch_unwind()).await };
    let result = runtime.block_on(guarded);
    runtime.shutdown_timeout(Duration::from_secs(5));
    if result.is_err() {
        eprintln!("the test took longer than {limit:?}");
    }
    matches!(result, Ok(Ok(())))
}
