//! Many measurements as a few numbers.

use std::time::{Duration, Instant};

/// Measurements of one thing, in milliseconds.
#[derive(Debug, Clone, Default)]
pub(crate) struct Samples(Vec<f64>);

impl Samples {
    /// One more.
    pub(crate) fn add(&mut self, value: f64) {
        self.0.push(value);
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The smallest measurement that `percent` of all are not above.
    ///
    /// With fewer than 100 measurements the 99th percentile is the largest.
    pub(crate) fn percentile(&self, percent: f64) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let rank = (percent / 100.0 * sorted.len() as f64).ceil() as usize;
        sorted.get(rank.clamp(1, sorted.len().max(1)) - 1).copied().unwrap_or(f64::NAN)
    }

    /// The middle.
    pub(crate) fn p50(&self) -> f64 {
        self.percentile(50.0)
    }

    /// What one in a hundred is above.
    pub(crate) fn p99(&self) -> f64 {
        self.percentile(99.0)
    }

    /// The largest.
    pub(crate) fn max(&self) -> f64 {
        self.percentile(100.0)
    }
}

impl FromIterator<f64> for Samples {
    fn from_iter<I: IntoIterator<Item = f64>>(values: I) -> Self {
        Self(values.into_iter().collect())
    }
}

/// A span in milliseconds.
pub(crate) fn ms(span: Duration) -> f64 {
    span.as_secs_f64() * 1000.0
}

/// Milliseconds since then.
pub(crate) fn since(then: Instant) -> f64 {
    ms(then.elapsed())
}

/// CLOCK_MONOTONIC in nanoseconds: the clock that agents stamp with.
pub(crate) fn monotonic_ns() -> i128 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    i128::from(time.tv_sec) * 1_000_000_000 + i128::from(time.tv_nsec)
}

/// Nanoseconds between two stamps, in milliseconds.
pub(crate) fn between_ms(from_ns: i128, to_ns: i128) -> f64 {
    (to_ns - from_ns) as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_measurements() {
        let samples: Samples = (1..=200).rev().map(f64::from).collect();
        assert_eq!(samples.p50(), 100.0);
        assert_eq!(samples.p99(), 198.0);
        assert_eq!(samples.max(), 200.0);
    }

    #[test]
    fn few_measurements_hide_nothing() {
        let samples: Samples = [3.0, 1.0, 2.0].into_iter().collect();
        assert_eq!(samples.p50(), 2.0);
        assert_eq!(samples.p99(), 3.0);
    }
}
