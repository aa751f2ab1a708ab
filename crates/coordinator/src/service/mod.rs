//! What the API does, once a request is parsed and its caller known.

pub mod agents;
pub mod files;
pub mod link;
pub mod reports;
pub mod runners;
pub mod runs;
pub mod sessions;
pub mod stop;
pub mod streams;
pub mod tokens;
pub mod views;
pub mod wait;
