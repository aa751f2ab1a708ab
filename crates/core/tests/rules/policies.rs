//! Policies of approvals: a session's own over its agent's, within those above.

use greenroom_core::approval::{Mode, Policies, Policy, Rule, SessionPolicy};
use greenroom_core::fact::Changes;
use greenroom_core::{Command, Fact, Ms};

use crate::scene::*;

fn rules(words: &[&str]) -> Vec<Rule> {
    words.iter().map(|word| Rule((*word).to_owned())).collect()
}

fn of_agent() -> Policy {
    let (ask, deny) = (rules(&["push"]), rules(&["rm"]));
    Policy { mode: Mode::Balanced, ask, deny, timeout_ms: Some(Ms::secs(60)), ..Policy::default() }
}

#[test]
fn a_sessions_policy_is_added_to_its_agents() {
    let own = SessionPolicy {
        mode: Some(Mode::Strict),
        headless: Some(true),
        allow: rules(&["push", "rm"]),
        deny: rules(&["fetch"]),
        ..SessionPolicy::default()
    };
    let changed = Changes { approvals: Some(own.clone()), ..Changes::default() };
    let scene = session().does(Command::Update(changed));
    let event = scene.news[0].to_event(2, at());
    assert_eq!(Fact::from_event(&event).expect("a fact"), scene.news[0]);
    let Policies { own: effective, within } = scene.session.policies(&of_agent());
    assert_eq!((effective.mode, effective.headless), (Mode::Strict, true));
    assert_eq!(effective.deny, rules(&["rm", "fetch"]), "the agent's stays");
    assert_eq!(effective.ask, rules(&["push"]), "and its asking comes before what is allowed");
    assert_eq!(effective.allow, rules(&["push", "rm"]));
    assert_eq!((effective.timeout_ms, within.len()), (Some(Ms::secs(60)), 0));
    // What is absent from a change stays; what is empty is taken back.
    let scene = scene.does(Command::Update(Changes::default()));
    assert_eq!(scene.session.approvals, own);
    let none = Changes { approvals: Some(SessionPolicy::default()), ..Changes::default() };
    let scene = scene.does(Command::Update(none));
    assert_eq!(scene.session.policies(&of_agent()).own, of_agent());
}

#[test]
fn what_lets_an_agent_do_more_is_known() {
    let session = SessionPolicy::default;
    for (place, own) in [
        ("/approvals/allow", SessionPolicy { allow: rules(&["x"]), ..session() }),
        ("/approvals/mode", SessionPolicy { mode: Some(Mode::Autonomous), ..session() }),
        ("/approvals/headless", SessionPolicy { headless: Some(false), ..session() }),
        ("/approvals/timeout_ms", SessionPolicy { timeout_ms: Some(Ms::secs(61)), ..session() }),
    ] {
        let agent = Policy { headless: true, ..of_agent() };
        assert_eq!(own.widens(&agent), Some(place));
    }
    let narrow = SessionPolicy {
        mode: Some(Mode::Strict),
        headless: Some(true),
        deny: rules(&["x"]),
        ask: rules(&["y"]),
        timeout_ms: Some(Ms::secs(59)),
        ..session()
    };
    assert_eq!(narrow.widens(&of_agent()), None);
}

#[test]
fn of_several_policies_the_strictest_counts() {
    let above = Policy { headless: true, timeout_ms: Some(Ms::secs(5)), ..Policy::default() };
    let own = Policy { mode: Mode::Autonomous, ..of_agent() };
    let policies = Policies { own: own.clone(), within: vec![above.clone(), own.clone()] };
    assert_eq!((policies.mode(), policies.headless()), (Mode::Balanced, true));
    assert_eq!(policies.timeout_ms(), Some(Ms::secs(5)));
    assert_eq!(policies.for_children(), [own, above], "each once");
}
