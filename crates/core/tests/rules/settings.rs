//! Edits of what a compute goes by, and who is told of them.

use std::collections::BTreeMap;

use greenroom_core::approval::{Mode, SessionPolicy};
use greenroom_core::converge::{Action, Local, LocalCompute, converge};
use greenroom_core::fact::Changes;
use greenroom_core::receipt::EndReason;
use greenroom_core::{Command, Epoch, Order};

use crate::scene::*;

impl Scene {
    fn edits(self, changes: Changes) -> Self {
        self.does(Command::Update(changes))
    }

    fn told_settings(&self) -> Option<u64> {
        match self.session.assignments().pop().map(|(_, assignment)| assignment.order) {
            Some(Order::Up { settings, .. }) => settings,
            other => panic!("it is told {other:?}"),
        }
    }
}

fn strict() -> Changes {
    let approvals = SessionPolicy { mode: Some(Mode::Strict), ..SessionPolicy::default() };
    Changes { approvals: Some(approvals), ..Changes::default() }
}

fn model(name: &str) -> Changes {
    Changes { model: Some(name.to_owned()), ..Changes::default() }
}

#[test]
fn only_what_a_compute_goes_by_is_counted() {
    let scene = persistent().running();
    assert_eq!(scene.told_settings(), Some(0));
    let generation = scene.session.generation;
    let scene = scene.edits(Changes { title: Some("T".into()), ..Changes::default() });
    assert_eq!((scene.told_settings(), scene.session.generation), (Some(0), generation));
    let scene = scene.edits(strict());
    assert_eq!(scene.told_settings(), Some(1));
    assert!(scene.session.generation > generation, "its runner is told");
    let generation = scene.session.generation;
    let scene = scene.edits(strict());
    assert_eq!(
        (scene.told_settings(), scene.session.generation),
        (Some(1), generation),
        "it is so"
    );
    let scene = scene.edits(model("openai/m"));
    assert_eq!(
        (scene.told_settings(), scene.session.model.as_deref()),
        (Some(2), Some("openai/m"))
    );
    let scene = scene.edits(model(""));
    assert_eq!((scene.told_settings(), &scene.session.model), (Some(3), &None));
    let members = BTreeMap::from([("helper".parse().expect("a name"), "openai/m".to_owned())]);
    let scene = scene.edits(Changes { models: Some(members), ..Changes::default() });
    assert_eq!(scene.told_settings(), Some(4));
}

#[test]
fn the_next_compute_begins_with_what_was_edited_at_rest() {
    let scene = persistent().answered().stops().closed(EndReason::User);
    let generation = scene.session.generation;
    let scene = scene.edits(strict());
    assert_eq!(scene.session.generation, generation, "there is nobody to tell");
    let scene = scene.prompted().placed();
    assert_eq!(scene.told_settings(), Some(1));
    let (_, assignment) = scene.session.assignments().pop().expect("an order");
    let start = converge(&Local::default(), &assignment);
    assert_eq!(start, Action::Start { epoch: Epoch(2), settings: Some(1) });
}

#[test]
fn an_edit_comes_before_the_run_that_was_asked_after_it() {
    let scene = persistent().answered().edits(model("openai/m")).prompted();
    let (_, assignment) = scene.placed().session.assignments().pop().expect("an order");
    let local = |settings, run| Local {
        live: Some(LocalCompute {
            epoch: Epoch(1),
            run,
            stop: None,
            cancelled: None,
            answered: Default::default(),
            steered: Default::default(),
            settings,
        }),
        ..Local::default()
    };
    let first = Some(run(1));
    let hand = Action::HandSettings { settings: 1 };
    assert_eq!(converge(&local(Some(0), first), &assignment), hand);
    assert_eq!(converge(&local(None, first), &assignment), hand, "a runner that came back");
    let then = Action::HandRun { run: run(2) };
    assert_eq!(converge(&local(Some(1), first), &assignment), then);
    assert_eq!(converge(&local(Some(1), Some(run(2))), &assignment), Action::Nothing);
    // A coordinator that was restored from a backup knows fewer edits; what it knows counts.
    assert_eq!(converge(&local(Some(7), first), &assignment), hand);
}
