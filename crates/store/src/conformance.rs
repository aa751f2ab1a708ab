//! What any store must do, as checks that take a store and panic where it does not.
//!
//! A check is given an empty store of its own. [`CHECKS`] names them all, so that a new
//! store runs them with one loop; durability, which needs a process to die, is each
//! store's own to prove.

pub mod fixtures;
pub mod link;
pub mod list;
pub mod parents;
pub mod quotas;
pub mod rest;
pub mod sessions;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use crate::Store;

/// A check, under way.
pub type Checking = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A check: its name, and how to run it on an empty store.
pub type Check = (&'static str, fn(Arc<dyn Store>) -> Checking);

macro_rules! checks {
    ($($module:ident :: $check:ident),* $(,)?) => {
        &[$((
            concat!(stringify!($module), "::", stringify!($check)),
            |store| Box::pin($module::$check(store)),
        )),*]
    };
}

/// All checks.
pub const CHECKS: &[Check] = checks![
    sessions::creates_and_finds,
    sessions::names_are_unique_among_those_that_exist,
    sessions::decides_all_or_none,
    sessions::output_is_no_new_version,
    sessions::repeats_answer_the_same,
    sessions::runs_follow_the_log,
    sessions::receipts_are_found_in_the_log,
    sessions::runs_that_wait_are_revised,
    sessions::commits_are_published_in_order,
    list::pages_hold_each_session_once,
    list::filters_narrow,
    list::a_list_is_cut_at_a_session,
    list::labels_follow_updates,
    list::reconcilers_find_their_work,
    link::a_place_is_committed_with_the_prompt,
    link::a_home_is_kept,
    link::slots_are_never_exceeded,
    link::assignments_have_revisions,
    link::records_are_taken_once,
    link::a_gap_bridges_a_hole,
    link::only_the_home_runner_reports,
    link::many_sessions_append_at_once,
    link::records_free_a_slot_for_the_next_run,
    link::files_are_told_once,
    parents::a_parent_consents,
    parents::an_end_is_told_once,
    parents::several_ends_are_told_together,
    parents::text_behind_a_receipt_is_awaited,
    parents::what_is_told,
    parents::a_parent_that_is_gone_is_told_nothing,
    quotas::quotas_are_kept,
    quotas::quotas_are_of_each_owner,
    quotas::quotas_are_exact,
    quotas::a_session_may_begin_with_wishes,
    quotas::use_is_timed_here,
    rest::runners_join_and_leave,
    rest::agents_have_versions,
    rest::versions_fail_are_chosen_and_taken_back,
    rest::variants_are_kept_beside,
    rest::copies_of_sources_are_kept,
    rest::tokens_are_found_by_hash,
    rest::sources_are_kept,
    rest::spans_keep_their_order,
    rest::what_was_seen_is_kept,
    rest::records_of_doors_are_kept,
    rest::purge_removes_what_is_left,
    rest::a_closed_store_refuses_writes,
];
