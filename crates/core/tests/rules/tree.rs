//! Parents and children.

use greenroom_core::command::TreeBounds;
use greenroom_core::receipt::{EndReason, StopReason};
use greenroom_core::{Command, SessionUid};
use uuid::Uuid;

use crate::hold::child_ended;
use crate::scene::*;

const BOUNDS: TreeBounds = TreeBounds { depth: 3, children: 2 };

fn child(n: u128) -> SessionUid {
    SessionUid(Uuid::from_u128(n))
}

fn spawn(n: u128) -> Command {
    Command::SpawnChild {
        child: child(n),
        id: format!("child-{n}").parse().expect("a name"),
        agent: "fixer".parse().expect("a name"),
        bounds: BOUNDS,
    }
}

#[test]
fn a_tree_grows_within_bounds() {
    let scene = session().running().does(spawn(1)).does(spawn(2));
    assert_eq!(scene.refuses(spawn(3)), "too_many_children");
    let fewer = scene.does(Command::ChildRemoved { child: child(1) });
    assert_eq!(fewer.does(spawn(3)).session.children, 2);
    let mut deep = session();
    deep.session.depth = BOUNDS.depth;
    assert_eq!(deep.refuses(spawn(1)), "tree_too_deep");
    assert_eq!(session().running().deleted().refuses(spawn(1)), "session_deleting");
}

/// The walk over the children goes top-down: once the parent's stop is committed, the agent
/// cannot make another child behind its back.
#[test]
fn no_child_is_created_once_a_tree_stop_is_committed() {
    let stopped = session().running().stops_with(StopReason::User, |stop| stop.tree = true);
    assert_eq!(stopped.refuses(spawn(1)), "parent_stopping");
    assert_eq!(stopped.closed(EndReason::User).refuses(spawn(1)), "parent_stopping");
    let plain = session().running().stops();
    assert_eq!(plain.does(spawn(1)).session.children, 1);
}

#[test]
fn a_resume_or_a_persons_prompt_lets_the_tree_grow_again() {
    let tree = |scene: Scene| scene.stops_with(StopReason::User, |stop| stop.tree = true);
    let live = tree(session().running()).closed(EndReason::User);
    let rest = tree(session().answered().closed(EndReason::Done));
    for stopped in [live, rest] {
        assert_eq!(stopped.clone().resumed().does(spawn(1)).session.children, 1);
        assert_eq!(stopped.clone().prompted().does(spawn(1)).session.children, 1);
        let asked = stopped.prompts_with(|prompt| prompt.by = agent());
        assert_eq!(asked.refuses(spawn(1)), "parent_stopping");
    }
}

/// The children of a finished parent are stopped with it; what they tell it must not start
/// it again.
#[test]
fn a_tree_stop_holds_a_parent_that_is_at_rest() {
    let scene = session().answered().closed(EndReason::Done);
    let scene = scene.stops_with(StopReason::User, |stop| stop.tree = true);
    let scene = scene.does(child_ended(9));
    assert_eq!((scene.stands().as_str(), scene.held(), scene.queue()), ("finished", true, vec![9]));
}

#[test]
fn the_end_of_a_childs_run_is_a_run_of_the_parent() {
    let scene = session().running().does(child_ended(9));
    assert_eq!(scene.runs(), "1 running, 9 queued");
    assert!(scene.told().contains(&"child.completed".to_owned()));
    let next = scene.ends(1, completed()).closed(EndReason::Done);
    assert_eq!(next.stands(), "queued");
    let gone = session().running().deleted().does(child_ended(9));
    assert_eq!(gone.told(), Vec::<String>::new());
}
