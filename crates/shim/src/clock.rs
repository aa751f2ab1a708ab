//! The two clocks. Everything is timed by the one that goes on in suspend and cannot be
//! set; the wall clock only stamps.

use greenroom_core::Timestamp;

/// Milliseconds of the machine's uptime, suspend included.
pub type Moment = u64;

/// Now, for timing.
pub fn now() -> Moment {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    // Uptime is never negative.
    (time.tv_sec as u64) * 1000 + (time.tv_nsec as u64) / 1_000_000
}

/// Now, for people.
pub fn wall() -> Timestamp {
    Timestamp(jiff::Timestamp::now())
}
