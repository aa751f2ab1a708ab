//! The steps by which a compute is ended, as a pure machine: it is told the time and
//! whether the agent's own process lives, and says what to do next.

use crate::clock::Moment;

/// What to do to the tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Act {
    /// Let the driver end the agent's turn.
    Cancel,
    /// Ask the agent's own process to end.
    TermLeader,
    /// Ask all the others.
    TermRest,
    /// Freeze and kill; from now on until nothing is left.
    Kill,
}

/// How far down the ladder a compute is. A turn in progress is cancelled first, where its
/// driver can. Then the leader is asked, alone, so that it can write its transcript while
/// its tools still work; the others are asked when it has ended, or after half the grace.
/// The grace is counted from the first SIGTERM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ladder {
    grace: u64,
    term_at: Moment,
    rest_at: Moment,
    kill_at: Moment,
    cancel: Cancel,
    asked_leader: bool,
    asked_rest: bool,
    killing: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cancel {
    ToDo,
    Asked,
    Over,
}

impl Ladder {
    /// An end that begins now, with so long for the cancel of a turn, if there is one.
    pub(crate) fn new(now: Moment, cancel: Option<u64>, grace_ms: u64) -> Self {
        // No grace is force at once: nothing comes before it.
        let cancel = cancel.filter(|_| grace_ms > 0);
        let term_at = now.saturating_add(cancel.unwrap_or(0));
        Self {
            grace: grace_ms,
            term_at,
            rest_at: term_at.saturating_add(grace_ms / 2),
            kill_at: term_at.saturating_add(grace_ms),
            cancel: if cancel.is_some() { Cancel::ToDo } else { Cancel::Over },
            asked_leader: false,
            asked_rest: false,
            killing: false,
        }
    }

    /// Another stop: it can bring the end nearer, never put it off.
    pub(crate) fn shorten(&mut self, now: Moment, grace_ms: u64) {
        self.grace = self.grace.min(grace_ms);
        self.kill_at = self.kill_at.min(now.saturating_add(grace_ms));
        self.rest_at = self.rest_at.min(now.saturating_add(grace_ms / 2));
        self.term_at = self.term_at.min(self.rest_at);
    }

    /// The turn has ended.
    pub(crate) fn turn_is_over(&mut self) {
        self.cancel = Cancel::Over;
    }

    /// The next thing to do now, if there is one.
    pub(crate) fn next(&mut self, now: Moment, leader_alive: bool) -> Option<Act> {
        if self.killing {
            return None;
        }
        if now >= self.kill_at {
            self.killing = true;
            return Some(Act::Kill);
        }
        if !self.asked_leader {
            let waits = leader_alive && now < self.term_at;
            match self.cancel {
                Cancel::ToDo if waits => {
                    self.cancel = Cancel::Asked;
                    return Some(Act::Cancel);
                }
                Cancel::Asked if waits => return None,
                _ => {}
            }
            self.asked_leader = true;
            self.rest_at = self.rest_at.min(now.saturating_add(self.grace / 2));
            self.kill_at = self.kill_at.min(now.saturating_add(self.grace));
            if leader_alive {
                return Some(Act::TermLeader);
            }
        }
        if !self.asked_rest && (!leader_alive || now >= self.rest_at) {
            self.asked_rest = true;
            return Some(Act::TermRest);
        }
        None
    }

    /// Whether it has come to force.
    pub(crate) fn killing(&self) -> bool {
        self.killing
    }

