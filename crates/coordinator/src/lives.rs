//! The time in which a coordinator was up: the time that a session's `ttl` counts, and that
//! it is not used.
//!
//! A wall clock that is wrong at a start, or jumps, must end nothing. So each coordinator
//! keeps for how long it has been up, by the clock since boot, as a span of wall time; the
//! age of a session is what has passed in such spans since the one it was created in. A pause
//! of less than five minutes, as for an upgrade, is none.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use greenroom_core::command::Expiry;
use greenroom_core::{Ms, Session, Timestamp};
use greenroom_store::{Result, Span, Store};

use crate::clock::SharedClock;

/// A step of the wall clock against the clock since boot that begins another span, and the
/// longest pause that does not, in milliseconds.
const STEP: i64 = 5 * 60 * 1000;

/// A step is noticed so late at most: what happened just before a span belongs to it.
const LATE: i64 = 60 * 1000;

/// The spans so far; the last one is going on.
pub struct Lives {
    clock: SharedClock,
    inner: Mutex<Inner>,
}

struct Inner {
    spans: Vec<Span>,
    /// The first of them that the store may not have as it is now.
    kept: usize,
    /// The clock since boot when the last span had its end.
    boot: Duration,
}

impl Lives {
    /// Goes on with the last span of the store, or begins another.
    pub(crate) async fn begin(store: &dyn Store, clock: SharedClock) -> Result<Self> {
        let (mut spans, now) = (store.spans().await?, clock.wall());
        let paused = spans.last().map(|last| now.unix_ms() - last.ended.unix_ms());
        match spans.last_mut().filter(|_| paused.is_some_and(|ms| (0..STEP).contains(&ms))) {
            Some(last) => last.ended = now,
            None => spans.push(Span { began: now, ended: now }),
        }
        let kept = spans.len() - 1;
        let inner = Mutex::new(Inner { spans, kept, boot: clock.boot() });
        let lives = Self { clock, inner };
        lives.keep(store).await?;
        Ok(lives)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What time it is, as far as ages are concerned.
    pub(crate) fn now(&self) -> Timestamp {
        let mut inner = self.lock();
        let (wall, boot) = (self.clock.wall().unix_ms(), self.clock.boot());
        let passed = boot.saturating_sub(inner.boot).as_millis() as i64;
        inner.boot = boot;
        let Some(last) = inner.spans.last_mut() else { return Timestamp::from_unix_ms(wall) };
        let expected = last.ended.unix_ms() + passed;
        if (wall - expected).abs() < STEP {
            // Small corrections add up over months and are no step.
            last.ended = last.ended.max(Timestamp::from_unix_ms(wall));
            return last.ended;
        }
        tracing::warn!(
            step_ms = wall - expected,
            "the wall clock has jumped; no session is older for that"
        );
        last.ended = Timestamp::from_unix_ms(expected);
        let now = Timestamp::from_unix_ms(wall);
        inner.spans.push(Span { began: now, ended: now });
        now
    }

    /// Keeps what has passed.
    pub(crate) async fn keep(&self, store: &dyn Store) -> Result<()> {
        self.now();
        let (spans, first) = {
            let inner = self.lock();
            (inner.spans.clone(), inner.kept)
        };
        // More than one where the clock has jumped in between.
        for (place, span) in spans.iter().enumerate().skip(first) {
            store.put_span(place as u32, *span).await?;
        }
        self.lock().kept = spans.len() - 1;
        Ok(())
    }

    /// When a session expires, if no coordinator is down in between and nobody uses it.
    pub(crate) fn expires_at(&self, session: &Session) -> Option<Timestamp> {
        let now = self.now();
        self.expiry(&Ages::of(session)?, now).map(|(at, _)| at)
    }

    /// When what is this old expires, and why.
    pub(crate) fn expiry(&self, ages: &Ages, now: Timestamp) -> Option<(Timestamp, Expiry)> {
        let inner = self.lock();
        let ends = |from, ms| Timestamp::from_unix_ms(ends_at(&inner.spans, from, ms));
        let ttl = ages.ttl.map(|(from, ms)| (ends(from, ms), Expiry::Ttl));
        let unused = ages.unused.map(|(used, ms)| match used {
            Some(since) => (ends(since, ms), Expiry::Unused { since }),
            // As if it were let go of right now.
            None => (ends(now, ms), Expiry::Unused { since: now }),
        });
        ttl.into_iter().chain(unused).min_by_key(|(at, _)| *at)
    }
}

/// What decides when a session expires.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ages {
    /// Since when it lives, and how long it may, in milliseconds.
    ttl: Option<(Timestamp, i64)>,
    /// When it was last used, unless it is in use, and how long it may be without.
    unused: Option<(Option<Timestamp>, i64)>,
}

impl Ages {
    /// Of a session that may expire.
    pub(crate) fn of(session: &Session) -> Option<Self> {
        let ms = |limit: Option<Ms>| limit.and_then(|limit| i64::try_from(limit.0).ok());
        let used = (!session.in_use()).then_some(session.used_at);
        let ttl = ms(session.limits.ttl_ms).map(|ms| (session.lives_from, ms));
        let unused = ms(session.limits.unused_ms).map(|ms| (used, ms));
        (ttl.is_some() || unused.is_some()).then_some(Self { ttl, unused })
    }

