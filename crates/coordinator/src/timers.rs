//! What is due when: kept in memory, fed by commits, made anew from the store at start.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use greenroom_core::command::Expiry;
use greenroom_core::session::{Life, Wanted};
use greenroom_core::{Epoch, Ms, Session, SessionUid, Status};
use tokio::sync::Notify;

use crate::hub::lock;
use crate::lives::{Ages, Lives};

/// A stop that brings no receipt is unconfirmed this long after its graces.
const PROOF: Duration = Duration::from_secs(30);

/// Deadlines of stops under way, on this process's own clock.
#[derive(Default)]
pub struct Deadlines {
    armed: Mutex<HashMap<SessionUid, Deadline>>,
    /// Something was armed.
    pub changed: Notify,
}

/// When a stop is overdue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Deadline {
    /// Of which compute.
    pub epoch: Epoch,
    /// Of which try.
    pub attempt: u32,
    /// From when on.
    pub at: Instant,
}

impl Deadlines {
    /// Arms, shortens or disarms the deadline of a session.
    pub fn note(&self, session: &Session, now: Instant) {
        let stopping = session.compute.as_ref().and_then(|compute| match &compute.wanted {
            Wanted::Down(stopping) if !compute.unconfirmed => {
                Some((compute.epoch, &stopping.order))
            }
            _ => None,
        });
        let mut armed = lock(&self.armed);
        let Some((epoch, order)) = stopping else {
            armed.remove(&session.uid);
            return;
        };
        let graces = Ms(order.cancel_grace_ms.0.saturating_add(order.grace_ms.0));
        // Graces of years are allowed, and an Instant may not reach so far.
        let at = now.checked_add(Duration::from(graces) + PROOF).unwrap_or(now + PROOF);
        let new = Deadline { epoch, attempt: order.attempt, at };
        let entry = armed.entry(session.uid).or_insert(new);
        if (entry.epoch, entry.attempt) != (epoch, order.attempt) || at < entry.at {
            *entry = new;
        }
        drop(armed);
        self.changed.notify_one();
    }

    /// Takes what is overdue. Answers when the next one is, too.
    pub fn take_due(&self, now: Instant) -> (Vec<(SessionUid, Deadline)>, Option<Instant>) {
        let mut armed = lock(&self.armed);
        let due = armed.extract_if(|_, deadline| deadline.at <= now).collect();
        (due, armed.values().map(|deadline| deadline.at).min())
    }
}

/// Sessions that expire after a time, by the time in which a coordinator was up.
#[derive(Default)]
pub struct Expiries {
    armed: Mutex<HashMap<SessionUid, Ages>>,
    /// One that is soon due was armed.
    pub changed: Notify,
}

/// One that is due later than this is found in time without a wake-up.
pub(crate) const SOON: Duration = Duration::from_secs(30);

impl Expiries {
    /// Arms anew, or disarms.
    pub(crate) fn note(&self, session: &Session, lives: &Lives) {
        let ages = Ages::of(session).filter(|_| session.life == Life::Kept).map(Ages::due);
        let Some(ages) = ages else {
            if session.limits.may_expire() {
                lock(&self.armed).remove(&session.uid);
            }
            return;
        };
        if lock(&self.armed).insert(session.uid, ages) == Some(ages) {
            return;
        }
        let now = lives.now();
        let left = lives.expiry(&ages, now).map(|(at, _)| at.unix_ms() - now.unix_ms());
        if left.is_some_and(|left| left < SOON.as_millis() as i64) {
            self.changed.notify_one();
        }
    }

    /// What is due. Answers how long it is until the next one, too.
    pub(crate) fn due(&self, lives: &Lives) -> (Vec<(SessionUid, Expiry)>, Option<Duration>) {
        let now = lives.now();
        let (mut due, mut following) = (Vec::new(), None);
        for (uid, ages) in lock(&self.armed).iter() {
            let Some((at, why)) = lives.expiry(ages, now) else { continue };
            let left = at.unix_ms() - now.unix_ms();
            if left <= 0 {
                due.push((*uid, why));
            } else {
                following = Some(following.map_or(left, |before: i64| before.min(left)));
            }
        }
        (due, following.map(|ms| Duration::from_millis(ms as u64)))
    }
}

/// Idle sessions that have a limit to it, on the clock that counts suspend.
#[derive(Default)]
pub struct IdleLimits {
    armed: Mutex<HashMap<SessionUid, Duration>>,
    /// Something was armed.
    pub changed: Notify,
}

impl IdleLimits {
    /// Arms anew, or disarms. Each event of an idle session begins its time again.
    pub fn note(&self, session: &Session, boot: Duration) {
        let limit = session.limits.idle_ms.filter(|_| session.status() == Status::Idle);
        let mut armed = lock(&self.armed);
        match limit {
            Some(limit) => {
                armed.insert(session.uid, boot.saturating_add(limit.into()));
                drop(armed);
                self.changed.notify_one();
            }
            None => {
                armed.remove(&session.uid);
            }
        }
    }

    /// Takes what is due. Answers when the next one is, too.
    pub fn take_due(&self, boot: Duration) -> (Vec<SessionUid>, Option<Duration>) {
        let mut armed = lock(&self.armed);
        let due = armed.extract_if(|_, at| *at <= boot).map(|(uid, _)| uid).collect();
        (due, armed.values().min().copied())
    }
}
