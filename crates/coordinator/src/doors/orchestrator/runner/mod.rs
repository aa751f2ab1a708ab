//! Runners of the other system: each is a runner of ours behind an adapter. What it is told
//! are its assignments; what it reports becomes the journal of a compute, in a stream of its
//! own; and its receipts say that they are its word.

mod adapter;
mod poll;
mod reconcile;
mod register;
mod reports;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::Router;
use greenroom_core::{Epoch, RunId, RunnerId, Session, SessionId, SessionUid};
use greenroom_protocol::link::ForeignRunner;
use greenroom_protocol::token::Role;

pub(super) use self::adapter::Adapter;
pub(super) use self::poll::settle_session;
pub(crate) use self::reconcile::reconcile;
use super::fault::{Done, Fault};
use super::{SYSTEM, words};
use crate::app::App;
use crate::auth::{Caller, Right, Who};
use crate::hub::lock;
use crate::presence::Runner;

/// A stop that was said is said again after this time, in case the answer was lost.
const SAY_AGAIN: Duration = Duration::from_secs(5);
/// What nobody waits for any more is said so often: no report of it is owed.
const SAY_IN_ALL: u32 = 2;
/// And may be said again after this time: it is forgotten that it was said.
const SAID_LONG_AGO: Duration = Duration::from_secs(3600);
/// So many removed sessions are remembered for that.
const MOST_OWED: usize = 256;

pub(super) fn routes() -> Router<Arc<App>> {
    Router::new().merge(register::routes()).merge(poll::routes()).merge(reports::routes())
}

/// A removed session, of which its runner may still have a process.
#[derive(Debug, Clone)]
struct Owed {
    runner: RunnerId,
    id: SessionId,
    uid: SessionUid,
    epoch: Epoch,
}

/// A compute, at the runner that has it.
type Which = (RunnerId, SessionUid, Epoch);

/// How a thing stands that is said several times.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Said {
    Due,
    Lately,
    Enough,
}

/// What runners were told, and what is to be looked at later. None of it is the only copy.
#[derive(Default)]
pub(crate) struct Told {
    stops: Mutex<HashMap<Which, Instant>>,
    /// How often, and when last.
    given_up: Mutex<HashMap<Which, (u32, Instant)>>,
    owed: Mutex<VecDeque<Owed>>,
    timeouts: Mutex<BTreeSet<(i64, RunId)>>,
}

impl Told {
    /// Whether a stop is to be said now.
    fn is_due(&self, runner: RunnerId, uid: SessionUid, epoch: Epoch) -> bool {
        let mut stops = lock(&self.stops);
        let now = Instant::now();
        let due = stops.get(&(runner, uid, epoch)).is_none_or(|said| now - *said >= SAY_AGAIN);
        if due {
            stops.retain(|_, said| now - *said < 20 * SAY_AGAIN);
            stops.insert((runner, uid, epoch), now);
        }
        due
    }

    /// The same for what a person has given up, and whether that was said often enough.
    fn is_due_once_more(&self, runner: RunnerId, uid: SessionUid, epoch: Epoch) -> Said {
        let mut given_up = lock(&self.given_up);
        let now = Instant::now();
        given_up.retain(|_, (_, said)| now - *said < SAID_LONG_AGO);
        let (times, said) = given_up.entry((runner, uid, epoch)).or_insert((0, now));
        if *times > 0 && now - *said < SAY_AGAIN {
            return Said::Lately;
        }
        if *times >= SAY_IN_ALL {
            return Said::Enough;
        }
        (*times, *said) = (*times + 1, now);
        Said::Due
    }

    /// A session is removed of which this runner may still have a process: what is said of
    /// that is kept here, since the session is not.
    fn owes(&self, runner: RunnerId, session: &Session) {
        let mut owed = lock(&self.owed);
        if owed.iter().any(|owed| owed.uid == session.uid) {
            return;
        }
        if owed.len() == MOST_OWED {
            owed.pop_front();
        }
        let (id, uid, epoch) = (session.id.clone(), session.uid, session.last_epoch);
        owed.push_back(Owed { runner, id, uid, epoch });
    }

    /// What is to be said of removed sessions now, each with whose it was.
    fn owed(&self, runner: RunnerId) -> Vec<Owed> {
        let mut due = Vec::new();
        lock(&self.owed).retain(|owed| {
            if owed.runner != runner {
                return true;
            }
            let said = self.is_due_once_more(runner, owed.uid, owed.epoch);
            if said == Said::Due {
                due.push(owed.clone());
            }
            said != Said::Enough
        });
        due
    }

    /// A run fails at this time, if nobody has taken it by then.
    pub(super) fn times_out(&self, run: RunId, at_ms: i64) {
        lock(&self.timeouts).insert((at_ms, run));
    }

    /// Runs whose time has come.
    fn timed_out(&self, now_ms: i64) -> Vec<RunId> {
        let mut timeouts = lock(&self.timeouts);
        let mut due = Vec::new();
        while let Some(first) = timeouts.first().copied().filter(|(at, _)| *at <= now_ms) {
            timeouts.remove(&first);
            due.push(first.1);
        }
        due
    }
}

/// A runner of the other system, by the name it has there.
fn named(app: &App, name: &str) -> Option<(Arc<Runner>, ForeignRunner)> {
    let runner = app.runners.get(words::runner_of(name))?;
    let foreign = runner.foreign().filter(|foreign| foreign.system == SYSTEM)?;
    (foreign.id == name).then_some((runner, foreign))
}

/// Whether a caller speaks for a runner: with its own credential, or as whoever registered it.
fn speaks_for(caller: &Caller, runner: &Runner, foreign: &ForeignRunner) -> bool {
    match &caller.who {
        Who::Runner(id) => *id == runner.id,
        Who::Person => {
            let own = foreign.principal == caller.principal.0;
            caller.require(Right::Use).is_ok() && (own || caller.role == Role::Admin)
        }
        Who::Agent { .. } => false,
    }
}

/// The runner that calls, also one that has just been let go: it still has to say how its
/// sessions ended.
fn known(app: &App, caller: &Caller, name: &str) -> Done<(Arc<Runner>, ForeignRunner)> {
    named(app, name)
        .filter(|(runner, foreign)| speaks_for(caller, runner, foreign))
        .ok_or_else(|| Fault::new(401, "Runner not registered"))
}

/// The runner that calls, while it is registered.
fn registered(app: &App, caller: &Caller, name: &str) -> Done<(Arc<Runner>, ForeignRunner)> {
    let (runner, foreign) = known(app, caller, name)?;
    match foreign.registered {
        true => Ok((runner, foreign)),
        false => Err(Fault::new(401, "Runner not registered")),
    }
}

/// Notes that a runner lives, which heals what its silence has broken.
async fn seen(app: &App, runner: &Runner) -> Done<()> {
    if runner.seen() {
        let update =
            greenroom_store::RunnerUpdate { seen_at: Some(app.clock.wall()), ..Default::default() };
        super::fault::stored(app.store.update_runner(runner.id, update).await)?;
        app.runner_changed(runner.id);
        app.wakes.runners.notify_one();
        app.wakes.place.notify_one();
    }
    Ok(())
}
