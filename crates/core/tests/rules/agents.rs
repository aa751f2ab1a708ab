//! Which description a session's next compute is of.

use greenroom_core::agent::{AgentPin, AgentPolicy, Graces};
use greenroom_core::command::Rebind;
use greenroom_core::fact::{AgentChanged, Changes, Drift};
use greenroom_core::session::AgentTraits;
use greenroom_core::*;

use crate::scene::*;

/// The same agent from elsewhere, with a process for all runs and a shorter grace.
fn other(from: &AgentPin) -> Box<AgentChanged> {
    let graces = Graces { grace_ms: Ms(1), ..Graces::default() };
    Box::new(AgentChanged {
        from: from.clone(),
        to: AgentPin { version: 2, source: "url:http://h/a?v2".into(), ..from.clone() },
        old_key: "fixer".into(),
        new_key: "http%3A%2F%2Fh%2Fa%3Fv2".into(),
        traits: AgentTraits {
            persistent: true,
            keeps_leftovers: false,
            graces,
            cancels: false,
            steers: false,
        },
        class: Drift::Content,
        diff: Vec::new(),
        by: "user".into(),
    })
}

#[test]
fn at_rest_the_next_compute_is_of_what_the_source_says() {
    let scene = session();
    let changed = other(&scene.session.agent);
    let scene = scene.does(Command::Rebind(Rebind::Follow(changed.clone())));
    assert_eq!(scene.news, [Fact::AgentChanged(changed.clone())]);
    assert_eq!(scene.session.agent, changed.to);
    assert_eq!(scene.session.traits, changed.traits);
    // What it is already is not said again.
    let scene = scene.does(Command::Rebind(Rebind::Follow(changed)));
    assert_eq!(scene.news, []);
}

#[test]
fn a_compute_goes_on_with_what_it_was_started_with() {
    let stages = [session().prompted().placed(), session().running(), session().running().stops()];
    for scene in stages {
        let before = scene.session.clone();
        let changed = other(&before.agent);
        for rebind in [Rebind::Follow(changed.clone()), Rebind::Unresolved] {
            let scene = scene.clone().does(Command::Rebind(rebind));
            assert_eq!(scene.news, []);
            assert_eq!(scene.session, before);
        }
        assert_eq!(scene.refuses(Command::Rebind(Rebind::Choose(changed))), "agent_in_use");
    }
}

#[test]
fn without_a_compute_an_agent_must_be_found() {
    let scene = session();
    assert_eq!(scene.refuses(Command::Rebind(Rebind::Unresolved)), "agent_unresolved");
    let chosen = other(&scene.session.agent);
    let scene = scene.does(Command::Rebind(Rebind::Choose(chosen.clone())));
    assert_eq!(scene.session.agent, chosen.to);
}

#[test]
fn the_policy_is_kept() {
    let scene = session();
    assert_eq!(scene.session.agent_policy, AgentPolicy::Follow);
    let pin = Changes { agent_policy: Some(AgentPolicy::Pin), ..Changes::default() };
    let scene = scene.does(Command::Update(pin));
    assert_eq!(scene.session.agent_policy, AgentPolicy::Pin);
    let event = scene.news[0].to_event(2, at());
    assert_eq!(event.data, serde_json::json!({"agent_policy": "pin"}));
    assert_eq!(Fact::from_event(&event).expect("a fact"), scene.news[0]);
}

/// The event says both keys, and reads back as the fact.
#[test]
fn a_change_is_an_event() {
    let fact = Fact::AgentChanged(other(&session().session.agent));
    let event = fact.to_event(2, at());
    assert_eq!(event.kind, "session.agent_changed");
    assert_eq!(event.data["old_key"], "fixer");
    assert_eq!(event.data["new_key"], "http%3A%2F%2Fh%2Fa%3Fv2");
    assert_eq!(event.data["class"], "content");
    assert_eq!(Fact::from_event(&event).expect("a fact"), fact);
}
