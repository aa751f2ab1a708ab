//! How long to wait before something is tried again.

use std::time::Duration;

/// Exponential backoff with full jitter: so that a thousand runners do not come back to a
/// restarted coordinator in step.
#[derive(Debug, Clone)]
pub(crate) struct Backoff {
    first: Duration,
    longest: Duration,
    tries: u32,
}

impl Backoff {
    /// The first wait is about `first`, no wait is longer than `longest`.
    pub(crate) fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest, tries: 0 }
    }

    /// It worked: the next wait is the first again.
    pub(crate) fn reset(&mut self) {
        self.tries = 0;
    }

    /// The next wait: at least half of what the number of tries says.
    pub(crate) fn next(&mut self) -> Duration {
        let full = self.first.saturating_mul(1 << self.tries.min(20)).min(self.longest);
        self.tries = self.tries.saturating_add(1);
        full.mul_f64(rand::random_range(0.5..1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grows_to_its_longest_and_starts_anew() {
        let (first, longest) = (Duration::from_millis(10), Duration::from_secs(1));
        let mut backoff = Backoff::new(first, longest);
        assert!(backoff.next() <= first);
        for _ in 0..50 {
            assert!(backoff.next() <= longest);
        }
        assert!(backoff.next() >= longest / 2);
        backoff.reset();
        assert!(backoff.next() <= first);
    }
}
