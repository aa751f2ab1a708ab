//! A stop leaves nothing of a real agent in the middle of a shell call. That what would be
//! left is seen at all, the same agents show without Greenroom.

use greenroom_tests::coding::Coding;
use greenroom_tests::leaks;

fn leaves_nothing(agent: Coding) {
    let (stopped, receipt) = leaks::after_stop(agent);
    assert!(stopped.before >= 2, "the agent and its shell: {stopped:?}");
    assert!(stopped.after.is_empty(), "{stopped:#?}");
    assert_eq!(receipt["survivors"], 0, "{receipt:#}");
}

#[test]
fn p9_a_stop_leaves_nothing_of_codex() {
    leaves_nothing(Coding::Codex);
}

#[test]
fn p9_a_stop_leaves_nothing_of_claude() {
    leaves_nothing(Coding::Claude);
}

#[test]
fn p9_a_stop_leaves_nothing_of_opencode() {
    leaves_nothing(Coding::Opencode);
    let alone = leaks::after_term(Coding::Opencode);
    assert!(!alone.after.is_empty(), "alone, it leaves its shell: {alone:#?}");
}
