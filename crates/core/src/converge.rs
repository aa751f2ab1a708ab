//! What a runner does when an assignment meets what it has.
//!
//! Pure and level-triggered: called again after the action is done, it answers
//! [`Action::Nothing`], or one of the answers that may be repeated at will
//! ([`Action::AnswerClosed`], [`Action::Forget`], [`Action::RemoveFiles`]). Three fences keep old messages harmless: the
//! *generation* (nothing older than what was obeyed), the *epoch fence* (nothing at or
//! below the highest closed epoch is started), and the *closed record* (that highest
//! epoch is on disk before a receipt is answered).

use std::collections::BTreeSet;

use crate::assignment::{Assignment, Order, StopOrder};
use crate::ids::{ApprovalId, Epoch, Generation, RunId};
use crate::value::Ms;

/// What a runner has of one session.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Local {
    /// The highest epoch durably recorded as closed. 0 for none.
    ///
    /// A compute whose supervisor is gone and whose end cannot be proven counts too: nothing
    /// here can end it any more, it must never be started again, and it must not stand in
    /// the way of a later epoch, which exists only once a person has vouched for the end of
    /// this one. The runner answers for it with what it found instead of a receipt.
    pub floor: Epoch,
    /// The highest generation obeyed since the runner started.
    pub seen: Generation,
    /// The compute that is not closed: its supervisor lives, or may.
    pub live: Option<LocalCompute>,
}

/// A compute of this runner that is not closed.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LocalCompute {
    /// Its number.
    pub epoch: Epoch,
    /// The run that was handed to it last.
    pub run: Option<RunId>,
    /// The stop it was given: its grace and its try.
    pub stop: Option<StopOrder>,
    /// The run whose turn it was told to end.
    pub cancelled: Option<RunId>,
    /// The answers it was given.
    pub answered: BTreeSet<ApprovalId>,
    /// The runs it was given to become part of another.
    pub steered: BTreeSet<RunId>,
    /// Which edit of its session's settings it was given; not known of one that was there
    /// before this runner.
    pub settings: Option<u64>,
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Action {
    /// All is as it should be, or the message is older than what was obeyed.
    Nothing,
    /// Bring this compute up. That there is such an epoch also says that the coordinator has
    /// settled every epoch below it, but for those it names with an order of their own.
    Start {
        /// Its number.
        epoch: Epoch,
        /// Which edit of its session's settings it begins with, at least.
        settings: Option<u64>,
    },
    /// Give the live compute the settings of its session as they are now. That is before any
    /// run: what was edited before a run was asked for counts in all of it. And before any
    /// answer, also one that was fetched and may not have reached the compute: it is fetched
    /// anew once they have come, and so never says less of an edit than they do.
    HandSettings {
        /// Which edit they have come to, at least.
        settings: u64,
    },
    /// Give the live compute this run.
    HandRun {
        /// The run.
        run: RunId,
    },
    /// Let the live compute end the turn of this run, and itself where that takes longer.
    Cancel {
        /// The run.
        run: RunId,
        /// How long the agent's own end of the turn may take.
        grace: Ms,
    },
    /// Give the live compute this answer.
    HandAnswer {
        /// To what.
        id: ApprovalId,
    },
    /// Give the run that the live compute has this one as well.
    HandSteer {
        /// The run that is to become part of the other.
        run: RunId,
        /// The one in progress.
        into: RunId,
    },
    /// Give the live compute this stop.
    Stop {
        /// How.
        stop: StopOrder,
    },
    /// Record the epoch as closed without ever starting it, then answer a receipt.
    CloseUnstarted {
        /// Its number.
        epoch: Epoch,
        /// The stop that asked for it.
        stop: StopOrder,
    },
    /// The epoch is closed here: answer its receipt; or what was found, where there is no
    /// proof; or the floor, where that is all there is.
    AnswerClosed {
        /// Its number.
        epoch: Epoch,
    },
    /// The coordinator has the receipt: the control folder may go once its journal is
    /// acknowledged too. The floor stays.
    Forget {
        /// Its number.
        epoch: Epoch,
    },
    /// Remove the session's files, and say so. The floor outlives them: it keeps a late
    /// message from starting an agent of a session that is gone.
    RemoveFiles,
}

/// Decides what a runner does about one assignment.
pub fn converge(local: &Local, assignment: &Assignment) -> Action {
    if assignment.generation < local.seen {
        return Action::Nothing;
    }
    let epoch = assignment.epoch;
    let closed = epoch <= local.floor;
    let live = local.live.as_ref();
    let this = live.filter(|compute| compute.epoch == epoch);
    match (&assignment.order, this) {
        // A compute that was told to stop takes nothing more.
        (Order::Up { .. }, Some(compute)) if compute.stop.is_some() => Action::Nothing,
        (Order::Up { settings: Some(wanted), .. }, Some(compute))
            if compute.settings != Some(*wanted) =>
        {
            Action::HandSettings { settings: *wanted }
        }
        (Order::Up { run, cancel, answers, steers, .. }, Some(compute)) => match (run, cancel) {
            (Some(run), _) if compute.run != Some(*run) => Action::HandRun { run: *run },
            (Some(run), Some(grace)) if compute.cancelled != Some(*run) => {
                Action::Cancel { run: *run, grace: *grace }
            }
            _ => {
                let answer = answers.iter().find(|id| !compute.answered.contains(id));
                let steer = steers.iter().find(|steer| !compute.steered.contains(steer));
                match (answer, run, steer) {
                    (Some(id), _, _) => Action::HandAnswer { id: *id },
                    (None, Some(into), Some(run)) => Action::HandSteer { run: *run, into: *into },
                    (None, _, _) => Action::Nothing,
                }
            }
        },
        (Order::Up { .. }, None) if closed => Action::AnswerClosed { epoch },
        // An older compute is still there: it ends first, by its own order.
        (Order::Up { .. }, None) if live.is_some() => Action::Nothing,
        (Order::Up { settings, .. }, None) => Action::Start { epoch, settings: *settings },
        (Order::Down { stop } | Order::Gone { stop: Some(stop) }, Some(compute)) => {
            match &compute.stop {
                Some(given) if !is_news(given, stop) => Action::Nothing,
                _ => Action::Stop { stop: stop.clone() },
            }
        }
        (Order::Down { .. }, None) if closed => Action::AnswerClosed { epoch },
        (Order::Down { .. }, None) if live.is_some() => Action::Nothing,
        (Order::Down { stop }, None) => Action::CloseUnstarted { epoch, stop: stop.clone() },
        (Order::Gone { stop: Some(stop) }, None) if !closed && live.is_none() => {
            Action::CloseUnstarted { epoch, stop: stop.clone() }
        }
        // An epoch that no runner was ever given is above the floor; what is below it is
        // settled all the same.
        (Order::Closed, None) if local.floor > Epoch(0) => {
            Action::Forget { epoch: epoch.min(local.floor) }
        }
        // Never under a live compute, whatever the message says.
        (Order::Gone { .. }, None) if live.is_none() => Action::RemoveFiles,
        (Order::Closed | Order::Gone { .. }, _) => Action::Nothing,
    }
}

/// Whether a stop says more than the one that was given: a shorter grace, another try, or
/// somebody else who asks.
fn is_news(given: &StopOrder, stop: &StopOrder) -> bool {
    stop.grace_ms < given.grace_ms
        || stop.attempt > given.attempt
        || stop.requested_by.len() > given.requested_by.len()
}
