//! What travels: the bodies of `/v1`, the runner link, and how errors look.
#![forbid(unsafe_code)]

pub mod candidate;
pub mod link;
pub mod problem;
pub mod token;
pub mod v1;

pub use problem::Problem;
