//! The steps by which a compute is ended, as a pure machine: it is told the time and
//! whether the agent's own process lives, and says what to do next.

use crate::clock::Moment;

/// What to do to the tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Act {
    /// Ask the agent's own process to end.
    TermLeader,
    /// Ask all the others.
    TermRest,
    /// Freeze and kill; from now on until nothing is left.
    Kill,
}

/// How far down the ladder a compute is. The leader is asked first and alone, so that it
/// can write its transcript while its tools still work; the others are asked when it has
/// ended, or after half the grace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ladder {
    rest_at: Moment,
    kill_at: Moment,
    asked_leader: bool,
    asked_rest: bool,
    killing: bool,
}

impl Ladder {
    /// A stop seen now. The driver has no cancel of its own, so the first TERM is now too.
    pub(crate) fn new(now: Moment, grace_ms: u64) -> Self {
        Self {
            rest_at: now.saturating_add(grace_ms / 2),
            kill_at: now.saturating_add(grace_ms),
            asked_leader: false,
            asked_rest: false,
            killing: false,
        }
    }

    /// Another stop: it can bring the end nearer, never put it off.
    pub(crate) fn shorten(&mut self, now: Moment, grace_ms: u64) {
        self.rest_at = self.rest_at.min(now.saturating_add(grace_ms / 2));
        self.kill_at = self.kill_at.min(now.saturating_add(grace_ms));
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
            self.asked_leader = true;
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
        Some(if self.asked_rest { self.kill_at } else { self.rest_at.min(self.kill_at) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn asks_the_leader_then_the_rest_then_kills() {
        let mut ladder = Ladder::new(1000, 10_000);
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
    fn the_rest_is_asked_as_soon_as_the_leader_is_gone() {
        let mut ladder = Ladder::new(0, 10_000);
        assert_eq!(ladder.next(0, true), Some(Act::TermLeader));
        assert_eq!(ladder.next(5, false), Some(Act::TermRest));
        let mut without_leader = Ladder::new(0, 10_000);
        assert_eq!(without_leader.next(0, false), Some(Act::TermRest));
    }

    #[test]
    fn no_grace_is_force_at_once() {
        assert_eq!(Ladder::new(7, 0).next(7, true), Some(Act::Kill));
    }

    #[test]
    fn another_stop_only_shortens() {
        let mut ladder = Ladder::new(0, 1000);
        ladder.shorten(10, 60_000);
        assert_eq!(ladder, Ladder::new(0, 1000));
        ladder.shorten(10, 0);
        assert_eq!(ladder.next(10, true), Some(Act::Kill));
    }

    proptest! {
        /// Whatever stops come in whatever order, the kill comes at the earliest of
        /// their ends, once, and nothing comes after it.
        #[test]
        fn kills_once_at_the_earliest_end(
            grace in 0u64..50,
            others in proptest::collection::vec((0u64..50, 0u64..50), 0..5),
            dies_at in 0u64..100,
        ) {
            let mut ladder = Ladder::new(0, grace);
            let mut earliest = grace;
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