    /// Without what ends nothing while it is in use.
    pub(crate) fn due(self) -> Self {
        Self { unused: self.unused.filter(|(used, _)| used.is_some()), ..self }
    }
}

/// When `ttl` milliseconds of the spans have passed since `from`.
fn ends_at(spans: &[Span], from: Timestamp, ttl: i64) -> i64 {
    let from = from.unix_ms();
    let Some((last, earlier)) = spans.split_last() else { return from.saturating_add(ttl) };
    let mut left = ttl;
    // The latest that may be the one it was created in; for what is older than all of them,
    // the first.
    let began = |span: &Span| span.began.unix_ms() - LATE;
    let born = |span: &Span| (began(span)..=span.ended.unix_ms()).contains(&from);
    if began(last) > from {
        let first = earlier.iter().rposition(born).unwrap_or(0);
        for span in earlier.iter().skip(first) {
            let since = span.began.unix_ms().max(from);
            let lived = (span.ended.unix_ms() - since).max(0);
            if left <= lived {
                return since.saturating_add(left);
            }
            left -= lived;
        }
    }
    last.began.unix_ms().max(from).saturating_add(left)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In seconds.
    fn ends(all: &[(i64, i64)], from: i64, ttl: i64) -> i64 {
        let all: Vec<_> = all.iter().map(|(began, ended)| (began * 1000, ended * 1000)).collect();
        let from = Timestamp::from_unix_ms(from * 1000);
        ends_at(&spans(&all), from, ttl * 1000) / 1000
    }

    fn spans(all: &[(i64, i64)]) -> Vec<Span> {
        let at = Timestamp::from_unix_ms;
        all.iter().map(|&(began, ended)| Span { began: at(began), ended: at(ended) }).collect()
    }

    #[test]
    fn age_is_what_has_passed_while_a_coordinator_was_up() {
        // In the span that is going on, the wall clock it is.
        assert_eq!(ends(&[(0, 100)], 40, 1000), 1040);
        assert_eq!(ends(&[(0, 100), (500, 600)], 550, 1000), 1550);
        // 60 before the pause, and the rest after it.
        assert_eq!(ends(&[(0, 100), (500, 600)], 40, 1000), 1440);
        assert_eq!(ends(&[(0, 100), (500, 600)], 40, 50), 90);
        // Created by a build that kept no spans.
        assert_eq!(ends(&[(500, 600)], 40, 1000), 1500);
    }

    struct Set(Mutex<(i64, u64)>);

    impl crate::clock::Clock for Set {
        fn wall(&self) -> Timestamp {
            Timestamp::from_unix_ms(self.0.lock().expect("a clock").0)
        }

        fn boot(&self) -> Duration {
            Duration::from_millis(self.0.lock().expect("a clock").1)
        }
    }

    #[tokio::test]
    async fn every_jump_between_two_looks_is_kept() {
        let folder = tempfile::tempdir().expect("a folder");
        let store = greenroom_store::SqliteStore::open(&folder.path().join("db")).await;
        let store = store.expect("opens");
        let clock = std::sync::Arc::new(Set(Mutex::new((1_000, 0))));
        let lives = Lives::begin(&store, clock.clone()).await.expect("begins");
        for (wall, boot) in [(1_500, 500), (9_000_000, 600), (2_000, 1_000), (5_000_000, 1_100)] {
            *clock.0.lock().expect("a clock") = (wall, boot);
            lives.now();
        }
        lives.keep(&store).await.expect("is kept");
        let all = [(1_000, 1_600), (9_000_000, 9_000_400), (2_000, 2_100), (5_000_000, 5_000_000)];
        assert_eq!(store.spans().await.expect("reads"), spans(&all));
        // The next life goes on with the last of them.
        *clock.0.lock().expect("a clock") = (5_000_700, 0);
        Lives::begin(&store, clock).await.expect("begins");
        let last = store.spans().await.expect("reads").pop().expect("a span");
        assert_eq!(last, spans(&[(5_000_000, 5_000_700)])[0]);
    }

    #[test]
    fn a_wrong_clock_makes_nobody_older() {
        let year = 31_536_000_000;
        // A year ahead, and back again.
        assert_eq!(ends(&[(0, 100), (year, year + 50)], 40, 1000), year + 940);
        assert_eq!(ends(&[(0, 100), (year, year + 50), (200, 300)], 40, 1000), 1090);
        // Long ago: nothing that was before counts for what was created then.
        assert_eq!(ends(&[(year, year + 5000), (0, 100)], 40, 1000), 1040);
        assert_eq!(
            ends(&[(year, year + 5000), (0, 100), (year + 6000, year + 6000)], 40, 1000),
            year + 6940
        );
        // Created just before it was noticed that the clock is right again.
        assert_eq!(ends(&[(year, year + 500), (200, 300)], 180, 1000), 1200);
    }
}
