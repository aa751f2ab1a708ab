//! `make test-agents`: the presets whose agents are too large for every test run.

use greenroom_tests::coding::Coding;
use greenroom_tests::story::works_stops_and_goes_on;

#[test]
fn p9_qwen_works_stops_and_goes_on() {
    works_stops_and_goes_on(Coding::Qwen);
}

#[test]
fn p9_gemini_works_stops_and_goes_on() {
    works_stops_and_goes_on(Coding::Gemini);
}

#[test]
fn p9_copilot_works_stops_and_goes_on() {
    works_stops_and_goes_on(Coding::Copilot);
}

#[test]
fn p9_pi_works_stops_and_goes_on() {
    works_stops_and_goes_on(Coding::Pi);
}
