//! What the API does, once a request is parsed and its caller known.

pub(crate) mod agents;
pub(crate) mod approvals;
pub(crate) mod files;
pub(crate) mod following;
pub(crate) mod forks;
pub(crate) mod history;
pub(crate) mod hosted;
pub(crate) mod kept;
pub(crate) mod link;
pub(crate) mod models;
pub(crate) mod policies;
pub(crate) mod quotas;
pub(crate) mod reports;
pub(crate) mod runners;
pub(crate) mod runs;
pub(crate) mod sessions;
pub(crate) mod stop;
pub(crate) mod streams;
pub(crate) mod tokens;
pub(crate) mod versions;
pub(crate) mod views;
pub(crate) mod wait;
