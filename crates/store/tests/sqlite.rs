//! The conformance suite on SQLite.

use std::sync::Arc;

use greenroom_store::SqliteStore;
use greenroom_store::conformance::CHECKS;

/// Runs one check on a new store in a folder of its own.
async fn check(name: &str) {
    let folder = tempfile::tempdir().expect("a folder");
    let store = SqliteStore::open(&folder.path().join("db")).await.expect("a new store");
    let (_, run) = CHECKS.iter().find(|(known, _)| *known == name).expect("a check");
    run(Arc::new(store)).await;
}

macro_rules! suite {
    ($($module:ident { $($check:ident)* })*) => {
        $(mod $module {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $check() {
                super::check(concat!(stringify!($module), "::", stringify!($check))).await;
            })*
        })*

        /// No check of the suite is left out here.
        #[test]
        fn the_suite_is_whole() {
            let here = [$($(concat!(stringify!($module), "::", stringify!($check)),)*)*];
            let all: Vec<_> = CHECKS.iter().map(|(name, _)| *name).collect();
            assert_eq!(here.as_slice(), all);
        }
    };
}

suite! {
    sessions {
        creates_and_finds
        names_are_unique_among_those_that_exist
        decides_all_or_none
        output_is_no_new_version
        repeats_answer_the_same
        runs_follow_the_log
        receipts_are_found_in_the_log
        runs_that_wait_are_revised
        commits_are_published_in_order
    }
    list {
        pages_hold_each_session_once
        filters_narrow
        a_list_is_cut_at_a_session
        labels_follow_updates
        reconcilers_find_their_work
    }
    link {
        a_place_is_committed_with_the_prompt
        a_home_is_kept
        slots_are_never_exceeded
        assignments_have_revisions
        records_are_taken_once
        a_gap_bridges_a_hole
        only_the_home_runner_reports
        many_sessions_append_at_once
        records_free_a_slot_for_the_next_run
        files_are_told_once
    }
    parents {
        a_parent_consents
        an_end_is_told_once
        several_ends_are_told_together
        text_behind_a_receipt_is_awaited
        what_is_told
        a_parent_that_is_gone_is_told_nothing
    }
    quotas {
        quotas_are_kept
        quotas_are_of_each_owner
        quotas_are_exact
        a_session_may_begin_with_wishes
        use_is_timed_here
    }
    rest {
        runners_join_and_leave
        agents_have_versions
        versions_fail_are_chosen_and_taken_back
        variants_are_kept_beside
        copies_of_sources_are_kept
        tokens_are_found_by_hash
        sources_are_kept
        spans_keep_their_order
        what_was_seen_is_kept
        records_of_doors_are_kept
        purge_removes_what_is_left
        a_closed_store_refuses_writes
    }
}
