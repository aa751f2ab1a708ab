//! Real coding agents, driven by their presets against a scripted model: work, a stop in
//! the middle of a tool, and a resume with the agent's own memory.

use greenroom_tests::coding::Coding;
use greenroom_tests::story::works_stops_and_goes_on;

#[test]
fn p9_claude_works_stops_and_goes_on() {
    works_stops_and_goes_on(Coding::Claude);
}

#[test]
fn p9_codex_works_stops_and_goes_on() {
    works_stops_and_goes_on(Coding::Codex);
}

#[test]
fn p9_opencode_works_stops_and_goes_on() {
    works_stops_and_goes_on(Coding::Opencode);
}
