//! Edits of what a compute goes by, and who is told of them.

use std::collections::BTreeMap;

use greenroom_core::approval::{Decision, Mode, SessionPolicy};
use greenroom_core::converge::{Action, Local, LocalCompute, converge};
use greenroom_core::fact::Changes;
use greenroom_core::receipt::EndReason;
use greenroom_core::session::AskState;
use greenroom_core::{Command, Epoch, Order, RecordBody};

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

    /// Whether what was answered to this question is good for once only; none where no answer
    /// is on its way.
    fn once(&self, n: u128) -> Option<bool> {
        let compute = self.session.compute.as_ref().expect("a compute");
        let asked = compute.asked.iter().find(|asked| asked.id == ask(n).id).expect("it is asked");
        match asked.state {
            AskState::Answered { once, .. } => Some(once),
            AskState::Open | AskState::Delivered => None,
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

#[test]
fn an_edit_of_approvals_is_the_later_word_on_an_answer_that_is_on_its_way() {
    let scene = persistent().running().asks(1, 1).asks(1, 2).answers(1, Decision::Allow);
    assert_eq!((scene.once(1), scene.once(2)), (Some(false), None));
    let renamed = Changes { title: Some("T".into()), ..model("openai/m") };
    let scene = scene.edits(renamed);
    assert_eq!(scene.once(1), Some(false), "that is another matter");
    let scene = scene.edits(strict());
    assert_eq!((scene.once(1), scene.once(2)), (Some(true), None));
    let scene = scene.answers(2, Decision::Allow).edits(strict());
    assert_eq!((scene.once(1), scene.once(2)), (Some(true), Some(false)), "answered after it");
    let taken_back = Changes { approvals: Some(Default::default()), ..Changes::default() };
    let scene = scene.edits(taken_back);
    assert_eq!((scene.once(1), scene.once(2)), (Some(true), Some(true)));
    let scene = scene.records(RecordBody::AnswerTaken { id: ask(1).id });
    assert_eq!((scene.once(1), scene.once(2)), (None, Some(true)));
}

#[test]
fn an_edit_comes_before_the_answers_that_its_runner_is_told_with_it() {
    let scene = persistent().running().asks(1, 1).answers(1, Decision::Allow).edits(strict());
    let (_, assignment) = scene.session.assignments().pop().expect("an order");
    let local = |settings| Local {
        live: Some(LocalCompute {
            epoch: Epoch(1),
            run: Some(run(1)),
            stop: None,
            cancelled: None,
            answered: Default::default(),
            steered: Default::default(),
            settings: Some(settings),
        }),
        ..Local::default()
    };
    assert_eq!(converge(&local(0), &assignment), Action::HandSettings { settings: 1 });
    assert_eq!(converge(&local(1), &assignment), Action::HandAnswer { id: ask(1).id });
}