    /// When to look again though nothing happens.
    pub(crate) fn wake_at(&self) -> Option<Moment> {
        if self.killing {
            return None;
        }
        let next = match (self.asked_leader, self.asked_rest) {
            (false, _) => self.term_at,
            (true, false) => self.rest_at,
            (true, true) => self.kill_at,
        };
        Some(next.min(self.kill_at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn asks_the_leader_then_the_rest_then_kills() {
        let mut ladder = Ladder::new(1000, None, 10_000);
        assert_eq!(ladder.next(1000, true), Some(Act::TermLeader));
        assert_eq!(ladder.next(1001, true), None);
        assert_eq!(ladder.wake_at(), Some(6000));
        assert_eq!(ladder.next(6000, true), Some(Act::TermRest));
        assert_eq!(ladder.next(10_999, true), None);
        assert_eq!(ladder.wake_at(), Some(11_000));
        assert_eq!(ladder.next(11_000, true), Some(Act::Kill));
        assert_eq!(ladder.next(99_000, true), None);
    }

    #[test]
    fn a_turn_is_cancelled_before_anything_else() {
        let mut ladder = Ladder::new(0, Some(2000), 10_000);
        assert_eq!(ladder.next(0, true), Some(Act::Cancel));
        assert_eq!(ladder.next(1, true), None);
        assert_eq!(ladder.wake_at(), Some(2000));
        let mut obeyed = ladder.clone();
        obeyed.turn_is_over();
        assert_eq!(obeyed.next(30, true), Some(Act::TermLeader));
        assert_eq!(obeyed.wake_at(), Some(5030), "the grace begins with the first SIGTERM");
        assert_eq!(ladder.next(2000, true), Some(Act::TermLeader));
        assert_eq!(ladder.next(7000, true), Some(Act::TermRest));
        assert_eq!(ladder.next(12_000, true), Some(Act::Kill));
    }

    #[test]
    fn a_cancel_is_not_waited_for_when_the_leader_is_gone_or_there_is_no_grace() {
        assert_eq!(Ladder::new(0, Some(2000), 10).next(0, false), Some(Act::TermRest));
        assert_eq!(Ladder::new(0, Some(2000), 0).next(0, true), Some(Act::Kill));
        let mut ladder = Ladder::new(0, Some(2000), 10_000);
        assert_eq!(ladder.next(0, true), Some(Act::Cancel));
        ladder.shorten(5, 0);
        assert_eq!(ladder.next(5, true), Some(Act::Kill));
    }

    #[test]
    fn the_rest_is_asked_as_soon_as_the_leader_is_gone() {
        let mut ladder = Ladder::new(0, None, 10_000);
        assert_eq!(ladder.next(0, true), Some(Act::TermLeader));
        assert_eq!(ladder.next(5, false), Some(Act::TermRest));
        let mut without_leader = Ladder::new(0, None, 10_000);
        assert_eq!(without_leader.next(0, false), Some(Act::TermRest));
    }

    #[test]
    fn no_grace_is_force_at_once() {
        assert_eq!(Ladder::new(7, None, 0).next(7, true), Some(Act::Kill));
    }

    #[test]
    fn another_stop_only_shortens() {
        let mut ladder = Ladder::new(0, None, 1000);
        ladder.shorten(10, 60_000);
        assert_eq!(ladder, Ladder::new(0, None, 1000));
        ladder.shorten(10, 0);
        assert_eq!(ladder.next(10, true), Some(Act::Kill));
    }

    proptest! {
        /// Whatever stops come in whatever order, the kill comes at the earliest of
        /// their ends, once, and nothing comes after it.
        #[test]
        fn kills_once_at_the_earliest_end(
            grace in 0u64..50,
            cancel in prop::option::of(0u64..20),
            others in proptest::collection::vec((0u64..50, 0u64..50), 0..5),
            dies_at in 0u64..100,
        ) {
            let mut ladder = Ladder::new(0, cancel, grace);
            // With a leader that lives on, SIGTERM comes when the cancel's time is up.
            let lives = dies_at > cancel.unwrap_or(0);
            prop_assume!(cancel.is_none() || lives && others.is_empty());
            let mut earliest = grace + cancel.filter(|_| grace > 0).unwrap_or(0);
            let mut acts = Vec::new();
            for now in 0..=120u64 {
                for (at, grace) in others.iter().filter(|(at, _)| *at == now) {
                    if !ladder.killing() {
                        earliest = earliest.min(at + grace);
                    }
                    ladder.shorten(now, *grace);
                }
                while let Some(act) = ladder.next(now, now < dies_at) {
                    acts.push((now, act));
                }
            }
            let kills: Vec<_> = acts.iter().filter(|(_, act)| *act == Act::Kill).collect();
            prop_assert_eq!(kills.len(), 1);
            prop_assert_eq!(kills[0].0, earliest);
            prop_assert_eq!(acts.last().map(|(_, act)| *act), Some(Act::Kill));
        }
    }
}
