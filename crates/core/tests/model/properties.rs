//! The promises, and witnesses that the model reaches what they are about.

use greenroom_core::run::RunStatus;
use greenroom_core::session::Life;
use greenroom_core::{Epoch, Status};
use stateright::{Model, Property};

use crate::steps::Step;
use crate::world::{System, World, run};

pub const ONE_LIVE: &str = "never two live computes, but by a person's word";
pub const NEVER_AGAIN: &str = "an epoch starts once, and never after its proven end";
pub const ASKED: &str = "a supervisor ends a compute only where that was wanted";
pub const ONE_RECEIPT: &str = "an epoch is closed once";
pub const PROVEN: &str = "what is called stopped is proven";
pub const AT_MOST_ONCE: &str = "a run is given to an agent at most once";
pub const NOT_LOST: &str = "an accepted run waits, is at work, or has ended";
pub const ACKNOWLEDGED: &str = "an answer that was acknowledged stands";
pub const AT_REST: &str = "at rest means that nothing is left, but by a person's word";
pub const KEPT: &str = "files go only with a session that is removed, and under nothing alive";
pub const NOT_STALE: &str = "a run goes by all that was edited before it was dispatched";
pub const NOT_STUCK: &str = "what is under way goes on without a person";

type Holds = fn(&System, &World) -> bool;

fn always(name: &'static str, holds: Holds) -> Property<System> {
    Property::always(name, holds)
}

fn sometimes(name: &'static str, holds: Holds) -> Property<System> {
    Property::sometimes(name, holds)
}

/// All of them, with the witnesses that this system can reach.
pub fn all(system: &System) -> Vec<Property<System>> {
    let mut all = vec![
        always(ONE_LIVE, |_, world| live(world) <= 1),
        always(NEVER_AGAIN, |_, world| !world.ghost.again),
        always(ASKED, |_, world| !world.ghost.unasked),
        always(ONE_RECEIPT, |_, world| !world.ghost.closed_twice),
        always(PROVEN, |_, world| !world.ghost.unproven_stop),
        always(AT_MOST_ONCE, |_, world| world.ghost.executed.iter().all(|n| *n <= 1)),
        always(NOT_LOST, accounted),
        always(ACKNOWLEDGED, |_, world| {
            let ghost = &world.ghost;
            let stands = |n: usize| ghost.ended[n] == Some(RunStatus::Completed);
            (0..2).all(|n| !ghost.acknowledged[n] || stands(n))
        }),
        always(AT_REST, |_, world| !world.session.status().is_at_rest() || live(world) == 0),
        always(KEPT, |_, world| {
            let removing = matches!(world.session.life, Life::Deleting | Life::Removed);
            !world.runner.removed || (removing && live(world) == 0)
        }),
        always(NOT_STALE, |_, world| !world.ghost.stale),
        always(NOT_STUCK, goes_on),
        sometimes("a stop is proven", |_, world| world.session.status() == Status::Stopped),
        sometimes("all that was asked is answered", |system, world| {
            let asked = usize::from(system.budget.prompts);
            world.ghost.ended[..asked].iter().all(|end| *end == Some(RunStatus::Completed))
        }),
        sometimes("work goes on after a stop", |_, world| {
            let ended = &world.ghost.ended;
            ended.contains(&Some(RunStatus::Stopped))
                && (ended.contains(&Some(RunStatus::Completed)) || world.left.prompts == 0)
        }),
    ];
    let budget = system.budget;
    let mut witness = |possible: bool, name, condition: Holds| {
        if possible {
            all.push(sometimes(name, condition));
        }
    };
    witness(budget.runner_crashes + budget.shim_crashes > 0, "a run is given back", |_, world| {
        world.ghost.requeued
    });
    witness(budget.shim_crashes > 0, "an end is not to be proven", |_, world| {
        world.session.status() == Status::StopUnconfirmed
    });
    let next = budget.prompts > 1 || (system.persistent && budget.resumes > 0);
    witness(budget.abandons > 0 && next, "a compute starts beside an abandoned one", |_, world| {
        let beside = |epoch: &u32| world.ghost.vouched.iter().any(|vouched| vouched < epoch);
        world.runner.folders.iter().any(|(epoch, folder)| folder.lives() && beside(epoch))
    });
    witness(budget.abandons > 0, "a receipt comes after a person's word", |_, world| {
        world.ghost.vouched.iter().any(|epoch| !world.session.abandoned.contains(&Epoch(*epoch)))
    });
    witness(budget.deletes > 0, "a session is gone", |_, world| {
        world.session.life == Life::Removed && world.runner.removed
    });
    witness(budget.silences > 0, "nothing is known", |_, world| {
        world.session.status() == Status::Unreachable
    });
    witness(budget.edits > 0, "an edit reaches a compute", |_, world| world.ghost.edited);
    witness(budget.idles > 0, "a prompt outlives the idle stop it met", |_, world| {
        let stopping = world.session.status() == Status::Stopping;
        stopping && world.session.hold.is_none() && !world.session.queue.is_empty()
    });
    all
}

/// Computes that live, without those a person has vouched for.
fn live(world: &World) -> usize {
    let folders = world.runner.folders.iter();
    folders.filter(|(epoch, f)| f.lives() && !world.ghost.vouched.contains(epoch)).count()
}

/// Every run that was accepted is in exactly one place.
fn accounted(system: &System, world: &World) -> bool {
    let session = &world.session;
    let accepted = usize::from(system.budget.prompts - world.left.prompts);
    let head = session.compute.as_ref().and_then(|compute| compute.head.as_ref());
    !world.ghost.ended_twice
        && (0..accepted).all(|n| {
            let waits = session.queue.iter().filter(|waiting| waiting.id == run(n)).count();
            let works = usize::from(head.is_some_and(|head| head.run.id == run(n)));
            waits + works + usize::from(world.ghost.ended[n].is_some()) == 1
        })
}

/// While something is under way, somebody other than a person or bad luck can do something.
fn goes_on(system: &System, world: &World) -> bool {
    let under_way = matches!(
        world.session.status(),
        Status::Queued | Status::Starting | Status::Running | Status::Stopping | Status::Deleting
    );
    let in_doubt = world.session.compute.as_ref().is_some_and(|c| c.unconfirmed || c.silent);
    if !under_way || in_doubt || world.session.life == Life::Removed {
        return true;
    }
    let mut steps: Vec<Step> = Vec::new();
    system.actions(world, &mut steps);
    steps
        .into_iter()
        .filter(|step| !step.is_optional())
        .any(|step| system.next_state(world, step).is_some())
}
