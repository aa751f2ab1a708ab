//! Removal, expiry, and a home that is lost.

use greenroom_core::receipt::{EndReason, StopReason};
use greenroom_core::session::Life;
use greenroom_core::{Command, Order};

use crate::scene::*;

#[test]
fn deleting_stops_first_and_is_accepted_in_every_status() {
    for scene in one_in_each_status() {
        let (before, placed) = (scene.stands(), scene.session.home.is_some());
        let live = scene.session.is_live();
        let scene = scene.deleted();
        assert_eq!(scene.stands(), "deleting", "from {before}");
        assert!(scene.queue().is_empty(), "from {before}");
        let gone = scene.session.life == Life::Removed;
        assert_eq!(gone, !placed, "from {before}: gone at once only where nothing was placed");
        if live {
            assert!(scene.stop_order().is_some(), "from {before}");
            let early = scene.clone().does(Command::FilesGone);
            assert_eq!(early.session.life, Life::Deleting, "not under a live compute");
        }
    }
}

#[test]
fn a_deleted_session_is_gone_when_its_runner_says_so() {
    let scene = session().running().deleted().closed(EndReason::Deleted);
    assert_eq!((scene.stands().as_str(), scene.runs().as_str()), ("deleting", "1 stopped"));
    let orders: Vec<_> = scene.session.assignments().into_iter().map(|(_, a)| a.order).collect();
    assert_eq!(orders, [Order::Gone { stop: None }]);
    let scene = scene.does(Command::FilesGone);
    assert_eq!(scene.session.life, Life::Removed);
    assert!(scene.session.assignments().is_empty());
}

#[test]
fn deleting_again_changes_nothing_but_a_stop_that_failed() {
    let scene = session().running().deleted();
    assert_eq!(scene.clone().deleted().told(), Vec::<String>::new());
    let again = scene.overdue().deleted();
    assert_eq!(again.stop_order().expect("it is stopping").attempt, 1);
}

#[test]
fn a_machine_that_is_gone_does_not_keep_a_session_from_being_deleted() {
    let scene = session().running().silent().deleted().abandoned();
    assert_eq!(scene.session.life, Life::Deleting, "its files may still be there");
    let scene = scene.does(Command::HomeLost { runner: HOME, by: user() });
    assert_eq!(scene.session.life, Life::Removed);
}

#[test]
fn what_is_being_removed_takes_nothing_new() {
    let scene = session().running().deleted();
    assert_eq!(scene.refuses(Command::Prompt(prompt(5))), "session_deleting");
    assert_eq!(scene.refuses(Command::Resume { by: user() }), "session_deleting");
    assert_eq!(scene.refuses(Command::Update(Default::default())), "session_deleting");
    let stopped = scene.stops();
    assert_eq!((stopped.stands().as_str(), stopped.held()), ("deleting", false));
}

#[test]
fn an_expired_session_is_stopped_and_can_be_brought_back() {
    let scene = persistent().answered().expired();
    assert_eq!(scene.stands(), "stopping limit");
    let scene = scene.closed(EndReason::Limit);
    assert_eq!((scene.stands().as_str(), scene.session.life), ("stopped expired", Life::Expired));
    assert_eq!(scene.session.need(), None);
    assert_eq!(scene.clone().expired().told(), Vec::<String>::new());
    for back in [scene.clone().prompted(), scene.resumed()] {
        assert_eq!((back.stands().as_str(), back.session.life), ("queued", Life::Kept));
    }
    assert_eq!(session().expired().stands(), "stopped expired");
}

#[test]
fn a_home_removed_by_force_is_said_to_be_lost() {
    let scene = session().running().prompted();
    let lost = || Command::HomeLost { runner: HOME, by: user() };
    let scene = scene.does(lost());
    assert_eq!((scene.stands().as_str(), scene.held()), ("interrupted abandoned", true));
    assert!(scene.told().contains(&"session.workspace_lost".to_owned()));
    assert!(scene.session.assignments().is_empty());
    assert_eq!(scene.clone().does(lost()).told(), Vec::<String>::new());
    // It may be placed anywhere from now on, under an epoch of its own.
    let scene = scene.resumed().does(Command::Grant { runner: ELSEWHERE });
    assert_eq!((scene.session.home, scene.session.last_epoch.0), (Some(ELSEWHERE), 2));
    let elsewhere = session().answered().closed(EndReason::Done);
    let other = elsewhere.does(Command::HomeLost { runner: ELSEWHERE, by: user() });
    assert_eq!(other.told(), Vec::<String>::new());
}

#[test]
fn a_stop_while_it_expires_keeps_its_reason() {
    let scene = persistent().answered().expired().stops_for(StopReason::User);
    assert_eq!(scene.stands(), "stopping limit");
}
