//! The runner: the daemon on a machine that hosts computes.
//!
//! It keeps one link to its coordinator, brings computes up through their shims, brings
//! their journals and receipts back, and serves the files of its sessions. Its own end ends
//! no agent: shims live on, and the next runner of the same data folder takes them over.
#![forbid(unsafe_code)]

mod act;
mod adopt;
mod backoff;
mod beneath;
mod board;
mod closing;
mod copy;
mod deadline;
mod delta;
mod ends;
mod env;
mod error;
mod files;
mod floor;
mod folder;
pub mod gc;
mod git;
mod host;
mod hosted;
mod http;
mod identity;
mod kept;
mod link;
mod overs;
mod point;
mod probe;
mod push;
mod remove;
mod roots;
mod runner;
mod session;
mod shims;
mod streams;
mod tail;
mod tidy;
mod upload;
mod workspace;
mod worktree;

pub use error::RunnerError;
pub use runner::{Runner, RunnerConfig, start};
