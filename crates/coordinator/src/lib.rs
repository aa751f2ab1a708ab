//! The coordinator: the API, placement, and what keeps sessions as they should be.
//!
//! A request's way in: `api` (parse, authorise), `service`, store (decide, commit). Its way
//! out: commit, [`hub`], viewer; and commit, assignment, runner, shim.
#![forbid(unsafe_code)]

mod activity;
pub mod api;
mod app;
mod auth;
pub mod clock;
mod config;
pub mod doors;
mod error;
mod extract;
mod feed;
mod figures;
mod guard;
mod hub;
mod lives;
mod presence;
mod schema;
mod secret;
mod serve;
mod server;
mod service;
mod socket;
pub mod sources;
mod tasks;
mod timers;

pub use config::{Config, Offered, StartError};
pub use doors::{Door, Doors};
pub use greenroom_store::Quotas;
pub use guard::{Guests, Hosts, guard};
pub use server::{Coordinator, start, start_with};
