//! How long to wait before something is tried again.

use std::time::Duration;

/// The first wait.
const FIRST: Duration = Duration::from_millis(500);
/// No wait is longer.
const LONGEST: Duration = Duration::from_secs(20);

/// Waits that grow.
#[derive(Debug, Clone, Default)]
pub struct Backoff {
    tries: u32,
}

impl Backoff {
    /// The next wait: twice the last one, more or less a quarter, so that many who wait for
    /// the same do not come at once.
    pub fn wait(&mut self) -> Duration {
        let wait = FIRST.saturating_mul(1 << self.tries.min(10)).min(LONGEST);
        self.tries += 1;
        let [byte, ..] = *uuid::Uuid::new_v4().as_bytes();
        wait.mul_f64(0.75 + f64::from(byte) / 255.0 / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_and_stay_bounded() {
        let mut backoff = Backoff::default();
        let waits: Vec<Duration> = std::iter::repeat_with(|| backoff.wait()).take(40).collect();
        assert!(waits[0] < Duration::from_secs(1), "{waits:?}");
        assert!(waits[4] > waits[0] * 4, "{waits:?}");
        assert!(waits.iter().all(|wait| *wait <= LONGEST.mul_f64(1.25)), "{waits:?}");
    }
}
