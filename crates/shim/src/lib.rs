//! The supervisor of one compute: it owns the process tree, writes the journal, and ends
//! the tree for certain.
//!
//! One thread, one poll loop, no async, no TLS and above all no helper process: because
//! everything below the shim belongs to the compute, "no child left" is a proof.
#![deny(unsafe_code)]

pub mod cgroup;
pub mod clock;
pub mod control;
pub mod journal;
pub mod local;
pub mod spec;
mod sys;
pub mod wire;
