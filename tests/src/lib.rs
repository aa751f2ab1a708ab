//! The end-to-end suite: the real `greenroom` binary, real processes, the outward contract.
//!
//! Nothing here uses a crate of the product. HTTP, server-sent events and the search for
//! processes are written again, so that the tests judge the product's own client and its own
//! counting too. Nothing waits by sleeping: a test waits for an event, a line, a file
//! descriptor or the end of a process.

#![forbid(unsafe_code)]

pub mod agents;
pub mod builder;
pub mod cli;
pub mod coding;
pub mod editor;
pub mod endpoint;
pub mod events;
pub mod git;
pub mod http;
pub mod invariants;
pub mod leaks;
pub mod mcp;
pub mod procs;
pub mod proxy;
pub mod registry;
pub mod room;
pub mod session;
pub mod sse;
pub mod story;
pub mod tools;
pub mod web;

pub use cli::Ran;
pub use http::{Api, Reply};
pub use proxy::{Fate, Proxy};
pub use room::{Greenroom, binary};
pub use serde_json::{Value, json};
pub use sse::{Frame, Sse};

use std::time::{Duration, Instant};

/// How long a test waits for something that should come at once.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Waits for what tells nobody that it has come: a file, or what another's server says.
#[track_caller]
pub fn wait_for(what: &str, mut there: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !there() {
        assert!(begun.elapsed() < PATIENCE, "{what} did not come");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Whether the full counts are asked for (`GREENROOM_SOAK=1`).
pub fn soak() -> bool {
    std::env::var("GREENROOM_SOAK").is_ok_and(|value| value == "1")
}

/// The count for a normal run, or the full one of a soak.
pub fn scaled(normal: usize, full: usize) -> usize {
    if soak() { full } else { normal }
}
