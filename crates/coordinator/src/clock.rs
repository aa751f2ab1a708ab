//! Clocks: one for people, one for limits, so that tests can bring their own.

use std::sync::Arc;
use std::time::Duration;

use greenroom_core::Timestamp;
use rustix::time::{ClockId, clock_gettime};

/// Where times come from.
pub trait Clock: Send + Sync + 'static {
    /// The wall clock: for people.
    fn wall(&self) -> Timestamp;
    /// Time since boot, suspend included: for limits.
    fn boot(&self) -> Duration;
}

/// Short for a clock that is handed around.
pub type SharedClock = Arc<dyn Clock>;

/// The machine's own clocks.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn wall(&self) -> Timestamp {
        Timestamp(jiff::Timestamp::now())
    }

    fn boot(&self) -> Duration {
        let now = clock_gettime(ClockId::Boottime);
        Duration::new(now.tv_sec.max(0) as u64, now.tv_nsec.clamp(0, 999_999_999) as u32)
    }
}
