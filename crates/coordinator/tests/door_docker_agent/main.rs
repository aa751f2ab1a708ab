//! The door `/docker-agent`, with a scripted runner. Tests are named after the rows of what
//! docker-agent's `serve api` is known to answer.

#[path = "../support/mod.rs"]
mod support;

mod defects;
mod edits;
mod fork;
mod fuzz;
mod kit;
mod newer;
mod rows;
mod start;
