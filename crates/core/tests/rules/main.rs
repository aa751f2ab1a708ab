//! The rules of a session, one test each, told in the words of `scene`.
#![allow(unreachable_pub, reason = "the modules of a test are its own")]

mod agents;
mod approvals;
mod busy;
mod hold;
mod life;
mod orders;
mod policies;
mod reports;
mod restore;
mod runs;
mod scene;
mod settings;
mod steer;
mod stop;
mod transitions;
mod tree;
