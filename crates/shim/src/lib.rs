//! The supervisor of one compute: it owns the process tree, writes the journal, and ends
//! the tree for certain.
//!
//! One thread, one poll loop, no async, no TLS and above all no helper process: because
//! everything below the shim belongs to the compute, "no child left" is a proof.
#![deny(unsafe_code)]

mod agent;
pub mod cgroup;
pub mod clock;
pub mod control;
mod driven;
mod ending;
pub mod journal;
mod keep;
mod ladder;
mod lifecycle;
pub mod local;
mod log;
mod outcome;
mod output;
mod proc;
mod redact;
mod socket;
pub mod spec;
mod streams;
mod supervise;
mod sys;
mod text;
mod tree;
pub mod unsupervised;
pub mod wire;

pub use supervise::main;
pub use sys::share_heaps;
pub use unsupervised::{Unproven, close_unsupervised};
